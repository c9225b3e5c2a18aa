//! Unique ids that differ from what a message's present numbers would give.

use sqlx::{Row as _, Sqlite, SqliteExecutor};

use super::{MailboxId, Result, Store, uid, validity};
use crate::ids::{Uid, UidValidity};

/// Where a message was first seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin {
    pub validity: UidValidity,
    pub uid: Uid,
}

/// What a mailbox's unique ids cannot be derived without; lists ascend by UID.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exceptions {
    /// How often its UIDVALIDITY has gone and come back.
    pub times_left: u32,
    pub origins: Vec<(Uid, Origin)>,
    /// Under one scheme.
    pub assigned: Vec<(Uid, String)>,
}

impl Store {
    /// All exceptions of a mailbox, those assigned under `scheme`.
    pub async fn exceptions(&self, mailbox: MailboxId, scheme: &str) -> Result<Exceptions> {
        Ok(Exceptions {
            times_left: self.times_left(mailbox).await?,
            origins: self.origins(mailbox).await?,
            assigned: self.assigned(mailbox, scheme).await?,
        })
    }

    /// Messages whose unique id derives from elsewhere, by ascending UID.
    pub async fn origins(&self, mailbox: MailboxId) -> Result<Vec<(Uid, Origin)>> {
        origins(&self.pool, mailbox).await
    }

    /// Lets a message's unique id derive from where it was first seen.
    pub async fn set_origin(&self, mailbox: MailboxId, uid: Uid, origin: Origin) -> Result<()> {
        sqlx::query(
            "INSERT INTO origin (mailbox, uid, origin_validity, origin_uid) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (mailbox, uid) DO NOTHING",
        )
        .bind(mailbox.0)
        .bind(i64::from(uid.get()))
        .bind(i64::from(origin.validity.get()))
        .bind(i64::from(origin.uid.get()))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Unique ids that were assigned under a scheme, by ascending UID.
    pub async fn assigned(&self, mailbox: MailboxId, scheme: &str) -> Result<Vec<(Uid, String)>> {
        let rows = sqlx::query(
            "SELECT uid, unique_id FROM assigned WHERE mailbox = $1 AND scheme = $2 ORDER BY uid",
        )
        .bind(mailbox.0)
        .bind(scheme)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|row| Ok((uid(row, "uid")?, row.try_get("unique_id")?))).collect()
    }

    /// Assigns unique ids. One that a message has already stays: it is for ever.
    pub async fn assign(&self, mailbox: MailboxId, scheme: &str, ids: &[(Uid, String)]) -> Result<()> {
        let mut transaction = self.begin().await?;
        for chunk in ids.chunks(500) {
            let mut insert =
                sqlx::QueryBuilder::<Sqlite>::new("INSERT INTO assigned (mailbox, scheme, uid, unique_id) ");
            insert.push_values(chunk, |mut row, (uid, unique_id)| {
                row.push_bind(mailbox.0)
                    .push_bind(scheme)
                    .push_bind(i64::from(uid.get()))
                    .push_bind(unique_id);
            });
            insert.push(" ON CONFLICT (mailbox, scheme, uid) DO NOTHING");
            insert.build().execute(&mut *transaction).await?;
        }
        Ok(transaction.commit().await?)
    }
}

pub(super) async fn origins(
    executor: impl SqliteExecutor<'_>,
    mailbox: MailboxId,
) -> Result<Vec<(Uid, Origin)>> {
    let rows =
        sqlx::query("SELECT uid, origin_validity, origin_uid FROM origin WHERE mailbox = $1 ORDER BY uid")
            .bind(mailbox.0)
            .fetch_all(executor)
            .await?;
    rows.iter()
        .map(|row| {
            let origin = Origin { validity: validity(row, "origin_validity")?, uid: uid(row, "origin_uid")? };
            Ok((uid(row, "uid")?, origin))
        })
        .collect()
}
