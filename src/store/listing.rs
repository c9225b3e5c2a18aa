//! The cache: a mailbox's UIDs and sizes as its last listing had them, in one blob.

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

/// The blob's form; another one is read as no listing.
const FORM: u8 = 1;
/// UID in 4 octets, then 8 of size with `counted` in the highest bit; both little-endian.
const ROW: usize = 12;
const COUNTED: u64 = 1 << 63;

impl Store {
    /// What is cached of a mailbox: all that a login knows before it asks the mail server.
    pub async fn cached(&self, name: &MailboxName) -> Result<Option<Cached>> {
        let row = of_name(
            "SELECT mailbox.id, mailbox.uid_validity, mailbox.messages, listing.listed_at, listing.full_at, \
             listing.uid_next, listing.highest_modseq, listing.messages AS rows \
             FROM mailbox LEFT JOIN listing ON listing.mailbox = mailbox.id \
             WHERE upstream = $1 AND username = $2 AND folder = $3 AND current = 1",
            name,
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| Ok(Cached { mailbox: former(&row)?, listing: listing(&row)? })).transpose()
    }

    /// The cached listing; `None` if there is none, or none that can be read.
    pub async fn listing(&self, mailbox: MailboxId) -> Result<Option<CachedListing>> {
        let row = sqlx::query(
            "SELECT listed_at, full_at, uid_next, highest_modseq, messages AS rows \
             FROM listing WHERE mailbox = $1",
        )
        .bind(mailbox.0)
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map_or(Ok(None), listing)
    }

    /// Keeps a listing in place of the one before.
    pub async fn keep_listing(&self, mailbox: MailboxId, listing: &CachedListing) -> Result<()> {
        let mut transaction = self.begin().await?;
        sqlx::query(
            "INSERT INTO listing (mailbox, listed_at, full_at, uid_next, highest_modseq, messages) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (mailbox) DO UPDATE SET \
             listed_at = excluded.listed_at, full_at = excluded.full_at, uid_next = excluded.uid_next, \
             highest_modseq = excluded.highest_modseq, messages = excluded.messages",
        )
        .bind(mailbox.0)
        .bind(now())
        .bind(listing.full_at)
        .bind(listing.uid_next.map(|uid| i64::from(uid.get())))
        .bind(listing.highest_modseq.map(|modseq| i64::try_from(modseq).unwrap_or(i64::MAX)))
        .bind(encode(&listing.rows))
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

fn listing(row: &SqliteRow) -> Result<Option<CachedListing>> {
    let blob: Option<&[u8]> = row.try_get("rows")?;
    let Some(rows) = blob.and_then(decode) else { return Ok(None) };
    let highest_modseq: Option<i64> = row.try_get("highest_modseq")?;
    Ok(Some(CachedListing {
        uid_next: number(row, "uid_next")?.and_then(Uid::new),
        highest_modseq: highest_modseq.map(i64::unsigned_abs),
        rows,
        listed_at: row.try_get("listed_at")?,
        full_at: row.try_get("full_at")?,
    }))
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

fn decode(blob: &[u8]) -> Option<Vec<CachedRow>> {
    let (&FORM, rows) = blob.split_first()? else { return None };
    let (rows, rest) = rows.as_chunks::<ROW>();
    let rows: Option<Vec<CachedRow>> = rows.iter().map(row).collect();
    rows.filter(|rows| rest.is_empty() && rows.windows(2).all(|pair| pair[0].uid < pair[1].uid))
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
            prop_assert_eq!(decode(&encode(&rows)), Some(rows));
        }

        #[test]
        fn any_octets_are_read_without_harm(blob in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(&blob);
        }
    }

    #[test]
    fn what_is_damaged_is_no_listing() {
        let uid = |number| Uid::new(number).expect("not zero");
        let row = |number| CachedRow { uid: uid(number), size: Octets(5), counted: false };
        let good = encode(&[row(1), row(2)]);
        assert!(decode(&good).is_some());
        assert_eq!(decode(&good[..good.len() - 1]), None);
        assert_eq!(decode(&encode(&[row(2), row(1)])), None);
        assert_eq!(decode(&[9]), None);
        assert_eq!(decode(&[]), None);
    }
}
