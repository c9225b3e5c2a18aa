//! SELECT, EXAMINE, CLOSE, UNSELECT and IDLE.

use std::io;

use crate::command::Command;
use crate::connection::{Connection, Reply, bad, no, ok};
use crate::resync;
use crate::state::canonical;
use crate::view::{SYSTEM_FLAGS, View};

impl Connection {
    pub(crate) fn select(&mut self, command: &Command) -> io::Result<Reply> {
        if self.view.take().is_some() && self.traits.has("ENABLE") {
            self.wire.push_line("* OK [CLOSED] Previous mailbox closed.");
        }
        let mut args = command.args();
        let Some(name) = args.text() else {
            return bad(format!("Error in IMAP command {}: Invalid arguments.", command.name));
        };
        let known = match resync::parameters(&mut args) {
            Ok(Some(_)) if !self.qresync => Err("QRESYNC not enabled"),
            known => known,
        };
        let known = match known {
            Ok(known) => known,
            Err(wrong) => return bad(format!("Error in IMAP command {}: {wrong}.", command.name)),
        };
        let Some(user) = self.user.clone() else {
            return bad("Not logged in.");
        };
        let name = canonical(&name);
        let examine = command.name == "EXAMINE";
        let opened = self.shared.with_mailbox(&user, &name, |mailbox| {
            if mailbox.special_use.as_deref() == Some("\\Noselect") {
                return None;
            }
            let unseen = mailbox.messages.iter().position(|message| !message.flags.contains("\\Seen"));
            let keywords: Vec<String> = mailbox.keywords.iter().cloned().collect();
            let view = View::open(&user, &name, mailbox, examine);
            let resync = self.resync(mailbox, known.as_ref());
            Some((view, keywords, mailbox.next_uid, unseen, resync))
        });
        let Some((view, keywords, next_uid, unseen, resync)) = opened.flatten() else {
            let code = if self.traits.capability_codes { "" } else { "[NONEXISTENT] " };
            return no(format!("{code}Mailbox doesn't exist: {name}."));
        };
        let mut known: Vec<&str> = SYSTEM_FLAGS.to_vec();
        known.extend(keywords.iter().map(String::as_str));
        self.wire.push_line(format!("* FLAGS ({})", known.join(" ")));
        if self.traits.announces_keywords {
            known.push("\\*");
        }
        if view.read_only {
            self.wire.push_line("* OK [PERMANENTFLAGS ()] Read-only mailbox.");
        } else {
            self.wire.push_line(format!("* OK [PERMANENTFLAGS ({})] Flags permitted.", known.join(" ")));
        }
        self.wire.push_line(format!("* {} EXISTS", view.uids.len()));
        self.wire.push_line(format!("* {} RECENT", view.recent()));
        if let Some(first) = unseen.filter(|_| self.traits.select_unseen) {
            self.wire.push_line(format!("* OK [UNSEEN {}] First unseen.", first + 1));
        }
        self.wire.push_line(format!("* OK [UIDVALIDITY {}] UIDs valid", view.validity));
        if self.traits.select_uidnext {
            self.wire.push_line(format!("* OK [UIDNEXT {next_uid}] Predicted next UID"));
        }
        self.wire.push(resync);
        let code = if view.read_only { "READ-ONLY" } else { "READ-WRITE" };
        self.view = Some(view);
        let done = if examine { "Examine" } else { "Select" };
        ok(format!("[{code}] {done} completed."))
    }

    /// RFC 3501 §6.4.2: expunges without a word, unless the mailbox is read-only.
    pub(crate) fn close(&mut self) -> io::Result<Reply> {
        if let Some(view) = self.view.take().filter(|view| !view.read_only) {
            let deleted = self.shared.with_mailbox(&view.user, &view.mailbox, |mailbox| {
                let deleted = mailbox.messages.iter().filter(|message| message.flags.contains("\\Deleted"));
                deleted.map(|message| message.uid).collect()
            });
            self.expunge_uids(&view.user, &view.mailbox, &deleted.unwrap_or_default());
        }
        ok("Close completed.")
    }

    pub(crate) fn unselect(&mut self) -> io::Result<Reply> {
        self.view = None;
        ok("Unselect completed.")
    }
}
