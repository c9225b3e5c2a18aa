//! What is known of the providers.

use serde::Deserialize;
use url::Url;

/// Whom to sign in with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderName {
    Google,
    Microsoft,
    Yahoo,
    Custom,
}

/// The word for a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowName {
    Code,
    Device,
    ClientCredentials,
    ServiceAccount,
}

impl FlowName {
    pub fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Device => "device",
            Self::ClientCredentials => "client-credentials",
            Self::ServiceAccount => "service-account",
        }
    }
}

/// A provider's addresses and ways.
pub struct Preset {
    pub authorization: Option<Url>,
    pub token: Option<Url>,
    pub device: Option<Url>,
    pub scopes: &'static [&'static str],
    /// What it takes beside the standard's parameters, so that a refresh token comes.
    pub extra: &'static [(&'static str, &'static str)],
    pub secret_in_body: bool,
    /// What it wants this machine to be called in a redirect.
    pub loopback: &'static str,
}

impl ProviderName {
    /// Whether it lets mail be read by this flow; else, what to do instead.
    pub fn offers(self, flow: FlowName) -> Result<(), &'static str> {
        match (self, flow) {
            (Self::Google, FlowName::Device) => Err(
                "Google's device flow is not for mail (it refuses the scope): use flow = \"code\", which works \
                 without a browser on this machine, too",
            ),
            (Self::Google, FlowName::ClientCredentials) => {
                Err("Google lets a program in by itself as a service account: flow = \"service-account\"")
            }
            (Self::Microsoft, FlowName::ServiceAccount) => {
                Err("Microsoft lets a program in by itself with flow = \"client-credentials\"")
            }
            (Self::Yahoo, FlowName::Device | FlowName::ClientCredentials | FlowName::ServiceAccount) => {
                Err("Yahoo has flow = \"code\" only")
            }
            (Self::Google | Self::Microsoft | Self::Yahoo | Self::Custom, _) => Ok(()),
        }
    }

    /// What is known of it; of a custom one, nothing.
    pub fn preset(self, tenant: &str, flow: FlowName) -> Preset {
        // All are checked by a test; a tenant has no character that could change the path.
        let url = |text: &str| Url::parse(text).ok();
        match self {
            Self::Google => Preset {
                authorization: url("https://accounts.google.com/o/oauth2/v2/auth"),
                token: url("https://oauth2.googleapis.com/token"),
                device: None,
                scopes: &["https://mail.google.com/"],
                // A refresh token comes with the first consent only, unless consent is asked for.
                extra: &[("access_type", "offline"), ("prompt", "consent")],
                secret_in_body: true,
                loopback: "127.0.0.1",
            },
            Self::Microsoft => {
                let at =
                    |end: &str| url(&format!("https://login.microsoftonline.com/{tenant}/oauth2/v2.0/{end}"));
                Preset {
                    authorization: at("authorize"),
                    token: at("token"),
                    device: at("devicecode"),
                    scopes: match flow {
                        FlowName::ClientCredentials => &["https://outlook.office365.com/.default"],
                        _ => &["https://outlook.office.com/IMAP.AccessAsUser.All", "offline_access"],
                    },
                    extra: &[],
                    secret_in_body: true,
                    // The one name under which it lets the port be any.
                    loopback: "localhost",
                }
            }
            Self::Yahoo => Preset {
                authorization: url("https://api.login.yahoo.com/oauth2/request_auth"),
                token: url("https://api.login.yahoo.com/oauth2/get_token"),
                device: None,
                scopes: &["mail-w"],
                extra: &[],
                secret_in_body: false,
                loopback: "localhost",
            },
            Self::Custom => Preset {
                authorization: None,
                token: None,
                device: None,
                scopes: &[],
                extra: &[],
                secret_in_body: false,
                loopback: "127.0.0.1",
            },
        }
    }
}
