//! What mail servers have rejected a moment ago: they are not asked the same again at once. A
//! device that polls every half minute with an old password would have its account locked there.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::table::{Lasting, Table};
use crate::secret::{NoRandom, Prover, Secret};

/// A password that was corrected at the mail server is not held back for longer.
const REMEMBERED: Duration = Duration::from_secs(60);

/// So many are remembered.
const MANY: usize = 10_000;

/// What was rejected, and in which words.
pub struct Rejections<T> {
    prover: Prover,
    table: Mutex<Table<Rejected<T>>>,
}

struct Rejected<T> {
    words: T,
    until: Instant,
}

impl<T> Lasting for Rejected<T> {
    fn until(&self) -> Instant {
        self.until
    }
}

impl<T: Clone> Rejections<T> {
    /// Nothing was rejected yet.
    pub fn new() -> Result<Self, NoRandom> {
        Ok(Self { prover: Prover::new()?, table: Mutex::new(Table::new(MANY)) })
    }

    /// What the server said of the same a moment ago.
    pub fn recall(&self, upstream: &str, username: &str, secret: &Secret) -> Option<T> {
        let key = self.prover.proof(upstream, username, secret).fingerprint();
        self.table().get(key, Instant::now()).map(|rejected| rejected.words.clone())
    }

    /// The server has rejected it.
    pub fn remember(&self, upstream: &str, username: &str, secret: &Secret, words: T) {
        let key = self.prover.proof(upstream, username, secret).fingerprint();
        let now = Instant::now();
        // What was recalled is not rejected anew: the first time counts.
        self.table().entry(key, now, Rejected { words, until: now + REMEMBERED });
    }

    fn table(&self) -> MutexGuard<'_, Table<Rejected<T>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn the_same_is_remembered_for_a_minute() {
        let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
        let rejections = Rejections::new().expect("random numbers");
        rejections.remember("home", "alice", &secret("old"), "no");
        advance(REMEMBERED - Duration::from_secs(1)).await;
        rejections.remember("home", "alice", &secret("old"), "still no");
        assert_eq!(rejections.recall("home", "alice", &secret("old")), Some("no"));
        for (upstream, username, password) in
            [("home", "alice", "new"), ("home", "bob", "old"), ("work", "alice", "old")]
        {
            assert_eq!(rejections.recall(upstream, username, &secret(password)), None);
        }
        advance(Duration::from_secs(1)).await;
        assert_eq!(rejections.recall("home", "alice", &secret("old")), None);
        rejections.remember("home", "alice", &secret("old"), "again");
        assert_eq!(rejections.recall("home", "alice", &secret("old")), Some("again"));
        for number in 0..3 * MANY {
            rejections.remember("home", &number.to_string(), &secret("old"), "no");
        }
        assert!(rejections.table().len() <= MANY);
    }
}
