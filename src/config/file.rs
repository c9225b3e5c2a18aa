//! The configuration's form on disk: TOML, strict, every key with its default.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};
use toml::Spanned;
use url::Url;

use super::error::{ConfigError, reworded};
use super::places::state_directory;
use super::{
    Certificate, Config, Database, Limits, Listener, ListenerTls, Maildrop, PlaintextLogin, Security,
    TransportSecurity, Upstream, UsernameTemplate,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    #[serde(default)]
    listener: Vec<ListenerForm>,
    tls: Option<Spanned<TlsForm>>,
    #[serde(default)]
    security: SecurityForm,
    #[serde(default)]
    limits: LimitsForm,
    #[serde(default)]
    upstream: BTreeMap<String, UpstreamForm>,
    #[serde(default)]
    maildrop: Maildrop,
    #[serde(default)]
    state: StateForm,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListenerForm {
    address: Spanned<SocketAddr>,
    tls: Option<ListenerTls>,
    #[serde(default)]
    allow: Vec<IpNet>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsForm {
    certificate: Option<PathBuf>,
    private_key: Option<PathBuf>,
    #[serde(default)]
    self_signed: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SecurityForm {
    #[serde(deserialize_with = "plaintext_login")]
    plaintext_login: PlaintextLogin,
}

impl Default for SecurityForm {
    fn default() -> Self {
        Self { plaintext_login: PlaintextLogin::Loopback }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsForm {
    sessions: Spanned<usize>,
    sessions_per_address: Spanned<usize>,
    #[serde(deserialize_with = "duration")]
    login_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    idle_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    preempt_after: Duration,
    #[serde(deserialize_with = "duration")]
    shutdown_grace: Duration,
}

impl Default for LimitsForm {
    fn default() -> Self {
        Self {
            sessions: Spanned::new(0..0, 1024),
            sessions_per_address: Spanned::new(0..0, 32),
            login_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(600),
            preempt_after: Duration::from_secs(30),
            shutdown_grace: Duration::from_secs(30),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpstreamForm {
    url: Spanned<String>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    domains: Vec<Spanned<String>>,
    username: Option<Spanned<String>>,
    ca_certificate: Option<PathBuf>,
    #[serde(default = "one_minute", deserialize_with = "duration")]
    timeout: Duration,
    #[serde(default = "one_minute", deserialize_with = "duration")]
    recovery: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct StateForm {
    url: Spanned<String>,
}

impl Default for StateForm {
    fn default() -> Self {
        Self { url: Spanned::new(0..0, "sqlite:popbridge.db".to_owned()) }
    }
}

/// The text that is being read, to name a place in it.
struct Source<'a> {
    text: &'a str,
    origin: &'a str,
    folder: Option<&'a Path>,
}

impl Source<'_> {
    fn at(&self, span: &Range<usize>, message: impl Into<String>) -> ConfigError {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        ConfigError::At {
            origin: self.origin.to_owned(),
            line: 1 + before.bytes().filter(|&octet| octet == b'\n').count(),
            message: message.into(),
        }
    }

    fn whole(&self, message: impl Into<String>) -> ConfigError {
        ConfigError::Whole { origin: self.origin.to_owned(), message: message.into() }
    }

    /// Paths in the file start at its folder.
    fn path(&self, path: PathBuf) -> PathBuf {
        match self.folder {
            Some(folder) if path.is_relative() => folder.join(path),
            _ => path,
        }
    }
}

/// Reads and resolves a configuration.
pub fn parse(text: &str, origin: &str, folder: Option<&Path>) -> Result<Config, ConfigError> {
    let source = Source { text, origin, folder };
    let form: FileForm = toml::from_str(text).map_err(|error| match error.span() {
        Some(span) => source.at(&span, reworded(&error)),
        None => source.whole(reworded(&error)),
    })?;
    let listeners = listeners(&source, form.listener)?;
    let database = database(&source, &form.state.url)?;
    let certificate = form.tls.map(|tls| certificate(&source, tls, &database)).transpose()?;
    if certificate.is_none() && listeners.iter().any(|listener| listener.tls != ListenerTls::None) {
        return Err(source.whole(
            "a listener speaks TLS, so [tls] is needed: certificate and private_key, or self_signed = true",
        ));
    }
    Ok(Config {
        listeners,
        certificate,
        security: Security { plaintext_login: form.security.plaintext_login },
        limits: limits(&source, form.limits)?,
        upstreams: upstreams(&source, form.upstream)?,
        maildrop: form.maildrop,
        database,
    })
}

fn listeners(source: &Source<'_>, forms: Vec<ListenerForm>) -> Result<Vec<Listener>, ConfigError> {
    if forms.is_empty() {
        return Ok(vec![Listener {
            address: SocketAddr::from(([127, 0, 0, 1], 1110)),
            tls: ListenerTls::None,
            allow: Vec::new(),
        }]);
    }
    let resolve = |form: ListenerForm| {
        let address = *form.address.get_ref();
        let tls = match form.tls {
            Some(tls) => tls,
            None if address.ip().is_loopback() => ListenerTls::None,
            None => {
                return Err(source.at(
                    &form.address.span(),
                    "this address is reachable from outside, so say what protects it: tls = \"implicit\", \
                     \"starttls\" or, on a network that you trust, \"none\"",
                ));
            }
        };
        Ok(Listener { address, tls, allow: form.allow })
    };
    forms.into_iter().map(resolve).collect()
}

fn certificate(
    source: &Source<'_>,
    tls: Spanned<TlsForm>,
    database: &Database,
) -> Result<Certificate, ConfigError> {
    let span = tls.span();
    match tls.into_inner() {
        TlsForm { certificate: Some(certificate), private_key: Some(private_key), self_signed: false } => {
            Ok(Certificate::Files {
                certificate: source.path(certificate),
                private_key: source.path(private_key),
            })
        }
        TlsForm { certificate: None, private_key: None, self_signed: true } => Ok(Certificate::SelfSigned {
            folder: match database {
                Database::File(path) => path.parent().unwrap_or(Path::new(".")).to_owned(),
                Database::Memory => state_directory(source.folder),
            },
        }),
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
        login_timeout: form.login_timeout,
        idle_timeout: form.idle_timeout,
        preempt_after: form.preempt_after,
        shutdown_grace: form.shutdown_grace,
    })
}

fn upstreams(
    source: &Source<'_>,
    forms: BTreeMap<String, UpstreamForm>,
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
        upstreams.push(Arc::new(upstream(source, name, form, domains)?));
    }
    Ok(upstreams)
}

fn upstream(
    source: &Source<'_>,
    name: String,
    form: UpstreamForm,
    domains: Vec<String>,
) -> Result<Upstream, ConfigError> {
    let span = form.url.span();
    let wrong = |message: String| source.at(&span, message);
    let text = form.url.get_ref();
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
    let loopback = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if security == TransportSecurity::None && !loopback && !form.insecure {
        return Err(wrong(format!(
            "imap:// would send passwords and mail to {host} unprotected: use imaps:// or imap+starttls://, \
             or say insecure = true if that network is yours"
        )));
    }
    let username = match form.username {
        Some(template) => username_template(source, template)?,
        None => UsernameTemplate("{login}".to_owned()),
    };
    Ok(Upstream {
        name,
        host,
        port: url.port().unwrap_or(port),
        security,
        domains,
        username,
        ca_certificate: form.ca_certificate.map(|path| source.path(path)),
        timeout: form.timeout,
        recovery: form.recovery,
    })
}

fn username_template(
    source: &Source<'_>,
    template: Spanned<String>,
) -> Result<UsernameTemplate, ConfigError> {
    let mut rest = template.get_ref().as_str();
    while let Some((_, behind)) = rest.split_once('{') {
        rest = match behind.split_once('}') {
            Some(("login" | "local" | "domain", after)) => after,
            _ => {
                return Err(source.at(
                    &template.span(),
                    "username may hold {login}, {local} and {domain} in braces, nothing else",
                ));
            }
        };
    }
    Ok(UsernameTemplate(template.into_inner()))
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

fn one_minute() -> Duration {
    Duration::from_secs(60)
}

/// A duration with its unit: `"10m"`.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let duration = humantime::parse_duration(&text).map_err(|error| {
        serde::de::Error::custom(format!("\"{text}\" is no duration like \"10m\": {error}"))
    })?;
    if duration.is_zero() {
        return Err(serde::de::Error::custom("a duration of 0 would end everything at once"));
    }
    Ok(duration)
}

/// A word or a list of networks.
fn plaintext_login<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PlaintextLogin, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Word(String),
        Networks(Vec<String>),
    }
    let custom = serde::de::Error::custom::<String>;
    match Form::deserialize(deserializer)? {
        Form::Word(word) => match word.as_str() {
            "never" => Ok(PlaintextLogin::Never),
            "loopback" => Ok(PlaintextLogin::Loopback),
            "always" => Ok(PlaintextLogin::Always),
            _ => Err(custom(format!(
                "\"{word}\" is none of \"never\", \"loopback\", \"always\"; networks go in a list: [\"192.168.1.0/24\"]"
            ))),
        },
        Form::Networks(networks) => networks
            .iter()
            .map(|network| {
                network
                    .parse()
                    .map_err(|_| custom(format!("\"{network}\" is no network like \"192.168.1.0/24\"")))
            })
            .collect::<Result<_, _>>()
            .map(PlaintextLogin::Networks),
    }
}
