//! The program dies by SIGKILL at each step of the update, on the simulator: what QUIT confirmed
//! is done by the next login, each message once, and nothing else is touched.

mod support;

#[path = "crash/story.rs"]
mod story;

use std::time::Duration;

use imapsim::Server;
use story::{Held, Policy, Upstream};
use support::bridge::Bridge;
use support::dovecot::PASSWORD;
use support::pop3::Pop3;
use support::report;

struct Sim(Server);

impl Sim {
    async fn new(policy: Policy, delay: Duration) -> Self {
        let sim = Server::builder().user("alice", PASSWORD).delay(delay).start().await;
        let sim = sim.expect("the simulator starts");
        if policy == Policy::TrashByCopy {
            sim.set_capability("MOVE", false);
        }
        sim.create("alice", "Archive", Some("\\Archive"));
        for (index, message) in story::mail().iter().enumerate() {
            let flags: &[&str] = if index == story::FLAGGED { &["\\Deleted"] } else { &[] };
            sim.append("alice", "INBOX", message, flags);
        }
        Self(sim)
    }
}

impl Upstream for Sim {
    fn url(&self) -> String {
        format!("imap://{}", self.0.address())
    }

    fn folder(&self, name: &str) -> Vec<Held> {
        let messages = self.0.messages("alice", name).into_iter();
        let held = messages.map(|message| Held {
            body: message.body.to_vec(),
            deleted: message.flags.contains("\\Deleted"),
        });
        held.collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_death_at_each_step_of_the_update_is_made_up_for() {
    let mut count = 0;
    for policy in Policy::ALL {
        for (place, confirmed) in policy.places() {
            story::dies(&Sim::new(policy, Duration::ZERO).await, policy, place, confirmed, None).await;
            count += 1;
        }
    }
    report(&format!("crashes: {count} deaths"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_death_in_making_up_for_a_death_is_made_up_for() {
    let ways: [(Policy, &str, &[&str]); 4] = [
        (
            Policy::TrashByCopy,
            "copied",
            &["identified", "flagged", "acted", "verified", "settling", "settled"],
        ),
        (Policy::TrashByCopy, "begun", &["identified", "beginning", "begun", "copied", "flagged", "acted"]),
        (Policy::Trash, "begun", &["identified", "begun", "acted", "settling"]),
        (Policy::Expunge, "flagged", &["begun", "flagged", "acted", "settling"]),
    ];
    for (policy, first, seconds) in ways {
        for second in seconds {
            let sim = Sim::new(policy, Duration::ZERO).await;
            story::dies(&sim, policy, first, true, Some(second)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_kill_at_any_moment_behind_quit_is_made_up_for() {
    // Xorshift: other moments in each round, the same in each run.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut confirmed = 0;
    for round in 0..20 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let policy = Policy::ALL[round % Policy::ALL.len()];
        let sim = Sim::new(policy, Duration::from_millis(10)).await;
        // More of them early, about when the journal is written.
        let pause = Duration::from_micros((state % 300).pow(2));
        confirmed += usize::from(story::killed(&sim, policy, pause).await);
    }
    report(&format!("crashes: 20 kills, {confirmed} of them behind the journal"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_death_between_two_folders_does_the_one_and_not_the_other() {
    let sim = Sim::new(Policy::Trash, Duration::ZERO).await;
    sim.0.append("alice", "Work", b"Subject: work\r\n\r\n", &[]);
    let settings = Policy::Trash.settings(&sim.url()).with("maildrop", "folders = [\"INBOX\", \"Work\"]");
    let mut bridge = Bridge::start_with(&settings, &[("POPBRIDGE_DIE_AT", "journaling")]);
    let mut client = Pop3::connect(bridge.address()).await;
    client.login("alice").await;
    let ids = client.uidl().await;
    client.ok("DELE 1").await;
    client.ok("DELE 7").await;
    client.attempt("QUIT").await.expect_err("it died before its answer");
    bridge.await_end();
    bridge.start_again(&[]);
    let mut client = Pop3::connect(bridge.address()).await;
    client.login("alice").await;
    let left: Vec<String> = client.uidl().await.into_iter().map(|(_, id)| id).collect();
    assert_eq!(left, ids[1..].iter().map(|(_, id)| id.clone()).collect::<Vec<_>>());
    client.ok("DELE 6").await;
    client.quit().await;
    assert_eq!((sim.folder("INBOX").len(), sim.folder("Work").len(), sim.folder("Trash").len()), (5, 0, 2));
}
