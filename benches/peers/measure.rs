//! One measurement: a fresh contender, one piece of work, and what that took.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::contender::{self, Kind, Running};
use crate::idle;
use crate::mailbox::Mailbox;
use crate::relay::Traffic;
use crate::rows::Row;
use crate::support::dovecot::Dovecot;
use crate::tree::{self, Tree, Watch};
use crate::work::{self, Work};

/// Nothing on the link for so long: what a contender does behind QUIT is over.
const QUIET: Duration = Duration::from_millis(250);
/// The same where its connection stays open, and the mail server may be at work for it.
const QUIET_KEPT: Duration = Duration::from_secs(3);

/// What a measurement found; a value that makes no sense for it is absent.
#[derive(Clone, Default)]
pub struct Sample {
    pub seconds: Option<f64>,
    pub first_octet: Option<f64>,
    /// How long the link was still busy behind the end.
    pub afterwards: Option<f64>,
    pub cpu: Option<f64>,
    pub upstream_cpu: Option<f64>,
    /// Of the clients and the relay.
    pub own_cpu: Option<f64>,
    /// Over what it was before, and in all, in KiB.
    pub growth: Option<f64>,
    pub memory: Option<f64>,
    pub connections: Option<f64>,
    pub turns: Option<f64>,
    pub up: Option<f64>,
    pub down: Option<f64>,
    /// What came down behind the end.
    pub down_behind: Option<f64>,
    /// Of what is installed, in octets.
    pub binary: Option<f64>,
}

pub enum Outcome {
    Sample(Box<Sample>),
    /// It did not end within the limit.
    TooLong,
    Failed(String),
}

pub struct Bench<'a> {
    pub runtime: &'a Runtime,
    pub upstream: &'a Dovecot,
    pub limit: Duration,
}

impl Bench<'_> {
    /// Nothing where the contender has no such work.
    pub fn measure(&self, row: &Row, kind: Kind, mailbox: &Arc<Mailbox>) -> Option<Outcome> {
        let programs = matches!(row.work, Work::Idle { .. } | Work::Start | Work::Fetchmail { .. });
        if kind == Kind::Raw && programs {
            return None;
        }
        let outcome = match row.work {
            Work::Start => self.start_up(kind),
            Work::Idle { sessions, .. } if kind == Kind::Popbridge => self.idle_many(sessions, mailbox),
            Work::Idle { others, .. } => self.idle(row, kind, mailbox, others),
            Work::Fetchmail { keep: false } => self.work(row, kind, &Arc::new(mailbox.spend())),
            _ => self.work(row, kind, mailbox),
        };
        Some(outcome.unwrap_or_else(|error| Outcome::Failed(format!("{error:#}"))))
    }

    fn start_up(&self, kind: Kind) -> Result<Outcome> {
        let Some((time, memory, binary)) = contender::start_up(self.runtime, kind)? else {
            return Err(anyhow!("there is nothing to start"));
        };
        Ok(sample(Sample {
            seconds: Some(time.as_secs_f64()),
            memory: Some(memory as f64),
            binary: Some(binary as f64),
            ..Sample::default()
        }))
    }

    fn idle_many(&self, sessions: usize, mailbox: &Mailbox) -> Result<Outcome> {
        let measured = self.limited(idle::measure(sessions, mailbox.len()))?;
        Ok(measured.map_or(Outcome::TooLong, sample))
    }

    fn idle(&self, row: &Row, kind: Kind, mailbox: &Arc<Mailbox>, sessions: usize) -> Result<Outcome> {
        let Some(running) = self.started(row, kind, mailbox)? else {
            return Ok(Outcome::TooLong);
        };
        let Some(tree) = running.tree() else {
            return Err(anyhow!("no processes of its own"));
        };
        let before = (tree.pss_kib(), running.traffic());
        // The first one has logged in before.
        let users = &mailbox.users[1..=sessions];
        let opening = work::open_idle(users, running.address(), mailbox);
        let Some(open) = self.limited(opening)? else {
            return Ok(Outcome::TooLong);
        };
        self.settle(&running, QUIET);
        let memory = tree.pss_kib();
        let connections = running.traffic().since(before.1).connections as f64;
        drop(open);
        let each = sessions as f64;
        Ok(sample(Sample {
            growth: Some((memory as f64 - before.0 as f64) / each),
            memory: Some(memory as f64),
            connections: Some(connections / each),
            ..Sample::default()
        }))
    }

    fn work(&self, row: &Row, kind: Kind, mailbox: &Arc<Mailbox>) -> Result<Outcome> {
        let Some(running) = self.started(row, kind, mailbox)? else {
            return Ok(Outcome::TooLong);
        };
        let own = running.tree();
        // The native server is the upstream.
        let upstream = (kind != Kind::Native).then(|| Tree(self.upstream.pid()));
        let cpu =
            || (own.map(Tree::cpu_seconds), upstream.map(Tree::cpu_seconds), Some(tree::own_cpu_seconds()));
        let cpu_before = cpu();
        let memory_before = own.map(Tree::pss_kib);
        let traffic_before = running.traffic();
        let watch = own.map(Watch::start);

        let work = work::run(row.work, kind, &running, mailbox);
        let done = self.limited(work);
        let afterwards = match done {
            Ok(Some(_)) => self.settle(&running, QUIET),
            _ => Duration::ZERO,
        };
        let peak = watch.map(Watch::peak_kib);
        let done = done.map_err(|error| match running.log() {
            log if log.is_empty() => error,
            log => error.context(log.lines().last().unwrap_or_default().to_owned()),
        })?;
        let Some(done) = done else {
            return Ok(Outcome::TooLong);
        };

        let times = row.work.sessions() as f64;
        let cpu_after = cpu();
        let used = |before: Option<f64>, after: Option<f64>| Some((after? - before?) / times);
        let traffic_after = running.traffic();
        // What a login brings behind LIST, nobody waits for.
        let listing = row.work == Work::Listing;
        let counted = if listing { done.traffic } else { traffic_after };
        let behind = listing.then(|| traffic_after.since(done.traffic).down as f64);
        if let Work::Fetchmail { keep } = row.work {
            let (left, right) = (Mailbox::left(self.upstream, &mailbox.users[0]), mailbox.len());
            ensure!(left == if keep { right } else { 0 }, "{left} messages are left");
        }
        let Traffic { connections, turns, up, down, .. } = counted.since(traffic_before);
        let kept = connections == 0 || !row.kept || kind != Kind::Popbridge;
        ensure!(kept, "{connections} new connections where one was kept");
        let each = |count: u64| Some(count as f64 / times);
        let time = done.time.as_secs_f64();
        Ok(sample(Sample {
            seconds: Some(if matches!(row.work, Work::Pollers { .. }) { time } else { time / times }),
            first_octet: done.first_octet.map(|time| time.as_secs_f64()),
            afterwards: Some(afterwards.as_secs_f64()),
            cpu: used(cpu_before.0, cpu_after.0),
            upstream_cpu: used(cpu_before.1, cpu_after.1),
            own_cpu: used(cpu_before.2, cpu_after.2),
            growth: memory_before.zip(peak).map(|(before, peak)| peak.saturating_sub(before) as f64),
            memory: peak.map(|peak| peak as f64),
            connections: each(connections),
            turns: each(turns),
            up: each(up),
            down: each(down),
            down_behind: behind,
            binary: None,
        }))
    }

    /// A contender that is ready for the row; nothing if that took too long.
    fn started(&self, row: &Row, kind: Kind, mailbox: &Arc<Mailbox>) -> Result<Option<Running>> {
        let since = Instant::now();
        let running = Running::start(self.runtime, kind, self.upstream, row)?;
        if row.warm {
            let users = match row.work {
                Work::Pollers { users, .. } => &mailbox.users[..users],
                _ => &mailbox.users[..1],
            };
            let warm_up = self.limited(work::warm_up(kind, running.address(), users, mailbox));
            if warm_up?.is_none() {
                return Ok(None);
            }
        }
        let keeps = row.kept && kind == Kind::Popbridge;
        self.settle(&running, if keeps { QUIET_KEPT } else { QUIET });
        while !keeps && running.traffic().open > 0 {
            ensure!(since.elapsed() < self.limit, "the connection of the login before stays open");
            std::thread::sleep(Duration::from_millis(10));
        }
        running.stretch();
        Ok(Some(running))
    }

    fn limited<T>(&self, work: impl Future<Output = Result<T>>) -> Result<Option<T>> {
        match self.runtime.block_on(async { timeout(self.limit, work).await }) {
            Ok(result) => result.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Waits until the link is quiet; tells how long it was not.
    fn settle(&self, running: &Running, quiet: Duration) -> Duration {
        let start = Instant::now();
        let mut last = (running.traffic(), start);
        while last.1.elapsed() < quiet && start.elapsed() < self.limit {
            std::thread::sleep(Duration::from_millis(10));
            let traffic = running.traffic();
            if traffic != last.0 {
                last = (traffic, Instant::now());
            }
        }
        last.1 - start
    }
}

fn sample(sample: Sample) -> Outcome {
    Outcome::Sample(Box::new(sample))
}
