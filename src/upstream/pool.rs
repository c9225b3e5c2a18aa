//! Connections, counted for each account, and kept between its sessions.
//!
//! A session takes a [`Slot`] and a connection with it: one that waits, if it was logged in with
//! the same password, else a new one. At its end the connection goes back to wait. Sessions never
//! share one.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::connect::Connector;
use super::control::Imap;
use super::error::{Error, Result};
use super::keeper::{Keeper, dismiss_all};
use super::pace::{Pace, Pacer};
use super::proof::{NoRandom, Proof, Prover};
use super::quirks::connection_limits;
use super::seats::{Found, Owner, Seats};
use crate::secret::Secret;

/// How long a session waits for another one of its account to end.
const PATIENCE: Duration = Duration::from_secs(20);
/// No connection is kept that was logged in longer ago: a password that has been changed must not
/// be good for ever, however often it is used.
const OLDEST: Duration = Duration::from_secs(60 * 60);

/// All upstream connections of the process; cheap to clone.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    prover: Prover,
    most_kept: usize,
    seats: Mutex<Seats>,
    freed: Notify,
    pace: Pace,
}

/// The right to one connection of an account; given back when dropped.
pub struct Slot {
    pool: Pool,
    owner: Owner,
    id: u64,
}

impl Pool {
    /// Keeps at most so many connections waiting, in all.
    pub fn new(most_kept: usize) -> std::result::Result<Self, NoRandom> {
        Ok(Self(Arc::new(Shared {
            prover: Prover::new()?,
            most_kept,
            seats: Mutex::default(),
            freed: Notify::new(),
            pace: Pace::default(),
        })))
    }

    /// A connection that is logged in: one that waited, or a new one. What has waited may be dead
    /// ([`Imap::is_resting`]). An account that is to pause gets neither.
    pub async fn open(
        &self,
        connector: &Connector,
        username: &str,
        password: &Secret,
    ) -> Result<(Slot, Imap)> {
        let owner = (connector.upstream().name.clone(), username.to_owned());
        self.0.pace.obey(&owner, Duration::ZERO).await?;
        let (mut slot, keeper) = self.take(connector, username, password).await?;
        if let Some(keeper) = keeper
            && let Some(imap) = keeper.recall().await
        {
            return Ok((slot, imap));
        }
        let imap = slot.log_in(connector, username, password).await?;
        Ok((slot, imap))
    }

    /// Whether a connection that lives was logged in with these credentials.
    pub fn proves(&self, connector: &Connector, username: &str, password: &Secret) -> bool {
        let (owner, proof) = self.claim(connector, username, password);
        self.seats().prove(&owner, &proof)
    }

    /// Whether the account's server is to be left alone for now.
    pub fn is_paused(&self, upstream: &str, username: &str) -> bool {
        self.0.pace.pause(&(upstream.to_owned(), username.to_owned())).is_some()
    }

    /// How many connections sessions use now; others wait.
    pub fn in_use(&self) -> usize {
        self.seats().in_use()
    }

    async fn take(
        &self,
        connector: &Connector,
        username: &str,
        password: &Secret,
    ) -> Result<(Slot, Option<Keeper>)> {
        let (owner, proof) = self.claim(connector, username, password);
        let most = connector.upstream().connections_per_account;
        let until = Instant::now() + PATIENCE.min(connector.upstream().timeout);
        loop {
            // Asked for before the table is looked at, or a place freed in between would be missed.
            let freed = self.0.freed.notified();
            let found = self.seats().take(&owner, &proof, most);
            let slot = |id| Slot { pool: self.clone(), owner: owner.clone(), id };
            match found {
                Found::Waiting(id, keeper) => return Ok((slot(id), Some(keeper))),
                Found::Free(id) => return Ok((slot(id), None)),
                Found::Instead(id, keeper) => {
                    let slot = slot(id);
                    keeper.dismiss().await;
                    return Ok((slot, None));
                }
                Found::None => {}
            }
            if timeout_at(until, freed).await.is_err() {
                return Err(Error::Crowded { most });
            }
        }
    }

    /// Says goodbye to all that wait; none will be kept any more.
    pub async fn close(&self) {
        let keepers = self.seats().close();
        dismiss_all(keepers).await;
    }

    /// Makes room at an upstream that may have too many connections; false if none waited there.
    async fn relieve(&self, upstream: &str) -> bool {
        let keepers = self.seats().dismiss(Some(upstream));
        let any = !keepers.is_empty();
        dismiss_all(keepers).await;
        any
    }

    fn claim(&self, connector: &Connector, username: &str, password: &Secret) -> (Owner, Proof) {
        let upstream = &connector.upstream().name;
        let proof = self.0.prover.proof(upstream, username, password);
        ((upstream.clone(), username.to_owned()), proof)
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.0.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn free(&self, owner: &Owner, id: u64, waiting: bool) {
        self.seats().free(owner, id, waiting);
        self.0.freed.notify_waiters();
    }
}

impl Slot {
    /// A new connection in this place. If the server has too many of ours, those that only wait
    /// make room.
    pub async fn log_in(&mut self, connector: &Connector, username: &str, password: &Secret) -> Result<Imap> {
        let mut result = self.try_log_in(connector, username, password).await;
        if let Err(error) = &result
            && refuses_connections(error)
            && self.pool.relieve(&self.owner.0).await
        {
            tracing::debug!(upstream = %self.owner.0, %error, "connections that waited have made room");
            result = self.try_log_in(connector, username, password).await;
        }
        let taken = match &result {
            Ok(imap) => Some(connection_limits(imap.capabilities())),
            Err(Error::Login(status)) if status.rejects_credentials() => None,
            Err(_) => return result,
        };
        let keepers = self.pool.seats().judged(&self.owner, self.id, taken);
        dismiss_all(keepers).await;
        result
    }

    async fn try_log_in(&self, connector: &Connector, username: &str, password: &Secret) -> Result<Imap> {
        let pace = &self.pool.0.pace;
        let opened = Imap::open(connector).await;
        // Said before it knew whom it speaks with.
        if let Some(throttle) = opened.as_ref().err().and_then(Error::throttle) {
            pace.heard(&self.owner, throttle);
        }
        let mut imap = opened?;
        imap.wire()?.pacer = Pacer::new(pace, &self.owner);
        match imap.login(username, password).await {
            Ok(()) => Ok(imap),
            Err(error) => {
                imap.logout().await;
                Err(error)
            }
        }
    }

    /// How long the account's server is to be left alone.
    pub fn pause(&self) -> Option<Duration> {
        self.pool.0.pace.pause(&self.owner)
    }

    /// Whether the next command has to wait.
    pub fn is_slowed(&self) -> bool {
        self.pause().or_else(|| self.pool.0.pace.delay(&self.owner)).is_some()
    }

    /// Waits until the account may go on; an error at once if that is beyond `patience`. True
    /// behind a pause.
    pub async fn obey(&self, patience: Duration) -> Result<bool> {
        self.pool.0.pace.obey(&self.owner, patience).await
    }

    /// Ends a session's use of a connection: it waits for the next one, or is said goodbye to.
    pub async fn keep(self, mut imap: Imap, keep_alive: Duration) {
        let oldest = self.pool.seats().proven(&self.owner, self.id).map(|proven| proven + OLDEST);
        let now = Instant::now();
        let oldest = oldest.filter(|oldest| *oldest > now && !keep_alive.is_zero());
        let Some(oldest) = oldest.filter(|_| imap.lay_down().is_ok()) else {
            return imap.logout().await;
        };
        if let Some(keeper) = self.wait(imap, oldest.min(now + keep_alive.min(OLDEST))) {
            keeper.dismiss().await;
        }
    }

    /// The connection waits in this place, unless it must not.
    fn wait(&self, imap: Imap, until: Instant) -> Option<Keeper> {
        let Self { pool, owner, id } = self;
        let pause = self.pause().unwrap_or_default();
        let unwanted = {
            // Held until the keeper has its place: it might end at once.
            let mut seats = pool.seats();
            let (pool, owner, id) = (pool.clone(), owner.clone(), *id);
            let lost = move |error: Option<Error>| {
                if let Some(error) = error {
                    tracing::debug!(upstream = %owner.0, username = %owner.1, %error, "a waiting connection is lost");
                }
                pool.free(&owner, id, true);
            };
            seats.wait(&self.owner, id, Keeper::start(imap, pause, until, lost), self.pool.0.most_kept)
        };
        // Who waits for a place can have it in this one's stead.
        pool.0.freed.notify_waiters();
        unwanted
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.pool.free(&self.owner, self.id, false);
    }
}

/// Whether a server may mean that it has too many connections from here.
fn refuses_connections(error: &Error) -> bool {
    match error {
        _ if error.throttle().is_some() => false,
        Error::Bye(_) | Error::Closed => true,
        // Ahead of TLS.
        Error::Connect { source, .. } | Error::Io(source) => {
            matches!(source.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)
        }
        Error::Login(status) => status.refuses_connections(),
        _ => false,
    }
}
