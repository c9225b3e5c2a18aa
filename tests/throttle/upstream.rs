//! What the mail server hears of wrong passwords, and what is none.

use std::fs::{Permissions, set_permissions, write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imapsim::{Fault, Place, Server};
use popbridge::secret::{PasswordHash, Secret};
use tokio::task::JoinSet;

use crate::support::bridge::Settings;
use crate::support::dovecot::PASSWORD;
use crate::support::local::Local;
use crate::support::polls::answer;
use crate::support::pop3::Pop3;

async fn stage(lines: &str) -> (Server, Local) {
    let sim = Server::builder().user("alice", PASSWORD).user("bob", PASSWORD).start().await;
    let sim = sim.expect("the simulator starts");
    let settings = Settings::new(format!("imap://{}", sim.address()));
    let bridge = Local::start(&settings.with("security", lines)).await;
    (sim, bridge)
}

fn address(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 1, number))
}

async fn from(bridge: &Local, number: u8, login: &str, password: &str) -> String {
    let mut client = Pop3::connect_from(address(number), bridge.address()).await;
    client.ok(&format!("USER {login}")).await;
    client.command(&format!("PASS {password}")).await
}

#[tokio::test]
async fn what_was_rejected_is_not_asked_again_at_once() {
    let (sim, bridge) = stage("").await;
    let first = from(&bridge, 1, "alice", "old").await;
    assert!(first.starts_with("-ERR [AUTH]"), "{first}");
    for number in 1..5 {
        assert_eq!(from(&bridge, number, "alice", "old").await, first, "in the same words");
    }
    assert_eq!(from(&bridge, 1, "alice+Work", "old").await, first, "the folder has no other password");
    assert_eq!(sim.connections(), 1);
    assert!(from(&bridge, 1, "alice", "older").await.starts_with("-ERR [AUTH]"));
    assert!(from(&bridge, 1, "bob", "old").await.starts_with("-ERR [AUTH]"));
    assert_eq!(sim.connections(), 3, "others are");
    assert!(from(&bridge, 1, "alice", PASSWORD).await.starts_with("+OK"));
}

#[tokio::test]
async fn one_mistake_in_three_mechanisms_is_asked_once() {
    let (sim, bridge) = stage("max_login_failures = 3").await;
    for mistake in ["old", "older"] {
        let mut client = Pop3::connect(bridge.address()).await;
        let plain = STANDARD.encode(format!("\0alice\0{mistake}"));
        assert!(client.command(&format!("AUTH PLAIN {plain}")).await.starts_with("-ERR [AUTH]"));
        assert!(client.command("AUTH LOGIN").await.starts_with("+ "));
        assert!(client.command(&STANDARD.encode("alice")).await.starts_with("+ "));
        assert!(client.command(&STANDARD.encode(mistake)).await.starts_with("-ERR [AUTH]"));
        client.ok("USER alice").await;
        assert!(client.command(&format!("PASS {mistake}")).await.starts_with("-ERR [AUTH]"));
    }
    assert_eq!(sim.connections(), 2);
    assert!(answer(&bridge, "alice", "oldest").await.starts_with("-ERR [AUTH]"));
    assert!(from(&bridge, 1, "alice", PASSWORD).await.starts_with("+OK"));
    let refused = answer(&bridge, "alice", PASSWORD).await;
    assert!(refused.starts_with("-ERR [SYS/TEMP] Too many wrong passwords"), "{refused}");
}

#[tokio::test]
async fn a_secret_of_popbridges_own_is_not_tried_again_at_once() {
    let sim = Server::builder().user("alice", PASSWORD).start().await.expect("the simulator starts");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("alice");
    let change = |password: &str| {
        write(&file, password).expect("written");
        set_permissions(&file, Permissions::from_mode(0o600)).expect("our file");
    };
    change("old");
    let hash = PasswordHash::of(&Secret::new(b"device".to_vec())).expect("random numbers");
    let account = format!(
        "login = \"scanner\"\nusername = \"alice\"\npassword_hash = \"{}\"\npassword_file = {file:?}",
        hash.as_str()
    );
    let settings = Settings::new(format!("imap://{}", sim.address())).with("[account]", &account);
    let bridge = Local::start(&settings).await;
    // It is not the device that is wrong, however often.
    for _ in 0..10 {
        let refused = answer(&bridge, "scanner", "device").await;
        assert!(refused.starts_with("-ERR [SYS/PERM] The bridge's password"), "{refused}");
    }
    assert_eq!(sim.connections(), 1);
    change(PASSWORD);
    assert!(answer(&bridge, "scanner", "device").await.starts_with("+OK"), "another one is");
}

#[tokio::test]
async fn an_outage_is_no_failure() {
    let (sim, bridge) = stage("max_login_failures = 1").await;
    sim.refuse(true);
    for _ in 0..10 {
        assert!(answer(&bridge, "alice", PASSWORD).await.starts_with("-ERR [SYS/TEMP] The"));
    }
    sim.refuse(false);
    for code in ["UNAVAILABLE", "LIMIT", "SERVERBUG"] {
        sim.fault(Place::Login, Fault::No(Some(code)));
        assert!(answer(&bridge, "alice", PASSWORD).await.starts_with("-ERR [SYS/TEMP] The"), "{code}");
    }
    let mut client = Pop3::connect(bridge.address()).await;
    client.login("alice").await;
    for number in 1..4 {
        assert!(from(&bridge, number, "alice", PASSWORD).await.starts_with("-ERR [IN-USE]"));
    }
    client.quit().await;
    bridge.settled(0).await;
    assert!(answer(&bridge, "alice", PASSWORD).await.starts_with("+OK"));
}

#[tokio::test]
async fn nonsense_counts_as_a_guess() {
    let (sim, bridge) = stage("max_login_failures = 2").await;
    let mut client = Pop3::connect(bridge.address()).await;
    for nonsense in ["AUTH PLAIN !", "AUTH PLAIN AAAA"] {
        client.err(nonsense).await;
    }
    let refused = answer(&bridge, "alice", PASSWORD).await;
    assert!(refused.starts_with("-ERR [SYS/TEMP] Too many wrong passwords"), "{refused}");
    assert_eq!(sim.connections(), 0);
    assert!(from(&bridge, 1, "alice", PASSWORD).await.starts_with("+OK"));
}

/// The server takes its time with each; it never has more than two of an account to judge.
#[tokio::test]
async fn few_unproven_logins_are_under_way_at_once() {
    let (sim, bridge) = stage("").await;
    sim.fault_times(Place::Login, Fault::Delay(Duration::from_millis(100)), usize::MAX);
    let listens = bridge.address();
    let mut guessers = JoinSet::new();
    for number in 0..20 {
        guessers.spawn(async move {
            let mut client = Pop3::connect_from(address(number), listens).await;
            client.ok("USER alice").await;
            client.command(&format!("PASS wrong{number}")).await
        });
    }
    for refused in guessers.join_all().await {
        assert!(refused.starts_with("-ERR [AUTH]"), "{refused}");
    }
    assert_eq!(sim.connections(), 20);
    assert_eq!(sim.most_opening(), 2);
}
