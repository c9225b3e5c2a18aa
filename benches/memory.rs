//! Peak memory of the bridge while twenty clients fetch at once.
//!
//! `benches/memory.sh` runs it; the figures go to standard output.

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Barrier;

use support::bridge::{Bridge, Settings};
use support::dovecot::{Dovecot, Options};
use support::mail;
use support::pop3::Pop3;

const CLIENTS: usize = 20;
const MEGABYTE: usize = 1_000_000;

/// What the bridge may take for all of them together.
const LIMIT_KIB: u64 = 40_000_000 / 1024;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Dovecot and a release build; benches/memory.sh runs it"]
async fn peak_memory() {
    println!("\n{CLIENTS} clients at once, each a maildrop of its own:");
    let small = measure(100, MEGABYTE).await;
    let big = measure(2, 50 * MEGABYTE).await;
    assert!(small < LIMIT_KIB, "{small} KiB with small messages");
    assert!(big < LIMIT_KIB, "{big} KiB with big messages");
}

/// A fresh bridge; what its memory reached, in KiB.
async fn measure(messages: usize, octets: usize) -> u64 {
    let dovecot = Dovecot::start(&Options::default());
    let message = mail::big(octets, 1);
    let copies = std::iter::repeat_n(&message[..], messages);
    dovecot.append_all("user0", "INBOX", copies, "");
    for client in 1..CLIENTS {
        dovecot.share("user0", &format!("user{client}"));
    }
    let bridge = Bridge::start(&Settings::new(dovecot.url()));
    let idle = bridge.rss_kib();

    let start = Instant::now();
    let together = Arc::new(Barrier::new(CLIENTS));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (address, together) = (bridge.address(), Arc::clone(&together));
            tokio::spawn(async move {
                let mut pop3 = Pop3::connect(address).await;
                pop3.login(&format!("user{client}")).await;
                for number in 1..=messages {
                    fetch(&mut pop3, number, octets, &together).await;
                }
                pop3.quit().await;
            })
        })
        .collect();
    for client in clients {
        client.await.expect("every message arrives");
    }
    let seconds = start.elapsed().as_secs_f64();
    let peak = bridge.peak_kib();
    let total = CLIENTS * messages * octets / MEGABYTE;
    println!(
        "  {messages:>3} messages of {:>2} MB each: peak {:>5.1} MB (idle {:.1} MB), \
         {total} MB in {seconds:.1} s, {:.0} MB/s",
        octets / MEGABYTE,
        megabytes(peak),
        megabytes(idle),
        total as f64 / seconds,
    );
    peak
}

/// One message, counted and thrown away; everybody is in the middle of one at the same time.
async fn fetch(pop3: &mut Pop3, number: usize, octets: usize, together: &Barrier) {
    pop3.ok(&format!("RETR {number}")).await;
    let mut piece = Vec::new();
    let mut total = 0;
    let mut first = true;
    loop {
        let ended = pop3.body_until(&mut piece, 64 << 10).await;
        total += piece.len();
        piece.clear();
        if ended.expect("the connection holds") {
            break;
        }
        if first && number == 1 {
            together.wait().await;
        }
        first = false;
    }
    assert_eq!(total, octets, "message {number}");
}

fn megabytes(kib: u64) -> f64 {
    kib as f64 * 1024.0 / 1e6
}
