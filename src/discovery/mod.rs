//! From a mail address to its IMAP server.
//!
//! Sources are asked in the order of trust ([`Source`]), and nobody more than is needed: a provider
//! in popbridge's own table ends the search, and guesses are made only when nothing else is left.
//! Whatever a source names counts only once it has been connected to: TLS with a certificate that is
//! good for the host, and an IMAP greeting. `address` reads the address; `sources` asks: `providers`
//! and their `table`, web servers, whose answers `description` and `autoconfig` read, and `dns`;
//! `verify` connects, `steps` tells.

mod address;
mod autoconfig;
mod candidate;
mod description;
mod dns;
mod providers;
mod sources;
mod steps;
mod table;
mod verify;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use futures_util::future::join_all;

pub use address::{MailAddress, NoAddress};
pub use candidate::{Authentication, Candidate, NothingFound, Outcome, Source, Tried};
pub use providers::recognise;

use crate::http::{Http, HttpError, Redirects};
use crate::trust::{NoRoots, roots};
use dns::Dns;
use providers::for_address;
use steps::Steps;

/// More servers are not connected to at once.
const MOST: usize = 12;

/// Whom to ask, and at which ports servers are expected. Other than the default where a network has
/// names of its own, and in tests.
#[derive(Debug, Clone)]
pub struct Places {
    /// DNS servers, for everything; the system's names if there are none.
    pub dns: Vec<SocketAddr>,
    /// Where domains are asked by HTTPS.
    pub https_port: u16,
    /// The address of Thunderbird's database, up to the domain.
    pub ispdb: String,
    /// IMAP over TLS (RFC 8314 §3.2).
    pub imaps_port: u16,
    /// IMAP with STARTTLS (RFC 3501 §2.1).
    pub imap_port: u16,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            dns: Vec::new(),
            https_port: 443,
            ispdb: "https://autoconfig.thunderbird.net/v1.1/".to_owned(),
            imaps_port: 993,
            imap_port: 143,
        }
    }
}

/// Why nothing can be looked up.
#[derive(Debug, thiserror::Error)]
pub enum NoDiscovery {
    #[error(transparent)]
    Roots(#[from] NoRoots),
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// Looks for the IMAP servers of mail addresses.
pub struct Discovery {
    places: Places,
    ca_certificate: Option<PathBuf>,
    dns: Dns,
    http: Http,
}

impl Discovery {
    /// Trusts the system's authorities, or those in `ca_certificate` alone, for web and mail
    /// servers.
    pub fn new(ca_certificate: Option<&Path>) -> Result<Self, NoDiscovery> {
        Self::with(ca_certificate, Places::default())
    }

    /// The same with other places to ask.
    pub fn with(ca_certificate: Option<&Path>, places: Places) -> Result<Self, NoDiscovery> {
        let roots = roots(ca_certificate)?;
        let dns = Dns::new(&places.dns);
        let http = match dns.names() {
            Some(names) => Http::with_names(roots, Redirects::Followed, names)?,
            None => Http::new(roots, Redirects::Followed)?,
        };
        Ok(Self { places, ca_certificate: ca_certificate.map(Path::to_owned), dns, http })
    }

    /// The IMAP servers of an address, best first, each of them having answered under a good
    /// certificate. `tell` hears of each step when it begins and when it ends. Each step takes ten
    /// seconds at the most, all of them together a minute.
    pub async fn find(
        &self,
        address: &MailAddress,
        tell: impl FnMut(&Tried),
    ) -> Result<Vec<Candidate>, NothingFound> {
        let steps = Steps::new(tell);
        let built_in = for_address(address, &self.places);
        let (known, note) = (built_in.is_some(), built_in.as_ref().and_then(|candidate| candidate.note));
        let mut found = self.verified(built_in.into_iter().collect(), &steps).await;
        if found.is_empty() {
            found = self.verified(self.named(address, &steps).await, &steps).await;
        }
        // What the table knows is better than any guess.
        if found.is_empty() && !known {
            found = self.verified(self.guesses(address), &steps).await;
        }
        if !found.is_empty() {
            return Ok(found);
        }
        Err(NothingFound {
            domain: address.domain().to_owned(),
            tried: steps.into_tried(),
            note,
            proxied: self.places.dns.is_empty() && Http::proxied(),
        })
    }

    /// Those that answer, in their order. Who is named twice counts for the better source.
    async fn verified<F: FnMut(&Tried)>(&self, named: Vec<Candidate>, steps: &Steps<F>) -> Vec<Candidate> {
        let mut candidates: Vec<Candidate> = Vec::new();
        for candidate in named {
            let same = |other: &Candidate| {
                (&other.host, other.port, other.security)
                    == (&candidate.host, candidate.port, candidate.security)
            };
            if candidates.len() < MOST && !candidates.iter().any(same) {
                candidates.push(candidate);
            }
        }
        let verifying = candidates.into_iter().map(|candidate| async move {
            let place = format!("{}:{}", candidate.host, candidate.port);
            let step = self.verify(&candidate);
            steps.take(candidate.source, place, step, |()| "answers".to_owned()).await?;
            Some(candidate)
        });
        join_all(verifying).await.into_iter().flatten().collect()
    }
}
