//! An Argon2id hash of a password (RFC 9106), in PHC form.

use std::fmt;

use argon2::password_hash::{Output, PasswordHashString, Salt, SaltString};
use argon2::{Algorithm, Argon2, Block, Params, PasswordHasher, Version};
use ring::rand::{SecureRandom, SystemRandom};

use super::{NoHash, NoRandom, Secret};

/// What OWASP recommends at the least: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// What one login may cost at most. Many come at once, and each can be a stranger's.
const MOST_MEMORY_KIB: u32 = 1 << 20;
/// Memory times passes: some seconds.
const MOST_WORK_KIB: u64 = 4 << 20;

/// The salt's octets, as RFC 9106 §3.1 recommends.
const SALT: usize = 16;

/// Room for more blocks than are used. What is larger than 32 MiB glibc's allocator gives back at
/// once (DEFAULT_MMAP_THRESHOLD_MAX, mallopt(3)); the rest stays with the thread that had it, so
/// that in time each of many threads would keep 19 MiB. Room that is not touched costs nothing.
const ROOM: usize = 33 * 1024 * 1024 / Block::SIZE;

/// A checked hash, of a bounded cost.
#[derive(Clone)]
pub struct Argon2idHash(PasswordHashString);

impl Argon2idHash {
    /// Reads a PHC string.
    pub fn parse(text: &str) -> Result<Self, NoHash> {
        let phc = PasswordHashString::new(text).map_err(|_| NoHash::Malformed)?;
        let params = Params::try_from(&phc.password_hash()).map_err(|_| NoHash::Malformed)?;
        let salted = phc.salt().is_some_and(|salt| {
            let mut octets = [0; Salt::MAX_LENGTH];
            salt.decode_b64(&mut octets).is_ok_and(|salt| salt.len() >= argon2::MIN_SALT_LEN)
        });
        let complete = salted && phc.hash().is_some();
        let ours = phc.algorithm() == Algorithm::Argon2id.ident()
            && phc.version() == Some(Version::V0x13.into())
            // One that was made with a key beside the password could never be recognised.
            && params.keyid().is_empty();
        if !complete || !ours {
            return Err(NoHash::Malformed);
        }
        let (memory, passes) = (params.m_cost(), params.t_cost());
        if memory > MOST_MEMORY_KIB || u64::from(memory) * u64::from(passes) > MOST_WORK_KIB {
            return Err(NoHash::Expensive { memory, passes });
        }
        Ok(Self(phc))
    }

    /// Hashes a password, with a new salt.
    pub fn of(password: &Secret) -> Result<Self, NoRandom> {
        let mut salt = [0; SALT];
        SystemRandom::new().fill(&mut salt).map_err(|_| NoRandom)?;
        let salt = SaltString::encode_b64(&salt).expect("16 octets are a salt's length");
        let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("they are within Argon2's limits");
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let hash = argon2.hash_password(password.expose(), &salt);
        // It fails for a password of 4 GiB, which nobody can have handed in.
        Ok(Self(hash.expect("the parameters are good").serialize()))
    }

    /// Whether it is this password's. Takes memory and time: not on a thread that others wait for.
    pub fn is_of(&self, password: &Secret) -> bool {
        self.output(password).is_some_and(|output| Some(output) == self.0.hash())
    }

    /// What the password makes of this hash's salt and parameters; two are compared in constant
    /// time.
    fn output(&self, password: &Secret) -> Option<Output> {
        let params = Params::try_from(&self.0.password_hash()).ok()?;
        let mut memory = Vec::with_capacity(params.block_count().max(ROOM));
        memory.resize(params.block_count(), Block::new());
        let mut octets = [0; Salt::MAX_LENGTH];
        let salt = self.0.salt()?;
        let salt = salt.decode_b64(&mut octets).ok()?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let made = Output::init_with(self.0.hash()?.len(), |output| {
            Ok(argon2.hash_password_into_with_memory(password.expose(), salt, output, &mut memory)?)
        });
        made.ok()
    }

    /// What a comparison costs, in KiB over all passes.
    pub fn cost(&self) -> u64 {
        let params = Params::try_from(&self.0.password_hash()).unwrap_or_default();
        u64::from(params.m_cost()) * u64::from(params.t_cost())
    }

    /// The PHC string.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// A hash is worth guessing at: it is shown to nobody.
impl fmt::Debug for Argon2idHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Argon2idHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of "password" and "somesalt", from the tests of the reference implementation.
    const KNOWN: &str =
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec())
    }

    #[test]
    fn only_the_password_itself_is_recognised() {
        let hash = Argon2idHash::of(&secret("hunter2")).expect("random numbers");
        assert!(hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.as_str());
        let hash = Argon2idHash::parse(hash.as_str()).expect("its own form");
        assert!(hash.is_of(&secret("hunter2")));
        for wrong in ["hunter3", "", "hunter2 ", "hunter2\n"] {
            assert!(!hash.is_of(&secret(wrong)), "{wrong:?}");
        }
        assert_eq!(hash.cost(), 2 * 19_456);
        assert!(!format!("{hash:?}").contains("argon2"), "{hash:?}");
        let other = Argon2idHash::of(&secret("hunter2")).expect("random numbers");
        assert_ne!(hash.as_str(), other.as_str(), "each has a salt of its own");
    }

    #[test]
    fn what_others_have_made_is_understood() {
        let hash = Argon2idHash::parse(KNOWN).expect("a good hash");
        assert!(hash.is_of(&secret("password")) && !hash.is_of(&secret("Password")));
        assert_eq!((hash.cost(), hash.as_str()), (512, KNOWN));
    }

    #[test]
    fn nothing_else_is_a_hash() {
        let (head, tail) = KNOWN.split_once("m=256,t=2,p=1").expect("its parameters");
        for text in [
            "",
            "hunter2",
            "$argon2id$",
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ",
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$",
            &KNOWN.replace("argon2id", "argon2i"),
            &KNOWN.replace("argon2id", "scrypt"),
            &KNOWN.replace("v=19", "v=16"),
            &KNOWN.replace("$v=19", ""),
            &KNOWN.replace("c29tZXNhbHQ", "c29"),
            &KNOWN.replace("c29tZXNhbHQ", "c29tZXN"),
            &KNOWN.replace("c29tZXNhbHQ", "c29tZXNhbH"),
            &format!("{head}m=256,t=0,p=1{tail}"),
            &format!("{head}m=4,t=2,p=1{tail}"),
            &format!("{head}m=256,t=2,p=1,keyid=c29t{tail}"),
            &format!("{head}m=99999999999,t=2,p=1{tail}"),
            &format!("{KNOWN}\n"),
        ] {
            assert_eq!(Argon2idHash::parse(text).expect_err(text), NoHash::Malformed, "{text}");
        }
    }

    #[test]
    fn a_hash_that_could_exhaust_the_machine_is_refused() {
        let with = |memory: u32, passes: u32| {
            let parameters = format!("m={memory},t={passes},p=1");
            Argon2idHash::parse(&KNOWN.replace("m=256,t=2,p=1", &parameters))
        };
        for (memory, passes) in [(1 << 20, 4), (19_456, 2), (8, 1)] {
            assert!(with(memory, passes).is_ok(), "{memory} {passes}");
        }
        for (memory, passes) in [((1 << 20) + 1, 1), (1 << 20, 5), (u32::MAX, 1), (1024, 1 << 20)] {
            assert_eq!(with(memory, passes).expect_err("dear"), NoHash::Expensive { memory, passes });
        }
    }
}
