//! A mail server that answers as the rules allow and hardly any server does.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// In which way it is odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// Rows come with the highest UID first.
    Descending,
    /// Flags, arrivals and whole messages that nobody asked for come in between.
    Chatty,
    /// Bodies are quoted strings.
    Quoted,
    /// What is asked for several is refused behind the first row.
    RefusesSeveral,
    /// What is asked for several is refused at once.
    NeverSeveral,
    /// A command's tagged end comes behind the first row of the next one.
    LateTags,
    /// The UID stands behind the body.
    LateUid,
}

pub const ALL: [Oddity; 7] = [
    Oddity::Descending,
    Oddity::Chatty,
    Oddity::Quoted,
    Oddity::RefusesSeveral,
    Oddity::NeverSeveral,
    Oddity::LateTags,
    Oddity::LateUid,
];

/// The message with this UID; of one line, so that it can be quoted.
pub fn message(uid: u32) -> String {
    format!("Subject: {uid} of the odd ones {}", "x".repeat(uid as usize))
}

/// A server with `count` messages, and its FETCH commands.
pub async fn start(oddity: Oddity, count: u32) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let fetches = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&fetches);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                // The bridge may hang up anywhere.
                let _ = speak(socket, oddity, count, &log).await;
            });
        }
    });
    (address, fetches)
}

async fn speak(
    socket: TcpStream,
    oddity: Oddity,
    count: u32,
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let mut socket = BufReader::new(socket);
    socket.write_all(b"* OK [CAPABILITY IMAP4rev1 UIDPLUS] ready\r\n").await?;
    let mut owed = String::new();
    loop {
        let mut line = String::new();
        if socket.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let mut words = line.split_ascii_whitespace();
        let tag = words.next().unwrap_or_default().to_owned();
        let mut answer = String::new();
        if line.contains("LOGIN") {
            answer = format!("{tag} OK [CAPABILITY IMAP4rev1 UIDPLUS] in\r\n");
        } else if line.contains("SELECT") || line.contains("EXAMINE") {
            answer = format!(
                "* {count} EXISTS\r\n* OK [UIDVALIDITY 7] valid\r\n{tag} OK [READ-WRITE] selected\r\n"
            );
        } else if line.contains("RFC822.SIZE)") {
            for uid in 1..=count {
                let size = message(uid).len() + 2;
                answer.push_str(&format!("* {uid} FETCH (UID {uid} RFC822.SIZE {size})\r\n"));
            }
            answer.push_str(&format!("{tag} OK listed\r\n"));
        } else if line.contains("FETCH") && line.contains("BODY.PEEK[]") {
            log.lock().expect("no panic").push(line.trim_end().to_owned());
            let (rows, end) = fetch(oddity, words.nth(2).unwrap_or_default(), count);
            let end = format!("{tag} {end}\r\n");
            let (first, rest) = rows.split_first().map_or((String::new(), &[][..]), |(a, b)| (a.clone(), b));
            answer = format!("{first}{}{}", std::mem::take(&mut owed), rest.concat());
            if oddity == Oddity::LateTags && line.contains(',') | line.contains(':') {
                owed = end;
            } else {
                answer.push_str(&end);
            }
        } else {
            answer = format!("{}{tag} OK done\r\n", std::mem::take(&mut owed));
        }
        socket.write_all(answer.as_bytes()).await?;
        if socket.buffer().is_empty() && !owed.is_empty() {
            // Nothing follows soon, as far as a server can tell.
            let wait = std::time::Duration::from_millis(20);
            if tokio::time::timeout(wait, socket.fill_buf()).await.is_err() {
                socket.write_all(std::mem::take(&mut owed).as_bytes()).await?;
            }
        }
    }
}

fn fetch(oddity: Oddity, set: &str, count: u32) -> (Vec<String>, &'static str) {
    let mut uids = Vec::new();
    for part in set.split(',') {
        let (first, last) = part.split_once(':').unwrap_or((part, part));
        uids.extend(first.parse::<u32>().expect("a UID")..=last.parse().expect("a UID"));
    }
    assert!(uids.is_sorted(), "{set}");
    let several = uids.len() > 1;
    let mut end = "OK fetched";
    let literal = |uid: u32| {
        let text = message(uid);
        format!("* {uid} FETCH (UID {uid} BODY[] {{{}}}\r\n{text})\r\n", text.len())
    };
    match oddity {
        Oddity::Descending => uids.reverse(),
        Oddity::RefusesSeveral if several => {
            uids.truncate(1);
            end = "NO that is too much";
        }
        Oddity::NeverSeveral if several => {
            uids.clear();
            end = "BAD one at a time";
        }
        _ => {}
    }
    let row = |uid: &u32| match oddity {
        Oddity::Chatty => {
            let other = literal(count + uid);
            let flags = format!("* {uid} FETCH (UID {uid} FLAGS (\\Seen))\r\n* {uid} FETCH (FLAGS ())\r\n");
            format!("{flags}{other}* {count} EXISTS\r\n* OK still here {{5}}\r\n{}{flags}", literal(*uid))
        }
        Oddity::Quoted => format!("* {uid} FETCH (BODY[] \"{}\" UID {uid})\r\n", message(*uid)),
        Oddity::LateUid => {
            let text = message(*uid);
            format!("* {uid} FETCH (BODY[] {{{}}}\r\n{text} FLAGS () UID {uid})\r\n", text.len())
        }
        _ => literal(*uid),
    };
    (uids.iter().map(row).collect(), end)
}
