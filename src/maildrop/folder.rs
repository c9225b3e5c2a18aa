//! One folder of a maildrop: its listing, and what this login sees of it.

use super::account::Place;
use super::error::Error;
use super::keys;
use super::link::Link;
use super::lock::Turns;
use super::renumbering::{Renumbered, carry_over};
use super::unique_ids::UniqueIds;
use crate::config;
use crate::ids::Uid;
use crate::store::{Cached, CachedListing, CachedRow, Deletion, MailboxId, MailboxName, Opened, Store, now};
use crate::upstream::{Access, Extra, FolderName, Known, Mailbox, Row, Scanned, Told};

/// A folder as it was at login.
#[derive(Debug)]
pub struct Folder {
    pub place: Place,
    pub name: MailboxName,
    pub id: MailboxId,
    pub ids: UniqueIds,
    /// All messages, seen or not, can be recognised under other UIDs.
    pub learnt: bool,
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
) -> Result<(Scanned, Option<Cached>), Error> {
    let extra = Extra { flags: settings.only_unseen, internal_date: !settings.max_age.is_zero() };
    let cached = store.cached(&mailbox_name(link, folder)).await?;
    // Flags change, and dates are not kept.
    let knows =
        |cached: &Option<Cached>| cached.as_ref().filter(|_| extra == Extra::default()).and_then(known);
    let has_waited = link.is_resting();
    let known = knows(&cached);
    let known = match link.watched(folder, access) {
        Some(mailbox) => match known {
            Some(known) if known.is_of(&mailbox) => {
                let scanned = Scanned { mailbox, rows: known.rows, told: Told::New, retold: 0 };
                return Ok((scanned, cached));
            }
            known => known,
        },
        None => known,
    };
    let with_known = known.is_some();
    let scanned = match link.scan(folder, access, extra, known).await {
        // It was dead, or the server would have no more of it.
        Err(error) if has_waited && !error.is_throttling() => {
            tracing::debug!(login = %link.account().login, %error, "a connection that waited is replaced");
            link.drop_connection();
            link.scan(folder, access, extra, knows(&cached)).await
        }
        scanned => scanned,
    };
    let mut scanned = scanned?;
    if with_known && scanned.told == Told::All {
        // What was known was of no use, and would not be the next time.
        scanned.retold = usize::MAX;
    }
    Ok((scanned, cached))
}

/// Looks at a folder once more behind its session, for a connection that will be trusted to tell
/// what happens to it.
pub async fn watch(
    link: &mut Link,
    store: &Store,
    place: &Place,
    settings: &config::Maildrop,
) -> Result<(), Error> {
    let (scanned, cached) = scan(link, store, &place.folder, place.access, settings).await?;
    // What is new is for the next session to keep.
    if cached.as_ref().and_then(known).is_some_and(|known| known.is_of(&scanned.mailbox))
        && scanned.told == Told::New
    {
        link.watch(&place.folder, place.access, scanned.mailbox);
    }
    Ok(())
}

/// What the cache can prove something with.
fn known(Cached { mailbox, listing }: &Cached) -> Option<Known> {
    let listing = listing.as_ref().filter(|listing| listing.is_fresh())?;
    let uid_next = listing.uid_next?;
    // What came while it was listed is asked for again, with all that came since.
    let rows = listing.rows.iter().take_while(|row| row.uid < uid_next);
    let rows = rows.map(|row| Row { uid: row.uid, size: row.size, internal_date: 0, seen: false });
    let modseq = listing.highest_modseq;
    Some(Known { validity: mailbox.validity, uid_next, modseq, rows: rows.collect() })
}

/// Freezes a scanned folder: who its messages are, and which of them this login sees. `pending`
/// are the account's deletions that are not done yet.
pub async fn freeze(
    link: &mut Link,
    store: &Store,
    turns: &Turns,
    settings: &config::Maildrop,
    (folder, access): (&FolderName, Access),
    (Scanned { mailbox, rows, told, retold }, cached): (Scanned, Option<Cached>),
    pending: &[Deletion],
) -> Result<(Folder, Vec<CachedRow>), Error> {
    let name = mailbox_name(link, folder);
    let login = link.account().login.clone();
    let place = Place { folder: folder.clone(), validity: mailbox.validity, access };
    let (id, cached) = match cached.filter(|cached| cached.mailbox.validity == mailbox.validity) {
        Some(cached) => (cached.mailbox.id, cached.listing),
        None => match store.mailbox(&name, mailbox.validity).await? {
            Opened::Current(id) => (id, None),
            Opened::Renumbered { .. } => {
                let _turn = turns.take(&name.upstream, &name.username).await;
                // Another login may have done it while this one waited for its turn.
                match store.mailbox(&name, mailbox.validity).await? {
                    Opened::Current(id) => (id, None),
                    Opened::Renumbered { id, former } => {
                        let renumbered = Renumbered { name: &name, place: &place, id, former };
                        let listing = as_listing(&mailbox, with_counted(&rows, &[]));
                        carry_over(link, store, &renumbered, &listing, settings.max_new_share).await?;
                        (id, None)
                    }
                }
            }
        },
    };
    let named = matches!(told, Told::All | Told::Present);
    let says = |cached: &CachedListing| {
        says(cached, &mailbox, &rows) && serves(cached, mailbox.highest_modseq, retold)
    };
    let mut listing = match cached.filter(|cached| cached.is_fresh() && says(cached)) {
        Some(cached) => cached,
        None => renew(store, id, &login, &mailbox, &rows, &told, retold).await?,
    };

    let scheme = settings.unique_id;
    // Another session has seen it made anew since: what is noted of it is elsewhere now.
    let notes = store.notes(id, &login, scheme.name()).await?.ok_or(Error::ValidityChanged)?;
    let mut unseen: Vec<Uid> = notes.hidden.clone();
    let waiting = pending.iter().filter(|deletion| {
        deletion.login == login && deletion.name == name && deletion.validity == mailbox.validity
    });
    unseen.extend(waiting.map(|deletion| deletion.uid));
    unseen.sort_unstable();
    let lowest = watermark(store, id, &login, settings.newest, notes.watermark, &rows).await?;
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
    let mut ids = UniqueIds::new(scheme, folder, mailbox.validity, notes.exceptions);
    let uids = rows.iter().map(|row| row.uid);
    let assigned = keys::assign_unique_ids(link, &place, &mut ids, uids).await?;
    if !assigned.is_empty() {
        store.assign(id, scheme.name(), &assigned).await?;
    }
    // Tidying: a failure costs nothing but the room, and shows again at the next login.
    let gone: Vec<Uid> = match told {
        // Named one by one: their keys go as well.
        Told::Gone(gone) => gone,
        _ => notes.hidden.into_iter().filter(|uid| named && listing.had_lost(*uid)).collect(),
    };
    if !gone.is_empty()
        && let Err(error) = store.forget(id, &gone).await
    {
        tracing::warn!(%login, %error, "stale notes stay in the state database");
    }
    let learnt = notes.keys == (rows.len(), rows.last().map(|row| row.uid));
    let mut scanned = rows.iter();
    listing.rows.retain(|_| scanned.next().is_some_and(seen_by_login));
    Ok((Folder { place, name, id, ids, learnt, named }, listing.rows))
}

/// Whether a cached listing says already what was scanned; counted sizes stand for those announced.
fn says(cached: &CachedListing, mailbox: &Mailbox, rows: &[Row]) -> bool {
    let same = |(cached, row): (&CachedRow, &Row)| {
        cached.uid == row.uid && (cached.counted || cached.size == row.size)
    };
    cached.uid_next == mailbox.uid_next
        && cached.rows.len() == rows.len()
        && cached.rows.iter().zip(rows).all(same)
}

/// Puts what was scanned in the place of what is cached, which may be another session's by now.
async fn renew(
    store: &Store,
    id: MailboxId,
    login: &str,
    mailbox: &Mailbox,
    rows: &[Row],
    told: &Told,
    retold: usize,
) -> Result<CachedListing, Error> {
    let cached = store.listing(id).await?;
    let sized = with_counted(rows, cached.as_ref().map_or(&[], |listing| &listing.rows));
    let mut listing = as_listing(mailbox, sized);
    if *told != Told::All {
        // Taken back meanwhile, it stays so.
        listing.full_at = cached.as_ref().map_or(0, |cached| cached.full_at);
    }
    let lost = |cached: &CachedListing| cached.rows.iter().any(|row| listing.had_lost(row.uid));
    if matches!(told, Told::All | Told::Present) && cached.as_ref().is_none_or(lost) {
        keys::forget_lost(store, id, &listing).await?;
    }
    keep_listing(store, id, cached, &listing, retold, login).await;
    Ok(listing)
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

/// Whether the cached mod-sequence will do the next time. A newer one alone is kept only where the
/// old one is of no use or makes the server tell much (`retold`): each flag that is set anywhere
/// makes a newer one, and an older one is right as well.
fn serves(cached: &CachedListing, modseq: Option<u64>, retold: usize) -> bool {
    match (cached.highest_modseq, modseq) {
        (Some(then), Some(now)) if then < now => retold <= RETOLD,
        (then, now) => then == now,
    }
}

/// Keeps the listing if it differs from the cached one. It is a cache: a failure is logged only.
async fn keep_listing(
    store: &Store,
    id: MailboxId,
    cached: Option<CachedListing>,
    listing: &CachedListing,
    retold: usize,
    login: &str,
) {
    let same = |cached: &CachedListing| {
        cached.rows == listing.rows
            && cached.uid_next == listing.uid_next
            && serves(cached, listing.highest_modseq, retold)
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
    kept: Option<(u32, Uid)>,
    rows: &[Row],
) -> Result<Option<Uid>, Error> {
    if newest == 0 {
        return Ok(None);
    }
    let kept = kept.filter(|(setting, _)| *setting == newest).map(|(_, uid)| uid);
    let from = rows.len().checked_sub(newest as usize);
    let now = from.and_then(|from| rows.get(from)).map(|row| row.uid);
    let lowest = kept.max(now);
    if let Some(lowest) = lowest.filter(|_| lowest != kept) {
        store.set_watermark(id, login, newest, lowest).await?;
    }
    Ok(lowest)
}
