//! Who logs in: SASL exchanges with the client, where a login leads, and whether it is let in.

mod accounts;
mod door;
mod passwords;
mod sasl;

use std::net::IpAddr;

pub use accounts::{Accounts, Route};
pub use door::{Admitted, Door, Opening, Refused};
pub use sasl::{Exchange, Malformed, Mechanism, Next};

use crate::secret::{Fingerprint, ScramVerifier, Secret};

/// Where a client is, and how.
#[derive(Debug, Clone, Copy)]
pub struct Visitor {
    pub address: IpAddr,
    pub tls: bool,
    /// Of the certificate that it has shown.
    pub certificate: Option<Fingerprint>,
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
