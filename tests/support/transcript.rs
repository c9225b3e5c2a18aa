//! Dialogues from files, one per rule, played by a client that is nothing but a socket.
//!
//! ```text
//! # Words about the rule.
//! = mail plain dots            messages, in this order
//! = mail-in Work plain         the same in another folder
//! = maildrop on_delete = "expunge"
//! = listener starttls
//! S: +OK ...                   a line; " ..." at its end stands for anything
//! C: USER $user                a line with CRLF; neighbours go out in one write
//! R: USER alice\n              octets with \r \n \0 \xNN, nothing added
//! S: 1 {first}                 {name} is anything the first time, and the same from then on
//! S: <end>                     the bridge closes
//! = reconnect                  the client goes away without a word and comes back
//! = cut                        only its sending side is closed
//! ```
//!
//! `$user`, `$plain`, `$user64` and `$secret64` are the user's name, SASL PLAIN's message and
//! LOGIN's two answers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::bridge::Settings;
use super::dovecot::PASSWORD;
use super::local::Local;
use super::pop3::Pop3;

/// The transcripts in `tests/transcripts`, by name.
pub fn all() -> Vec<Transcript> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let entries = std::fs::read_dir(&folder).expect("the transcripts' folder");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "txt"));
    paths.sort();
    assert!(!paths.is_empty(), "no transcripts in {}", folder.display());
    paths.iter().map(|path| Transcript::read(path)).collect()
}

/// One dialogue.
pub struct Transcript {
    pub name: String,
    /// Each message with its folder.
    pub mail: Vec<(String, Vec<u8>)>,
    maildrop: Vec<String>,
    listener: &'static str,
    steps: Vec<(usize, Step)>,
}

enum Step {
    Send(Vec<u8>),
    Expect(String),
    Closed,
    Reconnect,
    Cut,
}

impl Transcript {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).expect("a transcript");
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let mut transcript =
            Self { name, mail: Vec::new(), maildrop: Vec::new(), listener: "none", steps: Vec::new() };
        for (index, line) in text.lines().enumerate() {
            transcript.line(index + 1, line);
        }
        transcript
    }

    fn line(&mut self, at: usize, line: &str) {
        let bad = || -> ! { panic!("{}:{at}: not understood: {line}", self.name) };
        let step = match line.split_at_checked(3) {
            _ if line.trim().is_empty() || line.starts_with('#') => return,
            Some(("C: ", text)) => Step::Send(format!("{text}\r\n").into_bytes()),
            Some(("R: ", text)) => Step::Send(unescape(text)),
            Some(("S: ", "<end>")) => Step::Closed,
            Some(("S: ", text)) => Step::Expect(text.to_owned()),
            _ => match line.split_whitespace().collect::<Vec<_>>().as_slice() {
                ["=", "reconnect"] => Step::Reconnect,
                ["=", "cut"] => Step::Cut,
                ["=", "mail", names @ ..] => {
                    self.mail.extend(names.iter().map(|name| ("INBOX".to_owned(), message(name))));
                    return;
                }
                ["=", "mail-in", folder, names @ ..] => {
                    self.mail.extend(names.iter().map(|name| ((*folder).to_owned(), message(name))));
                    return;
                }
                ["=", "listener", "starttls"] => {
                    self.listener = "starttls";
                    return;
                }
                ["=", "maildrop", setting @ ..] => {
                    self.maildrop.push(setting.join(" "));
                    return;
                }
                _ => bad(),
            },
        };
        match (self.steps.last_mut(), step) {
            (Some((_, Step::Send(before))), Step::Send(more)) => before.extend(more),
            (_, step) => self.steps.push((at, step)),
        }
    }

    /// Plays it as `user`, whose mailbox holds [`Self::mail`], against a bridge to this upstream.
    pub async fn play(&self, upstream: &str, user: &str) {
        let mut settings = Settings::new(upstream.to_owned()).listeners(&[self.listener]);
        if self.listener != "none" {
            settings = settings.with("tls", "self_signed = true");
        }
        for setting in &self.maildrop {
            settings = settings.with("maildrop", setting);
        }
        let bridge = Local::start(&settings).await;
        let encode = |text: String| STANDARD.encode(text);
        let variables = [
            ("$user64", encode(user.to_owned())),
            ("$secret64", encode(PASSWORD.to_owned())),
            ("$plain", encode(format!("\0{user}\0{PASSWORD}"))),
            ("$user", user.to_owned()),
        ];
        let mut captured = HashMap::new();
        let mut client = Pop3::silent(bridge.address()).await;
        for (at, step) in &self.steps {
            let place = format!("{}:{at}", self.name);
            match step {
                Step::Send(octets) => client.send(&filled(octets, &variables)).await,
                Step::Expect(expected) => match client.line().await {
                    Ok(line) => assert!(
                        matches(expected, &line, &mut captured),
                        "{place}\nexpected: {expected}\nreceived: {line}"
                    ),
                    Err(error) => panic!("{place}\nexpected: {expected}\nreceived: {error}"),
                },
                Step::Closed => {
                    let rest = client.rest().await;
                    assert!(rest.is_empty(), "{place}: {:?}", String::from_utf8_lossy(&rest));
                }
                Step::Reconnect => {
                    client.abort();
                    client = Pop3::silent(bridge.address()).await;
                }
                Step::Cut => client.half_close().await,
            }
        }
        drop(client);
        bridge.stop().await;
    }
}

fn filled(octets: &[u8], variables: &[(&str, String)]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(octets) else {
        return octets.to_vec();
    };
    let mut text = text.to_owned();
    for (name, value) in variables {
        text = text.replace(name, value);
    }
    text.into_bytes()
}

fn matches(expected: &str, line: &str, captured: &mut HashMap<String, String>) -> bool {
    if let Some((before, rest)) = expected.split_once('{')
        && let Some((name, "")) = rest.split_once('}')
    {
        let Some(value) = line.strip_prefix(before).filter(|value| !value.is_empty()) else {
            return false;
        };
        return captured.entry(name.to_owned()).or_insert_with(|| value.to_owned()) == value;
    }
    match expected.strip_suffix(" ...") {
        Some(beginning) => line == beginning || line.starts_with(&format!("{beginning} ")),
        None => line == expected,
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'\\' => match rest.next() {
                Some(b'r') => b'\r',
                Some(b'n') => b'\n',
                Some(b'0') => 0,
                Some(b'x') => {
                    let digits = [rest.next(), rest.next()].map(|digit| digit.expect("two digits"));
                    let digits = std::str::from_utf8(&digits).expect("two digits").to_owned();
                    u8::from_str_radix(&digits, 16).expect("two hexadecimal digits")
                }
                other => panic!("an unknown escape: {other:?}"),
            },
            octet => octet,
        });
    }
    octets
}

/// The messages that a transcript may name.
fn message(name: &str) -> Vec<u8> {
    let octets: &[u8] = match name {
        "plain" => b"From: a@example.org\r\nSubject: plain\r\n\r\nfirst\r\nsecond\r\nthird\r\n",
        "dots" => b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\nx.\r\n",
        "header-only" => b"Subject: header only\r\n",
        "empty-body" => b"Subject: empty body\r\n\r\n",
        "no-newline" => b"Subject: no newline\r\n\r\nlast",
        "eight-bit" => b"Subject: caf\xe9\r\n\r\n\xc3\xa9\xff\r\n",
        "two-lines" => b"Subject: two\r\n\r\none\r\ntwo\r\n",
        _ => panic!("no message of the name {name}"),
    };
    octets.to_vec()
}
