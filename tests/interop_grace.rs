//! Deletions that wait: the grace before them, with the clock moved, and the sweep behind it.

mod support;

use std::path::PathBuf;
use std::time::Duration;

use support::bridge::{Bridge, Settings};
use support::dovecot::{Dovecot, Options};
use support::fetchmail::Fetchmail;
use support::mail;
use support::pop3::Pop3;
use support::process;

const MESSAGES: usize = 5;
/// What the sweep may take: its period, and a busy machine.
const SWEEP: Duration = Duration::from_secs(20);

#[tokio::test]
#[ignore = "needs Dovecot, fetchmail and faketime; .ci/run runs it"]
async fn a_week_of_grace() {
    let mut stage = Stage::new("trash", "7d", None);
    let fetchmail = Fetchmail::new("alice");
    fetchmail.fetches_something(stage.bridge.address());
    fetchmail.has_delivered(&stage.messages);
    // Out of the program's sight, and in everybody else's.
    for _ in 0..2 {
        fetchmail.fetches_nothing(stage.bridge.address());
        stage.holds(&stage.messages, &[]);
        assert!(stage.dovecot.summaries("alice", "INBOX").iter().all(|message| !message.has("\\Deleted")));
        stage.bridge.restart();
    }
    // Another client reads one, keeps one from going, and new mail comes.
    let uids: Vec<u32> = stage.dovecot.summaries("alice", "INBOX").iter().map(|found| found.uid).collect();
    let mut imap = stage.dovecot.connect("alice");
    imap.command("CREATE Kept");
    imap.command("SELECT INBOX");
    imap.command(&format!("UID MOVE {} Kept", uids[2]));
    let new = mail::ordinary(82, 1);
    stage.dovecot.append_all("alice", "INBOX", new.iter().map(Vec::as_slice), "");

    let clock = clock();
    stage.bridge.restart_with(&days_ahead(&clock, "+6d"));
    assert_eq!(stage.listed().await, 1, "the new one alone");
    let mut left = stage.messages.clone();
    left.remove(2);
    stage.holds(&[&left[..], &new].concat(), &[]);

    stage.bridge.restart_with(&days_ahead(&clock, "+8d"));
    assert_eq!(stage.listed().await, 1);
    stage.holds(&new, &left);
    assert_eq!(stage.dovecot.summaries("alice", "Kept").len(), 1, "what was moved away is not followed");
    // The clock put right: nothing is done twice or undone.
    stage.bridge.restart();
    assert_eq!(stage.listed().await, 1);
    stage.holds(&new, &left);
}

#[tokio::test]
#[ignore = "needs Dovecot, fetchmail and faketime; .ci/run runs it"]
async fn grace_for_every_policy() {
    for (on_delete, capability) in [
        ("trash", Some("IMAP4rev1 LITERAL+ UIDPLUS LIST-EXTENDED SPECIAL-USE")),
        ("expunge", None),
        ("flag", None),
        ("hide", None),
    ] {
        let mut stage = Stage::new(on_delete, "1h", capability);
        let mut pop3 = stage.login().await;
        let ids = pop3.uidl().await;
        pop3.ok("DELE 2").await;
        pop3.quit().await;
        stage.holds(&stage.messages, &[]);
        let mut left = ids.clone();
        left.remove(1);
        let left: Vec<String> = left.into_iter().map(|(_, id)| id).collect();
        assert_eq!(stage.unique_ids().await, left, "{on_delete}");

        stage.bridge.restart_with(&days_ahead(&clock(), "+2h"));
        for _ in 0..2 {
            assert_eq!(stage.unique_ids().await, left, "{on_delete}");
        }
        let mut rest = stage.messages.clone();
        let one = rest.remove(1);
        match on_delete {
            "trash" => stage.holds(&rest, &[one]),
            "expunge" => stage.holds(&rest, &[]),
            _ => stage.holds(&stage.messages, &[]),
        }
        let deleted = stage.dovecot.summaries("alice", "INBOX");
        let deleted = deleted.iter().filter(|message| message.has("\\Deleted")).count();
        assert_eq!(deleted, usize::from(on_delete == "flag"), "{on_delete}");
    }
}

#[tokio::test]
#[ignore = "needs Dovecot and fetchmail; .ci/run runs it"]
async fn the_sweep_comes_without_a_login() {
    let stage = Stage::new("trash", "3s", None);
    let fetchmail = Fetchmail::new("alice");
    fetchmail.fetches_something(stage.bridge.address());
    stage.swept(SWEEP);
    // One connection for it, and then no more.
    stage.bridge.wait_for_log(|entry| entry["fields"]["message"] == "deletions that were due are done");
    let logins = stage.dovecot.logins("alice");
    std::thread::sleep(Duration::from_secs(11));
    assert_eq!(stage.dovecot.logins("alice"), logins, "the sweep has nothing more to do");
    fetchmail.fetches_nothing(stage.bridge.address());
    stage.holds(&[], &stage.messages);
}

#[tokio::test]
#[ignore = "needs Dovecot and fetchmail; .ci/run runs it"]
async fn the_sweep_survives_an_outage() {
    let mut stage = Stage::new("trash", "10s", None);
    Fetchmail::new("alice").fetches_something(stage.bridge.address());
    stage.bridge.sessions(1);
    stage.dovecot.stop();
    stage.bridge.wait_for_log(|entry| entry["fields"]["message"] == "deletions that are due wait");
    stage.dovecot.start_again();
    stage.holds(&stage.messages, &[]);
    // It pauses for a minute after a failure.
    stage.swept(Duration::from_secs(90));
}

#[tokio::test]
#[ignore = "needs Dovecot and fetchmail; .ci/run runs it"]
async fn an_outage_before_quit_is_made_up_for() {
    for capability in [None, Some("IMAP4rev1 LITERAL+ UIDPLUS LIST-EXTENDED SPECIAL-USE")] {
        let mut stage = Stage::new("trash", "0d", capability);
        let mut pop3 = stage.login().await;
        for number in 1..=MESSAGES {
            pop3.ok(&format!("DELE {number}")).await;
        }
        stage.dovecot.stop();
        let answer = pop3.err("QUIT").await;
        assert!(answer.starts_with("-ERR [SYS/TEMP] some deleted messages not removed: 0 of 5"), "{answer}");
        stage.dovecot.start_again();
        // QUIT was received and journaled: the next login does it before it lists.
        assert_eq!(stage.listed().await, 0);
        stage.holds(&[], &stage.messages);
    }
}

fn clock() -> String {
    process::require("faketime", "faketime");
    let folders = std::fs::read_dir("/usr/lib").expect("/usr/lib is there");
    let mut libraries =
        folders.filter_map(|entry| Some(entry.ok()?.path().join("faketime/libfaketime.so.1")));
    let library: Option<PathBuf> = libraries.find(|path| path.is_file());
    library.expect("the package faketime has a library").display().to_string()
}

/// The environment in which the date is another, while waiting takes as long as ever.
fn days_ahead<'a>(library: &'a str, offset: &'a str) -> [(&'a str, &'a str); 4] {
    let still = [("FAKETIME_DONT_FAKE_MONOTONIC", "1"), ("DONT_FAKE_MONOTONIC", "1")];
    [("LD_PRELOAD", library), ("FAKETIME", offset), still[0], still[1]]
}

struct Stage {
    bridge: Bridge,
    dovecot: Dovecot,
    messages: Vec<Vec<u8>>,
}

impl Stage {
    fn new(on_delete: &str, grace: &str, capability: Option<&str>) -> Self {
        let messages = mail::ordinary(81, MESSAGES);
        let dovecot = Dovecot::start(&Options { capability, ..Options::default() });
        dovecot.append_all("alice", "INBOX", messages.iter().map(Vec::as_slice), "");
        let lines = format!("on_delete = \"{on_delete}\"\ndelete_grace = \"{grace}\"");
        let bridge = Bridge::start(&Settings::new(dovecot.url()).with("maildrop", &lines));
        Self { bridge, dovecot, messages }
    }

    async fn login(&self) -> Pop3 {
        let mut pop3 = Pop3::connect(self.bridge.address()).await;
        pop3.login("alice").await;
        pop3
    }

    async fn listed(&self) -> usize {
        self.unique_ids().await.len()
    }

    async fn unique_ids(&self) -> Vec<String> {
        let mut pop3 = self.login().await;
        let ids = pop3.uidl().await;
        pop3.quit().await;
        ids.into_iter().map(|(_, id)| id).collect()
    }

    fn swept(&self, limit: Duration) {
        let empty = || self.dovecot.summaries("alice", "INBOX").is_empty();
        assert!(process::eventually(limit, empty), "nothing was swept:\n{}", self.bridge.log().join("\n"));
        self.holds(&[], &self.messages);
    }

    /// What is in the folders, each message once, in any order.
    fn holds(&self, inbox: &[Vec<u8>], trash: &[Vec<u8>]) {
        for (folder, expected) in [("INBOX", inbox), ("Trash", trash)] {
            let found = self.dovecot.messages("alice", folder).into_iter();
            let mut found: Vec<Vec<u8>> = found.map(|message| message.body).collect();
            let mut expected = expected.to_vec();
            found.sort();
            expected.sort();
            assert_eq!(found.len(), expected.len(), "messages in {folder}");
            assert!(found == expected, "messages in {folder}");
        }
    }
}
