//! What the throttle decides, with a clock of the test's own.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use popbridge::auth::{Accounts, Claim, Credentials, Refused, Throttle};
use popbridge::config::Config;
use popbridge::secret::{ScramVerifier, Secret};
use tokio::time::{Instant, advance, timeout};

const MINUTE: Duration = Duration::from_secs(60);
const HERE: &str = "192.0.2.7";
const THERE: &str = "198.51.100.9";
/// Of "password".
const HASH: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

struct Gate {
    throttle: Throttle,
    accounts: Accounts,
}

/// What became of a try: the delay of a wrong password, or how long none is looked at.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Late(Duration),
    Refused(Duration),
}
use Outcome::{Late, Refused as Shut};

impl Gate {
    fn new(security: &str) -> Self {
        let text = format!(
            "[upstream.home]\nurl = \"imaps://imap.example\"\n{security}\n\
             [[account]]\nlogin = \"scanner\"\nupstream = \"home\"\nusername = \"alice\"\npassword_hash = \"{HASH}\"\n\
             password_env = \"CARGO_PKG_NAME\"\n"
        );
        let config = Config::parse(&text, "test", Path::new(".")).expect("a configuration");
        let throttle = Throttle::new(&config.security).expect("random numbers");
        Self { throttle, accounts: Accounts::new(config.upstreams, config.accounts) }
    }

    async fn attempt(
        &self,
        address: &str,
        login: &str,
        password: &str,
    ) -> Result<popbridge::auth::Attempt<'_>, Refused> {
        let address: IpAddr = address.parse().expect("an address");
        let password = Secret::new(password.as_bytes().to_vec());
        let credentials = Credentials { login: login.to_owned(), claim: Claim::Password(password) };
        self.throttle.attempt(address, &credentials, &self.accounts).await
    }

    async fn wrong(&self, address: &str, login: &str, password: &str) -> Outcome {
        match self.attempt(address, login, password).await {
            Ok(attempt) => Late(attempt.failed()),
            Err(Refused::TooMany(wait)) => Shut(wait),
            Err(other) => panic!("{other}"),
        }
    }

    async fn right(&self, address: &str, login: &str) -> bool {
        match self.attempt(address, login, "right").await {
            Ok(mut attempt) => {
                attempt.succeeded();
                true
            }
            Err(_) => false,
        }
    }

    /// Five different wrong passwords.
    async fn exhaust(&self, address: &str, login: &str) {
        for number in 0..5 {
            let outcome = self.wrong(address, login, &format!("wrong{number}")).await;
            assert!(matches!(outcome, Late(_)), "{login} {number}: {outcome:?}");
        }
    }
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[tokio::test(start_paused = true)]
async fn delays_grow_then_nothing_is_looked_at() {
    let gate = Gate::new("");
    for (number, delay) in [500, 1000, 2000, 4000, 8000].into_iter().enumerate() {
        assert_eq!(gate.wrong(HERE, "alice", &number.to_string()).await, Late(ms(delay)));
    }
    assert_eq!(gate.wrong(HERE, "alice", "5").await, Shut(2 * MINUTE));
    assert!(!gate.right(HERE, "alice").await, "not even the right one");
    assert!(!gate.right(HERE, "bob").await, "whoever it is for");
    assert!(gate.right(THERE, "alice").await, "but from elsewhere");
    assert_eq!(gate.wrong(HERE, "alice", "5").await, Shut(2 * MINUTE), "to knock does not lengthen it");
    advance(2 * MINUTE).await;
    assert_eq!(gate.wrong(HERE, "alice", "5").await, Late(ms(8000)));
    assert_eq!(gate.wrong(HERE, "alice", "6").await, Shut(2 * MINUTE));
    advance(10 * MINUTE).await;
    assert_eq!(gate.wrong(HERE, "alice", "7").await, Late(ms(500)), "all is forgotten");
}

#[tokio::test(start_paused = true)]
async fn guesses_at_many_logins_are_one_address() {
    let gate = Gate::new("");
    for login in ["a", "b", "c", "d", "e"] {
        assert!(matches!(gate.wrong(HERE, login, "123456").await, Late(_)));
    }
    assert_eq!(gate.wrong(HERE, "f", "123456").await, Shut(2 * MINUTE));
}

#[tokio::test(start_paused = true)]
async fn a_network_of_ipv6_is_one_address() {
    let gate = Gate::new("");
    for number in 1..=5 {
        let outcome = gate.wrong(&format!("2001:db8::{number}"), "alice", &number.to_string()).await;
        assert!(matches!(outcome, Late(_)));
    }
    assert_eq!(gate.wrong("2001:db8::ffff:1:2:3", "alice", "x").await, Shut(2 * MINUTE));
    assert!(gate.right("2001:db8:0:1::1", "alice").await);
    gate.exhaust(HERE, "alice").await;
    assert_eq!(gate.wrong(&format!("::ffff:{HERE}"), "alice", "x").await, Shut(2 * MINUTE));
    assert!(gate.right("::1", "alice").await && gate.right("192.0.2.8", "alice").await);
}

#[tokio::test(start_paused = true)]
async fn who_is_known_goes_on_beside_who_guesses() {
    let gate = Gate::new("");
    assert!(gate.right(HERE, "alice").await);
    gate.exhaust(HERE, "bob").await;
    for _ in 0..1000 {
        assert!(gate.right(HERE, "alice").await);
    }
    assert!(!gate.right(HERE, "carol").await);
    // An account of one's own is no way to try others' for longer.
    assert_eq!(gate.wrong(HERE, "bob", "x").await, Shut(2 * MINUTE));
    // Nor is a house from where alice comes one to guess hers from.
    for number in 0..5 {
        assert!(matches!(gate.wrong(HERE, "alice", &number.to_string()).await, Late(_)));
    }
    assert!(!gate.right(HERE, "alice").await);
    assert!(gate.right(THERE, "alice").await);
    advance(25 * 60 * MINUTE).await;
    gate.exhaust(HERE, "bob").await;
    assert!(!gate.right(HERE, "alice").await, "a day later she is a stranger");
}

#[tokio::test(start_paused = true)]
async fn a_success_clears_its_own_account_only() {
    let gate = Gate::new("");
    for round in 0..2 {
        assert!(matches!(gate.wrong(HERE, "alice", &format!("a{round}")).await, Late(_)));
        assert!(matches!(gate.wrong(HERE, "mallory", &format!("m{round}")).await, Late(_)));
        assert!(gate.right(HERE, "mallory").await);
    }
    assert!(matches!(gate.wrong(HERE, "alice", "a2").await, Late(_)));
    assert!(matches!(gate.wrong(HERE, "alice", "a3").await, Shut(_)), "five wrong ones came from there");
}

#[tokio::test(start_paused = true)]
async fn one_mistake_tried_three_ways_is_one() {
    let gate = Gate::new("");
    for _ in 0..3 {
        assert_eq!(gate.wrong(HERE, "alice", "typo").await, Late(ms(500)));
    }
    for delay in [1000, 1000, 1000, 2000] {
        assert_eq!(gate.wrong(HERE, "alice", "typo").await, Late(ms(delay)), "but not more often");
    }
    assert_eq!(gate.wrong(HERE, "alice", "typi").await, Late(ms(4000)));
    assert_eq!(gate.wrong(HERE, "alice", "typo").await, Late(ms(8000)), "to take turns is to guess");
    assert!(matches!(gate.wrong(HERE, "alice", "typo").await, Shut(_)));
}

#[tokio::test(start_paused = true)]
async fn a_device_with_an_old_password_harms_itself_only() {
    let gate = Gate::new("");
    let mut tried = 0;
    for _ in 0..4 * 60 {
        if let Late(_) = gate.wrong(HERE, "scanner", "old").await {
            tried += 1;
        }
        advance(MINUTE / 4).await;
        assert!(gate.right(HERE, &format!("user{tried}")).await, "a stranger is let in beside it");
    }
    // In an hour: five, and one every two minutes, each in up to three ways.
    assert!((30..=3 * 35).contains(&tried), "{tried}");
    advance(2 * MINUTE).await;
    assert!(gate.right(HERE, "scanner").await, "the new one counts soon");
}

#[tokio::test(start_paused = true)]
async fn many_addresses_do_not_lock_the_owner_out() {
    let gate = Gate::new("");
    assert!(gate.right(HERE, "alice").await);
    for number in 0..20_000_u32 {
        let address = IpAddr::from(number.to_be_bytes()).to_string();
        let outcome = gate.wrong(&address, "alice", &number.to_string()).await;
        let least = if number < 4 { ms(500) } else { ms(8000) };
        assert!(matches!(outcome, Late(delay) if delay >= least), "{number}: {outcome:?}");
    }
    assert!(gate.right(HERE, "alice").await);
    assert!(gate.right(THERE, "alice").await, "nor from a new address");
    let other = gate.wrong(THERE, "bob", "typo").await;
    assert_eq!(other, Late(ms(500)), "nor is anybody else's mistake dearer");
}

#[tokio::test(start_paused = true)]
async fn folders_and_case_are_no_other_account() {
    let gate = Gate::new("");
    for (address, login, delay) in
        [("203.0.113.1", "alice", 500), ("203.0.113.2", "Alice+Work", 1000), (HERE, "ALICE+Lists", 2000)]
    {
        assert_eq!(gate.wrong(address, login, login).await, Late(ms(delay)));
    }
    // A device's password is one of its own.
    assert_eq!(gate.wrong(THERE, "scanner", "x").await, Late(ms(500)));
}

#[tokio::test(start_paused = true)]
async fn delays_do_not_show_which_devices_there_are() {
    for login in ["scanner", "nobody"] {
        let gate = Gate::new("domains = [\"a.example\"]");
        let written =
            [login.to_owned(), format!("{login}+Work"), login.to_uppercase(), format!("{login}+Old")];
        for (number, (login, delay)) in written.into_iter().zip([500, 1000, 2000, 4000]).enumerate() {
            let address = format!("203.0.113.{number}");
            assert_eq!(gate.wrong(&address, &login, "x").await, Late(ms(delay)), "{login}");
        }
        assert_eq!(gate.wrong(HERE, "other", "x").await, Late(ms(500)));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_proven_waits_for_no_guesser() {
    let gate = Gate::new("[security]\nmax_login_failures = 1\n");
    let here: IpAddr = HERE.parse().expect("an address");
    let guesses = [gate.attempt(HERE, "scanner", "a").await, gate.attempt(THERE, "scanner", "b").await];
    let claimed = async |claim: Claim| {
        let credentials = Credentials { login: "scanner".to_owned(), claim };
        gate.throttle.attempt(here, &credentials, &gate.accounts).await.map(drop)
    };
    let verifier = ScramVerifier::of(&Secret::new(b"pencil".to_vec())).expect("a password");
    for claim in [Claim::Scram(Some(verifier.clone())), Claim::Certificate] {
        let begun = Instant::now();
        assert_eq!(claimed(claim).await, Ok(()));
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
    assert_eq!(claimed(Claim::Scram(None)).await, Err(Refused::Busy), "what is not proven does wait");
    let [guess, _] = guesses;
    guess.expect("let in").failed();
    let refused = claimed(Claim::Scram(Some(verifier))).await;
    assert!(matches!(refused, Err(Refused::TooMany(_))), "who has guessed proves nothing: {refused:?}");
}

#[tokio::test(start_paused = true)]
async fn only_so_many_strangers_are_tried_at_once() {
    let gate = Gate::new("");
    let busy = async |address: &str, login: &str| {
        let attempt = timeout(Duration::from_secs(10), gate.attempt(address, login, "right")).await;
        attempt.is_err()
    };
    let first = gate.attempt(HERE, "alice", "a").await.expect("let in");
    let second = gate.attempt(THERE, "alice", "b").await.expect("let in");
    assert!(busy("192.0.2.100", "alice").await, "two at one account");
    let mut others = Vec::new();
    for number in 0..15 {
        others.push(gate.attempt(HERE, &format!("user{number}"), "c").await.expect("let in"));
    }
    assert!(busy(HERE, "erin").await, "sixteen from one address");
    let begun = Instant::now();
    let patient = gate.attempt(HERE, "erin", "f").await;
    assert!(matches!(patient, Err(Refused::Busy)));
    assert_eq!(begun.elapsed(), Duration::from_secs(20));
    second.failed();
    assert!(!busy("192.0.2.100", "alice").await);
    drop(others.pop());
    assert!(gate.right(HERE, "erin").await);
    others.push(gate.attempt(HERE, "dave", "g").await.expect("a turn was given back"));
    assert!(busy(HERE, "frank").await);
    // Whose password was right lately waits for nobody, from wherever.
    assert!(!busy(HERE, "erin").await && !busy("192.0.2.200", "erin").await);
    // Somebody who is known waits at the account alone, with whatever password.
    let known = timeout(Duration::from_secs(10), gate.attempt(HERE, "erin", "new")).await;
    assert!(known.is_ok());
    drop((first, others));
}

#[tokio::test(start_paused = true)]
async fn those_who_waited_are_looked_at_again() {
    let gate = Gate::new("[security]\nmax_login_failures = 1\n");
    let first = gate.attempt(HERE, "alice", "a").await.expect("let in");
    let second = gate.attempt(HERE, "alice", "b").await.expect("let in");
    let (third, ()) = tokio::join!(gate.attempt(HERE, "alice", "right"), async {
        first.failed();
        second.failed();
    });
    assert!(matches!(third, Err(Refused::TooMany(_))));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_refused_where_nothing_is_counted() {
    let gate = Gate::new("[security]\nmax_login_failures = 0\n");
    for number in 0..100 {
        let outcome = gate.wrong(HERE, "alice", &number.to_string()).await;
        let delay = ms(500 << number.min(4));
        assert_eq!(outcome, Late(delay));
    }
    assert!(gate.right(HERE, "alice").await);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_tried_counts_by_address() {
    let gate = Gate::new("");
    let here: IpAddr = HERE.parse().expect("an address");
    for delay in [500, 1000, 2000, 4000, 8000, 8000] {
        assert_eq!(gate.throttle.malformed(here), ms(delay));
    }
    assert!(!gate.right(HERE, "alice").await && gate.right(THERE, "alice").await);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_without_a_verdict_is_none() {
    let gate = Gate::new("");
    for number in 0..50 {
        assert!(gate.attempt(HERE, "alice", &number.to_string()).await.is_ok());
    }
    assert_eq!(gate.wrong(HERE, "alice", "x").await, Late(ms(500)));
}
