//! The one table from every error to a POP3 reply (RFC 2449 §8, RFC 3206).

use crate::auth::{Refused, oauth};
use crate::grants;
use crate::maildrop::Error;
use crate::pop3::{Code, Reply};
use crate::upstream::{self, Code as Imap, Status};

/// The reply for an error. An outage is never `[AUTH]`: clients would ask for a new password.
pub fn reply(error: &Error) -> Reply {
    match error {
        Error::Upstream(error) => upstream(error),
        Error::Store(error) => {
            tracing::error!(%error, "state database");
            Reply::coded(Code::SysTemp, "The bridge cannot use its state database; try again later")
        }
        Error::Secret { reason, .. } => {
            tracing::error!(%error, "a password for a mail server");
            let code = if reason.may_pass() { Code::SysTemp } else { Code::SysPerm };
            Reply::coded(
                code,
                "The bridge cannot read its password for the mail server; who runs the bridge must look at its log",
            )
        }
        Error::SecretRefused { .. } => {
            tracing::error!(%error, "a password for a mail server");
            Reply::coded(
                Code::SysPerm,
                "The bridge's password for the mail server is refused; who runs the bridge must look at its log",
            )
        }
        Error::SignIn(error) => sign_in(error),
        Error::TokenRefused { .. } => {
            tracing::error!(%error, "a sign-in for a mail server");
            Reply::coded(
                Code::SysPerm,
                "The mail server refuses the bridge's sign-in; who runs the bridge must look at its log",
            )
        }
        Error::InUse => Reply::coded(Code::InUse, "The maildrop is in use by another session"),
        Error::Unsuited(reason) => {
            Reply::coded(Code::SysPerm, format!("The bridge's settings cannot be kept: {reason}"))
        }
        Error::NoSuchFolder(_) => Reply::coded(Code::SysPerm, error.to_string()),
        Error::Unrecognised { .. } => Reply::coded(
            Code::SysTemp,
            "The mail server has made the mailbox anew; who runs the bridge must look at its log and accept it",
        ),
        Error::TooManyDeletions { .. } => Reply::coded(Code::SysPerm, error.to_string()),
        Error::NoSuchMessage => Reply::err("No such message"),
        Error::Deleted => Reply::err("The message is marked deleted"),
        Error::Vanished => Reply::err("The message was removed by another program"),
        Error::ValidityChanged => {
            Reply::coded(Code::SysTemp, "The mailbox was replaced on the mail server; log in again")
        }
        Error::NotRemoved { removed, marked, .. } => Reply::coded(
            Code::SysTemp,
            format!("some deleted messages not removed: {removed} of {marked} were"),
        ),
        Error::Kept => Reply::coded(Code::SysTemp, "some deleted messages not removed"),
    }
}

/// Why the bridge has no access token. It is never the program's password that is wrong.
fn sign_in(error: &grants::Error) -> Reply {
    use grants::Error as E;
    match error {
        E::NotSignedIn { login } => Reply::coded(
            Code::SysPerm,
            format!("The bridge is not signed in at the mail provider yet: popbridge authorize {login}"),
        ),
        E::Gone { login, .. } => Reply::coded(
            Code::SysPerm,
            format!("The bridge must be signed in anew at the mail provider: popbridge authorize {login}"),
        ),
        E::Provider { reason, .. } => match reason {
            oauth::Error::Unavailable { .. } | oauth::Error::Secret { may_pass: true, .. } => Reply::coded(
                Code::SysTemp,
                "The mail provider's sign-in server gives no token now; try again later",
            ),
            oauth::Error::Gone(_) | oauth::Error::Misconfigured(_) | oauth::Error::Secret { .. } => {
                tracing::error!(%error, "a sign-in for a mail server");
                Reply::coded(
                    Code::SysPerm,
                    "The mail provider refuses the bridge's sign-in; who runs the bridge must look at its log",
                )
            }
        },
        E::Key(error) => {
            tracing::error!(%error, "the state key");
            Reply::coded(
                if error.may_pass() { Code::SysTemp } else { Code::SysPerm },
                "The bridge cannot open its sign-in for the mail server; who runs the bridge must look at its log",
            )
        }
        E::Store(error) => {
            tracing::error!(%error, "state database");
            Reply::coded(Code::SysTemp, "The bridge cannot use its state database; try again later")
        }
        E::Interrupted => Reply::coded(Code::SysTemp, "The bridge is shutting down"),
    }
}

/// Why a login came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    #[error(transparent)]
    AtTheDoor(#[from] Refused),
    #[error(transparent)]
    Behind(Error),
    /// The mail server makes no sense of what the program gave.
    #[error(transparent)]
    Garbled(Error),
}

impl Denied {
    /// What it means that a login failed behind the door: `given`, if the program gave what the mail
    /// server was shown.
    pub fn behind(error: Error, given: bool) -> Self {
        match &error {
            Error::Upstream(upstream::Error::Login(status)) if given && status.rejects_syntax() => {
                Self::Garbled(error)
            }
            _ => Self::Behind(error),
        }
    }

    /// The reply to the program.
    pub fn reply(&self) -> Reply {
        match self {
            Self::AtTheDoor(error) => refused(error),
            Self::Behind(error) | Self::Garbled(error) => reply(error),
        }
    }

    /// Whether what the program gave was judged, and is wrong, or could not even be. All else says
    /// nothing about it.
    pub fn is_wrong(&self) -> bool {
        match self {
            Self::AtTheDoor(Refused::NoRoute | Refused::Wrong(_) | Refused::Certificate(_)) => true,
            Self::AtTheDoor(Refused::Busy | Refused::TooMany(_)) => false,
            Self::Behind(Error::SecretRefused { .. } | Error::TokenRefused { .. }) => false,
            Self::Behind(error) => rejection(error).is_some(),
            // Otherwise as many could be sent to the mail server as anybody likes.
            Self::Garbled(_) => true,
        }
    }
}

/// The mail server's words for credentials that it rejects, whoever they came from.
pub fn rejection(error: &Error) -> Option<&Status> {
    match error {
        Error::SecretRefused { status, .. } | Error::TokenRefused { status, .. } => Some(status),
        Error::Upstream(upstream::Error::Login(status)) if status.rejects_credentials() => Some(status),
        _ => None,
    }
}

/// The reply to who is not let in.
fn refused(refused: &Refused) -> Reply {
    match refused {
        Refused::NoRoute => Reply::coded(Code::Auth, "Authentication failed: no mail server for this name"),
        Refused::Wrong(_) | Refused::Certificate(_) => Reply::coded(Code::Auth, "Authentication failed"),
        Refused::Busy => Reply::coded(Code::SysTemp, "Too many logins at once; try again later"),
        // Not AUTH: the password may be right, and nobody is to be asked for another.
        Refused::TooMany(wait) => {
            let seconds = wait.as_secs().saturating_add(1);
            let text = format!("Too many wrong passwords from your address; try again in {seconds} seconds");
            Reply::coded(Code::SysTemp, text)
        }
    }
}

fn upstream(error: &upstream::Error) -> Reply {
    use upstream::Error as E;
    match error {
        E::Login(status) => login(status),
        E::Connect { .. } => {
            Reply::coded(Code::SysTemp, "The mail server cannot be reached; try again later")
        }
        E::Io(_) | E::Closed | E::Desynchronised => {
            Reply::coded(Code::SysTemp, "The connection to the mail server broke; try again later")
        }
        E::Bye(status) => Reply::coded(Code::SysTemp, format!("The mail server hung up: {status}")),
        E::Timeout(_) => Reply::coded(Code::SysTemp, "The mail server does not answer; try again later"),
        E::Protocol(_) => Reply::coded(Code::SysTemp, "The mail server does not make sense; try again later"),
        E::Refused { command, status } => match status.code {
            Some(Imap::InUse) => Reply::coded(Code::InUse, format!("The mail server: {status}")),
            _ => Reply::coded(Code::SysTemp, format!("The mail server refused {command}: {status}")),
        },
        E::ShortListing { .. } => {
            Reply::coded(Code::SysTemp, "The mail server did not list the whole mailbox; try again later")
        }
        E::Crowded { .. } => Reply::coded(
            Code::SysTemp,
            "Too many connections to the mail server for this account; try again later",
        ),
        E::Throttled(left) => {
            let seconds = left.as_secs().saturating_add(1);
            Reply::coded(
                Code::SysTemp,
                format!("The mail server asks for less haste; try again in {seconds} seconds"),
            )
        }
        E::Tls { .. } => Reply::coded(
            Code::SysPerm,
            "No trusted TLS connection to the mail server; its certificate needs a look",
        ),
        E::NoStartTls => Reply::coded(Code::SysPerm, "The mail server does not offer STARTTLS"),
        E::NoMechanism(reason) => {
            Reply::coded(Code::SysPerm, format!("No way to log in at the mail server: {reason}"))
        }
        E::NoUidValidity => {
            Reply::coded(Code::SysPerm, "The mailbox has no lasting identifiers (UIDVALIDITY)")
        }
    }
}

/// A refused login (RFC 5530).
fn login(status: &Status) -> Reply {
    if status.rejects_credentials() {
        let words = status.text.strip_prefix("Authentication failed").unwrap_or(&status.text);
        let words = words.trim_matches([' ', '.', ':']);
        let separator = if words.is_empty() { "" } else { ": " };
        return Reply::coded(Code::Auth, format!("Authentication failed{separator}{words}"));
    }
    match status.code {
        Some(Imap::InUse) => Reply::coded(Code::InUse, format!("The mail server: {status}")),
        // RFC 5530 §3: a login without TLS. It does not pass by itself.
        Some(Imap::PrivacyRequired) => Reply::coded(
            Code::SysPerm,
            format!(
                "The mail server lets nobody log in without TLS; who runs the bridge must change its url to imaps:// \
                 or imap+starttls://: {status}"
            ),
        ),
        Some(Imap::NoPerm) => {
            Reply::coded(Code::SysPerm, format!("The mail server does not let this account in: {status}"))
        }
        // Unavailable, limits, server bugs, throttling: it passes.
        _ => Reply::coded(Code::SysTemp, format!("The mail server cannot log in now: {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::KeyError;
    use crate::upstream::Outcome;

    fn refused(outcome: Outcome, code: Option<Imap>, text: &str) -> String {
        let status = Status { outcome, code, text: text.to_owned() };
        let mut output = Vec::new();
        reply(&Error::Upstream(upstream::Error::Login(status))).write(&mut output);
        String::from_utf8_lossy(&output).into_owned()
    }

    #[test]
    fn only_wrong_credentials_are_auth() {
        for code in
            [None, Some(Imap::AuthenticationFailed), Some(Imap::AuthorizationFailed), Some(Imap::Expired)]
        {
            let reply = refused(Outcome::No, code, "no");
            assert!(reply.starts_with("-ERR [AUTH] Authentication failed"), "{reply}");
        }
        for code in [Imap::Unavailable, Imap::Limit, Imap::OverQuota, Imap::ServerBug, Imap::ContactAdmin] {
            let reply = refused(Outcome::No, Some(code), "no");
            assert!(reply.starts_with("-ERR [SYS/TEMP]"), "{reply}");
        }
        for code in [Imap::Corruption, Imap::ClientBug, Imap::Cannot] {
            let reply = refused(Outcome::No, Some(code), "no");
            assert!(reply.starts_with("-ERR [SYS/TEMP]"), "{reply}");
        }
        let reply = refused(Outcome::No, Some(Imap::PrivacyRequired), "Not in plaintext");
        assert!(reply.starts_with("-ERR [SYS/PERM]") && reply.contains("imap+starttls://"), "{reply}");
        let reply = refused(Outcome::No, Some(Imap::NoPerm), "no");
        assert!(reply.starts_with("-ERR [SYS/PERM]"), "{reply}");
        let reply = refused(Outcome::No, Some(Imap::InUse), "busy");
        assert!(reply.starts_with("-ERR [IN-USE]"), "{reply}");
        let reply = refused(Outcome::No, None, "User is authenticated but not connected.");
        assert!(reply.starts_with("-ERR [SYS/TEMP]"), "{reply}");
        let alert = Some(Imap::Other("ALERT".to_owned()));
        let reply = refused(Outcome::No, alert, "Too many simultaneous connections. (Failure)");
        assert!(reply.starts_with("-ERR [SYS/TEMP]"), "{reply}");
        for outcome in [Outcome::No, Outcome::Bad] {
            let reply =
                refused(outcome, None, "Request is throttled. Suggested Backoff Time: 9 milliseconds");
            assert!(reply.starts_with("-ERR [SYS/TEMP]"), "{reply}");
        }
    }

    #[test]
    fn a_key_that_cannot_be_read_just_now_passes() {
        for (may_pass, code) in [(true, "-ERR [SYS/TEMP]"), (false, "-ERR [SYS/PERM]")] {
            let key = KeyError::Unreadable { key: "key_file", reason: String::new(), may_pass };
            let mut output = Vec::new();
            reply(&Error::SignIn(key.into())).write(&mut output);
            assert!(output.starts_with(code.as_bytes()), "{code}");
        }
    }

    #[test]
    fn what_the_mail_server_cannot_read_counts_if_the_program_gave_it() {
        let refused = |outcome, code| {
            let status = Status { outcome, code, text: "Line too long".to_owned() };
            Error::Upstream(upstream::Error::Login(status))
        };
        let garbled = Denied::behind(refused(Outcome::Bad, None), true);
        assert!(garbled.is_wrong() && garbled.reply().has(Code::SysTemp));
        assert_eq!(garbled.to_string(), refused(Outcome::Bad, None).to_string());
        assert!(!Denied::behind(refused(Outcome::Bad, None), false).is_wrong(), "it was the bridge's own");
        assert!(!Denied::behind(refused(Outcome::Bad, Some(Imap::Unavailable)), true).is_wrong());
        let wrong = Denied::behind(refused(Outcome::No, None), true);
        assert!(wrong.is_wrong() && wrong.reply().has(Code::Auth));
    }

    #[test]
    fn whole_seconds_are_named() {
        for (left, seconds) in [(1, 1), (999, 1), (1000, 2), (299_961, 300)] {
            let error = upstream::Error::Throttled(std::time::Duration::from_millis(left));
            let mut output = Vec::new();
            reply(&Error::Upstream(error)).write(&mut output);
            let expected = format!(
                "-ERR [SYS/TEMP] The mail server asks for less haste; try again in {seconds} seconds\r\n"
            );
            assert_eq!(String::from_utf8_lossy(&output), expected);
        }
    }
}
