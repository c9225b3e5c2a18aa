//! The fault matrix: every place × kind × policy on the simulator, and the promises that hold
//! through each: no shortened listing, no false `+OK`, no message cut short that looks whole,
//! nothing gone that was not confirmed by QUIT, no `[AUTH]` for an outage. After the fault the
//! next session works.

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use imapsim::{Fault, Place, Server};
use support::bridge::Settings;
use support::dovecot::PASSWORD;
use support::local::Local;
use support::mail::crlf;
use support::pop3::Pop3;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// No session may take longer, whatever the upstream does.
const PATIENCE: Duration = Duration::from_secs(60);
/// Which message the client deletes, counted from 0.
const DELETED: usize = 1;

const PLACES: &[Place] = &[
    Place::Greeting,
    Place::Capability,
    Place::Login,
    Place::Other,
    Place::Select,
    Place::Fetch(1),
    Place::Fetch(2),
    Place::Fetch(3),
    Place::Fetch(4),
    Place::Fetch(5),
    Place::Fetch(6),
    Place::Store,
    Place::Expunge,
    Place::Logout,
];

fn faults() -> Vec<Fault> {
    let mut faults = vec![
        Fault::No(None),
        Fault::No(Some("UNAVAILABLE")),
        Fault::No(Some("LIMIT")),
        Fault::Bad,
        Fault::Bye,
        Fault::Eof,
        Fault::Stall,
        Fault::SplitEvery(1),
        Fault::Delay(Duration::from_millis(50)),
        Fault::TruncateLiteral(0),
        Fault::TruncateLiteral(7),
        Fault::WrongSize(-5),
        Fault::WrongSize(1000),
        Fault::UidValidityChange,
        Fault::UnsolicitedExpunge,
        Fault::MissingRow,
        Fault::NoAfterRows(2),
        Fault::EofAfterRows(2),
        Fault::EofAfterAction,
    ];
    for raw in HOSTILE {
        faults.push(Fault::Raw(raw.to_vec()));
        faults.push(Fault::RawThenStall(raw.to_vec()));
    }
    faults.push(Fault::Raw(vec![b'('; 400]));
    faults.push(Fault::Raw([&b"* 1 FETCH "[..], &[b'('; 200_000]].concat()));
    faults.push(Fault::Raw(vec![b'x'; 1 << 20]));
    faults.push(Fault::Raw(random(64 * 1024)));
    faults
}

/// What a hostile or broken server may say instead of an answer. The three octets behind the huge
/// literal are the message's own: octets that were never in it cannot be told from it.
const HOSTILE: &[&[u8]] = &[
    b"* 1 FETCH (UID 1 BODY[] {500000000}\r\nSub",
    b"* 1 FETCH (UID 1 BODY[] {99999999999999999999}\r\n",
    b"* 1 FETCH (UID 1 BODY[] \"unended\r\n",
    b"* 1 FETCH (UID 4294967295 RFC822.SIZE 18446744073709551616)\r\n",
    b"* 4294967295 EXISTS\r\n* 1 EXPUNGE\r\n",
    b"* OK [ALERT]\xc3\xa9\r\n* 1 FETCH (INTERNALDATE NIL)\r\n",
    b"* BYE too busy\r\n",
    b"\0\0\0\0\r\n\r\n+\r\n* \r\n*\r\n",
    b"A0001 OK done\r\nA0002 OK done\r\nP0 OK done\r\nP1 OK done\r\nP2 OK done\r\n",
];

/// Octets without a pattern, the same in each run (xorshift).
fn random(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

fn mail() -> Vec<Vec<u8>> {
    let long = "0123456789abcdef\r\n".repeat(4000);
    vec![
        b"Subject: one\r\n\r\n.\r\nbody\r\n".to_vec(),
        b"Subject: two\r\n\r\nno end".to_vec(),
        [b"Subject: three\r\n\r\n", long.as_bytes()].concat(),
        b"Subject: four\r\n\r\nfour\r\n".to_vec(),
        b"Subject: five\r\n\r\nfive\r\n".to_vec(),
    ]
}

fn settings(sim: &Server, policy: &str, patience: &str) -> Settings {
    Settings::new(format!("imap://{}", sim.address()))
        .with("upstream.home", &format!("timeout = \"{patience}\"\nrecovery = \"{patience}\""))
        .with("maildrop", &format!("on_delete = \"{policy}\""))
}

/// What the client saw.
#[derive(Debug, Default)]
struct Seen {
    login: Option<String>,
    rows: Option<usize>,
    /// Whole messages, by the index of what was asked for.
    bodies: Vec<(usize, Vec<u8>)>,
    marked: bool,
    quit_sent: bool,
    quit: Option<String>,
}

/// A session that goes as far as it can.
async fn session(bridge: &Local) -> Seen {
    let mut seen = Seen::default();
    let mut client = Pop3::connect(bridge.address()).await;
    // A closed connection ends it anywhere: that is what a client sees, too.
    let _ = async {
        client.attempt("USER alice").await?;
        let login = client.attempt(&format!("PASS {PASSWORD}")).await?;
        seen.login = Some(login.clone());
        if !login.starts_with("+OK") {
            client.attempt("QUIT").await?;
            return Ok(());
        }
        if client.attempt("LIST").await?.starts_with("+OK") {
            let mut rows = Vec::new();
            client.body_until(&mut rows, usize::MAX).await?;
            seen.rows = Some(rows.split(|&octet| octet == b'\n').count() - 1);
        }
        for number in 1..=3 {
            if client.attempt(&format!("RETR {number}")).await?.starts_with("+OK") {
                let mut body = Vec::new();
                if client.body_until(&mut body, usize::MAX).await? {
                    seen.bodies.push((number - 1, body));
                }
            }
        }
        if client.attempt("TOP 4 99999").await?.starts_with("+OK") {
            let mut body = Vec::new();
            if client.body_until(&mut body, usize::MAX).await? {
                seen.bodies.push((3, body));
            }
        }
        seen.marked = client.attempt(&format!("DELE {}", DELETED + 1)).await?.starts_with("+OK");
        seen.quit_sent = true;
        seen.quit = Some(client.attempt("QUIT").await?);
        std::io::Result::Ok(())
    }
    .await;
    seen
}

/// One run: a session with the fault, then one without.
async fn run(place: Place, fault: Fault, policy: &'static str) {
    let what = format!("{place:?} × {} × {policy}", short(&fault));
    let sim = Server::builder().user("alice", PASSWORD).start().await.expect("the simulator starts");
    let mail = mail();
    for message in &mail {
        sim.append("alice", "INBOX", message, &[]);
    }
    let validity = sim.uid_validity("alice", "INBOX");
    sim.fault(place, fault.clone());
    let bridge = Local::start(&settings(&sim, policy, "400ms")).await;
    let seen = timeout(PATIENCE, session(&bridge)).await.unwrap_or_else(|_| panic!("{what}: hangs"));
    let folder = timeout(PATIENCE, bridge.stop()).await.unwrap_or_else(|_| panic!("{what}: does not stop"));
    sim.clear_faults();

    if let Some(login) = &seen.login {
        let refused = matches!((place, &fault), (Place::Login, Fault::No(None)));
        assert_eq!(login.starts_with("-ERR [AUTH]"), refused, "{what}: {login}");
    }
    let left: BTreeSet<Vec<u8>> =
        sim.messages("alice", "INBOX").iter().map(|message| message.body.to_vec()).collect();
    let other_deleted = matches!(fault, Fault::UnsolicitedExpunge) && !left.contains(&mail[0]);
    if let Some(rows) = seen.rows {
        let least = mail.len() - usize::from(other_deleted);
        assert!((least..=mail.len()).contains(&rows), "{what}: a listing of {rows}");
    }
    // Numbers are those of the listing: one less where another client removed the first before it.
    let shifted = usize::from(seen.rows == Some(mail.len() - 1));
    for (index, body) in &seen.bodies {
        assert!(*body == crlf(&mail[index + shifted]), "{what}: message {index} is not what it was");
    }
    for (index, message) in mail.iter().enumerate() {
        let marked = seen.marked && index == DELETED + shifted;
        let ours = policy == "expunge" && seen.quit_sent && marked;
        let theirs = other_deleted && index == 0;
        assert!(left.contains(message) || ours || theirs, "{what}: message {index} is lost");
    }
    let confirmed = seen.quit.as_ref().is_some_and(|reply| reply.starts_with("+OK")) && seen.marked;
    if confirmed && policy == "expunge" {
        assert_eq!(left.len(), mail.len() - 1 - usize::from(other_deleted), "{what}: QUIT said +OK");
    }

    let bridge = Local::start_in(&settings(&sim, policy, "30s"), folder).await;
    let mut client = Pop3::connect(bridge.address()).await;
    client.login("alice").await;
    let listed = client.list().await;
    let hidden = usize::from(confirmed && policy == "hide");
    // What was hidden under a UIDVALIDITY that is gone is seen again: shown twice, never lost.
    let renumbered = sim.uid_validity("alice", "INBOX") != validity;
    let expected = left.len() - hidden;
    assert!(
        listed.len() == expected || (renumbered && listed.len() == left.len()),
        "{what}: {} of {expected} messages in the session after it",
        listed.len()
    );
    for (number, _) in listed {
        let body = client.retr(number).await;
        assert!(left.iter().any(|message| crlf(message) == body), "{what}: message {number} afterwards");
    }
    client.quit().await;
    bridge.stop().await;
}

fn short(fault: &Fault) -> String {
    let mut text = format!("{fault:?}");
    text.truncate(60);
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn every_place_and_kind_keeps_the_promises() {
    let at_once = Arc::new(Semaphore::new(64));
    let mut runs = JoinSet::new();
    for &place in PLACES {
        for fault in faults() {
            for policy in ["hide", "expunge"] {
                let at_once = Arc::clone(&at_once);
                let fault = fault.clone();
                runs.spawn(async move {
                    let _permit = at_once.acquire().await.expect("never closed");
                    run(place, fault, policy).await;
                });
            }
        }
    }
    let mut count = 0;
    let mut broken = Vec::new();
    while let Some(run) = runs.join_next().await {
        count += 1;
        if let Err(panic) = run {
            let panic = panic.into_panic();
            let words = panic.downcast_ref::<String>().cloned();
            broken.push(words.or_else(|| panic.downcast_ref::<&str>().map(|words| words.to_string())));
        }
    }
    println!("{count} runs");
    assert!(broken.is_empty(), "{} of {count} runs: {broken:#?}", broken.len());
}
