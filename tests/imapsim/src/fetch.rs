//! FETCH and UID FETCH.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use crate::command::Command;
use crate::connection::{Connection, Reply, bad, no, ok};
use crate::items::{self, Item};
use crate::mailbox::Stored;
use crate::persona::{Gone, SizeTrait};
use crate::section;
use crate::view;

impl Connection {
    pub(crate) async fn fetch(&mut self, command: &Command) -> io::Result<Reply> {
        let Some(view) = &self.view else {
            return bad("No mailbox selected.");
        };
        let mut args = command.args();
        let Some(set) = args.atom() else {
            return bad("Error in IMAP command FETCH: Invalid arguments.");
        };
        let mut items = match items::parse(&mut args, &self.traits) {
            Ok(items) => items,
            Err(wrong) => return bad(format!("Error in IMAP command FETCH: {wrong}.")),
        };
        let mut targets = match view.targets(self, set, command) {
            Ok(targets) => targets,
            Err(reply) => return Ok(reply),
        };
        if items.is_empty() {
            return ok("Fetch completed.");
        }
        self.arrange(&mut items, command.uid);
        if self.plan.missing_row && !targets.is_empty() {
            targets.remove(targets.len() / 2);
        }
        let mut gone = false;
        for (count, at) in targets.into_iter().enumerate() {
            if self.plan.no_after == Some(count) {
                return no("Fetch failed.");
            }
            if self.plan.eof_after == Some(count) {
                return Ok(Reply::Cut);
            }
            match self.row(at, &items).await? {
                Row::Sent => {}
                Row::Gone => gone = true,
                Row::Broken => return Ok(Reply::Cut),
            }
            self.wire.relieve().await?;
        }
        // Fewer rows than the fault counts: it strikes behind the last one.
        if self.plan.no_after.is_some() {
            return no("Fetch failed.");
        }
        if self.plan.eof_after.is_some() {
            return Ok(Reply::Cut);
        }
        match self.traits.gone {
            Gone::NilAndOk if gone => ok("[EXPUNGEISSUED] Some messages were already expunged."),
            Gone::NilAndNo if gone => no("[EXPUNGEISSUED] Some messages were already expunged."),
            Gone::OmittedAndNo if gone => no("Some of the requested messages no longer exist."),
            _ => ok("Fetch completed."),
        }
    }

    /// The order in which a server writes the items: what needs the message itself comes last.
    fn arrange(&self, items: &mut Vec<Item>, uid: bool) {
        // RFC 3501 §6.4.8: UID is told even if it was not asked for.
        if uid && !items.contains(&Item::Uid) {
            items.insert(0, Item::Uid);
        }

        if self.traits.uid_last {
            items.sort_by_key(|item| match item {
                Item::Body(_) => 0,
                Item::Uid => 2,
                _ => 1,
            });
        } else {
            items.sort_by_key(|item| matches!(item, Item::Body(_)));
        }
    }

    async fn row(&mut self, at: usize, items: &[Item]) -> io::Result<Row> {
        let Some(view) = &mut self.view else {
            return Ok(Row::Broken);
        };
        let uid = view.uids[at];
        let seen = items.iter().any(|item| matches!(item, Item::Body(body) if body.sets_seen));
        let (user, name, recent) = (view.user.clone(), view.mailbox.clone(), view.is_recent(uid));
        let read_only = view.read_only;
        let mut newly_seen = false;
        let found = self.shared.with_mailbox(&user, &name, |mailbox| {
            if seen && !read_only {
                mailbox.change_flags(uid, |flags| newly_seen = flags.insert("\\Seen".into()));
            }
            mailbox.find(uid).cloned()
        });
        let Some(message) = found.flatten() else {
            return Ok(self.gone_row(at, uid, items));
        };
        // The flag that BODY[] sets is told in the same row.
        let mut items = Cow::Borrowed(items);
        if newly_seen && !items.contains(&Item::Flags) {
            let behind = usize::from(items.first() == Some(&Item::Uid));
            items.to_mut().insert(behind, Item::Flags);
        }

        if items.contains(&Item::Flags) {
            view.knows_flags(at, &message);
        }
        let body = Arc::clone(if self.traits.bare_lf { &message.raw } else { &message.crlf });
        self.wire.push(format!("* {} FETCH (", at + 1));
        for (count, item) in items.iter().enumerate() {
            if count > 0 {
                self.wire.push(" ");
            }
            let Item::Body(wanted) = item else {
                let text = self.text(item, &message, &body, recent);
                self.wire.push(text);
                continue;
            };
            let data = section::cut(&body, wanted);
            let octets = data.octets();
            let partial = wanted.partial.map(|(offset, _)| format!("<{offset}>")).unwrap_or_default();
            self.wire.push_line(format!("{}{partial} {{{}}}", wanted.label, octets.len()));
            if let Some(limit) = self.plan.truncate {
                self.wire.send(&octets[..limit.min(octets.len())]).await?;
                return Ok(Row::Broken);
            }
            self.wire.send(octets).await?;
        }
        self.wire.push_line(")");
        Ok(Row::Sent)
    }

    fn text(&self, item: &Item, message: &Stored, body: &[u8], recent: bool) -> String {
        match item {
            Item::Uid => format!("UID {}", message.uid),
            Item::Flags => format!("FLAGS {}", view::flags(message, recent)),
            Item::Size => format!("RFC822.SIZE {}", self.size(body)),
            Item::Date => format!("INTERNALDATE \"{}\"", section::internal_date(message.date)),
            Item::Envelope => format!("ENVELOPE {}", section::envelope(body)),
            Item::Structure(name) => {
                let lines = memchr::memchr_iter(b'\n', body).count();
                format!(
                    "{name} (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" {} {lines})",
                    body.len()
                )
            }
            Item::EmailId => format!("EMAILID (M{:016x})", message.email),
            Item::ThreadId => format!("THREADID (T{:016x})", message.email),
            Item::Gmail(name) => format!("{name} {}", 1_700_000_000_000_000_000 + message.email),
            Item::Body(_) => String::new(),
        }
    }

    fn size(&self, body: &[u8]) -> i64 {
        let exact = i64::try_from(body.len()).unwrap_or(i64::MAX);
        let size = match self.traits.size {
            SizeTrait::Exact => exact,
            SizeTrait::Off(offset) => exact + offset,
            SizeTrait::CountedWithLf => {
                let pairs = memchr::memmem::find_iter(body, b"\r\n").count();
                exact - i64::try_from(pairs).unwrap_or(0)
            }
        };
        (size + self.plan.size_offset).max(0)
    }

    fn gone_row(&mut self, at: usize, uid: u32, items: &[Item]) -> Row {
        if matches!(self.traits.gone, Gone::OmittedAndOk | Gone::OmittedAndNo) {
            return Row::Gone;
        }
        // A row as if of an empty message, bodies NIL; measured on Dovecot 2.3.
        let ghost = Stored {
            uid,
            flags: BTreeSet::new(),
            raw: Arc::from([]),
            crlf: Arc::from([]),
            date: 0,
            email: 0,
            modseq: 0,
        };
        let parts: Vec<String> = items
            .iter()
            .map(|item| match item {
                Item::Body(body) => format!("{} NIL", body.label),
                Item::Size => "RFC822.SIZE 0".into(),
                _ => self.text(item, &ghost, &[], false),
            })
            .collect();
        self.wire.push_line(format!("* {} FETCH ({})", at + 1, parts.join(" ")));
        Row::Gone
    }
}

enum Row {
    Sent,
    /// The message was removed meanwhile.
    Gone,
    /// The connection is to break off here.
    Broken,
}
