//! What goes over the wire at login where an earlier login has left a listing, and that what is
//! shown is what a full listing would show.

mod support;

use std::path::PathBuf;

use imapsim::{Fault, Persona, Place, Server};
use sqlx::{Connection, SqliteConnection};
use support::bridge::Settings;
use support::dovecot::PASSWORD;
use support::local::Local;
use support::pop3::Pop3;

const SELECT: &str = "SELECT \"INBOX\"";
const FULL: &str = "UID FETCH 1:* (UID RFC822.SIZE)";
const UIDS: &str = "UID FETCH 1:* (UID)";
const SEARCH: &str = "UID SEARCH RETURN (ALL) ALL";

/// Those whose SELECT tells UIDNEXT.
fn personas() -> impl Iterator<Item = Persona> {
    Persona::ALL.into_iter().filter(|persona| *persona != Persona::Courier)
}

/// A simulator with five messages, UIDs 1 to 5, and a bridge that has listed them.
struct Setting {
    sim: Server,
    bridge: Local,
}

impl Setting {
    async fn new(persona: Persona, maildrop: &str) -> Self {
        Self::with(persona, maildrop, "").await
    }

    async fn with(persona: Persona, maildrop: &str, upstream: &str) -> Self {
        let sim = Server::builder().persona(persona).user("alice", PASSWORD).start().await;
        let sim = sim.expect("the simulator starts");
        let settings = Settings::new(format!("imap://{}", sim.address())).with("maildrop", maildrop);
        let settings = settings.with("upstream.home", upstream);
        let setting = Self { bridge: Local::start(&settings).await, sim };
        for number in 1..=5 {
            setting.append(number);
        }
        let (_, asked) = setting.poll().await;
        assert!(asked.contains(&FULL.to_owned()) || !maildrop.is_empty(), "{asked:?}");
        setting
    }

    fn append(&self, number: u32) -> u32 {
        self.sim.append("alice", "INBOX", format!("Subject: {number}\r\n\r\n").as_bytes(), &[])
    }

    fn remove(&self, uid: u32) {
        self.sim.remove("alice", "INBOX", uid);
    }

    fn database(&self) -> PathBuf {
        self.bridge.folder().join("popbridge.db")
    }

    async fn sql(&self, statement: &'static str) {
        let path = self.database();
        let mut database = SqliteConnection::connect(&path.display().to_string()).await.expect("it opens");
        sqlx::raw_sql(statement).execute(&mut database).await.expect("a good statement");
    }

    /// A login, and what it asked the server for behind its own login.
    async fn login(&self, name: &str) -> (Pop3, Vec<String>) {
        self.bridge.settled(0).await;
        let before = self.sim.commands().len();
        let mut client = Pop3::connect(self.bridge.address()).await;
        client.login(name).await;
        let asked = self.sim.commands().into_iter().skip(before);
        let asked = asked.filter_map(|line| Some(line.split_once(' ')?.1.to_owned()));
        let listing = |line: &String| {
            ["SELECT", "EXAMINE", "UID", "LIST", "STATUS"].iter().any(|verb| line.starts_with(verb))
        };
        (client, asked.filter(listing).collect())
    }

    /// The UIDs that a session is shown, and what it asked for.
    async fn poll(&self) -> (Vec<u32>, Vec<String>) {
        let (mut client, asked) = self.login("alice").await;
        let uids = uids(&mut client).await;
        client.quit().await;
        (uids, asked)
    }

    async fn expect(&self, what: &str, uids: &[u32], asked: &[&str]) {
        let (shown, commands) = self.poll().await;
        assert_eq!(shown, uids, "{what}");
        assert_eq!(commands, asked, "{what}");
        let there: Vec<u32> = self.sim.messages("alice", "INBOX").iter().map(|message| message.uid).collect();
        assert_eq!(shown, there, "{what}");
    }
}

/// From the unique ids, which end in the UID: eight hexadecimal digits.
async fn uids(client: &mut Pop3) -> Vec<u32> {
    let uid = |id: &str| u32::from_str_radix(id.get(8..)?, 16).ok();
    let listed = client.uidl().await.into_iter();
    listed.map(|(_, id)| uid(&id).unwrap_or_else(|| panic!("{id}"))).collect()
}

#[tokio::test]
async fn what_has_not_changed_is_not_asked_for() {
    for persona in personas() {
        let setting = Setting::new(persona, "").await;
        for _ in 0..2 {
            setting.expect(&format!("{persona:?}"), &[1, 2, 3, 4, 5], &[SELECT]).await;
        }
    }
}

#[tokio::test]
async fn what_is_new_is_asked_for_alone() {
    for persona in personas() {
        let setting = Setting::new(persona, "").await;
        setting.append(6);
        let what = format!("{persona:?}");
        setting.expect(&what, &[1, 2, 3, 4, 5, 6], &[SELECT, "UID FETCH 6:* (UID RFC822.SIZE)"]).await;
        setting.expect(&what, &[1, 2, 3, 4, 5, 6], &[SELECT]).await;
    }
}

#[tokio::test]
async fn what_has_gone_is_found_without_the_sizes() {
    for persona in personas() {
        let setting = Setting::new(persona, "").await;
        let what = format!("{persona:?}");
        let searches = matches!(
            persona,
            Persona::Dovecot | Persona::Gmail | Persona::Cyrus | Persona::Icloud | Persona::ProtonBridge
        );
        let (_, offers) = setting.poll().await;
        assert_eq!(offers, [SELECT], "{what}");
        setting.remove(2);
        let (shown, asked) = setting.poll().await;
        assert_eq!(shown, [1, 3, 4, 5], "{what}");
        assert!(asked == [SELECT, SEARCH] || asked == [SELECT, UIDS], "{what}: {asked:?}");
        let find = asked[1].clone();
        assert!(persona != Persona::Dovecot || searches && find == SEARCH, "{what}: {find}");
        setting.remove(5);
        setting.append(6);
        setting.append(7);
        let new = "UID FETCH 6:* (UID RFC822.SIZE)";
        setting.expect(&what, &[1, 3, 4, 6, 7], &[SELECT, new, &find]).await;
        // What came and went between two logins leaves a number out.
        let passing = setting.append(8);
        setting.append(9);
        setting.remove(passing);
        setting.expect(&what, &[1, 3, 4, 6, 7, 9], &[SELECT, "UID FETCH 8:* (UID RFC822.SIZE)", &find]).await;
        for uid in [1, 3, 4, 6, 7, 9] {
            setting.remove(uid);
        }
        setting.expect(&what, &[], &[SELECT]).await;
        setting.append(10);
        setting.expect(&what, &[10], &[SELECT, "UID FETCH 10:* (UID RFC822.SIZE)"]).await;
        setting.expect(&what, &[10], &[SELECT]).await;
    }
}

#[tokio::test]
async fn what_cannot_be_proven_is_listed() {
    let setting = Setting::new(Persona::Dovecot, "max_new_share = \"100%\"").await;
    let all = [1, 2, 3, 4, 5];
    setting.expect("known", &all, &[SELECT]).await;
    setting.sql("DELETE FROM listing").await;
    setting.expect("the cache is empty", &all, &[SELECT, FULL]).await;
    setting.sql("UPDATE listing_part SET messages = x'0102'").await;
    setting.expect("the cache is damaged", &all, &[SELECT, FULL]).await;
    setting.sql("DELETE FROM listing_part").await;
    setting.expect("the rows are lost", &all, &[SELECT, FULL]).await;
    setting.sql("UPDATE listing SET uid_next = NULL").await;
    setting.expect("no UIDNEXT is known", &all, &[SELECT, FULL]).await;
    setting.sql("UPDATE listing SET uid_next = 9").await;
    setting.expect("a UIDNEXT from the future", &all, &[SELECT, FULL]).await;
    setting.sql("UPDATE listing SET full_at = full_at - 86400").await;
    setting.expect("a day old", &all, &[SELECT, FULL]).await;
    setting.sql("UPDATE listing SET full_at = full_at + 3600").await;
    setting.expect("from the future", &all, &[SELECT, FULL]).await;
    setting.expect("known again", &all, &[SELECT]).await;
    // Fewer or more rows than the server has, and the same UIDNEXT.
    setting.sql("UPDATE listing_part SET messages = substr(messages, 1, 1 + 4 * 12)").await;
    setting.expect("a row is missing", &all, &[SELECT, FULL]).await;
    setting.sql("UPDATE listing_part SET messages = substr(messages, 1, 1 + 3 * 12)").await;
    setting.append(6);
    let new = "UID FETCH 6:* (UID RFC822.SIZE)";
    setting.expect("rows are missing", &[1, 2, 3, 4, 5, 6], &[SELECT, FULL]).await;
    setting.sim.adjust(|traits| traits.select_uidnext = false);
    setting.expect("SELECT tells no UIDNEXT", &[1, 2, 3, 4, 5, 6], &[SELECT, FULL]).await;
    setting.sim.adjust(|traits| traits.select_uidnext = true);
    setting.expect("it does", &[1, 2, 3, 4, 5, 6], &[SELECT, FULL]).await;
    setting.sim.change_uid_validity("alice", "INBOX");
    let (shown, asked) = setting.poll().await;
    assert_eq!((shown.len(), &asked[..2]), (6, &[SELECT.to_owned(), FULL.to_owned()][..]), "{new}");
    assert_eq!(setting.poll().await.1, [SELECT]);
}

#[tokio::test]
async fn without_uidnext_it_is_one_flight_as_ever() {
    let setting = Setting::new(Persona::Courier, "").await;
    setting.expect("Courier", &[1, 2, 3, 4, 5], &[SELECT, FULL]).await;
    setting.remove(1);
    setting.append(6);
    setting.expect("Courier", &[2, 3, 4, 5, 6], &[SELECT, FULL]).await;
}

#[tokio::test]
async fn flags_and_dates_are_always_asked_for() {
    for (maildrop, items) in [
        ("only_unseen = true", "(UID RFC822.SIZE FLAGS)"),
        ("max_age = \"30d\"", "(UID RFC822.SIZE INTERNALDATE)"),
    ] {
        let setting = Setting::new(Persona::Dovecot, maildrop).await;
        let fetch = format!("UID FETCH 1:* {items}");
        for _ in 0..2 {
            setting.expect(maildrop, &[1, 2, 3, 4, 5], &[SELECT, &fetch]).await;
        }
    }
}

#[tokio::test]
async fn our_own_removals_leave_nothing_to_ask() {
    for on_delete in ["hide", "trash", "expunge", "flag", "archive"] {
        let sim = Server::builder().user("alice", PASSWORD).start().await.expect("the simulator starts");
        sim.create("alice", "Archive", None);
        let settings = Settings::new(format!("imap://{}", sim.address()))
            .with("maildrop", &format!("on_delete = \"{on_delete}\""));
        let setting = Setting { bridge: Local::start(&settings).await, sim };
        for number in 1..=5 {
            setting.append(number);
        }
        let (mut client, first) = setting.login("alice").await;
        assert_eq!(first.last().map(String::as_str), Some(FULL), "{on_delete}");
        let looks = first.iter().filter(|line| line.starts_with("LIST")).count();
        let has_target = matches!(on_delete, "trash" | "archive");
        assert_eq!(looks > 0, has_target, "{on_delete}: {first:?}");
        client.ok("DELE 2").await;
        client.ok("DELE 4").await;
        client.quit().await;
        for _ in 0..2 {
            let (shown, asked) = setting.poll().await;
            assert_eq!(shown, [1, 3, 5], "{on_delete}");
            assert_eq!(asked, [SELECT], "{on_delete}: no FETCH, and no LIST for the target");
        }
    }
}

#[tokio::test]
async fn a_refused_move_asks_for_the_target_again() {
    let setting = Setting::new(Persona::Dovecot, "on_delete = \"trash\"").await;
    let (mut client, asked) = setting.login("alice").await;
    assert_eq!(asked, [SELECT]);
    client.ok("DELE 1").await;
    setting.sim.fault(Place::Move, Fault::No(Some("TRYCREATE")));
    let refused = client.err("QUIT").await;
    assert!(refused.starts_with("-ERR [SYS/TEMP]"), "{refused}");
    let (client, asked) = setting.login("alice").await;
    assert!(asked.iter().any(|line| line.starts_with("LIST")), "{asked:?}");
    client.quit().await;
    assert_eq!(setting.poll().await, (vec![2, 3, 4, 5], vec![SELECT.to_owned()]));
}

#[tokio::test]
async fn counted_sizes_stay() {
    let setting = Setting::new(Persona::Dovecot, "").await;
    setting.sim.fault_times(Place::Fetch(0), Fault::WrongSize(7), usize::MAX);
    setting.sql("DELETE FROM listing").await;
    let (mut client, _) = setting.login("alice").await;
    let wrong = client.list().await[2].1;
    let size = client.retr(3).await.len() as u64;
    assert_eq!(wrong, size + 7);
    client.quit().await;
    setting.append(6);
    setting.remove(1);
    for _ in 0..2 {
        let (mut client, asked) = setting.login("alice").await;
        assert!(!asked.contains(&FULL.to_owned()), "{asked:?}");
        let sizes: Vec<u64> = client.list().await.into_iter().map(|(_, octets)| octets).collect();
        assert_eq!(sizes, [size + 7, size, size + 7, size + 7, size + 7]);
        client.quit().await;
    }
    setting.sql("UPDATE listing SET full_at = 0").await;
    let (mut client, asked) = setting.login("alice").await;
    assert!(asked.contains(&FULL.to_owned()), "{asked:?}");
    assert_eq!(client.list().await[1].1, size, "counted is counted");
    client.quit().await;
}

#[tokio::test]
async fn merged_folders_are_known_each() {
    let sim = Server::builder().user("alice", PASSWORD).start().await.expect("the simulator starts");
    sim.create("alice", "Work", None);
    let settings = Settings::new(format!("imap://{}", sim.address()))
        .with("maildrop", "folders = [\"INBOX\", \"Work\"]");
    let setting = Setting { bridge: Local::start(&settings).await, sim };
    setting.append(1);
    setting.sim.append("alice", "Work", b"Subject: w\r\n\r\n", &[]);
    let count = || async {
        let (mut client, asked) = setting.login("alice").await;
        let count = client.list().await.len();
        client.quit().await;
        (count, asked)
    };
    assert_eq!(count().await.0, 2);
    assert_eq!(count().await, (2, vec![SELECT.to_owned(), "SELECT \"Work\"".to_owned()]));
    setting.sim.append("alice", "Work", b"Subject: x\r\n\r\n", &[]);
    let new = "UID FETCH 2:* (UID RFC822.SIZE)".to_owned();
    assert_eq!(count().await, (3, vec![SELECT.to_owned(), "SELECT \"Work\"".to_owned(), new]));
}

/// What moves while it is looked at is looked at again.
#[tokio::test]
async fn what_moves_is_never_shown_wrongly() {
    let arrival = |exists: u32| format!("* {exists} EXISTS\r\n").into_bytes();
    for place in [Place::Select, Place::Fetch(0), Place::Search] {
        let setting = Setting::new(Persona::Dovecot, "").await;
        setting.append(6);
        setting.remove(3);
        setting.bridge.settled(0).await;
        setting.sim.fault(place, Fault::UnsolicitedExpunge);
        let (mut client, asked) = setting.login("alice").await;
        let shown = client.list().await.len();
        // At SELECT, it has gone before anything is told.
        assert!(place == Place::Select || asked.contains(&FULL.to_owned()), "{place:?}: {asked:?}");
        assert!(shown == 4 || shown == 5, "{place:?}: {shown}");
        client.quit().await;
        let (shown, _) = setting.poll().await;
        assert_eq!(shown, [2, 4, 5, 6], "{place:?}");
    }
    // A row that is missing must not make up for a message that has gone. On a connection that had
    // waited it would be asked for once more on another.
    let setting = Setting::with(Persona::Dovecot, "", "keep_alive = \"0s\"").await;
    setting.append(6);
    setting.append(7);
    setting.append(8);
    setting.remove(3);
    setting.sim.fault(Place::Fetch(1), Fault::MissingRow);
    let (shown, asked) = setting.poll().await;
    assert_eq!(shown, [1, 2, 4, 5, 6, 7, 8], "{asked:?}");
    // A search that the server refuses, or answers as it likes.
    for answer in [
        Fault::No(None),
        Fault::Bad,
        Fault::Raw(arrival(7)),
        Fault::Raw([vec![b'1'; 100_000], b"\r\n".to_vec()].concat()),
    ] {
        let what = format!("{answer:?}").chars().take(40).collect::<String>();
        let ends = matches!(&answer, Fault::Raw(octets) if octets.len() < 1000);
        let uid = setting.append(9);
        setting.remove(uid);
        setting.remove(setting.poll().await.0[0]);
        setting.sim.fault(Place::Search, answer);
        if ends {
            let mut client = Pop3::connect(setting.bridge.address()).await;
            client.ok("USER alice").await;
            let refused = client.err(&format!("PASS {PASSWORD}")).await;
            assert!(refused.starts_with("-ERR [SYS/TEMP]"), "{refused}");
        } else {
            let (shown, asked) = setting.poll().await;
            assert!(asked.contains(&FULL.to_owned()), "{what}: {asked:?}");
            let there: Vec<u32> =
                setting.sim.messages("alice", "INBOX").iter().map(|message| message.uid).collect();
            assert_eq!(shown, there, "{what}");
        }
    }
}

/// What a login has deleted stays hidden, whatever becomes of the cache.
#[tokio::test]
async fn a_lie_in_the_cache_costs_nothing_that_was_kept() {
    let setting = Setting::new(Persona::Dovecot, "").await;
    let (mut client, _) = setting.login("alice").await;
    client.ok("DELE 5").await;
    client.quit().await;
    let ahead = setting.append(6);
    setting.remove(ahead);
    assert_eq!(setting.poll().await.0, [1, 2, 3, 4]);
    // UID 6 in place of 5, below a UIDNEXT of 7.
    setting
        .sql("UPDATE listing_part SET messages = substr(messages, 1, 49) || x'06000000' || substr(messages, 54)")
        .await;
    assert_eq!(setting.poll().await, (vec![1, 2, 3, 4, 6], vec![SELECT.to_owned()]));
    setting.sql("UPDATE listing SET full_at = 0").await;
    assert_eq!(setting.poll().await.0, [1, 2, 3, 4]);
}

/// A cache that lies with the right UIDNEXT and the right count: found out at the first message.
#[tokio::test]
async fn a_lie_in_the_cache_does_not_last() {
    // UID 9 in place of 5, below a UIDNEXT of 10.
    const LIE: &str = "UPDATE listing_part SET messages = substr(messages, 1, 1 + 4 * 12) || x'09000000' \
                       || substr(messages, 1 + 4 * 12 + 5)";
    for on_delete in ["hide", "expunge"] {
        let setting = Setting::new(Persona::Dovecot, &format!("on_delete = \"{on_delete}\"")).await;
        for number in 6..=9 {
            setting.append(number);
        }
        for uid in 6..=9 {
            setting.remove(uid);
        }
        setting.poll().await;
        setting.sql(LIE).await;
        let (mut client, asked) = setting.login("alice").await;
        assert_eq!(asked, [SELECT]);
        assert_eq!(uids(&mut client).await, [1, 2, 3, 4, 9]);
        if on_delete == "hide" {
            let refused = client.err("RETR 5").await;
            assert!(!refused.contains("[SYS"), "{refused}");
        } else {
            client.ok("DELE 5").await;
        }
        client.quit().await;
        let (shown, asked) = setting.poll().await;
        // Among them, the session before may still look for what its message can be known by.
        assert_eq!(shown, [1, 2, 3, 4, 5]);
        assert!(asked.contains(&FULL.to_owned()), "{asked:?}");
        assert_eq!(setting.poll().await, (vec![1, 2, 3, 4, 5], vec![SELECT.to_owned()]));
    }
}
