//! Reading ahead: few commands where a client goes through the mailbox, exact messages whatever
//! else it does, and whatever the mail server does meanwhile.

mod support;

#[path = "ahead/aside.rs"]
mod aside;
#[path = "ahead/odd.rs"]
mod odd;

use std::time::Duration;

use imapsim::{Fault, Persona, Place, Server};
use support::bridge::{Bridge, Settings};
use support::dovecot::PASSWORD;
use support::local::Local;
use support::mail::{Rng, assert_same, big, crlf, ordinary, split};
use support::pop3::Pop3;
use tokio::time::sleep;

/// More than any client needs.
const ALL: usize = 99_999_999;

struct Stage {
    sim: Server,
    bridge: Local,
    mail: Vec<Vec<u8>>,
}

impl Stage {
    /// The messages in INBOX, with gaps between their UIDs.
    async fn new(mail: Vec<Vec<u8>>, persona: Persona, lines: &str) -> Self {
        Self::delayed(mail, persona, lines, Duration::ZERO).await
    }

    async fn delayed(mail: Vec<Vec<u8>>, persona: Persona, lines: &str, delay: Duration) -> Self {
        let sim = Server::builder().persona(persona).user("alice", PASSWORD).delay(delay).start().await;
        let sim = sim.expect("the simulator starts");
        for (index, message) in mail.iter().enumerate() {
            sim.append("alice", "INBOX", message, &[]);
            if index % 7 == 3 {
                let other = sim.append("alice", "INBOX", b"Subject: not ours\r\n\r\n", &[]);
                sim.remove("alice", "INBOX", other);
            }
        }
        let settings = Settings::new(format!("imap://{}", sim.address()))
            .with("upstream.home", "timeout = \"3s\"")
            .with("maildrop", lines);
        let bridge = Local::start(&settings).await;
        Self { sim, bridge, mail }
    }

    async fn small(count: usize) -> Self {
        let mail =
            (0..count).map(|index| format!("Subject: {index}\r\n\r\nThis is {index}.\r\n").into_bytes());
        Self::new(mail.collect(), Persona::Dovecot, "").await
    }

    async fn login(&self) -> Pop3 {
        let mut client = Pop3::connect(self.bridge.address()).await;
        client.login("alice").await;
        client
    }

    fn expected(&self, number: usize) -> Vec<u8> {
        crlf(&self.mail[number - 1])
    }

    async fn retr(&self, client: &mut Pop3, number: usize) {
        assert_same(&client.retr(number).await, &self.expected(number), &format!("RETR {number}"));
    }

    async fn top(&self, client: &mut Pop3, number: usize, lines: usize) {
        let expected = self.expected(number);
        let (header, body) = split(&expected);
        let body: Vec<u8> =
            body.split_inclusive(|&octet| octet == b'\n').take(lines).flatten().copied().collect();
        // A header ends with a blank line, even if the message has none (RFC 1939 §7).
        let has_blank = header.ends_with(b"\r\n\r\n") || header == b"\r\n";
        let blank = if has_blank || lines > 0 { &b""[..] } else { b"\r\n" };
        let top = client.top(number, lines).await;
        assert_same(&top, &[header, blank, &body].concat(), &format!("TOP {number} {lines}"));
    }

    /// Commands that asked for bodies or headers.
    fn fetches(&self) -> Vec<String> {
        let commands = self.sim.commands().into_iter();
        commands.filter(|line| line.contains("BODY.PEEK[") && !line.contains("RFC822.SIZE")).collect()
    }
}

#[tokio::test]
async fn a_sequence_takes_few_commands() {
    let stage = Stage::small(200).await;
    let mut client = stage.login().await;
    let mut before = 0;
    for (what, most) in [("RETR", 14), ("TOP all", 14), ("TOP 0", 14)] {
        for number in 1..=200 {
            match what {
                "RETR" => stage.retr(&mut client, number).await,
                "TOP all" => stage.top(&mut client, number, ALL).await,
                _ => stage.top(&mut client, number, 0).await,
            }
        }
        let fetches = stage.fetches();
        let now = fetches.len() - before;
        assert!(now <= most, "{what}: {now} commands: {:#?}", &fetches[before..]);
        before = fetches.len();
    }
    assert!(stage.fetches().iter().all(|line| line.len() < 1000));
    assert_eq!(stage.sim.connections(), 1);
    client.quit().await;
}

#[tokio::test]
async fn one_message_is_one_message() {
    let stage = Stage::small(20).await;
    for number in [1, 7, 20] {
        let mut client = stage.login().await;
        stage.retr(&mut client, number).await;
        client.quit().await;
    }
    let fetches = stage.fetches();
    assert_eq!(fetches.len(), 3);
    assert!(fetches.iter().all(|line| !line.contains([',', ':'])), "{fetches:?}");
}

#[tokio::test]
async fn pipelined_commands_are_a_sequence() {
    let stage = Stage::small(200).await;
    let mut client = stage.login().await;
    let commands: String = (1..=200).map(|number| format!("RETR {number}\r\n")).collect();
    client.send(commands.as_bytes()).await;
    for number in 1..=200 {
        assert!(client.line().await.expect("an answer").starts_with("+OK"));
        let mut body = Vec::new();
        assert!(client.body_until(&mut body, usize::MAX).await.expect("a body"));
        assert_same(&body, &stage.expected(number), &format!("RETR {number}"));
    }
    client.quit().await;
    assert!(stage.fetches().len() <= 14, "{:#?}", stage.fetches());
}

/// What programs put between two messages, as `tests` of many programs recorded it.
#[tokio::test]
async fn what_clients_put_between_breaks_no_sequence() {
    for (steps, most) in [
        (&["LIST", "RETR", "DELE"][..], 14),
        (&["RETR", "LAST", "DELE"], 14),
        (&["LAST", "RETR", "LAST", "DELE"], 14),
        (&["RETR", "NOOP"], 14),
        (&["UIDL", "RETR", "STAT", "CAPA"], 14),
        (&["TOP", "LIST"], 14),
        (&["LIST", "ALL", "DELE"], 14),
        (&["RETR", "DELE BEFORE"], 14),
        // One more command a message, as without reading ahead.
        (&["TOP", "RETR"], 200),
        (&["RETR", "TOP", "DELE"], 200),
    ] {
        let stage = Stage::small(100).await;
        let mut client = stage.login().await;
        for number in 1..=100 {
            for step in steps {
                match *step {
                    "RETR" => stage.retr(&mut client, number).await,
                    "TOP" => stage.top(&mut client, number, 0).await,
                    "ALL" => stage.top(&mut client, number, ALL).await,
                    "NOOP" | "STAT" => drop(client.ok(step).await),
                    "CAPA" => drop(client.multi("CAPA").await),
                    "LAST" => drop(client.err("LAST").await),
                    "DELE BEFORE" if number < 3 => {}
                    "DELE BEFORE" => drop(client.ok(&format!("DELE {}", number - 2)).await),
                    _ => drop(client.ok(&format!("{step} {number}")).await),
                }
            }
        }
        client.quit().await;
        let fetches = stage.fetches().len();
        assert!(fetches <= most, "{steps:?}: {fetches} commands");
        assert_eq!(stage.sim.connections(), 1, "{steps:?}");
    }
}

#[tokio::test]
async fn a_sequence_goes_on_behind_something_else() {
    let stage = Stage::small(200).await;
    let mut client = stage.login().await;
    for number in 1..=200 {
        stage.retr(&mut client, number).await;
        if number % 50 == 20 {
            stage.top(&mut client, number, 0).await;
            stage.top(&mut client, number, 1).await;
        }
    }
    client.quit().await;
    assert!(stage.fetches().len() <= 50, "{:#?}", stage.fetches());
}

#[tokio::test]
async fn what_is_deleted_meanwhile_is_read_past() {
    let stage = Stage::small(60).await;
    let mut client = stage.login().await;
    for number in 1..=60 {
        if number % 5 == 0 {
            continue;
        }
        stage.retr(&mut client, number).await;
        if number % 5 == 4 {
            client.ok(&format!("DELE {}", number + 1)).await;
        }
    }
    assert!(stage.fetches().len() <= 12, "{:#?}", stage.fetches());
    client.ok("RSET").await;
    stage.retr(&mut client, 5).await;
    stage.retr(&mut client, 10).await;
    client.quit().await;
    assert_eq!(stage.sim.connections(), 1);
}

#[tokio::test]
async fn switched_off_nothing_is_asked_for_ahead() {
    let mail = ordinary(5, 20);
    let stage = Stage::new(mail, Persona::Dovecot, "read_ahead = \"0 B\"").await;
    let mut client = stage.login().await;
    for number in 1..=20 {
        stage.retr(&mut client, number).await;
        assert_eq!(stage.fetches().len(), number);
    }
    client.quit().await;
}

#[tokio::test]
async fn large_messages_travel_alone_and_one_ahead() {
    let mail: Vec<Vec<u8>> = (0..6).map(|index| big(3 << 19, index)).collect();
    let stage = Stage::new(mail, Persona::Dovecot, "read_ahead = \"1 MiB\"").await;
    let mut client = stage.login().await;
    for number in 1..=6 {
        stage.retr(&mut client, number).await;
        let asked = if number == 1 { 1 } else { (number + 1).min(6) };
        let fetches = stage.fetches();
        assert_eq!(fetches.len(), asked, "behind RETR {number}");
        assert!(fetches.iter().all(|line| !line.contains([',', ':'])), "{fetches:?}");
    }
    stage.retr(&mut client, 1).await;
    client.quit().await;
    assert_eq!(stage.sim.connections(), 1);
}

#[tokio::test]
async fn what_a_client_leaves_for_its_size_is_not_asked_for() {
    let large = |index: usize| index % 10 == 7;
    let mail = (0..60).map(|index| big(if large(index) { 3 << 19 } else { 3000 }, index as u64));
    let stage = Stage::new(mail.collect(), Persona::Dovecot, "read_ahead = \"1 MiB\"").await;
    let mut client = stage.login().await;
    for index in (0..60).filter(|index| !large(*index)) {
        stage.retr(&mut client, index + 1).await;
    }
    assert!(stage.fetches().len() <= 16, "{:#?}", stage.fetches());
    assert!(stage.sim.connections() <= 2, "once, to learn it");
    stage.retr(&mut client, 8).await;
    client.quit().await;
}

/// What is on its way waits in the socket, not in memory, however much it is.
#[tokio::test(flavor = "multi_thread")]
async fn memory_does_not_grow_with_what_is_on_its_way() {
    let sim = Server::builder().user("alice", PASSWORD).start().await.expect("the simulator starts");
    let message = big(4 << 20, 1);
    for _ in 0..20 {
        sim.append("alice", "INBOX", &message, &[]);
    }
    let settings = Settings::new(format!("imap://{}", sim.address()));
    let bridge = Bridge::start(&settings.with("maildrop", "read_ahead = \"1 GiB\""));
    let mut client = Pop3::connect(bridge.address()).await;
    client.login("alice").await;
    let before = bridge.peak_kib();
    let mut body = Vec::new();
    for number in 1..=20 {
        client.ok(&format!("RETR {number}")).await;
        body.clear();
        client.body_until(&mut body, usize::MAX).await.expect("a body");
        assert_eq!(body.len(), message.len());
        if number == 10 {
            // Time for the server to send what it can.
            sleep(Duration::from_millis(300)).await;
        }
    }
    client.quit().await;
    assert!(sim.commands().iter().any(|line| line.contains(":20 (UID BODY.PEEK[])")));
    // The code that is used for the first time counts as well, some MB of it in a debug build.
    let grown = bridge.peak_kib() - before;
    assert!(grown < 13 * 1024, "{grown} KiB");
}

#[tokio::test]
async fn what_is_large_and_in_vain_costs_the_connection() {
    let mail: Vec<Vec<u8>> = (0..6).map(|index| big(3 << 19, index)).collect();
    let stage = Stage::new(mail, Persona::Dovecot, "on_delete = \"expunge\"").await;
    let mut client = stage.login().await;
    for number in [1, 2, 5, 1, 2] {
        stage.retr(&mut client, number).await;
    }
    assert_eq!(stage.sim.connections(), 2);
    client.ok("DELE 2").await;
    client.quit().await;
    let left = stage.sim.messages("alice", "INBOX");
    assert_eq!(left.len(), 5);
    let seen = left.iter().filter(|message| message.flags.contains("\\Seen")).count();
    assert_eq!(seen, 2, "1 and 5");
}

#[tokio::test]
async fn a_session_may_end_in_the_middle() {
    for quits in [true, false] {
        let stage = Stage::small(100).await;
        let mut client = stage.login().await;
        for number in 1..=10 {
            stage.retr(&mut client, number).await;
        }
        if quits {
            client.quit().await;
        } else {
            client.abort();
        }
        stage.bridge.settled(0).await;
        let messages = stage.sim.messages("alice", "INBOX");
        let seen = messages.iter().filter(|message| message.flags.contains("\\Seen")).count();
        assert_eq!(seen, 10, "quits: {quits}");
        assert_eq!(stage.sim.connections(), 1);
    }
}

#[tokio::test]
async fn a_session_may_end_in_the_middle_of_a_large_message() {
    let mail: Vec<Vec<u8>> = (0..6).map(|index| big(3 << 19, index)).collect();
    let stage = Stage::new(mail, Persona::Dovecot, "").await;
    let mut client = stage.login().await;
    for number in 1..=3 {
        stage.retr(&mut client, number).await;
    }
    client.ok("RETR 4").await;
    let mut body = Vec::new();
    client.body_until(&mut body, 100_000).await.expect("octets");
    client.abort();
    stage.bridge.settled(0).await;
    let messages = stage.sim.messages("alice", "INBOX");
    let seen = messages.iter().filter(|message| message.flags.contains("\\Seen")).count();
    assert_eq!(seen, 3);
}

#[tokio::test]
async fn a_sequence_goes_on_in_the_next_folder() {
    let sim = Server::builder().user("alice", PASSWORD).start().await.expect("the simulator starts");
    let text = |folder: &str, index: usize| format!("Subject: {folder} {index}\r\n\r\n{index}\r\n");
    for folder in ["INBOX", "Work", "More"] {
        for index in 0..50 {
            sim.append("alice", folder, text(folder, index).as_bytes(), &[]);
        }
    }
    let lines = "folders = [\"INBOX\", \"Work\", \"More\"]";
    let bridge =
        Local::start(&Settings::new(format!("imap://{}", sim.address())).with("maildrop", lines)).await;
    let mut client = Pop3::connect(bridge.address()).await;
    client.login("alice").await;
    let before = sim.commands().len();
    for (at, folder) in ["INBOX", "Work", "More"].iter().enumerate() {
        for index in 0..50 {
            let body = client.retr(at * 50 + index + 1).await;
            assert!(body == text(folder, index).as_bytes(), "{folder} {index}");
        }
    }
    let commands = sim.commands().split_off(before);
    assert!(commands.len() <= 18, "{commands:#?}");
    client.quit().await;
    for folder in ["INBOX", "Work", "More"] {
        assert!(sim.messages("alice", folder).iter().all(|message| message.flags.contains("\\Seen")));
    }
}

#[tokio::test]
async fn every_persona_does() {
    for persona in Persona::ALL {
        let stage = Stage::new(ordinary(3, 60), persona, "").await;
        let mut client = stage.login().await;
        for number in 1..=60 {
            stage.retr(&mut client, number).await;
        }
        let whole = stage.fetches().len();
        let late_uid = persona == Persona::Microsoft365;
        assert!(late_uid || whole <= 12, "{persona:?}: {whole} commands");
        for number in 1..=60 {
            client.top(number, 0).await;
        }
        for number in (1..=60).rev().step_by(7) {
            stage.retr(&mut client, number).await;
            stage.top(&mut client, number, ALL).await;
        }
        client.quit().await;
        assert_eq!(stage.sim.connections(), 1, "{persona:?}");
    }
}

#[tokio::test]
async fn messages_removed_elsewhere_leave_the_others() {
    for persona in Persona::ALL {
        let stage = Stage::new(ordinary(4, 60), persona, "").await;
        let uids: Vec<u32> = stage.sim.messages("alice", "INBOX").iter().map(|message| message.uid).collect();
        let mut client = stage.login().await;
        let gone = [1, 5, 6, 7, 20, 33, 34, 60];
        for number in gone {
            stage.sim.remove("alice", "INBOX", uids[number - 1]);
        }
        for round in ["RETR", "TOP"] {
            for number in 1..=60 {
                if gone.contains(&number) {
                    client
                        .err(&if round == "RETR" {
                            format!("RETR {number}")
                        } else {
                            format!("TOP {number} 0")
                        })
                        .await;
                } else if round == "RETR" {
                    stage.retr(&mut client, number).await;
                } else {
                    client.top(number, 0).await;
                }
            }
        }
        client.quit().await;
    }
}

#[tokio::test]
async fn messages_removed_on_their_way() {
    for persona in Persona::ALL {
        let stage = Stage::new(ordinary(6, 100), persona, "").await;
        let uids: Vec<u32> = stage.sim.messages("alice", "INBOX").iter().map(|message| message.uid).collect();
        let mut client = stage.login().await;
        let mut rng = Rng::new(9);
        for number in 1..=100 {
            let answer = client.command(&format!("RETR {number}")).await;
            let there =
                stage.sim.messages("alice", "INBOX").iter().any(|message| message.uid == uids[number - 1]);
            if answer.starts_with("+OK") {
                let mut body = Vec::new();
                client.body_until(&mut body, usize::MAX).await.expect("a body");
                assert_same(&body, &stage.expected(number), &format!("{persona:?}: RETR {number}"));
            } else {
                assert!(!there, "{persona:?}: {number} is there: {answer}");
            }
            if rng.below(3) == 0 {
                stage.sim.remove("alice", "INBOX", uids[rng.below(100)]);
            }
        }
        client.quit().await;
    }
}

#[tokio::test]
async fn faults_in_the_middle_are_healed() {
    let mut mail = ordinary(8, 80);
    mail[41] = big(400_000, 1);
    let faults = [
        Fault::No(None),
        Fault::No(Some("LIMIT")),
        Fault::Bad,
        Fault::Bye,
        Fault::Eof,
        Fault::Stall,
        Fault::SplitEvery(61),
        Fault::TruncateLiteral(3),
        Fault::MissingRow,
        Fault::NoAfterRows(0),
        Fault::NoAfterRows(1),
        Fault::NoAfterRows(3),
        Fault::EofAfterRows(1),
        Fault::EofAfterRows(3),
        Fault::EofAfterAction,
        Fault::RawThenStall(b"* 1 FETCH (UID 1 BODY[] {3000000000}\r\nSub".to_vec()),
    ];
    for fault in faults {
        let stage = Stage::new(mail.clone(), Persona::Dovecot, "").await;
        // Behind whole rows, and where it takes time, once is enough.
        let once = matches!(
            fault,
            Fault::MissingRow | Fault::NoAfterRows(_) | Fault::Stall | Fault::RawThenStall(_)
        );
        for fetch in if once { &[6][..] } else { &[4, 6, 8, 9] } {
            stage.sim.fault(Place::Fetch(*fetch), fault.clone());
        }
        let mut client = stage.login().await;
        for number in 1..=80 {
            let mut answer = client.command(&format!("RETR {number}")).await;
            for _ in 0..3 {
                // Asked for alone it may be refused, as long as the refusals last.
                if answer.starts_with("-ERR [SYS/TEMP]") && matches!(fault, Fault::No(_) | Fault::Bad) {
                    answer = client.command(&format!("RETR {number}")).await;
                }
            }
            assert!(answer.starts_with("+OK"), "{fault:?}: {number}: {answer}");
            let mut body = Vec::new();
            let end = client.body_until(&mut body, usize::MAX).await;
            assert!(end.is_ok(), "{fault:?}: {number}: {end:?}");
            assert_same(&body, &stage.expected(number), &format!("{fault:?}: {number}"));
        }
        assert!(stage.sim.faults_left() <= 2, "{fault:?}: it hardly struck");
        client.quit().await;
    }
}

#[tokio::test]
async fn odd_servers_are_understood() {
    for oddity in odd::ALL {
        let (address, fetches) = odd::start(oddity, 100).await;
        let bridge = Local::start(&Settings::new(format!("imap://{address}"))).await;
        let mut client = Pop3::connect(bridge.address()).await;
        client.login("alice").await;
        for number in 1..=100 {
            let expected = odd::message(number) + "\r\n";
            assert_same(
                &client.retr(number as usize).await,
                expected.as_bytes(),
                &format!("{oddity:?}: {number}"),
            );
        }
        let count = fetches.lock().expect("no panic").len();
        let most = match oddity {
            odd::Oddity::Chatty | odd::Oddity::Quoted | odd::Oddity::LateTags => 12,
            _ => 130,
        };
        assert!(count <= most, "{oddity:?}: {count} commands");
        let mut rng = Rng::new(1);
        let mut number = 1;
        for _ in 0..300 {
            number = if rng.below(5) == 0 { rng.below(100) + 1 } else { number % 100 + 1 };
            let expected = odd::message(number as u32) + "\r\n";
            assert_same(&client.retr(number).await, expected.as_bytes(), &format!("{oddity:?}: {number}"));
        }
        client.quit().await;
    }
}

/// At 20 ms a round trip, what counts is how often a client waits for one: not at all behind the
/// first few.
#[tokio::test]
async fn a_distant_server_is_asked_seldom() {
    let mail = (0..500).map(|index| format!("Subject: {index}\r\n\r\n{}\r\n", "x".repeat(900)).into_bytes());
    let stage = Stage::delayed(mail.collect(), Persona::Dovecot, "", Duration::from_millis(20)).await;
    let mut client = stage.login().await;
    for number in 1..=500 {
        stage.retr(&mut client, number).await;
    }
    client.quit().await;
    let fetches = stage.fetches();
    assert!(fetches.len() <= 24, "{fetches:#?}");
}

async fn random(seed: u64, persona: Persona, steps: usize) {
    let mut rng = Rng::new(seed);
    let mut mail = ordinary(seed, 50);
    for _ in 0..6 {
        mail[rng.below(50)] = big(20_000 + rng.below(60_000), seed);
    }
    for _ in 0..3 {
        mail[rng.below(50)] = big(150_000 + rng.below(400_000), seed);
    }
    let stage = Stage::new(mail, persona, "read_ahead = \"64 KiB\"").await;
    let mut client = stage.login().await;
    let mut deleted = [false; 51];
    let mut at = 0;
    for _ in 0..steps {
        if rng.below(12) == 0 {
            at = rng.below(50);
        }
        let number = at + 1;
        let step = rng.below(24);
        if deleted[number] && step < 19 {
            client
                .err(&format!("{} {number} 0", ["RETR", "TOP"][step % 2]).replace("RETR 1 0", "RETR 1"))
                .await;
            at = number % 50;
            continue;
        }
        match step {
            0..12 => {
                stage.retr(&mut client, number).await;
                at = number % 50;
            }
            12 | 13 => {
                stage.top(&mut client, number, ALL).await;
                at = number % 50;
            }
            14 | 15 => stage.top(&mut client, number, 0).await,
            16 => stage.top(&mut client, number, 3).await,
            17 => drop(client.ok(&format!("LIST {number}")).await),
            18 => {
                let number = if rng.below(2) == 0 { number } else { (number + rng.below(6)).min(50) };
                if !std::mem::replace(&mut deleted[number], true) {
                    client.ok(&format!("DELE {number}")).await;
                }
            }
            19 => drop(client.ok("NOOP").await),
            20 => {
                let kept = (1..=10).filter(|number| !deleted[*number]);
                for number in kept {
                    stage.top(&mut client, number, 0).await;
                }
            }
            21 if rng.below(3) == 0 => {
                client.ok("RSET").await;
                deleted = [false; 51];
            }
            22 if rng.below(10) == 0 => stage.sim.kill_connections(),
            _ => drop(client.ok("STAT").await),
        }
    }
    client.quit().await;
    assert!(stage.sim.messages("alice", "INBOX").len() == 50, "hidden only");
}

#[tokio::test]
async fn random_sessions_get_exact_messages() {
    for seed in 0..3 {
        random(seed, Persona::Dovecot, 1000).await;
    }
}

#[tokio::test]
async fn random_sessions_get_exact_messages_from_every_persona() {
    for (seed, persona) in (100..).zip(Persona::ALL) {
        random(seed, persona, 300).await;
    }
}
