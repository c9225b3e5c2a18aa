//! Which message of a mailbox that was made anew is which of before.
//!
//! A wrong pair is worse than none: the client would take mail that it has never seen for mail
//! that it has. So headers come before sizes (a server that counts otherwise shifts one message's
//! size onto another's), and what is not certain stays unmatched.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;

use crate::fingerprint::Key;
use crate::ids::{Octets, Uid};

/// An old UID and the new one.
type Pair = (Uid, Uid);

/// Pairs messages out of two groups that are equal in something, each by ascending UID.
type Rule = fn(&[&Key], &[&Key]) -> Vec<Pair>;

/// Pairs old messages with new ones, by ascending new UID; none is in two pairs.
///
/// The rules are tried strictest first, each over what the ones before it have left. The order of
/// the slices does not matter. UIDs are unique in a mailbox; one that is not counts once.
///
/// The old messages in `doomed` may have left before: of messages that are alike, they are the
/// last to be found again.
pub fn matched(old: &[Key], new: &[Key], doomed: &HashSet<Uid>) -> Vec<Pair> {
    let mut state = Matching { old: by_uid(old), new: by_uid(new), pairs: Vec::new() };
    state.old.sort_by_key(|key| doomed.contains(&key.uid));
    // The server's own word. The same id several times is the same content several times.
    state.pair(|key| key.object_id.as_deref().filter(|id| !id.is_empty()), if_not_contradicted);
    // From here on a message without a header would only be told by its size: that is a guess.
    let header = |key: &Key| (!key.fingerprint.is_blank()).then_some(key.fingerprint.header);
    state.pair(header, if_unique);
    // Identical twins: whichever is which, the client sees the same.
    state.pair(|key| Some((header(key)?, key.size.0)), in_order);
    // Twins whose size is counted otherwise now; a different number says that some are others.
    state.pair(|key| Some((header(key)?, key.fingerprint.identity?)), if_as_many);
    // The server shows another header now, and says by the size that the message is the same.
    state.pair(|key| key.fingerprint.identity, by_size);
    state.pairs.sort_unstable_by_key(|pair| pair.1);
    state.pairs
}

/// What is still unmatched, by ascending UID, and what is matched.
struct Matching<'a> {
    old: Vec<&'a Key>,
    new: Vec<&'a Key>,
    pairs: Vec<Pair>,
}

impl<'a> Matching<'a> {
    /// Groups what is left by `what`, leaves out where that is `None`, and pairs by `rule`.
    fn pair<K: Eq + Hash>(&mut self, what: impl Fn(&'a Key) -> Option<K>, rule: Rule) {
        let mut groups: HashMap<K, (Vec<&Key>, Vec<&Key>)> = HashMap::new();
        for &key in &self.old {
            if let Some(group) = what(key) {
                groups.entry(group).or_default().0.push(key);
            }
        }
        for &key in &self.new {
            // A group without an old message pairs nothing.
            if let Some(group) = what(key).and_then(|group| groups.get_mut(&group)) {
                group.1.push(key);
            }
        }
        let found: Vec<Pair> = groups.values().flat_map(|(old, new)| rule(old, new)).collect();
        let (old, new): (HashSet<Uid>, HashSet<Uid>) = found.iter().copied().unzip();
        self.old.retain(|key| !old.contains(&key.uid));
        self.new.retain(|key| !new.contains(&key.uid));
        self.pairs.extend(found);
    }
}

fn by_uid(keys: &[Key]) -> Vec<&Key> {
    let mut sorted: Vec<&Key> = keys.iter().collect();
    sorted.sort_by_key(|key| key.uid);
    sorted.dedup_by_key(|key| key.uid);
    sorted
}

/// As many as the smaller side has.
fn in_order(old: &[&Key], new: &[&Key]) -> Vec<Pair> {
    old.iter().zip(new).map(|(old, new)| (old.uid, new.uid)).collect()
}

/// In order, where the headers, as far as they are known, do not say that it is another message: a
/// server that numbers its ids anew gives them to others.
fn if_not_contradicted(old: &[&Key], new: &[&Key]) -> Vec<Pair> {
    let agree = |(old, new): &(&&Key, &&Key)| {
        let (old, new) = (&old.fingerprint, &new.fingerprint);
        let same = match (old.identity, new.identity) {
            (Some(old), Some(new)) => old == new,
            _ => old.header == new.header,
        };
        same || old.is_blank() || new.is_blank()
    };
    old.iter().zip(new).filter(agree).map(|(old, new)| (old.uid, new.uid)).collect()
}

fn if_unique(old: &[&Key], new: &[&Key]) -> Vec<Pair> {
    if old.len() == 1 && new.len() == 1 { in_order(old, new) } else { Vec::new() }
}

fn if_as_many(old: &[&Key], new: &[&Key]) -> Vec<Pair> {
    if old.len() == new.len() { in_order(old, new) } else { Vec::new() }
}

/// The sizes that are unique on both sides, in copies of one message that came different ways.
///
/// Only where the side with fewer copies finds all its sizes on the other: else sizes have changed,
/// and one that is equal may be equal by accident.
fn by_size(old: &[&Key], new: &[&Key]) -> Vec<Pair> {
    let mut sizes: BTreeMap<Octets, (Vec<&Key>, Vec<&Key>)> = BTreeMap::new();
    for &key in old {
        sizes.entry(key.size).or_default().0.push(key);
    }
    for &key in new {
        sizes.entry(key.size).or_default().1.push(key);
    }
    let fewer = old.len().min(new.len());
    let common: usize = sizes.values().map(|(old, new)| old.len().min(new.len())).sum();
    if common < fewer {
        return Vec::new();
    }
    sizes.values().flat_map(|(old, new)| if_unique(old, new)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::Fingerprint;
    use proptest::prelude::*;

    fn matched(old: &[Key], new: &[Key]) -> Vec<Pair> {
        super::matched(old, new, &HashSet::new())
    }

    #[test]
    fn a_twin_that_stayed_is_not_one_that_was_removed() {
        let old = [mail(1, 9, 1, 1), mail(2, 9, 1, 1), mail(3, 9, 1, 1)];
        let uid = |number: u32| Uid::new(number).expect("not zero");
        let doomed = HashSet::from([uid(1), uid(2)]);
        assert_eq!(super::matched(&old, &[mail(1, 9, 1, 1)], &doomed), [(uid(3), uid(1))]);
        let new = [mail(4, 9, 1, 1), mail(5, 9, 1, 1), mail(6, 9, 1, 1)];
        assert_eq!(super::matched(&old, &new, &doomed).len(), 3);
    }

    fn key(uid: u32, size: u64, header: &str) -> Key {
        let fingerprint = Fingerprint::of(header.as_bytes());
        Key { uid: Uid::new(uid).expect("not zero"), size: Octets(size), object_id: None, fingerprint }
    }

    /// A copy of message `id`, which came by `way`.
    fn mail(uid: u32, size: u64, id: u32, way: u32) -> Key {
        key(uid, size, &format!("Received: {way}\nMessage-ID: <{id}@x>\nDate: today\nSubject: hello\n"))
    }

    fn with_id(key: Key, id: &str) -> Key {
        Key { object_id: Some(id.to_owned()), ..key }
    }

    fn pairs(old: &[Key], new: &[Key]) -> Vec<(u32, u32)> {
        matched(old, new).into_iter().map(|(old, new)| (old.get(), new.get())).collect()
    }

    #[test]
    fn object_ids_come_first() {
        // Twins by all else, and one whose header has changed.
        let old = [with_id(mail(1, 10, 1, 0), "a"), with_id(mail(2, 10, 1, 0), "b"), mail(3, 10, 3, 0)];
        let new = [with_id(mail(7, 10, 1, 0), "b"), with_id(mail(8, 11, 1, 9), "a"), mail(9, 10, 3, 0)];
        assert_eq!(pairs(&old, &new), [(2, 7), (1, 8), (3, 9)]);
        // Ids that are enough, so that no header was asked for.
        let unread = [with_id(key(7, 0, ""), "b"), with_id(key(8, 0, ""), "a")];
        assert_eq!(pairs(&old, &unread), [(2, 7), (1, 8)]);
        // The same ids for other messages.
        let new = [with_id(mail(7, 10, 2, 0), "a"), with_id(key(8, 10, "Subject: b"), "b")];
        assert_eq!(pairs(&old, &new), []);
        // Ids that were made anew as well say nothing, nor do empty ones.
        let old = [with_id(mail(1, 10, 1, 0), "a"), with_id(mail(2, 10, 2, 0), "")];
        let new = [with_id(mail(7, 10, 2, 0), ""), with_id(mail(8, 10, 1, 0), "z")];
        assert_eq!(pairs(&old, &new), [(2, 7), (1, 8)]);
        let same = |uid| with_id(mail(uid, u64::from(uid), 1, 0), "same");
        assert_eq!(pairs(&[same(3), same(1), same(2)], &[same(9), same(8)]), [(1, 8), (2, 9)]);
    }

    #[test]
    fn headers_come_before_sizes() {
        // Each size has become the next one's; the copies of one message differ in their header.
        let old = [mail(1, 10, 1, 1), mail(2, 12, 1, 2), mail(3, 14, 2, 0)];
        let new = [mail(7, 12, 1, 1), mail(8, 14, 1, 2), mail(9, 10, 2, 0)];
        assert_eq!(pairs(&old, &new), [(1, 7), (2, 8), (3, 9)]);
        // One copy has gone, and the other has come to its size.
        assert_eq!(pairs(&old[..2], &new[..1]), [(1, 7)]);
        // All of it where every header has changed, too: better nothing than the wrong one.
        let new = [mail(7, 12, 1, 3), mail(8, 14, 1, 4)];
        assert_eq!(pairs(&old[..2], &new), []);
        // Equal sizes alone are no reason at all.
        assert_eq!(pairs(&[mail(1, 10, 1, 0)], &[mail(1, 10, 2, 0)]), []);
    }

    #[test]
    fn a_changed_header_is_forgiven_where_identity_and_size_agree() {
        assert_eq!(pairs(&[mail(1, 10, 1, 0)], &[mail(2, 10, 1, 9)]), [(1, 2)]);
        assert_eq!(pairs(&[mail(1, 10, 1, 0)], &[mail(2, 11, 1, 9)]), []);
        let old = [mail(1, 10, 1, 1), mail(2, 12, 1, 2), mail(3, 12, 1, 3)];
        let new = [mail(7, 12, 1, 7), mail(8, 12, 1, 8), mail(9, 10, 1, 9)];
        assert_eq!(pairs(&old, &new), [(1, 9)]);
        // One of several has gone.
        assert_eq!(pairs(&old[..2], &new[..1]), [(2, 7)]);
        let other = |uid, way| key(uid, 10, &format!("Received: {way}\nDate: today\n"));
        assert_eq!(pairs(&[other(1, 1)], &[other(1, 2)]), [], "no Message-ID, no identity");
    }

    #[test]
    fn a_changed_size_is_forgiven_where_the_header_agrees() {
        assert_eq!(pairs(&[mail(1, 10, 1, 0)], &[mail(2, 11, 1, 0)]), [(1, 2)]);
        let plain = |uid, size| key(uid, size, "Subject: cron\n");
        assert_eq!(pairs(&[plain(1, 10)], &[plain(2, 11)]), [(1, 2)]);
        assert_eq!(pairs(&[plain(1, 10), plain(2, 12)], &[plain(3, 12), plain(4, 13)]), [(2, 3)]);
    }

    #[test]
    fn twins_pair_in_order() {
        let twin = |uid| mail(uid, 10, 1, 0);
        assert_eq!(pairs(&[twin(2), twin(1), twin(3)], &[twin(9), twin(8)]), [(1, 8), (2, 9)]);
        assert_eq!(pairs(&[twin(1)], &[twin(9), twin(8)]), [(1, 8)]);
        // The size tells them apart, whatever the order.
        let sized = |uid, size| mail(uid, size, 1, 0);
        assert_eq!(pairs(&[sized(1, 10), sized(2, 12)], &[sized(3, 12), sized(4, 10)]), [(2, 3), (1, 4)]);
        // All are counted otherwise: as many as there were, or it is a guess.
        let (old, new) = ([sized(1, 10), sized(2, 12)], [sized(3, 20), sized(4, 22), sized(5, 24)]);
        assert_eq!(pairs(&old, &new[..2]), [(1, 3), (2, 4)]);
        assert_eq!(pairs(&old, &new), []);
    }

    #[test]
    fn no_header_no_pair() {
        let blank = |uid| key(uid, 10, "Status: RO\n\n");
        assert_eq!(pairs(&[blank(1)], &[blank(2)]), []);
        assert_eq!(pairs(&[with_id(blank(1), "a")], &[with_id(blank(2), "a")]), [(1, 2)]);
        assert_eq!(pairs(&[], &[blank(1)]), []);
    }

    #[test]
    fn a_big_mailbox_is_no_work() {
        // Quadratic would take minutes: a third are twins of one message, a third have one identity.
        let make = |uid: u32| match uid % 3 {
            0 => mail(uid, u64::from(uid), uid, 0),
            1 => mail(uid, 10, 0, 0),
            _ => mail(uid, u64::from(uid), 1, uid),
        };
        let old: Vec<Key> = (1..=100_000).map(make).collect();
        let new: Vec<Key> = old.iter().rev().cloned().collect();
        let found = matched(&old, &new);
        assert!(found.len() == old.len() && found.iter().all(|(old, new)| old == new));
    }

    /// A few kinds of messages, so that all that can be equal is.
    fn any_key() -> impl Strategy<Value = Key> {
        let id = prop::option::weighted(0.3, "[ab]?");
        let header = prop_oneof![Just(String::new()), "[SD]: [ab]", "Message-ID: [ab]\n(S: [ab])?"];
        (1u64..4, id, header).prop_map(|(size, id, header)| Key { object_id: id, ..key(1, size, &header) })
    }

    fn any_mailbox() -> impl Strategy<Value = Vec<Key>> {
        let numbered = |keys: Vec<Key>| (1..).zip(keys).map(|(uid, key)| numbered(key, uid)).collect();
        prop::collection::vec(any_key(), 0..12).prop_map(numbered)
    }

    fn numbered(key: Key, uid: u32) -> Key {
        Key { uid: Uid::new(uid).expect("not zero"), ..key }
    }

    proptest! {
        #[test]
        fn injective_justified_and_whatever_the_order(
            (old, new, old_again, new_again) in (any_mailbox(), any_mailbox()).prop_flat_map(|(old, new)| {
                (Just(old.clone()), Just(new.clone()), Just(old).prop_shuffle(), Just(new).prop_shuffle())
            }),
        ) {
            let found = matched(&old, &new);
            prop_assert_eq!(&matched(&old_again, &new_again), &found);
            prop_assert!(found.is_sorted_by(|a, b| a.1 < b.1));
            let (left, right): (HashSet<Uid>, HashSet<Uid>) = found.iter().copied().unzip();
            prop_assert_eq!((left.len(), right.len()), (found.len(), found.len()));
            let of = |keys: &[Key], uid: Uid| keys.iter().find(|key| key.uid == uid).cloned();
            for (a, b) in found {
                let (a, b) = (of(&old, a).expect("an old one"), of(&new, b).expect("a new one"));
                let (one, other) = (&a.fingerprint, &b.fingerprint);
                let same_id = a.object_id.is_some() && a.object_id == b.object_id;
                let same_size = a.size == b.size && one.identity.is_some() && one.identity == other.identity;
                prop_assert!(same_id || same_size || (one.header == other.header && !one.is_blank()));
            }
        }

        #[test]
        fn distinct_messages_all_find_themselves(
            (old, new) in (1u32..60).prop_flat_map(|count| {
                let all = || Just((1..=count).collect::<Vec<u32>>()).prop_shuffle();
                ((0..=count as usize, all()), (0..=count as usize, all()))
            }).prop_map(|((kept, mut old), (came, mut new))| {
                // What is in the one and not in the other was removed or has come.
                old.truncate(kept);
                new.truncate(came);
                (old, new)
            }),
            sizes in 1u64..5,
            shift in 0u64..3,
        ) {
            // Some by their Message-ID, some by nothing but a subject; sizes collide and shift.
            let message = |uid: u32, id: u32, shift: u64| {
                let size = u64::from(id) % sizes + shift;
                if id.is_multiple_of(2) { mail(uid, size, id, 0) } else { key(uid, size, &format!("Subject: {id}")) }
            };
            let mailbox = |ids: &[u32], shift: u64| -> Vec<Key> {
                (1..).zip(ids).map(|(uid, &id)| message(uid, id, shift)).collect()
            };
            let old_uid = |id: &u32| (1..).zip(&old).find(|(_, other)| *other == id).map(|(uid, _)| uid);
            let expected: Vec<(u32, u32)> =
                (1..).zip(&new).filter_map(|(uid, id)| Some((old_uid(id)?, uid))).collect();
            prop_assert_eq!(pairs(&mailbox(&old, 0), &mailbox(&new, shift)), expected);
        }
    }
}
