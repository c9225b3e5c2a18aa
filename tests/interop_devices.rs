//! Real mail programs as devices: each with a password of its own, one mailbox at a real Dovecot.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use tempfile::TempDir;

use popbridge::secret::{PasswordHash, Secret};
use support::bridge::{Bridge, Settings};
use support::dovecot::{Dovecot, Options, PASSWORD};
use support::fetchmail::Fetchmail;
use support::mail;
use support::process;

const MESSAGES: usize = 12;
const PATIENCE: Duration = Duration::from_secs(120);
const PRINTER: &str = "pr1nter's own";
const SCANNER: &str = "sc4nner-own";
/// Of curl(1): the login was refused.
const REFUSED: Option<i32> = Some(67);

/// A mailbox, a bridge with two devices in front of it, and where the programs are at home.
struct Stage {
    messages: Vec<Vec<u8>>,
    bridge: Bridge,
    dovecot: Dovecot,
    home: TempDir,
}

impl Stage {
    fn new(seed: u64) -> Self {
        let messages = mail::ordinary(seed, MESSAGES);
        let dovecot = Dovecot::start(&Options::default());
        dovecot.append_all("alice", "INBOX", messages.iter().map(Vec::as_slice), "");
        let home = tempfile::tempdir().expect("a temporary folder");
        let secret = home.path().join("secret");
        fs::write(&secret, format!("{PASSWORD}\n")).expect("a file is written");
        fs::set_permissions(&secret, Permissions::from_mode(0o600)).expect("our own file");
        let account = |login: &str, password: &str| {
            let hash = PasswordHash::of(&Secret::new(password.as_bytes().to_vec())).expect("random numbers");
            format!(
                "login = \"{login}\"\nusername = \"alice\"\npassword_hash = \"{}\"\npassword_file = {secret:?}",
                hash.as_str()
            )
        };
        let accounts = [account("printer", PRINTER), account("scanner", SCANNER)];
        let settings = Settings::new(dovecot.url())
            .with("security", "max_login_failures = 0\nlogin_failure_window = \"1s\"")
            .with("[account]", &accounts.join("\n[[account]]\n"));
        Self { messages, bridge: Bridge::start(&settings), dovecot, home }
    }

    fn curl(&self, user: &str, password: &str, more: &[&str]) -> Output {
        let mut command = Command::new(process::require("curl", "curl"));
        command
            .env("HOME", self.home.path())
            .args(["--silent", "--show-error", "--noproxy", "*", "--user", &format!("{user}:{password}")])
            .args(more);
        process::run(&mut command, PATIENCE)
    }

    /// One poll of a program that keeps what it has fetched there.
    fn mpop(&self) -> usize {
        let home = self.home.path();
        let maildir = home.join("maildir");
        for part in ["cur", "new", "tmp"] {
            fs::create_dir_all(maildir.join(part)).expect("a folder is made");
        }
        let text = format!(
            "account default\nhost 127.0.0.1\nport {}\nuser scanner\npassword {SCANNER}\nauth user\ntls off\n\
             received_header off\ndelivery maildir {}\nuidls_file {}\nkeep on\n",
            self.bridge.address().port(),
            maildir.display(),
            home.join("uidls").display(),
        );
        let file: PathBuf = home.join("mpoprc");
        fs::write(&file, text).expect("a file is written");
        fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("our own file");
        let mut command = Command::new(process::require("mpop", "mpop"));
        let output = process::run(command.env("HOME", home).arg("--file").arg(file), PATIENCE);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::read_dir(maildir.join("new")).expect("made above").count()
    }

    fn holds_everything(&self) {
        assert_eq!(self.dovecot.summaries("alice", "INBOX").len(), MESSAGES);
    }
}

#[tokio::test]
#[ignore = "needs Dovecot and curl; .ci/run runs it"]
async fn curl_gives_the_devices_password_in_each_way() {
    let stage = Stage::new(91);
    let url = format!("pop3://{}/1", stage.bridge.address());
    let before = stage.dovecot.logins("alice");
    for options in [&["--login-options", "AUTH=PLAIN"][..], &["--login-options", "AUTH=LOGIN"], &[]] {
        for wrong in [PASSWORD, SCANNER, "x"] {
            let output = stage.curl("printer", wrong, &[options, &[&url]].concat());
            assert_eq!(
                output.status.code(),
                REFUSED,
                "{options:?} {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        let output = stage.curl("printer", PRINTER, &[options, &[&url]].concat());
        assert!(output.status.success(), "{options:?}: {}", String::from_utf8_lossy(&output.stderr));
        mail::assert_same(&output.stdout, &mail::crlf(&stage.messages[0]), "message 1");
    }
    // Of the wrong ones Dovecot has heard nothing.
    let log = stage.dovecot.log();
    assert!(!log.contains("auth failed") && !log.contains("password mismatch"), "{log}");
    assert!(stage.dovecot.logins("alice") - before <= 4, "{log}");
    // The mailbox's own name is Dovecot's to judge.
    assert_eq!(stage.curl("alice", PRINTER, &[&url]).status.code(), REFUSED);
    assert!(stage.dovecot.log().contains("auth failed"), "{}", stage.dovecot.log());
    assert!(stage.curl("alice", PASSWORD, &[&url]).status.success());
}

#[tokio::test]
#[ignore = "needs Dovecot, fetchmail and mpop; .ci/run runs it"]
async fn two_devices_share_a_mailbox() {
    let stage = Stage::new(92);
    let address = stage.bridge.address();
    // It deletes what it has fetched, which hides it from this device.
    let printer = Fetchmail::new("printer").giving(PRINTER);
    printer.fetches_something(address);
    printer.has_delivered(&stage.messages);
    printer.fetches_nothing(address);
    stage.holds_everything();
    assert_eq!(stage.mpop(), MESSAGES, "the other device still sees everything");
    assert_eq!(stage.mpop(), MESSAGES, "and nothing twice");

    let new = mail::ordinary(93, 2);
    stage.dovecot.append_all("alice", "INBOX", new.iter().map(Vec::as_slice), "");
    assert_eq!(stage.mpop(), MESSAGES + 2);
    printer.fetches_something(address);
    printer.has_delivered(&[&stage.messages[..], &new].concat());
    printer.fetches_nothing(address);
    assert_eq!(stage.dovecot.summaries("alice", "INBOX").len(), MESSAGES + 2);
    let poll = Fetchmail::new("printer").giving(SCANNER).poll(address);
    assert_eq!(poll.code, Some(3), "fetchmail's code for a refused login: {}", poll.text);
}
