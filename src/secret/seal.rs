//! Secrets on a disk: sealed with a key that is kept elsewhere (RFC 8439).

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use super::{NoRandom, Secret};

/// The length of a key in octets.
pub const KEY_LEN: usize = 32;

/// The form of what is sealed: this octet, a nonce, what is sealed with its tag behind it.
const VERSION: u8 = 1;

/// The key that secrets are sealed with.
pub struct Seal(LessSafeKey);

/// Why something sealed cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsealable {
    #[error("it was sealed by a newer popbridge")]
    Newer,
    /// Sealed with another key, under another name, or changed.
    #[error("it was sealed with another key, or was changed since")]
    Foreign,
}

impl Seal {
    /// With this key.
    pub fn new(key: &[u8; KEY_LEN]) -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("the algorithm's keys have this length");
        Self(LessSafeKey::new(key))
    }

    /// A new key.
    pub fn new_key() -> Result<Zeroizing<[u8; KEY_LEN]>, NoRandom> {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        SystemRandom::new().fill(&mut *key).map_err(|_| NoRandom)?;
        Ok(key)
    }

    /// Seals a secret under a name: it opens under no other, so that nothing can be put in its place.
    pub fn seal(&self, name: &[&str], secret: &Secret) -> Result<Vec<u8>, NoRandom> {
        let mut nonce = [0; NONCE_LEN];
        // Random ones serve for 2^32 secrets: a token an hour for many thousands of accounts.
        SystemRandom::new().fill(&mut nonce).map_err(|_| NoRandom)?;
        let mut text =
            Zeroizing::new(Vec::with_capacity(secret.expose().len() + CHACHA20_POLY1305.tag_len()));
        text.extend_from_slice(secret.expose());
        let once = Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(once, Aad::from(bound(name)), &mut text);
        let tag = tag.map_err(|_| NoRandom)?;
        Ok([&[VERSION], &nonce[..], &text, tag.as_ref()].concat())
    }

    /// Opens what was sealed under this name.
    pub fn open(&self, name: &[&str], sealed: &[u8]) -> Result<Secret, Unsealable> {
        let (version, rest) = sealed.split_first().ok_or(Unsealable::Foreign)?;
        if *version != VERSION {
            return Err(Unsealable::Newer);
        }
        let (nonce, text) = rest.split_at_checked(NONCE_LEN).ok_or(Unsealable::Foreign)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Unsealable::Foreign)?;
        let mut text = Zeroizing::new(text.to_vec());
        let opened = self.0.open_in_place(nonce, Aad::from(bound(name)), &mut text);
        opened.map(|text| Secret::new(text.to_vec())).map_err(|_| Unsealable::Foreign)
    }
}

/// The form's version and the parts of a name, each with its length, so that none runs into the next.
fn bound(name: &[&str]) -> Vec<u8> {
    let mut bound = vec![VERSION];
    for part in name {
        bound.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bound.extend_from_slice(part.as_bytes());
    }
    bound
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal() -> Seal {
        Seal::new(&[7; KEY_LEN])
    }

    fn secret() -> Secret {
        Secret::new(b"refresh-token".to_vec())
    }

    #[test]
    fn what_is_sealed_opens_under_its_name_only() {
        let sealed = seal().seal(&["google", "alice"], &secret()).expect("random numbers");
        assert_eq!(seal().open(&["google", "alice"], &sealed), Ok(secret()));
        assert!(!sealed.windows(7).any(|octets| octets == b"refresh"));
        for name in [&["google", "bob"][..], &["googlea", "lice"], &["google"], &["google", "alice", ""]] {
            assert_eq!(seal().open(name, &sealed), Err(Unsealable::Foreign), "{name:?}");
        }
        let other = Seal::new(&Seal::new_key().expect("random numbers"));
        assert_eq!(other.open(&["google", "alice"], &sealed), Err(Unsealable::Foreign));
        let again = seal().seal(&["google", "alice"], &secret()).expect("random numbers");
        assert_ne!(sealed, again, "each has a nonce of its own");
    }

    #[test]
    fn what_was_changed_or_cut_does_not_open() {
        let sealed = seal().seal(&["a"], &secret()).expect("random numbers");
        for at in 1..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(seal().open(&["a"], &changed), Err(Unsealable::Foreign), "octet {at}");
        }
        for length in 0..sealed.len() {
            assert!(seal().open(&["a"], &sealed[..length]).is_err());
        }
        let newer = [&[2], &sealed[1..]].concat();
        assert_eq!(seal().open(&["a"], &newer), Err(Unsealable::Newer));
    }
}
