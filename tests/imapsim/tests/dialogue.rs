//! What the Dovecot persona answers, as it was compared with Dovecot 2.3.19.

mod support;

use imapsim::Persona;
use support::{Client, start};

const MAIL: &[u8] = b"Subject: a\nFrom: x\n\nline1\nline2";

#[tokio::test]
async fn an_empty_mailbox() {
    let server = start(Persona::Dovecot).await;
    let mut client = Client::connect(&server).await;
    client.run("LOGIN alice secret").await;
    let answer = client.run("SELECT INBOX").await;
    for line in ["* 0 EXISTS\r\n", "[UIDNEXT 1]", "[PERMANENTFLAGS (", "t OK [READ-WRITE]"] {
        assert!(answer.contains(line), "{answer}");
    }
    assert_eq!(client.run("UID FETCH 1:* (UID RFC822.SIZE)").await, "t OK Fetch completed.\r\n");
    assert_eq!(client.run("UID FETCH 7 FLAGS").await, "t OK Fetch completed.\r\n");
    assert!(client.run("FETCH 1:* FLAGS").await.starts_with("t BAD "));
    let answer = client.run("UID SEARCH RETURN (ALL) ALL").await;
    assert!(answer.starts_with("* ESEARCH (TAG \"t\") UID\r\n"), "{answer}");
}

#[tokio::test]
async fn bodies_and_parts() {
    let server = start(Persona::Dovecot).await;
    server.append("alice", "INBOX", MAIL, &[]);
    let mut client = Client::selected(&server).await;
    for (command, row) in [
        ("RFC822.SIZE", "RFC822.SIZE 35"),
        ("BODY.PEEK[]", "BODY[] {35}\r\nSubject: a\r\nFrom: x\r\n\r\nline1\r\nline2"),
        ("BODY.PEEK[]<5.10>", "BODY[]<5> {10}\r\nct: a\r\nFro"),
        ("BODY.PEEK[]<99999>", "BODY[]<99999> {0}\r\n"),
        (
            "BODY.PEEK[HEADER.FIELDS (subject Nope)]",
            "BODY[HEADER.FIELDS (SUBJECT NOPE)] {14}\r\nSubject: a\r\n\r\n",
        ),
        ("BODY.PEEK[TEXT]", "BODY[TEXT] {12}\r\nline1\r\nline2"),
        ("RFC822.HEADER", "RFC822.HEADER {23}\r\nSubject: a\r\nFrom: x\r\n\r\n"),
        ("BODY[]<0.3>", "FLAGS (\\Seen \\Recent) BODY[]<0> {3}\r\nSub"),
    ] {
        let answer = client.run(&format!("UID FETCH 1 ({command})")).await;
        assert_eq!(answer, format!("* 1 FETCH (UID 1 {row})\r\nt OK Fetch completed.\r\n"));
    }
    assert!(server.messages("alice", "INBOX")[0].flags.contains("\\Seen"));
    assert_eq!(&*server.messages("alice", "INBOX")[0].body, MAIL);
}

#[tokio::test]
async fn large_bodies_arrive_whole() {
    let server = start(Persona::Dovecot).await;
    let body = "0123456789abcdef".repeat(60_000);
    server.append("alice", "INBOX", body.as_bytes(), &[]);
    let mut client = Client::selected(&server).await;
    let answer = client.run("UID FETCH 1 BODY.PEEK[]").await;
    assert!(answer.contains(&body));
}

#[tokio::test]
async fn storing_moving_expunging() {
    let server = start(Persona::Dovecot).await;
    for _ in 0..5 {
        server.append("alice", "INBOX", MAIL, &[]);
    }
    let mut client = Client::selected(&server).await;
    let answer = client.run("UID STORE 1,3 +FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(answer, "t OK Store completed.\r\n");
    let answer = client.run("STORE 2 +FLAGS (kw)").await;
    assert!(answer.contains("* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft kw)\r\n"), "{answer}");
    assert!(answer.contains("* 2 FETCH (FLAGS (\\Recent kw))\r\n"), "{answer}");
    let answer = client.run("UID EXPUNGE 3:5").await;
    assert_eq!(answer, "* 3 EXPUNGE\r\n* 4 RECENT\r\nt OK Expunge completed.\r\n");
    let answer = client.run("UID MOVE 4:5 Trash").await;
    let validity = server.uid_validity("alice", "Trash");
    assert!(answer.starts_with(&format!(
        "* OK [COPYUID {validity} 4:5 1:2] Moved UIDs.\r\n* 4 EXPUNGE\r\n* 3 EXPUNGE\r\n"
    )));
    assert!(client.run("UID MOVE 2 Nope").await.starts_with("t NO [TRYCREATE]"));
    assert_eq!(client.run("UID COPY 99 Trash").await, "t OK No messages found.\r\n");
    assert_eq!(server.messages("alice", "Trash").len(), 2);
    let uids: Vec<u32> = server.messages("alice", "INBOX").iter().map(|message| message.uid).collect();
    assert_eq!(uids, [1, 2]);
    let answer = client.run("UID SEARCH RETURN (MIN COUNT) UNDELETED").await;
    assert!(answer.starts_with("* ESEARCH (TAG \"t\") UID MIN 2 COUNT 1\r\n"), "{answer}");
}

#[tokio::test]
async fn what_others_do_is_told_when_allowed() {
    let server = start(Persona::Dovecot).await;
    for _ in 0..3 {
        server.append("alice", "INBOX", MAIL, &[]);
    }
    let mut client = Client::selected(&server).await;
    server.remove("alice", "INBOX", 1);
    let answer = client.run("FETCH 1:2 (UID RFC822.SIZE BODY.PEEK[]<0.3>)").await;
    assert_eq!(
        answer,
        "* 1 FETCH (UID 1 RFC822.SIZE 0 BODY[] NIL)\r\n\
         * 2 FETCH (UID 2 RFC822.SIZE 35 BODY[]<0> {3}\r\nSub)\r\n\
         t OK [EXPUNGEISSUED] Some messages were already expunged.\r\n"
    );
    assert!(client.run("NOOP").await.starts_with("* 1 EXPUNGE\r\n"));
    server.set_flags("alice", "INBOX", 2, &["\\Seen"]);
    assert!(client.run("NOOP").await.starts_with("* 1 FETCH (FLAGS (\\Seen \\Recent))\r\n"));
    client.send("i IDLE\r\n").await;
    assert_eq!(client.until("\r\n").await, "+ idling\r\n");
    server.append("alice", "INBOX", MAIL, &[]);
    assert_eq!(client.until("\r\n").await, "* 3 EXISTS\r\n");
    client.send("DONE\r\n").await;
    assert!(client.tagged("i").await.ends_with("i OK Idle completed.\r\n"));
    server.change_uid_validity("alice", "INBOX");
    client.send("t UID FETCH 1:* UID\r\n").await;
    assert!(client.rest().await.starts_with("* BYE "));
}

#[tokio::test]
async fn examine_changes_nothing_but_by_move() {
    let server = start(Persona::Dovecot).await;
    server.append("alice", "INBOX", MAIL, &["\\Deleted"]);
    let mut client = Client::selected(&server).await;
    assert!(client.run("EXAMINE INBOX").await.contains("t OK [READ-ONLY]"));
    let answer = client.run("STORE 1 +FLAGS (\\Seen)").await;
    assert_eq!(answer, "t OK Store ignored with read-only mailbox.\r\n");
    assert_eq!(client.run("EXPUNGE").await, "t OK Expunge completed.\r\n");
    assert_eq!(server.messages("alice", "INBOX").len(), 1);
    assert!(client.run("UID MOVE 1 Trash").await.contains("COPYUID"));
    server.append("alice", "INBOX", MAIL, &[]);
    server.set_read_only("alice", "INBOX", true);
    assert!(client.run("SELECT INBOX").await.contains("t OK [READ-ONLY]"));
    assert!(client.run("UID MOVE 2 Trash").await.starts_with("t NO "));
}

#[tokio::test]
async fn literals_and_pipelines() {
    let server = start(Persona::Dovecot).await;
    let mut client = Client::connect(&server).await;
    client.send("1 LOGIN {5}\r\n").await;
    assert_eq!(client.until("\r\n").await, "+ OK\r\n");
    client.send("alice {6+}\r\nsecret\r\n").await;
    client.tagged("1").await;
    client.send("2 SELECT INBOX\r\n3 APPEND INBOX (\\Seen) {4+}\r\nA: b\r\n4 UID FETCH 1:* FLAGS\r\n").await;
    client.tagged("2").await;
    assert!(client.tagged("3").await.contains("[APPENDUID "));
    assert!(client.tagged("4").await.contains("(UID 1 FLAGS (\\Seen \\Recent))"));
    assert_eq!(server.commands()[0], "1 LOGIN alice ***");
    assert_eq!(server.logins(), 1);
}

#[tokio::test]
async fn nonsense_is_answered() {
    let server = start(Persona::Dovecot).await;
    let mut client = Client::selected(&server).await;
    let deep = format!("SEARCH {}", "(".repeat(20_000));
    let negated = format!("SEARCH {}ALL", "NOT ".repeat(10_000));
    let long = format!("LIST \"\" {}", "x".repeat(100_000));
    let numbers = format!("FETCH {} UID", "9".repeat(4000));
    for command in [
        "FOO",
        "UID",
        "UID FOO",
        "FETCH",
        "FETCH 1 (BODY[",
        "FETCH 1 BODY[]<a.b>",
        "FETCH 0 UID",
        "STORE 1 FLAGS",
        "SEARCH",
        "SEARCH OR ALL",
        "LIST",
        "STATUS INBOX (FOO)",
        "APPEND INBOX x",
        &deep,
        &negated,
        &long,
        &numbers,
    ] {
        let shown: String = command.chars().take(40).collect();
        assert!(client.run(command).await.starts_with("t BAD "), "{shown}");
    }
    client.send("\r\n").await;
    assert!(client.until("\r\n").await.starts_with("* BAD "));
    client.send("t SELECT {70000}\r\n").await;
    assert_eq!(client.rest().await, "* BYE Literal size too large\r\n");
}

#[tokio::test]
async fn sasl() {
    let server = start(Persona::Dovecot).await;
    let mut client = Client::connect(&server).await;
    // NUL alice NUL wrong, then NUL alice NUL secret.
    let answer = client.run("AUTHENTICATE PLAIN AGFsaWNlAHdyb25n").await;
    assert_eq!(answer, "t NO [AUTHENTICATIONFAILED] Authentication failed.\r\n");
    client.send("t AUTHENTICATE PLAIN\r\n").await;
    assert_eq!(client.until("\r\n").await, "+ \r\n");
    client.send("*\r\n").await;
    assert!(client.tagged("t").await.starts_with("t BAD "));
    client.send("t AUTHENTICATE LOGIN\r\n").await;
    client.until("\r\n").await;
    client.send("YWxpY2U=\r\n").await;
    client.until("\r\n").await;
    client.send("c2VjcmV0\r\n").await;
    assert!(client.tagged("t").await.starts_with("t OK [CAPABILITY IMAP4rev1 "));
    assert_eq!(server.commands()[0], "t AUTHENTICATE PLAIN ***");
}

#[tokio::test]
async fn compression_is_switched_on_once() {
    let server = start(Persona::Dovecot).await;
    let mut client = Client::connect(&server).await;
    client.run("LOGIN alice secret").await;
    assert!(client.run("COMPRESS DEFLATE").await.starts_with("t BAD "), "it is not offered");
    server.set_capability("COMPRESS=DEFLATE", true);
    assert!(client.run("CAPABILITY").await.contains(" COMPRESS=DEFLATE"));
    assert!(client.run("COMPRESS").await.starts_with("t BAD "));
    assert!(client.run("COMPRESS ZSTD").await.starts_with("t NO "));
    assert_eq!(client.run("COMPRESS DEFLATE").await, "t OK Begin compression.\r\n");
    client.deflate();
    assert!(client.run("COMPRESS DEFLATE").await.starts_with("t NO [COMPRESSIONACTIVE] "));
    assert!(client.run("SELECT INBOX").await.contains("* 0 EXISTS\r\n"));
    let answer = client.run("LOGOUT").await;
    assert_eq!(answer, "* BYE Logging out\r\nt OK Logout completed.\r\n");
    assert_eq!(client.until("\n").await, "", "the end");
}
