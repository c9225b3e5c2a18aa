//! What outlives a session: hidden messages and counted sizes, in SQLite.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions};
use sqlx::{Row as _, SqlSafeStr as _, Sqlite, Transaction};

use crate::config::Database;
use crate::ids::{Octets, Uid, UidValidity};

/// A database that cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot make the state directory {path}: {source}")]
    Folder { path: String, source: std::io::Error },
    #[error("cannot make the state database {path}: {source}")]
    Create { path: String, source: std::io::Error },
    #[error("cannot use the state database {path}: {source}")]
    Open { path: String, source: sqlx::migrate::MigrateError },
    #[error("state database: {0}")]
    Query(#[from] sqlx::Error),
}

type Result<T> = std::result::Result<T, Error>;

/// Names a mailbox on an upstream under one UIDVALIDITY.
#[derive(Debug, Clone)]
pub struct MailboxName<'a> {
    pub upstream: &'a str,
    pub username: &'a str,
    pub folder: &'a str,
    pub validity: UidValidity,
}

/// A mailbox's key in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailboxId(i64);

/// The state database; cheap to clone.
#[derive(Clone)]
pub struct Store(SqlitePool);

impl Store {
    /// Opens the database, makes it if it is missing and brings its tables up to date.
    pub async fn open(database: &Database) -> Result<Self> {
        let (options, path, connections) = match database {
            // It lives in its one connection.
            Database::Memory => (SqliteConnectOptions::new().in_memory(true), ":memory:".to_owned(), 1),
            Database::File(path) => {
                make_folder(path)?;
                make_private(path)?;
                let options = SqliteConnectOptions::new()
                    .filename(path)
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal);
                (options, path.display().to_string(), 4)
            }
        };
        let options = options.foreign_keys(true).busy_timeout(Duration::from_secs(10));
        let pool = SqlitePoolOptions::new()
            .max_connections(connections)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options)
            .await
            .map_err(|source| Error::Open { path: path.clone(), source: source.into() })?;
        migrations().run(&pool).await.map_err(|source| Error::Open { path, source })?;
        Ok(Self(pool))
    }

    /// Writes what is pending and closes.
    pub async fn close(&self) {
        self.0.close().await;
    }

    /// The mailbox's key, made at its first use.
    pub async fn mailbox(&self, name: &MailboxName<'_>) -> Result<MailboxId> {
        const FIND: &str = "SELECT id FROM mailbox \
             WHERE upstream = $1 AND username = $2 AND folder = $3 AND uid_validity = $4";
        const MAKE: &str = "INSERT INTO mailbox (upstream, username, folder, uid_validity) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (upstream, username, folder, uid_validity) DO UPDATE SET folder = excluded.folder \
             RETURNING id";
        let query = |sql: &'static str| {
            sqlx::query(sql)
                .bind(name.upstream)
                .bind(name.username)
                .bind(name.folder)
                .bind(i64::from(name.validity.get()))
        };
        // Looked for first, since a login that finds nothing new must not cost a write.
        let row = match query(FIND).fetch_optional(&self.0).await? {
            Some(row) => row,
            None => query(MAKE).fetch_one(&self.0).await?,
        };
        Ok(MailboxId(row.try_get(0)?))
    }

    /// What `login` has hidden, by ascending UID.
    pub async fn hidden(&self, mailbox: MailboxId, login: &str) -> Result<Vec<Uid>> {
        let rows = sqlx::query("SELECT uid FROM hidden WHERE mailbox = $1 AND login = $2 ORDER BY uid")
            .bind(mailbox.0)
            .bind(login)
            .fetch_all(&self.0)
            .await?;
        rows.iter().map(|row| uid(row.try_get(0)?)).collect()
    }

    /// Hides messages from `login`: all of them or, on an error, none.
    pub async fn hide(&self, mailbox: MailboxId, login: &str, uids: &[Uid]) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let mut transaction = self.0.begin().await?;
        for uid in uids {
            sqlx::query(
                "INSERT INTO hidden (mailbox, login, uid, hidden_at) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (mailbox, login, uid) DO NOTHING",
            )
            .bind(mailbox.0)
            .bind(login)
            .bind(i64::from(uid.get()))
            .bind(now)
            .execute(&mut *transaction)
            .await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Drops the notes on hidden messages that have left the mailbox: their UIDs never return.
    pub async fn forget_hidden(&self, mailbox: MailboxId, uids: &[Uid]) -> Result<()> {
        self.delete("DELETE FROM hidden WHERE mailbox = $1 AND uid = $2", mailbox, uids).await
    }

    /// Sizes where counting found another than RFC822.SIZE, by ascending UID.
    pub async fn counted(&self, mailbox: MailboxId) -> Result<Vec<(Uid, Octets)>> {
        let rows = sqlx::query("SELECT uid, octets FROM counted WHERE mailbox = $1 ORDER BY uid")
            .bind(mailbox.0)
            .fetch_all(&self.0)
            .await?;
        rows.iter()
            .map(|row| {
                let octets: i64 = row.try_get(1)?;
                Ok((uid(row.try_get(0)?)?, Octets(octets.unsigned_abs())))
            })
            .collect()
    }

    /// Keeps sizes that were counted.
    pub async fn keep_counted(&self, mailbox: MailboxId, sizes: &[(Uid, Octets)]) -> Result<()> {
        let mut transaction = self.0.begin().await?;
        for (uid, octets) in sizes {
            sqlx::query(
                "INSERT INTO counted (mailbox, uid, octets) VALUES ($1, $2, $3) \
                 ON CONFLICT (mailbox, uid) DO UPDATE SET octets = excluded.octets",
            )
            .bind(mailbox.0)
            .bind(i64::from(uid.get()))
            .bind(i64::try_from(octets.0).unwrap_or(i64::MAX))
            .execute(&mut *transaction)
            .await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Drops counted sizes of messages that have left the mailbox.
    pub async fn forget_counted(&self, mailbox: MailboxId, uids: &[Uid]) -> Result<()> {
        self.delete("DELETE FROM counted WHERE mailbox = $1 AND uid = $2", mailbox, uids).await
    }

    async fn delete(&self, sql: &'static str, mailbox: MailboxId, uids: &[Uid]) -> Result<()> {
        let mut transaction: Transaction<'_, Sqlite> = self.0.begin().await?;
        for uid in uids {
            sqlx::query(sql).bind(mailbox.0).bind(i64::from(uid.get())).execute(&mut *transaction).await?;
        }
        Ok(transaction.commit().await?)
    }
}

fn migrations() -> Migrator {
    let first = Migration::new(
        1,
        "mailboxes, hidden messages, counted sizes".into(),
        MigrationType::Simple,
        include_str!("schema.sql").into_sql_str(),
        false,
    );
    Migrator::with_migrations(vec![first])
}

fn make_folder(path: &Path) -> Result<()> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => std::fs::create_dir_all(folder)
            .map_err(|source| Error::Folder { path: folder.display().to_string(), source }),
        None => Ok(()),
    }
}

/// Makes a database that is not there yet readable by its owner only: it holds login names. What
/// SQLite puts beside it gets the same mode.
fn make_private(path: &Path) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(Error::Create { path: path.display().to_string(), source }),
    }
}

fn uid(value: i64) -> Result<Uid> {
    u32::try_from(value)
        .ok()
        .and_then(Uid::new)
        .ok_or_else(|| Error::Query(sqlx::Error::Decode("a stored UID is out of range".into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uids(numbers: &[u32]) -> Vec<Uid> {
        numbers.iter().filter_map(|&number| Uid::new(number)).collect()
    }

    async fn mailbox(store: &Store, validity: &[u8]) -> MailboxId {
        let name = MailboxName {
            upstream: "home",
            username: "alice",
            folder: "INBOX",
            validity: UidValidity::parse(validity).expect("a validity"),
        };
        store.mailbox(&name).await.expect("a mailbox")
    }

    #[tokio::test]
    async fn hidden_by_login_and_validity() {
        let store = Store::open(&Database::Memory).await.expect("a store");
        let seven = mailbox(&store, b"7").await;
        assert_eq!(mailbox(&store, b"7").await, seven);
        store.hide(seven, "alice", &uids(&[3, 1])).await.expect("hidden");
        store.hide(seven, "alice", &uids(&[3])).await.expect("hidden twice");
        assert_eq!(store.hidden(seven, "alice").await.expect("read"), uids(&[1, 3]));
        assert_eq!(store.hidden(seven, "scanner").await.expect("read"), []);
        let eight = mailbox(&store, b"8").await;
        assert_eq!(store.hidden(eight, "alice").await.expect("read"), []);
        store.forget_hidden(seven, &uids(&[1])).await.expect("forgotten");
        assert_eq!(store.hidden(seven, "alice").await.expect("read"), uids(&[3]));
    }

    #[tokio::test]
    async fn a_later_count_replaces_an_earlier_one() {
        let store = Store::open(&Database::Memory).await.expect("a store");
        let mailbox = mailbox(&store, b"7").await;
        let uid = uids(&[5])[0];
        store.keep_counted(mailbox, &[(uid, Octets(10))]).await.expect("kept");
        store.keep_counted(mailbox, &[(uid, Octets(12))]).await.expect("kept");
        assert_eq!(store.counted(mailbox).await.expect("read"), [(uid, Octets(12))]);
    }
}
