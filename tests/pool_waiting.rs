//! What happens to a connection while it waits for the next session, and what that session sees.

mod support;

use std::time::Duration;

use imapsim::{Aside, Fault, Place, Server};
use support::bridge::Settings;
use support::dovecot::PASSWORD;
use support::local::Local;
use support::polls::{answer, idling, poll, sent, timed, until};
use support::pop3::Pop3;
use tokio::time::{advance, pause, resume, sleep};

struct Stage {
    sim: Server,
    bridge: Local,
}

impl Stage {
    /// Three messages, listed once; the connection of that session waits.
    async fn new(extra: &str) -> Self {
        let sim = Server::builder().user("alice", PASSWORD).start().await.expect("the simulator starts");
        Self::over(sim, extra).await
    }

    async fn over(sim: Server, extra: &str) -> Self {
        for index in 0..3 {
            sim.append("alice", "INBOX", format!("Subject: {index}\r\n\r\n{index}\r\n").as_bytes(), &[]);
        }
        let settings = Settings::new(format!("imap://{}", sim.address())).with("upstream.home", extra);
        let bridge = Local::start(&settings).await;
        assert_eq!(poll(&bridge, "alice").await, 3);
        assert_eq!(sim.logins(), 1);
        Self { sim, bridge }
    }

    /// The same when IDLE has begun.
    async fn idle() -> Self {
        let stage = Self::new("").await;
        idling(&stage.sim, 1).await;
        stage
    }

    /// The next session sees so many messages, over a login more or the connection that waited.
    async fn next(&self, what: &str, messages: usize, logins: usize) {
        let before = self.sim.logins();
        assert_eq!(poll(&self.bridge, "alice").await, messages, "{what}");
        assert_eq!(self.sim.logins() - before, logins, "{what}");
        assert_eq!(self.sim.live_connections(), 1, "{what}");
    }
}

#[tokio::test]
async fn the_next_session_needs_one_flight() {
    let stage = Stage::new("").await;
    let before = stage.sim.commands().len();
    stage.next("at once", 3, 0).await;
    let sent = sent(&stage.sim, before);
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert!(sent[0].starts_with("SELECT \"INBOX\""), "{sent:?}");
    assert_eq!(stage.sim.connections(), 1);
}

#[tokio::test]
async fn it_goes_into_idle_and_is_taken_out_of_it() {
    let stage = Stage::new("").await;
    let before = stage.sim.commands().len();
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(sent(&stage.sim, before), [""; 0], "many programs come back at once");
    idling(&stage.sim, 1).await;
    stage.next("behind IDLE", 3, 0).await;
    let sent = sent(&stage.sim, before);
    assert_eq!(sent[..2], ["IDLE", "DONE"], "{sent:?}");
    assert!(sent.len() == 3 && sent[2].starts_with("SELECT \"INBOX\""), "{sent:?}");
    assert_eq!(stage.sim.connections(), 1);
}

#[tokio::test]
async fn a_server_without_idle_is_left_in_peace() {
    let sim = Server::builder().user("alice", PASSWORD).start().await.expect("the simulator starts");
    sim.set_capability("IDLE", false);
    let stage = Stage::over(sim, "").await;
    let before = stage.sim.commands().len();
    sleep(Duration::from_millis(2500)).await;
    assert_eq!(sent(&stage.sim, before), [""; 0]);
    stage.next("silent", 3, 0).await;
}

#[tokio::test]
async fn idle_that_is_refused_is_done_without() {
    for fault in [Fault::No(None), Fault::Bad] {
        let stage = Stage::new("").await;
        stage.sim.fault(Place::Idle, fault.clone());
        until("IDLE", || stage.sim.faults_left() == 0).await;
        stage.next(&format!("{fault:?}"), 3, 0).await;
    }
}

#[tokio::test]
async fn what_a_server_says_meanwhile_changes_nothing() {
    let stage = Stage::idle().await;
    for line in [
        "* OK Still here",
        "* OK [ALERT] \u{e9}",
        "* 3 EXISTS",
        "* 9 EXISTS\r\n* 9 EXPUNGE\r\n* 9 FETCH (FLAGS (\\Seen))",
        "* VANISHED 1:3",
        "* STATUS INBOX (MESSAGES 9)",
        "* X {3}\r\nabc",
        "+ idling",
        "",
        "nonsense",
    ] {
        stage.sim.while_idle(Aside::Line(line.to_owned()));
    }
    sleep(Duration::from_millis(50)).await;
    stage.next("talk", 3, 0).await;
    idling(&stage.sim, 1).await;
    stage.sim.while_idle(Aside::End);
    idling(&stage.sim, 0).await;
    stage.next("IDLE ended by the server", 3, 0).await;
}

#[tokio::test]
async fn the_next_session_sees_what_happened_meanwhile() {
    for mute in [false, true] {
        let stage = Stage::idle().await;
        stage.sim.adjust(|traits| traits.mute_idle = mute);
        let change = async |what: &str, messages: usize| {
            idling(&stage.sim, 1).await;
            sleep(Duration::from_millis(30)).await;
            stage.next(&format!("{what}, mute: {mute}"), messages, 0).await;
        };
        stage.sim.append("alice", "INBOX", b"Subject: new\r\n\r\nnew\r\n", &[]);
        change("one has come", 4).await;
        stage.sim.remove("alice", "INBOX", 2);
        change("one has gone", 3).await;
        stage.sim.remove("alice", "INBOX", 1);
        stage.sim.append("alice", "INBOX", b"Subject: other\r\n\r\nother\r\n", &[]);
        change("one has gone and one has come", 3).await;
        stage.sim.set_flags("alice", "INBOX", 3, &["\\Seen", "\\Flagged"]);
        change("flags", 3).await;
        for uid in 3..=5 {
            stage.sim.remove("alice", "INBOX", uid);
        }
        change("all have gone", 0).await;
    }
}

/// Flags and dates are asked for anew each time; several folders are selected in turn.
#[tokio::test]
async fn views_and_folders_are_those_of_now() {
    let sim = Server::builder().user("alice", PASSWORD).start().await.expect("the simulator starts");
    for folder in ["INBOX", "Archive"] {
        for index in 0..3 {
            let message = format!("Subject: {folder} {index}\r\n\r\n{index}\r\n");
            sim.append("alice", folder, message.as_bytes(), &[]);
        }
    }
    let settings = Settings::new(format!("imap://{}", sim.address()))
        .with("maildrop", "folders = [\"INBOX\", \"Archive\"]\nonly_unseen = true");
    let bridge = Local::start(&settings).await;
    assert_eq!(poll(&bridge, "alice").await, 6);
    for rest in [false, true] {
        if rest {
            idling(&sim, 1).await;
        }
        for folder in ["INBOX", "Archive"] {
            let uid = sim.append("alice", folder, b"Subject: new\r\n\r\n", &[]);
            assert_eq!(poll(&bridge, "alice").await, 7, "{folder}, IDLE: {rest}");
            sim.set_flags("alice", folder, uid, &["\\Seen"]);
            assert_eq!(poll(&bridge, "alice").await, 6, "{folder}, IDLE: {rest}");
        }
    }
    assert_eq!(sim.logins(), 1);
}

/// What a session left to be done is done over the connection that waited, or over a new one.
#[tokio::test]
async fn what_is_due_is_carried_out_over_it() {
    for killed in [false, true] {
        let sim = Server::builder().user("alice", PASSWORD).start().await.expect("the simulator starts");
        for index in 0..3 {
            sim.append("alice", "INBOX", format!("Subject: {index}\r\n\r\n").as_bytes(), &[]);
        }
        let settings = Settings::new(format!("imap://{}", sim.address()))
            .with("maildrop", "on_delete = \"expunge\"\ndelete_grace = \"1s\"");
        let bridge = Local::start(&settings).await;
        let mut client = Pop3::connect(bridge.address()).await;
        client.login("alice").await;
        client.ok("DELE 2").await;
        client.quit().await;
        bridge.settled(0).await;
        sleep(Duration::from_millis(1100)).await;
        if killed {
            sim.kill_connections();
        }
        assert_eq!(poll(&bridge, "alice").await, 2);
        let left: Vec<u32> = sim.messages("alice", "INBOX").iter().map(|message| message.uid).collect();
        assert_eq!(left, [1, 3], "killed: {killed}");
        assert_eq!(sim.logins(), if killed { 2 } else { 1 });
    }
}

#[tokio::test]
async fn a_mailbox_made_anew_meanwhile_is_noticed() {
    let stage = Stage::idle().await;
    stage.sim.change_uid_validity("alice", "INBOX");
    stage.next("a new UIDVALIDITY", 3, 1).await;
}

#[tokio::test]
async fn a_lost_connection_costs_a_login_and_nothing_else() {
    let lines = ["* BYE Bye", "A1 OK what?", "P99 OK what?", "P1 OK what?", "* X {99999999999999999999}"];
    let asides = lines.map(|line| Aside::Line(line.to_owned()));
    for aside in [Aside::Bye, Aside::Cut].into_iter().chain(asides) {
        let stage = Stage::idle().await;
        stage.sim.while_idle(aside.clone());
        idling(&stage.sim, 0).await;
        until("the end", || stage.sim.live_connections() == 0).await;
        stage.next(&format!("{aside:?}"), 3, 1).await;
        stage.next(&format!("{aside:?}, then"), 3, 0).await;
    }
    for silent in [false, true] {
        let stage = if silent { Stage::new("").await } else { Stage::idle().await };
        stage.sim.kill_connections();
        // At once: the keeper may not know yet.
        stage.next("killed", 3, 1).await;
        stage.next("killed, then", 3, 0).await;
    }
}

/// QRESYNC is given up for an hour where it breaks connections; a connection that was dead already
/// proves nothing against it.
#[tokio::test]
async fn a_dead_connection_is_not_held_against_qresync() {
    let sim = Server::builder().user("alice", PASSWORD).start().await.expect("the simulator starts");
    sim.set_capability("QRESYNC", true);
    let stage = Stage::over(sim, "").await;
    assert!(stage.sim.commands().iter().any(|command| command.contains("ENABLE QRESYNC")));
    for fault in [Fault::Eof, Fault::Bye, Fault::Raw(b"* X\r\nzzz OK\r\n".to_vec())] {
        stage.sim.fault(Place::Select, fault);
        let before = stage.sim.commands().len();
        stage.next("a dead connection", 3, 1).await;
        let sent = sent(&stage.sim, before);
        assert!(sent.iter().any(|command| command == "ENABLE QRESYNC"), "{sent:?}");
        assert!(sent.iter().any(|command| command.contains("(QRESYNC (")), "{sent:?}");
    }
}

#[tokio::test]
async fn a_connection_that_is_dead_without_a_sign_is_replaced_within_seconds() {
    let dead = async |stage: &Stage, what: &str| {
        let before = stage.sim.logins();
        let (answer, took) = timed(&stage.bridge, "alice").await;
        assert!(answer.starts_with("+OK 3 messages"), "{what}: {answer}");
        assert_eq!(stage.sim.logins(), before + 1, "{what}");
        assert!(took < Duration::from_secs(15), "{what}: {took:?} of a timeout of a minute");
    };
    let silent = async {
        let stage = Stage::new("").await;
        stage.sim.fault(Place::Select, Fault::Stall);
        dead(&stage, "SELECT").await;
    };
    let done = async {
        let stage = Stage::idle().await;
        stage.sim.fault(Place::Done, Fault::Stall);
        dead(&stage, "DONE").await;
    };
    let behind = async {
        let stage = Stage::idle().await;
        stage.sim.fault(Place::Select, Fault::Stall);
        dead(&stage, "SELECT behind DONE").await;
    };
    let halfway = async {
        let stage = Stage::idle().await;
        stage.sim.fault(Place::Done, Fault::RawThenStall(b"* 4 EXI".to_vec()));
        dead(&stage, "half a line behind DONE").await;
    };
    let idle = async {
        let stage = Stage::new("").await;
        stage.sim.fault(Place::Idle, Fault::Stall);
        until("IDLE", || stage.sim.faults_left() == 0).await;
        dead(&stage, "IDLE").await;
    };
    let chatty = async {
        let stage = Stage::new("").await;
        stage.sim.fault(Place::Idle, Fault::RawThenStall(b"* OK a moment\r\n".to_vec()));
        until("IDLE", || stage.sim.faults_left() == 0).await;
        dead(&stage, "IDLE with a word before the silence").await;
    };
    tokio::join!(silent, done, behind, halfway, idle, chatty);
}

#[tokio::test]
async fn a_select_that_is_refused_is_tried_over_a_new_connection() {
    for fault in [Fault::No(Some("UNAVAILABLE")), Fault::No(None), Fault::Bad] {
        let stage = Stage::new("").await;
        stage.sim.fault(Place::Select, fault.clone());
        stage.next(&format!("{fault:?}"), 3, 1).await;
    }
    for fault in [Fault::No(None), Fault::Bad, Fault::Eof, Fault::Bye, Fault::Raw(b"* 1 EX".to_vec())] {
        let stage = Stage::idle().await;
        let whole = matches!(fault, Fault::No(_) | Fault::Bad);
        stage.sim.fault(Place::Done, fault.clone());
        stage.next(&format!("DONE, {fault:?}"), 3, usize::from(!whole)).await;
    }
}

#[tokio::test]
async fn an_outage_meanwhile_is_temporary() {
    let stage = Stage::idle().await;
    stage.sim.refuse(true);
    stage.sim.kill_connections();
    let refused = answer(&stage.bridge, "alice", PASSWORD).await;
    assert!(refused.starts_with("-ERR [SYS/TEMP]"), "{refused}");
    stage.sim.refuse(false);
    stage.next("behind it", 3, 1).await;
}

#[tokio::test]
async fn it_waits_no_longer_than_it_may() {
    let stage = Stage::new("keep_alive = \"1s\"").await;
    let before = stage.sim.commands().len();
    until("the goodbye", || stage.sim.live_connections() == 0).await;
    assert_eq!(sent(&stage.sim, before), ["LOGOUT"]);
    stage.next("behind it", 3, 1).await;
    let stage = Stage::new("keep_alive = \"4s\"").await;
    let before = stage.sim.commands().len();
    until("the goodbye", || stage.sim.live_connections() == 0).await;
    assert_eq!(sent(&stage.sim, before), ["IDLE", "DONE", "LOGOUT"]);
}

#[tokio::test]
async fn without_keep_alive_none_waits() {
    for keep_alive in ["0s", "1ns"] {
        let sim = Server::builder().user("alice", PASSWORD).start().await.expect("the simulator starts");
        let settings = Settings::new(format!("imap://{}", sim.address()));
        let keep_alive = format!("keep_alive = \"{keep_alive}\"");
        let bridge = Local::start(&settings.with("upstream.home", &keep_alive)).await;
        for logins in 1..=3 {
            assert_eq!(poll(&bridge, "alice").await, 0);
            assert_eq!(sim.logins(), logins);
            until("the goodbye", || sim.live_connections() == 0).await;
            assert!(sim.commands().last().is_some_and(|command| command.ends_with("LOGOUT")));
        }
    }
}

#[tokio::test]
async fn a_very_long_keep_alive_is_an_hour() {
    let stage = Stage::new("keep_alive = \"500000000000years\"").await;
    stage.next("behind it", 3, 0).await;
}

/// Lets so much time pass.
async fn later(minutes: u64) {
    pause();
    advance(Duration::from_secs(60 * minutes)).await;
    resume();
}

/// However often it is used: a password that has been changed must not be good for ever.
#[tokio::test]
async fn an_hour_behind_its_login_it_goes() {
    let stage = Stage::new("keep_alive = \"1d\"").await;
    for _ in 0..5 {
        later(11).await;
        idling(&stage.sim, 1).await;
        stage.next("within the hour", 3, 0).await;
    }
    let before = stage.sim.commands().len();
    later(6).await;
    until("the goodbye", || stage.sim.live_connections() == 0).await;
    let sent = sent(&stage.sim, before);
    assert_eq!(sent.last().map(String::as_str), Some("LOGOUT"), "{sent:?}");
    stage.next("behind the hour", 3, 1).await;
}

#[tokio::test]
async fn a_session_longer_than_an_hour_keeps_nothing() {
    let sim = Server::builder().user("alice", PASSWORD).start().await.expect("the simulator starts");
    let settings = Settings::new(format!("imap://{}", sim.address()))
        .with("upstream.home", "keep_alive = \"1d\"")
        .with("limits", "idle_timeout = \"1d\"");
    let bridge = Local::start(&settings).await;
    let mut client = Pop3::connect(bridge.address()).await;
    client.login("alice").await;
    later(61).await;
    assert_eq!(client.list().await.len(), 0);
    client.quit().await;
    bridge.settled(0).await;
    until("the goodbye", || sim.live_connections() == 0).await;
    assert_eq!(poll(&bridge, "alice").await, 0);
    assert_eq!(sim.logins(), 2);
}

/// Many networks forget a silent connection, and servers log it out.
#[tokio::test]
async fn it_gives_signs_of_life() {
    for (idle, expected) in
        [(true, &["IDLE", "DONE", "IDLE", "DONE", "IDLE"][..]), (false, &["NOOP", "NOOP"])]
    {
        let sim = Server::builder().user("alice", PASSWORD).start().await.expect("the simulator starts");
        sim.set_capability("IDLE", idle);
        let stage = Stage::over(sim, "keep_alive = \"1h\"").await;
        let before = stage.sim.commands().len();
        if idle {
            idling(&stage.sim, 1).await;
        }
        for sign in 1..=2 {
            later(9).await;
            let so_far = expected.len() - if idle { 2 * (2 - sign) } else { 2 - sign };
            until("a sign of life", || stage.sim.commands().len() == before + so_far).await;
        }
        assert_eq!(sent(&stage.sim, before), expected);
        stage.next("behind them", 3, 0).await;
    }
}
