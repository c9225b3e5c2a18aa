//! The cache: a mailbox's UIDs and sizes as its last listing had them, in blobs of some thousand.

use futures_util::TryStreamExt as _;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::mailbox::{former, of_name};
use super::{Former, MailboxId, MailboxName, Result, Store, now, number};
use crate::ids::{Octets, Uid};

/// A listing as it was; ascending by UID.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CachedListing {
    pub uid_next: Option<Uid>,
    pub highest_modseq: Option<u64>,
    pub rows: Vec<CachedRow>,
    /// Seconds since 1970; set when it is stored.
    pub listed_at: i64,
    /// When the mail server last named all of it, in seconds since 1970. Rows kept since then are
    /// compared only; 0: they are not to be relied on.
    pub full_at: i64,
}

/// A mailbox as it was last used, with its listing if there is one that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cached {
    pub mailbox: Former,
    pub listing: Option<CachedListing>,
}

/// How long a listing is relied on before the mail server is asked for all of it again: whatever
/// has gone wrong with it, there or here, does not last.
const RELIED_ON: i64 = 24 * 60 * 60;

impl CachedListing {
    /// Whether the mail server named all of it a short while ago.
    pub fn is_fresh(&self) -> bool {
        (0..RELIED_ON).contains(&now().saturating_sub(self.full_at))
    }

    /// Whether this message had left the mailbox when it was listed. One that came later had not.
    pub fn had_lost(&self, uid: Uid) -> bool {
        let listed = |uid: &Uid| self.rows.binary_search_by_key(uid, |row| row.uid).is_ok();
        let came_before = match self.uid_next {
            Some(next) => uid < next,
            None => self.rows.last().is_some_and(|last| uid <= last.uid),
        };
        came_before && !listed(&uid)
    }
}

/// One message of a cached listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachedRow {
    pub uid: Uid,
    pub size: Octets,
    /// The size was counted while the whole message was sent; else it is RFC822.SIZE.
    pub counted: bool,
}

/// A blob's form; another one is read as no listing.
const FORM: u8 = 1;
/// UID in 4 octets, then 8 of size with `counted` in the highest bit; both little-endian.
const ROW: usize = 12;
const COUNTED: u64 = 1 << 63;
/// Rows in a part: so few that a blob is soon written, and so many that there are few.
const PART: usize = 4096;
/// Room is made for so many rows on the word of the database.
const EXPECTED: usize = 1 << 20;

impl Store {
    /// What is cached of a mailbox: all that a login knows before it asks the mail server.
    pub async fn cached(&self, name: &MailboxName) -> Result<Option<Cached>> {
        let rows = of_name(
            "SELECT mailbox.id, mailbox.uid_validity, mailbox.messages, listing.listed_at, listing.full_at, \
             listing.uid_next, listing.highest_modseq, listing_part.messages AS part \
             FROM mailbox LEFT JOIN listing ON listing.mailbox = mailbox.id \
             LEFT JOIN listing_part ON listing_part.mailbox = listing.mailbox \
             WHERE upstream = $1 AND username = $2 AND folder = $3 AND current = 1 \
             ORDER BY listing_part.part",
            name,
        );
        let mut mailbox = None;
        let mut listing = Assembled::default();
        let mut rows = rows.fetch(&self.pool);
        while let Some(row) = rows.try_next().await? {
            let former = former(&row)?;
            listing.take(&row, former.messages)?;
            mailbox = Some(former);
        }
        Ok(mailbox.map(|mailbox| Cached { mailbox, listing: listing.whole() }))
    }

    /// The cached listing; `None` if there is none, or none that can be read.
    pub async fn listing(&self, mailbox: MailboxId) -> Result<Option<CachedListing>> {
        let rows = sqlx::query(
            "SELECT listing.listed_at, listing.full_at, listing.uid_next, listing.highest_modseq, \
             listing_part.messages AS part FROM listing \
             LEFT JOIN listing_part ON listing_part.mailbox = listing.mailbox \
             WHERE listing.mailbox = $1 ORDER BY listing_part.part",
        );
        let mut listing = Assembled::default();
        let mut rows = rows.bind(mailbox.0).fetch(&self.pool);
        while let Some(row) = rows.try_next().await? {
            listing.take(&row, 0)?;
        }
        Ok(listing.whole())
    }

    /// Keeps a listing in place of the one before.
    pub async fn keep_listing(&self, mailbox: MailboxId, listing: &CachedListing) -> Result<()> {
        let mut transaction = self.begin().await?;
        sqlx::query(
            "INSERT INTO listing (mailbox, listed_at, full_at, uid_next, highest_modseq) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (mailbox) DO UPDATE SET \
             listed_at = excluded.listed_at, full_at = excluded.full_at, uid_next = excluded.uid_next, \
             highest_modseq = excluded.highest_modseq",
        )
        .bind(mailbox.0)
        .bind(now())
        .bind(listing.full_at)
        .bind(listing.uid_next.map(|uid| i64::from(uid.get())))
        .bind(listing.highest_modseq.map(|modseq| i64::try_from(modseq).unwrap_or(i64::MAX)))
        .execute(&mut *transaction)
        .await?;
        let mut parts = 0_i64;
        for rows in listing.rows.chunks(PART) {
            // What has not changed is not written.
            sqlx::query(
                "INSERT INTO listing_part (mailbox, part, messages) VALUES ($1, $2, $3) \
                 ON CONFLICT (mailbox, part) DO UPDATE SET messages = excluded.messages \
                 WHERE listing_part.messages <> excluded.messages",
            )
            .bind(mailbox.0)
            .bind(parts)
            .bind(encode(rows))
            .execute(&mut *transaction)
            .await?;
            parts += 1;
        }
        sqlx::query("DELETE FROM listing_part WHERE mailbox = $1 AND part >= $2")
            .bind(mailbox.0)
            .bind(parts)
            .execute(&mut *transaction)
            .await?;
        // Apart from the cache: it tells how much is at stake when the mailbox is made anew.
        sqlx::query("UPDATE mailbox SET messages = $1 WHERE id = $2")
            .bind(i64::try_from(listing.rows.len()).unwrap_or(i64::MAX))
            .bind(mailbox.0)
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// Takes messages (ascending) that were removed off the listing.
    pub async fn unlist(&self, mailbox: MailboxId, uids: &[Uid]) -> Result<()> {
        if uids.is_empty() {
            return Ok(());
        }
        let Some(mut listing) = self.listing(mailbox).await? else { return Ok(()) };
        listing.rows.retain(|row| uids.binary_search(&row.uid).is_err());
        self.keep_listing(mailbox, &listing).await
    }

    /// The next login lists anew: what a listing says was not so. Counted sizes stay.
    pub async fn distrust_listing(&self, mailbox: MailboxId) -> Result<()> {
        sqlx::query("UPDATE listing SET full_at = 0 WHERE mailbox = $1")
            .bind(mailbox.0)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Empties the cache: the next logins list anew. Unique ids, hidden messages and what is
    /// being deleted stay. Returns how many listings there were.
    pub async fn clear_cache(&self) -> Result<u64> {
        Ok(sqlx::query("DELETE FROM listing").execute(&self.pool).await?.rows_affected())
    }
}

/// A listing whose parts come one after another.
#[derive(Default)]
struct Assembled {
    listing: Option<CachedListing>,
    unreadable: bool,
}

impl Assembled {
    /// Takes a row in: a part, or that there are no parts, or no listing. About `messages` are expected.
    fn take(&mut self, row: &SqliteRow, messages: usize) -> Result<()> {
        let Some(full_at) = row.try_get("full_at")? else { return Ok(()) };
        let listing = match &mut self.listing {
            Some(listing) => listing,
            none => {
                let highest_modseq: Option<i64> = row.try_get("highest_modseq")?;
                none.insert(CachedListing {
                    uid_next: number(row, "uid_next")?.and_then(Uid::new),
                    highest_modseq: highest_modseq.map(i64::unsigned_abs),
                    rows: Vec::with_capacity(messages.min(EXPECTED)),
                    listed_at: row.try_get("listed_at")?,
                    full_at,
                })
            }
        };
        let part: Option<&[u8]> = row.try_get("part")?;
        self.unreadable |= part.is_some_and(|part| decode(part, &mut listing.rows).is_none());
        Ok(())
    }

    fn whole(self) -> Option<CachedListing> {
        let ascending = |rows: &[CachedRow]| rows.windows(2).all(|pair| pair[0].uid < pair[1].uid);
        self.listing.filter(|listing| !self.unreadable && ascending(&listing.rows))
    }
}

fn encode(rows: &[CachedRow]) -> Vec<u8> {
    let mut blob = Vec::with_capacity(1 + rows.len() * ROW);
    blob.push(FORM);
    for row in rows {
        let counted = if row.counted { COUNTED } else { 0 };
        blob.extend_from_slice(&row.uid.get().to_le_bytes());
        blob.extend_from_slice(&(row.size.0 & !COUNTED | counted).to_le_bytes());
    }
    blob
}

/// Appends a part's rows to those before.
fn decode(blob: &[u8], rows: &mut Vec<CachedRow>) -> Option<()> {
    let (&FORM, part) = blob.split_first()? else { return None };
    let (part, rest) = part.as_chunks::<ROW>();
    for octets in part {
        rows.push(row(octets)?);
    }
    rest.is_empty().then_some(())
}

fn row(octets: &[u8; ROW]) -> Option<CachedRow> {
    let (uid, size) = octets.split_at(4);
    let size = u64::from_le_bytes(size.try_into().ok()?);
    Some(CachedRow {
        uid: Uid::new(u32::from_le_bytes(uid.try_into().ok()?))?,
        size: Octets(size & !COUNTED),
        counted: size & COUNTED != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Database;
    use crate::ids::UidValidity;
    use crate::store::Opened;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_listing_comes_back_as_it_was(
            rows in proptest::collection::btree_map(1u32.., (0..COUNTED, any::<bool>()), 0..50),
        ) {
            let rows: Vec<CachedRow> = rows
                .into_iter()
                .filter_map(|(uid, (size, counted))| {
                    Some(CachedRow { uid: Uid::new(uid)?, size: Octets(size), counted })
                })
                .collect();
            let mut back = Vec::new();
            prop_assert_eq!(decode(&encode(&rows), &mut back), Some(()));
            prop_assert_eq!(back, rows);
        }

        #[test]
        fn any_octets_are_read_without_harm(blob in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(&blob, &mut Vec::new());
        }
    }

    fn listing(uids: impl Iterator<Item = u32>) -> CachedListing {
        let uids = uids.map(|uid| Uid::new(uid).expect("not zero"));
        let rows = uids.map(|uid| CachedRow { uid, size: Octets(u64::from(uid.get())), counted: false });
        CachedListing { rows: rows.collect(), full_at: now(), ..CachedListing::default() }
    }

    async fn store() -> (Store, MailboxName, MailboxId) {
        let store = Store::open(&Database::Memory).await.expect("a store");
        let name = MailboxName { upstream: "home".into(), username: "alice".into(), folder: "INBOX".into() };
        let opened = store.mailbox(&name, UidValidity::new(7).expect("not zero")).await.expect("a mailbox");
        let Opened::Current(mailbox) = opened else { panic!("{opened:?}") };
        (store, name, mailbox)
    }

    #[tokio::test]
    async fn parts_make_one_listing() {
        let (store, name, mailbox) = store().await;
        let cached = async || store.cached(&name).await.expect("read").expect("a mailbox").listing;
        assert_eq!(cached().await, None);
        assert_eq!(store.listing(mailbox).await.expect("read"), None);
        for messages in [0, 1, 3 * PART as u32 - 1, 3 * PART as u32, 3 * PART as u32 + 1, PART as u32, 2, 0] {
            let mut kept = listing((1..=messages).map(|number| number * 2));
            store.keep_listing(mailbox, &kept).await.expect("kept");
            let found = cached().await.expect("a listing");
            kept.listed_at = found.listed_at;
            assert_eq!(found, kept, "{messages}");
            assert_eq!(store.listing(mailbox).await.expect("read"), Some(kept));
        }
    }

    #[tokio::test]
    async fn only_changed_parts_are_written() {
        let (store, _, mailbox) = store().await;
        store.keep_listing(mailbox, &listing(1..=10_000)).await.expect("kept");
        sqlx::raw_sql(
            "CREATE TABLE written (part); CREATE TRIGGER note AFTER UPDATE ON listing_part \
             BEGIN INSERT INTO written VALUES (NEW.part); END",
        )
        .execute(&store.pool)
        .await
        .expect("a trigger");
        store.keep_listing(mailbox, &listing(1..=10_001)).await.expect("kept");
        let rows = sqlx::query("SELECT part FROM written").fetch_all(&store.pool).await.expect("rows");
        assert_eq!(rows.iter().map(|row| row.get::<i64, _>(0)).collect::<Vec<_>>(), [2]);
    }

    #[tokio::test]
    async fn what_is_damaged_is_no_listing() {
        let (store, _, mailbox) = store().await;
        let good = listing([1, 2].into_iter());
        let descending = listing([2, 1].into_iter());
        for (blob, readable) in [
            (encode(&good.rows), true),
            (encode(&good.rows)[..20].to_vec(), false),
            (encode(&descending.rows), false),
            (vec![9], false),
            (vec![], false),
        ] {
            store.keep_listing(mailbox, &good).await.expect("kept");
            let damage = sqlx::query("UPDATE listing_part SET messages = $1").bind(blob);
            damage.execute(&store.pool).await.expect("written");
            assert_eq!(store.listing(mailbox).await.expect("read").is_some(), readable);
        }
        // What two parts hold has to ascend, too.
        store.keep_listing(mailbox, &good).await.expect("kept");
        let twice = sqlx::query("INSERT INTO listing_part SELECT mailbox, 1, messages FROM listing_part");
        twice.execute(&store.pool).await.expect("written");
        assert_eq!(store.listing(mailbox).await.expect("read"), None);
    }
}
