//! COPY and MOVE, with and without UID: RFC 3501 §6.4.7, RFC 6851, COPYUID of RFC 4315.

use std::collections::BTreeSet;
use std::io;

use crate::command::Command;
use crate::connection::{Connection, Reply, bad, no, ok};
use crate::mailbox::Incoming;
use crate::set::compact;
use crate::state::canonical;

impl Connection {
    pub(crate) fn transfer(&mut self, command: &Command) -> io::Result<Reply> {
        let Some(view) = &self.view else {
            return bad("No mailbox selected.");
        };
        let mut args = command.args();
        let (Some(set), Some(target)) = (args.atom(), args.text()) else {
            return bad(format!("Error in IMAP command {}: Invalid arguments.", command.name));
        };
        if !args.is_empty() {
            return bad(format!("Error in IMAP command {}: Invalid arguments.", command.name));
        }
        let targets = match view.targets(self, set, command) {
            Ok(targets) => targets,
            Err(reply) => return Ok(reply),
        };
        let moving = command.name == "MOVE";
        // Dovecot moves even under EXAMINE (measured), but not out of a mailbox it may not write.
        if moving && view.read_only && !self.traits.lenient_examine {
            return no("[READ-ONLY] Mailbox is read-only.");
        }
        let wanted: Vec<u32> = targets.into_iter().map(|at| view.uids[at]).collect();
        let (user, name) = (view.user.clone(), view.mailbox.clone());
        let target = canonical(&target);
        if !self.is_selectable(&user, &target) {
            return no(format!("[TRYCREATE] Mailbox doesn't exist: {target}."));
        }
        if moving && target == name {
            return ok("Move completed.");
        }
        let Some((validity, pairs)) = self.copy(&user, &name, &target, &wanted, moving) else {
            return no("[NOPERM] Mailbox is read-only.");
        };
        if pairs.is_empty() {
            return ok("No messages found.");
        }
        let (from, to): (Vec<u32>, Vec<u32>) = pairs.into_iter().unzip();
        let code = if self.traits.has("UIDPLUS") {
            format!("[COPYUID {validity} {} {}] ", compact(&from), compact(&to))
        } else {
            String::new()
        };
        if moving {
            if !code.is_empty() {
                self.wire.push_line(format!("* OK {code}Moved UIDs."));
            }
            return ok("Move completed.");
        }
        ok(format!("{code}Copy completed."))
    }

    /// The new UIDVALIDITY and the pairs of UIDs, old and new; `None` where nothing may be moved.
    fn copy(
        &self,
        user: &str,
        name: &str,
        target: &str,
        wanted: &[u32],
        moving: bool,
    ) -> Option<(u32, Vec<(u32, u32)>)> {
        let result = {
            let mut state = self.shared.lock();
            let source = state.mailbox(user, name);
            if moving && source.read_only {
                return None;
            }
            let found: Vec<_> = wanted.iter().filter_map(|&uid| source.find(uid).cloned()).collect();
            if moving {
                let uids: BTreeSet<u32> = found.iter().map(|message| message.uid).collect();
                source.remove_all(&uids);
            }
            let target = state.mailbox(user, target);
            let pairs = found.iter().map(|message| (message.uid, target.add(Incoming::from(message))));
            let pairs = pairs.collect();
            (target.validity, pairs)
        };
        self.shared.wake();
        Some(result)
    }

    pub(crate) fn is_selectable(&self, user: &str, name: &str) -> bool {
        let special = self.shared.with_mailbox(user, name, |mailbox| mailbox.special_use.clone());
        special.is_some_and(|special| special.as_deref() != Some("\\Noselect"))
    }
}
