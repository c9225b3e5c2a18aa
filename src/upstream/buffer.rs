//! What has come from the socket and was not looked at yet: a fixed buffer that grows for a long
//! line only.

use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use memchr::memchr;
use tokio::io::{AsyncRead, ReadBuf};

use super::error::{Error, Result};

/// A line over this is refused.
pub const MAX_LINE: usize = 64 * 1024;
/// The usual size: a TLS record.
const SIZE: usize = 16 * 1024;
/// What is looked for while there is no memory.
const RESTED: usize = 512;

/// Octets between two positions of a fixed piece of memory.
#[derive(Default)]
pub struct Buffer {
    octets: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// Octets that were taken; valid until more is read.
    pub fn octets(&self, range: &Range<usize>) -> &[u8] {
        &self.octets[range.clone()]
    }

    /// What was not taken yet.
    pub fn unread(&self) -> &[u8] {
        &self.octets[self.start..self.end]
    }

    /// Forgets what was not taken yet.
    pub fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Gives the memory back until something comes.
    pub fn rest(&mut self) {
        if self.unread().is_empty() {
            *self = Self::default();
        }
    }

    /// Takes at most so many octets.
    pub fn take(&mut self, most: u64) -> Range<usize> {
        let available = self.end - self.start;
        // At most what is there, so it fits a usize.
        let length = most.min(available as u64) as usize;
        let octets = self.start..self.start + length;
        self.start = octets.end;
        octets
    }

    /// Takes a line, without its end, if one ends behind the first `searched` octets.
    pub fn take_line(&mut self, searched: usize) -> Option<Range<usize>> {
        let searched = self.start + searched;
        let end = searched + memchr(b'\n', &self.octets[searched..self.end])?;
        let has_return = end > self.start && self.octets[end - 1] == b'\r';
        let text = self.start..end - usize::from(has_return);
        self.start = end + 1;
        Some(text)
    }

    /// Reads more behind what is unread, making room for it first.
    pub fn poll_fill(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        let mut rested = [0; RESTED];
        let rests = self.octets.is_empty();
        if rests {
            self.clear();
        } else if self.start == self.end {
            self.clear();
            self.octets.resize(SIZE, 0);
            self.octets.shrink_to(SIZE);
        } else if self.end == self.octets.len() {
            if self.start > 0 {
                self.octets.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            } else if self.octets.len() >= MAX_LINE {
                return Poll::Ready(Err(Error::Protocol("a line over 64 KiB")));
            } else {
                self.octets.resize((self.octets.len() * 2).min(MAX_LINE), 0);
            }
        }
        let mut free = ReadBuf::new(if rests { &mut rested } else { &mut self.octets[self.end..] });
        let result = ready!(Pin::new(stream).poll_read(cx, &mut free));
        let received = free.filled().len();
        if rests && received > 0 {
            self.octets.resize(SIZE, 0);
            self.octets[..received].copy_from_slice(&rested[..received]);
        }
        match result {
            Ok(()) if received == 0 => Poll::Ready(Err(Error::Closed)),
            Ok(()) => {
                self.end += received;
                Poll::Ready(Ok(()))
            }
            // rustls reports a connection cut without close_notify like this.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Poll::Ready(Err(Error::Closed))
            }
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn memory_is_taken_when_something_comes() {
        let (mut near, mut far) = tokio::io::duplex(8 * SIZE);
        let mut buffer = Buffer::default();
        let nothing = poll_fn(|cx| Poll::Ready(buffer.poll_fill(&mut far, cx).is_pending())).await;
        assert!(nothing && buffer.octets.capacity() == 0);
        let sent = [vec![b'x'; 3 * RESTED], b"\r\nrest".to_vec()].concat();
        near.write_all(&sent).await.expect("there is room");
        while buffer.unread().len() < sent.len() {
            poll_fn(|cx| buffer.poll_fill(&mut far, cx)).await.expect("octets");
        }
        assert_eq!(buffer.unread(), sent);
        let line = buffer.take_line(0).expect("a line");
        assert_eq!(line.len(), 3 * RESTED);
        buffer.rest();
        assert_eq!(buffer.unread(), b"rest", "what is unread stays");
        buffer.take(4);
        buffer.rest();
        assert_eq!(buffer.octets.capacity(), 0);
    }
}
