//! What all connections of one server share.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{broadcast, watch};
use tokio_rustls::TlsAcceptor;

use crate::fault::{Faults, Place, Plan};
use crate::idle::Aside;
use crate::mailbox::{Incoming, Mailbox};
use crate::persona::Traits;
use crate::tls::Tls;

pub(crate) struct Shared {
    state: Mutex<State>,
    /// Bumped at every change of a mailbox, for IDLE.
    pub changed: watch::Sender<u64>,
    /// To those in IDLE.
    pub asides: broadcast::Sender<Aside>,
    pub tls: Tls,
    pub acceptor: Option<TlsAcceptor>,
    pub delay: Duration,
}

pub(crate) struct State {
    pub traits: Arc<Traits>,
    pub faults: Faults,
    pub users: HashMap<String, Account>,
    /// With it, every name may log in by this password.
    pub any_user: Option<Vec<u8>>,
    pub commands: Vec<String>,
    pub connections: usize,
    pub live: usize,
    /// Connections without a greeting so far, and the most that there ever were.
    pub opening: usize,
    pub most_opening: usize,
    pub logins: usize,
    pub refuse: bool,
    pub tasks: HashMap<usize, tokio::task::AbortHandle>,
    next_validity: u32,
    next_email: u64,
}

/// Counts a connection as one without a greeting for as long as it lives.
pub(crate) struct Opening(Arc<Shared>);

impl Opening {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        let mut state = shared.lock();
        state.opening += 1;
        state.most_opening = state.most_opening.max(state.opening);
        drop(state);
        Self(Arc::clone(shared))
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.lock().opening -= 1;
    }
}

#[derive(Default)]
pub(crate) struct Account {
    /// Without one the account exists but only `any_user` opens it.
    pub password: Option<Vec<u8>>,
    /// Without one the password serves as an access token, too.
    pub token: Option<Vec<u8>>,
    pub mailboxes: BTreeMap<String, Mailbox>,
}

impl Shared {
    pub(crate) fn new(
        traits: Traits,
        users: Vec<(String, Vec<u8>)>,
        any_user: Option<Vec<u8>>,
        tls: Tls,
        acceptor: Option<TlsAcceptor>,
        delay: Duration,
    ) -> Self {
        let mut state = State {
            traits: Arc::new(traits),
            faults: Faults::default(),
            users: HashMap::new(),
            any_user,
            commands: Vec::new(),
            connections: 0,
            live: 0,
            opening: 0,
            most_opening: 0,
            logins: 0,
            refuse: false,
            tasks: HashMap::new(),
            next_validity: 1_700_000_000,
            next_email: 1,
        };
        for (name, password) in users {
            state.account(&name).password = Some(password);
        }
        Self {
            state: Mutex::new(state),
            changed: watch::Sender::new(0),
            asides: broadcast::Sender::new(16),
            tls,
            acceptor,
            delay,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panicked elsewhere must not hide its own message behind a poisoned lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn traits(&self) -> Arc<Traits> {
        Arc::clone(&self.lock().traits)
    }

    pub(crate) fn plan(&self, place: Place) -> Plan {
        self.lock().faults.take(place).into()
    }

    /// Changes a mailbox and wakes those who wait for changes; `None` if there is no such mailbox.
    pub(crate) fn with_mailbox<T>(
        &self,
        user: &str,
        name: &str,
        change: impl FnOnce(&mut Mailbox) -> T,
    ) -> Option<T> {
        let result = {
            let mut state = self.lock();
            let mailbox = state.users.get_mut(user)?.mailboxes.get_mut(&canonical(name))?;
            let before = (mailbox.revision, mailbox.validity);
            let result = change(mailbox);
            ((mailbox.revision, mailbox.validity) != before, result)
        };
        if result.0 {
            self.wake();
        }
        Some(result.1)
    }

    /// DONE is no command, and yet belongs among them.
    pub(crate) fn note_done(&self) {
        self.lock().commands.push("- DONE".to_owned());
    }

    pub(crate) fn wake(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

impl State {
    /// The account, made with the persona's folders where it is new.
    pub(crate) fn account(&mut self, name: &str) -> &mut Account {
        if !self.users.contains_key(name) {
            self.users.insert(name.to_owned(), Account::default());
            self.make_folders(name);
        }
        self.users.entry(name.to_owned()).or_default()
    }

    /// The mailbox, made where it is new.
    pub(crate) fn mailbox(&mut self, user: &str, name: &str) -> &mut Mailbox {
        self.account(user);
        let validity = self.take_validity();
        let account = self.users.entry(user.to_owned()).or_default();
        account.mailboxes.entry(canonical(name)).or_insert_with(|| Mailbox::new(validity))
    }

    /// Adds what the persona's accounts have from the start.
    pub(crate) fn make_folders(&mut self, user: &str) {
        let traits = Arc::clone(&self.traits);
        self.mailbox(user, "INBOX").subscribed = true;
        for (name, special_use) in &traits.folders {
            let mailbox = self.mailbox(user, name);
            mailbox.subscribed = true;
            mailbox.special_use = Some((*special_use).to_owned()).filter(|use_| !use_.is_empty());
        }
    }

    pub(crate) fn take_validity(&mut self) -> u32 {
        self.next_validity += 1;
        self.next_validity
    }

    pub(crate) fn incoming(&mut self, body: &[u8], flags: &[&str], date: Option<i64>) -> Incoming {
        self.next_email += 1;
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Incoming::new(body, flags, date.unwrap_or_else(now), self.next_email)
    }

    pub(crate) fn password_fits(&self, user: &str, password: &[u8]) -> bool {
        let own = self.users.get(user).and_then(|account| account.password.as_deref());
        own == Some(password) || self.any_user.as_deref() == Some(password)
    }

    pub(crate) fn token_fits(&self, user: &str, token: &[u8]) -> bool {
        match self.users.get(user).and_then(|account| account.token.as_deref()) {
            Some(own) => own == token,
            None => self.password_fits(user, token),
        }
    }

    /// What SCRAM is to find out about; of one who does not exist, nothing that fits.
    pub(crate) fn password_of(&self, user: &str) -> Vec<u8> {
        let own = self.users.get(user).and_then(|account| account.password.clone());
        own.or_else(|| self.any_user.clone()).unwrap_or_else(|| b"\0nobody".to_vec())
    }
}

/// INBOX in any case is one mailbox, RFC 3501 §5.1.
pub(crate) fn canonical(name: &str) -> String {
    if name.eq_ignore_ascii_case("INBOX") { "INBOX".to_owned() } else { name.to_owned() }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(0)
}
