//! AUTHENTICATE (RFC 3501 §6.2.2): challenges and responses, whatever the mechanism.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::bearer::Bearer;
use super::error::{Error, Result};
use super::login::{Dialogue, Heard};
use super::mechanism::Mechanism;
use super::response::{Capabilities, Code, Outcome, Status};
use super::scram::Scram;
use super::wire::Wire;
use crate::config::Upstream;
use crate::secret::{Credential, Secret};

/// Of a challenge, in base64. SCRAM's and an error's are far shorter.
const MAX_CHALLENGE: usize = 8 * 1024;

/// The client's side of a mechanism.
pub enum Client {
    /// rsasl would prepare the password (SASLprep), but it is the server's to judge.
    Plain(Zeroizing<Vec<u8>>),
    /// What is still to be said: the user name, the password.
    Login(Vec<Secret>),
    Bearer(Bearer),
    Scram(Scram),
}

impl Client {
    /// [`Error::Login`] where no server would take it: what is no access token is refused here.
    pub fn new(
        mechanism: Mechanism,
        upstream: &Upstream,
        username: &str,
        credential: &Credential,
    ) -> Result<Self> {
        let secret = credential.secret();
        let client = match mechanism {
            Mechanism::OAuthBearer | Mechanism::XOAuth2 => {
                Bearer::new(mechanism, &upstream.host, upstream.port, username, secret).map(Self::Bearer)
            }
            Mechanism::ScramSha256 => Scram::new(username, secret).map(Self::Scram),
            // The server asks for the name first: taken from the end.
            Mechanism::Login => Some(Self::Login(vec![secret.clone(), Secret::new(username.into())])),
            Mechanism::Plain | Mechanism::LoginCommand => Some(Self::Plain(plain(username, secret))),
        };
        client.ok_or_else(|| {
            let text = match credential {
                Credential::Token(_) => {
                    "what was given is no access token (RFC 6750), and this upstream takes no password"
                }
                Credential::Password(_) => "the user name cannot be written in this mechanism",
            };
            let code = Some(Code::AuthenticationFailed);
            Error::Login(Status { outcome: Outcome::No, code, text: text.to_owned() })
        })
    }

    /// What it says of its own accord, if it is the one to begin.
    fn first(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::Plain(message) => Some(std::mem::take(message)),
            Self::Login(_) => None,
            Self::Bearer(bearer) => Some(bearer.message()),
            Self::Scram(scram) => scram.message(),
        }
    }

    /// What it says to a challenge.
    async fn respond(&mut self, challenge: &[u8]) -> std::result::Result<Zeroizing<Vec<u8>>, &'static str> {
        match self {
            Self::Plain(_) => Err("a challenge behind the end of PLAIN"),
            // Whatever it is called: servers differ in the words.
            Self::Login(left) => match left.pop() {
                Some(next) => Ok(Zeroizing::new(next.expose().to_vec())),
                None => Err("a challenge behind the end of AUTHENTICATE LOGIN"),
            },
            Self::Bearer(bearer) => bearer.respond(&decoded(challenge)?),
            Self::Scram(scram) => scram.respond(decoded(challenge)?).await,
        }
    }

    /// Whether an OK may come now.
    fn is_done(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Login(left) => left.is_empty(),
            Self::Bearer(bearer) => bearer.is_done(),
            Self::Scram(scram) => scram.is_done(),
        }
    }

    fn explain(&self, status: Status) -> Status {
        match self {
            Self::Bearer(bearer) => bearer.explain(status),
            Self::Plain(_) | Self::Login(_) | Self::Scram(_) => status,
        }
    }
}

/// Runs AUTHENTICATE to its tagged end; `at_once`: the first message goes with the command
/// (SASL-IR, RFC 4959 §3). Gives the capabilities that the server told meanwhile.
///
/// A NO or BAD is [`Error::Login`] and leaves the connection usable, an OK before the mechanism's
/// end is none.
pub async fn authenticate(
    wire: &mut Wire,
    mechanism: Mechanism,
    mut client: Client,
    at_once: bool,
) -> Result<Option<Capabilities>> {
    let mut first = client.first();
    let mut command = Zeroizing::new(mechanism.to_string());
    if at_once && let Some(message) = first.take() {
        *command = [command.as_str(), " ", &encoded(&message)].concat();
    }
    let mut dialogue = Dialogue::begin(wire, &command).await?;
    loop {
        match dialogue.hear().await? {
            Heard::Challenge(challenge) => {
                // The first one only asks for the first message; some servers put words there.
                let response = match first.take() {
                    Some(message) => Ok(message),
                    None => client.respond(&challenge).await,
                };
                let response = response.map_err(|reason| dialogue.fail(reason))?;
                dialogue.say(encoded(&response).as_bytes()).await?;
            }
            Heard::End(status) if status.outcome != Outcome::Ok => {
                return Err(Error::Login(client.explain(status)));
            }
            Heard::End(_) if first.is_some() || !client.is_done() => {
                return Err(dialogue.fail("an OK before the end of the login"));
            }
            Heard::End(_) => return Ok(dialogue.offered),
        }
    }
}

/// The message of SASL PLAIN (RFC 4616 §2), without an authorisation identity.
fn plain(username: &str, password: &Secret) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([b"\0", username.as_bytes(), b"\0", password.expose()].concat())
}

fn encoded(octets: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(STANDARD.encode(octets))
}

fn decoded(challenge: &[u8]) -> std::result::Result<Vec<u8>, &'static str> {
    if challenge.len() > MAX_CHALLENGE {
        return Err("a challenge over 8 KiB");
    }
    STANDARD.decode(challenge.trim_ascii()).map_err(|_| "a challenge that is no base64")
}
