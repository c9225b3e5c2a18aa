//! Resolved settings: read once, checked, with nothing left to look up. `file` has their form
//! on disk, `resolve` the way from there.

mod accounts;
mod error;
mod file;
mod layer;
mod listener;
mod maildrop;
mod oauth;
mod places;
mod provider;
mod resolve;
mod secrets;
mod source;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

pub use error::ConfigError;
pub use listener::{Listener, ListenerTls, clash};
pub use maildrop::{
    Lock, Maildrop, NoShare, NoSize, OnDelete, OnRetrieve, Share, Size, UniqueIdScheme, folder_name,
};
pub use oauth::{Flow, Oauth, Redirect};

use crate::secret::{Credential, Fingerprint, PasswordHash, Secret, SecretSource};

/// Everything that popbridge was told.
#[derive(Debug, Clone)]
pub struct Config {
    pub listeners: Vec<Listener>,
    pub certificate: Option<Certificate>,
    /// Who signs the certificates that clients may show, in PEM form; `None`: they are not asked
    /// for one.
    pub client_ca: Option<PathBuf>,
    pub security: Security,
    pub limits: Limits,
    /// In the order of their names.
    pub upstreams: Vec<Arc<Upstream>>,
    /// In the file's order.
    pub accounts: Vec<Arc<Account>>,
    /// The ways to sign in, in the order of their names.
    pub sign_ins: Vec<Arc<Oauth>>,
    pub database: Database,
    /// Where the key is that tokens are sealed with; `None`: nothing outlives the process.
    pub state_key: Option<SecretSource>,
    /// How long the trail of what was deleted is kept.
    pub deletions_kept: Duration,
}

impl Config {
    /// Reads and checks a configuration file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.display().to_string(), source })?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        resolve::parse(&text, &path.display().to_string(), Some(folder.unwrap_or(Path::new("."))))
    }

    /// Checks a configuration's text; `origin` names it in errors, relative paths start at `folder`.
    pub fn parse(text: &str, origin: &str, folder: &Path) -> Result<Self, ConfigError> {
        resolve::parse(text, origin, Some(folder))
    }

    /// The configuration of `serve --imap URL --listen ADDRESS`: all defaults, one upstream.
    pub fn for_upstream(url: &str, listen: SocketAddr) -> Result<Self, ConfigError> {
        let quote = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let text = format!(
            "[[listener]]\naddress = {}\n[upstream.default]\nurl = {}\n",
            quote(&listen.to_string()),
            quote(url)
        );
        resolve::parse(&text, "command line", None)
    }
}

/// What the listeners identify themselves with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificate {
    Files {
        certificate: PathBuf,
        private_key: PathBuf,
    },
    /// Made at the first start and kept in this folder.
    SelfSigned {
        folder: PathBuf,
        /// Where the listeners listen, for its names.
        addresses: Vec<IpAddr>,
    },
}

/// Who may log in how.
#[derive(Debug, Clone)]
pub struct Security {
    pub plaintext_login: PlaintextLogin,
    /// Wrong passwords from one address in the window; 0: any number.
    pub max_login_failures: u32,
    pub login_failure_window: Duration,
}

/// From where a password may come without TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaintextLogin {
    Never,
    Loopback,
    Always,
    Networks(Vec<IpNet>),
}

impl PlaintextLogin {
    /// Whether a client at `address` may send its password in plaintext.
    pub fn allows(&self, address: IpAddr) -> bool {
        match self {
            Self::Never => false,
            Self::Loopback => address.to_canonical().is_loopback(),
            Self::Always => true,
            Self::Networks(networks) => contains(networks, address),
        }
    }
}

/// Whether one of `networks` holds `address`; an IPv4 address mapped into IPv6 is the IPv4 one.
pub fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// Bounds on sessions.
#[derive(Debug, Clone)]
pub struct Limits {
    pub sessions: usize,
    pub sessions_per_address: usize,
    /// Upstream connections that wait for their next session, at most.
    pub kept_connections: usize,
    /// From the connection to the successful login.
    pub login_timeout: Duration,
    /// RFC 1939 §3 wants at least ten minutes.
    pub idle_timeout: Duration,
    /// A client silent for this long gives way to a new login of the same maildrop.
    pub preempt_after: Duration,
    /// What sessions may still take when the program is told to stop.
    pub shutdown_grace: Duration,
}

/// An IMAP server and who belongs to it.
#[derive(Debug, Clone)]
pub struct Upstream {
    pub name: String,
    pub host: String,
    pub port: u16,
    pub security: TransportSecurity,
    /// In lower case; `*` takes the rest.
    pub domains: Vec<String>,
    pub username: UsernameTemplate,
    pub authentication: Authentication,
    pub ca_certificate: Option<PathBuf>,
    /// Whether COMPRESS=DEFLATE is used where it is offered.
    pub compress: bool,
    /// Bounds every single wait for the server.
    pub timeout: Duration,
    /// How long a message that broke off is tried again.
    pub recovery: Duration,
    /// How long a connection waits for the account's next session; zero: it does not.
    pub keep_alive: Duration,
    /// A connection in IDLE that told nothing stands for SELECT.
    pub trust_idle: bool,
    pub connections_per_account: usize,
    /// For its logins that have no [`Account`].
    pub maildrop: Arc<Maildrop>,
}

impl Upstream {
    /// A secret for this upstream, as what it is there: a password or an access token.
    pub fn credential(&self, secret: Secret) -> Credential {
        match self.authentication {
            Authentication::Password => Credential::Password(secret),
            Authentication::OAuth2 => Credential::Token(secret),
        }
    }
}

/// What an upstream takes for a proof of who somebody is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Authentication {
    #[default]
    Password,
    /// Access tokens (RFC 6750): of the program's making, or of its password_command's.
    OAuth2,
}

/// The upstream that has the login's domain, else the one that takes the rest. A lone upstream
/// without domains takes everyone.
pub fn upstream_for<'a>(upstreams: &'a [Arc<Upstream>], login: &str) -> Option<&'a Arc<Upstream>> {
    let domain = login.rsplit_once('@').map(|(_, domain)| domain.to_lowercase());
    let of = |wanted: &str| {
        upstreams.iter().find(|upstream| upstream.domains.iter().any(|domain| domain == wanted))
    };
    domain.and_then(|domain| of(&domain)).or_else(|| of("*")).or(match upstreams {
        [only] if only.domains.is_empty() => Some(only),
        _ => None,
    })
}

/// A login with settings of its own.
#[derive(Debug, Clone)]
pub struct Account {
    pub login: String,
    pub upstream: Arc<Upstream>,
    /// The user name at the upstream.
    pub username: String,
    /// `None`: the login's password is the upstream's.
    pub own_password: Option<OwnPassword>,
    /// The certificate that opens it as well; with [`Self::own_password`] only.
    pub client_certificate: Option<Fingerprint>,
    /// From where it may be used; empty: from everywhere.
    pub allow: Vec<IpNet>,
    /// Whether it may be used under TLS only.
    pub require_tls: bool,
    pub maildrop: Arc<Maildrop>,
}

/// A POP3 password that is no other's, in front of one that the program does not know.
#[derive(Debug, Clone)]
pub struct OwnPassword {
    /// `None`: no password opens the login, only its certificate.
    pub hash: Option<PasswordHash>,
    /// How the upstream is logged in to instead.
    pub upstream: Means,
}

/// What popbridge logs in with by itself at an upstream.
#[derive(Debug, Clone)]
pub enum Means {
    /// A password, read from here.
    Password(SecretSource),
    /// An access token of OAuth 2.
    SignIn(Arc<Oauth>),
}

impl Means {
    /// The configuration's key for it.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Password(source) => source.key(),
            Self::SignIn(_) => "oauth",
        }
    }
}

/// How the connection to an upstream is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportSecurity {
    /// `imaps://`
    Tls,
    /// `imap+starttls://`
    StartTls,
    /// `imap://`: loopback, or with `insecure = true`
    None,
}

/// How the upstream's user name is made from the login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsernameTemplate(String);

impl Default for UsernameTemplate {
    fn default() -> Self {
        Self("{login}".to_owned())
    }
}

impl fmt::Display for UsernameTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why some text is no template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoTemplate {
    #[error("an empty username logs nobody in; leave the key out for \"{{login}}\"")]
    Empty,
    #[error("username may hold {{login}}, {{local}} and {{domain}} in braces, nothing else")]
    Unknown,
}

impl FromStr for UsernameTemplate {
    type Err = NoTemplate;

    fn from_str(text: &str) -> Result<Self, NoTemplate> {
        if text.is_empty() {
            return Err(NoTemplate::Empty);
        }
        let mut rest = text;
        while let Some((_, behind)) = rest.split_once('{') {
            rest = match behind.split_once('}') {
                Some(("login" | "local" | "domain", after)) => after,
                _ => return Err(NoTemplate::Unknown),
            };
        }
        Ok(Self(text.to_owned()))
    }
}

impl UsernameTemplate {
    /// `{login}`, `{local}` and `{domain}` filled in.
    pub fn fill(&self, login: &str) -> String {
        let (local, domain) = login.rsplit_once('@').unwrap_or((login, ""));
        let mut filled = String::new();
        let mut rest = self.0.as_str();
        while let Some((before, behind)) = rest.split_once('{') {
            filled.push_str(before);
            let (name, after) = behind.split_once('}').unwrap_or((behind, ""));
            filled.push_str(match name {
                "local" => local,
                "domain" => domain,
                _ => login,
            });
            rest = after;
        }
        filled.push_str(rest);
        filled
    }
}

/// Where the state is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    File(PathBuf),
    /// `sqlite::memory:`: hidden messages are forgotten at the end.
    Memory,
}
