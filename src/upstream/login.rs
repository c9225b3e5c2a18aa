//! A login through the framer: async-imap would print it at TRACE. Names and passwords are written so
//! that any octets of them arrive.

use tokio::time::timeout;
use zeroize::Zeroizing;

use super::error::{Error, Result};
use super::mechanism::Mechanism;
use super::response::{Capabilities, Code, Outcome, Response, Status};
use super::sasl;
use super::wire::{Step, Wire};
use crate::config::Upstream;
use crate::secret::{Credential, Secret};

/// Logs in by this mechanism and gives what the server says, in the same breath, that it offers now.
///
/// [`Error::Login`] where the server says NO or BAD.
pub async fn log_in(
    wire: &mut Wire,
    upstream: &Upstream,
    capabilities: &Capabilities,
    mechanism: Mechanism,
    username: &str,
    credential: &Credential,
) -> Result<Option<Capabilities>> {
    let deadline = wire.deadline();
    let login = async {
        match mechanism {
            Mechanism::LoginCommand => login(wire, capabilities, username, credential.secret()).await,
            _ => {
                let client = sasl::Client::new(mechanism, upstream, username, credential)?;
                sasl::authenticate(wire, mechanism, client, capabilities.has("SASL-IR")).await
            }
        }
    };
    // All of it: a server could go on without an end otherwise.
    match timeout(deadline, login).await {
        Ok(result) => result,
        Err(_) => Err(wire.fail(Error::Timeout(deadline))),
    }
}

/// Octets of a literal that LITERAL- lets a client send at once (RFC 7888 §5).
const SHORT: usize = 4096;

/// The LOGIN command: quoted where quoting can carry both, with literals where not.
async fn login(
    wire: &mut Wire,
    capabilities: &Capabilities,
    username: &str,
    password: &Secret,
) -> Result<Option<Capabilities>> {
    let mut dialogue = match quoted_login(username, password) {
        Some(command) => Dialogue::begin(wire, &command).await?,
        None => {
            let short = [username.as_bytes(), password.expose()].iter().all(|text| text.len() <= SHORT);
            let at_once = capabilities.has("LITERAL+") || (capabilities.has("LITERAL-") && short);
            match literals(wire, at_once, username, password).await? {
                (dialogue, None) => dialogue,
                (_, Some(status)) => return Err(Error::Login(status)),
            }
        }
    };
    loop {
        if let Heard::End(status) = dialogue.hear().await? {
            return if status.outcome == Outcome::Ok {
                Ok(dialogue.offered)
            } else {
                Err(Error::Login(status))
            };
        }
    }
}

/// LOGIN with quoted strings (RFC 3501 §4.3): only for what they can carry.
fn quoted_login(username: &str, password: &Secret) -> Option<Zeroizing<String>> {
    let quote = |octets: &[u8]| {
        let text = std::str::from_utf8(octets).ok()?;
        let plain = text.bytes().all(|octet| octet == b' ' || octet.is_ascii_graphic());
        plain.then(|| text.replace('\\', "\\\\").replace('"', "\\\""))
    };
    let username = quote(username.as_bytes())?;
    let password = Zeroizing::new(quote(password.expose())?);
    Some(Zeroizing::new(format!("LOGIN \"{username}\" \"{}\"", *password)))
}

/// LOGIN with both arguments as literals (RFC 3501 §4.3), without waiting where LITERAL+ or
/// LITERAL- allows (RFC 7888). A server may answer before it has both.
async fn literals<'a>(
    wire: &'a mut Wire,
    at_once: bool,
    username: &str,
    password: &Secret,
) -> Result<(Dialogue<'a>, Option<Status>)> {
    let plus = if at_once { "+" } else { "" };
    let announce = |length: usize| format!("{{{length}{plus}}}");
    let mut dialogue = Dialogue::begin(wire, &format!("LOGIN {}", announce(username.len()))).await?;
    let then = format!(" {}", announce(password.expose().len()));
    for octets in [[username.as_bytes(), then.as_bytes()].concat(), password.expose().to_vec()] {
        let octets = Zeroizing::new(octets);
        if !at_once && let Heard::End(status) = dialogue.hear().await? {
            return Ok((dialogue, Some(status)));
        }
        dialogue.say(&octets).await?;
    }
    Ok((dialogue, None))
}

/// One command that goes on in turns. Dropped before its end, it leaves the connection of no more
/// use.
pub struct Dialogue<'a> {
    wire: &'a mut Wire,
    tag: u32,
    /// The capabilities that came meanwhile.
    pub offered: Option<Capabilities>,
}

/// What the server said.
pub enum Heard {
    /// `+ …`
    Challenge(Vec<u8>),
    /// The tagged end.
    End(Status),
}

impl<'a> Dialogue<'a> {
    /// Sends the command.
    pub async fn begin(wire: &'a mut Wire, command: &str) -> Result<Self> {
        wire.check_idle()?;
        let tag = wire.send(&[command]).await?;
        Ok(Self { wire, tag, offered: None })
    }

    /// Sends one more line.
    pub async fn say(&mut self, text: &[u8]) -> Result<()> {
        self.wire.send_raw(&Zeroizing::new([text, b"\r\n"].concat())).await
    }

    /// Waits for the next challenge or the end.
    pub async fn hear(&mut self) -> Result<Heard> {
        loop {
            // A response with a literal, and what follows it, is nothing that was asked for.
            let Step::Line { text, continues: false, literal: None } = self.wire.step().await? else {
                continue;
            };
            match Response::parse(self.wire.octets(&text)) {
                Response::Continue(text) => return Ok(Heard::Challenge(text.to_vec())),
                Response::Tagged { tag, status } => {
                    let tag = tag.to_vec();
                    if self.wire.finished(&tag, &status) != Some(self.tag) {
                        return Err(self.fail("an unknown tag"));
                    }
                    if let Some(Code::Capability(offered)) = &status.code {
                        self.offered = Some(offered.clone());
                    }
                    return Ok(Heard::End(status));
                }
                Response::Untagged(status) if status.outcome == Outcome::Bye => {
                    return Err(self.wire.fail(Error::Bye(status)));
                }
                Response::Capability(offered) => self.offered = Some(offered),
                _ => {}
            }
        }
    }

    /// The connection is of no more use, for this reason.
    pub fn fail(&mut self, reason: &'static str) -> Error {
        self.wire.fail(Error::Protocol(reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_carries_only_printable_ascii() {
        let login = |name: &str, password: &[u8]| {
            quoted_login(name, &Secret::new(password.to_vec())).map(|command| command.to_string())
        };
        assert_eq!(login("al\"ice", b"a b\\").as_deref(), Some(r#"LOGIN "al\"ice" "a b\\""#));
        for password in [&b"line\r\nA2 LOGOUT"[..], b"caf\xc3\xa9", b"caf\xe9", b"tab\t"] {
            assert_eq!(login("alice", password), None, "{password:?}");
        }
    }
}
