//! An in-memory IMAP server for tests.
//!
//! It speaks enough of RFC 3501 and its extensions to stand in for the servers of the world, each
//! extension only where the [`Persona`] announces it, with their known oddities ([`Traits`]), and it
//! fails on demand: any [`Fault`] at any [`Place`]. It is never a server for real mail.
//!
//! The mailboxes are shared by all connections. A test changes them as another mail program would
//! ([`Server::append`], [`Server::remove`] …); connected sessions are told at the next moment the
//! protocol allows.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use imapsim::{Fault, Persona, Place, Server};
//!
//! let server = Server::builder().user("alice", "secret").persona(Persona::Gmail).start().await?;
//! server.append("alice", "INBOX", b"Subject: hello\r\n\r\nhi\r\n", &[]);
//! server.fault(Place::Fetch(2), Fault::Eof);
//! // … connect to server.address()
//! # Ok(()) }
//! ```
#![forbid(unsafe_code)]

mod auth;
mod builder;
mod command;
mod connection;
mod expunge;
mod fault;
mod fetch;
mod folders;
mod idle;
mod items;
mod mailbox;
mod persona;
mod resync;
mod scram;
mod search;
mod section;
mod select;
mod servers;
mod set;
mod state;
mod store;
mod tls;
mod token;
mod transfer;
mod view;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

pub use builder::Builder;
pub use fault::{Fault, Place};
pub use idle::Aside;
pub use mailbox::Message;
pub use persona::{Gone, Persona, SizeTrait, TooLong, Traits, WhenFull};
pub use tls::Tls;

use state::{Shared, canonical};

/// A running server. Clones are handles to the same one; it ends, with all its connections, when
/// the last handle is dropped.
#[derive(Clone)]
pub struct Server {
    running: Arc<Running>,
}

struct Running {
    shared: Arc<Shared>,
    address: SocketAddr,
    ca_pem: String,
    listener: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.listener.abort();
        abort_all(&self.shared);
    }
}

fn abort_all(shared: &Shared) {
    // Ended tasks take the lock themselves, so it is not held over this.
    let tasks = std::mem::take(&mut shared.lock().tasks);
    for task in tasks.values() {
        task.abort();
    }
}

impl Server {
    /// What to start.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.running.address
    }

    /// The authority to trust, in PEM; its server certificate is for `localhost` and 127.0.0.1.
    /// Empty without TLS, and with a certificate of the test's.
    pub fn ca_pem(&self) -> &str {
        &self.running.ca_pem
    }

    /// Adds a message, and the account and the mailbox if they are new. Returns its UID.
    pub fn append(&self, user: &str, mailbox: &str, body: &[u8], flags: &[&str]) -> u32 {
        let uid = {
            let mut state = self.shared().lock();
            let incoming = state.incoming(body, flags, None);
            state.mailbox(user, mailbox).add(incoming)
        };
        self.shared().wake();
        uid
    }

    /// The same with an INTERNALDATE, in seconds since 1970.
    pub fn append_at(&self, user: &str, mailbox: &str, body: &[u8], flags: &[&str], date: i64) -> u32 {
        let uid = {
            let mut state = self.shared().lock();
            let incoming = state.incoming(body, flags, Some(date));
            state.mailbox(user, mailbox).add(incoming)
        };
        self.shared().wake();
        uid
    }

    /// The messages of a mailbox, ascending by UID; none where there is no such mailbox.
    pub fn messages(&self, user: &str, mailbox: &str) -> Vec<Message> {
        let state = self.shared().lock();
        let Some(account) = state.users.get(user) else {
            return Vec::new();
        };
        let Some(mailbox) = account.mailboxes.get(&canonical(mailbox)) else {
            return Vec::new();
        };
        let public = |message: &mailbox::Stored| Message {
            uid: message.uid,
            flags: message.flags.clone(),
            body: Arc::clone(&message.raw),
        };
        mailbox.messages.iter().map(public).collect()
    }

    /// The names of an account's mailboxes.
    pub fn mailboxes(&self, user: &str) -> Vec<String> {
        let state = self.shared().lock();
        state.users.get(user).map(|account| account.mailboxes.keys().cloned().collect()).unwrap_or_default()
    }

    /// Makes a mailbox if it is new, and sets its special use (`\Archive` …).
    pub fn create(&self, user: &str, mailbox: &str, special_use: Option<&str>) {
        let mut state = self.shared().lock();
        state.mailbox(user, mailbox).special_use = special_use.map(str::to_owned);
    }

    /// Removes a message as another client would; connected sessions hear of it in time.
    pub fn remove(&self, user: &str, mailbox: &str, uid: u32) {
        self.shared().with_mailbox(user, mailbox, |mailbox| mailbox.remove(uid));
    }

    /// Replaces the flags of a message.
    pub fn set_flags(&self, user: &str, mailbox: &str, uid: u32, flags: &[&str]) {
        self.shared().with_mailbox(user, mailbox, |mailbox| {
            mailbox.change_flags(uid, |set| *set = flags.iter().map(|flag| (*flag).to_owned()).collect())
        });
    }

    /// The UIDVALIDITY; the mailbox is made if it is new.
    pub fn uid_validity(&self, user: &str, mailbox: &str) -> u32 {
        self.shared().lock().mailbox(user, mailbox).validity
    }

    /// A new UIDVALIDITY, and the messages renumbered from 1. Sessions that have it open are ended.
    pub fn change_uid_validity(&self, user: &str, mailbox: &str) {
        {
            let mut state = self.shared().lock();
            let validity = state.take_validity();
            state.mailbox(user, mailbox).renumber(validity);
        }
        self.shared().wake();
    }

    /// As a mailbox is after a move to another server: a new UIDVALIDITY, the messages in another
    /// order (the same for the same `seed`), with gaps between their UIDs. EMAILID and X-GM-MSGID
    /// stay. Sessions that have it open are ended.
    pub fn renumber_shuffled(&self, user: &str, mailbox: &str, seed: u64) {
        {
            let mut state = self.shared().lock();
            let validity = state.take_validity();
            state.mailbox(user, mailbox).renumber_shuffled(validity, seed);
        }
        self.shared().wake();
    }

    /// As after a restore that lost the numbers: this UIDVALIDITY, which may be a former one, and the
    /// messages renumbered from 1. Sessions that have it open are ended if it was another one.
    pub fn set_uid_validity(&self, user: &str, mailbox: &str, validity: u32) {
        self.shared().with_mailbox(user, mailbox, |mailbox| mailbox.renumber(validity));
    }

    /// SELECT of the mailbox is answered `[READ-ONLY]` from now on, or no longer.
    pub fn set_read_only(&self, user: &str, mailbox: &str, read_only: bool) {
        self.shared().lock().mailbox(user, mailbox).read_only = read_only;
    }

    /// Imitates another server from now on, on open connections as well. Its folders are added.
    pub fn set_persona(&self, persona: Persona) {
        let mut state = self.shared().lock();
        state.traits = Arc::new(Traits::of(persona));
        let users: Vec<String> = state.users.keys().cloned().collect();
        for user in users {
            state.make_folders(&user);
        }
    }

    /// Announces an extension, or no longer; what is not announced does not work.
    pub fn set_capability(&self, name: &str, on: bool) {
        self.adjust(|traits| traits.set_capability(name, on));
    }

    /// Changes single ways of the persona.
    pub fn adjust(&self, change: impl FnOnce(&mut Traits)) {
        change(Arc::make_mut(&mut self.shared().lock().traits));
    }

    /// Changes a password, or adds an account.
    pub fn set_password(&self, user: &str, password: impl AsRef<[u8]>) {
        self.shared().lock().account(user).password = Some(password.as_ref().to_vec());
    }

    /// From now on this and no other is the account's access token, for XOAUTH2 and OAUTHBEARER. Without
    /// one the password serves.
    pub fn set_token(&self, user: &str, token: impl AsRef<[u8]>) {
        self.shared().lock().account(user).token = Some(token.as_ref().to_vec());
    }

    /// The fault strikes once, the next time the place is reached.
    pub fn fault(&self, place: Place, fault: Fault) {
        self.fault_times(place, fault, 1);
    }

    /// The fault strikes so many times; `usize::MAX` is always.
    pub fn fault_times(&self, place: Place, fault: Fault, times: usize) {
        self.shared().lock().faults.add(place, fault, times);
    }

    /// The fault strikes once, when the place has been reached `skip` times without it.
    pub fn fault_behind(&self, place: Place, skip: usize, fault: Fault) {
        self.shared().lock().faults.add_behind(place, skip, fault, 1);
    }

    /// Forgets the faults that have not struck yet.
    pub fn clear_faults(&self) {
        self.shared().lock().faults.clear();
    }

    /// How many faults have not struck as often as they should.
    pub fn faults_left(&self) -> usize {
        self.shared().lock().faults.left()
    }

    /// Does this to all connections that are in IDLE now.
    pub fn while_idle(&self, aside: Aside) {
        // Nobody may be in IDLE.
        let _ = self.shared().asides.send(aside);
    }

    /// Connections in IDLE now.
    pub fn idling(&self) -> usize {
        self.shared().asides.receiver_count()
    }

    /// Breaks all connections off at once; `live_connections` follows a moment later.
    pub fn kill_connections(&self) {
        abort_all(self.shared());
    }

    /// While true, connections are accepted and closed without a word. Open ones go on.
    pub fn refuse(&self, refuse: bool) {
        self.shared().lock().refuse = refuse;
    }

    /// All command lines received so far, in the order of their arrival, passwords as `***`,
    /// literals as `{size}`.
    pub fn commands(&self) -> Vec<String> {
        self.shared().lock().commands.clone()
    }

    /// Connections accepted so far, refused ones included.
    pub fn connections(&self) -> usize {
        self.shared().lock().connections
    }

    /// Logins that succeeded so far.
    pub fn logins(&self) -> usize {
        self.shared().lock().logins
    }

    /// Connections open now.
    pub fn live_connections(&self) -> usize {
        self.shared().lock().live
    }

    /// The most connections that were open at the same time and had not been greeted.
    pub fn most_opening(&self) -> usize {
        self.shared().lock().most_opening
    }

    /// Stops listening and breaks all connections off, whatever other handles there are.
    pub fn stop(self) {
        self.running.listener.abort();
        abort_all(&self.running.shared);
    }

    fn shared(&self) -> &Shared {
        &self.running.shared
    }
}
