//! Ten thousand wrong passwords, and who comes by meanwhile.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use imapsim::Server;
use popbridge::secret::{PasswordHash, Secret};
use tokio::task::JoinSet;

use crate::support::bridge::{Bridge, Settings};
use crate::support::dovecot::PASSWORD;
use crate::support::local::Local;
use crate::support::polls::{answer, poll};
use crate::support::pop3::Pop3;

const WRONG: usize = 10_000;
/// As many as one session may give.
const IN_A_SESSION: usize = 9;
const DEVICE: &str = "dev1ce-Passw0rd";
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// Five, and what was under way at the fifth: one more at the same account.
const JUDGED: usize = 6;

async fn sim() -> Server {
    Server::builder().any_user(PASSWORD).start().await.expect("the simulator starts")
}

fn settings(sim: &Server) -> Settings {
    Settings::new(format!("imap://{}", sim.address()))
}

/// Guesses until none is left, many at once and pipelined; how many were judged.
async fn flood(address: SocketAddr, login: &'static str, same: bool) -> usize {
    let (next, judged) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut guessers = JoinSet::new();
    for _ in 0..24 {
        let (next, judged) = (Arc::clone(&next), Arc::clone(&judged));
        guessers.spawn(async move {
            loop {
                let first = next.fetch_add(IN_A_SESSION, Ordering::Relaxed);
                if first >= WRONG {
                    return;
                }
                let mut client = Pop3::connect(address).await;
                let guesses = (first..first + IN_A_SESSION)
                    .map(|number| format!("USER {login}\r\nPASS wrong{}\r\n", if same { 0 } else { number }));
                client.send(guesses.collect::<String>().as_bytes()).await;
                for _ in 0..IN_A_SESSION {
                    assert!(client.line().await.expect("USER").starts_with("+OK"));
                    let answer = client.line().await.expect("PASS");
                    let refused =
                        answer.starts_with("-ERR [SYS/TEMP] Too many wrong passwords from your address");
                    if !refused {
                        assert!(answer.starts_with("-ERR [AUTH]"), "{answer}");
                        judged.fetch_add(1, Ordering::Relaxed);
                    }
                }
                assert_eq!(client.rest().await, b"-ERR Too many failed logins\r\n");
            }
        });
    }
    while let Some(ended) = guessers.join_next().await {
        ended.expect("no panic");
    }
    judged.load(Ordering::Relaxed)
}

/// A login from another address has to be right at once, again and again while `flooding` lasts.
async fn beside<T>(address: SocketAddr, login: &str, password: &str, flooding: impl Future<Output = T>) -> T {
    tokio::pin!(flooding);
    let mut polls = 0;
    loop {
        let mut client = Pop3::connect_from(ELSEWHERE, address).await;
        client.ok(&format!("USER {login}")).await;
        client.ok(&format!("PASS {password}")).await;
        client.quit().await;
        polls += 1;
        tokio::select! {
            ended = &mut flooding => {
                assert!(polls > 1);
                return ended;
            }
            () = tokio::time::sleep(std::time::Duration::from_millis(20)) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_guesses_reach_the_mail_server_a_few_times() {
    let sim = sim().await;
    let bridge = Bridge::start(&settings(&sim).with("maildrop", "lock = \"shared\""));
    // Sessions, and what they leave in the allocator.
    flood_of_nothing(bridge.address()).await;
    let before = bridge.peak_kib();
    let flooding = tokio::spawn(flood(bridge.address(), "alice", false));
    let judged = beside(bridge.address(), "alice", PASSWORD, flooding).await.expect("no panic");
    assert!((5..=JUDGED).contains(&judged), "{judged}");
    let connections = sim.connections();
    assert!(connections <= judged + sim.logins(), "{connections} for {judged}");
    assert!(sim.logins() <= 3, "the right one has a connection that waits");
    let grown = bridge.peak_kib() - before;
    assert!(grown < 16 * 1024, "{grown} KiB");
    let log = bridge.log();
    let failed = log.iter().filter(|line| line.contains("\"login failed\"")).count();
    assert!(failed >= WRONG, "{failed} lines for fail2ban");
    assert!(
        !log.iter().any(|line| line.contains("wrong1") || line.contains(PASSWORD)),
        "no password in the log"
    );
}

/// As many sessions at once as the flood has.
async fn flood_of_nothing(address: SocketAddr) {
    let mut clients = Vec::new();
    for _ in 0..25 {
        clients.push(Pop3::connect(address).await);
    }
    for client in clients {
        client.quit().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_guesses_at_a_device_are_hashed_a_few_times() {
    let sim = sim().await;
    let hash = PasswordHash::of(&Secret::new(DEVICE.as_bytes().to_vec())).expect("random numbers");
    let account = format!(
        "login = \"scanner\"\nusername = \"alice\"\npassword_hash = \"{}\"\n\
         password_command = [\"echo\", \"{PASSWORD}\"]",
        hash.as_str()
    );
    let bridge = Local::start(&settings(&sim).with("[account]", &account)).await;
    let address = bridge.address();
    let judged = beside(address, "scanner", DEVICE, flood(address, "scanner", false)).await;
    assert!((5..=JUDGED).contains(&judged), "{judged}");
    assert!(sim.connections() <= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_guess_ten_thousand_times_is_as_little() {
    let sim = sim().await;
    let bridge = Local::start(&settings(&sim)).await;
    let judged = flood(bridge.address(), "alice", true).await;
    assert!((13..=15 + 1).contains(&judged), "{judged}");
    assert!(sim.connections() <= 2, "asked once, but for those at the same moment: {}", sim.connections());
}

#[tokio::test]
async fn successes_are_never_held_up() {
    let sim = sim().await;
    let bridge = Local::start(&settings(&sim)).await;
    let refused = answer(&bridge, "alice", "wrong").await;
    assert!(refused.starts_with("-ERR [AUTH]"), "{refused}");
    for _ in 0..1000 {
        assert_eq!(poll(&bridge, "alice").await, 0);
    }
}
