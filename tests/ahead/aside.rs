//! Headers that are asked for right before or behind their message: PHP, poplib, movemail.

use imapsim::{Fault, Persona, Place};

use super::Stage;
use super::support::mail::{Rng, big, ordinary};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    Before,
    Behind,
    Both,
}

async fn walk(stage: &Stage, order: Order) {
    let mut client = stage.login().await;
    for number in 1..=stage.mail.len() {
        if order != Order::Behind {
            stage.top(&mut client, number, 0).await;
        }
        stage.retr(&mut client, number).await;
        if order != Order::Before {
            stage.top(&mut client, number, 0).await;
        }
    }
    client.quit().await;
}

#[tokio::test]
async fn they_cost_no_command_each() {
    for order in [Order::Before, Order::Behind, Order::Both] {
        let stage = Stage::small(200).await;
        walk(&stage, order).await;
        stage.bridge.settled(0).await;
        let fetches = stage.fetches();
        assert!(fetches.len() <= 20, "{order:?}: {} commands: {fetches:#?}", fetches.len());
        assert_eq!(stage.sim.connections(), 1, "{order:?}");
        let seen = stage.sim.messages("alice", "INBOX");
        let seen = seen.iter().filter(|message| message.flags.contains("\\Seen")).count();
        assert_eq!(seen, 200, "{order:?}");
    }
}

/// Messages of all kinds: no text, no blank line, headers over what is kept, large texts, bare LF.
fn odd_mail() -> Vec<Vec<u8>> {
    let long = |octets: usize| format!("Subject: {}\r\n\r\ntext\r\n", "x".repeat(octets)).into_bytes();
    let mut mail = vec![
        b"Subject: one\r\n\r\none\r\n".to_vec(),
        b"Subject: no text\r\n\r\n".to_vec(),
        b"\r\nno header\r\n".to_vec(),
        long(15_000),
        long(16_384 - 13),
        long(16_384),
        long(40_000),
        b"Subject: lf\n\nbare\nlines\n.\n".to_vec(),
        b"Subject: x\r\n\r\n".to_vec(),
        b"Subject: no blank line\r\n".to_vec(),
        big(300_000, 7),
        b"Subject: behind\r\n\r\n.\r\n..\r\n".to_vec(),
        big(40_000, 8),
    ];
    mail.extend(ordinary(3, 10));
    mail
}

#[tokio::test]
async fn they_are_exact_whatever_the_message() {
    for persona in [Persona::Dovecot, Persona::Microsoft365, Persona::Courier] {
        for order in [Order::Before, Order::Behind, Order::Both] {
            let stage = Stage::new(odd_mail(), persona, "").await;
            walk(&stage, order).await;
        }
    }
    let stage = Stage::new(odd_mail(), Persona::Dovecot, "read_ahead = \"0 B\"").await;
    walk(&stage, Order::Both).await;
}

#[tokio::test]
async fn what_comes_in_between_does_no_harm() {
    for seed in 1..=6 {
        let stage = Stage::new(odd_mail(), Persona::Dovecot, "").await;
        let mut rng = Rng::new(seed);
        let mut client = stage.login().await;
        let count = stage.mail.len();
        let mut at = 1;
        for _ in 0..150 {
            let near = (at + rng.below(3)).clamp(1, count);
            match rng.below(12) {
                0..4 => stage.top(&mut client, near, 0).await,
                4..8 => {
                    stage.retr(&mut client, near).await;
                    at = near;
                }
                8 => stage.top(&mut client, near, 2).await,
                9 => drop(client.list().await),
                10 => drop(client.ok("NOOP").await),
                _ => at = 1 + rng.below(count),
            }
        }
        client.quit().await;
    }
}

#[tokio::test]
async fn a_break_in_between_is_healed() {
    for (places, order) in [(3, Order::Before), (5, Order::Behind), (4, Order::Both)] {
        for fault in [Fault::TruncateLiteral(60), Fault::Eof, Fault::TruncateLiteral(5)] {
            let stage = Stage::new(odd_mail(), Persona::Dovecot, "").await;
            for place in 1..=places {
                // The first FETCH is the listing.
                stage.sim.fault(Place::Fetch(1 + place), fault.clone());
            }
            walk(&stage, order).await;
        }
    }
    // Between the header and its message.
    let stage = Stage::small(30).await;
    let mut client = stage.login().await;
    for number in 1..=30 {
        stage.top(&mut client, number, 0).await;
        if number % 5 == 0 {
            stage.sim.kill_connections();
        }
        stage.retr(&mut client, number).await;
    }
    client.quit().await;
}
