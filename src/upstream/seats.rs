//! Which connections each account has: in use, or waiting for a session.

use std::collections::{HashMap, HashSet};

use tokio::time::Instant;

use super::keeper::Keeper;
use super::quirks::ConnectionLimits;
use crate::secret::Proof;

/// Upstream, and user name there.
pub type Owner = (String, String);

/// The connections of all accounts.
#[derive(Default)]
pub struct Seats {
    accounts: HashMap<Owner, Vec<Seat>>,
    next_id: u64,
    /// Accounts of which a session waits for a seat.
    wanted: HashSet<Owner>,
    /// What the upstreams bear, as far as they have shown who they are.
    limits: HashMap<String, ConnectionLimits>,
    closed: bool,
}

/// A connection's place in the count of its account.
struct Seat {
    id: u64,
    proof: Proof,
    /// When the server took the password; `None` before that, and once it is in doubt.
    proven: Option<Instant>,
    /// It waits for a session.
    keeper: Option<Keeper>,
}

/// What an account has for a session: the seat's number, unless all are in use.
pub enum Found {
    /// Logged in with the same password.
    Waiting(u64, Keeper),
    Free(u64),
    /// For which a connection that was logged in with another password has to go.
    Instead(u64, Keeper),
    None,
}

impl Seats {
    /// A seat for a session, of the `configured` number or of as many as the server bears.
    pub fn take(&mut self, owner: &Owner, proof: &Proof, configured: usize) -> Found {
        self.next_id += 1;
        // Always a new number: what a keeper still does must not touch the seat.
        let id = self.next_id;
        let most = configured.min(self.limits.get(&owner.0).map_or(usize::MAX, |limits| limits.account));
        let seats = self.accounts.entry(owner.clone()).or_default();
        for seat in seats.iter_mut().filter(|seat| seat.proof == *proof) {
            if let Some(keeper) = seat.keeper.take() {
                seat.id = id;
                return Found::Waiting(id, keeper);
            }
        }
        let new = Seat { id, proof: proof.clone(), proven: None, keeper: None };
        if seats.len() < most {
            seats.push(new);
            return Found::Free(id);
        }
        for seat in seats {
            if let Some(keeper) = seat.keeper.take() {
                *seat = new;
                return Found::Instead(id, keeper);
            }
        }
        Found::None
    }

    /// A session of this account waits for a seat, until one is given up.
    pub fn want(&mut self, owner: &Owner) {
        self.wanted.insert(owner.clone());
    }

    /// Whether a session of this account waits for a seat.
    pub fn is_wanted(&self, owner: &Owner) -> bool {
        self.wanted.contains(owner)
    }

    /// Gives up a seat that a session has, or else one that has a connection waiting.
    pub fn free(&mut self, owner: &Owner, id: u64, waiting: bool) {
        self.wanted.remove(owner);
        if let Some(seats) = self.accounts.get_mut(owner) {
            seats.retain(|seat| seat.id != id || seat.keeper.is_some() != waiting);
            if seats.is_empty() {
                self.accounts.remove(owner);
            }
        }
    }

    /// This seat's connection is going to be logged in with this.
    pub fn claim(&mut self, owner: &Owner, id: u64, proof: &Proof) {
        let mut seats = self.accounts.get_mut(owner).into_iter().flatten();
        if let Some(seat) = seats.find(|seat| seat.id == id && seat.proof != *proof) {
            (seat.proof, seat.proven) = (proof.clone(), None);
        }
    }

    /// A login with this proof was `taken`, or its password refused. What was logged in with another
    /// one, or with one that is no longer right, is of the past: it is in doubt, and what of it
    /// waits is to be dismissed.
    pub fn judged(&mut self, owner: &Owner, proof: &Proof, taken: Option<ConnectionLimits>) -> Vec<Keeper> {
        for seat in self.accounts.get_mut(owner).into_iter().flatten() {
            if (seat.proof == *proof) == taken.is_none() {
                seat.proven = None;
            }
        }
        if let Some(limits) = taken {
            self.limits.insert(owner.0.clone(), limits);
        }
        self.dismissed(|of, seat| of == owner && seat.proven.is_none())
    }

    /// This seat's connection was logged in at that time.
    pub fn proved(&mut self, owner: &Owner, id: u64, at: Instant) {
        let mut seats = self.accounts.get_mut(owner).into_iter().flatten();
        if let Some(seat) = seats.find(|seat| seat.id == id) {
            seat.proven = Some(at);
        }
    }

    /// Whether a connection that lives was logged in like this.
    pub fn prove(&self, owner: &Owner, proof: &Proof) -> bool {
        let mut seats = self.accounts.get(owner).into_iter().flatten();
        seats.any(|seat| seat.proven.is_some() && seat.proof == *proof)
    }

    /// When the password of this seat's connection was taken; `None` if no more are to wait.
    pub fn proven(&self, owner: &Owner, id: u64) -> Option<Instant> {
        let mut seats = self.accounts.get(owner)?.iter();
        seats.find(|seat| seat.id == id)?.proven.filter(|_| !self.closed)
    }

    /// The seat's connection waits, unless it must not: its password is in doubt, or as many wait
    /// as may in all (`most`), or as the server bears.
    ///
    /// Those that wait do not make room for it: of accounts that look for mail in turns each would
    /// find its own gone.
    pub fn wait(&mut self, owner: &Owner, id: u64, keeper: Keeper, most: usize) -> Option<Keeper> {
        let most_here = self.limits.get(&owner.0).map_or(usize::MAX, |limits| limits.kept);
        let (mut here, mut all) = (0, 0);
        for (of, seats) in &self.accounts {
            let waiting = seats.iter().filter(|seat| seat.keeper.is_some()).count();
            all += waiting;
            here += if of.0 == owner.0 { waiting } else { 0 };
        }
        let room = all < most && here < most_here && !self.closed;
        let mut seats = self.accounts.get_mut(owner).into_iter().flatten();
        match seats.find(|seat| seat.id == id && seat.proven.is_some() && room) {
            Some(seat) => {
                seat.keeper = Some(keeper);
                self.wanted.remove(owner);
                None
            }
            None => Some(keeper),
        }
    }

    /// One that waits at this upstream.
    pub fn dismiss_one(&mut self, upstream: &str) -> Option<Keeper> {
        let mut seats =
            self.accounts.iter().filter(|(owner, _)| owner.0 == upstream).flat_map(|(_, seats)| seats);
        let id = seats.find(|seat| seat.keeper.is_some())?.id;
        self.dismissed(|_, seat| seat.id == id).pop()
    }

    /// All that wait; none will any more.
    pub fn close(&mut self) -> Vec<Keeper> {
        self.closed = true;
        self.dismissed(|_, _| true)
    }

    /// Connections that sessions use.
    pub fn in_use(&self) -> usize {
        self.accounts.values().flatten().filter(|seat| seat.keeper.is_none()).count()
    }

    fn dismissed(&mut self, which: impl Fn(&Owner, &Seat) -> bool) -> Vec<Keeper> {
        let mut keepers = Vec::new();
        self.accounts.retain(|owner, seats| {
            seats.retain_mut(|seat| {
                if seat.keeper.is_none() || !which(owner, seat) {
                    return true;
                }
                keepers.extend(seat.keeper.take());
                false
            });
            !seats.is_empty()
        });
        keepers
    }
}
