//! Whose mailbox, and which folder of it.

use super::error::Error;
use super::source::Source;
use crate::ids::UidValidity;
use crate::secret::Credential;
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
    pub source: Option<Source>,
}

impl Account {
    /// With the credential as it is now, for a login in the middle of a session. A place that gives
    /// none just now is no reason to doubt the one that was good a while ago.
    pub async fn renew(&mut self) {
        let Some(source) = &self.source else { return };
        match source.read(&self.login, self.connector.upstream()).await {
            Ok(credential) => self.credential = credential,
            Err(error) => {
                tracing::warn!(login = %self.login, key = source.key(), %error, "a credential is not read again");
            }
        }
    }

    /// Whether there is another credential now in place of one that its server has refused with this
    /// error: a provider may end an access token before its time.
    pub async fn replace(&mut self, error: &upstream::Error) -> Result<bool, Error> {
        let (Some(Source::SignIn(grant)), upstream::Error::Login(status)) = (&self.source, error) else {
            return Ok(false);
        };
        if !status.rejects_credentials() {
            return Ok(false);
        }
        let token = grant.replace(self.credential.secret()).await?;
        Ok(token.map(|token| self.credential = Credential::Token(token)).is_some())
    }

    /// What it means that its login failed: a credential that popbridge has by itself is not the
    /// program's fault.
    pub fn blame(&self, error: upstream::Error) -> Error {
        let login = self.login.clone();
        match (&self.source, error) {
            (Some(source), upstream::Error::Login(status)) if status.rejects_credentials() => match source {
                Source::Password(source) => Error::SecretRefused { login, key: source.key(), status },
                Source::SignIn(_) => Error::TokenRefused { login, status },
            },
            (_, error) => error.into(),
        }
    }
}

/// An account whose credential popbridge has by itself.
#[derive(Clone)]
pub struct Entrusted {
    pub login: String,
    pub connector: Connector,
    pub username: String,
    pub source: Source,
}

impl Entrusted {
    /// With the credential as it is now.
    pub async fn account(self) -> Result<Account, Error> {
        let Self { login, connector, username, source } = self;
        let credential = source.read(&login, connector.upstream()).await?;
        Ok(Account { login, connector, username, credential, source: Some(source) })
    }
}

/// A folder as it has to be when something is done in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub folder: FolderName,
    pub validity: UidValidity,
    pub access: Access,
}
