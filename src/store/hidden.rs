//! Messages that a login does not see any more; they stay on the server.

use sqlx::{Sqlite, Transaction};

use super::{MailboxId, Result, Store, now, number, uid};
use crate::ids::Uid;

impl Store {
    /// What `login` has hidden, by ascending UID.
    pub async fn hidden(&self, mailbox: MailboxId, login: &str) -> Result<Vec<Uid>> {
        let rows = sqlx::query("SELECT uid FROM hidden WHERE mailbox = $1 AND login = $2 ORDER BY uid")
            .bind(mailbox.0)
            .bind(login)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(|row| uid(row, "uid")).collect()
    }

    /// Hides messages from `login`: all of them or, on an error, none.
    pub async fn hide(&self, mailbox: MailboxId, login: &str, uids: &[Uid]) -> Result<()> {
        let mut transaction = self.begin().await?;
        hide(&mut transaction, mailbox, login, uids).await?;
        Ok(transaction.commit().await?)
    }

    /// Shows messages to `login` again; how many of them were hidden.
    pub async fn unhide(&self, mailbox: MailboxId, login: &str, uids: &[Uid]) -> Result<usize> {
        let mut transaction = self.begin().await?;
        let mut shown = 0;
        for uid in uids {
            let done = sqlx::query("DELETE FROM hidden WHERE mailbox = $1 AND login = $2 AND uid = $3")
                .bind(mailbox.0)
                .bind(login)
                .bind(i64::from(uid.get()))
                .execute(&mut *transaction)
                .await?;
            shown += usize::try_from(done.rows_affected()).unwrap_or_default();
        }
        transaction.commit().await?;
        Ok(shown)
    }

    /// Drops what is kept about messages that have left the mailbox: their UIDs never return.
    pub async fn forget(&self, mailbox: MailboxId, uids: &[Uid]) -> Result<()> {
        let mut transaction = self.begin().await?;
        forget(&mut transaction, mailbox, uids).await?;
        Ok(transaction.commit().await?)
    }

    /// The UID below which `newest` has let messages drop out, and the setting it was for.
    pub async fn watermark(&self, mailbox: MailboxId, login: &str) -> Result<Option<(u32, Uid)>> {
        let row = sqlx::query("SELECT newest, uid FROM watermark WHERE mailbox = $1 AND login = $2")
            .bind(mailbox.0)
            .bind(login)
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| Ok((number(&row, "newest")?.unwrap_or_default(), uid(&row, "uid")?))).transpose()
    }

    /// Keeps what [`Self::watermark`] tells.
    pub async fn set_watermark(&self, mailbox: MailboxId, login: &str, newest: u32, uid: Uid) -> Result<()> {
        sqlx::query(
            "INSERT INTO watermark (mailbox, login, newest, uid) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (mailbox, login) DO UPDATE SET newest = excluded.newest, uid = excluded.uid",
        )
        .bind(mailbox.0)
        .bind(login)
        .bind(i64::from(newest))
        .bind(i64::from(uid.get()))
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

pub(super) async fn forget(
    transaction: &mut Transaction<'static, Sqlite>,
    mailbox: MailboxId,
    uids: &[Uid],
) -> Result<()> {
    for sql in [
        "DELETE FROM hidden WHERE mailbox = $1 AND uid = $2",
        "DELETE FROM origin WHERE mailbox = $1 AND uid = $2",
        "DELETE FROM assigned WHERE mailbox = $1 AND uid = $2",
        "DELETE FROM message_key WHERE mailbox = $1 AND uid = $2",
    ] {
        for uid in uids {
            let query = sqlx::query(sql).bind(mailbox.0).bind(i64::from(uid.get()));
            query.execute(&mut **transaction).await?;
        }
    }
    Ok(())
}

pub(super) async fn hide(
    transaction: &mut Transaction<'static, Sqlite>,
    mailbox: MailboxId,
    login: &str,
    uids: &[Uid],
) -> Result<()> {
    let at = now();
    for uid in uids {
        sqlx::query(
            "INSERT INTO hidden (mailbox, login, uid, hidden_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (mailbox, login, uid) DO NOTHING",
        )
        .bind(mailbox.0)
        .bind(login)
        .bind(i64::from(uid.get()))
        .bind(at)
        .execute(&mut **transaction)
        .await?;
    }
    Ok(())
}
