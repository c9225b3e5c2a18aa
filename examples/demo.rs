//! A bridge to try out: a simulated mail server with sample mail, popbridge in front of it, and
//! what to type into a mail program. Nothing is stored, nothing leaves this machine.
//!
//! `cargo run --release --example demo`

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imapsim::Server;
use popbridge::app::{App, StartError};
use popbridge::config::Config;
use popbridge::telemetry::{self, Format};
use tokio::signal::unix::{SignalKind, signal};

const USER: &str = "demo";
const PASSWORD: &str = "demo";
/// Where popbridge listens unless told; another one if that is taken.
const PORT: u16 = 1110;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    telemetry::start(Format::Human, tracing::Level::INFO)?;
    let stop = stop_signal()?;

    let server = Server::builder().user(USER, PASSWORD).start().await?;
    let messages = sample_mail();
    for message in &messages {
        server.append(USER, "INBOX", &with_crlf(message), &[]);
    }

    let app = bridge(&server).await?;
    let address = app.addresses()[0];
    println!("{}", instructions(address, messages.len()));
    app.run(stop).await;
    Ok(())
}

/// The bridge in front of the simulated server, with its state in memory.
async fn bridge(server: &Server) -> Result<App, Box<dyn Error>> {
    let config = |port: u16| {
        let text = format!(
            "[[listener]]\naddress = \"127.0.0.1:{port}\"\n\
             [limits]\nshutdown_grace = \"1s\"\n\
             [upstream.demo]\nurl = \"imap://{}\"\n\
             [state]\nurl = \"sqlite::memory:\"\n",
            server.address()
        );
        Config::parse(&text, "demo", Path::new("."))
    };
    match App::bind(config(PORT)?).await {
        Err(StartError::Listen { .. }) => Ok(App::bind(config(0)?).await?),
        bound => Ok(bound?),
    }
}

fn instructions(address: SocketAddr, messages: usize) -> String {
    let (host, port) = (address.ip(), address.port());
    format!(
        "
popbridge is running, with {messages} messages in the maildrop of a simulated mail server.

In a mail program, make a POP3 account:
  server      {host}
  port        {port}
  user name   {USER}
  password    {PASSWORD}
  encryption  none

Or fetch message 1 here:
  curl pop3://{address}/1 --user {USER}:{PASSWORD}

What you delete is hidden until the demo ends. Ctrl-C ends it.
"
    )
}

/// Resolves at Ctrl-C, or at `kill`.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Mail of the kinds that go wrong in bad bridges.
fn sample_mail() -> Vec<String> {
    vec![welcome(), alternatives(), lines_that_begin_with_dots(), eight_bit().to_owned(), with_attachment()]
}

fn header(from: &str, date: &str, id: &str, subject: &str) -> String {
    format!(
        "From: {from}\nTo: Demo <demo@example.org>\nDate: {date}\nMessage-ID: <{id}@example.org>\n\
         Subject: {subject}\nMIME-Version: 1.0\n"
    )
}

fn welcome() -> String {
    let header = header(
        "Ada Berg <ada@example.org>",
        "Mon, 5 Oct 2026 09:12:44 +0200",
        "welcome.1",
        "It works: this came over POP3",
    );
    format!(
        "{header}Content-Type: text/plain; charset=us-ascii\n\n\
         Hello,\n\n\
         this message lies on an IMAP server. Your program asked for it by POP3,\n\
         popbridge fetched it there and passed it on, piece by piece.\n\n\
         Delete it here, and it stays on the server.\n\n\
         Ada\n"
    )
}

fn alternatives() -> String {
    let header = header(
        "Corner Bakery <orders@bakery.example>",
        "Tue, 6 Oct 2026 07:30:00 +0200",
        "order-4711",
        "Your order 4711 is ready",
    );
    format!(
        "{header}Content-Type: multipart/alternative; boundary=\"=_two_forms\"\n\n\
         This is a message with two forms of one text.\n\
         --=_two_forms\n\
         Content-Type: text/plain; charset=us-ascii\n\n\
         Your order is ready: 2 loaves of rye bread. Pick it up until 18:00.\n\
         --=_two_forms\n\
         Content-Type: text/html; charset=us-ascii\n\n\
         <p>Your order is ready: <b>2 loaves of rye bread</b>.<br>Pick it up until 18:00.</p>\n\
         --=_two_forms--\n"
    )
}

fn lines_that_begin_with_dots() -> String {
    let header = header(
        "Build Robot <robot@ci.example>",
        "Wed, 7 Oct 2026 23:58:03 +0000",
        "build-208",
        "Build 208: 3 files ignored",
    );
    format!(
        "{header}Content-Type: text/plain; charset=us-ascii\n\n\
         Ignored, since their names begin with a dot:\n\
         .gitignore\n\
         ..previous\n\
         A line that is a dot and nothing else would end a POP3 answer:\n\
         .\n\
         It did not: this is the last line.\n"
    )
}

fn eight_bit() -> &'static str {
    "From: =?utf-8?Q?J=C3=BCrgen_M=C3=BCller?= <juergen@example.org>\n\
     To: Demo <demo@example.org>\n\
     Date: Thu, 8 Oct 2026 18:05:21 +0200\n\
     Message-ID: <8bit.77@example.org>\n\
     Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe_aus_K=C3=B6ln?=\n\
     MIME-Version: 1.0\n\
     Content-Type: text/plain; charset=utf-8\n\
     Content-Transfer-Encoding: 8bit\n\n\
     Schöne Grüße aus Köln! Das Café kostet nur 3 € Eintritt.\n\n\
     Jürgen\n"
}

fn with_attachment() -> String {
    let header = header(
        "Office Scanner <scanner@example.org>",
        "Fri, 9 Oct 2026 10:41:00 +0200",
        "scan-20261009",
        "Scan: readings.csv",
    );
    let rows: String = (0..120u32).map(|hour| format!("{hour},{}\r\n", 180 + hour * 7 % 40)).collect();
    let encoded = STANDARD.encode(format!("hour,tenths of a degree\r\n{rows}"));
    let lines: String =
        encoded.as_bytes().chunks(76).map(|line| format!("{}\n", String::from_utf8_lossy(line))).collect();
    format!(
        "{header}Content-Type: multipart/mixed; boundary=\"=_scan\"\n\n\
         --=_scan\n\
         Content-Type: text/plain; charset=us-ascii\n\n\
         The readings of this week are attached.\n\
         --=_scan\n\
         Content-Type: text/csv; name=\"readings.csv\"\n\
         Content-Disposition: attachment; filename=\"readings.csv\"\n\
         Content-Transfer-Encoding: base64\n\n\
         {lines}--=_scan--\n"
    )
}

/// As mail travels.
fn with_crlf(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}
