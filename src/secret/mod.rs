//! Passwords: never printed, zeroed when dropped. `hash` is what is kept of one that only has to be
//! recognised, `proof` that one was right a short while ago, `source` where one is read from,
//! `typeable` makes one for a device. `certificate` is what a client may show instead of one; `seal`
//! and `keyring` keep them on a disk.

mod argon2id;
mod certificate;
mod dump;
mod hash;
mod keyring;
mod proof;
mod scram;
mod seal;
mod signer;
mod source;
mod typeable;

use std::fmt;

use zeroize::Zeroizing;

pub use certificate::{Fingerprint, NoFingerprint};
pub use dump::prevent_core_dumps;
pub use hash::{NoHash, PasswordHash, Unhashed};
pub use keyring::{KeyError, Keyring, Subkey};
pub use proof::{NoRandom, Proof, Prover};
pub use scram::{ScramVerifier, prepared};
pub use seal::{Seal, Unsealable};
pub use signer::{NoSignature, Signer};
pub use source::{SecretSource, Unreadable, read_private};

/// The octets of a password or token. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the octets over; the caller keeps no copy.
    pub fn new(octets: Vec<u8>) -> Self {
        Self(Zeroizing::new(octets))
    }

    /// The octets, for the one place that sends them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What a mail server is shown at a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    Password(Secret),
    /// An access token of OAuth 2 (RFC 6750).
    Token(Secret),
}

impl Credential {
    /// The password or the token.
    pub fn secret(&self) -> &Secret {
        match self {
            Self::Password(secret) | Self::Token(secret) => secret,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let secret = Secret::new(b"hunter2".to_vec());
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }
}
