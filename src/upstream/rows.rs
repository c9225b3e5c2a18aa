//! One row of a listing: a FETCH response that has all that was asked for.

use jiff::Timestamp;

use super::items::{Items, Value};
use crate::ids::{Octets, Uid, decimal};

/// One message of the listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub uid: Uid,
    /// RFC822.SIZE as the server says it.
    pub size: Octets,
    /// INTERNALDATE in seconds since 1970; 0 if it was not asked for or cannot be read.
    pub internal_date: i64,
    /// \Seen; false if the flags were not asked for.
    pub seen: bool,
}

/// What a listing tells beside UIDs and sizes: asked for only where it is needed, since each item
/// makes every row longer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extra {
    pub flags: bool,
    pub internal_date: bool,
}

/// What makes a row; the rest is news about flags that nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    Listing(Extra),
    Uids,
    /// Those with \Deleted only.
    Deleted,
}

impl Default for Want {
    fn default() -> Self {
        Self::Listing(Extra::default())
    }
}

impl Want {
    /// The items to ask for.
    pub fn items(self) -> &'static str {
        match self {
            Self::Uids => "(UID)",
            Self::Deleted => "(UID FLAGS)",
            Self::Listing(Extra { flags: false, internal_date: false }) => "(UID RFC822.SIZE)",
            Self::Listing(Extra { flags: true, internal_date: false }) => "(UID RFC822.SIZE FLAGS)",
            Self::Listing(Extra { flags: false, internal_date: true }) => "(UID RFC822.SIZE INTERNALDATE)",
            Self::Listing(Extra { flags: true, internal_date: true }) => {
                "(UID RFC822.SIZE FLAGS INTERNALDATE)"
            }
        }
    }

    /// A row that has all that is wanted.
    pub fn row(self, items: &[u8]) -> Option<Row> {
        let (mut uid, mut size, mut seen, mut date) = (None, None, None, None);
        let mut deleted = false;
        for (name, value) in Items::new(items) {
            match (name.to_ascii_uppercase().as_slice(), value) {
                (b"UID", Value::Atom(number)) => uid = Uid::parse(number),
                (b"RFC822.SIZE", Value::Atom(number)) => size = size_of(number),
                (b"FLAGS", Value::List(flags)) => {
                    seen = Some(bears(flags, b"\\Seen"));
                    deleted = bears(flags, b"\\Deleted");
                }
                (b"INTERNALDATE", Value::Quoted(text)) => date = Some(internal_date(text)),
                // NIL: there, but unknown.
                (b"INTERNALDATE", Value::Atom(_)) => date = Some(0),
                _ => {}
            }
        }
        let uid = uid?;
        match self {
            Self::Deleted if !deleted => None,
            Self::Uids | Self::Deleted => {
                Some(Row { uid, size: size.unwrap_or_default(), internal_date: 0, seen: false })
            }
            Self::Listing(extra) => Some(Row {
                uid,
                size: size?,
                internal_date: if extra.internal_date { date? } else { 0 },
                seen: extra.flags && seen?,
            }),
        }
    }
}

/// RFC822.SIZE: 32 bits in RFC 3501, 63 in RFC 9051.
pub fn size_of(value: &[u8]) -> Option<Octets> {
    decimal(value).map(u64::from).or_else(|| std::str::from_utf8(value).ok()?.parse().ok()).map(Octets)
}

fn bears(flags: &[u8], wanted: &[u8]) -> bool {
    flags.split(|octet| b" ()".contains(octet)).any(|flag| flag.eq_ignore_ascii_case(wanted))
}

/// ` 7-Nov-2026 10:00:00 +0100` (RFC 3501 §9, `date-time`). A date that cannot be read must not
/// keep a mailbox from being listed: it is unknown, 0.
fn internal_date(text: &[u8]) -> i64 {
    let text = std::str::from_utf8(text).unwrap_or_default().trim_ascii();
    Timestamp::strptime("%d-%b-%Y %H:%M:%S %z", text).map_or(0, Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_in_any_order_of_items() {
        let expected = Uid::new(7).map(|uid| Row { uid, size: Octets(99), internal_date: 0, seen: false });
        let sized = |items: &[u8]| Want::default().row(items);
        assert_eq!(sized(b"UID 7 RFC822.SIZE 99)"), expected);
        assert_eq!(sized(b"RFC822.SIZE 99 FLAGS (\\Seen) uid 7)"), expected);
        assert_eq!(sized(b"FLAGS (\\Seen))"), None);
        assert_eq!(sized(b"UID 7 FLAGS (\\Seen))"), None);
        assert_eq!(sized(b"UID 7 RFC822.SIZE many)"), None);
        assert_eq!(sized(b"UID 0 RFC822.SIZE 99)"), None);
        assert_eq!(Want::Uids.row(b"UID 7)").map(|row| row.uid), Uid::new(7));
        assert_eq!(Want::Deleted.row(b"FLAGS (\\Seen \\deleted) UID 7)").map(|row| row.uid), Uid::new(7));
        assert_eq!(Want::Deleted.row(b"UID 7 FLAGS (\\Seen))"), None);
    }

    #[test]
    fn a_row_lacks_nothing_that_was_asked_for() {
        let want = Want::Listing(Extra { flags: true, internal_date: true });
        let row = |items: &str| want.row(items.as_bytes()).map(|row| (row.seen, row.internal_date));
        let date = "INTERNALDATE \"07-Nov-2026 10:00:00 +0000\"";
        assert_eq!(row(&format!("{date} flags (\\seen) UID 7 RFC822.SIZE 9)")), Some((true, 1_794_045_600)));
        assert_eq!(row("UID 7 RFC822.SIZE 9 FLAGS (\\Seenish) INTERNALDATE NIL)"), Some((false, 0)));
        assert_eq!(row("UID 7 RFC822.SIZE 9 FLAGS (\\Seen))"), None);
        assert_eq!(row(&format!("UID 7 RFC822.SIZE 9 {date})")), None);
        assert_eq!(row(&format!("UID 7 FLAGS () {date})")), None);
    }

    #[test]
    fn dates_are_read_or_unknown() {
        for (text, seconds) in [
            ("07-Nov-2026 10:00:00 +0000", 1_794_045_600),
            (" 7-Nov-2026 11:00:00 +0100", 1_794_045_600),
            ("7-nov-2026 00:30:00 -0930", 1_794_045_600),
            ("01-Jan-1970 00:00:00 +0000", 0),
            ("31-Dec-1969 23:59:59 +0000", -1),
            ("", 0),
            ("30-Feb-2026 10:00:00 +0000", 0),
            ("07-Nov-2026 10:00:00", 0),
            ("07-Nov-2026 25:00:00 +0000", 0),
            ("07-Nov-99999999 10:00:00 +0000", 0),
            ("07-Nov-2026 10:00:00 +0000 and more", 0),
            ("Samstag", 0),
        ] {
            assert_eq!(internal_date(text.as_bytes()), seconds, "{text}");
        }
        assert_eq!(internal_date(b"\xff"), 0);
    }

    proptest::proptest! {
        #[test]
        fn any_date_is_read_without_harm(
            text in proptest::collection::vec(
                proptest::prop_oneof![
                    proptest::sample::select(b"0123456789-: +JanFebNov".to_vec()),
                    proptest::arbitrary::any::<u8>(),
                ],
                0..40,
            ),
        ) {
            internal_date(&text);
        }
    }
}
