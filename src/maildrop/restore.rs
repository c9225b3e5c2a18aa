//! Deletions taken back by a person: shown again, called off, unflagged, or moved back from where
//! they went. A message that comes back keeps its unique id.

use std::collections::HashMap;

use super::account::{Account, Place};
use super::error::Error;
use super::folder::mailbox_name;
use super::link::Link;
use super::unique_ids::UniqueIds;
use super::{Result, relocate};
use crate::config::UniqueIdScheme;
use crate::ids::Uid;
use crate::store::{Action, Deletion, MailboxName, State, Store};
use crate::upstream::{Access, FolderName, Pool, live_uids, select};

/// What came of one deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restored {
    /// It is back in the login's maildrop.
    Back,
    /// It is back, but where is not known: programs take it for a new message.
    BackAsNew,
    /// It cannot be taken back, and why.
    Lost(&'static str),
    /// It went wrong; another try may be better.
    Failed(String),
    /// The mail server is needed for it, and no password was given.
    NeedsLogin,
}

/// Takes deletions back. What has left its folder needs the mail server: `account`, for them only.
/// An error means that nothing was done; what fails later is told for each deletion.
pub async fn restore(
    store: &Store,
    pool: &Pool,
    account: Option<Account>,
    scheme: UniqueIdScheme,
    deletions: &[Deletion],
) -> Result<Vec<Restored>> {
    let mut link = match account {
        Some(account) if deletions.iter().any(needs_login) => Some(Link::open(pool, account).await?),
        _ => None,
    };
    let trail = match (&link, deletions.first()) {
        (Some(_), Some(first)) => store.deletions(&first.name.upstream, &first.name.username, None).await?,
        _ => Vec::new(),
    };
    let mut known = Known { trail, headers: HashMap::new() };
    let mut results = Vec::new();
    for deletion in deletions {
        let result = match (needs_login(deletion), &mut link) {
            (true, None) => Ok(Restored::NeedsLogin),
            (true, Some(link)) => bring_back(link, store, scheme, deletion, &mut known).await,
            (false, _) => here(store, scheme, deletion).await,
        };
        let result = match result {
            Ok(result @ (Restored::Back | Restored::BackAsNew)) => {
                store.note_restored(deletion.id).await.map(|()| result).map_err(Error::from)
            }
            result => result,
        };
        results.push(result.unwrap_or_else(|error| Restored::Failed(error.to_string())));
    }
    if let Some(link) = link {
        link.close().await;
    }
    Ok(results)
}

/// Whether a deletion can be taken back at the mail server only.
pub fn needs_login(deletion: &Deletion) -> bool {
    match deletion.state {
        State::Done => matches!(deletion.action, Action::Trash | Action::Archive | Action::Flag),
        // How far it has come, only the mail server knows.
        State::Acting => true,
        State::Pending | State::Gone | State::Dropped | State::Restored => false,
    }
}

/// What the state database alone can take back.
async fn here(store: &Store, scheme: UniqueIdScheme, deletion: &Deletion) -> Result<Restored> {
    match (deletion.state, deletion.action) {
        (State::Pending, _) => Ok(match store.withdraw(deletion.id).await? {
            true => Restored::Back,
            false => Restored::Lost("it is being done right now"),
        }),
        (State::Done, Action::Hide) => unhide(store, scheme, deletion).await,
        (State::Gone, _) => Ok(Restored::Lost("another program had removed it from the folder before")),
        (State::Dropped, _) => {
            Ok(Restored::Lost("it was never done: the mail server had made the folder anew"))
        }
        (State::Restored, _) => Ok(Restored::Lost("it was restored already")),
        (State::Done | State::Acting, _) => Ok(FOR_GOOD),
    }
}

const FOR_GOOD: Restored = Restored::Lost("it was removed from the mail server for good");

/// Shows a hidden message again. Its unique id names it, whatever its UID is by now.
async fn unhide(store: &Store, scheme: UniqueIdScheme, deletion: &Deletion) -> Result<Restored> {
    const GONE: Restored = Restored::Lost("it is no longer in the folder, or is hidden no longer");
    let Some(mailbox) = store.current_mailbox(&deletion.name).await? else { return Ok(GONE) };
    let ids = unique_ids(store, scheme, &deletion.name).await?;
    let hidden = store.hidden(mailbox.id, &deletion.login).await?;
    let same = |uid: &&Uid| {
        (mailbox.validity == deletion.validity && **uid == deletion.uid)
            || ids.as_ref().is_some_and(|ids| ids.of(**uid).to_string() == deletion.unique_id)
    };
    let Some(uid) = hidden.iter().find(same) else { return Ok(GONE) };
    let shown = store.unhide(mailbox.id, &deletion.login, &[*uid]).await?;
    Ok(if shown > 0 { Restored::Back } else { GONE })
}

async fn unique_ids(store: &Store, scheme: UniqueIdScheme, name: &MailboxName) -> Result<Option<UniqueIds>> {
    let folder = FolderName::from_wire(name.folder.as_bytes());
    match (store.current_mailbox(name).await?, folder) {
        (Some(mailbox), Some(folder)) => {
            Ok(Some(UniqueIds::load(store, mailbox.id, scheme, &folder, mailbox.validity).await?))
        }
        _ => Ok(None),
    }
}

/// What is the same for all messages of one restore.
struct Known {
    /// Of all logins.
    trail: Vec<Deletion>,
    headers: relocate::Headers,
}

/// Takes a message out of the folder that it went to, or its flag off.
async fn bring_back(
    link: &mut Link,
    store: &Store,
    scheme: UniqueIdScheme,
    deletion: &Deletion,
    known: &mut Known,
) -> Result<Restored> {
    let Some(source) = FolderName::from_wire(deletion.name.folder.as_bytes()) else {
        return Ok(Restored::Lost("its folder's name cannot be read"));
    };
    // What was begun may never have come to its end, as when the mail server refused it.
    if deletion.action == Action::Flag || deletion.state == State::Acting {
        let there = unflag(link, deletion, &source).await?;
        match (deletion.state, deletion.action, there) {
            (State::Acting, _, Ok(())) => return Ok(Restored::Back),
            (_, _, Ok(())) => return unhide(store, scheme, deletion).await,
            (_, Action::Flag, Err(reason)) => return Ok(Restored::Lost(reason)),
            (_, Action::Expunge, Err(_)) => return Ok(FOR_GOOD),
            // It has left, so it is where it went to.
            (_, Action::Trash | Action::Archive | Action::Hide, Err(_)) => {}
        }
    }
    let target = deletion.target.as_ref().and_then(|target| FolderName::from_wire(target.as_bytes()));
    let (Some(target), Some(header)) = (target, deletion.header) else {
        return Ok(Restored::Lost("nothing is known by which it could be found"));
    };
    let Some((place, uid)) =
        relocate::find(link, &target, &header, deletion.copy, &mut known.headers).await?
    else {
        return Ok(Restored::Lost("it is no longer in the folder that it went to"));
    };
    let before = link.connected().await?.status(&source).await?;
    let mailbox = store.current_mailbox(&mailbox_name(link, &source)).await?;
    let Some(mailbox) = mailbox.filter(|mailbox| mailbox.validity == before.validity) else {
        // Its unique id could not be kept.
        return Ok(Restored::Lost("the mail server has made its folder anew; log in once, then try again"));
    };
    let mut copies = HashMap::new();
    let moved = relocate::relocate(link, &place, &[uid], &source, &mut copies).await;
    // Where it is now: as the server told, else the new message that is like it. That is looked for
    // even if the answer was lost, or a message that did come back would be a new one to programs.
    let told = copies.get(&uid).filter(|copied| copied.validity == before.validity).map(|copied| copied.uid);
    let back = match told {
        Some(uid) => Some(uid),
        None => {
            let (_, new) = relocate::headers_from(link, &source, before.uid_next).await?;
            new.into_iter().find(|(_, digest)| *digest == header).map(|(uid, _)| uid)
        }
    };
    if back.is_none() {
        moved?;
    }
    let Some(uid) = back else { return Ok(Restored::BackAsNew) };
    store.assign(mailbox.id, scheme.name(), &[(uid, deletion.unique_id.clone())]).await?;
    // What other logins hid, they do not get to see again by this.
    for other in known.trail.iter().filter(|other| is_hidden_too(other, deletion)) {
        store.hide(mailbox.id, &other.login, &[uid]).await?;
    }
    Ok(Restored::Back)
}

/// Whether another login had hidden the same message.
fn is_hidden_too(other: &Deletion, deletion: &Deletion) -> bool {
    other.login != deletion.login
        && (&other.name, other.validity, other.uid) == (&deletion.name, deletion.validity, deletion.uid)
        && other.state == State::Done
        && matches!(other.action, Action::Hide | Action::Flag)
}

/// Takes \Deleted off a message that is still in its folder; else why it is not.
async fn unflag(
    link: &mut Link,
    deletion: &Deletion,
    folder: &FolderName,
) -> Result<std::result::Result<(), &'static str>> {
    let mailbox = select(link.unselected().await?, folder, Access::ReadWrite).await?;
    if mailbox.validity != deletion.validity {
        return Ok(Err("the mail server has made its folder anew"));
    }
    let place = Place { folder: folder.clone(), validity: mailbox.validity, access: Access::ReadWrite };
    if live_uids(link.imap(&place).await?, &[deletion.uid]).await?.is_empty() {
        return Ok(Err("another program has expunged it meanwhile"));
    }
    let imap = link.writable(&place).await?;
    imap.store(&deletion.uid.to_string(), "-FLAGS.SILENT (\\Deleted)").await.map_err(Error::from)?;
    Ok(Ok(()))
}
