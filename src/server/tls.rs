//! The certificate that clients see, and whose certificates they may show.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::self_signed::self_signed;
use crate::config::Certificate;

/// A certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("cannot read the certificate {path}: {reason}")]
    Certificate { path: String, reason: String },
    #[error("cannot read the private key {path}: {reason}")]
    Key { path: String, reason: String },
    #[error("the certificate and the private key do not go together: {0}")]
    Pair(tokio_rustls::rustls::Error),
    #[error("cannot read the authority of clients' certificates {path}: {reason}")]
    ClientCa { path: String, reason: String },
    #[error("the authority of clients' certificates {path} cannot be used: {source}")]
    ClientVerifier { path: String, source: VerifierBuilderError },
    #[error("cannot make a self-signed certificate: {0}")]
    Make(#[from] rcgen::Error),
    #[error("cannot write {path}: {source}")]
    Write { path: String, source: io::Error },
}

/// The certificate that new connections get; read again without ending the old ones.
pub struct Certificates {
    source: Certificate,
    client_ca: Option<PathBuf>,
    current: RwLock<TlsAcceptor>,
}

impl Certificates {
    /// Reads the certificate, or makes a self-signed one at the first start. With `client_ca`, in
    /// PEM form, clients are asked for a certificate of theirs, but need not have one.
    pub fn load(source: Certificate, client_ca: Option<PathBuf>) -> Result<Self, CertificateError> {
        let current = RwLock::new(read(&source, client_ca.as_deref())?);
        Ok(Self { source, client_ca, current })
    }

    /// For a new connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files again, as after a renewal; on an error the old certificate stays in use.
    pub fn reload(&self) -> Result<(), CertificateError> {
        let renewed = read(&self.source, self.client_ca.as_deref())?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(())
    }
}

fn read(source: &Certificate, client_ca: Option<&Path>) -> Result<TlsAcceptor, CertificateError> {
    let (certificate, key) = match source {
        Certificate::Files { certificate, private_key } => (certificate.clone(), private_key.clone()),
        Certificate::SelfSigned { folder, addresses } => self_signed(folder, addresses)?,
    };
    let chain = read_chain(&certificate).map_err(|reason| CertificateError::Certificate {
        path: certificate.display().to_string(),
        reason,
    })?;
    let key = PrivateKeyDer::from_pem_file(&key).map_err(|error| CertificateError::Key {
        path: key.display().to_string(),
        reason: error.to_string(),
    })?;
    let builder = ServerConfig::builder();
    let builder = match client_ca {
        Some(path) => builder.with_client_cert_verifier(client_verifier(path)?),
        None => builder.with_no_client_auth(),
    };
    let config = builder.with_single_cert(chain, key).map_err(CertificateError::Pair)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Asks for a certificate that these authorities have signed, and lets in who shows none. Any other
/// ends the handshake.
fn client_verifier(path: &Path) -> Result<Arc<dyn ClientCertVerifier>, CertificateError> {
    let shown = || path.display().to_string();
    let unread = |reason| CertificateError::ClientCa { path: shown(), reason };
    let mut authorities = RootCertStore::empty();
    for authority in read_chain(path).map_err(unread)? {
        authorities.add(authority).map_err(|error| unread(error.to_string()))?;
    }
    WebPkiClientVerifier::builder(Arc::new(authorities))
        .allow_unauthenticated()
        .build()
        .map_err(|source| CertificateError::ClientVerifier { path: shown(), source })
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Vec<_> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| error.to_string())?;
    if chain.is_empty() {
        return Err("it holds no certificate in PEM form".to_owned());
    }
    Ok(chain)
}
