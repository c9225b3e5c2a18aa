//! AUTH, the server's side (RFC 4422, RFC 5034): what mechanisms there are, and the exchange of
//! each. What rsasl does not let be seen before it judges is kept in `capture`; `scram` is the one
//! mechanism that proves something before the client is let in.

mod capture;
mod scram;
mod token;

use super::{Claim, Credentials, Entrance};
use crate::secret::Secret;
use capture::{Capture, Step};
use scram::Scram;

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

/// The mechanisms that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616
    Plain,
    /// draft-murchison-sasl-login
    Login,
    /// RFC 7677
    ScramSha256,
    /// RFC 4422, appendix A
    External,
    /// RFC 7628
    OAuthBearer,
    /// As Google has it; older than the RFC.
    XOAuth2,
}

impl Mechanism {
    /// In the order in which they are listed: some programs take the first that they know.
    pub const ALL: [Self; 6] =
        [Self::Plain, Self::Login, Self::ScramSha256, Self::External, Self::OAuthBearer, Self::XOAuth2];

    /// As CAPA and AUTH list it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::External => "EXTERNAL",
            Self::OAuthBearer => "OAUTHBEARER",
            Self::XOAuth2 => "XOAUTH2",
        }
    }

    /// Whether who listens could log in with what is said: a password or a token.
    pub fn is_plaintext(self) -> bool {
        match self {
            Self::Plain | Self::Login | Self::OAuthBearer | Self::XOAuth2 => true,
            Self::ScramSha256 | Self::External => false,
        }
    }
}

/// One AUTH command on its way.
pub struct Exchange<'a>(Kind<'a>);

enum Kind<'a> {
    // One line: rsasl would pass the password through SASLprep, but it is the upstream's to judge.
    Plain,
    Login(Capture),
    Scram(Box<Scram<'a>>),
    External(Capture, Entrance<'a>),
    OAuthBearer(Capture),
    XOAuth2(Capture),
}

impl<'a> Exchange<'a> {
    /// Starts a mechanism; `None` for one that cannot be had.
    pub fn start(mechanism: Mechanism, entrance: Entrance<'a>) -> Option<Self> {
        let capture = || Capture::new(mechanism);
        Some(Self(match mechanism {
            Mechanism::Plain => Kind::Plain,
            Mechanism::Login => Kind::Login(capture()?),
            Mechanism::ScramSha256 => Kind::Scram(Box::new(Scram::new(entrance))),
            Mechanism::External => Kind::External(capture()?, entrance),
            Mechanism::OAuthBearer => Kind::OAuthBearer(capture()?),
            Mechanism::XOAuth2 => Kind::XOAuth2(capture()?),
        }))
    }

    /// Takes the client's decoded response; `None` before its first when none came with AUTH.
    pub fn step(&mut self, response: Option<&[u8]>) -> Result<Next, Malformed> {
        let credentials = match (&mut self.0, response) {
            (Kind::Login(capture), response) => return login(capture, response),
            // In all others the client begins.
            (_, None) => return Ok(Next::Challenge(Vec::new())),
            (Kind::Plain, Some(message)) => plain(message),
            (Kind::Scram(scram), Some(message)) => return scram.step(message),
            (Kind::External(capture, entrance), Some(message)) => external(capture, *entrance, message),
            (Kind::OAuthBearer(capture), Some(message)) => token::oauthbearer(capture, message),
            (Kind::XOAuth2(capture), Some(message)) => token::xoauth2(capture, message),
        };
        credentials.map(Next::Credentials)
    }

    /// Takes the initial response that came with AUTH: in LOGIN it answers the first prompt.
    pub fn initial(&mut self, response: Option<&[u8]>) -> Result<Next, Malformed> {
        if let (Kind::Login(capture), Some(_)) = (&mut self.0, response) {
            login(capture, None)?;
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
    password_of(login, Secret::new(password.to_vec()))
}

fn login(capture: &mut Capture, response: Option<&[u8]>) -> Result<Next, Malformed> {
    match capture.step(response)? {
        Step::Challenge(challenge) => Ok(Next::Challenge(challenge)),
        Step::Said(said) => {
            password_of(said.authentication_id.as_bytes(), said.password).map(Next::Credentials)
        }
    }
}

/// The login that the client names or, if it names none, the only one that its certificate opens
/// (RFC 4422, appendix A). If that is none or one of several, it stays without a name, and the door
/// says no.
fn external(
    capture: &mut Capture,
    Entrance { accounts, visitor, .. }: Entrance<'_>,
    message: &[u8],
) -> Result<Credentials, Malformed> {
    let Step::Said(said) = capture.step(Some(message))? else { return Err(Malformed) };
    let login = if said.authorization_id.is_empty() {
        let only = visitor.certificate.and_then(|certificate| accounts.opened_by(&certificate));
        only.unwrap_or_default().to_owned()
    } else {
        name(said.authorization_id.as_bytes())?
    };
    Ok(Credentials { login, claim: Claim::Certificate })
}

fn password_of(login: &[u8], password: Secret) -> Result<Credentials, Malformed> {
    if password.expose().contains(&0) {
        return Err(Malformed);
    }
    Ok(Credentials { login: name(login)?, claim: Claim::Password(password) })
}

/// A login's name.
fn name(octets: &[u8]) -> Result<String, Malformed> {
    let name = std::str::from_utf8(octets).map_err(|_| Malformed)?;
    if name.is_empty() || name.contains(char::is_control) {
        return Err(Malformed);
    }
    Ok(name.to_owned())
}

/// A `saslname` with its `=2C` and `=3D` read (RFC 5801 §4).
fn unescaped(text: &str) -> Option<String> {
    let mut parts = text.split('=');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let (escaped, rest) = [("2C", ','), ("3D", '=')]
            .into_iter()
            .find_map(|(code, letter)| Some((letter, part.strip_prefix(code)?)))?;
        name.push(escaped);
        name.push_str(rest);
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Accounts, Door, Throttle, Visitor};
    use crate::config::Config;
    use crate::secret::Keyring;
    use std::net::{IpAddr, Ipv4Addr};
    use std::path::Path;

    fn done(login: &str, password: &[u8]) -> Result<Next, Malformed> {
        let claim = Claim::Password(Secret::new(password.to_vec()));
        Ok(Next::Credentials(Credentials { login: login.to_owned(), claim }))
    }

    struct House(Accounts, Door, Throttle);

    impl House {
        async fn new() -> Self {
            let text = "[upstream.a]\nurl = \"imaps://a.example\"\n";
            let config = Config::parse(text, "test", Path::new(".")).expect("a configuration");
            let keyring = Keyring::in_memory().expect("random numbers");
            let door = Door::new(&config.accounts, &keyring).await.expect("a key");
            let throttle = Throttle::new(&config.security).expect("random numbers");
            Self(Accounts::new(config.upstreams, config.accounts), door, throttle)
        }

        fn start(&self, mechanism: Mechanism) -> Exchange<'_> {
            let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let visitor = Visitor { address, tls: false, certificate: None };
            let Self(accounts, door, throttle) = self;
            Exchange::start(mechanism, Entrance { accounts, door, throttle, visitor }).expect("rsasl has it")
        }
    }

    #[tokio::test]
    async fn plain_with_and_without_initial_response() {
        let house = House::new().await;
        let mut exchange = house.start(Mechanism::Plain);
        assert_eq!(exchange.initial(Some(b"\0bob\0pa ss")), done("bob", b"pa ss"));
        let mut exchange = house.start(Mechanism::Plain);
        assert_eq!(exchange.initial(None), Ok(Next::Challenge(Vec::new())));
        assert_eq!(exchange.step(Some(b"bob\0bob\0secret")), done("bob", b"secret"));
    }

    #[tokio::test]
    async fn plain_takes_nothing_else() {
        let house = House::new().await;
        for message in [&b""[..], b"bob", b"\0bob", b"eve\0bob\0secret", b"\0\0secret", b"\0bob\0a\0b"] {
            let mut exchange = house.start(Mechanism::Plain);
            assert_eq!(exchange.initial(Some(message)), Err(Malformed), "{message:?}");
        }
    }

    #[tokio::test]
    async fn login_asks_twice_or_once() {
        let house = House::new().await;
        let mut exchange = house.start(Mechanism::Login);
        assert!(matches!(exchange.initial(None), Ok(Next::Challenge(_))));
        assert!(matches!(exchange.step(Some(b"bob")), Ok(Next::Challenge(_))));
        assert_eq!(exchange.step(Some(b"\xffcret")), done("bob", b"\xffcret"));
        let mut exchange = house.start(Mechanism::Login);
        assert!(matches!(exchange.initial(Some(b"bob")), Ok(Next::Challenge(_))));
        assert_eq!(exchange.step(Some(b"secret")), done("bob", b"secret"));
    }

    #[tokio::test]
    async fn login_refuses_nonsense() {
        let house = House::new().await;
        let mut exchange = house.start(Mechanism::Login);
        assert!(matches!(exchange.initial(None), Ok(Next::Challenge(_))));
        assert_eq!(exchange.step(Some(b"\xff\xfe")), Err(Malformed));
    }

    #[tokio::test]
    async fn all_but_login_wait_for_the_client() {
        let house = House::new().await;
        for mechanism in Mechanism::ALL {
            let expected = if mechanism == Mechanism::Login { &b"User Name\0"[..] } else { b"" };
            assert_eq!(house.start(mechanism).initial(None), Ok(Next::Challenge(expected.to_vec())));
        }
    }

    #[test]
    fn a_name_is_unescaped() {
        for (text, name) in [
            ("", Some("")),
            ("a", Some("a")),
            ("=2C", Some(",")),
            ("a=3Db=2Cc", Some("a=b,c")),
            ("=3D2C", Some("=2C")),
            ("=", None),
            ("a=2", None),
            ("=2c", None),
            ("==2C", None),
        ] {
            assert_eq!(unescaped(text).as_deref(), name, "{text}");
        }
    }
}
