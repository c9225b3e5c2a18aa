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
use super::quirks::connection_limits;
use super::seats::{Found, Owner, Seats};
use crate::secret::{Credential, NoRandom, Proof, Prover};

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
    wanted: Notify,
    pace: Pace,
}

/// The right to one connection of an account; given back when dropped.
pub struct Slot {
    pool: Pool,
    owner: Owner,
    proof: Proof,
    id: u64,
}

/// Credentials that are good: a connection that lives proves them, or a login just now.
///
/// It has no place yet. Who has no password must not take one, nor the connection that waits in it.
pub struct Admission {
    pool: Pool,
    owner: Owner,
    proof: Proof,
    login: Option<(Imap, Instant)>,
}

impl Pool {
    /// Keeps at most so many connections waiting, in all.
    pub fn new(most_kept: usize) -> std::result::Result<Self, NoRandom> {
        Ok(Self(Arc::new(Shared {
            prover: Prover::new()?,
            most_kept,
            seats: Mutex::default(),
            freed: Notify::new(),
            wanted: Notify::new(),
            pace: Pace::default(),
        })))
    }

    /// Proves credentials: by a connection that lives, else by a login. An account that is to
    /// pause is refused.
    pub async fn admit(
        &self,
        connector: &Connector,
        username: &str,
        credential: &Credential,
    ) -> Result<Admission> {
        let owner = (connector.upstream().name.clone(), username.to_owned());
        self.0.pace.obey(&owner, Duration::ZERO).await?;
        let proof = self.0.prover.proof(&owner.0, username, credential.secret());
        let login = if self.seats().prove(&owner, &proof) {
            None
        } else {
            Some((self.log_in(&owner, &proof, connector, credential).await?, Instant::now()))
        };
        Ok(Admission { pool: self.clone(), owner, proof, login })
    }

    /// Whether the account's server is to be left alone for now.
    pub fn is_paused(&self, upstream: &str, username: &str) -> bool {
        self.0.pace.pause(&(upstream.to_owned(), username.to_owned())).is_some()
    }

    /// How many connections sessions use now; others wait.
    pub fn in_use(&self) -> usize {
        self.seats().in_use()
    }

    /// A place of the account, when there is one, and what waits in it.
    async fn take(
        &self,
        owner: &Owner,
        proof: &Proof,
        connector: &Connector,
    ) -> Result<(Slot, Option<Keeper>)> {
        let most = connector.upstream().connections_per_account;
        let until = Instant::now() + PATIENCE.min(connector.upstream().timeout);
        loop {
            // Asked for before the table is looked at, or a place freed in between would be missed.
            let freed = self.0.freed.notified();
            let found = self.seats().take(owner, proof, most);
            let slot = |id| Slot { pool: self.clone(), owner: owner.clone(), proof: proof.clone(), id };
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
            self.seats().want(owner);
            self.0.wanted.notify_waiters();
            if timeout_at(until, freed).await.is_err() {
                return Err(Error::Crowded { most });
            }
        }
    }

    /// A new connection. If the server has too many of ours, one that only waits makes room.
    async fn log_in(
        &self,
        owner: &Owner,
        proof: &Proof,
        connector: &Connector,
        credential: &Credential,
    ) -> Result<Imap> {
        let mut result = self.try_log_in(owner, connector, credential).await;
        if let Err(error) = &result
            && refuses_connections(error)
            && self.relieve(&owner.0).await
        {
            tracing::debug!(upstream = %owner.0, %error, "a connection that waited has made room");
            result = self.try_log_in(owner, connector, credential).await;
        }
        let taken = match &result {
            Ok(imap) => Some(connection_limits(imap.capabilities())),
            Err(Error::Login(status)) if status.rejects_credentials() => None,
            Err(_) => return result,
        };
        let keepers = self.seats().judged(owner, proof, taken);
        dismiss_all(keepers).await;
        result
    }

    async fn try_log_in(
        &self,
        owner: &Owner,
        connector: &Connector,
        credential: &Credential,
    ) -> Result<Imap> {
        let pace = &self.0.pace;
        let opened = Imap::open(connector).await;
        // Said before it knew whom it speaks with.
        if let Some(throttle) = opened.as_ref().err().and_then(Error::throttle) {
            pace.heard(owner, throttle);
        }
        let mut imap = opened?;
        imap.wire().pacer = Pacer::new(pace, owner);
        match imap.login(&owner.1, credential).await {
            Ok(()) => Ok(imap),
            Err(error) => {
                imap.logout().await;
                Err(error)
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
        let keeper = self.seats().dismiss_one(upstream);
        match keeper {
            Some(keeper) => {
                keeper.dismiss().await;
                true
            }
            None => false,
        }
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.0.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn free(&self, owner: &Owner, id: u64, waiting: bool) {
        self.seats().free(owner, id, waiting);
        self.0.freed.notify_waiters();
    }
}

impl Admission {
    /// A place for it, and its connection: one that waited, or a new one. What has waited may be
    /// dead ([`Imap::is_resting`]).
    pub async fn seat(self, connector: &Connector, credential: &Credential) -> Result<(Slot, Imap)> {
        let Self { pool, owner, proof, login } = self;
        let taken = pool.take(&owner, &proof, connector).await;
        let (imap, proven) = match login {
            None => {
                let (mut slot, keeper) = taken?;
                if let Some(keeper) = keeper
                    && let Some(imap) = keeper.recall().await
                {
                    return Ok((slot, imap));
                }
                let imap = slot.log_in(connector, credential).await?;
                return Ok((slot, imap));
            }
            Some(login) => login,
        };
        match taken {
            Ok((slot, keeper)) => {
                pool.seats().proved(&owner, slot.id, proven);
                if let Some(keeper) = keeper {
                    keeper.dismiss().await;
                }
                Ok((slot, imap))
            }
            Err(error) => {
                imap.logout().await;
                Err(error)
            }
        }
    }

    /// It is not made use of.
    pub async fn decline(self) {
        if let Some((imap, _)) = self.login {
            imap.logout().await;
        }
    }
}

impl Slot {
    /// A new connection in this place.
    pub async fn log_in(&mut self, connector: &Connector, credential: &Credential) -> Result<Imap> {
        let Self { pool, owner, proof, id } = self;
        // It may be another password than the one that the place was taken with.
        *proof = pool.0.prover.proof(&owner.0, &owner.1, credential.secret());
        pool.seats().claim(owner, *id, proof);
        let imap = pool.log_in(owner, proof, connector, credential).await?;
        pool.seats().proved(owner, *id, Instant::now());
        Ok(imap)
    }

    /// Resolves when another session of the account waits for a place.
    pub fn wanted(&self) -> impl Future<Output = ()> + use<> {
        let (pool, owner) = (self.pool.clone(), self.owner.clone());
        async move {
            loop {
                let wanted = pool.0.wanted.notified();
                if pool.seats().is_wanted(&owner) {
                    return;
                }
                wanted.await;
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
        let Self { pool, owner, id, .. } = self;
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
