//! Response lines of the IMAP server: status, codes, counts (RFC 3501 §7, RFC 5530).

use std::fmt;

use crate::ids::{Uid, UidValidity, decimal};

/// How a command ended, or what a status response says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    No,
    Bad,
    Bye,
    PreAuth,
}

/// A response code as far as it matters here (RFC 3501 §7.1, RFC 5530, RFC 4315).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Code {
    AuthenticationFailed,
    AuthorizationFailed,
    Expired,
    Unavailable,
    Limit,
    OverQuota,
    ServerBug,
    ContactAdmin,
    InUse,
    Throttled,
    PrivacyRequired,
    NoPerm,
    Corruption,
    ClientBug,
    Cannot,
    ExpungeIssued,
    NonExistent,
    ReadOnly,
    ReadWrite,
    UidValidity(UidValidity),
    UidNext(Uid),
    /// RFC 7162 §3.1.2.1; never 0.
    HighestModSeq(u64),
    /// RFC 7162 §3.1.2.2: the mailbox has none.
    NoModSeq,
    /// RFC 7162 §3.2.11: what was told before is of the mailbox that was selected before.
    Closed,
    /// Whether a client may invent keywords: `\*` among the flags (RFC 3501 §7.1).
    PermanentFlags {
        keywords: bool,
    },
    Capability(Capabilities),
    Other(String),
}

/// A status response: `OK`, `NO`, `BAD`, `BYE` or `PREAUTH`, its code and its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub outcome: Outcome,
    pub code: Option<Code>,
    /// At most 200 characters, none of them control characters.
    pub text: String,
}

/// Words of a server that are kept for logs and replies.
pub const MAX_TEXT: usize = 200;

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.text.is_empty() { f.write_str("no reason given") } else { f.write_str(&self.text) }
    }
}

/// The capabilities announced last, in upper case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities(Vec<String>);

impl Capabilities {
    /// Of the names behind `CAPABILITY`.
    pub fn parse(text: &[u8]) -> Self {
        let names = text.split(|&octet| octet == b' ').filter(|name| !name.is_empty());
        Self(names.take(256).map(|name| readable(name, 64).to_ascii_uppercase()).collect())
    }

    /// Whether `name` (upper case) was announced.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|known| known == name)
    }

    /// All names, as announced.
    pub fn names(&self) -> &[String] {
        &self.0
    }
}

/// One response line, as far as its first words tell.
#[derive(Debug, PartialEq, Eq)]
pub enum Response<'a> {
    /// The end of the command that bears this tag.
    Tagged { tag: &'a [u8], status: Status },
    /// `* OK …`, `* BYE …`
    Untagged(Status),
    /// `* CAPABILITY …`
    Capability(Capabilities),
    /// `* 12 EXISTS`
    Exists(u32),
    /// `* 12 EXPUNGE`: the sequence number is not needed, since all goes by UID.
    Expunge,
    /// `* VANISHED 405,407:410` in place of EXPUNGE, behind ENABLE QRESYNC (RFC 7162 §3.2.10).
    /// `earlier`: `(EARLIER)`, what had gone before the mailbox was selected.
    Vanished { earlier: bool, set: &'a [u8] },
    /// `* 12 FETCH (…`: what follows the parenthesis.
    Fetch(&'a [u8]),
    /// `* ID (…`: who the server says it is (RFC 2971).
    Id(&'a [u8]),
    /// `+ …`
    Continue(&'a [u8]),
    /// Anything else: nothing that popbridge asked for.
    Other,
}

impl<'a> Response<'a> {
    /// Reads the first line of a response, without its line end.
    pub fn parse(line: &'a [u8]) -> Self {
        let (first, rest) = word(line);
        match first {
            b"+" => Self::Continue(rest),
            b"*" => Self::untagged(rest),
            tag => match status(rest) {
                Some(status) => Self::Tagged { tag, status },
                None => Self::Other,
            },
        }
    }

    fn untagged(line: &'a [u8]) -> Self {
        if let Some(status) = status(line) {
            return Self::Untagged(status);
        }
        let (first, rest) = word(line);
        if first.eq_ignore_ascii_case(b"CAPABILITY") {
            return Self::Capability(Capabilities::parse(rest));
        }
        if first.eq_ignore_ascii_case(b"ID") {
            return Self::Id(rest);
        }
        if first.eq_ignore_ascii_case(b"VANISHED") {
            let (kind, set) = word(rest);
            let earlier = kind.eq_ignore_ascii_case(b"(EARLIER)");
            return Self::Vanished { earlier, set: if earlier { set } else { rest } };
        }
        let Some(number) = decimal(first) else {
            return Self::Other;
        };
        let (kind, rest) = word(rest);
        match kind.to_ascii_uppercase().as_slice() {
            b"EXISTS" => Self::Exists(number),
            b"EXPUNGE" => Self::Expunge,
            b"FETCH" => match rest.split_first() {
                Some((b'(', items)) => Self::Fetch(items),
                _ => Self::Other,
            },
            _ => Self::Other,
        }
    }
}

fn status(line: &[u8]) -> Option<Status> {
    let (first, rest) = word(line);
    let outcome = outcome(first)?;
    let (code, text) = match rest.strip_prefix(b"[") {
        Some(rest) => match rest.iter().position(|&octet| octet == b']') {
            Some(end) => (Some(code(&rest[..end])), rest[end + 1..].trim_ascii_start()),
            None => (None, rest),
        },
        None => (None, rest),
    };
    let mut text = readable(text, MAX_TEXT);
    if text.is_empty()
        && let Some(Code::Other(code)) = &code
    {
        text.clone_from(code);
    }
    Some(Status { outcome, code, text })
}

/// The outcome that a status response begins with.
pub fn outcome(word: &[u8]) -> Option<Outcome> {
    Some(match word.to_ascii_uppercase().as_slice() {
        b"OK" => Outcome::Ok,
        b"NO" => Outcome::No,
        b"BAD" => Outcome::Bad,
        b"BYE" => Outcome::Bye,
        b"PREAUTH" => Outcome::PreAuth,
        _ => return None,
    })
}

fn code(text: &[u8]) -> Code {
    let (name, argument) = word(text);
    let other = || Code::Other(readable(text, MAX_TEXT));
    match name.to_ascii_uppercase().as_slice() {
        b"AUTHENTICATIONFAILED" => Code::AuthenticationFailed,
        b"AUTHORIZATIONFAILED" => Code::AuthorizationFailed,
        b"EXPIRED" => Code::Expired,
        b"UNAVAILABLE" => Code::Unavailable,
        b"LIMIT" => Code::Limit,
        b"OVERQUOTA" => Code::OverQuota,
        b"SERVERBUG" => Code::ServerBug,
        b"CONTACTADMIN" => Code::ContactAdmin,
        b"INUSE" => Code::InUse,
        b"THROTTLED" => Code::Throttled,
        b"PRIVACYREQUIRED" => Code::PrivacyRequired,
        b"NOPERM" => Code::NoPerm,
        b"CORRUPTION" => Code::Corruption,
        b"CLIENTBUG" => Code::ClientBug,
        b"CANNOT" => Code::Cannot,
        b"EXPUNGEISSUED" => Code::ExpungeIssued,
        b"NONEXISTENT" => Code::NonExistent,
        b"READ-ONLY" => Code::ReadOnly,
        b"READ-WRITE" => Code::ReadWrite,
        b"UIDVALIDITY" => UidValidity::parse(argument).map_or_else(other, Code::UidValidity),
        b"UIDNEXT" => Uid::parse(argument).map_or_else(other, Code::UidNext),
        b"HIGHESTMODSEQ" => mod_seq(argument).map_or_else(other, Code::HighestModSeq),
        b"NOMODSEQ" => Code::NoModSeq,
        b"CLOSED" => Code::Closed,
        b"PERMANENTFLAGS" => {
            let mut flags = argument.split(|octet| b" ()".contains(octet));
            Code::PermanentFlags { keywords: flags.any(|flag| flag == b"\\*") }
        }
        b"CAPABILITY" => Code::Capability(Capabilities::parse(argument)),
        _ => other(),
    }
}

/// A mod-sequence: 63 bits, not 0 (RFC 7162 §7).
fn mod_seq(text: &[u8]) -> Option<u64> {
    let digits = (1..=19).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok().filter(|value| *value > 0)
}

/// The argument of the response code `name` in a status line, whole: [`Code`] keeps little.
pub fn code_argument<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (_, rest) = word(line);
    let (_, rest) = word(rest);
    let code = rest.strip_prefix(b"[")?;
    let (found, argument) = word(&code[..code.iter().position(|&octet| octet == b']')?]);
    found.eq_ignore_ascii_case(name).then_some(argument)
}

/// The first word of a line, and what stands behind its blank.
pub fn word(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|&octet| octet == b' ') {
        Some(end) => (&text[..end], &text[end + 1..]),
        None => (text, &[]),
    }
}

/// The server's words, safe to show: cut, no control characters, whatever the octets.
pub fn readable(text: &[u8], most: usize) -> String {
    let text = &text[..text.len().min(most * 4)];
    String::from_utf8_lossy(text)
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .take(most)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines() {
        let Response::Tagged { tag, status } = Response::parse(b"A1 NO [AUTHENTICATIONFAILED] Go away.")
        else {
            panic!("not tagged");
        };
        assert_eq!(tag, b"A1");
        assert_eq!(status.outcome, Outcome::No);
        assert_eq!(status.code, Some(Code::AuthenticationFailed));
        assert_eq!(status.text, "Go away.");
        let Response::Untagged(status) = Response::parse(b"* OK [UIDVALIDITY 77] UIDs valid") else {
            panic!("not untagged");
        };
        assert_eq!(status.code, UidValidity::parse(b"77").map(Code::UidValidity));
    }

    #[test]
    fn codes_with_arguments() {
        assert_eq!(code(b"HIGHESTMODSEQ 91323"), Code::HighestModSeq(91323));
        for wrong in [
            &b"HIGHESTMODSEQ"[..],
            b"HIGHESTMODSEQ 0",
            b"HIGHESTMODSEQ -1",
            b"HIGHESTMODSEQ 99999999999999999999",
        ] {
            assert!(matches!(code(wrong), Code::Other(_)));
        }
        assert_eq!(code(b"PERMANENTFLAGS (\\Seen \\*)"), Code::PermanentFlags { keywords: true });
        assert_eq!(code(b"PERMANENTFLAGS (\\Seen $A)"), Code::PermanentFlags { keywords: false });
        assert_eq!(code_argument(b"P1 OK [copyuid 7 1 2] Done.", b"COPYUID"), Some(&b"7 1 2"[..]));
        assert_eq!(code_argument(b"* OK [COPYUID 7 1 2", b"COPYUID"), None);
        assert_eq!(code_argument(b"* OK", b"COPYUID"), None);
    }

    #[test]
    fn counts_and_rows() {
        assert_eq!(Response::parse(b"* 172 EXISTS"), Response::Exists(172));
        assert_eq!(Response::parse(b"* 2 expunge"), Response::Expunge);
        let vanished = |earlier, set| Response::Vanished { earlier, set };
        assert_eq!(Response::parse(b"* VANISHED 2,4:5"), vanished(false, b"2,4:5"));
        assert_eq!(Response::parse(b"* vanished (earlier) 2"), vanished(true, b"2"));
        assert_eq!(Response::parse(b"* VANISHED (EARLIER)"), vanished(true, b""));
        assert_eq!(Response::parse(b"* VANISHED"), vanished(false, b""));
        assert_eq!(Response::parse(b"* 2 FETCH (UID 5)"), Response::Fetch(b"UID 5)"));
        assert_eq!(Response::parse(b"* 99999999999 EXISTS"), Response::Other);
    }

    #[test]
    fn hostile_text_is_made_harmless() {
        for line in
            [&b""[..], b"*", b"* ", b"* OK", b"* OK [", b"* OK [ALERT]\xc3\xa9", b"+", b"A1", b"\0\0 OK"]
        {
            let _ = Response::parse(line);
        }
        let Response::Untagged(status) = Response::parse(b"* BYE \x1b[31mred\xff\r") else {
            panic!("not untagged");
        };
        assert!(!status.text.chars().any(char::is_control));
    }

    proptest::proptest! {
        #[test]
        fn any_octets_are_read_without_harm(
            start in proptest::sample::select(vec!["", "* ", "* OK [", "A1 NO ", "* 1 ", "+ ", "* BYE "]),
            rest in proptest::collection::vec(proptest::arbitrary::any::<u8>(), 0..300),
        ) {
            let line = [start.as_bytes(), &rest].concat();
            if let Response::Untagged(status) | Response::Tagged { status, .. } = Response::parse(&line) {
                proptest::prop_assert!(!status.text.chars().any(char::is_control));
                proptest::prop_assert!(status.text.chars().count() <= MAX_TEXT);
            }
        }
    }
}
