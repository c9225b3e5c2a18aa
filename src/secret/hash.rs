//! What is kept of a password that only has to be recognised: an Argon2id hash, or a verifier for
//! SCRAM-SHA-256.

use super::argon2id::Argon2idHash;
use super::{NoRandom, ScramVerifier, Secret};

/// A checked hash, of a bounded cost.
#[derive(Debug, Clone)]
pub enum PasswordHash {
    Argon2id(Argon2idHash),
    Scram(ScramVerifier),
}

/// Why a text cannot serve as a hash.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoHash {
    #[error(
        "this is neither an Argon2id hash, which begins with $argon2id$v=19$, nor a SCRAM verifier, which begins \
         with SCRAM-SHA-256$; popbridge hash-password makes both"
    )]
    Malformed,
    #[error(
        "each login would take {memory} KiB of memory in {passes} passes: more than this machine should give a \
         stranger (1 GiB, 4 GiB in all passes); popbridge hash-password makes a hash that fits"
    )]
    Expensive { memory: u32, passes: u32 },
    #[error("a SCRAM verifier takes from 4096 (RFC 7677) to 4000000 iterations, and this one has {0}")]
    Iterations(u64),
}

/// Why a password cannot be hashed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unhashed {
    #[error(transparent)]
    Random(#[from] NoRandom),
    #[error(
        "SCRAM takes text in UTF-8 without unusual characters (SASLprep, RFC 4013): take another password"
    )]
    Unprepared,
}

impl PasswordHash {
    /// Reads either form.
    pub fn parse(text: &str) -> Result<Self, NoHash> {
        if text.starts_with(ScramVerifier::SCHEME) {
            ScramVerifier::parse(text).map(Self::Scram)
        } else {
            Argon2idHash::parse(text).map(Self::Argon2id)
        }
    }

    /// Hashes a password by Argon2id, with a new salt.
    pub fn of(password: &Secret) -> Result<Self, NoRandom> {
        Argon2idHash::of(password).map(Self::Argon2id)
    }

    /// Makes the verifier of a password for SCRAM, with a new salt.
    pub fn scram_of(password: &Secret) -> Result<Self, Unhashed> {
        ScramVerifier::of(password).map(Self::Scram)
    }

    /// Whether it is this password's. Takes time, and perhaps memory: not on a thread that others
    /// wait for.
    pub fn is_of(&self, password: &Secret) -> bool {
        match self {
            Self::Argon2id(hash) => hash.is_of(password),
            Self::Scram(verifier) => verifier.is_of(password),
        }
    }

    /// Whether both are made the same way, so that their costs can be compared.
    pub fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// What a comparison costs, among hashes that are alike.
    pub fn cost(&self) -> u64 {
        match self {
            Self::Argon2id(hash) => hash.cost(),
            Self::Scram(verifier) => verifier.cost(),
        }
    }

    /// What SCRAM needs, if it is that.
    pub fn scram(&self) -> Option<&ScramVerifier> {
        match self {
            Self::Argon2id(_) => None,
            Self::Scram(verifier) => Some(verifier),
        }
    }

    /// As the configuration has it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Argon2id(hash) => hash.as_str(),
            Self::Scram(verifier) => verifier.as_str(),
        }
    }
}
