//! What a login has to know of a mailbox beside its listing, as of one moment.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::unique_id::Exceptions;
use super::{MailboxId, Origin, Result, Store, damaged, number, uid, validity};
use crate::ids::Uid;

/// What is kept of a mailbox's messages; lists ascend by UID.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notes {
    /// As [`Store::hidden`] tells.
    pub hidden: Vec<Uid>,
    /// As [`Store::watermark`] tells.
    pub watermark: Option<(u32, Uid)>,
    pub exceptions: Exceptions,
    /// How many keys are known, and the highest UID among them: whether anything is to be learnt
    /// can mostly be told from these.
    pub keys: (usize, Option<Uid>),
}

/// One statement, since each costs more than what it looks up. A row says in `kind` what it is.
const NOTES: &str = "\
    SELECT 'mailbox' AS kind, (SELECT MAX(uid) FROM message_key WHERE mailbox = $1) AS uid, \
           past.times AS one, mailbox.keys AS other, NULL AS text \
        FROM mailbox LEFT JOIN left_validity past ON past.upstream = mailbox.upstream \
        AND past.username = mailbox.username AND past.folder = mailbox.folder \
        AND past.uid_validity = mailbox.uid_validity WHERE mailbox.id = $1 AND mailbox.current = 1 \
    UNION ALL SELECT 'hidden', uid, NULL, NULL, NULL FROM hidden WHERE mailbox = $1 AND login = $2 \
    UNION ALL SELECT 'watermark', uid, newest, NULL, NULL FROM watermark \
        WHERE mailbox = $1 AND login = $2 \
    UNION ALL SELECT 'origin', uid, origin_validity, origin_uid, NULL FROM origin WHERE mailbox = $1 \
    UNION ALL SELECT 'assigned', uid, NULL, NULL, unique_id FROM assigned \
        WHERE mailbox = $1 AND scheme = $3";

impl Store {
    /// What is noted for `login`, whose unique ids are of this scheme. `None`: the mailbox is no
    /// longer the present one of its name, and what was noted has passed to another.
    pub async fn notes(&self, mailbox: MailboxId, login: &str, scheme: &str) -> Result<Option<Notes>> {
        let rows = sqlx::query(NOTES).bind(mailbox.0).bind(login).bind(scheme).fetch_all(&self.pool).await?;
        let mut present = false;
        let mut notes = Notes::default();
        for row in &rows {
            present |= notes.take(row)?;
        }
        notes.hidden.sort_unstable();
        notes.exceptions.origins.sort_unstable_by_key(|(uid, _)| *uid);
        notes.exceptions.assigned.sort_unstable_by_key(|(uid, _)| *uid);
        Ok(present.then_some(notes))
    }
}

impl Notes {
    /// Takes a row in; whether it is that of the mailbox itself.
    fn take(&mut self, row: &SqliteRow) -> Result<bool> {
        let kind: &str = row.try_get("kind")?;
        match kind {
            "mailbox" => {
                let known = number(row, "other")?.unwrap_or_default() as usize;
                self.keys = (known, number(row, "uid")?.and_then(Uid::new));
                self.exceptions.times_left = number(row, "one")?.unwrap_or_default();
            }
            "hidden" => self.hidden.push(uid(row, "uid")?),
            "watermark" => {
                self.watermark = Some((number(row, "one")?.unwrap_or_default(), uid(row, "uid")?));
            }
            "origin" => {
                let origin = Origin { validity: validity(row, "one")?, uid: uid(row, "other")? };
                self.exceptions.origins.push((uid(row, "uid")?, origin));
            }
            "assigned" => self.exceptions.assigned.push((uid(row, "uid")?, row.try_get("text")?)),
            _ => return Err(damaged("kind")),
        }
        Ok(kind == "mailbox")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Database;
    use crate::fingerprint::{Fingerprint, Key};
    use crate::ids::{Octets, UidValidity};
    use crate::store::{MailboxName, Opened};

    fn uid(number: u32) -> Uid {
        Uid::new(number).expect("not zero")
    }

    #[tokio::test]
    async fn one_statement_tells_what_many_tell() {
        let store = Store::open(&Database::Memory).await.expect("a store");
        let seven = UidValidity::new(7).expect("not zero");
        let name = MailboxName { upstream: "home".into(), username: "alice".into(), folder: "INBOX".into() };
        let open = async |valid: u32| {
            let valid = UidValidity::new(valid).expect("not zero");
            store.mailbox(&name, valid).await.expect("a mailbox")
        };
        let Opened::Current(id) = open(7).await else { panic!("not the first") };
        let notes = async |id| store.notes(id, "alice", "gmail").await.expect("read");
        assert_eq!(notes(id).await, Some(Notes::default()));

        store.hide(id, "alice", &[uid(9), uid(4)]).await.expect("hidden");
        store.hide(id, "bob", &[uid(5)]).await.expect("hidden");
        store.set_watermark(id, "alice", 50, uid(3)).await.expect("set");
        store.set_watermark(id, "bob", 60, uid(6)).await.expect("set");
        for number in [8, 2] {
            let origin = Origin { validity: seven, uid: uid(number + 100) };
            store.set_origin(id, uid(number), origin).await.expect("set");
        }
        let assigned = [(uid(12), "b".to_owned()), (uid(11), "a".to_owned())];
        store.assign(id, "gmail", &assigned).await.expect("assigned");
        store.assign(id, "emailid", &[(uid(1), "c".to_owned())]).await.expect("assigned");
        let key = |number| Key {
            uid: uid(number),
            size: Octets(1),
            object_id: None,
            fingerprint: Fingerprint { message_id: None, identity: None, header: [2; 16] },
        };
        store.keep_keys(id, &[key(20), key(21), key(22)]).await.expect("kept");
        store.keep_keys(id, &[key(21), key(23)]).await.expect("kept");
        store.forget(id, &[uid(23), uid(24)]).await.expect("forgotten");
        let told = notes(id).await.expect("present");
        assert_eq!(told.hidden, store.hidden(id, "alice").await.expect("read"));
        assert_eq!(told.hidden, [uid(4), uid(9)]);
        assert_eq!(told.watermark, Some((50, uid(3))));
        assert_eq!(told.exceptions, store.exceptions(id, "gmail").await.expect("read"));
        assert_eq!((told.exceptions.origins.len(), told.exceptions.assigned.len()), (2, 2));
        assert_eq!(told.keys, (3, Some(uid(22))));

        // Gone to another UIDVALIDITY and back: what was noted under the first is not told.
        let Opened::Renumbered { id: eight, former } = open(8).await else { panic!("not renumbered") };
        assert_eq!(notes(eight).await, None);
        store.succeed(&name, former, eight, &[(uid(4), uid(40))]).await.expect("passed on");
        assert_eq!(notes(id).await, None);
        assert_eq!(notes(eight).await.expect("present").hidden, [uid(40)]);
        let Opened::Renumbered { id: again, former } = open(7).await else { panic!("not renumbered") };
        store.succeed(&name, former, again, &[]).await.expect("passed on");
        assert_eq!(notes(again).await.expect("present").exceptions.times_left, 1);
    }
}
