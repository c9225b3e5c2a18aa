//! COMPRESS=DEFLATE (RFC 4978): a transport whose two directions are raw DEFLATE.
//!
//! Passwords never go through it: the login comes first.

use std::io::{self, Cursor};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_compression::tokio::bufread::DeflateDecoder;
use async_compression::tokio::write::DeflateEncoder;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, BufReader, Chain, ReadBuf, ReadHalf, WriteHalf, split};
use tokio::task::coop::poll_proceed;

use super::wire::Transport;

/// A connection behind the OK to COMPRESS DEFLATE. Flushing it is a sync flush: the server sees
/// every command whole.
pub struct Deflated {
    reader: DeflateDecoder<BufReader<Inbound>>,
    writer: DeflateEncoder<WriteHalf<Box<dyn Transport>>>,
}

impl Deflated {
    /// Goes over a connection of which `received` has been read already.
    pub fn over(stream: Box<dyn Transport>, received: Vec<u8>) -> Box<dyn Transport> {
        let (read, write) = split(stream);
        let inbound = Inbound { octets: Cursor::new(received).chain(read), end: None };
        Box::new(Self {
            reader: DeflateDecoder::new(BufReader::new(inbound)),
            writer: DeflateEncoder::new(write),
        })
    }
}

impl AsyncRead for Deflated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // A few octets can hold megabytes: others get their turn although the socket is not asked.
        let turn = ready!(poll_proceed(cx));
        let result = ready!(Pin::new(&mut self.reader).poll_read(cx, buffer));
        turn.made_progress();
        // The decoder has words of its own for a stream that breaks off.
        Poll::Ready(result.map_err(|error| self.reader.get_mut().get_mut().end.take().unwrap_or(error)))
    }
}

impl AsyncWrite for Deflated {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(cx)
    }
}

/// What the decoder reads from. An end or an error is kept aside and shown to it as an end, so
/// that it first gives out what it has: the BYE before a server hangs up.
struct Inbound {
    octets: Chain<Cursor<Vec<u8>>, ReadHalf<Box<dyn Transport>>>,
    end: Option<io::Error>,
}

impl AsyncRead for Inbound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match ready!(Pin::new(&mut self.octets).poll_read(cx, buffer)) {
            Ok(()) if buffer.filled().len() > before => {}
            Ok(()) => self.end = Some(io::ErrorKind::UnexpectedEof.into()),
            Err(error) => self.end = Some(error),
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use super::super::error::Error;
    use super::super::wire::{Step, Wire};
    use super::*;

    const MEGABYTE: usize = 1 << 20;

    /// Both ends of a connection, the client's with what it has read already.
    fn ends(pipe: usize, received: &[u8]) -> (DuplexStream, Box<dyn Transport>) {
        let (server, client) = duplex(pipe);
        (server, Deflated::over(Box::new(client), received.to_vec()))
    }

    fn wire(stream: Box<dyn Transport>) -> Wire {
        Wire::new(stream, Duration::from_secs(60))
    }

    /// What an end that writes these pieces, each flushed, puts on the wire.
    async fn deflated(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut raw, mut end) = ends(2 * MEGABYTE, b"");
        for piece in pieces {
            end.write_all(piece).await.expect("room in the pipe");
            end.flush().await.expect("room in the pipe");
        }
        drop(end);
        let mut octets = Vec::new();
        raw.read_to_end(&mut octets).await.expect("all of it");
        octets
    }

    async fn line(wire: &mut Wire) -> Result<String, Error> {
        match wire.step().await? {
            Step::Line { text, .. } => Ok(String::from_utf8_lossy(wire.octets(&text)).into_owned()),
            Step::Data { .. } => panic!("no literal was sent"),
        }
    }

    #[tokio::test]
    async fn every_flush_is_seen_at_once_in_both_directions() {
        for pipe in [16, 1000, 64 * 1024] {
            let (server, client) = duplex(pipe);
            let mut server = Deflated::over(Box::new(server), Vec::new());
            let mut client = Deflated::over(Box::new(client), Vec::new());
            let mut seed = 1_u32;
            for length in [1, 2, 100, 8191, 8192, 8193, 100_000] {
                // Half of it does not compress.
                let noise = (0..length).map(|index| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    if index < length / 2 { (seed >> 24) as u8 } else { b'x' }
                });
                let sent: Vec<u8> = noise.collect();
                for _ in 0..2 {
                    let mut got = vec![0; sent.len()];
                    let send = async {
                        client.write_all(&sent).await?;
                        client.flush().await?;
                        // Flushing again is nothing more to send, and ends.
                        client.flush().await
                    };
                    let (sending, reading) = tokio::join!(send, server.read_exact(&mut got));
                    sending.expect("sent");
                    reading.expect("arrived");
                    assert!(got == sent, "{length} octets through a pipe of {pipe}");
                    std::mem::swap(&mut client, &mut server);
                }
            }
            client.shutdown().await.expect("an orderly end");
            assert_eq!(server.read(&mut [0; 1]).await.expect("an end"), 0);
        }
    }

    #[tokio::test]
    async fn whatever_was_received_already_and_however_the_rest_is_cut() {
        let sent: [&[u8]; 2] = [b"* 1 FETCH (BODY[] {12}\r\nhello\r\nworld UID 5)\r\n", b"P0 OK done\r\n"];
        let octets = deflated(&sent).await;
        for cut in 0..=octets.len() {
            let (mut server, client) = duplex(1024);
            let mut wire = wire(Box::new(client));
            server.write_all(b"A1 OK Begin.\r\n").await.expect("room");
            server.write_all(&octets[..cut]).await.expect("room");
            assert_eq!(line(&mut wire).await.expect("a line"), "A1 OK Begin.");
            wire.wrap(Deflated::over);
            let rest = octets[cut..].to_vec();
            let feed = tokio::spawn(async move {
                for octet in rest {
                    server.write_all(&[octet]).await.expect("the client reads");
                }
                server
            });
            let mut seen = Vec::new();
            while !seen.ends_with(b"P0 OK done|") {
                match wire.step().await.expect("whole") {
                    Step::Line { text, .. } => {
                        seen.extend_from_slice(wire.octets(&text));
                        seen.push(b'|');
                    }
                    Step::Data { octets, .. } => seen.extend_from_slice(wire.octets(&octets)),
                }
            }
            let expected = "* 1 FETCH (BODY[] {12}|hello\r\nworld UID 5)|P0 OK done|";
            assert_eq!(String::from_utf8_lossy(&seen), expected);
            drop(feed.await.expect("fed"));
            assert!(matches!(wire.step().await, Err(Error::Closed)));
        }
    }

    #[tokio::test]
    async fn an_end_in_the_middle_is_an_end_behind_all_that_came() {
        let octets = deflated(&[b"* BYE Shutting down.\r\n", b"* 1 FETCH (BODY[] {5000}\r\n"]).await;
        for cut in 0..=octets.len() {
            let (mut server, client) = ends(1024, b"");
            server.write_all(&octets[..cut]).await.expect("room");
            drop(server);
            let mut wire = wire(client);
            let mut lines = Vec::new();
            let error = loop {
                match line(&mut wire).await {
                    Ok(line) => lines.push(line),
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, Error::Closed), "cut at {cut}: {error:?}");
            assert!(matches!(wire.step().await, Err(Error::Desynchronised)));
            if cut == octets.len() {
                assert_eq!(lines, ["* BYE Shutting down.", "* 1 FETCH (BODY[] {5000}"]);
            }
        }
    }

    #[tokio::test]
    async fn the_last_block_is_an_end() {
        let (mut raw, mut end) = ends(1024, b"");
        end.write_all(b"* BYE\r\n").await.expect("room");
        end.shutdown().await.expect("an orderly end");
        let mut octets = Vec::new();
        raw.read_to_end(&mut octets).await.expect("all of it");
        octets.extend_from_slice(b"* OK something in plaintext\r\n");
        // The server stays, and says no more.
        let (_server, client) = ends(1024, &octets);
        let mut wire = wire(client);
        assert_eq!(line(&mut wire).await.expect("a line"), "* BYE");
        assert!(matches!(wire.step().await, Err(Error::Closed)));
    }

    #[tokio::test]
    async fn garbage_ends_the_connection() {
        // Plaintext instead of DEFLATE, a block of the reserved type, a stored block whose length
        // does not fit its complement.
        let odd: [&[u8]; 3] = [b"P0 OK done\r\n", b"\x07", b"\x00\x05\x00\x00\x00hello"];
        let good = deflated(&[b"* OK\r\n"]).await;
        for octets in odd {
            for before in [&good[..], b""] {
                let (mut server, client) = ends(1024, before);
                server.write_all(octets).await.expect("room");
                let mut wire = wire(client);
                if !before.is_empty() {
                    assert_eq!(line(&mut wire).await.expect("what was good"), "* OK");
                }
                let error = wire.step().await.expect_err("garbage");
                assert!(matches!(error, Error::Io(_)), "{octets:?}: {error:?}");
                assert!(matches!(wire.step().await, Err(Error::Desynchronised)));
            }
        }
    }

    /// DEFLATE of this and then of so many megabytes of zeroes.
    async fn bomb(first: &[u8], megabytes: usize) -> Vec<u8> {
        let zeroes = vec![0; MEGABYTE];
        let once = deflated(&[first, &zeroes]).await;
        let twice = deflated(&[first, &zeroes, &zeroes]).await;
        // The second megabyte refers to zeroes behind itself alone, so it may be repeated.
        let again = &twice[once.len()..];
        [&once[..], &again.repeat(megabytes - 1)].concat()
    }

    #[tokio::test]
    async fn a_bomb_is_read_in_pieces_and_others_get_their_turn() {
        let length = 100 * MEGABYTE;
        let head = format!("* 1 FETCH (BODY[] {{{length}}}\r\n");
        let octets = bomb(head.as_bytes(), 100).await;
        assert!(octets.len() < MEGABYTE, "{} octets", octets.len());
        // All of it is there before the first step: the socket is never waited for.
        let (_server, client) = ends(1024, &octets);
        let mut wire = wire(client);
        let turns = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = std::sync::Arc::clone(&turns);
        let other = tokio::spawn(async move {
            loop {
                counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        line(&mut wire).await.expect("the announcement");
        let mut got = 0;
        while got < length {
            let Step::Data { octets, .. } = wire.step().await.expect("zeroes") else {
                panic!("only zeroes were sent");
            };
            assert!(octets.end <= 16 * 1024, "the framer's buffer grew");
            got += octets.len();
        }
        assert_eq!(got, length);
        other.abort();
        let turns = turns.load(std::sync::atomic::Ordering::Relaxed);
        assert!(turns > 20, "another task had {turns} turns");
    }

    #[tokio::test]
    async fn a_bomb_of_one_line_is_refused() {
        let octets = bomb(b"* ", 100).await;
        let (_server, client) = ends(1024, &octets);
        let error = wire(client).step().await.expect_err("no line end in 100 MB");
        assert!(matches!(error, Error::Protocol(_)), "{error:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn blocks_of_nothing_run_into_the_deadline() {
        let (mut server, client) = ends(1024, b"");
        let feed = tokio::spawn(async move {
            // An empty stored block, for ever.
            while server.write_all(b"\x00\x00\x00\xff\xff").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        let mut wire = wire(client);
        assert!(matches!(wire.step().await, Err(Error::Timeout(_))));
        drop(wire);
        feed.await.expect("it ends with the client");
    }
}
