//! A mail server that asks for less haste, each in its own words, is obeyed; one that comes back
//! after an outage is not overrun.

mod support;

use std::time::{Duration, Instant};

use imapsim::{Fault, Persona, Place, Server};
use support::bridge::{Bridge, Settings};
use support::dovecot::PASSWORD;
use support::local::Local;
use support::mail::{assert_same, big};
use support::pop3::Pop3;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Long enough for any test.
const LONG: u64 = 60_000;
const HASTE: &str = "-ERR [SYS/TEMP] The mail server asks for less haste; try again in ";

/// Microsoft 365 does not say which folder is the trash.
const TRASH: &str = "on_delete = \"trash\"\ntrash_folder = \"Deleted Items\"";

/// As Microsoft 365 says it.
fn microsoft(outcome: &str, milliseconds: u64) -> String {
    format!("{outcome} Request is throttled. Suggested Backoff Time: {milliseconds} milliseconds")
}

/// Servers' ways to ask for less haste, without a time that a session would wait.
fn refusals() -> [(Persona, String); 5] {
    [
        (Persona::Microsoft365, microsoft("BAD", LONG)),
        (Persona::Microsoft365, microsoft("NO", LONG)),
        (Persona::Yahoo, "NO [LIMIT] Rate limit hit.".to_owned()),
        (Persona::Gmail, "NO [THROTTLED] Later.".to_owned()),
        (Persona::Gmail, "NO [OVERQUOTA] Account exceeded command or bandwidth limits. (Failure)".to_owned()),
    ]
}

struct Stage {
    sim: Server,
    bridge: Local,
}

impl Stage {
    async fn new(persona: Persona, lines: &str) -> Self {
        let sim = Server::builder().persona(persona).any_user(PASSWORD).start().await;
        let sim = sim.expect("the simulator starts");
        for number in 1..=20 {
            sim.append("alice", "INBOX", &message(number), &[]);
        }
        let settings = Settings::new(format!("imap://{}", sim.address()))
            .with("upstream.home", "recovery = \"2s\"")
            .with("maildrop", lines);
        let bridge = Local::start(&settings).await;
        Self { sim, bridge }
    }

    /// The answer to PASS.
    async fn pass(&self, user: &str, password: &str) -> String {
        let mut client = Pop3::connect(self.bridge.address()).await;
        client.ok(&format!("USER {user}")).await;
        client.command(&format!("PASS {password}")).await
    }

    async fn login(&self) -> Pop3 {
        let mut client = Pop3::connect(self.bridge.address()).await;
        client.login("alice").await;
        client
    }

    fn count(&self, word: &str) -> usize {
        self.sim.commands().iter().filter(|command| command.contains(word)).count()
    }

    fn left(&self, mailbox: &str) -> usize {
        self.sim.messages("alice", mailbox).len()
    }
}

fn message(number: usize) -> Vec<u8> {
    format!("Message-ID: <{number}@example.org>\r\nSubject: {number}\r\n\r\nThis is {number}.\r\n")
        .into_bytes()
}

#[tokio::test]
async fn logins_in_a_pause_do_not_reach_the_server() {
    for (persona, words) in refusals() {
        let stage = Stage::new(persona, "").await;
        stage.sim.fault(Place::Login, Fault::Tagged(words.clone()));
        let answer = stage.pass("alice", PASSWORD).await;
        assert!(answer.starts_with("-ERR [SYS/TEMP]"), "{words}: {answer}");
        assert_eq!(stage.sim.connections(), 1, "{words}");
        let most = if words.contains("Backoff") { 73 } else { 7 };
        for password in [PASSWORD, "wrong", PASSWORD] {
            let answer = stage.pass("alice", password).await;
            let seconds = answer.strip_prefix(HASTE).and_then(|rest| rest.strip_suffix(" seconds"));
            let seconds = seconds.and_then(|seconds| seconds.parse::<u64>().ok());
            assert!(seconds.is_some_and(|seconds| (1..=most).contains(&seconds)), "{words}: {answer}");
        }
        assert_eq!(stage.sim.connections(), 1, "{words}");
        let answer = stage.pass("bob", PASSWORD).await;
        assert!(answer.starts_with("+OK"), "{words}, another account: {answer}");
    }
}

#[tokio::test]
async fn a_pause_is_one_line_in_the_log() {
    let sim = Server::builder().any_user(PASSWORD).start().await.expect("the simulator starts");
    let bridge = Bridge::start(&Settings::new(format!("imap://{}", sim.address())));
    sim.fault(Place::Login, Fault::Tagged(microsoft("NO", LONG)));
    for _ in 0..4 {
        let mut client = Pop3::connect(bridge.address()).await;
        client.ok("USER alice").await;
        client.err(&format!("PASS {PASSWORD}")).await;
        client.quit().await;
    }
    bridge.sessions(4);
    let log = bridge.log();
    let lines: Vec<&String> =
        log.iter().filter(|line| line.contains("\"the mail server asks for less haste\"")).collect();
    assert!(
        matches!(lines[..], [line] if line.contains("WARN") && line.contains("alice") && line.contains("home")),
        "{log:?}"
    );
    assert_eq!(log.iter().filter(|line| line.contains("\"login failed\"")).count(), 4);
    assert!(!log.iter().any(|line| line.contains(PASSWORD)), "{log:?}");
}

#[tokio::test]
async fn what_is_said_before_the_login_is_heard_as_well() {
    for (place, fault) in [
        (Place::Greeting, Fault::Raw(b"* BYE [THROTTLED] Later.\r\n".to_vec())),
        (Place::Capability, Fault::Tagged("NO [LIMIT] CAPABILITY Rate limit hit.".to_owned())),
    ] {
        let stage = Stage::new(Persona::Minimal, "").await;
        stage.sim.fault(place, fault);
        let answer = stage.pass("alice", PASSWORD).await;
        assert!(answer.starts_with("-ERR [SYS/TEMP]"), "{place:?}: {answer}");
        let answer = stage.pass("alice", PASSWORD).await;
        assert!(answer.starts_with(HASTE), "{place:?}: {answer}");
        assert_eq!(stage.sim.connections(), 1, "{place:?}");
    }
}

#[tokio::test]
async fn pauses_grow_and_end() {
    let stage = Stage::new(Persona::Microsoft365, "").await;
    stage.sim.fault_times(Place::Login, Fault::Tagged(microsoft("BAD", 1)), 4);
    assert!(stage.pass("alice", PASSWORD).await.starts_with("-ERR [SYS/TEMP]"));
    for (attempt, least) in (1..).zip([100, 200, 400]) {
        let begun = Instant::now();
        // Refused by the bridge, until one gets through and is refused by the server.
        while stage.sim.connections() == attempt {
            let answer = stage.pass("alice", PASSWORD).await;
            assert!(answer.starts_with("-ERR [SYS/TEMP]"), "{answer}");
            sleep(Duration::from_millis(2)).await;
        }
        // The pause began a moment before the clock did.
        let pause = begun.elapsed();
        assert!(pause >= Duration::from_millis(least * 9 / 10), "{pause:?} for {least} ms");
    }
    assert_eq!(stage.sim.faults_left(), 0);
    sleep(Duration::from_millis(1000)).await;
    assert!(stage.pass("alice", PASSWORD).await.starts_with("+OK 20 messages"));
    assert_eq!(stage.sim.connections(), 5);
}

#[tokio::test]
async fn a_kept_connection_is_left_alone_in_a_pause() {
    let stage = Stage::new(Persona::Microsoft365, "").await;
    stage.login().await.quit().await;
    stage.bridge.settled(0).await;
    stage.sim.fault(Place::Select, Fault::Tagged(microsoft("BAD", LONG)));
    let answer = stage.pass("alice", PASSWORD).await;
    assert!(answer.starts_with("-ERR [SYS/TEMP]"), "{answer}");
    stage.bridge.settled(0).await;
    let commands = stage.sim.commands().len();
    for _ in 0..3 {
        assert!(stage.pass("alice", PASSWORD).await.starts_with(HASTE));
    }
    assert_eq!(stage.sim.commands().len(), commands, "{:?}", stage.sim.commands());
    assert_eq!(stage.sim.connections(), 1);
}

#[tokio::test]
async fn a_login_waits_for_a_short_pause() {
    for place in [Place::Select, Place::Fetch(0), Place::List] {
        for kept in [false, true] {
            let stage = Stage::new(Persona::Microsoft365, TRASH).await;
            if kept && place != Place::List {
                stage.login().await.quit().await;
                stage.bridge.settled(0).await;
                // With nothing new there would be no FETCH.
                stage.sim.append("alice", "INBOX", &message(21), &[]);
            }
            stage.sim.fault(place, Fault::Tagged(microsoft("BAD", 300)));
            let begun = Instant::now();
            let answer = stage.pass("alice", PASSWORD).await;
            assert!(answer.starts_with("+OK 2"), "{place:?} {kept}: {answer}");
            assert!(begun.elapsed() >= Duration::from_millis(300), "{place:?} {kept}");
            assert_eq!((stage.sim.connections(), stage.sim.faults_left()), (1, 0), "{place:?} {kept}");
        }
    }
}

#[tokio::test]
async fn no_longer_way_is_tried_instead_of_the_pause() {
    let stage = Stage::new(Persona::Dovecot, "").await;
    stage.login().await.quit().await;
    stage.bridge.settled(0).await;
    stage.sim.remove("alice", "INBOX", 4);
    stage.sim.fault(Place::Search, Fault::Tagged("NO [LIMIT] UID SEARCH Rate limit hit.".to_owned()));
    let listed = stage.count("UID FETCH 1:*");
    let answer = stage.pass("alice", PASSWORD).await;
    assert!(answer.starts_with("-ERR [SYS/TEMP]"), "{answer}");
    assert_eq!((stage.count("UID FETCH 1:*"), stage.sim.faults_left()), (listed, 0));
}

#[tokio::test]
async fn a_message_waits_for_a_short_pause() {
    for (place, persona, times) in [
        (Place::Fetch(0), Persona::Microsoft365, 1),
        (Place::Fetch(0), Persona::Microsoft365, 3),
        (Place::Fetch(0), Persona::Dovecot, 1),
    ] {
        for at in [1, 2, 3, 7, 20] {
            let stage = Stage::new(persona, "").await;
            let mut client = stage.login().await;
            let mut waited = Duration::ZERO;
            for number in 1..=20 {
                if number == at {
                    stage.sim.fault_times(place, Fault::Tagged(microsoft("BAD", 120)), times);
                }
                let begun = Instant::now();
                assert_same(&client.retr(number).await, &message(number), &format!("RETR {number}"));
                waited = waited.max(begun.elapsed());
            }
            // Behind reading ahead there may have been nothing left to ask for.
            let struck = stage.sim.faults_left() == 0;
            assert!(struck || at > 3, "{at}");
            assert!(!struck || waited >= Duration::from_millis(120), "{at}: {waited:?}");
            assert_eq!(stage.sim.connections(), 1, "{at}");
            client.quit().await;
        }
    }
}

#[tokio::test]
async fn a_message_in_several_steps_waits_as_well() {
    let stage = Stage::new(Persona::Microsoft365, "").await;
    let large = big(200_000, 7);
    stage.sim.append("alice", "INBOX", &large, &[]);
    let mut client = stage.login().await;
    for skip in 0..2 {
        stage.sim.fault_behind(Place::Fetch(0), skip, Fault::Tagged(microsoft("NO", 150)));
        let begun = Instant::now();
        let top = client.top(21, 12).await;
        assert!(large.starts_with(&top[..top.len() - 2]) && top.len() > 500, "{}", top.len());
        assert!(begun.elapsed() >= Duration::from_millis(150));
    }
    assert_eq!((stage.sim.connections(), stage.sim.faults_left()), (1, 0));
}

#[tokio::test]
async fn a_server_that_hangs_up_behind_it_is_connected_to_again() {
    let stage = Stage::new(Persona::Microsoft365, "").await;
    let mut client = stage.login().await;
    assert_same(&client.retr(1).await, &message(1), "RETR 1");
    stage.sim.fault(Place::Fetch(0), Fault::TaggedThenBye(microsoft("BAD", 300)));
    let begun = Instant::now();
    for number in 2..=5 {
        assert_same(&client.retr(number).await, &message(number), &format!("RETR {number}"));
    }
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(stage.sim.connections(), 2);
    client.quit().await;
    // The same at login.
    stage.bridge.settled(0).await;
    stage.sim.fault(Place::Select, Fault::TaggedThenBye(microsoft("BAD", 300)));
    assert!(stage.pass("alice", PASSWORD).await.starts_with("+OK 20 messages"));
}

#[tokio::test]
async fn a_long_pause_goes_to_the_client_and_its_session_goes_on() {
    for (persona, words) in refusals() {
        let stage = Stage::new(persona, "").await;
        let mut client = stage.login().await;
        stage.sim.fault(Place::Fetch(0), Fault::Tagged(words.clone()));
        let begun = Instant::now();
        let answer = client.err("RETR 3").await;
        assert!(answer.starts_with("-ERR [SYS/TEMP]"), "{words}: {answer}");
        let commands = stage.sim.commands().len();
        for command in ["RETR 3", "RETR 4", "TOP 5 0", "TOP 6 2"] {
            let answer = client.err(command).await;
            assert!(answer.starts_with(HASTE), "{words}: {answer}");
        }
        assert!(begun.elapsed() < Duration::from_secs(2), "{words}");
        assert_eq!(stage.sim.commands().len(), commands, "{words}");
        client.ok("STAT").await;
        client.ok("NOOP").await;
        assert_eq!(client.list().await.len(), 20);
        client.quit().await;
        stage.bridge.settled(0).await;
        assert_eq!(stage.sim.commands().len(), commands, "{words}: {:?}", stage.sim.commands());
    }
}

#[tokio::test]
async fn a_server_that_slows_down_is_asked_slowly() {
    let stage = Stage::new(Persona::Gmail, "lock = \"shared\"").await;
    let mut client = stage.login().await;
    client.retr(1).await;
    stage.sim.fault(Place::Fetch(0), Fault::OkThrottled);
    let mut number = 2;
    while stage.sim.faults_left() > 0 {
        assert_same(&client.retr(number).await, &message(number), &format!("RETR {number}"));
        number += 1;
    }
    assert!(number < 20, "nothing more was asked for");
    // How the command ended is read behind the last message that it brings.
    assert_same(&client.retr(number).await, &message(number), &format!("RETR {number}"));
    number += 1;
    // The login of another session waits a little, and is let in.
    let begun = Instant::now();
    assert!(stage.pass("alice", PASSWORD).await.starts_with("+OK 20 messages"));
    assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
    for number in number..=20 {
        assert_same(&client.retr(number).await, &message(number), &format!("RETR {number}"));
    }
    client.quit().await;
}

#[tokio::test]
async fn reading_ahead_begins_anew_behind_it() {
    for throttled in [false, true] {
        let stage = Stage::new(Persona::Gmail, "").await;
        let mut client = stage.login().await;
        if throttled {
            // The second delay is twice the first, so that what follows falls into the third.
            stage.sim.fault_times(Place::Fetch(0), Fault::OkThrottled, 2);
        }
        for number in 1..=7 {
            let begun = Instant::now();
            assert_same(&client.retr(number).await, &message(number), &format!("RETR {number}"));
            let waited = begun.elapsed() >= Duration::from_millis(200);
            // What is on its way is not held back.
            assert_eq!(waited, throttled && [2, 7].contains(&number), "RETR {number}");
        }
        let commands = stage.sim.commands();
        let bodies = commands.iter().filter(|command| command.contains("BODY.PEEK[]"));
        let sets: Vec<&str> = bodies.filter_map(|command| command.split(' ').nth(3)).collect();
        let expected: &[&str] =
            if throttled { &["1", "2:3", "4:6", "7:8"] } else { &["1", "2:3", "4:6", "7:11", "12:20"] };
        assert_eq!(sets, &expected[..sets.len().max(4)], "{commands:?}");
        client.quit().await;
    }
}

#[tokio::test]
async fn all_ok_throttled_is_slow_and_exact() {
    let stage = Stage::new(Persona::Gmail, "on_delete = \"trash\"").await;
    for place in [Place::Login, Place::Select, Place::Fetch(0), Place::Store, Place::Move, Place::List] {
        stage.sim.fault_times(place, Fault::OkThrottled, usize::MAX);
    }
    let mut client = stage.login().await;
    for number in 1..=4 {
        assert_same(&client.retr(number).await, &message(number), &format!("RETR {number}"));
    }
    client.ok("DELE 1").await;
    client.quit().await;
    assert_eq!((stage.left("INBOX"), stage.left("[Gmail]/Trash")), (19, 1));
}

#[tokio::test]
async fn seen_is_set_behind_a_short_pause() {
    let stage = Stage::new(Persona::Microsoft365, "").await;
    let mut client = stage.login().await;
    client.retr(2).await;
    stage.sim.fault(Place::Store, Fault::Tagged(microsoft("BAD", 200)));
    client.quit().await;
    assert!(stage.sim.messages("alice", "INBOX")[1].flags.contains("\\Seen"));
    assert_eq!(stage.count("STORE"), 2);
}

/// The ways to remove, and every command on them.
fn removals() -> Vec<(Persona, &'static str, Option<&'static str>, Place)> {
    let mut all = Vec::new();
    for place in [Place::Fetch(0), Place::Move, Place::Noop] {
        all.push((Persona::Microsoft365, "trash", None, place));
    }
    for place in [Place::Fetch(0), Place::Status, Place::Copy, Place::Store, Place::Expunge] {
        all.push((Persona::Microsoft365, "trash", Some("MOVE"), place));
    }
    for place in [Place::Store, Place::Expunge] {
        all.push((Persona::Yahoo, "expunge", None, place));
    }
    all.push((Persona::Yahoo, "flag", None, Place::Store));
    all
}

fn is_done(stage: &Stage, on_delete: &str) -> bool {
    match on_delete {
        "trash" => (stage.left("INBOX"), stage.left("Deleted Items")) == (17, 3),
        "expunge" => stage.left("INBOX") == 17,
        _ => {
            let messages = stage.sim.messages("alice", "INBOX");
            let flagged = messages.iter().filter(|message| message.flags.contains("\\Deleted"));
            flagged.map(|message| message.uid).eq([2, 5, 9])
        }
    }
}

async fn removing(case: &(Persona, &'static str, Option<&'static str>, Place)) -> (Stage, Pop3) {
    let (persona, on_delete, without, _) = case;
    let lines = if *on_delete == "trash" { TRASH.to_owned() } else { format!("on_delete = \"{on_delete}\"") };
    let stage = Stage::new(*persona, &lines).await;
    if let Some(without) = without {
        stage.sim.set_capability(without, false);
    }
    let mut client = stage.login().await;
    for number in [2, 5, 9] {
        client.ok(&format!("DELE {number}")).await;
    }
    (stage, client)
}

#[tokio::test]
async fn removals_wait_for_a_short_pause() {
    for case in removals() {
        let (stage, client) = removing(&case).await;
        stage.sim.fault(case.3, Fault::Tagged(microsoft("BAD", 200)));
        let begun = Instant::now();
        client.quit().await;
        assert!(begun.elapsed() >= Duration::from_millis(200), "{case:?}");
        assert_eq!(stage.sim.faults_left(), 0, "{case:?}");
        assert!(is_done(&stage, case.1), "{case:?}");
    }
}

#[tokio::test]
async fn removals_are_done_behind_a_long_pause() {
    let mut cases = JoinSet::new();
    for case in removals() {
        cases.spawn(async move {
            let (stage, mut client) = removing(&case).await;
            // Longer than `recovery`, and shorter than the test.
            stage.sim.fault(case.3, Fault::Tagged(microsoft("BAD", 3_000)));
            let answer = client.command("QUIT").await;
            assert!(answer.starts_with("-ERR [SYS/TEMP]"), "{case:?}: {answer}");
            stage.bridge.settled(0).await;
            let commands = stage.sim.commands();
            sleep(Duration::from_millis(2_500)).await;
            assert_eq!(stage.sim.commands(), commands, "{case:?}: the pause was not kept");
            let end = Instant::now() + Duration::from_secs(30);
            // The sweep looks every five seconds, and keeps the pause as well.
            while !is_done(&stage, case.1) {
                assert!(Instant::now() < end, "{case:?}: {:?}", stage.sim.commands());
                sleep(Duration::from_millis(50)).await;
            }
            stage.bridge.settled(0).await;
            sleep(Duration::from_millis(100)).await;
            assert!(is_done(&stage, case.1), "{case:?}: and then more");
        });
    }
    while let Some(done) = cases.join_next().await {
        done.expect("no panic");
    }
}

/// `count` accounts with one message each, and so many sessions at once.
async fn crowd(count: usize) -> (Server, Local) {
    let sim = Server::builder().any_user(PASSWORD).start().await.expect("the simulator starts");
    for number in 0..count {
        sim.append(&format!("user{number}"), "INBOX", &message(number), &[]);
    }
    let settings = Settings::new(format!("imap://{}", sim.address()))
        .with("limits", "sessions_per_address = 1000")
        .with("security", "max_login_failures = 0\nlogin_failure_window = \"1s\"");
    let bridge = Local::start(&settings).await;
    (sim, bridge)
}

#[tokio::test]
async fn an_outages_end_brings_no_herd() {
    let (sim, bridge) = crowd(200).await;
    sim.fault_times(Place::Greeting, Fault::Delay(Duration::from_millis(30)), usize::MAX);
    let address = bridge.address();
    let mut logins = JoinSet::new();
    for number in 0..200 {
        logins.spawn(async move {
            let mut client = Pop3::connect(address).await;
            client.login(&format!("user{number}")).await;
            (number, client)
        });
    }
    let clients = logins.join_all().await;
    assert_eq!(sim.connections(), 200);
    let most = sim.most_opening();
    assert!((8..=16).contains(&most), "{most} at the same time");
    // All connections break at once, and all sessions want another.
    sim.kill_connections();
    let mut fetches = JoinSet::new();
    for (number, mut client) in clients {
        fetches.spawn(async move {
            assert_same(&client.retr(1).await, &message(number), &format!("user{number}"));
            client.quit().await;
        });
    }
    fetches.join_all().await;
    assert_eq!(sim.connections(), 400);
    assert!(sim.most_opening() <= 16, "{} at the same time", sim.most_opening());
}

#[tokio::test]
async fn wrong_passwords_do_not_keep_the_right_one_out() {
    let (sim, bridge) = crowd(1).await;
    let address = bridge.address();
    // As servers do that let a refused login wait.
    sim.fault_times(Place::Login, Fault::Delay(Duration::from_secs(3)), 40);
    let mut wrong = JoinSet::new();
    for number in 0..40 {
        wrong.spawn(async move {
            let mut client = Pop3::connect(address).await;
            client.ok(&format!("USER other{number}")).await;
            let answer = client.command("PASS wrong").await;
            assert!(answer.starts_with("-ERR [AUTH]"), "{answer}");
        });
    }
    while sim.faults_left() > 0 {
        sleep(Duration::from_millis(5)).await;
    }
    let begun = Instant::now();
    let mut client = Pop3::connect_from([127, 0, 0, 2].into(), address).await;
    client.login("user0").await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    wrong.join_all().await;
}
