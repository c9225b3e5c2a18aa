//! What is found, what was tried, and why nothing was found.

use std::fmt;

use super::address::MailAddress;
use super::providers::is_within;
use crate::config::{TransportSecurity, UsernameTemplate};

/// An IMAP server that has answered, with a certificate that is good for its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub host: String,
    pub port: u16,
    pub security: TransportSecurity,
    /// The user name for this address.
    pub username: String,
    /// The same for the configuration: `{login}`, `{local}`, `{domain}` stand for their parts.
    pub username_template: String,
    /// The least trouble first; never empty.
    pub authentication: Vec<Authentication>,
    pub source: Source,
    /// For whom there are OAuth settings: `"google"`, `"microsoft"`, `"yahoo"`.
    pub provider: Option<&'static str>,
    /// Whether to ask before a password goes there: it is another domain's host, and only DNS,
    /// which anyone on the way may have changed, says so (RFC 6186 §6).
    pub confirm: bool,
    /// What the provider wants of its users, in a sentence.
    pub note: Option<&'static str>,
}

impl Candidate {
    /// A server that a source names, to be tried; by password and by nobody known, until more is
    /// told.
    pub(super) fn named(
        source: Source,
        address: &MailAddress,
        host: String,
        port: u16,
        security: TransportSecurity,
        template: &UsernameTemplate,
    ) -> Self {
        let by_dns = matches!(source, Source::Srv | Source::Mx);
        Self {
            confirm: by_dns && !is_within(&host, address.domain()),
            host,
            port,
            security,
            username: template.fill(&address.to_string()),
            username_template: template.to_string(),
            authentication: vec![Authentication::Password],
            source,
            provider: None,
            note: None,
        }
    }

    /// As the configuration names it: `imaps://imap.example.org`, with a port that is not the usual.
    pub fn url(&self) -> String {
        let (scheme, usual) = match self.security {
            TransportSecurity::Tls => ("imaps", 993),
            TransportSecurity::StartTls => ("imap+starttls", 143),
            TransportSecurity::None => ("imap", 143),
        };
        let port = if self.port == usual { String::new() } else { format!(":{}", self.port) };
        format!("{scheme}://{}{port}", self.host)
    }
}

/// How one may log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication {
    Password,
    /// OAuth 2, signing in at this host.
    OAuth2(String),
}

/// Who named a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// popbridge's own table of providers.
    BuiltIn,
    /// The domain's own description (draft-ietf-mailmaint-autoconfig).
    Autoconfig,
    /// Thunderbird's database of providers.
    Ispdb,
    /// RFC 6186.
    Srv,
    /// The provider that takes the domain's mail.
    Mx,
    Guess,
}

impl Source {
    /// In a few words: "named by …".
    pub fn name(self) -> &'static str {
        match self {
            Self::BuiltIn => "popbridge's table of providers",
            Self::Autoconfig => "the domain's own autoconfig",
            Self::Ispdb => "Thunderbird's database",
            Self::Srv => "the domain's SRV records",
            Self::Mx => "the domain's MX records",
            Self::Guess => "a guess",
        }
    }
}

/// A step of the search. `Display` is a line for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    pub source: Source,
    /// Who was asked: a host, with its port if it is a mail server, or a name in DNS.
    pub place: String,
    pub outcome: Outcome,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It has begun.
    Asking,
    /// What the answer names.
    Found(String),
    /// Why it is of no use.
    Failed(String),
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Asking => write!(f, "asking {} …", self.place),
            Outcome::Found(what) => write!(f, "{}: {what}", self.place),
            Outcome::Failed(reason) => write!(f, "{}: {reason}", self.place),
        }
    }
}

/// No server of the address was found. `Display` tells all that was tried, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NothingFound {
    pub domain: String,
    pub tried: Vec<Tried>,
    /// What the provider wants of its users, if popbridge's table knows it.
    pub note: Option<&'static str>,
    /// Whether the environment names a proxy: mail servers and DNS are not reached by one.
    pub proxied: bool,
}

impl std::error::Error for NothingFound {}

impl fmt::Display for NothingFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "no IMAP server was found for {}:", self.domain)?;
        for tried in &self.tried {
            writeln!(f, "  {tried}")?;
        }
        if let Some(note) = self.note {
            writeln!(f, "{note}")?;
        }
        if self.proxied {
            writeln!(f, "only web servers are asked by the proxy; DNS and mail servers have to be in reach")?;
        }
        write!(f, "ask the provider for its IMAP server, and give it: --imap imaps://HOST")
    }
}
