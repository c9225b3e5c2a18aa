//! Connections, counted for each account, and kept between its sessions.
//!
//! A session takes a [`Slot`] and a connection with it: one that waits, if it was logged in with
//! the same password, else a new one. At its end the connection goes back to wait. Sessions never
//! share one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::connect::Connector;
use super::control::Imap;
use super::error::{Error, Result};
use super::keeper::{Keeper, dismiss_all};
use super::quirks::connection_limits;
use super::response::Code;
use super::seats::{Found, Owner, Seats};
use crate::secret::{NoRandom, Proof, Prover, Secret};

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
        })))
    }

    /// A connection that is logged in: one that waited, or a new one. What has waited may be dead
    /// ([`Imap::is_resting`]).
    pub async fn open(
        &self,
        connector: &Connector,
        username: &str,
        password: &Secret,
    ) -> Result<(Slot, Imap)> {
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
        // It may be another password than the one that the place was taken with.
        let (_, proof) = self.pool.claim(connector, username, password);
        self.pool.seats().claim(&self.owner, self.id, proof);
        let mut result = log_in(connector, username, password).await;
        if let Err(error) = &result
            && refuses_connections(error)
            && self.pool.relieve(&self.owner.0).await
        {
            tracing::debug!(upstream = %self.owner.0, %error, "connections that waited have made room");
            result = log_in(connector, username, password).await;
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

    /// Ends a session's use of a connection: it waits for the next one, or is said goodbye to.
    pub async fn keep(self, mut imap: Imap, keep_alive: Duration) {
        match self.until(keep_alive).filter(|_| imap.lay_down().is_ok()) {
            Some(until) => self.wait(imap, until),
            None => imap.logout().await,
        }
    }

    /// Until when the connection may wait.
    fn until(&self, keep_alive: Duration) -> Option<Instant> {
        let seats = self.pool.seats();
        let proven = seats.proven(&self.owner, self.id)?;
        let room = !keep_alive.is_zero() && seats.has_room(&self.owner, self.pool.0.most_kept);
        let now = Instant::now();
        (room && proven + OLDEST > now).then(|| (proven + OLDEST).min(now + keep_alive))
    }

    fn wait(&self, imap: Imap, until: Instant) {
        let Self { pool, owner, id } = self;
        {
            // Held until the keeper has its place: it might end at once.
            let mut seats = pool.seats();
            let (pool, owner, id) = (pool.clone(), owner.clone(), *id);
            let lost = move |error: Option<Error>| {
                if let Some(error) = error {
                    tracing::debug!(upstream = %owner.0, username = %owner.1, %error, "a waiting connection is lost");
                }
                pool.free(&owner, id, true);
            };
            seats.wait(&self.owner, id, Keeper::start(imap, until, lost));
        }
        // Who waits for a place can have it in this one's stead.
        pool.0.freed.notify_waiters();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.pool.free(&self.owner, self.id, false);
    }
}

async fn log_in(connector: &Connector, username: &str, password: &Secret) -> Result<Imap> {
    let mut imap = Imap::open(connector).await?;
    match imap.login(username, password).await {
        Ok(()) => Ok(imap),
        Err(error) => {
            imap.logout().await;
            Err(error)
        }
    }
}

/// Whether a server may mean that it has too many connections from here.
fn refuses_connections(error: &Error) -> bool {
    match error {
        Error::Bye(_) | Error::Closed => true,
        Error::Login(status) => matches!(status.code, Some(Code::Limit | Code::InUse)),
        _ => false,
    }
}
