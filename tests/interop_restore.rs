//! Deletions taken back by a person, on a real Dovecot: the message is where it was, once, and no
//! program takes it for a new one.

mod support;

use std::collections::BTreeMap;

use serde_json::Value;

use support::bridge::{Bridge, Settings};
use support::dovecot::{Dovecot, Options, PASSWORD};
use support::fetchmail::Fetchmail;
use support::mail;
use support::pop3::Pop3;

const MESSAGES: usize = 5;
const NO_MOVE: &str = "IMAP4rev1 LITERAL+ UIDPLUS LIST-EXTENDED SPECIAL-USE";
/// MOVE that does not tell where to.
const NO_UIDPLUS: &str = "IMAP4rev1 LITERAL+ MOVE LIST-EXTENDED SPECIAL-USE";

#[tokio::test]
#[ignore = "needs Dovecot and fetchmail; .ci/run runs it"]
async fn what_comes_back_is_no_new_mail() {
    for (on_delete, capability) in [
        ("hide", None),
        ("trash", None),
        ("trash", Some(NO_MOVE)),
        ("trash", Some(NO_UIDPLUS)),
        ("archive", None),
        ("flag", None),
    ] {
        let mut stage = Stage::new(on_delete, capability, "");
        let keeping = Fetchmail::keeping("alice");
        keeping.fetches_something(stage.bridge.address());
        let before = stage.shown("alice").await;
        assert_eq!(before.len(), MESSAGES);
        // Over and over, with what came back last time.
        for round in 0..3 {
            let mut pop3 = stage.login("alice").await;
            for number in [1, 3, 5] {
                pop3.ok(&format!("DELE {number}")).await;
            }
            pop3.quit().await;
            assert_eq!(stage.shown("alice").await.len(), MESSAGES - 3);
            stage.restore(&["--all"]);
            assert!(stage.shown("alice").await == before, "{on_delete} {capability:?}, round {round}");
            stage.inbox_is_whole();
            keeping.fetches_nothing(stage.bridge.address());
            stage.bridge.restart();
            assert!(stage.shown("alice").await == before, "{on_delete} {capability:?}, restarted");
        }
        // There is nothing left to restore.
        let again = stage.bridge.run(&["deletions", "restore", "alice", "--all"], Some(PASSWORD));
        assert_ne!(again.status.code(), Some(101), "{again:?}");
        stage.inbox_is_whole();
        keeping.has_delivered(&stage.messages);
    }
}

#[tokio::test]
#[ignore = "needs Dovecot and fetchmail; .ci/run runs it"]
async fn all_that_fetchmail_deleted() {
    for (on_delete, capability) in [("trash", None), ("trash", Some(NO_MOVE)), ("flag", None)] {
        let stage = Stage::new(on_delete, capability, "");
        let before = stage.shown("alice").await;
        let fetchmail = Fetchmail::new("alice");
        fetchmail.fetches_something(stage.bridge.address());
        fetchmail.fetches_nothing(stage.bridge.address());
        // One by its id, while a session is open; then the rest.
        let open = stage.login("alice").await;
        let id = before.keys().next().expect("five of them").clone();
        stage.restore(&[&id]);
        open.quit().await;
        let one = stage.shown("alice").await;
        assert_eq!(one.keys().collect::<Vec<_>>(), [&id]);
        stage.restore(&["--all"]);
        assert!(stage.shown("alice").await == before, "{on_delete} {capability:?}");
        stage.inbox_is_whole();
    }
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn twins_come_back_both() {
    for capability in [None, Some(NO_MOVE), Some(NO_UIDPLUS)] {
        let mut stage = Stage::new("trash", capability, "");
        let twin = stage.messages[0].clone();
        stage.dovecot.append("alice", "INBOX", &twin, "");
        // A third is in the trash for reasons of its own.
        stage.dovecot.append("alice", "Trash", &twin, "");
        stage.messages.push(twin.clone());
        let before = stage.shown("alice").await;
        let mut pop3 = stage.login("alice").await;
        pop3.ok("DELE 1").await;
        pop3.ok("DELE 6").await;
        pop3.quit().await;
        assert_eq!(stage.dovecot.summaries("alice", "Trash").len(), 3);
        stage.restore(&["--all"]);
        assert!(stage.shown("alice").await == before, "{capability:?}");
        let inbox = stage.dovecot.summaries("alice", "INBOX").len();
        assert_eq!((inbox, stage.dovecot.summaries("alice", "Trash").len()), (6, 1), "{capability:?}");
    }
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn each_to_its_own_folder() {
    for capability in [None, Some(NO_MOVE)] {
        let stage = Stage::new("trash", capability, "folders = [\"INBOX\", \"Entwürfe\"]");
        let drafts = mail::ordinary(93, 3);
        stage.dovecot.append_all("alice", "Entw&APw-rfe", drafts.iter().map(Vec::as_slice), "");
        let before = stage.shown("alice").await;
        let mut pop3 = stage.login("alice").await;
        for number in 1..=before.len() {
            pop3.ok(&format!("DELE {number}")).await;
        }
        pop3.quit().await;
        assert_eq!(stage.dovecot.summaries("alice", "Trash").len(), before.len());
        stage.restore(&["--all"]);
        assert!(stage.shown("alice").await == before, "{capability:?}");
        stage.inbox_is_whole();
        assert_eq!(stage.dovecot.summaries("alice", "Entw&APw-rfe").len(), 3);
    }
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn what_cannot_come_back_is_said() {
    for on_delete in ["expunge", "trash"] {
        let stage = Stage::new(on_delete, None, "");
        let mut pop3 = stage.login("alice").await;
        pop3.ok("DELE 2").await;
        pop3.quit().await;
        if on_delete == "trash" {
            let mut imap = stage.dovecot.connect("alice");
            imap.command("SELECT Trash");
            imap.command("STORE 1:* +FLAGS.SILENT (\\Deleted)");
            imap.command("EXPUNGE");
        }
        let output = stage.bridge.run(&["deletions", "restore", "alice", "--all"], Some(PASSWORD));
        assert!(!output.status.success(), "{output:?}");
        assert_eq!(stage.shown("alice").await.len(), MESSAGES - 1);
        assert_eq!(stage.dovecot.summaries("alice", "INBOX").len(), MESSAGES - 1);
    }
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn what_another_client_removed_is_not_called_ours() {
    for (on_delete, outcome) in [("trash", "moved"), ("flag", "flagged"), ("expunge", "removed")] {
        for capability in [None, Some(NO_MOVE)] {
            let stage = Stage::new(on_delete, capability, "");
            let mut pop3 = stage.login("alice").await;
            pop3.ok("DELE 1").await;
            pop3.ok("DELE 2").await;
            // Dovecot still shows it to a connection that has not asked for news.
            stage.dovecot.expunge_elsewhere("alice", 1);
            pop3.quit().await;
            let output = stage.bridge.run(&["deletions", "list", "alice", "--json"], None);
            let report: Value = serde_json::from_slice(&output.stdout).expect("a JSON object");
            let rows = report["deletions"].as_array().expect("a list").iter();
            let outcomes: Vec<&str> = rows.filter_map(|row| row["outcome"].as_str()).collect();
            assert_eq!(outcomes, ["gone", outcome], "{on_delete} {capability:?}");
            let trash = stage.dovecot.summaries("alice", "Trash").len();
            assert_eq!(trash, usize::from(on_delete == "trash"));
        }
    }
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn a_grace_is_there_to_be_used() {
    let stage = Stage::new("expunge", None, "delete_grace = \"7d\"");
    let before = stage.shown("alice").await;
    let mut pop3 = stage.login("alice").await;
    pop3.ok("DELE 2").await;
    pop3.quit().await;
    assert_eq!(stage.shown("alice").await.len(), MESSAGES - 1);
    // The mail server is not needed for it.
    let output = stage.bridge.run(&["deletions", "restore", "alice", "--all"], None);
    assert!(output.status.success(), "{output:?}");
    assert!(stage.shown("alice").await == before);
    stage.inbox_is_whole();
}

struct Stage {
    bridge: Bridge,
    dovecot: Dovecot,
    messages: Vec<Vec<u8>>,
}

impl Stage {
    fn new(on_delete: &str, capability: Option<&str>, setting: &str) -> Self {
        let messages = mail::ordinary(91, MESSAGES);
        let dovecot = Dovecot::start(&Options { capability, ..Options::default() });
        dovecot.append_all("alice", "INBOX", messages.iter().map(Vec::as_slice), "");
        for folder in ["Archive", "Entw&APw-rfe"] {
            dovecot.create("alice", folder);
        }
        let lines = format!("on_delete = \"{on_delete}\"\n{setting}");
        let bridge = Bridge::start(&Settings::new(dovecot.url()).with("maildrop", &lines));
        Self { bridge, dovecot, messages }
    }

    async fn login(&self, name: &str) -> Pop3 {
        let mut pop3 = Pop3::connect(self.bridge.address()).await;
        pop3.login(name).await;
        pop3
    }

    /// What a login sees: each message by its unique id.
    async fn shown(&self, name: &str) -> BTreeMap<String, Vec<u8>> {
        let mut pop3 = self.login(name).await;
        let mut shown = BTreeMap::new();
        for (number, id) in pop3.uidl().await {
            let body = pop3.top(number, 99_999_999).await;
            assert_eq!(shown.insert(id, body), None, "a unique id is there twice");
        }
        pop3.quit().await;
        shown
    }

    fn restore(&self, which: &[&str]) {
        let output = self.bridge.run(&[&["deletions", "restore", "alice"], which].concat(), Some(PASSWORD));
        let text = [&output.stdout, &output.stderr].map(|part| String::from_utf8_lossy(part)).concat();
        assert!(output.status.success(), "{}: {text}", output.status);
    }

    /// Every message is in INBOX, once and whole, and none is flagged \Deleted.
    fn inbox_is_whole(&self) {
        let found = self.dovecot.messages("alice", "INBOX");
        assert!(found.iter().all(|message| !message.has("\\Deleted")));
        let mut found: Vec<Vec<u8>> = found.into_iter().map(|message| message.body).collect();
        let mut expected = self.messages.clone();
        found.sort();
        expected.sort();
        assert_eq!(found.len(), expected.len(), "messages in INBOX");
        assert!(found == expected, "messages in INBOX");
        for folder in ["Trash", "Archive"] {
            assert_eq!(self.dovecot.summaries("alice", folder).len(), 0, "messages in {folder}");
        }
    }
}
