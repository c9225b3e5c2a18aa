//! Who guesses passwords is answered late, and then not at all for a while; who has the right one
//! is not held up.
//!
//! Failures are counted by address, by what is guessed at, and by both together. The pair decides
//! for somebody who is known here, so that a wrong password in one device does not shut out the
//! others of the house. By what is guessed at alone nobody is refused: an attack from many places
//! must not lock the owner out.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::failures::{Failures, Limit};
use super::table::{Lasting, Table};
use super::turns::{Turn, Turns};
use super::{Accounts, Claim, Credentials, Refused, Route};
use crate::config::Security;
use crate::network::network;
use crate::secret::{NoRandom, Prover, Secret};

/// How late the first wrong password is answered; each further one twice as late.
const FIRST_DELAY: Duration = Duration::from_millis(500);
const LONGEST_DELAY: Duration = Duration::from_secs(8);

/// The same wrong password again so soon, and so often, is one mistake: programs try it with AUTH
/// PLAIN, AUTH LOGIN and PASS, one behind the other.
const REPEATED: Duration = Duration::from_secs(60);
const WAYS: u32 = 3;

/// How long it is known that a password was right at an address, and which.
const KNOWN: Duration = Duration::from_secs(24 * 60 * 60);

/// Logins at once whose password was not right lately. At one account; so one more than allowed can
/// be tried there at the same moment.
const ACCOUNT_AT_ONCE: usize = 2;
/// From one address, which may be that of a proxy: as many as are connected to a mail server at
/// the same time.
const ADDRESS_AT_ONCE: usize = 16;

/// How long a login waits for its turn.
const PATIENCE: Duration = Duration::from_secs(20);

/// Entries of each table: some 10 MiB in all when each is full.
const MANY: usize = 50_000;

/// What was tried lately, and how it went.
pub struct Throttle {
    limit: Limit,
    keys: RandomState,
    prover: Prover,
    tables: Mutex<Tables>,
    accounts: Turns,
    addresses: Turns,
}

struct Tables {
    addresses: Table<Failures>,
    accounts: Table<Failures>,
    pairs: Table<Pair>,
    right: Table<Right>,
}

/// What is tried from one address at one account.
struct Pair {
    failures: Failures,
    /// The last one.
    mistake: Option<Mistake>,
    /// A right password came from there: until then it is somebody who is known.
    known: Instant,
}

impl Pair {
    fn fresh(now: Instant) -> Self {
        Self { failures: Failures::none(now), mistake: None, known: now }
    }
}

impl Lasting for Pair {
    fn until(&self) -> Instant {
        self.failures.until().max(self.known)
    }
}

/// A wrong password, since when and how often.
struct Mistake {
    password: u64,
    since: Instant,
    tries: u32,
}

/// The password that was right.
struct Right {
    password: u64,
    until: Instant,
}

impl Lasting for Right {
    fn until(&self) -> Instant {
        self.until
    }
}

/// A password on its way to who judges it. Dropped without a verdict it was none: an outage says
/// nothing about a password.
pub struct Attempt<'a> {
    throttle: &'a Throttle,
    address: u64,
    account: u64,
    pair: u64,
    /// `None`: nothing that could be told from others.
    password: Option<u64>,
    turns: Vec<Turn<'a>>,
}

impl Throttle {
    /// Nothing was tried yet.
    pub fn new(security: &Security) -> Result<Self, NoRandom> {
        Ok(Self {
            limit: Limit::new(security.max_login_failures, security.login_failure_window),
            keys: RandomState::new(),
            prover: Prover::new()?,
            tables: Mutex::new(Tables {
                addresses: Table::new(MANY),
                accounts: Table::new(MANY),
                pairs: Table::new(MANY),
                right: Table::new(MANY),
            }),
            accounts: Turns::new(ACCOUNT_AT_ONCE),
            addresses: Turns::new(ADDRESS_AT_ONCE),
        })
    }

    /// Lets a password be tried, when it is its turn; or not, whether it would be right or wrong.
    pub async fn attempt(
        &self,
        address: IpAddr,
        credentials: &Credentials,
        accounts: &Accounts,
    ) -> Result<Attempt<'_>, Refused> {
        let mut attempt = self.guess(address, &credentials.login, accounts, credentials.claim.secret());
        attempt.permitted()?;
        if !attempt.was_right() {
            let turns = attempt.turns(can_be_guessed(&credentials.claim));
            attempt.turns = timeout(PATIENCE, turns).await.map_err(|_| Refused::Busy)?;
            // Others may have failed meanwhile.
            attempt.permitted()?;
        }
        Ok(attempt)
    }

    /// Whether nothing can be tried from there at this login just now.
    pub fn shuts_out(&self, address: IpAddr, login: &str, accounts: &Accounts) -> bool {
        self.guess(address, login, accounts, None).permitted().is_err()
    }

    fn guess(
        &self,
        address: IpAddr,
        login: &str,
        accounts: &Accounts,
        password: Option<&Secret>,
    ) -> Attempt<'_> {
        let (place, name) = guessed(login, accounts);
        let address = self.keys.hash_one(network(address));
        let account = self.keys.hash_one((&place, &name));
        let pair = self.keys.hash_one((address, account));
        let password = password.map(|password| self.prover.proof(&place, &name, password).fingerprint());
        Attempt { throttle: self, address, account, pair, password, turns: Vec::new() }
    }

    /// Something came from there that cannot even be tried; how late it is to be answered.
    pub fn malformed(&self, address: IpAddr) -> Duration {
        let now = Instant::now();
        let address = self.keys.hash_one(network(address));
        let mut tables = self.tables();
        let failures = tables.addresses.entry(address, now, Failures::none(now));
        failures.add(self.limit, now);
        delay(failures.count(self.limit, now))
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Attempt<'a> {
    /// The password is right: whoever comes from there is known, and what failed at this account
    /// from there is forgotten; what failed at others is not.
    pub fn succeeded(&mut self) {
        self.turns.clear();
        let now = Instant::now();
        let until = now + KNOWN;
        let mut tables = self.throttle.tables();
        *tables.pairs.entry(self.pair, now, Pair::fresh(now)) = Pair { known: until, ..Pair::fresh(now) };
        let Some(password) = self.password else { return };
        let right = |until| Right { password, until };
        *tables.right.entry(self.account, now, right(now)) = right(until);
    }

    /// The password is wrong; how late that is to be answered.
    pub fn failed(self) -> Duration {
        let (limit, now) = (self.throttle.limit, Instant::now());
        let mut tables = self.throttle.tables();
        if self.password_is_right(&tables, now) {
            // Not any more.
            tables.right.remove(self.account);
        }
        let Tables { addresses, accounts, pairs, .. } = &mut *tables;
        let pair = pairs.entry(self.pair, now, Pair::fresh(now));
        let last = pair.mistake.as_mut().filter(|last| Some(last.password) == self.password);
        let guessed = last.is_none();
        let counted = match last {
            Some(last) if last.tries < WAYS && last.since + REPEATED > now => {
                last.tries += 1;
                false
            }
            _ => {
                pair.failures.add(limit, now);
                pair.mistake = self.password.map(|password| Mistake { password, since: now, tries: 1 });
                true
            }
        };
        let mut count = pair.failures.count(limit, now);
        // A device that tries its old password for ever guesses no more than once: its address is
        // also that of others.
        for (failures, counted) in [
            (accounts.entry(self.account, now, Failures::none(now)), counted),
            (addresses.entry(self.address, now, Failures::none(now)), guessed),
        ] {
            if counted {
                failures.add(limit, now);
            }
            count = count.max(failures.count(limit, now));
        }
        delay(count)
    }

    /// Whether there were too many failures from there.
    fn permitted(&self) -> Result<(), Refused> {
        let (limit, now) = (self.throttle.limit, Instant::now());
        let tables = self.throttle.tables();
        let pair = tables.pairs.get(self.pair, now);
        let from_there = match pair {
            Some(pair) if pair.known > now => None,
            _ => tables.addresses.get(self.address, now),
        };
        let waits = [pair.map(|pair| pair.failures), from_there.copied()];
        match waits.into_iter().flatten().filter_map(|failures| failures.wait(limit, now)).max() {
            Some(wait) => Err(Refused::TooMany(wait)),
            None => Ok(()),
        }
    }

    /// The address's turn before that of an account that is guessed at: who waits from one address must not keep others
    /// from the accounts that it tries. Somebody who is known needs none of the address's.
    async fn turns(&self, guess: bool) -> Vec<Turn<'a>> {
        let mut turns = Vec::new();
        if !self.is_known() {
            turns.push(self.throttle.addresses.take(self.address).await);
        }
        if guess {
            turns.push(self.throttle.accounts.take(self.account).await);
        }
        turns
    }

    fn is_known(&self) -> bool {
        let now = Instant::now();
        self.throttle.tables().pairs.get(self.pair, now).is_some_and(|pair| pair.known > now)
    }

    fn was_right(&self) -> bool {
        self.password_is_right(&self.throttle.tables(), Instant::now())
    }

    fn password_is_right(&self, tables: &Tables, now: Instant) -> bool {
        tables.right.get(self.account, now).is_some_and(|right| Some(right.password) == self.password)
    }
}

/// Whether a claim may be somebody's guess, of which few are tried at an account at once. What SCRAM
/// has proven, and a certificate, is none: its owner waits for no guesser's turn.
fn can_be_guessed(claim: &Claim) -> bool {
    match claim {
        Claim::Password(_) | Claim::Token { .. } | Claim::Scram(None) => true,
        Claim::Scram(Some(_)) | Claim::Certificate => false,
    }
}

/// What a password is guessed of: a device's own, or the mailbox behind whatever folder. Mail
/// servers mostly take a name in any case. A login that leads nowhere is folded as a device's is:
/// the delays would show which devices there are.
fn guessed(login: &str, accounts: &Accounts) -> (String, String) {
    match accounts.route(login) {
        Some(Route { account: Some(account), .. }) if account.own_password.is_some() => {
            (String::new(), account.login.to_lowercase())
        }
        Some(route) => (route.upstream.name.clone(), route.username.to_lowercase()),
        None => (String::new(), accounts.without_folder(login).to_lowercase()),
    }
}

fn delay(failures: u32) -> Duration {
    let doubled = failures.saturating_sub(1).min(16);
    FIRST_DELAY.saturating_mul(1 << doubled).min(LONGEST_DELAY)
}
