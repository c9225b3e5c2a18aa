//! The mail of a measurement: made from a seed, laid in upstream, remembered by its digests.

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
}

impl Mailbox {
    /// `count` messages of `octets` octets for a new user.
    pub fn lay(upstream: &Dovecot, user: &str, count: usize, octets: usize) -> Self {
        let users = vec![user.to_owned()];
        let mut mailbox = Self { users, sizes: Vec::new(), bodies: Vec::new(), headers: Vec::new() };
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
        let seen = upstream.connect(user).command("STATUS INBOX (MESSAGES)");
        assert!(
            seen.iter().any(|row| row.text.contains(&format!("MESSAGES {count})"))),
            "{count} messages for {user}: {seen:?}"
        );
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

    pub fn len(&self) -> usize {
        self.sizes.len()
    }

    pub fn octets(&self) -> u64 {
        self.sizes.iter().sum()
    }

    fn remember(&mut self, message: &[u8]) {
        let header = message.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |at| at + 4);
        self.sizes.push(message.len() as u64);
        self.bodies.push(Sha256::digest(message).into());
        self.headers.push(Sha256::digest(&message[..header]).into());
    }
}
