//! What a deletion is: who deleted what, when, under which policy, and what came of it.

use std::fmt;
use std::str::FromStr;

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::{MailboxName, Result, damaged, number, uid, validity};
use crate::fingerprint::Digest;
use crate::ids::{Uid, UidValidity};

/// What a deletion does on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    Hide,
    Trash,
    Archive,
    Flag,
    Expunge,
}

/// How far a deletion has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Confirmed by QUIT, to be done when due; the message is hidden from its login meanwhile.
    Pending,
    /// Begun: it may be done already. Copies in the target folder, if any, have UIDs from that of
    /// `copy` on.
    Acting,
    /// Done.
    Done,
    /// Another client had removed the message before.
    Gone,
    /// Given up, since the server had made the mailbox anew: nothing was removed.
    Dropped,
    /// Taken back by a person.
    Restored,
}

/// The words in the database and in what commands print.
const ACTIONS: [(Action, &str); 5] = [
    (Action::Hide, "hide"),
    (Action::Trash, "trash"),
    (Action::Archive, "archive"),
    (Action::Flag, "flag"),
    (Action::Expunge, "expunge"),
];
const STATES: [(State, &str); 6] = [
    (State::Pending, "pending"),
    (State::Acting, "acting"),
    (State::Done, "done"),
    (State::Gone, "gone"),
    (State::Dropped, "dropped"),
    (State::Restored, "restored"),
];

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(word(&ACTIONS, *self))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(word(&STATES, *self))
    }
}

impl FromStr for State {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        STATES.iter().find(|(_, word)| *word == text).map(|(state, _)| *state).ok_or(())
    }
}

impl FromStr for Action {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        ACTIONS.iter().find(|(_, word)| *word == text).map(|(action, _)| *action).ok_or(())
    }
}

fn word<T: PartialEq>(words: &[(T, &'static str)], value: T) -> &'static str {
    words.iter().find(|(known, _)| *known == value).map_or("", |(_, word)| word)
}

/// One message that a client deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    pub id: i64,
    pub name: MailboxName,
    pub validity: UidValidity,
    pub uid: Uid,
    pub login: String,
    /// As the client saw it.
    pub unique_id: String,
    pub action: Action,
    pub state: State,
    /// Seconds since 1970.
    pub deleted_at: i64,
    /// Not to be done before.
    pub due_at: i64,
    pub message_id: Option<String>,
    pub header: Option<Digest>,
    /// The folder that it goes to.
    pub target: Option<String>,
    /// Where it is there, once it is done; while acting, where copies may be.
    pub copy: Option<Copied>,
}

/// A message, or the first UID of several, in a target folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    pub validity: UidValidity,
    pub uid: Uid,
}

/// What all messages of one deletion have in common.
#[derive(Debug, Clone, Copy)]
pub struct NewDeletion<'a> {
    pub login: &'a str,
    pub action: Action,
    pub target: Option<&'a str>,
    /// Seconds since 1970.
    pub due: i64,
}

/// How a deletion ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub id: i64,
    pub state: State,
    pub copy: Option<Copied>,
}

pub(super) fn deletion(row: &SqliteRow) -> Result<Deletion> {
    let copy = match (number(row, "target_validity")?, number(row, "target_uid")?) {
        (Some(validity), Some(uid)) => {
            UidValidity::new(validity).zip(Uid::new(uid)).map(|(validity, uid)| Copied { validity, uid })
        }
        _ => None,
    };
    let header: Option<Vec<u8>> = row.try_get("header")?;
    let action: String = row.try_get("action")?;
    let state: String = row.try_get("state")?;
    Ok(Deletion {
        id: row.try_get("id")?,
        name: MailboxName {
            upstream: row.try_get("upstream")?,
            username: row.try_get("username")?,
            folder: row.try_get("folder")?,
        },
        validity: validity(row, "uid_validity")?,
        uid: uid(row, "uid")?,
        login: row.try_get("login")?,
        unique_id: row.try_get("unique_id")?,
        action: action.parse().map_err(|()| damaged("action"))?,
        state: state.parse().map_err(|()| damaged("state"))?,
        deleted_at: row.try_get("deleted_at")?,
        due_at: row.try_get("due_at")?,
        message_id: row.try_get("message_id")?,
        header: header.and_then(|octets| octets.try_into().ok()),
        target: row.try_get("target")?,
        copy,
    })
}
