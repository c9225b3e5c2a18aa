//! What deleting does to a real Dovecot's folders, with fetchmail for the client.

mod support;

use support::bridge::{Bridge, Settings};
use support::dovecot::{Dovecot, Options, PASSWORD};
use support::fetchmail::Fetchmail;
use support::imap::Message;
use support::mail::{self, assert_same};
use support::pop3::Pop3;

const MESSAGES: usize = 12;
const ARCHIVE: &str =
    "namespace inbox {\n mailbox Saved {\n auto = create\n special_use = \\Archive\n }\n}\n";
/// Dovecot's own list without MOVE.
const NO_MOVE: &str = "IMAP4rev1 SASL-IR LITERAL+ IDLE UNSELECT UIDPLUS LIST-EXTENDED ESEARCH SPECIAL-USE";
const NEITHER: &str = "IMAP4rev1 SASL-IR LITERAL+ IDLE UNSELECT LIST-EXTENDED ESEARCH SPECIAL-USE";

#[tokio::test]
#[ignore = "needs Dovecot and fetchmail; .ci/run runs it"]
async fn hide() {
    for on_retrieve in ["mark-seen", "leave"] {
        let case = Case::new(Options::default(), "hide", on_retrieve, "");
        let uids = case.uids("INBOX");
        case.polled();
        case.inbox_is(&[case.own(""), case.others()].concat());
        assert_eq!(case.uids("INBOX"), uids);
        case.holds("Trash", &[]);
    }
}

#[tokio::test]
#[ignore = "needs Dovecot and fetchmail; .ci/run runs it"]
async fn trash_by_move() {
    for on_retrieve in ["mark-seen", "leave"] {
        let case = Case::new(Options::default(), "trash", on_retrieve, "");
        case.polled();
        case.inbox_is(&case.others());
        case.holds("Trash", &case.own(""));
    }
}

#[tokio::test]
#[ignore = "needs Dovecot and fetchmail; .ci/run runs it"]
async fn trash_by_copy() {
    for on_retrieve in ["mark-seen", "leave"] {
        let options = Options { capability: Some(NO_MOVE), ..Options::default() };
        let case = Case::new(options, "trash", on_retrieve, "");
        case.polled();
        case.inbox_is(&case.others());
        case.holds("Trash", &case.own(""));
    }
}

#[tokio::test]
#[ignore = "needs Dovecot and fetchmail; .ci/run runs it"]
async fn a_trash_of_another_name() {
    let case = Case::new(Options::default(), "trash", "mark-seen", "trash_folder = \"Müll & Co\"");
    // fetchmail leaves nothing behind when the folder is missing.
    let poll = case.fetchmail.poll(case.bridge.address());
    assert!(poll.text.contains("[SYS/PERM]") && poll.text.contains("trash_folder"), "{}", poll.text);
    case.dovecot.connect("alice").command("CREATE \"M&APw-ll &- Co\"");
    case.polled();
    case.inbox_is(&case.others());
    case.holds("Trash", &[]);
    case.holds("\"M&APw-ll &- Co\"", &case.own(""));
}

#[tokio::test]
#[ignore = "needs Dovecot and fetchmail; .ci/run runs it"]
async fn archive_by_special_use() {
    let case = Case::new(Options { extra: ARCHIVE, ..Options::default() }, "archive", "mark-seen", "");
    // The special use goes before the name.
    case.dovecot.connect("alice").command("CREATE Archive");
    case.polled();
    case.inbox_is(&case.others());
    case.holds("Saved", &case.own(""));
    case.holds("Archive", &[]);
    case.holds("Trash", &[]);
}

#[tokio::test]
#[ignore = "needs Dovecot and fetchmail; .ci/run runs it"]
async fn archive_by_name() {
    for (folder, setting, capability) in [
        ("Archive", "", None),
        ("Old/2026", "archive_folder = \"Old/2026\"", None),
        ("Old/2026", "archive_folder = \"Old/2026\"", Some(NO_MOVE)),
    ] {
        let extra = "namespace inbox {\n separator = /\n}\n";
        let case =
            Case::new(Options { extra, capability, ..Options::default() }, "archive", "leave", setting);
        case.dovecot.connect("alice").command(&format!("CREATE {folder}"));
        case.polled();
        case.inbox_is(&case.others());
        case.holds(folder, &case.own(""));
        case.holds("Trash", &[]);
    }
}

#[tokio::test]
#[ignore = "needs Dovecot and fetchmail; .ci/run runs it"]
async fn flag() {
    for on_retrieve in ["mark-seen", "leave"] {
        let case = Case::new(Options::default(), "flag", on_retrieve, "");
        let uids = case.uids("INBOX");
        case.polled();
        case.inbox_is(&[case.own("\\Deleted"), case.others()].concat());
        assert_eq!(case.uids("INBOX"), uids);
        case.holds("Trash", &[]);
    }
}

#[tokio::test]
#[ignore = "needs Dovecot and fetchmail; .ci/run runs it"]
async fn expunge() {
    for on_retrieve in ["mark-seen", "leave"] {
        let case = Case::new(Options::default(), "expunge", on_retrieve, "");
        case.polled();
        case.inbox_is(&case.others());
        case.holds("Trash", &[]);
    }
}

#[tokio::test]
#[ignore = "needs Dovecot and fetchmail; .ci/run runs it"]
async fn without_uidplus_and_move() {
    let options = || Options { capability: Some(NEITHER), ..Options::default() };
    for (on_delete, reason) in [
        ("trash", "needs MOVE or UIDPLUS"),
        ("archive", "needs MOVE or UIDPLUS"),
        ("expunge", "needs UIDPLUS"),
    ] {
        let case = Case::new(options(), on_delete, "mark-seen", "");
        case.dovecot.connect("alice").command("CREATE Archive");
        case.refused(on_delete, reason).await;
    }
    // Nothing is expunged for these two.
    for on_delete in ["hide", "flag"] {
        let case = Case::new(options(), on_delete, "mark-seen", "");
        case.polled();
        case.kept(on_delete);
        let deleted = if on_delete == "flag" { "\\Deleted" } else { "" };
        case.inbox_is(&[case.own(deleted), case.others()].concat());
    }
}

#[tokio::test]
#[ignore = "needs Dovecot and fetchmail; .ci/run runs it"]
async fn without_a_trash_or_an_archive() {
    let extra = "namespace inbox {\n mailbox Trash {\n auto = no\n special_use =\n }\n}\n";
    for (on_delete, setting, reason) in [
        ("trash", "", "names no trash; set trash_folder"),
        ("trash", "trash_folder = \"Bin\"", "has no folder \"Bin\", which trash_folder names"),
        ("archive", "", "names no archive and has no folder Archive"),
        (
            "archive",
            "archive_folder = \"Entwürfe\"",
            "has no folder \"Entwürfe\", which archive_folder names",
        ),
    ] {
        let case = Case::new(Options { extra, ..Options::default() }, on_delete, "mark-seen", setting);
        case.refused(on_delete, reason).await;
    }
}

#[tokio::test]
#[ignore = "needs Dovecot and fetchmail; .ci/run runs it"]
async fn a_mailbox_that_can_only_be_read() {
    let extra = "mail_plugins = acl\nplugin {\n acl = vfile\n}\n";
    for on_delete in ["trash", "flag", "expunge"] {
        let case = Case::new(Options { extra, ..Options::default() }, on_delete, "mark-seen", "");
        case.dovecot.restrict("alice", "lr");
        case.refused(on_delete, "lets us only read").await;
    }
    let case = Case::new(Options { extra, ..Options::default() }, "hide", "mark-seen", "");
    case.dovecot.restrict("alice", "lr");
    case.kept("hide");
    case.polled();
    // Nothing could be written, \Seen neither.
    case.inbox_is(&[case.own_left(), case.others()].concat());
}

#[tokio::test]
#[ignore = "needs Dovecot and fetchmail; .ci/run runs it"]
async fn too_many_deletions_at_once() {
    for (setting, limit) in [
        ("max_deletions = 11", "max_deletions = 11"),
        ("max_deletions_share = \"90%\"", "max_deletions_share = \"90%\""),
    ] {
        for on_delete in ["hide", "trash", "expunge"] {
            let case = Case::new(Options::default(), on_delete, "mark-seen", setting);
            let before = case.uids("INBOX");
            let poll = case.fetchmail.poll(case.bridge.address());
            assert!(poll.text.contains("-ERR [SYS/PERM] 12 deletions are over"), "{}", poll.text);
            assert_eq!(case.uids("INBOX"), before, "{on_delete}");
            case.holds("Trash", &[]);
            let stored = case.dovecot.summaries("alice", "INBOX");
            let deleted = stored.iter().filter(|message| message.has("\\Deleted")).count();
            assert_eq!(deleted, 1, "{on_delete}: the other client's mark and no more");
            let session = &case.bridge.sessions(1)[0];
            assert_eq!(session.deleted, 0);
            assert!(session.end.contains(limit), "{}", session.end);
            // Nor are they hidden; and what is under the limit goes.
            let mut pop3 = Pop3::connect(case.bridge.address()).await;
            pop3.login("alice").await;
            assert_eq!(pop3.list().await.len(), MESSAGES);
            for number in 1..=3 {
                pop3.ok(&format!("DELE {number}")).await;
            }
            pop3.quit().await;
            let left = if on_delete == "hide" { before.len() } else { before.len() - 3 };
            assert_eq!(case.uids("INBOX").len(), left, "{on_delete}");
        }
    }
}

/// A mailbox with mail for fetchmail, some of it flagged by other clients, and with mail that is
/// not for it: old, and one of that flagged \Deleted by another client.
struct Case {
    bridge: Bridge,
    dovecot: Dovecot,
    fetchmail: Fetchmail,
    messages: Vec<Vec<u8>>,
    old: Vec<Vec<u8>>,
    seen: bool,
}

/// A message and the flags it should have.
type Stored = (Vec<u8>, Vec<String>);

/// What other clients have set on some of the messages.
fn flags(at: usize) -> &'static str {
    match at {
        2 => "\\Flagged",
        3 => "\\Seen \\Answered",
        5 => "$Label1 \\Draft",
        _ => "",
    }
}

impl Case {
    fn new(options: Options, on_delete: &str, on_retrieve: &str, setting: &str) -> Self {
        let mut messages = mail::ordinary(51, MESSAGES + 2);
        let old = messages.split_off(MESSAGES);
        let dovecot = Dovecot::start(&options);
        for (message, flags) in old.iter().zip(["\\Deleted", "\\Flagged"]) {
            dovecot.append_dated("alice", "INBOX", message, flags, "01-Feb-2020 12:00:00 +0000");
        }
        for (at, message) in messages.iter().enumerate() {
            dovecot.append("alice", "INBOX", message, flags(at));
        }
        let lines = format!(
            "on_delete = \"{on_delete}\"\non_retrieve = \"{on_retrieve}\"\nmax_age = \"300d\"\n{setting}"
        );
        let bridge = Bridge::start(&Settings::new(dovecot.url()).with("maildrop", &lines));
        let fetchmail = Fetchmail::new("alice");
        Self { bridge, dovecot, fetchmail, messages, old, seen: on_retrieve == "mark-seen" }
    }

    /// Everything is fetched once, whole.
    fn polled(&self) {
        self.fetchmail.fetches_something(self.bridge.address());
        self.fetchmail.has_delivered(&self.messages);
        for _ in 0..2 {
            self.fetchmail.fetches_nothing(self.bridge.address());
        }
        self.fetchmail.has_delivered(&self.messages);
        let deleted: Vec<u64> = self.bridge.sessions(3).iter().map(|session| session.deleted).collect();
        assert_eq!(deleted[deleted.len() - 3..], [MESSAGES as u64, 0, 0]);
    }

    /// What fetchmail has fetched, with the flags that were there and `more`.
    fn own(&self, more: &str) -> Vec<Stored> {
        let seen = if self.seen { "\\Seen" } else { "" };
        let flagged =
            |(at, message): (usize, &Vec<u8>)| stored(message, &format!("{} {seen} {more}", flags(at)));
        self.messages.iter().enumerate().map(flagged).collect()
    }

    /// The same with exactly the flags that were there.
    fn own_left(&self) -> Vec<Stored> {
        self.messages.iter().enumerate().map(|(at, message)| stored(message, flags(at))).collect()
    }

    /// What is not shown to fetchmail, as it was.
    fn others(&self) -> Vec<Stored> {
        vec![stored(&self.old[0], "\\Deleted"), stored(&self.old[1], "\\Flagged")]
    }

    fn inbox_is(&self, expected: &[Stored]) {
        self.holds("INBOX", expected);
    }

    /// The folder holds these and no others, each once.
    fn holds(&self, folder: &str, expected: &[Stored]) {
        let found = self.dovecot.messages("alice", folder);
        let found = found.iter().map(|message: &Message| stored(&message.body, &message.flags.join(" ")));
        let mut found: Vec<Stored> = found.collect();
        let mut expected = expected.to_vec();
        found.sort();
        expected.sort();
        assert_eq!(found.len(), expected.len(), "messages in {folder}");
        for (found, expected) in found.iter().zip(&expected) {
            assert_same(&found.0, &expected.0, folder);
            let subject = mail::field(&found.0, "Subject").unwrap_or_default();
            assert_eq!(found.1, expected.1, "{folder}: {subject}");
        }
    }

    fn uids(&self, folder: &str) -> Vec<u32> {
        self.dovecot.summaries("alice", folder).iter().map(|message| message.uid).collect()
    }

    /// The login says why, `popbridge check` does, and the mailbox is as it was.
    async fn refused(&self, on_delete: &str, reason: &str) {
        let mut pop3 = Pop3::connect(self.bridge.address()).await;
        pop3.ok("USER alice").await;
        let answer = pop3.err(&format!("PASS {PASSWORD}")).await;
        assert!(answer.starts_with("-ERR [SYS/PERM] "), "{answer}");
        assert!(answer.contains(reason), "{answer}");
        assert!(answer.len() <= 510, "a response has at most 512 octets: {answer}");
        let poll = self.fetchmail.poll(self.bridge.address());
        assert!(!matches!(poll.code, Some(0 | 1)), "{}", poll.text);
        self.fetchmail.has_delivered(&[]);
        self.inbox_is(&[self.own_left(), self.others()].concat());

        let (code, text) = self.check();
        assert_eq!(code, Some(69), "{text}");
        let line = text.lines().find(|line| line.contains("(configured)"));
        let line = line.unwrap_or_else(|| panic!("no policy is configured: {text}"));
        assert!(line.contains(on_delete) && line.contains("REFUSED"), "{text}");
        assert!(line.contains(reason), "{text}");
    }

    /// `popbridge check` is content.
    fn kept(&self, on_delete: &str) {
        let (code, text) = self.check();
        assert_eq!(code, Some(0), "{text}");
        let line = format!("on_delete = \"{on_delete}\" (configured): can be kept");
        assert!(text.contains(&line), "{text}");
    }

    fn check(&self) -> (Option<i32>, String) {
        let output = self.bridge.run(&["check", "--login", "alice"], Some(PASSWORD));
        let text = [&output.stdout, &output.stderr].map(|part| String::from_utf8_lossy(part)).concat();
        (output.status.code(), text)
    }
}

/// Octets in the form that they have over POP3, flags sorted, without \Recent.
fn stored(message: &[u8], flags: &str) -> Stored {
    let flags = flags.split_whitespace().filter(|flag| *flag != "\\Recent").map(str::to_owned);
    let mut flags: Vec<String> = flags.collect();
    flags.sort();
    flags.dedup();
    (mail::crlf(message), flags)
}
