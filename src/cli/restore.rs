//! `popbridge deletions restore`: what a program deleted comes back, under its old unique id.

use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use super::exit::{self, Failure};
use super::login::{self, PasswordSource};
use super::source::Source;
use super::state::{print, print_json, with_state};
use super::trail;
use crate::app;
use crate::auth::Route;
use crate::config::Config;
use crate::maildrop::{self, Restored};
use crate::store::{Deletion, State, Store};
use crate::upstream::{self, Outcome, Pool};

pub const EXAMPLES: &str = "\
Examples:
  popbridge deletions restore --config popbridge.toml alice@example.org 5f3e6a2b00000017
  popbridge deletions restore --config popbridge.toml alice@example.org --since 2h
  popbridge deletions restore --config popbridge.toml alice@example.org --all --password-file password

The mail server's password is needed only for what has left its folder or was flagged, not for what
is hidden or still waits. For a login with a password_hash it is read from where the configuration says.";

#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["messages", "all", "since"]))]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// The POP3 user name.
    #[arg(value_name = "LOGIN")]
    login: String,
    /// The messages, by their unique ids or Message-IDs as `deletions list` shows them.
    #[arg(value_name = "UNIQUE-ID|MESSAGE-ID")]
    messages: Vec<String>,
    /// All that the trail knows.
    #[arg(long)]
    all: bool,
    /// All that was deleted within this time: 30m, 12h, 7d.
    #[arg(long, value_name = "DURATION", value_parser = trail::since)]
    since: Option<Duration>,
    #[command(flatten)]
    password: PasswordSource,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    login: String,
    restored: usize,
    failed: usize,
    messages: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    unique_id: String,
    message_id: Option<String>,
    folder: String,
    restored: bool,
    /// False if it came back as a message that programs do not know.
    same_unique_id: bool,
    /// Why it could not be restored.
    reason: Option<String>,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let config = arguments.source.for_state()?;
    let route = login::route(&config, &arguments.login)?;
    let (picked, results) = with_state(&config, async |store| {
        let trail = trail::read(store, &route, Some(&arguments.login)).await?;
        let picked = pick(arguments, &trail)?;
        let results = restore(arguments, &config, store, &route, &picked).await?;
        Ok((picked, results))
    })?;
    let report = report(arguments, &picked, results);
    if arguments.json {
        print_json(&report)?;
    } else {
        print(&words(&report))?;
    }
    Ok(if report.failed == 0 { ExitCode::SUCCESS } else { exit::UNAVAILABLE.into() })
}

/// What is asked for, the oldest first. A message that nobody deleted is an error: nothing is
/// restored then, since a slip of the pen may have meant another.
fn pick(arguments: &Arguments, trail: &[Deletion]) -> Result<Vec<Deletion>, Failure> {
    let newest = trail::newest(trail);
    let named = |deletion: &Deletion, text: &str| {
        trail::is_meant(text, &deletion.unique_id, deletion.message_id.as_deref())
    };
    for text in &arguments.messages {
        if !newest.iter().any(|deletion| named(deletion, text)) {
            let error = anyhow::anyhow!(
                "no deletion of \"{text}\" by {login} is known; nothing was restored. \
                 popbridge deletions list {source} {login} shows what there is",
                source = arguments.source.words(),
                login = super::source::quoted(&arguments.login),
            );
            return Err(Failure::new(exit::NO_INPUT, error));
        }
    }
    let from = trail::not_before(arguments.since);
    let wanted = |deletion: &&&Deletion| {
        let by_time = (arguments.all || arguments.since.is_some()) && deletion.deleted_at >= from;
        // What is back, or never went, is no failure of a sweeping wish.
        let gone = !matches!(deletion.state, State::Restored | State::Dropped);
        by_time && gone || arguments.messages.iter().any(|text| named(deletion, text))
    };
    Ok(newest.iter().filter(wanted).map(|deletion| (*deletion).clone()).collect())
}

async fn restore(
    arguments: &Arguments,
    config: &Config,
    store: &Store,
    route: &Route,
    picked: &[Deletion],
) -> Result<Vec<Restored>, Failure> {
    let account = match picked.iter().any(maildrop::needs_login) {
        true => {
            let grants = app::grants(config, store.clone()).await?;
            Some(login::account(route, &arguments.login, &arguments.password, &grants).await?)
        }
        false => None,
    };
    let pool = Pool::new(0).map_err(|error| Failure::new(exit::UNAVAILABLE, error))?;
    maildrop::restore(store, &pool, account, route.maildrop.unique_id, picked).await.map_err(|error| {
        match error {
            maildrop::Error::Upstream(upstream::Error::Login(status)) if status.outcome == Outcome::No => {
                let error = anyhow::anyhow!(
                    "nothing was restored: {} does not let {} in with this password: {status}",
                    route.upstream.name,
                    route.username
                );
                Failure::new(exit::NO_PERMISSION, error)
            }
            error @ (maildrop::Error::SecretRefused { .. } | maildrop::Error::TokenRefused { .. }) => {
                Failure::new(exit::NO_PERMISSION, anyhow::Error::new(error).context("nothing was restored"))
            }
            maildrop::Error::Store(error) => error.into(),
            error => {
                Failure::new(exit::UNAVAILABLE, anyhow::Error::new(error).context("nothing was restored"))
            }
        }
    })
}

fn report(arguments: &Arguments, picked: &[Deletion], results: Vec<Restored>) -> Report {
    let lines = picked.iter().zip(results).map(|(deletion, result)| {
        let reason = match &result {
            Restored::Back | Restored::BackAsNew => None,
            Restored::Lost(reason) => Some((*reason).to_owned()),
            Restored::Failed(reason) => Some(reason.clone()),
            Restored::NeedsLogin => Some("it needs the password".to_owned()),
        };
        Line {
            unique_id: deletion.unique_id.clone(),
            message_id: deletion.message_id.clone(),
            folder: trail::readable(&deletion.name.folder),
            restored: reason.is_none(),
            same_unique_id: result == Restored::Back,
            reason,
        }
    });
    let messages: Vec<Line> = lines.collect();
    let restored = messages.iter().filter(|line| line.restored).count();
    Report { login: arguments.login.clone(), restored, failed: messages.len() - restored, messages }
}

fn words(report: &Report) -> String {
    if report.messages.is_empty() {
        return format!("there is nothing to restore for {}\n", report.login);
    }
    let line = |line: &Line| {
        let name = line.message_id.as_ref().map_or_else(String::new, |id| format!(" {id}"));
        let message = format!("{}{name} in {}", line.unique_id, line.folder);
        match (&line.reason, line.same_unique_id) {
            (Some(reason), _) => format!("cannot restore {message}: {reason}\n"),
            (None, true) => format!("restored {message}\n"),
            (None, false) => {
                format!("restored {message}, but under another unique id: programs download it again\n")
            }
        }
    };
    report.messages.iter().map(line).collect()
}
