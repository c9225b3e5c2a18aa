//! Servers' oddities that every command keeps clear of, each with its reason.

use crate::ids::Uid;

/// A UID set's length in octets: Yahoo and UW refuse lines over 1,000, others over 8,000.
/// The least serves all, since runs of neighbours are written as ranges.
const MAX_SET: usize = 900;

/// Asked for in a partial fetch that means "the rest": several servers compute with 32 bits
/// with a sign.
pub const REST: u32 = 2_000_000_000;

/// Writes UIDs, which must ascend, as sets of at most 900 octets.
///
/// Only what was listed is named: ranges join neighbours in value, never over a gap, since
/// GNU imap4d applies a command on a missing UID to another message.
pub fn uid_sets(uids: &[Uid]) -> Vec<String> {
    let mut sets = Vec::new();
    let mut set = String::new();
    let mut index = 0;
    while index < uids.len() {
        let first = uids[index];
        let mut last = first;
        while let Some(next) = uids.get(index + 1).filter(|next| next.get() == last.get().wrapping_add(1)) {
            last = *next;
            index += 1;
        }
        index += 1;
        let range = if first == last { first.to_string() } else { format!("{first}:{last}") };
        if !set.is_empty() && set.len() + 1 + range.len() > MAX_SET {
            sets.push(std::mem::take(&mut set));
        }
        if !set.is_empty() {
            set.push(',');
        }
        set.push_str(&range);
    }
    if !set.is_empty() {
        sets.push(set);
    }
    sets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uids(numbers: &[u32]) -> Vec<Uid> {
        numbers.iter().filter_map(|&number| Uid::new(number)).collect()
    }

    #[test]
    fn neighbours_become_ranges() {
        assert_eq!(uid_sets(&uids(&[1, 2, 3, 5, 9, 10])), ["1:3,5,9:10"]);
        assert_eq!(uid_sets(&uids(&[4_294_967_294, 4_294_967_295])), ["4294967294:4294967295"]);
        assert!(uid_sets(&[]).is_empty());
    }

    #[test]
    fn long_sets_are_split() {
        let odd: Vec<u32> = (0..1000).map(|index| index * 2 + 1).collect();
        let sets = uid_sets(&uids(&odd));
        assert!(sets.len() > 1 && sets.iter().all(|set| set.len() <= MAX_SET));
        let again: usize = sets.iter().map(|set| set.split(',').count()).sum();
        assert_eq!(again, 1000);
    }
}
