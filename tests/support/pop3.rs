//! A POP3 client that hides nothing: exact octets, half-closes, aborts.
//!
//! It is stricter than a mail program: a line that does not end in CRLF, or a
//! bare CR inside one, fails the test.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::dovecot::PASSWORD;

/// Longer than any answer takes, shorter than a test that hangs.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Pop3 {
    wire: BufReader<Wire>,
    pub greeting: String,
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Pop3 {
    /// Connects in plaintext and reads the greeting, which has to be `+OK`.
    pub async fn connect(address: SocketAddr) -> Self {
        let mut pop3 = Self::silent(address).await;
        pop3.greet().await;
        pop3
    }

    /// The same from one of this machine's other addresses, as 127.0.0.2.
    pub async fn connect_from(from: IpAddr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a TCP socket");
        socket.bind(SocketAddr::new(from, 0)).expect("an address of this machine");
        let socket = socket.connect(address).await.expect("it listens");
        socket.set_nodelay(true).expect("a TCP socket");
        let mut pop3 = Self::over(Wire::Plain(socket));
        pop3.greet().await;
        pop3
    }

    /// Connects in plaintext and reads nothing yet.
    pub async fn silent(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.expect("it listens");
        socket.set_nodelay(true).expect("a TCP socket");
        Self::over(Wire::Plain(socket))
    }

    /// A client whose socket holds little, so that the rest of a message waits upstream.
    pub async fn connect_narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a TCP socket");
        socket.set_recv_buffer_size(64 << 10).expect("a TCP socket");
        let socket = socket.connect(address).await.expect("it listens");
        let mut pop3 = Self::over(Wire::Plain(socket));
        pop3.greet().await;
        pop3
    }

    /// TLS from the first octet.
    pub async fn connect_tls(address: SocketAddr, config: Arc<ClientConfig>) -> Self {
        let socket = TcpStream::connect(address).await.expect("it listens");
        socket.set_nodelay(true).expect("a TCP socket");
        let tls = handshake(socket, address, config).await;
        let mut pop3 = Self::over(Wire::Tls(Box::new(tls)));
        pop3.greet().await;
        pop3
    }

    /// Plaintext, then STLS.
    pub async fn connect_stls(address: SocketAddr, config: Arc<ClientConfig>) -> Self {
        let mut pop3 = Self::connect(address).await;
        pop3.ok("STLS").await;
        pop3.into_tls(address, config).await
    }

    /// Makes the handshake behind STLS's answer.
    pub async fn into_tls(self, address: SocketAddr, config: Arc<ClientConfig>) -> Self {
        assert!(self.wire.buffer().is_empty(), "octets behind STLS's answer");
        let Wire::Plain(socket) = self.wire.into_inner() else {
            panic!("TLS is already on");
        };
        let tls = handshake(socket, address, config).await;
        let mut over = Self::over(Wire::Tls(Box::new(tls)));
        over.greeting = self.greeting;
        over
    }

    fn over(wire: Wire) -> Self {
        Self { wire: BufReader::with_capacity(16 << 10, wire), greeting: String::new() }
    }

    async fn greet(&mut self) {
        self.greeting = self.line().await.expect("a greeting");
        assert!(self.greeting.starts_with("+OK"), "{}", self.greeting);
    }

    /// USER and PASS, which have to succeed.
    pub async fn login(&mut self, user: &str) {
        self.ok(&format!("USER {user}")).await;
        self.ok(&format!("PASS {PASSWORD}")).await;
    }

    /// Sends one line and reads its status line, without CRLF.
    pub async fn command(&mut self, command: &str) -> String {
        self.send(format!("{command}\r\n").as_bytes()).await;
        let answer = self.line().await;
        answer.unwrap_or_else(|error| panic!("no answer to {command:?}: {error}"))
    }

    /// Sends one line and reads its status line; the connection may break at either.
    pub async fn attempt(&mut self, command: &str) -> io::Result<String> {
        let wire = self.wire.get_mut();
        wire.write_all(format!("{command}\r\n").as_bytes()).await?;
        wire.flush().await?;
        self.line().await
    }

    /// A command that has to succeed.
    pub async fn ok(&mut self, command: &str) -> String {
        let answer = self.command(command).await;
        assert!(answer.starts_with("+OK"), "{command:?}: {answer}");
        answer
    }

    /// A command that has to be refused.
    pub async fn err(&mut self, command: &str) -> String {
        let answer = self.command(command).await;
        assert!(answer.starts_with("-ERR"), "{command:?}: {answer}");
        answer
    }

    /// A multi-line answer without its stuffing and its final dot.
    pub async fn multi(&mut self, command: &str) -> Vec<u8> {
        self.ok(command).await;
        let mut body = Vec::new();
        let end = self.body_until(&mut body, usize::MAX).await;
        match end {
            Ok(_) => body,
            Err(error) => panic!("{command:?} ended after {} octets: {error}", body.len()),
        }
    }

    pub async fn retr(&mut self, number: usize) -> Vec<u8> {
        self.multi(&format!("RETR {number}")).await
    }

    pub async fn top(&mut self, number: usize, lines: usize) -> Vec<u8> {
        self.multi(&format!("TOP {number} {lines}")).await
    }

    /// Message numbers and sizes.
    pub async fn list(&mut self) -> Vec<(usize, u64)> {
        let rows = self.rows("LIST").await;
        let rows = rows.into_iter();
        rows.map(|(number, size)| (number, size.parse().expect("a size"))).collect()
    }

    /// Message numbers and unique ids.
    pub async fn uidl(&mut self) -> Vec<(usize, String)> {
        self.rows("UIDL").await
    }

    async fn rows(&mut self, command: &str) -> Vec<(usize, String)> {
        let text = self.multi(command).await;
        let text = String::from_utf8(text).expect("a listing is ASCII");
        let rows = text.lines().map(|line| {
            let (number, rest) = line.split_once(' ').expect("two columns");
            (number.parse().expect("a message number"), rest.to_owned())
        });
        rows.collect()
    }

    /// QUIT, which has to succeed and to be followed by the end of the connection.
    pub async fn quit(mut self) {
        self.ok("QUIT").await;
        assert!(self.rest().await.is_empty(), "octets behind QUIT's answer");
    }

    /// Reads on in a multi-line answer until `octets` are held; true at the final dot.
    ///
    /// What came before the connection broke is in `body` either way.
    pub async fn body_until(&mut self, body: &mut Vec<u8>, octets: usize) -> io::Result<bool> {
        while body.len() < octets {
            let start = body.len();
            let read = timeout(PATIENCE, self.wire.read_until(b'\n', body));
            read.await.map_err(|_| io::ErrorKind::TimedOut)??;
            let line = &body[start..];
            if line == b".\r\n" {
                body.truncate(start);
                return Ok(true);
            }
            let stuffed = line.starts_with(b".");
            let ended = line.ends_with(b"\r\n");
            assert!(ended || !line.ends_with(b"\n"), "bare LF on the wire");
            let text = &line[..line.len() - if ended { 2 } else { 0 }];
            let inside = &text[..text.len() - usize::from(!ended && text.ends_with(b"\r"))];
            assert!(!inside.contains(&b'\r'), "bare CR on the wire");
            assert!(
                !stuffed || !ended || text.starts_with(b".."),
                "a line that begins with one dot and is not the end: {:?}",
                String::from_utf8_lossy(&text[..text.len().min(80)]),
            );
            if stuffed {
                // One line is moved at most, however long the body is.
                body.remove(start);
            }
            if !ended {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(false)
    }

    /// One line without its CRLF.
    pub async fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        let read = timeout(PATIENCE, self.wire.read_until(b'\n', &mut line));
        read.await.map_err(|_| io::ErrorKind::TimedOut)??;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = String::from_utf8(line).expect("a status line is text");
        let text = line.strip_suffix("\r\n");
        Ok(text.unwrap_or_else(|| panic!("no CRLF: {line:?}")).to_owned())
    }

    /// Exactly these octets.
    pub async fn send(&mut self, bytes: &[u8]) {
        let wire = self.wire.get_mut();
        wire.write_all(bytes).await.expect("the peer reads");
        wire.flush().await.expect("the peer reads");
    }

    /// All octets until the peer closes; a reset counts as closing.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = timeout(PATIENCE, self.wire.read_to_end(&mut bytes)).await;
        let _ = read.expect("the peer closes");
        bytes
    }

    /// Says that nothing more will be sent, and can still read.
    pub async fn half_close(&mut self) {
        self.wire.get_mut().shutdown().await.expect("an open socket");
    }

    /// Goes away without a word: the peer gets a reset.
    pub fn abort(self) {
        let wire = self.wire.into_inner();
        let socket = match &wire {
            Wire::Plain(socket) => socket,
            Wire::Tls(tls) => tls.get_ref().0,
        };
        let socket = socket2::SockRef::from(socket);
        let _ = socket.set_linger(Some(Duration::ZERO));
    }
}

async fn handshake(
    socket: TcpStream,
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> TlsStream<TcpStream> {
    let name = ServerName::from(address.ip());
    let tls = TlsConnector::from(config).connect(name, socket).await;
    tls.expect("the certificate is the one that the test made")
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(context, buffer),
            Self::Tls(tls) => Pin::new(tls).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(context),
            Self::Tls(tls) => Pin::new(tls).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(context),
        }
    }
}
