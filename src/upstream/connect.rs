//! From an upstream's configuration to a connected socket, verified by its certificate.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;

use super::error::{Error, Result};
use super::wire::{Transport, Wire};
use crate::config::{TransportSecurity, Upstream};
use crate::trust::{NoRoots, roots};

/// How long TCP and TLS may take together, unless the upstream's `timeout` is shorter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// So many connections are being opened to one upstream at the same time: when it comes back after
/// an outage, all sessions want it at once.
const OPENING: usize = 16;

/// How long one of them has a turn: a server that hangs must not keep those out who come when it no
/// longer does.
const LONGEST_TURN: Duration = Duration::from_secs(10);

/// How long a server that has broken off because of QRESYNC is not asked for it again.
const WITHOUT_RESYNC: Duration = Duration::from_secs(60 * 60);

/// Why an upstream cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("upstream \"{upstream}\": {source}")]
    Roots { upstream: String, source: NoRoots },
    #[error("upstream \"{upstream}\": \"{host}\" is no name that a certificate could bear")]
    Host { upstream: String, host: String },
}

/// Opens connections to one upstream; built once at start.
#[derive(Clone)]
pub struct Connector {
    upstream: Arc<Upstream>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// Where the host is, if the system is not to be asked.
    addresses: Option<Arc<[SocketAddr]>>,
    /// When QRESYNC has last done harm, for all clones.
    resync_failed: Arc<Mutex<Option<Instant>>>,
    opening: Arc<Semaphore>,
}

impl Connector {
    /// Reads the certificates that the upstream is verified against: the system's roots or its
    /// `ca_certificate`. There is no way to switch verification off.
    pub fn new(upstream: Arc<Upstream>) -> std::result::Result<Self, SetupError> {
        let tls = match upstream.security {
            TransportSecurity::None => None,
            TransportSecurity::Tls | TransportSecurity::StartTls => {
                let roots = roots(upstream.ca_certificate.as_deref())
                    .map_err(|source| SetupError::Roots { upstream: upstream.name.clone(), source })?;
                let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
                let name = ServerName::try_from(upstream.host.clone()).map_err(|_| SetupError::Host {
                    upstream: upstream.name.clone(),
                    host: upstream.host.clone(),
                })?;
                Some((TlsConnector::from(Arc::new(config)), name))
            }
        };
        Ok(Self {
            upstream,
            tls,
            addresses: None,
            resync_failed: Arc::default(),
            opening: Arc::new(Semaphore::new(OPENING)),
        })
    }

    /// Connects to one of these addresses, whatever the system knows of the host. The certificate is
    /// verified for the host all the same.
    pub fn at(self, addresses: &[SocketAddr]) -> Self {
        Self { addresses: Some(addresses.into()), ..self }
    }

    /// New connections go without QRESYNC for a while.
    pub fn avoid_resync(&self) {
        *self.resync_failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether QRESYNC has done no harm lately.
    pub fn may_resync(&self) -> bool {
        let failed = *self.resync_failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_none_or(|failed| failed.elapsed() >= WITHOUT_RESYNC)
    }

    /// The upstream that this connects to.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// Opens a connection when it is its turn, which comes in the order of asking and within the
    /// upstream's `timeout`.
    pub async fn in_turn<T>(&self, opening: impl Future<Output = Result<T>>) -> Result<T> {
        let mut opening = pin!(opening);
        // The semaphore is never closed; if it were, there would be no turn to wait for.
        let turn = timeout(self.upstream.timeout, self.opening.acquire()).await;
        let turn = turn.map_err(|_| Error::Timeout(self.upstream.timeout))?;
        if let Ok(opened) = timeout(LONGEST_TURN, &mut opening).await {
            return opened;
        }
        drop(turn);
        opening.await
    }

    /// A connection before its greeting: under TLS already, unless STARTTLS is to come.
    pub async fn connect(&self) -> Result<Wire> {
        let connecting = async {
            match &self.addresses {
                Some(addresses) => TcpStream::connect(&**addresses).await,
                None => TcpStream::connect((self.upstream.host.as_str(), self.upstream.port)).await,
            }
        };
        let socket = timeout(self.deadline(), connecting)
            .await
            .map_err(|_| self.unreachable(io::ErrorKind::TimedOut.into()))?
            .map_err(|source| self.unreachable(source))?;
        socket.set_nodelay(true)?;
        let keepalive =
            TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(20));
        SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
        let stream: Box<dyn Transport> = match self.upstream.security {
            TransportSecurity::Tls => self.handshake(Box::new(socket)).await?,
            TransportSecurity::None | TransportSecurity::StartTls => Box::new(socket),
        };
        Ok(Wire::new(stream, self.upstream.timeout))
    }

    /// Puts a connection under TLS, for STARTTLS.
    pub async fn upgrade(&self, wire: Wire) -> Result<Wire> {
        let stream = self.handshake(wire.into_stream()?).await?;
        Ok(Wire::new(stream, self.upstream.timeout))
    }

    async fn handshake(&self, stream: Box<dyn Transport>) -> Result<Box<dyn Transport>> {
        let Some((connector, name)) = &self.tls else {
            return Err(Error::Protocol("no way to TLS: none is configured"));
        };
        match timeout(self.deadline(), connector.connect(name.clone(), stream)).await {
            Ok(Ok(tls)) => Ok(Box::new(tls)),
            // What rustls itself refuses; the rest is the network's.
            Ok(Err(source)) if source.kind() == io::ErrorKind::InvalidData => {
                Err(Error::Tls { host: self.upstream.host.clone(), source })
            }
            Ok(Err(source)) => Err(self.unreachable(source)),
            Err(_) => Err(self.unreachable(io::ErrorKind::TimedOut.into())),
        }
    }

    fn unreachable(&self, source: io::Error) -> Error {
        Error::Connect { host: self.upstream.host.clone(), port: self.upstream.port, source }
    }

    fn deadline(&self) -> Duration {
        CONNECT_TIMEOUT.min(self.upstream.timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::path::Path;
    use tokio::task::JoinSet;
    use tokio::time::{Instant, sleep};

    fn connector() -> Connector {
        let text = "[upstream.home]\nurl = \"imap://127.0.0.1:1\"\ndomains = [\"*\"]\ntimeout = \"15s\"\n";
        let config = Config::parse(text, "test", Path::new("/")).expect("a good configuration");
        Connector::new(Arc::clone(&config.upstreams[0])).expect("no certificates")
    }

    /// When each of so many that take `length` was opened, or had waited in vain.
    async fn opened(count: usize, length: Duration) -> Vec<(u64, bool)> {
        let (connector, begun) = (connector(), Instant::now());
        let mut openings = JoinSet::new();
        for _ in 0..count {
            let connector = connector.clone();
            openings.spawn(async move {
                let opened = connector
                    .in_turn(async {
                        sleep(length).await;
                        Ok(())
                    })
                    .await;
                (begun.elapsed().as_secs(), opened.is_ok())
            });
        }
        let mut opened = openings.join_all().await;
        opened.sort_unstable();
        opened
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_are_opened_at_a_time() {
        let expected = [vec![(2, true); 16], vec![(4, true); 16], vec![(6, true); 8]].concat();
        assert_eq!(opened(40, Duration::from_secs(2)).await, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_hangs_keeps_nobody_out_for_long() {
        let expected = [vec![(15, false); 8], vec![(60, true); 16], vec![(70, true); 16]].concat();
        assert_eq!(opened(40, Duration::from_secs(60)).await, expected);
    }
}
