//! From an upstream's configuration to a connected socket, verified by its certificate.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::error::{Error, Result};
use super::wire::{Transport, Wire};
use crate::config::{TransportSecurity, Upstream};

/// How long TCP and TLS may take together, unless the upstream's `timeout` is shorter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a server that has broken off because of QRESYNC is not asked for it again.
const WITHOUT_RESYNC: Duration = Duration::from_secs(60 * 60);

/// Why an upstream cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("upstream \"{upstream}\": cannot read ca_certificate {path}: {reason}")]
    Authority { upstream: String, path: String, reason: String },
    #[error(
        "upstream \"{upstream}\": this system has no root certificates ({reason}); install them (Debian: ca-certificates) or give ca_certificate"
    )]
    NoRoots { upstream: String, reason: String },
    #[error("upstream \"{upstream}\": \"{host}\" is no name that a certificate could bear")]
    Host { upstream: String, host: String },
}

/// Opens connections to one upstream; built once at start.
#[derive(Clone)]
pub struct Connector {
    upstream: Arc<Upstream>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// When QRESYNC has last done harm, for all clones.
    resync_failed: Arc<Mutex<Option<Instant>>>,
}

impl Connector {
    /// Reads the certificates that the upstream is verified against: the system's roots or its
    /// `ca_certificate`. There is no way to switch verification off.
    pub fn new(upstream: Arc<Upstream>) -> std::result::Result<Self, SetupError> {
        let tls = match upstream.security {
            TransportSecurity::None => None,
            TransportSecurity::Tls | TransportSecurity::StartTls => {
                let roots = match &upstream.ca_certificate {
                    Some(path) => authority(path).map_err(|reason| SetupError::Authority {
                        upstream: upstream.name.clone(),
                        path: path.display().to_string(),
                        reason,
                    })?,
                    None => system_roots()
                        .map_err(|reason| SetupError::NoRoots { upstream: upstream.name.clone(), reason })?,
                };
                let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
                let name = ServerName::try_from(upstream.host.clone()).map_err(|_| SetupError::Host {
                    upstream: upstream.name.clone(),
                    host: upstream.host.clone(),
                })?;
                Some((TlsConnector::from(Arc::new(config)), name))
            }
        };
        Ok(Self { upstream, tls, resync_failed: Arc::default() })
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
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// A connection before its greeting: under TLS already, unless STARTTLS is to come.
    pub async fn connect(&self) -> Result<Wire> {
        let address = (self.upstream.host.as_str(), self.upstream.port);
        let socket = timeout(self.deadline(), TcpStream::connect(address))
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

fn authority(path: &Path) -> std::result::Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())? {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() {
        return Err("it holds no certificate in PEM form".to_owned());
    }
    Ok(roots)
}

fn system_roots() -> std::result::Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(if reasons.is_empty() { "none found".to_owned() } else { reasons.join("; ") });
    }
    Ok(roots)
}
