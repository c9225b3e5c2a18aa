//! From a path to an open database: made, checked, brought up to date, or refused in clear words.

use std::path::Path;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions};
use sqlx::{Row as _, SqlSafeStr as _};

use super::error::Error;
use super::{Result, Store};
use crate::config::Database;
use crate::owner::{folder_of, give_to_owner_of};

impl Store {
    /// Opens the database, makes it if it is missing and brings its tables up to date. What is
    /// damaged or cannot be written is told now, not when mail hangs on it.
    pub async fn open(database: &Database) -> Result<Self> {
        if let Database::File(path) = database {
            make_folder(path)?;
            make_private(path)?;
        }
        connect(database).await
    }

    /// Opens a database that is there already, for commands that only look or mend.
    pub async fn open_existing(database: &Database) -> Result<Self> {
        match database {
            Database::Memory => Err(Error::InMemory),
            Database::File(path) if !path.exists() => {
                Err(Error::Missing { path: path.display().to_string() })
            }
            Database::File(_) => connect(database).await,
        }
    }

    /// A true write, though it changes nothing: a read-only file, a full disk and a lock that
    /// somebody holds show here.
    pub async fn prove_writable(&self) -> Result<()> {
        let written = async {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::raw_sql("PRAGMA user_version = 1").execute(&mut *transaction).await?;
            transaction.commit().await
        };
        written.await.map_err(|source| Error::Unwritable { path: self.path.clone(), source })
    }
}

async fn connect(database: &Database) -> Result<Store> {
    let (options, path, connections) = match database {
        // It lives in its one connection.
        Database::Memory => (SqliteConnectOptions::new().in_memory(true), ":memory:".to_owned(), 1),
        Database::File(path) => {
            let options = SqliteConnectOptions::new().filename(path).journal_mode(SqliteJournalMode::Wal);
            (options, path.display().to_string(), 4)
        }
    };
    let options = options.foreign_keys(true).busy_timeout(Duration::from_secs(10));
    let pool = SqlitePoolOptions::new()
        .max_connections(connections)
        .idle_timeout(None)
        .max_lifetime(None)
        // A file does not hang up, and asking costs as much as a statement.
        .test_before_acquire(false)
        .connect_with(options)
        .await
        .map_err(|source| refused(&path, source))?;
    check(&pool, &path).await?;
    let store = Store { pool, path };
    store.prove_writable().await?;
    let Store { pool, path } = &store;
    migrations().run(pool).await.map_err(|source| Error::Migrate { path: path.clone(), source })?;
    Ok(store)
}

/// SQLite's own look for damage.
pub(super) async fn check(pool: &SqlitePool, path: &str) -> Result<()> {
    let rows = sqlx::query("PRAGMA quick_check(1)").fetch_all(pool).await;
    let rows = rows.map_err(|source| refused(path, source))?;
    let words: String = rows.first().map_or(Ok("ok".to_owned()), |row| row.try_get(0))?;
    if words == "ok" { Ok(()) } else { Err(Error::Damaged { path: path.to_owned(), reason: words }) }
}

/// Tells a damaged file (SQLITE_CORRUPT, SQLITE_NOTADB) and one that cannot be written from the rest.
fn refused(path: &str, source: sqlx::Error) -> Error {
    let code = source.as_database_error().and_then(|error| error.code()).unwrap_or_default();
    let primary = code.parse::<u32>().unwrap_or_default() & 0xff;
    let path = path.to_owned();
    match primary {
        11 | 26 => Error::Damaged { path, reason: source.to_string() },
        8 => Error::Unwritable { path, source },
        _ => Error::Open { path, source },
    }
}

fn migrations() -> Migrator {
    let migration = |version, description: &'static str, sql: &'static str| {
        Migration::new(version, description.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(vec![
        migration(1, "mailboxes, hidden messages, counted sizes", include_str!("migrations/0001.sql")),
        migration(2, "listings, unique ids, deletions", include_str!("migrations/0002.sql")),
        migration(3, "counted keys", include_str!("migrations/0003.sql")),
        migration(4, "listings in parts", include_str!("migrations/0004.sql")),
        migration(5, "tokens", include_str!("migrations/0005.sql")),
    ])
}

fn make_folder(path: &Path) -> Result<()> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => std::fs::create_dir_all(folder)
            .map_err(|source| Error::Folder { path: folder.display().to_string(), source }),
        None => Ok(()),
    }
}

/// Makes a database that is not there yet readable by its owner only: it holds login names. What
/// SQLite puts beside it gets the same mode and owner.
fn make_private(path: &Path) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    match options.open(path) {
        Ok(file) => give_to_owner_of(folder_of(path), &file),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
    .map_err(|source| Error::Create { path: path.display().to_string(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Octets, Uid};
    use crate::store::{CachedListing, CachedRow, MailboxName};

    #[tokio::test]
    async fn damage_is_told_in_clear_words() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("popbridge.db");
        std::fs::write(&path, vec![b'x'; 8192]).expect("written");
        let error = Store::open(&Database::File(path.clone())).await.err().expect("refused");
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("No mail is"), "{error}");

        std::fs::remove_file(&path).expect("removed");
        let store = Store::open(&Database::File(path.clone())).await.expect("made anew");
        store.check_integrity().await.expect("sound");
        store.close().await;
        // A page in the middle is overwritten, as by a failing disk.
        let mut octets = std::fs::read(&path).expect("readable");
        assert!(octets.len() > 3 * 4096);
        octets[4096..2 * 4096].fill(0xa5);
        std::fs::write(&path, octets).expect("written");
        let error = Store::open(&Database::File(path)).await.err().expect("refused");
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_database_that_cannot_be_written_is_told_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("popbridge.db");
        Store::open(&Database::File(path.clone())).await.expect("made").close().await;
        // As root may write everything, SQLite itself is told that it may not.
        let options = SqliteConnectOptions::new().filename(&path).read_only(true);
        let pool = SqlitePool::connect_with(options).await.expect("open");
        let store = Store { pool, path: "popbridge.db".to_owned() };
        let error = store.prove_writable().await.expect_err("refused");
        assert!(matches!(error, Error::Unwritable { .. }), "{error}");
        assert!(error.to_string().contains("-wal"), "{error}");
    }

    #[tokio::test]
    async fn what_root_makes_is_the_folders_owners() {
        use std::os::unix::fs::{MetadataExt as _, chown};

        let folder = tempfile::tempdir().expect("a folder");
        // Only root can tell.
        if chown(folder.path(), Some(65_533), Some(65_533)).is_err() {
            return;
        }
        let path = folder.path().join("popbridge.db");
        let store = Store::open(&Database::File(path.clone())).await.expect("made");
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder.path()).expect("a folder") {
            let entry = entry.expect("an entry");
            let file = entry.metadata().expect("there");
            assert_eq!((file.uid(), file.gid(), file.mode() & 0o777), (65_533, 65_533, 0o600), "{entry:?}");
            names.push(entry.file_name());
        }
        assert_eq!(names.len(), 3, "the database, -wal and -shm: {names:?}");
        store.close().await;
    }

    #[tokio::test]
    async fn a_command_makes_no_database() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("popbridge.db");
        let error = Store::open_existing(&Database::File(path.clone())).await.err().expect("refused");
        assert!(matches!(error, Error::Missing { .. }), "{error}");
        assert!(!path.exists());
        assert!(matches!(Store::open_existing(&Database::Memory).await, Err(Error::InMemory)));
    }

    #[tokio::test]
    async fn an_older_database_is_brought_up_to_date() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("popbridge.db");
        let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let pool = SqlitePool::connect_with(options).await.expect("open");
        let all = migrations();
        let first: Vec<Migration> = all.iter().take(1).cloned().collect();
        Migrator::with_migrations(first).run(&pool).await.expect("the first version");
        sqlx::raw_sql(
            "INSERT INTO mailbox VALUES (1, 'home', 'alice', 'INBOX', 7), (2, 'home', 'alice', 'INBOX', 8);
             INSERT INTO hidden VALUES (1, 'alice', 3, 0), (2, 'alice', 5, 0);
             INSERT INTO counted VALUES (2, 5, 100);",
        )
        .execute(&pool)
        .await
        .expect("rows");
        pool.close().await;
        let store = Store::open(&Database::File(path)).await.expect("migrated");
        let rows = sqlx::query("SELECT uid_validity FROM mailbox WHERE current = 1")
            .fetch_all(&store.pool)
            .await
            .expect("rows");
        let newest: i64 = rows[0].try_get(0).expect("a number");
        assert_eq!((rows.len(), newest), (1, 8));
    }

    #[tokio::test]
    async fn keys_and_listings_of_before_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("popbridge.db");
        let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let pool = SqlitePool::connect_with(options).await.expect("open");
        let all = migrations();
        let before: Vec<Migration> = all.iter().take(2).cloned().collect();
        Migrator::with_migrations(before).run(&pool).await.expect("the second version");
        sqlx::raw_sql(
            "INSERT INTO mailbox VALUES (1, 'home', 'alice', 'INBOX', 7, 1, 2), (2, 'home', 'bob', 'INBOX', 7, 1, 0);
             INSERT INTO message_key VALUES (1, 3, 1, NULL, NULL, NULL, x'00'), (1, 4, 1, NULL, NULL, NULL, x'00');
             INSERT INTO listing VALUES (1, 5, 4, NULL, x'01030000000a00000000000080', 9);",
        )
        .execute(&pool)
        .await
        .expect("rows");
        pool.close().await;
        let store = Store::open(&Database::File(path)).await.expect("migrated");
        let rows = sqlx::query("SELECT keys FROM mailbox ORDER BY id").fetch_all(&store.pool).await;
        let keys = rows
            .expect("rows")
            .iter()
            .map(|row| row.try_get(0))
            .collect::<std::result::Result<Vec<i64>, _>>();
        assert_eq!(keys.expect("numbers"), [2, 0]);
        let name = MailboxName { upstream: "home".into(), username: "alice".into(), folder: "INBOX".into() };
        let cached = store.cached(&name).await.expect("read").expect("a mailbox");
        let uid = |number| Uid::new(number).expect("not zero");
        let expected = CachedListing {
            uid_next: Some(uid(4)),
            highest_modseq: None,
            rows: vec![CachedRow { uid: uid(3), size: Octets(10), counted: true }],
            listed_at: 5,
            full_at: 9,
        };
        assert_eq!(cached.listing, Some(expected));
    }
}
