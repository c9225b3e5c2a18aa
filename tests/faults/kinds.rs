//! What may go wrong: the kinds of fault, the places where each policy can meet one.

use std::time::Duration;

use imapsim::{Fault, Place};

use super::policy::Policy;

/// When the fault is armed, and where it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the session begins.
    Start(Place),
    /// Between the last DELE and QUIT; the place is let pass so many times.
    Quit(Place, usize),
}

/// What a session meets on its way to QUIT.
pub const WAY: &[Place] = &[
    Place::Greeting,
    Place::Capability,
    Place::Login,
    Place::Other,
    Place::Select,
    Place::List,
    Place::Fetch(1),
    Place::Fetch(2),
    Place::Fetch(3),
    Place::Fetch(4),
    Place::Fetch(5),
    Place::Fetch(6),
    Place::Store,
    Place::Logout,
];

/// What the update meets behind QUIT: the first look, the deed, the second look.
pub fn update(policy: Policy) -> Vec<Moment> {
    use Place::{Copy, Expunge, Fetch, Logout, Move, Select, Status, Store};
    let (look, again) = (Moment::Quit(Fetch(0), 0), Moment::Quit(Fetch(0), 1));
    let at = |place| Moment::Quit(place, 0);
    match policy {
        Policy::Hide | Policy::Grace => vec![at(Store), at(Logout), look],
        Policy::Trash => vec![look, at(Store), at(Move), again, at(Logout), at(Select)],
        Policy::Archive => vec![look, at(Move), again],
        Policy::Flag => vec![look, at(Store), again],
        Policy::Expunge => vec![look, at(Store), at(Expunge), again],
        Policy::TrashByCopy => vec![look, at(Status), at(Copy), at(Store), at(Expunge), again, at(Logout)],
    }
}

/// What a login meets that carries out what is due, or what an earlier session left.
pub fn late(policy: Policy) -> Vec<Moment> {
    use Place::{Copy, Expunge, Fetch, List, Login, Logout, Move, Select, Status, Store};
    let own: &[Place] = match policy {
        Policy::TrashByCopy => &[Fetch(2), Fetch(3), Fetch(4), Fetch(5), Status, Copy, Store, Expunge],
        Policy::Expunge => &[Fetch(2), Store, Expunge],
        Policy::Flag => &[Fetch(2), Store],
        Policy::Trash | Policy::Archive | Policy::Grace | Policy::Hide => &[Fetch(2), Move],
    };
    let all = [Login, Select, List, Fetch(1), Logout].iter().chain(own);
    let mut moments: Vec<Moment> = all.map(|place| Moment::Start(*place)).collect();
    if policy == Policy::TrashByCopy {
        moments.push(Moment::Quit(Select, 0));
    }
    moments
}

/// Every kind.
pub fn all() -> Vec<Fault> {
    let mut faults = few();
    for raw in HOSTILE {
        faults.push(Fault::Raw(raw.to_vec()));
        faults.push(Fault::RawThenStall(raw.to_vec()));
    }
    faults.push(Fault::Raw(vec![b'('; 400]));
    faults.push(Fault::Raw([&b"* 1 FETCH "[..], &[b'('; 200_000]].concat()));
    faults.push(Fault::Raw(vec![b'x'; 1 << 20]));
    faults.push(Fault::Raw(random(64 * 1024)));
    faults
}

/// Those that real servers and networks have.
pub fn few() -> Vec<Fault> {
    vec![
        Fault::No(None),
        Fault::No(Some("UNAVAILABLE")),
        Fault::No(Some("LIMIT")),
        Fault::Bad,
        Fault::Bye,
        Fault::Eof,
        Fault::Stall,
        Fault::SplitEvery(1),
        Fault::Delay(Duration::from_millis(50)),
        Fault::TruncateLiteral(0),
        Fault::TruncateLiteral(7),
        Fault::WrongSize(-5),
        Fault::WrongSize(1000),
        Fault::UidValidityChange,
        Fault::UnsolicitedExpunge,
        Fault::MissingRow,
        Fault::NoAfterRows(2),
        Fault::EofAfterRows(2),
        Fault::EofAfterAction,
    ]
}

/// What a hostile or broken server may say instead of an answer. The three octets behind the huge
/// literal are the message's own: octets that were never in it cannot be told from it.
const HOSTILE: &[&[u8]] = &[
    b"* 1 FETCH (UID 1 BODY[] {500000000}\r\nSub",
    b"* 1 FETCH (UID 1 BODY[] {99999999999999999999}\r\n",
    b"* 1 FETCH (UID 1 BODY[] \"unended\r\n",
    b"* 1 FETCH (UID 4294967295 RFC822.SIZE 18446744073709551616)\r\n",
    b"* 4294967295 EXISTS\r\n* 1 EXPUNGE\r\n",
    b"* OK [ALERT]\xc3\xa9\r\n* 1 FETCH (INTERNALDATE NIL)\r\n",
    b"* BYE too busy\r\n",
    b"\0\0\0\0\r\n\r\n+\r\n* \r\n*\r\n",
    b"A0001 OK done\r\nA0002 OK done\r\nP0 OK done\r\nP1 OK done\r\nP2 OK done\r\n",
];

/// Octets without a pattern, the same in each run (xorshift).
fn random(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}
