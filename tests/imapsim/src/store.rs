//! STORE and UID STORE.

use std::collections::BTreeSet;
use std::io;

use crate::command::Command;
use crate::connection::{Connection, Reply, bad, no, ok};
use crate::token::Token;
use crate::view::{self, SYSTEM_FLAGS};

impl Connection {
    pub(crate) fn store(&mut self, command: &Command) -> io::Result<Reply> {
        let Some(view) = &self.view else {
            return bad("No mailbox selected.");
        };
        let mut args = command.args();
        let (Some(set), Some(operation)) = (args.atom(), args.atom()) else {
            return bad("Error in IMAP command STORE: Invalid arguments.");
        };
        let operation = operation.to_ascii_uppercase();
        let (operation, silent) = match operation.strip_suffix(".SILENT") {
            Some(operation) => (operation, true),
            None => (operation.as_str(), false),
        };
        if !matches!(operation, "FLAGS" | "+FLAGS" | "-FLAGS") {
            return bad("Error in IMAP command STORE: Invalid operation.");
        }
        let mut wanted = BTreeSet::new();
        while let Some(token) = args.next() {
            match token {
                Token::Atom(flag) => match flag_name(flag) {
                    Some(flag) => wanted.insert(flag),
                    None => {
                        return bad(format!("Error in IMAP command STORE: Invalid system flag {flag}."));
                    }
                },
                Token::Open | Token::Close => continue,
                Token::Text(_) => return bad("Error in IMAP command STORE: Invalid arguments."),
            };
        }
        let targets = match view.targets(self, set, command) {
            Ok(targets) => targets,
            Err(reply) => return Ok(reply),
        };
        if view.read_only {
            return if self.traits.lenient_examine {
                ok("Store ignored with read-only mailbox.")
            } else {
                no("[READ-ONLY] Mailbox is read-only.")
            };
        }
        if !self.traits.keeps_keywords {
            wanted.retain(|flag| flag.starts_with('\\'));
        }
        self.apply(&targets, operation, &wanted, silent, command.uid);
        ok("Store completed.")
    }

    fn apply(
        &mut self,
        targets: &[usize],
        operation: &str,
        wanted: &BTreeSet<String>,
        silent: bool,
        by_uid: bool,
    ) {
        let Some(view) = &mut self.view else { return };
        let (user, name) = (view.user.clone(), view.mailbox.clone());
        let mut lines = String::new();
        let auto_expunge = self.traits.auto_expunge;
        let mut deleted = BTreeSet::new();
        let announces = self.traits.announces_keywords;
        self.shared.with_mailbox(&user, &name, |mailbox| {
            let known = mailbox.keywords.len();
            let mut rows = String::new();
            for &at in targets {
                let uid = view.uids[at];
                let changed = mailbox.change_flags(uid, |flags| match operation {
                    "+FLAGS" => flags.extend(wanted.iter().cloned()),
                    "-FLAGS" => flags.retain(|flag| !wanted.contains(flag)),
                    _ => flags.clone_from(wanted),
                });
                let Some(message) = mailbox.find(uid).filter(|_| changed) else {
                    continue;
                };
                view.knows_flags(at, message);
                if auto_expunge && message.flags.contains("\\Deleted") {
                    deleted.insert(uid);
                }
                if silent && self.qresync {
                    rows.push_str(&format!("* {} FETCH (UID {uid} MODSEQ ({}))\r\n", at + 1, message.modseq));
                }
                if !silent {
                    let flags = view::flags(message, view.is_recent(uid));
                    let uid = if by_uid { format!("UID {uid} ") } else { String::new() };
                    let sync =
                        if self.qresync { format!("MODSEQ ({}) ", message.modseq) } else { String::new() };
                    rows.push_str(&format!("* {} FETCH ({uid}{sync}FLAGS {flags})\r\n", at + 1));
                }
            }
            // New keywords are announced before the rows that use them.
            if mailbox.keywords.len() > known {
                let mut all = SYSTEM_FLAGS.to_vec();
                all.extend(mailbox.keywords.iter().map(String::as_str));
                lines.push_str(&format!("* FLAGS ({})\r\n", all.join(" ")));
                if announces {
                    all.push("\\*");
                }
                lines.push_str(&format!("* OK [PERMANENTFLAGS ({})] Flags permitted.\r\n", all.join(" ")));
            }
            lines.push_str(&rows);
        });
        self.wire.push(lines);
        self.expunge_uids(&user, &name, &deleted);
    }
}

/// The flag in its usual spelling; `None` for a system flag that cannot be set.
pub(crate) fn flag_name(flag: &str) -> Option<String> {
    if !flag.starts_with('\\') {
        return Some(flag.to_owned());
    }
    let known = SYSTEM_FLAGS.into_iter().find(|known| known.eq_ignore_ascii_case(flag))?;
    Some(known.to_owned())
}
