//! The trail of what programs deleted, as the commands read, pick and show it.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::state::time;
use crate::auth::Route;
use crate::ids::Uid;
use crate::store::{self, Action, Deletion, MailboxName, Origin, State, Store, now};
use crate::upstream::FolderName;

/// A deletion as it is shown.
#[derive(Debug, Serialize)]
pub struct Shown {
    pub login: String,
    pub deleted_at: String,
    pub folder: String,
    pub unique_id: String,
    pub message_id: Option<String>,
    pub on_delete: String,
    /// One word, for programs.
    pub outcome: &'static str,
    /// The same in words.
    pub text: String,
    /// While it is still to be done.
    pub due_at: Option<String>,
    pub moved_to: Option<String>,
}

impl Shown {
    pub fn of(deletion: &Deletion) -> Self {
        let (outcome, text) = outcome(deletion);
        Self {
            login: deletion.login.clone(),
            deleted_at: time(deletion.deleted_at),
            folder: readable(&deletion.name.folder),
            unique_id: deletion.unique_id.clone(),
            message_id: deletion.message_id.clone(),
            on_delete: deletion.action.to_string(),
            outcome,
            text,
            due_at: (deletion.state == State::Pending).then(|| time(deletion.due_at)),
            moved_to: target(deletion).filter(|_| outcome == "moved"),
        }
    }
}

/// What came of a deletion: in one word, and in several.
fn outcome(deletion: &Deletion) -> (&'static str, String) {
    let words = |outcome, text: &str| (outcome, text.to_owned());
    match (deletion.state, deletion.action) {
        (State::Pending, _) if deletion.due_at <= now() => {
            words("due", "due; done at the next login at the latest")
        }
        (State::Pending, _) => ("due", format!("due on {}", time(deletion.due_at))),
        (State::Acting, _) => words("under-way", "under way"),
        (State::Gone, _) => words("gone", "another program had removed it before"),
        (State::Dropped, _) => {
            words("dropped", "given up, since the mail server had made the folder anew; nothing was removed")
        }
        (State::Restored, _) => words("restored", "restored"),
        (State::Done, Action::Hide) => words("hidden", "hidden from this login, still on the mail server"),
        (State::Done, Action::Trash | Action::Archive) => {
            ("moved", format!("moved to {}", target(deletion).unwrap_or_default()))
        }
        (State::Done, Action::Flag) => words("flagged", "flagged \\Deleted, hidden from this login"),
        (State::Done, Action::Expunge) => words("removed", "removed for good"),
    }
}

fn target(deletion: &Deletion) -> Option<String> {
    deletion.target.as_deref().map(readable)
}

/// A folder's name in the state database, as people write it.
pub fn readable(folder: &str) -> String {
    FolderName::from_wire(folder.as_bytes()).map_or_else(|| folder.to_owned(), |name| name.to_string())
}

/// A folder of the maildrop that a login leads to, as the state database names it.
pub fn mailbox_name(route: &Route, folder: &str) -> MailboxName {
    MailboxName {
        upstream: route.upstream.name.clone(),
        username: route.username.clone(),
        folder: FolderName::new(folder).as_wire().to_owned(),
    }
}

/// The trail of a login, or of all logins of its account; the oldest first. Message-IDs are looked
/// up where a deletion needed none: one that only hid learnt nothing of the message.
pub async fn read(store: &Store, route: &Route, login: Option<&str>) -> Result<Vec<Deletion>, store::Error> {
    let mut trail = store.deletions(&route.upstream.name, &route.username, login).await?;
    let without = trail.iter().filter(|deletion| deletion.message_id.is_none());
    let names: HashSet<MailboxName> = without.map(|deletion| deletion.name.clone()).collect();
    for name in names {
        let Some(mailbox) = store.current_mailbox(&name).await? else { continue };
        let keys = store.keys(mailbox.id).await?.into_iter();
        let ids: HashMap<Uid, Option<String>> =
            keys.map(|key| (key.uid, key.fingerprint.message_id)).collect();
        let origins = store.origins(mailbox.id).await?.into_iter();
        let by_origin: HashMap<Origin, Uid> = origins.map(|(uid, origin)| (origin, uid)).collect();
        for deletion in trail.iter_mut().filter(|known| known.message_id.is_none() && known.name == name) {
            let then = Origin { validity: deletion.validity, uid: deletion.uid };
            let uid = match mailbox.validity == deletion.validity {
                true => Some(&deletion.uid),
                false => by_origin.get(&then),
            };
            deletion.message_id = uid.and_then(|uid| ids.get(uid)).cloned().flatten();
        }
    }
    Ok(trail)
}

/// The newest deletion of each message, in the order of the trail: what became of it before is
/// history.
pub fn newest(trail: &[Deletion]) -> Vec<&Deletion> {
    let mut seen = HashSet::new();
    let mut newest: Vec<&Deletion> =
        trail.iter().rev().filter(|deletion| seen.insert((&deletion.login, &deletion.unique_id))).collect();
    newest.reverse();
    newest
}

/// Whether a person who writes `text` means this message: its unique id or its Message-ID, with or
/// without angle brackets.
pub fn is_meant(text: &str, unique_id: &str, message_id: Option<&str>) -> bool {
    unique_id == text || message_id.is_some_and(|id| bare(id) == bare(text))
}

fn bare(message_id: &str) -> &str {
    message_id.trim().trim_start_matches('<').trim_end_matches('>')
}

/// How long ago: `30m`, `7d`.
pub fn since(text: &str) -> Result<std::time::Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it as 30m, 12h or 7d"))
}

/// Deletions that are not older than `since`.
pub fn not_before(since: Option<std::time::Duration>) -> i64 {
    let seconds = since.map(|since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    seconds.map_or(i64::MIN, |seconds| now().saturating_sub(seconds))
}
