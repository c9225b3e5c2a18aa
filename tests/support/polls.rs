//! Short sessions one behind the other, as a program that looks for mail every few minutes has them.

use std::time::Duration;

use imapsim::Server;
use tokio::time::{Instant, sleep};

use super::dovecot::PASSWORD;
use super::local::Local;
use super::pop3::Pop3;

/// Logs in, counts the messages, quits; back when all that is behind QUIT is done.
pub async fn poll(bridge: &Local, login: &str) -> usize {
    let mut client = Pop3::connect(bridge.address()).await;
    client.login(login).await;
    let count = client.list().await.len();
    client.quit().await;
    bridge.settled(0).await;
    count
}

/// The answer to a login with this password; the session is over when this returns.
pub async fn answer(bridge: &Local, login: &str, password: &str) -> String {
    let mut client = Pop3::connect(bridge.address()).await;
    client.ok(&format!("USER {login}")).await;
    let answer = client.command(&format!("PASS {password}")).await;
    client.quit().await;
    bridge.settled(0).await;
    answer
}

/// The same with the right password, and how long it took.
pub async fn timed(bridge: &Local, login: &str) -> (String, Duration) {
    let started = Instant::now();
    let answer = answer(bridge, login, PASSWORD).await;
    (answer, started.elapsed())
}

/// Waits until so many connections are in IDLE.
pub async fn idling(sim: &Server, count: usize) {
    until("IDLE", || sim.idling() == count).await;
}

/// Waits for something that is about to happen.
pub async fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !happened() {
        assert!(Instant::now() < end, "{what} does not happen");
        sleep(Duration::from_millis(5)).await;
    }
}

/// What the simulator was sent since `before`, without tags.
pub fn sent(sim: &Server, before: usize) -> Vec<String> {
    let commands = sim.commands();
    let since = commands[before..].iter().filter_map(|line| line.split_once(' '));
    since.map(|(_, command)| command.to_owned()).collect()
}
