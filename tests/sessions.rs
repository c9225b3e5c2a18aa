//! What sessions do to one another, to time, and to the network.

mod support;

use std::time::Duration;

use imapsim::{Fault, Persona, Place, Server, Tls};
use support::bridge::{Bridge, Settings};
use support::certs::Authority;
use support::dovecot::PASSWORD;
use support::local::Local;
use support::mail::crlf;
use support::pop3::Pop3;
use tokio::time::{Instant, sleep};

async fn sim() -> Server {
    let sim = Server::builder().user("alice", PASSWORD).user("bob", PASSWORD).start().await;
    sim.expect("the simulator starts")
}

fn settings(sim: &Server) -> Settings {
    Settings::new(format!("imap://{}", sim.address()))
}

async fn logged_in(bridge: &Local, user: &str) -> Pop3 {
    let mut client = Pop3::connect(bridge.address()).await;
    client.login(user).await;
    client
}

#[tokio::test]
async fn a_maildrop_is_open_once() {
    let sim = sim().await;
    let bridge = Local::start(&settings(&sim)).await;
    let first = logged_in(&bridge, "alice").await;
    let mut second = Pop3::connect(bridge.address()).await;
    second.ok("USER alice").await;
    let refused = second.err(&format!("PASS {PASSWORD}")).await;
    assert!(refused.starts_with("-ERR [IN-USE]"), "{refused}");
    let bob = logged_in(&bridge, "bob").await;
    first.quit().await;
    second.login("alice").await;
    second.quit().await;
    bob.quit().await;
}

#[tokio::test]
async fn a_dropped_connection_frees_the_maildrop_at_once() {
    let sim = sim().await;
    let bridge = Local::start(&settings(&sim)).await;
    for _ in 0..3 {
        logged_in(&bridge, "alice").await.abort();
    }
    logged_in(&bridge, "alice").await.quit().await;
}

#[tokio::test]
async fn a_silent_client_gives_way() {
    let sim = sim().await;
    sim.append("alice", "INBOX", b"Subject: one\r\n\r\nbody\r\n", &[]);
    let bridge = Local::start(&settings(&sim).with("limits", "preempt_after = \"200ms\"")).await;
    let mut silent = logged_in(&bridge, "alice").await;
    silent.ok("DELE 1").await;
    sleep(Duration::from_millis(400)).await;
    let mut second = logged_in(&bridge, "alice").await;
    assert_eq!(second.list().await.len(), 1, "what a pre-empted session marked is not removed");
    assert!(silent.rest().await.is_empty(), "it is closed without a word");
    second.quit().await;
}

#[tokio::test]
async fn a_shared_maildrop_may_be_open_twice() {
    let sim = sim().await;
    let bridge = Local::start(&settings(&sim).with("maildrop", "lock = \"shared\"")).await;
    let first = logged_in(&bridge, "alice").await;
    logged_in(&bridge, "alice").await.quit().await;
    first.quit().await;
}

#[tokio::test]
async fn silence_ends_a_session_without_an_answer_or_an_update() {
    let sim = sim().await;
    sim.append("alice", "INBOX", b"Subject: one\r\n\r\nbody\r\n", &[]);
    let policy = "on_delete = \"expunge\"";
    let settings = settings(&sim).with("limits", "idle_timeout = \"300ms\"").with("maildrop", policy);
    let bridge = Local::start(&settings).await;
    let mut client = logged_in(&bridge, "alice").await;
    client.ok("DELE 1").await;
    assert!(client.rest().await.is_empty(), "RFC 1939 §3: no response");
    bridge.stop().await;
    assert_eq!(sim.messages("alice", "INBOX").len(), 1);
}

#[tokio::test]
async fn a_login_has_its_time() {
    let sim = sim().await;
    let bridge = Local::start(&settings(&sim).with("limits", "login_timeout = \"300ms\"")).await;
    let mut idle = Pop3::connect(bridge.address()).await;
    let mut busy = Pop3::connect(bridge.address()).await;
    let started = Instant::now();
    while busy.attempt("CAPA").await.is_ok() {
        assert!(started.elapsed() < Duration::from_secs(30), "CAPA for ever is no login");
        let mut lines = Vec::new();
        if busy.body_until(&mut lines, usize::MAX).await.is_err() {
            break;
        }
    }
    assert!(idle.rest().await.is_empty());
}

#[tokio::test]
async fn too_many_sessions_are_turned_away() {
    let sim = sim().await;
    let bridge = Local::start(&settings(&sim).with("limits", "sessions_per_address = 2")).await;
    let first = Pop3::connect(bridge.address()).await;
    let _second = Pop3::connect(bridge.address()).await;
    let mut third = Pop3::silent(bridge.address()).await;
    let line = third.line().await.expect("a reason");
    assert!(line.starts_with("-ERR [SYS/TEMP]"), "{line}");
    first.quit().await;
    // The place is free a moment after the goodbye.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let mut again = Pop3::silent(bridge.address()).await;
        if again.line().await.is_ok_and(|line| line.starts_with("+OK")) {
            break;
        }
        assert!(Instant::now() < deadline, "the place does not come back");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn networks_that_are_not_allowed_get_nothing() {
    let sim = sim().await;
    let folder = tempfile::tempdir().expect("a folder");
    let text = settings(&sim).text(folder.path()).replacen(
        "tls = \"none\"",
        "tls = \"none\"\nallow = [\"192.0.2.0/24\"]",
        1,
    );
    let config = popbridge::config::Config::parse(&text, "test", folder.path()).expect("a configuration");
    let app = popbridge::app::App::bind(config).await.expect("it starts");
    let address = app.addresses()[0];
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let task = tokio::spawn(app.run(async {
        let _ = stopped.await;
    }));
    assert!(Pop3::silent(address).await.rest().await.is_empty());
    drop(stop);
    task.await.expect("it ends");
}

#[tokio::test]
async fn plaintext_passwords_only_where_they_may_go() {
    let sim = sim().await;
    let authority = Authority::new("clients");
    let settings = settings(&sim)
        .listeners(&["starttls", "implicit"])
        .certificate(&authority)
        .with("security", "plaintext_login = \"never\"");
    let bridge = Local::start(&settings).await;
    let mut plain = Pop3::connect(bridge.address()).await;
    let capabilities = String::from_utf8(plain.multi("CAPA").await).expect("text");
    assert!(!capabilities.contains("SASL") && !capabilities.contains("USER\r\nSASL"), "{capabilities}");
    assert!(capabilities.contains("STLS"), "{capabilities}");
    plain.err("USER alice").await;
    plain.err("AUTH PLAIN").await;
    plain.err("PASS secret").await;
    assert_eq!(sim.connections(), 0, "nothing went upstream");
    let mut stls = Pop3::connect_stls(bridge.address(), authority.client()).await;
    let capabilities = String::from_utf8(stls.multi("CAPA").await).expect("text");
    assert!(capabilities.contains("SASL PLAIN LOGIN"), "{capabilities}");
    assert!(!capabilities.contains("STLS"), "{capabilities}");
    stls.err("STLS").await;
    stls.login("alice").await;
    stls.quit().await;
    let mut implicit = Pop3::connect_tls(bridge.addresses()[1], authority.client()).await;
    implicit.login("alice").await;
    implicit.quit().await;
}

#[tokio::test]
async fn what_is_injected_behind_stls_is_dropped() {
    let sim = sim().await;
    let authority = Authority::new("clients");
    let settings = settings(&sim).listeners(&["starttls"]).certificate(&authority);
    let bridge = Local::start(&settings).await;
    let mut client = Pop3::connect(bridge.address()).await;
    client.ok("USER mallory").await;
    // One segment: whoever sits in the middle adds a command behind STLS.
    client.send(b"STLS\r\nUSER mallory\r\n").await;
    let answer = client.line().await.expect("an answer");
    assert!(answer.starts_with("+OK"), "{answer}");
    let mut client = client.into_tls(bridge.address(), authority.client()).await;
    let refused = client.err(&format!("PASS {PASSWORD}")).await;
    assert_eq!(refused, "-ERR USER comes first", "neither USER survives STLS");
    client.login("alice").await;
    client.quit().await;
}

#[tokio::test]
async fn a_command_comes_in_single_octets() {
    let sim = sim().await;
    let bridge = Local::start(&settings(&sim)).await;
    let mut client = logged_in(&bridge, "alice").await;
    for octet in b"STAT\r\n" {
        client.send(&[*octet]).await;
        sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(client.line().await.expect("an answer"), "+OK 0 0");
    client.quit().await;
}

#[tokio::test]
async fn quit_counts_though_nobody_waits_for_the_answer() {
    let sim = sim().await;
    sim.append("alice", "INBOX", b"Subject: one\r\n\r\nbody\r\n", &[]);
    let bridge = Local::start(&settings(&sim).with("maildrop", "on_delete = \"expunge\"")).await;
    let mut client = logged_in(&bridge, "alice").await;
    client.send(b"DELE 1\r\nQUIT\r\n").await;
    client.abort();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !sim.messages("alice", "INBOX").is_empty() {
        assert!(Instant::now() < deadline, "the update is not carried out");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_pipelined_flood_is_answered_in_order() {
    let sim = sim().await;
    let message = b"Subject: one\r\n\r\nbody\r\n";
    sim.append("alice", "INBOX", message, &[]);
    let bridge = Local::start(&settings(&sim)).await;
    let mut client = logged_in(&bridge, "alice").await;
    let rounds = 200;
    client.send("RETR 1\r\nNOOP\r\nUIDL 1\r\n".repeat(rounds).as_bytes()).await;
    for _ in 0..rounds {
        assert_eq!(client.line().await.expect("an answer"), format!("+OK {} octets", message.len()));
        let mut body = Vec::new();
        assert!(client.body_until(&mut body, usize::MAX).await.expect("a body"));
        assert_eq!(body, message);
        assert_eq!(client.line().await.expect("an answer"), "+OK");
        assert!(client.line().await.expect("an answer").starts_with("+OK 1 "));
    }
    client.quit().await;
}

#[tokio::test]
async fn the_upstream_is_asked_little() {
    let sim = sim().await;
    for index in 0..3 {
        let message = format!("Subject: {index}\r\n\r\nbody\r\n");
        sim.append("alice", "INBOX", message.as_bytes(), &[]);
    }
    let bridge = Local::start(&settings(&sim)).await;
    // Behind the first QUIT messages are learnt to be known by their headers, once.
    logged_in(&bridge, "alice").await.quit().await;
    bridge.settled(0).await;
    let before = sim.commands().len();
    let learnt = sim.commands().iter().filter(|command| command.contains("BODY.PEEK[HEADER]")).count();
    assert_eq!(learnt, 1, "{:#?}", sim.commands());
    let mut client = logged_in(&bridge, "alice").await;
    client.list().await;
    client.uidl().await;
    for number in 1..=3 {
        client.top(number, 0).await;
        client.retr(number).await;
    }
    client.quit().await;
    bridge.stop().await;
    let commands: Vec<String> = sim.commands()[before..]
        .iter()
        .filter_map(|line| line.split_once(' ').map(|(_, command)| command.to_owned()))
        .collect();
    let count = |word: &str| commands.iter().filter(|command| command.contains(word)).count();
    // Nothing has changed since the first session listed it.
    assert_eq!((count("SELECT"), count("RFC822.SIZE"), count("STORE")), (1, 0, 1), "{commands:#?}");
    // The first session's connection: the server knows already who we are.
    assert_eq!((sim.logins(), count("ID (")), (1, 0), "{commands:#?}");
    // The third message is on its way with the second, and its header is its beginning.
    assert_eq!((count("BODY.PEEK[HEADER]"), count("BODY.PEEK[]")), (2, 2), "{commands:#?}");
    assert!(!commands.iter().any(|command| command.starts_with("CLOSE")), "{commands:#?}");
    let store = commands.iter().find(|command| command.contains("STORE"));
    assert_eq!(store.map(String::as_str), Some("UID STORE 1:3 +FLAGS.SILENT (\\Seen)"));
    assert!(sim.messages("alice", "INBOX").iter().all(|message| message.flags.contains("\\Seen")));
}

#[tokio::test]
async fn leave_means_examine() {
    let sim = sim().await;
    sim.append("alice", "INBOX", b"Subject: one\r\n\r\nbody\r\n", &[]);
    let bridge = Local::start(&settings(&sim).with("maildrop", "on_retrieve = \"leave\"")).await;
    let mut client = logged_in(&bridge, "alice").await;
    client.retr(1).await;
    client.ok("DELE 1").await;
    client.quit().await;
    bridge.stop().await;
    assert!(sim.commands().iter().any(|command| command.contains("EXAMINE")));
    assert!(!sim.commands().iter().any(|command| command.contains("STORE")));
    assert!(sim.messages("alice", "INBOX")[0].flags.is_empty());
}

/// Passwords that quoting carries, that it does not, and that are no UTF-8, on servers that offer
/// SASL PLAIN with and without initial response, LITERAL+, or nothing but literals.
#[tokio::test]
async fn credentials_of_all_kinds_go_through() {
    let passwords: [&[u8]; 6] =
        [b"plain", b"with blank", b"quo\"te\\back", b"caf\xc3\xa9", b"latin\xe91", b"{3+}\t\x01"];
    for (persona, off) in [
        (Persona::Dovecot, &[][..]),
        (Persona::Dovecot, &["SASL-IR"]),
        (Persona::Dovecot, &["AUTH=PLAIN"]),
        (Persona::Dovecot, &["AUTH=PLAIN", "LITERAL+"]),
        (Persona::Minimal, &[]),
        (Persona::Courier, &[]),
    ] {
        for password in passwords {
            let sim = Server::builder().persona(persona).user("al ice", password).start().await;
            let sim = sim.expect("the simulator starts");
            for name in off {
                sim.set_capability(name, false);
            }
            let bridge = Local::start(&settings(&sim)).await;
            let mut client = Pop3::connect(bridge.address()).await;
            client.ok("USER al ice").await;
            client.send(&[b"PASS ", password, b"\r\n"].concat()).await;
            let answer = client.line().await.expect("an answer");
            assert!(answer.starts_with("+OK"), "{persona:?} without {off:?}, {password:?}: {answer}");
            client.quit().await;
        }
    }
}

#[tokio::test]
async fn upstreams_are_trusted_by_their_certificate_only() {
    for (tls, scheme) in [(Tls::Implicit, "imaps"), (Tls::StartTls, "imap+starttls")] {
        let sim = Server::builder().user("alice", PASSWORD).tls(tls).start().await;
        let sim = sim.expect("the simulator starts");
        let folder = tempfile::tempdir().expect("a folder");
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, sim.ca_pem()).expect("written");
        let url = format!("{scheme}://localhost:{}", sim.address().port());
        let trusting = Settings::new(url.clone()).with("upstream.home", &format!("ca_certificate = {ca:?}"));
        let bridge = Local::start(&trusting).await;
        logged_in(&bridge, "alice").await.quit().await;

        let logins = sim.logins();
        let other = Authority::new("somebody else");
        let strangers = Settings::new(url).trust(&other);
        let bridge = Local::start(&strangers).await;
        let mut client = Pop3::connect(bridge.address()).await;
        client.ok("USER alice").await;
        let refused = client.err(&format!("PASS {PASSWORD}")).await;
        assert!(refused.starts_with("-ERR [SYS/PERM]"), "{refused}");
        assert_eq!(sim.logins(), logins, "no password went to a stranger");
    }
}

#[tokio::test]
async fn starttls_that_is_not_offered_is_not_done_without() {
    let sim = sim().await;
    let settings = Settings::new(format!("imap+starttls://{}", sim.address()));
    let authority = Authority::new("anybody");
    let bridge = Local::start(&settings.trust(&authority)).await;
    let mut client = Pop3::connect(bridge.address()).await;
    client.ok("USER alice").await;
    let refused = client.err(&format!("PASS {PASSWORD}")).await;
    assert!(refused.starts_with("-ERR [SYS/PERM]"), "{refused}");
    assert!(!sim.commands().iter().any(|command| command.contains("LOGIN") || command.contains("AUTH")));
}

#[tokio::test]
async fn a_message_that_breaks_off_is_healed() {
    let sim = sim().await;
    let message = support::mail::big(3 << 20, 7);
    sim.append("alice", "INBOX", &message, &[]);
    let bridge = Local::start(&settings(&sim)).await;
    let mut client = logged_in(&bridge, "alice").await;
    for octets in [0, 1, 1000, 100_000, message.len() - 1] {
        sim.fault(Place::Fetch(0), Fault::TruncateLiteral(octets));
        assert!(client.retr(1).await == crlf(&message), "broken off at {octets}");
        sim.fault(Place::Fetch(0), Fault::TruncateLiteral(octets));
        assert!(client.top(1, 99_999_999).await == crlf(&message), "TOP broken off at {octets}");
    }
    sim.fault(Place::Fetch(0), Fault::TruncateLiteral(10));
    let header = client.top(1, 0).await;
    assert!(crlf(&message).starts_with(&header) && header.ends_with(b"\r\n\r\n"));
    sim.kill_connections();
    assert!(client.retr(1).await == crlf(&message), "the idle connection was cut");
    client.quit().await;
}

#[tokio::test]
async fn a_message_that_cannot_be_healed_has_no_end() {
    let sim = sim().await;
    let message = support::mail::big(1 << 20, 8);
    sim.append("alice", "INBOX", &message, &[]);
    for validity_changes in [false, true] {
        let settings = settings(&sim).with("upstream.home", "recovery = \"300ms\"");
        let bridge = Local::start(&settings).await;
        let mut client = logged_in(&bridge, "alice").await;
        client.ok("DELE 1").await;
        client.ok("RSET").await;
        sim.fault(Place::Fetch(0), Fault::TruncateLiteral(500_000));
        if validity_changes {
            sim.fault(Place::Select, Fault::UidValidityChange);
        } else {
            sim.fault_times(Place::Greeting, Fault::Eof, usize::MAX);
        }
        client.ok("RETR 1").await;
        let mut body = Vec::new();
        let end = client.body_until(&mut body, usize::MAX).await;
        assert!(end.is_err(), "no final dot");
        assert!(crlf(&message).starts_with(&body) && body.len() < message.len());
        sim.clear_faults();
        bridge.stop().await;
        let messages = sim.messages("alice", "INBOX");
        assert_eq!(messages.len(), 1);
        assert!(!messages[0].flags.contains("\\Seen"), "it was not sent whole");
    }
}

#[tokio::test]
async fn secrets_stay_out_of_the_log() {
    let sim = Server::builder().user("alice", "s3cr3t-Passw0rd").start().await.expect("it starts");
    let mut bridge = Bridge::start(&settings(&sim));
    let mut client = Pop3::connect(bridge.address()).await;
    client.ok("USER alice").await;
    client.ok("PASS s3cr3t-Passw0rd").await;
    client.quit().await;
    let mut client = Pop3::connect(bridge.address()).await;
    client.ok("USER alice").await;
    client.err("PASS wr0ng-Passw0rd").await;
    client.ok("QUIT").await;
    bridge.sessions(2);
    assert!(bridge.terminate().success());
    let log = bridge.log().join("\n");
    for secret in ["s3cr3t", "wr0ng", "czNjcjN0", "AGFsaWNl"] {
        assert!(!log.contains(secret), "{secret} in the log:\n{log}");
    }
}
