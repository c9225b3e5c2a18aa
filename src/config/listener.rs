//! Where POP3 clients connect.

use std::net::SocketAddr;

use ipnet::IpNet;

use super::error::ConfigError;
use super::file::ListenerForm;
use super::source::Source;

/// Where POP3 clients connect.
#[derive(Debug, Clone)]
pub struct Listener {
    pub address: SocketAddr,
    pub tls: ListenerTls,
    /// Empty: everyone.
    pub allow: Vec<IpNet>,
}

/// When a listener speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListenerTls {
    None,
    StartTls,
    Implicit,
}

impl ListenerTls {
    /// The word in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::StartTls => "starttls",
            Self::Implicit => "implicit",
        }
    }
}

/// The listeners; without any, one for this machine.
pub fn listeners(
    source: &Source<'_>,
    forms: Vec<ListenerForm>,
    certificate: bool,
) -> Result<Vec<Listener>, ConfigError> {
    if forms.is_empty() {
        return Ok(vec![Listener {
            address: SocketAddr::from(([127, 0, 0, 1], 1110)),
            tls: ListenerTls::None,
            allow: Vec::new(),
        }]);
    }
    let mut taken: Vec<SocketAddr> = Vec::new();
    let resolve = |form: ListenerForm| {
        let address = *form.address.get_ref();
        if let Some(other) = taken.iter().find(|other| clash(**other, address)) {
            return Err(source.at(
                &form.address.span(),
                format!("{address} cannot be had beside the listener {other}: give one of them another port"),
            ));
        }
        taken.push(address);
        let tls = match form.tls {
            Some(tls) => tls,
            None if address.ip().is_loopback() => ListenerTls::None,
            None => {
                return Err(source.at(
                    &form.address.span(),
                    "this address is reachable from outside, so say what protects it: tls = \"implicit\", \
                     \"starttls\" or, on a network that you trust, \"none\"",
                ));
            }
        };
        if tls != ListenerTls::None && !certificate {
            return Err(source.at(
                &form.address.span(),
                "this listener speaks TLS, so [tls] is needed: certificate and private_key, or self_signed = true",
            ));
        }
        Ok(Listener { address, tls, allow: form.allow })
    };
    forms.into_iter().map(resolve).collect()
}

/// Whether the system refuses one of two addresses because of the other: the same port, at the same
/// address or where one of the two is every address. At port 0 it chooses.
pub fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    // [::] takes IPv4 as well, 0.0.0.0 not IPv6.
    let covers = |all: SocketAddr, address: SocketAddr| {
        all.ip().is_unspecified() && (all.is_ipv6() || address.is_ipv4())
    };
    let same = one.ip() == other.ip() || covers(one, other) || covers(other, one);
    one.port() != 0 && one.port() == other.port() && same
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_bound_together() {
        let clashes = |one: &str, other: &str| {
            let address = |text: &str| text.parse().expect("an address");
            assert_eq!(clash(address(one), address(other)), clash(address(other), address(one)));
            clash(address(one), address(other))
        };
        assert!(clashes("0.0.0.0:110", "0.0.0.0:110"));
        assert!(clashes("127.0.0.1:1110", "0.0.0.0:1110"));
        assert!(clashes("[::]:1110", "127.0.0.1:1110"));
        assert!(clashes("[::]:1110", "[::1]:1110"));
        assert!(!clashes("0.0.0.0:1110", "[::1]:1110"));
        assert!(!clashes("127.0.0.1:1110", "192.168.1.2:1110"));
        assert!(!clashes("0.0.0.0:110", "0.0.0.0:995"));
        assert!(!clashes("0.0.0.0:0", "0.0.0.0:0"));
    }
}
