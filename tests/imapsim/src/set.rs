//! Sequence sets and UID sets, RFC 3501 §9.

/// `1,3:5,9:*` as ranges; `u32::MAX` stands for `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Set {
    ranges: Vec<(u32, u32)>,
}

const STAR: u32 = u32::MAX;

impl Set {
    /// `None` where the text is no set. Ranges may be given either way round.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut ranges = Vec::new();
        for part in text.split(',') {
            let (low, high) = match part.split_once(':') {
                Some((low, high)) => (number(low)?, number(high)?),
                None => (number(part)?, number(part)?),
            };
            ranges.push((low, high));
        }
        Some(Self { ranges })
    }

    /// A range is written with its larger end first.
    pub(crate) fn is_descending(&self) -> bool {
        self.ranges.iter().any(|(low, high)| low > high)
    }

    /// Some number is above `count`: an error in a sequence set, RFC 3501 §6.4.8 and §9.
    pub(crate) fn exceeds(&self, count: u32) -> bool {
        let over = |number: u32| {
            if number == STAR { count == 0 } else { number > count }
        };
        self.ranges.iter().any(|&(low, high)| over(low) || over(high))
    }

    /// The indexes of the members of `uids` (ascending) that are in the set, ascending, each once.
    pub(crate) fn indexes(&self, uids: &[u32]) -> Vec<usize> {
        let Some(&last) = uids.last() else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for (low, high) in self.resolved(last) {
            let from = uids.partition_point(|&uid| uid < low);
            let to = uids.partition_point(|&uid| uid <= high);
            found.extend(from..to);
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// As `indexes`, but a single UID that is missing means its neighbour: GNU imap4d.
    pub(crate) fn indexes_or_neighbours(&self, uids: &[u32]) -> Vec<usize> {
        let mut found = self.indexes(uids);
        for (low, high) in self.ranges.iter().copied().filter(|(low, high)| low == high && *low != STAR) {
            if !uids.is_empty() && uids.binary_search(&low).is_err() {
                found.push(uids.partition_point(|&uid| uid < high).min(uids.len() - 1));
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    pub(crate) fn contains(&self, number: u32, last: u32) -> bool {
        self.resolved(last).any(|(low, high)| (low..=high).contains(&number))
    }

    fn resolved(&self, last: u32) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.ranges.iter().map(move |&(low, high)| {
            let real = |number: u32| if number == STAR { last } else { number };
            let (low, high) = (real(low), real(high));
            (low.min(high), low.max(high))
        })
    }
}

fn number(text: &str) -> Option<u32> {
    if text == "*" {
        return Some(STAR);
    }
    let digits = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|&number| number != 0 && number != STAR)
}

/// Ascending numbers as `1:3,7`.
pub(crate) fn compact(numbers: &[u32]) -> String {
    let mut text = String::new();
    let mut at = 0;
    while at < numbers.len() {
        let mut end = at;
        while end + 1 < numbers.len() && numbers[end + 1] == numbers[end] + 1 {
            end += 1;
        }
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&numbers[at].to_string());
        if end > at {
            text.push_str(&format!(":{}", numbers[end]));
        }
        at = end + 1;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_resolve_against_the_uids() {
        let uids = [3, 5, 9];
        let of = |text: &str| Set::parse(text).unwrap().indexes(&uids);
        assert_eq!(of("1:*"), [0, 1, 2]);
        assert_eq!(of("99:*"), [2]);
        assert_eq!(of("9,3,5:4"), [0, 1, 2]);
        assert_eq!(of("4"), Vec::<usize>::new());
        assert_eq!(Set::parse("4").unwrap().indexes_or_neighbours(&uids), [1]);
        assert_eq!(Set::parse("10").unwrap().indexes_or_neighbours(&uids), [2]);
    }

    #[test]
    fn nonsense_is_no_set() {
        for text in ["", "0", "a", "1,", "1:", ":2", "+1", "99999999999", "1:2:3"] {
            assert_eq!(Set::parse(text), None, "{text}");
        }
        assert!(Set::parse("1:*").unwrap().exceeds(0));
        assert!(Set::parse("1:4").unwrap().exceeds(3));
        assert!(!Set::parse("3:*").unwrap().exceeds(3));
    }

    #[test]
    fn numbers_are_compacted() {
        assert_eq!(compact(&[1, 2, 3, 7, 9, 10]), "1:3,7,9:10");
        assert_eq!(compact(&[]), "");
    }
}
