//! What it means that a server refuses a login: whose fault it is (RFC 5530 §3).

use super::response::{Code, Outcome, Status};

impl Status {
    /// Whether a refused login is the credentials' fault (RFC 5530 §3): without a code it is the
    /// password, as Cyrus, Courier and Exchange say it. Anything else passes.
    pub fn rejects_credentials(&self) -> bool {
        // Exchange says this while the mailbox is being moved.
        let moved = self.text.contains("User is authenticated but not connected");
        let busy = self.throttles().is_some() || self.refuses_connections();
        if self.outcome != Outcome::No || moved || busy {
            return false;
        }
        match &self.code {
            None | Some(Code::AuthenticationFailed | Code::AuthorizationFailed | Code::Expired) => true,
            Some(
                Code::Unavailable
                | Code::Limit
                | Code::OverQuota
                | Code::ServerBug
                | Code::ContactAdmin
                | Code::InUse
                | Code::Throttled
                | Code::PrivacyRequired
                | Code::NoPerm
                | Code::Corruption
                | Code::ClientBug
                | Code::Cannot,
            ) => false,
            // Codes that say nothing about a login, as ALERT or CAPABILITY: they are as good as none.
            Some(_) => true,
        }
    }

    /// Whether the server did not understand a login: BAD, or words to that effect. It is no
    /// verdict on the password, but whoever gives such a one can give more.
    pub fn rejects_syntax(&self) -> bool {
        let busy = self.throttles().is_some() || self.refuses_connections();
        let meant = match &self.code {
            Some(Code::ClientBug) => true,
            None | Some(Code::Cannot | Code::Capability(_) | Code::Other(_)) => self.outcome == Outcome::Bad,
            // An outage, in whatever form.
            Some(_) => false,
        };
        meant && !busy && matches!(self.outcome, Outcome::No | Outcome::Bad)
    }

    /// Whether a refused login means that there are too many connections already. Gmail says so in
    /// words only, with `[ALERT]`.
    pub fn refuses_connections(&self) -> bool {
        matches!(self.code, Some(Code::Limit | Code::InUse))
            || self.text.contains("Too many simultaneous connections")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::response::Response;

    fn status(line: &str) -> Status {
        match Response::parse(line.as_bytes()) {
            Response::Tagged { status, .. } => status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_refusal_is_somebodys_fault() {
        for (line, credentials, syntax) in [
            ("A NO Login failed.", true, false),
            ("A NO [AUTHENTICATIONFAILED] no", true, false),
            ("A NO [AUTHORIZATIONFAILED] no", true, false),
            ("A NO [EXPIRED] no", true, false),
            ("A NO [ALERT] Invalid credentials", true, false),
            ("A NO [CAPABILITY IMAP4rev1] no", true, false),
            ("A NO [X-NEW] no", true, false),
            ("A NO [PRIVACYREQUIRED] no", false, false),
            ("A NO [NOPERM] no", false, false),
            ("A NO [CORRUPTION] no", false, false),
            ("A NO [CANNOT] no", false, false),
            ("A NO [UNAVAILABLE] no", false, false),
            ("A NO [LIMIT] no", false, false),
            ("A NO [CLIENTBUG] no", false, true),
            ("A BAD [CLIENTBUG] no", false, true),
            ("A BAD Command line too long", false, true),
            ("A BAD [CANNOT] no", false, true),
            ("A BAD [ALERT] no", false, true),
            ("A BAD [SERVERBUG] no", false, false),
            ("A BAD [UNAVAILABLE] no", false, false),
            ("A BAD [INUSE] no", false, false),
            ("A BAD Request is throttled. Suggested Backoff Time: 9 milliseconds", false, false),
            ("A BAD Too many simultaneous connections", false, false),
            ("A OK [CLIENTBUG] odd, but well", false, false),
        ] {
            let status = status(line);
            assert_eq!(
                (status.rejects_credentials(), status.rejects_syntax()),
                (credentials, syntax),
                "{line}"
            );
        }
    }
}
