//! What can go wrong with the state database.

/// A database that cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot make the state directory {path}: {source}")]
    Folder { path: String, source: std::io::Error },
    #[error("cannot make the state database {path}: {source}")]
    Create { path: String, source: std::io::Error },
    #[error(
        "there is no state database at {path}: has popbridge served with this configuration yet, and as this user?"
    )]
    Missing { path: String },
    #[error("url = \"sqlite::memory:\" keeps nothing that another command could see")]
    InMemory,
    #[error("cannot open the state database {path}: {source}")]
    Open { path: String, source: sqlx::Error },
    #[error(
        "the state database {path} is damaged ({reason}). No mail is: it is all on the mail server. Restore the \
         file from a backup, or move it away together with {path}-wal and {path}-shm and start again; hidden \
         messages are then seen again"
    )]
    Damaged { path: String, reason: String },
    #[error(
        "the state database {path} cannot be written: {source}. popbridge's user must be able to write it, the files beside it that end in -wal and -shm, and their folder, with room on the disk"
    )]
    Unwritable { path: String, source: sqlx::Error },
    #[error("cannot bring the state database {path} up to date: {source}")]
    Migrate { path: String, source: sqlx::migrate::MigrateError },
    #[error("state database: {0}")]
    Query(#[from] sqlx::Error),
}
