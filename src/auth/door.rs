//! Who may come in: logins with a password of their own prove it here, before their upstream hears
//! of anything. All others the upstream judges.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use super::{Credentials, Route};
use crate::config::{Account, contains};
use crate::secret::{NoRandom, PasswordHash, Proof, Prover, Secret};

/// How long a password that was right need not be hashed again: a program that polls every minute
/// would cost 20 MiB and 30 ms each time.
const REMEMBERED: Duration = Duration::from_secs(5 * 60);

/// How long a login waits for its turn to be hashed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where a client is, and how.
#[derive(Debug, Clone, Copy)]
pub struct Visitor {
    pub address: IpAddr,
    pub tls: bool,
}

/// Why somebody is not let in.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("no upstream for this login")]
    NoRoute,
    /// For the log only: to the client each is a wrong password.
    #[error("{0}")]
    Wrong(&'static str),
    #[error("too many passwords wait to be checked")]
    Busy,
    /// Nobody has looked at the password. For so long none is looked at.
    #[error("too many wrong passwords from this address")]
    TooMany(Duration),
}

/// What a password costs in memory and time, and so how many are checked at once.
pub struct Door {
    prover: Prover,
    turns: Arc<Semaphore>,
    /// By login: what was right lately.
    recent: Mutex<HashMap<String, (Proof, Instant)>>,
    /// The dearest hash. Who cannot be let in is compared with it, so that the time tells nothing
    /// of which logins there are. `None`: no login has a password of its own.
    decoy: Option<PasswordHash>,
}

impl Door {
    /// In front of these accounts. Nothing is remembered of another door.
    pub fn new(accounts: &[Arc<Account>]) -> Result<Self, NoRandom> {
        let hashes = accounts.iter().filter_map(|account| account.own_password.as_ref()).map(|own| &own.hash);
        Ok(Self {
            prover: Prover::new()?,
            turns: Arc::new(Semaphore::new(available_parallelism().map_or(1, usize::from))),
            recent: Mutex::default(),
            decoy: hashes.max_by_key(|hash| hash.cost()).cloned(),
        })
    }

    /// Lets somebody through to where their login leads, or not.
    pub async fn admit(
        &self,
        route: Option<Route>,
        credentials: &Credentials,
        visitor: Visitor,
    ) -> Result<Route, Refused> {
        let password = &credentials.password;
        let Some(route) = route else {
            let Some(decoy) = &self.decoy else { return Err(Refused::NoRoute) };
            self.compare(decoy, password).await?;
            return Err(Refused::Wrong("no upstream for this login"));
        };
        let Some(account) = &route.account else { return Ok(route) };
        let hash = account.own_password.as_ref().map(|own| &own.hash);
        if let Some(reason) = unwelcome(account, visitor) {
            // In full, whatever is remembered: from here not even a right password is to be seen.
            if let Some(hash) = hash.or(self.decoy.as_ref()) {
                self.compare(hash, password).await?;
            }
            return Err(Refused::Wrong(reason));
        }
        match hash {
            Some(hash) if !self.recognise(account, hash, password).await? => {
                Err(Refused::Wrong("the password is not the login's own"))
            }
            _ => Ok(route),
        }
    }

    async fn recognise(
        &self,
        account: &Account,
        hash: &PasswordHash,
        password: &Secret,
    ) -> Result<bool, Refused> {
        let proof = self.prover.proof(hash.as_str(), &account.login, password);
        let known = self
            .recent()
            .get(&account.login)
            .is_some_and(|(right, since)| *right == proof && since.elapsed() < REMEMBERED);
        if known {
            return Ok(true);
        }
        let right = self.compare(hash, password).await?;
        if right {
            self.recent().insert(account.login.clone(), (proof, Instant::now()));
        }
        Ok(right)
    }

    /// Hashes a password, when it is its turn.
    async fn compare(&self, hash: &PasswordHash, password: &Secret) -> Result<bool, Refused> {
        let turn = timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(Refused::Busy) };
        let (hash, password) = (hash.clone(), password.clone());
        let hashing = spawn_blocking(move || {
            // Kept to the end of the work, even if the client has gone.
            let _turn = turn;
            hash.is_of(&password)
        });
        // It does not panic; at worst the program is about to end.
        hashing.await.map_err(|_| Refused::Busy)
    }

    fn recent(&self) -> MutexGuard<'_, HashMap<String, (Proof, Instant)>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    use crate::config::Config;
    use std::path::Path;
    use tokio::sync::OwnedSemaphorePermit;
    use tokio::time::advance;

    /// Of "password".
    const HASH: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    const UPSTREAM: &str = "[upstream.a]\nurl = \"imaps://a.example\"\ndomains = [\"a.example\"]\n";
    const HOME: Visitor =
        Visitor { address: IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 7)), tls: false };

    struct House {
        accounts: Accounts,
        door: Door,
    }

    impl House {
        fn new(accounts: &str) -> Self {
            let config = Config::parse(&format!("{UPSTREAM}{accounts}"), "test", Path::new("."));
            let config = config.expect("a configuration");
            let door = Door::new(&config.accounts).expect("random numbers");
            Self { accounts: Accounts::new(config.upstreams, config.accounts), door }
        }

        async fn knock(&self, login: &str, password: &str, visitor: Visitor) -> Result<String, Refused> {
            let password = Secret::new(password.as_bytes().to_vec());
            let credentials = Credentials { login: login.to_owned(), password };
            let admitted = self.door.admit(self.accounts.route(login), &credentials, visitor).await;
            admitted.map(|route| route.username)
        }

        /// No more passwords are hashed: what needs it is `Busy`.
        fn stop_hashing(&self) -> Vec<OwnedSemaphorePermit> {
            let turns = &self.door.turns;
            let left = turns.available_permits();
            (0..left).map(|_| Arc::clone(turns).try_acquire_owned().expect("counted")).collect()
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
        let house = House::new(&scanner(""));
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
        let house = House::new(&scanner(""));
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
        let house = House::new(&scanner("allow = [\"192.168.1.0/24\"]\nrequire_tls = true"));
        let inside = Visitor { tls: true, ..HOME };
        let outside = Visitor { address: [203, 0, 113, 5].into(), tls: true };
        assert!(house.knock("scanner", "password", inside).await.is_ok());
        let mapped = Visitor { address: "::ffff:192.168.1.9".parse().expect("an address"), tls: true };
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
        let house = House::new("[[account]]\nlogin = \"x@a.example\"\nallow = [\"10.0.0.0/8\"]\n");
        assert!(is_wrong(&house.knock("x@a.example", "anything", HOME).await));
        let inside = Visitor { address: [10, 1, 2, 3].into(), ..HOME };
        assert!(house.knock("x@a.example", "anything", inside).await.is_ok());
        assert!(house.knock("y@a.example", "anything", HOME).await.is_ok());
        assert_eq!(house.knock("nobody", "x", HOME).await, Err(Refused::NoRoute), "nothing to hide");
    }
}
