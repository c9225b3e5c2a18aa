//! The table: medians with their range, ratios to the peer, and where popbridge is behind.

use std::fmt::Write as _;

use crate::contender::Kind;
use crate::mailbox::Mailbox;
use crate::measure::{Outcome, Sample};
use crate::rows::{Mail, Row};
use crate::work::Work;

/// All rounds of one contender in one row.
#[derive(Default)]
pub struct Cell {
    pub samples: Vec<Sample>,
    /// Instead of a further measurement.
    pub end: Option<String>,
}

impl Cell {
    pub fn add(&mut self, outcome: Outcome, limit: u64) {
        match outcome {
            Outcome::Sample(sample) => self.samples.push(*sample),
            Outcome::TooLong => self.end = Some(format!("over {limit} s")),
            Outcome::Failed(error) => self.end = Some(format!("failed: {}", error.replace(['|', '\n'], " "))),
        }
    }

    /// Seconds; 0 before the first measurement.
    pub fn slowest(&self) -> f64 {
        self.range(|sample| sample.seconds).map_or(0.0, |(_, _, slowest)| slowest)
    }

    /// The last measurement, for somebody who waits.
    pub fn tell(&self) {
        match (&self.end, self.samples.last()) {
            (Some(end), _) => eprintln!("  {end}"),
            (None, Some(sample)) => eprintln!("  {}", show(sample.seconds, time)),
            (None, None) => {}
        }
    }

    /// Lowest, middle, highest.
    fn range(&self, value: impl Fn(&Sample) -> Option<f64>) -> Option<(f64, f64, f64)> {
        let mut values: Vec<f64> = self.samples.iter().filter_map(value).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = match values.len() {
            0 => return None,
            even if even.is_multiple_of(2) => f64::midpoint(values[middle - 1], values[middle]),
            _ => values[middle],
        };
        Some((values[0], median, values[values.len() - 1]))
    }

    fn median(&self, value: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        self.range(value).map(|(_, median, _)| median)
    }
}

type Value = fn(&Sample) -> Option<f64>;

pub struct Report {
    text: String,
    behind: Vec<String>,
}

impl Report {
    pub fn new() -> Self {
        let text = "\
| what | contender | time | to peer | to raw | CPU | CPU to peer | upstream CPU | memory | grown by | connections | turns | up | down | besides |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
"
        .to_owned();
        Self { text, behind: Vec::new() }
    }

    pub fn row(&mut self, row: &Row, mailbox: &Mailbox, cells: &[(Kind, Cell)]) {
        let of = |kind: Kind| cells.iter().find(|(own, _)| *own == kind).map(|(_, cell)| cell);
        let (peer, raw) = (of(Kind::Peer), of(Kind::Raw));
        for (at, (kind, cell)) in cells.iter().enumerate() {
            let title = if at == 0 { &row.title } else { "" };
            self.line(row, title, (*kind, cell), (peer, raw), mailbox);
        }
        if let Some((own, peer)) = of(Kind::Popbridge).zip(peer) {
            self.compare(row, own, peer);
        }
    }

    pub fn finish(mut self) -> String {
        self.text.push_str("\npopbridge behind Dovecot imapc by more than a tenth:\n\n");
        if self.behind.is_empty() {
            self.text.push_str("- nowhere in this run\n");
        }
        for line in &self.behind {
            let _ = writeln!(self.text, "- {line}");
        }
        self.text
    }

    fn line(
        &mut self,
        row: &Row,
        title: &str,
        (kind, cell): (Kind, &Cell),
        (peer, raw): (Option<&Cell>, Option<&Cell>),
        mailbox: &Mailbox,
    ) {
        let seconds = cell.range(|sample| sample.seconds);
        let time = match (&cell.end, seconds) {
            (Some(end), _) => end.clone(),
            (None, Some((low, median, high))) if low < high => {
                format!("{} ({}–{})", time(median), time(low), time(high))
            }
            (None, Some((_, median, _))) => time(median),
            (None, None) => "–".to_owned(),
        };
        let ratio = |other: Option<&Cell>, value: Value| {
            let other = other.and_then(|other| other.median(value)).filter(|other| *other > 0.0);
            show(cell.median(value).zip(other).map(|(own, other)| own / other), |ratio| match ratio {
                small if small < 0.1 => format!("{small:.3}"),
                _ => format!("{ratio:.2}"),
            })
        };
        let mebi = |kib: f64| format!("{:.1} MB", kib * 1024.0 / 1e6);
        let per_kib = |kib: f64| match row.work {
            Work::Idle { .. } => format!("{:.0} KB a session", kib * 1.024),
            _ => mebi(kib),
        };
        let columns = [
            title.to_owned(),
            kind.name().to_owned(),
            time,
            ratio(peer, |sample| sample.seconds),
            ratio(raw, |sample| sample.seconds),
            show(cell.median(|sample| sample.cpu), self::time),
            ratio(peer, |sample| sample.cpu),
            show(cell.median(|sample| sample.upstream_cpu), self::time),
            show(cell.median(|sample| sample.memory), mebi),
            show(cell.median(|sample| sample.growth), per_kib),
            show(cell.median(|sample| sample.connections), |count| format!("{count:.0}")),
            show(cell.median(|sample| sample.turns), |count| format!("{count:.0}")),
            show(cell.median(|sample| sample.up), octets),
            show(cell.median(|sample| sample.down), octets),
            besides(row, cell, mailbox).join(", "),
        ];
        let _ = writeln!(self.text, "| {} |", columns.join(" | "));
    }

    /// Notes where popbridge needs more than a tenth more than the peer.
    fn compare(&mut self, row: &Row, own: &Cell, peer: &Cell) {
        let title = &row.title;
        if let Some(end) = &own.end {
            self.behind.push(format!("{title}: {end}"));
            return;
        }
        // Processor time is counted in steps of 10 ms; less than some of them says nothing.
        let many = matches!(row.work, Work::Poll { .. } | Work::Pollers { .. });
        let cpu = if many { 0.002 } else { 0.03 };
        let values: [(&str, f64, Value); 8] = [
            ("time", 0.0, |sample| sample.seconds),
            ("first octet", 0.001, |sample| sample.first_octet),
            ("CPU", cpu, |sample| sample.cpu),
            ("upstream CPU", cpu, |sample| sample.upstream_cpu),
            ("memory grown by", 0.0, |sample| sample.growth),
            ("turns", 0.0, |sample| sample.turns),
            ("octets down", 0.0, |sample| sample.down),
            ("installed", 0.0, |sample| sample.binary),
        ];
        for (name, least, value) in values {
            let Some((own, peer)) = own.median(value).zip(peer.median(value)) else { continue };
            if own > peer * 1.1 && own - peer >= least {
                let times = if peer > 0.0 { format!("{:.2} times", own / peer) } else { "from 0".to_owned() };
                self.behind.push(format!("{title}: {name}, {times}"));
            }
        }
    }
}

fn besides(row: &Row, cell: &Cell, mailbox: &Mailbox) -> Vec<String> {
    let mut notes = Vec::new();
    let Some(seconds) = cell.median(|sample| sample.seconds) else { return notes };
    let cpu = cell.median(|sample| sample.cpu);
    if let Work::Retrieve { .. } | Work::Fetchmail { .. } = row.work {
        notes.push(format!("{:.1} MB/s", mailbox.octets() as f64 / 1e6 / seconds));
    }
    if let Some(first) = cell.median(|sample| sample.first_octet).filter(|_| row.work != Work::Headers) {
        notes.push(format!("first octet {}", time(first)));
    }
    match (row.work, cpu) {
        (Work::Retrieve { .. }, Some(cpu)) if row.mail == Mail::Big => {
            notes.push(format!("CPU {} a GB", time(cpu * 1e9 / mailbox.octets() as f64)));
        }
        (Work::Retrieve { .. } | Work::Headers | Work::Fetchmail { .. }, Some(cpu)) => {
            notes.push(format!("CPU {:.0} µs a message", cpu * 1e6 / mailbox.len() as f64));
        }
        (Work::Pollers { .. }, _) => {
            notes.push(format!("{:.0} sessions/s", row.work.sessions() as f64 / seconds));
            notes.push(format!("clients' CPU {}", show(cell.median(|sample| sample.own_cpu), time)));
        }
        _ => {}
    }
    if matches!(row.work, Work::Listing | Work::Poll { .. }) && !row.delay.is_zero() {
        notes.push(format!("{:.1} round trips", seconds / (2.0 * row.delay.as_secs_f64())));
    }
    if let Some(binary) = cell.median(|sample| sample.binary) {
        notes.push(format!("{} installed", octets(binary)));
    }
    if let Some(afterwards) = cell.median(|sample| sample.afterwards).filter(|seconds| *seconds >= 0.1) {
        notes.push(format!("link busy {} behind the end", time(afterwards)));
    }
    if let Some(behind) = cell.median(|sample| sample.down_behind).filter(|behind| *behind >= 1e3) {
        notes.push(format!("{} down behind the end", octets(behind)));
    }
    notes
}

fn show(value: Option<f64>, form: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), form)
}

fn time(seconds: f64) -> String {
    match seconds {
        tiny if tiny < 0.01 => format!("{:.1} ms", tiny * 1e3),
        short if short < 1.0 => format!("{:.0} ms", short * 1e3),
        medium if medium < 100.0 => format!("{medium:.2} s"),
        long => format!("{long:.0} s"),
    }
}

fn octets(count: f64) -> String {
    match count {
        small if small < 1e3 => format!("{small:.0} B"),
        medium if medium < 1e6 => format!("{:.1} KB", medium / 1e3),
        large => format!("{:.1} MB", large / 1e6),
    }
}
