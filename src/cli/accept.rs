//! `popbridge accept`: a person lets a mailbox that its server made anew be used, whatever looks
//! new in it.

use std::fmt::Write as _;
use std::process::ExitCode;

use super::exit::Failure;
use super::source::Source;
use super::state::{print, with_state};
use super::{login, trail};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// The POP3 user name.
    #[arg(value_name = "LOGIN")]
    login: String,
}

/// Having nothing to accept is no failure: the login is not refused for it.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let config = arguments.source.for_state()?;
    let route = login::route(&config, &arguments.login)?;
    let text = with_state(&config, async |store| {
        let mut text = String::new();
        for folder in &route.maildrop.folders {
            let name = trail::mailbox_name(&route, folder);
            let Some(refused) = store.renumbering(&name).await? else { continue };
            let again = if refused.accepted { "accepted before already" } else { "accepted" };
            // False if a login has gone through just now, as after another accept.
            if !store.accept_renumbering(&name).await? {
                continue;
            }
            let _ = writeln!(
                text,
                "{folder}: {again}. At the next login up to {} of its {} messages look new, and programs download \
                 them again; those that are recognised keep their unique ids and stay hidden where they were. Deletions \
                 that still wait there are given up",
                refused.unmatched, refused.messages
            );
        }
        Ok(text)
    })?;
    if text.is_empty() {
        print(&format!("nothing is refused for {}: there is nothing to accept\n", arguments.login))?;
    } else {
        print(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}
