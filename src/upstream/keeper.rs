//! A connection that waits for a session: who holds it meanwhile, and for how long.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::control::Imap;
use super::error::Error;

/// It begins IDLE after this: many programs come back at once.
const SETTLED: Duration = Duration::from_secs(2);
/// How often the server hears of it; some networks forget a silent connection in ten minutes.
const SIGN_OF_LIFE: Duration = Duration::from_secs(9 * 60);

/// The task that holds a waiting connection.
pub struct Keeper {
    recall: oneshot::Sender<()>,
    held: JoinHandle<Option<Imap>>,
    /// Since when it waits.
    pub since: Instant,
}

impl Keeper {
    /// Holds a connection that was laid down, `until` then at the most, and leaves the server alone
    /// in the `pause` that it asks for; `lost` is called if it is over by itself.
    pub fn start(
        imap: Imap,
        pause: Duration,
        until: Instant,
        lost: impl FnOnce(Option<Error>) + Send + 'static,
    ) -> Self {
        let (recall, recalled) = oneshot::channel();
        let held = tokio::spawn(async move {
            let mut imap = imap;
            let over = hold(&mut imap, recalled, pause, until).await;
            match over {
                Over::Recalled => return Some(imap),
                Over::Lost(error) => lost(Some(error)),
                Over::Waited => {
                    imap.logout().await;
                    lost(None);
                }
            }
            None
        });
        Self { recall, held, since: Instant::now() }
    }

    /// Gives the connection up, unless it has been lost.
    pub async fn recall(self) -> Option<Imap> {
        // A task that is over has its result all the same.
        let _ = self.recall.send(());
        self.held.await.ok().flatten()
    }

    /// Says goodbye.
    pub async fn dismiss(self) {
        if let Some(imap) = self.recall().await {
            imap.logout().await;
        }
    }
}

/// Says goodbye to several at once.
pub async fn dismiss_all(keepers: Vec<Keeper>) {
    let mut goodbyes = JoinSet::new();
    for keeper in keepers {
        goodbyes.spawn(keeper.dismiss());
    }
    while goodbyes.join_next().await.is_some() {}
}

enum Over {
    Recalled,
    Waited,
    Lost(Error),
}

async fn hold(imap: &mut Imap, mut recalled: oneshot::Receiver<()>, pause: Duration, until: Instant) -> Over {
    let mut sign_of_life = Instant::now() + SETTLED.max(pause);
    loop {
        tokio::select! {
            biased;
            _ = &mut recalled => return Over::Recalled,
            heard = imap.listen() => if let Err(error) = heard {
                return Over::Lost(error);
            },
            () = sleep_until(until) => return Over::Waited,
            () = sleep_until(sign_of_life) => {
                if let Err(error) = imap.stay().await {
                    return Over::Lost(error);
                }
                sign_of_life = Instant::now() + SIGN_OF_LIFE;
            }
        }
    }
}
