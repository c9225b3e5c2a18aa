//! Connections that are kept: whose they are, how many, and how they end.

mod support;

use std::time::Duration;

use imapsim::{Fault, Persona, Place, Server, Tls, WhenFull};
use support::bridge::{Bridge, Settings};
use support::dovecot::PASSWORD;
use support::local::Local;
use support::mail::{big, crlf};
use support::polls::{answer, idling, poll, sent, until};
use support::pop3::Pop3;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// A server where everybody has the same password.
async fn sim(persona: Persona) -> Server {
    let sim = Server::builder().persona(persona).user("alice", PASSWORD).any_user(PASSWORD).start().await;
    sim.expect("the simulator starts")
}

fn settings(sim: &Server) -> Settings {
    Settings::new(format!("imap://{}", sim.address()))
}

/// A server for alice alone, so that her password can be changed, and the connection of a session
/// that waits.
async fn alice(extra: &str) -> (Server, Local) {
    let sim = Server::builder().user("alice", PASSWORD).start().await.expect("the simulator starts");
    let bridge = Local::start(&settings(&sim).with("upstream.home", extra)).await;
    assert_eq!(poll(&bridge, "alice").await, 0);
    (sim, bridge)
}

#[tokio::test]
async fn a_wrong_password_is_told_so_and_disturbs_nobody() {
    let (sim, bridge) = alice("").await;
    for wrong in ["wrong", "secre", "secrett", "Secret"] {
        let refused = answer(&bridge, "alice", wrong).await;
        assert!(refused.starts_with("-ERR [AUTH]"), "{wrong}: {refused}");
    }
    assert_eq!((sim.logins(), sim.connections()), (1, 5), "each was asked of the server");
    assert_eq!(poll(&bridge, "alice").await, 0);
    assert_eq!((sim.logins(), sim.connections()), (1, 5), "the right one has its connection");
}

#[tokio::test]
async fn a_changed_password_ends_what_the_old_one_has() {
    let (sim, bridge) = alice("").await;
    idling(&sim, 1).await;
    sim.set_password("alice", "new");
    let before = sim.commands().len();
    let taken = answer(&bridge, "alice", "new").await;
    assert!(taken.starts_with("+OK"), "{taken}");
    until("the goodbye", || sim.live_connections() == 1).await;
    assert!(sent(&sim, before).iter().any(|command| command == "LOGOUT"));
    let refused = answer(&bridge, "alice", PASSWORD).await;
    assert!(refused.starts_with("-ERR [AUTH]"), "{refused}");
    let logins = sim.logins();
    assert!(answer(&bridge, "alice", "new").await.starts_with("+OK"));
    assert_eq!(sim.logins(), logins);
}

/// Two sessions with the old password: one waits, one goes on.
#[tokio::test]
async fn a_changed_password_is_not_kept_by_a_session_that_goes_on() {
    let sim = Server::builder().user("alice", PASSWORD).start().await.expect("the simulator starts");
    let settings = settings(&sim)
        .with("maildrop", "lock = \"shared\"")
        .with("upstream.home", "connections_per_account = 4");
    let bridge = Local::start(&settings).await;
    let mut first = Pop3::connect(bridge.address()).await;
    first.login("alice").await;
    sim.set_password("alice", "new");
    let mut second = Pop3::connect(bridge.address()).await;
    second.ok("USER alice").await;
    second.ok("PASS new").await;
    assert_eq!(first.list().await.len(), 0, "the session itself goes on");
    first.quit().await;
    second.quit().await;
    bridge.settled(0).await;
    until("the goodbye", || sim.live_connections() == 1).await;
    let refused = answer(&bridge, "alice", PASSWORD).await;
    assert!(refused.starts_with("-ERR [AUTH]"), "{refused}");
}

/// A second session with a password that is no longer right: the first one's connection, which was
/// logged in with it, is not kept.
#[tokio::test]
async fn a_refused_password_ends_what_it_has() {
    let sim = Server::builder().user("alice", PASSWORD).start().await.expect("the simulator starts");
    let shared = settings(&sim).with("maildrop", "lock = \"shared\"");
    let bridge = Local::start(&shared.with("upstream.home", "connections_per_account = 3")).await;
    let mut two = Vec::new();
    for _ in 0..2 {
        let mut client = Pop3::connect(bridge.address()).await;
        client.login("alice").await;
        two.push(client);
    }
    two.remove(0).quit().await;
    bridge.settled(1).await;
    sim.set_password("alice", "new");
    // The waiting connection dies, and with it what stands for the server's word.
    sim.fault(Place::Select, Fault::Eof);
    let refused = answer_while(&bridge, PASSWORD).await;
    assert!(refused.starts_with("-ERR [AUTH]"), "{refused}");
    two.remove(0).quit().await;
    bridge.settled(0).await;
    until("the goodbye", || sim.live_connections() == 0).await;
    let refused = answer(&bridge, "alice", PASSWORD).await;
    assert!(refused.starts_with("-ERR [AUTH]"), "{refused}");
}

/// The answer to alice's login beside another session of hers.
async fn answer_while(bridge: &Local, password: &str) -> String {
    let mut client = Pop3::connect(bridge.address()).await;
    client.ok("USER alice").await;
    let answer = client.command(&format!("PASS {password}")).await;
    client.quit().await;
    answer
}

#[tokio::test]
async fn sessions_never_share_a_connection() {
    let sim = sim(Persona::Dovecot).await;
    for index in 0..20 {
        sim.append("alice", "INBOX", format!("Subject: {index}\r\n\r\n{index}\r\n").as_bytes(), &[]);
    }
    let bridge = Local::start(&settings(&sim).with("maildrop", "lock = \"shared\"")).await;
    for _ in 0..3 {
        let mut two = Vec::new();
        for _ in 0..2 {
            let mut client = Pop3::connect(bridge.address()).await;
            client.login("alice").await;
            two.push(client);
        }
        for number in 1..=20 {
            for client in &mut two {
                let expected = format!("Subject: {0}\r\n\r\n{0}\r\n", number - 1);
                assert_eq!(String::from_utf8_lossy(&client.retr(number).await), expected);
            }
        }
        for client in two {
            client.quit().await;
        }
        bridge.settled(0).await;
    }
    assert_eq!((sim.logins(), sim.live_connections()), (2, 2));
}

/// Two logins of one account with one connection between them.
#[tokio::test]
async fn an_account_with_one_connection_takes_turns() {
    let sim = sim(Persona::Dovecot).await;
    let lines = |timeout: &str| format!("connections_per_account = 1\ntimeout = \"{timeout}\"");
    let start = async |timeout: &str| {
        let alias = "login = \"device\"\nupstream = \"home\"\nusername = \"alice\"";
        let settings = settings(&sim).with("upstream.home", &lines(timeout)).with("[account]", alias);
        Local::start(&settings).await
    };
    let bridge = start("10s").await;
    let mut first = Pop3::connect(bridge.address()).await;
    first.login("alice").await;
    let mut second = Pop3::connect(bridge.address()).await;
    second.ok("USER device").await;
    second.send(format!("PASS {PASSWORD}\r\n").as_bytes()).await;
    assert!(timeout(Duration::from_millis(300), second.line()).await.is_err(), "it waits for its turn");
    first.quit().await;
    let answer = second.line().await.expect("an answer");
    assert!(answer.starts_with("+OK"), "{answer}");
    second.quit().await;
    bridge.settled(0).await;
    assert_eq!((sim.logins(), sim.connections()), (1, 1), "one connection for both");
    bridge.stop().await;

    let bridge = start("400ms").await;
    let mut first = Pop3::connect(bridge.address()).await;
    first.login("alice").await;
    let mut second = Pop3::connect(bridge.address()).await;
    second.ok("USER device").await;
    let started = Instant::now();
    let refused = second.err(&format!("PASS {PASSWORD}")).await;
    assert!(refused.starts_with("-ERR [SYS/TEMP] Too many connections"), "{refused}");
    assert!(started.elapsed() >= Duration::from_millis(400));
    assert_eq!(first.list().await.len(), 0);
    first.quit().await;
    second.login("device").await;
    second.quit().await;
    bridge.settled(0).await;
}

#[tokio::test]
async fn a_silent_session_gives_way_with_one_connection_as_well() {
    let sim = sim(Persona::Dovecot).await;
    let settings = settings(&sim)
        .with("upstream.home", "connections_per_account = 1")
        .with("limits", "preempt_after = \"200ms\"");
    let bridge = Local::start(&settings).await;
    for _ in 0..3 {
        let mut silent = Pop3::connect(bridge.address()).await;
        silent.login("alice").await;
        sleep(Duration::from_millis(300)).await;
        let mut second = Pop3::connect(bridge.address()).await;
        let started = Instant::now();
        second.login("alice").await;
        assert!(started.elapsed() < Duration::from_secs(5));
        assert!(silent.rest().await.is_empty(), "it is closed without a word");
        second.quit().await;
    }
}

/// One connection, and somebody who tries passwords: the right one gets its turn.
#[tokio::test]
async fn one_connection_serves_the_right_password_behind_a_wrong_one() {
    let (sim, bridge) = alice("connections_per_account = 1").await;
    let refused = answer(&bridge, "alice", "wrong").await;
    assert!(refused.starts_with("-ERR [AUTH]"), "{refused}");
    assert_eq!(poll(&bridge, "alice").await, 0);
    assert_eq!(sim.logins(), 1, "who has no password does not take the connection");
}

#[tokio::test]
async fn strangers_keep_nobody_out() {
    let (sim, bridge) = alice("connections_per_account = 1").await;
    // A server takes its time to refuse.
    sim.fault_times(Place::Login, Fault::Delay(Duration::from_secs(2)), 8);
    let strangers: Vec<_> = (1..=8)
        .map(|number| {
            let address = bridge.address();
            tokio::spawn(async move {
                let mut client = Pop3::connect_from([127, 0, 1, number].into(), address).await;
                client.ok("USER alice").await;
                client.err(&format!("PASS wrong{number}")).await
            })
        })
        .collect();
    until("their questions", || sim.faults_left() <= 6).await;
    let started = Instant::now();
    for _ in 0..5 {
        assert_eq!(poll(&bridge, "alice").await, 0);
    }
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(sim.logins(), 1);
    for stranger in strangers {
        let refused = stranger.await.expect("no panic");
        assert!(refused.starts_with("-ERR [AUTH]"), "{refused}");
    }
}

/// With its password changed meanwhile, so that no living connection proves the new one.
#[tokio::test]
async fn a_silent_session_gives_its_only_connection() {
    let sim = sim(Persona::Dovecot).await;
    let settings = settings(&sim)
        .with("upstream.home", "connections_per_account = 1")
        .with("limits", "preempt_after = \"200ms\"");
    let bridge = Local::start(&settings).await;
    let mut silent = Pop3::connect(bridge.address()).await;
    silent.login("alice").await;
    sim.set_password("alice", "changed");
    tokio::time::sleep(Duration::from_millis(400)).await;
    let answer = answer(&bridge, "alice", "changed").await;
    assert!(answer.starts_with("+OK"), "{answer}");
    assert_eq!(silent.rest().await, b"");
}

#[tokio::test]
async fn learning_gives_way() {
    let sim = sim(Persona::Dovecot).await;
    sim.append("alice", "INBOX", b"Subject: one\r\n\r\none\r\n", &[]);
    let settings = settings(&sim).with("upstream.home", "connections_per_account = 1");
    let bridge = Local::start(&settings).await;
    // The second FETCH asks for what messages are recognised by.
    sim.fault(Place::Fetch(2), Fault::Delay(Duration::from_secs(10)));
    let mut client = Pop3::connect(bridge.address()).await;
    client.login("alice").await;
    client.quit().await;
    until("learning", || sim.faults_left() == 0).await;
    let started = Instant::now();
    poll(&bridge, "alice").await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn those_that_wait_stay_when_too_many_would() {
    let sim = sim(Persona::Dovecot).await;
    let bridge = Local::start(&settings(&sim).with("limits", "kept_connections = 2")).await;
    let logins = async |user: &str| {
        let before = sim.logins();
        poll(&bridge, user).await;
        sim.logins() - before
    };
    for user in ["alice", "bob", "carol"] {
        assert_eq!(logins(user).await, 1);
    }
    until("the goodbye", || sim.live_connections() == 2).await;
    assert_eq!(sim.commands().iter().filter(|command| command.ends_with("LOGOUT")).count(), 1);
    // Of three that look for mail in turns, two find their connections.
    for _ in 0..3 {
        for (user, expected) in [("alice", 0), ("bob", 0), ("carol", 1)] {
            assert_eq!(logins(user).await, expected, "{user}");
            until("the goodbye", || sim.live_connections() == 2).await;
        }
    }
}

#[tokio::test]
async fn none_waits_where_none_may() {
    let sim = sim(Persona::Dovecot).await;
    let bridge = Local::start(&settings(&sim).with("limits", "kept_connections = 0")).await;
    for logins in 1..=3 {
        poll(&bridge, "alice").await;
        assert_eq!(sim.logins(), logins);
        until("the goodbye", || sim.live_connections() == 0).await;
        assert!(sim.commands().last().is_some_and(|command| command.ends_with("LOGOUT")));
    }
}

#[tokio::test]
async fn what_servers_are_known_to_bear_is_kept_to() {
    for (persona, most) in [(Persona::Gmail, 15), (Persona::Microsoft365, 20)] {
        let sim = sim(persona).await;
        let settings = settings(&sim)
            .with("maildrop", "lock = \"shared\"\non_delete = \"hide\"")
            .with("limits", "sessions_per_address = 64")
            .with("upstream.home", "connections_per_account = 50\ntimeout = \"1s\"");
        let bridge = Local::start(&settings).await;
        let mut clients = Vec::new();
        for _ in 0..most {
            let mut client = Pop3::connect(bridge.address()).await;
            client.login("alice").await;
            clients.push(client);
        }
        let refused = answer_while(&bridge, PASSWORD).await;
        assert!(refused.starts_with("-ERR [SYS/TEMP]"), "{persona:?}: {refused}");
        assert_eq!(sim.live_connections(), most, "{persona:?}");
        for client in clients {
            client.quit().await;
        }
        bridge.settled(0).await;
    }
    let sim = sim(Persona::Courier).await;
    let bridge = Local::start(&settings(&sim)).await;
    for user in 0..12 {
        poll(&bridge, &format!("user{user}")).await;
    }
    until("the goodbyes", || sim.live_connections() == 8).await;
    let logins = sim.logins();
    for user in 0..8 {
        poll(&bridge, &format!("user{user}")).await;
    }
    assert_eq!(sim.logins(), logins, "the eight that came first still wait");
}

#[tokio::test]
async fn those_that_wait_make_room_at_a_full_server() {
    for (when_full, tls) in [
        (WhenFull::Bye, Tls::None),
        (WhenFull::Close, Tls::None),
        (WhenFull::Close, Tls::Implicit),
        (WhenFull::Refuse("[LIMIT] Maximum number of connections from user+IP exceeded"), Tls::None),
        (WhenFull::Refuse("[ALERT] Too many simultaneous connections. (Failure)"), Tls::None),
    ] {
        let sim = Server::builder().any_user(PASSWORD).tls(tls).start().await.expect("it starts");
        let folder = tempfile::tempdir().expect("a folder");
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, sim.ca_pem()).expect("written");
        let settings = match tls {
            Tls::Implicit => Settings::new(format!("imaps://localhost:{}", sim.address().port()))
                .with("upstream.home", &format!("ca_certificate = {ca:?}")),
            _ => settings(&sim),
        };
        let bridge = Local::start(&settings).await;
        for user in ["a", "b", "c"] {
            poll(&bridge, user).await;
        }
        sim.adjust(|traits| (traits.most_connections, traits.when_full) = (3, when_full));
        let answer = answer(&bridge, "d", PASSWORD).await;
        assert!(answer.starts_with("+OK"), "{when_full:?}: {answer}");
        assert_eq!(poll(&bridge, "a").await, 0);
        // Full of sessions, it is full.
        let mut clients = Vec::new();
        for user in ["a", "b", "c"] {
            let mut client = Pop3::connect(bridge.address()).await;
            client.login(user).await;
            clients.push(client);
        }
        let mut client = Pop3::connect(bridge.address()).await;
        client.ok("USER d").await;
        let refused = client.err(&format!("PASS {PASSWORD}")).await;
        assert!(refused.starts_with("-ERR [SYS/TEMP]"), "{when_full:?}: {refused}");
        client.quit().await;
        for client in clients {
            client.quit().await;
        }
        bridge.settled(0).await;
    }
}

#[tokio::test]
async fn the_end_says_goodbye_to_all_that_wait() {
    let sim = sim(Persona::Dovecot).await;
    let bridge = Local::start(&settings(&sim)).await;
    for user in 0..10 {
        poll(&bridge, &format!("user{user}")).await;
    }
    idling(&sim, 10).await;
    // One is dumb at DONE, one at LOGOUT.
    sim.fault(Place::Done, Fault::Stall);
    sim.fault(Place::Logout, Fault::Stall);
    let started = Instant::now();
    bridge.stop().await;
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    let goodbyes = sim.commands().iter().filter(|command| command.ends_with("LOGOUT")).count();
    assert_eq!(goodbyes, 9);
    until("the end", || sim.live_connections() == 0).await;
}

/// The keeper waits for an answer to IDLE that does not come.
#[tokio::test]
async fn the_end_does_not_wait_for_a_server_that_does_not_answer() {
    let sim = sim(Persona::Dovecot).await;
    let bridge = Local::start(&settings(&sim)).await;
    poll(&bridge, "alice").await;
    sim.fault(Place::Idle, Fault::Stall);
    until("IDLE", || sim.faults_left() == 0).await;
    let started = Instant::now();
    bridge.stop().await;
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    until("the end", || sim.live_connections() == 0).await;
}

#[tokio::test]
async fn sessions_that_break_off_leave_a_clean_connection_or_none() {
    let sim = sim(Persona::Dovecot).await;
    let (large, small) = (big(8 << 20, 3), big(60_000, 4));
    sim.append("alice", "INBOX", &large, &[]);
    sim.append("alice", "INBOX", &small, &[]);
    sim.append("alice", "INBOX", &small, &[]);
    let bridge = Local::start(&settings(&sim)).await;
    poll(&bridge, "alice").await;
    for (number, whole, logins) in [(1, &large, 1), (2, &small, 0), (3, &small, 0)] {
        let before = sim.logins();
        let mut client = Pop3::connect_narrow(bridge.address()).await;
        client.login("alice").await;
        client.ok(&format!("RETR {number}")).await;
        let mut body = Vec::new();
        assert!(!client.body_until(&mut body, 10_000).await.expect("octets"));
        assert!(crlf(whole).starts_with(&body));
        client.abort();
        bridge.settled(0).await;
        assert_eq!(poll(&bridge, "alice").await, 3);
        assert_eq!(sim.logins() - before, logins, "message {number}");
        let mut client = Pop3::connect(bridge.address()).await;
        client.login("alice").await;
        assert!(client.retr(number).await == crlf(whole), "message {number}");
        client.quit().await;
        bridge.settled(0).await;
    }
}

/// As in tests/sessions.rs, with a connection that waits, is taken up, and refused.
#[tokio::test]
async fn secrets_stay_out_of_the_log() {
    let sim = Server::builder().user("alice", "s3cr3t-Passw0rd").start().await.expect("it starts");
    let mut bridge = Bridge::start(&settings(&sim));
    let login = async |password: &str| {
        let mut client = Pop3::connect(bridge.address()).await;
        client.ok("USER alice").await;
        client.command(&format!("PASS {password}")).await;
        client.quit().await;
    };
    login("s3cr3t-Passw0rd").await;
    idling(&sim, 1).await;
    login("wr0ng-Passw0rd").await;
    login("s3cr3t-Passw0rd").await;
    assert_eq!(sim.logins(), 1);
    bridge.sessions(3);
    sim.kill_connections();
    login("s3cr3t-Passw0rd").await;
    sim.set_password("alice", "n3w-Passw0rd");
    login("n3w-Passw0rd").await;
    login("s3cr3t-Passw0rd").await;
    bridge.sessions(6);
    assert!(bridge.terminate().success());
    let log = bridge.log().join("\n");
    for secret in ["s3cr3t", "wr0ng", "n3w-", "czNjcjN0", "bjN3", "AGFsaWNl", "Tag(", "Proof("] {
        assert!(!log.contains(secret), "{secret} in the log:\n{log}");
    }
}

/// Sessions of many accounts at once, that end in every way, at a server that breaks off.
#[tokio::test(flavor = "multi_thread")]
async fn no_place_is_lost_in_the_crowd() {
    const ACCOUNTS: usize = 12;
    const ROUNDS: usize = 25;
    let sim = sim(Persona::Dovecot).await;
    let message = big(200_000, 5);
    for account in 0..ACCOUNTS {
        for _ in 0..3 {
            sim.append(&format!("user{account}"), "INBOX", &message, &[]);
        }
    }
    let settings = settings(&sim)
        .with("maildrop", "lock = \"shared\"")
        .with("limits", "kept_connections = 8\nsessions_per_address = 500")
        .with("upstream.home", "timeout = \"20s\"\nrecovery = \"5s\"");
    let bridge = std::sync::Arc::new(Local::start(&settings).await);
    let mut crowd = JoinSet::new();
    for client in 0..ACCOUNTS * 3 {
        let (bridge, sim, message) = (std::sync::Arc::clone(&bridge), sim.clone(), crlf(&message));
        crowd.spawn(async move {
            let user = format!("user{}", client % ACCOUNTS);
            for round in 0..ROUNDS {
                let way = (client * 7 + round * 5) % 11;
                let mut client = Pop3::connect(bridge.address()).await;
                client.ok(&format!("USER {user}")).await;
                let password = if way == 10 { "wrong" } else { PASSWORD };
                if way == 9 {
                    // Gone before the answer.
                    client.send(format!("PASS {password}\r\n").as_bytes()).await;
                    client.abort();
                    continue;
                }
                let answer = client.command(&format!("PASS {password}")).await;
                if way == 10 {
                    // Or its connection was killed.
                    assert!(
                        answer.starts_with("-ERR [AUTH]") || answer.starts_with("-ERR [SYS/TEMP]"),
                        "{answer}"
                    );
                    client.quit().await;
                    continue;
                }
                if way == 8 {
                    sim.kill_connections();
                }
                if !answer.starts_with("+OK") {
                    assert!(answer.starts_with("-ERR [SYS/TEMP]"), "{answer}");
                    continue;
                }
                assert!(answer.starts_with("+OK 3 messages"), "{answer}");
                match way {
                    0..=3 => client.quit().await,
                    4 => client.abort(),
                    5 | 6 => {
                        let answer = client.command("RETR 1").await;
                        if answer.starts_with("+OK") {
                            let mut body = Vec::new();
                            let ended = client.body_until(&mut body, 1000 + way * 20_000).await;
                            assert!(ended.is_err() || message.starts_with(&body), "another's octets");
                        } else {
                            assert!(answer.starts_with("-ERR [SYS/TEMP]"), "{answer}");
                        }
                        client.abort();
                    }
                    _ => {
                        let mut body = Vec::new();
                        let answer = client.command("RETR 2").await;
                        if answer.starts_with("+OK") && client.body_until(&mut body, usize::MAX).await.is_ok()
                        {
                            assert!(body == message, "another's octets");
                        }
                        client.abort();
                    }
                }
            }
        });
    }
    while let Some(ended) = crowd.join_next().await {
        ended.expect("a client that keeps the promises");
    }
    bridge.settled(0).await;
    until("the surplus to go", || sim.live_connections() <= 8).await;
    // Every place of every account can be had.
    for account in 0..ACCOUNTS {
        let mut two = Vec::new();
        for _ in 0..2 {
            let mut client = Pop3::connect(bridge.address()).await;
            client.login(&format!("user{account}")).await;
            two.push(client);
        }
        for client in two {
            client.quit().await;
        }
    }
    bridge.settled(0).await;
    let bridge = std::sync::Arc::into_inner(bridge).expect("the crowd has gone");
    bridge.stop().await;
    until("the end", || sim.live_connections() == 0).await;
}
