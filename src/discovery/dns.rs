//! Questions to DNS: service and mail exchanger records, and, with servers of one's own, addresses.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::address::host_name;
use crate::http::Names;

/// A service record (RFC 2782).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    /// `None`: the service is not offered.
    pub target: Option<String>,
}

/// Asks DNS.
#[derive(Clone)]
pub struct Dns {
    /// Or why DNS cannot be asked.
    resolver: Result<TokioResolver, String>,
    /// Whether it stands for the system in everything.
    own: bool,
}

impl Dns {
    /// Asks these servers, or the system's if there are none.
    pub fn new(servers: &[SocketAddr]) -> Self {
        let own = !servers.is_empty();
        let builder = if own {
            let servers = servers.iter().map(server).collect();
            let config = ResolverConfig::from_name_servers(servers);
            let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
            builder.options_mut().use_hosts_file = ResolveHosts::Never;
            Ok(builder)
        } else {
            TokioResolver::builder_tokio()
        };
        let resolver = builder.and_then(|builder| builder.build());
        Self { resolver: resolver.map_err(|error| format!("no DNS server to ask: {error}")), own }
    }

    /// The service records of a name, the first to be tried first. By weight one would be drawn for
    /// each connection (RFC 2782); for a configuration the heaviest is the right one.
    pub async fn services(&self, name: &str) -> Result<Vec<Service>, String> {
        let found = self.lookup(name, RecordType::SRV, |data| match data {
            RData::SRV(found) => Some(Service {
                priority: found.priority,
                weight: found.weight,
                port: found.port,
                target: (!found.target.is_root()).then(|| found.target.to_ascii()),
            }),
            _ => None,
        });
        let mut services = found.await?;
        services.sort_by_key(|found| (found.priority, std::cmp::Reverse(found.weight)));
        Ok(services)
    }

    /// The host that takes a domain's mail first (RFC 5321 §5.1).
    pub async fn exchanger(&self, domain: &str) -> Result<String, String> {
        let exchangers = self.lookup(domain, RecordType::MX, |data| match data {
            RData::MX(found) => Some((found.preference, found.exchange.to_ascii())),
            _ => None,
        });
        let first = exchangers.await?.into_iter().min();
        // RFC 7505: "." takes no mail.
        first.and_then(|(_, host)| host_name(&host)).ok_or_else(|| "names no host".to_owned())
    }

    /// Where a host is. `None`: the system is to be asked.
    pub async fn addresses(&self, host: &str) -> Option<Result<Vec<IpAddr>, String>> {
        self.own.then_some(())?;
        if let Ok(address) = host.parse() {
            return Some(Ok(vec![address]));
        }
        Some(self.look_up(host).await)
    }

    /// For web servers; `None`: the system is to be asked.
    pub fn names(&self) -> Option<Names> {
        self.own.then_some(())?;
        let dns = self.clone();
        Some(Arc::new(move |host| {
            let dns = dns.clone();
            Box::pin(async move { dns.look_up(&host).await.map_err(io::Error::other) })
        }))
    }

    async fn look_up(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        let found = self.resolver()?.lookup_ip(absolute(host)?).await.map_err(|error| reason(&error))?;
        Ok(found.iter().collect())
    }

    async fn lookup<T>(
        &self,
        name: &str,
        kind: RecordType,
        read: impl Fn(&RData) -> Option<T>,
    ) -> Result<Vec<T>, String> {
        let found = self.resolver()?.lookup(absolute(name)?, kind).await.map_err(|error| reason(&error))?;
        Ok(found.answers().iter().filter_map(|record| read(&record.data)).collect())
    }

    fn resolver(&self) -> Result<&TokioResolver, String> {
        self.resolver.as_ref().map_err(Clone::clone)
    }
}

fn server(address: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

/// A name with its end: the system's search list would answer for other domains.
fn absolute(name: &str) -> Result<Name, String> {
    let name = Name::from_ascii(format!("{}.", name.trim_end_matches('.')));
    name.map_err(|_| "no name that DNS could have".to_owned())
}

fn reason(error: &NetError) -> String {
    match error {
        _ if error.is_nx_domain() => "no such name in DNS".to_owned(),
        _ if error.is_no_records_found() => "no such record in DNS".to_owned(),
        _ => format!("DNS: {error}"),
    }
}
