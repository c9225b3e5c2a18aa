//! Messages' octets, streamed from their literals; never held whole.
//!
//! What is asked for ahead waits in the socket under TCP's flow control: a [`Flight`] knows which
//! messages are on their way, and holds none of them.

use std::collections::VecDeque;
use std::ops::Range;

use super::control::Imap;
use super::error::{Error, Result};
use super::items::{Value, unquote};
use super::quirks::uid_sets;
use super::response::{Code, Outcome, Response, Status};
use super::section::{Found, Lost, Request, Section, uid_of};
use super::wire::{Step, Wire};
use crate::ids::Uid;

/// Lines and pieces of other responses that are passed over while a body is looked for.
const NOISE: usize = 100_000;

/// UIDs in one command. So many fit its line whatever they are: ten digits and a comma each.
const PER_COMMAND: usize = 64;

/// A piece of a body: its octets are read before the next is asked for.
#[derive(Debug)]
pub enum Piece {
    Wire(Range<usize>),
    Quoted(Vec<u8>),
}

/// Bodies on their way, in the order in which they were asked for, of one section and from one
/// mailbox. Dropped before its end, it leaves the connection of no more use.
#[derive(Debug)]
pub struct Flight {
    section: Section,
    commands: VecDeque<Command>,
    /// Messages whose rows have not come yet.
    asked: VecDeque<Asked>,
    next_serial: u64,
    /// True for as long as a command may have gone out only in part.
    sending: bool,
    row: Option<Row>,
}

/// A command without its tagged end so far.
#[derive(Debug, Clone, Copy)]
struct Command {
    tag: u32,
    /// It asked for one message only.
    single: bool,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    request: Request,
    serial: u64,
    tag: u32,
}

/// A row whose body is being read.
#[derive(Debug)]
struct Row {
    /// `None`: nobody knows whose it is.
    of: Option<Asked>,
    /// The server told the UID. Else it is the one that a single command asked for.
    confirmed: bool,
    begun: bool,
    quoted: Option<Vec<u8>>,
    in_literal: bool,
    left: u64,
}

/// What the server said next.
enum Event {
    /// A body begins: [`Flight::row`].
    Row,
    /// The message is gone: its body is NIL.
    Gone(Uid),
    /// A command is over; these of its messages did not come.
    End { command: Command, missing: Vec<Uid>, status: Status },
}

impl Flight {
    /// Nothing is asked for yet.
    pub fn new(section: Section) -> Self {
        Self {
            section,
            commands: VecDeque::new(),
            asked: VecDeque::new(),
            next_serial: 0,
            sending: false,
            row: None,
        }
    }

    /// What is asked for of each message.
    pub fn section(&self) -> Section {
        self.section
    }

    /// Asks for messages, ascending by UID, in one write: a command for each group, behind those
    /// that are on their way.
    pub async fn ask(&mut self, imap: &mut Imap, groups: &[&[Request]]) -> Result<()> {
        let wire = imap.wire();
        if self.commands.is_empty() {
            wire.check_idle()?;
        }
        let chunks: Vec<&[Request]> = groups.iter().flat_map(|group| group.chunks(PER_COMMAND)).collect();
        let mut lines = Vec::with_capacity(chunks.len());
        for chunk in &chunks {
            let uids: Vec<Uid> = chunk.iter().map(|request| request.uid).collect();
            // So few UIDs make one set.
            let set = uid_sets(&uids).join(",");
            lines.push(format!("UID FETCH {set} (UID {})", self.section.item()));
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        self.sending = true;
        let first = wire.send(&lines).await?;
        self.sending = false;
        for (tag, chunk) in (0..).map(|count| first.wrapping_add(count)).zip(chunks) {
            self.commands.push_back(Command { tag, single: chunk.len() == 1 });
            for &request in chunk {
                self.asked.push_back(Asked { request, serial: self.next_serial, tag });
                self.next_serial += 1;
            }
        }
        Ok(())
    }

    /// Whether the message is on its way and nothing of it has been read.
    pub fn expects(&self, uid: Uid) -> bool {
        let untouched = self.row.as_ref().filter(|row| !row.begun).and_then(|row| row.of);
        self.asked.iter().chain(&untouched).any(|asked| asked.request.uid == uid)
    }

    /// Whether anything is on its way that nothing has been read of.
    pub fn is_expecting(&self) -> bool {
        !self.asked.is_empty() || self.row.as_ref().is_some_and(|row| !row.begun)
    }

    /// The messages that come behind this one, in order.
    pub fn behind(&self, uid: Uid) -> impl Iterator<Item = Request> + '_ {
        let serial = self.asked.iter().find(|asked| asked.request.uid == uid).map(|asked| asked.serial);
        self.asked.iter().filter(move |asked| Some(asked.serial) > serial).map(|asked| asked.request)
    }

    /// Octets of the body that are still to come.
    pub fn left(&self) -> u64 {
        self.row.as_ref().map_or(0, |row| row.left)
    }

    /// About how many octets are still to come in all.
    pub fn to_come(&self) -> u64 {
        if self.sending {
            return u64::MAX;
        }
        let asked = self.asked.iter().map(|asked| asked.request.octets);
        asked.fold(self.left(), u64::saturating_add)
    }

    /// Reads up to the message's first octets, past those that were asked for before it unless
    /// they are more than `past` octets.
    pub async fn find(&mut self, imap: &mut Imap, uid: Uid, mut past: u64) -> Result<Found> {
        loop {
            if let Some(row) = &self.row {
                let Some(of) = row.of else {
                    return Ok(Found::Lost(Lost::LateUid));
                };
                if of.request.uid == uid && !row.begun {
                    return Ok(Found::Body);
                }
                match self.asked.iter().find(|asked| asked.request.uid == uid) {
                    Some(wanted) if of.serial < wanted.serial => {}
                    _ => return Ok(Found::Lost(Lost::Order)),
                }
                let Some(rest) = past.checked_sub(row.left) else {
                    return Ok(Found::Lost(Lost::Distance));
                };
                past = rest;
                while self.next(imap).await?.is_some() {}
                continue;
            }
            match self.event(imap).await? {
                Event::Row => {}
                Event::Gone(gone) if gone == uid => return Ok(Found::Gone),
                Event::Gone(_) => {}
                Event::End { command, missing, status } if missing.contains(&uid) => {
                    // Asked for alone, and at once, it would be refused as well.
                    if !command.single && status.throttles().is_none() {
                        return Ok(Found::Lost(Lost::Ended));
                    }
                    if status.outcome == Outcome::Ok || says_gone(&status) {
                        return Ok(Found::Gone);
                    }
                    return Err(Error::Refused { command: "FETCH", status });
                }
                // What came before its end came in whole rows: a refusal takes nothing of it back.
                Event::End { .. } => {}
            }
            if self.commands.is_empty() && self.row.is_none() {
                return Ok(Found::Lost(Lost::Ended));
            }
        }
    }

    /// The found body's next piece; `None` after the last, once the server has ended the row, and
    /// the command if it was its last one.
    pub async fn next(&mut self, imap: &mut Imap) -> Result<Option<Piece>> {
        let Some(row) = &mut self.row else {
            return Ok(None);
        };
        row.begun = true;
        if let Some(quoted) = row.quoted.take() {
            return Ok(Some(Piece::Quoted(quoted)));
        }
        if row.in_literal {
            let wire = imap.wire();
            match wire.step().await? {
                Step::Data { octets, left } => {
                    row.left = left;
                    return Ok(Some(Piece::Wire(octets)));
                }
                Step::Line { text, .. } => {
                    row.in_literal = false;
                    // The UID may follow the body (Microsoft 365): a wrong one makes it worthless.
                    if let Some(uid) = uid_of(wire.octets(&text)) {
                        if row.of.map(|of| of.request.uid) != uid || uid.is_none() {
                            return Err(wire.fail(Error::Protocol("another message than was asked for")));
                        }
                        row.confirmed = true;
                    }
                }
            }
        }
        if !row.confirmed {
            return Err(imap.wire().fail(Error::Protocol("a message without its UID")));
        }
        let tag = self.row.take().and_then(|row| row.of).map(|of| of.tag);
        self.end_of_row(imap, tag).await?;
        Ok(None)
    }

    /// Behind the last row of a command comes its tagged end, unless another command's row is first.
    async fn end_of_row(&mut self, imap: &mut Imap, tag: Option<u32>) -> Result<()> {
        let is_open = |commands: &VecDeque<Command>| commands.iter().any(|open| Some(open.tag) == tag);
        while is_open(&self.commands) && !self.asked.iter().any(|asked| Some(asked.tag) == tag) {
            match self.event(imap).await? {
                Event::Row => break,
                Event::Gone(_) => {}
                Event::End { command, status, .. } => {
                    let ours = Some(command.tag) == tag;
                    if ours && status.outcome != Outcome::Ok && !says_gone(&status) {
                        return Err(Error::Refused { command: "FETCH", status });
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads all that is still to come if it is not over `most` octets; false if it is. Nothing of
    /// it is used, so that how its commands end does not matter.
    pub async fn drain(&mut self, imap: &mut Imap, most: u64) -> Result<bool> {
        self.row = None;
        self.asked.clear();
        let mut left = most;
        let wire = imap.wire();
        while !self.commands.is_empty() {
            let (octets, announced) = match wire.step().await? {
                Step::Data { octets, .. } => (octets.len(), 0),
                Step::Line { text, continues, literal } => {
                    let line = wire.octets(&text);
                    let length = line.len();
                    match Response::parse(line) {
                        Response::Tagged { tag, status } if !continues => {
                            let tag = tag.to_vec();
                            close(wire, &mut self.commands, &tag, &status)?;
                        }
                        Response::Untagged(status) if !continues && status.outcome == Outcome::Bye => {
                            return Err(wire.fail(Error::Bye(status)));
                        }
                        _ => {}
                    }
                    (length, literal.unwrap_or_default())
                }
            };
            left = match left.checked_sub(octets as u64) {
                Some(left) if announced <= left => left,
                _ => return Ok(false),
            };
        }
        Ok(true)
    }

    async fn event(&mut self, imap: &mut Imap) -> Result<Event> {
        for _ in 0..NOISE {
            let wire = imap.wire();
            let Step::Line { text, continues: false, literal } = wire.step().await? else {
                continue;
            };
            let line = wire.octets(&text);
            match Response::parse(line) {
                Response::Tagged { tag, status } => {
                    let tag = tag.to_vec();
                    let command = close(wire, &mut self.commands, &tag, &status)?;
                    let missing = self.asked.iter().filter(|asked| asked.tag == command.tag);
                    let missing = missing.map(|asked| asked.request.uid).collect();
                    self.asked.retain(|asked| asked.tag != command.tag);
                    return Ok(Event::End { command, missing, status });
                }
                Response::Untagged(status) if status.outcome == Outcome::Bye => {
                    return Err(wire.fail(Error::Bye(status)));
                }
                Response::Fetch(items) => {
                    if let Some(event) = self.begin_row(items, literal) {
                        return Ok(event);
                    }
                }
                _ => {}
            }
        }
        Err(imap.wire().fail(Error::Protocol("no end of what was not asked for")))
    }

    /// What a row says of a message that was asked for: its body in a literal behind the line or
    /// quoted in it, or NIL. All else is news of other clients.
    fn begin_row(&mut self, items: &[u8], literal: Option<u64>) -> Option<Event> {
        let (uid, body) = self.section.read(items);
        let (quoted, left) = match (body?, literal) {
            (Value::Literal, Some(length)) => (None, length),
            (Value::Quoted(text), _) => (Some(unquote(text)), 0),
            // NIL: gone, as Dovecot words it.
            (Value::Atom(_), _) => return self.take(uid?).map(|asked| Event::Gone(asked.request.uid)),
            _ => return None,
        };
        let in_literal = quoted.is_none();
        let of = match uid {
            // GNU imap4d answers for another message when this one is gone.
            Some(uid) => Some(self.take(uid)?),
            None => self.presumed(),
        };
        self.row = Some(Row { of, confirmed: uid.is_some(), begun: false, quoted, in_literal, left });
        Some(Event::Row)
    }

    fn take(&mut self, uid: Uid) -> Option<Asked> {
        let at = self.asked.iter().position(|asked| asked.request.uid == uid)?;
        self.asked.remove(at)
    }

    /// The message that a row without a UID must be of: where only one was asked for.
    fn presumed(&mut self) -> Option<Asked> {
        let first = self.asked.front()?;
        let single = self.commands.iter().any(|command| command.tag == first.tag && command.single);
        if single { self.asked.pop_front() } else { None }
    }
}

/// The command that a tag ends.
fn close(wire: &mut Wire, commands: &mut VecDeque<Command>, tag: &[u8], status: &Status) -> Result<Command> {
    let number = wire.finished(tag, status);
    let at = commands.iter().position(|command| Some(command.tag) == number);
    let command = at.and_then(|at| commands.remove(at));
    command.ok_or_else(|| wire.fail(Error::Protocol("an unknown tag")))
}

/// A refusal that only means that a message is no longer there.
fn says_gone(status: &Status) -> bool {
    matches!(status.code, Some(Code::ExpungeIssued | Code::NonExistent))
}
