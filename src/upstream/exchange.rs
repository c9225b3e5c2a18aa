//! One command and its responses through the framer, each response whole and bounded.

use super::buffer::MAX_LINE;
use super::control::Imap;
use super::error::{Error, Result};
use super::response::{Outcome, Response};
use super::wire::{Step, Wire};

/// Responses that nobody asked for and that are passed over: flags, arrivals, warnings.
const NOISE: u64 = 100_000;

/// A literal over this is refused before it is read: what is asked for here is headers and names.
const MAX_LITERAL: u64 = 64 * 1024 * 1024;

/// A command on its way. Dropped before its end, it leaves the connection of no more use.
pub struct Exchange<'a> {
    wire: &'a mut Wire,
    tag: u32,
    name: &'static str,
    left: u64,
    keep: usize,
    response: Vec<u8>,
    cut: bool,
}

/// What came next.
pub enum Answer<'a> {
    /// An untagged response. Literals stand in it as quoted strings, so that its items are read
    /// like any others; `cut`: only the first octets of them do.
    Untagged { text: &'a [u8], cut: bool },
    /// The tagged OK, as it came.
    Done(&'a [u8]),
}

impl<'a> Exchange<'a> {
    /// Sends a command. So many untagged responses are taken as `wanted`, and some more, before
    /// the server counts as out of its mind; so many octets of a response's literals are kept.
    pub async fn begin(
        imap: &'a mut Imap,
        name: &'static str,
        command: &str,
        wanted: u64,
        keep: usize,
    ) -> Result<Self> {
        Self::over(imap.wire(), name, command, wanted, keep).await
    }

    async fn over(
        wire: &'a mut Wire,
        name: &'static str,
        command: &str,
        wanted: u64,
        keep: usize,
    ) -> Result<Self> {
        wire.check_idle()?;
        let tag = wire.send(&[command]).await?;
        let left = wanted.saturating_add(NOISE);
        Ok(Self { wire, tag, name, left, keep, response: Vec::new(), cut: false })
    }

    /// The next answer; nothing comes after [`Answer::Done`]. NO and BAD are
    /// [`Error::Refused`], and leave the connection usable.
    pub async fn next(&mut self) -> Result<Answer<'_>> {
        let Some(left) = self.left.checked_sub(1) else {
            return Err(self.fail("no end of what was not asked for"));
        };
        self.left = left;
        self.gather().await?;
        match Response::parse(&self.response) {
            Response::Tagged { tag, status } => {
                if self.wire.finished(tag, &status) != Some(self.tag) {
                    return Err(self.fail("an unknown tag"));
                }
                if status.outcome != Outcome::Ok {
                    return Err(Error::Refused { command: self.name, status });
                }
                Ok(Answer::Done(&self.response))
            }
            Response::Untagged(status) if status.outcome == Outcome::Bye => {
                Err(self.wire.fail(Error::Bye(status)))
            }
            _ => Ok(Answer::Untagged { text: &self.response, cut: self.cut }),
        }
    }

    /// The connection is of no more use, for this reason.
    pub fn fail(&mut self, reason: &'static str) -> Error {
        self.wire.fail(Error::Protocol(reason))
    }

    /// Reads one response. Its lines count up to [`MAX_LINE`], its literals up to `keep` octets:
    /// what is longer is read and dropped.
    async fn gather(&mut self) -> Result<()> {
        // One long header must not stay in memory for as long as many short ones are read.
        self.response.clear();
        self.response.shrink_to(MAX_LINE);
        self.cut = false;
        let mut lines = 0;
        let mut kept = 0;
        loop {
            match self.wire.step().await? {
                Step::Line { text, literal, .. } => {
                    let line = self.wire.octets(&text);
                    lines += line.len();
                    let Some(length) = literal else {
                        if lines > MAX_LINE {
                            return Err(self.fail("a response over 64 KiB"));
                        }
                        self.response.extend_from_slice(line);
                        return Ok(());
                    };
                    // `{n}` ends the line, or it would have announced nothing.
                    let before = line.iter().rposition(|&octet| octet == b'{').unwrap_or_default();
                    let line = line[..before].strip_suffix(b"~").unwrap_or(&line[..before]);
                    self.response.extend_from_slice(line);
                    self.response.push(b'"');
                    if lines > MAX_LINE || length > MAX_LITERAL {
                        return Err(self.fail("more than a response of this kind can hold"));
                    }
                    if length == 0 {
                        self.response.push(b'"');
                    }
                }
                Step::Data { octets, left } => {
                    let data = self.wire.octets(&octets);
                    let wanted = &data[..data.len().min(self.keep - kept)];
                    kept += wanted.len();
                    self.cut |= wanted.len() < data.len();
                    for &octet in wanted {
                        if matches!(octet, b'"' | b'\\') {
                            self.response.push(b'\\');
                        }
                        self.response.push(octet);
                    }
                    if left == 0 {
                        self.response.push(b'"');
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::AsyncWriteExt;

    /// The answers to one command with 8 octets of literals kept, and how it ended.
    async fn answers(input: Vec<u8>) -> (Vec<String>, Result<()>, bool) {
        let (mut server, client) = tokio::io::duplex(1024);
        // Ends with an error as soon as the reader has had enough.
        let feed = tokio::spawn(async move { server.write_all(&input).await });
        let mut wire = Wire::new(Box::new(client), Duration::from_secs(5));
        let mut seen = Vec::new();
        let mut exchange = Exchange::over(&mut wire, "LIST", "LIST", 0, 8).await.expect("sent");
        let end = loop {
            match exchange.next().await {
                Ok(Answer::Untagged { text, cut }) => {
                    let text = String::from_utf8_lossy(text).into_owned();
                    seen.push(if cut { format!("{text} cut") } else { text });
                }
                Ok(Answer::Done(line)) => {
                    seen.push(String::from_utf8_lossy(line).into_owned());
                    break Ok(());
                }
                Err(error) => break Err(error),
            }
        };
        let usable = wire.check_idle().is_ok();
        drop(wire);
        let _ = feed.await.expect("the feeding task ends");
        (seen, end, usable)
    }

    #[tokio::test]
    async fn literals_become_quoted_strings() {
        let input = b"* LIST () \"/\" {5}\r\na\"b\\c (X {0}\r\n ~{2}\r\n\r\n)\r\n* A {10}\r\n0123456789 {3}\r\nabc\r\nP0 OK {3}\r\n";
        let (seen, end, usable) = answers(input.to_vec()).await;
        let expected = [r#"* LIST () "/" "a\"b\\c" (X "" "~")"#, "* A \"01234567\" \"\" cut", "P0 OK {3}"];
        let seen: Vec<String> = seen.iter().map(|text| text.replace("\"\r\n\"", "\"~\"")).collect();
        assert_eq!(seen, expected);
        assert!(end.is_ok() && usable);
    }

    #[tokio::test]
    async fn no_leaves_the_connection_usable() {
        let (seen, end, usable) = answers(b"* 1 EXISTS\r\nP0 NO [LIMIT] Not now.\r\n".to_vec()).await;
        assert_eq!(seen, ["* 1 EXISTS"]);
        assert!(matches!(end, Err(Error::Refused { command: "LIST", .. })) && usable);
    }

    #[tokio::test]
    async fn what_breaks_the_rules_ends_the_connection() {
        let pieces = format!("* X{}\r\n", format!(" {} {{0}}\r\n", "x".repeat(6000)).repeat(12));
        for input in [
            b"P7 OK Done.\r\n".to_vec(),
            b"A0 OK Done.\r\n".to_vec(),
            b"* X {500000000000}\r\nabc".to_vec(),
            pieces.into_bytes(),
            b"* 1 EXISTS\r\n".repeat(NOISE as usize + 1),
        ] {
            let (_, end, usable) = answers(input).await;
            assert!(matches!(end, Err(Error::Protocol(_))) && !usable, "{end:?}");
        }
        let (_, end, usable) = answers(b"* BYE Later.\r\n".to_vec()).await;
        assert!(matches!(end, Err(Error::Bye(_))) && !usable);
        for input in [&b"* X {9}\r\nabc"[..], b"* X\r\n", b""] {
            let (_, end, usable) = answers(input.to_vec()).await;
            assert!(matches!(end, Err(Error::Closed)) && !usable);
        }
    }
}
