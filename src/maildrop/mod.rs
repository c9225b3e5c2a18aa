//! The maildrop: a frozen view of one or several folders for one session, and what a session does
//! with it.

mod account;
mod ahead;
mod beginning;
mod carry_out;
mod closing;
mod error;
mod fetch;
mod folder;
mod keys;
mod link;
mod listing;
mod lock;
mod matching;
mod policy;
mod reader;
mod relocate;
mod removal;
mod renumbering;
mod restore;
mod source;
mod sweep;
mod targets;
mod unique_id;
mod unique_ids;
mod vault;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use account::{Account, Entrusted};
pub use closing::Closing;
pub use error::Error;
pub use folder::Folder;
pub use listing::{Entry, Listing, Sent};
pub use lock::{Locks, Preemption};
pub use policy::{Plan, Unsuited, access, plan, target};
pub use reader::{Part, Reader};
pub use removal::Removed;
pub use restore::{Restored, needs_login, restore};
pub use source::Source;
pub use unique_id::Deriver;
pub use unique_ids::{Shown, UniqueIds};

use crate::activity::Activity;
use crate::config;
use crate::ids::{MessageNumber, Uid};
use crate::store::Store;
use crate::upstream::{FolderName, Pool};
use ahead::{Aside, What, Window};
use carry_out::Carried;
use fetch::WHOLE;
use link::Link;
use lock::{LockGuard, Turns};
use reader::{Following, Keeps, Top};
use targets::Targets;
use vault::Vault;

type Result<T> = std::result::Result<T, Error>;

/// What all maildrops share; cheap to clone.
#[derive(Clone)]
pub struct Maildrops {
    store: Store,
    pool: Pool,
    locks: Locks,
    turns: Turns,
    vault: Vault,
    targets: Targets,
}

/// An open maildrop: the upstream's folders as they were at login.
pub struct Maildrop {
    link: Link,
    folders: Vec<Folder>,
    listing: Listing,
    store: Store,
    turns: Turns,
    vault: Vault,
    targets: Targets,
    plan: Plan,
    settings: Arc<config::Maildrop>,
    login: String,
    lock: Option<LockGuard>,
    window: Window,
}

impl Maildrops {
    /// A session whose client was silent for `preempt_after` gives way to a new login.
    pub fn new(store: Store, pool: Pool, preempt_after: Duration) -> Self {
        Self {
            store,
            pool,
            locks: Locks::new(preempt_after),
            turns: Turns::default(),
            vault: Vault::default(),
            targets: Targets::default(),
        }
    }

    /// Deletions of these accounts that are due need nobody to log in.
    pub fn entrust(self, accounts: Vec<Entrusted>) -> Self {
        Self { vault: Vault::new(accounts), ..self }
    }

    /// Says goodbye to the upstreams, writes what is pending in the database and closes it.
    pub async fn close(&self) {
        self.pool.close().await;
        self.store.close().await;
    }

    /// Logs in upstream, takes the lock, does what a former session left to be done, lists the
    /// folders: all of it or nothing. `proven` is called when the credentials are good, whatever
    /// becomes of the rest. On return the account has the credential that was tried last.
    pub async fn open(
        &self,
        account: &mut Account,
        settings: Arc<config::Maildrop>,
        activity: Activity,
        proven: impl FnOnce() + Send,
    ) -> Result<Maildrop> {
        let started = Instant::now();
        let login = account.login.clone();
        let upstream = account.connector.upstream().name.clone();
        let admission = link::admit(&self.pool, account).await?;
        proven();
        let held = match settings.lock {
            config::Lock::Exclusive => match self.locks.acquire(&upstream, &login, activity).await {
                Some(held) => Some(held),
                None => {
                    admission.decline().await;
                    return Err(Error::InUse);
                }
            },
            config::Lock::Shared => None,
        };
        let mut link = Link::admitted(&self.pool, admission, account).await?;
        let begun = tokio::time::Instant::now();
        let frozen = loop {
            match self.freeze(&mut link, &settings).await {
                Err(error) if link.outlasts(&error, begun) => {}
                frozen => break frozen,
            }
        };
        match frozen {
            Ok((plan, folders, listing)) => {
                link.rest();
                tracing::debug!(%login, messages = listing.count(), elapsed = ?started.elapsed(), "maildrop open");
                let Self { store, turns, vault, targets, .. } = self.clone();
                let window = Window::new(settings.read_ahead.octets());
                Ok(Maildrop {
                    link,
                    folders,
                    listing,
                    store,
                    turns,
                    vault,
                    targets,
                    plan,
                    settings,
                    login,
                    lock: held,
                    window,
                })
            }
            Err(error) => {
                drop(held);
                account.clone_from(link.account());
                link.close().await;
                Err(error)
            }
        }
    }

    async fn freeze(
        &self,
        link: &mut Link,
        settings: &config::Maildrop,
    ) -> Result<(Plan, Vec<Folder>, Listing)> {
        let account = link.account().clone();
        let upstream = account.connector.upstream().name.clone();
        let mut pending = self.store.pending(&upstream, &account.username).await?;
        if !pending.is_empty() {
            self.vault.keep(&account);
            let Carried { unfinished, error } =
                carry_out::due(link, &self.store, &self.turns, |_| true).await;
            self.targets.heed(&account, error.as_ref());
            if let Some(error) = error {
                tracing::warn!(login = %account.login, unfinished, %error, "earlier deletions wait");
            }
            pending = self.store.pending(&upstream, &account.username).await?;
        }
        let target = match self.targets.known(&account, settings) {
            None if policy::has_target(settings) => {
                let target = policy::target(settings, link.connected().await?).await?;
                if let Some(target) = &target {
                    self.targets.found(&account, settings, target);
                }
                target
            }
            known => known,
        };
        let plan = policy::plan(settings, link.capabilities(), target)?;
        let access = policy::access(settings);
        let mut folders = Vec::new();
        let mut listing = Listing::default();
        for (at, name) in (0..).zip(&settings.folders) {
            let name = FolderName::new(name);
            let found = folder::scan(link, &self.store, &name, access, settings).await?;
            plan.suits(&name, found.0.mailbox.read_only, link.capabilities(), link.server_id())?;
            let (folder, messages) =
                folder::freeze(link, &self.store, &self.turns, settings, (&name, access), found, &pending)
                    .await?;
            listing.append(at, messages.into_iter().map(|message| (message.uid, message.size)));
            folders.push(folder);
        }
        Ok((plan, folders, listing))
    }
}

impl Maildrop {
    /// The frozen listing and its deletion marks.
    pub fn listing(&mut self) -> &mut Listing {
        &mut self.listing
    }

    /// The listing, to read only.
    pub fn view(&self) -> &Listing {
        &self.listing
    }

    /// The unique id of a message (RFC 1939 §7, UIDL).
    pub fn unique_id(&self, entry: Entry) -> Shown<'_> {
        self.folders[entry.folder].ids.of(entry.uid)
    }

    /// Starts to send a message whole; its first octets are in hand when this returns.
    pub async fn retrieve(&mut self, number: MessageNumber) -> Result<Reader> {
        let entry = self.listing.get(number)?;
        self.start(number, entry, What::Whole).await
    }

    /// Starts to send a message's header and its first `lines` lines.
    pub async fn top(&mut self, number: MessageNumber, lines: u32) -> Result<Reader> {
        let entry = self.listing.get(number)?;
        match Top::of(&entry, lines) {
            Top::All(What::Header) if let Some(aside) = self.window.aside(number.index(), &self.listing) => {
                self.header_aside(entry, aside).await
            }
            Top::All(what) => self.start(number, entry, what).await,
            Top::Part { whole } => {
                self.window.leave();
                let place = &self.folders[entry.folder].place;
                let reader = Reader::part(&mut self.link, place, &entry, lines, whole).await;
                self.heed(entry, reader).await
            }
        }
    }

    /// The header of a message that is read whole next, or was just now: what is on its way stays
    /// there, if it can be had otherwise.
    async fn header_aside(&mut self, entry: Entry, aside: Aside) -> Result<Reader> {
        let place = &self.folders[entry.folder].place;
        let (what, keeps) = match aside {
            Aside::Behind => match self.link.beginning().header(place, entry.uid) {
                Some(header) => return Ok(Reader::of_memory(place, &entry, header.to_vec())),
                None => (What::Header, Keeps::Nothing),
            },
            Aside::Before if self.link.expects(place, entry.uid, WHOLE) => (What::Whole, Keeps::Rest),
            Aside::Before => (What::Header, Keeps::Nothing),
        };
        let following = Following { requests: Vec::new(), alone_over: self.settings.read_ahead.octets() };
        let reader = Reader::start(&mut self.link, place, &entry, what, following, keeps).await;
        self.heed(entry, reader).await
    }

    /// Starts to send this of a message, and asks for what will probably be next.
    async fn start(&mut self, number: MessageNumber, entry: Entry, what: What) -> Result<Reader> {
        if self.link.take_lost() || self.link.is_slowed() {
            self.window.restart();
        }
        let requests = self.window.request(what, number.index(), &self.listing);
        let following = Following { requests, alone_over: self.settings.read_ahead.octets() };
        let place = &self.folders[entry.folder].place;
        let keeps = if self.window.headers_behind() { Keeps::Beginning } else { Keeps::Nothing };
        let reader = Reader::start(&mut self.link, place, &entry, what, following, keeps).await;
        self.heed(entry, reader).await
    }

    /// A listed message that is not there may be a fault in the cache, which must not last.
    async fn heed(&mut self, entry: Entry, reader: Result<Reader>) -> Result<Reader> {
        if let Err(Error::Vanished) = reader
            && let Err(error) = self.store.distrust_listing(self.folders[entry.folder].id).await
        {
            tracing::warn!(login = %self.login, %error, "the listing is still relied on");
        }
        reader
    }

    /// The next part of what a reader sends.
    pub async fn next(&mut self, reader: &mut Reader) -> Result<Option<Part>> {
        reader.next(&mut self.link).await
    }

    /// The octets of a part; before the next one is asked for.
    pub fn octets<'a>(&'a mut self, part: &'a Part) -> Result<&'a [u8]> {
        self.link.octets(part)
    }

    /// Ends a reader before its end, as cheaply as what is left allows.
    pub async fn stop(&mut self, reader: &mut Reader) {
        reader.stop(&mut self.link).await;
    }

    /// Tells when the session is to give way to a new login.
    pub fn preemption(&self) -> Preemption {
        self.lock.as_ref().map(LockGuard::preemption).unwrap_or_default()
    }

    /// Ends a session that did not come to QUIT: nothing is removed (RFC 1939 §6).
    pub async fn abandon(mut self, hurry: impl Future<Output = ()>) {
        // Freed first: a client that lost its link comes back at once.
        drop(self.lock.take());
        let retrieved = self.by_folder(|listing, folder| listing.retrieved(folder));
        self.note_sent(&retrieved).await;
        Closing(self).finish(hurry).await;
    }

    /// Ends a session by QUIT: what was marked is removed as the policy says.
    pub async fn update(mut self) -> (Result<Removed>, Closing) {
        let read = self.by_folder(|listing, folder| listing.read(folder));
        self.note_sent(&read).await;
        let removed = removal::commit(&mut self).await;
        (removed, Closing(self))
    }

    fn by_folder(&self, which: impl Fn(&Listing, usize) -> Vec<Uid>) -> Vec<Vec<Uid>> {
        (0..self.folders.len()).map(|folder| which(&self.listing, folder)).collect()
    }
}
