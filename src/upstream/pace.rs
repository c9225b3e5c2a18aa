//! How fast each account may go: what servers that ask for less haste have said, obeyed by all
//! connections of the account. In memory only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::error::{Error, Result};
use super::response::Status;
use super::seats::Owner;
use super::throttle::Throttle;

/// The pause where the server does not say for how long; each next one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The least where it says: one that says "1 ms" for ever must not be asked for ever.
const LEAST_PAUSE: Duration = Duration::from_millis(100);
/// Nor is it waited for longer, whatever it says.
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);
/// What a command waits after one that was done, but grudgingly; doubled as well.
const FIRST_DELAY: Duration = Duration::from_millis(250);
const LONGEST_DELAY: Duration = Duration::from_secs(2);
/// Up to this share more of each, so that accounts that went together do not come back together.
const JITTER: f64 = 0.2;
/// After so long without a new one, pauses begin with the first again.
const QUIET: Duration = Duration::from_secs(10 * 60);
/// So many accounts are remembered.
const MANY: usize = 10_000;

/// What the servers have said; cheap to clone.
#[derive(Clone, Default)]
pub struct Pace(Arc<Mutex<HashMap<Owner, Account>>>);

#[derive(Default)]
struct Account {
    stop: Option<Pause>,
    slow: Option<Pause>,
}

#[derive(Clone, Copy)]
struct Pause {
    until: Instant,
    /// How many there were before it.
    earlier: u32,
}

/// Time to wait, and up to `share` more by chance.
pub fn jittered(pause: Duration, share: f64) -> Duration {
    pause + pause.mul_f64(fastrand::f64() * share)
}

impl Pace {
    /// The server has said this of the account. In a pause it is no new pause: several commands
    /// are refused at once where several were on their way.
    pub fn heard(&self, owner: &Owner, throttle: Throttle) {
        let now = Instant::now();
        let mut accounts = self.accounts();
        make_room(&mut accounts, owner, now);
        let account = accounts.entry(owner.clone()).or_default();
        let begun = match throttle {
            Throttle::Slow => begin(&mut account.slow, now, Duration::ZERO, FIRST_DELAY, LONGEST_DELAY),
            Throttle::Stop(None) => begin(&mut account.stop, now, Duration::ZERO, FIRST_PAUSE, LONGEST_PAUSE),
            Throttle::Stop(Some(stated)) => begin(&mut account.stop, now, stated, LEAST_PAUSE, LONGEST_PAUSE),
        };
        drop(accounts);
        let Some((pause, earlier)) = begun else { return };
        let (upstream, username) = owner;
        match throttle {
            Throttle::Stop(_) => {
                tracing::warn!(%upstream, %username, ?pause, "the mail server asks for less haste");
            }
            Throttle::Slow if earlier == 0 => {
                tracing::info!(%upstream, %username, "the mail server slows down");
            }
            Throttle::Slow => tracing::debug!(%upstream, %username, ?pause, "the mail server slows down"),
        }
    }

    /// How long the account's server is to be left alone.
    pub fn pause(&self, owner: &Owner) -> Option<Duration> {
        left(self.accounts().get(owner)?.stop)
    }

    /// How long the next command is to wait that may go, but slowly.
    pub fn delay(&self, owner: &Owner) -> Option<Duration> {
        left(self.accounts().get(owner)?.slow)
    }

    /// Waits as long as the server wants; an error at once where that is longer than `patience`.
    /// True behind a pause: the server may have hung up in it.
    pub async fn obey(&self, owner: &Owner, patience: Duration) -> Result<bool> {
        let begun = Instant::now();
        let mut paused = false;
        while let Some(left) = self.pause(owner) {
            if begun.elapsed().saturating_add(left) > patience {
                return Err(Error::Throttled(left));
            }
            paused = true;
            sleep(left).await;
        }
        if let Some(delay) = self.delay(owner) {
            sleep(delay).await;
        }
        Ok(paused)
    }

    fn accounts(&self) -> MutexGuard<'_, HashMap<Owner, Account>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins a pause: as long as `stated`, or as the growing one from `first` on. `None` if one is
/// under way, which lasts as long as `stated` at the least.
fn begin(
    pause: &mut Option<Pause>,
    now: Instant,
    stated: Duration,
    first: Duration,
    longest: Duration,
) -> Option<(Duration, u32)> {
    let until = |length: Duration| now + jittered(length.min(longest), JITTER);
    match pause {
        Some(under_way) if under_way.until > now => {
            if under_way.until < now + stated.min(longest) {
                under_way.until = until(stated);
            }
            None
        }
        before => {
            let recent = before.filter(|before| before.until + QUIET > now);
            let earlier = recent.map_or(0, |before| before.earlier.saturating_add(1));
            let until = until(stated.max(first.saturating_mul(1 << earlier.min(16))));
            *before = Some(Pause { until, earlier });
            Some((until - now, earlier))
        }
    }
}

fn left(pause: Option<Pause>) -> Option<Duration> {
    pause.map(|pause| pause.until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
}

/// Forgets what is long over, and if that is not enough, the account that may go on first.
fn make_room(accounts: &mut HashMap<Owner, Account>, owner: &Owner, now: Instant) {
    if accounts.len() < MANY || accounts.contains_key(owner) {
        return;
    }
    let end = |account: &Account| account.stop.iter().chain(&account.slow).map(|pause| pause.until).max();
    accounts.retain(|_, account| end(account).is_some_and(|until| until + QUIET > now));
    if accounts.len() >= MANY
        && let Some(first) =
            accounts.iter().min_by_key(|(_, account)| end(account)).map(|(owner, _)| owner.clone())
    {
        accounts.remove(&first);
    }
}

/// What one connection hears of its server's wishes, and for whom.
#[derive(Default)]
pub struct Pacer {
    of: Option<(Pace, Owner)>,
    heard: bool,
}

impl Pacer {
    /// For a connection of this account.
    pub fn new(pace: &Pace, owner: &Owner) -> Self {
        Self { of: Some((pace.clone(), owner.clone())), heard: false }
    }

    /// A status came.
    pub fn hear(&mut self, status: &Status) {
        let Some(throttle) = status.throttles() else { return };
        self.heard = true;
        if let Some((pace, owner)) = &self.of {
            pace.heard(owner, throttle);
        }
    }

    /// Whether the server has asked for less haste since this was last called.
    pub fn take_heard(&mut self) -> bool {
        std::mem::take(&mut self.heard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    const STOP: Throttle = Throttle::Stop(None);

    fn owner(name: &str) -> Owner {
        ("home".to_owned(), name.to_owned())
    }

    fn stated(milliseconds: u64) -> Throttle {
        Throttle::Stop(Some(Duration::from_millis(milliseconds)))
    }

    fn within(found: Option<Duration>, least: Duration) {
        let found = found.unwrap_or_default();
        assert!(found >= least && found <= least.mul_f64(1.0 + JITTER), "{found:?} for {least:?}");
    }

    /// A pause, which is then over.
    async fn pause(pace: &Pace, throttle: Throttle) -> Duration {
        pace.heard(&owner("alice"), throttle);
        let pause = pace.pause(&owner("alice")).expect("a pause");
        advance(pause).await;
        assert_eq!(pace.pause(&owner("alice")), None);
        pause
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_are_forgotten() {
        let pace = Pace::default();
        for seconds in [5, 10, 20, 40, 80, 160, 300, 300, 300] {
            within(Some(pause(&pace, STOP).await), Duration::from_secs(seconds));
        }
        advance(QUIET - Duration::from_secs(1)).await;
        within(Some(pause(&pace, STOP).await), LONGEST_PAUSE);
        advance(QUIET).await;
        within(Some(pause(&pace, STOP).await), FIRST_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_stated_is_obeyed_within_reason() {
        for (told, kept) in [(299_961, 299_961), (1, 100), (300_001, 300_000), (u64::MAX, 300_000)] {
            within(Some(pause(&Pace::default(), stated(told)).await), Duration::from_millis(kept));
        }
        // One that says "1 ms" again and again is asked less and less.
        let pace = Pace::default();
        for milliseconds in [100, 200, 400, 800, 1600] {
            within(Some(pause(&pace, stated(1)).await), Duration::from_millis(milliseconds));
        }
        within(Some(pause(&pace, stated(30_000)).await), Duration::from_secs(30));
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_in_a_pause_are_the_same_one() {
        let (pace, alice) = (Pace::default(), owner("alice"));
        for _ in 0..20 {
            pace.heard(&alice, STOP);
        }
        within(pace.pause(&alice), FIRST_PAUSE);
        pace.heard(&alice, stated(1));
        within(pace.pause(&alice), FIRST_PAUSE);
        // But what is stated is not cut short by it.
        pace.heard(&alice, stated(60_000));
        within(pace.pause(&alice), Duration::from_secs(60));
    }

    #[tokio::test(start_paused = true)]
    async fn accounts_pause_each_for_itself() {
        let pace = Pace::default();
        pace.heard(&owner("alice"), STOP);
        assert_eq!(pace.pause(&owner("bob")), None);
        assert_eq!(pace.pause(&("work".to_owned(), "alice".to_owned())), None);
        let pauses: Vec<_> = (0..50)
            .map(|number| {
                let owner = owner(&number.to_string());
                pace.heard(&owner, STOP);
                pace.pause(&owner)
            })
            .collect();
        assert!(pauses.windows(2).any(|pair| pair[0] != pair[1]), "they would all come back together");
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_obeyed_or_refused_at_once() {
        let (pace, alice) = (Pace::default(), owner("alice"));
        let begun = Instant::now();
        assert!(matches!(pace.obey(&alice, Duration::ZERO).await, Ok(false)));
        pace.heard(&alice, stated(8_000));
        let refused = pace.obey(&alice, Duration::from_secs(7)).await;
        assert!(matches!(refused, Err(Error::Throttled(left)) if left >= Duration::from_secs(8)));
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert!(matches!(pace.obey(&alice, Duration::from_secs(10)).await, Ok(true)));
        assert!(begun.elapsed() >= Duration::from_secs(8));
        assert!(matches!(pace.obey(&alice, Duration::MAX).await, Ok(false)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_server_is_asked_slowly() {
        let (pace, alice) = (Pace::default(), owner("alice"));
        for milliseconds in [250, 500, 1000, 2000, 2000] {
            pace.heard(&alice, Throttle::Slow);
            pace.heard(&alice, Throttle::Slow);
            within(pace.delay(&alice), Duration::from_millis(milliseconds));
            assert_eq!(pace.pause(&alice), None, "a login is let in");
            let begun = Instant::now();
            assert!(matches!(pace.obey(&alice, Duration::ZERO).await, Ok(false)));
            assert!(begun.elapsed() >= Duration::from_millis(milliseconds));
            assert_eq!(pace.delay(&alice), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let pace = Pace::default();
        pace.heard(&owner("early"), stated(1));
        for number in 0..MANY {
            pace.heard(&owner(&number.to_string()), STOP);
        }
        assert_eq!(pace.accounts().len(), MANY);
        assert_eq!(pace.pause(&owner("early")), None, "the first that is over goes");
        assert!(pace.pause(&owner("0")).is_some());
        advance(QUIET + LONGEST_PAUSE).await;
        pace.heard(&owner("late"), STOP);
        assert_eq!(pace.accounts().len(), 1);
    }
}
