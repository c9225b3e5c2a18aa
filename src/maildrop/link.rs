//! A session's connection to its upstream: one folder selected at a time, made again when it breaks.

use std::time::Duration;

use super::error::Error;
use super::reader::Part;
use crate::ids::UidValidity;
use crate::secret::Secret;
use crate::upstream::{
    self, Access, Capabilities, Connector, Extra, FolderName, Imap, Known, Mailbox, Piece, Scanned,
};

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

/// A folder as it has to be when something is done in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub folder: FolderName,
    pub validity: UidValidity,
    pub access: Access,
}

/// The connection, and what it takes to have another.
pub struct Link {
    account: Account,
    capabilities: Capabilities,
    imap: Option<Imap>,
    selected: Option<Selected>,
}

struct Selected {
    folder: FolderName,
    access: Access,
    validity: UidValidity,
    read_only: bool,
}

impl Selected {
    /// Whether it is as good as `folder` selected with `access`.
    fn serves(&self, folder: &FolderName, access: Access) -> bool {
        self.folder == *folder && (self.access == access || self.access == Access::ReadWrite)
    }
}

impl Link {
    /// Connects and logs in; nothing is selected yet.
    pub async fn open(account: Account) -> Result<Self, Error> {
        let imap = login(&account).await?;
        Ok(Self { account, capabilities: imap.capabilities().clone(), imap: Some(imap), selected: None })
    }

    /// Whose connection it is.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Selects a folder and lists it, as far as it is not `known`.
    pub async fn scan(
        &mut self,
        folder: &FolderName,
        access: Access,
        extra: Extra,
        known: Option<Known>,
    ) -> Result<Scanned, Error> {
        let with_known = known.is_some();
        let mut scanned = upstream::scan(self.unselected().await?, folder, access, extra, known).await;
        // What only this server gets wrong about the shorter way must not keep everybody out.
        if with_known && let Err(upstream::Error::Protocol(reason)) = &scanned {
            tracing::warn!(login = %self.account.login, %folder, reason, "the folder is listed in full");
            scanned = upstream::scan(self.unselected().await?, folder, access, extra, None).await;
        }
        let scanned = match scanned {
            Ok(scanned) => scanned,
            Err(upstream::Error::Refused { command, status }) => {
                return Err(self
                    .missing(folder)
                    .await?
                    .unwrap_or_else(|| upstream::Error::Refused { command, status }.into()));
            }
            Err(error) => return Err(error.into()),
        };
        self.note_selected(folder, access, &scanned.mailbox);
        Ok(scanned)
    }

    /// Tells a folder that is not there from one that cannot be selected now.
    async fn missing(&mut self, folder: &FolderName) -> Result<Option<Error>, Error> {
        let found = upstream::find_folder(self.connected().await?, upstream::Wanted::Named(folder)).await?;
        Ok(found.is_none().then(|| Error::NoSuchFolder(folder.clone())))
    }

    /// What the server offers after login.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// How the server names itself; known after the first selection.
    pub fn server_id(&self) -> Option<&str> {
        self.imap.as_ref().and_then(Imap::server_id)
    }

    /// How long a broken connection is tried again.
    pub fn recovery(&self) -> Duration {
        self.account.connector.upstream().recovery
    }

    /// A usable connection with the place's folder selected: as it is, or over a new connection to
    /// the same mailbox. Messages that came meanwhile are not looked at: the listing stays frozen.
    pub async fn imap(&mut self, place: &Place) -> Result<&mut Imap, Error> {
        self.connected().await?;
        let served = self.selected.as_ref().is_some_and(|now| now.serves(&place.folder, place.access));
        if !served {
            self.selected = None;
            let imap = self.imap.as_mut().ok_or(upstream::Error::Desynchronised)?;
            let mailbox = upstream::select(imap, &place.folder, place.access).await?;
            self.note_selected(&place.folder, place.access, &mailbox);
        }
        if self.selected.as_ref().is_none_or(|now| now.validity != place.validity) {
            return Err(Error::ValidityChanged);
        }
        self.busy()
    }

    /// The same, where something is going to be written.
    pub async fn writable(&mut self, place: &Place) -> Result<&mut Imap, Error> {
        self.imap(place).await?;
        if self.selected.as_ref().is_none_or(|now| now.read_only) {
            return Err(Error::Unsuited(super::Unsuited::ReadOnly));
        }
        self.busy()
    }

    /// A usable connection, whatever is selected.
    pub async fn connected(&mut self) -> Result<&mut Imap, Error> {
        let usable = match &mut self.imap {
            Some(imap) => imap.wire().is_ok_and(|wire| wire.check_idle().is_ok()),
            None => false,
        };
        if !usable {
            self.drop_connection();
            self.imap = Some(login(&self.account).await?);
        }
        self.busy()
    }

    /// A usable connection for a selection of one's own; what was selected counts no more.
    pub async fn unselected(&mut self) -> Result<&mut Imap, Error> {
        self.selected = None;
        self.connected().await
    }

    /// The connection in the middle of a command.
    pub fn busy(&mut self) -> Result<&mut Imap, Error> {
        self.imap.as_mut().ok_or(upstream::Error::Desynchronised.into())
    }

    /// Lets go of a connection that is of no more use.
    pub fn drop_connection(&mut self) {
        self.imap = None;
        self.selected = None;
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

    fn note_selected(&mut self, folder: &FolderName, access: Access, mailbox: &Mailbox) {
        self.selected = Some(Selected {
            folder: folder.clone(),
            access,
            validity: mailbox.validity,
            read_only: mailbox.read_only,
        });
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
