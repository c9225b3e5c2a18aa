//! What the state database knows of a login's maildrop and of single messages in it, for `explain`
//! to print. Nothing here asks a mail server.

use std::collections::{BTreeSet, HashMap};

use super::facts::{Deleted, Facts, Folder, IdFrom, Message, Place, Refused, Settings, Why};
use super::state::time;
use super::trail::{self, is_meant};
use crate::auth::Route;
use crate::config;
use crate::ids::Uid;
use crate::maildrop::{self, UniqueIds};
use crate::store::{Action, CachedListing, Deletion, Former, Origin, State, Store};
use crate::upstream::FolderName;

/// How a command is written for this configuration: its name, then what follows the login.
pub type Command<'a> = &'a dyn Fn(&str, &str, &str) -> String;

/// Gathers what is known; `asked` is a unique id or a Message-ID.
pub async fn gather(
    store: &Store,
    route: &Route,
    login: &str,
    asked: Option<&str>,
    command: Command<'_>,
) -> Result<Facts, maildrop::Error> {
    let settings = &*route.maildrop;
    let trail = trail::read(store, route, None).await?;
    let (mut folders, mut views) = (Vec::new(), Vec::new());
    for name in &settings.folders {
        let view = View::load(store, route, login, name, &trail).await?;
        let refused = store.renumbering(&trail::mailbox_name(route, name)).await?;
        let refused = refused.map(|refused| Refused {
            uid_validity: refused.validity.get(),
            former_messages: refused.former_messages,
            messages: refused.messages,
            unrecognised: refused.unmatched,
            refused_at: time(refused.refused_at),
            accepted: refused.accepted,
            command: command("accept", login, ""),
        });
        folders.push(folder(name, view.as_ref(), refused));
        views.extend(view);
    }
    let message = asked.map(|asked| message(asked, &views, &trail, settings, command));
    Ok(Facts {
        login: login.to_owned(),
        upstream: route.upstream.name.clone(),
        username: route.username.clone(),
        settings: Settings {
            folders: settings.folders.clone(),
            on_delete: settings.on_delete.name(),
            only_unseen: settings.only_unseen,
            newest: settings.newest,
            max_age_seconds: settings.max_age.as_secs(),
            delete_grace_seconds: settings.delete_grace.as_secs(),
            unique_id: settings.unique_id.name(),
        },
        folders,
        message,
    })
}

/// A folder as a login sees it.
struct View {
    name: String,
    mailbox: Former,
    listing: Option<CachedListing>,
    /// Of messages that are there, as far as is known; ascending.
    uids: Vec<Uid>,
    hidden: Vec<Uid>,
    /// When they are due.
    waiting: HashMap<Uid, i64>,
    lowest: Option<Uid>,
    ids: UniqueIds,
    origins: Vec<(Uid, Origin)>,
    message_ids: HashMap<Uid, String>,
}

impl View {
    async fn load(
        store: &Store,
        route: &Route,
        login: &str,
        folder: &str,
        trail: &[Deletion],
    ) -> Result<Option<Self>, maildrop::Error> {
        let name = trail::mailbox_name(route, folder);
        let Some(mailbox) = store.current_mailbox(&name).await? else { return Ok(None) };
        let listing = store.listing(mailbox.id).await?;
        let keys = store.keys(mailbox.id).await?;
        let hidden = store.hidden(mailbox.id, login).await?;
        let uids: BTreeSet<Uid> = match &listing {
            Some(listing) => listing.rows.iter().map(|row| row.uid).collect(),
            // Without a listing: whatever leads to a message.
            None => keys.iter().map(|key| key.uid).chain(hidden.iter().copied()).collect(),
        };
        let here = || trail.iter().filter(|row| row.name == name && row.validity == mailbox.validity);
        let waiting =
            here().filter(|row| matches!(row.state, State::Pending | State::Acting) && row.login == login);
        let newest = route.maildrop.newest;
        let watermark = store.watermark(mailbox.id, login).await?;
        let lowest = watermark.filter(|(setting, _)| newest > 0 && *setting == newest).map(|(_, uid)| uid);
        let wire = FolderName::new(folder);
        let scheme = route.maildrop.unique_id;
        Ok(Some(Self {
            name: folder.to_owned(),
            mailbox,
            uids: uids.into_iter().collect(),
            hidden,
            waiting: waiting.map(|deletion| (deletion.uid, deletion.due_at)).collect(),
            lowest,
            ids: UniqueIds::load(store, mailbox.id, scheme, &wire, mailbox.validity).await?,
            origins: store.origins(mailbox.id).await?,
            message_ids: keys
                .into_iter()
                .filter_map(|key| Some((key.uid, key.fingerprint.message_id?)))
                .collect(),
            listing,
        }))
    }

    fn message_id(&self, uid: Uid) -> Option<&str> {
        self.message_ids.get(&uid).map(String::as_str)
    }

    fn why(&self, uid: Uid) -> Why {
        if self.hidden.binary_search(&uid).is_ok() {
            Why::Hidden
        } else if self.waiting.contains_key(&uid) {
            Why::Waiting
        } else if self.lowest.is_some_and(|lowest| uid < lowest) {
            Why::BelowNewest
        } else {
            Why::Listed
        }
    }

    fn place(&self, uid: Uid, settings: &config::Maildrop) -> Place {
        let (shown, why) = (self.ids.of(uid), self.why(uid));
        let (unique_id_from, first) = match shown {
            maildrop::Shown::Derived(_, Some(origin)) => (IdFrom::EarlierNumbers, Some(origin)),
            maildrop::Shown::Derived(_, None) => {
                (IdFrom::Numbers, Some(Origin { validity: self.mailbox.validity, uid }))
            }
            maildrop::Shown::Assigned(text) => (assigned(text, settings.unique_id), None),
        };
        let mut left_out = Vec::new();
        if why == Why::Listed && settings.only_unseen {
            left_out.push("only_unseen");
        }
        if why == Why::Listed && !settings.max_age.is_zero() {
            left_out.push("max_age");
        }
        Place {
            folder: self.name.clone(),
            uid_validity: self.mailbox.validity.get(),
            uid: uid.get(),
            unique_id: shown.to_string(),
            message_id: self.message_id(uid).map(str::to_owned),
            unique_id_from,
            first_uid_validity: first.map(|origin| origin.validity.get()),
            first_uid: first.map(|origin| origin.uid.get()),
            listed: why == Why::Listed,
            why,
            waiting_until: self.waiting.get(&uid).filter(|_| why == Why::Waiting).map(|due| time(*due)),
            may_be_left_out_by: left_out,
        }
    }
}

fn assigned(text: &str, scheme: config::UniqueIdScheme) -> IdFrom {
    match scheme {
        config::UniqueIdScheme::Gmail if text.starts_with("GmailId") => IdFrom::Gmail,
        config::UniqueIdScheme::EmailId => IdFrom::EmailId,
        _ if text.ends_with("-again") => IdFrom::Collision,
        _ => IdFrom::Kept,
    }
}

fn folder(name: &str, view: Option<&View>, refused: Option<Refused>) -> Folder {
    let count = |view: &View, why: Why| view.uids.iter().filter(|uid| view.why(**uid) == why).count();
    let listing = view.and_then(|view| view.listing.as_ref());
    let waiting = view.map_or(0, |view| count(view, Why::Waiting));
    let last_due = view.and_then(|view| view.waiting.values().max()).filter(|_| waiting > 0);
    Folder {
        folder: name.to_owned(),
        uid_validity: view.map(|view| view.mailbox.validity.get()),
        messages: listing.map_or(view.map_or(0, |view| view.mailbox.messages), |listing| listing.rows.len()),
        listing_changed_at: listing.map(|listing| time(listing.listed_at)),
        hidden: view.map_or(0, |view| count(view, Why::Hidden)),
        waiting,
        waiting_until: last_due.map(|due| time(*due)),
        below_newest: listing.and(view).map(|view| count(view, Why::BelowNewest)),
        ids_from_earlier_uid_validity: view.map_or(0, |view| view.origins.len()),
        refused,
    }
}

fn message(
    asked: &str,
    views: &[View],
    trail: &[Deletion],
    settings: &config::Maildrop,
    command: Command<'_>,
) -> Message {
    let all = || views.iter().flat_map(|view| view.uids.iter().map(move |uid| (view, *uid)));
    let unique_id = |(view, uid): &(&View, Uid)| view.ids.of(*uid).to_string();
    let meant: Vec<(&View, Uid)> =
        all().filter(|at| is_meant(asked, &unique_id(at), at.0.message_id(at.1))).collect();
    let deleted = trail.iter().filter(|row| is_meant(asked, &row.unique_id, row.message_id.as_deref()));
    let unique_ids: BTreeSet<String> =
        meant.iter().map(unique_id).chain(deleted.clone().map(|row| row.unique_id.clone())).collect();
    // The same message may be there, or have been deleted, more than once.
    let message_ids: BTreeSet<&str> = meant
        .iter()
        .filter_map(|(view, uid)| view.message_id(*uid))
        .chain(deleted.filter_map(|row| row.message_id.as_deref()))
        .collect();
    let same = |message_id: Option<&str>| message_id.is_some_and(|id| message_ids.contains(id));
    let places: Vec<Place> = all()
        .filter(|at| same(at.0.message_id(at.1)) || is_meant(asked, &unique_id(at), None))
        .map(|(view, uid)| view.place(uid, settings))
        .collect();
    let newest: BTreeSet<i64> = trail::newest(trail).iter().map(|row| row.id).collect();
    let deletions: Vec<Deleted> = trail
        .iter()
        .filter(|row| unique_ids.contains(&row.unique_id) || same(row.message_id.as_deref()))
        .map(|row| Deleted {
            shown: trail::Shown::of(row),
            command: (newest.contains(&row.id) && can_be_restored(row))
                .then(|| command("deletions restore", &row.login, &row.unique_id)),
        })
        .collect();
    Message { asked: asked.to_owned(), known: !places.is_empty() || !deletions.is_empty(), places, deletions }
}

/// Whether there is something to take back, by what the state database knows.
fn can_be_restored(deletion: &Deletion) -> bool {
    match deletion.state {
        State::Pending => true,
        State::Done => deletion.action != Action::Expunge,
        State::Acting => true,
        State::Gone | State::Dropped | State::Restored => false,
    }
}
