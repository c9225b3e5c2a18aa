//! Command lines into [`Command`]s (RFC 1939, 2449, 2595, 5034, 6856).

use crate::ids::{MessageNumber, decimal};
use crate::secret::Secret;

/// A well-formed command with its arguments.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// RFC 2449 §5
    Capa,
    /// RFC 1939 §7
    User(String),
    /// RFC 1939 §7
    Pass(Secret),
    /// RFC 5034 §4; without a mechanism it asks for the list, as old clients do.
    Auth { mechanism: Option<String>, initial_response: Option<Secret> },
    /// RFC 2595 §4
    Stls,
    /// RFC 6856 §2
    Utf8,
    /// RFC 6856 §3
    Lang(Option<String>),
    /// RFC 1939 §5
    Stat,
    /// RFC 1939 §5
    List(Option<MessageNumber>),
    /// RFC 1939 §7
    Uidl(Option<MessageNumber>),
    /// RFC 1939 §5
    Retr(MessageNumber),
    /// RFC 1939 §7: how many lines of the body.
    Top(MessageNumber, u32),
    /// RFC 1939 §5
    Dele(MessageNumber),
    /// RFC 1939 §5
    Rset,
    /// RFC 1939 §5
    Noop,
    /// RFC 1939 §5 and §6
    Quit,
}

/// Why a line is no [`Command`]. Each has an answer that lets the client go on.
#[derive(Debug, PartialEq, Eq)]
pub enum Invalid {
    /// NUL, other control characters or no keyword: not a POP3 client's line.
    Garbage,
    /// A line over the limit; it was skipped.
    TooLong,
    /// A keyword that is not ours.
    Unknown,
    /// A known command that is not offered: its name.
    NotOffered(&'static str),
    /// The keyword is known, what follows is not as its section has it: the usage.
    Usage(&'static str),
    /// A number where a message number belongs, but no message has it: 0, or past 2³² − 1.
    NoSuchMessage,
}

impl Command {
    /// Reads one line without its line end.
    ///
    /// Keywords are case-insensitive (RFC 1939 §3); blanks around arguments are forgiven,
    /// but for PASS, whose argument is everything behind one space (RFC 1939 §7).
    pub fn parse(line: &[u8]) -> Result<Self, Invalid> {
        if line.contains(&0) {
            return Err(Invalid::Garbage);
        }
        let start = line.iter().position(|&octet| octet != b' ').ok_or(Invalid::Garbage)?;
        let line = &line[start..];
        let end = line.iter().position(|&octet| octet == b' ').unwrap_or(line.len());
        let (keyword, rest) = line.split_at(end);
        if !keyword.iter().all(u8::is_ascii_graphic) {
            return Err(Invalid::Garbage);
        }
        if keyword.eq_ignore_ascii_case(b"PASS") {
            return match rest.split_first() {
                Some((_, password)) if !password.is_empty() => Ok(Self::Pass(Secret::new(password.to_vec()))),
                _ => Err(Invalid::Usage("PASS password")),
            };
        }
        let arguments: Vec<&[u8]> = rest
            .split(|&octet| octet == b' ' || octet == b'\t')
            .filter(|argument| !argument.is_empty())
            .collect();
        match keyword.to_ascii_uppercase().as_slice() {
            b"CAPA" => none(&arguments, Self::Capa, "CAPA"),
            // A user name may hold blanks: everything up to the line's end.
            b"USER" => match std::str::from_utf8(rest.trim_ascii()) {
                Ok(name) if !name.is_empty() && !name.contains(char::is_control) => {
                    Ok(Self::User(name.to_owned()))
                }
                _ => Err(Invalid::Usage("USER name")),
            },
            b"AUTH" => auth(&arguments),
            b"STLS" => none(&arguments, Self::Stls, "STLS"),
            b"UTF8" => none(&arguments, Self::Utf8, "UTF8"),
            b"LANG" => match arguments.as_slice() {
                [] => Ok(Self::Lang(None)),
                [tag] => Ok(Self::Lang(Some(String::from_utf8_lossy(tag).into_owned()))),
                _ => Err(Invalid::Usage("LANG [language]")),
            },
            b"STAT" => none(&arguments, Self::Stat, "STAT"),
            b"LIST" => optional_number(&arguments, "LIST [message]").map(Self::List),
            b"UIDL" => optional_number(&arguments, "UIDL [message]").map(Self::Uidl),
            b"RETR" => one_number(&arguments, "RETR message").map(Self::Retr),
            b"DELE" => one_number(&arguments, "DELE message").map(Self::Dele),
            b"TOP" => match arguments.as_slice() {
                [message, lines] => Ok(Self::Top(number(message, "TOP message lines")?, count(lines)?)),
                _ => Err(Invalid::Usage("TOP message lines")),
            },
            b"RSET" => none(&arguments, Self::Rset, "RSET"),
            b"NOOP" => none(&arguments, Self::Noop, "NOOP"),
            b"QUIT" => none(&arguments, Self::Quit, "QUIT"),
            // Sent by old clients; a plain refusal lets them go on (RFC 1939 §7, RFC 1460, 1082).
            b"APOP" => Err(Invalid::NotOffered("APOP")),
            b"LAST" => Err(Invalid::NotOffered("LAST")),
            b"XTND" => Err(Invalid::NotOffered("XTND")),
            b"RPOP" => Err(Invalid::NotOffered("RPOP")),
            _ => Err(Invalid::Unknown),
        }
    }
}

fn none(arguments: &[&[u8]], command: Command, usage: &'static str) -> Result<Command, Invalid> {
    if arguments.is_empty() { Ok(command) } else { Err(Invalid::Usage(usage)) }
}

fn auth(arguments: &[&[u8]]) -> Result<Command, Invalid> {
    let usage = Invalid::Usage("AUTH mechanism [initial-response]");
    let (mechanism, initial_response) = match arguments {
        [] => (None, None),
        [mechanism] => (Some(mechanism), None),
        [mechanism, initial] => (Some(mechanism), Some(Secret::new(initial.to_vec()))),
        _ => return Err(usage),
    };
    let mechanism = match mechanism {
        None => None,
        Some(name) => match std::str::from_utf8(name) {
            Ok(name) => Some(name.to_ascii_uppercase()),
            Err(_) => return Err(usage),
        },
    };
    Ok(Command::Auth { mechanism, initial_response })
}

fn optional_number(arguments: &[&[u8]], usage: &'static str) -> Result<Option<MessageNumber>, Invalid> {
    match arguments {
        [] => Ok(None),
        [one] => number(one, usage).map(Some),
        _ => Err(Invalid::Usage(usage)),
    }
}

fn one_number(arguments: &[&[u8]], usage: &'static str) -> Result<MessageNumber, Invalid> {
    match arguments {
        [one] => number(one, usage),
        _ => Err(Invalid::Usage(usage)),
    }
}

fn number(text: &[u8], usage: &'static str) -> Result<MessageNumber, Invalid> {
    match MessageNumber::parse(text) {
        Some(number) => Ok(number),
        None if text.iter().all(u8::is_ascii_digit) => Err(Invalid::NoSuchMessage),
        None => Err(Invalid::Usage(usage)),
    }
}

/// Clients ask for "all lines" with whatever large number they like: cap it instead of refusing it.
fn count(text: &[u8]) -> Result<u32, Invalid> {
    if text.iter().all(u8::is_ascii_digit) {
        Ok(decimal(text).unwrap_or(u32::MAX))
    } else {
        Err(Invalid::Usage("TOP message lines"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: &str) -> MessageNumber {
        MessageNumber::parse(number.as_bytes()).expect("a number")
    }

    #[test]
    fn keywords_take_any_case_and_blanks() {
        assert_eq!(Command::parse(b"quit"), Ok(Command::Quit));
        assert_eq!(Command::parse(b"Stat  "), Ok(Command::Stat));
        assert_eq!(Command::parse(b"  noop"), Ok(Command::Noop));
        assert_eq!(Command::parse(b"RETR  2 "), Ok(Command::Retr(message("2"))));
        assert_eq!(Command::parse(b"top 1 99999999999"), Ok(Command::Top(message("1"), u32::MAX)));
    }

    #[test]
    fn a_password_keeps_its_blanks() {
        let expected = Command::Pass(Secret::new(b" two words ".to_vec()));
        assert_eq!(Command::parse(b"PASS  two words "), Ok(expected));
        assert_eq!(Command::parse(b"PASS "), Err(Invalid::Usage("PASS password")));
    }

    proptest::proptest! {
        #[test]
        fn any_octets_are_read_without_harm(
            keyword in proptest::sample::select(vec![
                "", "USER ", "PASS ", "AUTH ", "LIST ", "UIDL ", "RETR ", "TOP ", "TOP 1 ", "DELE ", "LANG ",
            ]),
            rest in proptest::collection::vec(proptest::arbitrary::any::<u8>(), 0..300),
        ) {
            let _ = Command::parse(&[keyword.as_bytes(), &rest].concat());
        }

        #[test]
        fn what_is_printed_is_read_back(at in 1u32.., lines: u32, blanks in 1usize..4) {
            let blank = " ".repeat(blanks);
            let at_ = message(&at.to_string());
            for (line, command) in [
                (format!("retr{blank}{at}"), Command::Retr(at_)),
                (format!("DELE{blank}{at}{blank}"), Command::Dele(at_)),
                (format!("List{blank}{at}"), Command::List(Some(at_))),
                (format!("UIDL{blank}{at}"), Command::Uidl(Some(at_))),
                (format!("TOP{blank}{at}{blank}{lines}"), Command::Top(at_, lines)),
            ] {
                proptest::prop_assert_eq!(Command::parse(line.as_bytes()), Ok(command));
            }
        }
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        assert_eq!(Command::parse(b""), Err(Invalid::Garbage));
        assert_eq!(Command::parse(b"QU\0IT"), Err(Invalid::Garbage));
        assert_eq!(Command::parse(b"\xff\xfe\x01"), Err(Invalid::Garbage));
        assert_eq!(Command::parse(b"USER \x1b[31mbob"), Err(Invalid::Usage("USER name")));
        assert_eq!(Command::parse(b"XYZZY 1"), Err(Invalid::Unknown));
        assert_eq!(Command::parse(b"last"), Err(Invalid::NotOffered("LAST")));
        assert_eq!(Command::parse(b"RETR 0"), Err(Invalid::NoSuchMessage));
        assert_eq!(Command::parse(b"RETR 99999999999"), Err(Invalid::NoSuchMessage));
        assert_eq!(Command::parse(b"RETR one"), Err(Invalid::Usage("RETR message")));
        assert_eq!(Command::parse(b"RETR"), Err(Invalid::Usage("RETR message")));
        assert_eq!(Command::parse(b"STAT 1"), Err(Invalid::Usage("STAT")));
    }

    #[test]
    fn auth_with_and_without_arguments() {
        let auth = |mechanism: Option<&str>, initial: Option<&[u8]>| Command::Auth {
            mechanism: mechanism.map(str::to_owned),
            initial_response: initial.map(|octets| Secret::new(octets.to_vec())),
        };
        assert_eq!(Command::parse(b"AUTH"), Ok(auth(None, None)));
        assert_eq!(Command::parse(b"auth plain"), Ok(auth(Some("PLAIN"), None)));
        assert_eq!(Command::parse(b"AUTH PLAIN ="), Ok(auth(Some("PLAIN"), Some(b"="))));
    }
}
