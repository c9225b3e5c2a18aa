//! SCRAM-SHA-256 (RFC 5802, RFC 7677), by rsasl.

use std::sync::Arc;

use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::mechanisms::scram::SCRAM_SHA256;
use rsasl::prelude::{Mechname, Registry, SASLClient, SASLConfig, Session, SessionError, State};
use rsasl::property::{AuthId, Password};
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Of PBKDF2: at least what RFC 7677 §4 asks for, so that what goes over the line is not worth
/// guessing at; at most what takes a second or so, since the server decides.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=1_000_000;

const NO_SENSE: &str = "a message of SCRAM-SHA-256 that makes no sense";

/// The client's side.
pub struct Scram {
    /// Absent once it is over: rsasl may not be asked again then.
    session: Option<Session>,
    first: bool,
    proven: bool,
}

impl Scram {
    /// `None` where the user name cannot be written.
    pub fn new(username: &str, password: &Secret) -> Option<Self> {
        static MECHANISMS: &[rsasl::prelude::Mechanism] = &[SCRAM_SHA256];
        let known = Known { username: username.to_owned(), password: password.clone() };
        let config: Arc<SASLConfig> = SASLConfig::builder()
            .with_registry(Registry::with_mechanisms(MECHANISMS))
            .with_callback(known)
            .ok()?;
        let name = Mechname::parse(b"SCRAM-SHA-256").ok()?;
        let session = SASLClient::new(config).start_suggested(&[name]).ok()?;
        Some(Self { session: Some(session), first: true, proven: false })
    }

    /// The client's first message.
    pub fn message(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        let mut message = Zeroizing::default();
        let mut session = self.session.take()?;
        session.step(None, &mut *message).ok()?;
        self.session = Some(session);
        Some(message)
    }

    /// Answers the server's first message, then its last.
    pub async fn respond(&mut self, challenge: Vec<u8>) -> Result<Zeroizing<Vec<u8>>, &'static str> {
        let Some(mut session) = self.session.take() else {
            return Err("a challenge behind the end of SCRAM-SHA-256");
        };
        let first = std::mem::take(&mut self.first);
        if !first && challenge.starts_with(b"e=") {
            // The server's word for a wrong password (RFC 5802 §7). Its NO comes behind the answer.
            return Ok(Zeroizing::default());
        }
        check(&challenge, first)?;
        let stepping = spawn_blocking(move || {
            let mut response = Zeroizing::default();
            let state = session.step(Some(&challenge), &mut *response);
            (session, state, response)
        });
        // It does not panic; at worst the program is about to end.
        let (session, state, response) = stepping.await.map_err(|_| NO_SENSE)?;
        match state {
            Ok(State::Running) => self.session = Some(session),
            Ok(State::Finished(_)) => self.proven = true,
            Err(SessionError::MutualAuthenticationFailed) => {
                return Err("a wrong signature in SCRAM-SHA-256: it does not know the password itself");
            }
            Err(_) => return Err(NO_SENSE),
        }
        Ok(response)
    }

    /// Whether the server has proven that it knows the password's verifier.
    pub fn is_done(&self) -> bool {
        self.proven
    }
}

/// rsasl takes two octets of each attribute without a look, and any number of iterations.
fn check(message: &[u8], first: bool) -> Result<(), &'static str> {
    let mut attributes = message.split(|&octet| octet == b',');
    if !attributes.all(|attribute| attribute.get(1) == Some(&b'=')) {
        return Err(NO_SENSE);
    }
    if !first {
        return Ok(());
    }
    let iterations = message.split(|&octet| octet == b',').find_map(|part| part.strip_prefix(b"i="));
    let iterations = iterations.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    match iterations {
        Some(iterations) if ITERATIONS.contains(&iterations) => Ok(()),
        Some(_) => Err("a number of iterations for SCRAM-SHA-256 that is not from 4,096 to 1,000,000"),
        None => Err(NO_SENSE),
    }
}

/// What rsasl asks for.
struct Known {
    username: String,
    password: Secret,
}

impl SessionCallback for Known {
    fn callback(
        &self,
        _session: &SessionData,
        _context: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        request.satisfy::<AuthId>(&self.username)?.satisfy::<Password>(self.password.expose())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun() -> (Scram, String) {
        let mut scram = Scram::new("alice", &Secret::new(b"pencil".to_vec())).expect("a name");
        let message = scram.message().expect("a message");
        let text = String::from_utf8(message.to_vec()).expect("ASCII");
        let nonce = text.strip_prefix("n,,n=alice,r=").expect("no channel binding").to_owned();
        (scram, nonce)
    }

    #[tokio::test]
    async fn what_a_server_must_not_say_is_an_error() {
        let good = "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        for rest in [
            "",
            ",",
            ",s",
            ",s=",
            ",,",
            "\0",
            "X",
            ",i=4096",
            ",s=W22Z,i=",
            ",s=W22Z,i=-1",
            ",s=!,i=4096",
            ",s=W22Z,i=4095",
            ",s=W22Z,i=1000001",
            ",s=W22Z,i=4294967295",
            ",s=W22Z,i=99999999999",
        ] {
            let (mut scram, nonce) = begun();
            let response = scram.respond(format!("r={nonce}X{rest}").into_bytes()).await;
            assert!(response.is_err() && !scram.is_done(), "{rest}");
            assert!(scram.respond(b"v=AAAA".to_vec()).await.is_err(), "{rest}: asked again");
        }
        for first in [format!("r=other,{good}"), "m=x".into(), "e=other-error".into(), "v=AAAA".into()] {
            let (mut scram, _) = begun();
            assert!(scram.respond(first.clone().into_bytes()).await.is_err(), "{first}");
        }
        // The client's nonce alone is what an earlier exchange could be played back with.
        let (mut scram, nonce) = begun();
        assert!(scram.respond(format!("r={nonce},{good}").into_bytes()).await.is_err());
        let (mut scram, nonce) = begun();
        let response = scram.respond(format!("r={nonce}X,{good}").into_bytes()).await.expect("an answer");
        assert!(response.starts_with(format!("c=biws,r={nonce}X,p=").as_bytes()));
        for last in ["", "v", "v=", "v=AAAA", "v=!", "x=1", "e"] {
            let (mut scram, nonce) = begun();
            scram.respond(format!("r={nonce}X,{good}").into_bytes()).await.expect("an answer");
            assert!(scram.respond(last.into()).await.is_err() && !scram.is_done(), "{last}");
        }
    }

    #[tokio::test]
    async fn a_wrong_password_is_no_nonsense() {
        let (mut scram, nonce) = begun();
        scram.respond(format!("r={nonce}X,s=W22Z,i=4096").into_bytes()).await.expect("an answer");
        assert_eq!(scram.respond(b"e=invalid-proof".to_vec()).await.as_deref(), Ok(&Vec::new()));
        assert!(!scram.is_done());
    }

    #[test]
    fn names_are_escaped() {
        let mut scram = Scram::new("a=b,c", &Secret::new(b"pencil".to_vec())).expect("a name");
        let message = scram.message().expect("a message");
        assert!(message.starts_with(b"n,,n=a=3Db=2Cc,r="));
    }
}
