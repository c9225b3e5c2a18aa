//! SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding. rsasl does the work, and is shown
//! only messages of the right form: it panics at some others, and does not unescape the name.

use std::sync::Arc;

use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::mechanisms::scram::SCRAM_SHA256;
use rsasl::mechanisms::scram::properties::ScramStoredPassword;
use rsasl::prelude::{Mechname, Registry, SASLConfig, SASLServer, Session, SessionError, State};
use rsasl::validate::{Validate, Validation, ValidationError};

use super::{Claim, Credentials, Entrance, Malformed, Mechanism, Next, name, unescaped};
use crate::secret::{ScramVerifier, prepared};

/// One exchange.
pub struct Scram<'a> {
    entrance: Entrance<'a>,
    stage: Stage,
}

enum Stage {
    ClientFirst,
    ClientFinal {
        session: Session<Proven>,
        login: String,
        verifier: ScramVerifier,
    },
    /// The client looks at the bridge's own proof.
    Proven {
        login: String,
        verifier: ScramVerifier,
    },
    Over,
}

impl<'a> Scram<'a> {
    pub fn new(entrance: Entrance<'a>) -> Self {
        Self { entrance, stage: Stage::ClientFirst }
    }

    pub fn step(&mut self, message: &[u8]) -> Result<Next, Malformed> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::ClientFirst => self.first(message),
            Stage::ClientFinal { session, login, verifier } => self.last(message, session, login, verifier),
            // Whatever it answers: RFC 5034 §4 wants an answer, and SCRAM has none.
            Stage::Proven { login, verifier } => Ok(claimed(login, Some(verifier))),
            Stage::Over => Err(Malformed),
        }
    }

    fn first(&mut self, message: &[u8]) -> Result<Next, Malformed> {
        let login = login(message)?;
        let Entrance { accounts, door, visitor, .. } = self.entrance;
        let verifier = door.verifier(accounts, &login, visitor).ok_or(Malformed)?;
        let mut session = session(verifier.clone()).ok_or(Malformed)?;
        let mut challenge = Vec::new();
        match session.step(Some(message), &mut challenge) {
            Ok(State::Running) => {
                self.stage = Stage::ClientFinal { session, login, verifier };
                Ok(Next::Challenge(challenge))
            }
            Ok(State::Finished(_)) | Err(_) => Err(Malformed),
        }
    }

    fn last(
        &mut self,
        message: &[u8],
        mut session: Session<Proven>,
        login: String,
        verifier: ScramVerifier,
    ) -> Result<Next, Malformed> {
        fields(message, [b"c=", b"r=", b"p="])?;
        let mut challenge = Vec::new();
        session.step(Some(message), &mut challenge).map_err(|_| Malformed)?;
        let Entrance { accounts, throttle, visitor, .. } = self.entrance;
        // The challenge would show that a guess is right, however many were wrong before it.
        let shut = throttle.shuts_out(visitor.address, &login, accounts);
        if shut || session.validation().is_none() {
            // Why is not told: `-ERR` is the same for all.
            return Ok(claimed(login, None));
        }
        self.stage = Stage::Proven { login, verifier };
        Ok(Next::Challenge(challenge))
    }
}

fn claimed(login: String, proven: Option<ScramVerifier>) -> Next {
    Next::Credentials(Credentials { login, claim: Claim::Scram(proven) })
}

/// The login in a client-first-message (RFC 5802 §7). Acting for somebody else is not offered.
fn login(message: &[u8]) -> Result<String, Malformed> {
    let message = match message {
        [b'n' | b'y', b',', rest @ ..] => rest,
        _ => return Err(Malformed),
    };
    let (acting_for, bare) = match message.strip_prefix(b",") {
        Some(bare) => (None, bare),
        None => {
            let end = message.iter().position(|&octet| octet == b',').ok_or(Malformed)?;
            let acting_for = message[..end].strip_prefix(b"a=").ok_or(Malformed)?;
            (Some(saslname(acting_for)?), &message[end + 1..])
        }
    };
    let [login, _nonce] = fields(bare, [b"n=", b"r="])?;
    let login = saslname(login)?;
    if acting_for.is_some_and(|acting_for| acting_for != login) {
        return Err(Malformed);
    }
    let login = prepared(login.as_bytes()).ok_or(Malformed)?;
    name(login.as_bytes())
}

/// The values of exactly these attributes, none of them empty. Extensions are not known to rsasl,
/// which would leave them out of what is signed.
fn fields<'m, const N: usize>(message: &'m [u8], names: [&[u8]; N]) -> Result<[&'m [u8]; N], Malformed> {
    let mut parts = message.split(|&octet| octet == b',');
    let mut values = [&[][..]; N];
    for (value, name) in values.iter_mut().zip(names) {
        let part = parts.next().and_then(|part| part.strip_prefix(name)).ok_or(Malformed)?;
        *value = Some(part).filter(|part| !part.is_empty()).ok_or(Malformed)?;
    }
    if parts.next().is_some() { Err(Malformed) } else { Ok(values) }
}

fn saslname(octets: &[u8]) -> Result<String, Malformed> {
    std::str::from_utf8(octets).ok().and_then(unescaped).ok_or(Malformed)
}

fn session(verifier: ScramVerifier) -> Option<Session<Proven>> {
    static MECHANISMS: &[rsasl::prelude::Mechanism] = &[SCRAM_SHA256];
    let config: Arc<SASLConfig> = SASLConfig::builder()
        .with_registry(Registry::with_mechanisms(MECHANISMS))
        .with_callback(Known(verifier))
        .ok()?;
    let name = Mechname::parse(Mechanism::ScramSha256.name().as_bytes()).ok()?;
    SASLServer::<Proven>::new(config).start_suggested(name).ok()
}

/// What the client's proof is checked against.
struct Known(ScramVerifier);

/// That the proof was good.
struct Proven;

impl Validation for Proven {
    type Value = ();
}

impl SessionCallback for Known {
    fn callback(
        &self,
        _session: &SessionData,
        _context: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        let verifier = &self.0;
        request.satisfy::<ScramStoredPassword<'_>>(&ScramStoredPassword::new(
            verifier.iterations(),
            verifier.salt(),
            verifier.stored_key(),
            verifier.server_key(),
        ))?;
        Ok(())
    }

    fn validate(
        &self,
        _session: &SessionData,
        _context: &Context<'_>,
        validate: &mut Validate<'_>,
    ) -> Result<(), ValidationError> {
        validate.with::<Proven, _>(|| Ok(()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Accounts, Door, Throttle, Visitor};
    use crate::config::Config;
    use rsasl::prelude::SASLClient;
    use std::net::{IpAddr, Ipv4Addr};
    use std::path::Path;

    /// Of "pencil".
    const VERIFIER: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    const ARGON2: &str =
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    const HOME: Visitor = Visitor { address: IpAddr::V4(Ipv4Addr::LOCALHOST), tls: false, certificate: None };

    struct House(Accounts, Door, Throttle);

    impl House {
        /// "pencil" opens "scanner", "a,b=c" and, under TLS, "secure"; "old" has an Argon2id hash.
        async fn new() -> Self {
            let mut text =
                "[upstream.a]\nurl = \"imaps://a.example\"\ndomains = [\"a.example\"]\n".to_owned();
            for (login, hash, more) in [
                ("scanner", VERIFIER, ""),
                ("a,b=c", VERIFIER, ""),
                ("secure", VERIFIER, "require_tls = true"),
                ("old", ARGON2, ""),
            ] {
                text += &format!(
                    "[[account]]\nlogin = \"{login}\"\nupstream = \"a\"\npassword_hash = \"{hash}\"\n\
                     password_env = \"CARGO_PKG_NAME\"\n{more}\n"
                );
            }
            let config = Config::parse(&text, "test", Path::new(".")).expect("a configuration");
            let keyring = crate::secret::Keyring::in_memory().expect("random numbers");
            let door = Door::new(&config.accounts, &keyring).await.expect("a key");
            let throttle = Throttle::new(&config.security).expect("random numbers");
            Self(Accounts::new(config.upstreams, config.accounts), door, throttle)
        }

        fn start(&self, visitor: Visitor) -> Scram<'_> {
            let Self(accounts, door, throttle) = self;
            Scram::new(Entrance { accounts, door, throttle, visitor })
        }

        /// The whole exchange with rsasl's client; what the bridge makes of it at the end.
        fn exchange(&self, login: &str, password: &str, visitor: Visitor) -> Option<ScramVerifier> {
            let config = SASLConfig::with_credentials(None, login.to_owned(), password.to_owned());
            let name = Mechname::parse(b"SCRAM-SHA-256").expect("a name");
            let client = SASLClient::new(config.expect("a client"));
            let mut client = client.start_suggested(&[name]).expect("a session");
            let mut server = self.start(visitor);
            let mut message = Vec::new();
            client.step(None, &mut message).expect("client-first");
            loop {
                match server.step(&message).expect("a good client") {
                    Next::Challenge(challenge) => {
                        message.clear();
                        client.step(Some(&challenge), &mut message).expect("the server proves itself");
                    }
                    Next::Credentials(Credentials { login: named, claim: Claim::Scram(proven) }) => {
                        assert_eq!(named, login);
                        return proven;
                    }
                    Next::Credentials(other) => panic!("{other:?}"),
                }
            }
        }

        /// The salt and the iterations that a client is told.
        fn told(&self, login: &str, visitor: Visitor) -> String {
            let first = format!("n,,n={login},r=nonce");
            let Ok(Next::Challenge(challenge)) = self.start(visitor).step(first.as_bytes()) else {
                panic!("{login}: no challenge");
            };
            let challenge = String::from_utf8(challenge).expect("text");
            let rest = challenge.strip_prefix("r=nonce").expect("the client's nonce");
            rest.split_once(',').expect("more behind the nonce").1.to_owned()
        }
    }

    #[tokio::test]
    async fn only_the_password_is_proven() {
        let house = House::new().await;
        let verifier = ScramVerifier::parse(VERIFIER).ok();
        assert_eq!(house.exchange("scanner", "pencil", HOME), verifier);
        assert_eq!(house.exchange("scanner+Work", "pencil", HOME), verifier, "a folder is behind it");
        let secure = Visitor { tls: true, ..HOME };
        assert_eq!(house.exchange("secure", "pencil", secure), verifier);
        for (login, password) in
            [("scanner", "Pencil"), ("secure", "pencil"), ("old", "password"), ("nobody", "pencil")]
        {
            assert_eq!(house.exchange(login, password, HOME), None, "{login}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_guessed_too_often_is_not_shown_that_a_guess_is_right() {
        let house = House::new().await;
        for _ in 0..5 {
            house.2.malformed(HOME.address);
        }
        assert_eq!(house.exchange("scanner", "pencil", HOME), None);
        let elsewhere = Visitor { address: [192, 0, 2, 1].into(), ..HOME };
        assert!(house.exchange("scanner", "pencil", elsewhere).is_some());
    }

    #[tokio::test]
    async fn what_a_stranger_is_told_shows_no_logins() {
        let house = House::new().await;
        let secure = Visitor { tls: true, ..HOME };
        let real = house.told("scanner", HOME);
        assert_eq!(real, "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        assert_eq!(house.told("secure", HOME), house.told("secure", secure));
        for login in ["scanner", "old", "nobody", "x@a.example"] {
            let told = house.told(login, HOME);
            assert_eq!(told, house.told(login, HOME), "{login}: the same each time");
            assert_eq!(told, house.told(&format!("{login}+Work"), HOME), "{login}: and for a folder");
            assert_eq!((told.len(), told.ends_with(",i=4096")), (real.len(), true), "{login}: {told}");
        }
        assert_ne!(house.told("nobody", HOME), house.told("nobodz", HOME));
    }

    #[test]
    fn names_are_unescaped_and_prepared() {
        for (first, expected) in [
            (&b"n,,n=a=2Cb=3Dc,r=x"[..], "a,b=c"),
            (b"y,,n=scanner,r=x", "scanner"),
            (b"n,a=scanner,n=scanner,r=x", "scanner"),
            ("n,,n=u\u{308},r=x".as_bytes(), "ü"),
        ] {
            assert_eq!(login(first).as_deref(), Ok(expected));
        }
    }

    /// Some of these make rsasl panic.
    #[tokio::test]
    async fn what_is_malformed_is_refused() {
        let house = House::new().await;
        for first in [
            &b""[..],
            b"n",
            b"n,",
            b"n,,",
            b"n,,n",
            b"n,x,n=scanner,r=x",
            b"n,,,r=x",
            b"n,,n=,r=x",
            b"n,,n=scanner",
            b"n,,n=scanner,",
            b"n,,n=scanner,r",
            b"n,,n=scanner,r=",
            b"n,,n=scanner,r=\x01",
            b"n,,n=scanner,r=x,y=z",
            b"n,,m=ext,n=scanner,r=x",
            b"n,,n=scan=ner,r=x",
            b"n,,n=scan=,r=x",
            b"n,,n=scan\x01ner,r=x",
            b"n,,n=\xff,r=x",
            b"n,a=other,n=scanner,r=x",
            b"p=tls-unique,,n=scanner,r=x",
        ] {
            assert_eq!(house.start(HOME).step(first), Err(Malformed), "{}", first.escape_ascii());
        }
        for last in [
            &b""[..],
            b"c",
            b"c=biws",
            b"c=biws,r",
            b"c=biws,r=x",
            b"c=biws,r=x,",
            b"c=biws,r=x,p",
            b"c=biws,r=x,p=",
            b"c=biws,r=x,e=f,p=AAAA",
            b"c=biws,r=x,p=AAAA,",
            b"c=!,r=x,p=AAAA",
        ] {
            let mut server = house.start(HOME);
            assert!(server.step(b"n,,n=scanner,r=x").is_ok());
            assert_eq!(server.step(last), Err(Malformed), "{}", last.escape_ascii());
            assert_eq!(server.step(last), Err(Malformed), "it is over");
        }
        // A proof of another length, another nonce, another header: of the right form, but wrong.
        for last in [
            "c=biws,r=x,p=AAAA",
            "c=eSws,r=NONCE,p=AAAA",
            "c=biws,r=NONCE,p=AAAA",
            "c=biws,r=NONCE,p=!",
            "c=biws,r=NONCE,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            let mut server = house.start(HOME);
            let Ok(Next::Challenge(challenge)) = server.step(b"n,,n=scanner,r=x") else {
                panic!("no challenge")
            };
            let challenge = String::from_utf8(challenge).expect("text");
            let nonce = challenge[2..].split(',').next().expect("a nonce");
            let step = server.step(last.replace("NONCE", nonce).as_bytes());
            let wrong = Ok(claimed("scanner".to_owned(), None));
            assert!(step == wrong || step == Err(Malformed), "{last}: {step:?}");
        }
    }
}
