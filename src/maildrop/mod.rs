//! The maildrop: a frozen view of one or several folders for one session, and what a session does
//! with it.

mod account;
mod ahead;
mod carry_out;
mod error;
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
mod sweep;
mod targets;
mod unique_id;
mod unique_ids;
mod vault;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;

pub use account::{Account, Entrusted};
pub use error::Error;
pub use folder::Folder;
pub use listing::{Entry, Listing, Sent};
pub use lock::{Locks, Preemption};
pub use policy::{Plan, Unsuited, access, plan, target};
pub use reader::{Part, Reader};
pub use removal::Removed;
pub use restore::{Restored, needs_login, restore};
pub use unique_id::Deriver;
pub use unique_ids::{Shown, UniqueIds};

use crate::activity::Activity;
use crate::config;
use crate::ids::{MessageNumber, Uid};
use crate::store::Store;
use crate::upstream::{FolderName, Pool};
use ahead::{What, Window};
use carry_out::Carried;
use link::Link;
use lock::{LockGuard, Turns};
use reader::{Following, Top};
use targets::Targets;
use vault::Vault;

type Result<T> = std::result::Result<T, Error>;

/// How many messages a session's end learns to recognise, and how long that may take: the next
/// session's end goes on.
const LEARN: usize = 2_000;
const LEARN_TIME: Duration = Duration::from_secs(30);

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
    /// folders: all of it or nothing.
    pub async fn open(
        &self,
        account: Account,
        settings: Arc<config::Maildrop>,
        activity: Activity,
    ) -> Result<Maildrop> {
        let started = Instant::now();
        let login = account.login.clone();
        let upstream = account.connector.upstream().name.clone();
        let exclusive = settings.lock == config::Lock::Exclusive;
        let lock = || self.locks.acquire(&upstream, &login, activity.clone());
        let mut held = None;
        // A password that is proven needs no connection to be told that the maildrop is in use.
        if exclusive && self.pool.proves(&account.connector, &account.username, &account.password) {
            held = Some(lock().await.ok_or(Error::InUse)?);
        }
        let mut link = Link::open(&self.pool, account).await?;
        if exclusive && held.is_none() {
            held = lock().await;
            if held.is_none() {
                link.close().await;
                return Err(Error::InUse);
            }
        }
        match self.freeze(&mut link, &settings).await {
            Ok((plan, folders, listing)) => {
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
            Top::All(what) => self.start(number, entry, what).await,
            Top::Part { whole } => {
                self.window.leave();
                let place = &self.folders[entry.folder].place;
                let reader = Reader::part(&mut self.link, place, &entry, lines, whole).await;
                self.heed(entry, reader).await
            }
        }
    }

    /// Starts to send this of a message, and asks for what will probably be next.
    async fn start(&mut self, number: MessageNumber, entry: Entry, what: What) -> Result<Reader> {
        if self.link.take_lost() {
            self.window.restart();
        }
        let requests = self.window.request(what, number.index(), &self.listing);
        let following = Following { requests, alone_over: self.settings.read_ahead.octets() };
        let place = &self.folders[entry.folder].place;
        let reader = Reader::start(&mut self.link, place, &entry, what, following).await;
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

    /// Where the server is trusted to tell what happens: looks at the folder once more.
    async fn watch(&mut self) {
        let Self { link, store, folders, settings, login, .. } = self;
        if let ([folder], true) = (&folders[..], link.account().connector.upstream().trust_idle)
            && let Err(error) = folder::watch(link, store, &folder.place, settings).await
        {
            tracing::debug!(%login, %error, "the folder is not watched");
        }
    }

    /// Learns by what messages can be recognised under other UIDs, as far as that is not known.
    async fn learn(&mut self) -> Result<()> {
        for folder in self.folders.iter().filter(|folder| !folder.learnt) {
            let Some(listing) = self.store.listing(folder.id).await? else { continue };
            if folder.named {
                keys::forget_lost(&self.store, folder.id, &listing).await?;
            }
            let missing = keys::missing(&self.store, folder.id, &listing, LEARN).await?;
            keys::learn(&mut self.link, &folder.place, &self.store, folder.id, &missing).await?;
        }
        Ok(())
    }
}

/// A maildrop whose session is answered, still to be closed politely.
pub struct Closing(Maildrop);

impl Closing {
    /// Frees the lock, learns what messages can be recognised by unless `hurry` resolves, then
    /// lets the connection wait for the next session.
    pub async fn finish(self, hurry: impl Future<Output = ()>) {
        let Self(mut maildrop) = self;
        drop(maildrop.lock.take());
        tokio::select! {
            learnt = timeout(LEARN_TIME, maildrop.learn()) => {
                if let Ok(Err(error)) = learnt {
                    tracing::debug!(login = %maildrop.login, %error, "learning goes on another time");
                }
            }
            () = hurry => {}
        }
        maildrop.watch().await;
        maildrop.link.close().await;
    }
}
