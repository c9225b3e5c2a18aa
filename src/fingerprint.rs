//! What identifies a message whatever its UID: its header, and what the header says it is.
//!
//! The header is split here and not by a mail parser: those decode what has to be compared as it
//! stands, and bring tables of character sets for it. Here any octets have a fingerprint.

use memchr::memchr;
use sha2::{Digest as _, Sha256};

use crate::ids::{Octets, Uid};

/// A SHA-256, cut: 128 bits are enough where nobody gains by a collision in their own mailbox.
pub type Digest = [u8; 16];

/// Fields that servers and deliveries add, drop or change while the message stays the same.
const VOLATILE: &[&[u8]] = &[
    b"return-path",
    b"status",
    b"x-status",
    b"x-uid",
    b"x-uidl",
    b"x-keywords",
    b"content-length",
    b"lines",
    b"x-gmail-labels",
];

/// The same, by how their names begin: mbox bookkeeping and that of mail programs.
const VOLATILE_FAMILIES: &[&[u8]] = &[b"x-imap", b"x-evolution", b"x-mozilla-", b"x-gm-"];

/// The digest of no fields at all.
const BLANK: Digest = 0xe3b0_c442_98fc_1c14_9afb_f4c8_996f_b924_u128.to_be_bytes();

/// Message-IDs are kept up to this many characters; more is an attack or an accident.
const MESSAGE_ID_LENGTH: usize = 255;

/// A message as it can be found again in a mailbox that was made anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub uid: Uid,
    pub size: Octets,
    /// EMAILID (RFC 8474 §5.1) or X-GM-MSGID, where the server has them.
    pub object_id: Option<String>,
    pub fingerprint: Fingerprint,
}

/// What a message's header says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// The first Message-ID, for people to read: cut, and without control characters.
    pub message_id: Option<String>,
    /// Over Message-ID and Date; `None` without a Message-ID.
    pub identity: Option<Digest>,
    /// Over all fields in order, except those that change while a message is kept.
    pub header: Digest,
}

impl Fingerprint {
    /// The fingerprint of a header, as `BODY[HEADER]` or `TOP n 0` gives it.
    ///
    /// Takes any octets: line ends of either kind, no blank line at the end, a header cut short.
    /// A header that is cut has a fingerprint of what is there, another one than the whole header.
    pub fn of(header: &[u8]) -> Self {
        let mut all = Vec::with_capacity(header.len());
        let (mut message_id, mut date) = (None, None);
        for (index, field) in fields(header).enumerate() {
            let colon = memchr(b':', field);
            let (name, value) = colon.map_or((&b""[..], field), |at| (&field[..at], &field[at + 1..]));
            let (name, value) = (folded(name).to_ascii_lowercase(), folded(value));
            // How mbox begins a message, which is no field; `From : alice@…` is one.
            let is_envelope = index == 0 && field.starts_with(b"From ") && name != b"from";
            let is_nothing = name.is_empty() && value.is_empty();
            if is_envelope || is_nothing || is_volatile(&name) {
                continue;
            }
            all.extend_from_slice(&name);
            all.push(b':');
            all.extend_from_slice(&value);
            all.push(b'\n');
            match name.as_slice() {
                b"message-id" => _ = message_id.get_or_insert(value),
                b"date" => _ = date.get_or_insert(value),
                _ => {}
            }
        }
        let message_id = message_id.filter(|id| !id.is_empty());
        let identity = message_id.as_deref().map(|id| digest(&[id, b"\n", &date.unwrap_or_default()]));
        Self { message_id: message_id.as_deref().and_then(readable), identity, header: digest(&[&all]) }
    }

    /// Whether the header had nothing in it, or is not known: it tells no message from another.
    pub fn is_blank(&self) -> bool {
        self.header == BLANK
    }
}

/// The fields as they stand, each with the lines folded into it, up to the blank line.
fn fields(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = header;
    std::iter::from_fn(move || {
        let mut end = line_length(rest);
        if rest[..end].iter().all(|octet| matches!(octet, b'\r' | b'\n')) {
            return None;
        }
        while let Some(b' ' | b'\t') = rest.get(end) {
            end += line_length(&rest[end..]);
        }
        let (field, others) = rest.split_at(end);
        rest = others;
        Some(field)
    })
}

/// The first line's length with its line end, or all there is.
fn line_length(text: &[u8]) -> usize {
    memchr(b'\n', text).map_or(text.len(), |at| at + 1)
}

/// Without white space at the ends, and with one blank where there was more: servers fold anew.
fn folded(text: &[u8]) -> Vec<u8> {
    let mut folded = Vec::with_capacity(text.len());
    for word in text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
        if !folded.is_empty() {
            folded.push(b' ');
        }
        folded.extend_from_slice(word);
    }
    folded
}

fn is_volatile(name: &[u8]) -> bool {
    VOLATILE.contains(&name) || VOLATILE_FAMILIES.iter().any(|family| name.starts_with(family))
}

/// A Message-ID to print, log or store.
fn readable(id: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(id);
    let kept: String = text.chars().filter(|letter| !letter.is_control()).take(MESSAGE_ID_LENGTH).collect();
    let kept = kept.trim();
    (!kept.is_empty()).then(|| kept.to_owned())
}

fn digest(parts: &[&[u8]]) -> Digest {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    let whole: [u8; 32] = hash.finalize().into();
    let mut cut = Digest::default();
    cut.copy_from_slice(&whole[..16]);
    cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: &str = "Received: from a by b;\r\n\tMon, 1 Jan 2024 10:00:00 +0000\r\nMessage-ID: <1@x>\r\n\
                         Date: Mon, 1 Jan 2024 10:00:00 +0000\r\nSubject: two words\r\n\r\n";

    fn of(header: &str) -> Fingerprint {
        Fingerprint::of(header.as_bytes())
    }

    #[test]
    fn line_ends_folding_and_bookkeeping_do_not_matter() {
        let expected = of(PLAIN);
        assert_eq!(expected.message_id.as_deref(), Some("<1@x>"));
        assert!(expected.identity.is_some() && !expected.is_blank());
        for same in [
            PLAIN.replace("\r\n", "\n"),
            PLAIN.trim_end().to_owned(),
            PLAIN.replace("two words", "two\r\n   words \t"),
            PLAIN.replace("Message-ID: <1@x>", "message-id :\r\n <1@x>"),
            format!("{PLAIN}From: what follows the blank line\r\n"),
            format!("From alice@x Mon Jan  1 10:00:00 2024\nReturn-Path: <a@x>\nX-UID: 7\n{PLAIN}"),
            PLAIN.replace(
                "Subject",
                "X-IMAPbase: 1 2\r\n 3\r\nStatus: RO\r\nLINES: 4\r\nX-GM-Raw: 5\r\nSubject",
            ),
        ] {
            assert_eq!(of(&same), expected, "{same:?}");
        }
    }

    #[test]
    fn what_the_message_says_matters() {
        let expected = of(PLAIN);
        for (from, to, same_identity) in [
            ("two words", "two  Words", true),
            ("Subject", "X-Subject", true),
            ("from a by b", "from a by c", true),
            ("Subject:", "Subject: first\r\nSubject:", true),
            ("Date: Mon, 1 Jan 2024 10:00:00", "Date: Mon, 1 Jan 2024 10:00:01", false),
            ("<1@x>", "<2@x>", false),
        ] {
            let other = of(&PLAIN.replace(from, to));
            assert_ne!(other.header, expected.header, "{to:?}");
            assert_eq!(other.identity == expected.identity, same_identity, "{to:?}");
        }
    }

    #[test]
    fn message_ids_are_fit_to_be_kept() {
        for none in
            ["Message-ID: \r\n", "Message-ID:\r\n\r\n", "Subject: <1@x>\r\n", "", "\r\nMessage-ID: <1@x>"]
        {
            assert_eq!((of(none).message_id, of(none).identity), (None, None), "{none:?}");
        }
        // Nothing to read, yet enough to tell messages apart.
        let control = of("Message-ID: \u{1}\r\n");
        assert!(control.message_id.is_none() && control.identity.is_some());
        let id = |header: &str| of(header).message_id;
        assert_eq!(id("Message-ID: <1\u{1b}[m\0@x>").as_deref(), Some("<1[m@x>"));
        assert_eq!(id("Message-ID: <1@x>\nMessage-ID: <2@x>").as_deref(), Some("<1@x>"));
        let long = format!("Message-ID: <{}>", "ä".repeat(1000));
        assert_eq!(id(&long).map(|id| id.chars().count()), Some(255));
    }

    #[test]
    fn a_header_of_bookkeeping_alone_is_blank() {
        assert_eq!(digest(&[]), BLANK);
        for blank in ["", "\r\n", " \r\n", "\n\nSubject: body", "Status: RO\r\n\r\n", "From a 1:2\n\n"] {
            assert!(of(blank).is_blank(), "{blank:?}");
        }
        assert!(!of("no colon at all").is_blank());
        assert!(!of("From : a@x").is_blank());
    }

    proptest! {
        #[test]
        fn any_octets_have_one(tail in prop::collection::vec(any::<u8>(), 0..2000)) {
            let octets = [&b"Message-ID:"[..], &tail].concat();
            if let Some(id) = Fingerprint::of(&octets).message_id {
                prop_assert!((1..=255).contains(&id.chars().count()));
                prop_assert!(!id.contains(char::is_control));
            }
        }

        #[test]
        fn line_ends_never_matter(text in "([A-Za-z: \t\n-]{0,12}(Message-ID|Date|X-UID)?){0,20}") {
            prop_assert_eq!(of(&text), of(&text.replace('\n', "\r\n")));
        }

        #[test]
        fn other_fields_other_digest(
            a in prop::collection::vec(("[a-z]{1,3}", "[a-z]{0,2}"), 0..4),
            b in prop::collection::vec(("[a-z]{1,3}", "[a-z]{0,2}"), 0..4),
        ) {
            let header = |fields: &[(String, String)]| -> String {
                fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
            };
            prop_assert_eq!(of(&header(&a)).header == of(&header(&b)).header, a == b);
        }
    }
}
