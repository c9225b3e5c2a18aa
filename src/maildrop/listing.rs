//! The frozen listing: numbers, sizes and marks of one session.

use super::error::Error;
use crate::ids::{MessageNumber, Octets, Uid};

/// One message as it stands in the listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Which of the maildrop's folders it is in, counted from 0.
    pub folder: usize,
    pub uid: Uid,
    /// Counted if it ever was sent whole, else RFC822.SIZE.
    pub size: Octets,
}

/// Flat, so that a listing costs 16 octets a message.
#[derive(Debug, Clone, Copy)]
struct Slot {
    size: Octets,
    uid: Uid,
    folder: u16,
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
        Entry { folder: usize::from(self.folder), uid: self.uid, size: self.size }
    }
}

/// The messages of one session. Numbers never move.
#[derive(Debug, Default)]
pub struct Listing {
    slots: Vec<Slot>,
    recounted: Vec<Entry>,
}

impl Listing {
    /// Puts a folder's messages, ascending by UID, behind those that are there.
    pub fn append(&mut self, folder: u16, messages: impl ExactSizeIterator<Item = (Uid, Octets)>) {
        self.slots.reserve_exact(messages.len());
        self.slots.extend(messages.map(|(uid, size)| Slot {
            size,
            uid,
            folder,
            deleted: false,
            sent: Sent::No,
        }));
    }

    /// How many messages there are, marked ones included.
    pub fn count(&self) -> usize {
        self.slots.len()
    }

    /// The message of this number, unless it is marked deleted.
    pub fn get(&self, number: MessageNumber) -> Result<Entry, Error> {
        match self.slots.get(number.index()) {
            None => Err(Error::NoSuchMessage),
            Some(slot) if slot.deleted => Err(Error::Deleted),
            Some(slot) => Ok(slot.entry()),
        }
    }

    /// The message at `index`, marked or not.
    pub fn at(&self, index: usize) -> Option<Entry> {
        self.slots.get(index).map(Slot::entry)
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
                self.recounted.push(Entry { size: octets, ..slot.entry() });
            }
        }
    }

    /// What is marked deleted in a folder, by ascending UID.
    pub fn deleted(&self, folder: usize) -> Vec<Uid> {
        self.marked(folder, |slot| slot.deleted)
    }

    /// What was retrieved from a folder, by ascending UID.
    pub fn retrieved(&self, folder: usize) -> Vec<Uid> {
        self.marked(folder, |slot| slot.sent == Sent::ByRetr)
    }

    /// What a client has that says it is done: retrieved, or sent whole and deleted.
    pub fn read(&self, folder: usize) -> Vec<Uid> {
        self.marked(folder, |slot| slot.sent == Sent::ByRetr || (slot.sent == Sent::ByTop && slot.deleted))
    }

    /// Sizes that were counted otherwise than they are listed.
    pub fn take_recounted(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.recounted)
    }

    fn marked(&self, folder: usize, mark: impl Fn(&Slot) -> bool) -> Vec<Uid> {
        let here = self.slots.iter().filter(|slot| usize::from(slot.folder) == folder);
        here.filter(|slot| mark(slot)).map(|slot| slot.uid).collect()
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

    fn messages(uids: &[u32]) -> Vec<(Uid, Octets)> {
        uids.iter().map(|&number| (uid(number), Octets(u64::from(number) * 10))).collect()
    }

    #[test]
    fn folders_follow_one_another() {
        let mut listing = Listing::default();
        listing.append(0, messages(&[3, 4]).into_iter());
        listing.append(1, messages(&[3]).into_iter());
        assert_eq!(listing.stat(), (3, Octets(100)));
        assert_eq!(listing.get(number(3)).map(|entry| (entry.folder, entry.uid)).ok(), Some((1, uid(3))));
        listing.delete(number(1)).expect("there");
        listing.delete(number(3)).expect("there");
        assert_eq!((listing.deleted(0), listing.deleted(1)), (vec![uid(3)], vec![uid(3)]));
    }

    #[test]
    fn impossible_sizes_do_not_overflow() {
        let mut listing = Listing::default();
        listing.append(0, [1, 2, 3].map(|number| (uid(number), Octets(u64::MAX))).into_iter());
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
            let mut listing = Listing::default();
            listing.append(0, messages(&uids).into_iter());
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
