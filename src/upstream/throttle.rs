//! A server that asks for less haste, each in words of its own.

use std::time::Duration;

use super::response::{Code, Outcome, Status};

/// What a server asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Throttle {
    /// The command was done; the next one is to wait a little.
    Slow,
    /// It was not done, and nothing will be for a while: for so long, if the server says.
    Stop(Option<Duration>),
}

/// Gmail, most often behind the words and not as a code: `OK Success [THROTTLED]`.
const THROTTLED: &str = "[THROTTLED]";
/// What a refusal says in lower case: Microsoft 365 (`Request is throttled. Suggested Backoff Time:
/// 299961 milliseconds`), Yahoo (`[LIMIT] FETCH Rate limit hit`), Gmail (`[OVERQUOTA] Account
/// exceeded command or bandwidth limits`).
const REFUSALS: [&str; 3] =
    ["request is throttled", "rate limit hit", "exceeded command or bandwidth limits"];
/// What precedes the number of milliseconds.
const BACKOFF: &str = "suggested backoff time:";

impl Status {
    /// Whether the server asks for less haste. A time of zero, or one that cannot be read, counts
    /// as not told.
    pub fn throttles(&self) -> Option<Throttle> {
        let marked = self.code == Some(Code::Throttled) || self.text.contains(THROTTLED);
        match self.outcome {
            Outcome::Ok | Outcome::PreAuth => marked.then_some(Throttle::Slow),
            Outcome::No | Outcome::Bad | Outcome::Bye => {
                let text = self.text.to_ascii_lowercase();
                let refused = marked || REFUSALS.iter().any(|words| text.contains(words));
                refused.then(|| Throttle::Stop(stated(&text)))
            }
        }
    }
}

fn stated(text: &str) -> Option<Duration> {
    let (_, rest) = text.split_once(BACKOFF)?;
    let rest = rest.trim_start();
    let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, unit) = rest.split_at(end);
    let unit = unit.trim_start();
    if digits.is_empty() || !(unit.is_empty() || unit.starts_with("ms") || unit.starts_with("millisecond")) {
        return None;
    }
    // More than fits is as good as for ever; who waits has a limit of its own.
    let milliseconds = digits.parse().unwrap_or(u64::MAX);
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use super::super::response::Response;
    use super::*;

    fn throttles(line: &str) -> Option<Throttle> {
        match Response::parse(line.as_bytes()) {
            Response::Tagged { status, .. } | Response::Untagged(status) => status.throttles(),
            other => panic!("no status: {other:?}"),
        }
    }

    fn stop(milliseconds: u64) -> Option<Throttle> {
        Some(Throttle::Stop(Some(Duration::from_millis(milliseconds))))
    }

    #[test]
    fn servers_ask_for_less_haste() {
        for line in ["P1 OK [THROTTLED] Success", "P1 OK Success [THROTTLED]", "A1 ok [throttled]"] {
            assert_eq!(throttles(line), Some(Throttle::Slow), "{line}");
        }
        for line in [
            "P1 NO [THROTTLED] Later.",
            "P1 BAD [THROTTLED]",
            "* BYE [THROTTLED] Later.",
            "P1 NO [LIMIT] UID FETCH Rate limit hit.",
            "P1 NO [LIMIT] Rate limit hit",
            "P1 NO [OVERQUOTA] Account exceeded command or bandwidth limits. (Failure)",
            "P1 BAD Request is throttled.",
        ] {
            assert_eq!(throttles(line), Some(Throttle::Stop(None)), "{line}");
        }
        for outcome in ["BAD", "NO"] {
            let line =
                format!("P1 {outcome} Request is throttled. Suggested Backoff Time: 299961 milliseconds");
            assert_eq!(throttles(&line), stop(299_961), "{line}");
        }
    }

    #[test]
    fn all_else_is_no_throttling() {
        for line in [
            "P1 OK Success",
            "P1 OK Request is throttled. Suggested Backoff Time: 5 milliseconds",
            "P1 OK Rate limit hit",
            "P1 NO [LIMIT] Too many simultaneous connections.",
            "P1 NO [OVERQUOTA] The mailbox is full.",
            "P1 NO [AUTHENTICATIONFAILED] Suggested Backoff Time: 5 milliseconds",
            "P1 NO [UNAVAILABLE] Later.",
            "P1 BAD Unknown command.",
            "* BYE Connection closed. 14",
            "P1 NO THROTTLED",
        ] {
            assert_eq!(throttles(line), None, "{line}");
        }
    }

    #[test]
    fn a_time_is_read_or_left() {
        let told =
            |time: &str| throttles(&format!("P1 BAD Request is throttled. Suggested Backoff Time:{time}"));
        for (time, expected) in [
            (" 1 milliseconds", stop(1)),
            (" 1 millisecond.", stop(1)),
            ("12ms", stop(12)),
            (" 12", stop(12)),
            (" 0012 milliseconds", stop(12)),
            (" 18446744073709551615 milliseconds", stop(u64::MAX)),
            (" 99999999999999999999999999 milliseconds", stop(u64::MAX)),
        ] {
            assert_eq!(told(time), expected, "{time}");
        }
        for time in [
            "",
            " 0 milliseconds",
            " -5 milliseconds",
            " +5 milliseconds",
            " soon",
            " five milliseconds",
            " 5 minutes",
            " 1.5 milliseconds",
            " ١ milliseconds",
            " 0x10 milliseconds",
        ] {
            assert_eq!(told(time), Some(Throttle::Stop(None)), "{time}");
        }
    }

    #[test]
    fn who_is_throttled_has_the_right_password() {
        for line in [
            "P1 NO Request is throttled. Suggested Backoff Time: 5 milliseconds",
            "P1 NO [LIMIT] LOGIN Rate limit hit",
            "P1 NO [AUTHENTICATIONFAILED] LOGIN Rate limit hit",
            "P1 NO LOGIN failed. [THROTTLED]",
        ] {
            let Response::Tagged { status, .. } = Response::parse(line.as_bytes()) else {
                panic!("not tagged: {line}");
            };
            assert!(!status.rejects_credentials(), "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_words_are_read_without_harm(text in "(BAD|NO|OK) (\\[[A-Z]{0,9}\\] )?(Request is throttled\\. Suggested Backoff Time:)?.{0,80}") {
            let line = format!("P1 {text}");
            if let Response::Tagged { status, .. } = Response::parse(line.as_bytes()) {
                let _ = status.throttles();
            }
        }
    }
}
