//! The authorities that a server's certificate is verified against. There is no way to switch
//! verification off; only this machine itself needs no certificate.

use std::net::IpAddr;
use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio_rustls::rustls::RootCertStore;

/// Why there are no authorities.
#[derive(Debug, thiserror::Error)]
pub enum NoRoots {
    #[error("cannot read ca_certificate {path}: {reason}")]
    File { path: String, reason: String },
    #[error(
        "this system has no root certificates ({0}); install them (Debian: ca-certificates) or give ca_certificate"
    )]
    System(String),
}

/// Those in a file in PEM form, alone; else the system's.
pub fn roots(file: Option<&Path>) -> Result<RootCertStore, NoRoots> {
    match file {
        Some(path) => {
            authority(path).map_err(|reason| NoRoots::File { path: path.display().to_string(), reason })
        }
        None => system().map_err(NoRoots::System),
    }
}

/// Whether a URL's host is this machine itself: nobody can listen on the way there.
pub fn is_local(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

fn authority(path: &Path) -> Result<RootCertStore, String> {
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

fn system() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(if reasons.is_empty() { "none found".to_owned() } else { reasons.join("; ") });
    }
    Ok(roots)
}
