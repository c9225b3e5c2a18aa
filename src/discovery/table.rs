//! popbridge's own table: large providers, whose servers need no looking up. An entry is here only
//! if its provider documents it. All speak IMAP over TLS at the usual port, but for programs on the
//! user's own machine.

/// A provider's IMAP server.
pub struct Provider {
    /// Of its users' addresses.
    pub domains: &'static [&'static str],
    /// Of the hosts that take mail for its customers' own domains.
    pub exchangers: &'static [&'static str],
    pub host: &'static str,
    pub username: &'static str,
    pub login: Login,
    pub note: Option<&'static str>,
}

#[derive(Clone, Copy)]
pub enum Login {
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

pub const GOOGLE: Login = Login::OAuth2 { preset: "google", issuer: "accounts.google.com", password: true };
pub const MICROSOFT: Login =
    Login::OAuth2 { preset: "microsoft", issuer: "login.microsoftonline.com", password: false };
pub const YAHOO: Login = Login::OAuth2 { preset: "yahoo", issuer: "login.yahoo.com", password: true };

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
pub const PROTON_BRIDGE: (&str, u16) = ("127.0.0.1", 1143);

pub const PROVIDERS: &[Provider] = &[
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
