//! AUTH PLAIN and LOGIN, the server's side (RFC 5034).

use rsasl::callback::{Context, SessionCallback, SessionData};
use rsasl::mechanisms::login::LOGIN;
use rsasl::prelude::{Mechname, Registry, SASLConfig, SASLServer, Session, State};
use rsasl::property::{AuthId, Password};
use rsasl::validate::{Validate, Validation, ValidationError};
use zeroize::Zeroizing;

use super::Credentials;
use crate::secret::Secret;

/// What the client said makes no sense in its mechanism.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// What comes next in an exchange.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Sent to the client, which then answers.
    Challenge(Vec<u8>),
    /// The exchange is over.
    Credentials(Credentials),
}

/// One AUTH command on its way.
pub struct Exchange(Mechanism);

enum Mechanism {
    // One line: rsasl would pass the password through SASLprep, but it is the upstream's to judge.
    Plain,
    Login(Box<Session<Captured>>),
}

impl Exchange {
    /// The mechanisms, as CAPA and AUTH list them.
    pub const MECHANISMS: [&'static str; 2] = ["PLAIN", "LOGIN"];

    /// Starts the mechanism of this name (upper case); `None` for one that is not offered.
    pub fn start(mechanism: &str) -> Option<Self> {
        match mechanism {
            "PLAIN" => Some(Self(Mechanism::Plain)),
            "LOGIN" => login_session().map(|session| Self(Mechanism::Login(Box::new(session)))),
            _ => None,
        }
    }

    /// Takes the client's decoded response; `None` before its first when none came with AUTH.
    pub fn step(&mut self, response: Option<&[u8]>) -> Result<Next, Malformed> {
        match (&mut self.0, response) {
            (Mechanism::Plain, None) => Ok(Next::Challenge(Vec::new())),
            (Mechanism::Plain, Some(message)) => plain(message).map(Next::Credentials),
            (Mechanism::Login(session), response) => login(session, response),
        }
    }

    /// Takes the initial response that came with AUTH: in LOGIN it answers the first prompt.
    pub fn initial(&mut self, response: Option<&[u8]>) -> Result<Next, Malformed> {
        if let (Mechanism::Login(session), Some(_)) = (&mut self.0, response) {
            login(session, None)?;
        }
        self.step(response)
    }
}

/// `authzid NUL authcid NUL password` (RFC 4616 §2). Acting for somebody else is not offered.
fn plain(message: &[u8]) -> Result<Credentials, Malformed> {
    let mut parts = message.split(|&octet| octet == 0);
    let (Some(acting_for), Some(login), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Malformed);
    };
    if !acting_for.is_empty() && acting_for != login {
        return Err(Malformed);
    }
    credentials(login, password)
}

fn credentials(login: &[u8], password: &[u8]) -> Result<Credentials, Malformed> {
    let login = std::str::from_utf8(login).map_err(|_| Malformed)?;
    if login.is_empty() || login.contains(char::is_control) || password.contains(&0) {
        return Err(Malformed);
    }
    Ok(Credentials { login: login.to_owned(), password: Secret::new(password.to_vec()) })
}

fn login(session: &mut Session<Captured>, response: Option<&[u8]>) -> Result<Next, Malformed> {
    let mut challenge = Zeroizing::new(Vec::new());
    match session.step(response, &mut *challenge) {
        Ok(State::Running) => Ok(Next::Challenge(challenge.to_vec())),
        Ok(State::Finished(_)) => session.validation().ok_or(Malformed)?.map(Next::Credentials),
        Err(_) => Err(Malformed),
    }
}

fn login_session() -> Option<Session<Captured>> {
    static MECHANISMS: &[rsasl::prelude::Mechanism] = &[LOGIN];
    let config = SASLConfig::builder()
        .with_registry(Registry::with_mechanisms(MECHANISMS))
        .with_callback(Capture)
        .ok()?;
    SASLServer::<Captured>::new(config).start_suggested(Mechname::parse(b"LOGIN").ok()?).ok()
}

/// Takes the credentials out of rsasl; whether they are right is the upstream's to say.
struct Capture;

struct Captured;

impl Validation for Captured {
    type Value = Result<Credentials, Malformed>;
}

impl SessionCallback for Capture {
    fn validate(
        &self,
        _session: &SessionData,
        context: &Context<'_>,
        validate: &mut Validate<'_>,
    ) -> Result<(), ValidationError> {
        validate.with::<Captured, _>(|| {
            let login = context.get_ref::<AuthId>().unwrap_or_default();
            let password = context.get_ref::<Password>().unwrap_or_default();
            Ok(credentials(login.as_bytes(), password))
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(login: &str, password: &[u8]) -> Result<Next, Malformed> {
        credentials(login.as_bytes(), password).map(Next::Credentials)
    }

    #[test]
    fn plain_with_and_without_initial_response() {
        let mut exchange = Exchange::start("PLAIN").expect("offered");
        assert_eq!(exchange.initial(Some(b"\0bob\0pa ss")), done("bob", b"pa ss"));
        let mut exchange = Exchange::start("PLAIN").expect("offered");
        assert_eq!(exchange.initial(None), Ok(Next::Challenge(Vec::new())));
        assert_eq!(exchange.step(Some(b"bob\0bob\0secret")), done("bob", b"secret"));
    }

    #[test]
    fn plain_takes_nothing_else() {
        for message in [&b""[..], b"bob", b"\0bob", b"eve\0bob\0secret", b"\0\0secret", b"\0bob\0a\0b"] {
            let mut exchange = Exchange::start("PLAIN").expect("offered");
            assert_eq!(exchange.initial(Some(message)), Err(Malformed), "{message:?}");
        }
    }

    #[test]
    fn login_asks_twice_or_once() {
        let mut exchange = Exchange::start("LOGIN").expect("offered");
        assert!(matches!(exchange.initial(None), Ok(Next::Challenge(_))));
        assert!(matches!(exchange.step(Some(b"bob")), Ok(Next::Challenge(_))));
        assert_eq!(exchange.step(Some(b"\xffcret")), done("bob", b"\xffcret"));
        let mut exchange = Exchange::start("LOGIN").expect("offered");
        assert!(matches!(exchange.initial(Some(b"bob")), Ok(Next::Challenge(_))));
        assert_eq!(exchange.step(Some(b"secret")), done("bob", b"secret"));
    }

    #[test]
    fn login_refuses_nonsense() {
        let mut exchange = Exchange::start("LOGIN").expect("offered");
        assert!(matches!(exchange.initial(None), Ok(Next::Challenge(_))));
        assert_eq!(exchange.step(Some(b"\xff\xfe")), Err(Malformed));
        assert!(Exchange::start("CRAM-MD5").is_none());
    }
}
