//! Servers whose RFC822.SIZE is wrong, and messages that change on the wire: what arrives is
//! exact, and what LIST shows is what was counted, from the next login on.

mod support;

use imapsim::{Fault, Persona, Place, Server};
use support::bridge::Settings;
use support::dovecot::PASSWORD;
use support::local::Local;
use support::mail::{corpus, crlf};
use support::pop3::Pop3;

async fn login(bridge: &Local) -> Pop3 {
    let mut client = Pop3::connect(bridge.address()).await;
    client.login("alice").await;
    client
}

#[tokio::test]
async fn every_persona_delivers_exactly_and_is_counted() {
    for persona in Persona::ALL {
        let sim = Server::builder().persona(persona).user("alice", PASSWORD).start().await;
        let sim = sim.expect("the simulator starts");
        let mail = corpus(11, 40);
        for message in &mail {
            sim.append("alice", "INBOX", message, &[]);
        }
        let bridge = Local::start(&Settings::new(format!("imap://{}", sim.address()))).await;
        let mut client = login(&bridge).await;
        assert_eq!(client.list().await.len(), mail.len(), "{persona:?}");
        for (index, message) in mail.iter().enumerate() {
            let body = client.retr(index + 1).await;
            assert!(body == crlf(message), "{persona:?}: message {index}");
            let top = client.top(index + 1, 99_999_999).await;
            assert!(top == body, "{persona:?}: TOP of message {index}");
            let header = client.top(index + 1, 0).await;
            let with_blank = [&header[..header.len() - 2], b"\r\n"].concat();
            assert!(body.starts_with(&header) || with_blank == header, "{persona:?}: header {index}");
        }
        client.quit().await;
        let mut client = login(&bridge).await;
        for (index, (_, size)) in client.list().await.into_iter().enumerate() {
            assert_eq!(size, crlf(&mail[index]).len() as u64, "{persona:?}: message {index}");
        }
        client.quit().await;
    }
}

#[tokio::test]
async fn top_of_large_messages_takes_lines_not_bodies() {
    let sim = Server::builder().user("alice", PASSWORD).start().await.expect("the simulator starts");
    let long_lines: String = (0..3000).map(|line| format!("{line} {}\r\n", "x".repeat(900))).collect();
    let short_lines: String = (0..300_000).map(|line| format!("{line}\r\n")).collect();
    let header = "Subject: big\r\nX: y\r\n\r\n";
    for text in [&long_lines, &short_lines] {
        sim.append("alice", "INBOX", format!("{header}{text}").as_bytes(), &[]);
    }
    let bridge = Local::start(&Settings::new(format!("imap://{}", sim.address()))).await;
    let mut client = login(&bridge).await;
    for (number, text) in [(1, &long_lines), (2, &short_lines)] {
        for lines in [0, 1, 10, 500, 2999] {
            let expected: String = text.split_inclusive('\n').take(lines).collect();
            let top = client.top(number, lines).await;
            assert!(top == format!("{header}{expected}").into_bytes(), "TOP {number} {lines}");
        }
    }
    // In the middle of a part, too, it goes on where it broke off.
    sim.fault(Place::Fetch(0), Fault::TruncateLiteral(5));
    let expected: String = long_lines.split_inclusive('\n').take(10).collect();
    assert!(client.top(1, 10).await == format!("{header}{expected}").into_bytes());
    client.quit().await;
    let whole = sim.commands().iter().filter(|line| line.contains("BODY.PEEK[]")).count();
    assert_eq!(whole, 0, "no body was asked for whole");
}

#[tokio::test]
async fn a_message_that_has_gone_keeps_its_number() {
    let sim = Server::builder().user("alice", PASSWORD).start().await.expect("the simulator starts");
    for index in 0..3 {
        sim.append("alice", "INBOX", format!("Subject: {index}\r\n\r\n{index}\r\n").as_bytes(), &[]);
    }
    let bridge = Local::start(&Settings::new(format!("imap://{}", sim.address()))).await;
    let mut client = login(&bridge).await;
    sim.remove("alice", "INBOX", 2);
    for command in ["RETR 2", "TOP 2 0", "TOP 2 9999"] {
        let refused = client.err(command).await;
        assert!(!refused.contains("[SYS"), "{refused}");
    }
    assert_eq!(client.list().await.len(), 3);
    assert!(client.retr(3).await.starts_with(b"Subject: 2"));
    client.quit().await;
}
