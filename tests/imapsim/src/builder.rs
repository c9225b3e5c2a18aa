//! From settings to a listening server.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::connection;
use crate::persona::{Persona, Traits};
use crate::state::{Opening, Shared};
use crate::tls::{self, Tls};
use crate::{Running, Server};

/// Settings of a server to start.
#[must_use]
pub struct Builder {
    users: Vec<(String, Vec<u8>)>,
    any_user: Option<Vec<u8>>,
    traits: Traits,
    tls: Tls,
    identity: Option<Arc<ServerConfig>>,
    listen: SocketAddr,
    delay: Duration,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            users: Vec::new(),
            any_user: None,
            traits: Traits::of(Persona::default()),
            tls: Tls::None,
            identity: None,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            delay: Duration::ZERO,
        }
    }
}

impl Builder {
    /// Adds an account.
    pub fn user(mut self, name: &str, password: impl AsRef<[u8]>) -> Self {
        self.users.push((name.to_owned(), password.as_ref().to_vec()));
        self
    }

    /// Lets every name in by this password; accounts appear on demand.
    pub fn any_user(mut self, password: impl AsRef<[u8]>) -> Self {
        self.any_user = Some(password.as_ref().to_vec());
        self
    }

    /// The server to imitate; Dovecot unless told.
    pub fn persona(mut self, persona: Persona) -> Self {
        self.traits = Traits::of(persona);
        self
    }

    /// TLS; none unless told.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
        self
    }

    /// What to show as its certificate, for other names than `localhost` and 127.0.0.1.
    pub fn identity(mut self, config: Arc<ServerConfig>) -> Self {
        self.identity = Some(config);
        self
    }

    /// Where to listen; 127.0.0.1 and a free port unless told.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Waits so long before it answers what has arrived together, as a distant server would.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Listens, on the caller's tokio runtime. Fails where the address cannot be bound.
    pub async fn start(self) -> io::Result<Server> {
        let (acceptor, ca_pem) = match (self.tls, self.identity) {
            (Tls::None, _) => (None, String::new()),
            (Tls::StartTls | Tls::Implicit, Some(config)) => (Some(TlsAcceptor::from(config)), String::new()),
            (Tls::StartTls | Tls::Implicit, None) => {
                let (acceptor, pem) = tls::make()?;
                (Some(acceptor), pem)
            }
        };
        let listener = TcpListener::bind(self.listen).await?;
        let address = listener.local_addr()?;
        let shared = Shared::new(self.traits, self.users, self.any_user, self.tls, acceptor, self.delay);
        let shared = Arc::new(shared);
        let listener = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Server { running: Arc::new(Running { shared, address, ca_pem, listener }) })
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        // Out of descriptors, or the peer left already: the next one may fare better.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let id = {
            let mut state = shared.lock();
            state.connections += 1;
            if state.refuse {
                continue;
            }
            state.live += 1;
            state.connections
        };
        let live = Live { shared: Arc::clone(&shared), id };
        let opening = Opening::new(&shared);
        // Not under the lock: a runtime that shuts down drops the future, and `live` takes the lock.
        let task = tokio::spawn(serve(stream, live, opening));
        let mut state = shared.lock();
        if !task.is_finished() {
            state.tasks.insert(id, task.abort_handle());
        }
    }
}

async fn serve(stream: TcpStream, live: Live, opening: Opening) {
    let _ = stream.set_nodelay(true);
    connection::serve(stream, Arc::clone(&live.shared), opening).await;
}

/// Counts a connection as open for as long as it lives, however it ends.
struct Live {
    shared: Arc<Shared>,
    id: usize,
}

impl Drop for Live {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.live -= 1;
        state.tasks.remove(&self.id);
    }
}
