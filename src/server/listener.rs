//! One listening socket: who may come in, under which protection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::permits::Permits;
use super::tls::Certificates;
use crate::config::{self, ListenerTls};
use crate::pop3::Connection;
use crate::session::{self, Client, Context};

/// The pause after an accept that failed for want of file descriptors or memory.
const BREATH: Duration = Duration::from_millis(100);
/// Users suffer from sessions whose link is gone: find out in minutes.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A bound listener.
pub struct Listener {
    socket: TcpListener,
    settings: config::Listener,
    /// Present unless `tls = "none"`.
    certificates: Option<Arc<Certificates>>,
}

impl Listener {
    /// Binds the address; with port 0 the system chooses one.
    pub async fn bind(
        settings: config::Listener,
        certificates: Option<Arc<Certificates>>,
    ) -> std::io::Result<Self> {
        Ok(Self { socket: TcpListener::bind(settings.address).await?, settings, certificates })
    }

    /// Where it listens.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// When it speaks TLS.
    pub fn tls(&self) -> ListenerTls {
        self.settings.tls
    }

    /// Accepts clients until the program drains; sessions run in tasks of their own.
    pub async fn run(self, context: Arc<Context>, permits: Permits) {
        let shutdown = context.shutdown.clone();
        tokio::select! {
            () = self.accept(context, permits) => {}
            () = shutdown.draining() => {}
        }
    }

    async fn accept(&self, context: Arc<Context>, permits: Permits) {
        loop {
            let (socket, address) = match self.socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(BREATH).await;
                    continue;
                }
            };
            if !self.settings.allow.is_empty() && !config::contains(&self.settings.allow, address.ip()) {
                tracing::info!(%address, "connection refused: not in allow");
                continue;
            }
            let Some(permit) = permits.take(address.ip()) else {
                tracing::warn!(%address, "connection refused: too many sessions");
                tokio::spawn(turn_away(socket, self.settings.tls));
                continue;
            };
            let acceptor = self.certificates.as_ref().map(|certificates| certificates.acceptor());
            let tls = self.settings.tls;
            let context = Arc::clone(&context);
            tokio::spawn(async move {
                serve(socket, address, tls, acceptor, context).await;
                drop(permit);
            });
        }
    }
}

async fn serve(
    socket: TcpStream,
    address: SocketAddr,
    tls: ListenerTls,
    acceptor: Option<TlsAcceptor>,
    context: Arc<Context>,
) {
    if let Err(error) = tune(&socket) {
        tracing::debug!(%address, %error, "socket options");
    }
    let mut connection = Connection::plain(socket, context.limits.idle_timeout);
    let mut client = Client { address, stls: acceptor };
    if tls == ListenerTls::Implicit {
        let Some(acceptor) = client.stls.take() else {
            return;
        };
        let accepted = timeout(context.limits.login_timeout, connection.start_tls(&acceptor)).await;
        let reason = match accepted {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("login timeout".to_owned()),
        };
        if let Some(reason) = reason {
            tracing::info!(%address, %reason, "TLS handshake failed");
            return;
        }
    }
    session::run(connection, client, context).await;
}

fn tune(socket: &TcpStream) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4);
    SockRef::from(socket).set_tcp_keepalive(&keepalive)
}

/// Says why, where it can be said in plaintext.
async fn turn_away(mut socket: TcpStream, tls: ListenerTls) {
    if tls != ListenerTls::Implicit {
        let reply = b"-ERR [SYS/TEMP] Too many connections; try again later\r\n";
        // A client that does not take it has lost nothing.
        let _ = timeout(Duration::from_secs(1), socket.write_all(reply)).await;
    }
}
