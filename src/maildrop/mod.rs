//! The maildrop: a frozen view of a mailbox for one session, and what a session does with it.

mod error;
mod link;
mod listing;
mod lock;
mod matching;
mod policy;
mod reader;
mod removal;
mod unique_id;

use std::sync::Arc;
use std::time::Instant;

pub use error::Error;
pub use link::Account;
pub use listing::{Listing, Sent};
pub use lock::{Locks, Preemption};
pub use matching::matched;
pub use policy::{Unsuited, check};
pub use reader::{Part, Reader};
pub use removal::Removed;
pub use unique_id::{Deriver, Scheme, UniqueId, email_id, gmail, is_valid};

use crate::activity::Activity;
use crate::config;
use crate::ids::{MessageNumber, Uid, UidValidity};
use crate::store::{MailboxId, MailboxName, Store};
use link::Link;
use lock::LockGuard;

type Result<T> = std::result::Result<T, Error>;

/// The folder that is the maildrop.
pub const FOLDER: &str = "INBOX";

/// An open maildrop: the upstream's mailbox as it was at login.
pub struct Maildrop {
    link: Link,
    listing: Listing,
    validity: UidValidity,
    store: Store,
    mailbox: MailboxId,
    settings: Arc<config::Maildrop>,
    login: String,
    lock: Option<LockGuard>,
}

impl Maildrop {
    /// Logs in upstream, takes the lock, lists the mailbox: all of it or nothing.
    pub async fn open(
        account: Account,
        settings: Arc<config::Maildrop>,
        store: Store,
        locks: &Locks,
        activity: Activity,
    ) -> Result<Self> {
        let started = Instant::now();
        let login = account.login.clone();
        let upstream = account.connector.upstream().name.clone();
        let username = account.username.clone();
        let mut link = Link::open(account, FOLDER, policy::access(&settings)).await?;
        let lock = match settings.lock {
            config::Lock::Exclusive => match locks.acquire(&upstream, &login, activity).await {
                Some(lock) => Some(lock),
                None => {
                    link.close().await;
                    return Err(Error::InUse);
                }
            },
            config::Lock::Shared => None,
        };
        let (mailbox, rows) = link.scan().await?;
        policy::check(&settings, link.capabilities(), mailbox.read_only)?;
        let key = store
            .mailbox(&MailboxName {
                upstream: &upstream,
                username: &username,
                folder: FOLDER,
                validity: mailbox.validity,
            })
            .await?;
        let hidden = store.hidden(key, &login).await?;
        let counted = store.counted(key).await?;
        let (listing, stale) = Listing::freeze(&rows, &hidden, &counted);
        // Tidying: a failure costs nothing but the room, and shows again at the next login.
        let tidied = async {
            if !stale.hidden.is_empty() {
                store.forget_hidden(key, &stale.hidden).await?;
            }
            if !stale.counted.is_empty() {
                store.forget_counted(key, &stale.counted).await?;
            }
            Ok::<(), crate::store::Error>(())
        };
        if let Err(error) = tidied.await {
            tracing::warn!(%login, %error, "stale notes stay in the state database");
        }
        tracing::debug!(%login, messages = listing.stat().0, elapsed = ?started.elapsed(), "maildrop open");
        Ok(Self { link, listing, validity: mailbox.validity, store, mailbox: key, settings, login, lock })
    }

    /// The frozen listing and its deletion marks.
    pub fn listing(&mut self) -> &mut Listing {
        &mut self.listing
    }

    /// The listing, to read only.
    pub fn view(&self) -> &Listing {
        &self.listing
    }

    /// The unique id of a message (RFC 1939 §7, UIDL).
    pub fn unique_id(&self, uid: Uid) -> UniqueId {
        Deriver::new(Scheme::Popbridge, FOLDER).id(self.validity, uid)
    }

    /// Starts to send a message whole; its first octets are in hand when this returns.
    pub async fn retrieve(&mut self, number: MessageNumber) -> Result<Reader> {
        let entry = self.listing.get(number)?;
        Reader::whole(&mut self.link, entry.uid).await
    }

    /// Starts to send a message's header and its first `lines` lines.
    pub async fn top(&mut self, number: MessageNumber, lines: u32) -> Result<Reader> {
        let entry = self.listing.get(number)?;
        Reader::top(&mut self.link, entry.uid, entry.size, lines).await
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
    pub async fn abandon(mut self) {
        // Freed first: a client that lost its link comes back at once.
        drop(self.lock.take());
        let retrieved = self.listing.retrieved();
        self.note_sent(&retrieved).await;
        self.link.close().await;
    }

    /// Ends a session by QUIT: what was marked is removed as the policy says.
    pub async fn update(mut self) -> (Result<Removed>, Closing) {
        let read = self.listing.read();
        self.note_sent(&read).await;
        let removed = removal::commit(&mut self).await;
        (removed, Closing(self))
    }
}

/// A maildrop whose session is answered, still to be closed politely.
pub struct Closing(Maildrop);

impl Closing {
    /// Frees the lock, then says goodbye to the upstream.
    pub async fn finish(self) {
        drop(self.0.lock);
        self.0.link.close().await;
    }
}
