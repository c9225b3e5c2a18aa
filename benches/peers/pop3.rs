//! A POP3 client that reads as fast as it can and keeps nothing but a digest.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use memchr::memchr;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::mailbox::Digest;
use crate::support::dovecot::PASSWORD;

pub struct Pop3 {
    wire: BufReader<TcpStream>,
    /// Of a line that the buffer holds the beginning of.
    carry: Vec<u8>,
    /// When the first octet of a message came.
    pub first_octet: Option<Instant>,
}

impl Pop3 {
    /// Connects and reads the greeting.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let wire = BufReader::with_capacity(64 << 10, socket);
        let mut pop3 = Self { wire, carry: Vec::new(), first_octet: None };
        pop3.status("the connection").await?;
        Ok(pop3)
    }

    /// Logs in; a maildrop that is said to be in use is asked for again, on a new connection.
    pub async fn login(address: SocketAddr, user: &str) -> Result<Self> {
        loop {
            let mut pop3 = Self::connect(address).await?;
            pop3.command(&format!("USER {user}")).await?;
            match pop3.command(&format!("PASS {PASSWORD}")).await {
                Ok(()) => return Ok(pop3),
                Err(error) if error.to_string().contains("[IN-USE]") => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub async fn command(&mut self, command: &str) -> Result<()> {
        self.send(&format!("{command}\r\n")).await?;
        self.status(command).await
    }

    /// RETR or TOP of every message in order, so many asked for at once; each digest is compared.
    pub async fn fetch(&mut self, expected: &[Digest], depth: usize, command: Command) -> Result<()> {
        let mut asked = 0;
        for (at, digest) in expected.iter().enumerate() {
            // When half of the window is used up, the other half is asked for in one packet.
            if asked - at <= depth / 2 {
                let until = expected.len().min(at + depth.max(1));
                let lines: String = (asked + 1..=until).map(|number| command.line(number)).collect();
                asked = asked.max(until);
                self.send(&lines).await?;
            }
            self.status("a message").await.with_context(|| format!("message {}", at + 1))?;
            let mut hash = Sha256::new();
            self.lines(|line| hash.update(line)).await?;
            ensure!(hash.finalize()[..] == digest[..], "message {} is not what was laid in", at + 1);
        }
        Ok(())
    }

    /// LIST; every size is compared.
    pub async fn list(&mut self, expected: &[u64]) -> Result<()> {
        self.command("LIST").await?;
        let mut rows = Vec::with_capacity(expected.len());
        self.lines(|line| {
            let text = std::str::from_utf8(line).unwrap_or_default().trim_end();
            rows.push(text.split_once(' ').and_then(|(_, size)| size.parse::<u64>().ok()));
        })
        .await?;
        ensure!(rows.len() == expected.len(), "{} rows instead of {}", rows.len(), expected.len());
        let same = rows.iter().zip(expected).all(|(row, size)| *row == Some(*size));
        ensure!(same, "LIST shows sizes that are not those of the messages");
        Ok(())
    }

    /// UIDL; the number of rows is compared.
    pub async fn uidl(&mut self, expected: usize) -> Result<()> {
        self.command("UIDL").await?;
        let mut rows = 0;
        self.lines(|_| rows += 1).await?;
        ensure!(rows == expected, "{rows} rows instead of {expected}");
        Ok(())
    }

    pub async fn quit(mut self) -> Result<()> {
        self.command("QUIT").await
    }

    async fn send(&mut self, lines: &str) -> Result<()> {
        Ok(self.wire.get_mut().write_all(lines.as_bytes()).await?)
    }

    async fn status(&mut self, command: &str) -> Result<()> {
        let mut line = String::new();
        self.wire.read_line(&mut line).await?;
        if !line.starts_with("+OK") {
            bail!("{command}: {:?}", line.trim_end());
        }
        Ok(())
    }

    /// A multi-line answer, a line at a time with its CRLF and without its stuffing.
    async fn lines(&mut self, mut take: impl FnMut(&[u8])) -> Result<()> {
        self.carry.clear();
        loop {
            let buffer = self.wire.fill_buf().await?;
            ensure!(!buffer.is_empty(), "the connection ended inside an answer");
            self.first_octet.get_or_insert_with(Instant::now);
            let mut at = 0;
            let mut ended = false;
            while let Some(length) = memchr(b'\n', &buffer[at..]) {
                let piece = &buffer[at..=at + length];
                at += length + 1;
                let line = if self.carry.is_empty() {
                    piece
                } else {
                    self.carry.extend_from_slice(piece);
                    &self.carry
                };
                ended = line == b".\r\n";
                if ended {
                    break;
                }
                take(line.strip_prefix(b".").unwrap_or(line));
                self.carry.clear();
            }
            if !ended {
                self.carry.extend_from_slice(&buffer[at..]);
                at = buffer.len();
            }
            self.wire.consume(at);
            if ended {
                return Ok(());
            }
        }
    }
}

#[derive(Clone, Copy)]
pub enum Command {
    Retr,
    /// `TOP n 0`
    Top,
}

impl Command {
    fn line(self, number: usize) -> String {
        match self {
            Self::Retr => format!("RETR {number}\r\n"),
            Self::Top => format!("TOP {number} 0\r\n"),
        }
    }
}
