//! The model: what a mailbox holds and how it changes, with nothing of the wire in it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// One message as a test sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The IMAP UID.
    pub uid: u32,
    /// System flags and keywords, in the spelling in which they were set; never `\Recent`.
    pub flags: BTreeSet<String>,
    /// The octets as they were appended, before any normalisation on output.
    pub body: Arc<[u8]>,
}

/// A message inside a mailbox.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub uid: u32,
    pub flags: BTreeSet<String>,
    /// As appended.
    pub raw: Arc<[u8]>,
    /// With CRLF line ends; the same allocation as `raw` where nothing had to change.
    pub crlf: Arc<[u8]>,
    /// INTERNALDATE in seconds since 1970.
    pub date: i64,
    /// Survives COPY and MOVE: EMAILID and X-GM-MSGID.
    pub email: u64,
    /// Grows with every change of the flags.
    pub modseq: u64,
}

/// What is appended or copied into a mailbox: a [`Stored`] that has no UID yet.
#[derive(Clone, Debug)]
pub(crate) struct Incoming {
    pub flags: BTreeSet<String>,
    pub raw: Arc<[u8]>,
    pub crlf: Arc<[u8]>,
    pub date: i64,
    pub email: u64,
}

impl Incoming {
    pub(crate) fn new(body: &[u8], flags: BTreeSet<String>, date: i64, email: u64) -> Self {
        let raw: Arc<[u8]> = body.into();
        let crlf = match with_crlf(body) {
            Some(changed) => changed.into(),
            None => Arc::clone(&raw),
        };
        Self { flags, raw, crlf, date, email }
    }
}

impl From<&Stored> for Incoming {
    fn from(message: &Stored) -> Self {
        Self {
            flags: message.flags.clone(),
            raw: Arc::clone(&message.raw),
            crlf: Arc::clone(&message.crlf),
            date: message.date,
            email: message.email,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Mailbox {
    pub validity: u32,
    pub next_uid: u32,
    /// Ascending by UID.
    pub messages: Vec<Stored>,
    /// Keywords ever used here, as FLAGS announces them.
    pub keywords: BTreeSet<String>,
    pub special_use: Option<String>,
    pub subscribed: bool,
    pub read_only: bool,
    /// The first UID that no SELECT has seen yet.
    pub recent_from: u32,
    /// Grows with every change: a view of the same revision has nothing to report.
    pub revision: u64,
    /// Some session has asked for mod-sequences: Dovecot tells none before.
    pub counts_modseqs: bool,
    /// What was expunged, and by which revision; ascending.
    expunged: VecDeque<(u64, u32)>,
    /// Of what was expunged up to this revision, nothing is known any more.
    forgotten: u64,
}

/// Expunges that are remembered.
const HISTORY: usize = 100_000;

impl Mailbox {
    pub(crate) fn new(validity: u32) -> Self {
        Self {
            validity,
            next_uid: 1,
            messages: Vec::new(),
            keywords: BTreeSet::new(),
            special_use: None,
            subscribed: false,
            read_only: false,
            recent_from: 1,
            revision: 1,
            counts_modseqs: false,
            expunged: VecDeque::new(),
            forgotten: 0,
        }
    }

    pub(crate) fn position(&self, uid: u32) -> Option<usize> {
        self.messages.binary_search_by_key(&uid, |message| message.uid).ok()
    }

    pub(crate) fn find(&self, uid: u32) -> Option<&Stored> {
        self.position(uid).map(|at| &self.messages[at])
    }

    pub(crate) fn add(&mut self, incoming: Incoming) -> u32 {
        let uid = self.next_uid;
        self.next_uid += 1;
        self.revision += 1;
        self.learn_keywords(&incoming.flags);
        self.messages.push(Stored {
            uid,
            flags: incoming.flags,
            raw: incoming.raw,
            crlf: incoming.crlf,
            date: incoming.date,
            email: incoming.email,
            modseq: self.revision,
        });
        uid
    }

    pub(crate) fn remove(&mut self, uid: u32) -> Option<Stored> {
        let at = self.position(uid)?;
        self.revision += 1;
        self.remember([uid]);
        Some(self.messages.remove(at))
    }

    /// Removes many at once, in one pass; `uids` need not be sorted.
    pub(crate) fn remove_all(&mut self, uids: &BTreeSet<u32>) -> Vec<Stored> {
        let mut removed = Vec::new();
        if self.messages.iter().any(|message| uids.contains(&message.uid)) {
            self.revision += 1;
            let (gone, kept) = std::mem::take(&mut self.messages)
                .into_iter()
                .partition(|message| uids.contains(&message.uid));
            removed = gone;
            self.remember(removed.iter().map(|message| message.uid));
            self.messages = kept;
        }
        removed
    }

    fn remember(&mut self, gone: impl IntoIterator<Item = u32>) {
        let revision = self.revision;
        self.expunged.extend(gone.into_iter().map(|uid| (revision, uid)));
        while self.expunged.len() > HISTORY
            && let Some((revision, _)) = self.expunged.pop_front()
        {
            self.forgotten = revision;
        }
    }

    /// Forgets what was expunged, and when.
    pub(crate) fn forget_history(&mut self) {
        self.expunged.clear();
        self.forgotten = self.revision;
    }

    /// What was expunged behind a revision, ascending; all that is not there if it is not known.
    pub(crate) fn gone_since(&self, revision: u64) -> Vec<u32> {
        if revision >= self.revision {
            return Vec::new();
        }
        if revision < self.forgotten {
            return (1..self.next_uid).filter(|uid| self.position(*uid).is_none()).collect();
        }
        let behind = self.expunged.iter().filter(|(when, _)| *when > revision);
        behind.map(|(_, uid)| *uid).collect::<BTreeSet<u32>>().into_iter().collect()
    }

    /// Returns whether the message exists.
    pub(crate) fn change_flags(&mut self, uid: u32, change: impl FnOnce(&mut BTreeSet<String>)) -> bool {
        let Some(at) = self.position(uid) else {
            return false;
        };
        let message = &mut self.messages[at];
        let before = message.flags.clone();
        change(&mut message.flags);
        if message.flags != before {
            self.revision += 1;
            message.modseq = self.revision;
            let flags = message.flags.clone();
            self.learn_keywords(&flags);
        }
        true
    }

    /// A new UIDVALIDITY, and the messages renumbered from 1.
    pub(crate) fn renumber(&mut self, validity: u32) {
        self.validity = validity;
        self.revision += 1;
        self.expunged.clear();
        let mut uid = 0;
        for message in &mut self.messages {
            uid += 1;
            message.uid = uid;
        }
        self.next_uid = uid + 1;
        self.recent_from = self.next_uid;
    }

    /// A new UIDVALIDITY, the messages in another order and with gaps between their UIDs.
    pub(crate) fn renumber_shuffled(&mut self, validity: u32, seed: u64) {
        let mut state = seed;
        // SplitMix64: enough to shuffle by, and the same on every machine.
        let mut random = |below: usize| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((mixed ^ (mixed >> 31)) % below as u64) as usize
        };
        for last in (1..self.messages.len()).rev() {
            self.messages.swap(last, random(last + 1));
        }
        // Whatever the seed, something moves.
        if self.messages.len() > 1 && self.messages.is_sorted_by_key(|message| message.uid) {
            self.messages.rotate_left(1);
        }
        self.renumber(validity);
        let mut uid = 0;
        for message in &mut self.messages {
            uid += 2 + random(5) as u32;
            message.uid = uid;
        }
        self.next_uid = uid + 1;
        self.recent_from = self.next_uid;
    }

    fn learn_keywords(&mut self, flags: &BTreeSet<String>) {
        self.keywords.extend(flags.iter().filter(|flag| !flag.starts_with('\\')).cloned());
    }
}

/// The octets with every bare LF made CRLF, or `None` where there is none. A bare CR and a missing
/// last line end stay as they are, as Dovecot has it.
fn with_crlf(body: &[u8]) -> Option<Vec<u8>> {
    let bare = |at: usize| at == 0 || body[at - 1] != b'\r';
    let count = memchr::memchr_iter(b'\n', body).filter(|&at| bare(at)).count();
    if count == 0 {
        return None;
    }
    let mut out = Vec::with_capacity(body.len() + count);
    let mut from = 0;
    for at in memchr::memchr_iter(b'\n', body).filter(|&at| bare(at)) {
        out.extend_from_slice(&body[from..at]);
        out.push(b'\r');
        from = at;
    }
    out.extend_from_slice(&body[from..]);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_lf_becomes_crlf_and_nothing_else_changes() {
        assert_eq!(with_crlf(b"a\r\nb\r\n"), None);
        assert_eq!(with_crlf(b"a\nb\r\nc\rd\n\ne").unwrap(), b"a\r\nb\r\nc\rd\r\n\r\ne");
        assert_eq!(with_crlf(b"\n").unwrap(), b"\r\n");
    }

    #[test]
    fn renumbering_starts_at_one() {
        let mut mailbox = Mailbox::new(7);
        for _ in 0..3 {
            mailbox.add(Incoming::new(b"x", BTreeSet::new(), 0, 0));
        }
        mailbox.remove(1);
        mailbox.renumber(8);
        let uids: Vec<u32> = mailbox.messages.iter().map(|message| message.uid).collect();
        assert_eq!((uids, mailbox.next_uid, mailbox.validity), (vec![1, 2], 3, 8));
    }

    #[test]
    fn shuffling_keeps_the_messages_and_leaves_gaps() {
        for (seed, count) in (0..20).flat_map(|seed| [(seed, 0), (seed, 1), (seed, 2), (seed, 50)]) {
            let mut mailbox = Mailbox::new(7);
            for email in 0..count {
                mailbox.add(Incoming::new(b"x", BTreeSet::new(), 0, email));
            }
            mailbox.renumber_shuffled(8, seed);
            let mut emails: Vec<u64> = mailbox.messages.iter().map(|message| message.email).collect();
            assert!(mailbox.messages.windows(2).all(|pair| pair[0].uid + 1 < pair[1].uid));
            assert!(mailbox.messages.last().is_none_or(|message| message.uid < mailbox.next_uid));
            assert!(count < 2 || !emails.is_sorted(), "{seed}");
            emails.sort_unstable();
            assert_eq!(emails, (0..count).collect::<Vec<u64>>());
        }
    }
}
