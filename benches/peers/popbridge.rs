//! The release binary, started as a user would: its own folder, its usual log level.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::support::bridge::Settings;

pub const BINARY: &str = env!("CARGO_BIN_EXE_popbridge");

const START: Duration = Duration::from_secs(30);

/// What differs from row to row; all else is as it comes.
#[derive(Clone, Copy)]
pub struct Setup {
    /// Connections are kept between sessions, as they are unless told otherwise.
    pub kept: bool,
    /// All clients have one address.
    pub sessions: usize,
}

impl Setup {
    /// What most rows need.
    pub fn new(kept: bool) -> Self {
        Self { kept, sessions: 1024 }
    }
}

/// Ends when dropped.
pub struct Popbridge {
    _folder: TempDir,
    child: Child,
    address: SocketAddr,
}

impl Popbridge {
    /// Starts it in front of `imap://upstream` and waits until it listens.
    pub fn start(upstream: SocketAddr, setup: Setup) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let Setup { kept, sessions } = setup;
        // As the peers are set up: nothing is marked read, and what is deleted is gone.
        let mut settings = Settings::new(format!("imap://{upstream}"))
            .with("maildrop", "on_retrieve = \"leave\"\non_delete = \"expunge\"")
            .with("limits", &format!("sessions = {sessions}\nsessions_per_address = {sessions}"))
            .with("limits", "kept_connections = 512");
        if !kept {
            settings = settings.with("upstream.home", "keep_alive = \"0s\"");
        }
        let file = folder.path().join("popbridge.toml");
        std::fs::write(&file, settings.text(folder.path()))?;
        let mut child = serve(&file)?;
        match address(&mut child) {
            Ok(address) => Ok(Self { _folder: folder, child, address }),
            Err(error) => {
                end(&mut child);
                Err(error)
            }
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Popbridge {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn serve(configuration: &Path) -> Result<Child> {
    let child = Command::new(BINARY)
        .args(["serve", "--log-format", "json", "--config"])
        .arg(configuration)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    Ok(child)
}

/// Where it listens; its log is read on, so that it never waits for it.
fn address(child: &mut Child) -> Result<SocketAddr> {
    let log = child.stderr.take().context("no log")?;
    let (found, listening) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            let entry: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            let fields = &entry["fields"];
            if fields["message"] == "listening" {
                let address = fields["address"].as_str().and_then(|text| text.parse().ok());
                let _ = found.send(address);
            } else if ["ERROR", "WARN"].iter().any(|level| entry["level"] == *level) {
                eprintln!("  popbridge: {line}");
            }
        }
    });
    listening.recv_timeout(START).ok().flatten().context("popbridge does not listen")
}

fn end(child: &mut Child) {
    // By its handle, which is this process and no other.
    let _ = child.kill();
    let _ = child.wait();
}
