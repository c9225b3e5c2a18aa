//! Several folders of a real Dovecot as one maildrop, one folder by its login, and the settings
//! that show less than all.

mod support;

use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use support::bridge::{Bridge, Settings};
use support::dovecot::{Dovecot, Options, PASSWORD};
use support::fetchmail::Fetchmail;
use support::mail::{self, assert_same};
use support::pop3::Pop3;

/// INBOX, Work, Entwürfe, as they go over the wire.
const FOLDERS: [&str; 3] = ["INBOX", "Work", "Entw&APw-rfe"];
const EACH: usize = 4;

#[tokio::test]
#[ignore = "needs Dovecot and fetchmail; .ci/run runs it"]
async fn folders_follow_one_another_as_stated() {
    let stage = Stage::new("");
    // Not in the order of their names or their making.
    for order in [[0, 1, 2], [2, 0, 1]] {
        let bridge = stage.bridge(&order, "on_delete = \"trash\"");
        let mut pop3 = login(&bridge, "alice").await;
        assert_eq!(pop3.list().await.len(), 3 * EACH);
        let ids = pop3.uidl().await;
        let distinct: HashSet<&String> = ids.iter().map(|(_, id)| id).collect();
        assert_eq!(distinct.len(), 3 * EACH, "{ids:?}");
        for (number, message) in (1..).zip(order.iter().flat_map(|folder| &stage.messages[*folder])) {
            assert_same(&pop3.retr(number).await, &mail::crlf(message), &format!("RETR {number}"));
        }
        pop3.quit().await;
    }
}

#[tokio::test]
#[ignore = "needs Dovecot and fetchmail; .ci/run runs it"]
async fn deleting_finds_each_folder() {
    for capability in [None, Some("IMAP4rev1 LITERAL+ UIDPLUS LIST-EXTENDED SPECIAL-USE")] {
        for on_delete in ["trash", "expunge", "flag", "hide"] {
            let stage = Stage::with(Options { capability, ..Options::default() });
            let mut bridge = stage.bridge(&[0, 1, 2], &format!("on_delete = \"{on_delete}\""));
            let mut pop3 = login(&bridge, "alice").await;
            let ids = pop3.uidl().await;
            // The second of each folder; the UIDs are the same everywhere.
            let marked = [2, EACH + 2, 2 * EACH + 2];
            for number in marked {
                pop3.retr(number).await;
                pop3.ok(&format!("DELE {number}")).await;
            }
            pop3.quit().await;
            assert_eq!(bridge.sessions(1)[0].deleted, 3);

            let stays = matches!(on_delete, "flag" | "hide");
            for (folder, messages) in FOLDERS.iter().zip(&stage.messages) {
                let left = stage.dovecot.messages("alice", folder);
                let seen: Vec<bool> = left.iter().map(|message| message.has("\\Seen")).collect();
                let deleted: Vec<bool> = left.iter().map(|message| message.has("\\Deleted")).collect();
                let mut expected = messages.clone();
                if stays {
                    assert_eq!(seen, [false, true, false, false], "{folder}");
                    assert_eq!(deleted, [false, on_delete == "flag", false, false], "{folder}");
                } else {
                    expected.remove(1);
                    assert_eq!(seen, [false; 3], "{folder}");
                    assert_eq!(deleted, [false; 3], "{folder}");
                }
                let left: Vec<Vec<u8>> = left.into_iter().map(|message| message.body).collect();
                assert!(left == expected, "{on_delete}: what is left in {folder}");
            }
            let mut trash = bodies(&stage.dovecot, "Trash");
            let mut expected: Vec<Vec<u8>> = match on_delete {
                "trash" => stage.messages.iter().map(|messages| messages[1].clone()).collect(),
                _ => Vec::new(),
            };
            trash.sort();
            expected.sort();
            assert!(trash == expected, "{on_delete}: what is in the trash");

            let kept = |(number, _): &(usize, String)| !marked.contains(number);
            let kept: Vec<String> = ids.into_iter().filter(kept).map(|(_, id)| id).collect();
            for _ in 0..2 {
                assert_eq!(unique_ids(&bridge, "alice").await, kept, "{on_delete}");
                bridge.restart();
            }
        }
    }
}

#[tokio::test]
#[ignore = "needs Dovecot and fetchmail; .ci/run runs it"]
async fn a_login_names_a_folder() {
    let stage = Stage::new("");
    let bridge = stage.bridge(&[0, 1, 2], "on_delete = \"trash\"");
    let all = unique_ids(&bridge, "alice").await;
    for (at, folder) in [(1, "Work"), (2, "Entwürfe")] {
        let login_name = format!("alice+{folder}");
        let mut pop3 = login(&bridge, &login_name).await;
        assert_eq!(pop3.list().await.len(), EACH);
        for (number, message) in (1..).zip(&stage.messages[at]) {
            assert_same(&pop3.retr(number).await, &mail::crlf(message), &format!("{folder}: RETR {number}"));
        }
        // The folder's messages have the ids that they have among the others.
        let ids: Vec<String> = pop3.uidl().await.into_iter().map(|(_, id)| id).collect();
        assert_eq!(ids, all[at * EACH..(at + 1) * EACH]);
        pop3.ok("DELE 1").await;
        pop3.quit().await;
        let wire = FOLDERS[at];
        assert!(bodies(&stage.dovecot, wire) == stage.messages[at][1..], "{folder}");
    }
    assert!(bodies(&stage.dovecot, "INBOX") == stage.messages[0]);
    assert_eq!(bodies(&stage.dovecot, "Trash").len(), 2);
    let fetchmail = Fetchmail::new("alice+Work");
    fetchmail.fetches_something(bridge.address());
    fetchmail.has_delivered(&stage.messages[1][1..]);
    fetchmail.fetches_nothing(bridge.address());

    for (name, reason) in [
        ("alice+Nope", "has no folder \"Nope\""),
        ("alice+Trash", "would move messages to the folder that they are in"),
    ] {
        let mut pop3 = Pop3::connect(bridge.address()).await;
        pop3.ok(&format!("USER {name}")).await;
        let answer = pop3.err(&format!("PASS {PASSWORD}")).await;
        assert!(answer.starts_with("-ERR [SYS/PERM] ") && answer.contains(reason), "{answer}");
    }
    let mut pop3 = Pop3::connect(bridge.address()).await;
    pop3.ok("USER alice+Nope").await;
    let answer = pop3.err("PASS wrong").await;
    assert!(answer.starts_with("-ERR [AUTH] "), "folders are no secret to be had for nothing: {answer}");
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn several_at_once_delete_the_same_once() {
    // The second login is another device of the same mailbox, the third has one folder of it.
    let device = "login = \"device\"\nusername = \"alice\"\nmaildrop = { folders = [\"Work\", \"INBOX\"] }";
    for capability in [None, Some("IMAP4rev1 LITERAL+ UIDPLUS LIST-EXTENDED SPECIAL-USE")] {
        let stage = Stage::with(Options { capability, ..Options::default() });
        let lines = "folders = [\"INBOX\", \"Work\"]\non_delete = \"trash\"\nlock = \"shared\"";
        let settings = Settings::new(stage.dovecot.url()).with("maildrop", lines).with("[account]", device);
        let bridge = Bridge::start(&settings.with("upstream.home", "connections_per_account = 4"));
        let mut sessions = Vec::new();
        for name in ["alice", "alice", "device", "alice+Work"] {
            let mut pop3 = login(&bridge, name).await;
            for number in 1..=pop3.list().await.len() {
                pop3.ok(&format!("DELE {number}")).await;
            }
            sessions.push(pop3);
        }
        // All have marked before the first says QUIT.
        let sessions = sessions.into_iter().map(|pop3| tokio::spawn(pop3.quit()));
        for session in sessions.collect::<Vec<_>>() {
            session.await.expect("QUIT is answered by +OK");
        }
        let mut trash = bodies(&stage.dovecot, "Trash");
        let mut expected = [&stage.messages[0][..], &stage.messages[1]].concat();
        trash.sort();
        expected.sort();
        assert!(trash == expected, "{capability:?}: each once in the trash");
        for (folder, left) in [("INBOX", 0), ("Work", 0), ("Entw&APw-rfe", EACH)] {
            assert_eq!(stage.dovecot.summaries("alice", folder).len(), left, "{folder}");
        }
    }
}

#[tokio::test]
#[ignore = "needs Dovecot and fetchmail; .ci/run runs it"]
async fn only_what_nobody_has_read() {
    let stage = Stage::new("");
    let bridge = stage.bridge(&[0, 1], "only_unseen = true\non_retrieve = \"leave\"");
    let fetchmail = Fetchmail::keeping("alice");
    let mut imap = stage.dovecot.connect("alice");
    imap.command("SELECT INBOX");
    imap.command("UID STORE 1,3 +FLAGS (\\Seen)");
    imap.command("SELECT Work");
    imap.command("UID STORE 2 +FLAGS (\\Seen)");
    let [inbox, work, _] = &stage.messages;
    let mut expected = [inbox, work].map(|messages| messages.to_vec()).concat();
    for at in [5, 2, 0] {
        expected.remove(at);
    }
    fetchmail.fetches_something(bridge.address());
    fetchmail.has_delivered(&expected);
    // Unread again is new again, once.
    imap.command("SELECT INBOX");
    imap.command("UID STORE 3 -FLAGS (\\Seen)");
    fetchmail.fetches_something(bridge.address());
    fetchmail.fetches_nothing(bridge.address());
    expected.push(inbox[2].clone());
    fetchmail.has_delivered(&expected);
    // Read elsewhere in the session: the listing stays.
    let mut pop3 = login(&bridge, "alice").await;
    imap.command("UID STORE 1:* +FLAGS (\\Seen)");
    assert_eq!(pop3.list().await.len(), 6);
    assert_same(&pop3.retr(1).await, &mail::crlf(&inbox[1]), "RETR 1");
    pop3.quit().await;
    assert_eq!(unique_ids(&bridge, "alice").await.len(), 3);
}

#[tokio::test]
#[ignore = "needs Dovecot and fetchmail; .ci/run runs it"]
async fn only_the_newest() {
    let stage = Stage::new("");
    let mut bridge = stage.bridge(&[0], "newest = 2\non_delete = \"expunge\"");
    let ids = unique_ids(&bridge, "alice").await;
    assert_eq!(ids.len(), 2);
    let inbox = &stage.messages[0];
    let fetchmail = Fetchmail::new("alice");
    fetchmail.fetches_something(bridge.address());
    fetchmail.has_delivered(&inbox[2..]);
    // What was too old stays so: it does not come up as room is made.
    bridge.restart();
    fetchmail.fetches_nothing(bridge.address());
    assert!(bodies(&stage.dovecot, "INBOX") == inbox[..2]);
    let new = mail::ordinary(99, 3);
    stage.dovecot.append_all("alice", "INBOX", new.iter().map(Vec::as_slice), "");
    fetchmail.fetches_something(bridge.address());
    fetchmail.has_delivered(&[&inbox[2..], &new[1..]].concat());
    fetchmail.fetches_nothing(bridge.address());
}

#[tokio::test]
#[ignore = "needs Dovecot and fetchmail; .ci/run runs it"]
async fn only_what_came_lately() {
    let dovecot = Dovecot::start(&Options::default());
    let messages = mail::ordinary(72, 4);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("behind 1970");
    let day = Duration::from_secs(24 * 60 * 60);
    // Not in the order of their UIDs, and one in another time zone.
    let dates = [now - 31 * day, now - 29 * day, now - 400 * day, now];
    for (at, (message, date)) in messages.iter().zip(dates).enumerate() {
        let zone = if at == 1 { ("-1100", -11) } else { ("+0000", 0) };
        dovecot.append_dated("alice", "INBOX", message, "", &internal_date(date, zone));
    }
    let settings = Settings::new(dovecot.url()).with("maildrop", "max_age = \"30d\"\non_delete = \"trash\"");
    let bridge = Bridge::start(&settings);
    let fetchmail = Fetchmail::new("alice");
    fetchmail.fetches_something(bridge.address());
    fetchmail.has_delivered(&[messages[1].clone(), messages[3].clone()]);
    fetchmail.fetches_nothing(bridge.address());
    assert!(bodies(&dovecot, "INBOX") == [messages[0].clone(), messages[2].clone()]);
    let mut trash = bodies(&dovecot, "Trash");
    trash.sort();
    let mut expected = vec![messages[1].clone(), messages[3].clone()];
    expected.sort();
    assert!(trash == expected);
}

/// A time since 1970 as APPEND wants it (RFC 3501 §9, date-time).
fn internal_date(time: Duration, (zone, hours): (&str, i64)) -> String {
    let seconds = i64::try_from(time.as_secs()).expect("not so far away") + hours * 3600;
    let (mut days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1970;
    while days >= 365 + i64::from(leap(year)) {
        days -= 365 + i64::from(leap(year));
        year += 1;
    }
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let lengths = [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{:02}-{}-{year} {hour:02}:{minute:02}:{second:02} {zone}", days + 1, months[month])
}

/// Three folders with mail, of the same UIDVALIDITY and with the same UIDs.
struct Stage {
    dovecot: Dovecot,
    messages: [Vec<Vec<u8>>; 3],
}

impl Stage {
    fn new(extra: &str) -> Self {
        Self::with(Options { extra, ..Options::default() })
    }

    fn with(options: Options) -> Self {
        let dovecot = Dovecot::start(&options);
        dovecot.connect("alice").command("LOGOUT");
        let messages = [61, 62, 63].map(|seed| mail::ordinary(seed, EACH));
        for (folder, messages) in FOLDERS.iter().zip(&messages) {
            dovecot.make_folder("alice", folder, 1_700_000_000);
            dovecot.append_all("alice", folder, messages.iter().map(Vec::as_slice), "");
            let responses = dovecot.connect("alice").command(&format!("EXAMINE {folder}"));
            let validity =
                responses.iter().any(|response| response.text.contains("[UIDVALIDITY 1700000000]"));
            assert!(validity, "{responses:?}");
        }
        Self { dovecot, messages }
    }

    /// These of the folders, in this order.
    fn bridge(&self, order: &[usize], settings: &str) -> Bridge {
        let names = order.iter().map(|at| ["INBOX", "Work", "Entwürfe"][*at]);
        let folders: Vec<&str> = names.collect();
        let lines = format!("folders = {folders:?}\n{settings}");
        Bridge::start(&Settings::new(self.dovecot.url()).with("maildrop", &lines))
    }
}

fn bodies(dovecot: &Dovecot, folder: &str) -> Vec<Vec<u8>> {
    dovecot.messages("alice", folder).into_iter().map(|message| message.body).collect()
}

async fn login(bridge: &Bridge, name: &str) -> Pop3 {
    let mut pop3 = Pop3::connect(bridge.address()).await;
    pop3.login(name).await;
    pop3
}

async fn unique_ids(bridge: &Bridge, name: &str) -> Vec<String> {
    let mut pop3 = login(bridge, name).await;
    let ids = pop3.uidl().await;
    pop3.quit().await;
    ids.into_iter().map(|(_, id)| id).collect()
}
