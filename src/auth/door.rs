//! Who may come in: logins with a password of their own prove it here, before their upstream hears
//! of anything. All others the upstream judges.

use std::sync::Arc;
use std::time::Duration;

use super::accounts::takes_tokens;
use super::passwords::Passwords;
use super::{Accounts, Claim, Credentials, Route, Visitor};
use crate::config::{Account, Means, OwnPassword, contains};
use crate::secret::{Credential, Fingerprint, KeyError, Keyring, PasswordHash, ScramVerifier, Subkey};

/// Why somebody is not let in.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("no upstream for this login")]
    NoRoute,
    /// For the log only, as the next: to the client each is a wrong password.
    #[error("{0}")]
    Wrong(&'static str),
    #[error(
        "the client's certificate is not this login's client_certificate, or that of several logins and none was \
         named: {0}"
    )]
    Certificate(Fingerprint),
    #[error("too many passwords wait to be checked")]
    Busy,
    /// Nobody has looked at the password. For so long none is looked at.
    #[error("too many wrong passwords from this address")]
    TooMany(Duration),
}

/// Who was let in: where to, and what opens the upstream.
#[derive(Debug)]
pub struct Admitted {
    pub route: Route,
    pub opening: Opening,
}

/// What an upstream is shown.
#[derive(Debug)]
pub enum Opening {
    /// What the program has given.
    Given(Credential),
    /// What is kept for the login.
    Kept(Means),
}

/// Where logins are proven.
pub struct Door {
    passwords: Passwords,
    /// Whether some login is proven here, and so to be told from none by nobody.
    proves: bool,
    image: Option<Image>,
}

/// What verifiers are made up with.
struct Image {
    /// The first account's: what is made up has its iterations.
    verifier: ScramVerifier,
    salts: Subkey,
}

/// The purpose of [`Image::salts`].
const SALTS: &str = "popbridge: salts for SCRAM that are made up";

impl Door {
    /// In front of these accounts. Nothing is remembered of another door, but for the salts that are
    /// made up: they last as long as the key does, which is read or made if there is a verifier.
    pub async fn new(accounts: &[Arc<Account>], keyring: &Keyring) -> Result<Self, KeyError> {
        let own: Vec<_> = accounts.iter().filter_map(|account| account.own_password.as_ref()).collect();
        let hashes: Vec<&PasswordHash> = own.iter().filter_map(|own| own.hash.as_ref()).collect();
        let image = match hashes.iter().find_map(|hash| hash.scram()).cloned() {
            Some(verifier) => Some(Image { verifier, salts: keyring.subkey(SALTS).await? }),
            None => None,
        };
        Ok(Self { passwords: Passwords::new(&hashes)?, proves: !own.is_empty(), image })
    }

    /// Whether a login can prove itself by SCRAM.
    pub fn knows_scram(&self) -> bool {
        self.image.is_some()
    }

    /// What an exchange of SCRAM is held with; `None` if nobody can use it. Who cannot be let in
    /// gets one that cannot be told from others and that no password leads to, always the same for
    /// the same login: a stranger sees the salt, and it must not show which logins there are.
    pub fn verifier(&self, accounts: &Accounts, login: &str, visitor: Visitor) -> Option<ScramVerifier> {
        let Image { verifier: image, salts } = self.image.as_ref()?;
        let route = accounts.route(login);
        let account = route.as_ref().and_then(|route| route.account.as_ref());
        let own = account.and_then(|account| accounts.verifier(&account.login));
        if let (Some(account), Some(own)) = (account, own) {
            let welcome = unwelcome(account, visitor).is_none();
            return Some(if welcome { own.clone() } else { own.locked() });
        }
        // A folder behind the name changes no real salt.
        let login = accounts.without_folder(login);
        Some(accounts.verifier(login).map_or_else(|| image.made_up(salts, login), ScramVerifier::locked))
    }

    /// Lets somebody through to where their login leads, or not.
    pub async fn admit(
        &self,
        route: Option<Route>,
        credentials: &Credentials,
        visitor: Visitor,
    ) -> Result<Admitted, Refused> {
        let claim = &credentials.claim;
        let Some(route) = route else {
            self.refuse(None, claim).await?;
            return Err(match claim {
                Claim::Certificate => no_certificate(visitor),
                _ if !self.proves => Refused::NoRoute,
                _ => Refused::Wrong("no upstream for this login"),
            });
        };
        let Some(account) = &route.account else { return passed_through(route, claim, visitor) };
        if let Some(reason) = unwelcome(account, visitor) {
            // In full, whatever is remembered: from here not even a right password is to be seen.
            self.refuse(account.own_password.as_ref(), claim).await?;
            return Err(Refused::Wrong(reason));
        }
        let Some(own) = &account.own_password else { return passed_through(route, claim, visitor) };
        self.prove(account, own, claim, visitor).await?;
        let opening = Opening::Kept(own.upstream.clone());
        Ok(Admitted { route, opening })
    }

    /// Whether the claim is true, for a login that is not the upstream's to judge.
    async fn prove(
        &self,
        account: &Account,
        own: &OwnPassword,
        claim: &Claim,
        visitor: Visitor,
    ) -> Result<(), Refused> {
        let hash = own.hash.as_ref();
        match claim {
            Claim::Password(password) => {
                let right = self.passwords.recognise(&account.login, hash, password).await?;
                right.then_some(()).ok_or(Refused::Wrong("the password is not the login's own"))
            }
            Claim::Scram(Some(proven)) if hash.and_then(PasswordHash::scram) == Some(proven) => Ok(()),
            Claim::Scram(_) => Err(Refused::Wrong("SCRAM has not proven the login's own password")),
            Claim::Certificate => match (visitor.certificate, account.client_certificate) {
                (Some(shown), Some(known)) if shown == known => Ok(()),
                _ => Err(no_certificate(visitor)),
            },
            Claim::Token { .. } => Err(Refused::Wrong("a token is no password of the login's own")),
        }
    }

    /// The work of a refusal.
    async fn refuse(&self, own: Option<&OwnPassword>, claim: &Claim) -> Result<(), Refused> {
        if let Claim::Password(password) = claim {
            self.passwords.compare(own.and_then(|own| own.hash.as_ref()), password).await?;
        }
        Ok(())
    }
}

/// Octets of a user name and a password together that a mail server is shown. What is longer, many
/// take for nonsense or for an attack; tokens they know.
const LONGEST: usize = 4096;

/// What the upstream judges.
fn passed_through(route: Route, claim: &Claim, visitor: Visitor) -> Result<Admitted, Refused> {
    let password = claim.secret().filter(|_| !takes_tokens(&route.upstream));
    if route.username.len() + password.map_or(0, |password| password.expose().len()) > LONGEST {
        return Err(Refused::Wrong("the login and its password are longer than 4 KiB"));
    }
    let credential = match claim {
        Claim::Password(password) => route.upstream.credential(password.clone()),
        Claim::Token { token, .. } if takes_tokens(&route.upstream) => Credential::Token(token.clone()),
        Claim::Token { .. } => return Err(Refused::Wrong("the upstream takes no tokens")),
        Claim::Scram(_) => return Err(Refused::Wrong("the login has no SCRAM verifier")),
        Claim::Certificate => return Err(no_certificate(visitor)),
    };
    Ok(Admitted { route, opening: Opening::Given(credential) })
}

fn no_certificate(visitor: Visitor) -> Refused {
    visitor.certificate.map_or(Refused::Wrong("no certificate was shown"), Refused::Certificate)
}

/// Why an account may not be used from there.
fn unwelcome(account: &Account, visitor: Visitor) -> Option<&'static str> {
    if !account.allow.is_empty() && !contains(&account.allow, visitor.address) {
        return Some("the login's allow does not name this address");
    }
    (account.require_tls && !visitor.tls).then_some("the login's require_tls wants TLS")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Accounts;
    use crate::auth::passwords::{REMEMBERED, Stopped};
    use crate::config::Config;
    use crate::secret::Secret;
    use std::net::IpAddr;
    use std::path::Path;
    use tokio::time::advance;

    /// Of "password".
    const HASH: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    const UPSTREAM: &str = "[upstream.a]\nurl = \"imaps://a.example\"\ndomains = [\"a.example\"]\n";
    const HOME: Visitor = Visitor {
        address: IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 7)),
        tls: false,
        certificate: None,
    };

    struct House {
        accounts: Accounts,
        door: Door,
    }

    impl House {
        async fn new(accounts: &str) -> Self {
            let config = Config::parse(&format!("{UPSTREAM}{accounts}"), "test", Path::new("."));
            let config = config.expect("a configuration");
            let keyring = Keyring::in_memory().expect("random numbers");
            let door = Door::new(&config.accounts, &keyring).await.expect("a key");
            Self { accounts: Accounts::new(config.upstreams, config.accounts), door }
        }

        async fn knock(&self, login: &str, password: &str, visitor: Visitor) -> Result<String, Refused> {
            let password = Secret::new(password.as_bytes().to_vec());
            self.claim(login, Claim::Password(password), visitor).await
        }

        async fn claim(&self, login: &str, claim: Claim, visitor: Visitor) -> Result<String, Refused> {
            let credentials = Credentials { login: login.to_owned(), claim };
            let admitted = self.door.admit(self.accounts.route(login), &credentials, visitor).await;
            admitted.map(|admitted| admitted.route.username)
        }

        /// No more passwords are hashed: what needs it is `Busy`.
        fn stop_hashing(&self) -> Stopped {
            self.door.passwords.stop()
        }
    }

    fn scanner(more: &str) -> String {
        format!(
            "[[account]]\nlogin = \"scanner\"\nupstream = \"a\"\nusername = \"alice\"\n\
             password_hash = \"{HASH}\"\npassword_env = \"CARGO_PKG_NAME\"\n{more}\n"
        )
    }

    fn is_wrong(refused: &Result<String, Refused>) -> bool {
        matches!(refused, Err(Refused::Wrong(_)))
    }

    #[tokio::test]
    async fn a_login_with_its_own_password_needs_that() {
        let house = House::new(&scanner("")).await;
        assert_eq!(house.knock("scanner", "password", HOME).await, Ok("alice".to_owned()));
        assert_eq!(house.knock("scanner+Work", "password", HOME).await, Ok("alice".to_owned()));
        for wrong in ["", "Password", "password ", HASH] {
            assert!(is_wrong(&house.knock("scanner", wrong, HOME).await), "{wrong}");
            assert!(is_wrong(&house.knock("scanner+Work", wrong, HOME).await), "{wrong}");
        }
        assert!(house.knock("x@a.example", "anything", HOME).await.is_ok(), "its upstream judges");
        assert!(is_wrong(&house.knock("nobody", "password", HOME).await));
    }

    #[tokio::test(start_paused = true)]
    async fn a_right_password_is_remembered_for_a_while() {
        let house = House::new(&scanner("")).await;
        assert!(house.knock("scanner", "password", HOME).await.is_ok());
        let stopped = house.stop_hashing();
        assert!(house.knock("scanner", "password", HOME).await.is_ok());
        assert_eq!(house.knock("scanner", "passwore", HOME).await, Err(Refused::Busy));
        advance(REMEMBERED).await;
        assert_eq!(house.knock("scanner", "password", HOME).await, Err(Refused::Busy));
        drop(stopped);
        assert!(is_wrong(&house.knock("scanner", "passwore", HOME).await));
        let _stopped = house.stop_hashing();
        assert_eq!(
            house.knock("scanner", "passwore", HOME).await,
            Err(Refused::Busy),
            "only the right one is"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_unwelcome_learns_nothing() {
        let house = House::new(&scanner("allow = [\"192.168.1.0/24\"]\nrequire_tls = true")).await;
        let inside = Visitor { tls: true, ..HOME };
        let outside = Visitor { address: [203, 0, 113, 5].into(), ..inside };
        assert!(house.knock("scanner", "password", inside).await.is_ok());
        let mapped = Visitor { address: "::ffff:192.168.1.9".parse().expect("an address"), ..inside };
        assert!(house.knock("scanner", "password", mapped).await.is_ok());
        for visitor in [HOME, outside] {
            assert!(is_wrong(&house.knock("scanner", "password", visitor).await), "{visitor:?}");
            assert!(is_wrong(&house.knock("scanner+Work", "password", visitor).await), "{visitor:?}");
        }
        // As much work as for a wrong password, whatever is remembered.
        let _stopped = house.stop_hashing();
        assert!(house.knock("scanner", "password", inside).await.is_ok(), "remembered");
        for (login, password, visitor) in [
            ("scanner", "wrong", inside),
            ("scanner", "password", outside),
            ("scanner", "password", HOME),
            ("nobody", "password", inside),
        ] {
            assert_eq!(house.knock(login, password, visitor).await, Err(Refused::Busy), "{login}");
        }
    }

    #[tokio::test]
    async fn a_login_without_its_own_password_can_be_kept_to_a_network() {
        let house = House::new("[[account]]\nlogin = \"x@a.example\"\nallow = [\"10.0.0.0/8\"]\n").await;
        assert!(is_wrong(&house.knock("x@a.example", "anything", HOME).await));
        let inside = Visitor { address: [10, 1, 2, 3].into(), ..HOME };
        assert!(house.knock("x@a.example", "anything", inside).await.is_ok());
        assert!(house.knock("y@a.example", "anything", HOME).await.is_ok());
        assert_eq!(house.knock("nobody", "x", HOME).await, Err(Refused::NoRoute), "nothing to hide");
    }

    #[tokio::test]
    async fn a_house_of_certificates_shows_no_devices() {
        let account = format!(
            "[[account]]\nlogin = \"scanner\"\nupstream = \"a\"\npassword_env = \"A\"\n\
             client_certificate = \"{}\"\n[tls]\nself_signed = true\nclient_ca = \"ca.pem\"\n",
            Fingerprint::of(b"abc")
        );
        let house = House::new(&account).await;
        for login in ["scanner", "scanner+Work", "nobody"] {
            assert!(is_wrong(&house.knock(login, "password", HOME).await), "{login}");
        }
    }

    #[tokio::test]
    async fn a_claim_opens_the_login_that_it_proves() {
        let verifier = |password: &str| {
            let password = Secret::new(password.as_bytes().to_vec());
            ScramVerifier::of(&password).expect("a password")
        };
        let (own, other) = (verifier("pencil"), verifier("pencil"));
        let shown = Visitor { tls: true, certificate: Some(Fingerprint::of(b"abc")), ..HOME };
        let house = House::new(&format!(
            "[[account]]\nlogin = \"a\"\nupstream = \"a\"\nusername = \"alice\"\npassword_env = \"A\"\n\
             password_hash = \"{}\"\nclient_certificate = \"{}\"\n[[account]]\nlogin = \"b\"\n\
             upstream = \"a\"\npassword_env = \"A\"\npassword_hash = \"{HASH}\"\n\
             [tls]\nself_signed = true\nclient_ca = \"ca.pem\"\n\
             [upstream.t]\nurl = \"imaps://t.example\"\ndomains = [\"t.example\"]\n\
             authentication = \"oauth2\"\n",
            own.as_str(),
            Fingerprint::of(b"abc")
        ))
        .await;
        let token = || Claim::Token { token: Secret::new(b"t".to_vec()), refusal: "" };
        for claim in [Claim::Scram(Some(own.clone())), Claim::Certificate] {
            assert_eq!(house.claim("a", claim, shown).await, Ok("alice".to_owned()));
        }
        for claim in
            [Claim::Scram(None), Claim::Scram(Some(other)), Claim::Scram(Some(own.locked())), token()]
        {
            assert!(is_wrong(&house.claim("a", claim, shown).await));
        }
        assert!(is_wrong(&house.claim("a", Claim::Certificate, HOME).await), "none was shown");
        let stranger = Visitor { certificate: Some(Fingerprint::of(b"abd")), ..shown };
        for (login, visitor) in [("a", stranger), ("b", shown), ("x@a.example", shown), ("nobody", shown)] {
            let refused = house.claim(login, Claim::Certificate, visitor).await;
            assert!(matches!(refused, Err(Refused::Certificate(_))), "{login}: {refused:?}");
        }
        for login in ["b", "x@a.example", "nobody"] {
            assert!(is_wrong(&house.claim(login, Claim::Scram(Some(own.clone())), HOME).await), "{login}");
        }
        assert!(is_wrong(&house.claim("b", token(), HOME).await));
        assert!(is_wrong(&house.claim("x@a.example", token(), HOME).await), "its upstream takes none");
        assert!(house.claim("x@t.example", token(), HOME).await.is_ok(), "its upstream judges");
    }
}
