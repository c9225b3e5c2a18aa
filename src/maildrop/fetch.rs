//! Messages on their way in a session's connection: asked for, found, read piece by piece.

use super::account::Place;
use super::ahead;
use super::beginning::Beginning;
use super::error::Error;
use super::link::{DRAIN, Link};
use super::reader::Part;
use crate::ids::Uid;
use crate::upstream::{self, Flight, Found, Imap, Lost, Piece, Request, Section};

/// Commands on their way where each asks for one message: some servers mind many.
const SINGLE_COMMANDS: usize = 8;

/// A message from its first octet.
pub const WHOLE: Section = Section::Whole { from: 0 };

/// Whether messages are asked for with one command each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Singly {
    No,
    /// Up to this one: a command for several was refused or fell short.
    UpTo(Uid),
    /// The server's rows come in an order of their own, or with the UID last.
    Always,
}

/// What a reader asks for.
#[derive(Debug)]
pub struct Wanted {
    pub request: Request,
    pub section: Section,
    /// What should be on its way behind it.
    pub following: Vec<Request>,
    /// What is larger has a command of its own.
    pub alone_over: u64,
}

impl Link {
    /// Finds a message's first octets: among what is on its way, or asks for it. False if the
    /// message is gone.
    pub async fn fetch(&mut self, place: &Place, wanted: &Wanted) -> Result<bool, Error> {
        let Wanted { request: Request { uid, .. }, section, .. } = *wanted;
        self.resumed = self.beginning.resume(place, uid).filter(|_| section == WHOLE);
        let resumes = self.resumed.is_some();
        let on_its_way = resumes || self.expects(place, uid, section);
        if !on_its_way {
            self.imap(place).await?;
            self.flight = Some((place.clone(), Flight::new(section)));
        }
        let singly = match self.singly {
            Singly::No => false,
            Singly::UpTo(last) => uid <= last,
            Singly::Always => true,
        };
        let slowed = self.slot.is_slowed();
        let (flight, imap) = self.reading()?;
        let mut requests = Vec::new();
        if !on_its_way {
            requests.push(wanted.request);
        }
        let behind: Vec<Request> = flight.behind(uid).collect();
        // What is on its way need not wait for what could come behind it.
        if !on_its_way || !slowed {
            requests.extend(ahead::refill(&behind, &wanted.following));
        }
        if singly {
            requests.truncate(SINGLE_COMMANDS.saturating_sub(behind.len()));
        }
        if !requests.is_empty() {
            flight.ask(imap, &ahead::groups(&requests, wanted.alone_over, singly)).await?;
        }
        if resumes {
            return Ok(true);
        }
        let last = flight.behind(uid).last().map_or(uid, |request| request.uid);
        let why = match flight.find(imap, uid, DRAIN).await? {
            Found::Body => return Ok(true),
            Found::Gone => return Ok(false),
            Found::Lost(why) => why,
        };
        tracing::debug!(%uid, ?why, "asking for a message alone");
        let there = self.fetch_alone(place, uid, section).await?;
        match why {
            Lost::LateUid => self.singly = Singly::Always,
            // It was not gone, so the rows are out of order.
            Lost::Order if there => self.singly = Singly::Always,
            Lost::Ended if self.singly != Singly::Always => self.singly = Singly::UpTo(last),
            Lost::Order | Lost::Ended | Lost::Distance => {}
        }
        Ok(there)
    }

    /// Whether this of a message is on its way.
    pub fn expects(&self, place: &Place, uid: Uid, section: Section) -> bool {
        let Some((at, flight)) = &self.flight else { return false };
        at == place && flight.section() == section && flight.expects(uid)
    }

    /// What is kept of the message that was read last.
    pub fn beginning(&mut self) -> &mut Beginning {
        &mut self.beginning
    }

    /// Keeps octets that are handed out.
    pub fn note_beginning(&mut self, piece: &Piece, skip: usize) {
        let octets = match (piece, &mut self.imap) {
            (Piece::Quoted(octets), _) => &octets[..],
            (Piece::Wire(range), Some(imap)) => imap.wire().octets(range),
            (Piece::Wire(_), None) => return,
        };
        self.beginning.note(octets.get(skip..).unwrap_or_default());
    }

    /// No message is to go on any more.
    pub(super) fn end_pause(&mut self) {
        self.beginning.give_up();
        self.resumed = None;
    }

    /// The same with a command of its own, and nothing on its way but this.
    pub async fn fetch_alone(&mut self, place: &Place, uid: Uid, section: Section) -> Result<bool, Error> {
        self.imap(place).await?;
        self.flight = Some((place.clone(), Flight::new(section)));
        let (flight, imap) = self.reading()?;
        flight.ask(imap, &[&[Request { uid, octets: 0 }]]).await?;
        match flight.find(imap, uid, 0).await? {
            Found::Body => Ok(true),
            Found::Gone => Ok(false),
            // It cannot come in another order than alone.
            Found::Lost(_) => Err(upstream::Error::Desynchronised.into()),
        }
    }

    /// The next piece of the message that was found; `None` at its end.
    pub async fn piece(&mut self) -> Result<Option<Piece>, Error> {
        if let Some(octets) = self.resumed.take().filter(|octets| !octets.is_empty()) {
            return Ok(Some(Piece::Quoted(octets)));
        }
        let (flight, imap) = self.reading()?;
        Ok(flight.next(imap).await?)
    }

    /// Octets of it that are still to come.
    pub fn left(&self) -> u64 {
        self.flight.as_ref().map_or(0, |(_, flight)| flight.left())
    }

    fn reading(&mut self) -> Result<(&mut Flight, &mut Imap), Error> {
        match (&mut self.flight, &mut self.imap) {
            (Some((_, flight)), Some(imap)) => Ok((flight, imap)),
            _ => Err(upstream::Error::Desynchronised.into()),
        }
    }

    /// The octets of a part; before the next one is asked for.
    pub fn octets<'a>(&'a mut self, part: &'a Part) -> Result<&'a [u8], Error> {
        match part {
            Part::Octets { piece, skip } => {
                let octets = match piece {
                    Piece::Wire(range) => self.busy()?.wire().octets(range),
                    Piece::Quoted(octets) => octets,
                };
                Ok(octets.get(*skip..).unwrap_or_default())
            }
            Part::HeaderEnds => Ok(&[]),
        }
    }
}
