//! What a process and all below it take: processor time and memory, from `/proc`.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// `_SC_CLK_TCK`, which Linux has fixed for what `/proc` shows.
const TICKS_PER_SECOND: f64 = 100.0;

/// How often memory is looked at.
const INTERVAL: Duration = Duration::from_millis(50);

/// A process that was started, with its descendants.
#[derive(Clone, Copy)]
pub struct Tree(pub u32);

/// Seconds of user and system time of this process alone, its children left out.
pub fn own_cpu_seconds() -> f64 {
    let own = Member::of(std::process::id());
    own.map_or(0.0, |own| own.alone)
}

impl Tree {
    /// Seconds of user and system time, of those as well that have ended and were waited for.
    pub fn cpu_seconds(self) -> f64 {
        self.members().iter().map(|member| member.alone + member.ended).sum()
    }

    /// Proportional set size in KiB: what processes share is counted once.
    pub fn pss_kib(self) -> u64 {
        self.members().iter().filter_map(|member| pss_kib(member.pid)).sum()
    }

    fn members(self) -> Vec<Member> {
        let mut by_parent: HashMap<u32, Vec<Member>> = HashMap::new();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let Some(member) = pid.and_then(Member::of) else { continue };
            if member.pid == self.0 {
                found.push(member);
            } else {
                by_parent.entry(member.parent).or_default().push(member);
            }
        }
        let mut next = 0;
        while let Some(pid) = found.get(next).map(|member| member.pid) {
            found.extend(by_parent.remove(&pid).unwrap_or_default());
            next += 1;
        }
        found
    }
}

struct Member {
    pid: u32,
    parent: u32,
    /// Seconds of its own, and of its children that have ended.
    alone: f64,
    ended: f64,
}

impl Member {
    fn of(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything, so count from its end.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        // utime, stime, cutime, cstime, num_threads: proc_pid_stat(5), fields 14 to 17 and 20.
        let seconds = |ticks: u64| ticks as f64 / TICKS_PER_SECOND;
        let (alone, ended) = (number(11)? + number(12)?, number(13)? + number(14)?);
        // A mail server's many processes may all have less than a tick.
        let exact = if number(17)? == 1 { nanoseconds(pid) } else { None };
        let alone = exact.map_or(seconds(alone), |exact| exact as f64 / 1e9);
        Some(Self { pid, parent: fields.get(1)?.parse().ok()?, alone, ended: seconds(ended) })
    }
}

/// Processor time of a process with one thread, if the kernel tells.
fn nanoseconds(pid: u32) -> Option<u64> {
    fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?.split(' ').next()?.parse().ok()
}

fn pss_kib(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

/// Looks at a tree's memory until it is asked for the most that it saw.
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Watch {
    pub fn start(tree: Tree) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut peak = 0;
            while !seen.load(Relaxed) {
                peak = peak.max(tree.pss_kib());
                thread::sleep(INTERVAL);
            }
            peak
        });
        Self { stop, thread }
    }

    /// KiB.
    pub fn peak_kib(self) -> u64 {
        self.stop.store(true, Relaxed);
        self.thread.join().unwrap_or(0)
    }
}
