//! What a line is before it is read: whether a literal follows it, and whether it is a VANISHED,
//! which may be longer than any line should be.

use super::error::{Error, Result};
use super::response::{outcome, word};

/// The literal that a line announces at its end: `{n}`, `{n+}` or `~{n}`. `continues`: it follows
/// another literal of the same response.
pub fn announced(line: &[u8], continues: bool) -> Result<Option<u64>> {
    if !continues && is_status(line) {
        return Ok(None);
    }
    let Some(line) = line.strip_suffix(b"}") else {
        return Ok(None);
    };
    let line = line.strip_suffix(b"+").unwrap_or(line);
    let Some(open) = line.iter().rposition(|&octet| octet == b'{') else {
        return Ok(None);
    };
    let digits = &line[open + 1..];
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Ok(None);
    }
    std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .map(Some)
        .ok_or(Error::Protocol("a literal of impossible length"))
}

/// Whether a line is a status response, whose text may end in `{n}` without a literal behind it.
fn is_status(line: &[u8]) -> bool {
    match word(line) {
        (b"+", _) => true,
        (b"*", rest) => outcome(word(rest).0).is_some(),
        _ => true,
    }
}

/// How long the head of a VANISHED response is (RFC 7162 §3.2.10), without its names.
pub fn vanished(line: &[u8]) -> Option<usize> {
    let heads = [&b"* VANISHED (EARLIER) "[..], b"* VANISHED "];
    let begins = |head: &&[u8]| line.get(..head.len()).is_some_and(|start| start.eq_ignore_ascii_case(head));
    heads.into_iter().find(begins).map(<[u8]>::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::buffer::MAX_LINE;
    use crate::upstream::wire::{Step, Wire};
    use std::time::Duration;
    use tokio::io::AsyncWriteExt;

    #[test]
    fn braces_in_status_text_announce_nothing() {
        let literal = |line: &[u8]| announced(line, false).ok().flatten();
        for status in [&b"* OK see {3}"[..], b"A1 OK see {3}", b"+ go on {3}"] {
            assert_eq!(literal(status), None);
        }
        assert_eq!(literal(b"* 1 FETCH (BODY[] {3}"), Some(3));
        assert_eq!(literal(b"* 1 FETCH (BODY[] ~{3+}"), Some(3));
        assert_eq!(announced(b" OK {3}", true).ok(), Some(Some(3)));
        assert!(announced(b"* X {99999999999999999999}", false).is_err());
    }

    /// The lines that a connection hands on.
    async fn handed_on(input: Vec<u8>) -> (Vec<String>, Error) {
        let (mut server, client) = tokio::io::duplex(1024);
        // Ends with an error as soon as the reader has had enough.
        let feed = tokio::spawn(async move { server.write_all(&input).await });
        let mut wire = Wire::new(Box::new(client), Duration::from_secs(5));
        let mut seen = Vec::new();
        let error = loop {
            match wire.step().await {
                Ok(Step::Line { text, .. }) => seen.push(String::from_utf8_lossy(wire.octets(&text)).into()),
                Ok(Step::Data { .. }) => seen.push("data".into()),
                Err(error) => break error,
            }
        };
        drop(wire);
        let _ = feed.await.expect("no panic");
        (seen, error)
    }

    #[tokio::test]
    async fn a_long_vanished_is_handed_on_without_its_names() {
        let names = |length: usize| [&b"1,".repeat(length / 2)[..], b"2\r\n"].concat();
        let line = |head: &[u8], length: usize| [head, &names(length)].concat();
        for (length, shown) in [(MAX_LINE * 3, 21), (MAX_LINE, 21), (MAX_LINE - 100, MAX_LINE - 78)] {
            let long = line(b"* vanished (EARLIER) ", length);
            let (seen, error) = handed_on([&long[..], b"* 1 EXISTS\r\n"].concat()).await;
            let lengths: Vec<usize> = seen.iter().map(String::len).collect();
            assert_eq!(lengths, [shown, 10], "{length}");
            assert!(matches!(error, Error::Closed));
        }
        let (seen, _) = handed_on(line(b"* VANISHED ", MAX_LINE)).await;
        assert_eq!(seen, ["* VANISHED "]);
        let (seen, error) = handed_on(line(b"* VANISHED ", MAX_LINE)[..MAX_LINE + 10].to_vec()).await;
        assert!(seen.len() == 1 && matches!(error, Error::Closed));
        for endless in [line(b"* ESEARCH ", MAX_LINE), line(b"* VANISHED ", 17 << 20)] {
            let (_, error) = handed_on(endless).await;
            assert!(matches!(error, Error::Protocol(_)), "{error:?}");
        }
    }
}
