//! What one session knows of the mailbox it has open, and what it has yet to be told.

use std::sync::Arc;

use crate::command::Command;
use crate::connection::{Connection, Reply};
use crate::mailbox::{Mailbox, Stored};
use crate::set::{Set, compact};
use crate::state::Shared;

pub(crate) struct View {
    pub user: String,
    pub mailbox: String,
    pub validity: u32,
    /// By EXAMINE, or because the mailbox is.
    pub read_only: bool,
    /// Sequence number n is at n - 1; a message expunged elsewhere stays until it may be told.
    pub uids: Vec<u32>,
    /// Beside `uids`: which state of the flags the session knows.
    modseqs: Vec<u64>,
    /// The UIDs that are \Recent here, as ranges.
    recents: Vec<(u32, u32)>,
    recent: usize,
    highest: u32,
    revision: u64,
}

impl View {
    /// Opens the mailbox; a SELECT takes its \Recent flags.
    pub(crate) fn open(user: &str, name: &str, mailbox: &mut Mailbox, examine: bool) -> Self {
        let mut view = Self {
            user: user.to_owned(),
            mailbox: name.to_owned(),
            validity: mailbox.validity,
            read_only: examine || mailbox.read_only,
            uids: mailbox.messages.iter().map(|message| message.uid).collect(),
            modseqs: mailbox.messages.iter().map(|message| message.modseq).collect(),
            recents: Vec::new(),
            recent: 0,
            highest: mailbox.next_uid - 1,
            revision: mailbox.revision,
        };
        view.take_recent(mailbox);
        view.recent = view.count_recent();
        view
    }

    /// The mailbox still exists under the same UIDVALIDITY.
    pub(crate) fn is_current(&self, shared: &Arc<Shared>) -> bool {
        let validity = shared.with_mailbox(&self.user, &self.mailbox, |mailbox| mailbox.validity);
        validity == Some(self.validity)
    }

    pub(crate) fn is_recent(&self, uid: u32) -> bool {
        self.recents.iter().any(|&(first, last)| (first..=last).contains(&uid))
    }

    pub(crate) fn recent(&self) -> usize {
        self.recent
    }

    /// The untagged lines that tell what changed. Without `expunges` removed messages keep their
    /// numbers for now.
    fn news(&mut self, mailbox: &mut Mailbox, expunges: bool, qresync: bool) -> (String, bool) {
        if self.revision == mailbox.revision || self.validity != mailbox.validity {
            return (String::new(), false);
        }
        let mut lines = String::new();
        let gone: Vec<usize> =
            (0..self.uids.len()).filter(|&at| mailbox.position(self.uids[at]).is_none()).collect();
        if expunges {
            let uids: Vec<u32> = gone.iter().map(|at| self.uids[*at]).collect();
            if qresync && !uids.is_empty() {
                lines.push_str(&format!("* VANISHED {}\r\n", compact(&uids)));
            }
            for at in gone.iter().rev().filter(|_| !qresync) {
                lines.push_str(&format!("* {} EXPUNGE\r\n", at + 1));
            }
            self.forget(&gone);
        }
        let from = mailbox.messages.partition_point(|message| message.uid <= self.highest);
        for message in &mailbox.messages[from..] {
            self.uids.push(message.uid);
            self.modseqs.push(message.modseq);
            self.highest = message.uid;
        }
        if from < mailbox.messages.len() {
            lines.push_str(&format!("* {} EXISTS\r\n", self.uids.len()));
        }
        self.take_recent(mailbox);
        let recent = self.count_recent();

        if recent != self.recent {
            self.recent = recent;
            lines.push_str(&format!("* {recent} RECENT\r\n"));
        }
        for (at, uid) in self.uids.iter().enumerate() {
            let Some(message) = mailbox.find(*uid) else {
                continue;
            };
            if message.modseq != self.modseqs[at] {
                self.modseqs[at] = message.modseq;
                let flags = flags(message, self.is_recent(message.uid));
                let sync =
                    if qresync { format!("UID {uid} MODSEQ ({}) ", message.modseq) } else { String::new() };
                lines.push_str(&format!("* {} FETCH ({sync}FLAGS {flags})\r\n", at + 1));
            }
        }
        if expunges || gone.is_empty() {
            self.revision = mailbox.revision;
        }
        (lines, expunges && !gone.is_empty())
    }

    /// The session has been told this message's flags, or asked not to be.
    pub(crate) fn knows_flags(&mut self, at: usize, message: &Stored) {
        self.modseqs[at] = message.modseq;
    }

    /// The indexes that a set means, or the answer to a set that is wrong.
    pub(crate) fn targets(
        &self,
        connection: &Connection,
        set: &str,
        command: &Command,
    ) -> Result<Vec<usize>, Reply> {
        let invalid = || {
            let uid = if command.uid { "UID " } else { "" };
            let text = format!("Error in IMAP command {uid}{}: Invalid messageset.", command.name);
            Reply::Bad(text)
        };
        let set = Set::parse(set).ok_or_else(invalid)?;
        if connection.traits.rejects_descending && set.is_descending() {
            return Err(invalid());
        }
        if command.uid && connection.traits.missing_uid_hits_neighbour {
            return Ok(set.indexes_or_neighbours(&self.uids));
        }
        if command.uid {
            return Ok(set.indexes(&self.uids));
        }
        // A mailbox holds at most u32::MAX messages, for each has a UID.
        let count = u32::try_from(self.uids.len()).unwrap_or(u32::MAX);
        if set.exceeds(count) {
            return Err(invalid());
        }
        let numbers: Vec<u32> = (1..=count).collect();
        Ok(set.indexes(&numbers))
    }

    fn forget(&mut self, gone: &[usize]) {
        let mut at = 0;
        let mut next = gone.iter().peekable();
        let mut kept = |_: &u64| {
            let drop = next.next_if_eq(&&at).is_some();
            at += 1;
            !drop
        };
        self.modseqs.retain(&mut kept);
        let mut at = 0;
        let mut next = gone.iter().peekable();
        self.uids.retain(|_| {
            let drop = next.next_if_eq(&&at).is_some();
            at += 1;
            !drop
        });
    }

    fn count_recent(&self) -> usize {
        self.uids.iter().filter(|&&uid| self.is_recent(uid)).count()
    }

    fn take_recent(&mut self, mailbox: &mut Mailbox) {
        if mailbox.recent_from < mailbox.next_uid
            && self.recents.last().is_none_or(|last| last.1 < mailbox.next_uid - 1)
        {
            self.recents.push((mailbox.recent_from, mailbox.next_uid - 1));
        }
        if !self.read_only {
            mailbox.recent_from = mailbox.next_uid;
        }
    }
}

impl Connection {
    /// Tells the session what changed in its mailbox; true if something has gone.
    pub(crate) fn sync(&mut self, expunges: bool) -> bool {
        let Some(view) = &mut self.view else { return false };
        let (user, name) = (view.user.clone(), view.mailbox.clone());
        let qresync = self.qresync;
        let news = self.shared.with_mailbox(&user, &name, |mailbox| view.news(mailbox, expunges, qresync));
        let (lines, gone) = news.unwrap_or_default();
        self.wire.push(lines);
        gone
    }
}

/// The flags in parentheses, in Dovecot's order.
pub(crate) fn flags(message: &Stored, recent: bool) -> String {
    let mut list: Vec<&str> =
        SYSTEM_FLAGS.iter().copied().filter(|name| message.flags.contains(*name)).collect();
    if recent {
        list.push("\\Recent");
    }
    list.extend(message.flags.iter().map(String::as_str).filter(|flag| !SYSTEM_FLAGS.contains(flag)));
    format!("({})", list.join(" "))
}

/// RFC 3501 §2.3.2, without \Recent, which no client can set.
pub(crate) const SYSTEM_FLAGS: [&str; 5] = ["\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft"];
