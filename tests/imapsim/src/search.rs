//! SEARCH and UID SEARCH, with ESEARCH (RFC 4731).

use std::io;

use crate::command::Command;
use crate::connection::{Connection, Reply, bad, ok};
use crate::mailbox::Stored;
use crate::section::{field, parse_date};
use crate::set::{Set, compact};
use crate::store::flag_name;
use crate::token::{Args, Token};

/// Keys may nest as deep as this.
const DEPTH: usize = 16;

impl Connection {
    pub(crate) fn search(&mut self, command: &Command) -> io::Result<Reply> {
        let Some(view) = &self.view else {
            return bad("No mailbox selected.");
        };
        let mut args = command.args();
        let options = match args.take("RETURN").then(|| args.atoms()) {
            None => None,
            Some(Some(options)) if self.traits.has("ESEARCH") => Some(options),
            Some(_) => return bad("Error in IMAP command SEARCH: Unknown argument RETURN."),
        };
        if args.take("CHARSET") {
            args.text();
        }
        let key = match keys(&mut args, DEPTH) {
            Ok(key) if args.is_empty() => key,
            Ok(_) => return bad("Error in IMAP command SEARCH: Unexpected ')'."),
            Err(wrong) => return bad(format!("Error in IMAP command SEARCH: {wrong}.")),
        };
        let found = self.shared.with_mailbox(&view.user, &view.mailbox, |mailbox| {
            let count = u32::try_from(view.uids.len()).unwrap_or(u32::MAX);
            let last = view.uids.last().copied().unwrap_or(0);
            let mut found = Vec::new();
            for (number, &uid) in (1..).zip(&view.uids) {
                let Some(message) = mailbox.find(uid) else {
                    continue;
                };
                let recent = view.is_recent(uid);
                if key.fits(&Candidate { message, number, count, last, recent }) {
                    found.push(if command.uid { uid } else { number });
                }
            }
            found
        });
        let found = found.unwrap_or_default();
        match options {
            Some(options) => {
                let line = extended(command, &options, &found);
                self.wire.push_line(line);
            }
            None => {
                let mut line = String::from("* SEARCH");
                for number in &found {
                    line.push_str(&format!(" {number}"));
                }
                self.wire.push_line(line);
            }
        }
        ok("Search completed.")
    }
}

fn extended(command: &Command, options: &[&str], found: &[u32]) -> String {
    let wants = |name: &str| options.iter().any(|option| option.eq_ignore_ascii_case(name));
    let mut line = format!("* ESEARCH (TAG \"{}\")", command.tag);
    if command.uid {
        line.push_str(" UID");
    }
    if let (Some(first), Some(last)) = (found.first(), found.last()) {
        if wants("MIN") {
            line.push_str(&format!(" MIN {first}"));
        }
        if wants("MAX") {
            line.push_str(&format!(" MAX {last}"));
        }
        // RFC 4731 §3.1: an empty list of options is ALL.
        if wants("ALL") || options.is_empty() {
            line.push_str(&format!(" ALL {}", compact(found)));
        }
    }
    if wants("COUNT") {
        line.push_str(&format!(" COUNT {}", found.len()));
    }
    line
}

struct Candidate<'a> {
    message: &'a Stored,
    number: u32,
    count: u32,
    last: u32,
    recent: bool,
}

#[derive(Debug)]
enum Key {
    Every(Vec<Key>),
    Not(Box<Key>),
    Either(Box<(Key, Key)>),
    Uids(Set),
    Numbers(Set),
    Flag(String),
    Recent,
    Header(Vec<u8>, Vec<u8>),
    Text(Vec<u8>),
    Larger(u64),
    Smaller(u64),
    /// INTERNALDATE at or after this second.
    Since(i64),
}

impl Key {
    /// The depth of keys was limited when they were read.
    fn fits(&self, candidate: &Candidate<'_>) -> bool {
        let message = candidate.message;
        let size = message.crlf.len() as u64;
        match self {
            Self::Every(keys) => keys.iter().all(|key| key.fits(candidate)),
            Self::Not(key) => !key.fits(candidate),
            Self::Either(pair) => pair.0.fits(candidate) || pair.1.fits(candidate),
            Self::Uids(set) => set.contains(message.uid, candidate.last),
            Self::Numbers(set) => set.contains(candidate.number, candidate.count),
            Self::Flag(flag) => message.flags.contains(flag),
            Self::Recent => candidate.recent,
            Self::Header(name, value) => field(&message.crlf, name).is_some_and(|found| holds(&found, value)),
            Self::Text(value) => holds(&message.crlf, value),
            Self::Larger(limit) => size > *limit,
            Self::Smaller(limit) => size < *limit,
            Self::Since(second) => message.date >= *second,
        }
    }
}

fn holds(text: &[u8], value: &[u8]) -> bool {
    let (text, value) = (text.to_ascii_lowercase(), value.to_ascii_lowercase());
    memchr::memmem::find(&text, &value).is_some()
}

/// Keys up to the end or a closing parenthesis, all of which must fit.
fn keys(args: &mut Args<'_>, depth: usize) -> Result<Key, String> {
    let mut list = Vec::new();
    while !matches!(args.peek(), None | Some(Token::Close)) {
        list.push(key(args, depth)?);
    }
    if list.is_empty() { Err("Missing search parameters".into()) } else { Ok(Key::Every(list)) }
}

fn key(args: &mut Args<'_>, depth: usize) -> Result<Key, String> {
    let depth = depth.checked_sub(1).ok_or("Too deeply nested")?;
    let missing = || "Missing argument".to_owned();
    let name = match args.next() {
        Some(Token::Open) => {
            let inner = keys(args, depth)?;
            return match args.next() {
                Some(Token::Close) => Ok(inner),
                _ => Err("Missing ')'".into()),
            };
        }
        Some(Token::Atom(name)) => name.to_ascii_uppercase(),
        _ => return Err("Unexpected string".into()),
    };
    let negated = |key: Key| Key::Not(Box::new(key));
    let date = |args: &mut Args<'_>| args.text().and_then(|text| parse_date(&text)).ok_or_else(missing);
    Ok(match name.as_str() {
        "ALL" => Key::Every(Vec::new()),
        "NOT" => negated(key(args, depth)?),
        "OR" => Key::Either(Box::new((key(args, depth)?, key(args, depth)?))),
        "UID" => Key::Uids(args.atom().and_then(Set::parse).ok_or("Invalid UID messageset")?),
        "SEEN" | "DELETED" | "ANSWERED" | "FLAGGED" | "DRAFT" => flag(&name)?,
        "UNSEEN" | "UNDELETED" | "UNANSWERED" | "UNFLAGGED" | "UNDRAFT" => negated(flag(&name[2..])?),
        "KEYWORD" => Key::Flag(args.text().ok_or_else(missing)?),
        "UNKEYWORD" => negated(Key::Flag(args.text().ok_or_else(missing)?)),
        "RECENT" => Key::Recent,
        "OLD" => negated(Key::Recent),
        "NEW" => Key::Every(vec![Key::Recent, negated(flag("SEEN")?)]),
        "HEADER" => {
            let name = args.octets().ok_or_else(missing)?.to_ascii_lowercase();
            Key::Header(name, args.octets().ok_or_else(missing)?)
        }
        "SUBJECT" | "FROM" | "TO" | "CC" | "BCC" => {
            Key::Header(name.to_ascii_lowercase().into_bytes(), args.octets().ok_or_else(missing)?)
        }
        "TEXT" | "BODY" => Key::Text(args.octets().ok_or_else(missing)?),
        "LARGER" => Key::Larger(args.atom().and_then(|size| size.parse().ok()).ok_or_else(missing)?),
        "SMALLER" => Key::Smaller(args.atom().and_then(|size| size.parse().ok()).ok_or_else(missing)?),
        "SINCE" => Key::Since(date(args)?),
        "BEFORE" => negated(Key::Since(date(args)?)),
        "ON" => {
            let day = date(args)?;
            Key::Every(vec![Key::Since(day), negated(Key::Since(day + 86_400))])
        }
        _ => Key::Numbers(Set::parse(&name).ok_or_else(|| format!("Unknown argument {name}"))?),
    })
}

fn flag(name: &str) -> Result<Key, String> {
    flag_name(&format!("\\{name}")).map(Key::Flag).ok_or_else(|| format!("Unknown argument {name}"))
}
