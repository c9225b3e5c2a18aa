//! The configuration's form on disk: TOML, strict, every key with its default.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use toml::{Spanned, Value};

use super::layer::{MaildropForm, duration_or_zero, layer};
use super::oauth::OauthForm;
use super::{Authentication, ListenerTls, PlaintextLogin};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileForm {
    #[serde(default)]
    pub listener: Vec<ListenerForm>,
    pub tls: Option<Spanned<TlsForm>>,
    #[serde(default)]
    pub security: SecurityForm,
    #[serde(default)]
    pub limits: LimitsForm,
    #[serde(default)]
    pub upstream: BTreeMap<String, UpstreamForm>,
    #[serde(default, deserialize_with = "layer")]
    pub maildrop: MaildropForm,
    #[serde(default)]
    pub account: Vec<AccountForm>,
    #[serde(default)]
    pub oauth: BTreeMap<String, OauthForm>,
    #[serde(default)]
    pub state: StateForm,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerForm {
    #[serde(deserialize_with = "address")]
    pub address: Spanned<SocketAddr>,
    pub tls: Option<ListenerTls>,
    #[serde(default, deserialize_with = "networks")]
    pub allow: Vec<IpNet>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsForm {
    pub certificate: Option<PathBuf>,
    pub private_key: Option<PathBuf>,
    #[serde(default)]
    pub self_signed: bool,
    pub client_ca: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecurityForm {
    #[serde(deserialize_with = "plaintext_login")]
    pub plaintext_login: PlaintextLogin,
    pub max_login_failures: u32,
    #[serde(deserialize_with = "window")]
    pub login_failure_window: Duration,
}

impl Default for SecurityForm {
    fn default() -> Self {
        Self {
            plaintext_login: PlaintextLogin::Loopback,
            max_login_failures: 5,
            login_failure_window: Duration::from_secs(10 * 60),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsForm {
    pub sessions: Spanned<usize>,
    pub sessions_per_address: Spanned<usize>,
    pub kept_connections: usize,
    #[serde(deserialize_with = "duration")]
    pub login_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    pub idle_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    pub preempt_after: Duration,
    #[serde(deserialize_with = "duration")]
    pub shutdown_grace: Duration,
}

impl Default for LimitsForm {
    fn default() -> Self {
        Self {
            sessions: Spanned::new(0..0, 1024),
            sessions_per_address: Spanned::new(0..0, 32),
            kept_connections: 64,
            login_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(600),
            preempt_after: Duration::from_secs(30),
            shutdown_grace: Duration::from_secs(30),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamForm {
    pub url: Spanned<String>,
    #[serde(default)]
    pub insecure: bool,
    #[serde(default)]
    pub domains: Vec<Spanned<String>>,
    pub username: Option<Spanned<String>>,
    #[serde(default)]
    pub authentication: Authentication,
    pub ca_certificate: Option<PathBuf>,
    #[serde(default)]
    pub compress: bool,
    #[serde(default = "one_minute", deserialize_with = "duration")]
    pub timeout: Duration,
    #[serde(default = "one_minute", deserialize_with = "duration")]
    pub recovery: Duration,
    #[serde(default = "five_minutes", deserialize_with = "waiting")]
    pub keep_alive: Duration,
    #[serde(default)]
    pub trust_idle: bool,
    #[serde(default = "two")]
    pub connections_per_account: Spanned<usize>,
    #[serde(default, deserialize_with = "layer")]
    pub maildrop: MaildropForm,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountForm {
    pub login: Spanned<String>,
    pub upstream: Option<Spanned<String>>,
    pub username: Option<Spanned<String>>,
    pub password_hash: Option<Spanned<String>>,
    pub client_certificate: Option<Spanned<String>>,
    pub password_file: Option<Spanned<PathBuf>>,
    pub password_env: Option<Spanned<String>>,
    pub password_command: Option<Spanned<Vec<String>>>,
    pub password_credential: Option<Spanned<String>>,
    pub oauth: Option<Spanned<String>>,
    #[serde(default, deserialize_with = "networks")]
    pub allow: Vec<IpNet>,
    #[serde(default)]
    pub require_tls: bool,
    #[serde(default, deserialize_with = "layer")]
    pub maildrop: MaildropForm,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StateForm {
    pub url: Spanned<String>,
    #[serde(deserialize_with = "kept")]
    pub deletions_kept: Duration,
    pub key_file: Option<Spanned<PathBuf>>,
    pub key_env: Option<Spanned<String>>,
    pub key_credential: Option<Spanned<String>>,
}

impl Default for StateForm {
    fn default() -> Self {
        Self {
            url: Spanned::new(0..0, "sqlite:popbridge.db".to_owned()),
            deletions_kept: Duration::from_secs(90 * 24 * 60 * 60),
            key_file: None,
            key_env: None,
            key_credential: None,
        }
    }
}

fn one_minute() -> Duration {
    Duration::from_secs(60)
}

fn five_minutes() -> Duration {
    Duration::from_secs(5 * 60)
}

fn two() -> Spanned<usize> {
    Spanned::new(0..0, 2)
}

/// A duration with its unit: `"10m"`.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    not_zero(deserializer, "10m", "a duration of 0 would end everything at once")
}

/// How long something may wait; not at all, with `"0s"`.
fn waiting<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    Ok(duration_or_zero(deserializer)?.unwrap_or_default())
}

/// How long something is kept: `"90d"`.
fn kept<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    not_zero(deserializer, "90d", "a duration of 0 would keep no trail of what was deleted")
}

/// How long a wrong password counts; it is known in memory only.
fn window<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let window = not_zero(deserializer, "10m", "max_login_failures = 0 is how to count no wrong passwords")?;
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(30 * 24 * 60 * 60));
    if window < least || window > most {
        return Err(D::Error::custom(
            "wrong passwords can be counted over \"1s\" at the least, \"30d\" at the most",
        ));
    }
    Ok(window)
}

fn not_zero<'de, D: Deserializer<'de>>(
    deserializer: D,
    example: &str,
    zero: &str,
) -> Result<Duration, D::Error> {
    let wrong =
        |value: &str| D::Error::custom(format!("{value} is no duration with its unit, like \"{example}\""));
    let value = Value::deserialize(deserializer)?;
    let Value::String(text) = &value else {
        return Err(wrong(&value.to_string()));
    };
    let duration = humantime::parse_duration(text).map_err(|_| wrong(&value.to_string()))?;
    if duration.is_zero() {
        return Err(D::Error::custom(zero));
    }
    Ok(duration)
}

/// An address with its port.
fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Spanned<SocketAddr>, D::Error> {
    let text = Spanned::<String>::deserialize(deserializer)?;
    let parsed = text.get_ref().parse().map_err(|_| {
        D::Error::custom(format!(
            "\"{}\" is no address with a port, like \"127.0.0.1:1110\" or \"[::]:1110\"",
            text.get_ref()
        ))
    })?;
    Ok(Spanned::new(text.span(), parsed))
}

/// A list of networks; a lone address is a network of one.
fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    Vec::<String>::deserialize(deserializer)?.iter().map(|text| network(text)).collect()
}

fn network<E: Error>(text: &str) -> Result<IpNet, E> {
    text.parse()
        .or_else(|_| text.parse().map(|address: IpAddr| address.into()))
        .map_err(|_| E::custom(format!("\"{text}\" is no network like \"192.168.1.0/24\"")))
}

/// A word or a list of networks.
fn plaintext_login<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PlaintextLogin, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let list = match &value {
        Value::Array(items) => items.iter().map(Value::as_str).collect::<Option<Vec<&str>>>(),
        _ => None,
    };
    match (value.as_str(), list) {
        (Some("never"), _) => Ok(PlaintextLogin::Never),
        (Some("loopback"), _) => Ok(PlaintextLogin::Loopback),
        (Some("always"), _) => Ok(PlaintextLogin::Always),
        (_, Some(list)) => {
            list.into_iter().map(network).collect::<Result<_, _>>().map(PlaintextLogin::Networks)
        }
        _ => Err(D::Error::custom(format!(
            "{value} is none of \"never\", \"loopback\", \"always\"; networks go in a list: [\"192.168.1.0/24\"]"
        ))),
    }
}
