//! Where deleted messages go, remembered: a poll must not ask for the folder list each time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::account::Account;
use super::error::Error;
use crate::config::{self, OnDelete};
use crate::upstream::FolderName;

/// How long it is remembered: the user may have made another folder the trash.
const AGE: Duration = Duration::from_secs(60 * 60);
/// So many accounts are remembered before those that are too old are looked for.
const MANY: usize = 10_000;

/// Upstream and user name.
type Owner = (String, String);
/// What the folder was looked for by.
type Setting = (OnDelete, Option<String>);

/// The folders that were found; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Targets(Arc<Mutex<HashMap<Owner, Vec<Target>>>>);

#[derive(Debug)]
struct Target {
    setting: Setting,
    folder: FolderName,
    found: Instant,
}

impl Targets {
    /// Where these settings' deleted messages went a short while ago.
    pub fn known(&self, account: &Account, settings: &config::Maildrop) -> Option<FolderName> {
        let targets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = setting(settings)?;
        let target = targets.get(&owner(account))?.iter().find(|target| target.setting == wanted)?;
        (target.found.elapsed() < AGE).then(|| target.folder.clone())
    }

    /// Remembers what was found.
    pub fn found(&self, account: &Account, settings: &config::Maildrop, folder: &FolderName) {
        let Some(setting) = setting(settings) else { return };
        let mut targets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if targets.len() >= MANY {
            targets.retain(|_, targets| targets.iter().any(|target| target.found.elapsed() < AGE));
            if targets.len() >= MANY {
                targets.clear();
            }
        }
        let own = targets.entry(owner(account)).or_default();
        own.retain(|target| target.setting != setting && target.found.elapsed() < AGE);
        own.push(Target { setting, folder: folder.clone(), found: Instant::now() });
    }

    /// Forgets an account's folders where the server refused something on the way to one.
    pub fn heed(&self, account: &Account, error: Option<&Error>) {
        if let Some(Error::Upstream(error)) = error
            && error.is_refusal()
        {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&owner(account));
        }
    }
}

fn owner(account: &Account) -> Owner {
    (account.connector.upstream().name.clone(), account.username.clone())
}

fn setting(settings: &config::Maildrop) -> Option<Setting> {
    match settings.on_delete {
        OnDelete::Trash => Some((OnDelete::Trash, settings.trash_folder.clone())),
        OnDelete::Archive => Some((OnDelete::Archive, settings.archive_folder.clone())),
        OnDelete::Hide | OnDelete::Flag | OnDelete::Expunge => None,
    }
}
