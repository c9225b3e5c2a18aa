//! What may go wrong: the kinds of fault, the places where each policy can meet one.

use std::time::Duration;

use imapsim::{Fault, Place};

use super::policy::Policy;

/// When the fault is armed, and where it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the session begins; the place is let pass so many times.
    Start(Place, usize),
    /// The same between the last DELE and QUIT.
    Quit(Place, usize),
}

/// Where a session was cut off behind QUIT, and whether what it asked for was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    pub place: Place,
    pub done: bool,
}

/// How the connection waits that a session takes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nothing was begun.
    Silent,
    /// In IDLE.
    Idle,
    /// In IDLE, and the server tells nothing of what happens meanwhile.
    Mute,
    /// It was killed.
    Killed,
}

/// What a session meets that takes up a connection; places are counted from there, so that FETCH
/// has no numbers of its own.
pub fn kept() -> Vec<(Policy, Kept, bool, Vec<Moment>)> {
    use Place::{Done, Fetch, Greeting, Login, Search, Select, Store};
    let start = |places: &[(Place, usize)]| -> Vec<Moment> {
        places.iter().map(|(place, skip)| Moment::Start(*place, *skip)).collect()
    };
    // The listing is known: the first FETCH is of a message, others are on their way behind it.
    let silent = start(&[(Select, 0), (Fetch(0), 0), (Fetch(0), 1), (Fetch(0), 2), (Store, 0)]);
    let all = start(&[(Done, 0), (Select, 0), (Fetch(0), 0), (Search, 0), (Fetch(0), 1)]);
    vec![
        (Policy::Trash, Kept::Silent, false, [silent, update(Policy::Trash)].concat()),
        (Policy::Hide, Kept::Idle, true, all.clone()),
        (Policy::Hide, Kept::Mute, true, all),
        (Policy::Trash, Kept::Mute, false, start(&[(Done, 0), (Select, 0)])),
        (Policy::Trash, Kept::Killed, false, start(&[(Greeting, 0), (Login, 0), (Select, 0), (Fetch(0), 0)])),
        (Policy::Hide, Kept::Killed, true, start(&[(Login, 0), (Select, 0), (Fetch(0), 0), (Search, 0)])),
    ]
}

/// What a session meets on its way to QUIT; `List` where the policy needs a folder.
pub const WAY: &[Place] = &[
    Place::Greeting,
    Place::Login,
    Place::Other,
    Place::Select,
    Place::Fetch(1),
    Place::Fetch(2),
    Place::Fetch(3),
    Place::Fetch(4),
    Place::Store,
    Place::Logout,
];

/// What a login meets whose cached listing is not that of the mailbox: the new, and what has gone.
pub const STALE: &[Place] = &[Place::Login, Place::Select, Place::Fetch(1), Place::Search, Place::Fetch(2)];

/// What the update meets behind QUIT: the first look, the deed, the second look.
pub fn update(policy: Policy) -> Vec<Moment> {
    use Place::{Copy, Expunge, Fetch, Logout, Move, Status, Store};
    let (look, again) = (Moment::Quit(Fetch(0), 0), Moment::Quit(Fetch(0), 1));
    let at = |place| Moment::Quit(place, 0);
    match policy {
        Policy::Hide | Policy::Grace => vec![at(Store), at(Logout)],
        Policy::Trash => vec![look, at(Store), at(Move), again, at(Logout)],
        Policy::Archive => vec![look, at(Move), again],
        Policy::Flag => vec![look, at(Store), again],
        Policy::Expunge => vec![look, at(Store), at(Expunge), again],
        Policy::TrashByCopy => vec![look, at(Status), at(Copy), at(Store), at(Expunge), again, at(Logout)],
    }
}

/// What a login meets that carries out what has become due.
pub const DUE: &[Moment] = &[
    Moment::Start(Place::Greeting, 0),
    Moment::Start(Place::Login, 0),
    Moment::Start(Place::Select, 0),
    Moment::Start(Place::Fetch(0), 0),
    Moment::Start(Place::Fetch(0), 1),
    Moment::Start(Place::Fetch(0), 2),
    Moment::Start(Place::Move, 0),
    Moment::Start(Place::List, 0),
    Moment::Start(Place::Logout, 0),
];

/// A policy, where its session is cut off, whether that was done, and what only then is met.
type Way<'a> = (Policy, Place, bool, &'a [(Place, usize)]);

/// Where sessions are cut off, and what the next login meets that makes up for it.
pub fn cuts() -> Vec<(Policy, Cut, Vec<Moment>)> {
    use Place::{Copy, Expunge, Fetch, Move, Select, Status, Store};
    let looks = [(Place::Login, 0), (Select, 0), (Fetch(0), 0), (Fetch(0), 1)];
    // The trash is looked at for copies, then INBOX is selected again.
    let find = [(Select, 1), (Select, 2), (Fetch(0), 2), (Fetch(0), 3)];
    let cases: &[Way] = &[
        (Policy::Trash, Move, false, &[(Move, 0), (Fetch(0), 2), (Place::List, 0)]),
        (Policy::Trash, Move, true, &[(Place::List, 0)]),
        (Policy::TrashByCopy, Copy, false, &[(Status, 0), (Copy, 0), (Store, 0), (Expunge, 0)]),
        (Policy::TrashByCopy, Copy, true, &[(Store, 0), (Expunge, 0)]),
        (Policy::TrashByCopy, Store, true, &[(Store, 0), (Expunge, 0)]),
        (Policy::TrashByCopy, Expunge, true, &[]),
        (Policy::Flag, Store, false, &[(Store, 0), (Fetch(0), 2)]),
        (Policy::Flag, Store, true, &[(Store, 0), (Fetch(0), 2)]),
        (Policy::Expunge, Store, true, &[(Store, 0), (Expunge, 0)]),
        (Policy::Expunge, Expunge, true, &[]),
    ];
    let each = |(policy, place, done, own): &Way| {
        let finds = *policy == Policy::TrashByCopy && *place != Expunge;
        let all = looks.iter().chain(*own).chain(if finds { &find[..] } else { &[] });
        let moments = all.map(|(place, skip)| Moment::Start(*place, *skip)).collect();
        (*policy, Cut { place: *place, done: *done }, moments)
    };
    cases.iter().map(each).collect()
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
    b"A0001 OK done\r\nA0002 OK done\r\nP0 OK done\r\nP1 OK done\r\nP2 OK done\r\nP3 OK done\r\n",
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
