//! One message's octets, streamed from its literal; never held whole.

use std::ops::Range;

use super::control::Imap;
use super::error::{Error, Result};
use super::items::{Items, Value, unquote};
use super::quirks::REST;
use super::response::{Code, Outcome, Response};
use super::wire::Step;
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
    fn item(self) -> String {
        match self {
            Self::Whole { from: 0 } => "BODY.PEEK[]".to_owned(),
            Self::Whole { from } => format!("BODY.PEEK[]<{from}.{REST}>"),
            Self::Header => "BODY.PEEK[HEADER]".to_owned(),
            Self::Text { from, length } => format!("BODY.PEEK[TEXT]<{from}.{length}>"),
        }
    }
}

impl Section {
    /// What stands behind `]` in the answer: where a part begins (RFC 3501 §7.4.2).
    fn origin(self) -> String {
        match self {
            Self::Whole { from: 0 } | Self::Header => String::new(),
            Self::Whole { from } | Self::Text { from, .. } => format!("<{from}>"),
        }
    }
}

/// Lines and pieces of other responses that are passed over while a body is looked for.
const NOISE: usize = 100_000;

/// What came of asking.
#[derive(Debug)]
pub enum Fetched {
    Body(Body),
    /// The message is no longer in the mailbox.
    Gone,
}

/// A piece of a body: its octets are read before the next is asked for.
#[derive(Debug)]
pub enum Piece {
    Wire(Range<usize>),
    Quoted(Vec<u8>),
}

/// A body on its way. Dropped before its end, it leaves the connection of no more use.
#[derive(Debug)]
pub struct Body {
    uid: Uid,
    section: Section,
    tag: u32,
    confirmed: bool,
    quoted: Option<Vec<u8>>,
    in_literal: bool,
    left: u64,
}

impl Body {
    /// Octets of the literal that are still to come.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Asks for one message's octets and reads up to where they begin.
    pub async fn fetch(imap: &mut Imap, uid: Uid, section: Section) -> Result<Fetched> {
        let wire = imap.wire()?;
        wire.check_idle()?;
        let command = format!("UID FETCH {uid} (UID {})", section.item());
        let tag = wire.send(&[&command]).await?;
        let mut body = Self { uid, section, tag, confirmed: false, quoted: None, in_literal: false, left: 0 };
        Ok(if body.find(imap).await? { Fetched::Body(body) } else { Fetched::Gone })
    }

    /// The next piece; `None` after the last, once the server has said that this was all.
    pub async fn next(&mut self, imap: &mut Imap) -> Result<Option<Piece>> {
        if let Some(quoted) = self.quoted.take() {
            return Ok(Some(Piece::Quoted(quoted)));
        }
        if self.in_literal {
            match imap.wire()?.step().await? {
                Step::Data { octets, left } => {
                    self.left = left;
                    return Ok(Some(Piece::Wire(octets)));
                }
                Step::Line { text, .. } => {
                    self.in_literal = false;
                    let rest = imap.wire()?.octets(&text).to_vec();
                    self.check_uid(imap, &rest)?;
                }
            }
        }
        // What remains is the end of the command; another body would not be ours.
        if self.find(imap).await? {
            return Err(imap.wire()?.fail(Error::Protocol("one message twice")));
        }
        if !self.confirmed {
            return Err(imap.wire()?.fail(Error::Protocol("a message without its UID")));
        }
        Ok(None)
    }

    /// Reads up to the body's first octet (true) or the tagged end (false).
    async fn find(&mut self, imap: &mut Imap) -> Result<bool> {
        for _ in 0..NOISE {
            let wire = imap.wire()?;
            let Step::Line { text, continues: false, literal } = wire.step().await? else {
                continue;
            };
            let line = wire.octets(&text);
            match Response::parse(line) {
                Response::Tagged { tag, status } => {
                    let tag = tag.to_vec();
                    if wire.finished(&tag) != Some(self.tag) {
                        return Err(wire.fail(Error::Protocol("an unknown tag")));
                    }
                    let gone = matches!(status.code, Some(Code::ExpungeIssued | Code::NonExistent));
                    if status.outcome == Outcome::Ok || (gone && !self.confirmed) {
                        return Ok(false);
                    }
                    return Err(Error::Refused { command: "FETCH", status });
                }
                Response::Untagged(status) if status.outcome == Outcome::Bye => {
                    return Err(wire.fail(Error::Bye(status)));
                }
                Response::Fetch(items) if self.row(items, literal.is_some()) => return Ok(true),
                _ => {}
            }
        }
        Err(imap.wire()?.fail(Error::Protocol("no end of what was not asked for")))
    }

    /// Whether a row holds the body, in a literal behind it or quoted in it.
    fn row(&mut self, items: &[u8], literal: bool) -> bool {
        let mut uid = None;
        let mut body = None;
        for (name, value) in Items::new(items) {
            if let (true, Value::Atom(number)) = (name.eq_ignore_ascii_case(b"UID"), &value) {
                uid = Uid::parse(number);
            } else if name.len() > 5 && name[..5].eq_ignore_ascii_case(b"BODY[") {
                // Octets from another place than was asked for would be put in the wrong one.
                body =
                    Some(value).filter(|_| name.ends_with(format!("]{}", self.section.origin()).as_bytes()));
            }
        }
        match uid {
            // GNU imap4d answers for another message when this one is gone.
            Some(uid) if uid != self.uid => return false,
            Some(_) => self.confirmed = true,
            None => {}
        }
        match body {
            Some(Value::Literal) if literal => {
                self.in_literal = true;
                true
            }
            Some(Value::Quoted(text)) => {
                self.quoted = Some(unquote(text));
                true
            }
            // NIL: gone, as Dovecot words it; the tagged NO follows.
            Some(Value::Atom(_)) => {
                self.confirmed = false;
                false
            }
            _ => false,
        }
    }

    /// The UID may follow the body (Microsoft 365): a wrong one makes the body worthless.
    fn check_uid(&mut self, imap: &mut Imap, rest: &[u8]) -> Result<()> {
        for (name, value) in Items::new(rest) {
            if let (true, Value::Atom(number)) = (name.eq_ignore_ascii_case(b"UID"), value) {
                if Uid::parse(number) != Some(self.uid) {
                    return Err(imap.wire()?.fail(Error::Protocol("another message than was asked for")));
                }
                self.confirmed = true;
            }
        }
        Ok(())
    }
}
