//! The binary as a process, alone or under valgrind, and what it has cost so far.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::support::bridge::Settings;
use crate::support::process::{self, Process};

/// Under valgrind all takes fifty times as long.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Bridge {
    child: Child,
    address: SocketAddr,
}

/// Since the process began.
pub struct Costs {
    pub user_ms: f64,
    pub kernel_ms: f64,
    /// How often one of its threads waited for something.
    pub switches: u64,
    pub peak_mb: f64,
}

impl Costs {
    pub fn cpu_ms(&self) -> f64 {
        self.user_ms + self.kernel_ms
    }
}

impl Bridge {
    /// With its state in `folder`; a profile is written to `callgrind` when it ends.
    pub fn start(binary: &Path, folder: &Path, upstream: SocketAddr, callgrind: Option<&Path>) -> Self {
        // The end of a session is seen by the end of its connection.
        let settings = Settings::new(format!("imap://{upstream}"))
            .with("maildrop", "on_retrieve = \"leave\"")
            .with("upstream.home", "keep_alive = \"0s\"");
        let file = folder.join("popbridge.toml");
        fs::write(&file, settings.text(folder)).expect("a file is written");
        let mut command = match callgrind {
            None => Command::new(binary),
            Some(profile) => {
                let mut command = Command::new(process::require("valgrind", "valgrind"));
                command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", profile.display()));
                command.args(["-q", "--fair-sched=yes"]).arg(binary);
                command
            }
        };
        let mut child = command
            .args(["serve", "--log-format", "json", "--config"])
            .arg(&file)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut log = BufReader::new(child.stderr.take().expect("asked for above")).lines();
        let address = log.by_ref().map_while(Result::ok).find_map(|line| {
            let entry: serde_json::Value = serde_json::from_str(&line).ok()?;
            entry["fields"]["address"].as_str()?.parse().ok()
        });
        // Read on, so that it never waits for its log.
        thread::spawn(move || log.map_while(Result::ok).for_each(drop));
        Self { child, address: address.expect("it listens") }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn costs(&self) -> Costs {
        let pid = self.child.id();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        // Behind the name in parentheses; in hundredths of a second.
        let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<f64>().expect("a number") * 10.0;
        Costs {
            user_ms: ticks(11),
            kernel_ms: ticks(12),
            switches: switches(pid),
            peak_mb: process::memory_kib(pid, "VmHWM") as f64 * 1024.0 / 1e6,
        }
    }

    /// SIGTERM, and the end.
    pub fn stop(mut self) {
        Process::of(self.child.id()).expect("it runs").signal("TERM");
        assert!(process::wait(&mut self.child, PATIENCE).is_some_and(|status| status.success()));
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // By its handle, which is this process and no other.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn switches(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let statuses = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok());
    let of = |status: String| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse().ok()
    };
    statuses.filter_map(of).sum()
}

/// What a profile counts in all.
pub fn instructions(profile: &Path) -> u64 {
    let text = fs::read_to_string(profile).expect("a profile was written");
    let total = text.lines().find_map(|line| line.strip_prefix("totals:").or(line.strip_prefix("summary:")));
    total.expect("a total").trim().parse().expect("a number")
}
