//! What goes over the wire at login where the server offers QRESYNC (RFC 7162), and that what is
//! shown is what a full listing would show, whatever the server makes of it.
//!
//! `POPBRIDGE_MODEL_SEED` chooses another seed, `POPBRIDGE_MODEL_STEPS` how many steps are taken.

mod support;

use imapsim::{Fault, Place, Server};
use sqlx::{Connection, Row, SqliteConnection};
use support::bridge::Settings;
use support::dovecot::PASSWORD;
use support::local::Local;
use support::mail::Rng;
use support::pop3::Pop3;
use support::report;

const ENABLE: &str = "ENABLE QRESYNC";
const PLAIN: &str = "SELECT \"INBOX\"";
/// With a UIDVALIDITY and a mod-sequence.
const RESYNC: &str = "SELECT \"INBOX\" (QRESYNC (_ _))";
const FULL: &str = "UID FETCH 1:* (UID RFC822.SIZE)";
const SEARCH: &str = "UID SEARCH RETURN (ALL) ALL";

/// A simulator that offers QRESYNC, with five messages, UIDs 1 to 5, and a bridge that has listed
/// them.
struct Setting {
    sim: Server,
    bridge: Local,
}

impl Setting {
    /// Each session has a connection of its own.
    async fn new(maildrop: &str) -> Self {
        Self::with(maildrop, &[ENABLE, PLAIN, FULL], "0s").await
    }

    /// The first login asks for `first`.
    async fn with(maildrop: &str, first: &[&str], keep_alive: &str) -> Self {
        let sim = Server::builder().user("alice", PASSWORD).start().await.expect("the simulator starts");
        sim.set_capability("QRESYNC", true);
        sim.create("alice", "Work", None);
        let settings = Settings::new(format!("imap://{}", sim.address())).with("maildrop", maildrop);
        let settings = settings.with("upstream.home", &format!("keep_alive = \"{keep_alive}\""));
        let setting = Self { bridge: Local::start(&settings).await, sim };
        for _ in 0..5 {
            setting.append();
        }
        setting.expect("the first login", first).await;
        setting
    }

    fn append(&self) -> u32 {
        self.sim.append("alice", "INBOX", b"Subject: x\r\n\r\n", &[])
    }

    fn append_one(&self, body: &str) {
        self.sim.append("alice", "INBOX", body.as_bytes(), &[]);
    }

    fn remove(&self, uids: &[u32]) {
        for uid in uids {
            self.sim.remove("alice", "INBOX", *uid);
        }
    }

    fn flag(&self, uid: u32, flags: &[&str]) {
        self.sim.set_flags("alice", "INBOX", uid, flags);
    }

    fn there(&self) -> Vec<u32> {
        self.sim.messages("alice", "INBOX").iter().map(|message| message.uid).collect()
    }

    async fn database(&self) -> SqliteConnection {
        let path = self.bridge.folder().join("popbridge.db").display().to_string();
        SqliteConnection::connect(&path).await.expect("it opens")
    }

    async fn sql(&self, statement: &'static str) {
        sqlx::raw_sql(statement).execute(&mut self.database().await).await.expect("a good statement");
    }

    /// The mod-sequence in the cache.
    async fn modseq(&self) -> Option<i64> {
        let query = sqlx::query("SELECT highest_modseq FROM listing");
        query.fetch_one(&mut self.database().await).await.expect("a listing").get(0)
    }

    /// A login, and what it asked the server for behind its own login.
    async fn login(&self) -> (Pop3, Vec<String>) {
        self.bridge.settled(0).await;
        let before = self.sim.commands().len();
        let mut client = Pop3::connect(self.bridge.address()).await;
        client.login("alice").await;
        let asked = self.sim.commands().into_iter().skip(before);
        let asked = asked.filter_map(|line| Some(line.split_once(' ')?.1.to_owned()));
        let listing =
            |line: &String| ["SELECT", "EXAMINE", "UID", "ENABLE"].iter().any(|verb| line.starts_with(verb));
        (client, asked.filter(listing).map(|line| without_numbers(&line)).collect())
    }

    async fn poll(&self) -> (Vec<u32>, Vec<String>) {
        let (mut client, asked) = self.login().await;
        let uids = uids(&mut client).await;
        client.quit().await;
        (uids, asked)
    }

    /// A login shows what is there, and asks for this.
    async fn expect(&self, what: &str, asked: &[&str]) {
        let (shown, commands) = self.poll().await;
        assert_eq!(shown, self.there(), "{what}: {commands:?}");
        assert_eq!(commands, asked, "{what}");
    }
}

fn without_numbers(line: &str) -> String {
    match line.split_once("(QRESYNC (") {
        Some((select, _)) => format!("{select}(QRESYNC (_ _))"),
        None => line.to_owned(),
    }
}

/// From the unique ids, which end in the UID: eight hexadecimal digits.
async fn uids(client: &mut Pop3) -> Vec<u32> {
    let uid = |id: &str| u32::from_str_radix(id.get(8..)?, 16).ok();
    let listed = client.uidl().await.into_iter();
    listed.map(|(_, id)| uid(&id).unwrap_or_else(|| panic!("{id}"))).collect()
}

#[tokio::test]
async fn what_has_gone_costs_select_alone() {
    let setting = Setting::new("").await;
    let alone = [ENABLE, RESYNC];
    setting.expect("nothing", &alone).await;
    setting.remove(&[2]);
    setting.expect("gone", &alone).await;
    setting.expect("nothing more", &alone).await;
    setting.append();
    setting.expect("come", &[ENABLE, RESYNC, "UID FETCH 6:* (UID RFC822.SIZE)"]).await;
    setting.remove(&[1, 5]);
    setting.append();
    setting.append();
    setting.expect("gone and come", &[ENABLE, RESYNC, "UID FETCH 7:* (UID RFC822.SIZE)"]).await;
    let passing = setting.append();
    setting.append();
    setting.remove(&[passing, 3]);
    setting.expect("come and gone", &[ENABLE, RESYNC, "UID FETCH 9:* (UID RFC822.SIZE)"]).await;
    setting.flag(4, &["\\Flagged"]);
    setting.expect("flags", &alone).await;
    setting.remove(&setting.there());
    setting.expect("everything gone", &alone).await;
    setting.append();
    setting.expect("come again", &[ENABLE, RESYNC, "UID FETCH 11:* (UID RFC822.SIZE)"]).await;
    setting.sql("UPDATE listing SET full_at = full_at - 86400").await;
    setting.remove(&[11]);
    setting.expect("a day old", &[ENABLE, PLAIN, FULL]).await;
    setting.expect("known again", &alone).await;
}

#[tokio::test]
async fn a_newer_mod_sequence_alone_is_written_where_it_saves_much() {
    let setting = Setting::new("").await;
    for _ in 0..120 {
        setting.append();
    }
    setting.poll().await;
    let known = setting.modseq().await;
    let flag = async |uids: std::ops::RangeInclusive<u32>, flag: &'static str| {
        for uid in uids {
            setting.flag(uid, &[flag]);
        }
        setting.expect("flags", &[ENABLE, RESYNC]).await;
        setting.modseq().await
    };
    assert_eq!(flag(1..=20, "\\Seen").await, known, "a poll writes nothing");
    assert_eq!(flag(1..=20, "\\Flagged").await, known);
    let newer = flag(1..=110, "\\Answered").await;
    assert!(newer > known, "{newer:?}");
    assert_eq!(flag(1..=1, "\\Seen").await, newer);
    // What was known before the server counted.
    setting.sql("UPDATE listing SET highest_modseq = NULL").await;
    setting.remove(&[7]);
    setting.expect("none is known", &[ENABLE, PLAIN, SEARCH]).await;
    setting.expect("it is", &[ENABLE, RESYNC]).await;
    setting.sql("UPDATE listing SET highest_modseq = NULL").await;
    setting.expect("none is known, and nothing has changed", &[ENABLE, PLAIN]).await;
    setting.expect("it is", &[ENABLE, RESYNC]).await;
}

#[tokio::test]
async fn examine_asks_as_select_does() {
    let setting = Setting::with("on_retrieve = \"leave\"", &[ENABLE, "EXAMINE \"INBOX\"", FULL], "0s").await;
    setting.remove(&[2]);
    setting.expect("gone", &[ENABLE, "EXAMINE \"INBOX\" (QRESYNC (_ _))"]).await;
}

#[tokio::test]
async fn a_new_uidvalidity_is_listed() {
    let setting = Setting::new("max_new_share = \"100%\"").await;
    setting.remove(&[2]);
    setting.sim.change_uid_validity("alice", "INBOX");
    let (shown, asked) = setting.poll().await;
    assert_eq!((shown.len(), &asked[..3]), (4, &[ENABLE, RESYNC, FULL].map(str::to_owned)[..]));
    assert_eq!(setting.poll().await.1, [ENABLE, RESYNC]);
}

#[tokio::test]
async fn what_does_not_add_up_is_asked_for() {
    let search = &[ENABLE, RESYNC, SEARCH][..];
    for (fault, asked) in [
        // All that is not there is a right answer as well.
        (Fault::HistoryForgotten, &[ENABLE, RESYNC][..]),
        (Fault::VanishedMissing, search),
        (Fault::VanishedTotal, search),
        (Fault::VanishedLong(70_000), search),
        (Fault::VanishedLong(1_000_000), search),
        (Fault::NoModSeq, search),
        (Fault::WrongModSeq(-1000), search),
        (Fault::WrongModSeq(1000), &[ENABLE, RESYNC]),
        (Fault::No(None), &[ENABLE, RESYNC, PLAIN, SEARCH]),
        (Fault::Bad, &[ENABLE, RESYNC, PLAIN, SEARCH]),
    ] {
        let what = format!("{fault:?}").chars().take(40).collect::<String>();
        let setting = Setting::new("").await;
        setting.remove(&[2, 4]);
        setting.sim.fault(Place::Select, fault.clone());
        setting.expect(&what, asked).await;
        // It does not last. Where no mod-sequence was told, the next login learns one.
        setting.poll().await;
        setting.expect(&what, &[ENABLE, RESYNC]).await;
        setting.remove(&[3]);
        setting.append();
        setting.sim.fault(Place::Select, fault);
        let (shown, asked) = setting.poll().await;
        assert_eq!(shown, [1, 5, 6], "{what}: {asked:?}");
        assert!(asked.len() <= 5, "{what}: {asked:?}");
        setting.remove(&[1]);
        setting.poll().await;
        assert_eq!(setting.poll().await, (vec![5, 6], vec![ENABLE.into(), RESYNC.into()]), "{what}");
    }
}

#[tokio::test]
async fn a_server_without_what_it_offers_serves_all_the_same() {
    for fault in [Fault::No(None), Fault::Bad] {
        let setting = Setting::new("").await;
        setting.sim.fault_times(Place::Enable, fault, usize::MAX);
        for _ in 0..2 {
            setting.remove(&[setting.there()[0]]);
            setting.expect("ENABLE is refused", &[ENABLE, RESYNC, PLAIN, SEARCH]).await;
        }
    }
    let setting = Setting::new("").await;
    setting.sim.adjust(|traits| traits.silent_enable = true);
    setting.remove(&[1]);
    setting.expect("ENABLE says nothing", &[ENABLE, RESYNC]).await;
    setting.sim.set_capability("QRESYNC", false);
    setting.remove(&[2]);
    setting.expect("it is not offered", &[PLAIN, SEARCH]).await;
    setting.sim.set_capability("QRESYNC", true);
    setting.sim.set_capability("ENABLE", false);
    setting.remove(&[3]);
    setting.expect("ENABLE is not offered", &[PLAIN, SEARCH]).await;
}

/// Over another connection, and then without QRESYNC for a while.
#[tokio::test]
async fn a_server_that_breaks_off_is_asked_without_it() {
    let lie = b"* 9 EXISTS\r\n* VANISHED (EARLIER) 1:4294967295\r\n".to_vec();
    for (place, fault, asked) in [
        (Place::Select, Fault::Bye, &[ENABLE, RESYNC, PLAIN, FULL][..]),
        (Place::Select, Fault::Eof, &[ENABLE, RESYNC, PLAIN, FULL]),
        (Place::Select, Fault::Raw(lie), &[ENABLE, RESYNC, PLAIN, FULL]),
        (Place::Select, Fault::VanishedLong(17 << 20), &[ENABLE, RESYNC, PLAIN, FULL]),
        (Place::Enable, Fault::Bye, &[ENABLE, PLAIN, FULL]),
        (Place::Enable, Fault::Eof, &[ENABLE, PLAIN, FULL]),
        (Place::Enable, Fault::Raw(b"P7 OK What?\r\n".to_vec()), &[ENABLE, PLAIN, FULL]),
    ] {
        let what = format!("{place:?}, {fault:?}").chars().take(60).collect::<String>();
        let setting = Setting::new("").await;
        setting.remove(&[2, 4]);
        setting.sim.fault(place, fault);
        // With ENABLE, the simulator ends before it has read what comes behind it.
        let (shown, heard) = setting.poll().await;
        assert_eq!(shown, [1, 3, 5], "{what}: {heard:?}");
        assert_eq!(heard, asked, "{what}");
        setting.expect(&what, &[PLAIN]).await;
        setting.remove(&[1]);
        setting.expect(&what, &[PLAIN, SEARCH]).await;
    }
    // A plain outage is none of its faults.
    let setting = Setting::new("").await;
    setting.sim.fault_times(Place::Select, Fault::Eof, 2);
    let mut client = Pop3::connect(setting.bridge.address()).await;
    client.ok("USER alice").await;
    let refused = client.err(&format!("PASS {PASSWORD}")).await;
    assert!(refused.starts_with("-ERR [SYS/TEMP]"), "{refused}");
    drop(client);
    setting.expect("it is over", &[ENABLE, RESYNC]).await;
}

#[tokio::test]
async fn a_server_that_hangs_is_asked_without_it() {
    let sim = Server::builder().user("alice", PASSWORD).start().await.expect("the simulator starts");
    sim.set_capability("QRESYNC", true);
    let settings =
        Settings::new(format!("imap://{}", sim.address())).with("upstream.home", "timeout = \"1s\"");
    let setting = Setting { bridge: Local::start(&settings).await, sim };
    setting.sim.fault_times(Place::Enable, Fault::Stall, usize::MAX);
    let (client, asked) = setting.login().await;
    assert_eq!(asked, [ENABLE, PLAIN, FULL]);
    client.quit().await;
    setting.sim.kill_connections();
    setting.expect("the next time", &[PLAIN]).await;
}

/// What a lie makes up for must not go unnoticed.
#[tokio::test]
async fn a_missing_row_does_not_make_up_for_what_is_not_told() {
    let setting = Setting::new("").await;
    setting.append();
    setting.append();
    setting.append();
    setting.remove(&[3]);
    setting.sim.fault(Place::Select, Fault::VanishedMissing);
    setting.sim.fault(Place::Fetch(1), Fault::MissingRow);
    let (shown, asked) = setting.poll().await;
    assert_eq!(shown, [1, 2, 4, 5, 6, 7, 8], "{asked:?}");
    // Two have come, one of them and one of the others have gone; it all adds up.
    setting.append();
    let passing = setting.append();
    setting.remove(&[1, passing]);
    let new = "UID FETCH 9:* (UID RFC822.SIZE)";
    setting.expect("two have gone", &[ENABLE, RESYNC, new]).await;
}

#[tokio::test]
async fn what_moves_is_never_shown_wrongly() {
    for place in [Place::Select, Place::Fetch(1), Place::Search] {
        let setting = Setting::new("").await;
        setting.append();
        setting.remove(&[3]);
        setting.sim.fault(place, Fault::UnsolicitedExpunge);
        if place == Place::Search {
            setting.sim.fault(Place::Select, Fault::VanishedMissing);
        }
        let (mut client, asked) = setting.login().await;
        assert!(place == Place::Select || asked.contains(&FULL.to_owned()), "{place:?}: {asked:?}");
        let shown = client.list().await.len();
        assert!(shown == 4 || shown == 5, "{place:?}: {shown}");
        client.quit().await;
        setting.expect(&format!("{place:?}"), &[ENABLE, RESYNC]).await;
    }
}

/// VANISHED in place of EXPUNGE, in the middle of a session.
#[tokio::test]
async fn what_goes_in_a_session_is_seen() {
    for on_delete in ["hide", "trash", "expunge", "flag"] {
        let setting = Setting::new(&format!("on_delete = \"{on_delete}\"")).await;
        let (mut client, _) = setting.login().await;
        setting.remove(&[1, 2]);
        let refused = client.err("RETR 2").await;
        assert!(!refused.contains("[SYS"), "{refused}");
        assert!(!client.retr(3).await.is_empty());
        client.ok("DELE 1").await;
        client.ok("DELE 4").await;
        client.quit().await;
        // It was listed and is not there.
        setting.poll().await;
        let left = if on_delete == "flag" || on_delete == "hide" { vec![3, 4, 5] } else { vec![3, 5] };
        assert_eq!(setting.there(), left, "{on_delete}");
        let (shown, asked) = setting.poll().await;
        assert_eq!((shown, asked), (vec![3, 5], vec![ENABLE.to_owned(), RESYNC.to_owned()]), "{on_delete}");
    }
}

#[tokio::test]
async fn our_own_removals_leave_nothing_to_ask() {
    for on_delete in ["hide", "trash", "expunge", "flag"] {
        let setting = Setting::new(&format!("on_delete = \"{on_delete}\"")).await;
        let (mut client, _) = setting.login().await;
        client.ok("DELE 2").await;
        client.ok("DELE 4").await;
        client.quit().await;
        let modseq = setting.modseq().await;
        for _ in 0..2 {
            let expected = (vec![1, 3, 5], vec![ENABLE.to_owned(), RESYNC.to_owned()]);
            assert_eq!(setting.poll().await, expected, "{on_delete}");
            assert_eq!(setting.modseq().await, modseq, "{on_delete}: nothing is written");
        }
    }
}

/// What was hidden is forgotten with its message, and with no other one.
#[tokio::test]
async fn what_is_hidden_goes_with_its_message() {
    let setting = Setting::new("").await;
    let (mut client, _) = setting.login().await;
    client.ok("DELE 2").await;
    client.ok("DELE 4").await;
    client.quit().await;
    let hidden = async || {
        let query = sqlx::query("SELECT uid FROM hidden ORDER BY uid");
        let rows = query.fetch_all(&mut setting.database().await).await.expect("rows");
        rows.iter().map(|row| row.get(0)).collect::<Vec<i64>>()
    };
    assert_eq!(hidden().await, [2, 4]);
    setting.remove(&[2, 3]);
    assert_eq!(setting.poll().await, (vec![1, 5], vec![ENABLE.to_owned(), RESYNC.to_owned()]));
    assert_eq!(hidden().await, [4]);
}

#[tokio::test]
async fn merged_folders_are_known_each() {
    let setting = Setting::new("").await;
    let settings = Settings::new(format!("imap://{}", setting.sim.address()))
        .with("maildrop", "folders = [\"INBOX\", \"Work\"]")
        .with("upstream.home", "keep_alive = \"0s\"");
    let setting = Setting { bridge: Local::start(&settings).await, sim: setting.sim };
    let work = "SELECT \"Work\" (QRESYNC (_ _))";
    for _ in 0..3 {
        setting.sim.append("alice", "Work", b"Subject: w\r\n\r\n", &[]);
    }
    let count = async || {
        let (mut client, asked) = setting.login().await;
        let count = client.list().await.len();
        client.quit().await;
        (count, asked)
    };
    assert_eq!(count().await.0, 8);
    setting.sim.remove("alice", "Work", 1);
    setting.remove(&[5]);
    assert_eq!(count().await, (6, vec![ENABLE.to_owned(), RESYNC.into(), work.into()]));
}

/// A mailbox that changes at random between logins, some with faults, against what is there.
#[tokio::test]
async fn a_random_mailbox_is_shown_as_it_is() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seed = number("POPBRIDGE_MODEL_SEED").unwrap_or(1);
    let steps = number("POPBRIDGE_MODEL_STEPS").unwrap_or(600);
    report(&format!("POPBRIDGE_MODEL_SEED={seed}"));
    let mut rng = Rng::new(seed);
    for keep_alive in ["0s", "5m"] {
        let setting = Setting::with("max_new_share = \"100%\"", &[ENABLE, PLAIN, FULL], keep_alive).await;
        random_walk(&setting, &mut rng, seed, steps).await;
    }
}

async fn random_walk(setting: &Setting, rng: &mut Rng, seed: u64, steps: u64) {
    let mut ways = std::collections::BTreeMap::new();
    for step in 0..steps {
        for _ in 0..rng.below(4) {
            let there = setting.there();
            let some = there.get(rng.below(there.len().max(1))).copied();
            match (rng.below(20), some) {
                (0..7, _) => setting.append_one(&format!("Subject: {step} {}\r\n\r\n", rng.below(1 << 30))),
                (7..14, Some(uid)) => setting.remove(&[uid]),
                (14..18, Some(uid)) => setting.flag(uid, if rng.below(2) == 0 { &["\\Seen"] } else { &[] }),
                (18, _) if rng.below(10) == 0 => setting.sim.change_uid_validity("alice", "INBOX"),
                (19, _) => setting.remove(&there[there.len() / 2..]),
                _ => {}
            }
        }
        let fault = match rng.below(30) {
            0 => Some(Fault::HistoryForgotten),
            1 => Some(Fault::VanishedMissing),
            2 => Some(Fault::VanishedTotal),
            3 => Some(Fault::VanishedLong(70_000)),
            4 => Some(Fault::NoModSeq),
            5 => Some(Fault::WrongModSeq(-20)),
            6 => Some(Fault::WrongModSeq(20)),
            // A plain SELECT that fails is a reason to refuse the login.
            7 if setting.modseq().await.is_some() => Some(Fault::Bad),
            _ => None,
        };
        if let Some(fault) = fault {
            setting.sim.fault(Place::Select, fault);
        }
        let (mut client, asked) = setting.login().await;
        // Ids of before stay, so that UIDs are not to be read from them behind a new UIDVALIDITY.
        let there = setting.sim.messages("alice", "INBOX");
        assert_eq!(client.uidl().await.len(), there.len(), "seed {seed}, step {step}: {asked:?}");
        for (number, message) in (1..).zip(&there) {
            assert_eq!(client.top(number, 0).await, *message.body, "seed {seed}, step {step}: {asked:?}");
        }
        client.quit().await;
        *ways.entry(asked.len().min(6)).or_insert(0) += 1;
    }
    report(&format!("seed {seed}: how many commands, how often: {ways:?}"));
    // SELECT alone, on a new connection with ENABLE before it.
    let alone = ways.get(&1).copied().unwrap_or_default() + ways.get(&2).copied().unwrap_or_default();
    assert!(steps < 100 || alone > 20, "{ways:?}");
}
