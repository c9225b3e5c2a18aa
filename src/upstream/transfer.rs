//! Messages into another mailbox, and what is known of a mailbox that is not selected.

use std::collections::BTreeMap;

use super::control::Imap;
use super::error::{Error, Result};
use super::exchange::{Answer, Exchange};
use super::folders::FolderName;
use super::items::{Items, Value, value};
use super::response::{code_argument, word};
use crate::ids::{Uid, UidValidity, decimal};

/// Pairs that one response code may stand for: a UID set can name four thousand million.
const MAX_CODE: usize = 10_000;
/// Pairs that are kept over all codes of one command.
const MAX_PAIRS: usize = 100_000;
/// Octets of a mailbox's name, where STATUS gives it as a literal; they are not looked at.
const NAME: usize = 1000;

/// Where messages went (RFC 4315 §3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyUid {
    /// Of the mailbox that they went to.
    pub validity: UidValidity,
    /// The UID here and the UID there, ascending by the one here.
    pub pairs: Vec<(Uid, Uid)>,
}

/// A mailbox from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FolderStatus {
    pub validity: UidValidity,
    pub uid_next: Uid,
    pub messages: u32,
}

impl Imap {
    /// `UID MOVE set to` (RFC 6851). `None`: moved, but the server does not say where to.
    ///
    /// After [`Error::Refused`] some may have been moved all the same: look again.
    pub async fn uid_move(&mut self, set: &str, to: &FolderName) -> Result<Option<CopyUid>> {
        self.transfer("UID MOVE", set, to).await
    }

    /// `UID COPY set to` (RFC 3501 §6.4.8). `None`: copied, but the server does not say where to.
    pub async fn uid_copy(&mut self, set: &str, to: &FolderName) -> Result<Option<CopyUid>> {
        self.transfer("UID COPY", set, to).await
    }

    async fn transfer(&mut self, name: &'static str, set: &str, to: &FolderName) -> Result<Option<CopyUid>> {
        let command = format!("{name} {set} {}", to.quoted());
        let mut exchange = Exchange::begin(self, name, &command, 0, 0).await?;
        let mut told = Told::default();
        loop {
            // MOVE tells it before its first EXPUNGE, in as many codes as it likes (RFC 6851 §4.3),
            // COPY at the end; servers that mix the two up mean the same.
            match exchange.next().await? {
                Answer::Untagged { text, .. } => told.hear(text),
                Answer::Done(line) => {
                    told.hear(line);
                    return Ok(told.finish());
                }
            }
        }
    }

    /// `STATUS folder (UIDVALIDITY UIDNEXT MESSAGES)` (RFC 3501 §6.3.10): not for the mailbox that
    /// is selected.
    pub async fn status(&mut self, folder: &FolderName) -> Result<FolderStatus> {
        let command = format!("STATUS {} (UIDVALIDITY UIDNEXT MESSAGES)", folder.quoted());
        let mut exchange = Exchange::begin(self, "STATUS", &command, 0, NAME).await?;
        let mut told = None;
        // No STATUS comes unasked, so this is the one, however the server spells the name.
        while let Answer::Untagged { text, .. } = exchange.next().await? {
            told = status_items(text).or(told);
        }
        let Some((validity, uid_next, messages)) = told else {
            return Err(Error::Protocol("no status of a mailbox"));
        };
        Ok(FolderStatus { validity: validity.ok_or(Error::NoUidValidity)?, uid_next, messages })
    }
}

fn status_items(line: &[u8]) -> Option<(Option<UidValidity>, Uid, u32)> {
    let (kind, rest) = word(line.strip_prefix(b"* ")?);
    let (_, rest) = value(rest).filter(|_| kind.eq_ignore_ascii_case(b"STATUS"))?;
    let (mut validity, mut uid_next, mut messages) = (None, None, None);
    for (name, value) in Items::new(rest.trim_ascii_start().strip_prefix(b"(")?) {
        let Value::Atom(number) = value else { continue };
        match name.to_ascii_uppercase().as_slice() {
            b"UIDVALIDITY" => validity = UidValidity::parse(number),
            b"UIDNEXT" => uid_next = Uid::parse(number),
            b"MESSAGES" => messages = decimal(number),
            _ => {}
        }
    }
    Some((validity, uid_next?, messages?))
}

/// What the codes of one command have told together.
#[derive(Default)]
struct Told {
    validity: Option<UidValidity>,
    pairs: BTreeMap<Uid, Uid>,
    /// Something did not make sense: then nothing is known.
    garbled: bool,
}

impl Told {
    fn hear(&mut self, line: &[u8]) {
        let Some(argument) = code_argument(line, b"COPYUID").filter(|_| !self.garbled) else {
            return;
        };
        self.garbled = self.add(argument).is_none();
        if self.garbled {
            self.pairs.clear();
        }
    }

    fn add(&mut self, argument: &[u8]) -> Option<()> {
        let (validity, sets) = word(argument);
        let (from, to) = word(sets);
        let validity = UidValidity::parse(validity)?;
        if *self.validity.get_or_insert(validity) != validity {
            return None;
        }
        let (from, to) = (expand(from)?, expand(to)?);
        if from.len() != to.len() || self.pairs.len() + from.len() > MAX_PAIRS {
            return None;
        }
        for (from, to) in from.into_iter().zip(to) {
            // The same told twice is harmless, two places for one message are not.
            if *self.pairs.entry(from).or_insert(to) != to {
                return None;
            }
        }
        Some(())
    }

    fn finish(self) -> Option<CopyUid> {
        let validity = self.validity.filter(|_| !self.garbled)?;
        Some(CopyUid { validity, pairs: self.pairs.into_iter().collect() })
    }
}

/// The UIDs of a set in its own order: the two sets of a COPYUID go side by side (RFC 4315 §3).
fn expand(set: &[u8]) -> Option<Vec<Uid>> {
    let mut uids = Vec::new();
    for part in set.split(|&octet| octet == b',') {
        let mut ends = part.splitn(2, |&octet| octet == b':');
        let first = Uid::parse(ends.next()?)?.get();
        let last = match ends.next() {
            Some(last) => Uid::parse(last)?.get(),
            None => first,
        };
        // `2:4` and `4:2` are the same (RFC 4315 §4).
        let range = first.min(last)..=first.max(last);
        if u64::from(range.end() - range.start()) >= (MAX_CODE - uids.len()) as u64 {
            return None;
        }
        uids.extend(range.filter_map(Uid::new));
    }
    Some(uids)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[&str]) -> Option<(u32, Vec<(u32, u32)>)> {
        let mut told = Told::default();
        for line in lines {
            told.hear(line.as_bytes());
        }
        let told = told.finish()?;
        let pairs = told.pairs.iter().map(|(from, to)| (from.get(), to.get())).collect();
        Some((told.validity.get(), pairs))
    }

    #[test]
    fn codes_are_merged() {
        let pairs = vec![(3, 11), (4, 12), (5, 10), (9, 20)];
        let lines = ["* OK [COPYUID 7 5,3:4 10,11:12] Moved.", "* 1 EXPUNGE", "P1 OK [copyuid 7 9 20] Done."];
        assert_eq!(told(&lines), Some((7, pairs)));
        assert_eq!(told(&["P1 OK [COPYUID 7 4:3 2:1]"]), Some((7, vec![(3, 1), (4, 2)])));
        let twice = "* OK [COPYUID 7 1 2]";
        assert_eq!(told(&[twice, twice]), Some((7, vec![(1, 2)])));
        assert_eq!(told(&["P1 OK Done."]), None);
    }

    #[test]
    fn what_does_not_make_sense_tells_nothing() {
        let good = "* OK [COPYUID 7 1 2]";
        for wrong in [
            "",
            "7",
            "7 1",
            "0 1 2",
            "7 1 0",
            "7 1:2 5",
            "7 1 5:6",
            "7 1:* 5:*",
            "7 1,,2 5:7",
            "7 1 3",
            "8 9 9",
            "7 1:10001 1:10001",
            "7 1:4294967295 1:4294967295",
            "7 1:2:3 5:7",
            "7  1 2",
            "7 -1 2",
            "7 () ()",
        ] {
            let wrong = format!("* OK [COPYUID {wrong}] Moved.");
            assert_eq!(told(&[good, &wrong, "* OK [COPYUID 7 20 30]"]), None, "{wrong}");
        }
        assert_eq!(told(&["* OK [COPYUID 7 1:10000 1:10000]"]).map(|(_, pairs)| pairs.len()), Some(10_000));
    }

    #[test]
    fn many_codes_are_bounded() {
        let line = |index: u32| {
            let (first, last) = (index * 10_000 + 1, index * 10_000 + 10_000);
            format!("* OK [COPYUID 7 {first}:{last} {first}:{last}]")
        };
        let lines: Vec<String> = (0..11).map(line).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert!(told(&lines[..10]).is_some_and(|(_, pairs)| pairs.len() == MAX_PAIRS));
        assert_eq!(told(&lines), None);
    }

    #[test]
    fn status_in_any_order_and_form() {
        let read = |line: &str| status_items(line.as_bytes());
        let expected = |validity: &[u8]| Uid::new(5).map(|next| (UidValidity::parse(validity), next, 3));
        assert_eq!(read("* STATUS INBOX (MESSAGES 3 UIDNEXT 5 UIDVALIDITY 7)"), expected(b"7"));
        assert_eq!(read("* status \"a (b\" (uidnext 5 X NIL messages 3)"), expected(b""));
        for wrong in
            ["* STATUS INBOX", "* STATUS", "* STATUS INBOX (UIDNEXT 5)", "* STATUS INBOX 3", "* LIST"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
