//! A table that strangers fill: nothing in it outlasts its time, and it never outgrows its bound.

use std::collections::HashMap;

use tokio::time::Instant;

/// What is of no meaning any more from some moment on.
pub trait Lasting {
    /// That moment.
    fn until(&self) -> Instant;
}

/// At most so many entries, found by a keyed hash: a name of 16 KiB takes no more room than another.
pub struct Table<V> {
    entries: HashMap<u64, V>,
    most: usize,
}

impl<V: Lasting> Table<V> {
    /// An empty one.
    pub fn new(most: usize) -> Self {
        Self { entries: HashMap::new(), most }
    }

    /// The entry, if it still means something.
    pub fn get(&self, key: u64, now: Instant) -> Option<&V> {
        self.entries.get(&key).filter(|entry| entry.until() > now)
    }

    /// The entry, or `fresh` in its place.
    pub fn entry(&mut self, key: u64, now: Instant, fresh: V) -> &mut V {
        if self.get(key, now).is_none() {
            self.entries.remove(&key);
            if self.entries.len() >= self.most {
                self.make_room(now);
            }
        }
        self.entries.entry(key).or_insert(fresh)
    }

    /// Forgets the entry.
    pub fn remove(&mut self, key: u64) {
        self.entries.remove(&key);
    }

    /// What is over goes; if little is, the half that would be over first. So the work is shared by
    /// as many entries that come.
    fn make_room(&mut self, now: Instant) {
        self.entries.retain(|_, entry| entry.until() > now);
        let half = self.most / 2;
        if self.entries.len() > half {
            let mut ends: Vec<Instant> = self.entries.values().map(Lasting::until).collect();
            let at = ends.len() - half;
            let (_, end, _) = ends.select_nth_unstable(at);
            let end = *end;
            // Many may end in the same moment: then all of them go.
            self.entries.retain(|_, entry| entry.until() > end);
        }
    }

    /// How many there are, also of those that are over.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::advance;

    struct Until(Instant);

    impl Lasting for Until {
        fn until(&self) -> Instant {
            self.0
        }
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_is_not_there() {
        let mut table = Table::new(10);
        let now = Instant::now();
        table.entry(1, now, Until(now + seconds(5)));
        table.entry(1, now, Until(now + seconds(500)));
        assert!(table.get(1, now).is_some_and(|entry| entry.0 == now + seconds(5)), "the first stays");
        assert!(table.get(2, now).is_none());
        advance(seconds(5)).await;
        let now = Instant::now();
        assert!(table.get(1, now).is_none());
        table.entry(1, now, Until(now + seconds(7)));
        assert!(table.get(1, now).is_some_and(|entry| entry.0 == now + seconds(7)));
        table.remove(1);
        assert!(table.get(1, now).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn it_never_outgrows_its_bound() {
        let mut table = Table::new(1000);
        let now = Instant::now();
        for key in 0..100_000 {
            table.entry(key, now, Until(now + seconds(1 + key)));
            assert!(table.len() <= 1000);
        }
        assert!(
            table.get(99_999, now).is_some() && table.get(99_600, now).is_some(),
            "the last stay longest"
        );
        assert!(table.get(0, now).is_none());
        for key in 100_000..200_000 {
            table.entry(key, now, Until(now + seconds(1)));
            assert!(table.len() <= 1000);
        }
        assert!(table.get(99_999, now).is_some(), "what lasts longer is not driven out by what does not");
        advance(seconds(200_000)).await;
        for key in 0..1001 {
            table.entry(key, Instant::now(), Until(Instant::now() + seconds(1)));
        }
        assert!(table.len() <= 1001);
    }
}
