//! `popbridge deletions list`: what the programs of a login deleted, and what came of it.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use super::exit::Failure;
use super::source::Source;
use super::state::{print, print_json, with_state};
use super::trail::{self, Shown};
use super::{login, restore};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Show what the programs of a login deleted, the oldest first, and what came of it.
    List(List),
    /// Bring back what a program deleted.
    #[command(after_help = restore::EXAMPLES)]
    Restore(restore::Arguments),
}

#[derive(clap::Args)]
struct List {
    #[command(flatten)]
    source: Source,
    /// The POP3 user name.
    #[arg(value_name = "LOGIN")]
    login: String,
    /// Only what was deleted within this time: 30m, 12h, 7d.
    #[arg(long, value_name = "DURATION", value_parser = trail::since)]
    since: Option<Duration>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    login: String,
    upstream: String,
    username: String,
    deletions: Vec<Shown>,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    match &arguments.command {
        Command::List(arguments) => list(arguments),
        Command::Restore(arguments) => restore::run(arguments),
    }
}

fn list(arguments: &List) -> Result<ExitCode, Failure> {
    let config = arguments.source.for_state()?;
    let route = login::route(&config, &arguments.login)?;
    let from = trail::not_before(arguments.since);
    let deletions = with_state(&config, async |store| {
        let trail = trail::read(store, &route, Some(&arguments.login)).await?;
        Ok(trail.iter().filter(|deletion| deletion.deleted_at >= from).map(Shown::of).collect())
    })?;
    let report = Report {
        login: arguments.login.clone(),
        upstream: route.upstream.name.clone(),
        username: route.username.clone(),
        deletions,
    };
    if arguments.json {
        print_json(&report)?;
    } else {
        print(&words(&report, arguments.since.is_some()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn words(report: &Report, part: bool) -> String {
    if report.deletions.is_empty() {
        let when = if part { " in this time" } else { "" };
        return format!(
            "no program has deleted anything as {}{when}, as far as the trail goes\n",
            report.login
        );
    }
    let mut text = String::new();
    for deletion in &report.deletions {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}  {}  {}  {}  {}: {}",
            deletion.deleted_at,
            deletion.folder,
            deletion.unique_id,
            deletion.message_id.as_deref().unwrap_or("(no Message-ID known)"),
            deletion.on_delete,
            deletion.text
        );
    }
    text
}
