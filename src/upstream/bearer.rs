//! OAUTHBEARER (RFC 7628) and XOAUTH2: an access token in one message, and the server's words about
//! one that it does not take.
//!
//! Not rsasl's: it answers OAUTHBEARER's error with an empty line, where RFC 7628 §3.2.3 wants a
//! ^A, does not escape the user name, and gives up on an error that is not quite as it should be.

use serde_json::Value;
use zeroize::Zeroizing;

use super::mechanism::Mechanism;
use super::response::{Code, MAX_TEXT, Outcome, Status, readable};
use crate::secret::Secret;

/// What is shown of a status or a scope.
const MAX_WORD: usize = 60;

/// The client's side of either mechanism.
pub struct Bearer {
    standard: bool,
    message: Zeroizing<Vec<u8>>,
    refusal: Option<Refusal>,
}

/// The server's error (RFC 7628 §3.2.2); XOAUTH2's is the same with an HTTP status.
struct Refusal {
    status: Option<String>,
    scope: Option<String>,
}

impl Bearer {
    /// `None` where the user name or the token would end the field that it stands in: no token does
    /// that (RFC 6750 §2.1).
    pub fn new(mechanism: Mechanism, host: &str, port: u16, username: &str, token: &Secret) -> Option<Self> {
        let octets = token.expose();
        let is_token = !octets.is_empty() && octets.iter().all(u8::is_ascii_graphic);
        if !is_token || username.contains(char::is_control) {
            return None;
        }
        let standard = mechanism == Mechanism::OAuthBearer;
        let head = if standard {
            // RFC 5801 §4.
            let name = username.replace('=', "=3D").replace(',', "=2C");
            format!("n,a={name},\x01host={host}\x01port={port}\x01auth=Bearer ")
        } else {
            format!("user={username}\x01auth=Bearer ")
        };
        let message = Zeroizing::new([head.as_bytes(), octets, b"\x01\x01"].concat());
        Some(Self { standard, message, refusal: None })
    }

    pub fn message(&self) -> Zeroizing<Vec<u8>> {
        self.message.clone()
    }

    /// The one challenge that there can be tells what is wrong with the token. The tagged NO comes
    /// behind the answer to it.
    pub fn respond(&mut self, challenge: &[u8]) -> Result<Zeroizing<Vec<u8>>, &'static str> {
        if self.refusal.is_some() {
            return Err("a second challenge about one access token");
        }
        // One that cannot be read is a refusal as well.
        let error: Value = serde_json::from_slice(challenge).unwrap_or_default();
        let word = |name: &str| match error.get(name)? {
            Value::String(text) if !text.is_empty() => Some(readable(text.as_bytes(), MAX_WORD)),
            Value::Number(number) => Some(readable(number.to_string().as_bytes(), MAX_WORD)),
            _ => None,
        };
        self.refusal = Some(Refusal { status: word("status"), scope: word("scope") });
        Ok(Zeroizing::new(if self.standard { vec![1] } else { Vec::new() }))
    }

    /// Whether the server has not said that it refuses the token.
    pub fn is_done(&self) -> bool {
        self.refusal.is_none()
    }

    /// The tagged NO with what the challenge told. One that told of the server's own trouble is an
    /// outage, as `[UNAVAILABLE]` is (RFC 5530 §3).
    pub fn explain(&self, mut status: Status) -> Status {
        let Some(refusal) = &self.refusal else { return status };
        if status.outcome == Outcome::No && refusal.is_outage() {
            status.code = Some(Code::Unavailable);
        }
        let words = refusal.words();
        let text = status.text.trim_end_matches([' ', '.', ':']);
        let room = MAX_TEXT.saturating_sub(words.chars().count() + 2);
        let text: String = text.chars().take(room).collect();
        let parts = [text, words].into_iter().filter(|part| !part.is_empty());
        status.text = parts.collect::<Vec<_>>().join(": ");
        status
    }
}

impl Refusal {
    /// HTTP's 5xx, or the words for it (RFC 6749 §4.1.2.1).
    fn is_outage(&self) -> bool {
        self.status.as_deref().is_some_and(|status| {
            let http =
                status.len() == 3 && status.starts_with('5') && status.bytes().all(|o| o.is_ascii_digit());
            http || matches!(status, "server_error" | "temporarily_unavailable")
        })
    }

    fn words(&self) -> String {
        match (&self.status, &self.scope) {
            (None, None) => String::new(),
            (Some(status), None) => format!("of the access token it says {status}"),
            (None, Some(scope)) => format!("it wants an access token for {scope}"),
            (Some(status), Some(scope)) => {
                format!("of the access token it says {status}; it wants one for {scope}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(mechanism: Mechanism, username: &str, token: &[u8]) -> Option<Bearer> {
        Bearer::new(mechanism, "imap.example.org", 993, username, &Secret::new(token.to_vec()))
    }

    fn no(code: Option<Code>) -> Status {
        Status { outcome: Outcome::No, code, text: "AUTHENTICATE failed.".to_owned() }
    }

    #[test]
    fn the_messages() {
        let standard = bearer(Mechanism::OAuthBearer, "a=b,c", b"vF9+/==").expect("a token");
        assert_eq!(
            *standard.message(),
            b"n,a=a=3Db=2Cc,\x01host=imap.example.org\x01port=993\x01auth=Bearer vF9+/==\x01\x01"
        );
        let other = bearer(Mechanism::XOAuth2, "alice", b"vF9").expect("a token");
        assert_eq!(*other.message(), b"user=alice\x01auth=Bearer vF9\x01\x01");
    }

    #[test]
    fn nothing_ends_its_field() {
        for (username, token) in
            [("alice\x01auth=x", &b"t"[..]), ("alice", b"t\x01host=x"), ("alice", b"a b"), ("alice", b"")]
        {
            for mechanism in [Mechanism::OAuthBearer, Mechanism::XOAuth2] {
                assert!(bearer(mechanism, username, token).is_none(), "{username:?} {token:?}");
            }
        }
    }

    #[test]
    fn each_error_is_answered_in_its_way_and_once() {
        for (mechanism, answer) in [(Mechanism::OAuthBearer, &b"\x01"[..]), (Mechanism::XOAuth2, b"")] {
            for challenge in [&b"{\"status\":\"401\"}"[..], b"", b"[[[", b"\xff"] {
                let mut bearer = bearer(mechanism, "alice", b"t").expect("a token");
                assert!(bearer.is_done());
                assert_eq!(bearer.respond(challenge).as_deref().map(Vec::as_slice), Ok(answer));
                assert!(!bearer.is_done() && bearer.respond(challenge).is_err());
            }
        }
    }

    #[test]
    fn an_outage_is_told_from_a_bad_token() {
        for (challenge, rejected) in [
            ("{\"status\":\"400\",\"schemes\":\"Bearer\"}", true),
            ("{\"status\":401}", true),
            ("{\"status\":\"invalid_token\"}", true),
            ("{}", true),
            ("{\"status\":\"503\"}", false),
            ("{\"status\":500}", false),
            ("{\"status\":\"temporarily_unavailable\"}", false),
        ] {
            let mut bearer = bearer(Mechanism::XOAuth2, "alice", b"t").expect("a token");
            bearer.respond(challenge.as_bytes()).expect("answered");
            assert_eq!(bearer.explain(no(None)).rejects_credentials(), rejected, "{challenge}");
            assert!(!bearer.explain(no(Some(Code::Unavailable))).rejects_credentials());
        }
    }

    #[test]
    fn the_words_are_cut_and_harmless() {
        let mut bearer = bearer(Mechanism::XOAuth2, "alice", b"t").expect("a token");
        let scope = format!("https:\\/\\/mail.example\\u001b[31m{}", "x".repeat(500));
        let challenge = format!("{{\"status\":\"401\",\"scope\":\"{scope}\"}}");
        bearer.respond(challenge.as_bytes()).expect("answered");
        let mut long = no(None);
        long.text = "é".repeat(MAX_TEXT);
        for status in [no(None), long] {
            let text = bearer.explain(status).text;
            assert!(text.contains("it says 401; it wants one for https://mail.example [31mxx"), "{text}");
            assert!(text.chars().count() <= MAX_TEXT && !text.contains(char::is_control));
        }
    }
}
