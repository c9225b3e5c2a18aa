//! How many wrong passwords there were lately, in one number: the generic cell rate algorithm
//! (GCRA). Each failure fades behind the one before it, so that after a burst one more is allowed
//! from time to time, and nobody is shut out for long.
//!
//! The crate governor counts the same way, but it cannot look without counting, nor forget, nor
//! be told the time by tests.

use std::time::Duration;

use tokio::time::Instant;

use super::table::Lasting;

/// So many more than the limit are counted; a long attack is not remembered for longer.
const BEYOND: u32 = 16;

/// How many failures are allowed at once, and how long one takes to fade.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    most: u32,
    each: Duration,
}

impl Limit {
    /// `most` failures in a `window`; 0: any number, and one fades in each window.
    pub fn new(most: u32, window: Duration) -> Self {
        let each = (window / most.max(1)).max(Duration::from_nanos(1));
        Self { most, each }
    }
}

/// Failures: the moment when the last of them has faded.
#[derive(Debug, Clone, Copy)]
pub struct Failures(Instant);

impl Failures {
    /// None yet.
    pub fn none(now: Instant) -> Self {
        Self(now)
    }

    /// One more.
    pub fn add(&mut self, limit: Limit, now: Instant) {
        let latest = now + limit.each.saturating_mul(limit.most.saturating_add(BEYOND));
        self.0 = (self.0.max(now) + limit.each).min(latest);
    }

    /// How many have not faded.
    pub fn count(self, limit: Limit, now: Instant) -> u32 {
        let left = self.0.saturating_duration_since(now).as_nanos();
        left.div_ceil(limit.each.as_nanos()).try_into().unwrap_or(u32::MAX)
    }

    /// How long until one more is allowed; `None`: it is.
    pub fn wait(self, limit: Limit, now: Instant) -> Option<Duration> {
        let allowed = limit.each.saturating_mul(limit.most.checked_sub(1)?);
        let wait = self.0.saturating_duration_since(now).saturating_sub(allowed);
        (!wait.is_zero()).then_some(wait)
    }
}

impl Lasting for Failures {
    fn until(&self) -> Instant {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_allowed_and_then_one_from_time_to_time() {
        let limit = Limit::new(5, 10 * MINUTE);
        let mut failures = Failures::none(Instant::now());
        for count in 1..=5 {
            assert_eq!(failures.wait(limit, Instant::now()), None, "{count}");
            failures.add(limit, Instant::now());
            assert_eq!(failures.count(limit, Instant::now()), count);
        }
        for _ in 0..3 {
            assert_eq!(failures.wait(limit, Instant::now()), Some(2 * MINUTE));
            advance(MINUTE).await;
            assert_eq!(failures.wait(limit, Instant::now()), Some(MINUTE));
            advance(MINUTE).await;
            assert_eq!(failures.wait(limit, Instant::now()), None);
            failures.add(limit, Instant::now());
        }
        assert_eq!(failures.count(limit, Instant::now()), 5);
        advance(10 * MINUTE).await;
        assert_eq!((failures.count(limit, Instant::now()), failures.until()), (0, Instant::now()));
        for _ in 0..5 {
            assert_eq!(failures.wait(limit, Instant::now()), None);
            failures.add(limit, Instant::now());
        }
        assert!(failures.wait(limit, Instant::now()).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_attack_is_forgotten_in_time() {
        let limit = Limit::new(5, 10 * MINUTE);
        let mut failures = Failures::none(Instant::now());
        for _ in 0..100_000 {
            failures.add(limit, Instant::now());
        }
        assert_eq!(failures.count(limit, Instant::now()), 5 + BEYOND);
        assert_eq!(failures.until(), Instant::now() + 42 * MINUTE);
    }

    #[tokio::test(start_paused = true)]
    async fn any_limit_can_be_counted_with() {
        for most in [0, 1, 2, u32::MAX] {
            for window in [Duration::from_secs(1), Duration::from_secs(30 * 24 * 60 * 60)] {
                let limit = Limit::new(most, window);
                let mut failures = Failures::none(Instant::now());
                for _ in 0..3 {
                    failures.add(limit, Instant::now());
                }
                assert_eq!(failures.count(limit, Instant::now()), 3, "{most} {window:?}");
                assert_eq!(failures.wait(limit, Instant::now()).is_some(), (1..=3).contains(&most));
            }
        }
    }
}
