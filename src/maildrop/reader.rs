//! One message on its way from the upstream: streamed, and healed when the connection breaks.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::account::Place;
use super::ahead::What;
use super::error::Error;
use super::fetch::Wanted;
use super::link::{DRAIN, Link};
use super::listing::Entry;
use crate::upstream::{self, Code, Piece, REST, Request, Section};

/// The first pause before a broken connection is tried again; each next one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
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
    request: Request,
    /// What is asked for with the first fetch, behind the message itself.
    following: Option<Following>,
    /// One body from its first octet to its last, not header and text on their own.
    as_it_is: bool,
    stage: Stage,
    /// Octets of this stage that were handed out.
    done: u64,
    /// Octets that the fetch under way repeats, since it could not start behind them.
    repeated: u64,
    /// Octets that the fetch under way brought.
    fetched: u64,
    /// A fetch is under way.
    reading: bool,
    first: Option<Part>,
    keeps: Keeps,
    since_progress: Instant,
    pause: Duration,
}

/// What becomes of the message's first octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    Nothing,
    /// They are kept for a header that may be asked for behind it.
    Beginning,
    /// So that the message can go on where this reader stops.
    Rest,
}

/// Messages that are read ahead.
#[derive(Debug)]
pub struct Following {
    pub requests: Vec<Request>,
    /// What is larger has a command of its own.
    pub alone_over: u64,
}

/// How TOP asks for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Top {
    /// This of it and nothing more, as of one message after another.
    All(What),
    /// More than is needed, or in two steps: not worth reading ahead.
    Part { whole: bool },
}

impl Top {
    /// The header and at least `lines` lines: without the rest of a large body, where there is a
    /// rest. All lines of a message, as fetchmail asks for them, are the message whole.
    pub fn of(entry: &Entry, lines: u32) -> Self {
        // A line has two octets at the least; with this many, most messages are asked for whole.
        if u64::from(lines) * 32 >= entry.size.0 {
            Self::All(What::Whole)
        } else if lines == 0 {
            Self::All(What::Header)
        } else {
            Self::Part { whole: entry.size.0 <= SMALL }
        }
    }
}

impl Reader {
    /// The message whole (RETR), or its header (TOP); its first part is in hand when this returns.
    pub async fn start(
        link: &mut Link,
        place: &Place,
        entry: &Entry,
        what: What,
        following: Following,
        keeps: Keeps,
    ) -> Result<Self, Error> {
        let stage = match what {
            What::Whole => Stage::Whole,
            What::Header => Stage::Header { then_lines: 0 },
        };
        Self::begin(link, place, what.of(entry), stage, Some(following), keeps).await
    }

    /// A header that is in memory, with more of the message behind it or not.
    pub fn of_memory(place: &Place, entry: &Entry, header: Vec<u8>) -> Self {
        let mut reader = Self::new(place, What::Header.of(entry), Stage::Done, None, Keeps::Nothing);
        reader.first = Some(Part::Octets { piece: Piece::Quoted(header), skip: 0 });
        reader
    }

    /// The header and at least `lines` lines (TOP).
    pub async fn part(
        link: &mut Link,
        place: &Place,
        entry: &Entry,
        lines: u32,
        whole: bool,
    ) -> Result<Self, Error> {
        let stage = if whole { Stage::Whole } else { Stage::Header { then_lines: lines } };
        Self::begin(link, place, What::Whole.of(entry), stage, None, Keeps::Nothing).await
    }

    async fn begin(
        link: &mut Link,
        place: &Place,
        request: Request,
        stage: Stage,
        following: Option<Following>,
        keeps: Keeps,
    ) -> Result<Self, Error> {
        let mut reader = Self::new(place, request, stage, following, keeps);
        if keeps != Keeps::Nothing {
            link.beginning().start(place, request.uid);
        }
        reader.first = reader.next(link).await?;
        Ok(reader)
    }

    fn new(
        place: &Place,
        request: Request,
        stage: Stage,
        following: Option<Following>,
        keeps: Keeps,
    ) -> Self {
        Self {
            place: place.clone(),
            request,
            following,
            // What goes on later has not been sent by this reader.
            as_it_is: matches!(stage, Stage::Whole) && keeps != Keeps::Rest,
            stage,
            done: 0,
            repeated: 0,
            fetched: 0,
            reading: false,
            first: None,
            keeps,
            since_progress: Instant::now(),
            pause: FIRST_PAUSE,
        }
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
            self.reading = false;
            if matches!(error, Error::Vanished) {
                return Err(error);
            }
            if error.is_throttling() {
                // The connection may be as good as before; the link waits before it is used.
                if link.outlasts(&error, self.since_progress) {
                    continue;
                }
                return Err(error);
            }
            link.drop_connection();
            let may_pass = matches!(&error, Error::Upstream(error) if error.may_pass());
            // Up to twice as long: sessions whose connections broke together come back one by one.
            let pause = upstream::jittered(self.pause, 1.0);
            if !may_pass || self.since_progress.elapsed() + pause > link.recovery() {
                return Err(error);
            }
            tracing::info!(%error, uid = %self.request.uid, at = self.done, "connecting again to go on with a message");
            sleep(pause).await;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Whether all of the message has been handed out, as it is.
    pub fn sent_whole(&self) -> bool {
        self.as_it_is && matches!(self.stage, Stage::Done)
    }

    /// Ends before the end: what is left is read if it is little, else the connection is dropped.
    /// Or it stays where it is, for a message that goes on.
    pub async fn stop(&mut self, link: &mut Link) {
        if self.keeps == Keeps::Rest && link.beginning().pause() {
            return;
        }
        let mut left = DRAIN;
        while self.reading {
            match link.piece().await {
                Ok(None) => self.reading = false,
                Ok(Some(_)) if link.left() <= left => left = link.left(),
                Ok(Some(_)) | Err(_) => {
                    link.drop_connection();
                    self.reading = false;
                }
            }
        }
    }

    async fn step(&mut self, link: &mut Link) -> Result<Option<Part>, Error> {
        loop {
            if !self.reading {
                let Some(section) = self.section() else {
                    return Ok(None);
                };
                self.fetched = 0;
                let there = match self.following.take() {
                    Some(Following { requests, alone_over }) => {
                        let request = self.request;
                        let wanted = Wanted { request, section, following: requests, alone_over };
                        link.fetch(&self.place, &wanted).await?
                    }
                    None => link.fetch_alone(&self.place, self.request.uid, section).await?,
                };
                if !there {
                    return Err(Error::Vanished);
                }
                self.reading = true;
            }
            let Some(piece) = link.piece().await? else {
                self.reading = false;
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
                if self.keeps != Keeps::Nothing {
                    link.note_beginning(&piece, skip);
                }
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
                // Asked for as a header, it may be one without its blank line.
                (self.keeps == Keeps::Rest).then_some(Part::HeaderEnds)
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
            | Self::Crowded { .. }
            | Self::Throttled(_)
            | Self::NoUidValidity => false,
        }
    }
}
