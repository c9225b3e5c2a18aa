//! popbridge's own table: large providers, whose servers need no looking up. An entry is here only
//! if its provider documents it. All speak IMAP over TLS at the usual port, but for programs on the
//! user's own machine.

use super::Places;
use super::address::MailAddress;
use super::candidate::{Authentication, Candidate, Source};
use crate::config::TransportSecurity;

/// A provider's IMAP server.
struct Provider {
    /// Of its users' addresses.
    domains: &'static [&'static str],
    /// Of the hosts that take mail for its customers' own domains.
    exchangers: &'static [&'static str],
    host: &'static str,
    username: &'static str,
    login: Login,
    note: Option<&'static str>,
}

#[derive(Clone, Copy)]
enum Login {
    Password,
    /// OAuth settings, where one signs in, and whether a password does as well.
    OAuth2 {
        preset: &'static str,
        issuer: &'static str,
        password: bool,
    },
}

const APP_PASSWORD: Option<&str> =
    Some("with two-step verification the provider takes an app password only, made in its account settings");

const GOOGLE: Login = Login::OAuth2 { preset: "google", issuer: "accounts.google.com", password: true };
const MICROSOFT: Login =
    Login::OAuth2 { preset: "microsoft", issuer: "login.microsoftonline.com", password: false };
const YAHOO: Login = Login::OAuth2 { preset: "yahoo", issuer: "login.yahoo.com", password: true };

/// What most entries have in common.
const USUAL: Provider = Provider {
    domains: &[],
    exchangers: &[],
    host: "",
    username: "{login}",
    login: Login::Password,
    note: None,
};

/// Where Proton Mail Bridge listens, unless its settings say otherwise.
const PROTON_BRIDGE: (&str, u16) = ("127.0.0.1", 1143);

const PROVIDERS: &[Provider] = &[
    Provider {
        domains: &["gmail.com", "googlemail.com"],
        exchangers: &["google.com", "googlemail.com"],
        host: "imap.gmail.com",
        login: GOOGLE,
        note: Some(
            "Google takes an app password (it needs two-step verification) or OAuth, never the usual one",
        ),
        ..USUAL
    },
    Provider {
        domains: &[
            "outlook.com",
            "outlook.at",
            "outlook.be",
            "outlook.de",
            "outlook.dk",
            "outlook.es",
            "outlook.fr",
            "outlook.ie",
            "outlook.it",
            "outlook.jp",
            "outlook.pt",
            "hotmail.com",
            "hotmail.be",
            "hotmail.co.uk",
            "hotmail.de",
            "hotmail.es",
            "hotmail.fr",
            "hotmail.it",
            "hotmail.nl",
            "live.com",
            "live.at",
            "live.be",
            "live.co.uk",
            "live.de",
            "live.dk",
            "live.fr",
            "live.it",
            "live.nl",
            "live.se",
            "msn.com",
        ],
        exchangers: &["outlook.com", "mx.microsoft"],
        host: "outlook.office365.com",
        login: MICROSOFT,
        note: Some("Microsoft takes OAuth only, and IMAP may have to be allowed in the mailbox's settings"),
        ..USUAL
    },
    Provider {
        domains: &[
            "yahoo.com",
            "yahoo.at",
            "yahoo.ca",
            "yahoo.co.in",
            "yahoo.co.uk",
            "yahoo.com.ar",
            "yahoo.com.au",
            "yahoo.com.br",
            "yahoo.com.mx",
            "yahoo.de",
            "yahoo.es",
            "yahoo.fr",
            "yahoo.ie",
            "yahoo.in",
            "yahoo.it",
            "ymail.com",
            "rocketmail.com",
            "myyahoo.com",
        ],
        exchangers: &["yahoodns.net"],
        host: "imap.mail.yahoo.com",
        login: YAHOO,
        note: Some("Yahoo takes an app password or OAuth, never the usual one"),
        ..USUAL
    },
    Provider {
        domains: &["aol.com", "aol.de", "aol.fr", "aol.co.uk", "aim.com", "verizon.net"],
        host: "imap.aol.com",
        note: Some("AOL takes an app password, never the usual one"),
        ..USUAL
    },
    Provider {
        domains: &["icloud.com", "me.com", "mac.com"],
        host: "imap.mail.me.com",
        username: "{local}",
        note: Some("Apple takes an app-specific password, never the usual one"),
        ..USUAL
    },
    Provider {
        domains: &["gmx.de", "gmx.net", "gmx.at", "gmx.ch", "gmx.eu", "gmx.info", "gmx.org", "gmx.biz"],
        host: "imap.gmx.net",
        note: Some("IMAP has to be switched on in GMX's settings first"),
        ..USUAL
    },
    Provider {
        domains: &["gmx.com", "gmx.us", "gmx.co.uk", "gmx.fr", "gmx.es"],
        host: "imap.gmx.com",
        note: Some("IMAP has to be switched on in GMX's settings first"),
        ..USUAL
    },
    Provider {
        domains: &["web.de"],
        host: "imap.web.de",
        username: "{local}",
        note: Some("IMAP has to be switched on in WEB.DE's settings first"),
        ..USUAL
    },
    Provider {
        domains: &["t-online.de", "magenta.de"],
        host: "secureimap.t-online.de",
        note: Some("Telekom wants the password for e-mail programs, which is set in its customer centre"),
        ..USUAL
    },
    Provider { domains: &["freenet.de"], host: "mx.freenet.de", ..USUAL },
    Provider {
        domains: &["posteo.de", "posteo.net", "posteo.at", "posteo.ch", "posteo.eu", "posteo.org"],
        host: "posteo.de",
        ..USUAL
    },
    Provider { domains: &["mailbox.org"], exchangers: &["mailbox.org"], host: "imap.mailbox.org", ..USUAL },
    Provider {
        domains: &["fastmail.com", "fastmail.fm"],
        exchangers: &["messagingengine.com"],
        host: "imap.fastmail.com",
        note: Some("Fastmail takes an app password, never the usual one"),
        ..USUAL
    },
    Provider {
        domains: &["proton.me", "protonmail.com", "protonmail.ch", "pm.me"],
        exchangers: &["protonmail.ch"],
        host: PROTON_BRIDGE.0,
        note: Some(
            "Proton Mail Bridge has to run on this machine; user name and password are those that it shows, \
             and its exported certificate has to be given as ca_certificate",
        ),
        ..USUAL
    },
    Provider {
        domains: &["mail.ru", "bk.ru", "inbox.ru", "list.ru", "internet.ru"],
        host: "imap.mail.ru",
        note: Some("Mail.ru takes an app password, never the usual one"),
        ..USUAL
    },
    Provider {
        domains: &["yandex.com", "yandex.ru", "yandex.by", "yandex.kz", "ya.ru"],
        exchangers: &["yandex.net", "yandex.ru"],
        host: "imap.yandex.com",
        note: Some("Yandex takes an app password, and IMAP has to be switched on in its settings first"),
        ..USUAL
    },
    Provider { domains: &["zoho.com", "zohomail.com"], host: "imap.zoho.com", note: APP_PASSWORD, ..USUAL },
    Provider { domains: &["zohomail.eu"], host: "imap.zoho.eu", note: APP_PASSWORD, ..USUAL },
    // Customers' own domains have other servers than zoho.com's addresses.
    Provider { exchangers: &["zoho.com"], host: "imappro.zoho.com", note: APP_PASSWORD, ..USUAL },
    Provider { exchangers: &["zoho.eu"], host: "imappro.zoho.eu", note: APP_PASSWORD, ..USUAL },
    Provider {
        domains: &["online.de", "onlinehome.de"],
        exchangers: &["kundenserver.de", "ionos.de"],
        host: "imap.ionos.de",
        ..USUAL
    },
    Provider { exchangers: &["ionos.com"], host: "imap.ionos.com", ..USUAL },
    Provider { exchangers: &["ionos.co.uk"], host: "imap.ionos.co.uk", ..USUAL },
    Provider { exchangers: &["rzone.de"], host: "imap.strato.de", ..USUAL },
    Provider { exchangers: &["mail.ovh.net"], host: "ssl0.ovh.net", ..USUAL },
    Provider { exchangers: &["mail.gandi.net"], host: "mail.gandi.net", ..USUAL },
    Provider { exchangers: &["infomaniak.ch"], host: "mail.infomaniak.com", ..USUAL },
    Provider { exchangers: &["migadu.com"], host: "imap.migadu.com", ..USUAL },
    Provider { domains: &["mail.com"], host: "imap.mail.com", ..USUAL },
    Provider { domains: &["orange.fr", "wanadoo.fr"], host: "imap.orange.fr", ..USUAL },
    Provider { domains: &["free.fr"], host: "imap.free.fr", ..USUAL },
    Provider { domains: &["laposte.net"], host: "imap.laposte.net", ..USUAL },
    Provider { domains: &["bluewin.ch"], host: "imaps.bluewin.ch", ..USUAL },
    Provider { domains: &["libero.it"], host: "imapmail.libero.it", ..USUAL },
    Provider { domains: &["seznam.cz", "email.cz"], host: "imap.seznam.cz", ..USUAL },
    Provider { domains: &["wp.pl"], host: "imap.wp.pl", ..USUAL },
    Provider { domains: &["comcast.net"], host: "imap.comcast.net", ..USUAL },
];

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
    let mut presets = [GOOGLE, MICROSOFT, YAHOO].into_iter().filter_map(|login| {
        let (ways, preset) = login.ways();
        ways.iter()
            .any(|way| *way != Authentication::Password && candidate.authentication.contains(way))
            .then_some(preset)?
    });
    let provider = presets.next();
    Candidate { provider, ..candidate }
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
