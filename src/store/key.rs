//! What messages are known by when their UIDs are no longer valid.

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, Sqlite};

use super::{MailboxId, Result, Store, damaged, uid};
use crate::fingerprint::{Digest, Fingerprint, Key};
use crate::ids::{Octets, Uid};

impl Store {
    /// All keys of a mailbox, by ascending UID.
    pub async fn keys(&self, mailbox: MailboxId) -> Result<Vec<Key>> {
        let rows = sqlx::query(
            "SELECT uid, size, object_id, message_id, identity, header FROM message_key \
             WHERE mailbox = $1 ORDER BY uid",
        )
        .bind(mailbox.0)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(key).collect()
    }

    /// The keys of `uids` (ascending) as far as they are known.
    pub async fn keys_of(&self, mailbox: MailboxId, uids: &[Uid]) -> Result<Vec<Key>> {
        let (Some(first), Some(last)) = (uids.first(), uids.last()) else { return Ok(Vec::new()) };
        let span = last.get().saturating_sub(first.get()) as usize;
        if span > uids.len().saturating_mul(4).saturating_add(100) {
            return self.keys_one_by_one(mailbox, uids).await;
        }
        let rows = sqlx::query(
            "SELECT uid, size, object_id, message_id, identity, header FROM message_key \
             WHERE mailbox = $1 AND uid BETWEEN $2 AND $3 ORDER BY uid",
        )
        .bind(mailbox.0)
        .bind(i64::from(first.get()))
        .bind(i64::from(last.get()))
        .fetch_all(&self.pool)
        .await?;
        let mut keys = rows.iter().map(key).collect::<Result<Vec<Key>>>()?;
        keys.retain(|key| uids.binary_search(&key.uid).is_ok());
        Ok(keys)
    }

    /// The same where there are many others between them.
    async fn keys_one_by_one(&self, mailbox: MailboxId, uids: &[Uid]) -> Result<Vec<Key>> {
        let mut keys = Vec::new();
        for chunk in uids.chunks(500) {
            let mut select = QueryBuilder::<Sqlite>::new(
                "SELECT uid, size, object_id, message_id, identity, header FROM message_key WHERE mailbox = ",
            );
            select.push_bind(mailbox.0).push(" AND uid IN (");
            let mut list = select.separated(", ");
            for uid in chunk {
                list.push_bind(i64::from(uid.get()));
            }
            select.push(") ORDER BY uid");
            for row in select.build().fetch_all(&self.pool).await? {
                keys.push(key(&row)?);
            }
        }
        Ok(keys)
    }

    /// The UIDs whose keys are known, ascending.
    pub async fn known_keys(&self, mailbox: MailboxId) -> Result<Vec<Uid>> {
        let rows = sqlx::query("SELECT uid FROM message_key WHERE mailbox = $1 ORDER BY uid")
            .bind(mailbox.0)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(|row| uid(row, "uid")).collect()
    }

    /// Keeps keys; those that are known stay.
    pub async fn keep_keys(&self, mailbox: MailboxId, keys: &[Key]) -> Result<()> {
        let mut transaction = self.begin().await?;
        for chunk in keys.chunks(500) {
            let mut insert = QueryBuilder::<Sqlite>::new(
                "INSERT INTO message_key (mailbox, uid, size, object_id, message_id, identity, header) ",
            );
            insert.push_values(chunk, |mut row, key| {
                row.push_bind(mailbox.0)
                    .push_bind(i64::from(key.uid.get()))
                    .push_bind(i64::try_from(key.size.0).unwrap_or(i64::MAX))
                    .push_bind(key.object_id.as_deref())
                    .push_bind(key.fingerprint.message_id.as_deref())
                    .push_bind(key.fingerprint.identity.as_ref().map(|digest| digest.to_vec()))
                    .push_bind(key.fingerprint.header.to_vec());
            });
            insert.push(" ON CONFLICT (mailbox, uid) DO NOTHING");
            insert.build().execute(&mut *transaction).await?;
        }
        Ok(transaction.commit().await?)
    }
}

fn key(row: &SqliteRow) -> Result<Key> {
    let size: i64 = row.try_get("size")?;
    let digest = |column: &str| -> Result<Option<Digest>> {
        let octets: Option<Vec<u8>> = row.try_get(column)?;
        octets.map(|octets| octets.try_into().map_err(|_| damaged(column))).transpose()
    };
    Ok(Key {
        uid: uid(row, "uid")?,
        size: Octets(size.unsigned_abs()),
        object_id: row.try_get("object_id")?,
        fingerprint: Fingerprint {
            message_id: row.try_get("message_id")?,
            identity: digest("identity")?,
            header: digest("header")?.ok_or_else(|| damaged("header"))?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Database;
    use crate::ids::UidValidity;
    use crate::store::{MailboxName, Opened};

    #[tokio::test]
    async fn keys_come_back_as_they_were() {
        let store = Store::open(&Database::Memory).await.expect("a store");
        let name = MailboxName { upstream: "home".into(), username: "alice".into(), folder: "INBOX".into() };
        let opened = store.mailbox(&name, UidValidity::new(7).expect("not zero")).await.expect("a mailbox");
        let Opened::Current(mailbox) = opened else { panic!("{opened:?}") };
        let extent =
            async || store.notes(mailbox, "alice", "popbridge").await.expect("read").expect("present").keys;
        assert_eq!(extent().await, (0, None));
        let key = |uid: u32, rich: bool| Key {
            uid: Uid::new(uid).expect("not zero"),
            size: Octets(u64::from(uid) * 3),
            object_id: rich.then(|| format!("M{uid}")),
            fingerprint: Fingerprint {
                message_id: rich.then(|| format!("<{uid}@example.org>")),
                identity: rich.then_some([1; 16]),
                header: [2; 16],
            },
        };
        let keys: Vec<Key> = (1..=1200).map(|uid| key(uid, uid % 2 == 0)).collect();
        store.keep_keys(mailbox, &keys).await.expect("kept");
        store.keep_keys(mailbox, &keys[..10]).await.expect("kept again");
        assert_eq!(store.keys(mailbox).await.expect("read"), keys);
        assert_eq!(extent().await, (1200, Uid::new(1200)));
        for wanted in [&keys[10..20], &keys[..0], &[keys[3].clone(), keys[1190].clone()]] {
            let uids: Vec<Uid> = wanted.iter().map(|key| key.uid).collect();
            assert_eq!(store.keys_of(mailbox, &uids).await.expect("read"), wanted);
        }
        store.forget(mailbox, &[keys[0].uid]).await.expect("forgotten");
        assert_eq!(store.known_keys(mailbox).await.expect("read").len(), 1199);
        assert_eq!(extent().await, (1199, Uid::new(1200)));
    }
}
