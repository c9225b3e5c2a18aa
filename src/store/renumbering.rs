//! Mailboxes made anew that were refused: what waits for a person to accept it.

use sqlx::Row as _;

use super::mailbox::of_name;
use super::{MailboxName, Result, Store, now, number, validity};
use crate::ids::UidValidity;

/// A mailbox made anew in which too much would look new to POP3 programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renumbering {
    pub validity: UidValidity,
    pub former_messages: usize,
    pub messages: usize,
    /// Messages that may be known ones, but cannot be recognised.
    pub unmatched: usize,
    /// Seconds since 1970.
    pub refused_at: i64,
    pub accepted: bool,
}

impl Store {
    /// What keeps a mailbox made anew from being opened, or was accepted for it.
    pub async fn renumbering(&self, name: &MailboxName) -> Result<Option<Renumbering>> {
        let row = of_name("SELECT uid_validity, former_messages, messages, unmatched, refused_at, accepted FROM renumbering \
             WHERE upstream = $1 AND username = $2 AND folder = $3", name)
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| {
            let count = |column| Ok::<_, super::Error>(number(&row, column)?.unwrap_or_default() as usize);
            Ok(Renumbering {
                validity: validity(&row, "uid_validity")?,
                former_messages: count("former_messages")?,
                messages: count("messages")?,
                unmatched: count("unmatched")?,
                refused_at: row.try_get("refused_at")?,
                accepted: row.try_get::<i64, _>("accepted")? == 1,
            })
        })
        .transpose()
    }

    /// Notes that a mailbox made anew was refused, for `explain` to tell and a person to accept.
    pub async fn refuse_renumbering(
        &self,
        name: &MailboxName,
        now_valid: UidValidity,
        [former_messages, messages, unmatched]: [usize; 3],
    ) -> Result<()> {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        of_name(
            "INSERT INTO renumbering (upstream, username, folder, uid_validity, former_messages, messages, \
             unmatched, refused_at, accepted) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0) \
             ON CONFLICT (upstream, username, folder) DO UPDATE SET uid_validity = excluded.uid_validity, \
             former_messages = excluded.former_messages, messages = excluded.messages, \
             unmatched = excluded.unmatched, refused_at = excluded.refused_at, accepted = 0",
            name,
        )
        .bind(i64::from(now_valid.get()))
        .bind(count(former_messages))
        .bind(count(messages))
        .bind(count(unmatched))
        .bind(now())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Lets a refused mailbox be opened at the next login, whatever looks new in it. False if
    /// none was refused.
    pub async fn accept_renumbering(&self, name: &MailboxName) -> Result<bool> {
        let done = of_name(
            "UPDATE renumbering SET accepted = 1 WHERE upstream = $1 AND username = $2 AND folder = $3",
            name,
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Database;

    fn name() -> MailboxName {
        MailboxName { upstream: "home".into(), username: "alice".into(), folder: "INBOX".into() }
    }

    fn validity(number: u32) -> UidValidity {
        UidValidity::new(number).expect("not zero")
    }

    #[tokio::test]
    async fn a_refusal_waits_for_a_person() {
        let store = Store::open(&Database::Memory).await.expect("a store");
        assert!(!store.accept_renumbering(&name()).await.expect("written"));
        store.refuse_renumbering(&name(), validity(8), [10, 9, 5]).await.expect("noted");
        let refused = store.renumbering(&name()).await.expect("read").expect("there");
        assert_eq!((refused.former_messages, refused.messages, refused.unmatched), (10, 9, 5));
        assert!(!refused.accepted);
        assert!(store.accept_renumbering(&name()).await.expect("written"));
        assert!(store.renumbering(&name()).await.expect("read").is_some_and(|refused| refused.accepted));
    }
}
