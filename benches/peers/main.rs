//! popbridge beside its peers on the same mail over the same link.
//!
//! `benches/peers.sh` runs it; the table goes to standard output, progress to standard error.
//! docs/benchmarks.md tells what is measured and how.

#[path = "../../tests/support/mod.rs"]
mod support;

mod contender;
mod fetchmail;
mod idle;
mod mailbox;
mod measure;
mod pop3;
mod popbridge;
mod raw;
mod relay;
mod report;
mod rows;
mod setting;
mod tree;
mod work;

use std::process::ExitCode;
use std::time::Duration;

use contender::Kind;
use measure::Bench;
use report::{Cell, Report};
use rows::{FULL, QUICK, Sizes};

/// What took longer is not measured again: it is mostly waiting, and that is always the same.
const LONG: f64 = 30.0;

const USAGE: &str = "peers [quick] [--rounds N] [--limit SECONDS] [ROW …]";

struct Arguments {
    sizes: Sizes,
    rounds: usize,
    /// All, if none is named.
    rows: Vec<String>,
    words: String,
}

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    // `cargo bench` says so; `cargo test --all-targets`, which comes here as well, does not.
    if !words.iter().any(|word| word == "--bench") {
        println!("a measurement, not a test: benches/peers.sh runs it");
        return ExitCode::SUCCESS;
    }
    words.retain(|word| word != "--bench");
    match arguments(&words) {
        Some(arguments) => run(&arguments),
        None => {
            let names: Vec<&str> = rows::rows(&FULL).iter().map(|row| row.name).collect();
            eprintln!("usage: {USAGE}\nrows: {}", names.join(" "));
            ExitCode::from(64)
        }
    }
}

fn arguments(words: &[String]) -> Option<Arguments> {
    let mut arguments = Arguments { sizes: FULL, rounds: 3, rows: Vec::new(), words: words.join(" ") };
    let mut limit = None;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "quick" => arguments.sizes = QUICK,
            "--rounds" => arguments.rounds = words.next()?.parse().ok().filter(|rounds| *rounds > 0)?,
            "--limit" => limit = Some(Duration::from_secs(words.next()?.parse().ok()?)),
            name if rows::rows(&FULL).iter().any(|row| row.name == name) => {
                arguments.rows.push(name.to_owned());
            }
            _ => return None,
        }
    }
    arguments.sizes.limit = limit.unwrap_or(arguments.sizes.limit);
    Some(arguments)
}

fn run(arguments: &Arguments) -> ExitCode {
    let Arguments { sizes, rounds, rows: names, words } = arguments;
    let before = setting::load();
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    let upstream = contender::upstream();
    let mut rows = rows::rows(sizes);
    rows.retain(|row| names.is_empty() || names.iter().any(|name| name == row.name));
    let mail = rows::mail(&upstream, sizes, &rows, *rounds);
    let bench = Bench { runtime: &runtime, upstream: &upstream, limit: sizes.limit };

    let mut report = Report::new();
    let mut failed = false;
    for row in &rows {
        let mailbox = &mail[&row.mail];
        let mut cells: Vec<(Kind, Cell)> = Kind::ALL.map(|kind| (kind, Cell::default())).into();
        for round in 0..*rounds {
            // Each round begins with another one.
            for turn in 0..cells.len() {
                let turn = (round + turn) % cells.len();
                let (kind, cell) = &mut cells[turn];
                if cell.end.is_some() || cell.slowest() > LONG {
                    continue;
                }
                eprintln!("{}: round {}, {}", row.name, round + 1, kind.name());
                if let Some(outcome) = bench.measure(row, *kind, mailbox) {
                    failed |= matches!(outcome, measure::Outcome::Failed(_));
                    cell.add(outcome, sizes.limit.as_secs());
                    cell.tell();
                }
            }
        }
        cells.retain(|(_, cell)| cell.end.is_some() || !cell.samples.is_empty());
        report.row(row, mailbox, &cells);
    }
    println!("{}\n{}", setting::describe(words, *rounds, &before), report.finish());
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
