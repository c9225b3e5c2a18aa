//! The way from "stop, please" to stopped, seen by every task.

use tokio::sync::watch;

/// How far the program is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Running,
    Draining,
    Stopped,
}

/// Tells all [`Shutdown`]s.
#[derive(Debug)]
pub struct Trigger(watch::Sender<Stage>);

/// What a task watches.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<Stage>);

/// A trigger and what watches it.
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(Stage::Running);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    /// Nobody new is let in; sessions go on for their grace period.
    pub fn drain(&self) {
        self.0.send_replace(Stage::Draining);
    }

    /// Sessions end now, without an update.
    pub fn stop(&self) {
        self.0.send_replace(Stage::Stopped);
    }
}

impl Shutdown {
    /// Resolves when nobody new is let in any more.
    pub async fn draining(&self) {
        self.reached(Stage::Draining).await;
    }

    /// Resolves when sessions are to end.
    pub async fn stopped(&self) {
        self.reached(Stage::Stopped).await;
    }

    async fn reached(&self, stage: Stage) {
        // A trigger that is gone is as good as one that was pulled.
        let _ = self.0.clone().wait_for(|now| *now >= stage).await;
    }
}
