//! What is looked at behind each session of a run.

use super::Seen;
use super::policy::{self, Account, DELETED, FLAGGED, Policy, count, flagged, mail};
use super::support::mail::crlf;
use super::support::pop3::Pop3;

/// One run, and what may happen in it.
pub struct Run<'a> {
    pub what: String,
    pub policy: Policy,
    /// The messages' unique ids from before.
    pub ids: &'a [String],
    /// The client has confirmed its deletions by QUIT.
    pub intended: bool,
    /// Another client may have removed the lowest message of a folder.
    pub theirs: bool,
    /// The folder of a fault may be that where the deleted messages go.
    pub in_target: bool,
    /// A folder may have been made anew.
    pub new_validity: bool,
}

/// How many messages have the same octets: all of them, those to be deleted, those that another
/// client removed.
struct Alike {
    octets: Vec<u8>,
    all: usize,
    deleted: usize,
    theirs: usize,
}

impl Run<'_> {
    fn alike(&self, account: &Account) -> Vec<Alike> {
        let mail = mail();
        let first_gone = self.theirs && count(&account.inbox, &mail[0]) == 0;
        let mut kinds = mail.clone();
        kinds.sort();
        kinds.dedup();
        let alike = |octets: Vec<u8>| {
            let same = |index: &usize| mail[*index] == octets;
            Alike {
                all: (0..mail.len()).filter(same).count(),
                deleted: if self.intended { DELETED.iter().copied().filter(same).count() } else { 0 },
                theirs: usize::from(first_gone && octets == mail[0]),
                octets,
            }
        };
        kinds.into_iter().map(alike).collect()
    }

    /// What the client was told in the session with the fault.
    pub fn session(&self, seen: &Seen, refused: bool, account: &Account) {
        let (what, mail) = (&self.what, mail());
        if let Some(login) = &seen.login {
            assert!(refused || !login.starts_with("-ERR [AUTH]"), "{what}: {login}");
            assert!(!refused || login.starts_with("-ERR"), "{what}: {login}");
        }
        for (id, body) in &seen.bodies {
            let index = self.index(id);
            assert!(*body == crlf(&mail[index]), "{what}: message {index} is not what it was");
        }
        if let Some(rows) = seen.rows {
            assert_eq!(rows, seen.ids.len(), "{what}: LIST and UIDL differ");
            let gone = |index: usize| self.theirs && index == 0 && count(&account.inbox, &mail[0]) == 0;
            // Without a QUIT in this session, its deletions are an earlier one's.
            let earlier = self.intended && !seen.quit_sent || seen.rows.is_some_and(|rows| rows < 6);
            for (index, id) in self.ids.iter().enumerate() {
                let done = earlier && DELETED.contains(&index);
                assert!(
                    seen.ids.contains(id) || done || gone(index),
                    "{what}: message {index} is not listed"
                );
            }
        }
    }

    fn index(&self, id: &str) -> usize {
        let index = self.ids.iter().position(|known| known == id);
        index.unwrap_or_else(|| panic!("{}: a new unique id {id}", self.what))
    }

    /// At any time: only what was confirmed may be gone or elsewhere.
    pub fn nothing_is_lost(&self, account: &Account) {
        let what = &self.what;
        for alike in self.alike(account) {
            let words = String::from_utf8_lossy(&alike.octets[..20]).into_owned();
            let removed = if self.policy == Policy::Expunge { alike.deleted } else { 0 };
            // Another client took one of the copies out of the trash.
            let taken = usize::from(self.theirs && self.in_target && alike.deleted > 0);
            let least = alike.all - alike.theirs - removed - taken;
            assert!(account.anywhere(&alike.octets) >= least, "{what}: {words:?} is lost");
            let least = alike.all - alike.theirs - if self.policy.leaves_inbox() { alike.deleted } else { 0 };
            assert!(count(&account.inbox, &alike.octets) >= least, "{what}: {words:?} has left INBOX");
        }
        let other = &mail()[FLAGGED];
        assert_eq!(flagged(&account.inbox, other), 1, "{what}: what another client flagged");
    }

    /// What QUIT confirmed is done, each message once.
    pub fn is_done(&self, account: &Account) {
        let (what, policy) = (&self.what, self.policy);
        for alike in self.alike(account) {
            let words = String::from_utf8_lossy(&alike.octets[..20]).into_owned();
            let left = if policy.leaves_inbox() { alike.deleted } else { 0 };
            let inbox = count(&account.inbox, &alike.octets);
            assert_eq!(inbox, alike.all - alike.theirs - left, "{what}: {words:?} in INBOX");
            self.target(account, &alike, &words);
            let flags = flagged(&account.inbox, &alike.octets);
            let ours = if policy == Policy::Flag { alike.deleted } else { 0 };
            let others = usize::from(alike.octets == mail()[FLAGGED]);
            assert!(
                flags == ours + others || (policy == Policy::TrashByCopy && inbox > 0),
                "{what}: {words:?} flagged {flags} times"
            );
        }
    }

    fn target(&self, account: &Account, alike: &Alike, words: &str) {
        let expected = if self.policy.target().is_some() { alike.deleted } else { 0 };
        let copies = count(&account.target, &alike.octets);
        let taken = usize::from(self.theirs && self.in_target && expected > 0);
        // Copies made before the trash was made anew cannot be told for certain.
        let again = if self.new_validity && self.in_target { expected } else { 0 };
        let what = &self.what;
        assert!(
            (expected - taken..=expected + again).contains(&copies),
            "{what}: {words:?} is {copies} times and not {expected} times where it should go"
        );
    }

    /// What is left when a mailbox was made anew: deletions are dropped at any point, and what is
    /// not done never will be.
    fn is_done_or_dropped(&self, account: &Account) {
        let what = &self.what;
        for alike in self.alike(account) {
            let words = String::from_utf8_lossy(&alike.octets[..20]).into_owned();
            let inbox = count(&account.inbox, &alike.octets);
            let target = count(&account.target, &alike.octets);
            assert!(inbox <= alike.all - alike.theirs, "{what}: {words:?} is {inbox} times in INBOX");
            assert!(target <= alike.deleted, "{what}: {words:?} is {target} times where it should go");
            if matches!(self.policy, Policy::Trash | Policy::Archive | Policy::Grace) {
                assert_eq!(inbox + target, alike.all - alike.theirs, "{what}: {words:?}");
            }
        }
    }

    /// A session without a fault behind the one that had it: what is to be done is done by now,
    /// unless it `waits`, and the rest is there, under the ids of before.
    pub async fn next(
        &self,
        client: &mut Pop3,
        account: &impl Fn() -> Account,
        confirmed: bool,
        waits: bool,
    ) {
        let (what, mail) = (&self.what, mail());
        let account = account();
        let dropped = account.renumbered && (!confirmed || self.policy == Policy::Grace);
        if waits || dropped {
            self.is_done_or_dropped(&account);
        } else {
            self.is_done(&account);
        }
        let listed = client.uidl().await;
        let indexes: Vec<usize> = listed.iter().map(|(_, id)| self.index(id)).collect();
        let mut distinct = indexes.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), indexes.len(), "{what}: a unique id twice: {listed:?}");
        for index in 0..mail.len() {
            let gone = self.theirs && index == 0 && count(&account.inbox, &mail[0]) == 0;
            let deleted = self.intended && DELETED.contains(&index);
            let shown = distinct.contains(&index);
            // Hidden before the mailbox was made anew, it stays hidden; in the journal, it is dropped.
            if deleted && account.renumbered && self.policy != Policy::Hide {
                continue;
            }
            assert_eq!(shown, !gone && !deleted, "{what}: message {index} afterwards, of {listed:?}");
        }
        for octets in mail.iter() {
            let shown = distinct.iter().filter(|index| mail[**index] == *octets).count();
            let inbox = policy::count(&account.inbox, octets);
            assert!(shown <= inbox, "{what}: more listed than there is");
            if self.policy.leaves_inbox() && !waits {
                assert_eq!(shown, inbox, "{what}: less listed than there is");
            }
        }
        for ((number, _), index) in listed.iter().zip(indexes) {
            let body = client.retr(*number).await;
            assert!(body == crlf(&mail[index]), "{what}: message {index} afterwards");
        }
        client.ok("QUIT").await;
    }
}
