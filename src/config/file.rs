//! The configuration's form on disk: TOML, strict, every key with its default.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::{ListenerTls, Maildrop, PlaintextLogin};

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
    #[serde(default)]
    pub maildrop: Maildrop,
    #[serde(default)]
    pub state: StateForm,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerForm {
    pub address: Spanned<SocketAddr>,
    pub tls: Option<ListenerTls>,
    #[serde(default)]
    pub allow: Vec<IpNet>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsForm {
    pub certificate: Option<PathBuf>,
    pub private_key: Option<PathBuf>,
    #[serde(default)]
    pub self_signed: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecurityForm {
    #[serde(deserialize_with = "plaintext_login")]
    pub plaintext_login: PlaintextLogin,
}

impl Default for SecurityForm {
    fn default() -> Self {
        Self { plaintext_login: PlaintextLogin::Loopback }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsForm {
    pub sessions: Spanned<usize>,
    pub sessions_per_address: Spanned<usize>,
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
    pub ca_certificate: Option<PathBuf>,
    #[serde(default = "one_minute", deserialize_with = "duration")]
    pub timeout: Duration,
    #[serde(default = "one_minute", deserialize_with = "duration")]
    pub recovery: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StateForm {
    pub url: Spanned<String>,
}

impl Default for StateForm {
    fn default() -> Self {
        Self { url: Spanned::new(0..0, "sqlite:popbridge.db".to_owned()) }
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
