//! `[oauth.NAME]`: how popbridge signs in where a mail server takes no passwords (RFC 6749).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;
use url::Url;

use super::Database;
use super::error::ConfigError;
use super::provider::{FlowName, Preset, ProviderName};
use super::secrets::Places;
use super::source::Source;
use crate::secret::SecretSource;
use crate::trust::is_local;

/// `[oauth.NAME]` on disk.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OauthForm {
    pub provider: Spanned<ProviderName>,
    pub client_id: Option<Spanned<String>>,
    pub client_secret_file: Option<Spanned<PathBuf>>,
    pub client_secret_env: Option<Spanned<String>>,
    pub client_secret_command: Option<Spanned<Vec<String>>>,
    pub client_secret_credential: Option<Spanned<String>>,
    pub flow: Option<Spanned<FlowName>>,
    pub tenant: Option<Spanned<String>>,
    pub scopes: Option<Spanned<Vec<String>>>,
    pub authorization_url: Option<Spanned<String>>,
    pub token_url: Option<Spanned<String>>,
    pub device_authorization_url: Option<Spanned<String>>,
    pub service_account_file: Option<Spanned<PathBuf>>,
    pub redirect_port: Option<Spanned<u16>>,
    pub redirect_url: Option<Spanned<String>>,
    pub ca_certificate: Option<PathBuf>,
}

/// A way to sign in, with nothing left to look up.
#[derive(Debug, Clone)]
pub struct Oauth {
    /// Its name in the configuration; tokens are kept under it.
    pub name: String,
    /// Empty for a service account, whose key file has a name of its own.
    pub client_id: String,
    pub client_secret: Option<SecretSource>,
    /// Whether the secret goes into the request's body, not into its header (RFC 6749 §2.3.1).
    pub secret_in_body: bool,
    pub flow: Flow,
    pub token_url: Url,
    pub scopes: Vec<String>,
    pub ca_certificate: Option<PathBuf>,
}

/// How an access token is come by.
#[derive(Debug, Clone)]
pub enum Flow {
    /// A person agrees in a browser (RFC 6749 §4.1, RFC 7636, RFC 8252).
    Code { url: Url, extra: &'static [(&'static str, &'static str)], redirect: Redirect },
    /// A person types a code into a browser anywhere (RFC 8628).
    Device { url: Url },
    /// The program itself may (RFC 6749 §4.4).
    ClientCredentials,
    /// The program may on behalf of each user, by a key of its own (RFC 7523 §2.1).
    ServiceAccount { key_file: PathBuf },
}

impl Flow {
    /// Whether a person has to agree once, with `popbridge authorize`.
    pub fn needs_consent(&self) -> bool {
        matches!(self, Self::Code { .. } | Self::Device { .. })
    }
}

/// Where the browser is sent with the answer.
#[derive(Debug, Clone)]
pub enum Redirect {
    /// To popbridge on this machine, by this name; port 0 is any.
    Here { host: &'static str, port: u16 },
    /// Where nobody listens: the address is copied out of the browser. As it was registered, since
    /// providers compare it octet by octet (RFC 6749 §3.1.2.3).
    Elsewhere(String),
}

/// All ways to sign in, in the order of their names.
pub fn sign_ins(
    source: &Source<'_>,
    forms: BTreeMap<String, OauthForm>,
    database: &Database,
) -> Result<Vec<Arc<Oauth>>, ConfigError> {
    let resolve = |(name, form)| sign_in(source, name, form, database).map(Arc::new);
    forms.into_iter().map(resolve).collect()
}

fn sign_in(
    source: &Source<'_>,
    name: String,
    form: OauthForm,
    database: &Database,
) -> Result<Oauth, ConfigError> {
    let provider = *form.provider.get_ref();
    let place = form.provider.span();
    let flow_name = form.flow.as_ref().map_or(FlowName::Code, |flow| *flow.get_ref());
    let flow_place = form.flow.as_ref().map_or(place.clone(), Spanned::span);
    provider.offers(flow_name).map_err(|message| source.at(&flow_place, message))?;
    let secret = Places {
        secret: "client_secret",
        file: form.client_secret_file.as_ref(),
        env: form.client_secret_env.as_ref(),
        command: form.client_secret_command.as_ref(),
        credential: form.client_secret_credential.as_ref(),
    };
    let secret = secret.one(source)?;
    if let Some((span, file @ SecretSource::File(_))) = &secret {
        file.check().map_err(|error| source.at(span, format!("client_secret_file: {error}")))?;
    }
    let client_secret = secret.map(|(_, secret)| secret);
    let preset = preset(source, &form, flow_name)?;
    let flow = match flow_name {
        FlowName::Code => {
            let url = preset.authorization.ok_or_else(|| missing(source, &form, "authorization_url"))?;
            Flow::Code { url, extra: preset.extra, redirect: redirect(source, &form, preset.loopback)? }
        }
        FlowName::Device => {
            let url = preset.device.ok_or_else(|| missing(source, &form, "device_authorization_url"))?;
            Flow::Device { url }
        }
        FlowName::ClientCredentials if client_secret.is_none() => {
            return Err(missing(source, &form, "client_secret_file"));
        }
        FlowName::ClientCredentials => Flow::ClientCredentials,
        FlowName::ServiceAccount => {
            let path = form.service_account_file.as_ref();
            let path = path.ok_or_else(|| missing(source, &form, "service_account_file"))?;
            let key_file = source.path(path.get_ref().clone());
            SecretSource::File(key_file.clone())
                .check()
                .map_err(|error| source.at(&path.span(), format!("service_account_file: {error}")))?;
            Flow::ServiceAccount { key_file }
        }
    };
    idle_keys(source, &form, flow_name)?;
    if flow.needs_consent() && *database == Database::Memory {
        return Err(source.at(
            &flow_place,
            "what popbridge authorize is given has to be kept: url of [state] must be a file for this flow",
        ));
    }
    let client_id = match (&form.client_id, flow_name) {
        (_, FlowName::ServiceAccount) => String::new(),
        (Some(id), _) if id.get_ref().is_empty() || id.get_ref().contains(char::is_control) => {
            return Err(source.at(
                &id.span(),
                "this is no client id: it is what the provider shows where the application is registered",
            ));
        }
        (Some(id), _) => id.get_ref().clone(),
        (None, _) => return Err(missing(source, &form, "client_id")),
    };
    let scopes = match &form.scopes {
        Some(scopes) => {
            let bad = |scope: &String| {
                scope.is_empty() || scope.contains(|c: char| c.is_whitespace() || c.is_control())
            };
            if scopes.get_ref().iter().any(bad) {
                return Err(source.at(
                    &scopes.span(),
                    "a scope has no blanks in it: several go in a list, [\"a\", \"b\"]",
                ));
            }
            scopes.get_ref().clone()
        }
        None => preset.scopes.iter().map(|&scope| scope.to_owned()).collect(),
    };
    let token_url = preset.token.ok_or_else(|| missing(source, &form, "token_url"))?;
    Ok(Oauth {
        name,
        client_id,
        client_secret,
        secret_in_body: preset.secret_in_body,
        flow,
        token_url,
        scopes,
        ca_certificate: form.ca_certificate.map(|path| source.path(path)),
    })
}

/// What the provider is known by, with the form's own addresses where it is known to nobody.
fn preset(source: &Source<'_>, form: &OauthForm, flow: FlowName) -> Result<Preset, ConfigError> {
    let provider = *form.provider.get_ref();
    let own = [
        ("authorization_url", &form.authorization_url),
        ("token_url", &form.token_url),
        ("device_authorization_url", &form.device_authorization_url),
    ];
    if let Some(tenant) = &form.tenant {
        let text = tenant.get_ref();
        if provider != ProviderName::Microsoft {
            return Err(source.at(&tenant.span(), "only Microsoft has tenants: leave the key out"));
        }
        if text.is_empty()
            || text.starts_with('.')
            || !text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b".-".contains(&octet))
        {
            return Err(source.at(
                &tenant.span(),
                "a tenant is its domain or its id, as \"example.onmicrosoft.com\"; or \"common\", \"organizations\", \
                 \"consumers\"",
            ));
        }
    }
    let tenant = form.tenant.as_ref().map_or("common", |tenant| tenant.get_ref());
    if provider == ProviderName::Microsoft
        && flow == FlowName::ClientCredentials
        && ["common", "organizations", "consumers"].contains(&tenant)
    {
        let place = form.tenant.as_ref().map_or(form.provider.span(), Spanned::span);
        return Err(source.at(
            &place,
            "with flow = \"client-credentials\" the tenant is that of your organisation: its domain or its id",
        ));
    }
    if provider != ProviderName::Custom {
        if let Some((key, Some(url))) = own.into_iter().find(|(_, url)| url.is_some()) {
            let message = format!("{key} is for provider = \"custom\": the others' addresses are known");
            return Err(source.at(&url.span(), message));
        }
        return Ok(provider.preset(tenant, flow));
    }
    let [authorization, token, device] = own.map(|(key, url)| {
        let address = |url: &Spanned<String>| {
            address(url.get_ref()).map_err(|why| source.at(&url.span(), format!("{key}: {why}")))
        };
        url.as_ref().map(address).transpose()
    });
    Ok(Preset {
        authorization: authorization?,
        token: token?,
        device: device?,
        ..provider.preset(tenant, flow)
    })
}

/// An address that secrets are sent to: HTTPS, or on this machine.
fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("\"{text}\" is no address ({error})"))?;
    let host = url.host_str().unwrap_or_default();
    match url.scheme() {
        "https" if !host.is_empty() => {}
        "http" if is_local(host) => {}
        _ => return Err(format!("\"{text}\" must begin with https://, unless it is on this machine")),
    }
    if url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Err(format!("\"{text}\" holds more than scheme, host, path and query"));
    }
    Ok(url)
}

fn redirect(source: &Source<'_>, form: &OauthForm, host: &'static str) -> Result<Redirect, ConfigError> {
    match (&form.redirect_port, &form.redirect_url) {
        (Some(_), Some(url)) => Err(source.at(
            &url.span(),
            "redirect_port and redirect_url exclude each other: with the first popbridge \
             listens itself, with the second nobody does",
        )),
        (port, None) => Ok(Redirect::Here { host, port: port.as_ref().map_or(0, |port| *port.get_ref()) }),
        (None, Some(url)) => {
            let text = url.get_ref();
            let parsed = Url::parse(text).ok().filter(|parsed| parsed.fragment().is_none());
            if parsed.is_none() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
                return Err(
                    source.at(&url.span(), "this is no address that a provider could send a browser to")
                );
            }
            Ok(Redirect::Elsewhere(text.clone()))
        }
    }
}

/// A key that means nothing with this flow is a misunderstanding.
fn idle_keys(source: &Source<'_>, form: &OauthForm, flow: FlowName) -> Result<(), ConfigError> {
    let code = flow == FlowName::Code;
    let service = flow == FlowName::ServiceAccount;
    let keys = [
        ("service_account_file", form.service_account_file.as_ref().map(Spanned::span), service),
        ("redirect_port", form.redirect_port.as_ref().map(Spanned::span), code),
        ("redirect_url", form.redirect_url.as_ref().map(Spanned::span), code),
        ("client_id", form.client_id.as_ref().map(Spanned::span), !service),
    ];
    match keys.into_iter().find_map(|(key, span, used)| span.filter(|_| !used).map(|span| (key, span))) {
        Some((key, span)) => {
            Err(source
                .at(&span, format!("{key} has no meaning with flow = \"{}\": leave it out", flow.name())))
        }
        None => Ok(()),
    }
}

fn missing(source: &Source<'_>, form: &OauthForm, key: &str) -> ConfigError {
    let why = match key {
        "client_id" => "it comes from registering popbridge with the provider: see docs/oauth.md",
        "client_secret_file" => {
            "this flow is the program's own, which proves itself by a secret; or _env, _command, _credential"
        }
        "service_account_file" => "the key in JSON form that Google lets you download",
        _ => "only the known providers' addresses are known",
    };
    source.at(&form.provider.span(), format!("the key \"{key}\" is missing here: {why}"))
}
