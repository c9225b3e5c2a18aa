//! The mail of a measurement: made from a seed, laid in upstream, remembered by its digests.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use sha2::{Digest as _, Sha256};

use crate::support::dovecot::Dovecot;
use crate::support::mail;

/// SHA-256.
pub type Digest = [u8; 32];

/// More octets than this are not held at once while they are laid in.
const BATCH: usize = 32 << 20;

/// From so many messages on they go into the maildir as files: APPEND would take minutes.
const BY_FILE: usize = 4_000;

pub struct Mailbox {
    /// One login, or several that have the same mail.
    pub users: Vec<String>,
    pub sizes: Vec<u64>,
    pub bodies: Vec<Digest>,
    /// With the blank line behind the header.
    pub headers: Vec<Digest>,
    /// How many of the users were given away.
    spent: AtomicUsize,
}

impl Mailbox {
    /// Nobody's, without any message.
    pub fn empty() -> Self {
        let (users, sizes, bodies, headers) = Default::default();
        Self { users, sizes, bodies, headers, spent: AtomicUsize::new(0) }
    }

    /// `count` messages of `octets` octets for a new user.
    pub fn lay(upstream: &Dovecot, user: &str, count: usize, octets: usize) -> Self {
        let mut mailbox = Self { users: vec![user.to_owned()], ..Self::empty() };
        let by_file = count >= BY_FILE;
        if by_file {
            upstream.connect(user).command("SELECT INBOX");
        }
        let mut batch: Vec<Vec<u8>> = Vec::new();
        for number in 0..count {
            let message = mail::big(octets, number as u64);
            mailbox.remember(&message);
            if by_file {
                let size = message.len();
                // Files get their UIDs in the order of their names' seconds.
                let second = 1_700_000_000 + number;
                upstream.lay(user, &format!("{second}.M1P1.bench,S={size},W={size}"), &message);
                continue;
            }
            batch.push(message);
            if (batch.len() + 1) * octets > BATCH {
                upstream.append_all(user, "INBOX", batch.iter().map(Vec::as_slice), "");
                batch.clear();
            }
        }
        upstream.append_all(user, "INBOX", batch.iter().map(Vec::as_slice), "");
        assert_eq!(Self::left(upstream, user), count, "messages for {user}");
        // What the mail server makes once for this mailbox, nobody is to wait for.
        let mut imap = upstream.connect(user);
        imap.command("SELECT INBOX");
        imap.command("UID FETCH 1:* (UID RFC822.SIZE)");
        imap.command("LOGOUT");
        mailbox
    }

    /// Gives more users the same mail.
    pub fn share(mut self, upstream: &Dovecot, copies: usize) -> Self {
        for copy in 1..copies {
            let user = format!("{}-{copy}", self.users[0]);
            upstream.share(&self.users[0], &user);
            self.users.push(user);
        }
        self
    }

    /// One user's mail, given away once: it may be deleted.
    pub fn spend(&self) -> Self {
        let at = self.spent.fetch_add(1, Relaxed);
        Self {
            users: vec![self.users[at].clone()],
            sizes: self.sizes.clone(),
            bodies: self.bodies.clone(),
            headers: self.headers.clone(),
            ..Self::empty()
        }
    }

    /// How many messages a user has now.
    pub fn left(upstream: &Dovecot, user: &str) -> usize {
        let rows = upstream.connect(user).command("STATUS INBOX (MESSAGES)");
        let count = |text: &str| text.rsplit_once("(MESSAGES ")?.1.trim_end_matches(')').parse().ok();
        rows.iter().find_map(|row| count(&row.text)).expect("the answer to STATUS")
    }

    pub fn len(&self) -> usize {
        self.sizes.len()
    }

    pub fn octets(&self) -> u64 {
        self.sizes.iter().sum()
    }

    pub fn remember(&mut self, message: &[u8]) {
        let header = message.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |at| at + 4);
        self.sizes.push(message.len() as u64);
        self.bodies.push(Sha256::digest(message).into());
        self.headers.push(Sha256::digest(&message[..header]).into());
    }
}
