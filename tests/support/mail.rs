//! Mail as it is really met, made from a seed: the same seed, the same octets.
//!
//! [`crlf`] says what a message looks like over POP3. It is written naively,
//! one octet after the other, and shares nothing with the code under test.

use std::fmt::Write as _;

/// What is special about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Short,
    Alternative,
    Attachment,
    FoldedHeaders,
    DotLines,
    DotsAtBoundaries,
    BareLf,
    MixedLineEnds,
    NoFinalNewline,
    DotWithoutNewline,
    Latin1,
    Utf8,
    EmptyBody,
    HeaderOnly,
    HeaderOnlyNoNewline,
    Line998,
    BlankLines,
    MegabyteLine,
    BareCr,
    NoHeader,
    Forwarded,
    LongDotLine,
    FromLines,
    Controls,
    NotAHeader,
}

const ALL: [Kind; 25] = [
    Kind::Short,
    Kind::Alternative,
    Kind::Attachment,
    Kind::FoldedHeaders,
    Kind::DotLines,
    Kind::DotsAtBoundaries,
    Kind::BareLf,
    Kind::MixedLineEnds,
    Kind::NoFinalNewline,
    Kind::DotWithoutNewline,
    Kind::Latin1,
    Kind::Utf8,
    Kind::EmptyBody,
    Kind::HeaderOnly,
    Kind::HeaderOnlyNoNewline,
    Kind::Line998,
    Kind::BlankLines,
    Kind::MegabyteLine,
    Kind::BareCr,
    Kind::NoHeader,
    Kind::Forwarded,
    Kind::LongDotLine,
    Kind::FromLines,
    Kind::Controls,
    Kind::NotAHeader,
];

/// What every program can take: a header, lines as SMTP allows them, no bare CR.
const ORDINARY: [Kind; 15] = [
    Kind::Short,
    Kind::Alternative,
    Kind::Attachment,
    Kind::FoldedHeaders,
    Kind::DotLines,
    Kind::DotsAtBoundaries,
    Kind::BareLf,
    Kind::MixedLineEnds,
    Kind::NoFinalNewline,
    Kind::DotWithoutNewline,
    Kind::Latin1,
    Kind::Utf8,
    Kind::EmptyBody,
    Kind::Line998,
    Kind::Forwarded,
];

/// `count` messages of every kind in turn.
pub fn corpus(seed: u64, count: usize) -> Vec<Vec<u8>> {
    messages(seed, count, &ALL)
}

/// `count` messages of the kinds that no mail program stumbles over.
pub fn ordinary(seed: u64, count: usize) -> Vec<Vec<u8>> {
    messages(seed, count, &ORDINARY)
}

fn messages(seed: u64, count: usize, kinds: &[Kind]) -> Vec<Vec<u8>> {
    let mut rng = Rng::new(seed);
    (0..count).map(|number| message(kinds[number % kinds.len()], number, &mut rng)).collect()
}

/// A message of exactly `octets` octets, CRLF throughout, no two lines alike.
pub fn big(octets: usize, seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let mut message = Vec::with_capacity(octets + 128);
    header(&mut message, &format!("{octets} octets"), seed as usize, &mut rng);
    message.extend_from_slice(b"\r\n");
    let mut line = 0_u64;
    while message.len() < octets {
        // Every eighth line wants stuffing; the number shows a lost or doubled piece.
        let dot = if line.is_multiple_of(8) { "." } else { "" };
        let (one, two) = (rng.next(), rng.next());
        let text = format!("{dot}{line:012} {one:016x}{two:016x} quick brown fox\r\n");
        message.extend_from_slice(text.as_bytes());
        line += 1;
    }
    message.truncate(octets.saturating_sub(2));
    // The cut may have left half a line end.
    if let Some(last @ b'\r') = message.last_mut() {
        *last = b'x';
    }
    message.extend_from_slice(b"\r\n");
    message
}

/// The POP3 form: each bare LF and bare CR becomes CRLF, a missing last one is added.
pub fn crlf(message: &[u8]) -> Vec<u8> {
    let mut form = Vec::with_capacity(message.len() + 64);
    let mut at = 0;
    while at < message.len() {
        match message[at] {
            b'\r' => {
                form.extend_from_slice(b"\r\n");
                if message.get(at + 1) == Some(&b'\n') {
                    at += 1;
                }
            }
            b'\n' => form.extend_from_slice(b"\r\n"),
            octet => form.push(octet),
        }
        at += 1;
    }
    if !form.is_empty() && !form.ends_with(b"\r\n") {
        form.extend_from_slice(b"\r\n");
    }
    form
}

/// The form in which programs keep mail in files: LF, the last one always there.
pub fn lf(message: &[u8]) -> Vec<u8> {
    let mut form = crlf(message);
    form.retain(|&octet| octet != b'\r');
    form
}

/// The header with the blank line behind it, and the body, of a message in CRLF form.
pub fn split(form: &[u8]) -> (&[u8], &[u8]) {
    if form.starts_with(b"\r\n") {
        return form.split_at(2);
    }
    let end = form.windows(4).position(|window| window == b"\r\n\r\n");
    form.split_at(end.map_or(form.len(), |at| at + 4))
}

/// A header field's value, unfolded no further than the tests' own headers need.
pub fn field<'a>(message: &'a [u8], name: &str) -> Option<&'a str> {
    let text = message.split(|&octet| octet == b'\n');
    let lines = text.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| std::str::from_utf8(line).ok())
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// Says where two texts part rather than printing megabytes.
pub fn assert_same(found: &[u8], expected: &[u8], what: &str) {
    if found == expected {
        return;
    }
    let at = found.iter().zip(expected).take_while(|(a, b)| a == b);
    let at = at.count();
    let around = |bytes: &[u8]| {
        let start = at.saturating_sub(40).min(bytes.len());
        let end = (at + 40).min(bytes.len());
        String::from_utf8_lossy(&bytes[start..end]).into_owned()
    };
    panic!(
        "{what}: {} octets instead of {}, differing at {at}: {:?} instead of {:?}",
        found.len(),
        expected.len(),
        around(found),
        around(expected),
    );
}

fn message(kind: Kind, number: usize, rng: &mut Rng) -> Vec<u8> {
    let mut mail = Vec::new();
    let start = |mail: &mut Vec<u8>, rng: &mut Rng| {
        header(mail, &format!("{kind:?} {number}"), number, rng);
    };
    match kind {
        Kind::Short => {
            start(&mut mail, rng);
            add(&mut mail, "\r\n");
            prose(&mut mail, 5, rng);
        }
        Kind::Alternative => {
            start(&mut mail, rng);
            alternative(&mut mail, rng);
        }
        Kind::Attachment => {
            start(&mut mail, rng);
            attachment(&mut mail, rng);
        }
        Kind::FoldedHeaders => {
            start(&mut mail, rng);
            folded(&mut mail, rng);
            add(&mut mail, "\r\n");
            prose(&mut mail, 3, rng);
        }
        Kind::DotLines => {
            start(&mut mail, rng);
            add(&mut mail, "\r\n.\r\n..\r\n.x\r\n...\r\n. \r\nx.\r\n\r\n.\r\n");
            prose(&mut mail, 2, rng);
            add(&mut mail, ".\r\n.\r\n");
        }
        Kind::DotsAtBoundaries => {
            start(&mut mail, rng);
            add(&mut mail, "\r\n");
            dots_at_boundaries(&mut mail, rng);
        }
        Kind::BareLf => {
            start(&mut mail, rng);
            add(&mut mail, "\r\n.\r\n");
            prose(&mut mail, 12, rng);
            mail.retain(|&octet| octet != b'\r');
        }
        Kind::MixedLineEnds => {
            start(&mut mail, rng);
            add(&mut mail, "\r\n");
            for _ in 0..20 {
                prose(&mut mail, 1, rng);
                if rng.below(2) == 0 {
                    mail.truncate(mail.len() - 2);
                    add(&mut mail, "\n.\n");
                }
            }
        }
        Kind::NoFinalNewline => {
            start(&mut mail, rng);
            add(&mut mail, "\r\n");
            prose(&mut mail, 4, rng);
            add(&mut mail, "no line end behind this");
        }
        Kind::DotWithoutNewline => {
            start(&mut mail, rng);
            add(&mut mail, "\r\n");
            prose(&mut mail, 1, rng);
            add(&mut mail, ".");
        }
        Kind::Latin1 => {
            start(&mut mail, rng);
            add(
                &mut mail,
                "Content-Type: text/plain; charset=iso-8859-1\r\n\
                 Content-Transfer-Encoding: 8bit\r\n\r\n",
            );
            for _ in 0..30 {
                mail.extend_from_slice(b"Gr\xfc\xdfe, d\xe9j\xe0 vu \xa9 ");
                mail.push(0xa0 + rng.below(0x60) as u8);
                add(&mut mail, "\r\n");
            }
        }
        Kind::Utf8 => {
            start(&mut mail, rng);
            add(
                &mut mail,
                "X-Note: Grüße aus Köln 📬\r\nContent-Type: text/plain; charset=utf-8\r\n\
                 Content-Transfer-Encoding: 8bit\r\n\r\n",
            );
            for _ in 0..30 {
                add(&mut mail, "Жуки, 日本語, naïve, 🚲 and a plain word\r\n");
            }
        }
        Kind::EmptyBody => {
            start(&mut mail, rng);
            add(&mut mail, "\r\n");
        }
        Kind::HeaderOnly => start(&mut mail, rng),
        Kind::HeaderOnlyNoNewline => {
            start(&mut mail, rng);
            add(&mut mail, "X-Last: cut here");
        }
        Kind::Line998 => {
            start(&mut mail, rng);
            add(&mut mail, "\r\n");
            for length in [998, 997, 998, 76] {
                run(&mut mail, length, rng);
                add(&mut mail, "\r\n");
            }
        }
        Kind::BlankLines => {
            start(&mut mail, rng);
            add(&mut mail, "\r\n\r\n\r\n\r\n\r\n");
        }
        Kind::MegabyteLine => {
            start(&mut mail, rng);
            add(&mut mail, "\r\n");
            // One in eight is that long: the rest would only cost time.
            let length = if (number / ALL.len()).is_multiple_of(8) {
                (1 << 20) + rng.below(5_000)
            } else {
                5_000 + rng.below(9_000)
            };
            run(&mut mail, length, rng);
            add(&mut mail, "\r\n.\r\n");
        }
        Kind::BareCr => {
            start(&mut mail, rng);
            add(&mut mail, "\r\nprogress 1\rprogress 2\r.\rdone\r\n\r.x\r\n");
        }
        Kind::NoHeader => {
            let _ = write!(Text(&mut mail), "\r\nOnly a body, number {number}.\r\n");
            prose(&mut mail, 2, rng);
        }
        Kind::Forwarded => {
            start(&mut mail, rng);
            add(&mut mail, "Content-Type: message/rfc822\r\n\r\n");
            let inner = Kind::Attachment;
            let inner = message(inner, number + 100_000, rng);
            mail.extend_from_slice(&inner);
        }
        Kind::LongDotLine => {
            start(&mut mail, rng);
            add(&mut mail, "\r\n.");
            let length = 60_000 + rng.below(20_000);
            run(&mut mail, length, rng);
            add(&mut mail, "\r\n..");
            run(&mut mail, 5_000, rng);
            add(&mut mail, "\r\n");
        }
        Kind::FromLines => {
            start(&mut mail, rng);
            add(
                &mut mail,
                "\r\nFrom here on\r\n>From there\r\n\r\nFrom me@example.org Mon Jan  1\r\n\
                 trailing blanks   \r\n\ttab\t\r\n",
            );
        }
        Kind::Controls => {
            start(&mut mail, rng);
            add(&mut mail, "\r\n");
            for octet in (1..=255).filter(|octet| !b"\r\n".contains(octet)) {
                mail.push(octet);
                if octet.is_multiple_of(32) {
                    add(&mut mail, "\r\n");
                }
            }
            add(&mut mail, "\r\n");
        }
        Kind::NotAHeader => {
            let _ = write!(Text(&mut mail), "this is no header line {number}\r\n");
            start(&mut mail, rng);
            add(&mut mail, "neither is this\r\n\r\n");
            prose(&mut mail, 2, rng);
        }
    }
    mail
}

fn header(mail: &mut Vec<u8>, subject: &str, number: usize, rng: &mut Rng) {
    let id = rng.next();
    let day = 1 + number % 28;
    let minute = number / 28 % 60;
    let _ = write!(
        Text(mail),
        "Return-Path: <sender@example.net>\r\n\
         Received: from mx.example.net (mx.example.net [192.0.2.7])\r\n\
         \tby mail.example.org with ESMTPS id {id:016x}\r\n\
         \tfor <alice@example.org>; Mon, {day:02} Jan 2024 10:{minute:02}:00 +0100\r\n\
         Date: Mon, {day:02} Jan 2024 10:{minute:02}:00 +0100\r\n\
         From: \"Sender, the\" <sender@example.net>\r\n\
         To: Alice <alice@example.org>\r\n\
         Subject: {subject}\r\n\
         Message-ID: <{id:016x}.{number}@example.net>\r\n\
         MIME-Version: 1.0\r\n"
    );
}

fn folded(mail: &mut Vec<u8>, rng: &mut Rng) {
    add(mail, "References:");
    for _ in 0..60 {
        let _ = write!(Text(mail), "\r\n <{:016x}@lists.example.net>", rng.next());
    }
    add(mail, "\r\nDKIM-Signature: v=1; a=rsa-sha256; d=example.net; s=k1;\r\n\tb=");
    for _ in 0..6 {
        run(mail, 70, rng);
        add(mail, "\r\n\t ");
    }
    add(mail, "=\r\nX-Long: ");
    run(mail, 900, rng);
    add(mail, "\r\nX-Empty:\r\nX-Dots: .\r\n .folded\r\n");
}

fn alternative(mail: &mut Vec<u8>, rng: &mut Rng) {
    let boundary = format!("=_{:016x}", rng.next());
    let _ = write!(
        Text(mail),
        "Content-Type: multipart/alternative;\r\n boundary=\"{boundary}\"\r\n\r\n\
         This is a multi-part message in MIME format.\r\n\
         --{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    );
    prose(mail, 10, rng);
    let _ = write!(
        Text(mail),
        "Gr=C3=BC=C3=9Fe =E2=80=93 soft=\r\n end\r\n\r\n\
         --{boundary}\r\nContent-Type: text/html\r\n\r\n<html><body>\r\n"
    );
    for _ in 0..10 {
        add(mail, "<p style=3D\"margin:0\">");
        prose(mail, 1, rng);
        add(mail, "</p>\r\n");
    }
    let _ = write!(Text(mail), "</body></html>\r\n--{boundary}--\r\n");
}

fn attachment(mail: &mut Vec<u8>, rng: &mut Rng) {
    let boundary = format!("----=_Part_{:08x}", rng.next() as u32);
    let _ = write!(
        Text(mail),
        "Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n\
         --{boundary}\r\nContent-Type: text/plain\r\n\r\n"
    );
    prose(mail, 3, rng);
    let _ = write!(
        Text(mail),
        "--{boundary}\r\nContent-Type: application/pdf; name=\"scan.pdf\"\r\n\
         Content-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=\"scan.pdf\"\r\n\r\n"
    );
    for _ in 0..200 + rng.below(1_500) {
        run(mail, 76, rng);
        add(mail, "\r\n");
    }
    let _ = write!(Text(mail), "\r\n--{boundary}--\r\n");
}

/// Dot lines whose CRLF lies across the sizes that buffers have.
fn dots_at_boundaries(mail: &mut Vec<u8>, rng: &mut Rng) {
    for boundary in [2_048, 4_096, 8_192, 16_384, 32_768, 65_536] {
        let target = boundary - rng.below(5);
        while target - mail.len() > 160 {
            run(mail, 76, rng);
            add(mail, "\r\n");
        }
        // CRLF may end one buffer and the dot begin the next, or any other cut.
        let rest = target - mail.len();
        run(mail, rest, rng);
        add(mail, "\r\n.\r\n..x\r\n.\r\n");
    }
}

fn prose(mail: &mut Vec<u8>, lines: usize, rng: &mut Rng) {
    const WORDS: [&str; 12] = [
        "invoice", "the", "meeting", "of", "printer", "and", "attached", "a", "please", "at", "tomorrow",
        "thanks",
    ];
    for _ in 0..lines {
        for _ in 0..3 + rng.below(8) {
            add(mail, WORDS[rng.below(WORDS.len())]);
            add(mail, " ");
        }
        let _ = write!(Text(mail), "{}\r\n", rng.below(10_000));
    }
}

/// `length` letters and digits without a line end.
fn run(mail: &mut Vec<u8>, length: usize, rng: &mut Rng) {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits = 0;
    for at in 0..length {
        if at % 10 == 0 {
            bits = rng.next();
        }
        mail.push(LETTERS[(bits & 63) as usize]);
        bits >>= 6;
    }
}

fn add(mail: &mut Vec<u8>, text: &str) {
    mail.extend_from_slice(text.as_bytes());
}

/// Lets `write!` put text into octets.
struct Text<'a>(&'a mut Vec<u8>);

impl std::fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        add(self.0, text);
        Ok(())
    }
}

/// SplitMix64: small, seeded, and the same everywhere.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}
