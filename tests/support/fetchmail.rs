//! fetchmail as a household has it: it takes mail by POP3 and hands each message to a program.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::dovecot::PASSWORD;
use super::mail;
use super::process;

const PATIENCE: Duration = Duration::from_secs(120);

/// What fetchmail remembers lives as long as this.
pub struct Fetchmail {
    home: TempDir,
    program: PathBuf,
    user: String,
    password: String,
    keep: bool,
}

/// One poll.
#[derive(Debug)]
pub struct Poll {
    /// 0 for new mail, 1 for none.
    pub code: Option<i32>,
    /// What it printed, the dialogue included.
    pub text: String,
}

impl Fetchmail {
    /// Deletes what it has fetched.
    pub fn new(user: &str) -> Self {
        Self::with(user, false)
    }

    /// Leaves everything there, and knows by unique ids what it has.
    pub fn keeping(user: &str) -> Self {
        Self::with(user, true)
    }

    fn with(user: &str, keep: bool) -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        let inbox = home.path().join("inbox");
        fs::create_dir(&inbox).expect("a folder is made");
        let text = format!("file=$(mktemp '{}/XXXXXXXXXX') && exec cat > \"$file\"\n", inbox.display());
        fs::write(home.path().join("deliver"), text).expect("a file is written");
        let program = process::require("fetchmail", "fetchmail");
        Self { home, program, user: user.to_owned(), password: PASSWORD.to_owned(), keep }
    }

    /// With another password than the mailbox's.
    pub fn giving(self, password: &str) -> Self {
        Self { password: password.to_owned(), ..self }
    }

    pub fn poll(&self, bridge: SocketAddr) -> Poll {
        let home = self.home.path();
        let (server, keep) = if self.keep { ("uidl", "keep") } else { ("", "nokeep") };
        let text = format!(
            "set invisible\nset no spambounce\n\
             poll 127.0.0.1 protocol pop3 port {} {server} timeout 60\n\
             user '{}' password \"{}\" {keep} no rewrite no mimedecode pass8bits sslproto ''\n\
             mda 'sh {}'\n",
            bridge.port(),
            self.user,
            self.password,
            home.join("deliver").display(),
        );
        let settings = home.join("fetchmailrc");
        fs::write(&settings, text).expect("a file is written");
        // It refuses a file with a password that others can read.
        fs::set_permissions(&settings, Permissions::from_mode(0o600)).expect("our own file");
        let mut command = Command::new(&self.program);
        command
            .env("HOME", home)
            .env("FETCHMAILHOME", home)
            .env("LC_ALL", "C")
            // Root's fetchmail would keep one lock for the whole machine.
            .arg("--pidfile")
            .arg(home.join("fetchmail.pid"))
            .args(["--nosyslog", "--nodetach", "--verbose", "--fetchmailrc"])
            .arg(&settings);
        let output = process::run(&mut command, PATIENCE);
        let text = [&output.stdout, &output.stderr].map(|part| String::from_utf8_lossy(part)).concat();
        Poll { code: output.status.code(), text }
    }

    pub fn fetches_something(&self, bridge: SocketAddr) {
        let poll = self.poll(bridge);
        assert_eq!(poll.code, Some(0), "{}", poll.text);
    }

    pub fn fetches_nothing(&self, bridge: SocketAddr) {
        let poll = self.poll(bridge);
        assert_eq!(poll.code, Some(1), "{}", poll.text);
    }

    /// All that it ever delivered is these, each once.
    pub fn has_delivered(&self, messages: &[Vec<u8>]) {
        let entries = fs::read_dir(self.home.path().join("inbox")).expect("made above");
        let files = entries.map(|entry| fs::read(entry.expect("readable").path()).expect("readable"));
        let mut found: Vec<Vec<u8>> = files.map(|file| form(&file)).collect();
        let mut expected: Vec<Vec<u8>> = messages.iter().map(|message| form(message)).collect();
        found.sort();
        expected.sort();
        assert_eq!(found.len(), expected.len(), "messages delivered");
        for (found, expected) in found.iter().zip(&expected) {
            mail::assert_same(found, expected, "a message delivered");
        }
    }
}

/// A message in the form that it has in a file, without what fetchmail adds and takes away.
fn form(message: &[u8]) -> Vec<u8> {
    let text = mail::lf(message);
    let end = text.windows(2).position(|pair| pair == b"\n\n").unwrap_or(text.len());
    let (header, body) = text.split_at(end);
    let lines = header.split_inclusive(|&octet| octet == b'\n');
    let mut kept = lines.filter(|line| !line.starts_with(b"Return-Path:")).collect::<Vec<_>>().concat();
    kept.extend_from_slice(body);
    let length = kept.trim_ascii_end().len();
    kept.truncate(length);
    kept
}
