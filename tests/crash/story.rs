//! What a crash must leave, on any mail server: told by what the account holds and what POP3
//! programs see of it afterwards.

use std::os::unix::process::ExitStatusExt as _;

use super::support::bridge::{Bridge, Settings};
use super::support::pop3::Pop3;

/// Which messages the client deletes, counted from 0: one of them, and two of three twins.
const DELETED: [usize; 3] = [1, 2, 3];
/// What another client flagged \Deleted.
pub const FLAGGED: usize = 4;

pub fn mail() -> Vec<Vec<u8>> {
    let twin = b"Subject: twin\r\nMessage-ID: <twin@example.org>\r\n\r\ntwin\r\n".to_vec();
    vec![
        b"Subject: one\r\n\r\none\r\n".to_vec(),
        b"Subject: two\r\n\r\ntwo\r\n".to_vec(),
        twin.clone(),
        twin.clone(),
        b"Subject: flagged\r\n\r\nby another client\r\n".to_vec(),
        twin,
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Hide,
    Trash,
    /// On a server without MOVE.
    TrashByCopy,
    Archive,
    Flag,
    Expunge,
}

impl Policy {
    pub const ALL: [Self; 6] =
        [Self::Hide, Self::Trash, Self::TrashByCopy, Self::Archive, Self::Flag, Self::Expunge];

    fn word(self) -> &'static str {
        match self {
            Self::Hide => "hide",
            Self::Trash | Self::TrashByCopy => "trash",
            Self::Archive => "archive",
            Self::Flag => "flag",
            Self::Expunge => "expunge",
        }
    }

    fn target(self) -> Option<&'static str> {
        match self {
            Self::Trash | Self::TrashByCopy => Some("Trash"),
            Self::Archive => Some("Archive"),
            Self::Hide | Self::Flag | Self::Expunge => None,
        }
    }

    /// The places that its update comes by, in order, and whether a crash there leaves the
    /// deletions confirmed.
    pub fn places(self) -> Vec<(&'static str, bool)> {
        let carried_out = ["identified", "beginning", "begun"];
        let deed: &[&str] = match self {
            Self::Hide => return vec![("confirmed", false), ("hiding", false), ("journaled", true)],
            Self::TrashByCopy => &["copied", "flagged"],
            Self::Expunge => &["flagged"],
            Self::Trash | Self::Archive | Self::Flag => &[],
        };
        let behind = ["acted", "verified", "settling", "settled"];
        let mut places =
            vec![("confirmed", false), ("noting", false), ("journaling", true), ("journaled", true)];
        places.extend(carried_out.iter().chain(deed).chain(&behind).map(|place| (*place, true)));
        places
    }

    pub fn settings(self, url: &str) -> Settings {
        let lines = format!("on_delete = \"{}\"", self.word());
        Settings::new(url.to_owned()).with("maildrop", &lines)
    }
}

/// One message that a folder holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    pub body: Vec<u8>,
    pub deleted: bool,
}

/// A mail server with [`mail`] in alice's INBOX.
pub trait Upstream {
    fn url(&self) -> String;
    fn folder(&self, name: &str) -> Vec<Held>;
}

/// Dies at a place of the update, and at another one of what makes up for it; then lives.
pub async fn dies(
    upstream: &impl Upstream,
    policy: Policy,
    place: &str,
    confirmed: bool,
    again: Option<&str>,
) {
    let what = format!("{policy:?}, died at {place}, {again:?}");
    let mut bridge = Bridge::start_with(&policy.settings(&upstream.url()), &[("POPBRIDGE_DIE_AT", place)]);
    let ids = first_session(&bridge, upstream, &what).await;
    let mut client = marked(&bridge).await;
    client.attempt("QUIT").await.expect_err("it died before its answer");
    assert_eq!(bridge.await_end().signal(), Some(9), "{what}");
    nothing_is_lost(upstream, policy, confirmed, &what);
    if let Some(again) = again {
        bridge.start_again(&[("POPBRIDGE_DIE_AT", again)]);
        let mut client = Pop3::connect(bridge.address()).await;
        client.ok("USER alice").await;
        client.attempt("PASS secret").await.expect_err("it died before its answer");
        assert_eq!(bridge.await_end().signal(), Some(9), "{what}");
        nothing_is_lost(upstream, policy, confirmed, &what);
    }
    bridge.start_again(&[]);
    for _ in 0..2 {
        afterwards(&bridge, upstream, policy, confirmed, &ids, &what).await;
    }
}

/// Killed from outside some time behind QUIT; returns whether its deletions were confirmed by then.
pub async fn killed(upstream: &impl Upstream, policy: Policy, pause: std::time::Duration) -> bool {
    let what = format!("{policy:?}, killed {pause:?} behind QUIT");
    let mut bridge = Bridge::start(&policy.settings(&upstream.url()));
    let ids = first_session(&bridge, upstream, &what).await;
    let mut client = marked(&bridge).await;
    // Marked \Seen at QUIT, which takes a moment before the journal is written.
    client.retr(1).await;
    client.send(b"QUIT\r\n").await;
    tokio::time::sleep(pause).await;
    bridge.kill();
    assert_eq!(bridge.await_end().signal(), Some(9), "{what}");
    let answered = client.line().await.is_ok_and(|answer| answer.starts_with("+OK"));
    nothing_is_lost(upstream, policy, true, &what);
    bridge.start_again(&[]);
    let mut client = Pop3::connect(bridge.address()).await;
    client.login("alice").await;
    let confirmed = client.uidl().await.len() == mail().len() - DELETED.len();
    client.quit().await;
    assert!(confirmed || !answered, "{what}: QUIT was answered +OK");
    for _ in 0..2 {
        afterwards(&bridge, upstream, policy, confirmed, &ids, &what).await;
    }
    confirmed
}

/// The unique ids, in a session that ends when the messages' keys are learnt.
async fn first_session(bridge: &Bridge, upstream: &impl Upstream, what: &str) -> Vec<String> {
    assert_eq!(upstream.folder("INBOX").len(), mail().len(), "{what}");
    let mut client = Pop3::connect(bridge.address()).await;
    client.login("alice").await;
    let ids = client.uidl().await.into_iter().map(|(_, id)| id).collect();
    client.quit().await;
    bridge.sessions(1);
    ids
}

async fn marked(bridge: &Bridge) -> Pop3 {
    let mut client = Pop3::connect(bridge.address()).await;
    client.login("alice").await;
    for index in DELETED {
        client.ok(&format!("DELE {}", index + 1)).await;
    }
    client
}

fn count(folder: &[Held], body: &[u8]) -> usize {
    folder.iter().filter(|held| held.body == body).count()
}

/// At any time.
fn nothing_is_lost(upstream: &impl Upstream, policy: Policy, confirmed: bool, what: &str) {
    let inbox = upstream.folder("INBOX");
    let target = policy.target().map(|name| upstream.folder(name)).unwrap_or_default();
    let mail = mail();
    for body in &mail {
        let all = mail.iter().filter(|other| *other == body).count();
        let deleted = DELETED.iter().filter(|index| mail[**index] == *body).count();
        let may_be_gone = if policy == Policy::Expunge && confirmed { deleted } else { 0 };
        let words = String::from_utf8_lossy(body);
        assert!(count(&inbox, body) + count(&target, body) >= all - may_be_gone, "{what}: {words:?} is lost");
        let may_leave = if confirmed { deleted } else { 0 };
        assert!(count(&inbox, body) >= all - may_leave, "{what}: {words:?} has left INBOX");
    }
    let other = Held { body: mail[FLAGGED].clone(), deleted: true };
    assert!(inbox.contains(&other), "{what}: what another client flagged");
}

/// A session behind the crash: what was confirmed is done, once; all else is as it was.
async fn afterwards(
    bridge: &Bridge,
    upstream: &impl Upstream,
    policy: Policy,
    confirmed: bool,
    ids: &[String],
    what: &str,
) {
    let mail = mail();
    let mut client = Pop3::connect(bridge.address()).await;
    client.login("alice").await;
    let gone = |index: &usize| confirmed && DELETED.contains(index);
    let left: Vec<usize> = (0..mail.len()).filter(|index| !gone(index)).collect();
    let listed: Vec<String> = client.uidl().await.into_iter().map(|(_, id)| id).collect();
    let expected: Vec<&String> = left.iter().map(|index| &ids[*index]).collect();
    assert_eq!(listed.iter().collect::<Vec<_>>(), expected, "{what}: unique ids");
    for (number, index) in (1..).zip(&left) {
        assert!(client.top(number, 1000).await == mail[*index], "{what}: message {index}");
    }
    client.quit().await;

    let leaves = policy.target().is_some() || policy == Policy::Expunge;
    let flags = |index: &usize| *index == FLAGGED || (policy == Policy::Flag && gone(index));
    let there = (0..mail.len()).filter(|index| !(leaves && gone(index)));
    let inbox = there.map(|index| Held { body: mail[index].clone(), deleted: flags(&index) });
    assert_eq!(sorted(upstream.folder("INBOX")), sorted(inbox.collect()), "{what}: INBOX");
    if let Some(target) = policy.target() {
        let bodies = |held: Vec<Held>| sorted(held).into_iter().map(|held| held.body).collect::<Vec<_>>();
        let moved =
            (0..mail.len()).filter(gone).map(|index| Held { body: mail[index].clone(), deleted: false });
        assert_eq!(bodies(upstream.folder(target)), bodies(moved.collect()), "{what}: {target}");
    }
}

fn sorted(mut held: Vec<Held>) -> Vec<Held> {
    held.sort();
    held
}
