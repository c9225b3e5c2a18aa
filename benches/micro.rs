//! What single steps cost, without a network or with as little as there can be: `just bench-micro`.

use std::hint::black_box;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use tokio::runtime::Runtime;

use popbridge::config::{Config, UniqueIdScheme};
use popbridge::ids::{Octets, Uid, UidValidity};
use popbridge::maildrop::{Deriver, Listing};
use popbridge::pop3::{Command, Limit, Multiline, scan_row, unique_id_row};
use popbridge::secret::{Credential, Secret};
use popbridge::upstream::{Access, Connector, Extra, FolderName, Imap, scan};

/// Messages in a large mailbox.
const MESSAGES: u32 = 100_000;
/// Octets in a message.
const MESSAGE: usize = 1_000_000;

fn main() {
    divan::main();
}

/// A text of this many octets, made of one line again and again.
fn text(line: &str) -> Vec<u8> {
    line.bytes().cycle().take(MESSAGE).collect()
}

mod dot_stuffing {
    use super::*;

    /// What the framer mostly hands over, and what is left at a literal's end.
    const PIECES: [usize; 3] = [64 << 10, 8 << 10, 100];

    #[divan::bench(args = PIECES)]
    fn typical_mail(bencher: Bencher, piece: usize) {
        let base64 = "TG9yZW0gaXBzdW0gZG9sb3Igc2l0IGFtZXQsIGNvbnNlY3RldHVyIGFkaXBpc2NpbmcgZWxpdCwg\r\n";
        whole(bencher, &text(base64), piece);
    }

    #[divan::bench(args = PIECES)]
    fn long_lines(bencher: Bencher, piece: usize) {
        whole(bencher, &text(&format!("{}\r\n", "long line ".repeat(99))), piece);
    }

    #[divan::bench(args = PIECES)]
    fn every_line_a_dot(bencher: Bencher, piece: usize) {
        whole(bencher, &text(".\r\n"), piece);
    }

    #[divan::bench(args = PIECES)]
    fn bare_line_feeds(bencher: Bencher, piece: usize) {
        whole(bencher, &text("A line as a Unix program would end it, not CRLF\n"), piece);
    }

    fn whole(bencher: Bencher, text: &[u8], piece: usize) {
        let mut output = Vec::with_capacity(2 * piece + 3);
        bencher.counter(BytesCount::of_slice(text)).bench_local(|| {
            let mut multiline = Multiline::new(Limit::Whole);
            for piece in black_box(text).chunks(piece) {
                output.clear();
                multiline.push(piece, &mut output);
                black_box(&output);
            }
            multiline.octets()
        });
    }
}

mod rows {
    use super::*;

    #[divan::bench]
    fn list(bencher: Bencher) {
        let (listing, mut output) = listing();
        bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
            let mut from = 0;
            while let Some((number, entry)) = listing.next_from(from) {
                scan_row(number, entry.size, &mut output);
                from = number.index() + 1;
                taken(&mut output);
            }
        });
    }

    #[divan::bench(args = ["popbridge", "cyrus"])]
    fn uidl(bencher: Bencher, scheme: &str) {
        let scheme = if scheme == "cyrus" { UniqueIdScheme::Cyrus } else { UniqueIdScheme::Popbridge };
        let deriver = Deriver::new(scheme, "INBOX");
        let validity = UidValidity::new(1_794_045_600).expect("not zero");
        let (listing, mut output) = listing();
        bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
            let mut from = 0;
            while let Some((number, entry)) = listing.next_from(from) {
                unique_id_row(number, |output| deriver.id(validity, entry.uid).write(output), &mut output);
                from = number.index() + 1;
                taken(&mut output);
            }
        });
    }

    fn listing() -> (Listing, Vec<u8>) {
        let uids = (1..=MESSAGES).filter_map(Uid::new);
        let messages: Vec<_> = uids.map(|uid| (uid, Octets(u64::from(uid.get()) * 7 + 1000))).collect();
        let mut listing = Listing::default();
        listing.append(0, messages.into_iter());
        (listing, Vec::with_capacity(32 << 10))
    }

    /// As a client takes it: a chunk at a time.
    fn taken(output: &mut Vec<u8>) {
        if output.len() >= 16 << 10 {
            black_box(&output);
            output.clear();
        }
    }
}

mod commands {
    use super::*;

    #[divan::bench(args = ["STAT", "RETR 12345", "top 17 0", "USER alice@example.org", "PASS a secret", "XYZZY"])]
    fn parse(bencher: Bencher, line: &str) {
        bencher.bench_local(|| Command::parse(black_box(line.as_bytes())));
    }
}

mod upstream_listing {
    use super::*;

    /// SELECT and the rows `* n FETCH (UID u RFC822.SIZE s)` of a large mailbox, from a peer that has
    /// them ready: what reading from the loopback costs is in it.
    #[divan::bench(sample_count = 20)]
    fn scan_of_100_000(bencher: Bencher) {
        let runtime = Runtime::new().expect("threads can be started");
        let mut imap = runtime.block_on(connected(peer()));
        let inbox = FolderName::new("INBOX");
        bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
            let scanned = scan(&mut imap, &inbox, Access::ReadOnly, Extra::default(), None);
            assert_eq!(runtime.block_on(scanned).expect("listed").rows.len(), MESSAGES as usize);
        });
    }

    async fn connected(port: u16) -> Imap {
        let listen = "127.0.0.1:0".parse().expect("an address");
        let config = Config::for_upstream(&format!("imap://127.0.0.1:{port}"), listen);
        let upstream = config.expect("a configuration").upstreams.remove(0);
        let connector = Connector::new(Arc::clone(&upstream)).expect("no certificates");
        let mut imap = Imap::open(&connector).await.expect("greeted");
        imap.login("alice", &Credential::Password(Secret::new(b"secret".to_vec()))).await.expect("logged in");
        imap
    }

    /// Answers one connection by rote; ends with it.
    fn peer() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        thread::spawn(move || {
            let (socket, _) = listener.accept().expect("a connection");
            // That the other side has gone is the end of the benchmark.
            let _ = answer(socket);
        });
        port
    }

    fn answer(mut socket: TcpStream) -> std::io::Result<()> {
        let rows: String = (1..=MESSAGES)
            .map(|n| format!("* {n} FETCH (UID {n} RFC822.SIZE {})\r\n", n * 7 + 1000))
            .collect();
        socket.set_nodelay(true)?;
        socket.write_all(b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n")?;
        for line in BufReader::new(socket.try_clone()?).lines() {
            let line = line?;
            let mut words = line.split(' ');
            let tag = words.next().unwrap_or_default();
            match words.next().unwrap_or_default() {
                "EXAMINE" => write!(
                    socket,
                    "* {MESSAGES} EXISTS\r\n* OK [UIDVALIDITY 7] .\r\n* OK [UIDNEXT {}] .\r\n",
                    MESSAGES + 1
                )?,
                "UID" => socket.write_all(rows.as_bytes())?,
                "CAPABILITY" => socket.write_all(b"* CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN\r\n")?,
                _ => {}
            }
            write!(socket, "{tag} OK done\r\n")?;
        }
        Ok(())
    }
}
