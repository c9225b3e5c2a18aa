//! A verifier for SCRAM-SHA-256 (RFC 5802, RFC 7677), in the form of RFC 5803 §2 and PostgreSQL:
//! `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`. Who reads it can guess at the password, but
//! cannot log in with it.

use std::fmt;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac, pbkdf2};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{NoHash, NoRandom, Secret, Subkey, Unhashed};

/// What new verifiers take. The mail program computes it at each login, so it cannot be the 600,000
/// that OWASP recommends for PBKDF2: a computer of the nineties does some thousands a second, and
/// has to be done within `login_timeout`.
const ITERATIONS: u32 = 100_000;
/// RFC 7677 §4.
const FEWEST: u32 = 4_096;
/// With USER and PASS the bridge computes it, for any stranger: some seconds.
const MOST: u32 = 4_000_000;

/// Octets of a new salt, and of one that is made up.
const SALT: usize = 16;
/// Octets of a key.
const KEY: usize = digest::SHA256_OUTPUT_LEN;

/// What SCRAM proves the knowledge of a password with.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    iterations: NonZeroU32,
    salt: Vec<u8>,
    stored_key: [u8; KEY],
    server_key: [u8; KEY],
    text: String,
}

impl ScramVerifier {
    /// The name in front of a verifier.
    pub const SCHEME: &'static str = "SCRAM-SHA-256$";

    /// Reads the form above.
    pub fn parse(text: &str) -> Result<Self, NoHash> {
        let fields = || {
            let (parameters, keys) = text.strip_prefix(Self::SCHEME)?.split_once('$')?;
            let (iterations, salt) = parameters.split_once(':')?;
            let (stored, server) = keys.split_once(':')?;
            let iterations = Some(iterations).filter(|digits| digits.bytes().all(|c| c.is_ascii_digit()))?;
            let salt = STANDARD.decode(salt).ok().filter(|salt| (8..=KEY).contains(&salt.len()))?;
            Some((iterations.parse::<u64>().ok()?, salt, key(stored)?, key(server)?))
        };
        let (iterations, salt, stored_key, server_key) = fields().ok_or(NoHash::Malformed)?;
        let bounded = u32::try_from(iterations).ok().filter(|count| (FEWEST..=MOST).contains(count));
        let bounded = bounded.and_then(NonZeroU32::new).ok_or(NoHash::Iterations(iterations))?;
        Ok(Self::new(bounded, salt, stored_key, server_key))
    }

    /// Of a password, with a new salt.
    pub fn of(password: &Secret) -> Result<Self, Unhashed> {
        let password = prepared(password.expose()).ok_or(Unhashed::Unprepared)?;
        let mut salt = vec![0; SALT];
        SystemRandom::new().fill(&mut salt).map_err(|_| NoRandom)?;
        let iterations = NonZeroU32::new(ITERATIONS).expect("it is not zero");
        let (stored_key, server_key) = keys(iterations, &salt, password.as_bytes());
        Ok(Self::new(iterations, salt, stored_key, server_key))
    }

    fn new(iterations: NonZeroU32, salt: Vec<u8>, stored_key: [u8; KEY], server_key: [u8; KEY]) -> Self {
        let base64 = |octets: &[u8]| STANDARD.encode(octets);
        let text = format!(
            "{}{iterations}:{}${}:{}",
            Self::SCHEME,
            base64(&salt),
            base64(&stored_key),
            base64(&server_key)
        );
        Self { iterations, salt, stored_key, server_key, text }
    }

    /// Whether it is this password's: as it was given or, if that differs, as SCRAM prepares it.
    pub fn is_of(&self, password: &Secret) -> bool {
        let given = password.expose();
        let other = prepared(given).filter(|prepared| prepared.as_bytes() != given);
        [Some(given), other.as_ref().map(|prepared| prepared.as_bytes())]
            .into_iter()
            .flatten()
            .any(|password| keys(self.iterations, &self.salt, password).0.ct_eq(&self.stored_key).into())
    }

    /// What a stranger is shown for a login that has no verifier: the same salt each time, so that
    /// it looks like this one's, and keys that nothing leads to.
    ///
    /// The salt outlives a restart, as a real one does, if its key does. No password leads to that
    /// key: from the salts one could be guessed at otherwise, by anybody who asks.
    pub fn made_up(&self, salts: &Subkey, login: &str) -> Self {
        let tag = salts.tag(login.as_bytes());
        let salt = tag.as_ref().iter().copied().take(SALT).collect();
        Self::new(self.iterations, salt, [0; KEY], [0; KEY])
    }

    /// With keys that nothing leads to: nobody knows octets whose SHA-256 is zero.
    pub fn locked(&self) -> Self {
        Self::new(self.iterations, self.salt.clone(), [0; KEY], [0; KEY])
    }

    /// What a comparison costs, in iterations.
    pub fn cost(&self) -> u64 {
        self.iterations.get().into()
    }

    /// PBKDF2's iterations.
    pub fn iterations(&self) -> u32 {
        self.iterations.get()
    }

    /// PBKDF2's salt: any client is told it.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// What the client's proof is checked against (RFC 5802 §3).
    pub fn stored_key(&self) -> &[u8] {
        &self.stored_key
    }

    /// What the bridge proves itself with (RFC 5802 §3).
    pub fn server_key(&self) -> &[u8] {
        &self.server_key
    }

    /// As the configuration has it.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// A verifier is worth guessing at: it is shown to nobody.
impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramVerifier(…)")
    }
}

/// SASLprep (RFC 4013), for passwords and user names in SCRAM; `None` for what it forbids.
pub fn prepared(octets: &[u8]) -> Option<Zeroizing<String>> {
    let text = std::str::from_utf8(octets).ok()?;
    let prepared = stringprep::saslprep(text).ok()?.into_owned();
    Some(Zeroizing::new(prepared)).filter(|prepared| !prepared.is_empty())
}

fn key(base64: &str) -> Option<[u8; KEY]> {
    STANDARD.decode(base64).ok()?.try_into().ok()
}

/// StoredKey and ServerKey (RFC 5802 §3).
fn keys(iterations: NonZeroU32, salt: &[u8], password: &[u8]) -> ([u8; KEY], [u8; KEY]) {
    let mut salted = Zeroizing::new([0; KEY]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password, &mut *salted);
    let salted = hmac::Key::new(hmac::HMAC_SHA256, &*salted);
    let client_key = hmac::sign(&salted, b"Client Key");
    let stored = digest::digest(&digest::SHA256, client_key.as_ref());
    let server = hmac::sign(&salted, b"Server Key");
    let array = |octets: &[u8]| octets.try_into().expect("SHA-256 gives 32 octets");
    (array(stored.as_ref()), array(server.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Keyring;

    /// Of "pencil" and the salt of RFC 7677 §3.
    const KNOWN: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec())
    }

    #[test]
    fn what_others_have_made_is_understood() {
        let verifier = ScramVerifier::parse(KNOWN).expect("a good verifier");
        assert!(verifier.is_of(&secret("pencil")));
        for wrong in ["Pencil", "pencil ", "", "pencil\u{301}"] {
            assert!(!verifier.is_of(&secret(wrong)), "{wrong:?}");
        }
        assert_eq!((verifier.iterations(), verifier.as_str()), (4096, KNOWN));
        assert!(!format!("{verifier:?}").contains("WG5d"), "{verifier:?}");
    }

    #[test]
    fn its_own_form_is_read_again() {
        let verifier = ScramVerifier::of(&secret("hunter2")).expect("a password");
        assert!(verifier.as_str().starts_with("SCRAM-SHA-256$100000:"), "{}", verifier.as_str());
        assert_eq!(ScramVerifier::parse(verifier.as_str()).as_ref(), Ok(&verifier));
        let other = ScramVerifier::of(&secret("hunter2")).expect("a password");
        assert_ne!(other.salt(), verifier.salt(), "each has a salt of its own");
    }

    #[test]
    fn a_password_is_prepared() {
        let salt = b"salt and pepper".to_vec();
        let iterations = NonZeroU32::new(FEWEST).expect("it is not zero");
        let of = |password: &str| {
            let (stored, server) = keys(iterations, &salt, password.as_bytes());
            ScramVerifier::new(iterations, salt.clone(), stored, server)
        };
        // RFC 4013 §3, and another way to write an umlaut.
        for (given, kept) in [("I\u{ad}X", "IX"), ("\u{aa}", "a"), ("\u{2168}", "IX"), ("u\u{308}", "ü")] {
            assert!(of(kept).is_of(&secret(given)), "{given:?}");
            assert!(!of(kept).is_of(&secret(&format!("{given}x"))), "{given:?}");
        }
        // What SASLprep forbids or changes may have been hashed by a program that does not know it.
        for given in ["I\u{ad}X", "\u{7}bell"] {
            assert!(of(given).is_of(&secret(given)), "{given:?}");
        }
        for forbidden in [&b"\x07"[..], b"\xff", "\u{ad}".as_bytes(), "\u{627}1".as_bytes()] {
            let refused = ScramVerifier::of(&Secret::new(forbidden.to_vec()));
            assert_eq!(refused, Err(Unhashed::Unprepared), "{forbidden:?}");
        }
    }

    #[test]
    fn nothing_else_is_a_verifier() {
        for text in [
            "",
            "SCRAM-SHA-256$",
            "SCRAM-SHA-256$4096",
            &KNOWN.replace("SHA-256", "SHA-1"),
            &KNOWN.replace("4096", ""),
            &KNOWN.replace("4096", "+4096"),
            &KNOWN.replace("4096", "99999999999999999999999"),
            &KNOWN.replace("W22ZaJ0SNY7soEsUEjb6gQ==", ""),
            &KNOWN.replace("W22ZaJ0SNY7soEsUEjb6gQ==", "W22ZaJ0SNY7soEsUEjb6gQ"),
            &KNOWN.replace("W22ZaJ0SNY7soEsUEjb6gQ==", "c2FsdA=="),
            &KNOWN.replace("WG5d", "WG5d8oPm"),
            &KNOWN.replace(":wfPL", ":"),
            &KNOWN.replace(":wfPL", "$wfPL"),
            &format!("{KNOWN}\n"),
        ] {
            assert_eq!(ScramVerifier::parse(text), Err(NoHash::Malformed), "{text}");
        }
        for (count, good) in [
            ("4095", false),
            ("4096", true),
            ("4000000", true),
            ("4000001", false),
            ("0", false),
            ("4294971392", false),
        ] {
            let parsed = ScramVerifier::parse(&KNOWN.replace("4096", count));
            let expected = NoHash::Iterations(count.parse().expect("a number"));
            assert_eq!(parsed.err(), (!good).then_some(expected), "{count}");
        }
    }

    #[tokio::test]
    async fn what_is_made_up_looks_real_and_opens_nothing() {
        let verifier = ScramVerifier::parse(KNOWN).expect("a good verifier");
        let keyring = Keyring::in_memory().expect("random numbers");
        let salts = keyring.subkey("salts").await.expect("a key");
        let nobody = verifier.made_up(&salts, "nobody");
        assert_eq!(nobody, verifier.made_up(&salts, "nobody"), "the same each time");
        assert_ne!(nobody.salt(), verifier.made_up(&salts, "nobodz").salt());
        assert_eq!((nobody.iterations(), nobody.salt().len()), (4096, 16));
        assert!(!nobody.is_of(&secret("pencil")));
        assert_eq!(ScramVerifier::parse(nobody.as_str()).as_ref(), Ok(&nobody), "its text is its own");
        let locked = verifier.locked();
        assert_eq!((locked.salt(), locked.iterations()), (verifier.salt(), 4096));
        assert!(!locked.is_of(&secret("pencil")));
    }

    #[tokio::test]
    async fn no_verifier_leads_to_what_is_made_up() {
        let keyring = Keyring::in_memory().expect("random numbers");
        let salts = keyring.subkey("salts").await.expect("a key");
        let salt = |password: &str| {
            let verifier = ScramVerifier::of(&secret(password)).expect("a password");
            verifier.made_up(&salts, "nobody").salt().to_vec()
        };
        assert_eq!(salt("pencil"), salt("hunter2"));
        let verifier = ScramVerifier::parse(KNOWN).expect("a good verifier");
        for key in [verifier.server_key(), verifier.stored_key()] {
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), b"nobody");
            assert!(!tag.as_ref().starts_with(verifier.made_up(&salts, "nobody").salt()));
        }
    }
}
