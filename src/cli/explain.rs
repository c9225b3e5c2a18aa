//! `popbridge explain`: why is this message missing, new, or there twice for that login?

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use super::exit::{self, Failure};
use super::facts::{Deleted, Facts, Folder, IdFrom, Message, Place, Refused, Why};
use super::gather::gather;
use super::login;
use super::source::{Source, quoted};
use super::state::{duration, print, print_json, with_state};
use crate::config::Config;
use crate::maildrop;

pub const EXAMPLES: &str = "\
Examples:
  popbridge explain --config popbridge.toml alice@example.org
  popbridge explain --config popbridge.toml alice@example.org 5f3e6a2b00000017

It tells what the state database knows: how things were at the last login. No mail server is asked.";

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// The POP3 user name.
    #[arg(value_name = "LOGIN")]
    login: String,
    /// One message: its unique id as UIDL shows it, or its Message-ID.
    #[arg(value_name = "UNIQUE-ID|MESSAGE-ID")]
    message: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let config = arguments.source.for_state()?;
    let route = login::route(&config, &arguments.login)?;
    let command = |name: &str, login: &str, rest: &str| {
        let mut line = format!("popbridge {name} {}", arguments.source.words());
        // An id that begins like an option.
        if login.starts_with('-') || rest.starts_with('-') {
            line.push_str(" --");
        }
        for word in [login, rest].iter().filter(|word| !word.is_empty()) {
            let _ = write!(line, " {}", quoted(word));
        }
        line
    };
    let facts = with_state(&config, async |store| {
        let asked = arguments.message.as_deref();
        gather(store, &route, &arguments.login, asked, &command).await.map_err(|error| match error {
            maildrop::Error::Store(error) => error.into(),
            error => anyhow::Error::new(error).into(),
        })
    })?;
    let unknown = facts.message.as_ref().is_some_and(|message| !message.known);
    if arguments.json {
        print_json(&facts)?;
    } else if let (true, Some(message)) = (unknown, &facts.message) {
        return Err(Failure::new(exit::NO_INPUT, anyhow::anyhow!(not_known(message, &facts, &config))));
    } else {
        print(&match &facts.message {
            Some(message) => about_message(message, &facts),
            None => about_login(&facts),
        })?;
    }
    Ok(if unknown { exit::NO_INPUT.into() } else { ExitCode::SUCCESS })
}

fn not_known(message: &Message, facts: &Facts, config: &Config) -> String {
    format!(
        "\"{}\" is not known for {}: no login has listed it, or it has left the mail server without a program's doing, \
         or it was deleted longer ago than deletions_kept ({}). A Message-ID is known only once a session has \
         ended behind its arrival; a unique id always is",
        message.asked,
        facts.login,
        duration(config.deletions_kept)
    )
}

fn about_login(facts: &Facts) -> String {
    let Facts { settings, .. } = facts;
    let limit = |seconds: u64, none: &str| match seconds {
        0 => none.to_owned(),
        seconds => duration(Duration::from_secs(seconds)),
    };
    let newest = if settings.newest == 0 { "all".to_owned() } else { settings.newest.to_string() };
    let mut text = format!("login {}: {} at {}\n", facts.login, facts.username, facts.upstream);
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "settings: folders {}; on_delete \"{}\"; unique_id \"{}\"; only_unseen {}; newest {newest}; max_age {}; \
         delete_grace {}",
        settings.folders.join(", "),
        settings.on_delete,
        settings.unique_id,
        settings.only_unseen,
        limit(settings.max_age_seconds, "all"),
        limit(settings.delete_grace_seconds, "none"),
    );
    for folder in &facts.folders {
        text.push_str(&about_folder(folder, facts));
    }
    text
}

fn about_folder(folder: &Folder, facts: &Facts) -> String {
    let name = &folder.folder;
    let Some(validity) = folder.uid_validity else {
        return format!("{name}: no login has opened it yet\n");
    };
    let mut text = format!("{name}: UIDVALIDITY {validity}, {} at the last login", messages(folder.messages));
    match &folder.listing_changed_at {
        Some(at) => {
            let _ = writeln!(text, " (its listing last changed at {at})");
        }
        None => text.push_str(" (its listing is not kept at present)\n"),
    }
    let mut line = |count: usize, words: &str| {
        if count > 0 {
            let _ = writeln!(text, "  {count} {words}");
        }
    };
    line(folder.hidden, "not seen by this login: hidden, since it deleted them");
    let until = folder.waiting_until.as_deref().unwrap_or_default();
    line(folder.waiting, &format!("not seen by this login: waiting to be removed, the last until {until}"));
    line(folder.below_newest.unwrap_or(0), "not seen by this login: they have dropped out of the newest");
    line(
        folder.ids_from_earlier_uid_validity,
        "with a unique id from an earlier UIDVALIDITY, as programs know it",
    );
    for (on, key) in
        [(facts.settings.only_unseen, "only_unseen"), (facts.settings.max_age_seconds > 0, "max_age")]
    {
        if on {
            let _ = writeln!(text, "  {key} may leave out others: that is decided at each login");
        }
    }
    text.push_str(&folder.refused.as_ref().map(about_refusal).unwrap_or_default());
    text
}

fn about_refusal(refused: &Refused) -> String {
    let Refused { uid_validity, former_messages, messages: now, unrecognised, refused_at, command, .. } =
        refused;
    if refused.accepted {
        return format!(
            "  the mail server has made it anew (UIDVALIDITY {uid_validity}), which was accepted: at the next login up \
             to {unrecognised} of its {now} messages look new\n"
        );
    }
    format!(
        "  REFUSED at {refused_at}: the mail server has made it anew (UIDVALIDITY {uid_validity}). It had \
         {former_messages} messages, now it has {now}, and {unrecognised} of them may be known ones that cannot be \
         recognised.\n  Logins fail until the mail server has the former folder again, max_new_share is raised, or\n    \
         {command}\n  lets programs download up to {unrecognised} messages again.\n"
    )
}

fn about_message(message: &Message, facts: &Facts) -> String {
    let mut text = String::new();
    for place in &message.places {
        text.push_str(&about_place(place, facts));
    }
    if message.places.is_empty() {
        let folders = facts.settings.folders.join(", ");
        let back = message.deletions.last().is_some_and(|deleted| deleted.shown.outcome == "restored");
        let words = if back { "is back, and listed from the next login on in" } else { "is no longer in" };
        let _ = writeln!(text, "{} {words} {folders}", message.asked);
    }
    if message.places.len() > 1 {
        let _ = writeln!(
            text,
            "The mail server has it {} times under one Message-ID; each is a message of its own for POP3.",
            message.places.len()
        );
    }
    for deleted in &message.deletions {
        text.push_str(&about_deletion(deleted));
    }
    for folder in facts.folders.iter().filter(|folder| folder.refused.is_some()) {
        let _ = writeln!(
            text,
            "{}: the mail server has made it anew since; popbridge explain for the login alone tells more",
            folder.folder
        );
    }
    text
}

fn about_place(place: &Place, facts: &Facts) -> String {
    let Place { folder, uid_validity, uid, unique_id, .. } = place;
    let message_id = place.message_id.as_deref().unwrap_or("(no Message-ID known)");
    let mut text = format!("{unique_id} {message_id} in {folder}, UID {uid} of UIDVALIDITY {uid_validity}\n");
    let login = &facts.login;
    let _ = match place.why {
        Why::Listed => writeln!(text, "  listed to {login}"),
        Why::Hidden => writeln!(text, "  not listed to {login}: hidden, since {login} deleted it"),
        Why::Waiting => {
            let until = place.waiting_until.as_deref().unwrap_or_default();
            writeln!(text, "  not listed to {login}: deleted, and waiting to be removed until {until}")
        }
        Why::BelowNewest => {
            let newest = facts.settings.newest;
            writeln!(text, "  not listed to {login}: it has dropped out of the {newest} newest, for good")
        }
    };
    for key in &place.may_be_left_out_by {
        let _ = writeln!(text, "  but {key} may leave it out: that is decided at each login");
    }
    let numbers = || match (place.first_uid_validity, place.first_uid) {
        (Some(validity), Some(uid)) => format!("UIDVALIDITY {validity} and UID {uid}"),
        _ => String::new(),
    };
    let from = match place.unique_id_from {
        IdFrom::Numbers => format!("derives from {}", numbers()),
        IdFrom::EarlierNumbers => {
            format!("derives from {}, its numbers before the mail server made the folder anew", numbers())
        }
        IdFrom::Gmail => "was assigned from X-GM-MSGID".to_owned(),
        IdFrom::EmailId => "was assigned from EMAILID".to_owned(),
        IdFrom::Collision => "was assigned, since its numbers had been another message's".to_owned(),
        IdFrom::Kept => "was assigned: it is the one from before it was restored or renumbered".to_owned(),
    };
    let _ = writeln!(text, "  its unique id {from}");
    text
}

fn about_deletion(deleted: &Deleted) -> String {
    let Deleted { shown, command } = deleted;
    let mut text = format!(
        "deleted by {} at {} as {} in {} under on_delete \"{}\": {}\n",
        shown.login, shown.deleted_at, shown.unique_id, shown.folder, shown.on_delete, shown.text
    );
    if let Some(command) = command {
        let _ = writeln!(text, "  to take it back: {command}");
    }
    text
}

fn messages(count: usize) -> String {
    if count == 1 { "1 message".to_owned() } else { format!("{count} messages") }
}
