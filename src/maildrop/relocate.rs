//! Messages taken from one folder to another, or removed: by UID, and only those that were seen
//! there a moment ago.

use std::collections::HashMap;

use super::account::Place;
use super::keys;
use super::link::Link;
use super::{Error, Result};
use crate::fingerprint::{Digest, Fingerprint};
use crate::ids::{Uid, UidValidity};
use crate::store::Copied;
use crate::upstream::{
    Access, CopyUid, FolderName, HeaderRow, ObjectId, fetch_headers, live_uids, select, uid_sets,
};

/// How messages get to another folder.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    /// UID MOVE (RFC 6851).
    Move,
    /// UID COPY: they stay where they are as well.
    Copy,
}

/// Sends messages to another folder. Where each of them is there is noted in `copies` as far as the
/// server tells.
pub async fn transfer(
    link: &mut Link,
    place: &Place,
    uids: &[Uid],
    (way, target): (Way, &FolderName),
    copies: &mut HashMap<Uid, Copied>,
) -> Result<()> {
    for set in uid_sets(uids) {
        let imap = link.writable(place).await?;
        let told = match way {
            Way::Move => imap.uid_move(&set, target).await?,
            Way::Copy => imap.uid_copy(&set, target).await?,
        };
        if let Some(CopyUid { validity, pairs }) = told {
            copies.extend(pairs.into_iter().map(|(from, uid)| (from, Copied { validity, uid })));
        }
    }
    Ok(())
}

/// \Deleted and UID EXPUNGE (RFC 4315) on exactly these: never the plain EXPUNGE, which takes along
/// what others flagged.
pub async fn expunge(link: &mut Link, place: &Place, uids: &[Uid]) -> Result<()> {
    for set in uid_sets(uids) {
        let imap = link.writable(place).await?;
        imap.store(&set, "+FLAGS.SILENT (\\Deleted)").await?;
        crate::failpoint::reached("flagged");
        imap.uid_expunge(&set).await?;
    }
    Ok(())
}

/// Takes messages to another folder in the best way that the server offers, each of them once.
pub async fn relocate(
    link: &mut Link,
    place: &Place,
    uids: &[Uid],
    target: &FolderName,
    copies: &mut HashMap<Uid, Copied>,
) -> Result<()> {
    if link.capabilities().has("MOVE") {
        return transfer(link, place, uids, (Way::Move, target), copies).await;
    }
    transfer(link, place, uids, (Way::Copy, target), copies).await?;
    expunge(link, place, uids).await
}

/// Which of `live` have been copied to `target` already by an attempt that broke off: COPY is not
/// to be repeated. `started` tells from which UID on its copies are; `known` what to look for.
/// Of several messages that are alike, as many count as copied as there are copies.
pub async fn find_copies(
    link: &mut Link,
    target: &FolderName,
    live: &[Uid],
    started: &HashMap<Uid, Copied>,
    known: &HashMap<Uid, Fingerprint>,
) -> Result<HashMap<Uid, Copied>> {
    let mut candidates: Vec<(Uid, Copied)> =
        live.iter().filter_map(|uid| started.get(uid).map(|copied| (*uid, *copied))).collect();
    candidates.sort_by_key(|(uid, copied)| (copied.uid, *uid));
    let Some((_, first)) = candidates.first().copied() else { return Ok(HashMap::new()) };
    let (validity, mut copies) = headers_from(link, target, first.uid).await?;
    let found = paired(&candidates, validity, copies.clone(), known);
    if found.len() == candidates.len() {
        return Ok(found);
    }
    // One overlooked would be copied twice.
    let (validity, again) = headers_from(link, target, first.uid).await?;
    copies.extend(again);
    Ok(paired(&candidates, validity, copies, known))
}

/// Gives each message the first copy that is like it, and each copy to one message.
fn paired(
    candidates: &[(Uid, Copied)],
    validity: UidValidity,
    mut copies: Vec<(Uid, Digest)>,
    known: &HashMap<Uid, Fingerprint>,
) -> HashMap<Uid, Copied> {
    copies.sort_by_key(|(uid, _)| *uid);
    copies.dedup_by_key(|(uid, _)| *uid);
    let mut found = HashMap::new();
    for (uid, from) in candidates {
        let Some(header) = known.get(uid).map(|fingerprint| fingerprint.header) else { continue };
        let fits = |(copy, digest): &(Uid, Digest)| {
            from.validity == validity && *copy >= from.uid && *digest == header
        };
        if let Some(at) = copies.iter().position(fits) {
            found.insert(*uid, Copied { validity, uid: copies.remove(at).0 });
        }
    }
    found
}

/// The header digests of a folder's messages from a UID on, with the folder's UIDVALIDITY.
pub async fn headers_from(
    link: &mut Link,
    folder: &FolderName,
    first: Uid,
) -> Result<(UidValidity, Vec<(Uid, Digest)>)> {
    let mailbox = select(link.unselected().await?, folder, Access::ReadOnly).await?;
    let mut digests = Vec::new();
    let mut each = |row: HeaderRow| {
        // `n:*` names the last message even when that is below n (RFC 3501 §6.4.8).
        if row.uid >= first {
            digests.push((row.uid, Fingerprint::of(&row.header).header));
        }
    };
    fetch_headers(link.busy()?, &format!("{first}:*"), ObjectId::None, &mut each).await?;
    Ok((mailbox.validity, digests))
}

/// What was read of folders' headers while several messages are looked for: a folder is read once.
pub type Headers = HashMap<FolderName, (UidValidity, Vec<(Uid, Digest)>)>;

/// Where a message that was relocated is: at `hint` if that is it, else the newest that is like it.
pub async fn find(
    link: &mut Link,
    folder: &FolderName,
    header: &Digest,
    hint: Option<Copied>,
    headers: &mut Headers,
) -> Result<Option<Found>> {
    let mailbox = select(link.unselected().await?, folder, Access::ReadOnly).await?;
    let place = Place { folder: folder.clone(), validity: mailbox.validity, access: Access::ReadWrite };
    if let Some(hint) = hint.filter(|hint| hint.validity == mailbox.validity)
        && !live_uids(link.imap(&place).await?, &[hint.uid]).await?.is_empty()
    {
        let keys = keys::fetch(link, &place, &[hint.uid]).await?;
        if keys.first().is_some_and(|key| key.fingerprint.header == *header) {
            return Ok(Some((place, hint.uid)));
        }
    }
    let Some(first) = Uid::new(1) else { return Err(Error::ValidityChanged) };
    if headers.get(folder).is_none_or(|(validity, _)| *validity != mailbox.validity) {
        headers.insert(folder.clone(), headers_from(link, folder, first).await?);
    }
    let digests = headers.get_mut(folder).map(|(_, digests)| digests);
    let Some(digests) = digests else { return Ok(None) };
    let mut alike: Vec<Uid> =
        digests.iter().filter(|(_, digest)| digest == header).map(|(uid, _)| *uid).collect();
    alike.sort_unstable();
    // What was read a while ago may have gone.
    let newest = live_uids(link.imap(&place).await?, &alike).await?.into_iter().max();
    digests.retain(|(uid, _)| Some(*uid) != newest);
    Ok(newest.map(|uid| (place, uid)))
}

/// A folder, and a message in it.
pub type Found = (Place, Uid);
