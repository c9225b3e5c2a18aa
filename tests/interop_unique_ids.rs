//! Unique ids as the former server wrote them: what its POP3 side says, from what IMAP says.

mod support;

use popbridge::config::UniqueIdScheme as Scheme;
use popbridge::ids::{Uid, UidValidity};
use popbridge::maildrop::Deriver;

use support::dovecot::{Dovecot, Options};
use support::mail;
use support::pop3::Pop3;

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn dovecot_writes_what_is_derived() {
    check(Scheme::Dovecot, "").await;
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn dovecot_in_the_place_of_another_writes_what_is_derived() {
    // As Dovecot's own documentation tells those who come from there.
    check(Scheme::Uw, "pop3_uidl_format = %08Xv%08Xu").await;
    check(Scheme::Cyrus, "pop3_uidl_format = %v.%u").await;
    check(Scheme::Courier, "pop3_uidl_format = UID%u-%v").await;
}

async fn check(scheme: Scheme, extra: &str) {
    let dovecot = Dovecot::start(&Options { pop3: true, extra, ..Options::default() });
    // Enough for UIDs with hexadecimal letters, and a gap.
    let messages = mail::corpus(6, 40);
    dovecot.append_all("alice", "INBOX", messages.iter().map(Vec::as_slice), "");
    let uids: Vec<u32> = dovecot.summaries("alice", "INBOX").iter().map(|message| message.uid).collect();
    dovecot.expunge_elsewhere("alice", uids[7]);

    let deriver = Deriver::new(scheme, "INBOX");
    let validity = validity(&dovecot, "alice");
    let summaries = dovecot.summaries("alice", "INBOX");
    let derived = summaries.iter().map(|message| Uid::new(message.uid).expect("not zero"));
    let derived: Vec<String> = derived.map(|uid| deriver.id(validity, uid).to_string()).collect();

    let mut pop3 = Pop3::connect(dovecot.pop3_address()).await;
    pop3.login("alice").await;
    let written: Vec<String> = pop3.uidl().await.into_iter().map(|(_, id)| id).collect();
    pop3.quit().await;
    assert_eq!(written.len(), 39);
    assert_eq!(derived, written, "{scheme:?}");
}

fn validity(dovecot: &Dovecot, user: &str) -> UidValidity {
    let mut imap = dovecot.connect(user);
    let responses = imap.command("STATUS INBOX (UIDVALIDITY)");
    imap.command("LOGOUT");
    let text = responses.iter().find_map(|response| response.text.split_once("(UIDVALIDITY "));
    let (_, number) = text.expect("a STATUS response");
    UidValidity::parse(number.trim_end_matches(')').as_bytes()).expect("a UIDVALIDITY")
}
