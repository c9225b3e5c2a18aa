//! An upstream that means harm: whatever it sends, without end, the bridge neither stops nor grows.

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use support::bridge::{Bridge, Settings};
use support::dovecot::PASSWORD;
use support::pop3::Pop3;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Less than what is sent: the bridge's code and libraries take some 17 MB in a debug build.
const MOST_KIB: u64 = 40 * 1024;

/// Where the harm begins.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Greeting,
    Login,
    Select,
    Listing,
    Body,
}

/// Says the right things up to the stage, then `head` and `body` over and over, up to 32 MiB.
async fn hostile(stage: Stage, head: &'static [u8], body: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                // The bridge hangs up in the middle: that is what is wanted.
                let _ = speak(socket, stage, head, body).await;
            });
        }
    });
    address
}

async fn speak(socket: TcpStream, stage: Stage, head: &[u8], body: &[u8]) -> std::io::Result<()> {
    let mut socket = BufReader::new(socket);
    if matches!(stage, Stage::Greeting) {
        return flood(&mut socket, head, body).await;
    }
    socket.write_all(b"* OK [CAPABILITY IMAP4rev1 UIDPLUS] ready\r\n").await?;
    loop {
        let mut line = String::new();
        if socket.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let tag = line.split(' ').next().unwrap_or_default().to_owned();
        let answer = if line.contains("LOGIN") {
            if matches!(stage, Stage::Login) {
                return flood(&mut socket, head, body).await;
            }
            format!("{tag} OK [CAPABILITY IMAP4rev1 UIDPLUS] in\r\n")
        } else if line.contains("SELECT") {
            if matches!(stage, Stage::Select) {
                return flood(&mut socket, head, body).await;
            }
            format!("* 1 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n{tag} OK [READ-WRITE] ok\r\n")
        } else if line.contains("RFC822.SIZE") {
            if matches!(stage, Stage::Listing) {
                return flood(&mut socket, head, body).await;
            }
            format!("* 1 FETCH (UID 1 RFC822.SIZE 100)\r\n{tag} OK ok\r\n")
        } else if line.contains("BODY") {
            return flood(&mut socket, head, body).await;
        } else {
            format!("{tag} OK ok\r\n")
        };
        socket.write_all(answer.as_bytes()).await?;
    }
}

async fn flood(socket: &mut BufReader<TcpStream>, head: &[u8], body: &[u8]) -> std::io::Result<()> {
    socket.write_all(head).await?;
    let chunk = body.repeat((64 * 1024 / body.len()).max(1));
    for _ in 0..512 {
        socket.write_all(&chunk).await?;
    }
    // Silence, while the bridge waits for more.
    tokio::time::sleep(Duration::from_secs(120)).await;
    Ok(())
}

const HARM: &[(&[u8], &[u8])] = &[
    (b"", b"x"),
    (b"", b"\r\n"),
    (b"* 1 FETCH ", b"("),
    (b"", b"* OK [ALERT] \xc3\xa9 more\r\n"),
    (b"", b"* 9 EXISTS\r\n* 1 EXPUNGE\r\n"),
    (b"", b"* 1 FETCH (UID 1 RFC822.SIZE 5)\r\n"),
    (b"", b"* 1 FETCH (UID 9 BODY[] {5}\r\nhello)\r\n"),
    (b"", b"* 1 FETCH (UID 1 BODY[] {0}\r\n)\r\n"),
    (b"* 1 FETCH (UID 1 BODY[] {18446744073709551615}\r\n", b"Subject: for ever\r\n"),
    (b"* 1 FETCH (UID 1 BODY[] {500000000}\r\nabc", b"no line end at all "),
    (b"* CAPABILITY ", b"A B C D E F "),
    (b"", b"* CAPABILITY IMAP4rev1 SASL-IR\r\n"),
    (b"", b"+ go on\r\n"),
    (b"", b"A0001 OK fine\r\nP0 OK fine\r\nP1 OK fine\r\nP2 OK fine\r\n"),
    (b"\x16\x03\x01", b"\0\xff\x80"),
];

/// A session against it, as far as it goes. Errors and closed connections are good answers.
async fn session(address: SocketAddr) {
    let mut client = Pop3::connect(address).await;
    let _ = async {
        client.attempt("USER alice").await?;
        if !client.attempt(&format!("PASS {PASSWORD}")).await?.starts_with("+OK") {
            return client.attempt("QUIT").await.map(drop);
        }
        client.attempt("DELE 2").await?;
        if client.attempt("RETR 1").await?.starts_with("+OK") {
            // Read away what comes, holding little.
            let mut body = Vec::new();
            loop {
                body.clear();
                if client.body_until(&mut body, 1 << 16).await? {
                    break;
                }
            }
        }
        client.attempt("QUIT").await.map(drop)
    }
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn harm_without_end_is_survived_in_little_memory() {
    for stage in [Stage::Greeting, Stage::Login, Stage::Select, Stage::Listing, Stage::Body] {
        let mut sessions = JoinSet::new();
        let mut bridges = Vec::new();
        for &(head, body) in HARM {
            let upstream = hostile(stage, head, body).await;
            let settings = Settings::new(format!("imap://{upstream}"))
                .with("upstream.home", "timeout = \"2s\"\nrecovery = \"2s\"");
            let bridge = Bridge::start(&settings);
            let address = bridge.address();
            bridges.push((bridge, head, body));
            sessions.spawn(session(address));
        }
        while let Some(ended) = sessions.join_next().await {
            ended.expect("the client saw well-formed answers");
        }
        for (mut bridge, head, body) in bridges {
            let what = format!("{stage:?}: {} {}", head.escape_ascii(), body.escape_ascii());
            let peak = bridge.peak_kib();
            println!("{what}: {peak} KiB");
            assert!(peak < MOST_KIB, "{what}: {peak} KiB");
            assert!(bridge.terminate().success(), "{what}: it did not end well");
            let log = bridge.log().join("\n");
            assert!(!log.contains("panicked"), "{what}:\n{log}");
        }
    }
}
