//! By which way to log in: what the upstream offers, what there is to show it, and whether a
//! listener on the line would see it.

use std::fmt;

use super::error::{Error, Result};
use super::response::Capabilities;
use crate::config::TransportSecurity;
use crate::secret::Credential;

/// A way to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616: one message, any octets.
    Plain,
    /// RFC 7677: the password is proven, not sent, and so is the server's knowledge of it.
    ScramSha256,
    /// The LOGIN command (RFC 3501 §6.2.3).
    LoginCommand,
    /// AUTHENTICATE LOGIN: never a standard, and all that some servers offer beside OAuth.
    Login,
    /// RFC 7628.
    OAuthBearer,
    /// What Google and Microsoft had before that.
    XOAuth2,
}

/// Under TLS nobody else sees a password, and the fewest round trips count. LOGIN is announced only
/// by not being denied, so what is announced goes before it.
const UNDER_TLS: &[Mechanism] =
    &[Mechanism::Plain, Mechanism::ScramSha256, Mechanism::LoginCommand, Mechanism::Login];
/// Without TLS the password had better not be sent.
const IN_THE_CLEAR: &[Mechanism] =
    &[Mechanism::ScramSha256, Mechanism::Plain, Mechanism::LoginCommand, Mechanism::Login];
const WITH_A_TOKEN: &[Mechanism] = &[Mechanism::OAuthBearer, Mechanism::XOAuth2];

impl Mechanism {
    /// The first way that the upstream offers and that carries this user name and credential. One is
    /// tried, and no other when it fails: a second wrong password would bring a lock-out nearer.
    /// [`Error::NoMechanism`] with the way out where there is none.
    pub fn choose(
        offered: &Capabilities,
        security: TransportSecurity,
        username: &str,
        credential: &Credential,
    ) -> Result<Self> {
        let octets = credential.secret().expose();
        let order = match credential {
            Credential::Token(_) => WITH_A_TOKEN,
            // Servers differ in whether they prepare other letters (SASLprep, RFC 4013), and one that
            // does would take the right password for a wrong one.
            Credential::Password(_)
                if security == TransportSecurity::None && username.is_ascii() && octets.is_ascii() =>
            {
                IN_THE_CLEAR
            }
            Credential::Password(_) => UNDER_TLS,
        };
        let fits = |way: &&Self| way.is_among(offered) && way.carries(username, octets);
        let chosen = order.iter().find(fits).copied();
        chosen.ok_or_else(|| Error::NoMechanism(way_out(offered, credential)))
    }

    fn is_among(self, offered: &Capabilities) -> bool {
        match self {
            Self::LoginCommand => !offered.has("LOGINDISABLED"),
            _ => offered.has(&format!("AUTH={}", self.name())),
        }
    }

    fn carries(self, username: &str, octets: &[u8]) -> bool {
        let named = !username.is_empty() && !username.contains('\0');
        self != Self::ScramSha256 || (named && std::str::from_utf8(octets).is_ok())
    }

    /// The name behind AUTHENTICATE.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::LoginCommand | Self::Login => "LOGIN",
            Self::OAuthBearer => "OAUTHBEARER",
            Self::XOAuth2 => "XOAUTH2",
        }
    }
}

/// What to do where nothing fits.
fn way_out(offered: &Capabilities, credential: &Credential) -> &'static str {
    let among = |ways: &[Mechanism]| ways.iter().any(|way| way.is_among(offered));
    match credential {
        Credential::Token(_) => {
            "it takes no access token (neither OAUTHBEARER nor XOAUTH2 is offered); if it takes passwords, its \
             upstream needs authentication = \"password\""
        }
        Credential::Password(_) if among(&[Mechanism::ScramSha256]) => {
            "it offers SCRAM-SHA-256 alone, which carries no password that is not UTF-8"
        }
        Credential::Password(_) if among(WITH_A_TOKEN) => {
            "this server wants OAuth: an [[account]] with oauth (docs/oauth.md); or access tokens in the password's \
             place, with authentication = \"oauth2\" in its upstream"
        }
        Credential::Password(_) => {
            "LOGIN is disabled, and none of AUTHENTICATE PLAIN, LOGIN and SCRAM-SHA-256 is offered; many servers \
             offer them under TLS only: imaps:// or imap+starttls://"
        }
    }
}

impl fmt::Display for Mechanism {
    /// The command that it begins with.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoginCommand => f.write_str("LOGIN"),
            _ => write!(f, "AUTHENTICATE {}", self.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    const TLS: TransportSecurity = TransportSecurity::Tls;
    const CLEAR: TransportSecurity = TransportSecurity::None;

    fn password(octets: &[u8]) -> Credential {
        Credential::Password(Secret::new(octets.to_vec()))
    }

    fn chosen(offered: &str, security: TransportSecurity, credential: &Credential) -> String {
        let offered = Capabilities::parse(offered.as_bytes());
        match Mechanism::choose(&offered, security, "alice", credential) {
            Ok(mechanism) => mechanism.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_password_goes_by_the_best_way_there_is() {
        let ascii = password(b"secret");
        let all = "IMAP4REV1 AUTH=LOGIN AUTH=XOAUTH2 AUTH=SCRAM-SHA-256 AUTH=PLAIN";
        for (offered, under_tls, in_the_clear) in [
            (all, "AUTHENTICATE PLAIN", "AUTHENTICATE SCRAM-SHA-256"),
            ("AUTH=PLAIN", "AUTHENTICATE PLAIN", "AUTHENTICATE PLAIN"),
            ("AUTH=SCRAM-SHA-256", "AUTHENTICATE SCRAM-SHA-256", "AUTHENTICATE SCRAM-SHA-256"),
            ("AUTH=LOGIN", "LOGIN", "LOGIN"),
            ("AUTH=XOAUTH2", "LOGIN", "LOGIN"),
            ("", "LOGIN", "LOGIN"),
            ("LOGINDISABLED AUTH=LOGIN", "AUTHENTICATE LOGIN", "AUTHENTICATE LOGIN"),
        ] {
            assert_eq!(chosen(offered, TLS, &ascii), under_tls, "{offered}");
            assert_eq!(chosen(offered, CLEAR, &ascii), in_the_clear, "{offered}");
        }
    }

    #[test]
    fn scram_is_for_passwords_that_every_server_reads_alike() {
        let offered = "AUTH=SCRAM-SHA-256 AUTH=PLAIN";
        assert_eq!(chosen(offered, CLEAR, &password("pässword".as_bytes())), "AUTHENTICATE PLAIN");
        let alone = "LOGINDISABLED AUTH=SCRAM-SHA-256";
        assert_eq!(chosen(alone, CLEAR, &password("pässword".as_bytes())), "AUTHENTICATE SCRAM-SHA-256");
        assert!(chosen(alone, CLEAR, &password(b"p\xe4ssword")).contains("not UTF-8"));
        assert_eq!(chosen("AUTH=SCRAM-SHA-256", TLS, &password(b"p\xe4ssword")), "LOGIN");
    }

    #[test]
    fn a_token_goes_by_the_standard_where_it_can() {
        let token = Credential::Token(Secret::new(b"ya29.a".to_vec()));
        assert_eq!(chosen("AUTH=XOAUTH2 AUTH=OAUTHBEARER", TLS, &token), "AUTHENTICATE OAUTHBEARER");
        assert_eq!(chosen("AUTH=PLAIN AUTH=XOAUTH2", TLS, &token), "AUTHENTICATE XOAUTH2");
    }

    #[test]
    fn where_nothing_fits_the_way_out_is_named() {
        let token = Credential::Token(Secret::new(b"ya29.a".to_vec()));
        assert!(chosen("AUTH=PLAIN", TLS, &token).contains("authentication = \"password\""));
        let ascii = password(b"secret");
        assert!(chosen("LOGINDISABLED AUTH=XOAUTH2", TLS, &ascii).contains("authentication = \"oauth2\""));
        assert!(chosen("LOGINDISABLED", CLEAR, &ascii).contains("imap+starttls://"));
    }
}
