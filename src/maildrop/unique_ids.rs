//! The unique ids of a folder's messages (RFC 1939 §7, UIDL): derived, with stored exceptions.

use std::collections::HashSet;
use std::fmt;

use super::Result;
use super::unique_id::{Deriver, UniqueId};
use crate::config::UniqueIdScheme;
use crate::ids::{Uid, UidValidity};
use crate::store::{Exceptions, MailboxId, Origin, Store};
use crate::upstream::FolderName;

/// What a folder's unique ids are made from.
#[derive(Debug)]
pub struct UniqueIds {
    scheme: UniqueIdScheme,
    deriver: Deriver,
    validity: UidValidity,
    exceptions: Exceptions,
}

/// A unique id to be written out.
#[derive(Debug, Clone, Copy)]
pub enum Shown<'a> {
    Assigned(&'a str),
    /// From the numbers under which the message was first seen, if those were others.
    Derived(UniqueId, Option<Origin>),
}

impl Shown<'_> {
    /// Appends it to `output`.
    pub fn write(&self, output: &mut Vec<u8>) {
        match self {
            Self::Assigned(text) => output.extend_from_slice(text.as_bytes()),
            Self::Derived(id, _) => id.write(output),
        }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Assigned(text) => f.write_str(text),
            Self::Derived(id, _) => id.fmt(f),
        }
    }
}

impl UniqueIds {
    /// Reads the exceptions of a mailbox.
    pub async fn load(
        store: &Store,
        id: MailboxId,
        scheme: UniqueIdScheme,
        folder: &FolderName,
        validity: UidValidity,
    ) -> Result<Self> {
        Ok(Self::new(scheme, folder, validity, store.exceptions(id, scheme.name()).await?))
    }

    /// From exceptions that were read under the same scheme.
    pub fn new(
        scheme: UniqueIdScheme,
        folder: &FolderName,
        validity: UidValidity,
        exceptions: Exceptions,
    ) -> Self {
        Self { scheme, deriver: Deriver::new(scheme, folder.as_wire()), validity, exceptions }
    }

    /// How ids are made.
    pub fn scheme(&self) -> UniqueIdScheme {
        self.scheme
    }

    /// The unique id of a message.
    pub fn of(&self, uid: Uid) -> Shown<'_> {
        if let Ok(at) = self.exceptions.assigned.binary_search_by_key(&uid, |(uid, _)| *uid) {
            return Shown::Assigned(&self.exceptions.assigned[at].1);
        }
        match self.exceptions.origins.binary_search_by_key(&uid, |(uid, _)| *uid) {
            Ok(at) => {
                let origin = self.exceptions.origins[at].1;
                Shown::Derived(self.deriver.id(origin.validity, origin.uid), Some(origin))
            }
            Err(_) => Shown::Derived(self.deriver.id(self.validity, uid), None),
        }
    }

    /// An id that does not derive from numbers, as it is written in this folder.
    pub fn stored(&self, id: &str) -> String {
        self.deriver.stored(id)
    }

    /// Takes in ids that were just assigned, ascending by UID.
    pub fn add(&mut self, assigned: &[(Uid, String)]) {
        self.exceptions.assigned.extend_from_slice(assigned);
        self.exceptions.assigned.sort_by_key(|(uid, _)| *uid);
    }

    /// Those of `uids` without an assigned id.
    pub fn unassigned(&self, uids: impl Iterator<Item = Uid>) -> Vec<Uid> {
        let assigned = &self.exceptions.assigned;
        uids.filter(|uid| assigned.binary_search_by_key(uid, |(uid, _)| *uid).is_err()).collect()
    }

    /// The texts that are assigned to messages here.
    pub fn assigned(&self) -> HashSet<String> {
        self.exceptions.assigned.iter().map(|(_, text)| text.clone()).collect()
    }

    /// Messages whose numbers may have named others: a UIDVALIDITY has come back, as after a restore
    /// of the mail server. They get an id of their own.
    pub fn reused(&self, uids: impl Iterator<Item = Uid>) -> Vec<(Uid, String)> {
        let times = match self.exceptions.times_left {
            0 => return Vec::new(),
            1 => String::new(),
            times => times.to_string(),
        };
        let own = |uid: &Uid| self.exceptions.origins.binary_search_by_key(uid, |(uid, _)| *uid).is_ok();
        let reused = self.unassigned(uids).into_iter().filter(|uid| !own(uid));
        reused.map(|uid| (uid, format!("{}-again{times}", self.of(uid)))).collect()
    }
}
