//! Whether a server that a source has named is one: TLS with a certificate that is good for its
//! name, and the greeting of an IMAP server.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::{Candidate, Discovery};
use crate::config::{Config, Upstream};
use crate::upstream::{Connector, Error, Imap};

/// For every single wait.
const TIMEOUT: Duration = Duration::from_secs(8);

impl Discovery {
    /// Connects as a session would, up to the login.
    pub(super) async fn verify(&self, candidate: &Candidate) -> Result<(), String> {
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let config = Config::for_upstream(&candidate.url(), nowhere).map_err(|error| error.to_string())?;
        let [upstream] = config.upstreams.as_slice() else {
            return Err("no upstream".to_owned());
        };
        let upstream = Upstream {
            ca_certificate: self.ca_certificate.clone(),
            timeout: TIMEOUT,
            ..Upstream::clone(upstream)
        };
        let mut connector = Connector::new(Arc::new(upstream)).map_err(|error| error.to_string())?;
        if let Some(addresses) = self.dns.addresses(&candidate.host).await {
            let with_port = |address| SocketAddr::new(address, candidate.port);
            connector = connector.at(&addresses?.into_iter().map(with_port).collect::<Vec<_>>());
        }
        match Imap::open(&connector).await {
            Ok(imap) => {
                imap.logout().await;
                Ok(())
            }
            Err(Error::Connect { source, .. }) => Err(format!("cannot connect: {source}")),
            Err(Error::Tls { source, .. }) => Err(format!("refused, its TLS is not good: {source}")),
            Err(error) => Err(error.to_string()),
        }
    }
}
