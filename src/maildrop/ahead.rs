//! Which messages are asked for before the client asks for them.
//!
//! A window that starts at one message and doubles with each request that was the next in line. It
//! costs no memory: what is asked for waits in the socket.

use super::listing::{Entry, Listing};
use crate::upstream::Request;

/// The most messages in the window: beyond it a round trip costs next to nothing.
const MOST: usize = 512;

/// How far behind the message that is being read they are looked for.
const FAR: usize = 2 * MOST;

/// What a header is taken to hold, to judge how much is on its way.
const HEADER: u64 = 4096;

/// What is asked for of one message after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// RETR, and TOP of all lines.
    Whole,
    /// TOP of no line.
    Header,
}

impl What {
    /// A request for this of a message.
    pub fn of(self, entry: &Entry) -> Request {
        let octets = match self {
            Self::Whole => entry.size.0,
            Self::Header => entry.size.0.min(HEADER),
        };
        Request { uid: entry.uid, octets }
    }
}

/// How a client goes through the listing.
#[derive(Debug)]
pub struct Window {
    /// Octets that may be on their way behind the message that is being read.
    limit: u64,
    /// Messages, the one that is being read among them.
    size: usize,
    last: Option<(What, usize)>,
    /// The largest message that the client fetched whole.
    largest: u64,
    /// The client passes over what is as large as this, as far as it has shown.
    too_large: u64,
    headers_behind: bool,
}

/// A header that is asked for in a sequence of messages, and leaves it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aside {
    /// Of the message that is the next in line.
    Before,
    /// Of the one that was read last.
    Behind,
}

impl Window {
    /// With a limit of zero nothing is ever asked for ahead.
    pub fn new(limit: u64) -> Self {
        Self { limit, size: 1, last: None, largest: 0, too_large: u64::MAX, headers_behind: false }
    }

    /// How a header stands to the messages that are read whole.
    pub fn aside(&mut self, index: usize, listing: &Listing) -> Option<Aside> {
        let (_, last) = self.last.filter(|(what, _)| *what == What::Whole)?;
        if index == last {
            self.headers_behind = true;
            return Some(Aside::Behind);
        }
        let next = listing.next_from(last + 1).map(|(number, _)| number.index());
        (next == Some(index)).then_some(Aside::Before)
    }

    /// Whether the client asks for headers of what it has just read.
    pub fn headers_behind(&self) -> bool {
        self.headers_behind
    }

    /// What was on its way is lost: ask for less from here on.
    pub fn restart(&mut self) {
        self.size = 1;
    }

    /// The client did something that is no sequence.
    pub fn leave(&mut self) {
        self.size = 1;
        self.last = None;
    }

    /// The client asks for the message at `index`: the messages that should be on their way
    /// behind it, in order, all from its folder. At least the next one, however large, once there
    /// is a sequence; else no more than the limit.
    pub fn request(&mut self, what: What, index: usize, listing: &Listing) -> Vec<Request> {
        let in_line = self.is_next(what, index, listing);
        if let Some(entry) = listing.at(index).filter(|_| what == What::Whole) {
            self.largest = self.largest.max(entry.size.0);
            if self.largest >= self.too_large {
                self.too_large = u64::MAX;
            }
        }
        self.size = if in_line { (self.size * 2).min(MOST) } else { 1 };
        self.last = Some((what, index));
        let mut following = Vec::new();
        let mut octets = 0u64;
        let folder = listing.at(index).map(|entry| entry.folder);
        let mut from = index + 1;
        while following.len() + 1 < self.size && self.limit > 0 && from <= index + FAR {
            let next = listing.next_from(from);
            let Some((number, entry)) = next.filter(|(_, entry)| Some(entry.folder) == folder) else { break };
            from = number.index() + 1;
            if what == What::Whole && entry.size.0 >= self.too_large {
                continue;
            }
            let request = what.of(&entry);
            octets = octets.saturating_add(request.octets);
            if octets > self.limit && !following.is_empty() {
                break;
            }
            following.push(request);
        }
        following
    }

    /// Whether the message at `index` is the next in line: what was marked deleted is passed over,
    /// and what a client leaves where it is because it is large, as many can be told to.
    fn is_next(&mut self, what: What, index: usize, listing: &Listing) -> bool {
        let Some((before, last)) = self.last else { return false };
        if before != what || index <= last {
            return false;
        }
        let mut smallest = u64::MAX;
        let mut from = last + 1;
        while let Some((number, entry)) = listing.next_from(from).filter(|(number, _)| number.index() < index)
        {
            smallest = smallest.min(entry.size.0);
            from = number.index() + 1;
        }
        let next = smallest >= self.too_large;
        if what == What::Whole && smallest > self.largest {
            self.too_large = self.too_large.min(smallest);
        }
        next
    }
}

/// What of `following` is to be asked for now, with the messages of `on_the_way` asked for already:
/// nothing before a quarter of them have been read, so that many go into one command.
pub fn refill(on_the_way: &[Request], following: &[Request]) -> Vec<Request> {
    let weight = |requests: &[Request]| {
        let octets = requests.iter().map(|request| request.octets.max(1));
        octets.fold(0, u64::saturating_add)
    };
    let last = on_the_way.last().map(|request| request.uid);
    let new = following.iter().filter(|request| Some(request.uid) > last);
    let new: Vec<Request> = new.copied().collect();
    if weight(on_the_way).saturating_mul(4) > weight(following).saturating_mul(3) { Vec::new() } else { new }
}

/// Requests in groups that become a command each: what is over `limit` goes alone, and all do where
/// the server needs it.
pub fn groups(requests: &[Request], limit: u64, singly: bool) -> Vec<&[Request]> {
    let alone = |request: &Request| singly || request.octets > limit;
    requests.chunk_by(|one, other| !alone(one) && !alone(other)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{MessageNumber, Octets, Uid};

    fn listing(sizes: &[u64]) -> Listing {
        let mut listing = Listing::default();
        let uids = (1..).filter_map(Uid::new);
        let rows: Vec<(Uid, Octets)> = uids.zip(sizes).map(|(uid, size)| (uid, Octets(*size))).collect();
        listing.append(0, rows.into_iter());
        listing
    }

    fn uids(requests: &[Request]) -> Vec<u32> {
        requests.iter().map(|request| request.uid.get()).collect()
    }

    #[test]
    fn it_doubles_in_line_and_starts_anew() {
        let listing = listing(&[10; 1200]);
        let mut window = Window::new(10_000);
        let mut ask = |what, index| window.request(what, index, &listing).len();
        let grown: Vec<usize> = (0..11).map(|index| ask(What::Whole, index)).collect();
        assert_eq!(grown, [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 511]);
        assert_eq!(ask(What::Whole, 10), 0, "the same again");
        assert_eq!(ask(What::Whole, 11), 1);
        assert_eq!(ask(What::Whole, 20), 0, "further on");
        assert_eq!(ask(What::Header, 21), 0, "something else");
        assert_eq!(ask(What::Header, 22), 1);
        window.restart();
        assert_eq!(window.request(What::Header, 23, &listing).len(), 1);
        window.leave();
        assert_eq!(window.request(What::Header, 24, &listing).len(), 0);
    }

    #[test]
    fn octets_are_limited_but_for_one_message() {
        let listing = listing(&[10, 10, 5000, 5000, 400, 400, 400, 10]);
        let mut window = Window::new(1000);
        let mut ask = |index| uids(&window.request(What::Whole, index, &listing));
        let asked: Vec<Vec<u32>> = (0..8).map(&mut ask).collect();
        let expected: [&[u32]; 8] = [&[], &[3], &[4], &[5, 6], &[6, 7, 8], &[7, 8], &[8], &[]];
        assert_eq!(asked, expected);
        let mut off = Window::new(0);
        assert!((0..8).all(|index| off.request(What::Whole, index, &listing).is_empty()));
    }

    #[test]
    fn what_is_deleted_is_passed_over() {
        let mut listing = listing(&[10; 9]);
        let mut window = Window::new(1000);
        window.request(What::Whole, 0, &listing);
        for number in [2, 3, 5] {
            let number = MessageNumber::from_index(number - 1).expect("a number");
            listing.delete(number).expect("it is there");
        }
        assert_eq!(uids(&window.request(What::Whole, 3, &listing)), [6]);
    }

    #[test]
    fn what_is_too_large_for_a_client_is_not_asked_for() {
        let listing = listing(&[10, 20, 30, 900, 20, 900, 10, 20, 950, 20, 10, 10]);
        let mut window = Window::new(5000);
        let mut ask = |index| uids(&window.request(What::Whole, index, &listing));
        assert_eq!([ask(0), ask(1), ask(2)], [vec![], vec![3], vec![4, 5, 6]]);
        assert!(ask(4).is_empty(), "it passed over 900 octets");
        assert_eq!(ask(6), [8], "it did so again: a sequence");
        assert_eq!(ask(7), [10, 11, 12], "without the large one");
        assert_eq!(ask(9), [11, 12]);
        assert!(ask(3).is_empty());
        assert_eq!(ask(4), [6], "it fetched 900 octets");
    }

    #[test]
    fn a_folder_ends_the_window_not_the_sequence() {
        let mut listing = listing(&[10; 3]);
        let other: Vec<(Uid, Octets)> = (1..9).filter_map(Uid::new).map(|uid| (uid, Octets(10))).collect();
        listing.append(1, other.into_iter());
        let mut window = Window::new(1000);
        for index in 0..2 {
            window.request(What::Whole, index, &listing);
        }
        assert!(window.request(What::Whole, 2, &listing).is_empty());
        assert_eq!(window.request(What::Whole, 3, &listing).len(), 7);
    }

    #[test]
    fn it_is_filled_by_quarters() {
        let all = listing(&[10; 20]);
        let requests: Vec<Request> =
            (0..20).filter_map(|index| all.at(index)).map(|entry| What::Whole.of(&entry)).collect();
        assert_eq!(refill(&[], &requests[..5]).len(), 5);
        assert_eq!(uids(&refill(&requests[..3], &requests[..5])), [4, 5]);
        assert_eq!(uids(&refill(&requests[..2], &requests[..5])), [3, 4, 5]);
        assert!(refill(&requests[..4], &requests[..5]).is_empty());
        assert!(refill(&requests[..5], &requests[..5]).is_empty());
        assert!(refill(&[], &[]).is_empty());
    }

    #[test]
    fn large_ones_go_alone() {
        let all = listing(&[10, 10, 5000, 10, 10]);
        let requests: Vec<Request> =
            (0..5).filter_map(|index| all.at(index)).map(|entry| What::Whole.of(&entry)).collect();
        let lengths = |limit, singly| {
            groups(&requests, limit, singly).iter().map(|group| group.len()).collect::<Vec<_>>()
        };
        assert_eq!(lengths(1000, false), [2, 1, 2]);
        assert_eq!(lengths(1000, true), [1; 5]);
    }
}
