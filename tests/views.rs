//! What a login sees of an account: which messages of which folders, under which ids.

mod support;

use std::time::{SystemTime, UNIX_EPOCH};

use imapsim::{Persona, Server};
use support::bridge::Settings;
use support::dovecot::PASSWORD;
use support::local::Local;
use support::pop3::Pop3;

async fn sim(persona: Persona, messages: usize) -> Server {
    let sim = Server::builder().persona(persona).user("alice", PASSWORD).start().await;
    let sim = sim.expect("the simulator starts");
    for index in 1..=messages {
        sim.append("alice", "INBOX", format!("Subject: {index}\r\n\r\n{index}\r\n").as_bytes(), &[]);
    }
    sim
}

fn settings(sim: &Server, maildrop: &str) -> Settings {
    Settings::new(format!("imap://{}", sim.address())).with("maildrop", maildrop)
}

async fn login(bridge: &Local, login: &str) -> Pop3 {
    let mut client = Pop3::connect(bridge.address()).await;
    client.login(login).await;
    client
}

/// The subjects, in a session of their own.
async fn shown(bridge: &Local, name: &str) -> Vec<String> {
    let mut client = login(bridge, name).await;
    let mut subjects = Vec::new();
    for (number, _) in client.list().await {
        let header = String::from_utf8(client.top(number, 0).await).expect("ASCII");
        subjects.push(header.trim_start_matches("Subject: ").trim_end().to_owned());
    }
    client.quit().await;
    subjects
}

async fn ids(bridge: &Local) -> Vec<String> {
    let mut client = login(bridge, "alice").await;
    let ids = client.uidl().await.into_iter().map(|(_, id)| id).collect();
    client.quit().await;
    ids
}

#[tokio::test]
async fn only_unseen_shows_what_nobody_has_read() {
    let sim = sim(Persona::Dovecot, 3).await;
    sim.set_flags("alice", "INBOX", 2, &["\\Seen"]);
    let bridge = Local::start(&settings(&sim, "only_unseen = true")).await;
    assert_eq!(shown(&bridge, "alice").await, ["1", "3"]);
    let mut client = login(&bridge, "alice").await;
    client.retr(1).await;
    client.quit().await;
    assert_eq!(shown(&bridge, "alice").await, ["3"]);
    sim.set_flags("alice", "INBOX", 2, &[]);
    assert_eq!(shown(&bridge, "alice").await, ["2", "3"]);
}

#[tokio::test]
async fn newest_lets_nothing_older_come_back_until_it_is_raised() {
    let sim = sim(Persona::Dovecot, 4).await;
    let bridge = Local::start(&settings(&sim, "newest = 2")).await;
    assert_eq!(shown(&bridge, "alice").await, ["3", "4"]);
    sim.remove("alice", "INBOX", 4);
    assert_eq!(shown(&bridge, "alice").await, ["3"]);
    sim.append("alice", "INBOX", b"Subject: 5\r\n\r\n", &[]);
    sim.append("alice", "INBOX", b"Subject: 6\r\n\r\n", &[]);
    assert_eq!(shown(&bridge, "alice").await, ["5", "6"]);
    let folder = bridge.stop().await;
    let bridge = Local::start_in(&settings(&sim, "newest = 4"), folder).await;
    assert_eq!(shown(&bridge, "alice").await, ["2", "3", "5", "6"]);
}

#[tokio::test]
async fn newest_lets_nothing_older_come_back_behind_a_new_uidvalidity() {
    let sim = sim(Persona::Dovecot, 4).await;
    let bridge = Local::start(&settings(&sim, "newest = 2")).await;
    assert_eq!(shown(&bridge, "alice").await, ["3", "4"]);
    bridge.settled(0).await;
    sim.change_uid_validity("alice", "INBOX");
    assert_eq!(shown(&bridge, "alice").await, ["3", "4"]);
    bridge.settled(0).await;
    sim.remove("alice", "INBOX", 4);
    sim.change_uid_validity("alice", "INBOX");
    assert_eq!(shown(&bridge, "alice").await, ["3"]);
}

#[tokio::test]
async fn max_age_shows_what_arrived_lately() {
    let sim = sim(Persona::Dovecot, 1).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("behind 1970").as_secs() as i64;
    let day = 24 * 60 * 60;
    sim.append_at("alice", "INBOX", b"Subject: old\r\n\r\n", &[], now - 31 * day);
    sim.append_at("alice", "INBOX", b"Subject: young\r\n\r\n", &[], now - 29 * day);
    let bridge = Local::start(&settings(&sim, "max_age = \"30d\"")).await;
    assert_eq!(shown(&bridge, "alice").await, ["1", "young"]);
}

#[tokio::test]
async fn folders_are_one_maildrop_in_their_order_with_ids_of_their_own() {
    for scheme in ["popbridge", "dovecot", "cyrus", "courier", "uw"] {
        let sim = sim(Persona::Dovecot, 2).await;
        for index in 1..=2 {
            let message = format!("Subject: work {index}\r\n\r\n");
            sim.append("alice", "Work", message.as_bytes(), &[]);
        }
        let validity = sim.uid_validity("alice", "INBOX");
        sim.set_uid_validity("alice", "Work", validity);
        let lines =
            format!("folders = [\"Work\", \"INBOX\"]\nunique_id = \"{scheme}\"\non_delete = \"trash\"");
        let bridge = Local::start(&settings(&sim, &lines)).await;
        assert_eq!(shown(&bridge, "alice").await, ["work 1", "work 2", "1", "2"]);
        let before = ids(&bridge).await;
        let mut distinct = before.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), 4, "{scheme}: {before:?}");
        let mut client = login(&bridge, "alice").await;
        client.ok("DELE 2").await;
        client.ok("DELE 3").await;
        client.quit().await;
        assert_eq!(shown(&bridge, "alice").await, ["work 1", "2"]);
        assert_eq!(ids(&bridge).await, [before[0].clone(), before[3].clone()], "{scheme}");
        assert_eq!(sim.messages("alice", "Trash").len(), 2);
    }
}

#[tokio::test]
async fn a_login_picks_one_folder() {
    let sim = sim(Persona::Dovecot, 1).await;
    sim.append("alice", "Work", b"Subject: work\r\n\r\n", &[]);
    let settings = settings(&sim, "").with("upstream.home", "username = \"{local}\"");
    let bridge = Local::start(&settings).await;
    assert_eq!(shown(&bridge, "alice@example.org").await, ["1"]);
    assert_eq!(shown(&bridge, "alice@example.org+Work").await, ["work"]);
    // Each is a maildrop of its own: hidden in the one is not hidden in the other.
    let mut client = login(&bridge, "alice@example.org+Work").await;
    client.ok("DELE 1").await;
    client.quit().await;
    assert_eq!(shown(&bridge, "alice@example.org+Work").await, [""; 0]);
    assert_eq!(shown(&bridge, "alice@example.org").await, ["1"]);
    let mut client = Pop3::connect(bridge.address()).await;
    client.ok("USER alice@example.org+Nowhere").await;
    let refused = client.err(&format!("PASS {PASSWORD}")).await;
    assert!(refused.starts_with("-ERR [SYS/PERM]") && refused.contains("Nowhere"), "{refused}");
}

#[tokio::test]
async fn what_one_login_hides_the_other_still_sees() {
    let sim = sim(Persona::Dovecot, 3).await;
    let account = "login = \"scanner\"\nupstream = \"home\"\nusername = \"alice\"\n\
                   maildrop = { on_delete = \"hide\", newest = 2 }";
    let bridge = Local::start(&settings(&sim, "on_delete = \"hide\"").with("[account]", account)).await;
    let mut both = login(&bridge, "alice").await;
    let mut client = login(&bridge, "scanner").await;
    client.ok("DELE 1").await;
    client.quit().await;
    assert_eq!(both.list().await.len(), 3);
    both.ok("DELE 1").await;
    both.quit().await;
    assert_eq!(shown(&bridge, "scanner").await, ["3"]);
    assert_eq!(shown(&bridge, "alice").await, ["2", "3"]);
    assert_eq!(sim.messages("alice", "INBOX").len(), 3);
}

#[tokio::test]
async fn the_servers_own_ids_outlive_uidvalidity_and_the_state() {
    for (persona, scheme) in [(Persona::Gmail, "gmail"), (Persona::Dovecot, "emailid")] {
        let sim = sim(persona, 4).await;
        if scheme == "emailid" {
            sim.set_capability("OBJECTID", true);
        }
        let lines = format!("unique_id = \"{scheme}\"");
        let bridge = Local::start(&settings(&sim, &lines)).await;
        let before = ids(&bridge).await;
        bridge.settled(0).await;
        sim.change_uid_validity("alice", "INBOX");
        assert_eq!(ids(&bridge).await, before, "{scheme}: behind a new UIDVALIDITY");
        let folder = bridge.stop().await;
        let bridge = Local::start(&settings(&sim, &lines)).await;
        assert_eq!(ids(&bridge).await, before, "{scheme}: without the state");
        bridge.settled(0).await;
        drop(folder);
        sim.renumber_shuffled("alice", "INBOX", 7);
        let mut after = ids(&bridge).await;
        after.sort();
        let mut sorted = before.clone();
        sorted.sort();
        assert_eq!(after, sorted, "{scheme}: in another order");
    }
}
