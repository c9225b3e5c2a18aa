//! The bridge inside the test's own process: quick to start, many at once.

use std::net::SocketAddr;
use std::path::Path;

use popbridge::app::App;
use popbridge::config::Config;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::bridge::Settings;

/// A bridge that ends with this value, or by [`Local::stop`].
pub struct Local {
    addresses: Vec<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
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
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(app.run(async {
            let _ = stopped.await;
        }));
        Self { addresses, stop: Some(stop), task, folder }
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

    /// Stops it in order and gives back the folder with its database.
    pub async fn stop(mut self) -> TempDir {
        drop(self.stop.take());
        self.task.await.expect("the bridge ends without a panic");
        self.folder
    }
}
