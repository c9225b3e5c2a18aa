//! The framer: owns the socket and cuts what the server sends into lines and literals.
//!
//! A fixed buffer, lines of at most 64 KiB, literals as a length and then pieces,
//! a deadline on every wait. Nothing is allocated by what a server announces.

use std::future::poll_fn;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::buffer::{Buffer, MAX_LINE};
use super::error::{Error, Result};
use super::lines::{announced, vanished};
use super::pace::Pacer;
use super::response::Status;

/// TCP, TLS over it, DEFLATE over either.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Transport for T {}

/// VANISHED names many in one line (Dovecot: 13,000 in 72 KB). One over 64 KiB is handed on without
/// its names; over this it is refused as well.
const MAX_VANISHED: usize = 16 * 1024 * 1024;

/// What the server sent next; the octets are read through [`Wire::octets`] before the next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A line without its line end. `continues`: it follows a literal of the same response.
    /// `literal`: so many octets of data come next.
    Line { text: Range<usize>, continues: bool, literal: Option<u64> },
    /// A piece of the announced literal, `left` octets still to come.
    Data { octets: Range<usize>, left: u64 },
}

/// One connection's framer.
pub struct Wire {
    stream: Box<dyn Transport>,
    buffer: Buffer,
    literal_left: u64,
    in_literal: bool,
    continues: bool,
    /// Octets of a line that were dropped, and its end is still to come.
    dropping: Option<usize>,
    deadline: Duration,
    /// A shorter deadline, up to the next line.
    urgent: Option<Duration>,
    next_tag: u32,
    in_flight: u32,
    failed: bool,
    /// Hears how each command ended.
    pub(super) pacer: Pacer,
}

impl Wire {
    /// Takes over a connected socket; `deadline` bounds every single wait.
    pub fn new(stream: Box<dyn Transport>, deadline: Duration) -> Self {
        Self {
            stream,
            buffer: Buffer::default(),
            literal_left: 0,
            in_literal: false,
            continues: false,
            dropping: None,
            deadline,
            urgent: None,
            next_tag: 0,
            in_flight: 0,
            failed: false,
            pacer: Pacer::default(),
        }
    }

    /// The bound on every single wait.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Gives the socket back, for STARTTLS. Anything already received would have been injected
    /// by somebody in the middle: an error.
    pub fn into_stream(self) -> Result<Box<dyn Transport>> {
        if !self.buffer.unread().is_empty() {
            return Err(Error::Protocol("data behind its answer to STARTTLS"));
        }
        Ok(self.stream)
    }

    /// The next line has to come sooner than by the deadline: nobody knows how long the connection
    /// has been dead.
    pub fn hurry(&mut self, deadline: Duration) {
        self.urgent = Some(deadline.min(self.deadline));
    }

    /// Gives the buffer's memory back until something comes.
    pub fn rest(&mut self) {
        self.buffer.rest();
    }

    /// Puts the socket under another transport, which is given what was received already.
    pub fn wrap(&mut self, over: impl FnOnce(Box<dyn Transport>, Vec<u8>) -> Box<dyn Transport>) {
        let received = self.buffer.unread().to_vec();
        self.buffer.clear();
        let stream = std::mem::replace(&mut self.stream, Box::new(tokio::io::empty()));
        self.stream = over(stream, received);
    }

    /// Sends commands, each with a tag of its own, in one write, and returns the first tag's
    /// number: the others follow it.
    pub async fn send(&mut self, commands: &[&str]) -> Result<u32> {
        self.send_behind("", commands).await
    }

    /// The same in one write with what ends the command before them.
    pub async fn send_behind(&mut self, before: &str, commands: &[&str]) -> Result<u32> {
        self.check()?;
        let first = self.next_tag;
        // It may hold a password: large enough from the start, since growing would leave copies.
        let room = commands.iter().map(|command| command.len() + "P4294967295 \r\n".len()).sum::<usize>();
        let mut text = Zeroizing::new(String::with_capacity(before.len() + room));
        text.push_str(before);
        for command in commands {
            let tag = self.next_tag.to_string();
            text.extend(["P", &tag, " ", command, "\r\n"]);
            self.next_tag = self.next_tag.wrapping_add(1);
        }
        self.in_flight += u32::try_from(commands.len()).unwrap_or(u32::MAX);
        self.send_raw(text.as_bytes()).await?;
        Ok(first)
    }

    /// Sends octets as they are.
    pub async fn send_raw(&mut self, octets: &[u8]) -> Result<()> {
        let sent = timeout(self.deadline, async {
            self.stream.write_all(octets).await?;
            self.stream.flush().await
        })
        .await;
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.fail(error.into())),
            Err(_) => Err(self.fail(Error::Timeout(self.deadline))),
        }
    }

    /// A command goes out by another hand, the guard's: it is in flight until [`Self::finish`].
    pub fn begin(&mut self) {
        self.in_flight += 1;
    }

    /// Whether the server has asked for less haste since this was last called.
    pub fn take_heard(&mut self) -> bool {
        self.pacer.take_heard()
    }

    /// The tagged end of a command that [`Self::begin`] announced.
    pub fn finish(&mut self, status: &Status) {
        self.pacer.hear(status);
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Which of our commands a tag belongs to; that command is then over.
    pub fn finished(&mut self, tag: &[u8], status: &Status) -> Option<u32> {
        let number =
            tag.strip_prefix(b"P").and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok())?;
        self.finish(status);
        Some(number)
    }

    /// An error unless the connection is whole and no command is in flight.
    pub fn check_idle(&self) -> Result<()> {
        self.check()?;
        if self.in_flight > 0 || self.in_literal || self.continues {
            return Err(Error::Desynchronised);
        }
        Ok(())
    }

    /// Marks the connection as of no more use.
    pub fn fail(&mut self, error: Error) -> Error {
        if let Error::Bye(status) = &error {
            self.pacer.hear(status);
        }
        self.failed = true;
        error
    }

    /// The next line or piece of a literal.
    pub async fn step(&mut self) -> Result<Step> {
        self.check()?;
        let deadline = self.urgent.unwrap_or(self.deadline);
        let step = timeout(deadline, poll_fn(|cx| self.poll_step(cx))).await;
        self.urgent = None;
        match step {
            Ok(step) => step,
            Err(_) => Err(self.fail(Error::Timeout(deadline))),
        }
    }

    /// The octets that a step speaks of; valid until the next step.
    pub fn octets(&self, range: &Range<usize>) -> &[u8] {
        self.buffer.octets(range)
    }

    /// [`Self::step`] without a deadline, for the guard.
    pub fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step>> {
        if self.in_literal && self.literal_left == 0 {
            self.in_literal = false;
            self.continues = true;
        }
        if self.in_literal {
            if self.buffer.unread().is_empty() {
                ready!(self.poll_fill(cx))?;
            }
            let octets = self.buffer.take(self.literal_left);
            self.literal_left -= octets.len() as u64;
            return Poll::Ready(Ok(Step::Data { octets, left: self.literal_left }));
        }
        ready!(self.poll_drop(cx))?;
        let mut searched = 0;
        loop {
            if let Some(text) = self.buffer.take_line(searched) {
                return Poll::Ready(self.line(text));
            }
            searched = self.buffer.unread().len();
            if searched >= MAX_LINE
                && !self.continues
                && let Some(head) = vanished(self.buffer.unread())
            {
                let text = self.buffer.take(head as u64);
                self.buffer.clear();
                self.dropping = Some(searched);
                return Poll::Ready(Ok(Step::Line { text, continues: false, literal: None }));
            }
            ready!(self.poll_fill(cx))?;
        }
    }

    /// Reads up to the end of a line that was handed on already.
    fn poll_drop(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while let Some(dropped) = self.dropping {
            if self.buffer.take_line(0).is_some() {
                self.dropping = None;
                break;
            }
            if dropped > MAX_VANISHED {
                return Poll::Ready(Err(self.fail(Error::Protocol("a line over 16 MiB"))));
            }
            self.dropping = Some(dropped + self.buffer.unread().len());
            self.buffer.clear();
            ready!(self.poll_fill(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn line(&mut self, text: Range<usize>) -> Result<Step> {
        let continues = std::mem::take(&mut self.continues);
        let line = self.buffer.octets(&text);
        let literal = announced(line, continues).inspect_err(|_| self.failed = true)?;
        if let Some(length) = literal {
            self.in_literal = true;
            self.literal_left = length;
        }
        Ok(Step::Line { text, continues, literal })
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let filled = ready!(self.buffer.poll_fill(&mut self.stream, cx));
        Poll::Ready(filled.map_err(|error| self.fail(error)))
    }

    /// Hands octets to the socket, for the guard.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, octets: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, octets)
    }

    /// Flushes the socket, for the guard.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Closes the sending side, for the guard.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn check(&self) -> Result<()> {
        if self.failed {
            return Err(Error::Desynchronised);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn steps(input: &[u8], most: usize) -> (Vec<String>, Option<Error>) {
        let (mut server, client) = tokio::io::duplex(64);
        let input = input.to_vec();
        let feed = tokio::spawn(async move {
            for piece in input.chunks(7) {
                if server.write_all(piece).await.is_err() {
                    return;
                }
            }
        });
        let mut wire = Wire::new(Box::new(client), Duration::from_secs(5));
        let mut seen = Vec::new();
        let mut error = None;
        while seen.len() < most {
            match wire.step().await {
                Ok(Step::Line { text, literal, continues }) => seen.push(format!(
                    "{}{}{}",
                    if continues { "…" } else { "" },
                    String::from_utf8_lossy(wire.octets(&text)),
                    literal.map(|length| format!("<{length}>")).unwrap_or_default(),
                )),
                Ok(Step::Data { octets, .. }) => {
                    let data = String::from_utf8_lossy(wire.octets(&octets)).into_owned();
                    match seen.last_mut() {
                        Some(last) if last.starts_with('=') => last.push_str(&data),
                        _ => seen.push(format!("={data}")),
                    }
                }
                Err(failure) => {
                    error = Some(failure);
                    break;
                }
            }
        }
        drop(wire);
        feed.await.expect("the feeding task ends");
        (seen, error)
    }

    #[tokio::test]
    async fn lines_and_literals() {
        let (seen, error) = steps(
            b"* OK see {3}\r\n* 1 FETCH (BODY[] {12}\r\nhello\r\nworld UID 5 X {0}\r\n)\r\nA1 OK {9}\r\n",
            20,
        )
        .await;
        assert_eq!(
            seen,
            [
                "* OK see {3}",
                "* 1 FETCH (BODY[] {12}<12>",
                "=hello\r\nworld",
                "… UID 5 X {0}<0>",
                "…)",
                "A1 OK {9}"
            ]
        );
        assert!(matches!(error, Some(Error::Closed)));
    }

    #[tokio::test]
    async fn an_endless_line_is_refused() {
        let (seen, error) = steps(&vec![b'('; MAX_LINE + 100], 5).await;
        assert!(seen.is_empty());
        assert!(matches!(error, Some(Error::Protocol(_))), "{error:?}");
    }

    #[tokio::test]
    async fn a_huge_literal_allocates_nothing() {
        let (seen, error) = steps(b"* 1 FETCH (BODY[] {500000000}\r\nabc", 5).await;
        assert_eq!(seen.len(), 2);
        assert!(matches!(error, Some(Error::Closed)));
        let (_, error) = steps(b"* 1 FETCH (BODY[] {99999999999999999999999}\r\n", 5).await;
        assert!(matches!(error, Some(Error::Protocol(_))), "{error:?}");
    }
}
