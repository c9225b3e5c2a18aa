//! What a provider's answers mean for an account.

use std::time::Duration;

use http::StatusCode;
use oauth2::RequestTokenError;
use oauth2::basic::BasicErrorResponse;
use oauth2::{DeviceCodeErrorResponse, ErrorResponse};

use crate::http::HttpError;
use crate::trust::NoRoots;

/// No way to ask a provider at all.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("[oauth.{name}]: {reason}")]
    Roots { name: String, reason: NoRoots },
    #[error("[oauth.{name}]: {reason}")]
    Http { name: String, reason: HttpError },
}

/// Why there is no token. No token, code or secret is in it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// It passes: nobody answers, or nobody can now.
    #[error("the sign-in server cannot be asked now: {reason}")]
    Unavailable { reason: String, retry_after: Option<Duration> },
    /// What a person has agreed to counts no more: it was taken back, the password was changed, or it
    /// was not used for too long.
    #[error("the provider does not accept the sign-in: {0}")]
    Gone(String),
    /// The provider does not take popbridge as it is registered or configured.
    #[error(
        "the provider refuses popbridge itself: {0}; look at client_id, its secret, scopes and tenant, and at how \
         popbridge is registered there"
    )]
    Misconfigured(String),
    /// popbridge cannot prove itself.
    #[error("{key}: {reason}")]
    Secret { key: String, reason: String, may_pass: bool },
}

impl Error {
    /// An answer that makes no sense: from a proxy, from another server, or from one out of order.
    pub fn senseless(what: &str) -> Self {
        Self::Unavailable { reason: format!("it answered with {what}"), retry_after: None }
    }

    /// What an error code means (RFC 6749 §5.2, §4.1.2.1; RFC 8628 §3.5; OpenID Connect Core §3.1.2.6).
    pub fn of(code: &str, description: Option<&str>) -> Self {
        let words = words(code, description);
        match code {
            "invalid_grant"
            | "access_denied"
            | "expired_token"
            | "interaction_required"
            | "login_required"
            | "consent_required" => Self::Gone(words),
            "temporarily_unavailable" | "server_error" | "slow_down" => {
                Self::Unavailable { reason: words, retry_after: None }
            }
            _ => Self::Misconfigured(words),
        }
    }
}

/// Why there is no answer in the protocol.
#[derive(Debug, thiserror::Error)]
pub enum HttpFailure {
    #[error("{0}")]
    None(String),
    #[error("it answered with HTTP status {0}")]
    Status(StatusCode, Option<Duration>),
}

impl From<HttpFailure> for Error {
    fn from(failure: HttpFailure) -> Self {
        let reason = failure.to_string();
        let retry_after = match failure {
            HttpFailure::Status(_, retry_after) => retry_after,
            HttpFailure::None(_) => None,
        };
        Self::Unavailable { reason, retry_after }
    }
}

impl From<RequestTokenError<HttpFailure, BasicErrorResponse>> for Error {
    fn from(error: RequestTokenError<HttpFailure, BasicErrorResponse>) -> Self {
        match error {
            RequestTokenError::ServerResponse(said) => {
                Self::of(said.error().as_ref(), said.error_description().map(String::as_str))
            }
            error => beside(error),
        }
    }
}

impl From<RequestTokenError<HttpFailure, DeviceCodeErrorResponse>> for Error {
    fn from(error: RequestTokenError<HttpFailure, DeviceCodeErrorResponse>) -> Self {
        match error {
            RequestTokenError::ServerResponse(said) => {
                Self::of(said.error().as_ref(), said.error_description().map(String::as_str))
            }
            error => beside(error),
        }
    }
}

/// What is no error of the protocol. The answer's text is not shown: there may be a token in it.
fn beside<E: ErrorResponse>(error: RequestTokenError<HttpFailure, E>) -> Error {
    match error {
        RequestTokenError::Request(failure) => failure.into(),
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) | RequestTokenError::ServerResponse(_) => {
            Error::senseless("what is no OAuth 2 response")
        }
    }
}

/// A provider's words, fit for a log: a line of bounded length. What was sent is struck out of them
/// already; a part of it, or another token, may still be there.
pub fn words(code: &str, description: Option<&str>) -> String {
    const LONGEST: usize = 400;
    let mut line = String::new();
    let said = description.filter(|said| !said.trim().is_empty());
    let separator = said.map(|_| ":");
    let code = code.split(|letter: char| letter.is_whitespace() || letter.is_control()).take(1);
    let said = said.unwrap_or_default().split(|letter: char| letter.is_whitespace() || letter.is_control());
    for (at, word) in code.chain(said.filter(|word| !word.is_empty())).enumerate() {
        let word = if may_be_token(word) { "…" } else { word };
        if line.len() + word.len() > LONGEST {
            line.push_str(" …");
            break;
        }
        if at == 1 {
            line.push_str(separator.unwrap_or_default());
        }
        if at > 0 {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

/// Whether a word is none: it is too long for one, or long with letters and digits mixed. A UUID is
/// left, as it names a request to those who look for it at the provider.
fn may_be_token(word: &str) -> bool {
    const LONGEST_WORD: usize = 40;
    const LONGEST_MIXTURE: usize = 20;
    let mixed =
        word.contains(|c: char| c.is_ascii_alphabetic()) && word.contains(|c: char| c.is_ascii_digit());
    let bare = word.trim_matches(|letter: char| !letter.is_ascii_alphanumeric());
    let parts =
        bare.split('-').map(|part| part.bytes().all(|octet| octet.is_ascii_hexdigit()).then_some(part.len()));
    let is_uuid = parts.eq([8, 4, 4, 4, 12].map(Some));
    word.len() > LONGEST_WORD || word.len() > LONGEST_MIXTURE && mixed && !is_uuid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_does_not() {
        for code in ["invalid_grant", "interaction_required"] {
            assert!(matches!(Error::of(code, None), Error::Gone(_)), "{code}");
        }
        for code in ["temporarily_unavailable", "server_error"] {
            assert!(matches!(Error::of(code, None), Error::Unavailable { .. }), "{code}");
        }
        for code in ["invalid_client", "unauthorized_client", "invalid_scope", "unheard_of"] {
            assert!(matches!(Error::of(code, None), Error::Misconfigured(_)), "{code}");
        }
    }

    #[test]
    fn a_providers_words_are_one_bounded_line_without_tokens() {
        assert_eq!(words("invalid_grant", None), "invalid_grant");
        assert_eq!(
            words("invalid_grant", Some("Token\r\n was  revoked.")),
            "invalid_grant: Token was revoked."
        );
        let token = "x".repeat(100);
        assert_eq!(words("invalid_grant", Some(&format!("bad {token}"))), "invalid_grant: bad …");
        assert_eq!(words(&token, Some("\u{7}")), "…");
        assert!(words("a", Some(&"word ".repeat(1000))).len() < 450);
        assert_eq!(words("a", Some("bad 1//0abcdefghijklmnopqr")), "a: bad …");
        let named = "AADSTS70008: unsupported-token-type-for-tenant. 2026-11-26 (0e2ea0d0-5c8c-4d8f-9a6c-00c0ffee0001)";
        assert_eq!(words("a", Some(named)), format!("a: {named}"));
    }
}
