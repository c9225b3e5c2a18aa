//! The steps of a search: each is told when it begins and when it ends, bounded in time, and kept
//! for the case that nothing is found.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use super::candidate::{Outcome, Source, Tried};

/// A step that takes longer has failed: somebody is waiting.
const LONGEST: Duration = Duration::from_secs(10);

/// In characters.
const LONGEST_TEXT: usize = 400;

/// What the standard library puts before the system's own words for a name that it cannot find.
const RESOLVING: &str = "failed to lookup address information: ";

/// All steps so far, in the order of their beginnings, and who hears of them.
pub struct Steps<F>(Mutex<(Vec<Tried>, F)>);

impl<F: FnMut(&Tried)> Steps<F> {
    pub fn new(tell: F) -> Self {
        Self(Mutex::new((Vec::new(), tell)))
    }

    /// Takes a step; `found` puts its result into words. `None` if it has failed.
    pub async fn take<T>(
        &self,
        source: Source,
        place: String,
        step: impl Future<Output = Result<T, String>>,
        found: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        let number = self.change(|tried| {
            tried.push(Tried { source, place, outcome: Outcome::Asking });
            tried.len() - 1
        });
        let result = timeout(LONGEST, step).await;
        let result = result.unwrap_or_else(|_| Err(format!("no answer within {} s", LONGEST.as_secs())));
        let outcome = match &result {
            Ok(result) => Outcome::Found(readable(&found(result))),
            Err(reason) => Outcome::Failed(readable(&reason.replace(RESOLVING, ""))),
        };
        self.change(|tried| {
            tried[number].outcome = outcome;
            number
        });
        result.ok()
    }

    /// What was tried.
    pub fn into_tried(self) -> Vec<Tried> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Changes a step and tells it.
    fn change(&self, change: impl FnOnce(&mut Vec<Tried>) -> usize) -> usize {
        let mut locked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (tried, tell) = &mut *locked;
        let number = change(tried);
        tell(&tried[number]);
        number
    }
}

/// What others have sent may be quoted: no control characters of theirs for a terminal,
/// and no more than a few lines.
fn readable(text: &str) -> String {
    text.chars()
        .take(LONGEST_TEXT)
        .map(|letter| if letter.is_control() { '\u{fffd}' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    #[tokio::test(start_paused = true)]
    async fn steps_are_told_and_kept_in_the_order_of_their_beginnings() {
        let mut told = Vec::new();
        let steps = Steps::new(|tried: &Tried| told.push(tried.to_string()));
        let slow =
            steps.take(Source::Srv, "slow".to_owned(), pending::<Result<u8, String>>(), |_| String::new());
        let quick = async { Err::<u8, _>("a\x1b[2Jb".to_owned()) };
        let quick = steps.take(Source::Mx, "quick".to_owned(), quick, |_| String::new());
        let good = steps.take(Source::Guess, "good".to_owned(), async { Ok(7) }, |seven| format!("{seven}"));
        assert_eq!(tokio::join!(slow, quick, good), (None, None, Some(7)));
        let kept: Vec<String> = steps.into_tried().iter().map(Tried::to_string).collect();
        assert_eq!(kept, ["slow: no answer within 10 s", "quick: a\u{fffd}[2Jb", "good: 7"]);
        let asked = ["asking slow …", "asking quick …", "quick: a\u{fffd}[2Jb", "asking good …", "good: 7"];
        assert_eq!(told, [&asked[..], &["slow: no answer within 10 s"]].concat());
    }
}
