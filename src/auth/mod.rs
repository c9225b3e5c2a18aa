//! Who logs in: SASL exchanges with the client, where a login leads, whether it is let in, and
//! what becomes of who guesses; and how popbridge itself signs in at a provider.

mod accounts;
mod door;
mod failures;
pub mod oauth;
mod passwords;
mod rejections;
mod sasl;
mod table;
mod throttle;
mod turns;

use std::net::IpAddr;

pub use accounts::{Accounts, Route};
pub use door::{Admitted, Door, Opening, Refused};
pub use rejections::Rejections;
pub use sasl::{Exchange, Malformed, Mechanism, Next};
pub use throttle::{Attempt, Throttle};

use crate::secret::{Fingerprint, ScramVerifier, Secret};

/// Where a client is, and how.
#[derive(Debug, Clone, Copy)]
pub struct Visitor {
    pub address: IpAddr,
    pub tls: bool,
    /// Of the certificate that it has shown.
    pub certificate: Option<Fingerprint>,
}

/// All that an exchange has to know of who holds it, and with whom.
#[derive(Clone, Copy)]
pub struct Entrance<'a> {
    pub accounts: &'a Accounts,
    pub door: &'a Door,
    pub throttle: &'a Throttle,
    pub visitor: Visitor,
}

/// A name and what is to prove it, as the client gave them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub login: String,
    pub claim: Claim,
}

impl Credentials {
    /// What a client hears whose token is refused; `None` for all other claims.
    pub fn token_refusal(&self) -> Option<&'static str> {
        match self.claim {
            Claim::Token { refusal, .. } => Some(refusal),
            Claim::Password(_) | Claim::Scram(_) | Claim::Certificate => None,
        }
    }
}

/// What is to prove a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    Password(Secret),
    /// An access token of OAuth 2, and what its mechanism says to a client whose token is refused.
    Token {
        token: Secret,
        refusal: &'static str,
    },
    /// The verifier of which the client has shown in an exchange to know the password; `None`: it
    /// has not.
    Scram(Option<ScramVerifier>),
    /// The certificate that the visitor has shown.
    Certificate,
}

impl Claim {
    /// What was given to prove it, if that was a secret.
    pub fn secret(&self) -> Option<&Secret> {
        match self {
            Self::Password(secret) | Self::Token { token: secret, .. } => Some(secret),
            Self::Scram(_) | Self::Certificate => None,
        }
    }
}
