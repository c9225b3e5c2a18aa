//! From the form on disk to settings with nothing left to look up; what is wrong names its line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use url::Url;

use super::accounts::accounts;
use super::error::{ConfigError, reworded};
use super::file::{FileForm, LimitsForm, StateForm, TlsForm, UpstreamForm};
use super::listener::listeners;
use super::maildrop::Maildrop;
use super::oauth::sign_ins;
use super::places::state_directory;
use super::secrets::Places;
use super::source::Source;
use super::{
    Certificate, Config, Database, Limits, Listener, NoTemplate, Security, TransportSecurity, Upstream,
    UsernameTemplate,
};
use crate::secret::SecretSource;
use crate::trust::is_local;

/// Reads and resolves a configuration.
pub fn parse(text: &str, origin: &str, folder: Option<&Path>) -> Result<Config, ConfigError> {
    let source = Source { text, origin, folder };
    let form: FileForm = toml::from_str(text).map_err(|error| match error.span() {
        Some(span) => source.at(&span, reworded(&error)),
        None => source.whole(reworded(&error)),
    })?;
    let listeners = listeners(&source, form.listener, form.tls.is_some())?;
    let database = database(&source, &form.state.url)?;
    let (certificate, client_ca) = match form.tls {
        Some(tls) => {
            let client_ca = tls.get_ref().client_ca.clone().map(|path| source.path(path));
            (Some(certificate(&source, tls, &database, &listeners)?), client_ca)
        }
        None => (None, None),
    };
    let everyone = form.maildrop.over(&Maildrop::default(), &source)?;
    let upstreams = upstreams(&source, form.upstream, &everyone)?;
    let state_key = state_key(&source, &form.state, &database)?;
    let sign_ins = sign_ins(&source, form.oauth, &database)?;
    let accounts = accounts(&source, form.account, &upstreams, &sign_ins, client_ca.is_some())?;
    Ok(Config {
        listeners,
        certificate,
        client_ca,
        security: Security {
            plaintext_login: form.security.plaintext_login,
            max_login_failures: form.security.max_login_failures,
            login_failure_window: form.security.login_failure_window,
        },
        limits: limits(&source, form.limits)?,
        upstreams,
        accounts,
        sign_ins,
        database,
        state_key,
        deletions_kept: form.state.deletions_kept,
    })
}

fn certificate(
    source: &Source<'_>,
    tls: Spanned<TlsForm>,
    database: &Database,
    listeners: &[Listener],
) -> Result<Certificate, ConfigError> {
    let span = tls.span();
    match tls.into_inner() {
        TlsForm {
            certificate: Some(certificate),
            private_key: Some(private_key),
            self_signed: false,
            client_ca: _,
        } => Ok(Certificate::Files {
            certificate: source.path(certificate),
            private_key: source.path(private_key),
        }),
        TlsForm { certificate: None, private_key: None, self_signed: true, client_ca: _ } => {
            Ok(Certificate::SelfSigned {
                folder: match database {
                    Database::File(path) => path.parent().unwrap_or(Path::new(".")).to_owned(),
                    Database::Memory => state_directory(source.folder),
                },
                addresses: listeners.iter().map(|listener| listener.address.ip()).collect(),
            })
        }
        _ => {
            Err(source
                .at(&span, "[tls] takes certificate and private_key together, or self_signed = true alone"))
        }
    }
}

fn limits(source: &Source<'_>, form: LimitsForm) -> Result<Limits, ConfigError> {
    for count in [&form.sessions, &form.sessions_per_address] {
        if *count.get_ref() == 0 {
            return Err(source.at(&count.span(), "0 would let nobody in: at least 1"));
        }
    }
    Ok(Limits {
        sessions: form.sessions.into_inner(),
        sessions_per_address: form.sessions_per_address.into_inner(),
        kept_connections: form.kept_connections,
        login_timeout: form.login_timeout,
        idle_timeout: form.idle_timeout,
        preempt_after: form.preempt_after,
        shutdown_grace: form.shutdown_grace,
    })
}

fn upstreams(
    source: &Source<'_>,
    forms: BTreeMap<String, UpstreamForm>,
    everyone: &Maildrop,
) -> Result<Vec<Arc<Upstream>>, ConfigError> {
    if forms.is_empty() {
        return Err(source.whole(
            "no upstream: name the IMAP server, as in\n  [upstream.home]\n  url = \"imaps://imap.example.org\"",
        ));
    }
    let several = forms.len() > 1;
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    let mut upstreams = Vec::new();
    for (name, form) in forms {
        if several && form.domains.is_empty() {
            return Err(source.at(
                &form.url.span(),
                format!(
                    "with several upstreams each needs domains; \"{name}\" has none (\"*\" takes the rest)"
                ),
            ));
        }
        let mut domains = Vec::new();
        for domain in &form.domains {
            let lower = domain.get_ref().to_lowercase();
            if let Some(other) = taken.insert(lower.clone(), name.clone()) {
                return Err(source.at(
                    &domain.span(),
                    format!("the domain \"{lower}\" is taken by upstream \"{other}\" already"),
                ));
            }
            domains.push(lower);
        }
        upstreams.push(Arc::new(upstream(source, name, form, domains, everyone)?));
    }
    Ok(upstreams)
}

fn upstream(
    source: &Source<'_>,
    name: String,
    form: UpstreamForm,
    domains: Vec<String>,
    everyone: &Maildrop,
) -> Result<Upstream, ConfigError> {
    let span = form.url.span();
    let wrong = |message: String| source.at(&span, message);
    let text = form.url.get_ref();
    if !text.contains("://") {
        return Err(wrong(format!(
            "\"{text}\" does not say how to connect; it looks like imaps://imap.example.org"
        )));
    }
    let url = Url::parse(text).map_err(|error| {
        wrong(format!("\"{text}\" is no URL ({error}); it looks like imaps://imap.example.org"))
    })?;
    let (security, port) = match url.scheme() {
        "imaps" => (TransportSecurity::Tls, 993),
        "imap+starttls" => (TransportSecurity::StartTls, 143),
        "imap" => (TransportSecurity::None, 143),
        other => {
            return Err(wrong(format!("\"{other}://\" is not known: imaps://, imap+starttls:// or imap://")));
        }
    };
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    if host.is_empty() {
        return Err(wrong(format!("\"{text}\" names no host")));
    }
    let bare = url.username().is_empty() && url.password().is_none();
    if !bare || !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("an upstream's URL holds scheme, host and port only".to_owned()));
    }
    if security == TransportSecurity::None && !is_local(&host) && !form.insecure {
        return Err(wrong(format!(
            "imap:// would send passwords and mail to {host} unprotected: use imaps:// or imap+starttls://, \
             or say insecure = true if that network is yours"
        )));
    }
    let username = match form.username {
        Some(template) => username_template(source, template)?,
        None => UsernameTemplate::default(),
    };
    let connections = form.connections_per_account;
    if *connections.get_ref() == 0 {
        return Err(source.at(&connections.span(), "0 would let nobody in: at least 1"));
    }
    Ok(Upstream {
        name,
        host,
        port: url.port().unwrap_or(port),
        security,
        domains,
        username,
        authentication: form.authentication,
        ca_certificate: form.ca_certificate.map(|path| source.path(path)),
        compress: form.compress,
        timeout: form.timeout,
        recovery: form.recovery,
        keep_alive: form.keep_alive,
        trust_idle: form.trust_idle,
        connections_per_account: connections.into_inner(),
        maildrop: Arc::new(form.maildrop.over(everyone, source)?),
    })
}

fn username_template(
    source: &Source<'_>,
    template: Spanned<String>,
) -> Result<UsernameTemplate, ConfigError> {
    template.get_ref().parse().map_err(|error: NoTemplate| source.at(&template.span(), error.to_string()))
}

fn database(source: &Source<'_>, url: &Spanned<String>) -> Result<Database, ConfigError> {
    match url.get_ref().strip_prefix("sqlite:") {
        Some(":memory:") => Ok(Database::Memory),
        Some(path) if !path.is_empty() => {
            let path = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
            Ok(Database::File(if path.is_relative() {
                state_directory(source.folder).join(path)
            } else {
                path
            }))
        }
        _ => Err(source.at(&url.span(), format!("\"{}\" is no database: sqlite:PATH", url.get_ref()))),
    }
}

/// The key's place: as it is named, else beside the database. What is kept in memory alone needs
/// none.
fn state_key(
    source: &Source<'_>,
    form: &StateForm,
    database: &Database,
) -> Result<Option<SecretSource>, ConfigError> {
    let places = Places {
        secret: "key",
        file: form.key_file.as_ref(),
        env: form.key_env.as_ref(),
        credential: form.key_credential.as_ref(),
        ..Places::default()
    };
    let named = places.one(source)?.map(|(_, place)| place);
    Ok(named.or(match database {
        Database::File(path) => Some(SecretSource::File(path.with_file_name("popbridge.key"))),
        Database::Memory => None,
    }))
}
