//! Passwords that only have to be recognised: what a comparison costs in memory and time, and so
//! how many run at once.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use super::Refused;
use crate::secret::{NoRandom, PasswordHash, Proof, Prover, Secret};

/// How long a password that was right need not be hashed again: a program that polls every minute
/// would cost 20 MiB and 30 ms each time.
pub const REMEMBERED: Duration = Duration::from_secs(5 * 60);

/// How long a login waits for its turn to be hashed.
const PATIENCE: Duration = Duration::from_secs(20);

/// The passwords of all logins that have one of their own.
pub struct Passwords {
    prover: Prover,
    turns: Arc<Semaphore>,
    /// By login: what was right lately.
    recent: Mutex<HashMap<String, (Proof, Instant)>>,
    /// The dearest hash of each kind. A wrong password is compared with one of each, so that the
    /// time tells nothing of which logins there are.
    decoys: Vec<PasswordHash>,
}

impl Passwords {
    /// With all hashes that there are.
    pub fn new(hashes: &[&PasswordHash]) -> Result<Self, NoRandom> {
        let mut decoys: Vec<PasswordHash> = Vec::new();
        for &hash in hashes {
            match decoys.iter_mut().find(|decoy| decoy.is_like(hash)) {
                Some(decoy) if decoy.cost() < hash.cost() => *decoy = hash.clone(),
                Some(_) => {}
                None => decoys.push(hash.clone()),
            }
        }
        Ok(Self {
            prover: Prover::new()?,
            turns: Arc::new(Semaphore::new(available_parallelism().map_or(1, usize::from))),
            recent: Mutex::default(),
            decoys,
        })
    }

    /// Whether no login has a password of its own.
    pub fn are_none(&self) -> bool {
        self.decoys.is_empty()
    }

    /// Whether a password is a login's own, as it may be known from a short while ago.
    pub async fn recognise(
        &self,
        login: &str,
        hash: Option<&PasswordHash>,
        password: &Secret,
    ) -> Result<bool, Refused> {
        let proof = self.prover.proof(hash.map_or("", PasswordHash::as_str), login, password);
        let known = self
            .recent()
            .get(login)
            .is_some_and(|(right, since)| *right == proof && since.elapsed() < REMEMBERED);
        if known {
            return Ok(true);
        }
        let right = self.compare(hash, password).await?;
        if right {
            self.recent().insert(login.to_owned(), (proof, Instant::now()));
        }
        Ok(right)
    }

    /// Hashes a password, when it is its turn: a wrong one in every way that there is. Without a
    /// hash every password is wrong.
    pub async fn compare(&self, hash: Option<&PasswordHash>, password: &Secret) -> Result<bool, Refused> {
        if hash.is_none() && self.are_none() {
            return Ok(false);
        }
        let turn = timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(Refused::Busy) };
        let unlike = |decoy: &&PasswordHash| !hash.is_some_and(|hash| hash.is_like(decoy));
        let decoys: Vec<PasswordHash> = self.decoys.iter().filter(unlike).cloned().collect();
        let (hash, password) = (hash.cloned(), password.clone());
        let hashing = spawn_blocking(move || {
            // Kept to the end of the work, even if the client has gone.
            let _turn = turn;
            let right = hash.is_some_and(|hash| hash.is_of(&password));
            if !right {
                for decoy in decoys {
                    black_box(decoy.is_of(&password));
                }
            }
            right
        });
        // It does not panic; at worst the program is about to end.
        hashing.await.map_err(|_| Refused::Busy)
    }

    fn recent(&self) -> MutexGuard<'_, HashMap<String, (Proof, Instant)>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub use tests::Stopped;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::OwnedSemaphorePermit;

    /// While it lives, no password is hashed: what needs it is `Busy`.
    pub struct Stopped(#[expect(dead_code, reason = "held")] Vec<OwnedSemaphorePermit>);

    impl Passwords {
        pub fn stop(&self) -> Stopped {
            let left = self.turns.available_permits();
            let take = |_| Arc::clone(&self.turns).try_acquire_owned().expect("counted");
            Stopped((0..left).map(take).collect())
        }
    }
}
