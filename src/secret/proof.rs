//! That a password was right a short while ago, without the password.

use std::fmt;

use ring::{hmac, rand};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Secret;

/// Makes proofs, with a key of its own that never leaves the memory.
pub struct Prover(hmac::Key);

/// What a login was proven with: a keyed hash of where, user name and password. Of use only in this
/// process.
#[derive(Clone)]
pub struct Proof(hmac::Tag);

/// The system gives no random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this system gives no random numbers")]
pub struct NoRandom;

impl Prover {
    /// With a new key.
    pub fn new() -> Result<Self, NoRandom> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new());
        key.map(Self).map_err(|_| NoRandom)
    }

    /// What these credentials are proven with; `to` is who took them, as an upstream.
    pub fn proof(&self, to: &str, username: &str, password: &Secret) -> Proof {
        let mut claim = Zeroizing::new(Vec::new());
        for part in [to.as_bytes(), username.as_bytes(), password.expose()] {
            claim.extend_from_slice(&part.len().to_be_bytes());
            claim.extend_from_slice(part);
        }
        Proof(hmac::sign(&self.0, &claim))
    }
}

impl Proof {
    /// Its first 64 bits, for tables: that two passwords share them does not happen by chance, and
    /// cannot be brought about without the key.
    pub fn fingerprint(&self) -> u64 {
        self.0.as_ref().iter().take(8).fold(0, |bits, octet| bits << 8 | u64::from(*octet))
    }
}

impl PartialEq for Proof {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ref().ct_eq(other.0.as_ref()).into()
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_credentials_match() {
        let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
        let prover = Prover::new().expect("random numbers");
        let proof = prover.proof("home", "alice", &secret("hunter2"));
        let again = prover.proof("home", "alice", &secret("hunter2"));
        assert_eq!((&proof, proof.fingerprint()), (&again, again.fingerprint()));
        for (upstream, username, password) in [
            ("home", "alice", "hunter3"),
            ("home", "alice", ""),
            ("home", "alic", "ehunter2"),
            ("home", "bob", "hunter2"),
            ("homea", "lice", "hunter2"),
            ("work", "alice", "hunter2"),
        ] {
            let other = prover.proof(upstream, username, &secret(password));
            assert_ne!(proof, other);
            assert_ne!(proof.fingerprint(), other.fingerprint());
        }
        let other = Prover::new().expect("random numbers");
        assert_ne!(proof, other.proof("home", "alice", &secret("hunter2")));
        assert_eq!(format!("{proof:?}"), "Proof(…)");
    }
}
