//! Looks providers up in the table: by the mail address, by the host that takes a domain's mail, by
//! the IMAP server's own name.

use super::Places;
use super::address::MailAddress;
use super::candidate::{Authentication, Candidate, Source};
use super::table::{GOOGLE, Login, MICROSOFT, PROTON_BRIDGE, PROVIDERS, Provider, YAHOO};
use crate::config::TransportSecurity;

/// The server of an address at a large provider.
pub fn for_address(address: &MailAddress, places: &Places) -> Option<Candidate> {
    let provider = PROVIDERS.iter().find(|provider| provider.domains.contains(&address.domain()))?;
    Some(provider.candidate(Source::BuiltIn, address, places))
}

/// The server of the provider whose host takes the domain's mail.
pub fn for_exchanger(host: &str, address: &MailAddress, places: &Places) -> Option<Candidate> {
    let takes = |provider: &&Provider| provider.exchangers.iter().any(|domain| is_within(host, domain));
    Some(PROVIDERS.iter().find(takes)?.candidate(Source::Mx, address, places))
}

/// Adds what is known of its host, or of where one signs in, to a candidate of another source.
pub fn recognise(candidate: Candidate) -> Candidate {
    if let Some(provider) = PROVIDERS.iter().find(|provider| provider.host == candidate.host) {
        let (authentication, preset) = provider.login.ways();
        // A description of servers tells the ways to log in itself.
        let told = matches!(candidate.source, Source::Autoconfig | Source::Ispdb);
        let authentication = if told { candidate.authentication } else { authentication };
        return Candidate { authentication, provider: preset, note: provider.note, ..candidate };
    }
    let signing_in = |login: &Login| match login {
        Login::OAuth2 { issuer, .. } => {
            candidate.authentication.contains(&Authentication::OAuth2((*issuer).to_owned()))
        }
        Login::Password => false,
    };
    let login = [GOOGLE, MICROSOFT, YAHOO].into_iter().find(signing_in);
    Candidate { provider: login.and_then(|login| login.ways().1), ..candidate }
}

/// Whether a name is a domain or below it.
pub fn is_within(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

impl Provider {
    fn candidate(&self, source: Source, address: &MailAddress, places: &Places) -> Candidate {
        let (port, security) = match self.host {
            host if host == PROTON_BRIDGE.0 => (PROTON_BRIDGE.1, TransportSecurity::StartTls),
            _ => (places.imaps_port, TransportSecurity::Tls),
        };
        let username = self.username.parse().expect("a template: a test reads each entry");
        let host = self.host.to_owned();
        let candidate = Candidate::named(source, address, host, port, security, &username);
        let (authentication, provider) = self.login.ways();
        Candidate { authentication, provider, note: self.note, ..candidate }
    }
}

impl Login {
    /// The least trouble first, which OAuth is not: its user has to bring a client id.
    fn ways(self) -> (Vec<Authentication>, Option<&'static str>) {
        match self {
            Self::Password => (vec![Authentication::Password], None),
            Self::OAuth2 { preset, issuer, password } => {
                let oauth = Authentication::OAuth2(issuer.to_owned());
                let ways = if password { vec![Authentication::Password, oauth] } else { vec![oauth] };
                (ways, Some(preset))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::address::host_name;
    use std::collections::BTreeSet;

    fn address(text: &str) -> MailAddress {
        text.parse().expect("an address")
    }

    #[test]
    fn each_entry_is_whole_and_each_domain_is_there_once() {
        let mut seen = BTreeSet::new();
        for provider in PROVIDERS {
            for domain in provider.domains.iter().chain(provider.exchangers) {
                assert_eq!(host_name(domain).as_deref(), Some(*domain));
            }
            assert!(provider.domains.iter().all(|domain| seen.insert(*domain)), "{}", provider.host);
            assert!(!provider.domains.is_empty() || !provider.exchangers.is_empty(), "{}", provider.host);
            assert!(provider.host == PROTON_BRIDGE.0 || host_name(provider.host).is_some());
            let candidate =
                provider.candidate(Source::BuiltIn, &address("alice@example.org"), &Places::default());
            assert!(!candidate.authentication.is_empty());
        }
    }

    #[test]
    fn addresses_lead_to_their_provider() {
        let places = Places::default();
        for (text, host, port, username) in [
            ("alice@gmail.com", "imap.gmail.com", 993, "alice@gmail.com"),
            ("alice@GoogleMail.com", "imap.gmail.com", 993, "alice@googlemail.com"),
            ("alice@hotmail.de", "outlook.office365.com", 993, "alice@hotmail.de"),
            ("alice@me.com", "imap.mail.me.com", 993, "alice"),
            ("alice@web.de", "imap.web.de", 993, "alice"),
            ("alice@pm.me", "127.0.0.1", 1143, "alice@pm.me"),
        ] {
            let found = for_address(&address(text), &places).expect("a provider");
            assert_eq!((found.host.as_str(), found.port, found.username.as_str()), (host, port, username));
            assert!(!found.confirm);
        }
        assert!(for_address(&address("alice@notgmail.com"), &places).is_none());
        assert!(for_address(&address("alice@mail.gmail.com"), &places).is_none());
    }

    #[test]
    fn hosts_that_take_mail_lead_to_their_provider() {
        let (places, alice) = (Places::default(), address("alice@example.org"));
        for (exchanger, host) in [
            ("aspmx.l.google.com", Some("imap.gmail.com")),
            ("example-org.mail.protection.outlook.com", Some("outlook.office365.com")),
            ("mx.zoho.eu", Some("imappro.zoho.eu")),
            ("evilgoogle.com", None),
            ("google.com.example.net", None),
        ] {
            let found = for_exchanger(exchanger, &alice, &places);
            assert_eq!(found.as_ref().map(|found| found.host.as_str()), host, "{exchanger}");
            assert!(found.is_none_or(|found| found.confirm && found.username == "alice@example.org"));
        }
    }
}
