//! A second IMAP connection: lays mail in, looks at what is there, interferes.
//!
//! Blocking and simple on purpose, and independent of the bridge's own IMAP.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, StreamOwned};

/// Nothing on loopback takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// One message as IMAP shows it.
#[derive(Clone, Debug)]
pub struct Message {
    pub uid: u32,
    pub flags: Vec<String>,
    /// `RFC822.SIZE`, which a server may have wrong.
    pub size: u64,
    pub body: Vec<u8>,
}

impl Message {
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|own| own == flag)
    }
}

/// One response line; its literals are taken out of the text.
#[derive(Debug)]
pub struct Response {
    pub text: String,
    pub literals: Vec<Vec<u8>>,
}

pub struct Imap {
    wire: BufReader<Wire>,
    tag: u32,
    pub greeting: String,
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Imap {
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::greet(Wire::Plain(dial(address)?))
    }

    pub fn connect_tls(address: SocketAddr, config: Arc<ClientConfig>) -> io::Result<Self> {
        let name = ServerName::from(address.ip());
        let tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let wire = StreamOwned::new(tls, dial(address)?);
        Self::greet(Wire::Tls(Box::new(wire)))
    }

    fn greet(wire: Wire) -> io::Result<Self> {
        let mut imap = Self { wire: BufReader::new(wire), tag: 0, greeting: String::new() };
        imap.greeting = imap.response()?.text;
        Ok(imap)
    }

    /// Sends one command; its untagged responses, or the tagged line that refuses.
    pub fn attempt(&mut self, command: &str) -> io::Result<Result<Vec<Response>, String>> {
        let tag = self.send(command.as_bytes())?;
        self.finish(&tag)
    }

    /// Sends one command that has to succeed.
    pub fn command(&mut self, command: &str) -> Vec<Response> {
        match self.attempt(command) {
            Ok(Ok(responses)) => responses,
            Ok(Err(refusal)) => panic!("{command:?} was refused: {refusal}"),
            Err(error) => panic!("{command:?} failed: {error}"),
        }
    }

    /// Sends many commands, a batch at a time, and reads their answers after each batch.
    pub fn pipeline(&mut self, commands: impl IntoIterator<Item = Vec<u8>>) {
        // The answers of a batch are small enough to wait in the socket.
        const BATCH: usize = 100;
        let mut tags = Vec::new();
        for command in commands {
            tags.push(self.send(&command).expect("the server takes a command"));
            if tags.len() == BATCH {
                self.settle(&mut tags);
            }
        }
        self.settle(&mut tags);
    }

    fn settle(&mut self, tags: &mut Vec<String>) {
        for tag in tags.drain(..) {
            let answer = self.finish(&tag).expect("the server answers");
            answer.unwrap_or_else(|refusal| panic!("refused: {refusal}"));
        }
    }

    fn send(&mut self, command: &[u8]) -> io::Result<String> {
        self.tag += 1;
        let tag = format!("t{}", self.tag);
        let mut line = Vec::with_capacity(command.len() + 16);
        line.extend_from_slice(tag.as_bytes());
        line.push(b' ');
        line.extend_from_slice(command);
        line.extend_from_slice(b"\r\n");
        self.wire.get_mut().write_all(&line)?;
        self.wire.get_mut().flush()?;
        Ok(tag)
    }

    fn finish(&mut self, tag: &str) -> io::Result<Result<Vec<Response>, String>> {
        let mut untagged = Vec::new();
        loop {
            let response = self.response()?;
            let Some(status) = response.text.strip_prefix(tag) else {
                untagged.push(response);
                continue;
            };
            let status = status.trim_start();
            return Ok(if status.starts_with("OK") { Ok(untagged) } else { Err(status.to_owned()) });
        }
    }

    fn response(&mut self) -> io::Result<Response> {
        let mut text = String::new();
        let mut literals = Vec::new();
        loop {
            let mut line = Vec::new();
            self.wire.read_until(b'\n', &mut line)?;
            if !line.ends_with(b"\r\n") {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            line.truncate(line.len() - 2);
            let line = String::from_utf8_lossy(&line);
            let literal = line
                .strip_suffix('}')
                .and_then(|rest| rest.rsplit_once('{'))
                .and_then(|(before, size)| Some((before, size.parse::<usize>().ok()?)));
            let Some((before, size)) = literal else {
                text.push_str(&line);
                return Ok(Response { text, literals });
            };
            text.push_str(before);
            let mut bytes = vec![0; size];
            self.wire.read_exact(&mut bytes)?;
            literals.push(bytes);
        }
    }

    /// All messages of a mailbox, by EXAMINE, so that looking changes nothing.
    pub fn messages(&mut self, mailbox: &str) -> Vec<Message> {
        self.fetch(mailbox, "(UID FLAGS RFC822.SIZE BODY.PEEK[])")
    }

    /// The same without the bodies.
    pub fn summaries(&mut self, mailbox: &str) -> Vec<Message> {
        self.fetch(mailbox, "(UID FLAGS RFC822.SIZE)")
    }

    fn fetch(&mut self, mailbox: &str, items: &str) -> Vec<Message> {
        self.command(&format!("EXAMINE {mailbox}"));
        let responses = self.command(&format!("UID FETCH 1:* {items}"));
        let rows = responses.into_iter().filter(|response| response.text.contains(" FETCH ("));
        rows.map(|mut row| Message {
            uid: number_after(&row.text, "UID ") as u32,
            flags: between(&row.text, "FLAGS (", ")").split_whitespace().map(str::to_owned).collect(),
            size: number_after(&row.text, "RFC822.SIZE "),
            body: row.literals.pop().unwrap_or_default(),
        })
        .collect()
    }
}

fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&address, PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).unwrap_or_else(|| panic!("no {start} in {text}"));
    rest.split_once(end).map_or(rest, |(inside, _)| inside)
}

fn number_after(text: &str, start: &str) -> u64 {
    let rest = between(text, start, " ");
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("no number after {start} in {text}"))
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}
