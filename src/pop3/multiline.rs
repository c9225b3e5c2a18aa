//! Message text on its way to the client: CRLF line ends, dot-stuffing, the count of octets.

use memchr::memchr2;

/// Where a body stops (RFC 1939 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// RETR: never.
    Whole,
    /// TOP: after the header, the blank line and so many lines.
    BodyLines(u32),
}

/// Turns message octets, in pieces of any size, into the lines of a multi-line response.
///
/// Bare LF and bare CR become CRLF first, then every line that begins with `.` gets a second one
/// (RFC 1939 §3). Holds no text: at most one CR is remembered between two pieces.
#[derive(Debug)]
pub struct Multiline {
    limit: Limit,
    octets: u64,
    at_line_start: bool,
    line_is_empty: bool,
    pending_cr: bool,
    in_header: bool,
    lines_left: u32,
    full: bool,
}

impl Multiline {
    /// Starts a response body.
    pub fn new(limit: Limit) -> Self {
        Self {
            limit,
            octets: 0,
            at_line_start: true,
            line_is_empty: true,
            pending_cr: false,
            in_header: true,
            lines_left: match limit {
                Limit::Whole => u32::MAX,
                Limit::BodyLines(lines) => lines,
            },
            full: false,
        }
    }

    /// Appends the client's form of `piece` to `output`: at most twice its length and 3 octets.
    pub fn push(&mut self, mut piece: &[u8], output: &mut Vec<u8>) {
        if self.pending_cr && !piece.is_empty() && !self.full {
            self.pending_cr = false;
            if piece[0] == b'\n' {
                piece = &piece[1..];
            }
            self.end_line(output);
        }
        while !piece.is_empty() && !self.full {
            let Some(end) = memchr2(b'\r', b'\n', piece) else {
                self.text(piece, output);
                return;
            };
            self.text(&piece[..end], output);
            let after = match (piece[end], piece.get(end + 1)) {
                (b'\r', Some(b'\n')) => end + 2,
                (b'\r', None) => {
                    self.pending_cr = true;
                    return;
                }
                _ => end + 1,
            };
            piece = &piece[after..];
            self.end_line(output);
        }
    }

    /// Ends the response: the last line end if it is missing, and the lone `.` (RFC 1939 §3).
    ///
    /// Only for a body that arrived whole: a broken one must close the connection instead.
    pub fn finish(&mut self, output: &mut Vec<u8>) {
        if self.pending_cr || !self.at_line_start {
            self.pending_cr = false;
            self.end_line(output);
        }
        output.extend_from_slice(b".\r\n");
    }

    /// Adds the blank line behind a header that came without one (TOP, RFC 1939 §7).
    pub fn end_header(&mut self, output: &mut Vec<u8>) {
        if self.pending_cr || !self.at_line_start {
            self.pending_cr = false;
            self.end_line(output);
        }
        if self.in_header {
            self.end_line(output);
        }
    }

    /// Octets so far with CRLF line ends and before stuffing (RFC 1939 §11).
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// Whether the limit is reached: what is pushed now is dropped.
    pub fn is_full(&self) -> bool {
        self.full
    }

    fn text(&mut self, text: &[u8], output: &mut Vec<u8>) {
        let Some(&first) = text.first() else { return };
        if self.at_line_start && first == b'.' {
            output.push(b'.');
        }
        output.extend_from_slice(text);
        self.octets += text.len() as u64;
        self.at_line_start = false;
        self.line_is_empty = false;
    }

    fn end_line(&mut self, output: &mut Vec<u8>) {
        output.extend_from_slice(b"\r\n");
        self.octets += 2;
        if self.in_header {
            self.in_header = !self.line_is_empty;
        } else if self.limit != Limit::Whole {
            self.lines_left -= 1;
        }
        self.full = self.limit != Limit::Whole && !self.in_header && self.lines_left == 0;
        self.at_line_start = true;
        self.line_is_empty = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(limit: Limit, pieces: &[&[u8]]) -> (Vec<u8>, u64) {
        let mut output = Vec::new();
        let mut multiline = Multiline::new(limit);
        for piece in pieces {
            multiline.push(piece, &mut output);
        }
        let octets = {
            multiline.finish(&mut output);
            multiline.octets()
        };
        (output, octets)
    }

    fn unstuff(wire: &[u8]) -> Vec<u8> {
        let body = wire.strip_suffix(b".\r\n").expect("a terminator");
        let mut plain = Vec::new();
        for line in body.split_inclusive(|&octet| octet == b'\n') {
            assert_ne!(line, b".\r\n", "a terminator inside the body");
            plain.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        }
        plain
    }

    fn normalised(text: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        let mut index = 0;
        while index < text.len() {
            match text[index] {
                b'\r' => {
                    plain.extend_from_slice(b"\r\n");
                    index += usize::from(text.get(index + 1) == Some(&b'\n'));
                }
                b'\n' => plain.extend_from_slice(b"\r\n"),
                octet => plain.push(octet),
            }
            index += 1;
        }
        if !plain.is_empty() && !plain.ends_with(b"\r\n") {
            plain.extend_from_slice(b"\r\n");
        }
        plain
    }

    #[test]
    fn dots_and_line_ends() {
        assert_eq!(encode(Limit::Whole, &[b""]).0, b".\r\n");
        assert_eq!(encode(Limit::Whole, &[b"a\n.b\r\n.\r\nc"]).0, b"a\r\n..b\r\n..\r\nc\r\n.\r\n");
        assert_eq!(encode(Limit::Whole, &[b"a\r", b"\n", b".", b"b"]).0, b"a\r\n..b\r\n.\r\n");
        assert_eq!(encode(Limit::Whole, &[b"a\rb\r"]).0, b"a\r\nb\r\n.\r\n");
    }

    #[test]
    fn top_counts_lines_behind_the_blank_one() {
        let message: &[u8] = b"A: 1\r\nB: 2\r\n\r\none\r\n\r\nthree\r\n";
        for (lines, expected) in [
            (0, &b"A: 1\r\nB: 2\r\n\r\n.\r\n"[..]),
            (1, b"A: 1\r\nB: 2\r\n\r\none\r\n.\r\n"),
            (2, b"A: 1\r\nB: 2\r\n\r\none\r\n\r\n.\r\n"),
            (9, b"A: 1\r\nB: 2\r\n\r\none\r\n\r\nthree\r\n.\r\n"),
        ] {
            assert_eq!(encode(Limit::BodyLines(lines), &[message]).0, expected, "{lines}");
        }
    }

    #[test]
    fn a_header_without_blank_line_gets_one() {
        let mut output = Vec::new();
        let mut multiline = Multiline::new(Limit::BodyLines(0));
        multiline.push(b"A: 1", &mut output);
        multiline.end_header(&mut output);
        multiline.finish(&mut output);
        assert_eq!(output, b"A: 1\r\n\r\n.\r\n");
    }

    proptest! {
        #[test]
        fn unstuffed_is_the_normalised_text_at_any_chunking(
            text in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), any::<u8>()], 0..200),
            cuts in proptest::collection::vec(0usize..200, 0..8),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            let (wire, octets) = encode(Limit::Whole, &pieces);
            let expected = normalised(&text);
            prop_assert_eq!(octets, expected.len() as u64);
            prop_assert_eq!(unstuff(&wire), expected);
        }

        #[test]
        fn top_is_a_prefix_and_all_with_many_lines(
            text in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), Just(b'x')], 0..60),
            lines in 0u32..6,
        ) {
            let whole = unstuff(&encode(Limit::Whole, &[&text]).0);
            let top = unstuff(&encode(Limit::BodyLines(lines), &[&text]).0);
            prop_assert!(whole.starts_with(&top));
            let all = unstuff(&encode(Limit::BodyLines(u32::MAX), &[&text]).0);
            prop_assert_eq!(all, whole);
        }
    }
}
