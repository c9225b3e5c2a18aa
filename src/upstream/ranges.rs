//! UID sets as a server tells them: ranges, never written out, since `1:4294967295` is a set.

use crate::ids::{Uid, decimal};

/// From the first to the last, both included.
pub type Range = (u32, u32);

/// Ranges that are kept of what `VANISHED (EARLIER)` tells; of more, a search makes one short line.
const MAX_EARLIER: usize = 32_768;

/// The ranges of a set, in its own order; `None` for what is none.
pub fn ranges(set: &[u8]) -> impl Iterator<Item = Option<Range>> + '_ {
    set.split(|&octet| octet == b',').map(|range| {
        let mut ends = range.splitn(2, |&octet| octet == b':');
        let one = decimal(ends.next()?)?;
        let other = ends.next().map_or(Some(one), decimal)?;
        Some((one.min(other), one.max(other)))
    })
}

/// How many numbers ranges that do not meet have.
pub fn count(ranges: &[Range]) -> u64 {
    ranges.iter().map(|(first, last)| u64::from(last - first) + 1).sum()
}

/// Whether one of the ranges, which ascend and do not meet, has this one.
pub fn holds(ranges: &[Range], uid: Uid) -> bool {
    let before = ranges.partition_point(|(first, _)| *first <= uid.get());
    before.checked_sub(1).is_some_and(|at| uid.get() <= ranges[at].1)
}

/// The ranges in order, if none of them meet.
pub fn disjoint(mut ranges: Vec<Range>) -> Option<Vec<Range>> {
    ranges.sort_unstable();
    ranges.windows(2).all(|pair| pair[0].1 < pair[1].0).then_some(ranges)
}

/// How many messages `VANISHED` names that have just gone (RFC 7162 §3.2.10): none of them twice.
pub fn vanished(set: &[u8]) -> Option<u64> {
    ranges(set).try_fold(0_u64, |sum, range| {
        let (first, last) = range?;
        Some(sum + u64::from(last - first) + 1)
    })
}

/// What has gone since a mod-sequence, as `VANISHED (EARLIER)` tells it in one line or several.
#[derive(Debug, Default)]
pub struct Earlier {
    ranges: Vec<Range>,
    /// Something did not make sense or was too much: then nothing is known.
    garbled: bool,
}

impl Earlier {
    pub fn hear(&mut self, set: &[u8]) {
        for range in ranges(set) {
            match range {
                Some(range) if self.ranges.len() < MAX_EARLIER => self.ranges.push(range),
                _ => self.garbled = true,
            }
            if self.garbled {
                self.ranges = Vec::new();
                return;
            }
        }
    }

    /// How many ranges were told.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// In order, and none of them meet: a server may name one message more than once.
    pub fn finish(self) -> Option<Vec<Range>> {
        if self.garbled {
            return None;
        }
        let mut ranges = self.ranges;
        ranges.sort_unstable();
        ranges.dedup_by(|next, range| {
            let meet = next.0 <= range.1;
            if meet {
                range.1 = range.1.max(next.1);
            }
            meet
        });
        Some(ranges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn earlier(sets: &[&str]) -> Option<Vec<Range>> {
        let mut earlier = Earlier::default();
        for set in sets {
            earlier.hear(set.as_bytes());
        }
        earlier.finish()
    }

    #[test]
    fn what_has_gone_is_one_set() {
        assert_eq!(earlier(&[]), Some(vec![]));
        assert_eq!(earlier(&["41,43:116,118", "3"]), Some(vec![(3, 3), (41, 41), (43, 116), (118, 118)]));
        assert_eq!(earlier(&["9:1,5:12,12", "1:2,20"]), Some(vec![(1, 12), (20, 20)]));
        assert_eq!(earlier(&["1:4294967295"]), Some(vec![(1, u32::MAX)]));
    }

    #[test]
    fn what_does_not_make_sense_tells_nothing() {
        for wrong in ["", "1,", "1:*", "a", "1:2:3", "4294967296", "1 2", "-1"] {
            assert_eq!(earlier(&["7", wrong, "9"]), None, "{wrong}");
            assert_eq!(vanished(wrong.as_bytes()), None, "{wrong}");
        }
        let many: Vec<String> = (0..=MAX_EARLIER).map(|uid| uid.to_string()).collect();
        assert_eq!(earlier(&[&many.join(",")]), None);
        assert_eq!(earlier(&[&many[1..].join(",")]).map(|ranges| ranges.len()), Some(MAX_EARLIER));
    }

    #[test]
    fn the_largest_set_is_counted_at_once() {
        assert_eq!(vanished(b"1:4294967295"), Some(u64::from(u32::MAX)));
        assert_eq!(vanished(b"405,407,410:412"), Some(5));
    }

    #[test]
    fn members_are_found() {
        let ranges = [(2, 4), (9, 9), (20, u32::MAX)];
        let held = |uid| Uid::new(uid).is_some_and(|uid| holds(&ranges, uid));
        let found: Vec<u32> =
            [1, 2, 4, 5, 8, 9, 10, 20, u32::MAX].into_iter().filter(|uid| held(*uid)).collect();
        assert_eq!(found, [2, 4, 9, 20, u32::MAX]);
        assert_eq!(count(&ranges), 3 + 1 + u64::from(u32::MAX) - 19);
    }

    proptest::proptest! {
        #[test]
        fn any_set_is_read_without_harm(set in proptest::collection::vec(
            proptest::sample::select(b"0123456789:,* ".to_vec()), 0..60,
        )) {
            let mut earlier = Earlier::default();
            earlier.hear(&set);
            if let Some(ranges) = earlier.finish() {
                proptest::prop_assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0));
                proptest::prop_assert!(vanished(&set).is_some_and(|sum| sum >= count(&ranges)));
            }
        }
    }
}
