//! The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), from a password in plaintext.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac, pbkdf2};

const SALT: &[u8] = b"imapsim's salt";
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).unwrap();

/// The client's first message.
pub(crate) struct ClientFirst {
    pub user: String,
    bare: String,
    nonce: String,
}

impl ClientFirst {
    /// `n,,n=user,r=nonce`: no channel binding, nobody acted for.
    pub(crate) fn parse(message: &[u8]) -> Option<Self> {
        let bare = std::str::from_utf8(message).ok()?.strip_prefix("n,,")?;
        let (user, nonce) = bare.strip_prefix("n=")?.split_once(",r=")?;
        let user = user.replace("=2C", ",").replace("=3D", "=");
        let mut own = [0; 12];
        SystemRandom::new().fill(&mut own).ok()?;
        Some(Self { user, bare: bare.to_owned(), nonce: format!("{nonce}{}", STANDARD.encode(own)) })
    }

    /// The server's first message.
    pub(crate) fn challenge(&self) -> String {
        format!("r={},s={},i={ITERATIONS}", self.nonce, STANDARD.encode(SALT))
    }

    /// The server's signature, if the client's last message proves the password.
    pub(crate) fn verify(&self, password: &[u8], last: &[u8]) -> Option<Vec<u8>> {
        let last = std::str::from_utf8(last).ok()?;
        let (without_proof, proof) = last.rsplit_once(",p=")?;
        // "biws" is "n,,".
        if without_proof != format!("c=biws,r={}", self.nonce) {
            return None;
        }
        let mut salted = [0; digest::SHA256_OUTPUT_LEN];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, SALT, password, &mut salted);
        let message = format!("{},{},{without_proof}", self.bare, self.challenge());
        let client_key = sign(&salted, b"Client Key");
        let stored_key = digest::digest(&digest::SHA256, &client_key);
        let signature = sign(stored_key.as_ref(), message.as_bytes());
        let expected: Vec<u8> = client_key.iter().zip(&signature).map(|(key, mask)| key ^ mask).collect();
        let server_key = sign(&salted, b"Server Key");
        (STANDARD.decode(proof).ok()? == expected).then(|| sign(&server_key, message.as_bytes()))
    }
}

fn sign(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_7677() {
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let mut salted = [0; digest::SHA256_OUTPUT_LEN];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, &salt, b"pencil", &mut salted);
        let message = format!(
            "n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r={nonce}"
        );
        let signature = sign(&sign(&salted, b"Server Key"), message.as_bytes());
        assert_eq!(STANDARD.encode(signature), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn names_are_unescaped() {
        let first = ClientFirst::parse(b"n,,n=a=3Db=2Cc,r=x").expect("a message");
        assert_eq!(first.user, "a=b,c");
        assert!(ClientFirst::parse(b"y,,n=a,r=x").is_none() && ClientFirst::parse(b"n,,n=a").is_none());
    }
}
