//! A session's connection to its upstream: one folder selected at a time, made again when it breaks.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::account::{Account, Place};
use super::beginning::Beginning;
use super::error::Error;
use super::fetch::Singly;
use crate::ids::UidValidity;
use crate::upstream::{
    self, Access, Admission, Capabilities, Extra, Flight, FolderName, Imap, Known, Mailbox, Pool, Scanned,
    Slot, Watched,
};

/// Up to here it is cheaper to read what is left than to connect again.
pub const DRAIN: u64 = 256 * 1024;

/// How long what is on its way is waited for before a goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// The connection, and what it takes to have another.
///
/// Messages may be on their way in it. Whoever uses it for something else goes through
/// [`Link::connected`], which ends that first; only readers go through [`Link::fetch`].
pub struct Link {
    account: Account,
    pub(super) slot: Slot,
    capabilities: Capabilities,
    pub(super) imap: Option<Imap>,
    selected: Option<Selected>,
    pub(super) flight: Option<(Place, Flight)>,
    pub(super) beginning: Beginning,
    /// Octets of the message that goes on, ahead of what the flight has.
    pub(super) resumed: Option<Vec<u8>>,
    pub(super) singly: Singly,
    /// Messages were asked for in vain since this was last looked at.
    lost: bool,
    /// How long a pause may be that the upstream asks for.
    patience: Duration,
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
    pub async fn open(pool: &Pool, mut account: Account) -> Result<Self, Error> {
        let admission = admit(pool, &mut account).await?;
        Self::admitted(pool, admission, &mut account).await
    }

    /// The same for credentials that are proven.
    pub async fn admitted(pool: &Pool, admission: Admission, account: &mut Account) -> Result<Self, Error> {
        let mut seated = admission.seat(&account.connector, &account.credential).await;
        if let Err(error) = &seated
            && account.replace(error).await?
        {
            let admission = admit(pool, account).await?;
            seated = admission.seat(&account.connector, &account.credential).await;
        }
        let (slot, imap) = seated.map_err(|error| account.blame(error))?;
        let patience = account.connector.upstream().recovery;
        Ok(Self {
            account: account.clone(),
            slot,
            capabilities: imap.capabilities().clone(),
            imap: Some(imap),
            selected: None,
            flight: None,
            beginning: Beginning::default(),
            resumed: None,
            singly: Singly::No,
            lost: false,
            patience,
        })
    }

    /// The same for work that can as well be done another time: no pause is waited for.
    pub async fn open_impatient(pool: &Pool, account: Account) -> Result<Self, Error> {
        Ok(Self { patience: Duration::ZERO, ..Self::open(pool, account).await? })
    }

    /// Gives back the memory that the connection can do without until it is used.
    pub fn rest(&mut self) {
        if let Some(wire) = self.imap.as_mut().map(Imap::wire) {
            wire.rest();
        }
    }

    /// Resolves when another session of the account waits for a connection.
    pub fn wanted(&self) -> impl Future<Output = ()> + use<> {
        self.slot.wanted()
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
            // The selection wakes it; that it was dead is nobody's fault.
            Some(imap) if imap.is_resting() && !self.slot.is_slowed() => {
                let scanned = upstream::scan(imap, folder, access, extra, known).await?;
                self.note_selected(folder, access, &scanned.mailbox);
                return Ok(scanned);
            }
            _ => self.unselected().await?,
        };
        let mut scanned = upstream::scan(imap, folder, access, extra, known).await;
        // What only this server gets wrong about the shorter way must not keep everybody out.
        let resyncing = self.imap.as_ref().is_some_and(Imap::resynchronises);
        if let Err(error) = &scanned
            && (with_known && matches!(error, upstream::Error::Protocol(_))
                || resyncing && error.may_be_resync() && error.throttle().is_none())
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
            Err(error) if error.is_refusal() => {
                return Err(self.missing(folder).await?.unwrap_or_else(|| error.into()));
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

    /// A usable connection, whatever is selected; nothing is on its way in it, and the upstream is
    /// ready for another command: a pause that it asks for is over.
    pub async fn connected(&mut self) -> Result<&mut Imap, Error> {
        self.settle().await;
        let begun = Instant::now();
        loop {
            let paused = self.slot.obey(self.patience.saturating_sub(begun.elapsed())).await?;
            let usable = match &mut self.imap {
                Some(imap) => usable(imap, paused).await,
                None => Err(upstream::Error::Desynchronised),
            };
            match usable {
                Ok(()) => return self.busy(),
                // Not even the look at it was welcome.
                Err(upstream::Error::Refused { status, .. }) if status.throttles().is_some() => {}
                Err(_) => {
                    self.drop_connection();
                    self.account.renew().await;
                    self.imap = Some(log_in(&mut self.slot, &mut self.account).await?);
                }
            }
        }
    }

    /// Whether what was refused for haste may be tried again, as it has been since `begun`: the next
    /// command waits until the pause is over.
    pub fn outlasts(&self, error: &Error, begun: Instant) -> bool {
        let pause = self.slot.pause().unwrap_or_default();
        error.is_throttling() && begun.elapsed().saturating_add(pause) <= self.patience
    }

    /// Whether the upstream is to be left alone for now, or to be asked for little.
    pub fn is_slowed(&self) -> bool {
        self.slot.is_slowed()
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
        self.end_pause();
        self.imap = None;
        self.selected = None;
    }

    /// Whether messages were asked for in vain, or the upstream has asked for less haste, since the
    /// last time.
    pub fn take_lost(&mut self) -> bool {
        let heard = self.imap.as_mut().map(|imap| imap.wire().take_heard());
        std::mem::take(&mut self.lost) | heard.unwrap_or_default()
    }

    /// Ends what is on its way: reads it if it is little, else gives up the connection.
    async fn settle(&mut self) {
        self.end_pause();
        let Some((_, mut flight)) = self.flight.take() else { return };
        self.lost |= flight.is_expecting();
        if flight.to_come() <= DRAIN
            && let Some(imap) = &mut self.imap
            && let Ok(Ok(true)) = timeout(imap.wire().deadline(), flight.drain(imap, DRAIN)).await
        {
            return;
        }
        self.drop_connection();
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

/// Whether a connection takes commands. Behind a pause it is asked: a server that throttles may have
/// hung up meanwhile (Microsoft 365).
async fn usable(imap: &mut Imap, paused: bool) -> upstream::Result<()> {
    if paused && !imap.is_resting() {
        imap.lay_down()?;
    }
    imap.wake().await?;
    imap.wire().check_idle()
}

/// A new connection in a session's place.
async fn log_in(slot: &mut Slot, account: &mut Account) -> Result<Imap, Error> {
    let mut opened = slot.log_in(&account.connector, &account.credential).await;
    if let Err(error) = &opened
        && account.replace(error).await?
    {
        opened = slot.log_in(&account.connector, &account.credential).await;
    }
    opened.map_err(|error| account.blame(error))
}

/// Finds out whether an account's credential is right.
pub async fn admit(pool: &Pool, account: &mut Account) -> Result<Admission, Error> {
    let mut admitted = pool.admit(&account.connector, &account.username, &account.credential).await;
    if let Err(error) = &admitted
        && account.replace(error).await?
    {
        admitted = pool.admit(&account.connector, &account.username, &account.credential).await;
    }
    admitted.map_err(|error| account.blame(error))
}
