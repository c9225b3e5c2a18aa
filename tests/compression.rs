//! COMPRESS=DEFLATE towards the mail server: what programs see is the same with it and without.

mod support;

use std::sync::atomic::Ordering;

use imapsim::{Fault, Persona, Place, Server};
use support::bridge::Settings;
use support::dovecot::PASSWORD;
use support::local::Local;
use support::mail::{assert_same, big, corpus, crlf};
use support::pop3::Pop3;
use support::relay;

async fn sim(persona: Persona) -> Server {
    let sim = Server::builder().persona(persona).user("alice", PASSWORD).start().await;
    let sim = sim.expect("the simulator starts");
    sim.set_capability("COMPRESS=DEFLATE", true);
    sim
}

fn settings(address: std::net::SocketAddr) -> Settings {
    Settings::new(format!("imap://{address}"))
        .with("upstream.home", "compress = true\ntimeout = \"20s\"\nrecovery = \"20s\"")
}

async fn login(bridge: &Local) -> Pop3 {
    let mut client = Pop3::connect(bridge.address()).await;
    client.login("alice").await;
    client
}

/// How often compression was asked for; the first time it has to be right behind the login.
fn compressions(sim: &Server) -> usize {
    let name = |line: &String| line.split(' ').nth(1).unwrap_or_default().to_ascii_uppercase();
    let names: Vec<String> = sim.commands().iter().map(name).collect();
    if let Some(first) = names.iter().position(|name| name == "COMPRESS") {
        // Servers that announce nothing with the OK to a login are asked first.
        let before = &names[first - 1];
        assert!(matches!(before.as_str(), "AUTHENTICATE" | "LOGIN" | "CAPABILITY"), "{names:?}");
    }
    names.iter().filter(|name| *name == "COMPRESS").count()
}

#[tokio::test]
async fn a_whole_session_on_every_server() {
    for persona in Persona::ALL {
        let sim = sim(persona).await;
        let mail = corpus(31, 12);
        for message in &mail {
            sim.append("alice", "INBOX", message, &[]);
        }
        let bridge = Local::start(&settings(sim.address())).await;
        let mut client = login(&bridge).await;
        assert_eq!(client.list().await.len(), mail.len(), "{persona:?}");
        for (index, message) in mail.iter().enumerate() {
            assert_same(&client.retr(index + 1).await, &crlf(message), &format!("{persona:?}: {index}"));
        }
        let header = client.top(1, 0).await;
        assert!(crlf(&mail[0]).starts_with(&header[..header.len() - 2]), "{persona:?}");
        client.ok("DELE 2").await;
        client.quit().await;
        let mut client = login(&bridge).await;
        assert_eq!(client.list().await.len(), mail.len() - 1, "{persona:?}");
        client.quit().await;
        assert_eq!(compressions(&sim), sim.logins(), "{persona:?}");
        assert!(sim.messages("alice", "INBOX")[0].flags.contains("\\Seen"), "{persona:?}");
    }
}

#[tokio::test]
async fn deletions_are_done() {
    let sim = sim(Persona::Dovecot).await;
    for index in 0..5 {
        sim.append("alice", "INBOX", format!("Subject: {index}\r\n\r\n").as_bytes(), &[]);
    }
    let bridge = Local::start(&settings(sim.address()).with("maildrop", "on_delete = \"expunge\"")).await;
    let mut client = login(&bridge).await;
    client.ok("DELE 2").await;
    client.ok("DELE 4").await;
    client.quit().await;
    let left: Vec<u32> = sim.messages("alice", "INBOX").iter().map(|message| message.uid).collect();
    assert_eq!(left, [1, 3, 5]);
    assert_eq!(compressions(&sim), 1);
}

#[tokio::test]
async fn without_the_offer_or_with_a_refusal_all_goes_on() {
    let message = b"Subject: one\r\n\r\nbody\r\n";
    let refusals = [None, Some(Fault::No(Some("COMPRESSIONACTIVE"))), Some(Fault::Bad)];
    for refusal in refusals {
        let sim = sim(Persona::Dovecot).await;
        sim.append("alice", "INBOX", message, &[]);
        match &refusal {
            None => sim.set_capability("COMPRESS=DEFLATE", false),
            Some(fault) => sim.fault(Place::Compress, fault.clone()),
        }
        let bridge = Local::start(&settings(sim.address())).await;
        let mut client = login(&bridge).await;
        assert_same(&client.retr(1).await, message, "RETR 1");
        client.quit().await;
        assert_eq!(compressions(&sim), usize::from(refusal.is_some()));
        assert_eq!((sim.logins(), sim.faults_left()), (1, 0));
    }
    // Offered, and not wanted.
    let sim = sim(Persona::Dovecot).await;
    let bridge = Local::start(&Settings::new(format!("imap://{}", sim.address()))).await;
    login(&bridge).await.quit().await;
    assert_eq!(compressions(&sim), 0);
}

#[tokio::test]
async fn a_server_that_fails_at_compress_is_an_outage() {
    for fault in
        [Fault::Eof, Fault::Bye, Fault::EofAfterAction, Fault::Raw(b"A2 OK\r\n* 1 EXISTS\r\n".to_vec())]
    {
        let sim = sim(Persona::Dovecot).await;
        let bridge = Local::start(&settings(sim.address())).await;
        sim.fault(Place::Compress, fault.clone());
        let mut client = Pop3::connect(bridge.address()).await;
        client.ok("USER alice").await;
        let refused = client.err(&format!("PASS {PASSWORD}")).await;
        assert!(refused.starts_with("-ERR [SYS/TEMP]"), "{fault:?}: {refused}");
        // The next one finds it well.
        login(&bridge).await.quit().await;
    }
}

#[tokio::test]
async fn a_message_that_breaks_off_is_continued() {
    let sim = sim(Persona::Dovecot).await;
    let message = big(3_000_000, 5);
    sim.append("alice", "INBOX", &message, &[]);
    let bridge = Local::start(&settings(sim.address())).await;
    let mut client = login(&bridge).await;
    for octets in [1, 999_999, 2_999_999] {
        sim.fault(Place::Fetch(0), Fault::TruncateLiteral(octets));
        assert_same(&client.retr(1).await, &message, &format!("cut behind {octets}"));
    }
    client.quit().await;
    assert_eq!((compressions(&sim), sim.faults_left()), (4, 0));
}

#[tokio::test]
async fn a_link_that_breaks_inside_a_block_is_continued_and_compression_pays() {
    let sim = sim(Persona::Dovecot).await;
    let message = big(3_000_000, 6);
    sim.append("alice", "INBOX", &message, &[]);
    let mut counts = Vec::new();
    // Compressed it is 1.1 MB: it takes several links.
    for at_most in [u64::MAX, 400_001] {
        let (relay, count) = relay::counting(sim.address(), at_most).await;
        let bridge = Local::start(&settings(relay)).await;
        let before = sim.logins();
        let mut client = login(&bridge).await;
        assert_same(&client.retr(1).await, &message, &format!("links of {at_most} octets"));
        client.quit().await;
        counts.push((sim.logins() - before, count.load(Ordering::Relaxed)));
    }
    let (whole, broken) = (counts[0], counts[1]);
    assert_eq!(whole.0, 1);
    assert!(broken.0 > 2, "{counts:?}");
    assert!(whole.1 < message.len() as u64 / 2, "{counts:?}");
}

#[tokio::test]
async fn many_pieces_are_the_same_message() {
    let sim = sim(Persona::Dovecot).await;
    let message = big(20_000, 7);
    sim.append("alice", "INBOX", &message, &[]);
    for octets in [1, 13, 4096] {
        // Each piece is flushed: a block of its own.
        sim.fault(Place::Fetch(0), Fault::SplitEvery(octets));
        sim.fault(Place::Select, Fault::SplitEvery(octets));
        let bridge = Local::start(&settings(sim.address())).await;
        let mut client = login(&bridge).await;
        assert_same(&client.retr(1).await, &message, &format!("pieces of {octets}"));
        client.quit().await;
    }
}
