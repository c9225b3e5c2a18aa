//! What is asked for of a message, where it stands in the answer, and what comes of asking.

use super::items::{Items, Value};
use super::quirks::REST;
use crate::ids::Uid;

/// Which part of the message is asked for; never sets \Seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// All octets from this offset on.
    Whole { from: u64 },
    /// The header with its blank line.
    Header,
    /// So many octets of the text behind the header, from this offset on.
    Text { from: u64, length: u32 },
}

impl Section {
    /// The item that is asked for.
    pub fn item(self) -> String {
        match self {
            Self::Whole { from: 0 } => "BODY.PEEK[]".to_owned(),
            Self::Whole { from } => format!("BODY.PEEK[]<{from}.{REST}>"),
            Self::Header => "BODY.PEEK[HEADER]".to_owned(),
            Self::Text { from, length } => format!("BODY.PEEK[TEXT]<{from}.{length}>"),
        }
    }

    /// What stands behind `]` in the answer: where a part begins (RFC 3501 §7.4.2).
    fn origin(self) -> String {
        match self {
            Self::Whole { from: 0 } | Self::Header => String::new(),
            Self::Whole { from } | Self::Text { from, .. } => format!("<{from}>"),
        }
    }

    /// What a row tells of a message: its UID, and what stands for this section.
    pub fn read(self, items: &[u8]) -> (Option<Uid>, Option<Value<'_>>) {
        let (mut uid, mut body) = (None, None);
        for (name, value) in Items::new(items) {
            if let (true, Value::Atom(number)) = (name.eq_ignore_ascii_case(b"UID"), &value) {
                uid = Uid::parse(number);
            } else if name.len() > 5 && name[..5].eq_ignore_ascii_case(b"BODY[") {
                // Octets from another place than was asked for would be put in the wrong one.
                body = Some(value).filter(|_| name.ends_with(format!("]{}", self.origin()).as_bytes()));
            }
        }
        (uid, body)
    }
}

/// The UID among items that follow a body (Microsoft 365); `Some(None)` if it is none.
pub fn uid_of(items: &[u8]) -> Option<Option<Uid>> {
    Items::new(items).find_map(|(name, value)| match value {
        Value::Atom(number) if name.eq_ignore_ascii_case(b"UID") => Some(Uid::parse(number)),
        _ => None,
    })
}

/// A message to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    pub uid: Uid,
    /// About how much will come, to judge what is on its way; nothing is allocated by it.
    pub octets: u64,
}

/// What came of looking for a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Its first octets are in hand.
    Body,
    /// It is no longer in the mailbox.
    Gone,
    /// It did not come where it was expected: ask for it alone.
    Lost(Lost),
}

/// Why a message did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Another one's row came instead: this one is gone, or the rows come in an order of their own.
    Order,
    /// The command that asked for several messages ended without it.
    Ended,
    /// The server tells which message a row is of only behind the body.
    LateUid,
    /// What comes before it is too much to be read past.
    Distance,
}
