//! The first octets of the message that was read last. Programs ask for a header right before or
//! right behind the message itself; that must not cost its place in the sequence.

use memchr::memmem;

use super::account::Place;
use crate::ids::Uid;

/// Of longer headers the rest is asked for again.
const MOST: usize = 16 * 1024;

/// The octets from the first on, of one message.
#[derive(Debug, Default)]
pub struct Beginning {
    of: Option<(Place, Uid)>,
    octets: Vec<u8>,
    /// More were handed out than are kept.
    cut: bool,
    /// The message is to go on behind these octets.
    paused: bool,
}

impl Beginning {
    /// Begins to keep a message's octets, unless it is to go on behind those that are kept: they
    /// are handed out again first.
    pub fn start(&mut self, place: &Place, uid: Uid) {
        if self.paused && self.is_of(place, uid) {
            return;
        }
        self.octets.clear();
        self.of = Some((place.clone(), uid));
        (self.cut, self.paused) = (false, false);
    }

    /// The next ones that were handed out.
    pub fn note(&mut self, octets: &[u8]) {
        let fits = octets.len().min(MOST - self.octets.len());
        self.octets.extend_from_slice(&octets[..fits]);
        self.cut |= fits < octets.len();
    }

    /// The message's header with its end, and maybe more, if it was read last.
    pub fn header(&self, place: &Place, uid: Uid) -> Option<&[u8]> {
        let ends: [&[u8]; 3] = [b"\r\n\r\n", b"\n\n", b"\n\r\n"];
        let whole = self.octets.starts_with(b"\r\n")
            || ends.iter().any(|end| memmem::find(&self.octets, end).is_some());
        (whole && self.is_of(place, uid)).then_some(&self.octets)
    }

    /// The message goes on later, unless more was handed out than is kept.
    pub fn pause(&mut self) -> bool {
        self.paused = !self.cut;
        self.paused
    }

    /// What was handed out of this message, if it is to go on now.
    pub fn resume(&mut self, place: &Place, uid: Uid) -> Option<Vec<u8>> {
        let resumes = std::mem::take(&mut self.paused) && self.is_of(place, uid);
        resumes.then(|| std::mem::take(&mut self.octets))
    }

    /// No message is to go on any more.
    pub fn give_up(&mut self) {
        self.paused = false;
    }

    fn is_of(&self, place: &Place, uid: Uid) -> bool {
        self.of.as_ref().is_some_and(|(at, of)| at == place && *of == uid)
    }
}
