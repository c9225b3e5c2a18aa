//! The frozen listing: numbers, sizes and marks of one session.

use super::error::Error;
use crate::ids::{MessageNumber, Octets, Uid};
use crate::upstream::Row;

/// One message as it stands in the listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub uid: Uid,
    /// Counted if it ever was sent whole, else RFC822.SIZE.
    pub size: Octets,
}

/// Flat, so that a listing costs 16 octets a message.
#[derive(Debug, Clone, Copy)]
struct Slot {
    size: Octets,
    uid: Uid,
    deleted: bool,
    sent: Sent,
}

/// How much of a message the client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Not all of it.
    No,
    /// All of it, by TOP: as fetchmail does to leave \Seen alone.
    ByTop,
    /// All of it, by RETR.
    ByRetr,
}

impl Slot {
    fn entry(&self) -> Entry {
        Entry { uid: self.uid, size: self.size }
    }
}

/// The messages of one session. Numbers never move.
#[derive(Debug)]
pub struct Listing {
    slots: Vec<Slot>,
    recounted: Vec<(Uid, Octets)>,
}

/// Notes in the store about messages that are gone.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Stale {
    pub hidden: Vec<Uid>,
    pub counted: Vec<Uid>,
}

impl Listing {
    /// Freezes the upstream's rows without the hidden ones, with counted sizes where there are.
    /// All three ascend by UID.
    pub fn freeze(rows: &[Row], hidden: &[Uid], counted: &[(Uid, Octets)]) -> (Self, Stale) {
        let mut stale = Stale::default();
        let mut hidden = Ascending::new(hidden, |uid| *uid);
        let mut counted = Ascending::new(counted, |(uid, _)| *uid);
        let mut slots = Vec::with_capacity(rows.len().saturating_sub(hidden.rest.len()));
        for row in rows {
            let is_hidden = hidden.seek(row.uid, &mut stale.hidden).is_some();
            let size = counted.seek(row.uid, &mut stale.counted).map_or(row.size, |(_, octets)| *octets);
            if !is_hidden {
                slots.push(Slot { uid: row.uid, size, deleted: false, sent: Sent::No });
            }
        }
        stale.hidden.extend(hidden.rest.iter());
        stale.counted.extend(counted.rest.iter().map(|(uid, _)| *uid));
        let listing = Self { slots, recounted: Vec::new() };
        (listing, stale)
    }

    /// The message of this number, unless it is marked deleted.
    pub fn get(&self, number: MessageNumber) -> Result<Entry, Error> {
        match self.slots.get(number.index()) {
            None => Err(Error::NoSuchMessage),
            Some(slot) if slot.deleted => Err(Error::Deleted),
            Some(slot) => Ok(slot.entry()),
        }
    }

    /// Messages and octets that are not marked deleted (RFC 1939 §5, STAT).
    pub fn stat(&self) -> (usize, Octets) {
        let kept = || self.slots.iter().filter(|slot| !slot.deleted);
        (kept().count(), kept().map(|slot| slot.size).sum())
    }

    /// The first message from index `from` on that is not marked deleted, with its number.
    pub fn next_from(&self, from: usize) -> Option<(MessageNumber, Entry)> {
        let rest = self.slots.get(from..)?;
        let index = from + rest.iter().position(|slot| !slot.deleted)?;
        Some((MessageNumber::from_index(index)?, self.slots[index].entry()))
    }

    /// Marks a message deleted (RFC 1939 §5, DELE).
    pub fn delete(&mut self, number: MessageNumber) -> Result<(), Error> {
        self.get(number)?;
        self.slots[number.index()].deleted = true;
        Ok(())
    }

    /// Takes all marks back (RFC 1939 §5, RSET).
    pub fn reset(&mut self) {
        for slot in &mut self.slots {
            slot.deleted = false;
        }
    }

    /// Notes that a message was sent whole and what was counted.
    pub fn sent(&mut self, number: MessageNumber, how: Sent, octets: Octets) {
        if let Some(slot) = self.slots.get_mut(number.index()) {
            if slot.sent != Sent::ByRetr {
                slot.sent = how;
            }
            if slot.size != octets {
                self.recounted.push((slot.uid, octets));
            }
        }
    }

    /// What is marked deleted, by ascending UID.
    pub fn deleted(&self) -> Vec<Uid> {
        self.marked(|slot| slot.deleted)
    }

    /// What was retrieved, by ascending UID.
    pub fn retrieved(&self) -> Vec<Uid> {
        self.marked(|slot| slot.sent == Sent::ByRetr)
    }

    /// What a client has that says it is done: retrieved, or sent whole and deleted.
    pub fn read(&self) -> Vec<Uid> {
        self.marked(|slot| slot.sent == Sent::ByRetr || (slot.sent == Sent::ByTop && slot.deleted))
    }

    /// Sizes that were counted otherwise than they are listed.
    pub fn take_recounted(&mut self) -> Vec<(Uid, Octets)> {
        std::mem::take(&mut self.recounted)
    }

    fn marked(&self, mark: impl Fn(&Slot) -> bool) -> Vec<Uid> {
        self.slots.iter().filter(|slot| mark(slot)).map(|slot| slot.uid).collect()
    }
}

/// Walks a sorted list beside another.
struct Ascending<'a, T> {
    rest: &'a [T],
    key: fn(&T) -> Uid,
}

impl<'a, T> Ascending<'a, T> {
    fn new(rest: &'a [T], key: fn(&T) -> Uid) -> Self {
        Self { rest, key }
    }

    /// The item for `uid`; items before it go to `passed`.
    fn seek(&mut self, uid: Uid, passed: &mut Vec<Uid>) -> Option<&'a T> {
        while let Some((first, rest)) = self.rest.split_first() {
            let key = (self.key)(first);
            if key > uid {
                return None;
            }
            self.rest = rest;
            if key == uid {
                return Some(first);
            }
            passed.push(key);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn uid(number: u32) -> Uid {
        Uid::new(number).expect("not zero")
    }

    fn number(number: usize) -> MessageNumber {
        MessageNumber::from_index(number - 1).expect("small")
    }

    fn row(number: u32, size: u64) -> Row {
        Row { uid: uid(number), size: Octets(size), internal_date: 0, seen: false }
    }

    fn rows(uids: &[u32]) -> Vec<Row> {
        uids.iter().map(|&number| row(number, u64::from(number) * 10)).collect()
    }

    #[test]
    fn hidden_ones_are_left_out_and_counted_sizes_win() {
        let hidden = [uid(1), uid(4), uid(9)];
        let counted = [(uid(2), Octets(1)), (uid(5), Octets(52))];
        let (listing, stale) = Listing::freeze(&rows(&[3, 4, 5]), &hidden, &counted);
        assert_eq!(listing.stat(), (2, Octets(30 + 52)));
        assert_eq!(listing.get(number(2)).map(|entry| entry.uid).ok(), Some(uid(5)));
        assert_eq!(stale, Stale { hidden: vec![uid(1), uid(9)], counted: vec![uid(2)] });
    }

    #[test]
    fn impossible_sizes_do_not_overflow() {
        let rows: Vec<Row> = (1..4).map(|number| row(number, u64::MAX)).collect();
        let (listing, _) = Listing::freeze(&rows, &[], &[]);
        assert_eq!(listing.stat(), (3, Octets(u64::MAX)));
    }

    #[test]
    fn a_listing_costs_little() {
        assert_eq!(size_of::<Slot>(), 16);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Dele(usize),
        Rset,
    }

    proptest! {
        #[test]
        fn marks_behave_as_in_a_naive_model(
            count in 0u32..8,
            steps in proptest::collection::vec(
                prop_oneof![4 => (1usize..10).prop_map(Step::Dele), 1 => Just(Step::Rset)], 0..30),
        ) {
            let uids: Vec<u32> = (1..=count).map(|index| index * 3).collect();
            let (mut listing, _) = Listing::freeze(&rows(&uids), &[], &[]);
            let mut model = vec![false; uids.len()];
            for step in steps {
                match step {
                    Step::Dele(at) => {
                        let expected = model.get(at - 1) == Some(&false);
                        prop_assert_eq!(listing.delete(number(at)).is_ok(), expected);
                        if let Some(deleted) = model.get_mut(at - 1) {
                            *deleted = true;
                        }
                    }
                    Step::Rset => {
                        listing.reset();
                        model.fill(false);
                    }
                }
                let kept: Vec<u32> = uids.iter().zip(&model).filter(|(_, gone)| !**gone).map(|(uid, _)| *uid).collect();
                let mut listed = Vec::new();
                let mut from = 0;
                while let Some((at, entry)) = listing.next_from(from) {
                    listed.push(entry.uid.get());
                    prop_assert_eq!(uids[at.index()], entry.uid.get());
                    from = at.index() + 1;
                }
                prop_assert_eq!(&listed, &kept);
                let octets: u64 = kept.iter().map(|uid| u64::from(*uid) * 10).sum();
                prop_assert_eq!(listing.stat(), (kept.len(), Octets(octets)));
            }
        }
    }
}
