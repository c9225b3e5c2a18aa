//! Reads whole commands, literals included.

use std::io;

use crate::connection::Connection;
use crate::token::{self, Args, Token};

/// A literal outside APPEND.
const LITERAL_CAP: u64 = 64 * 1024;
/// A message in APPEND.
const MESSAGE_CAP: u64 = 256 * 1024 * 1024;

/// A command with its arguments.
#[derive(Debug)]
pub(crate) struct Command {
    pub tag: String,
    /// In upper case, without `UID`.
    pub name: String,
    /// It came as `UID name`.
    pub uid: bool,
    tokens: Vec<Token>,
}

impl Command {
    pub(crate) fn args(&self) -> Args<'_> {
        Args::new(&self.tokens)
    }
}

/// What came from the peer.
pub(crate) enum Received {
    Command(Command),
    /// Not to be understood; answered `BAD` under this tag.
    Bad(String, String),
    /// Answered by BYE and the end.
    Bye(&'static str),
}

impl Connection {
    pub(crate) async fn receive(&mut self) -> io::Result<Received> {
        let mut tokens = Vec::new();
        let mut shown = Vec::new();
        let mut length = 0;
        let mut wrong = None;
        loop {
            let line = self.wire.line().await?;
            length += line.len();
            let (part, announced) = match token::literal(&line) {
                Some((part, size, plus)) => (part, Some((size, plus))),
                None => (&line[..], None),
            };
            // A line that is too long is only read to its end.
            if length > self.shared.traits().line_limit {
                wrong = Some("Command line too long");
                if tokens.is_empty() {
                    let tag = line.split(|octet| *octet == b' ').next().unwrap_or_default();
                    token::tokens(&tag[..tag.len().min(64)], &mut tokens).ok();
                }
            }
            if wrong.is_none() {
                shown.extend_from_slice(&line);
                wrong = token::tokens(part, &mut tokens).err();
            }
            let Some((size, plus)) = announced else { break };
            if plus && !self.takes_plus(size) {
                return Ok(Received::Bye("Unexpected literal"));
            }
            let append =
                matches!(tokens.get(1), Some(Token::Atom(name)) if name.eq_ignore_ascii_case("APPEND"));
            if size > if append { MESSAGE_CAP } else { LITERAL_CAP } {
                return Ok(Received::Bye("Literal size too large"));
            }
            if !plus {
                self.wire.push_line("+ OK");
            }
            // The size was just compared with the caps.
            let text = self.wire.exactly(usize::try_from(size).unwrap_or(usize::MAX)).await?;
            tokens.push(Token::Text(text));
        }
        let too_long = length > self.shared.traits().line_limit;
        if too_long && self.shared.traits().too_long == crate::TooLong::Bye {
            self.record(&tokens, &shown);
            return Ok(Received::Bye("word too long"));
        }
        self.record(&tokens, &shown);
        Ok(understand(tokens, wrong))
    }

    /// RFC 7888 §5: LITERAL- is for short ones only.
    fn takes_plus(&self, size: u64) -> bool {
        let traits = self.shared.traits();
        let list = if self.user.is_some() { &traits.after_login } else { &traits.before_login };
        list.iter().any(|name| name == "LITERAL+" || (name == "LITERAL-" && size <= 4096))
    }

    /// Keeps the line for `Server::commands`, without passwords.
    fn record(&self, tokens: &[Token], shown: &[u8]) {
        let word = |at: usize| match tokens.get(at) {
            Some(Token::Atom(text)) => text.clone(),
            Some(Token::Text(text)) => String::from_utf8_lossy(text).into_owned(),
            _ => String::new(),
        };
        let line = match word(1).to_ascii_uppercase().as_str() {
            "LOGIN" => format!("{} LOGIN {} ***", word(0), word(2)),
            "AUTHENTICATE" if tokens.len() > 3 => {
                format!("{} AUTHENTICATE {} ***", word(0), word(2))
            }
            _ => String::from_utf8_lossy(shown).into_owned(),
        };
        self.shared.lock().commands.push(line);
    }
}

fn understand(tokens: Vec<Token>, wrong: Option<&'static str>) -> Received {
    let mut tokens = tokens.into_iter();
    let tag = match tokens.next() {
        Some(Token::Atom(tag)) if tag != "+" => tag,
        _ => return Received::Bad("*".into(), "Error in IMAP tag: Invalid tag".into()),
    };
    if let Some(wrong) = wrong {
        return Received::Bad(tag, format!("Error in IMAP command: {wrong}"));
    }
    let mut name = || match tokens.next() {
        Some(Token::Atom(name)) => Some(name.to_ascii_uppercase()),
        _ => None,
    };
    let invalid = || "Error in IMAP command: Invalid command name".to_owned();
    let Some(first) = name() else {
        return Received::Bad(tag, invalid());
    };
    if first != "UID" {
        return Received::Command(Command { tag, name: first, uid: false, tokens: tokens.collect() });
    }
    let Some(second) = name() else {
        return Received::Bad(tag, invalid());
    };
    if matches!(second.as_str(), "FETCH" | "STORE" | "SEARCH" | "COPY" | "MOVE" | "EXPUNGE") {
        return Received::Command(Command { tag, name: second, uid: true, tokens: tokens.collect() });
    }
    Received::Bad(tag, format!("Error in IMAP command UID {second}: Unknown command"))
}
