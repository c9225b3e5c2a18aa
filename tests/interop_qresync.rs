//! QRESYNC (RFC 7162) with a real Dovecot: the same changes with it and without, and what each
//! login asks for.

mod support;

use std::sync::{Arc, Mutex};

use support::bridge::Settings;
use support::dovecot::{Dovecot, Options};
use support::local::Local;
use support::pop3::Pop3;
use support::relay;

/// Dovecot's own list, as far as it matters here.
const WITHOUT: &str = "IMAP4rev1 SASL-IR ID ENABLE IDLE UNSELECT UIDPLUS ESEARCH MOVE LITERAL+ SPECIAL-USE";

struct Stage {
    dovecot: Dovecot,
    bridge: Local,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Stage {
    async fn new(capability: Option<&str>, maildrop: &str) -> Self {
        let dovecot = Dovecot::start(&Options { capability, ..Options::default() });
        let (relay, heard) = relay::listening_in(dovecot.address()).await;
        let settings = Settings::new(format!("imap://{relay}"))
            .with("maildrop", maildrop)
            .with("upstream.home", "keep_alive = \"0s\"");
        Self { dovecot, bridge: Local::start(&settings).await, heard }
    }

    fn append(&self, count: usize) {
        let message = &b"Subject: x\r\n\r\nx\r\n"[..];
        self.dovecot.append_all("alice", "INBOX", std::iter::repeat_n(message, count), "");
    }

    fn remove(&self, uids: &str) {
        let mut imap = self.dovecot.connect("alice");
        imap.command("SELECT INBOX");
        imap.command(&format!("UID STORE {uids} +FLAGS.SILENT (\\Deleted)"));
        imap.command(&format!("UID EXPUNGE {uids}"));
        imap.command("LOGOUT");
    }

    /// A login shows what is there; what it asked for, in as few words as tell it apart.
    async fn poll(&self, what: &str) -> Vec<String> {
        self.heard.lock().expect("not poisoned").clear();
        let mut client = Pop3::connect(self.bridge.address()).await;
        client.login("alice").await;
        let uid = |id: &String| u32::from_str_radix(&id[8..], 16).expect("hexadecimal");
        let shown: Vec<u32> = client.uidl().await.iter().map(|(_, id)| uid(id)).collect();
        let heard = self.heard.lock().expect("not poisoned").clone();
        client.quit().await;
        let there = self.dovecot.summaries("alice", "INBOX");
        assert_eq!(shown, there.iter().map(|message| message.uid).collect::<Vec<u32>>(), "{what}: {heard:?}");
        let asked =
            heard.iter().filter(|line| ["ENABLE", "SELECT", "UID"].iter().any(|verb| line.starts_with(verb)));
        asked
            .map(|line| {
                line.split(" (QRESYNC (").next().unwrap_or(line).to_owned()
                    + if line.contains("(QRESYNC (") { " (QRESYNC)" } else { "" }
            })
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn the_same_with_it_and_without() {
    let (with, without) = (Stage::new(None, "").await, Stage::new(Some(WITHOUT), "").await);
    let both = async |what: &str, with_it: &[&str], without_it: &[&str]| {
        let known = ["ENABLE QRESYNC", "SELECT \"INBOX\" (QRESYNC)"];
        let asked = with.poll(what).await;
        let expected = if what == "first" { with_it.to_vec() } else { [&known[..], with_it].concat() };
        assert_eq!(asked, expected, "{what}");
        let asked = without.poll(what).await;
        assert_eq!(asked, [&["SELECT \"INBOX\""], without_it].concat(), "{what}, without QRESYNC");
    };
    let change = |append: usize, remove: &str| {
        for stage in [&with, &without] {
            stage.append(append);
            if !remove.is_empty() {
                stage.remove(remove);
            }
        }
    };
    let search = "UID SEARCH RETURN (ALL) ALL";
    let full = "UID FETCH 1:* (UID RFC822.SIZE)";
    change(9, "");
    both("first", &["ENABLE QRESYNC", "SELECT \"INBOX\"", full], &[full]).await;
    both("nothing", &[], &[]).await;
    change(0, "2,4:5");
    both("gone", &[], &[search]).await;
    both("nothing more", &[], &[]).await;
    change(2, "");
    let new = "UID FETCH 10:* (UID RFC822.SIZE)";
    both("come", &[new], &[new]).await;
    change(2, "1,9");
    let new = "UID FETCH 12:* (UID RFC822.SIZE)";
    both("gone and come", &[new], &[new, search]).await;
    change(3, "3,15");
    let new = "UID FETCH 14:* (UID RFC822.SIZE)";
    both("come and gone", &[new], &[new, search]).await;
    for stage in [&with, &without] {
        stage.dovecot.flag_elsewhere("alice", 6, "\\Flagged");
    }
    both("flags", &[], &[]).await;
    change(0, "1:*");
    both("everything gone", &[], &[]).await;
    both("nothing there", &[], &[]).await;
    change(1, "");
    let new = "UID FETCH 17:* (UID RFC822.SIZE)";
    both("come again", &[new], &[new]).await;
    for stage in [&with, &without] {
        stage.dovecot.make_anew("alice", 7);
    }
    // Unique ids stay, so that UIDs are not to be read from them.
    let count = async |stage: &Stage| {
        let mut client = Pop3::connect(stage.bridge.address()).await;
        client.login("alice").await;
        let count = client.list().await.len();
        client.quit().await;
        count
    };
    assert_eq!((count(&with).await, count(&without).await), (1, 1));
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn what_goes_in_a_session_comes_as_vanished() {
    for on_delete in ["expunge", "trash"] {
        let stage = Stage::new(None, &format!("on_delete = \"{on_delete}\"")).await;
        stage.append(6);
        stage.poll("first").await;
        let mut client = Pop3::connect(stage.bridge.address()).await;
        client.login("alice").await;
        stage.remove("1:2");
        client.ok("NOOP").await;
        assert!(!client.retr(3).await.is_empty());
        let refused = client.err("RETR 2").await;
        assert!(!refused.contains("[SYS"), "{refused}");
        client.ok("DELE 1").await;
        client.ok("DELE 4").await;
        client.quit().await;
        let left: Vec<u32> =
            stage.dovecot.summaries("alice", "INBOX").iter().map(|message| message.uid).collect();
        assert_eq!(left, [3, 5, 6], "{on_delete}");
        stage.poll("behind it").await;
        assert_eq!(stage.poll("again").await, ["ENABLE QRESYNC", "SELECT \"INBOX\" (QRESYNC)"]);
    }
}
