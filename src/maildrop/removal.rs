//! What a session leaves behind: \Seen, counted sizes, and at QUIT the removal of what was marked.

use super::error::Error;
use super::policy::Unsuited;
use super::{Maildrop, Result};
use crate::config::{OnDelete, OnRetrieve};
use crate::ids::Uid;
use crate::upstream::{live_uids, uid_sets};

/// What QUIT did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// Messages that were marked and are now hidden or gone.
    pub messages: usize,
}

impl Maildrop {
    /// Writes down what was counted and sets \Seen on `read`, in one batch.
    ///
    /// A failure is logged and nothing more: no mail hangs on it.
    pub(super) async fn note_sent(&mut self, read: &[Uid]) {
        let recounted = self.listing.take_recounted();
        if !recounted.is_empty()
            && let Err(error) = self.store.keep_counted(self.mailbox, &recounted).await
        {
            tracing::warn!(login = %self.login, %error, "counted sizes are not kept");
        }
        if self.settings.on_retrieve == OnRetrieve::MarkSeen
            && !read.is_empty()
            && let Err(error) = self.mark_seen(read).await
        {
            tracing::warn!(login = %self.login, %error, "retrieved messages are not marked \\Seen");
        }
    }

    async fn mark_seen(&mut self, uids: &[Uid]) -> Result<()> {
        for set in uid_sets(uids) {
            self.link.imap().await?.store(&set, "+FLAGS.SILENT (\\Seen)").await?;
        }
        Ok(())
    }
}

/// Removes what is marked as the policy says. On an error nothing that was not marked is touched,
/// and the error says how much was done.
pub(super) async fn commit(maildrop: &mut Maildrop) -> Result<Removed> {
    let marked = maildrop.listing.deleted();
    if marked.is_empty() {
        return Ok(Removed { messages: 0 });
    }
    match maildrop.settings.on_delete {
        OnDelete::Hide => hide(maildrop, &marked).await?,
        OnDelete::Expunge => expunge(maildrop, &marked).await?,
        // Refused at login.
        other @ (OnDelete::Trash | OnDelete::Archive | OnDelete::Flag) => {
            let reason = Unsuited::NotServed(other.name()).into();
            return Err(not_removed(0, marked.len(), reason));
        }
    }
    Ok(Removed { messages: marked.len() })
}

async fn hide(maildrop: &Maildrop, marked: &[Uid]) -> Result<()> {
    let hidden = maildrop.store.hide(maildrop.mailbox, &maildrop.login, marked).await;
    hidden.map_err(|error| Error::NotRemoved {
        removed: 0,
        marked: marked.len(),
        reason: Box::new(error.into()),
    })
}

/// \Deleted and UID EXPUNGE on exactly what was marked and is still there, then a look whether it
/// is gone. What another client removed meanwhile counts as removed.
async fn expunge(maildrop: &mut Maildrop, marked: &[Uid]) -> Result<()> {
    let result = expunge_live(maildrop, marked).await;
    let left = match live(maildrop, marked).await {
        Ok(left) => left.len(),
        // Unknown: say that nothing was removed rather than too much.
        Err(_) if result.is_err() => marked.len(),
        Err(error) => {
            return Err(not_removed(0, marked.len(), error));
        }
    };
    match result {
        Ok(()) if left == 0 => Ok(()),
        Ok(()) => Err(not_removed(marked.len() - left, marked.len(), Error::Kept)),
        Err(error) => Err(not_removed(marked.len() - left, marked.len(), error)),
    }
}

async fn expunge_live(maildrop: &mut Maildrop, marked: &[Uid]) -> Result<()> {
    let live = live(maildrop, marked).await?;
    for set in uid_sets(&live) {
        let imap = maildrop.link.imap().await?;
        imap.store(&set, "+FLAGS.SILENT (\\Deleted)").await?;
        imap.uid_expunge(&set).await?;
    }
    Ok(())
}

/// A fresh look, over a new connection if the old one has broken meanwhile.
async fn live(maildrop: &mut Maildrop, marked: &[Uid]) -> Result<Vec<Uid>> {
    match live_uids(maildrop.link.imap().await?, marked).await {
        Ok(live) => Ok(live),
        Err(_) => Ok(live_uids(maildrop.link.imap().await?, marked).await?),
    }
}

fn not_removed(removed: usize, marked: usize, reason: Error) -> Error {
    Error::NotRemoved { removed, marked, reason: Box::new(reason) }
}
