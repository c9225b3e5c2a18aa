//! QRESYNC as Dovecot 2.3.19 was seen to answer it.

mod support;

use imapsim::{Fault, Persona, Place, Server};
use support::{Client, start};

const MAIL: &[u8] = b"Subject: a\r\n\r\n";

async fn offering(messages: usize) -> Server {
    let server = start(Persona::Dovecot).await;
    server.set_capability("QRESYNC", true);
    for _ in 0..messages {
        server.append("alice", "INBOX", MAIL, &[]);
    }
    server
}

async fn enabled(server: &Server) -> Client {
    let mut client = Client::connect(server).await;
    client.run("LOGIN alice secret").await;
    assert_eq!(client.run("ENABLE QRESYNC").await, "* ENABLED QRESYNC\r\nt OK Enabled.\r\n");
    client
}

fn modseq(answer: &str) -> u64 {
    let (_, behind) = answer.split_once("[HIGHESTMODSEQ ").unwrap_or_else(|| panic!("{answer}"));
    behind.split(']').next().expect("a word").parse().expect("a number")
}

#[tokio::test]
async fn mod_sequences_are_told_once_somebody_has_asked() {
    let server = offering(1).await;
    let mut plain = Client::connect(&server).await;
    plain.run("LOGIN alice secret").await;
    assert!(!plain.run("SELECT INBOX").await.contains("HIGHESTMODSEQ"));
    let refused = plain.run("SELECT INBOX (QRESYNC (1 1))").await;
    assert!(refused.ends_with("t BAD Error in IMAP command SELECT: QRESYNC not enabled.\r\n"), "{refused}");
    modseq(&enabled(&server).await.run("SELECT INBOX").await);
    modseq(&plain.run("SELECT INBOX").await);
    assert_eq!(plain.run("ENABLE NOSUCH").await, "t OK Enabled.\r\n");
}

#[tokio::test]
async fn select_tells_what_has_changed() {
    let server = offering(6).await;
    let mut client = enabled(&server).await;
    let before = modseq(&client.run("SELECT INBOX").await);
    let validity = server.uid_validity("alice", "INBOX");
    server.remove("alice", "INBOX", 2);
    server.remove("alice", "INBOX", 3);
    server.set_flags("alice", "INBOX", 5, &["\\Flagged"]);
    let select = |validity: u32, modseq: u64, known: &str| {
        format!("EXAMINE INBOX (QRESYNC ({validity} {modseq}{known}))")
    };
    let answer = client.run(&select(validity, before, "")).await;
    let now = modseq(&answer);
    assert!(now > before);
    let told =
        format!("* VANISHED (EARLIER) 2:3\r\n* 3 FETCH (UID 5 FLAGS (\\Flagged) MODSEQ ({now}))\r\nt OK ");
    assert!(answer.contains(&told), "{answer}");
    let answer = client.run(&select(validity, before, " 1:2")).await;
    assert!(answer.contains("(EARLIER) 2\r\n") && !answer.contains("FETCH"), "{answer}");
    for (validity, modseq) in [(validity, now), (validity, now + 100), (validity + 1, before)] {
        let answer = client.run(&select(validity, modseq, "")).await;
        assert!(!answer.contains("VANISHED") && !answer.contains("FETCH"), "{answer}");
        assert!(answer.starts_with("* OK [CLOSED]"), "{answer}");
    }
    // What is not remembered is all that is not there.
    server.remove("alice", "INBOX", 5);
    server.fault(Place::Select, Fault::HistoryForgotten);
    assert!(client.run(&select(validity, now, "")).await.contains("* VANISHED (EARLIER) 2:3,5\r\n"));
    for wrong in
        ["(QRESYNC)", "(QRESYNC (1))", "(QRESYNC (1 1)", "(QRESYNC (1 1) X)", "(QRESYNC (a 1))", "(X)"]
    {
        assert!(client.run(&format!("SELECT INBOX {wrong}")).await.contains("t BAD "), "{wrong}");
    }
}

#[tokio::test]
async fn vanished_stands_for_expunge() {
    let server = offering(6).await;
    let mut client = enabled(&server).await;
    client.run("SELECT INBOX").await;
    server.remove("alice", "INBOX", 1);
    server.remove("alice", "INBOX", 3);
    let answer = client.run("NOOP").await;
    let now = modseq(&answer);
    assert!(answer.starts_with("* VANISHED 1,3\r\n"), "{answer}");
    assert!(answer.ends_with(&format!("t OK [HIGHESTMODSEQ {now}] NOOP completed.\r\n")), "{answer}");
    let answer = client.run("UID STORE 4 +FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(answer, format!("* 2 FETCH (UID 4 MODSEQ ({}))\r\nt OK Store completed.\r\n", now + 1));
    let answer = client.run("UID EXPUNGE 4").await;
    assert!(answer.contains("* VANISHED 4\r\n") && !answer.contains("EXPUNGE\r\n"), "{answer}");
    server.set_flags("alice", "INBOX", 5, &["\\Seen"]);
    let answer = client.run("NOOP").await;
    assert!(
        answer.contains(&format!("* 2 FETCH (UID 5 MODSEQ ({}) FLAGS (\\Seen \\Recent))\r\n", now + 3)),
        "{answer}"
    );
    assert!(client.run("UID MOVE 6 Trash").await.contains("* VANISHED 6\r\n"));
}
