//! EXPUNGE and UID EXPUNGE.

use std::collections::BTreeSet;
use std::io;

use crate::command::Command;
use crate::connection::{Connection, Reply, bad, no, ok};
use crate::mailbox::Incoming;

impl Connection {
    pub(crate) fn expunge(&mut self, command: &Command) -> io::Result<Reply> {
        let Some(view) = &self.view else {
            return bad("No mailbox selected.");
        };
        let mut args = command.args();
        let among: Option<BTreeSet<u32>> = if command.uid {
            let Some(set) = args.atom() else {
                return bad("Error in IMAP command UID EXPUNGE: Invalid arguments.");
            };
            match view.targets(self, set, command) {
                Ok(targets) => Some(targets.into_iter().map(|at| view.uids[at]).collect()),
                Err(reply) => return Ok(reply),
            }
        } else {
            None
        };
        if !args.is_empty() {
            return bad("Error in IMAP command EXPUNGE: Invalid arguments.");
        }
        if view.read_only {
            return if self.traits.lenient_examine {
                ok("Expunge completed.")
            } else {
                no("[READ-ONLY] Mailbox is read-only.")
            };
        }
        let (user, name) = (view.user.clone(), view.mailbox.clone());
        let deleted = self.shared.with_mailbox(&user, &name, |mailbox| {
            let deleted = mailbox.messages.iter().filter(|message| message.flags.contains("\\Deleted"));
            let uids = deleted.map(|message| message.uid);
            uids.filter(|uid| among.as_ref().is_none_or(|among| among.contains(uid))).collect()
        });
        self.expunge_uids(&user, &name, &deleted.unwrap_or_default());
        // The loop tells the session, as it tells of what others removed.
        ok("Expunge completed.")
    }

    /// Removes the messages; on Gmail what is expunged outside the trash is archived.
    pub(crate) fn expunge_uids(&self, user: &str, name: &str, uids: &BTreeSet<u32>) {
        if uids.is_empty() {
            return;
        }
        {
            let mut state = self.shared.lock();
            let mailbox = state.mailbox(user, name);
            let removed = mailbox.remove_all(uids);
            let final_here = matches!(mailbox.special_use.as_deref(), Some("\\Trash" | "\\Junk" | "\\All"));
            if let Some(archive) = self.traits.expunged_to.filter(|_| !final_here) {
                let archive = state.mailbox(user, archive);
                for message in &removed {
                    if archive.messages.iter().all(|other| other.email != message.email) {
                        let mut incoming = Incoming::from(message);
                        incoming.flags.remove("\\Deleted");
                        archive.add(incoming);
                    }
                }
            }
        }
        self.shared.wake();
    }
}
