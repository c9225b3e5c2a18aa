//! What a server tells without being asked, and the rows that it was asked for.

use super::error::{Error, Result};
use super::ranges::{self, Earlier};
use super::response::{Code, Outcome, Response, Status, readable};
use super::rows::{Row, Want};
use super::wire::{Step, Wire};
use crate::ids::{Uid, UidValidity};

/// Characters that are kept of what a server calls itself.
const MAX_ID: usize = 1024;

/// What untagged responses have told so far.
#[derive(Default)]
pub struct View {
    pub want: Want,
    pub server_id: Option<String>,
    pub validity: Option<UidValidity>,
    pub uid_next: Option<Uid>,
    /// The lowest that was told, 0 for NOMODSEQ: an older one is always right, a newer one than
    /// that of the rows would hide what has gone since.
    pub modseq: Option<u64>,
    pub keywords: bool,
    pub exists: u32,
    /// Whether EXISTS came at all: 0 is what it starts with.
    pub counted: bool,
    /// EXISTS came again with another number, EXPUNGE or VANISHED: what was told before is of before.
    pub moved: bool,
    /// Messages that came, and that went, while rows were read.
    pub arrived: u32,
    pub expunged: u32,
    /// Dovecot says OK `[EXPUNGEISSUED]` with a size of 0 for a message that has just gone.
    pub tainted: bool,
    pub rows: Vec<Row>,
    /// SELECT was asked for what has changed since a mod-sequence.
    pub resyncing: bool,
    /// What had gone since then.
    pub earlier: Earlier,
    /// Flags that have changed since then: nothing is kept of them.
    pub flags: u32,
}

impl View {
    /// Reads up to the tagged end of our command `number`.
    pub async fn read(&mut self, wire: &mut Wire, number: u32, command: &'static str) -> Result<Status> {
        // Untagged data of one command may come before the end of the one before it.
        let noise_limit = 100_000;
        let mut noise = 0;
        loop {
            let Step::Line { text, continues: false, literal: None } = wire.step().await? else {
                noise += 1;
                if noise > noise_limit {
                    return Err(wire.fail(Error::Protocol("no end of what was not asked for")));
                }
                continue;
            };
            match Response::parse(wire.octets(&text)) {
                Response::Tagged { tag, status } => {
                    let tag = tag.to_vec();
                    if wire.finished(&tag, &status) != Some(number) {
                        return Err(wire.fail(Error::Protocol("an unknown tag")));
                    }
                    if status.outcome != Outcome::Ok {
                        return Err(Error::Refused { command, status });
                    }
                    self.tainted |= status.code == Some(Code::ExpungeIssued);
                    return Ok(status);
                }
                Response::Untagged(status) => match (status.outcome, &status.code) {
                    (Outcome::Bye, _) => return Err(wire.fail(Error::Bye(status))),
                    (_, Some(Code::UidValidity(validity))) => self.validity = Some(*validity),
                    (_, Some(Code::Closed)) => {
                        self.forget();
                        noise += 1;
                    }
                    (_, code) => {
                        self.learn(code.as_ref());
                        noise += 1;
                    }
                },
                Response::Id(id) => {
                    self.server_id = Some(readable(id, MAX_ID));
                    noise += 1;
                }
                Response::Exists(exists) => {
                    self.note_exists(exists);
                    noise += 1;
                }
                Response::Expunge => {
                    self.note_expunge();
                    noise += 1;
                }
                Response::Vanished { earlier: true, set } => {
                    self.earlier.hear(set);
                    noise += 1;
                }
                Response::Vanished { earlier: false, set } => {
                    self.note_vanished(set);
                    noise += 1;
                }
                Response::Fetch(items) => {
                    match self.want.row(items) {
                        Some(row) => self.rows.push(row),
                        // One of each message at the most: these were asked for.
                        None if self.resyncing && self.flags < self.exists => self.flags += 1,
                        None => noise += 1,
                    }
                    // More rows than messages: a server out of its mind must not fill our memory.
                    let most = u64::from(self.exists) + u64::from(self.expunged) + 100_000;
                    if self.rows.len() as u64 > most {
                        return Err(wire.fail(Error::Protocol("more rows than messages")));
                    }
                }
                Response::Capability(_) | Response::Continue(_) | Response::Other => noise += 1,
            }
            if noise > noise_limit {
                return Err(wire.fail(Error::Protocol("no end of what was not asked for")));
            }
        }
    }

    /// So many messages there are.
    pub fn note_exists(&mut self, exists: u32) {
        if !self.rows.is_empty() {
            let arrived = exists.saturating_sub(self.exists);
            self.arrived = self.arrived.saturating_add(arrived);
        }
        self.moved |= self.counted && exists != self.exists;
        self.counted = true;
        self.exists = exists;
    }

    /// One has gone.
    pub fn note_expunge(&mut self) {
        self.exists = self.exists.saturating_sub(1);
        self.expunged = self.expunged.saturating_add(1);
        self.moved = true;
    }

    /// All of these have gone.
    pub fn note_vanished(&mut self, set: &[u8]) {
        let most = u64::from(self.exists);
        let gone = ranges::vanished(set).filter(|gone| *gone <= most);
        // Nobody knows how many: the rows cannot be held against EXISTS.
        self.tainted |= gone.is_none();
        let gone = gone.and_then(|gone| u32::try_from(gone).ok()).unwrap_or(1);
        self.exists = self.exists.saturating_sub(gone);
        self.expunged = self.expunged.saturating_add(gone);
        self.moved = true;
    }

    /// What SELECT told as HIGHESTMODSEQ.
    pub fn highest_modseq(&self) -> Option<u64> {
        self.modseq.filter(|modseq| *modseq > 0)
    }

    /// How much the server told because the mod-sequence it was asked with was not the newest.
    pub fn retold(&self) -> usize {
        self.flags as usize + self.earlier.len()
    }

    /// Another mailbox was selected before.
    fn forget(&mut self) {
        let Self { want, resyncing, server_id, .. } = std::mem::take(self);
        *self = Self { want, resyncing, server_id, ..Self::default() };
    }

    fn learn(&mut self, code: Option<&Code>) {
        match code {
            Some(Code::UidNext(uid)) => self.uid_next = Some(*uid),
            Some(Code::HighestModSeq(modseq)) => self.learn_modseq(*modseq),
            Some(Code::NoModSeq) => self.learn_modseq(0),
            Some(Code::PermanentFlags { keywords }) => self.keywords = *keywords,
            _ => {}
        }
    }

    fn learn_modseq(&mut self, told: u64) {
        self.modseq = Some(self.modseq.map_or(told, |known| known.min(told)));
    }

    /// Forgets the rows, for another look.
    pub fn begin_rows(&mut self) {
        self.rows.clear();
        self.arrived = 0;
        self.expunged = 0;
        self.tainted = false;
    }

    /// The rows in order, if they are all there: as many as EXISTS, give or take the messages
    /// that came or went while they were read.
    pub fn take_rows(&mut self) -> Option<Vec<Row>> {
        self.rows.sort_unstable_by_key(|row| row.uid);
        let unique = self.rows.windows(2).all(|pair| pair[0].uid != pair[1].uid);
        let count = self.rows.len() as u64;
        let least = u64::from(self.exists.saturating_sub(self.arrived));
        let most = u64::from(self.exists) + u64::from(self.expunged);
        let complete = unique && !self.tainted && (least..=most).contains(&count);
        complete.then(|| {
            self.rows.shrink_to_fit();
            std::mem::take(&mut self.rows)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Octets;
    use tokio::io::AsyncWriteExt;

    fn view(uids: &[u32], exists: u32, arrived: u32, expunged: u32) -> View {
        let row = |uid| Row { uid, size: Octets(1), internal_date: 0, seen: false };
        let rows = uids.iter().filter_map(|&uid| Uid::new(uid)).map(row).collect();
        View { exists, arrived, expunged, rows, ..View::default() }
    }

    #[test]
    fn a_listing_is_exact_or_refused() {
        assert!(view(&[1, 2, 3], 3, 0, 0).take_rows().is_some());
        assert!(view(&[], 0, 0, 0).take_rows().is_some());
        assert!(view(&[1, 2], 3, 0, 0).take_rows().is_none());
        assert!(view(&[1, 2, 3, 4], 3, 0, 0).take_rows().is_none());
        assert!(view(&[1, 2, 2], 3, 0, 0).take_rows().is_none());
        assert!(view(&[1, 2, 3], 4, 1, 0).take_rows().is_some());
        assert!(view(&[1, 2, 3], 2, 0, 1).take_rows().is_some());
    }

    /// What is read up to the end of a SELECT, and how that went.
    async fn read(mut view: View, answer: Vec<u8>) -> (View, Result<Status>) {
        let (mut server, client) = tokio::io::duplex(64 * 1024);
        let mut wire = Wire::new(Box::new(client), std::time::Duration::from_secs(5));
        let tag = wire.send(&["SELECT INBOX"]).await.expect("sent");
        let feed = tokio::spawn(async move { server.write_all(&answer).await });
        let result = view.read(&mut wire, tag, "SELECT").await;
        drop(wire);
        // Ends with an error as soon as the reader has had enough.
        let _ = feed.await.expect("no panic");
        (view, result)
    }

    #[tokio::test]
    async fn flags_that_were_asked_for_are_passed_over() {
        let answer = |exists: usize, flags: usize| {
            let flags = (1..=flags).map(|uid| format!("* {uid} FETCH (UID {uid} FLAGS () MODSEQ (9))\r\n"));
            format!("* {exists} EXISTS\r\n{}P0 OK\r\n", flags.collect::<String>()).into_bytes()
        };
        let view = |resyncing| View { resyncing, ..View::default() };
        let (told, result) = read(view(true), answer(150_000, 150_000)).await;
        assert!(result.is_ok() && told.rows.is_empty() && told.retold() == 150_000);
        for (resyncing, exists) in [(false, 150_000), (true, 49_000)] {
            let (_, result) = read(view(resyncing), answer(exists, 150_000)).await;
            assert!(matches!(result, Err(Error::Protocol(_))), "{resyncing}, {exists}");
        }
    }

    #[tokio::test]
    async fn vanished_counts_as_so_many_expunged() {
        for (lines, exists, expunged, tainted) in [
            ("* VANISHED 5,7:9", 6, 4, false),
            ("* VANISHED 5\r\n* 3 EXPUNGE\r\n* VANISHED 7:9", 5, 5, false),
            ("* VANISHED 1:10", 0, 10, false),
            ("* VANISHED 1:11", 9, 1, true),
            ("* VANISHED 1:4294967295", 9, 1, true),
            ("* VANISHED 1:*", 9, 1, true),
            ("* VANISHED ", 9, 1, true),
            ("* VANISHED (EARLIER) 1:4294967295", 10, 0, false),
        ] {
            let answer = format!("* 10 EXISTS\r\n{lines}\r\nP0 OK\r\n");
            let (view, result) = read(View::default(), answer.into_bytes()).await;
            assert!(result.is_ok(), "{lines}");
            let seen = (view.exists, view.expunged, view.tainted);
            assert_eq!(seen, (exists, expunged, tainted), "{lines}");
            assert_eq!(view.moved, expunged > 0, "{lines}");
        }
    }

    #[tokio::test]
    async fn what_was_told_of_another_mailbox_is_forgotten() {
        let before = "* 3 EXISTS\r\n* VANISHED (EARLIER) 7\r\n* VANISHED 9\r\n* OK [HIGHESTMODSEQ 5]\r\n";
        let answer = format!("{before}* OK [CLOSED] Closed.\r\n* 8 EXISTS\r\nP0 OK\r\n");
        let (view, result) = read(View::default(), answer.into_bytes()).await;
        assert!(result.is_ok() && view.counted && !view.moved && view.exists == 8);
        assert_eq!((view.highest_modseq(), view.retold()), (None, 0));
    }

    #[tokio::test]
    async fn codes_of_select_are_kept() {
        for (codes, modseq, keywords) in [
            ("* OK [HIGHESTMODSEQ 91323]\r\n* OK [PERMANENTFLAGS (\\Seen \\*)]\r\n", Some(91323), true),
            ("* OK [HIGHESTMODSEQ 7]\r\n* OK [HIGHESTMODSEQ 9]\r\n", Some(7), false),
            (
                "* OK [HIGHESTMODSEQ 7]\r\n* OK [CLOSED] Before.\r\n* OK [UIDNEXT 8]\r\n* OK [HIGHESTMODSEQ 9]\r\n",
                Some(9),
                false,
            ),
            (
                "* OK [HIGHESTMODSEQ 7]\r\n* OK [NOMODSEQ] No.\r\n* OK [PERMANENTFLAGS (\\Seen)]\r\n",
                None,
                false,
            ),
        ] {
            let (mut server, client) = tokio::io::duplex(1024);
            let mut wire = Wire::new(Box::new(client), std::time::Duration::from_secs(5));
            let tag = wire.send(&["SELECT INBOX"]).await.expect("sent");
            let long = "x".repeat(5000);
            let answer = format!("* ID (\"name\" \"\x1b[1m{long}\")\r\n* OK [UIDNEXT 8]\r\n{codes}P0 OK\r\n");
            let feed = tokio::spawn(async move { server.write_all(answer.as_bytes()).await });
            let mut view = View::default();
            view.read(&mut wire, tag, "SELECT").await.expect("selected");
            feed.await.expect("no panic").expect("written");
            assert_eq!((view.uid_next, view.highest_modseq()), (Uid::new(8), modseq));
            assert_eq!(view.keywords, keywords);
            let id = view.server_id.expect("an ID");
            assert!(id.chars().count() == MAX_ID && !id.chars().any(char::is_control));
        }
    }
}
