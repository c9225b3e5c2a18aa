//! The removal journal carried out: act on exactly what it names and is still there, look whether
//! it is done, clear it. The same for QUIT, for what a crash left behind, and for what has become
//! due.

use std::collections::{HashMap, HashSet};

use tokio::time::Instant;

use super::account::Place;
use super::error::Error;
use super::keys;
use super::link::Link;
use super::relocate::{self, Way};
use super::{Maildrop, Result};
use crate::failpoint;
use crate::fingerprint::Fingerprint;
use crate::ids::Uid;
use crate::store::{Action, Copied, Deletion, MailboxId, Outcome, State, Store, now};
use crate::upstream::{Access, FolderName, deleted_uids, live_uids, uid_sets};

/// How far it came.
#[derive(Debug, Default)]
pub struct Carried {
    /// Messages that are still in the journal though they are due.
    pub unfinished: usize,
    /// What was in the way first.
    pub error: Option<Error>,
}

/// Carries out what this session has just journaled: `marked`, by folder.
pub(super) async fn own(maildrop: &mut Maildrop, marked: &[Vec<Uid>]) -> Carried {
    let Maildrop { link, store, turns, folders, login, .. } = maildrop;
    let own = |deletion: &Deletion| {
        let here = |(folder, uids): (&super::Folder, &Vec<Uid>)| {
            folder.name == deletion.name
                && folder.place.validity == deletion.validity
                && uids.binary_search(&deletion.uid).is_ok()
        };
        deletion.login == *login && folders.iter().zip(marked).any(here)
    };
    let begun = Instant::now();
    loop {
        let carried = due(link, store, turns, own).await;
        // What was refused for haste is taken up from the journal, as behind a crash.
        if !carried.error.as_ref().is_some_and(|error| link.outlasts(error, begun)) {
            return carried;
        }
    }
}

/// Carries out what is due in the account's journal and `wanted`, one user at a time: two that did
/// the same would copy twice.
pub async fn due(
    link: &mut Link,
    store: &Store,
    turns: &super::Turns,
    wanted: impl Fn(&Deletion) -> bool,
) -> Carried {
    let (upstream, username) =
        (link.account().connector.upstream().name.clone(), link.account().username.clone());
    let _turn = turns.take(&upstream, &username).await;
    let mut journal = match store.pending(&upstream, &username).await {
        Ok(journal) => journal,
        Err(error) => return Carried { unfinished: 1, error: Some(error.into()) },
    };
    let at = now();
    journal.retain(|deletion| deletion.due_at <= at && wanted(deletion));
    let mut carried = Carried::default();
    for group in groups(journal) {
        let done = carry_out(link, store, &group).await;
        carried.unfinished += group.len() - done.finished;
        carried.error = carried.error.or(done.error);
    }
    carried
}

/// What belongs into one flight: the same folder, action and target.
fn groups(journal: Vec<Deletion>) -> Vec<Vec<Deletion>> {
    let mut groups: Vec<Vec<Deletion>> = Vec::new();
    for deletion in journal {
        let alike = |group: &&mut Vec<Deletion>| {
            group.first().is_some_and(|first| {
                (&first.name, first.validity, first.action, &first.target, &first.login)
                    == (&deletion.name, deletion.validity, deletion.action, &deletion.target, &deletion.login)
            })
        };
        match groups.iter_mut().find(alike) {
            Some(group) => group.push(deletion),
            None => groups.push(vec![deletion]),
        }
    }
    groups
}

/// Both ascend.
struct Left {
    live: Vec<Uid>,
    flagged: Vec<Uid>,
}

struct Done {
    finished: usize,
    error: Option<Error>,
}

async fn carry_out(link: &mut Link, store: &Store, group: &[Deletion]) -> Done {
    let Some(first) = group.first() else { return Done { finished: 0, error: None } };
    let Some(folder) = FolderName::from_wire(first.name.folder.as_bytes()) else {
        return Done { finished: 0, error: Some(Error::ValidityChanged) };
    };
    let place = Place { folder, validity: first.validity, access: Access::ReadWrite };
    let mailbox = match store.current_mailbox(&first.name).await {
        Ok(Some(mailbox)) => mailbox.id,
        Ok(None) => return Done { finished: 0, error: Some(Error::ValidityChanged) },
        Err(error) => return Done { finished: 0, error: Some(error.into()) },
    };
    let (known, copies, withdrawn) = (HashMap::new(), HashMap::new(), Vec::new());
    let mut attempt = Attempt { link, store, place, mailbox, group, known, copies, withdrawn };
    let looked = match attempt.look().await {
        // A broken connection is made again, and Cyrus says NO once when something has just gone.
        Err(error @ Error::Upstream(_)) if !error.is_throttling() => attempt.look().await,
        looked => looked,
    };
    match looked {
        Ok(live) => attempt.act_and_settle(live).await,
        Err(Error::ValidityChanged) => attempt.drop_all().await,
        Err(error) => Done { finished: 0, error: Some(error) },
    }
}

/// One group on its way.
struct Attempt<'a> {
    link: &'a mut Link,
    store: &'a Store,
    place: Place,
    mailbox: MailboxId,
    group: &'a [Deletion],
    /// What the live messages are, for the trail and for telling copies.
    known: HashMap<Uid, Fingerprint>,
    copies: HashMap<Uid, Copied>,
    /// Taken back by a person between the look into the journal and the deed; ascending.
    withdrawn: Vec<Uid>,
}

impl Attempt<'_> {
    /// Which of the group's messages are there, seen with a fresh look, and what they are.
    async fn look(&mut self) -> Result<Vec<Uid>> {
        let live = self.surely_live().await?;
        // Nobody has told of it, so others may be wrong as well.
        let gone = |deletion: &Deletion| {
            deletion.state != State::Acting && live.binary_search(&deletion.uid).is_err()
        };
        if self.group.iter().any(gone)
            && let Err(error) = self.store.distrust_listing(self.mailbox).await
        {
            tracing::warn!(%error, "the listing is still relied on");
        }
        let mut keys = self.store.keys_of(self.mailbox, &live).await?;
        let unknown = |uid: &&Uid| keys.binary_search_by_key(*uid, |key| key.uid).is_err();
        let unknown: Vec<Uid> = live.iter().filter(unknown).copied().collect();
        keys.extend(keys::fetch(self.link, &self.place, &unknown).await?);
        self.known.extend(keys.into_iter().map(|key| (key.uid, key.fingerprint)));
        failpoint::reached("identified");
        Ok(live)
    }

    async fn live(&mut self) -> Result<Vec<Uid>> {
        let uids = self.uids();
        Ok(live_uids(self.link.writable(&self.place).await?, &uids).await?)
    }

    /// The same where an absence is not expected: what is not seen is looked for again, since a
    /// message taken for gone would never be removed.
    async fn surely_live(&mut self) -> Result<Vec<Uid>> {
        let uids = self.uids();
        let mut live = self.live().await?;
        if live.len() < uids.len() {
            live.extend(self.live().await?);
            live.sort_unstable();
            live.dedup();
        }
        Ok(live)
    }

    fn uids(&self) -> Vec<Uid> {
        let mut uids: Vec<Uid> = self.group.iter().map(|deletion| deletion.uid).collect();
        uids.sort_unstable();
        uids.dedup();
        uids
    }

    async fn act_and_settle(&mut self, live: Vec<Uid>) -> Done {
        let acted = self.act(&live).await;
        failpoint::reached("acted");
        // Over a new connection if the old one broke.
        let left = match self.left(acted.is_ok()).await {
            Ok(left) => left,
            Err(error) => match self.left(false).await {
                Ok(left) => left,
                Err(_) => return Done { finished: 0, error: Some(acted.err().unwrap_or(error)) },
            },
        };
        failpoint::reached("verified");
        let settled = self.settle(&live, &left).await;
        failpoint::reached("settled");
        match (acted, settled) {
            (Err(error), Ok(finished)) => Done { finished, error: Some(error) },
            (Ok(()), Ok(finished)) => {
                let error = (finished < self.group.len()).then_some(Error::Kept);
                Done { finished, error }
            }
            (_, Err(error)) => Done { finished: 0, error: Some(error) },
        }
    }

    /// What is there behind the deed, and which of it is flagged if that was the deed.
    async fn left(&mut self, acted: bool) -> Result<Left> {
        let flags = self.group.first().is_some_and(|first| first.action == Action::Flag);
        let live = if acted && !flags { self.live().await? } else { self.surely_live().await? };
        let flagged = match flags {
            true => deleted_uids(self.link.writable(&self.place).await?, &live).await?,
            false => Vec::new(),
        };
        Ok(Left { live, flagged })
    }

    /// Notes in the journal that these are going to be done; a crash behind it is told by that.
    /// Returns those that nobody has taken back.
    async fn begin(&mut self, uids: &[Uid], copies: Option<Copied>) -> Result<Vec<Uid>> {
        let wanted = self.group.iter().filter(|deletion| uids.binary_search(&deletion.uid).is_ok());
        let wanted: Vec<_> = wanted.map(|deletion| (deletion.id, self.known.get(&deletion.uid))).collect();
        let begun = self.store.note_acting(&wanted, copies).await?;
        failpoint::reached("begun");
        let begun = self.group.iter().filter(|deletion| begun.contains(&deletion.id));
        let begun: HashSet<Uid> = begun.map(|deletion| deletion.uid).collect();
        let (begun, withdrawn) = uids.iter().partition(|uid| begun.contains(uid));
        self.withdrawn = withdrawn;
        Ok(begun)
    }

    async fn act(&mut self, live: &[Uid]) -> Result<()> {
        let target = self.group.first().and_then(|first| first.target.as_deref());
        let target = target.and_then(|target| FolderName::from_wire(target.as_bytes()));
        match (self.group.first().map(|first| first.action), target) {
            (Some(Action::Trash | Action::Archive), Some(target)) => self.relocate(live, &target).await,
            (Some(Action::Expunge), _) => {
                let begun = self.begin(live, None).await?;
                relocate::expunge(self.link, &self.place, &begun).await
            }
            (Some(Action::Flag), _) => self.flag(live).await,
            // Hiding is done with its journal entry, and a move needs a target.
            (Some(Action::Hide | Action::Trash | Action::Archive) | None, _) => Ok(()),
        }
    }

    async fn flag(&mut self, live: &[Uid]) -> Result<()> {
        let begun = self.begin(live, None).await?;
        for set in uid_sets(&begun) {
            self.link.writable(&self.place).await?.store(&set, "+FLAGS.SILENT (\\Deleted)").await?;
        }
        Ok(())
    }

    async fn relocate(&mut self, live: &[Uid], target: &FolderName) -> Result<()> {
        if self.link.capabilities().has("MOVE") {
            let begun = self.begin(live, None).await?;
            let way = (Way::Move, target);
            return relocate::transfer(self.link, &self.place, &begun, way, &mut self.copies).await;
        }
        let started: HashMap<Uid, Copied> = self
            .group
            .iter()
            .filter(|deletion| deletion.state == State::Acting)
            .filter_map(|deletion| Some((deletion.uid, deletion.copy?)))
            .collect();
        let found = relocate::find_copies(self.link, target, live, &started, &self.known).await?;
        let missing: Vec<Uid> = live.iter().filter(|uid| !found.contains_key(uid)).copied().collect();
        self.copies.extend(found);
        if !missing.is_empty() {
            let status = self.link.connected().await?.status(target).await?;
            let from = Copied { validity: status.validity, uid: status.uid_next };
            let begun = self.begin(&missing, Some(from)).await?;
            let way = (Way::Copy, target);
            relocate::transfer(self.link, &self.place, &begun, way, &mut self.copies).await?;
            failpoint::reached("copied");
        }
        let copied = self.still_wanted(live).await?;
        relocate::expunge(self.link, &self.place, &copied).await
    }

    /// Those that nobody has taken back, also while they were copied.
    async fn still_wanted(&mut self, live: &[Uid]) -> Result<Vec<Uid>> {
        let ids: Vec<i64> = self.group.iter().map(|deletion| deletion.id).collect();
        let acting = self.store.acting(&ids).await?;
        let wanted = self.group.iter().filter(|deletion| acting.contains(&deletion.id));
        let wanted: HashSet<Uid> = wanted.map(|deletion| deletion.uid).collect();
        let (wanted, withdrawn) = live.iter().partition(|uid| wanted.contains(uid));
        self.withdrawn = withdrawn;
        Ok(wanted)
    }

    fn is_withdrawn(&self, uid: &Uid) -> bool {
        self.withdrawn.binary_search(uid).is_ok()
    }

    /// Clears the journal of what is done; what is not stays in it.
    async fn settle(&self, live: &[Uid], left: &Left) -> Result<usize> {
        let has = |uids: &[Uid], uid: &Uid| uids.binary_search(uid).is_ok();
        let mut outcomes = Vec::new();
        let mut to_hide = Vec::new();
        let group = self.group.iter().filter(|deletion| !self.is_withdrawn(&deletion.uid));
        for deletion in group {
            let uid = &deletion.uid;
            let state = if !has(live, uid) {
                // What was begun was done, by an attempt that did not live to clear the journal.
                if deletion.state == State::Acting { State::Done } else { State::Gone }
            } else if !has(&left.live, uid) {
                State::Done
            } else if has(&left.flagged, uid) {
                to_hide.push(*uid);
                State::Done
            } else {
                continue;
            };
            outcomes.push(Outcome { id: deletion.id, state, copy: self.copies.get(uid).copied() });
        }
        let Some(first) = self.group.first() else { return Ok(0) };
        let removed = self.group.iter().map(|deletion| deletion.uid).filter(|uid| !has(&left.live, uid));
        let mut removed: Vec<Uid> = removed.collect();
        removed.sort_unstable();
        self.store.settle(self.mailbox, &outcomes, (&first.login, &to_hide), &removed).await?;
        if let Err(error) = self.store.unlist(self.mailbox, &removed).await {
            tracing::warn!(%error, "the listing is not kept");
        }
        Ok(outcomes.len() + self.withdrawn.len())
    }

    /// The server has made the mailbox anew: these UIDs mean nothing any more.
    async fn drop_all(&self) -> Done {
        let outcomes: Vec<Outcome> = self
            .group
            .iter()
            .map(|deletion| Outcome { id: deletion.id, state: State::Dropped, copy: None })
            .collect();
        tracing::warn!(
            folder = %self.place.folder, messages = outcomes.len(),
            "deletions are given up: the mail server has made the mailbox anew"
        );
        let error = match self.store.settle(self.mailbox, &outcomes, ("", &[]), &[]).await {
            Ok(()) => Error::ValidityChanged,
            Err(error) => error.into(),
        };
        Done { finished: 0, error: Some(error) }
    }
}
