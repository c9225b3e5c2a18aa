//! A client that knows nothing: it sends octets and shows what comes back.
#![allow(dead_code)]

use std::time::Duration;

use async_compression::tokio::bufread::DeflateDecoder;
use async_compression::tokio::write::DeflateEncoder;
use imapsim::{Builder, Persona, Server};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, empty, join, split};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub const WAIT: Duration = Duration::from_secs(5);

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub struct Client {
    stream: Box<dyn Stream>,
    got: Vec<u8>,
}

pub fn builder(persona: Persona) -> Builder {
    Server::builder().user("alice", "secret").persona(persona)
}

pub async fn start(persona: Persona) -> Server {
    builder(persona).start().await.unwrap()
}

impl Client {
    pub async fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address()).await.unwrap();
        let mut client = Self { stream: Box::new(stream), got: Vec::new() };
        client.until("\r\n").await;
        client
    }

    pub async fn selected(server: &Server) -> Self {
        let mut client = Self::connect(server).await;
        client.run("LOGIN alice secret").await;
        client.run("SELECT INBOX").await;
        client
    }

    pub async fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.stream.write_all(octets.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Both directions are raw DEFLATE from here on.
    pub fn deflate(&mut self) {
        let (read, write) = split(std::mem::replace(&mut self.stream, Box::new(empty())));
        let read = DeflateDecoder::new(BufReader::new(read));
        self.stream = Box::new(join(read, DeflateEncoder::new(write)));
    }

    /// Sends a command and gives everything up to its tagged answer, which must come.
    pub async fn run(&mut self, command: &str) -> String {
        self.send(format!("t {command}\r\n")).await;
        self.tagged("t").await
    }

    pub async fn tagged(&mut self, tag: &str) -> String {
        let mut answer = String::new();
        loop {
            let line = self.until("\n").await;
            let last = line.starts_with(&format!("{tag} "));
            answer.push_str(&line);
            assert!(!line.is_empty(), "the connection ended after {answer:?}");
            if last {
                return answer;
            }
        }
    }

    /// Everything up to this text, or to the end.
    pub async fn until(&mut self, text: &str) -> String {
        loop {
            if let Some(at) = memchr::memmem::find(&self.got, text.as_bytes()) {
                let part: Vec<u8> = self.got.drain(..at + text.len()).collect();
                return String::from_utf8_lossy(&part).into_owned();
            }
            let mut piece = [0; 4096];
            let size =
                timeout(WAIT, self.stream.read(&mut piece)).await.expect("an answer in time").unwrap_or(0);
            if size == 0 {
                return String::from_utf8_lossy(&std::mem::take(&mut self.got)).into_owned();
            }
            self.got.extend_from_slice(&piece[..size]);
        }
    }

    /// Everything up to the end of the connection.
    pub async fn rest(&mut self) -> String {
        self.until("\0never\0").await
    }

    pub async fn is_silent(&mut self) -> bool {
        let mut piece = [0; 1];
        self.got.is_empty() && timeout(Duration::from_millis(50), self.stream.read(&mut piece)).await.is_err()
    }
}
