//! The bridge inside the test's own process: quick to start, many at once.

use std::net::SocketAddr;
use std::path::Path;

use popbridge::app::App;
use popbridge::config::Config;
use popbridge::upstream::Pool;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, sleep};

use super::bridge::Settings;

/// A bridge that ends with this value, or by [`Local::stop`].
pub struct Local {
    addresses: Vec<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    pool: Pool,
    folder: TempDir,
}

impl Local {
    /// Starts it with a database of its own.
    pub async fn start(settings: &Settings) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self::start_in(settings, folder).await
    }

    /// Starts it with the database in this folder.
    pub async fn start_in(settings: &Settings, folder: TempDir) -> Self {
        let text = settings.text(folder.path());
        let config = Config::parse(&text, "test", Path::new(folder.path())).expect("a good configuration");
        let app = App::bind(config).await.expect("it starts");
        let addresses = app.addresses().to_vec();
        let pool = app.pool();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(app.run(async {
            let _ = stopped.await;
        }));
        Self { addresses, stop: Some(stop), task, pool, folder }
    }

    /// The first listener's address.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// All listeners' addresses.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where its database is.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until so many sessions use an upstream connection: what a session does behind QUIT
    /// is done when it no longer does.
    pub async fn settled(&self, sessions: usize) {
        let end = Instant::now() + Duration::from_secs(60);
        while self.pool.in_use() > sessions {
            assert!(Instant::now() < end, "a session does not end");
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// Stops it in order and gives back the folder with its database.
    pub async fn stop(mut self) -> TempDir {
        drop(self.stop.take());
        self.task.await.expect("the bridge ends without a panic");
        self.folder
    }
}
