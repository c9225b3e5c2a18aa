//! The octets: lines and literals in, answers out, over TCP or TLS, compressed or not.

use std::io;
use std::time::Duration;

use async_compression::tokio::bufread::DeflateDecoder;
use async_compression::tokio::write::DeflateEncoder;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, join, split};
use tokio::time::{sleep, timeout};

/// TCP, TLS over it, DEFLATE over either.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Output is written when so much has gathered, and bodies go out in pieces of this size.
const PIECE: usize = 64 * 1024;
/// No line is kept beyond this, whatever a persona would take.
const LINE_CAP: usize = 1024 * 1024;

pub(crate) struct Wire {
    stream: Option<Box<dyn Io>>,
    input: Vec<u8>,
    start: usize,
    output: Vec<u8>,
    delay: Duration,
    delay_due: bool,
    /// Write in pieces of so many octets.
    pub split: Option<usize>,
}

impl Wire {
    pub(crate) fn new(stream: Box<dyn Io>, delay: Duration) -> Self {
        Self {
            stream: Some(stream),
            input: Vec::new(),
            start: 0,
            output: Vec::new(),
            delay,
            delay_due: true,
            split: None,
        }
    }

    /// Waits for more input; what is to be sent goes out first.
    pub(crate) async fn fill(&mut self) -> io::Result<()> {
        self.flush().await?;
        self.read_more().await
    }

    /// As `fill` but writes nothing, so that it may be cancelled without loss.
    pub(crate) async fn read_more(&mut self) -> io::Result<()> {
        self.input.drain(..std::mem::take(&mut self.start));
        self.input.reserve(16 * 1024);
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        if stream.read_buf(&mut self.input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.delay_due = true;
        Ok(())
    }

    /// A whole line if one has arrived, without its line end.
    pub(crate) fn ready_line(&mut self) -> Option<Vec<u8>> {
        let end = memchr::memchr(b'\n', &self.input[self.start..])?;
        let line = &self.input[self.start..self.start + end];
        let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
        self.start += end + 1;
        Some(line)
    }

    /// The next line. One longer than `LINE_CAP` is an error.
    pub(crate) async fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(line) = self.ready_line() {
                return Ok(line);
            }
            if self.input.len() - self.start > LINE_CAP {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.fill().await?;
        }
    }

    /// Exactly so many octets.
    pub(crate) async fn exactly(&mut self, size: usize) -> io::Result<Vec<u8>> {
        while self.input.len() - self.start < size {
            self.fill().await?;
        }
        let octets = self.input[self.start..self.start + size].to_vec();
        self.start += size;
        Ok(octets)
    }

    /// Forgets what has arrived and was not read yet, and what arrives within `wait`.
    pub(crate) async fn discard_input(&mut self, wait: Duration) {
        self.start = self.input.len();
        if !wait.is_zero() {
            while let Ok(Ok(())) = timeout(wait, self.read_more()).await {
                self.start = self.input.len();
            }
        }
    }

    /// Gathers output. It leaves with the next `fill`, `flush` or `send`.
    pub(crate) fn push(&mut self, octets: impl AsRef<[u8]>) {
        self.output.extend_from_slice(octets.as_ref());
    }

    /// Gathers one line.
    pub(crate) fn push_line(&mut self, line: impl AsRef<[u8]>) {
        self.push(line);
        self.push("\r\n");
    }

    /// Writes what has gathered, if it is much.
    pub(crate) async fn relieve(&mut self) -> io::Result<()> {
        if self.output.len() >= PIECE { self.flush().await } else { Ok(()) }
    }

    /// Sends octets as the peer takes them; many are not copied.
    pub(crate) async fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        if octets.len() < PIECE / 4 {
            self.push(octets);
            return self.relieve().await;
        }
        self.flush().await?;
        for piece in octets.chunks(PIECE) {
            self.write(piece).await?;
        }
        Ok(())
    }

    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        if std::mem::take(&mut self.delay_due) && !self.delay.is_zero() {
            sleep(self.delay).await;
        }
        let mut output = std::mem::take(&mut self.output);
        self.write(&output).await?;
        output.clear();
        if output.capacity() <= 2 * PIECE {
            self.output = output;
        }
        self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?.flush().await
    }

    async fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let Some(split) = self.split else {
            return stream.write_all(octets).await;
        };
        for (count, piece) in octets.chunks(split).enumerate() {
            stream.write_all(piece).await?;
            stream.flush().await?;
            // A pause keeps the pieces apart at the reader; only the first ones, or large answers
            // would take minutes.
            if count < 64 {
                sleep(Duration::from_millis(1)).await;
            } else {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// Ends the connection in order: output, then the end, then what the peer still says.
    pub(crate) async fn close(mut self) {
        let Ok(()) = self.flush().await else { return };
        if let Some(mut stream) = self.stream.take() {
            let _ = stream.shutdown().await;
            self.stream = Some(stream);
        }
        self.discard_input(Duration::from_millis(200)).await;
    }

    /// Breaks the connection off: what was gathered is still sent, but there is no TLS farewell.
    pub(crate) async fn cut(mut self) {
        let _ = self.flush().await;
        // Unread input would make the kernel send RST, which may overtake what was just sent.
        self.discard_input(Duration::from_millis(10)).await;
    }

    /// Keeps the connection open in silence until the peer leaves.
    pub(crate) async fn stall(mut self) {
        let _ = self.flush().await;
        while self.read_more().await.is_ok() {
            self.start = self.input.len();
        }
    }

    /// Hands the stream out, for STARTTLS; `put_stream` ends the gap.
    pub(crate) fn take_stream(&mut self) -> Option<Box<dyn Io>> {
        self.stream.take()
    }

    pub(crate) fn put_stream(&mut self, stream: Box<dyn Io>) {
        self.stream = Some(stream);
    }

    /// Both directions are raw DEFLATE from here on, what has arrived already and was not read too.
    pub(crate) fn deflate(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        let (read, write) = split(stream);
        let arrived = io::Cursor::new(self.input.split_off(self.start));
        (self.input, self.start) = (Vec::new(), 0);
        let read = DeflateDecoder::new(BufReader::new(arrived.chain(read)));
        self.stream = Some(Box::new(join(read, DeflateEncoder::new(write))));
    }
}
