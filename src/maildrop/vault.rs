//! Accounts with deletions under way: how their mailboxes can be had when those are due, without
//! the program that ordered them. A password that a program gave is kept in memory until they are
//! done, never on disk; one that popbridge can read itself is not kept at all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::account::{Account, Entrusted};
use super::error::Error;

/// The pauses behind failures at one account.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

type Key = (String, String);

/// By upstream and user name there.
#[derive(Clone, Default)]
pub struct Vault(Arc<Mutex<HashMap<Key, Kept>>>);

struct Kept {
    given: Option<Account>,
    entrusted: Option<Entrusted>,
    not_before: Instant,
    pause: Duration,
}

/// How an account's password can be had.
pub enum Access {
    Given(Account),
    Entrusted(Entrusted),
}

impl Access {
    /// The account with its password.
    pub async fn account(self) -> Result<Account, Error> {
        match self {
            Self::Given(account) => Ok(account),
            Self::Entrusted(entrusted) => entrusted.account().await,
        }
    }
}

impl Vault {
    /// With what popbridge can read itself, at any time. Where several logins lead to one mailbox,
    /// the first serves for all.
    pub fn new(entrusted: Vec<Entrusted>) -> Self {
        let vault = Self::default();
        for entrusted in entrusted {
            let key = (entrusted.connector.upstream().name.clone(), entrusted.username.clone());
            vault.table().entry(key).or_insert_with(Kept::new).entrusted.get_or_insert(entrusted);
        }
        vault
    }

    /// Keeps an account whose password was proven just now.
    pub fn keep(&self, account: &Account) {
        let key = (account.connector.upstream().name.clone(), account.username.clone());
        let mut table = self.table();
        let kept = table.entry(key).or_insert_with(Kept::new);
        let given = account.source.is_none().then(|| account.clone());
        *kept = Kept { given: given.or(kept.given.take()), entrusted: kept.entrusted.take(), ..Kept::new() };
    }

    /// The way to an account, unless it failed a moment ago.
    pub fn ready(&self, upstream: &str, username: &str) -> Option<Access> {
        let table = self.table();
        let kept = table.get(&(upstream.to_owned(), username.to_owned()))?;
        if kept.not_before > Instant::now() {
            return None;
        }
        let given = kept.given.clone().map(Access::Given);
        given.or_else(|| kept.entrusted.clone().map(Access::Entrusted))
    }

    /// Lets an account rest after a failure, each time for longer.
    pub fn postpone(&self, upstream: &str, username: &str) {
        if let Some(kept) = self.table().get_mut(&(upstream.to_owned(), username.to_owned())) {
            kept.not_before = Instant::now() + kept.pause;
            kept.pause = (kept.pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Drops a password that was given: nothing is left to do, or it is no longer right.
    pub fn forget(&self, upstream: &str, username: &str) {
        let key = (upstream.to_owned(), username.to_owned());
        let mut table = self.table();
        if let Some(kept) = table.get_mut(&key) {
            kept.given = None;
            if kept.entrusted.is_none() {
                table.remove(&key);
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Key, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn new() -> Self {
        Self { given: None, entrusted: None, not_before: Instant::now(), pause: FIRST_PAUSE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::maildrop::Source;
    use crate::secret::{Credential, Secret, SecretSource};
    use crate::upstream::Connector;
    use tokio::time::advance;

    fn connector() -> Connector {
        let text = "[upstream.home]\nurl = \"imap://127.0.0.1:1\"\n";
        let config = Config::parse(text, "test", std::path::Path::new(".")).expect("a configuration");
        Connector::new(Arc::clone(&config.upstreams[0])).expect("no certificates to read")
    }

    fn entrusted(login: &str) -> Entrusted {
        // Cargo sets it.
        let source = Source::Password(SecretSource::Environment("CARGO_PKG_NAME".to_owned()));
        Entrusted { login: login.to_owned(), connector: connector(), username: "alice".to_owned(), source }
    }

    fn given() -> Account {
        Account {
            login: "alice".to_owned(),
            connector: connector(),
            username: "alice".to_owned(),
            credential: Credential::Password(Secret::new(b"given".to_vec())),
            source: None,
        }
    }

    /// The login and the password that a sweep would use.
    async fn ready(vault: &Vault) -> Option<(String, Vec<u8>)> {
        let account = vault.ready("home", "alice")?.account().await.expect("its password");
        Some((account.login, account.credential.secret().expose().to_vec()))
    }

    fn used(login: &str, password: &str) -> Option<(String, Vec<u8>)> {
        Some((login.to_owned(), password.as_bytes().to_vec()))
    }

    #[tokio::test]
    async fn what_was_given_is_dropped_and_what_is_entrusted_stays() {
        let vault = Vault::new(vec![entrusted("scanner"), entrusted("printer")]);
        assert_eq!(ready(&vault).await, used("scanner", "popbridge"), "the first serves for all");
        vault.keep(&given());
        assert_eq!(ready(&vault).await, used("alice", "given"));
        vault.forget("home", "alice");
        assert_eq!(ready(&vault).await, used("scanner", "popbridge"));
        vault.forget("home", "alice");
        assert_eq!(ready(&vault).await, used("scanner", "popbridge"));
        assert!(vault.ready("home", "bob").is_none());
    }

    #[tokio::test]
    async fn a_password_that_can_be_read_is_not_kept() {
        let vault = Vault::default();
        vault.keep(&entrusted("scanner").account().await.expect("its password"));
        assert!(vault.ready("home", "alice").is_none());
        vault.keep(&given());
        vault.keep(&entrusted("scanner").account().await.expect("its password"));
        assert_eq!(ready(&vault).await, used("alice", "given"), "another login's deletions still wait");
        vault.forget("home", "alice");
        assert!(vault.ready("home", "alice").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_followed_by_longer_and_longer_rests() {
        let vault = Vault::new(vec![entrusted("scanner")]);
        for pause in [1, 2, 4] {
            vault.postpone("home", "alice");
            advance(FIRST_PAUSE * pause - Duration::from_millis(1)).await;
            assert!(vault.ready("home", "alice").is_none());
            advance(Duration::from_millis(1)).await;
            assert!(vault.ready("home", "alice").is_some());
        }
        vault.postpone("home", "alice");
        vault.keep(&entrusted("scanner").account().await.expect("its password"));
        assert!(vault.ready("home", "alice").is_some(), "a login has just succeeded");
    }
}
