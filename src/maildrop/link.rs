//! A session's connection to its upstream: one folder selected at a time, made again when it breaks.

use std::time::Duration;

use tokio::time::timeout;

use super::account::{Account, Place};
use super::ahead;
use super::error::Error;
use super::reader::Part;
use crate::ids::{Uid, UidValidity};
use crate::upstream::{
    self, Access, Capabilities, Extra, Flight, FolderName, Found, Imap, Known, Lost, Mailbox, Piece, Pool,
    Request, Scanned, Section, Slot, Watched,
};

/// Up to here it is cheaper to read what is left than to connect again.
pub const DRAIN: u64 = 256 * 1024;

/// Commands on their way where each asks for one message: some servers mind many.
const SINGLE_COMMANDS: usize = 8;

/// How long what is on its way is waited for before a goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// The connection, and what it takes to have another.
///
/// Messages may be on their way in it. Whoever uses it for something else goes through
/// [`Link::connected`], which ends that first; only readers go through [`Link::fetch`].
pub struct Link {
    account: Account,
    slot: Slot,
    capabilities: Capabilities,
    imap: Option<Imap>,
    selected: Option<Selected>,
    flight: Option<(Place, Flight)>,
    singly: Singly,
    /// Messages were asked for in vain since this was last looked at.
    lost: bool,
}

/// Whether messages are asked for with one command each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Singly {
    No,
    /// Up to this one: a command for several was refused or fell short.
    UpTo(Uid),
    /// The server's rows come in an order of their own, or with the UID last.
    Always,
}

/// What a reader asks for.
#[derive(Debug)]
pub struct Wanted {
    pub request: Request,
    pub section: Section,
    /// What should be on its way behind it.
    pub following: Vec<Request>,
    /// What is larger has a command of its own.
    pub alone_over: u64,
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
    /// A connection that is logged in, new or one that waited; nothing is selected yet.
    pub async fn open(pool: &Pool, account: Account) -> Result<Self, Error> {
        let opened = pool.open(&account.connector, &account.username, &account.password).await;
        let (slot, imap) = opened.map_err(|error| account.blame(error))?;
        Ok(Self {
            account,
            slot,
            capabilities: imap.capabilities().clone(),
            imap: Some(imap),
            selected: None,
            flight: None,
            singly: Singly::No,
            lost: false,
        })
    }

    /// Whether the connection has waited, so that nobody knows if it is still alive.
    pub fn is_resting(&self) -> bool {
        self.imap.as_ref().is_some_and(Imap::is_resting)
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
        let imap = match &mut self.imap {
            // The selection wakes it.
            Some(imap) if imap.is_resting() => imap,
            _ => self.unselected().await?,
        };
        let mut scanned = upstream::scan(imap, folder, access, extra, known).await;
        // What only this server gets wrong about the shorter way must not keep everybody out.
        let resyncing = self.imap.as_ref().is_some_and(Imap::resynchronises);
        if let Err(error) = &scanned
            && (with_known && matches!(error, upstream::Error::Protocol(_))
                || resyncing && error.may_be_resync())
        {
            tracing::warn!(login = %self.account.login, %folder, %error, "the folder is listed in full");
            self.drop_connection();
            let imap = self.unselected().await?;
            imap.renounce_resync();
            scanned = upstream::scan(imap, folder, access, extra, None).await;
            if resyncing && scanned.is_ok() {
                self.account.connector.avoid_resync();
            }
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

    /// The folder as it was when it was left to be watched, if the server has told nothing since.
    pub fn watched(&mut self, folder: &FolderName, access: Access) -> Option<Mailbox> {
        let watched = self.imap.as_ref()?.watched()?;
        let same = watched.folder == *folder && watched.access == access;
        let mailbox = Some(watched.mailbox.clone()).filter(|_| same)?;
        self.note_selected(folder, access, &mailbox);
        Some(mailbox)
    }

    /// The folder has just been seen like this, and is watched while the connection waits.
    pub fn watch(&mut self, folder: &FolderName, access: Access, mailbox: Mailbox) {
        if let Some(imap) = &mut self.imap {
            imap.watch(Watched { folder: folder.clone(), access, mailbox });
        }
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

    /// A usable connection, whatever is selected; nothing is on its way in it.
    pub async fn connected(&mut self) -> Result<&mut Imap, Error> {
        self.settle().await;
        let usable = match &mut self.imap {
            Some(imap) => {
                imap.wake().await.is_ok() && imap.wire().is_ok_and(|wire| wire.check_idle().is_ok())
            }
            None => false,
        };
        if !usable {
            self.drop_connection();
            self.account.renew().await;
            let Account { connector, username, password, .. } = &self.account;
            let opened = self.slot.log_in(connector, username, password).await;
            self.imap = Some(opened.map_err(|error| self.account.blame(error))?);
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
        self.lost |= self.flight.take().is_some_and(|(_, flight)| flight.is_expecting());
        self.imap = None;
        self.selected = None;
    }

    /// Whether messages were asked for in vain since the last time.
    pub fn take_lost(&mut self) -> bool {
        std::mem::take(&mut self.lost)
    }

    /// Finds a message's first octets: among what is on its way, or asks for it. False if the
    /// message is gone.
    pub async fn fetch(&mut self, place: &Place, wanted: &Wanted) -> Result<bool, Error> {
        let Wanted { request: Request { uid, .. }, section, .. } = *wanted;
        let on_its_way = self
            .flight
            .as_ref()
            .is_some_and(|(at, flight)| at == place && flight.section() == section && flight.expects(uid));
        if !on_its_way {
            self.imap(place).await?;
            self.flight = Some((place.clone(), Flight::new(section)));
        }
        let singly = match self.singly {
            Singly::No => false,
            Singly::UpTo(last) => uid <= last,
            Singly::Always => true,
        };
        let (flight, imap) = self.reading()?;
        let mut requests = Vec::new();
        if !on_its_way {
            requests.push(wanted.request);
        }
        let behind: Vec<Request> = flight.behind(uid).collect();
        requests.extend(ahead::refill(&behind, &wanted.following));
        if singly {
            requests.truncate(SINGLE_COMMANDS.saturating_sub(behind.len()));
        }
        if !requests.is_empty() {
            flight.ask(imap, &ahead::groups(&requests, wanted.alone_over, singly)).await?;
        }
        let last = flight.behind(uid).last().map_or(uid, |request| request.uid);
        let why = match flight.find(imap, uid, DRAIN).await? {
            Found::Body => return Ok(true),
            Found::Gone => return Ok(false),
            Found::Lost(why) => why,
        };
        tracing::debug!(%uid, ?why, "asking for a message alone");
        let there = self.fetch_alone(place, uid, section).await?;
        match why {
            Lost::LateUid => self.singly = Singly::Always,
            // It was not gone, so the rows are out of order.
            Lost::Order if there => self.singly = Singly::Always,
            Lost::Ended if self.singly != Singly::Always => self.singly = Singly::UpTo(last),
            Lost::Order | Lost::Ended | Lost::Distance => {}
        }
        Ok(there)
    }

    /// The same with a command of its own, and nothing on its way but this.
    pub async fn fetch_alone(&mut self, place: &Place, uid: Uid, section: Section) -> Result<bool, Error> {
        self.imap(place).await?;
        self.flight = Some((place.clone(), Flight::new(section)));
        let (flight, imap) = self.reading()?;
        flight.ask(imap, &[&[Request { uid, octets: 0 }]]).await?;
        match flight.find(imap, uid, 0).await? {
            Found::Body => Ok(true),
            Found::Gone => Ok(false),
            // It cannot come in another order than alone.
            Found::Lost(_) => Err(upstream::Error::Desynchronised.into()),
        }
    }

    /// The next piece of the message that was found; `None` at its end.
    pub async fn piece(&mut self) -> Result<Option<Piece>, Error> {
        let (flight, imap) = self.reading()?;
        Ok(flight.next(imap).await?)
    }

    /// Octets of it that are still to come.
    pub fn left(&self) -> u64 {
        self.flight.as_ref().map_or(0, |(_, flight)| flight.left())
    }

    fn reading(&mut self) -> Result<(&mut Flight, &mut Imap), Error> {
        match (&mut self.flight, &mut self.imap) {
            (Some((_, flight)), Some(imap)) => Ok((flight, imap)),
            _ => Err(upstream::Error::Desynchronised.into()),
        }
    }

    /// Ends what is on its way: reads it if it is little, else gives up the connection.
    async fn settle(&mut self) {
        let Some((_, mut flight)) = self.flight.take() else { return };
        self.lost |= flight.is_expecting();
        if flight.to_come() <= DRAIN
            && let Some(imap) = &mut self.imap
            && let Ok(deadline) = imap.wire().map(|wire| wire.deadline())
            && let Ok(Ok(true)) = timeout(deadline, flight.drain(imap, DRAIN)).await
        {
            return;
        }
        self.drop_connection();
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

    /// Lets the connection wait for the next session, if it is in a state to do so.
    pub async fn close(mut self) {
        if timeout(GOODBYE, self.settle()).await.is_err() {
            return;
        }
        let keep_alive = self.account.connector.upstream().keep_alive;
        if let Some(imap) = self.imap.take() {
            self.slot.keep(imap, keep_alive).await;
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
