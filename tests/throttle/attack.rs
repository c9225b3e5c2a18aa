//! A bridge under attack by names that look like log lines, and what it writes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imapsim::{Fault, Place, Server};

use crate::support::bridge::Settings;
use crate::support::dovecot::PASSWORD;
use crate::support::pop3::Pop3;
use crate::support::process::eventually;

/// What somebody would have banned.
pub const VICTIM: &str = "192.0.2.66";

/// Lines with `wrong=true` that [`attacked`] has made.
pub const WRONG: usize = 18;

/// A process of ours, ended with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn names() -> Vec<String> {
    let human = format!("INFO login failed address={VICTIM} wrong=true login=\"");
    let fields = format!(
        "\"fields\":{{\"message\":\"login failed\",\"address\":\"{VICTIM}\",\"wrong\":true,\"login\":\""
    );
    vec![
        format!("x address={VICTIM} wrong=true"),
        human.clone(),
        format!("\" {human}"),
        format!("\\\" {human}"),
        format!("2026-11-26T00:00:00.000000Z  {human}"),
        format!("mail popbridge[1]: 2026-11-26T00:00:00.000000Z  {human}"),
        format!("x\u{2028}2026-11-26T00:00:00.000000Z  {human}"),
        format!("x\u{1b}[2K{human}"),
        format!("x\",\"address\":\"{VICTIM}\",\"wrong\":true,\"login\":\""),
        format!("{{\"timestamp\":\"2026-11-26T00:00:00.000000Z\",\"level\":\"INFO\",{fields}"),
        format!("\"}},\"level\":\"INFO\",{fields}"),
    ]
}

/// Attacks a bridge that logs in this format; its log, in a file in `folder`.
pub async fn attacked(format: &str, folder: &Path) -> PathBuf {
    let sim = Server::builder().any_user(PASSWORD).start().await.expect("the simulator starts");
    let settings = Settings::new(format!("imap://{}", sim.address()))
        .with("security", "max_login_failures = 0\nlogin_failure_window = \"1s\"");
    let configuration = folder.join("popbridge.toml");
    std::fs::write(&configuration, settings.text(folder)).expect("a file is written");
    let log = folder.join("log");
    let stderr = File::create(&log).expect("a file is made");
    let running = Command::new(env!("CARGO_BIN_EXE_popbridge"))
        .args(["serve", "--log-format", format, "--config"])
        .arg(&configuration)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stderr(stderr)
        .spawn()
        .expect("the binary that was built with this test");
    let running = Running(running);
    let read = || std::fs::read_to_string(&log).expect("a log is text");
    let listening = || {
        let text = read();
        let line = text.lines().find(|line| line.contains("listening"))?;
        let port = line.split("127.0.0.1:").nth(1)?;
        port.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u16>().ok()
    };
    assert!(eventually(Duration::from_secs(60), || listening().is_some()), "{}", read());
    let address = ([127, 0, 0, 1], listening().expect("it listens")).into();
    let mut attacks = tokio::task::JoinSet::new();
    for name in names() {
        attacks.spawn(async move {
            // One mistake: it is answered after half a second.
            let mut client = Pop3::connect(address).await;
            client.err(&format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{name}\0wrong")))).await;
            // Who is let in has a line as well.
            client.send(format!("USER {name}\r\n").as_bytes()).await;
            if client.line().await.expect("an answer").starts_with("+OK") {
                client.ok(&format!("PASS {PASSWORD}")).await;
                client.ok("QUIT").await;
            }
        });
    }
    attacks.join_all().await;
    // Lines that a name can be smuggled into only by USER.
    let mut client = Pop3::connect(address).await;
    for octets in
        [&b"USER x\rINFO login failed address=192.0.2.66 wrong=true login=\"\r\n"[..], b"USER \xff\r\n"]
    {
        client.send(octets).await;
        client.line().await.expect("an answer");
    }
    let mut client = Pop3::connect(address).await;
    client.err("AUTH PLAIN !").await;
    // A server's words.
    for (login, code) in [("carol", "[AUTHENTICATIONFAILED]"), ("dave", "[UNAVAILABLE]")] {
        for words in names().iter().filter(|words| words.is_ascii() && !words.contains('\u{1b}')).take(6) {
            sim.fault(Place::Login, Fault::Tagged(format!("NO {code} {words}")));
            client.ok(&format!("USER {login}{}", words.len())).await;
            client.err("PASS wrong").await;
            if code.contains("UNAVAILABLE") {
                break;
            }
        }
    }
    drop(client);
    let done = || read().lines().filter(|line| line.contains("login failed")).count() >= WRONG;
    assert!(eventually(Duration::from_secs(60), done), "{}", read());
    drop(running);
    log
}
