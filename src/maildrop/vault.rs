//! Accounts with deletions under way: their passwords are kept in memory until those are done, so
//! that they can be done without the program that ordered them. Never on disk.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::account::Account;

/// The pauses behind failures at one account.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

type Key = (String, String);

/// By upstream and user name there.
#[derive(Clone, Default)]
pub struct Vault(Arc<Mutex<HashMap<Key, Kept>>>);

struct Kept {
    account: Account,
    not_before: Instant,
    pause: Duration,
}

impl Vault {
    /// Keeps an account whose password was proven just now.
    pub fn keep(&self, account: &Account) {
        let key = (account.connector.upstream().name.clone(), account.username.clone());
        let kept = Kept { account: account.clone(), not_before: Instant::now(), pause: FIRST_PAUSE };
        self.table().insert(key, kept);
    }

    /// The account, unless it failed a moment ago.
    pub fn ready(&self, upstream: &str, username: &str) -> Option<Account> {
        let table = self.table();
        let kept = table.get(&(upstream.to_owned(), username.to_owned()))?;
        (kept.not_before <= Instant::now()).then(|| kept.account.clone())
    }

    /// Lets an account rest after a failure, each time for longer.
    pub fn postpone(&self, upstream: &str, username: &str) {
        if let Some(kept) = self.table().get_mut(&(upstream.to_owned(), username.to_owned())) {
            kept.not_before = Instant::now() + kept.pause;
            kept.pause = (kept.pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Drops an account: nothing is left to do, or its password is no longer right.
    pub fn forget(&self, upstream: &str, username: &str) {
        self.table().remove(&(upstream.to_owned(), username.to_owned()));
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Key, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
