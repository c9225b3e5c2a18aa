//! Whose mailbox, and which folder of it.

use super::error::Error;
use crate::ids::UidValidity;
use crate::secret::{Credential, SecretSource};
use crate::upstream::{self, Access, Connector, FolderName};

/// Whose mailbox on which server.
#[derive(Clone)]
pub struct Account {
    /// The POP3 login.
    pub login: String,
    pub connector: Connector,
    /// The user name there.
    pub username: String,
    pub credential: Credential,
    /// Where popbridge has read the credential; `None`: the program gave it.
    pub source: Option<SecretSource>,
}

impl Account {
    /// With the password as it is now, for a login in the middle of a session. A place that gives
    /// none just now is no reason to doubt the password that was good a while ago.
    pub async fn renew(&mut self) {
        let Some(source) = &self.source else { return };
        match source.read().await {
            Ok(secret) => self.credential = self.connector.upstream().credential(secret),
            Err(error) => {
                tracing::warn!(login = %self.login, key = source.key(), %error, "a password is not read again");
            }
        }
    }

    /// What it means that its login failed: a password that popbridge has read itself is not the
    /// program's fault.
    pub fn blame(&self, error: upstream::Error) -> Error {
        match (&self.source, error) {
            (Some(source), upstream::Error::Login(status)) if status.rejects_credentials() => {
                Error::SecretRefused { login: self.login.clone(), key: source.key(), status }
            }
            (_, error) => error.into(),
        }
    }
}

/// An account whose password popbridge can read itself.
#[derive(Clone)]
pub struct Entrusted {
    pub login: String,
    pub connector: Connector,
    pub username: String,
    pub source: SecretSource,
}

impl Entrusted {
    /// With the password as it is now.
    pub async fn account(self) -> Result<Account, Error> {
        let Self { login, connector, username, source } = self;
        match source.read().await {
            Ok(secret) => {
                let credential = connector.upstream().credential(secret);
                Ok(Account { login, connector, username, credential, source: Some(source) })
            }
            Err(reason) => Err(Error::Secret { login, key: source.key(), reason }),
        }
    }
}

/// A folder as it has to be when something is done in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub folder: FolderName,
    pub validity: UidValidity,
    pub access: Access,
}
