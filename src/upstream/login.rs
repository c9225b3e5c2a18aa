//! How a user name and a password are written in a login, so that any octets of them arrive.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::control::Imap;
use super::error::{Error, Result};
use super::response::{Outcome, Response, Status};
use super::wire::{Step, Wire};
use crate::secret::Secret;

/// The message of SASL PLAIN (RFC 4616 §2), without an authorisation identity.
pub fn plain(username: &str, password: &Secret) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([b"\0", username.as_bytes(), b"\0", password.expose()].concat())
}

pub fn initial_response(username: &str, password: &Secret) -> Zeroizing<String> {
    Zeroizing::new(STANDARD.encode(&*plain(username, password)))
}

/// LOGIN with quoted strings (RFC 3501 §4.3): only for what they can carry.
pub fn quoted_login(username: &str, password: &Secret) -> Option<Zeroizing<String>> {
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
/// LITERAL- allows (RFC 7888). async-imap sends a command only whole, so this is the framer's.
pub async fn login_with_literals(imap: &mut Imap, username: &str, password: &Secret) -> Result<()> {
    let capabilities = imap.capabilities();
    let at_once = capabilities.has("LITERAL+") || capabilities.has("LITERAL-");
    let wire = imap.wire()?;
    wire.check_idle()?;
    let plus = if at_once { "+" } else { "" };
    let announce = |length: usize| format!("{{{length}{plus}}}");
    wire.send(&[&format!("LOGIN {}", announce(username.len()))]).await?;
    let then = format!(" {}\r\n", announce(password.expose().len()));
    for octets in [[username.as_bytes(), then.as_bytes()], [password.expose(), b"\r\n"]] {
        if !at_once && let Some(status) = answer(wire).await? {
            return Err(refused("LOGIN", status));
        }
        wire.send_raw(&Zeroizing::new(octets.concat())).await?;
    }
    loop {
        match answer(wire).await? {
            Some(status) if status.outcome == Outcome::Ok => return Ok(()),
            Some(status) => return Err(refused("LOGIN", status)),
            None => {}
        }
    }
}

fn refused(command: &'static str, status: Status) -> Error {
    Error::Refused { command, status }
}

/// The next tagged status, or `None` for a continuation request.
async fn answer(wire: &mut Wire) -> Result<Option<Status>> {
    loop {
        let Step::Line { text, .. } = wire.step().await? else {
            continue;
        };
        match Response::parse(wire.octets(&text)) {
            Response::Continue(_) => return Ok(None),
            Response::Tagged { tag, status } => {
                let tag = tag.to_vec();
                wire.finished(&tag, &status);
                return Ok(Some(status));
            }
            Response::Untagged(status) if status.outcome == Outcome::Bye => {
                return Err(wire.fail(Error::Bye(status)));
            }
            _ => {}
        }
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
