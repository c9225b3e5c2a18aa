//! Which connections each account has: in use, or waiting for a session.

use std::collections::HashMap;

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

    /// Gives up a seat that a session has, or else one that has a connection waiting.
    pub fn free(&mut self, owner: &Owner, id: u64, waiting: bool) {
        if let Some(seats) = self.accounts.get_mut(owner) {
            seats.retain(|seat| seat.id != id || seat.keeper.is_some() != waiting);
            if seats.is_empty() {
                self.accounts.remove(owner);
            }
        }
    }

    /// This seat's connection is going to be logged in with this.
    pub fn claim(&mut self, owner: &Owner, id: u64, proof: Proof) {
        let mut seats = self.accounts.get_mut(owner).into_iter().flatten();
        if let Some(seat) = seats.find(|seat| seat.id == id && seat.proof != proof) {
            (seat.proof, seat.proven) = (proof, None);
        }
    }

    /// A login in this seat succeeded, or its password was refused. What was logged in with another
    /// one, or with one that is no longer right, is of the past: it is in doubt, and what of it
    /// waits is to be dismissed.
    pub fn judged(&mut self, owner: &Owner, id: u64, taken: Option<ConnectionLimits>) -> Vec<Keeper> {
        let seats = self.accounts.get_mut(owner).map(Vec::as_mut_slice).unwrap_or_default();
        let Some(proof) = seats.iter().find(|seat| seat.id == id).map(|seat| seat.proof.clone()) else {
            return Vec::new();
        };
        for seat in seats {
            if seat.id == id {
                seat.proven = taken.map(|_| Instant::now());
            } else if (seat.proof == proof) == taken.is_none() {
                seat.proven = None;
            }
        }
        if let Some(limits) = taken {
            self.limits.insert(owner.0.clone(), limits);
        }
        self.dismissed(|of, seat| of == owner && seat.proven.is_none())
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

    /// Whether one more may wait, of `most` in all, or of as many as the server bears.
    ///
    /// Those that wait do not make room for it: of accounts that look for mail in turns each would
    /// find its own gone.
    pub fn has_room(&self, owner: &Owner, most: usize) -> bool {
        let most_here = self.limits.get(&owner.0).map_or(usize::MAX, |limits| limits.kept);
        let (mut here, mut all) = (0, 0);
        for (of, seats) in &self.accounts {
            let waiting = seats.iter().filter(|seat| seat.keeper.is_some()).count();
            all += waiting;
            here += if of.0 == owner.0 { waiting } else { 0 };
        }
        all < most && here < most_here
    }

    /// The seat's connection waits.
    pub fn wait(&mut self, owner: &Owner, id: u64, keeper: Keeper) {
        let mut seats = self.accounts.get_mut(owner).into_iter().flatten();
        if let Some(seat) = seats.find(|seat| seat.id == id) {
            seat.keeper = Some(keeper);
        }
    }

    /// All that wait, or those at one upstream.
    pub fn dismiss(&mut self, upstream: Option<&str>) -> Vec<Keeper> {
        self.dismissed(|owner, _| upstream.is_none_or(|name| owner.0 == name))
    }

    /// All that wait; none will any more.
    pub fn close(&mut self) -> Vec<Keeper> {
        self.closed = true;
        self.dismiss(None)
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
