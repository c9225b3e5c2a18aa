//! One folder of a maildrop: its listing, and what this login sees of it.

use super::account::Place;
use super::error::Error;
use super::keys;
use super::link::Link;
use super::lock::Turns;
use super::renumbering::{Renumbered, carry_over};
use super::unique_ids::UniqueIds;
use crate::config;
use crate::ids::{Octets, Uid};
use crate::store::{CachedListing, CachedRow, Deletion, MailboxId, MailboxName, Opened, Store, now};
use crate::upstream::{Access, Extra, FolderName, Known, Mailbox, Row, Scanned, Told};

/// A folder as it was at login.
#[derive(Debug)]
pub struct Folder {
    pub place: Place,
    pub name: MailboxName,
    pub id: MailboxId,
    pub ids: UniqueIds,
    /// How many messages it has, seen or not, and the last one's UID.
    pub extent: (usize, Option<Uid>),
    /// The server has named all of them at login: what is not there has gone. Else that is for
    /// another login to find out, since an untrue cache must not cost what is not in it.
    pub named: bool,
}

/// Names a folder of a link's account in the store.
pub fn mailbox_name(link: &Link, folder: &FolderName) -> MailboxName {
    MailboxName {
        upstream: link.account().connector.upstream().name.clone(),
        username: link.account().username.clone(),
        folder: folder.as_wire().to_owned(),
    }
}

/// Selects and lists a folder, with what the cache knows of it.
pub async fn scan(
    link: &mut Link,
    store: &Store,
    folder: &FolderName,
    access: Access,
    settings: &config::Maildrop,
) -> Result<Scanned, Error> {
    let extra = Extra { flags: settings.only_unseen, internal_date: !settings.max_age.is_zero() };
    // Flags change, and dates are not kept.
    let cacheable = extra == Extra::default();
    let has_waited = link.is_resting();
    let cached = if cacheable { known(link, store, folder).await? } else { None };
    let with_cached = cached.is_some();
    let scanned = match link.scan(folder, access, extra, cached).await {
        // It was dead, or the server would have no more of it.
        Err(error) if has_waited => {
            tracing::debug!(login = %link.account().login, %error, "a connection that waited is replaced");
            link.drop_connection();
            let cached = if cacheable { known(link, store, folder).await? } else { None };
            link.scan(folder, access, extra, cached).await
        }
        scanned => scanned,
    };
    let mut scanned = scanned?;
    if with_cached && scanned.told == Told::All {
        // What was known was of no use, and would not be the next time.
        scanned.retold = usize::MAX;
    }
    Ok(scanned)
}

/// What the cache can prove something with.
async fn known(link: &Link, store: &Store, folder: &FolderName) -> Result<Option<Known>, Error> {
    let Some(mailbox) = store.current_mailbox(&mailbox_name(link, folder)).await? else { return Ok(None) };
    let Some(cached) = store.listing(mailbox.id).await?.filter(CachedListing::is_fresh) else {
        return Ok(None);
    };
    let Some(uid_next) = cached.uid_next else { return Ok(None) };
    // What came while it was listed is asked for again, with all that came since.
    let rows = cached.rows.into_iter().take_while(|row| row.uid < uid_next);
    let rows = rows.map(|row| Row { uid: row.uid, size: row.size, internal_date: 0, seen: false });
    let modseq = cached.highest_modseq;
    Ok(Some(Known { validity: mailbox.validity, uid_next, modseq, rows: rows.collect() }))
}

/// Freezes a scanned folder: who its messages are, and which of them this login sees, with their
/// sizes. `pending` are the account's deletions that are not done yet.
pub async fn freeze(
    link: &mut Link,
    store: &Store,
    turns: &Turns,
    settings: &config::Maildrop,
    (folder, access): (&FolderName, Access),
    Scanned { mailbox, rows, told, retold }: Scanned,
    pending: &[Deletion],
) -> Result<(Folder, Vec<(Uid, Octets)>), Error> {
    let name = mailbox_name(link, folder);
    let login = link.account().login.clone();
    let place = Place { folder: folder.clone(), validity: mailbox.validity, access };
    let id = match store.mailbox(&name, mailbox.validity).await? {
        Opened::Current(id) => id,
        Opened::Renumbered { .. } => {
            let _turn = turns.take(&name.upstream, &name.username).await;
            // Another login may have done it while this one waited for its turn.
            match store.mailbox(&name, mailbox.validity).await? {
                Opened::Current(id) => id,
                Opened::Renumbered { id, former } => {
                    let renumbered = Renumbered { name: &name, place: &place, id, former };
                    let listing = as_listing(&mailbox, with_counted(&rows, &[]));
                    carry_over(link, store, &renumbered, &listing, settings.max_new_share).await?;
                    id
                }
            }
        }
    };
    let cached = store.listing(id).await?;
    let sized = with_counted(&rows, cached.as_ref().map_or(&[], |listing| &listing.rows));
    let mut listing = as_listing(&mailbox, sized);
    if told != Told::All {
        // Taken back meanwhile, it stays so.
        listing.full_at = cached.as_ref().map_or(0, |cached| cached.full_at);
    }
    let named = matches!(told, Told::All | Told::Present);
    if named && cached.as_ref().is_none_or(|cached| cached.rows.iter().any(|row| listing.had_lost(row.uid))) {
        keys::forget_lost(store, id, &listing).await?;
    }
    keep_listing(store, id, cached, &listing, retold, &login).await;

    let hidden = store.hidden(id, &login).await?;
    let mut unseen: Vec<Uid> = hidden.clone();
    let waiting = pending.iter().filter(|deletion| {
        deletion.login == login && deletion.name == name && deletion.validity == mailbox.validity
    });
    unseen.extend(waiting.map(|deletion| deletion.uid));
    unseen.sort_unstable();
    let lowest = watermark(store, id, &login, settings.newest, &rows).await?;
    let oldest = match i64::try_from(settings.max_age.as_secs()) {
        Ok(age) if age > 0 => now().saturating_sub(age),
        _ => i64::MIN,
    };
    let seen_by_login = |row: &Row| {
        unseen.binary_search(&row.uid).is_err()
            && lowest.is_none_or(|lowest| row.uid >= lowest)
            && !(settings.only_unseen && row.seen)
            && (row.internal_date == 0 || row.internal_date >= oldest)
    };
    let visible = rows
        .iter()
        .zip(&listing.rows)
        .filter(|(row, _)| seen_by_login(row))
        .map(|(_, sized)| (sized.uid, sized.size));
    let visible: Vec<(Uid, Octets)> = visible.collect();

    let mut ids = UniqueIds::load(store, id, settings.unique_id, folder, mailbox.validity).await?;
    let uids: Vec<Uid> = rows.iter().map(|row| row.uid).collect();
    let assigned = keys::assign_unique_ids(link, &place, &mut ids, &uids).await?;
    if !assigned.is_empty() {
        store.assign(id, settings.unique_id.name(), &assigned).await?;
    }
    // Tidying: a failure costs nothing but the room, and shows again at the next login.
    let gone: Vec<Uid> = match told {
        // Named one by one: their keys go as well.
        Told::Gone(gone) => gone,
        _ => hidden.into_iter().filter(|uid| named && listing.had_lost(*uid)).collect(),
    };
    if !gone.is_empty()
        && let Err(error) = store.forget(id, &gone).await
    {
        tracing::warn!(%login, %error, "stale notes stay in the state database");
    }
    let extent = (uids.len(), uids.last().copied());
    Ok((Folder { place, name, id, ids, extent, named }, visible))
}

/// The rows with the sizes that were counted in place of those announced.
fn with_counted(rows: &[Row], cached: &[CachedRow]) -> Vec<CachedRow> {
    let sized = |row: &Row| match cached.binary_search_by_key(&row.uid, |known| known.uid) {
        Ok(at) if cached[at].counted => cached[at],
        _ => CachedRow { uid: row.uid, size: row.size, counted: false },
    };
    rows.iter().map(sized).collect()
}

fn as_listing(mailbox: &Mailbox, rows: Vec<CachedRow>) -> CachedListing {
    let Mailbox { uid_next, highest_modseq, .. } = *mailbox;
    CachedListing { uid_next, highest_modseq, rows, listed_at: 0, full_at: now() }
}

/// Up to so much told anew at each login costs less than to keep a newer mod-sequence.
const RETOLD: usize = 100;

/// Keeps the listing if it differs from the cached one. It is a cache: a failure is logged only.
///
/// A mod-sequence alone is kept only where the old one is of no use or makes the server tell much
/// (`retold`): each flag that is set anywhere makes a newer one, and an older one is right as well.
async fn keep_listing(
    store: &Store,
    id: MailboxId,
    cached: Option<CachedListing>,
    listing: &CachedListing,
    retold: usize,
    login: &str,
) {
    let serves = |cached: &CachedListing| match (cached.highest_modseq, listing.highest_modseq) {
        (Some(then), Some(now)) if then < now => retold <= RETOLD,
        (then, now) => then == now,
    };
    let same = |cached: &CachedListing| {
        cached.rows == listing.rows && cached.uid_next == listing.uid_next && serves(cached)
    };
    if cached.is_some_and(|cached| same(&cached) && (cached.is_fresh() || !listing.is_fresh())) {
        return;
    }
    if let Err(error) = store.keep_listing(id, listing).await {
        tracing::warn!(%login, %error, "the listing is not kept");
    }
}

/// The lowest UID that `newest` lets through. It only rises, or a message that a client has
/// forgotten would come back when newer ones are removed elsewhere.
async fn watermark(
    store: &Store,
    id: MailboxId,
    login: &str,
    newest: u32,
    rows: &[Row],
) -> Result<Option<Uid>, Error> {
    if newest == 0 {
        return Ok(None);
    }
    let kept =
        store.watermark(id, login).await?.filter(|(setting, _)| *setting == newest).map(|(_, uid)| uid);
    let from = rows.len().checked_sub(newest as usize);
    let now = from.and_then(|from| rows.get(from)).map(|row| row.uid);
    let lowest = kept.max(now);
    if let Some(lowest) = lowest.filter(|_| lowest != kept) {
        store.set_watermark(id, login, newest, lowest).await?;
    }
    Ok(lowest)
}
