//! Where and when it was measured.

use std::fs;
use std::process::Command;

/// The load averages now.
pub fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// What the table's reader has to know; `before` is the load at the start.
pub fn describe(words: &str, rounds: usize, before: &str) -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = named.map_or("unknown processor", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
    let changed = said("git", &["status", "--porcelain", "--untracked-files=no"]);
    format!(
        "- {}, commit {}{}\n- {model}, {cores} cores, {:.0} GB, {}\n- Dovecot {}\n\
         - load average before: {before}, behind: {}\n- `just bench-peers {words}`, {rounds} rounds\n",
        said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        said("git", &["rev-parse", "--short=12", "HEAD"]),
        if changed.is_empty() { "" } else { " with changes" },
        kib as f64 * 1024.0 / 1e9,
        said("uname", &["-sr"]),
        said("dovecot", &["--version"]),
        load(),
    )
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_default()
}
