//! A password for a small device: easy to read and to type, hard to guess.

use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::{NoRandom, Secret};

/// Without i, l and o, which look like others.
const LETTERS: &[u8] = b"abcdefghjkmnpqrstuvwxyz";
const GROUPS: usize = 4;
const GROUP: usize = 4;

impl Secret {
    /// Four groups of four letters, `abcd-efgh-jkmn-pqrs`: 72 bits.
    pub fn typeable() -> Result<Self, NoRandom> {
        let random = SystemRandom::new();
        let mut text = Vec::with_capacity(GROUPS * (GROUP + 1));
        for index in 0..GROUPS * GROUP {
            if index > 0 && index.is_multiple_of(GROUP) {
                text.push(b'-');
            }
            text.push(letter(&random)?);
        }
        Ok(Self::new(text))
    }
}

/// Each letter is as likely as any other: octets over the last multiple are drawn again.
fn letter(random: &SystemRandom) -> Result<u8, NoRandom> {
    let most = u8::MAX as usize / LETTERS.len() * LETTERS.len();
    let mut octet = Zeroizing::new([0]);
    loop {
        random.fill(&mut *octet).map_err(|_| NoRandom)?;
        let drawn = usize::from(octet[0]);
        if drawn < most {
            return Ok(LETTERS[drawn % LETTERS.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn groups_of_letters_that_nobody_takes_for_others() {
        let mut seen = BTreeSet::new();
        let mut letters = BTreeSet::new();
        for _ in 0..200 {
            let secret = Secret::typeable().expect("random numbers");
            let text = std::str::from_utf8(secret.expose()).expect("ASCII").to_owned();
            let groups: Vec<&str> = text.split('-').collect();
            assert!(groups.len() == 4 && groups.iter().all(|group| group.len() == 4), "{text}");
            letters.extend(text.bytes().filter(|octet| *octet != b'-'));
            assert!(seen.insert(text), "twice the same");
        }
        assert_eq!(letters.into_iter().collect::<Vec<u8>>(), LETTERS, "each of them comes");
    }
}
