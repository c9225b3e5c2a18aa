//! The client's connection: a bounded reader, a coalesced writer, the change to TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use memchr::memchr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zeroize::{Zeroize, Zeroizing};

use super::reply::Reply;
use crate::activity::Activity;

/// Octets written at once: a TLS record.
const WRITE_CHUNK: usize = 16 * 1024;
/// Octets read at once: many pipelined commands.
const READ_CHUNK: usize = 2 * 1024;

/// What came from the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    /// One line without its line end; zeroed when dropped, since it may hold a password.
    Line(Zeroizing<Vec<u8>>),
    /// A line over the limit: it was skipped to its end.
    TooLong,
}

/// Why nothing more can come from the client, or go to it.
#[derive(Debug, thiserror::Error)]
pub enum Interrupted {
    /// The client closed its side.
    #[error("disconnected")]
    Closed,
    /// Nothing moved for as long as is allowed (RFC 1939 §3).
    #[error("idle timeout")]
    Idle,
    /// The socket or TLS failed.
    #[error("connection failed: {0}")]
    Io(#[from] io::Error),
}

/// A POP3 client's connection, in plaintext or under TLS.
pub struct Connection {
    stream: Stream,
    input: Vec<u8>,
    skipping: bool,
    output: Vec<u8>,
    /// The client takes nothing any more; what it sent before may still hold a QUIT.
    deaf: bool,
    idle_timeout: Duration,
    activity: Activity,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// A TLS handshake failed and took the socket with it.
    Closed,
}

impl Connection {
    /// Takes over a plaintext socket. `idle_timeout` bounds every single read and write.
    pub fn plain(socket: TcpStream, idle_timeout: Duration) -> Self {
        Self {
            stream: Stream::Plain(socket),
            input: Vec::new(),
            skipping: false,
            output: Vec::new(),
            deaf: false,
            idle_timeout,
            activity: Activity::new(),
        }
    }

    /// Makes the TLS handshake: at once for implicit TLS, after `+OK` for STLS.
    ///
    /// What the client sent in plaintext behind STLS is dropped unread (command injection).
    pub async fn start_tls(&mut self, acceptor: &TlsAcceptor) -> Result<(), Interrupted> {
        self.flush().await?;
        self.input.clear();
        self.skipping = false;
        match std::mem::replace(&mut self.stream, Stream::Closed) {
            Stream::Plain(socket) => {
                let accepted = timeout(self.idle_timeout, acceptor.accept(socket)).await;
                let tls = accepted.map_err(|_| Interrupted::Idle)??;
                self.stream = Stream::Tls(Box::new(tls));
                Ok(())
            }
            other => {
                self.stream = other;
                Err(io::Error::other("TLS is already on").into())
            }
        }
    }

    /// Whether TLS protects the connection.
    pub fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// The certificate that the client has shown, in DER form: of an authority that the acceptor
    /// asks for, and with its key.
    pub fn client_certificate(&self) -> Option<&[u8]> {
        let Stream::Tls(tls) = &self.stream else { return None };
        let (_, session) = tls.get_ref();
        session.peer_certificates()?.first().map(AsRef::as_ref)
    }

    /// When the client was last heard of, for other tasks to look at.
    pub fn activity(&self) -> Activity {
        self.activity.clone()
    }

    /// The next line of at most `limit` octets. Before it waits, what was written is sent.
    ///
    /// A bare LF ends a line as well as CRLF does.
    pub async fn read_line(&mut self, limit: usize) -> Result<Input, Interrupted> {
        loop {
            if let Some(end) = memchr(b'\n', &self.input) {
                let line = self.take_line(end);
                self.activity.touch();
                return Ok(if std::mem::take(&mut self.skipping) || line.len() > limit {
                    Input::TooLong
                } else {
                    Input::Line(line)
                });
            }
            if self.input.len() > limit {
                self.skipping = true;
                self.input.zeroize();
            }
            // Some clients close without reading: what they sent still counts (RFC 1939 §6).
            match self.flush().await {
                Ok(()) | Err(Interrupted::Closed) => {}
                Err(other) => return Err(other),
            }
            self.input.reserve(READ_CHUNK);
            let received = timeout(self.idle_timeout, self.stream.read_buf(&mut self.input)).await;
            if received.map_err(|_| Interrupted::Idle)?.map_err(disconnect)? == 0 {
                return Err(Interrupted::Closed);
            }
        }
    }

    /// Writes a reply; it is sent with the next flush. That the client no longer listens shows
    /// when it is asked for its next line.
    pub async fn reply(&mut self, reply: &Reply) -> Result<(), Interrupted> {
        if !self.deaf {
            reply.write(&mut self.output);
        }
        match self.flush_full().await {
            Ok(()) | Err(Interrupted::Closed) => Ok(()),
            Err(other) => Err(other),
        }
    }

    /// Where multi-line text is written to; call [`Self::flush_full`] after each piece.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Sends what was written once it fills a chunk.
    pub async fn flush_full(&mut self) -> Result<(), Interrupted> {
        if self.output.len() >= WRITE_CHUNK {
            self.flush().await?;
        }
        Ok(())
    }

    /// Sends all that was written. Each piece the client takes is a sign of life.
    pub async fn flush(&mut self) -> Result<(), Interrupted> {
        if self.deaf {
            return Err(Interrupted::Closed);
        }
        if self.output.is_empty() {
            return Ok(());
        }
        let output = std::mem::take(&mut self.output);
        let sent = self.send(&output).await;
        if let Err(Interrupted::Closed) = sent {
            self.deaf = true;
        } else {
            self.output = output;
            self.output.clear();
            self.output.shrink_to(WRITE_CHUNK);
        }
        sent
    }

    async fn send(&mut self, mut octets: &[u8]) -> Result<(), Interrupted> {
        while !octets.is_empty() {
            let written = timeout(self.idle_timeout, self.stream.write(octets)).await;
            match written.map_err(|_| Interrupted::Idle)?.map_err(disconnect)? {
                0 => return Err(Interrupted::Closed),
                sent => octets = &octets[sent..],
            }
            self.activity.touch();
        }
        timeout(self.idle_timeout, self.stream.flush())
            .await
            .map_err(|_| Interrupted::Idle)?
            .map_err(disconnect)
    }

    /// Sends what was written and closes.
    pub async fn close(mut self) {
        // The session is over: what the client does not take any more is its own loss.
        if self.flush().await.is_ok() {
            let _ = timeout(Duration::from_secs(5), self.stream.shutdown()).await;
        }
    }

    fn take_line(&mut self, end: usize) -> Zeroizing<Vec<u8>> {
        let text = &self.input[..end];
        let line = Zeroizing::new(text.strip_suffix(b"\r").unwrap_or(text).to_vec());
        self.input[..=end].zeroize();
        self.input.drain(..=end);
        if self.input.is_empty() {
            self.input.shrink_to(READ_CHUNK);
        }
        line
    }
}

fn disconnect(error: io::Error) -> Interrupted {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match error.kind() {
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof => Interrupted::Closed,
        _ => Interrupted::Io(error),
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buffer),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
            Self::Closed => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, octets),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, octets),
            Self::Closed => Poll::Ready(Ok(0)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
            Self::Closed => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
            Self::Closed => Poll::Ready(Ok(())),
        }
    }
}
