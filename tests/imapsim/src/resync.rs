//! QRESYNC, RFC 7162: ENABLE, the parameter of SELECT, VANISHED. As Dovecot 2.3 does it (measured);
//! of CONDSTORE, HIGHESTMODSEQ and the MODSEQ of flags that change, no CHANGEDSINCE and the like.

use std::io;

use crate::command::Command;
use crate::connection::{Connection, Reply, ok};
use crate::mailbox::Mailbox;
use crate::set::{Set, compact};
use crate::token::{Args, Token};
use crate::view;

/// What a client knows: `(QRESYNC (uidvalidity modseq [known-uids]))`.
#[derive(Debug)]
pub(crate) struct Known {
    validity: u32,
    modseq: u64,
    uids: Option<Set>,
}

/// The parameters of SELECT, up to the end of the command; the answer to what is wrong.
pub(crate) fn parameters(args: &mut Args<'_>) -> Result<Option<Known>, &'static str> {
    if args.is_empty() {
        return Ok(None);
    }
    if args.next() != Some(&Token::Open) || !args.take("QRESYNC") {
        return Err("Unknown parameter");
    }
    let wrong = "Invalid QRESYNC parameters";
    let open = args.next() == Some(&Token::Open);
    let validity = args.atom().and_then(|number| number.parse().ok()).filter(|_| open).ok_or(wrong)?;
    let modseq = args.atom().and_then(|number| number.parse().ok()).ok_or(wrong)?;
    let uids = match args.peek() {
        Some(Token::Close) => None,
        _ => Some(args.atom().and_then(Set::parse).ok_or(wrong)?),
    };
    let closed = args.next() == Some(&Token::Close) && args.next() == Some(&Token::Close);
    if closed && args.is_empty() { Ok(Some(Known { validity, modseq, uids })) } else { Err(wrong) }
}

impl Connection {
    /// RFC 5161. Only what is announced counts as enabled.
    pub(crate) fn enable(&mut self, command: &Command) -> io::Result<Reply> {
        let mut args = command.args();
        let mut enabled = String::new();
        while let Some(name) = args.atom() {
            let name = name.to_ascii_uppercase();
            if self.traits.has(&name) {
                self.qresync |= name == "QRESYNC";
                enabled.push(' ');
                enabled.push_str(&name);
            }
        }
        if !self.traits.silent_enable && !enabled.is_empty() {
            self.wire.push_line(format!("* ENABLED{enabled}"));
        }
        ok("Enabled.")
    }

    /// The lines of SELECT that follow its counts.
    pub(crate) fn resync(&self, mailbox: &mut Mailbox, known: Option<&Known>) -> String {
        mailbox.counts_modseqs |= self.qresync;
        if !mailbox.counts_modseqs || !self.traits.has("QRESYNC") {
            return String::new();
        }
        let highest = mailbox.revision.saturating_add_signed(self.plan.modseq_offset).max(1);
        let mut lines = format!("* OK [HIGHESTMODSEQ {highest}] Highest\r\n");
        if self.plan.no_modseq {
            lines = "* OK [NOMODSEQ] No permanent mod-sequences\r\n".into();
        }
        let Some(known) = known.filter(|known| known.validity == mailbox.validity) else { return lines };
        let last = mailbox.next_uid - 1;
        let meant = |uid: u32| known.uids.as_ref().is_none_or(|uids| uids.contains(uid, last));
        let gone: Vec<u32> = mailbox.gone_since(known.modseq).into_iter().filter(|uid| meant(*uid)).collect();
        let mut set = compact(&gone);
        if self.plan.total_vanished {
            set = format!("1:{last}");
        }
        if self.plan.no_vanished {
            set.clear();
        }
        if let Some(length) = self.plan.long_vanished {
            let again = gone.first().copied().unwrap_or(u32::MAX - 1).to_string();
            while set.len() < length {
                let comma = if set.is_empty() { "" } else { "," };
                set.push_str(comma);
                set.push_str(&again);
            }
        }
        if !set.is_empty() {
            lines.push_str(&format!("* VANISHED (EARLIER) {set}\r\n"));
        }
        for (number, message) in (1..).zip(&mailbox.messages) {
            if message.modseq > known.modseq && meant(message.uid) {
                let (uid, modseq, flags) = (message.uid, message.modseq, view::flags(message, false));
                lines.push_str(&format!("* {number} FETCH (UID {uid} FLAGS {flags} MODSEQ ({modseq}))\r\n"));
            }
        }
        lines
    }
}
