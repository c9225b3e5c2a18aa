//! What a session leaves behind: \Seen, counted sizes, and at QUIT the removal of what was marked.

use tokio::time::Instant;

use super::carry_out::{self, Carried};
use super::error::Error;
use super::{Maildrop, Result};
use crate::config::{self, OnRetrieve};
use crate::failpoint;
use crate::ids::Uid;
use crate::store::{Action, NewDeletion, now};
use crate::upstream::uid_sets;

/// What QUIT did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// Messages that were marked and are now hidden or gone.
    pub messages: usize,
}

impl Maildrop {
    /// Writes down what was counted and sets \Seen on `read` (by folder), in one batch.
    ///
    /// A failure is logged and nothing more: no mail hangs on it.
    pub(super) async fn note_sent(&mut self, read: &[Vec<Uid>]) {
        if let Err(error) = self.keep_counted().await {
            tracing::warn!(login = %self.login, %error, "counted sizes are not kept");
        }
        if self.settings.on_retrieve != OnRetrieve::MarkSeen {
            return;
        }
        let begun = Instant::now();
        for (folder, uids) in self.folders.iter().zip(read) {
            let sets = uid_sets(uids);
            let mut sets = sets.iter().peekable();
            while let Some(set) = sets.peek() {
                let marked = async {
                    let imap = self.link.imap(&folder.place).await?;
                    Ok::<(), Error>(imap.store(set, "+FLAGS.SILENT (\\Seen)").await?)
                };
                match marked.await {
                    Ok(()) => drop(sets.next()),
                    Err(error) if self.link.outlasts(&error, begun) => {}
                    Err(error) => {
                        tracing::warn!(login = %self.login, %error, "retrieved messages are not marked \\Seen");
                        return;
                    }
                }
            }
        }
    }

    async fn keep_counted(&mut self) -> Result<()> {
        let mut recounted = self.listing.take_recounted();
        recounted.sort_by_key(|entry| entry.uid);
        for (at, folder) in self.folders.iter().enumerate() {
            let here: Vec<_> = recounted.iter().filter(|entry| entry.folder == at).collect();
            if here.is_empty() {
                continue;
            }
            // Without a cached listing there is no place for it: it is counted again some day.
            let Some(mut listing) = self.store.listing(folder.id).await? else { continue };
            for entry in here {
                if let Ok(row) = listing.rows.binary_search_by_key(&entry.uid, |row| row.uid) {
                    listing.rows[row].size = entry.size;
                    listing.rows[row].counted = true;
                }
            }
            self.store.keep_listing(folder.id, &listing).await?;
        }
        Ok(())
    }
}

/// Removes what is marked as the policy says. On an error nothing that was not marked is touched,
/// and the error says how much was done; what was journaled is done at the next chance.
pub(super) async fn commit(maildrop: &mut Maildrop) -> Result<Removed> {
    let folders = 0..maildrop.folders.len();
    let marked: Vec<Vec<Uid>> = folders.map(|folder| maildrop.listing.deleted(folder)).collect();
    let count: usize = marked.iter().map(Vec::len).sum();
    if count == 0 {
        return Ok(Removed { messages: 0 });
    }
    brake(&maildrop.settings, count, maildrop.listing.count())?;
    failpoint::reached("confirmed");
    let mut journaled = 0;
    for (at, uids) in marked.iter().enumerate().filter(|(_, uids)| !uids.is_empty()) {
        if let Err(error) = journal(maildrop, at, uids).await {
            let removed = if maildrop.plan.action == Action::Hide { journaled } else { 0 };
            return Err(not_removed(removed, count, error));
        }
        journaled += uids.len();
        failpoint::reached("journaling");
    }
    failpoint::reached("journaled");
    if maildrop.plan.action == Action::Hide {
        return Ok(Removed { messages: count });
    }
    // Until it is done, the sweep needs the account.
    maildrop.vault.keep(maildrop.link.account());
    if !maildrop.settings.delete_grace.is_zero() {
        return Ok(Removed { messages: count });
    }
    let Carried { unfinished, error } = carry_out::own(maildrop, &marked).await;
    maildrop.targets.heed(maildrop.link.account(), error.as_ref());
    match error {
        None if unfinished == 0 => Ok(Removed { messages: count }),
        error => Err(not_removed(count.saturating_sub(unfinished), count, error.unwrap_or(Error::Kept))),
    }
}

/// Writes down what is going to be done in a folder, durably; for `hide` that is all.
async fn journal(maildrop: &Maildrop, at: usize, uids: &[Uid]) -> Result<()> {
    let folder = &maildrop.folders[at];
    let messages: Vec<(Uid, String)> =
        uids.iter().map(|uid| (*uid, folder.ids.of(*uid).to_string())).collect();
    let (name, validity, login) = (&folder.name, folder.place.validity, &maildrop.login);
    if maildrop.plan.action == Action::Hide {
        return Ok(maildrop.store.hide_deleted(folder.id, name, validity, login, &messages).await?);
    }
    let grace = i64::try_from(maildrop.settings.delete_grace.as_secs()).unwrap_or(i64::MAX);
    let new = NewDeletion {
        login,
        action: maildrop.plan.action,
        target: maildrop.plan.target.as_ref().map(crate::upstream::FolderName::as_wire),
        due: now().saturating_add(grace),
    };
    Ok(maildrop.store.begin_deletions(name, validity, &new, &messages).await?)
}

/// Refuses more deletions than `max_deletions` and `max_deletions_share` allow.
fn brake(settings: &config::Maildrop, marked: usize, messages: usize) -> Result<()> {
    let over = |key, limit: String| Err(Error::TooManyDeletions { marked, key, limit });
    let most = settings.max_deletions as usize;
    if most > 0 && marked > most {
        return over("max_deletions", most.to_string());
    }
    // A share of a few messages would forbid to delete any.
    if marked > settings.max_deletions_share.of(messages).max(1) {
        return over("max_deletions_share", format!("\"{}\"", settings.max_deletions_share));
    }
    Ok(())
}

fn not_removed(removed: usize, marked: usize, reason: Error) -> Error {
    Error::NotRemoved { removed, marked, reason: Box::new(reason) }
}
