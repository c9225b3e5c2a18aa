//! A mailbox made anew by its server (UIDVALIDITY changed): what was known of its messages passes
//! on to those that can be recognised, or the login is refused.

use std::collections::HashSet;

use super::account::Place;
use super::error::Error;
use super::keys;
use super::link::Link;
use super::matching::matched;
use crate::config::Share;
use crate::fingerprint::Key;
use crate::ids::Uid;
use crate::store::{Action, CachedListing, Former, MailboxId, MailboxName, State, Store};

/// Which mailbox, and what it was before.
pub struct Renumbered<'a> {
    pub name: &'a MailboxName,
    pub place: &'a Place,
    pub id: MailboxId,
    pub former: Former,
}

/// Recognises messages and lets what is known of them pass on. When more than `share` of the
/// mailbox might be known messages that would look new, nothing is passed on and the login fails:
/// a mass download cannot be taken back. What was learnt is kept, so that the next try is quick.
pub async fn carry_over(
    link: &mut Link,
    store: &Store,
    renumbered: &Renumbered<'_>,
    listing: &CachedListing,
    share: Share,
) -> Result<(), Error> {
    let Renumbered { name, place, id, former } = renumbered;
    tracing::warn!(
        login = %link.account().login, folder = %place.folder, was = %former.validity, now = %place.validity,
        "the mail server has made a mailbox anew; its messages are looked for by their headers"
    );
    let doomed = doomed(store, name, former).await?;
    let old = store.keys(former.id).await?;
    // What an earlier try has learnt and has gone since would count as recognised.
    keys::forget_lost(store, *id, listing).await?;
    if !old.is_empty() {
        let unknown = keys::missing(store, *id, listing, usize::MAX).await?;
        keys::learn(link, place, store, *id, &unknown).await?;
    }
    let new: Vec<Key> = store.keys(*id).await?;
    let pairs = matched(&old, &new, &doomed);
    let messages = listing.rows.len();
    let former_messages = former.messages.max(old.len());
    // A message looks new wrongly only if there is a former one that it may be.
    let unmatched = former_messages.saturating_sub(pairs.len()).min(messages.saturating_sub(pairs.len()));
    if unmatched > share.of(messages) {
        let accepted = store.renumbering(name).await?;
        let accepted = accepted.is_some_and(|known| known.accepted && known.validity == place.validity);
        if !accepted {
            let counts = [former_messages, messages, unmatched];
            store.refuse_renumbering(name, place.validity, counts).await?;
            let error = Error::Unrecognised {
                login: link.account().login.clone(),
                folder: place.folder.clone(),
                unmatched,
                messages,
            };
            tracing::error!(%error, "login refused");
            return Err(error);
        }
    }
    store.succeed(name, *former, *id, &pairs).await?;
    tracing::warn!(
        login = %link.account().login, folder = %place.folder, recognised = pairs.len(), new = messages - pairs.len(),
        "the mailbox made anew is in use"
    );
    Ok(())
}

/// Messages that deletions may have taken out of the mailbox: a twin that stayed must not be taken
/// for one of them. What they surely have taken out is no longer known.
async fn doomed(store: &Store, name: &MailboxName, former: &Former) -> Result<HashSet<Uid>, Error> {
    let trail = store.deletions(&name.upstream, &name.username, None).await?;
    let doomed = trail.into_iter().filter(|deletion| {
        deletion.name == *name
            && deletion.validity == former.validity
            && matches!(deletion.action, Action::Trash | Action::Archive | Action::Expunge)
            && matches!(deletion.state, State::Pending | State::Acting | State::Dropped)
    });
    Ok(doomed.map(|deletion| deletion.uid).collect())
}
