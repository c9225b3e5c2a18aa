//! The removal journal, and the trail that it leaves.
//!
//! One row a message. It is written before anything is done (`pending`), and changed when that is
//! begun (`acting`) and done; what is not final yet is the journal.

use std::collections::HashSet;

use sqlx::{QueryBuilder, Row as _, Sqlite};

use super::deletion::deletion;
use super::{
    Action, Copied, Deletion, MailboxId, MailboxName, NewDeletion, Outcome, Result, State, Store, hidden, now,
};
use crate::failpoint;
use crate::fingerprint::Fingerprint;
use crate::ids::{Uid, UidValidity};

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
    /// copies will be. Returns those that may be done: the others were taken back meanwhile.
    pub async fn note_acting(
        &self,
        messages: &[(i64, Option<&Fingerprint>)],
        copies: Option<Copied>,
    ) -> Result<HashSet<i64>> {
        let mut begun = HashSet::new();
        let mut transaction = self.begin().await?;
        for (id, fingerprint) in messages {
            let done = sqlx::query(
                "UPDATE deletion SET state = 'acting', message_id = $1, header = $2, target_validity = $3, \
                 target_uid = $4 WHERE id = $5 AND state IN ('pending', 'acting')",
            )
            .bind(fingerprint.and_then(|fingerprint| fingerprint.message_id.as_deref()))
            .bind(fingerprint.map(|fingerprint| fingerprint.header.to_vec()))
            .bind(copies.map(|copies| i64::from(copies.validity.get())))
            .bind(copies.map(|copies| i64::from(copies.uid.get())))
            .bind(id)
            .execute(&mut *transaction)
            .await?;
            if done.rows_affected() > 0 {
                begun.insert(*id);
            }
        }
        failpoint::reached("beginning");
        transaction.commit().await?;
        Ok(begun)
    }

    /// Which of these are begun, and not taken back meanwhile.
    pub async fn acting(&self, ids: &[i64]) -> Result<HashSet<i64>> {
        let mut acting = HashSet::new();
        for chunk in ids.chunks(500) {
            let mut select =
                QueryBuilder::<Sqlite>::new("SELECT id FROM deletion WHERE state = 'acting' AND id IN (");
            let mut values = select.separated(", ");
            for id in chunk {
                values.push_bind(id);
            }
            select.push(")");
            for row in select.build().fetch_all(&self.pool).await? {
                acting.insert(row.try_get(0)?);
            }
        }
        Ok(acting)
    }

    /// Clears the journal of what has come to its end. In the same breath messages that stay in
    /// the mailbox are hidden from their login (`hide`), and what is kept about those that have left
    /// it is dropped (`removed`): else a twin could come by one's unique id.
    pub async fn settle(
        &self,
        mailbox: MailboxId,
        outcomes: &[Outcome],
        (login, hide): (&str, &[Uid]),
        removed: &[Uid],
    ) -> Result<()> {
        let mut transaction = self.begin().await?;
        for outcome in outcomes {
            sqlx::query(
                "UPDATE deletion SET state = $1, target_validity = $2, target_uid = $3 WHERE id = $4 \
                 AND state IN ('pending', 'acting')",
            )
            .bind(outcome.state.to_string())
            .bind(outcome.copy.map(|copy| i64::from(copy.validity.get())))
            .bind(outcome.copy.map(|copy| i64::from(copy.uid.get())))
            .bind(outcome.id)
            .execute(&mut *transaction)
            .await?;
        }
        hidden::hide(&mut transaction, mailbox, login, hide).await?;
        hidden::forget(&mut transaction, mailbox, removed).await?;
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

    /// Forgets the trail before `before` (seconds since 1970); never the journal, nor what is
    /// still hidden: it can be shown again for as long as it is there.
    pub async fn forget_deletions(&self, before: i64) -> Result<u64> {
        let sql = "DELETE FROM deletion WHERE deleted_at < $1 AND state NOT IN ('pending', 'acting') \
             AND NOT EXISTS (SELECT 1 FROM mailbox JOIN hidden ON hidden.mailbox = mailbox.id \
             WHERE mailbox.upstream = deletion.upstream AND mailbox.username = deletion.username \
             AND mailbox.folder = deletion.folder AND mailbox.uid_validity = deletion.uid_validity \
             AND hidden.login = deletion.login AND hidden.uid = deletion.uid)";
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Database;
    use crate::store::Opened;

    fn name() -> MailboxName {
        MailboxName { upstream: "home".into(), username: "alice".into(), folder: "INBOX".into() }
    }

    fn validity() -> UidValidity {
        UidValidity::new(7).expect("not zero")
    }

    fn messages(uids: &[u32]) -> Vec<(Uid, String)> {
        uids.iter().filter_map(|&uid| Some((Uid::new(uid)?, format!("id{uid}")))).collect()
    }

    async fn mailbox(store: &Store) -> MailboxId {
        match store.mailbox(&name(), validity()).await.expect("a mailbox") {
            Opened::Current(mailbox) => mailbox,
            opened => panic!("{opened:?}"),
        }
    }

    async fn journal(store: &Store, uids: &[u32], due: i64) -> Vec<Deletion> {
        let new = NewDeletion { login: "alice", action: Action::Trash, target: Some("Trash"), due };
        store.begin_deletions(&name(), validity(), &new, &messages(uids)).await.expect("journaled");
        store.pending("home", "alice").await.expect("read")
    }

    #[tokio::test]
    async fn a_deletion_on_its_way() {
        let store = Store::open(&Database::Memory).await.expect("a store");
        let mailbox = mailbox(&store).await;
        assert!(!store.has_pending("home", "alice").await.expect("read"));
        let journal = journal(&store, &[3, 5], 100).await;
        assert_eq!(journal.iter().map(|entry| entry.uid.get()).collect::<Vec<_>>(), [3, 5]);
        assert!(store.due(99).await.expect("read").is_empty());
        assert_eq!(store.due(100).await.expect("read"), [("home".to_owned(), "alice".to_owned())]);

        let fingerprint = Fingerprint { message_id: Some("<a@b>".into()), identity: None, header: [9; 16] };
        let from = Copied { validity: validity(), uid: Uid::new(40).expect("not zero") };
        store.note_acting(&[(journal[0].id, Some(&fingerprint))], Some(from)).await.expect("noted");
        let acting = &store.pending("home", "alice").await.expect("read")[0];
        assert_eq!((acting.state, acting.copy), (State::Acting, Some(from)));
        assert!(!store.withdraw(acting.id).await.expect("written"), "it may be done already");
        assert!(store.withdraw(journal[1].id).await.expect("written"));

        let copy = Some(Copied { validity: validity(), uid: Uid::new(41).expect("not zero") });
        let done = Outcome { id: acting.id, state: State::Done, copy };
        store.settle(mailbox, &[done], ("alice", &[]), &[]).await.expect("settled");
        assert!(!store.has_pending("home", "alice").await.expect("read"));
        let trail = store.deletions("home", "alice", Some("alice")).await.expect("read");
        assert_eq!(trail.iter().map(|entry| entry.state).collect::<Vec<_>>(), [State::Done, State::Restored]);
        assert_eq!((trail[0].header, trail[0].copy), (Some([9; 16]), copy));
        assert_eq!(trail[0].message_id.as_deref(), Some("<a@b>"));
        assert!(store.deletions("home", "alice", Some("bob")).await.expect("read").is_empty());
    }

    #[tokio::test]
    async fn the_trail_is_cut_but_for_what_is_under_way_or_hidden() {
        let store = Store::open(&Database::Memory).await.expect("a store");
        let mailbox = mailbox(&store).await;
        let hidden = messages(&[1, 2]);
        store.hide_deleted(mailbox, &name(), validity(), "alice", &hidden).await.expect("hidden");
        let journal = journal(&store, &[3, 4], 0).await;
        let gone = Outcome { id: journal[0].id, state: State::Gone, copy: None };
        store.settle(mailbox, &[gone], ("alice", &[]), &[]).await.expect("settled");
        store.unhide(mailbox, "alice", &[hidden[0].0]).await.expect("shown");
        assert_eq!(store.forget_deletions(0).await.expect("cut"), 0);
        assert_eq!(store.forget_deletions(i64::MAX).await.expect("cut"), 2);
        let left = store.deletions("home", "alice", None).await.expect("read");
        assert_eq!(left.iter().map(|entry| entry.uid.get()).collect::<Vec<_>>(), [2, 4]);
    }
}
