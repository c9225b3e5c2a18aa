//! Each fault does what it says.

mod support;

use std::time::{Duration, Instant};

use imapsim::{Fault, Persona, Place, Server};
use support::{Client, start};

const MAIL: &[u8] = b"Subject: a\r\n\r\nbody\r\n";

async fn with_mail(count: usize) -> Server {
    let server = start(Persona::Dovecot).await;
    for _ in 0..count {
        server.append("alice", "INBOX", MAIL, &[]);
    }
    server
}

#[tokio::test]
async fn answers_are_replaced() {
    let server = with_mail(1).await;
    server.fault(Place::Login, Fault::No(Some("UNAVAILABLE")));
    let mut client = Client::connect(&server).await;
    assert_eq!(client.run("LOGIN alice secret").await, "t NO [UNAVAILABLE] Refused.\r\n");
    client.run("LOGIN alice secret").await;
    server.fault(Place::Select, Fault::Bad);
    assert!(client.run("SELECT INBOX").await.starts_with("t BAD "));
    client.run("SELECT INBOX").await;
    server.fault(Place::Store, Fault::Raw(b"* OK half".to_vec()));
    client.send("t STORE 1 +FLAGS (\\Seen)\r\n").await;
    assert_eq!(client.rest().await, "* OK half");
    assert!(server.messages("alice", "INBOX")[0].flags.is_empty());

    for (fault, expected) in [(Fault::Eof, ""), (Fault::Bye, "* BYE Shutting down.\r\n")] {
        let mut client = Client::selected(&server).await;
        server.fault(Place::Noop, fault);
        client.send("t NOOP\r\n").await;
        assert_eq!(client.rest().await, expected);
    }
    server.fault(Place::Greeting, Fault::Stall);
    let _silent = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let mut client = Client::selected(&server).await;
    server.fault(Place::Search, Fault::RawThenStall(b"* SEARCH 1".to_vec()));
    client.send("t SEARCH ALL\r\n").await;
    assert_eq!(client.until("1").await, "* SEARCH 1");
    assert!(client.is_silent().await);
    assert_eq!(server.live_connections(), 2);
}

#[tokio::test]
async fn less_haste_is_asked_for() {
    let server = with_mail(1).await;
    let mut client = Client::selected(&server).await;
    server.fault(Place::Store, Fault::OkThrottled);
    let answer = client.run("STORE 1 +FLAGS.SILENT (\\Seen)").await;
    assert!(answer.starts_with("t OK ") && answer.ends_with(" [THROTTLED]\r\n"), "{answer}");
    assert!(server.messages("alice", "INBOX")[0].flags.contains("\\Seen"));
    server.fault(Place::Store, Fault::Tagged("BAD Later.".to_owned()));
    assert_eq!(client.run("STORE 1 -FLAGS.SILENT (\\Seen)").await, "t BAD Later.\r\n");
    server.fault(Place::Store, Fault::TaggedThenBye("NO Later.".to_owned()));
    client.send("t STORE 1 -FLAGS.SILENT (\\Seen)\r\n").await;
    assert_eq!(client.rest().await, "t NO Later.\r\n* BYE Connection closed. 14\r\n");
    assert!(server.messages("alice", "INBOX")[0].flags.contains("\\Seen"));
}

#[tokio::test]
async fn those_without_a_greeting_are_counted() {
    let server = with_mail(0).await;
    let _first = Client::connect(&server).await;
    let _second = Client::connect(&server).await;
    assert_eq!(server.most_opening(), 1);
    server.fault_times(Place::Greeting, Fault::Delay(Duration::from_millis(300)), usize::MAX);
    let (_third, _fourth) = tokio::join!(Client::connect(&server), Client::connect(&server));
    assert_eq!(server.most_opening(), 2);
}

#[tokio::test]
async fn rows_go_astray() {
    let server = with_mail(3).await;
    let mut client = Client::selected(&server).await;
    let fetch = "UID FETCH 1:* (RFC822.SIZE)";
    server.fault(Place::Fetch(2), Fault::MissingRow);
    server.fault(Place::Fetch(3), Fault::NoAfterRows(1));
    server.fault(Place::Fetch(4), Fault::WrongSize(-5));
    assert_eq!(client.run(fetch).await.matches("FETCH (").count(), 3);
    let answer = client.run(fetch).await;
    assert!(!answer.contains("UID 2 ") && answer.ends_with("t OK Fetch completed.\r\n"), "{answer}");
    let answer = client.run(fetch).await;
    assert!(answer.contains("UID 1 ") && answer.ends_with("t NO Fetch failed.\r\n"), "{answer}");
    assert_eq!(client.run(fetch).await.matches("RFC822.SIZE 15)").count(), 3);
    server.fault(Place::Fetch(0), Fault::EofAfterRows(2));
    client.send(format!("t {fetch}\r\n")).await;
    assert_eq!(client.rest().await.matches("FETCH (").count(), 2);

    let mut client = Client::selected(&server).await;
    server.fault(Place::Fetch(1), Fault::TruncateLiteral(4));
    client.send("t UID FETCH 2 BODY.PEEK[]\r\n").await;
    assert_eq!(client.rest().await, "* 2 FETCH (UID 2 BODY[] {20}\r\nSubj");
}

#[tokio::test]
async fn the_mailbox_changes_under_the_client() {
    let server = with_mail(3).await;
    let mut client = Client::selected(&server).await;
    server.fault(Place::Fetch(1), Fault::UnsolicitedExpunge);
    let answer = client.run("UID FETCH 1:* UID").await;
    assert!(answer.starts_with("* 1 EXPUNGE\r\n"), "{answer}");
    assert_eq!(answer.matches("FETCH (").count(), 2);
    let before = server.uid_validity("alice", "INBOX");
    server.fault(Place::Select, Fault::UidValidityChange);
    let answer = client.run("SELECT INBOX").await;
    let now = server.uid_validity("alice", "INBOX");
    assert!(now != before && answer.contains(&format!("[UIDVALIDITY {now}]")), "{answer}");
    assert_eq!(server.messages("alice", "INBOX")[0].uid, 1);
}

#[tokio::test]
async fn an_action_is_done_though_nobody_says_so() {
    let server = with_mail(2).await;
    let mut client = Client::selected(&server).await;
    server.fault(Place::Move, Fault::EofAfterAction);
    client.send("t UID MOVE 1 Trash\r\n").await;
    let answer = client.rest().await;
    assert!(answer.contains("COPYUID") && !answer.contains("t OK"), "{answer}");
    assert_eq!(server.messages("alice", "Trash").len(), 1);
}

#[tokio::test]
async fn time_and_pieces() {
    let server = with_mail(1).await;
    let mut client = Client::selected(&server).await;
    server.fault(Place::Fetch(1), Fault::SplitEvery(1));
    server.fault(Place::Fetch(1), Fault::Delay(Duration::from_millis(40)));
    let start = Instant::now();
    let answer = client.run("UID FETCH 1 BODY.PEEK[]").await;
    assert!(start.elapsed() >= Duration::from_millis(40));
    assert!(answer.contains("{20}\r\nSubject: a\r\n\r\nbody\r\n)"), "{answer}");
    let start = Instant::now();
    client.run("NOOP").await;
    assert!(start.elapsed() < Duration::from_millis(40));
}

#[tokio::test]
async fn connections_end_at_command() {
    let server = with_mail(1).await;
    let mut client = Client::selected(&server).await;
    server.kill_connections();
    assert_eq!(client.rest().await, "");
    server.refuse(true);
    let mut client = Client::connect(&server).await;
    assert_eq!(client.rest().await, "");
    server.refuse(false);
    let mut client = Client::selected(&server).await;
    assert_eq!((server.connections(), server.live_connections(), server.logins()), (3, 1, 2));
    let address = server.address();
    server.stop();
    assert_eq!(client.rest().await, "");
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
