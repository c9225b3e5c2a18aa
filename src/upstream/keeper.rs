//! A connection that waits for a session: who holds it meanwhile, and for how long.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::control::Imap;
use super::error::Error;

/// It begins IDLE after this: many programs come back at once.
const SETTLED: Duration = Duration::from_secs(2);
/// How often the server hears of it; some networks forget a silent connection in ten minutes.
const SIGN_OF_LIFE: Duration = Duration::from_secs(9 * 60);

/// So many lines are heard before a connection is taken up.
const HEARD: usize = 10_000;

/// The task that holds a waiting connection.
pub struct Keeper {
    recall: oneshot::Sender<()>,
    held: JoinHandle<Option<Imap>>,
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
        Self { recall, held }
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
    let mut sign_of_life = Instant::now() + first_sign(imap).max(pause);
    loop {
        tokio::select! {
            biased;
            _ = &mut recalled => return heard(imap).await,
            // Ahead of what a server might say without end.
            () = sleep_until(until) => return Over::Waited,
            heard = imap.listen() => if let Err(error) = heard {
                return Over::Lost(error);
            },
            () = sleep_until(sign_of_life) => {
                if let Err(error) = imap.stay().await {
                    return Over::Lost(error);
                }
                sign_of_life = Instant::now() + SIGN_OF_LIFE;
            }
        }
    }
}

/// When the server hears of a connection first.
fn first_sign(imap: &Imap) -> Duration {
    if !imap.capabilities().has("IDLE") || imap.watched().is_some() {
        // There is nothing to begin, or it was never left.
        return SIGN_OF_LIFE;
    }
    if imap.is_watching() { Duration::ZERO } else { SETTLED }
}

/// Hears what the server has said already: who trusts it to tell must not miss that.
async fn heard(imap: &mut Imap) -> Over {
    for _ in 0..HEARD {
        if imap.watched().is_none() {
            return Over::Recalled;
        }
        match timeout(Duration::ZERO, imap.listen()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Over::Lost(error),
            Err(_) => return Over::Recalled,
        }
    }
    Over::Lost(Error::Protocol("no end of what was not asked for"))
}
