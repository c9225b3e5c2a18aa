//! What messages are known by beside their UIDs: learnt while nobody waits, needed when a
//! server makes a mailbox anew.

use super::Result;
use super::account::Place;
use super::link::Link;
use super::unique_id;
use super::unique_ids::UniqueIds;
use crate::config::UniqueIdScheme;
use crate::fingerprint::{Fingerprint, Key};
use crate::ids::Uid;
use crate::store::{CachedListing, MailboxId, Store};
use crate::upstream::{ObjectId, fetch_headers, fetch_object_ids, uid_sets};

/// So many messages are asked for in one command: what was learnt is kept behind each.
const BATCH: usize = 200;

/// Learns the keys of `uids` (ascending) and keeps them, a batch at a time.
pub async fn learn(link: &mut Link, place: &Place, store: &Store, id: MailboxId, uids: &[Uid]) -> Result<()> {
    for batch in uids.chunks(BATCH) {
        store.keep_keys(id, &fetch(link, place, batch).await?).await?;
    }
    Ok(())
}

/// The keys of `uids` (ascending), as the server has them now; those that are gone are left out.
pub async fn fetch(link: &mut Link, place: &Place, uids: &[Uid]) -> Result<Vec<Key>> {
    let object_id = ObjectId::of(link.capabilities());
    let mut keys = Vec::new();
    for set in uid_sets(uids) {
        let imap = link.imap(place).await?;
        let mut each = |row: crate::upstream::HeaderRow| {
            if uids.binary_search(&row.uid).is_ok() {
                keys.push(Key {
                    uid: row.uid,
                    size: row.size,
                    object_id: row.object_id,
                    fingerprint: Fingerprint::of(&row.header),
                });
            }
        };
        fetch_headers(imap, &set, object_id, &mut each).await?;
    }
    keys.sort_by_key(|key| key.uid);
    keys.dedup_by_key(|key| key.uid);
    Ok(keys)
}

/// Messages of a mailbox whose keys are not known, at most `most`.
pub async fn missing(store: &Store, id: MailboxId, listing: &CachedListing, most: usize) -> Result<Vec<Uid>> {
    let known = store.known_keys(id).await?;
    let uids = listing.rows.iter().map(|row| row.uid);
    Ok(uids.filter(|uid| known.binary_search(uid).is_err()).take(most).collect())
}

/// Drops what is known of messages that a listing has lost: one that has gone must not take the
/// place of its twin when the mailbox is made anew.
pub async fn forget_lost(store: &Store, id: MailboxId, listing: &CachedListing) -> Result<()> {
    let lost = store.known_keys(id).await?.into_iter().filter(|uid| listing.had_lost(*uid));
    let lost: Vec<Uid> = lost.collect();
    if lost.is_empty() { Ok(()) } else { Ok(store.forget(id, &lost).await?) }
}

/// Unique ids that have to be stored since they do not derive from numbers: the new ones, already
/// taken into `ids`.
pub async fn assign_unique_ids(
    link: &mut Link,
    place: &Place,
    ids: &mut UniqueIds,
    uids: impl Iterator<Item = Uid>,
) -> Result<Vec<(Uid, String)>> {
    let object_id = match ids.scheme() {
        UniqueIdScheme::Gmail => ObjectId::GmailMsgId,
        UniqueIdScheme::EmailId => ObjectId::EmailId,
        _ => {
            let new = ids.reused(uids);
            ids.add(&new);
            return Ok(new);
        }
    };
    let mut new: Vec<(Uid, String)> = Vec::new();
    for set in uid_sets(&ids.unassigned(uids)) {
        for (uid, object) in fetch_object_ids(link.imap(place).await?, &set, object_id).await? {
            let text = match ids.scheme() {
                UniqueIdScheme::Gmail => unique_id::gmail(&object),
                _ => unique_id::email_id(&object),
            };
            if let Some(text) = text.map(|text| ids.stored(&text)).filter(|text| unique_id::is_valid(text)) {
                new.push((uid, text));
            }
        }
    }
    new.sort_unstable();
    new.dedup_by_key(|(uid, _)| *uid);
    if new.is_empty() {
        return Ok(new);
    }
    // A message may be in a folder twice; the second one has an id of its own.
    let mut taken = ids.assigned();
    for (uid, text) in &mut new {
        if !taken.insert(text.clone()) {
            *text = ids.of(*uid).to_string();
        }
    }
    ids.add(&new);
    Ok(new)
}
