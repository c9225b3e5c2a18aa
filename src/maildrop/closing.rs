//! The end of a session behind its answer: what it learns, and where its connection goes.

use std::time::Duration;

use tokio::time::timeout;

use super::{Maildrop, Result, folder, keys};

/// How many messages a session's end learns to recognise, and how long that may take: the next
/// session's end goes on.
const LEARN: usize = 2_000;
const LEARN_TIME: Duration = Duration::from_secs(30);

/// A maildrop whose session is answered, still to be closed politely.
pub struct Closing(pub(super) Maildrop);

impl Closing {
    /// Frees the lock, learns what messages can be recognised by unless `hurry` resolves or another
    /// session waits for the connection, then lets it wait for the next one.
    pub async fn finish(self, hurry: impl Future<Output = ()>) {
        let Self(mut maildrop) = self;
        drop(maildrop.lock.take());
        // Not needed now, and so not from a server that asks for less haste.
        if maildrop.link.is_slowed() {
            return maildrop.link.close().await;
        }
        let wanted = maildrop.link.wanted();
        let learnt = tokio::select! {
            learnt = timeout(LEARN_TIME, maildrop.learn()) => learnt.ok(),
            () = hurry => None,
            () = wanted => None,
        };
        match learnt {
            Some(Ok(())) => maildrop.watch().await,
            Some(Err(error)) => {
                tracing::debug!(login = %maildrop.login, %error, "learning goes on another time");
            }
            None => {}
        }
        maildrop.link.close().await;
    }
}

impl Maildrop {
    /// Learns by what messages can be recognised under other UIDs, as far as that is not known.
    async fn learn(&mut self) -> Result<()> {
        for folder in self.folders.iter().filter(|folder| !folder.learnt) {
            let Some(listing) = self.store.listing(folder.id).await? else { continue };
            if folder.named {
                keys::forget_lost(&self.store, folder.id, &listing).await?;
            }
            let missing = keys::missing(&self.store, folder.id, &listing, LEARN).await?;
            keys::learn(&mut self.link, &folder.place, &self.store, folder.id, &missing).await?;
        }
        Ok(())
    }

    /// Where the server is trusted to tell what happens: looks at the folder once more.
    async fn watch(&mut self) {
        let Self { link, store, folders, settings, login, .. } = self;
        if let ([folder], true) = (&folders[..], link.account().connector.upstream().trust_idle)
            && let Err(error) = folder::watch(link, store, &folder.place, settings).await
        {
            tracing::debug!(%login, %error, "the folder is not watched");
        }
    }
}
