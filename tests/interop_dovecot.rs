//! The bridge in front of a real Dovecot: exact mail, lasting ids, honest removal.

mod support;

use std::collections::HashSet;

use support::bridge::{Bridge, Settings};
use support::certs::Authority;
use support::dovecot::{Dovecot, Options};
use support::imap::Imap;
use support::mail::{self, assert_same};
use support::pop3::Pop3;
use support::relay;

/// A `TOP` with more lines than any message has: a download by another name.
const WHOLE: usize = 99_999_999;

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn five_hundred_messages_arrive_exact() {
    let messages = mail::corpus(1, 500);
    let expected: Vec<Vec<u8>> = messages.iter().map(|message| mail::crlf(message)).collect();
    let authority = Authority::new("the bridge's");
    let dovecot = Dovecot::start(&Options::default());
    fill(&dovecot, "alice", &messages);
    let stored = dovecot.messages("alice", "INBOX");
    assert_eq!(stored.len(), expected.len());
    for (number, (stored, expected)) in (1..).zip(stored.iter().zip(&expected)) {
        let form = mail::crlf(&stored.body);
        assert_same(&form, expected, &format!("Dovecot's own message {number}"));
    }

    let settings =
        Settings::new(dovecot.url()).listeners(&["none", "starttls", "implicit"]).certificate(&authority);
    let bridge = Bridge::start(&settings);

    let mut pop3 = Pop3::connect(bridge.addresses()[0]).await;
    pop3.login("alice").await;
    let first = pop3.list().await;
    assert_eq!(first.len(), expected.len());
    for ((number, size), (stored, expected)) in first.iter().zip(stored.iter().zip(&expected)) {
        // Where no line end is missing the server knows the size beforehand.
        if stored.size == expected.len() as u64 {
            assert_eq!(*size, stored.size, "LIST of message {number}");
        }
    }
    check_all(&mut pop3, &expected).await;
    pop3.quit().await;

    // All sizes have been counted by now.
    let sizes = (1..).zip(expected.iter().map(|form| form.len() as u64));
    let counted: Vec<(usize, u64)> = sizes.collect();
    let octets: u64 = counted.iter().map(|(_, size)| size).sum();
    let config = authority.client();
    let (stls, implicit) = (bridge.addresses()[1], bridge.addresses()[2]);
    for mut pop3 in
        [Pop3::connect_stls(stls, config.clone()).await, Pop3::connect_tls(implicit, config.clone()).await]
    {
        pop3.login("alice").await;
        assert_eq!(pop3.list().await, counted);
        let stat = pop3.ok("STAT").await;
        assert!(stat.starts_with(&format!("+OK {} {octets}", expected.len())), "{stat}");
        check_all(&mut pop3, &expected).await;
        pop3.quit().await;
    }

    let sessions = bridge.sessions(3);
    let secured: Vec<bool> = sessions.iter().map(|session| session.tls).collect();
    assert_eq!(secured, [false, true, true]);
    for session in sessions {
        assert_eq!(session.login, "alice");
        assert_eq!(session.end, "quit");
        assert!(session.retrieved >= 500, "{session:?}");
        assert!(session.octets >= octets, "{session:?}");
        assert_eq!(session.deleted, 0);
    }
    let after = dovecot.summaries("alice", "INBOX");
    assert!(after.iter().all(|message| message.has("\\Seen")));
}

/// TOP in both its uses, and RETR, of every message.
async fn check_all(pop3: &mut Pop3, expected: &[Vec<u8>]) {
    for (number, expected) in (1..).zip(expected) {
        for lines in [0, 3] {
            let top = pop3.top(number, lines).await;
            check_top(&top, expected, number, lines);
        }
    }
    for (number, expected) in (1..).zip(expected) {
        let body = pop3.retr(number).await;
        assert_same(&body, expected, &format!("RETR {number}"));
    }
    for (number, expected) in (1..).zip(expected) {
        let body = pop3.top(number, WHOLE).await;
        assert_same(&body, expected, &format!("TOP {number} {WHOLE}"));
    }
}

fn check_top(top: &[u8], whole: &[u8], number: usize, lines: usize) {
    let what = format!("TOP {number} {lines}");
    let (header, body) = mail::split(whole);
    let body: Vec<u8> =
        body.split_inclusive(|&octet| octet == b'\n').take(lines).flatten().copied().collect();
    let expected = [header, &body].concat();
    // RFC 1939 §7 wants a blank line behind the header also where the message has none.
    let blank = whole.starts_with(b"\r\n") || header.ends_with(b"\r\n\r\n");
    if !blank && top.len() == expected.len() + 2 {
        assert_same(top, &[&expected[..], b"\r\n"].concat(), &what);
    } else {
        assert_same(top, &expected, &what);
    }
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn an_empty_message_and_an_empty_mailbox() {
    let dovecot = Dovecot::start(&Options::default());
    let bridge = Bridge::start(&Settings::new(dovecot.url()));
    let mut pop3 = Pop3::connect(bridge.address()).await;
    pop3.login("alice").await;
    assert!(pop3.ok("STAT").await.starts_with("+OK 0 0"));
    assert!(pop3.list().await.is_empty());
    assert!(pop3.uidl().await.is_empty());
    pop3.err("RETR 1").await;
    pop3.quit().await;

    // APPEND takes no message of no octets; a delivery that ran out of disk leaves one.
    dovecot.lay("alice", "1.empty.host", b"");
    dovecot.lay("alice", "2.small.host", b"Subject: small\n\nbody\n");
    let mut pop3 = Pop3::connect(bridge.address()).await;
    pop3.login("alice").await;
    let sizes: Vec<u64> = pop3.list().await.iter().map(|(_, size)| *size).collect();
    let mut bodies = vec![pop3.retr(1).await, pop3.retr(2).await];
    let lengths: Vec<u64> = bodies.iter().map(|body| body.len() as u64).collect();
    assert_eq!(sizes, lengths);
    bodies.sort();
    assert_eq!(bodies, [&b""[..], b"Subject: small\r\n\r\nbody\r\n"]);
    pop3.quit().await;
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn unique_ids_outlive_sessions_restarts_and_new_mail() {
    let dovecot = Dovecot::start(&Options::default());
    fill(&dovecot, "alice", &mail::corpus(2, 40));
    let mut bridge = Bridge::start(&Settings::new(dovecot.url()));
    let first = unique_ids(&bridge, "alice").await;
    assert_eq!(first.len(), 40);
    let distinct: HashSet<&String> = first.iter().collect();
    assert_eq!(distinct.len(), 40);
    for id in &first {
        assert!((1..=70).contains(&id.len()), "{id:?}");
        assert!(id.bytes().all(|octet| (0x21..=0x7e).contains(&octet)), "{id:?}");
    }
    assert_eq!(unique_ids(&bridge, "alice").await, first);

    bridge.restart();
    assert_eq!(unique_ids(&bridge, "alice").await, first);

    // One by one is what some programs ask; the answers have to agree.
    let mut pop3 = Pop3::connect(bridge.address()).await;
    pop3.login("alice").await;
    for (number, id) in (1..).zip(&first) {
        let answer = pop3.ok(&format!("UIDL {number}")).await;
        assert_eq!(answer, format!("+OK {number} {id}"));
    }
    pop3.quit().await;

    // One goes and two come: what stays keeps its id, in order.
    let gone = dovecot.summaries("alice", "INBOX")[7].uid;
    dovecot.expunge_elsewhere("alice", gone);
    fill(&dovecot, "alice", &mail::corpus(3, 2));
    let mut later = unique_ids(&bridge, "alice").await;
    let new = later.split_off(39);
    let mut remaining = first.clone();
    remaining.remove(7);
    assert_eq!(later, remaining);
    assert_eq!(new.len(), 2);
    assert!(new.iter().all(|id| !first.contains(id)), "an id was used again");
    bridge.restart();
    assert_eq!(unique_ids(&bridge, "alice").await, [later, new].concat());
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn the_same_listing_without_any_state() {
    let dovecot = Dovecot::start(&Options::default());
    fill(&dovecot, "alice", &mail::corpus(4, 30));
    let one = Bridge::start(&Settings::new(dovecot.url()));
    let other = Bridge::start(&Settings::new(dovecot.url()));
    let ids = unique_ids(&one, "alice").await;
    assert_eq!(unique_ids(&other, "alice").await, ids);
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn expunge_removes_what_was_marked_and_confirmed_and_nothing_else() {
    let dovecot = Dovecot::start(&Options::default());
    fill(&dovecot, "alice", &mail::corpus(5, 10));
    let before = uids(&dovecot, "alice");
    // Another client has flagged message 7 and not yet expunged it.
    dovecot.flag_elsewhere("alice", before[6], "\\Deleted");
    let settings = Settings::new(dovecot.url()).with("maildrop", "on_delete = \"expunge\"");
    let bridge = Bridge::start(&settings);

    // Marked, then gone without QUIT; marked, then taken back.
    let mut pop3 = Pop3::connect(bridge.address()).await;
    pop3.login("alice").await;
    pop3.ok("DELE 1").await;
    pop3.abort();
    let mut pop3 = Pop3::connect(bridge.address()).await;
    pop3.login("alice").await;
    pop3.ok("DELE 1").await;
    pop3.ok("RSET").await;
    pop3.quit().await;
    assert_eq!(uids(&dovecot, "alice"), before);

    let mut pop3 = Pop3::connect(bridge.address()).await;
    pop3.login("alice").await;
    pop3.retr(2).await;
    for number in [2, 5, 10] {
        pop3.ok(&format!("DELE {number}")).await;
        pop3.err(&format!("RETR {number}")).await;
    }
    // Not before QUIT.
    assert_eq!(uids(&dovecot, "alice"), before);
    pop3.quit().await;

    let mut left = before.clone();
    for number in [10, 5, 2] {
        left.remove(number - 1);
    }
    let after = dovecot.summaries("alice", "INBOX");
    let found: Vec<u32> = after.iter().map(|message| message.uid).collect();
    assert_eq!(found, left);
    let flagged = after.iter().filter(|message| message.has("\\Deleted"));
    let flagged: Vec<u32> = flagged.map(|message| message.uid).collect();
    assert_eq!(flagged, [before[6]], "another client's mark survives");
    assert_eq!(unique_ids(&bridge, "alice").await.len(), 7);
    let deleted: Vec<u64> = bridge.sessions(4).iter().map(|line| line.deleted).collect();
    assert_eq!(deleted, [0, 0, 3, 0]);
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn expunge_is_refused_where_it_would_expunge_for_others() {
    let dovecot = Dovecot::start(&Options {
        capability: Some("IMAP4rev1 LITERAL+ SASL-IR IDLE"),
        ..Options::default()
    });
    fill(&dovecot, "alice", &mail::corpus(6, 5));
    let before = uids(&dovecot, "alice");
    dovecot.flag_elsewhere("alice", before[3], "\\Deleted");
    let settings = Settings::new(dovecot.url()).with("maildrop", "on_delete = \"expunge\"");
    let bridge = Bridge::start(&settings);
    // A plain EXPUNGE takes what others marked: better no session than that.
    let mut pop3 = Pop3::connect(bridge.address()).await;
    pop3.ok("USER alice").await;
    let answer = pop3.err("PASS secret").await;
    assert!(answer.starts_with("-ERR [SYS/PERM] "), "{answer}");
    assert!(answer.contains("UIDPLUS"), "{answer}");
    drop(pop3);
    assert_eq!(uids(&dovecot, "alice"), before);

    // The default policy needs nothing of the kind.
    let bridge = Bridge::start(&Settings::new(dovecot.url()));
    let mut pop3 = Pop3::connect(bridge.address()).await;
    pop3.login("alice").await;
    pop3.ok("DELE 1").await;
    pop3.quit().await;
    assert_eq!(uids(&dovecot, "alice"), before);
    assert_eq!(unique_ids(&bridge, "alice").await.len(), 4);
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn hide_keeps_every_message_on_the_server() {
    let messages = mail::corpus(7, 12);
    let dovecot = Dovecot::start(&Options::default());
    fill(&dovecot, "alice", &messages);
    let before = dovecot.messages("alice", "INBOX");
    // The default needs no line in the configuration.
    let mut bridge = Bridge::start(&Settings::new(dovecot.url()));
    let ids = unique_ids(&bridge, "alice").await;

    let mut pop3 = Pop3::connect(bridge.address()).await;
    pop3.login("alice").await;
    pop3.retr(1).await;
    pop3.top(2, 0).await;
    pop3.retr(3).await;
    for number in [1, 2, 12] {
        pop3.ok(&format!("DELE {number}")).await;
    }
    pop3.quit().await;

    let expected: Vec<String> = ids[2..11].to_vec();
    assert_eq!(unique_ids(&bridge, "alice").await, expected);
    bridge.restart();
    assert_eq!(unique_ids(&bridge, "alice").await, expected);

    let after = dovecot.messages("alice", "INBOX");
    assert_eq!(after.len(), before.len());
    for (after, before) in after.iter().zip(&before) {
        assert_eq!(after.uid, before.uid);
        assert!(after.body == before.body, "message {} changed", after.uid);
        assert!(!after.has("\\Deleted"), "message {}", after.uid);
    }
    let seen = (1..).zip(&after).filter(|(_, message)| message.has("\\Seen"));
    let seen: Vec<usize> = seen.map(|(number, _)| number).collect();
    assert_eq!(seen, [1, 3], "what was sent whole is read, TOP reads nothing");
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn leave_sets_no_flag() {
    let dovecot = Dovecot::start(&Options::default());
    fill(&dovecot, "alice", &mail::corpus(8, 3));
    let settings = Settings::new(dovecot.url()).with("maildrop", "on_retrieve = \"leave\"");
    let bridge = Bridge::start(&settings);
    let mut pop3 = Pop3::connect(bridge.address()).await;
    pop3.login("alice").await;
    for number in 1..=3 {
        pop3.retr(number).await;
    }
    pop3.quit().await;
    let after = dovecot.summaries("alice", "INBOX");
    assert!(after.iter().all(|message| !message.has("\\Seen")));
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn a_message_expunged_elsewhere_keeps_its_number() {
    let messages = mail::corpus(9, 6);
    let dovecot = Dovecot::start(&Options::default());
    fill(&dovecot, "alice", &messages);
    let bridge = Bridge::start(&Settings::new(dovecot.url()));
    let mut pop3 = Pop3::connect(bridge.address()).await;
    pop3.login("alice").await;
    let listing = pop3.list().await;
    let ids = pop3.uidl().await;

    let third = uids(&dovecot, "alice")[2];
    dovecot.expunge_elsewhere("alice", third);
    for (number, message) in (1..).zip(&messages) {
        if number == 3 {
            pop3.err("RETR 3").await;
            pop3.err("TOP 3 0").await;
            pop3.err(&format!("TOP 3 {WHOLE}")).await;
        } else {
            let body = pop3.retr(number).await;
            assert_same(&body, &mail::crlf(message), &format!("RETR {number}"));
        }
    }
    assert_eq!(pop3.list().await, listing);
    assert_eq!(pop3.uidl().await, ids);
    pop3.quit().await;

    let mut left = ids;
    left.remove(2);
    let left: Vec<String> = left.into_iter().map(|(_, id)| id).collect();
    assert_eq!(unique_ids(&bridge, "alice").await, left);
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn deleting_what_another_client_expunged_spares_the_rest() {
    let dovecot = Dovecot::start(&Options::default());
    fill(&dovecot, "alice", &mail::corpus(10, 6));
    let settings = Settings::new(dovecot.url()).with("maildrop", "on_delete = \"expunge\"");
    let bridge = Bridge::start(&settings);
    let mut pop3 = Pop3::connect(bridge.address()).await;
    pop3.login("alice").await;
    pop3.ok("DELE 2").await;
    pop3.ok("DELE 4").await;
    let mut left = uids(&dovecot, "alice");
    dovecot.expunge_elsewhere("alice", left[1]);
    fill(&dovecot, "alice", &mail::corpus(11, 1));
    pop3.quit().await;
    left.remove(3);
    left.remove(1);
    let after = uids(&dovecot, "alice");
    assert_eq!(after[..4], left);
    assert_eq!(after.len(), 5, "what came meanwhile stays");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn mail_travels_over_tls_to_the_upstream() {
    let authority = Authority::new("the upstream's");
    let messages = mail::corpus(12, 50);
    let dovecot =
        Dovecot::start(&Options { tls: Some(&authority), login_disabled: true, ..Options::default() });
    fill(&dovecot, "alice", &messages);
    let relay = relay::start(dovecot.address()).await;
    let plain = Imap::connect(relay).expect("it listens");
    assert!(plain.greeting.contains("LOGINDISABLED"), "{}", plain.greeting);

    for url in [dovecot.imaps_url(), dovecot.starttls_url(), format!("imap+starttls://{relay}")] {
        let bridge = Bridge::start(&Settings::new(url).trust(&authority));
        let mut pop3 = Pop3::connect(bridge.address()).await;
        pop3.login("alice").await;
        for (number, message) in (1..).zip(&messages) {
            let body = pop3.retr(number).await;
            assert_same(&body, &mail::crlf(message), &format!("RETR {number}"));
        }
        pop3.quit().await;
    }
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn an_upstream_that_cannot_be_trusted_gets_no_password() {
    let authority = Authority::new("the upstream's");
    let stranger = Authority::new("a stranger's");
    let dovecot = Dovecot::start(&Options {
        tls: Some(&authority),
        extra: "auth_verbose = yes\n",
        ..Options::default()
    });
    for url in [dovecot.imaps_url(), dovecot.starttls_url()] {
        let settings = [
            Settings::new(url.clone()).trust(&stranger),
            // The system's roots do not know the authority either.
            Settings::new(url),
        ];
        for settings in settings {
            let bridge = Bridge::start(&settings);
            let mut pop3 = Pop3::connect(bridge.address()).await;
            pop3.ok("USER alice").await;
            let answer = pop3.err("PASS secret").await;
            assert!(
                answer.starts_with("-ERR [SYS/PERM] ") || answer.starts_with("-ERR [SYS/TEMP] "),
                "{answer}"
            );
        }
    }
    let log = dovecot.log();
    assert!(!log.contains("alice"), "a name was sent:\n{log}");
}

fn fill(dovecot: &Dovecot, user: &str, messages: &[Vec<u8>]) {
    dovecot.append_all(user, "INBOX", messages.iter().map(Vec::as_slice), "");
}

fn uids(dovecot: &Dovecot, user: &str) -> Vec<u32> {
    let messages = dovecot.summaries(user, "INBOX");
    messages.iter().map(|message| message.uid).collect()
}

/// The unique ids in order, by a session of its own.
async fn unique_ids(bridge: &Bridge, user: &str) -> Vec<String> {
    let mut pop3 = Pop3::connect(bridge.address()).await;
    pop3.login(user).await;
    let ids = pop3.uidl().await;
    pop3.quit().await;
    for (at, (number, _)) in ids.iter().enumerate() {
        assert_eq!(*number, at + 1);
    }
    ids.into_iter().map(|(_, id)| id).collect()
}
