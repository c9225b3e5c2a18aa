//! A UIDL is for ever: what happens to a thousand of them when the server makes the mailbox anew.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use imapsim::{Fault, Place, Server};
use popbridge::config::Database;
use popbridge::store::{MailboxName, State, Store};
use sqlx::{Connection, SqliteConnection};

use support::bridge::{Bridge, Settings};
use support::dovecot::PASSWORD;
use support::local::Local;
use support::mail;
use support::pop3::Pop3;

const MESSAGES: usize = 1_000;

/// The unique ids of what can be told apart by reading it: one, or one a twin.
type Ids = BTreeMap<String, BTreeSet<String>>;

#[tokio::test]
async fn a_thousand_messages_keep_their_ids() {
    keep_their_ids(false, false).await;
}

#[tokio::test]
async fn the_cache_does_not_matter() {
    keep_their_ids(false, true).await;
}

#[tokio::test]
async fn object_ids_do_as_well() {
    keep_their_ids(true, false).await;
}

async fn keep_their_ids(object_ids: bool, cleared: bool) {
    let sim = full().await;
    sim.set_capability("OBJECTID", object_ids);
    let settings = settings(&sim, "");
    let bridge = Local::start(&settings).await;
    let all = ids(&bridge, "alice").await;
    // Some are hidden, one of each of the first twins among them.
    let mut client = login(&bridge, "alice").await;
    for number in [1, 17, 500, 941, 943, 1_000] {
        client.ok(&format!("DELE {number}")).await;
    }
    client.quit().await;
    wait_learnt(&bridge, MESSAGES).await;
    let folder = bridge.stop().await;
    let bridge = Local::start_in(&settings, folder).await;
    let before = ids(&bridge, "alice").await;
    assert_eq!(count(&before), MESSAGES - 6);

    let mut database = database(bridge.folder());
    for round in 0..2 {
        if cleared {
            database.run("DELETE FROM listing").await;
        }
        for new in 0..5 {
            sim.append("alice", "INBOX", &message(2_000 + 10 * round + new, Kind::Plain), &[]);
        }
        sim.renumber_shuffled("alice", "INBOX", 7 + round as u64);
        let headers = headers_fetched(&sim);
        let after = ids(&bridge, "alice").await;
        assert!(headers_fetched(&sim) > headers);
        let known: BTreeSet<&String> = all.values().flatten().collect();
        let kept = before.iter().filter(|(what, ids)| after.get(*what) == Some(ids)).count();
        // 99 % are promised; all that can be told apart come out.
        assert_eq!(kept, before.len(), "round {round}");
        let new = after.values().flatten().filter(|id| !known.contains(id)).count();
        assert_eq!(
            (new, count(&after)),
            (5 * (round + 1), MESSAGES - 6 + 5 * (round + 1)),
            "hidden is hidden"
        );
        bridge.settled(0).await;
    }

    // Neither a restart nor a lost cache changes any.
    let mut client = login(&bridge, "alice").await;
    let listed = client.uidl().await;
    client.quit().await;
    let folder = bridge.stop().await;
    let bridge = Local::start_in(&settings, folder).await;
    for clear in [false, true] {
        if clear {
            database.run("DELETE FROM listing").await;
        }
        let mut client = login(&bridge, "alice").await;
        assert_eq!(client.uidl().await, listed);
        client.quit().await;
    }
}

#[tokio::test]
async fn changes_in_a_row_and_a_value_that_comes_back() {
    let sim = few(60).await;
    let bridge = Local::start(&settings(&sim, "")).await;
    let former = sim.uid_validity("alice", "INBOX");
    let mut client = login(&bridge, "alice").await;
    let mut ever: BTreeSet<String> = client.uidl().await.into_iter().map(|(_, id)| id).collect();
    for number in [3, 4] {
        client.ok(&format!("DELE {number}")).await;
    }
    client.quit().await;
    wait_learnt(&bridge, 60).await;
    let mut before = ids(&bridge, "alice").await;
    // What is removed now must not give its id to anything.
    for uid in [7, 8, 9, 60] {
        let body = sim.messages("alice", "INBOX").into_iter().find(|message| message.uid == uid);
        before.remove(&what(&body.expect("it is there").body));
        sim.remove("alice", "INBOX", uid);
    }
    assert_eq!(ids(&bridge, "alice").await, before);
    wait_learnt(&bridge, 56).await;
    sim.renumber_shuffled("alice", "INBOX", 1);
    sim.change_uid_validity("alice", "INBOX");
    assert_eq!(ids(&bridge, "alice").await, before);
    for round in 0..3 {
        bridge.settled(0).await;
        for new in 0..4 {
            sim.append("alice", "INBOX", &message(100 + 10 * round + new, Kind::Plain), &[]);
        }
        sim.renumber_shuffled("alice", "INBOX", 2 + round as u64);
        sim.set_uid_validity("alice", "INBOX", former);
        let after = ids(&bridge, "alice").await;
        for (what, ids) in &before {
            assert_eq!(after.get(what), Some(ids), "{what}");
        }
        let new: BTreeSet<&String> =
            after.iter().filter(|(what, _)| !before.contains_key(*what)).flat_map(|(_, ids)| ids).collect();
        assert_eq!(new.len(), 4);
        for id in new {
            assert!(!ever.contains(id), "{id} was another's");
        }
        ever.extend(after.values().flatten().cloned());
        bridge.settled(0).await;
        sim.change_uid_validity("alice", "INBOX");
        before = ids(&bridge, "alice").await;
        assert_eq!(before, after);
    }
    bridge.stop().await;
}

#[tokio::test]
async fn too_much_that_looks_new_is_refused_until_accepted() {
    let sim = full().await;
    let account = "login = \"scanner\"\nusername = \"alice\"\nmaildrop = { on_delete = \"hide\" }";
    let settings = settings(&sim, "on_delete = \"trash\"\ndelete_grace = \"1h\"").with("[account]", account);
    // What it learns behind QUIT is learnt when it hangs up.
    let settings = settings.with("upstream.home", "keep_alive = \"0s\"");
    let bridge = Bridge::start(&settings);
    let folder = bridge.configuration().parent().expect("in a folder").to_owned();
    let before = ids_at(bridge.address(), "alice").await;
    for (name, number) in [("alice", 5), ("scanner", 6)] {
        let mut client = Pop3::connect(bridge.address()).await;
        client.login(name).await;
        client.ok(&format!("DELE {number}")).await;
        client.quit().await;
    }
    until("the bridge hangs up", || sim.live_connections() == 0).await;
    // A fifth of them have other headers now.
    for stored in sim.messages("alice", "INBOX").into_iter().skip(100).take(MESSAGES / 5) {
        sim.remove("alice", "INBOX", stored.uid);
        let header = format!("X-Was: here\r\nMessage-ID: <{}@new>\r\n", stored.uid);
        let body = [header.as_bytes(), &stored.body].concat();
        sim.append("alice", "INBOX", &body, &[]);
    }
    sim.renumber_shuffled("alice", "INBOX", 3);

    let state = "SELECT (SELECT COUNT(*) FROM hidden), \
                 (SELECT COUNT(*) FROM deletion WHERE state = 'pending'), \
                 (SELECT COUNT(*) FROM message_key JOIN mailbox ON mailbox.id = mailbox AND current = 1)";
    let mut database = database(&folder);
    let kept = database.numbers(state).await;
    assert_eq!(kept, [1, 1, 1_000]);
    let mut headers = headers_fetched(&sim);
    for (round, name) in ["alice", "scanner", "alice"].into_iter().enumerate() {
        let mut client = Pop3::connect(bridge.address()).await;
        client.ok(&format!("USER {name}")).await;
        let refused = client.err(&format!("PASS {PASSWORD}")).await;
        assert!(refused.starts_with("-ERR [SYS/TEMP]"), "{refused}");
        assert_eq!(database.numbers(state).await, kept, "nothing is lost by it");
        assert_eq!(headers_fetched(&sim) > headers, round == 0, "headers are fetched once");
        headers = headers_fetched(&sim);
    }
    let error = bridge.wait_for_log(|entry| entry["level"] == "ERROR");
    let text = error.to_string();
    assert!(text.contains("200 of its 1000 messages") && text.contains("popbridge accept alice"), "{text}");

    let store = store(&folder).await;
    let row = store.renumbering(&name()).await.expect("read").expect("a row");
    assert_eq!((row.former_messages, row.messages, row.unmatched, row.accepted), (1_000, 1_000, 200, false));
    assert_eq!(row.validity.get(), sim.uid_validity("alice", "INBOX"));
    assert!(store.accept_renumbering(&name()).await.expect("written"));
    let after = ids_at(bridge.address(), "alice").await;
    // What was pending is dropped, and seen again.
    assert_eq!(count(&after), MESSAGES);
    let known: BTreeSet<&String> = before.values().flatten().collect();
    let new = after.values().flatten().filter(|id| !known.contains(id)).count();
    assert_eq!(new, MESSAGES / 5);
    let states: Vec<State> = store
        .deletions("home", "alice", Some("alice"))
        .await
        .expect("read")
        .into_iter()
        .map(|deletion| deletion.state)
        .collect();
    assert_eq!(states, [State::Dropped]);
    assert_eq!(store.renumbering(&name()).await.expect("read"), None);
    assert_eq!(count(&ids_at(bridge.address(), "scanner").await), MESSAGES - 1, "hidden is hidden");
    assert!(sim.messages("alice", "Trash").is_empty());
    store.close().await;
}

#[tokio::test]
async fn nothing_is_refused_where_that_is_switched_off() {
    let sim = few(20).await;
    let bridge = Local::start(&settings(&sim, "max_new_share = \"100%\"")).await;
    let before = unlearnt_session(&sim, &bridge).await;
    sim.renumber_shuffled("alice", "INBOX", 1);
    let after = ids(&bridge, "alice").await;
    assert_eq!(count(&after), 20);
    assert!(after.values().flatten().all(|id| !before.contains(id)));
}

#[tokio::test]
async fn a_first_session_that_could_not_learn_loses_nothing() {
    let sim = few(20).await;
    let bridge = Local::start(&settings(&sim, "")).await;
    let validity = sim.uid_validity("alice", "INBOX");
    let before = unlearnt_session(&sim, &bridge).await;
    sim.change_uid_validity("alice", "INBOX");
    let mut client = Pop3::connect(bridge.address()).await;
    for _ in 0..2 {
        client.ok("USER alice").await;
        let refused = client.err(&format!("PASS {PASSWORD}")).await;
        assert!(refused.starts_with("-ERR [SYS/TEMP]"), "{refused}");
    }
    // The server's keeper has found the old numbers.
    sim.set_uid_validity("alice", "INBOX", validity);
    let after = ids(&bridge, "alice").await;
    assert_eq!(count(&after), 19, "hidden is hidden");
    assert!(after.values().flatten().all(|id| before.contains(id)));
}

/// A session that hides one message and is kept from learning; the ids that it showed.
async fn unlearnt_session(sim: &Server, bridge: &Local) -> BTreeSet<String> {
    let mut client = login(bridge, "alice").await;
    let shown = client.uidl().await.into_iter().map(|(_, id)| id).collect();
    client.ok("DELE 2").await;
    // The first FETCH was the listing.
    sim.fault_times(Place::Fetch(2), Fault::No(None), usize::MAX);
    client.quit().await;
    bridge.settled(0).await;
    sim.clear_faults();
    assert_eq!(database(bridge.folder()).numbers("SELECT COUNT(*), 0, 0 FROM message_key").await[0], 0);
    shown
}

#[tokio::test]
async fn pending_deletions_are_dropped_and_the_trail_says_so() {
    let sim = few(20).await;
    for policy in ["trash", "archive", "expunge", "flag"] {
        sim.create("alice", "Archive", None);
        let lines = format!("on_delete = \"{policy}\"\ndelete_grace = \"1h\"");
        let bridge = Local::start(&settings(&sim, &lines)).await;
        let mut client = login(&bridge, "alice").await;
        client.ok("DELE 1").await;
        client.quit().await;
        wait_learnt(&bridge, 20).await;
        assert_eq!(count(&ids(&bridge, "alice").await), 19, "{policy}");
        bridge.settled(0).await;
        sim.renumber_shuffled("alice", "INBOX", 5);
        assert_eq!(count(&ids(&bridge, "alice").await), 20, "{policy}");
        let store = store(bridge.folder()).await;
        let trail = store.deletions("home", "alice", None).await.expect("read");
        assert_eq!(trail.iter().map(|deletion| deletion.state).collect::<Vec<_>>(), [State::Dropped]);
        store.close().await;
        bridge.stop().await;
        let stored = sim.messages("alice", "INBOX");
        assert_eq!(stored.len(), 20, "{policy}");
        assert!(stored.iter().all(|message| message.flags.is_empty()), "{policy}");
    }
}

#[tokio::test]
async fn a_twin_that_had_gone_does_not_lend_its_id() {
    let sim = few(4).await;
    let account = "login = \"scanner\"\nusername = \"alice\"";
    let twin = message(9, Kind::Plain);
    let uids = [0, 1].map(|_| sim.append("alice", "INBOX", &twin, &[]));
    let bridge = Local::start(&settings(&sim, "").with("[account]", account)).await;
    login(&bridge, "alice").await.quit().await;
    wait_learnt(&bridge, 6).await;
    sim.remove("alice", "INBOX", uids[0]);
    // This session sees that it has gone, and has not come to its end.
    let mut client = login(&bridge, "alice").await;
    let before = client.uidl().await;
    sim.renumber_shuffled("alice", "INBOX", 1);
    let after = ids(&bridge, "scanner").await;
    drop(client);
    assert!(
        before.iter().all(|(_, id)| after.values().flatten().any(|now| now == id)),
        "{before:?} {after:?}"
    );
}

#[tokio::test]
async fn two_logins_at_once_at_a_mailbox_made_anew() {
    let sim = few(30).await;
    let account = "login = \"scanner\"\nusername = \"alice\"";
    let bridge = Local::start(&settings(&sim, "").with("[account]", account)).await;
    let before = ids(&bridge, "alice").await;
    wait_learnt(&bridge, 30).await;
    sim.renumber_shuffled("alice", "INBOX", 4);
    // The first one's headers come late: the other one waits for its turn, and finds all done.
    let headers = headers_fetched(&sim);
    sim.fault(Place::Fetch(2), Fault::Delay(Duration::from_secs(3)));
    let address = bridge.address();
    let slow = tokio::spawn(async move {
        let mut client = Pop3::connect(address).await;
        client.login("alice").await;
        client
    });
    until("headers are asked for", || headers_fetched(&sim) > headers).await;
    sim.append("alice", "INBOX", &message(99, Kind::Plain), &[]);
    let mut quick = login(&bridge, "scanner").await;
    let ids_then = quick.uidl().await;
    quick.ok("DELE 31").await;
    quick.quit().await;
    let learnt =
        "SELECT COUNT(*), 0, 0 FROM message_key JOIN mailbox ON mailbox.id = mailbox AND current = 1";
    let mut database = database(bridge.folder());
    // The slow one's listing may be the last that was kept: then the next session learns what is new.
    while database.numbers(learnt).await[0] < 31 {
        login(&bridge, "scanner").await.quit().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut slow = slow.await.expect("the slow one logs in as well");
    assert_eq!(slow.uidl().await.len(), 30);
    slow.quit().await;
    bridge.settled(0).await;
    let mut quick = login(&bridge, "scanner").await;
    assert_eq!(quick.uidl().await, ids_then[..30], "hidden is hidden");
    quick.quit().await;
    let after = ids(&bridge, "alice").await;
    assert!(before.iter().all(|(what, ids)| after.get(what) == Some(ids)));
}

// The mail.

#[derive(Clone, Copy)]
enum Kind {
    Plain,
    NoMessageId,
    /// One Message-ID and one Date for all of them.
    SameIdentity,
}

fn message(number: usize, kind: Kind) -> Vec<u8> {
    let identity = match kind {
        Kind::Plain => format!("Message-ID: <{number}@example.org>\r\nDate: {number}\r\n"),
        Kind::NoMessageId => format!("Date: {}\r\n", number / 2),
        Kind::SameIdentity => "Message-ID: <same@example.org>\r\nDate: always\r\n".to_owned(),
    };
    let body = "a line\r\n".repeat(number % 7);
    format!("Received: by mx; {number}\r\n{identity}X-Token: {number}\r\n\r\n{body}").into_bytes()
}

/// What can be told apart by its token.
fn what(message: &[u8]) -> String {
    let was = mail::field(message, "X-Was").unwrap_or_default();
    format!("{was}{}", mail::field(message, "X-Token").expect("a token"))
}

async fn few(messages: usize) -> Server {
    let sim = Server::builder().user("alice", PASSWORD).start().await.expect("the simulator starts");
    for number in 0..messages {
        sim.append("alice", "INBOX", &message(number, Kind::Plain), &[]);
    }
    sim
}

/// Ten pairs of twins, twenty without a Message-ID, twenty with one for all, and others.
async fn full() -> Server {
    let sim = few(940).await;
    for number in 940..950 {
        for _ in 0..2 {
            sim.append("alice", "INBOX", &message(number, Kind::Plain), &[]);
        }
    }
    for number in 960..1_000 {
        let kind = if number < 980 { Kind::NoMessageId } else { Kind::SameIdentity };
        sim.append("alice", "INBOX", &message(number, kind), &[]);
    }
    sim
}

// The bridge.

fn settings(sim: &Server, maildrop: &str) -> Settings {
    Settings::new(format!("imap://{}", sim.address())).with("maildrop", maildrop)
}

async fn login(bridge: &Local, name: &str) -> Pop3 {
    let mut client = Pop3::connect(bridge.address()).await;
    client.login(name).await;
    client
}

async fn ids(bridge: &Local, name: &str) -> Ids {
    ids_at(bridge.address(), name).await
}

/// What a login is shown, by what it is.
async fn ids_at(address: std::net::SocketAddr, name: &str) -> Ids {
    let mut client = Pop3::connect(address).await;
    client.login(name).await;
    let listed = client.uidl().await;
    let different: BTreeSet<&String> = listed.iter().map(|(_, id)| id).collect();
    assert_eq!(different.len(), listed.len(), "unique ids are unique");
    let mut ids = Ids::new();
    for (number, id) in &listed {
        let header = client.top(*number, 0).await;
        ids.entry(what(&header)).or_default().insert(id.clone());
    }
    client.quit().await;
    ids
}

fn count(ids: &Ids) -> usize {
    ids.values().map(BTreeSet::len).sum()
}

fn headers_fetched(sim: &Server) -> usize {
    sim.commands()
        .iter()
        .filter(|command| command.contains("RFC822.SIZE") && command.contains("HEADER"))
        .count()
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < end, "{what}: not within a minute");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn wait_learnt(bridge: &Local, messages: usize) {
    bridge.settled(0).await;
    let known = database(bridge.folder()).numbers("SELECT COUNT(*), 0, 0 FROM message_key").await[0];
    assert_eq!(known, messages as i64);
}

fn name() -> MailboxName {
    MailboxName { upstream: "home".into(), username: "alice".into(), folder: "INBOX".into() }
}

async fn store(folder: &Path) -> Store {
    Store::open_existing(&Database::File(folder.join("popbridge.db"))).await.expect("it opens")
}

fn database(folder: &Path) -> Sql {
    Sql(folder.join("popbridge.db"))
}

/// The bridge's database as another program sees it.
struct Sql(PathBuf);

impl Sql {
    async fn open(&self) -> SqliteConnection {
        SqliteConnection::connect(&self.0.display().to_string()).await.expect("it opens")
    }

    async fn run(&mut self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&mut self.open().await).await.expect("a good statement");
    }

    async fn numbers(&mut self, sql: &'static str) -> [i64; 3] {
        let (a, b, c) = sqlx::query_as(sql).fetch_one(&mut self.open().await).await.expect("a good query");
        [a, b, c]
    }
}
