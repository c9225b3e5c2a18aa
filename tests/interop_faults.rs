//! A real Dovecot fails under the bridge: killed, stopped, unwilling.
//!
//! What the client has to see: the exact message, or an end that nobody can
//! take for a whole message; and the truth about what was done.

mod support;

use std::time::Duration;

use tokio::time::timeout;

use support::bridge::{Bridge, Settings};
use support::dovecot::{Dovecot, Options};
use support::mail::{self, assert_same};
use support::pop3::Pop3;
use support::process;

const MEGABYTE: usize = 1_000_000;
const BIG: usize = 50 * MEGABYTE;

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn a_session_killed_in_a_retr_is_healed() {
    let stage = Stage::new("recovery = \"1m\"");
    let mut pop3 = stage.login().await;
    pop3.ok("RETR 2").await;
    let body = stage.read_while_killing(&mut pop3, &[4 * MEGABYTE]).await;
    assert_same(&body, &stage.big, "RETR 2");
    // The session goes on as if nothing had been.
    stage.check_small(&mut pop3).await;
    pop3.quit().await;
    let session = &stage.bridge.sessions(1)[0];
    assert_eq!((session.end.as_str(), session.retrieved), ("quit", 3));
    stage.nothing_was_deleted();
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn a_download_by_top_is_healed_again_and_again() {
    let stage = Stage::new("recovery = \"1m\"");
    let mut pop3 = stage.login().await;
    pop3.ok("TOP 2 99999999").await;
    let kills = [MEGABYTE / 10, 20 * MEGABYTE];
    let body = stage.read_while_killing(&mut pop3, &kills).await;
    assert_same(&body, &stage.big, "TOP 2 99999999");
    stage.check_small(&mut pop3).await;
    pop3.quit().await;
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn a_session_killed_between_commands_is_not_noticed() {
    let stage = Stage::new("recovery = \"1m\"");
    let mut pop3 = stage.login().await;
    stage.check_small(&mut pop3).await;
    stage.kill();
    stage.check_small(&mut pop3).await;
    stage.kill();
    assert_eq!(pop3.list().await.len(), 3);
    assert_eq!(pop3.top(1, 0).await, mail::split(&stage.small[0]).0);
    pop3.quit().await;
    stage.nothing_was_deleted();
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn a_session_killed_before_quit_still_tells_the_truth() {
    let stage = Stage::new("recovery = \"1m\"");
    let mut pop3 = stage.login().await;
    pop3.ok("DELE 1").await;
    stage.kill();
    let answer = pop3.command("QUIT").await;
    let left = stage.dovecot.summaries("alice", "INBOX").len();
    if answer.starts_with("+OK") {
        assert_eq!(left, 2, "{answer}");
    } else {
        assert!(answer.starts_with("-ERR"), "{answer}");
        // Refused now, and either undone or carried out at the next login, never half.
        let mut pop3 = stage.login().await;
        let listed = pop3.list().await.len();
        pop3.quit().await;
        assert_eq!(stage.dovecot.summaries("alice", "INBOX").len(), listed);
    }
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn an_upstream_gone_for_good_ends_the_connection_without_a_dot() {
    let mut stage = Stage::new("recovery = \"3s\"");
    let mut pop3 = stage.login().await;
    pop3.ok("DELE 1").await;
    pop3.ok("RETR 2").await;
    let mut body = Vec::new();
    let early = pop3.body_until(&mut body, 4 * MEGABYTE).await;
    assert!(!early.expect("the upstream still runs"));
    stage.dovecot.stop();
    let end = pop3.body_until(&mut body, usize::MAX).await;
    end.expect_err("the message was never complete, and nothing may say so");
    assert!(body.len() < stage.big.len());
    // What did arrive is the message's beginning, but for a last line cut short.
    let whole = body.len().saturating_sub(200);
    assert_same(&body[..whole], &stage.big[..whole], "the beginning");

    let session = &stage.bridge.sessions(1)[0];
    assert_eq!(session.login, "alice");
    assert!(session.end.contains("broke off"), "{session:?}");
    assert_eq!((session.retrieved, session.deleted), (0, 0));

    // Still down, then back: refused in words, then all is there.
    let mut pop3 = Pop3::connect(stage.bridge.address()).await;
    refused(&mut pop3, "secret", "[SYS/TEMP]").await;
    stage.dovecot.start_again();
    stage.nothing_was_deleted();
    let mut pop3 = stage.login().await;
    assert_eq!(pop3.list().await.len(), 3);
    assert_same(&pop3.retr(2).await, &stage.big, "RETR 2");
    pop3.quit().await;
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn an_upstream_that_comes_back_in_time_is_not_gone_for_good() {
    let mut stage = Stage::new("recovery = \"1m\"");
    let mut pop3 = stage.login().await;
    pop3.ok("RETR 2").await;
    let mut body = Vec::new();
    let early = pop3.body_until(&mut body, 4 * MEGABYTE).await;
    assert!(!early.expect("the upstream still runs"));
    stage.dovecot.stop();
    {
        // Read on meanwhile, so that the outage is reached.
        let reading = pop3.body_until(&mut body, usize::MAX);
        tokio::pin!(reading);
        let during = timeout(Duration::from_secs(3), &mut reading).await;
        assert!(during.is_err(), "it cannot have ended: {during:?}");
        stage.dovecot.start_again();
        assert!(reading.await.expect("healed"));
    }
    assert_same(&body, &stage.big, "RETR 2");
    pop3.quit().await;
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn an_upstream_that_is_down_is_no_wrong_password() {
    let mut dovecot = Dovecot::start(&Options::default());
    let bridge = Bridge::start(&Settings::new(dovecot.url()));
    dovecot.stop();
    let mut pop3 = Pop3::connect(bridge.address()).await;
    refused(&mut pop3, "secret", "[SYS/TEMP]").await;
    dovecot.start_again();
    // The same connection, and a new one.
    pop3.login("alice").await;
    pop3.quit().await;
    let mut pop3 = Pop3::connect(bridge.address()).await;
    pop3.login("alice").await;
    pop3.quit().await;
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn a_wrong_password_is_said_to_be_one() {
    let dovecot = Dovecot::start(&Options::default());
    let bridge = Bridge::start(&Settings::new(dovecot.url()));
    let mut pop3 = Pop3::connect(bridge.address()).await;
    refused(&mut pop3, "wrong", "[AUTH]").await;
    pop3.login("alice").await;
    pop3.quit().await;
    // A password that was right a moment ago proves nothing for another one.
    let mut pop3 = Pop3::connect(bridge.address()).await;
    refused(&mut pop3, "wrong", "[AUTH]").await;
}

/// PASS is refused with this code and with words behind it.
async fn refused(pop3: &mut Pop3, password: &str, code: &str) {
    pop3.ok("USER alice").await;
    let answer = pop3.err(&format!("PASS {password}")).await;
    let words = answer.strip_prefix(&format!("-ERR {code} "));
    let words = words.unwrap_or_else(|| panic!("{answer}"));
    assert!(words.len() > 5, "{answer}");
}

/// Two small messages with a big one between, and a policy that would remove.
struct Stage {
    bridge: Bridge,
    dovecot: Dovecot,
    small: [Vec<u8>; 2],
    big: Vec<u8>,
}

impl Stage {
    fn new(upstream: &str) -> Self {
        let dovecot = Dovecot::start(&Options::default());
        let small = [mail::big(3_000, 41), mail::big(5_000, 42)];
        let big = mail::big(BIG, 43);
        let messages = [&small[0][..], &big, &small[1]];
        dovecot.append_all("alice", "INBOX", messages, "");
        let settings = Settings::new(dovecot.url())
            .with("upstream.home", upstream)
            .with("maildrop", "on_delete = \"expunge\"");
        Self { bridge: Bridge::start(&settings), dovecot, small, big }
    }

    async fn login(&self) -> Pop3 {
        let mut pop3 = Pop3::connect_narrow(self.bridge.address()).await;
        pop3.login("alice").await;
        pop3
    }

    async fn check_small(&self, pop3: &mut Pop3) {
        assert_same(&pop3.retr(1).await, &self.small[0], "RETR 1");
        assert_same(&pop3.retr(3).await, &self.small[1], "RETR 3");
    }

    /// Reads a multi-line answer to its end and kills the upstream session at these octets.
    ///
    /// Nothing is read beyond them before, so that the rest is still upstream.
    async fn read_while_killing(&self, pop3: &mut Pop3, kills: &[usize]) -> Vec<u8> {
        let mut body = Vec::new();
        let logins = self.dovecot.logins("alice");
        for &octets in kills {
            let ended = pop3.body_until(&mut body, octets).await;
            assert!(!ended.expect("not broken yet"), "{octets} octets are not all");
            self.kill();
        }
        let ended = pop3.body_until(&mut body, usize::MAX).await;
        let ended = ended.unwrap_or_else(|error| panic!("{error} after {} octets", body.len()));
        assert!(ended);
        // Else the whole message had been on its way, and the test showed nothing.
        assert_eq!(self.dovecot.logins("alice"), logins + kills.len());
        body
    }

    /// Ends every upstream session of the user by its process id.
    fn kill(&self) {
        let mut sessions = Vec::new();
        process::eventually(Duration::from_secs(10), || {
            sessions = self.dovecot.sessions("alice");
            !sessions.is_empty()
        });
        assert!(!sessions.is_empty(), "no process serves alice");
        for session in sessions {
            self.dovecot.kill_session(session);
        }
    }

    fn nothing_was_deleted(&self) {
        let stored = self.dovecot.summaries("alice", "INBOX");
        assert_eq!(stored.len(), 3);
        assert!(stored.iter().all(|message| !message.has("\\Deleted")));
    }
}
