//! Where popbridge itself has an account's credential from.

use super::error::Error;
use crate::config::{Means, Upstream};
use crate::grants::{Grant, Grants};
use crate::secret::{Credential, SecretSource};

/// A place that gives a password, or a sign-in that gives tokens.
#[derive(Clone)]
pub enum Source {
    Password(SecretSource),
    SignIn(Grant),
}

impl Source {
    /// What the configuration names; `None` for a sign-in that there is not.
    pub fn of(means: &Means, grants: &Grants, login: &str, username: &str) -> Option<Self> {
        match means {
            Means::Password(source) => Some(Self::Password(source.clone())),
            Means::SignIn(oauth) => grants.grant(&oauth.name, login, username).map(Self::SignIn),
        }
    }

    /// The configuration's key for it.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Password(source) => source.key(),
            Self::SignIn(_) => "oauth",
        }
    }

    /// The credential for this upstream as it is now.
    pub async fn read(&self, login: &str, upstream: &Upstream) -> Result<Credential, Error> {
        match self {
            Self::Password(source) => match source.read().await {
                Ok(secret) => Ok(upstream.credential(secret)),
                Err(reason) => Err(Error::Secret { login: login.to_owned(), key: source.key(), reason }),
            },
            Self::SignIn(grant) => Ok(Credential::Token(grant.token().await?)),
        }
    }
}
