//! What outlives a session, in SQLite: one file a table or two that belong together.
//!
//! The statements are written so that PostgreSQL takes them as well; only the migrations and
//! the opening are SQLite's own.

mod deletion;
mod error;
mod hidden;
mod journal;
mod key;
mod listing;
mod mailbox;
mod notes;
mod open;
mod renumbering;
mod token;
mod unique_id;

use std::time::{SystemTime, UNIX_EPOCH};

use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Row as _, Sqlite, Transaction};

pub use deletion::{Action, Copied, Deletion, NewDeletion, Outcome, State};
pub use error::Error;
pub use listing::{Cached, CachedListing, CachedRow};
pub use mailbox::{Former, MailboxId, MailboxName, Opened};
pub use notes::Notes;
pub use renumbering::Renumbering;
pub use token::{Refusal, SealedTokens, StoredTokens, TokenName};
pub use unique_id::{Exceptions, Origin};

use crate::ids::{Uid, UidValidity};

type Result<T> = std::result::Result<T, Error>;

/// The state database; cheap to clone.
#[derive(Clone)]
pub struct Store {
    pool: SqlitePool,
    path: String,
}

impl Store {
    /// Writes what is pending and closes.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Reads the whole database for damage. Cheap enough for once a day.
    pub async fn check_integrity(&self) -> Result<()> {
        open::check(&self.pool, &self.path).await
    }

    /// A transaction that waits for its turn to write at its start, not half way through.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>> {
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }
}

/// Seconds since 1970, as they are stored.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn uid(row: &SqliteRow, column: &str) -> Result<Uid> {
    number(row, column)?.and_then(Uid::new).ok_or_else(|| damaged(column))
}

fn validity(row: &SqliteRow, column: &str) -> Result<UidValidity> {
    number(row, column)?.and_then(UidValidity::new).ok_or_else(|| damaged(column))
}

/// A number of 32 bits; `None` for NULL.
fn number(row: &SqliteRow, column: &str) -> Result<Option<u32>> {
    let value: Option<i64> = row.try_get(column)?;
    value.map(|value| u32::try_from(value).map_err(|_| damaged(column))).transpose()
}

fn damaged(column: &str) -> Error {
    Error::Query(sqlx::Error::Decode(format!("a stored {column} is out of range").into()))
}
