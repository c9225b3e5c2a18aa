//! A session's connection to its upstream, made again when it breaks.

use std::time::Duration;

use super::error::Error;
use super::reader::Part;
use crate::ids::UidValidity;
use crate::secret::Secret;
use crate::upstream::{self, Access, Capabilities, Connector, Extra, FolderName, Imap, Mailbox, Piece, Row};

/// Whose mailbox on which server.
#[derive(Clone)]
pub struct Account {
    /// The POP3 login.
    pub login: String,
    pub connector: Connector,
    /// The user name there.
    pub username: String,
    pub password: Secret,
}

/// The connection, and what it takes to have another.
pub struct Link {
    account: Account,
    folder: &'static str,
    access: Access,
    capabilities: Capabilities,
    validity: Option<UidValidity>,
    imap: Option<Imap>,
}

impl Link {
    /// Connects and logs in; nothing is selected yet.
    pub async fn open(account: Account, folder: &'static str, access: Access) -> Result<Self, Error> {
        let imap = login(&account).await?;
        Ok(Self {
            account,
            folder,
            access,
            capabilities: imap.capabilities().clone(),
            validity: None,
            imap: Some(imap),
        })
    }

    /// Selects the folder and lists it.
    pub async fn scan(&mut self) -> Result<(Mailbox, Vec<Row>), Error> {
        let imap = self.imap.as_mut().ok_or(upstream::Error::Desynchronised)?;
        let (mailbox, rows) =
            upstream::scan(imap, &FolderName::new(self.folder), self.access, Extra::default()).await?;
        self.validity = Some(mailbox.validity);
        Ok((mailbox, rows))
    }

    /// What the server offers after login.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// How long a broken connection is tried again.
    pub fn recovery(&self) -> Duration {
        self.account.connector.upstream().recovery
    }

    /// A usable connection with the folder selected: the one there is, or a new one to the same
    /// mailbox. Messages that came meanwhile are not looked at: the listing stays frozen.
    pub async fn imap(&mut self) -> Result<&mut Imap, Error> {
        let usable = match &mut self.imap {
            Some(imap) => imap.wire().is_ok_and(|wire| wire.check_idle().is_ok()),
            None => false,
        };
        if !usable {
            self.imap = None;
            let mut imap = login(&self.account).await?;
            let mailbox = upstream::select(&mut imap, &FolderName::new(self.folder), self.access).await?;
            if self.validity.is_some_and(|validity| validity != mailbox.validity) {
                imap.logout().await;
                return Err(Error::ValidityChanged);
            }
            self.imap = Some(imap);
        }
        self.imap.as_mut().ok_or(upstream::Error::Desynchronised.into())
    }

    /// The connection in the middle of a command.
    pub fn busy(&mut self) -> Result<&mut Imap, Error> {
        self.imap.as_mut().ok_or(upstream::Error::Desynchronised.into())
    }

    /// Lets go of a connection that is of no more use.
    pub fn drop_connection(&mut self) {
        self.imap = None;
    }

    /// The octets of a part; before the next one is asked for.
    pub fn octets<'a>(&'a mut self, part: &'a Part) -> Result<&'a [u8], Error> {
        match part {
            Part::Octets { piece, skip } => {
                let octets = match piece {
                    Piece::Wire(range) => self.busy()?.wire()?.octets(range),
                    Piece::Quoted(octets) => octets,
                };
                Ok(octets.get(*skip..).unwrap_or_default())
            }
            Part::HeaderEnds => Ok(&[]),
        }
    }

    /// Says goodbye, if the connection is in a state to do so.
    pub async fn close(mut self) {
        if let Some(imap) = self.imap.take() {
            imap.logout().await;
        }
    }
}

async fn login(account: &Account) -> Result<Imap, Error> {
    let mut imap = Imap::open(&account.connector).await?;
    match imap.login(&account.username, &account.password).await {
        Ok(()) => Ok(imap),
        Err(error) => {
            imap.logout().await;
            Err(error.into())
        }
    }
}
