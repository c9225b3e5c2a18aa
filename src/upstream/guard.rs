//! What async-imap is given instead of the socket.
//!
//! It sees the greeting and tagged ends, one at a time and worded here, never the server's own
//! text: what it would choke on, allocate for, or print cannot reach it. Everything that
//! matters is read here, by the framer's lines, and recorded.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::error::{Error, Result};
use super::response::{Capabilities, Code, Outcome, Response, Status};
use super::wire::{Step, Wire};

/// The view of a [`Wire`] for async-imap.
pub struct Guard {
    wire: Wire,
    shown: Vec<u8>,
    /// A command on its way out: async-imap writes the tag, the rest and the line end apart, and
    /// each would be a packet of its own.
    output: Vec<u8>,
    greeted: bool,
    capabilities: Option<Capabilities>,
    last: Option<Status>,
    bye: Option<Status>,
    error: Option<Error>,
}

impl Guard {
    /// Guards a connection that has not been greeted yet, or was before STARTTLS.
    pub fn new(wire: Wire, greeted: bool) -> Self {
        Self {
            wire,
            shown: Vec::new(),
            output: Vec::new(),
            greeted,
            capabilities: None,
            last: None,
            bye: None,
            error: None,
        }
    }

    /// The framer, for listings and bodies, between control commands.
    pub fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// Gives the framer back.
    pub fn into_wire(self) -> Wire {
        self.wire
    }

    /// The capabilities announced since this was last called.
    pub fn take_capabilities(&mut self) -> Option<Capabilities> {
        self.capabilities.take()
    }

    /// The greeting's or the last tagged status.
    pub fn last(&self) -> Option<&Status> {
        self.last.as_ref()
    }

    /// What made the last control command fail.
    pub fn failure(&mut self, command: &'static str) -> Error {
        match (self.error.take(), &self.last) {
            (Some(Error::Closed), _) if self.bye.is_some() => {
                self.bye.take().map_or(Error::Closed, Error::Bye)
            }
            (Some(error), _) => error,
            (None, Some(status)) if status.outcome != Outcome::Ok => {
                Error::Refused { command, status: status.clone() }
            }
            (None, _) => self.wire.fail(Error::Protocol("an answer that async-imap does not take")),
        }
    }

    /// Reads responses until there is something to show.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while self.shown.is_empty() {
            let step = ready!(self.wire.poll_step(cx))?;
            // A response with a literal, and what follows it, is nothing that was asked for here.
            let Step::Line { text, continues: false, literal: None } = step else {
                continue;
            };
            match Response::parse(self.wire.octets(&text)) {
                Response::Tagged { tag, status } => {
                    let word = match status.outcome {
                        Outcome::Ok => "OK",
                        Outcome::No => "NO",
                        Outcome::Bad => "BAD",
                        Outcome::Bye | Outcome::PreAuth => {
                            return Poll::Ready(Err(self
                                .wire
                                .fail(Error::Protocol("a tagged BYE or PREAUTH"))));
                        }
                    };
                    // async-imap's own tags: others are the framer's, and none of them is in flight.
                    if !tag.starts_with(b"A") || !tag.iter().all(u8::is_ascii_alphanumeric) {
                        return Poll::Ready(Err(self.wire.fail(Error::Protocol("an unknown tag"))));
                    }
                    self.shown.extend_from_slice(tag);
                    self.shown.extend_from_slice(format!(" {word} .\r\n").as_bytes());
                    self.wire.finish(&status);
                    self.record(status);
                }
                Response::Untagged(status) if status.outcome == Outcome::Bye && !self.greeted => {
                    return Poll::Ready(Err(self.wire.fail(Error::Bye(status))));
                }
                Response::Untagged(status) => self.untagged(status),
                Response::Capability(capabilities) => self.capabilities = Some(capabilities),
                Response::Continue(_)
                | Response::Exists(_)
                | Response::Expunge
                | Response::Vanished { .. }
                | Response::Fetch(_)
                | Response::Id(_)
                | Response::Other => {}
            }
        }
        Poll::Ready(Ok(()))
    }

    fn untagged(&mut self, status: Status) {
        match status.outcome {
            Outcome::Bye => {
                self.wire.pacer.hear(&status);
                self.bye = Some(status);
            }
            Outcome::Ok | Outcome::PreAuth if !self.greeted => {
                self.greeted = true;
                self.shown.extend_from_slice(b"* OK .\r\n");
                self.record(status);
            }
            Outcome::Ok | Outcome::PreAuth | Outcome::No | Outcome::Bad => {
                if let Some(Code::Capability(capabilities)) = status.code {
                    self.capabilities = Some(capabilities);
                }
            }
        }
    }

    fn record(&mut self, status: Status) {
        if let Some(Code::Capability(capabilities)) = &status.code {
            self.capabilities = Some(capabilities.clone());
        }
        self.last = Some(status);
    }
}

impl AsyncRead for Guard {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let guard = self.get_mut();
        if let Err(error) = ready!(guard.poll_next(cx)) {
            guard.error = Some(error);
            return Poll::Ready(Err(io::Error::other("upstream")));
        }
        let length = guard.shown.len().min(buffer.remaining());
        buffer.put_slice(&guard.shown[..length]);
        guard.shown.drain(..length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guard {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().output.extend_from_slice(octets);
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let guard = self.get_mut();
        let result = ready!(guard.poll_send(cx));
        Poll::Ready(guard.keep(result))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().wire.poll_shutdown(cx)
    }
}

impl Guard {
    /// Sends what was written.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            let sent = ready!(self.wire.poll_write(cx, &self.output))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.drain(..sent);
        }
        self.wire.poll_flush(cx)
    }

    /// Records a failed write for [`Self::failure`].
    fn keep<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            self.error = Some(self.wire.fail(error.into()));
            io::Error::other("upstream")
        })
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn a_command_leaves_in_one_piece() {
        // So narrow that it takes several turns all the same.
        let (server, client) = tokio::io::duplex(16);
        let mut guard = Guard::new(Wire::new(Box::new(client), Duration::from_secs(5)), true);
        let mut server = server;
        for piece in ["A0001", " ", "LOGIN alice a-long-password", "\r\n"] {
            guard.write_all(piece.as_bytes()).await.expect("taken in");
        }
        let early = tokio::time::timeout(Duration::from_millis(20), server.read_u8()).await;
        assert!(early.is_err(), "sent before it was whole");
        let reading = tokio::spawn(async move {
            let mut text = vec![0; 35];
            server.read_exact(&mut text).await.map(|_| text)
        });
        guard.flush().await.expect("sent");
        let text = reading.await.expect("no panic").expect("read");
        assert_eq!(String::from_utf8_lossy(&text), "A0001 LOGIN alice a-long-password\r\n");
        assert!(guard.output.is_empty());
    }
}
