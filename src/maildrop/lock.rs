//! One session a maildrop (RFC 1939 §4), and the way out when its client has gone silent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::activity::Activity;

/// How long a login waits for a session that is just ending, or that was told to.
const PATIENCE: Duration = Duration::from_secs(3);

type Key = (String, String);

/// The maildrops in use by this process.
#[derive(Debug, Clone)]
pub struct Locks {
    table: Arc<Table>,
    preempt_after: Duration,
}

#[derive(Debug, Default)]
struct Table {
    holders: Mutex<HashMap<Key, Holder>>,
    freed: Notify,
}

#[derive(Debug)]
struct Holder {
    activity: Activity,
    preempt: Arc<Notify>,
}

impl Locks {
    /// A session whose client was silent for `preempt_after` gives way to a new login.
    pub fn new(preempt_after: Duration) -> Self {
        Self { table: Arc::default(), preempt_after }
    }

    /// Takes the lock on a login's maildrop; `None` when its session goes on.
    pub async fn acquire(&self, upstream: &str, login: &str, activity: Activity) -> Option<LockGuard> {
        let key = (upstream.to_owned(), login.to_owned());
        let until = Instant::now() + PATIENCE;
        loop {
            // Asked for before the table is looked at, or a lock freed in between would be missed.
            let freed = self.table.freed.notified();
            {
                let mut holders = self.table.holders.lock().unwrap_or_else(PoisonError::into_inner);
                match holders.get(&key) {
                    None => {
                        let preempt = Arc::new(Notify::new());
                        let holder = Holder { activity, preempt: Arc::clone(&preempt) };
                        holders.insert(key.clone(), holder);
                        return Some(LockGuard { table: Arc::clone(&self.table), key, preempt });
                    }
                    Some(holder) if holder.activity.idle() >= self.preempt_after => {
                        holder.preempt.notify_one()
                    }
                    Some(_) => {}
                }
            }
            if timeout_at(until, freed).await.is_err() {
                return None;
            }
        }
    }
}

/// A lock, freed when dropped.
#[derive(Debug)]
pub struct LockGuard {
    table: Arc<Table>,
    key: Key,
    preempt: Arc<Notify>,
}

impl LockGuard {
    /// Tells when the session is to give way.
    pub fn preemption(&self) -> Preemption {
        Preemption(Some(Arc::clone(&self.preempt)))
    }
}

/// The wish of a new login to have a maildrop whose client is silent.
#[derive(Debug, Clone, Default)]
pub struct Preemption(Option<Arc<Notify>>);

impl Preemption {
    /// Resolves when the session is to give way; never without a lock.
    pub async fn requested(&self) {
        match &self.0 {
            Some(signal) => signal.notified().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        self.table.holders.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
        self.table.freed.notify_waiters();
    }
}

/// Turns at an account's removal journal: two sessions that carried it out at once would do it twice.
#[derive(Debug, Clone, Default)]
pub struct Turns(Arc<Mutex<HashMap<Key, Weak<tokio::sync::Mutex<()>>>>>);

impl Turns {
    /// Waits for the turn; it ends when the guard is dropped.
    pub async fn take(&self, upstream: &str, username: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| turn.strong_count() > 0);
            let key = (upstream.to_owned(), username.to_owned());
            let turn = turns.get(&key).and_then(Weak::upgrade).unwrap_or_default();
            turns.insert(key, Arc::downgrade(&turn));
            turn
        };
        turn.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_live_session_keeps_its_lock() {
        let locks = Locks::new(Duration::from_secs(30));
        let held = locks.acquire("home", "alice", Activity::new()).await;
        assert!(held.is_some());
        assert!(locks.acquire("home", "alice", Activity::new()).await.is_none());
        assert!(locks.acquire("home", "bob", Activity::new()).await.is_some());
        drop(held);
        assert!(locks.acquire("home", "alice", Activity::new()).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_one_gives_way() {
        let locks = Locks::new(Duration::from_secs(30));
        let held = locks.acquire("home", "alice", Activity::new()).await.expect("free");
        tokio::time::advance(Duration::from_secs(31)).await;
        let session = tokio::spawn(async move {
            held.preemption().requested().await;
            drop(held);
        });
        assert!(locks.acquire("home", "alice", Activity::new()).await.is_some());
        session.await.expect("the silent session ended");
    }
}
