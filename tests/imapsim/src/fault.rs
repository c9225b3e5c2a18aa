//! Faults: what goes wrong, and where.

use std::mem::discriminant;
use std::time::Duration;

/// Where a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The first line of a connection.
    Greeting,
    /// CAPABILITY.
    Capability,
    /// STARTTLS.
    StartTls,
    /// LOGIN and AUTHENTICATE.
    Login,
    /// The nth challenge of an AUTHENTICATE, counted from 1; only faults that replace the answer
    /// strike here.
    Challenge(u32),
    /// COMPRESS.
    Compress,
    /// SELECT and EXAMINE.
    Select,
    /// The nth FETCH or UID FETCH of the connection, counted from 1; 0 is any.
    Fetch(u32),
    /// SEARCH and UID SEARCH.
    Search,
    /// STORE and UID STORE.
    Store,
    /// COPY and UID COPY.
    Copy,
    /// MOVE and UID MOVE.
    Move,
    /// EXPUNGE and UID EXPUNGE.
    Expunge,
    /// NOOP and CHECK.
    Noop,
    /// LOGOUT.
    Logout,
    /// LIST and LSUB.
    List,
    /// STATUS.
    Status,
    /// APPEND.
    Append,
    /// IDLE.
    Idle,
    /// DONE, which ends IDLE; only faults that replace the answer strike here.
    Done,
    /// UNSELECT and CLOSE.
    Unselect,
    /// ENABLE.
    Enable,
    /// Every other command: ID, NAMESPACE, CREATE …
    Other,
}

/// What goes wrong.
///
/// One visit of a place uses up at most one fault that replaces the answer (`No` … `RawThenStall`)
/// and at most one of each kind that alters it; further ones wait for the next visit.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The command is not done and answered `NO`, with this response code (no brackets).
    No(Option<&'static str>),
    /// The command is not done and answered `BAD`.
    Bad,
    /// The command is not done and answered with these words behind the tag, as `NO Later.`
    Tagged(String),
    /// The same, and behind it `* BYE` and the end of the connection, as Exchange does it.
    TaggedThenBye(String),
    /// `* BYE`, then the connection ends.
    Bye,
    /// The connection ends without an answer.
    Eof,
    /// No answer ever; the connection stays open.
    Stall,
    /// These octets instead of the answer, then the connection ends.
    Raw(Vec<u8>),
    /// These octets instead of the answer, then silence.
    RawThenStall(Vec<u8>),
    /// The answer is written in pieces of so many octets.
    SplitEvery(usize),
    /// So long before the command is done.
    Delay(Duration),
    /// The command is done, and its tagged OK ends with `[THROTTLED]`, as Gmail's does.
    OkThrottled,
    /// So many octets of the first literal are sent, then the connection ends.
    TruncateLiteral(usize),
    /// RFC822.SIZE is off by this.
    WrongSize(i64),
    /// The mailbox gets a new UIDVALIDITY and new UIDs before the command is done; a session that
    /// has it open is ended with BYE.
    UidValidityChange,
    /// Another client removes the lowest message first, and `EXPUNGE` for it precedes the answer.
    UnsolicitedExpunge,
    /// The middle row of a FETCH is left out; the tagged answer is still OK.
    MissingRow,
    /// Tagged `NO` after so many rows of a FETCH.
    NoAfterRows(usize),
    /// The connection ends after so many rows of a FETCH.
    EofAfterRows(usize),
    /// The command is done, but the connection ends before its tagged answer.
    EofAfterAction,
    /// What was expunged before is not remembered: SELECT names all that is not there.
    HistoryForgotten,
    /// SELECT does not tell what has gone.
    VanishedMissing,
    /// SELECT says that everything has gone, also what is there.
    VanishedTotal,
    /// SELECT tells what has gone in a line of at least so many octets.
    VanishedLong(usize),
    /// SELECT tells a HIGHESTMODSEQ that is off by this.
    WrongModSeq(i64),
    /// SCRAM's server signature is not the password's.
    WrongSignature,
    /// SELECT tells NOMODSEQ in place of HIGHESTMODSEQ.
    NoModSeq,
}

impl Fault {
    fn replaces_answer(&self) -> bool {
        matches!(
            self,
            Self::No(_)
                | Self::Bad
                | Self::Tagged(_)
                | Self::TaggedThenBye(_)
                | Self::Bye
                | Self::Eof
                | Self::Stall
                | Self::Raw(_)
                | Self::RawThenStall(_)
        )
    }
}

/// The faults that are still to come.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    place: Place,
    fault: Fault,
    /// Visits of the place that it still lets pass.
    skip: usize,
    times: usize,
}

impl Faults {
    pub(crate) fn add(&mut self, place: Place, fault: Fault, times: usize) {
        self.add_behind(place, 0, fault, times);
    }

    pub(crate) fn add_behind(&mut self, place: Place, skip: usize, fault: Fault, times: usize) {
        if times > 0 {
            self.waiting.push(Waiting { place, fault, skip, times });
        }
    }

    pub(crate) fn left(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// The faults of this visit; each loses one of its times.
    pub(crate) fn take(&mut self, place: Place) -> Vec<Fault> {
        let mut taken: Vec<Fault> = Vec::new();
        for Waiting { place: at, fault, skip, times } in &mut self.waiting {
            let here = *at == place || matches!((*at, place), (Place::Fetch(0), Place::Fetch(_)));
            if here && *skip > 0 {
                *skip -= 1;
                continue;
            }
            let again = taken.iter().any(|other| {
                discriminant(other) == discriminant(fault)
                    || (other.replaces_answer() && fault.replaces_answer())
            });
            if here && !again {
                taken.push(fault.clone());
                if *times != usize::MAX {
                    *times -= 1;
                }
            }
        }
        self.waiting.retain(|waiting| waiting.times > 0);
        taken
    }
}

/// How the faults of one visit alter a command that is still done.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Stands instead of the answer.
    pub replacement: Option<Fault>,
    pub split: Option<usize>,
    pub delay: Option<Duration>,
    pub throttled: bool,
    pub truncate: Option<usize>,
    pub size_offset: i64,
    pub new_validity: bool,
    pub expunge: bool,
    pub missing_row: bool,
    pub no_after: Option<usize>,
    pub eof_after: Option<usize>,
    pub cut_tagged: bool,
    pub forget_history: bool,
    pub no_vanished: bool,
    pub total_vanished: bool,
    pub long_vanished: Option<usize>,
    pub modseq_offset: i64,
    pub no_modseq: bool,
    pub wrong_signature: bool,
}

impl From<Vec<Fault>> for Plan {
    fn from(faults: Vec<Fault>) -> Self {
        let mut plan = Self::default();
        for fault in faults {
            match fault {
                Fault::SplitEvery(octets) => plan.split = Some(octets.max(1)),
                Fault::Delay(time) => plan.delay = Some(time),
                Fault::OkThrottled => plan.throttled = true,
                Fault::TruncateLiteral(octets) => plan.truncate = Some(octets),
                Fault::WrongSize(offset) => plan.size_offset = offset,
                Fault::UidValidityChange => plan.new_validity = true,
                Fault::UnsolicitedExpunge => plan.expunge = true,
                Fault::MissingRow => plan.missing_row = true,
                Fault::NoAfterRows(rows) => plan.no_after = Some(rows),
                Fault::EofAfterRows(rows) => plan.eof_after = Some(rows),
                Fault::EofAfterAction => plan.cut_tagged = true,
                Fault::HistoryForgotten => plan.forget_history = true,
                Fault::VanishedMissing => plan.no_vanished = true,
                Fault::VanishedTotal => plan.total_vanished = true,
                Fault::VanishedLong(octets) => plan.long_vanished = Some(octets),
                Fault::WrongModSeq(offset) => plan.modseq_offset = offset,
                Fault::NoModSeq => plan.no_modseq = true,
                Fault::WrongSignature => plan.wrong_signature = true,
                other => plan.replacement = Some(other),
            }
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_used_up_in_turn() {
        let mut faults = Faults::default();
        faults.add(Place::Login, Fault::No(None), 1);
        faults.add(Place::Login, Fault::Eof, 1);
        faults.add(Place::Login, Fault::SplitEvery(3), usize::MAX);
        assert!(matches!(faults.take(Place::Login)[..], [Fault::No(None), Fault::SplitEvery(3)]));
        assert!(matches!(faults.take(Place::Login)[..], [Fault::Eof, Fault::SplitEvery(3)]));
        assert!(matches!(faults.take(Place::Login)[..], [Fault::SplitEvery(3)]));
        assert!(faults.take(Place::Select).is_empty());
    }

    #[test]
    fn visits_are_let_pass() {
        let mut faults = Faults::default();
        faults.add_behind(Place::Fetch(0), 1, Fault::Bad, 1);
        assert!(faults.take(Place::Fetch(4)).is_empty());
        assert_eq!(faults.take(Place::Fetch(5)).len(), 1);
        assert!(faults.take(Place::Fetch(6)).is_empty());
    }

    #[test]
    fn fetch_is_counted() {
        let mut faults = Faults::default();
        faults.add(Place::Fetch(2), Fault::Bad, 1);
        assert!(faults.take(Place::Fetch(1)).is_empty());
        assert_eq!(faults.take(Place::Fetch(2)).len(), 1);
        faults.add(Place::Fetch(0), Fault::Bad, 1);
        assert_eq!(faults.take(Place::Fetch(9)).len(), 1);
    }
}
