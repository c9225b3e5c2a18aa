//! One message on its way from the upstream: streamed, and healed when the connection breaks.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::error::Error;
use super::link::{Link, Place};
use crate::ids::{Octets, Uid};
use crate::upstream::{self, Body, Code, Fetched, Piece, REST, Section};

/// The first pause before a broken connection is tried again; each next one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Up to here it is cheaper to read what is left than to connect again.
const DRAIN: u64 = 256 * 1024;
/// Messages up to this size are fetched whole for TOP: one round trip instead of two.
const SMALL: u64 = 32 * 1024;
/// What a line is taken to hold when a part of the text is asked for.
const LINE: u32 = 100;

/// What a reader has next.
#[derive(Debug)]
pub enum Part {
    /// Octets of the message but for the first `skip`; `Link::octets` has them.
    Octets { piece: Piece, skip: usize },
    /// What came so far was the header; a blank line follows it even if the message has none.
    HeaderEnds,
}

/// Which parts of the message are fetched, one after another.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Whole,
    Header { then_lines: u32 },
    Text { from: u64, length: u32 },
    Done,
}

/// A message that is being read.
#[derive(Debug)]
pub struct Reader {
    place: Place,
    uid: Uid,
    /// One body from its first octet to its last, not header and text on their own.
    as_it_is: bool,
    stage: Stage,
    /// Octets of this stage that were handed out.
    done: u64,
    /// Octets that the fetch under way repeats, since it could not start behind them.
    repeated: u64,
    /// Octets that the fetch under way brought.
    fetched: u64,
    body: Option<Body>,
    first: Option<Part>,
    since_progress: Instant,
    pause: Duration,
}

impl Reader {
    /// The message whole (RETR); its first part is in hand when this returns.
    pub async fn whole(link: &mut Link, place: &Place, uid: Uid) -> Result<Self, Error> {
        Self::start(link, place, uid, Stage::Whole).await
    }

    /// The header and at least `lines` lines (TOP): without the rest of a large body, where
    /// there is a rest. All lines of a message, as fetchmail asks for them, are the message whole.
    pub async fn top(
        link: &mut Link,
        place: &Place,
        uid: Uid,
        size: Octets,
        lines: u32,
    ) -> Result<Self, Error> {
        // A line has two octets at the least; with this many, most messages are asked for whole.
        let all = u64::from(lines) * 32 >= size.0;
        let whole = all || (lines > 0 && size.0 <= SMALL);
        let stage = if whole { Stage::Whole } else { Stage::Header { then_lines: lines } };
        Self::start(link, place, uid, stage).await
    }

    async fn start(link: &mut Link, place: &Place, uid: Uid, stage: Stage) -> Result<Self, Error> {
        let mut reader = Self {
            place: place.clone(),
            uid,
            as_it_is: matches!(stage, Stage::Whole),
            stage,
            done: 0,
            repeated: 0,
            fetched: 0,
            body: None,
            first: None,
            since_progress: Instant::now(),
            pause: FIRST_PAUSE,
        };
        reader.first = reader.next(link).await?;
        Ok(reader)
    }

    /// The next part; `None` at the end of what was asked for.
    ///
    /// A connection that breaks is made again and the message goes on where it was, for as long
    /// as the upstream's `recovery` allows without progress.
    pub async fn next(&mut self, link: &mut Link) -> Result<Option<Part>, Error> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        loop {
            let error = match self.step(link).await {
                Ok(part) => {
                    self.since_progress = Instant::now();
                    self.pause = FIRST_PAUSE;
                    return Ok(part);
                }
                Err(error) => error,
            };
            self.body = None;
            link.drop_connection();
            let may_pass = matches!(&error, Error::Upstream(error) if error.may_pass());
            if !may_pass || self.since_progress.elapsed() + self.pause > link.recovery() {
                return Err(error);
            }
            tracing::info!(%error, uid = %self.uid, at = self.done, "connecting again to go on with a message");
            sleep(self.pause).await;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Whether all of the message has been handed out, as it is.
    pub fn sent_whole(&self) -> bool {
        self.as_it_is && matches!(self.stage, Stage::Done)
    }

    /// Ends before the end: what is left is read if it is little, else the connection is dropped.
    pub async fn stop(&mut self, link: &mut Link) {
        let mut left = DRAIN;
        while let Some(body) = &mut self.body {
            let next = match link.busy() {
                Ok(imap) => body.next(imap).await,
                Err(_) => return,
            };
            match next {
                Ok(None) => return,
                Ok(Some(_)) if body.left() <= left => left = body.left(),
                Ok(Some(_)) | Err(_) => {
                    link.drop_connection();
                    return;
                }
            }
        }
    }

    async fn step(&mut self, link: &mut Link) -> Result<Option<Part>, Error> {
        loop {
            let Some(body) = &mut self.body else {
                let Some(section) = self.section() else {
                    return Ok(None);
                };
                self.fetched = 0;
                match Body::fetch(link.imap(&self.place).await?, self.uid, section).await? {
                    Fetched::Body(body) => self.body = Some(body),
                    Fetched::Gone => return Err(Error::Vanished),
                }
                continue;
            };
            let Some(piece) = body.next(link.busy()?).await? else {
                self.body = None;
                if let Some(part) = self.end_of_fetch() {
                    return Ok(Some(part));
                }
                continue;
            };
            let length = match &piece {
                Piece::Wire(range) => range.len(),
                Piece::Quoted(octets) => octets.len(),
            };
            self.fetched += length as u64;
            // Not over `length`, so it fits.
            let skip = self.repeated.min(length as u64) as usize;
            self.repeated -= skip as u64;
            self.done += (length - skip) as u64;
            if skip < length {
                return Ok(Some(Part::Octets { piece, skip }));
            }
        }
    }

    /// What to ask for, from where it broke off.
    fn section(&mut self) -> Option<Section> {
        self.repeated = 0;
        match self.stage {
            Stage::Whole => Some(Section::Whole { from: self.done }),
            Stage::Header { .. } => {
                self.repeated = self.done;
                Some(Section::Header)
            }
            Stage::Text { from, length } => {
                self.repeated = self.done;
                Some(Section::Text { from, length })
            }
            Stage::Done => None,
        }
    }

    /// A fetch came to its end: go to the next stage, or ask on where the server gave only a part.
    fn end_of_fetch(&mut self) -> Option<Part> {
        match self.stage {
            // A rest of exactly what was asked for is probably not the rest.
            Stage::Whole if self.done > self.fetched && self.fetched >= u64::from(REST) => None,
            Stage::Whole | Stage::Done => {
                self.stage = Stage::Done;
                None
            }
            Stage::Header { then_lines } => {
                self.stage = match then_lines {
                    0 => Stage::Done,
                    lines => Stage::Text { from: 0, length: lines.saturating_mul(LINE).max(LINE * 10) },
                };
                self.done = 0;
                Some(Part::HeaderEnds)
            }
            Stage::Text { from, length } => {
                self.stage = if self.fetched < u64::from(length) {
                    Stage::Done
                } else {
                    Stage::Text { from: from + u64::from(length), length: length.saturating_mul(2).min(REST) }
                };
                self.done = 0;
                None
            }
        }
    }
}

impl upstream::Error {
    /// Whether another connection may go better.
    fn may_pass(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Io(_)
            | Self::Closed
            | Self::Bye(_)
            | Self::Timeout(_)
            | Self::Desynchronised => true,
            Self::Login(status) | Self::Refused { status, .. } => {
                matches!(status.code, Some(Code::Unavailable | Code::InUse | Code::Limit | Code::ServerBug))
            }
            Self::Tls { .. }
            | Self::Protocol(_)
            | Self::NoMechanism(_)
            | Self::NoStartTls
            | Self::ShortListing { .. }
            | Self::NoUidValidity => false,
        }
    }
}
