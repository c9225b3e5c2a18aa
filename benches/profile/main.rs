//! What a session costs popbridge itself: processor time, switches between threads, memory, and
//! under valgrind the instructions and where they go.
//!
//! `cargo bench --bench profile -- [--callgrind FOLDER] [--binary FILE] [ROW …]`. The mail server
//! is the simulator in this process, so nothing of it is counted.

#[path = "../../tests/support/mod.rs"]
mod support;

mod bridge;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use imapsim::Server;

use bridge::{Bridge, Costs};
use support::dovecot::PASSWORD;
use support::mail;
use support::pop3::Pop3;

const USER: &str = "alice";

/// What a client does, on which mail.
struct Row {
    name: &'static str,
    messages: usize,
    octets: usize,
    work: Work,
    /// Sessions under valgrind, and without it.
    sessions: (usize, usize),
}

#[derive(Clone, Copy)]
enum Work {
    /// USER, PASS, STAT, UIDL, QUIT.
    Poll,
    /// USER, PASS, LIST, UIDL, QUIT.
    List,
    /// USER, PASS, RETR of all, QUIT.
    Retrieve,
}

const ROWS: [Row; 4] = [
    Row { name: "poll", messages: 100, octets: 300, work: Work::Poll, sessions: (100, 2000) },
    Row { name: "list", messages: 100_000, octets: 300, work: Work::List, sessions: (3, 60) },
    Row { name: "small", messages: 2_000, octets: 8_000, work: Work::Retrieve, sessions: (2, 20) },
    Row { name: "big", messages: 4, octets: 25_000_000, work: Work::Retrieve, sessions: (2, 20) },
];

struct Arguments {
    callgrind: Option<PathBuf>,
    binary: PathBuf,
    rows: Vec<&'static Row>,
}

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    // `cargo bench` says so; `cargo test --all-targets`, which comes here as well, does not.
    if !words.iter().any(|word| word == "--bench") {
        println!("a measurement, not a test: cargo bench --bench profile runs it");
        return ExitCode::SUCCESS;
    }
    words.retain(|word| word != "--bench");
    let Some(arguments) = arguments(&words) else {
        let names = ROWS.map(|row| row.name).join(" ");
        eprintln!("usage: profile [--callgrind FOLDER] [--binary FILE] [ROW …]\nrows: {names}");
        return ExitCode::from(64);
    };
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    for row in &arguments.rows {
        runtime.block_on(measure(row, &arguments));
    }
    ExitCode::SUCCESS
}

fn arguments(words: &[String]) -> Option<Arguments> {
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_popbridge"));
    let mut arguments = Arguments { callgrind: None, binary, rows: Vec::new() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--callgrind" => arguments.callgrind = Some(words.next()?.into()),
            "--binary" => arguments.binary = words.next()?.into(),
            name => arguments.rows.push(ROWS.iter().find(|row| row.name == name)?),
        }
    }
    if arguments.rows.is_empty() {
        arguments.rows = ROWS.iter().collect();
    }
    Some(arguments)
}

async fn measure(row: &Row, Arguments { callgrind, binary, .. }: &Arguments) {
    let server = Server::builder().user(USER, PASSWORD).start().await.expect("the simulator listens");
    for number in 0..row.messages {
        server.append(USER, "INBOX", &mail::big(row.octets, number as u64), &[]);
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let start = |callgrind: Option<PathBuf>| {
        Bridge::start(binary, folder.path(), server.address(), callgrind.as_deref())
    };

    let bridge = start(None);
    session(&bridge, &server, row).await;
    println!("{}: first session: peak {:.1} MB", row.name, bridge.costs().peak_mb);
    // Until all is learnt.
    while session(&bridge, &server, row).await.iter().any(|command| command.contains("HEADER")) {}
    let commands = session(&bridge, &server, row).await;
    if !matches!(row.work, Work::Retrieve) {
        println!("{}: upstream: {}", row.name, commands.join(" | "));
    }
    bridge.stop();

    let (few, many) = row.sessions;
    if let Some(callgrind) = callgrind {
        std::fs::create_dir_all(callgrind).expect("a folder for the profiles");
        let mut instructions = Vec::new();
        for sessions in [few, 2 * few] {
            let file = callgrind.join(format!("{}.{sessions}.out", row.name));
            let bridge = start(Some(file.clone()));
            for _ in 0..sessions {
                session(&bridge, &server, row).await;
            }
            bridge.stop();
            instructions.push(bridge::instructions(&file));
        }
        let a_session = (instructions[1] - instructions[0]) / few as u64;
        println!("{}: {a_session} instructions a session", row.name);
        return;
    }
    let bridge = start(None);
    session(&bridge, &server, row).await;
    let (before, started) = (bridge.costs(), Instant::now());
    for _ in 0..many {
        session(&bridge, &server, row).await;
    }
    let (elapsed, after) = (started.elapsed(), bridge.costs());
    report(row.name, many, elapsed, &before, &after);
    bridge.stop();
}

fn report(name: &str, sessions: usize, elapsed: Duration, before: &Costs, after: &Costs) {
    let each = |whole: f64| whole / sessions as f64;
    println!(
        "{name}: a session: {:.2} ms, CPU {:.3} ms ({:.3} ms of it the kernel's), {:.1} switches; peak {:.1} MB",
        each(elapsed.as_secs_f64() * 1e3),
        each(after.cpu_ms() - before.cpu_ms()),
        each(after.kernel_ms - before.kernel_ms),
        each(after.switches as f64 - before.switches as f64),
        after.peak_mb,
    );
}

/// One session, to the end of what it does behind its QUIT; what it asked of the mail server.
async fn session(bridge: &Bridge, server: &Server, row: &Row) -> Vec<String> {
    let before = server.commands().len();
    let mut pop3 = Pop3::connect(bridge.address()).await;
    pop3.login(USER).await;
    match row.work {
        Work::Poll => {
            pop3.ok("STAT").await;
            assert_eq!(pop3.multi("UIDL").await.split(|&octet| octet == b'\n').count(), row.messages + 1);
        }
        Work::List => {
            pop3.multi("LIST").await;
            pop3.multi("UIDL").await;
        }
        Work::Retrieve => {
            for number in 1..=row.messages {
                assert_eq!(pop3.retr(number).await.len(), row.octets);
            }
        }
    }
    pop3.quit().await;
    // What goes on behind the answer ends with the connection.
    while server.live_connections() > 0 {
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
    server.commands().split_off(before)
}
