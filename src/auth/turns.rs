//! Whose turn it is: so many at once of those that share a key, the others one behind the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Turns by key; of keys that nobody has or awaits, nothing is kept.
pub struct Turns {
    at_once: usize,
    keys: Mutex<HashMap<u64, Arc<Semaphore>>>,
}

/// One turn, or the wait for it; given back when dropped.
pub struct Turn<'a> {
    turns: &'a Turns,
    key: u64,
    semaphore: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Turns {
    /// So many at once of each key.
    pub fn new(at_once: usize) -> Self {
        Self { at_once, keys: Mutex::default() }
    }

    /// Waits for a turn.
    pub async fn take(&self, key: u64) -> Turn<'_> {
        let semaphore = {
            let mut keys = self.keys();
            Arc::clone(keys.entry(key).or_insert_with(|| Arc::new(Semaphore::new(self.at_once))))
        };
        // Made before the wait: who stops waiting leaves nothing behind either.
        let mut turn = Turn { turns: self, key, semaphore, permit: None };
        // It is an error only of a closed semaphore, and none is closed.
        turn.permit = Arc::clone(&turn.semaphore).acquire_owned().await.ok();
        turn
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<u64, Arc<Semaphore>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut keys = self.turns.keys();
        drop(self.permit.take());
        // The table's and this one: nobody else has or awaits a turn. New ones come by the table.
        if Arc::strong_count(&self.semaphore) == 2 {
            keys.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn each_key_has_turns_of_its_own_and_leaves_nothing() {
        let turns = Turns::new(2);
        let wait = Duration::from_secs(1);
        let first = turns.take(1).await;
        let second = turns.take(1).await;
        assert!(timeout(wait, turns.take(1)).await.is_err());
        let other = timeout(wait, turns.take(2)).await;
        assert!(other.is_ok());
        drop(first);
        let third = timeout(wait, turns.take(1)).await;
        assert!(third.is_ok());
        assert!(timeout(wait, turns.take(1)).await.is_err());
        assert_eq!(turns.keys().len(), 2);
        drop((second, third, other));
        assert_eq!(turns.keys().len(), 0);
        let again = timeout(wait, turns.take(1)).await;
        assert!(again.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_let_in_one_behind_the_other() {
        let turns = Turns::new(1);
        let first = turns.take(1).await;
        let order = Mutex::new(Vec::new());
        let wait = async |number| {
            let turn = turns.take(1).await;
            order.lock().unwrap_or_else(PoisonError::into_inner).push(number);
            tokio::task::yield_now().await;
            drop(turn);
        };
        tokio::join!(wait(1), wait(2), wait(3), async { drop(first) });
        assert_eq!(order.into_inner().unwrap_or_else(PoisonError::into_inner), [1, 2, 3]);
        assert_eq!(turns.keys().len(), 0);
    }
}
