//! The removal journal, and the trail that it leaves: who deleted what, when, under which policy.
//!
//! One row a message. It is written before anything is done (`pending`), and changed when that is
//! begun (`acting`) and done; what is not final yet is the journal.

use std::fmt;
use std::str::FromStr;

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, Sqlite};

use super::{MailboxId, MailboxName, Result, Store, damaged, hidden, now, number, uid, validity};
use crate::failpoint;
use crate::fingerprint::{Digest, Fingerprint};
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

impl Store {
    /// Hides messages and notes it in the trail: all of it or, on an error, nothing.
    pub async fn hide_deleted(
        &self,
        mailbox: MailboxId,
        name: &MailboxName,
        valid: UidValidity,
        login: &str,
        messages: &[(Uid, String)],
    ) -> Result<()> {
        let mut transaction = self.begin().await?;
        let uids: Vec<Uid> = messages.iter().map(|(uid, _)| *uid).collect();
        hidden::hide(&mut transaction, mailbox, login, &uids).await?;
        let new = NewDeletion { login, action: Action::Hide, target: None, due: now() };
        insert(&mut transaction, name, valid, &new, State::Done, messages).await?;
        failpoint::reached("hiding");
        Ok(transaction.commit().await?)
    }

    /// Journals what is going to be removed, each message with its unique id.
    pub async fn begin_deletions(
        &self,
        name: &MailboxName,
        valid: UidValidity,
        new: &NewDeletion<'_>,
        messages: &[(Uid, String)],
    ) -> Result<()> {
        let mut transaction = self.begin().await?;
        insert(&mut transaction, name, valid, new, State::Pending, messages).await?;
        failpoint::reached("noting");
        Ok(transaction.commit().await?)
    }

    /// The journal of an account, due or not, in the order of its making.
    pub async fn pending(&self, upstream: &str, username: &str) -> Result<Vec<Deletion>> {
        let rows = sqlx::query(
            "SELECT * FROM deletion WHERE upstream = $1 AND username = $2 \
             AND state IN ('pending', 'acting') ORDER BY id",
        )
        .bind(upstream)
        .bind(username)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(deletion).collect()
    }

    /// The accounts (upstream and user name) with something due at `at` or before.
    pub async fn due(&self, at: i64) -> Result<Vec<(String, String)>> {
        let rows = sqlx::query(
            "SELECT DISTINCT upstream, username FROM deletion \
             WHERE state IN ('pending', 'acting') AND due_at <= $1",
        )
        .bind(at)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// Whether an account has anything in the journal, due or not.
    pub async fn has_pending(&self, upstream: &str, username: &str) -> Result<bool> {
        let row = sqlx::query(
            "SELECT COUNT(*) FROM deletion WHERE upstream = $1 AND username = $2 \
             AND state IN ('pending', 'acting')",
        )
        .bind(upstream)
        .bind(username)
        .fetch_one(&self.pool)
        .await?;
        Ok(row.try_get::<i64, _>(0)? > 0)
    }

    /// Notes, before anything is done, what the messages are and, for COPY, from which UID on its
    /// copies will be.
    pub async fn note_acting(
        &self,
        messages: &[(i64, Option<&Fingerprint>)],
        copies: Option<Copied>,
    ) -> Result<()> {
        let mut transaction = self.begin().await?;
        for (id, fingerprint) in messages {
            sqlx::query(
                "UPDATE deletion SET state = 'acting', message_id = $1, header = $2, target_validity = $3, \
                 target_uid = $4 WHERE id = $5",
            )
            .bind(fingerprint.and_then(|fingerprint| fingerprint.message_id.as_deref()))
            .bind(fingerprint.map(|fingerprint| fingerprint.header.to_vec()))
            .bind(copies.map(|copies| i64::from(copies.validity.get())))
            .bind(copies.map(|copies| i64::from(copies.uid.get())))
            .bind(id)
            .execute(&mut *transaction)
            .await?;
        }
        failpoint::reached("beginning");
        Ok(transaction.commit().await?)
    }

    /// Clears the journal of what has come to its end. With `hide`, messages that stay in the
    /// mailbox are hidden from their login in the same breath.
    pub async fn settle(&self, outcomes: &[Outcome], hide: Option<(MailboxId, &str, &[Uid])>) -> Result<()> {
        let mut transaction = self.begin().await?;
        for outcome in outcomes {
            sqlx::query(
                "UPDATE deletion SET state = $1, target_validity = $2, target_uid = $3 WHERE id = $4",
            )
            .bind(outcome.state.to_string())
            .bind(outcome.copy.map(|copy| i64::from(copy.validity.get())))
            .bind(outcome.copy.map(|copy| i64::from(copy.uid.get())))
            .bind(outcome.id)
            .execute(&mut *transaction)
            .await?;
        }
        if let Some((mailbox, login, uids)) = hide {
            hidden::hide(&mut transaction, mailbox, login, uids).await?;
        }
        failpoint::reached("settling");
        Ok(transaction.commit().await?)
    }

    /// Takes back what is still pending; false for what has gone on meanwhile.
    pub async fn withdraw(&self, id: i64) -> Result<bool> {
        let sql = "UPDATE deletion SET state = 'restored' WHERE id = $1 AND state = 'pending'";
        Ok(sqlx::query(sql).bind(id).execute(&self.pool).await?.rows_affected() > 0)
    }

    /// Notes that a deletion was taken back.
    pub async fn note_restored(&self, id: i64) -> Result<()> {
        let sql = "UPDATE deletion SET state = 'restored' WHERE id = $1";
        sqlx::query(sql).bind(id).execute(&self.pool).await?;
        Ok(())
    }

    /// The trail of an account, of one login or of all, the newest last.
    pub async fn deletions(
        &self,
        upstream: &str,
        username: &str,
        login: Option<&str>,
    ) -> Result<Vec<Deletion>> {
        let mut select = QueryBuilder::<Sqlite>::new("SELECT * FROM deletion WHERE upstream = ");
        select.push_bind(upstream).push(" AND username = ").push_bind(username);
        if let Some(login) = login {
            select.push(" AND login = ").push_bind(login);
        }
        select.push(" ORDER BY deleted_at, id");
        let rows = select.build().fetch_all(&self.pool).await?;
        rows.iter().map(deletion).collect()
    }

    /// Forgets the trail before `before` (seconds since 1970), never the journal.
    pub async fn forget_deletions(&self, before: i64) -> Result<u64> {
        let sql = "DELETE FROM deletion WHERE deleted_at < $1 AND state NOT IN ('pending', 'acting')";
        Ok(sqlx::query(sql).bind(before).execute(&self.pool).await?.rows_affected())
    }
}

async fn insert(
    transaction: &mut sqlx::Transaction<'static, Sqlite>,
    name: &MailboxName,
    valid: UidValidity,
    new: &NewDeletion<'_>,
    state: State,
    messages: &[(Uid, String)],
) -> Result<()> {
    let at = now();
    for chunk in messages.chunks(500) {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO deletion (upstream, username, folder, uid_validity, uid, login, unique_id, action, \
             state, deleted_at, due_at, target) ",
        );
        insert.push_values(chunk, |mut row, (uid, unique_id)| {
            row.push_bind(&name.upstream)
                .push_bind(&name.username)
                .push_bind(&name.folder)
                .push_bind(i64::from(valid.get()))
                .push_bind(i64::from(uid.get()))
                .push_bind(new.login)
                .push_bind(unique_id)
                .push_bind(new.action.to_string())
                .push_bind(state.to_string())
                .push_bind(at)
                .push_bind(new.due)
                .push_bind(new.target);
        });
        insert.build().execute(&mut **transaction).await?;
    }
    Ok(())
}

fn deletion(row: &SqliteRow) -> Result<Deletion> {
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
