//! A server that is trusted to tell what happens while a connection waits (RFC 2177).

mod support;

use std::time::Duration;

use imapsim::Server;
use support::bridge::Settings;
use support::local::Local;
use support::pop3::Pop3;
use tokio::time::{Instant, sleep};

const PASSWORD: &str = "secret";

struct Setting {
    sim: Server,
    bridge: Local,
}

impl Setting {
    async fn new(maildrop: &str) -> Self {
        let sim = Server::builder().user("alice", PASSWORD).start().await.expect("the simulator starts");
        for number in 1..=5 {
            sim.append("alice", "INBOX", message(number).as_bytes(), &[]);
        }
        let settings = Settings::new(format!("imap://{}", sim.address()))
            .with("upstream.home", "trust_idle = true")
            .with("maildrop", maildrop);
        Self { bridge: Local::start(&settings).await, sim }
    }

    async fn login(&self) -> Pop3 {
        let mut client = Pop3::connect(self.bridge.address()).await;
        client.login("alice").await;
        client
    }

    /// How many messages a session is shown, and what it asked for, its end included.
    async fn poll(&self) -> (usize, Vec<String>) {
        let before = self.sim.commands().len();
        let mut client = self.login().await;
        let asked = self.asked_since(before);
        let count = client.uidl().await.len();
        client.quit().await;
        self.idles().await;
        (count, asked)
    }

    fn asked_since(&self, before: usize) -> Vec<String> {
        let lines = self.sim.commands().into_iter().skip(before);
        lines
            .map(|line| line.split_once(' ').map_or(line.as_str(), |(_, command)| command).to_owned())
            .collect()
    }

    /// Waits until no session uses a connection, and the last command is IDLE.
    async fn idles(&self) {
        self.bridge.settled(0).await;
        let end = Instant::now() + Duration::from_secs(60);
        while !self.sim.commands().last().is_some_and(|line| line.ends_with(" IDLE")) {
            assert!(Instant::now() < end, "{:#?}", self.sim.commands());
            sleep(Duration::from_millis(2)).await;
        }
        // The answer to it is read.
        sleep(Duration::from_millis(50)).await;
    }
}

fn message(number: u32) -> String {
    format!("Subject: {number}\r\nMessage-ID: <{number}@example.org>\r\n\r\nbody\r\n")
}

const NOTHING: &[String] = &[];

#[tokio::test]
async fn nothing_told_is_nothing_asked() {
    let setting = Setting::new("").await;
    assert_eq!(setting.poll().await.0, 5);
    for _ in 0..3 {
        assert_eq!(setting.poll().await, (5, NOTHING.to_vec()));
    }
    assert_eq!(setting.sim.logins(), 1);
    // The connection serves when it is needed, and marks what was read.
    let before = setting.sim.commands().len();
    let mut client = setting.login().await;
    assert_eq!(client.retr(3).await, message(3).as_bytes());
    client.quit().await;
    setting.idles().await;
    let asked = setting.asked_since(before);
    assert!(!asked[..2].iter().any(|command| command.contains("SELECT")), "{asked:?}");
    assert!(setting.sim.messages("alice", "INBOX")[2].flags.contains("\\Seen"), "{asked:?}");
    assert_eq!(setting.poll().await, (5, NOTHING.to_vec()));
}

#[tokio::test]
async fn what_was_told_is_looked_at() {
    let setting = Setting::new("").await;
    setting.poll().await;
    for round in 0..3 {
        setting.sim.append("alice", "INBOX", message(6 + round).as_bytes(), &[]);
        sleep(Duration::from_millis(100)).await;
        let (count, asked) = setting.poll().await;
        assert_eq!(count, 6, "{asked:?}");
        assert!(asked.iter().any(|command| command == "SELECT \"INBOX\""), "{asked:?}");
        assert_eq!(setting.poll().await, (6, NOTHING.to_vec()));
        let first = setting.sim.messages("alice", "INBOX")[0].uid;
        setting.sim.remove("alice", "INBOX", first);
        sleep(Duration::from_millis(100)).await;
        let (count, asked) = setting.poll().await;
        assert_eq!(count, 5, "{asked:?}");
        // What was found to be gone is kept by the session that finds it: the next one is spared.
        assert_eq!(setting.poll().await.0, 5);
    }
    // Flags are no news for a listing.
    let uid = setting.sim.messages("alice", "INBOX")[0].uid;
    setting.sim.set_flags("alice", "INBOX", uid, &["\\Flagged"]);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(setting.poll().await, (5, NOTHING.to_vec()));
    // A mailbox that is made anew ends the connection.
    setting.sim.change_uid_validity("alice", "INBOX");
    sleep(Duration::from_millis(100)).await;
    let (count, asked) = setting.poll().await;
    assert_eq!((count, setting.sim.logins()), (5, 2), "{asked:?}");
}

#[tokio::test]
async fn what_a_session_did_itself_is_looked_at() {
    let setting = Setting::new("on_delete = \"expunge\"").await;
    setting.poll().await;
    let mut client = setting.login().await;
    client.ok("DELE 1").await;
    client.quit().await;
    setting.idles().await;
    let (count, asked) = setting.poll().await;
    assert_eq!(count, 4, "{asked:?}");
    assert_eq!(setting.poll().await, (4, NOTHING.to_vec()));
}

#[tokio::test]
async fn what_comes_between_the_look_and_idle_is_seen() {
    for _ in 0..20 {
        let setting = Setting::new("").await;
        setting.poll().await;
        let client = setting.login().await;
        client.quit().await;
        // Somewhere between QUIT and IDLE.
        setting.sim.append("alice", "INBOX", message(6).as_bytes(), &[]);
        setting.idles().await;
        let (count, asked) = setting.poll().await;
        assert_eq!(count, 6, "{asked:?}");
    }
}

#[tokio::test]
async fn a_connection_that_died_is_replaced_when_it_is_needed() {
    let setting = Setting::new("").await;
    setting.poll().await;
    let mut client = setting.login().await;
    setting.sim.kill_connections();
    assert_eq!(client.uidl().await.len(), 5);
    assert_eq!(client.retr(2).await, message(2).as_bytes());
    client.quit().await;
    assert_eq!(setting.sim.logins(), 2);
    // One that died while it waited proves nothing.
    setting.idles().await;
    setting.sim.kill_connections();
    sleep(Duration::from_millis(100)).await;
    let (count, asked) = setting.poll().await;
    assert_eq!((count, setting.sim.logins()), (5, 3), "{asked:?}");
}
