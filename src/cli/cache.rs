//! `popbridge cache clear`: the listings that are kept to be quick are dropped, and nothing else.

use std::process::ExitCode;

use super::exit::Failure;
use super::source::Source;
use super::state::{print, with_state};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Drop the listings that are kept from former logins. Nothing else is lost.
    Clear(Clear),
}

#[derive(clap::Args)]
struct Clear {
    #[command(flatten)]
    source: Source,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let Command::Clear(Clear { source }) = &arguments.command;
    let config = source.for_state()?;
    let dropped = with_state(&config, async |store| Ok(store.clear_cache().await?)).map(listings)?;
    print(&format!(
        "{dropped} dropped; the next logins list anew. Unique ids, hidden messages and the trail of deletions stay\n"
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn listings(count: u64) -> String {
    if count == 1 { "1 listing".to_owned() } else { format!("{count} listings") }
}
