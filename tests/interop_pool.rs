//! Connections that are kept between sessions, with a real Dovecot, overheard on the way.

mod support;

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::bridge::{Bridge, Settings};
use support::certs::Authority;
use support::dovecot::{Dovecot, Options, PASSWORD};
use support::fetchmail::Fetchmail;
use support::local::Local;
use support::mail::{assert_same, big, crlf};
use support::polls::{answer, poll, until};
use support::pop3::Pop3;
use support::{process, relay};

struct Stage {
    dovecot: Dovecot,
    bridge: Local,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Stage {
    /// Three messages, listed once; the connection of that session waits.
    async fn new(options: &Options<'_>, upstream: &str) -> Self {
        let dovecot = Dovecot::start(options);
        for index in 0..3 {
            append(&dovecot, index);
        }
        let (relay, heard) = relay::listening_in(dovecot.address()).await;
        let settings = Settings::new(format!("imap://{relay}")).with("upstream.home", upstream);
        let stage = Self { dovecot, bridge: Local::start(&settings).await, heard };
        assert_eq!(poll(&stage.bridge, "alice").await, 3);
        assert_eq!(stage.logins(), 1);
        stage
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("not poisoned").clone()
    }

    fn logins(&self) -> usize {
        self.heard().iter().filter(|line| line.starts_with("AUTHENTICATE")).count()
    }

    async fn idle(&self) {
        until("IDLE", || self.heard().last().is_some_and(|line| line == "IDLE")).await;
    }

    /// The next session shows what is there, over so many new logins; what was sent for it.
    async fn next(&self, what: &str, logins: usize) -> Vec<String> {
        let (before, known) = (self.heard().len(), self.logins());
        let mut client = Pop3::connect(self.bridge.address()).await;
        client.login("alice").await;
        let uid = |id: &String| u32::from_str_radix(&id[8..], 16).expect("hexadecimal");
        let shown: Vec<u32> = client.uidl().await.iter().map(|(_, id)| uid(id)).collect();
        let sent = self.heard()[before..].to_vec();
        client.quit().await;
        self.bridge.settled(0).await;
        let there = self.dovecot.summaries("alice", "INBOX");
        assert_eq!(shown, there.iter().map(|message| message.uid).collect::<Vec<u32>>(), "{what}: {sent:?}");
        assert_eq!(self.logins() - known, logins, "{what}: {sent:?}");
        sent
    }
}

fn append(dovecot: &Dovecot, index: usize) {
    dovecot.append("alice", "INBOX", format!("Subject: {index}\r\n\r\n{index}\r\n").as_bytes(), "");
}

/// The process that serves the connection that waits; those of this test's own end first.
fn waiting(dovecot: &Dovecot) -> process::Process {
    let alone = || dovecot.sessions("alice").len() == 1;
    assert!(process::eventually(Duration::from_secs(20), alone), "{:?}", dovecot.sessions("alice"));
    dovecot.sessions("alice").remove(0)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn a_poll_is_one_turn() {
    let stage = Stage::new(&Options::default(), "").await;
    let sent = stage.next("at once", 0).await;
    assert!(sent.len() == 1 && sent[0].starts_with("SELECT \"INBOX\" (QRESYNC ("), "{sent:?}");
    stage.idle().await;
    let sent = stage.next("behind IDLE", 0).await;
    assert!(sent.len() == 2 && sent[0] == "DONE" && sent[1].starts_with("SELECT"), "{sent:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn what_others_do_meanwhile_is_seen() {
    for idle in [true, false] {
        let stage = Stage::new(&Options::default(), "").await;
        let rest = async || {
            if idle {
                stage.idle().await;
            }
        };
        rest().await;
        append(&stage.dovecot, 3);
        stage.next("one has come", 0).await;
        rest().await;
        stage.dovecot.expunge_elsewhere("alice", 2);
        stage.next("one has gone", 0).await;
        rest().await;
        stage.dovecot.flag_elsewhere("alice", 1, "\\Flagged \\Seen");
        stage.next("flags", 0).await;
        rest().await;
        stage.dovecot.expunge_elsewhere("alice", 1);
        append(&stage.dovecot, 4);
        append(&stage.dovecot, 5);
        stage.dovecot.expunge_elsewhere("alice", 6);
        stage.next("all of it", 0).await;
        rest().await;
        let all = stage.dovecot.summaries("alice", "INBOX");
        for message in all {
            stage.dovecot.expunge_elsewhere("alice", message.uid);
        }
        stage.next("all have gone", 0).await;
        rest().await;
        // As a delivery does that Dovecot's index does not know of.
        stage.dovecot.lay("alice", "1700000000.M1P1.laid", b"Subject: laid\r\n\r\nlaid\r\n");
        stage.next("one was laid into the maildir", 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn a_mailbox_made_anew_meanwhile_keeps_its_unique_ids() {
    let stage = Stage::new(&Options::default(), "").await;
    let ids = async || {
        let mut client = Pop3::connect(stage.bridge.address()).await;
        client.login("alice").await;
        let mut ids: Vec<String> = client.uidl().await.into_iter().map(|(_, id)| id).collect();
        client.quit().await;
        stage.bridge.settled(0).await;
        ids.sort();
        ids
    };
    let before = ids().await;
    let session = waiting(&stage.dovecot);
    session.signal("TERM");
    assert!(session.gone_within(Duration::from_secs(20)));
    stage.dovecot.make_anew("alice", 3);
    assert_eq!(ids().await, before);
}

/// SIGTERM is what `doveadm kick` sends.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn a_session_that_dovecot_ends_costs_a_login() {
    let stage = Stage::new(&Options::default(), "").await;
    for (signal, idle) in [("TERM", true), ("KILL", true), ("TERM", false), ("KILL", false)] {
        if idle {
            stage.idle().await;
        }
        let session = waiting(&stage.dovecot);
        session.signal(signal);
        assert!(session.gone_within(Duration::from_secs(20)));
        stage.next(&format!("{signal}, idle: {idle}"), 1).await;
        stage.next("then", 0).await;
    }
}

/// It is there and does not answer, as behind a network that has forgotten the connection.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn a_session_that_is_stopped_is_replaced() {
    let stage = Stage::new(&Options::default(), "").await;
    stage.idle().await;
    let session = waiting(&stage.dovecot);
    session.signal("STOP");
    let started = std::time::Instant::now();
    let answer = answer(&stage.bridge, "alice", PASSWORD).await;
    let took = started.elapsed();
    session.signal("CONT");
    assert!(answer.starts_with("+OK 3 messages"), "{answer}");
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert_eq!(stage.logins(), 2);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn an_outage_meanwhile_is_temporary() {
    let mut stage = Stage::new(&Options::default(), "timeout = \"5s\"").await;
    stage.idle().await;
    stage.dovecot.stop();
    let refused = answer(&stage.bridge, "alice", PASSWORD).await;
    assert!(refused.starts_with("-ERR [SYS/TEMP]"), "{refused}");
    stage.dovecot.start_again();
    stage.next("behind it", 1).await;
    stage.next("then", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn a_wrong_password_gets_nothing_of_it() {
    let stage = Stage::new(&Options::default(), "").await;
    let refused = answer(&stage.bridge, "alice", "wrong").await;
    assert!(refused.starts_with("-ERR [AUTH]"), "{refused}");
    stage.next("the right one", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn at_its_end_it_says_goodbye() {
    let stage = Stage::new(&Options::default(), "keep_alive = \"4s\"").await;
    stage.idle().await;
    until("the goodbye", || stage.heard().last().is_some_and(|line| line == "LOGOUT")).await;
    let gone = || stage.dovecot.sessions("alice").is_empty();
    assert!(process::eventually(Duration::from_secs(20), gone));
    stage.next("behind it", 1).await;
    let Stage { dovecot, bridge, .. } = stage;
    bridge.stop().await;
    let gone = || dovecot.sessions("alice").is_empty();
    assert!(process::eventually(Duration::from_secs(20), gone));
    let log = dovecot.log();
    let words =
        ["Logged out", "Disconnected"].map(|words| log.lines().filter(|line| line.contains(words)).count());
    assert!(words[0] >= 2, "{log}");
}

/// TLS and compression keep state of their own on a connection.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn under_tls_and_compressed_as_well() {
    let authority = Authority::new("the upstream's");
    let extra = "protocol imap {\n  mail_plugins = imap_zlib\n}\n";
    let dovecot = Dovecot::start(&Options { tls: Some(&authority), extra, ..Options::default() });
    let mail = [big(300_000, 61), b"Subject: two\r\n\r\ntwo\r\n".to_vec()];
    dovecot.append_all("alice", "INBOX", mail.iter().map(Vec::as_slice), "");
    for url in [dovecot.imaps_url(), dovecot.starttls_url(), dovecot.url()] {
        for compress in [false, true] {
            let logins = dovecot.logins("alice");
            let settings = Settings::new(url.clone())
                .trust(&authority)
                .with("upstream.home", &format!("compress = {compress}"));
            let bridge = Local::start(&settings).await;
            for round in 0..4 {
                if round == 2 {
                    // IDLE has begun.
                    tokio::time::sleep(Duration::from_millis(2500)).await;
                }
                let mut client = Pop3::connect(bridge.address()).await;
                client.login("alice").await;
                for (number, message) in (1..).zip(&mail) {
                    assert_same(&client.retr(number).await, &crlf(message), &format!("{url} {compress}"));
                }
                client.quit().await;
                bridge.settled(0).await;
            }
            bridge.stop().await;
            assert_eq!(dovecot.logins("alice") - logins, 1, "{url}, compress: {compress}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Dovecot, curl and fetchmail; .ci/run runs it"]
async fn mail_programs_that_come_again_need_no_login() {
    let dovecot = Dovecot::start(&Options::default());
    let mail: Vec<Vec<u8>> = (0..5)
        .map(|index| format!("From: a@example.org\r\nSubject: {index}\r\n\r\n{index}\r\n").into_bytes())
        .collect();
    dovecot.append_all("alice", "INBOX", mail.iter().map(Vec::as_slice), "");
    let bridge = Bridge::start(&Settings::new(dovecot.url()));
    let logins = dovecot.logins("alice");
    let fetchmail = Fetchmail::keeping("alice");
    fetchmail.fetches_something(bridge.address());
    bridge.sessions(1);
    fetchmail.fetches_nothing(bridge.address());
    bridge.sessions(2);
    fetchmail.has_delivered(&mail);
    let curl = process::require("curl", "curl");
    for number in 1..=5 {
        let mut command = Command::new(&curl);
        command
            .args(["--silent", "--show-error", "--noproxy", "*", "--user", &format!("alice:{PASSWORD}")])
            .arg(format!("pop3://{}/{number}", bridge.address()));
        let output = process::run(&mut command, Duration::from_secs(60));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_same(&output.stdout, &mail[number - 1], "curl");
        bridge.sessions(2 + number);
    }
    assert_eq!(dovecot.logins("alice") - logins, 1, "{}", dovecot.log());
}
