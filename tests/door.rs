//! The door in the running bridge: what strangers learn of it, and what counts as a failure.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imapsim::{Fault, Place, Server};
use popbridge::app::{App, StartError};
use popbridge::config::Config;
use popbridge::secret::{PasswordHash, Secret};
use support::bridge::Settings;
use support::local::Local;
use support::polls::answer;
use support::pop3::Pop3;
use tempfile::TempDir;

const UPSTREAM: &str = "upstre4m-Passw0rd";
/// Of "pencil"; the salt is one of 16 octets.
const VERIFIER: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
const REFUSED: &str = "-ERR [AUTH] Authentication failed";
const SHUT: &str = "-ERR [SYS/TEMP] Too many wrong passwords";

async fn sim() -> Server {
    Server::builder().user("alice", UPSTREAM).start().await.expect("the simulator starts")
}

fn settings(sim: &Server) -> Settings {
    Settings::new(format!("imap://{}", sim.address()))
}

/// An `[[account]]` for alice's mailbox; its password has to be in the environment, but no value of
/// a test's own can be.
fn account(login: &str, proof: &str) -> String {
    format!("login = \"{login}\"\nusername = \"alice\"\npassword_env = \"CARGO_PKG_NAME\"\n{proof}\n")
}

fn scram(login: &str) -> String {
    account(login, &format!("password_hash = \"{VERIFIER}\""))
}

/// The salt that a login is told.
async fn salt(bridge: &Local, login: &str) -> String {
    let mut client = Pop3::connect(bridge.address()).await;
    let first = STANDARD.encode(format!("n,,n={login},r=nonce"));
    let told = client.command(&format!("AUTH SCRAM-SHA-256 {first}")).await;
    let told = STANDARD.decode(told.strip_prefix("+ ").expect("a challenge")).expect("base64");
    let told = String::from_utf8(told).expect("text");
    client.err("*").await;
    client.quit().await;
    told.split(',').find_map(|part| part.strip_prefix("s=")).expect("a salt").to_owned()
}

#[tokio::test]
async fn made_up_salts_outlive_restarts_and_accounts() {
    let sim = sim().await;
    let one = settings(&sim).with("[account]", &scram("scanner"));
    // Another verifier comes first.
    let other = PasswordHash::scram_of(&Secret::new(b"hunter2".to_vec())).expect("a password");
    let other = account("earlier", &format!("password_hash = \"{}\"", other.as_str()));
    let two = settings(&sim).with("[account]", &format!("{other}[[account]]\n{}", scram("scanner")));
    let bridge = Local::start(&one).await;
    assert_eq!(salt(&bridge, "scanner").await, "W22ZaJ0SNY7soEsUEjb6gQ==");
    let nobody = salt(&bridge, "nobody").await;
    assert_eq!(STANDARD.decode(&nobody).expect("base64").len(), 16);
    let mut folder = bridge.stop().await;
    let key = folder.path().join("popbridge.key");
    assert_eq!(fs::metadata(&key).expect("it was made").permissions().mode() & 0o7777, 0o600);
    for settings in [&one, &two] {
        let bridge = Local::start_in(settings, folder).await;
        assert_eq!(salt(&bridge, "nobody").await, nobody);
        folder = bridge.stop().await;
    }
    let elsewhere = Local::start(&one).await;
    assert_ne!(salt(&elsewhere, "nobody").await, nobody, "nothing of the configuration leads to it");
}

/// Why a bridge with this state key does not start.
async fn refused(settings: &Settings, folder: &Path) -> String {
    let config = Config::parse(&settings.text(folder), "test", folder).expect("a good configuration");
    match App::bind(config).await.err().expect("it does not start") {
        StartError::Key(error) => error.to_string(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_key_that_cannot_be_used_is_told_at_start() {
    let sim = sim().await;
    let scram = settings(&sim).with("[account]", &scram("scanner"));
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("popbridge.key");
    fs::write(&key, "hunter2\n").expect("written");
    fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("our file");
    let told = refused(&scram, folder.path()).await;
    assert!(
        told.contains("key_file") && told.contains("openssl rand") && !told.contains("hunter2"),
        "{told}"
    );
    fs::set_permissions(&key, Permissions::from_mode(0o644)).expect("our file");
    let told = refused(&scram, folder.path()).await;
    assert!(told.contains("chmod 600"), "{told}");
    let folder: TempDir = Local::start_in(&settings(&sim), folder).await.stop().await;
    assert!(folder.path().exists(), "who needs no key starts without");
}

#[tokio::test]
async fn a_password_that_none_could_be_is_a_failure_and_goes_nowhere() {
    let sim = sim().await;
    let tokens = format!(
        "url = \"imap://{}\"\ndomains = [\"tokens.example\"]\nauthentication = \"oauth2\"",
        sim.address()
    );
    let settings = settings(&sim).with("security", "max_login_failures = 2");
    let bridge = Local::start(&settings.with("upstream.tokens", &tokens)).await;
    let long = "x".repeat(4096);
    answer(&bridge, "alice@tokens.example", &long).await;
    let connected = sim.connections();
    assert!(connected > 0, "a token may be as long");
    for number in 0..2 {
        assert_eq!(answer(&bridge, "alice", &format!("{long}{number}")).await, REFUSED);
    }
    let shut = answer(&bridge, "alice", UPSTREAM).await;
    assert!(shut.starts_with(SHUT), "{shut}");
    assert_eq!(sim.connections(), connected);
}

#[tokio::test]
async fn what_a_mail_server_makes_no_sense_of_is_a_failure() {
    let sim = sim().await;
    let bridge = Local::start(&settings(&sim).with("security", "max_login_failures = 2")).await;
    for password in ["a", "b"] {
        sim.fault(Place::Login, Fault::Bad);
        let told = answer(&bridge, "alice", password).await;
        assert!(told.starts_with("-ERR [SYS/TEMP] The mail server"), "{told}");
    }
    let shut = answer(&bridge, "alice", UPSTREAM).await;
    assert!(shut.starts_with(SHUT), "{shut}");
    assert_eq!(sim.connections(), 2);
}

#[tokio::test]
async fn what_the_bridge_itself_has_said_is_no_failure_of_the_devices() {
    let sim = sim().await;
    let settings = settings(&sim).with("security", "max_login_failures = 1");
    let bridge = Local::start(&settings.with("[account]", &scram("scanner"))).await;
    for _ in 0..3 {
        sim.fault(Place::Login, Fault::Bad);
        let told = answer(&bridge, "scanner", "pencil").await;
        assert!(told.starts_with("-ERR [SYS/TEMP] The mail server"), "{told}");
    }
    assert_eq!(sim.connections(), 3);
}
