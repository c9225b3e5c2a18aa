//! Asks the sources for the servers that they know.

use futures_util::future::join_all;
use http::Request;
use url::Url;

use super::address::host_name;
use super::candidate::{Candidate, Source, Tried};
use super::dns::Service;
use super::providers::{for_exchanger, is_within, recognise};
use super::steps::Steps;
use super::{Discovery, MailAddress, autoconfig};
use crate::config::{TransportSecurity, UsernameTemplate};
use crate::http::HttpError;

impl Discovery {
    /// From everyone who may know, all asked at once: the domain's own description, Thunderbird's
    /// database, DNS, and what is known of the provider that takes the domain's mail.
    pub(super) async fn named<F: FnMut(&Tried)>(
        &self,
        address: &MailAddress,
        steps: &Steps<F>,
    ) -> Vec<Candidate> {
        let domain = address.domain();
        let port = self.places.https_port;
        let own = format!("https://autoconfig.{domain}:{port}/mail/config-v1.1.xml");
        let known = format!("https://{domain}:{port}/.well-known/autoconfig/mail/config-v1.1.xml");
        // Only the domain's own server is told the whole address.
        let own = Url::parse_with_params(&own, [("emailaddress", address.to_string())]);
        let (own, known, ispdb, services, exchanger) = tokio::join!(
            self.described(address, Source::Autoconfig, own, steps),
            self.described(address, Source::Autoconfig, Url::parse(&known), steps),
            self.described(address, Source::Ispdb, self.in_ispdb(domain), steps),
            self.services(address, steps),
            self.by_exchanger(address, steps),
        );
        [own, known, ispdb, services, exchanger].concat().into_iter().map(recognise).collect()
    }

    /// What providers usually call it, over TLS first (RFC 8314 §3).
    pub(super) fn guesses(&self, address: &MailAddress) -> Vec<Candidate> {
        let domain = address.domain();
        let hosts = [format!("imap.{domain}"), format!("mail.{domain}"), domain.to_owned()];
        let ways = [
            (self.places.imaps_port, TransportSecurity::Tls),
            (self.places.imap_port, TransportSecurity::StartTls),
        ];
        let guess = |host: &String, (port, security)| {
            Candidate::named(
                Source::Guess,
                address,
                host.clone(),
                port,
                security,
                &UsernameTemplate::default(),
            )
        };
        ways.iter().flat_map(|way| hosts.iter().map(|host| guess(host, *way))).collect()
    }

    fn in_ispdb(&self, domain: &str) -> Result<Url, url::ParseError> {
        Url::parse(&format!("{}{domain}", self.places.ispdb))
    }

    /// The servers in a description that a web server has.
    async fn described<F: FnMut(&Tried)>(
        &self,
        address: &MailAddress,
        source: Source,
        url: Result<Url, url::ParseError>,
        steps: &Steps<F>,
    ) -> Vec<Candidate> {
        let place = match &url {
            Ok(url) => format!("{}{}", url.host_str().unwrap_or_default(), url.path()),
            Err(_) => source.name().to_owned(),
        };
        let asking = async {
            let url = url.map_err(|error| error.to_string())?;
            autoconfig::read(&self.fetch(&url).await?, address, source)
        };
        steps.take(source, place, asking, |named| hosts(named)).await.unwrap_or_default()
    }

    async fn fetch(&self, url: &Url) -> Result<Vec<u8>, String> {
        let request = Request::get(url.as_str()).body(Vec::new()).map_err(|error| error.to_string())?;
        let answer = self.http.send(request).await.map_err(|error| match error {
            // The step names its place already.
            HttpError::Failed { reason, .. } => reason,
            error => error.to_string(),
        })?;
        match answer.status() {
            status if status.is_success() => Ok(answer.into_body()),
            status => Err(format!("answers {status}")),
        }
    }

    /// `_imaps` and `_imap` (RFC 6186 §3.2), whichever has the better priority (§3.4); at the same
    /// one, TLS from the first octet (RFC 8314 §3).
    async fn services<F: FnMut(&Tried)>(&self, address: &MailAddress, steps: &Steps<F>) -> Vec<Candidate> {
        let (tls, start_tls) = tokio::join!(
            self.service(address, "_imaps", TransportSecurity::Tls, steps),
            self.service(address, "_imap", TransportSecurity::StartTls, steps),
        );
        let mut all = [tls, start_tls].concat();
        // Stable: what comes first stays first.
        all.sort_by_key(|(priority, _)| *priority);
        all.into_iter().map(|(_, candidate)| candidate).collect()
    }

    /// Each with its priority.
    async fn service<F: FnMut(&Tried)>(
        &self,
        address: &MailAddress,
        service: &str,
        security: TransportSecurity,
        steps: &Steps<F>,
    ) -> Vec<(u16, Candidate)> {
        let name = format!("{service}._tcp.{}", address.domain());
        let asking = async {
            let records = self.dns.services(&name).await?;
            let mut found = Vec::new();
            let mut wrong = false;
            for Service { priority, port, target, .. } in records {
                // RFC 6186 §3.4: "." offers nothing.
                let Some(host) = target else { continue };
                let Some(host) = host_name(&host).filter(|_| port != 0) else {
                    wrong = true;
                    continue;
                };
                // RFC 6186 §4: the whole address first.
                let username = UsernameTemplate::default();
                let named = Candidate::named(Source::Srv, address, host, port, security, &username);
                found.push((priority, named));
            }
            match found.is_empty() {
                false => Ok(found),
                true if wrong => Err("names no host or no port".to_owned()),
                true => Err("says that it is not offered".to_owned()),
            }
        };
        let found = |all: &Vec<(u16, Candidate)>| hosts(all.iter().map(|(_, candidate)| candidate));
        steps.take(Source::Srv, name.clone(), asking, found).await.unwrap_or_default()
    }

    /// The servers of the provider that takes the domain's mail. Which one that is only DNS says.
    async fn by_exchanger<F: FnMut(&Tried)>(
        &self,
        address: &MailAddress,
        steps: &Steps<F>,
    ) -> Vec<Candidate> {
        let domain = address.domain();
        let asking = self.dns.exchanger(domain);
        let place = format!("MX of {domain}");
        let Some(exchanger) = steps.take(Source::Mx, place, asking, String::clone).await else {
            return Vec::new();
        };
        if let Some(known) = for_exchanger(&exchanger, address, &self.places) {
            return vec![known];
        }
        // The domain itself has been asked for already.
        let domains = providers_domains(&exchanger).into_iter().filter(|name| !is_within(name, domain));
        let asking = domains.map(|name| self.described(address, Source::Mx, self.in_ispdb(name), steps));
        join_all(asking).await.into_iter().find(|named| !named.is_empty()).unwrap_or_default()
    }
}

/// The domains under which a host's provider may be known: above the host, and with two labels.
fn providers_domains(host: &str) -> Vec<&str> {
    let above = host.split_once('.').map(|(_, above)| above);
    let two = host.rmatch_indices('.').nth(1).map(|(dot, _)| &host[dot + 1..]);
    let mut domains: Vec<&str> = above.into_iter().chain(two).filter(|domain| domain.contains('.')).collect();
    domains.dedup();
    domains
}

fn hosts<'a>(named: impl IntoIterator<Item = &'a Candidate>) -> String {
    let hosts: Vec<&str> = named.into_iter().map(|candidate| candidate.host.as_str()).collect();
    format!("names {}", hosts.join(", "))
}
