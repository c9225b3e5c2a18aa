//! What is done while nobody is logged in: deletions that have become due, the age limit of the
//! trail, and a look at the database.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::carry_out::{self, Carried};
use super::error::Error;
use super::link::Link;
use super::{Maildrops, Result};
use crate::shutdown::Shutdown;
use crate::store::now;
use crate::upstream;

/// How often the journal is looked at: one query.
const PERIOD: Duration = Duration::from_secs(5);
/// How often the database is checked and its trail cut.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Maildrops {
    /// Sweeps until the program stops; what is under way then is finished.
    pub async fn sweep(&self, kept: Duration, shutdown: Shutdown) {
        let mut due = interval(PERIOD);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut daily = interval(DAY);
        loop {
            tokio::select! {
                _ = due.tick() => {
                    if let Err(error) = self.sweep_due().await {
                        tracing::error!(%error, "deletions that are due wait");
                    }
                }
                _ = daily.tick() => self.tidy(kept).await,
                () = shutdown.draining() => return,
            }
        }
    }

    /// Carries out what is due, for accounts whose password can be had. The others' turn comes
    /// with their next login.
    async fn sweep_due(&self) -> Result<()> {
        for (upstream, username) in self.store.due(now()).await? {
            if self.pool.is_paused(&upstream, &username) {
                continue;
            }
            let Some(access) = self.vault.ready(&upstream, &username) else { continue };
            let carried = async {
                let mut link = Link::open_impatient(&self.pool, access.account().await?).await?;
                let carried = carry_out::due(&mut link, &self.store, &self.turns, |_| true).await;
                self.targets.heed(link.account(), carried.error.as_ref());
                link.close().await;
                Ok::<Carried, Error>(carried)
            };
            let error = match carried.await {
                Ok(Carried { error: None, .. }) => {
                    tracing::info!(%upstream, %username, "deletions that were due are done");
                    None
                }
                Ok(Carried { error: Some(error), .. }) | Err(error) => Some(error),
            };
            if let Some(error) = error {
                tracing::warn!(%upstream, %username, %error, "deletions that are due wait");
                match error {
                    Error::Upstream(upstream::Error::Login(status)) if status.rejects_credentials() => {
                        self.vault.forget(&upstream, &username);
                    }
                    _ => self.vault.postpone(&upstream, &username),
                }
            }
            if !self.store.has_pending(&upstream, &username).await? {
                self.vault.forget(&upstream, &username);
            }
        }
        Ok(())
    }

    /// Cuts the trail at its age limit and reads the database for damage.
    async fn tidy(&self, kept: Duration) {
        let before = now().saturating_sub(i64::try_from(kept.as_secs()).unwrap_or(i64::MAX));
        let tidied = async {
            let cut = self.store.forget_deletions(before).await?;
            self.store.check_integrity().await?;
            Ok::<u64, crate::store::Error>(cut)
        };
        match tidied.await {
            Ok(cut) => tracing::debug!(cut, "the state database is sound"),
            Err(error) => tracing::error!(%error, "the state database needs a look"),
        }
    }
}
