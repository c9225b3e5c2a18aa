//! The bridge as its users run it: the binary, a configuration file, its log.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::certs::Authority;
use super::process::{self, Process};

/// For the start, for the end and for a line in the log.
const PATIENCE: Duration = Duration::from_secs(60);

/// A configuration, written as a person would, with one upstream for everybody.
pub struct Settings {
    upstream: String,
    listeners: Vec<&'static str>,
    tables: Vec<(&'static str, String)>,
}

impl Settings {
    /// One plaintext listener in front of this upstream.
    pub fn new(upstream: String) -> Self {
        Self { upstream, listeners: vec!["none"], tables: Vec::new() }
    }

    /// The listeners' `tls` values in order, instead of a plaintext one.
    pub fn listeners(mut self, tls: &[&'static str]) -> Self {
        self.listeners = tls.to_vec();
        self
    }

    /// The certificate that clients are shown.
    pub fn certificate(self, authority: &Authority) -> Self {
        let lines = format!(
            "certificate = {:?}\nprivate_key = {:?}",
            authority.certificate(),
            authority.private_key()
        );
        self.with("tls", &lines)
    }

    /// The authority that vouches for the upstream.
    pub fn trust(self, authority: &Authority) -> Self {
        let line = format!("ca_certificate = {:?}", authority.ca());
        self.with("upstream.home", &line)
    }

    /// Lines for a table: `maildrop`, `upstream.home`, `[account]`, `limits`.
    pub fn with(mut self, table: &'static str, lines: &str) -> Self {
        self.tables.push((table, lines.to_owned()));
        self
    }

    pub fn text(&self, folder: &Path) -> String {
        let mut text = String::new();
        for tls in &self.listeners {
            let _ = writeln!(text, "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = \"{tls}\"\n");
        }
        let upstream = format!("url = \"{}\"\ndomains = [\"*\"]", self.upstream);
        let state = format!("url = \"sqlite:{}\"", folder.join("popbridge.db").display());
        let own = [("upstream.home", upstream), ("state", state)];
        let mut tables: Vec<(&str, String)> = Vec::new();
        for (name, lines) in own.into_iter().chain(self.tables.iter().cloned()) {
            match tables.iter_mut().find(|(known, _)| *known == name) {
                Some((_, text)) => {
                    let _ = write!(text, "\n{lines}");
                }
                None => tables.push((name, lines)),
            }
        }
        for (name, lines) in tables {
            let _ = writeln!(text, "[{name}]\n{lines}\n");
        }
        text
    }
}

pub struct Bridge {
    folder: TempDir,
    listeners: usize,
    child: Child,
    log: Arc<Log>,
    addresses: Vec<SocketAddr>,
}

/// Variables for the bridge's environment.
pub type Environment<'a> = &'a [(&'a str, &'a str)];

/// What a session's line in the log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub login: String,
    pub address: String,
    pub tls: bool,
    pub retrieved: u64,
    pub octets: u64,
    pub deleted: u64,
    pub end: String,
}

impl Bridge {
    /// Starts it and waits until it listens.
    pub fn start(settings: &Settings) -> Self {
        Self::start_with(settings, &[])
    }

    /// The same with more environment, as `POPBRIDGE_DIE_AT`.
    pub fn start_with(settings: &Settings, environment: Environment) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let text = settings.text(folder.path());
        std::fs::write(folder.path().join("popbridge.toml"), text).expect("a file is written");
        Self::start_in(folder, settings.listeners.len(), environment)
    }

    /// Starts it with the configuration that is in this folder already, and has so many listeners.
    pub fn start_in(folder: TempDir, listeners: usize, environment: Environment) -> Self {
        let (child, log) = spawn(&folder.path().join("popbridge.toml"), environment);
        let mut bridge = Self { folder, listeners, child, log, addresses: Vec::new() };
        bridge.await_listeners();
        bridge
    }

    /// The first listener's address.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// All listeners' addresses in the configuration's order.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The log since the last start.
    pub fn log(&self) -> Vec<String> {
        self.log.state().lines.clone()
    }

    /// Waits for a log entry, the first that the condition holds for.
    pub fn wait_for_log(&self, mut condition: impl FnMut(&Value) -> bool) -> Value {
        self.log
            .wait(|lines| entries(lines).find(|entry| condition(entry)))
            .unwrap_or_else(|| panic!("not in the log:\n{}", self.log().join("\n")))
    }

    /// Waits until so many sessions have ended; their lines in that order.
    pub fn sessions(&self, count: usize) -> Vec<Session> {
        let sessions = self.log.wait(|lines| {
            let sessions: Vec<Session> = entries(lines).filter_map(|entry| session(&entry)).collect();
            (sessions.len() >= count).then_some(sessions)
        });
        sessions.unwrap_or_else(|| panic!("fewer than {count} sessions:\n{}", self.log().join("\n")))
    }

    /// Memory in use now, in KiB.
    pub fn rss_kib(&self) -> u64 {
        process::memory_kib(self.pid(), "VmRSS")
    }

    /// The most that was ever in use, in KiB.
    pub fn peak_kib(&self) -> u64 {
        process::memory_kib(self.pid(), "VmHWM")
    }

    /// SIGTERM, and how the process ended.
    pub fn terminate(&mut self) -> ExitStatus {
        if let Some(process) = Process::of(self.pid()) {
            process.signal("TERM");
        }
        let status = process::wait(&mut self.child, PATIENCE);
        status.unwrap_or_else(|| panic!("SIGTERM ignored:\n{}", self.log().join("\n")))
    }

    /// A clean end and a new start with the same configuration and state.
    pub fn restart(&mut self) {
        self.restart_with(&[]);
    }

    /// The same in another environment.
    pub fn restart_with(&mut self, environment: Environment) {
        let status = self.terminate();
        assert!(status.success(), "{status}:\n{}", self.log().join("\n"));
        self.start_again(environment);
    }

    /// Waits until the process ends by itself, and tells how.
    pub fn await_end(&mut self) -> ExitStatus {
        let status = process::wait(&mut self.child, PATIENCE);
        status.unwrap_or_else(|| panic!("it goes on:\n{}", self.log().join("\n")))
    }

    /// SIGKILL.
    pub fn kill(&self) {
        if let Some(process) = Process::of(self.pid()) {
            process.signal("KILL");
        }
    }

    /// A new start behind an end, with the same configuration and state.
    pub fn start_again(&mut self, environment: Environment) {
        (self.child, self.log) = spawn(&self.configuration(), environment);
        self.await_listeners();
    }

    pub fn configuration(&self) -> PathBuf {
        self.folder.path().join("popbridge.toml")
    }

    /// Another command of the program with this bridge's configuration, to its end.
    ///
    /// `password` is that of a login, if the command needs one.
    pub fn run(&self, arguments: &[&str], password: Option<&str>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_popbridge"));
        command.args(arguments).arg("--config").arg(self.configuration()).env_remove("RUST_LOG");
        if let Some(password) = password {
            let file = self.folder.path().join("password");
            std::fs::write(&file, format!("{password}\n")).expect("a file is written");
            command.arg("--password-file").arg(file);
        }
        process::run(&mut command, PATIENCE)
    }

    fn await_listeners(&mut self) {
        let listening = self.log.wait(|lines| {
            let fields = entries(lines).filter_map(|entry| entry.get("fields").cloned());
            let listening =
                fields.filter(|fields| fields.get("message").and_then(Value::as_str) == Some("listening"));
            let addresses = listening.filter_map(|fields| fields.get("address")?.as_str()?.parse().ok());
            let addresses: Vec<SocketAddr> = addresses.collect();
            (addresses.len() == self.listeners).then_some(addresses)
        });
        self.addresses =
            listening.unwrap_or_else(|| panic!("it does not listen:\n{}", self.log().join("\n")));
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // By its handle, which is this process and no other.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the bridge's log:\n{}", self.log().join("\n"));
        }
    }
}

/// The lines that are JSON; a panic's words are not.
fn entries(lines: &[String]) -> impl Iterator<Item = Value> {
    lines.iter().filter_map(|line| serde_json::from_str(line).ok())
}

fn session(entry: &Value) -> Option<Session> {
    let fields = entry.get("fields")?;
    if fields.get("message")?.as_str()? != "session" {
        return None;
    }
    let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
    let number = |name: &str| fields.get(name).and_then(Value::as_u64);
    let parts = || {
        Some(Session {
            login: text("login").unwrap_or_default(),
            address: text("address")?,
            tls: fields.get("tls")?.as_bool()?,
            retrieved: number("retrieved")?,
            octets: number("octets")?,
            deleted: number("deleted")?,
            end: text("end")?,
        })
    };
    Some(parts().unwrap_or_else(|| panic!("a session's line lacks a field: {entry:?}")))
}

fn spawn(configuration: &Path, environment: Environment) -> (Child, Arc<Log>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_popbridge"))
        .args(["serve", "--log-format", "json", "--log-level", "trace", "--config"])
        .arg(configuration)
        // A test's proxy or log level is not the caller's.
        .env_remove("RUST_LOG")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary that was built with this test");
    let stderr = child.stderr.take().expect("asked for above");
    let log = Arc::new(Log::default());
    let writer = Arc::clone(&log);
    thread::spawn(move || {
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            writer.state().lines.push(line);
            writer.changed.notify_all();
        }
        writer.state().ended = true;
        writer.changed.notify_all();
    });
    (child, log)
}

#[derive(Default)]
struct Log {
    state: Mutex<LogState>,
    changed: Condvar,
}

#[derive(Default)]
struct LogState {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    fn state(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    /// Looks at the log each time that it has grown; nothing if it ends or stays silent.
    fn wait<T>(&self, mut find: impl FnMut(&[String]) -> Option<T>) -> Option<T> {
        let end = Instant::now() + PATIENCE;
        let mut state = self.state();
        loop {
            if let Some(found) = find(&state.lines) {
                return Some(found);
            }
            let left = end.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                return None;
            }
            let waited = self.changed.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(|poison| poison.into_inner());
        }
    }
}
