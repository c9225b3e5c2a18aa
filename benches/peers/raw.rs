//! The least that IMAP allows: asks for the whole set in one command, reads, and throws away.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::mailbox::Digest;
use crate::support::dovecot::PASSWORD;

pub struct Raw {
    wire: BufReader<TcpStream>,
    /// When the first octet of a message came.
    pub first_octet: Option<Instant>,
}

/// What one FETCH response had.
struct Row {
    number: usize,
    text: String,
    digest: Option<Digest>,
}

impl Raw {
    /// Connects, logs in and selects the INBOX.
    pub async fn login(address: SocketAddr, user: &str) -> Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let mut raw = Self { wire: BufReader::with_capacity(64 << 10, socket), first_octet: None };
        raw.wire.read_line(&mut String::new()).await?;
        raw.command(&format!("LOGIN {user} {PASSWORD}"), |_| Ok(())).await?;
        raw.command("SELECT INBOX", |_| Ok(())).await?;
        Ok(raw)
    }

    /// `BODY.PEEK[]` or `BODY.PEEK[HEADER]` of all; each digest is compared.
    pub async fn fetch(&mut self, expected: &[Digest], item: &str) -> Result<()> {
        let mut rows = 0;
        let check = |row: Row| {
            rows += 1;
            let own = expected.get(row.number.wrapping_sub(1)).context("a number that is not there")?;
            ensure!(row.digest.as_ref() == Some(own), "message {} is not what was laid in", row.number);
            Ok(())
        };
        self.command(&format!("UID FETCH 1:* ({item})"), check).await?;
        ensure!(rows == expected.len(), "{rows} messages instead of {}", expected.len());
        Ok(())
    }

    /// The sizes of all; each is compared.
    pub async fn sizes(&mut self, expected: &[u64]) -> Result<()> {
        let mut rows = 0;
        let check = |row: Row| {
            rows += 1;
            let own = expected.get(row.number.wrapping_sub(1)).context("a number that is not there")?;
            let size = row.text.split_once("RFC822.SIZE ").map_or("", |(_, rest)| rest);
            let digits = size.split(|letter: char| !letter.is_ascii_digit()).next().unwrap_or_default();
            ensure!(digits.parse() == Ok(*own), "the size of message {}", row.number);
            Ok(())
        };
        self.command("UID FETCH 1:* (UID RFC822.SIZE)", check).await?;
        ensure!(rows == expected.len(), "{rows} messages instead of {}", expected.len());
        Ok(())
    }

    pub async fn logout(mut self) -> Result<()> {
        self.command("LOGOUT", |_| Ok(())).await
    }

    /// Sends one command and hands on its FETCH responses.
    async fn command(&mut self, command: &str, mut take: impl FnMut(Row) -> Result<()>) -> Result<()> {
        self.wire.get_mut().write_all(format!("t {command}\r\n").as_bytes()).await?;
        loop {
            let row = self.response().await?;
            if let Some(status) = row.text.strip_prefix("t ") {
                if !status.starts_with("OK") {
                    bail!("{command}: {status}");
                }
                return Ok(());
            }
            if row.text.contains(" FETCH (") {
                take(row)?;
            }
        }
    }

    async fn response(&mut self) -> Result<Row> {
        let mut text = String::new();
        let mut digest = None;
        loop {
            let mut line = String::new();
            ensure!(self.wire.read_line(&mut line).await? > 0, "the connection ended");
            let line = line.trim_end();
            text.push_str(line);
            let literal = line.strip_suffix('}').and_then(|rest| rest.rsplit_once('{'));
            let Some(octets) = literal.and_then(|(_, size)| size.parse().ok()) else { break };
            digest = Some(self.literal(octets).await?);
        }
        let mut words = text.split(' ').skip(1);
        let number = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        Ok(Row { number, text, digest })
    }

    async fn literal(&mut self, mut octets: usize) -> Result<Digest> {
        let mut hash = Sha256::new();
        while octets > 0 {
            let buffer = self.wire.fill_buf().await?;
            ensure!(!buffer.is_empty(), "the connection ended inside a literal");
            self.first_octet.get_or_insert_with(Instant::now);
            let piece = &buffer[..buffer.len().min(octets)];
            hash.update(piece);
            let taken = piece.len();
            octets -= taken;
            self.wire.consume(taken);
        }
        Ok(hash.finalize().into())
    }
}
