//! Mailboxes under their UIDVALIDITY, and what passes from one to the next when it changes.

use std::collections::HashMap;

use sqlx::query::Query;
use sqlx::sqlite::SqliteRow;
use sqlx::{Database, QueryBuilder, Row as _, Sqlite, SqliteExecutor};

use super::{Origin, Result, Store, number, uid, validity};
use crate::ids::{Uid, UidValidity};

/// Names a folder of an account on an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MailboxName {
    pub upstream: String,
    pub username: String,
    /// As it is written on the wire.
    pub folder: String,
}

/// A mailbox's key in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailboxId(pub(super) i64);

/// What is known of a mailbox at its selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// The same UIDs mean the same messages, or nothing is known of any.
    Current(MailboxId),
    /// The server has made it anew: what is kept belongs to the former UIDs.
    Renumbered { id: MailboxId, former: Former },
}

/// A mailbox before its UIDVALIDITY changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Former {
    pub id: MailboxId,
    pub validity: UidValidity,
    /// As many as the last listing had.
    pub messages: usize,
}

impl Store {
    /// Finds the mailbox, or notes it at its first use.
    pub async fn mailbox(&self, name: &MailboxName, now_valid: UidValidity) -> Result<Opened> {
        // Looked for first, since a login that finds nothing new must not cost a write.
        let current = self.current_mailbox(name).await?;
        if let Some(current) = current.filter(|current| current.validity == now_valid) {
            return Ok(Opened::Current(current.id));
        }
        let row = of_name("INSERT INTO mailbox (upstream, username, folder, uid_validity, current) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (upstream, username, folder, uid_validity) \
             DO UPDATE SET current = CASE WHEN excluded.current = 1 THEN 1 ELSE mailbox.current END RETURNING id", name)
        .bind(i64::from(now_valid.get()))
        .bind(i64::from(current.is_none()))
        .fetch_one(&self.pool)
        .await?;
        let id = MailboxId(row.try_get(0)?);
        Ok(match current {
            None => Opened::Current(id),
            Some(former) => Opened::Renumbered { id, former },
        })
    }

    /// The mailbox as it was last used.
    pub async fn current_mailbox(&self, name: &MailboxName) -> Result<Option<Former>> {
        let row = of_name(
            "SELECT id, uid_validity, messages FROM mailbox \
             WHERE upstream = $1 AND username = $2 AND folder = $3 AND current = 1",
            name,
        )
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(former).transpose()
    }

    /// Makes `id` the mailbox's present: what was known of a message before is now known of the
    /// one that `pairs` (old UID, new UID) names. Deletions under way are dropped: what cannot be
    /// named for certain is not removed. Nothing happens if another session has done it meanwhile.
    pub async fn succeed(
        &self,
        name: &MailboxName,
        former: Former,
        id: MailboxId,
        pairs: &[(Uid, Uid)],
    ) -> Result<()> {
        let mut transaction = self.begin().await?;
        let still_there = sqlx::query("SELECT id FROM mailbox WHERE id = $1 AND current = 1")
            .bind(former.id.0)
            .fetch_optional(&mut *transaction)
            .await?;
        if still_there.is_none() {
            return Ok(());
        }
        let new_of: HashMap<Uid, Uid> = pairs.iter().copied().collect();
        let origins = super::unique_id::origins(&mut *transaction, former.id).await?;
        let origins: HashMap<Uid, Origin> = origins.into_iter().collect();
        // Where a UIDVALIDITY had come back, its numbers name nothing.
        let returned = times_left(&mut *transaction, former.id).await? > 0;
        let named: Vec<(Uid, Origin)> = pairs
            .iter()
            .filter_map(|(old, new)| {
                let first = Origin { validity: former.validity, uid: *old };
                Some((*new, origins.get(old).copied().or((!returned).then_some(first))?))
            })
            .collect();
        for chunk in named.chunks(500) {
            let mut insert = QueryBuilder::<Sqlite>::new(
                "INSERT INTO origin (mailbox, uid, origin_validity, origin_uid) ",
            );
            insert.push_values(chunk, |mut row, (new, origin)| {
                row.push_bind(id.0)
                    .push_bind(i64::from(new.get()))
                    .push_bind(i64::from(origin.validity.get()))
                    .push_bind(i64::from(origin.uid.get()));
            });
            insert.push(" ON CONFLICT (mailbox, uid) DO NOTHING");
            insert.build().execute(&mut *transaction).await?;
        }
        for (table, columns) in [("hidden", "login, hidden_at"), ("assigned", "scheme, unique_id")] {
            let mut select =
                QueryBuilder::<Sqlite>::new(format!("SELECT uid, {columns} FROM {table} WHERE mailbox = "));
            select.push_bind(former.id.0);
            let rows = select.build().fetch_all(&mut *transaction).await?;
            for row in rows {
                let Some(new) = new_of.get(&uid(&row, "uid")?) else { continue };
                let mut insert = QueryBuilder::<Sqlite>::new(format!(
                    "INSERT INTO {table} (mailbox, uid, {columns}) VALUES ("
                ));
                let mut values = insert.separated(", ");
                values.push_bind(id.0).push_bind(i64::from(new.get()));
                if table == "hidden" {
                    values.push_bind(row.try_get::<String, _>(1)?).push_bind(row.try_get::<i64, _>(2)?);
                } else {
                    values.push_bind(row.try_get::<String, _>(1)?).push_bind(row.try_get::<String, _>(2)?);
                }
                insert.push(") ON CONFLICT DO NOTHING");
                insert.build().execute(&mut *transaction).await?;
            }
        }
        let rows = sqlx::query("SELECT login, newest, uid FROM watermark WHERE mailbox = $1")
            .bind(former.id.0)
            .fetch_all(&mut *transaction)
            .await?;
        for row in rows {
            let Some(lowest) = passed_on(uid(&row, "uid")?, pairs) else { continue };
            sqlx::query(
                "INSERT INTO watermark (mailbox, login, newest, uid) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (mailbox, login) DO NOTHING",
            )
            .bind(id.0)
            .bind(row.try_get::<String, _>("login")?)
            .bind(row.try_get::<i64, _>("newest")?)
            .bind(lowest)
            .execute(&mut *transaction)
            .await?;
        }
        of_name(
            "UPDATE deletion SET state = 'dropped' WHERE upstream = $1 AND username = $2 AND folder = $3 \
             AND uid_validity = $4 AND state IN ('pending', 'acting')",
            name,
        )
        .bind(i64::from(former.validity.get()))
        .execute(&mut *transaction)
        .await?;
        of_name(
            "INSERT INTO left_validity (upstream, username, folder, uid_validity, times) \
             VALUES ($1, $2, $3, $4, 1) ON CONFLICT (upstream, username, folder, uid_validity) \
             DO UPDATE SET times = left_validity.times + 1",
            name,
        )
        .bind(i64::from(former.validity.get()))
        .execute(&mut *transaction)
        .await?;
        for sql in [
            "DELETE FROM mailbox WHERE upstream = $1 AND username = $2 AND folder = $3 AND id <> $4",
            "UPDATE mailbox SET current = 1 WHERE upstream = $1 AND username = $2 AND folder = $3 AND id = $4",
        ] {
            let query = of_name(sql, name);
            query.bind(id.0).execute(&mut *transaction).await?;
        }
        of_name("DELETE FROM renumbering WHERE upstream = $1 AND username = $2 AND folder = $3", name)
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// How often the mailbox has had its UIDVALIDITY and then another one.
    pub async fn times_left(&self, id: MailboxId) -> Result<u32> {
        times_left(&self.pool, id).await
    }
}

/// From a row with the columns `id`, `uid_validity` and `messages`.
pub(super) fn former(row: &SqliteRow) -> Result<Former> {
    Ok(Former {
        id: MailboxId(row.try_get("id")?),
        validity: validity(row, "uid_validity")?,
        messages: number(row, "messages")?.unwrap_or_default() as usize,
    })
}

/// A statement whose first three parameters name a mailbox.
pub(super) fn of_name<'q>(
    sql: &'static str,
    name: &'q MailboxName,
) -> Query<'q, Sqlite, <Sqlite as Database>::Arguments> {
    sqlx::query(sql).bind(&name.upstream).bind(&name.username).bind(&name.folder)
}

async fn times_left(executor: impl SqliteExecutor<'_>, id: MailboxId) -> Result<u32> {
    let row = sqlx::query(
        "SELECT times FROM left_validity past JOIN mailbox ON mailbox.upstream = past.upstream \
         AND mailbox.username = past.username AND mailbox.folder = past.folder \
         AND mailbox.uid_validity = past.uid_validity WHERE mailbox.id = $1",
    )
    .bind(id.0)
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| number(&row, "times")).transpose()?.flatten().unwrap_or_default())
}

/// The new UID of the lowest message that a watermark lets through, or the one behind all that it
/// does not. `None` if nothing has passed on.
fn passed_on(watermark: Uid, pairs: &[(Uid, Uid)]) -> Option<i64> {
    let (shown, forgotten): (Vec<_>, Vec<_>) = pairs.iter().partition(|(old, _)| *old >= watermark);
    let lowest = shown.iter().map(|(_, new)| i64::from(new.get())).min();
    let behind = forgotten.iter().map(|(_, new)| i64::from(new.get()) + 1).max();
    lowest.or(behind.filter(|behind| *behind <= i64::from(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Database;
    use crate::store::{Action, NewDeletion, State};

    fn name() -> MailboxName {
        MailboxName { upstream: "home".into(), username: "alice".into(), folder: "INBOX".into() }
    }

    fn validity(number: u32) -> UidValidity {
        UidValidity::new(number).expect("not zero")
    }

    fn uid(number: u32) -> Uid {
        Uid::new(number).expect("not zero")
    }

    async fn current(store: &Store, number: u32) -> MailboxId {
        match store.mailbox(&name(), validity(number)).await.expect("a mailbox") {
            Opened::Current(id) => id,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn what_is_known_passes_to_the_matching_messages() {
        let store = Store::open(&Database::Memory).await.expect("a store");
        let seven = current(&store, 7).await;
        assert_eq!(current(&store, 7).await, seven);
        store.hide(seven, "alice", &[uid(3), uid(4)]).await.expect("hidden");
        store.assign(seven, "gmail", &[(uid(3), "GmailId1".into())]).await.expect("assigned");
        let new = NewDeletion { login: "alice", action: Action::Trash, target: Some("Trash"), due: 0 };
        store.begin_deletions(&name(), validity(7), &new, &[(uid(5), "x".into())]).await.expect("journaled");

        let Opened::Renumbered { id, former } = store.mailbox(&name(), validity(8)).await.expect("opened")
        else {
            panic!("not renumbered");
        };
        assert_eq!((former.id, former.validity), (seven, validity(7)));
        // Refused so far: nothing has passed on, and the next login finds the same.
        assert_eq!(
            store.mailbox(&name(), validity(8)).await.expect("opened"),
            Opened::Renumbered { id, former }
        );
        store.succeed(&name(), former, id, &[(uid(3), uid(30)), (uid(6), uid(60))]).await.expect("passed on");
        assert_eq!(current(&store, 8).await, id);
        assert_eq!(store.hidden(id, "alice").await.expect("read"), [uid(30)]);
        assert_eq!(store.assigned(id, "gmail").await.expect("read"), [(uid(30), "GmailId1".to_owned())]);
        let first = Origin { validity: validity(7), uid: uid(3) };
        let second = Origin { validity: validity(7), uid: uid(6) };
        assert_eq!(store.origins(id).await.expect("read"), [(uid(30), first), (uid(60), second)]);
        assert!(store.pending(&name().upstream, &name().username).await.expect("read").is_empty());
        let trail = store.deletions("home", "alice", None).await.expect("read");
        assert_eq!(trail.iter().map(|entry| entry.state).collect::<Vec<_>>(), [State::Dropped]);

        // Once more: the origin stays the first one.
        let Opened::Renumbered { id: nine, former } =
            store.mailbox(&name(), validity(9)).await.expect("opened")
        else {
            panic!("not renumbered");
        };
        store.succeed(&name(), former, nine, &[(uid(30), uid(1))]).await.expect("passed on");
        assert_eq!(store.origins(nine).await.expect("read"), [(uid(1), first)]);
    }
}
