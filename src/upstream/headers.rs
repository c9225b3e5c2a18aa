//! Headers and lasting object identifiers of many messages, one after another.

use super::control::Imap;
use super::error::Result;
use super::exchange::{Answer, Exchange};
use super::items::{Items, Value, unquote};
use super::response::{Capabilities, Response};
use super::rows::size_of;
use crate::ids::{Octets, Uid};

/// Octets of a header that are kept; the rest is read and dropped.
pub const MAX_HEADER: usize = 64 * 1024;

/// A longer object identifier is none (RFC 8474 §7).
const MAX_OBJECT_ID: usize = 255;

/// Identifiers that are held at once, however many a set may mean.
const MAX_IDS: u64 = 1_000_000;

/// What tells one message from all others, over mailboxes and UIDVALIDITY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectId {
    /// The server has nothing of the kind.
    None,
    /// RFC 8474.
    EmailId,
    GmailMsgId,
}

impl ObjectId {
    /// What the server offers after login.
    pub fn of(capabilities: &Capabilities) -> Self {
        if capabilities.has("X-GM-EXT-1") {
            Self::GmailMsgId
        } else if capabilities.has("OBJECTID") {
            Self::EmailId
        } else {
            Self::None
        }
    }

    /// The item that is asked for.
    fn item(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::EmailId => Some("EMAILID"),
            Self::GmailMsgId => Some("X-GM-MSGID"),
        }
    }
}

/// One message's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderRow {
    pub uid: Uid,
    /// RFC822.SIZE as the server says it.
    pub size: Octets,
    /// Printable ASCII, at most 255 characters.
    pub object_id: Option<String>,
    /// With its blank line, unless it was cut at [`MAX_HEADER`] octets.
    pub header: Vec<u8>,
}

/// Hands out the headers of the messages in `set`, one in memory at a time, in the server's order.
///
/// A message that is gone has no row. Rows that nobody asked for are handed out as well: GNU imap4d
/// answers for a neighbour of a message that is gone.
pub async fn fetch_headers(
    imap: &mut Imap,
    set: &str,
    object_id: ObjectId,
    each: &mut (dyn FnMut(HeaderRow) + Send),
) -> Result<()> {
    let extra = object_id.item().map(|item| format!(" {item}")).unwrap_or_default();
    let command = format!("UID FETCH {set} (UID RFC822.SIZE{extra} BODY.PEEK[HEADER])");
    let mut exchange = Exchange::begin(imap, "FETCH", &command, span(set), MAX_HEADER).await?;
    while let Answer::Untagged { text, .. } = exchange.next().await? {
        if let Some(row) = header_row(text, object_id) {
            each(row);
        }
    }
    Ok(())
}

/// The object identifiers of the messages in `set` that have one, in the server's order; at most
/// as many as the set has UIDs, and a million.
pub async fn fetch_object_ids(imap: &mut Imap, set: &str, object_id: ObjectId) -> Result<Vec<(Uid, String)>> {
    let Some(item) = object_id.item() else {
        return Ok(Vec::new());
    };
    let most = span(set).min(MAX_IDS);
    let mut found = Vec::new();
    let command = format!("UID FETCH {set} (UID {item})");
    let mut exchange = Exchange::begin(imap, "FETCH", &command, most, 0).await?;
    while let Answer::Untagged { text, .. } = exchange.next().await? {
        found.extend(read(text, object_id).and_then(|items| Some((items.uid?, items.object_id?))));
        if found.len() as u64 > most {
            return Err(exchange.fail("more rows than messages"));
        }
    }
    Ok(found)
}

/// How many UIDs a set can mean.
fn span(set: &str) -> u64 {
    let number = |text: &str| text.parse::<u32>().unwrap_or(u32::MAX);
    let parts = set.split(',').map(|part| match part.split_once(':') {
        Some((first, last)) => u64::from(number(first).abs_diff(number(last))) + 1,
        None => 1,
    });
    parts.fold(0, u64::saturating_add)
}

fn header_row(line: &[u8], object_id: ObjectId) -> Option<HeaderRow> {
    let items = read(line, object_id)?;
    Some(HeaderRow {
        uid: items.uid?,
        size: items.size?,
        object_id: items.object_id,
        header: items.header.map(unquote)?,
    })
}

/// The items of a FETCH response that matter here.
#[derive(Default)]
struct Read<'a> {
    uid: Option<Uid>,
    size: Option<Octets>,
    object_id: Option<String>,
    /// `None` for NIL, too: Dovecot says it of a message that has just gone.
    header: Option<&'a [u8]>,
}

fn read(line: &[u8], object_id: ObjectId) -> Option<Read<'_>> {
    let Response::Fetch(items) = Response::parse(line) else {
        return None;
    };
    let mut found = Read::default();
    for (name, value) in Items::new(items) {
        match (name.to_ascii_uppercase().as_slice(), value) {
            (b"UID", Value::Atom(number)) => found.uid = Uid::parse(number),
            (b"RFC822.SIZE", Value::Atom(number)) => found.size = size_of(number),
            (b"BODY[HEADER]", Value::Quoted(header)) => found.header = Some(header),
            // A list of one (RFC 8474 §5.1).
            (b"EMAILID", Value::List(list)) if object_id == ObjectId::EmailId => {
                found.object_id = identifier(&list[1..list.len() - 1]);
            }
            (b"X-GM-MSGID", Value::Atom(id)) if object_id == ObjectId::GmailMsgId => {
                found.object_id = identifier(id).filter(|id| id != "NIL");
            }
            _ => {}
        }
    }
    Some(found)
}

fn identifier(text: &[u8]) -> Option<String> {
    let fits = (1..=MAX_OBJECT_ID).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(text).ok().filter(|_| fits).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_in_any_order_of_items() {
        let expected = Uid::new(7).map(|uid| HeaderRow {
            uid,
            size: Octets(99),
            object_id: Some("M1".to_owned()),
            header: b"A: \"b\"\r\n\r\n".to_vec(),
        });
        let row = |line: &str| header_row(line.as_bytes(), ObjectId::EmailId);
        let header = "BODY[HEADER] \"A: \\\"b\\\"\r\n\r\n\"";
        let before = format!("* 1 FETCH (UID 7 RFC822.SIZE 99 EMAILID (M1) {header})");
        let behind = format!("* 1 FETCH ({header} FLAGS (\\Seen) emailid (M1) rfc822.size 99 uid 7)");
        assert_eq!(row(&before), expected);
        assert_eq!(row(&behind), expected);
        for none in [
            "* 1 FETCH (UID 7 RFC822.SIZE 0 BODY[HEADER] NIL)",
            "* 1 FETCH (UID 7 BODY[HEADER] \"\")",
            "* 1 FETCH (RFC822.SIZE 9 BODY[HEADER] \"\")",
            "* 1 FETCH (UID 7 RFC822.SIZE 9 BODY[TEXT] \"\")",
            "* 1 FETCH (FLAGS ())",
            "* 1 EXISTS",
        ] {
            assert_eq!(row(none), None, "{none}");
        }
    }

    #[test]
    fn identifiers_are_printable_and_short() {
        let id = |items: &str, kind| {
            read(format!("* 1 FETCH ({items})").as_bytes(), kind).and_then(|items| items.object_id)
        };
        let (email, gmail) = (ObjectId::EmailId, ObjectId::GmailMsgId);
        assert_eq!(id("X-GM-MSGID 1278455344230334865", gmail).as_deref(), Some("1278455344230334865"));
        assert_eq!(id("EMAILID (M6d99)", email).as_deref(), Some("M6d99"));
        for (items, kind) in [
            ("EMAILID NIL", email),
            ("EMAILID ()", email),
            ("EMAILID (a b)", email),
            ("EMAILID (\u{fc})", email),
            (&format!("EMAILID ({})", "a".repeat(256)), email),
            ("X-GM-MSGID NIL", gmail),
            ("X-GM-MSGID ", gmail),
            ("EMAILID (M1)", gmail),
            ("EMAILID (M1)", ObjectId::None),
        ] {
            assert_eq!(id(items, kind), None, "{items}");
        }
    }

    #[test]
    fn sets_are_measured() {
        assert_eq!(span("1"), 1);
        assert_eq!(span("1:3,7,10:9"), 6);
        assert_eq!(span("1:*"), u64::from(u32::MAX));
    }
}
