//! How many sessions there may be, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::config::Limits;
use crate::network::network;

/// Counts the sessions that are open.
#[derive(Debug, Clone)]
pub struct Permits(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    sessions: usize,
    sessions_per_address: usize,
    open: Mutex<Open>,
    ended: Notify,
}

#[derive(Debug, Default)]
struct Open {
    sessions: usize,
    by_network: HashMap<u128, usize>,
}

/// One session's place, given back when dropped.
#[derive(Debug)]
pub struct Permit {
    shared: Arc<Shared>,
    network: u128,
}

impl Permits {
    /// None is taken yet.
    pub fn new(limits: &Limits) -> Self {
        Self(Arc::new(Shared {
            sessions: limits.sessions,
            sessions_per_address: limits.sessions_per_address,
            open: Mutex::default(),
            ended: Notify::new(),
        }))
    }

    /// A place for a client at `address`; `None` when there is none left. Of IPv6 a network counts,
    /// see [`network`].
    pub fn take(&self, address: IpAddr) -> Option<Permit> {
        let network = network(address);
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        let from_there = open.by_network.get(&network).copied().unwrap_or(0);
        if open.sessions >= self.0.sessions || from_there >= self.0.sessions_per_address {
            return None;
        }
        open.sessions += 1;
        open.by_network.insert(network, from_there + 1);
        Some(Permit { shared: Arc::clone(&self.0), network })
    }

    /// Sessions that are open.
    pub fn taken(&self) -> usize {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner).sessions
    }

    /// Resolves when no session is open.
    pub async fn all_returned(&self) {
        loop {
            let ended = self.0.ended.notified();
            if self.taken() == 0 {
                return;
            }
            ended.await;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.sessions -= 1;
        if let Some(count) = open.by_network.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                open.by_network.remove(&self.network);
            }
        }
        drop(open);
        self.shared.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::path::Path;

    #[tokio::test]
    async fn limits_hold_and_places_come_back() {
        let text =
            "[upstream.a]\nurl = \"imaps://a.example\"\n[limits]\nsessions = 3\nsessions_per_address = 2\n";
        let config = Config::parse(text, "test", Path::new(".")).expect("a configuration");
        let permits = Permits::new(&config.limits);
        let [one, two] = [[127, 0, 0, 1], [127, 0, 0, 2]].map(IpAddr::from);
        let first = permits.take(one);
        let second = permits.take(one);
        assert!(first.is_some() && second.is_some());
        assert!(permits.take(one).is_none());
        let third = permits.take(two);
        assert!(third.is_some());
        assert!(permits.take(two).is_none());
        drop(first);
        assert!(permits.take(two).is_some());
        drop((second, third));
        permits.all_returned().await;
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let text =
            "[upstream.a]\nurl = \"imaps://a.example\"\n[limits]\nsessions = 9\nsessions_per_address = 1\n";
        let config = Config::parse(text, "test", Path::new(".")).expect("a configuration");
        let permits = Permits::new(&config.limits);
        let take = |address: &str| permits.take(address.parse().expect("an address"));
        let first = take("2001:db8::1");
        assert!(first.is_some() && take("2001:db8::ffff:1:2:3").is_none());
        let others = [take("2001:db8:0:1::1"), take("192.0.2.7")];
        assert!(others.iter().all(Option::is_some) && take("::ffff:192.0.2.7").is_none());
        drop(first);
        assert!(take("2001:db8::2").is_some());
    }
}
