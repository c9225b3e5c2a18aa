//! COMPRESS=DEFLATE with a real Dovecot.

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use support::bridge::Settings;
use support::certs::Authority;
use support::dovecot::{Dovecot, Options};
use support::local::Local;
use support::mail::{assert_same, big, corpus, crlf};
use support::pop3::Pop3;
use support::{process, relay, report};

const ZLIB: &str = "protocol imap {\n  mail_plugins = imap_zlib\n}\n";

fn dovecot() -> Dovecot {
    Dovecot::start(&Options { extra: ZLIB, ..Options::default() })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn the_same_mail_in_fewer_octets() {
    let dovecot = dovecot();
    let mut mail = corpus(51, 60);
    mail.push([&b"Subject: text\r\n\r\n"[..], &b"one line is like another\r\n".repeat(40_000)].concat());
    mail.push(big(2_000_000, 52));
    dovecot.append_all("alice", "INBOX", mail.iter().map(Vec::as_slice), "");
    let mut counts = Vec::new();
    for compress in [false, true] {
        let (relay, count) = relay::counting(dovecot.address(), u64::MAX).await;
        let settings =
            Settings::new(format!("imap://{relay}")).with("upstream.home", &format!("compress = {compress}"));
        let bridge = Local::start(&settings).await;
        let mut client = Pop3::connect(bridge.address()).await;
        client.login("alice").await;
        assert_eq!(client.list().await.len(), mail.len());
        for (index, message) in mail.iter().enumerate() {
            assert_same(&client.retr(index + 1).await, &crlf(message), &format!("{compress}: {index}"));
        }
        client.ok(&format!("DELE {}", mail.len())).await;
        client.ok("RSET").await;
        client.quit().await;
        counts.push(count.load(Ordering::Relaxed));
    }
    let (plain, compressed) = (counts[0], counts[1]);
    report(&format!("octets from Dovecot: {plain} plain, {compressed} compressed"));
    assert!(compressed < plain * 2 / 3, "{compressed} of {plain}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn a_session_killed_in_a_message_is_healed() {
    let dovecot = dovecot();
    let message = big(30_000_000, 53);
    dovecot.append("alice", "INBOX", &message, "");
    let settings = Settings::new(dovecot.url())
        .with("upstream.home", "compress = true\nrecovery = \"1m\"")
        .with("maildrop", "on_delete = \"expunge\"");
    let bridge = Local::start(&settings).await;
    let mut client = Pop3::connect_narrow(bridge.address()).await;
    client.login("alice").await;
    client.ok("RETR 1").await;
    let mut body = Vec::new();
    let logins = dovecot.logins("alice");
    for octets in [3_000_000, 12_000_000] {
        let ended = client.body_until(&mut body, octets).await;
        assert!(!ended.expect("not broken yet"));
        let mut sessions = Vec::new();
        process::eventually(Duration::from_secs(10), || {
            sessions = dovecot.sessions("alice");
            !sessions.is_empty()
        });
        assert!(!sessions.is_empty(), "no process serves alice");
        for session in sessions {
            dovecot.kill_session(session);
        }
    }
    assert!(client.body_until(&mut body, usize::MAX).await.expect("healed"));
    assert_same(&body, &message, "RETR 1");
    assert_eq!(dovecot.logins("alice"), logins + 2, "the message had been on its way already");
    client.ok("DELE 1").await;
    client.quit().await;
    assert!(dovecot.summaries("alice", "INBOX").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn a_dovecot_without_it_serves_all_the_same() {
    let dovecot = Dovecot::start(&Options::default());
    dovecot.append("alice", "INBOX", b"Subject: one\r\n\r\nbody\r\n", "");
    let settings = Settings::new(dovecot.url()).with("upstream.home", "compress = true");
    let bridge = Local::start(&settings).await;
    let mut client = Pop3::connect(bridge.address()).await;
    client.login("alice").await;
    assert_same(&client.retr(1).await, b"Subject: one\r\n\r\nbody\r\n", "RETR 1");
    client.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn under_tls_as_well() {
    let authority = Authority::new("the upstream's");
    let dovecot = Dovecot::start(&Options { tls: Some(&authority), extra: ZLIB, ..Options::default() });
    let message = big(1_000_000, 54);
    dovecot.append("alice", "INBOX", &message, "");
    for url in [dovecot.imaps_url(), dovecot.starttls_url()] {
        let settings = Settings::new(url).trust(&authority).with("upstream.home", "compress = true");
        let bridge = Local::start(&settings).await;
        let mut client = Pop3::connect(bridge.address()).await;
        client.login("alice").await;
        assert_same(&client.retr(1).await, &message, "RETR 1");
        client.quit().await;
    }
}
