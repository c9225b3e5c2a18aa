//! The data items of a FETCH, RFC 3501 §6.4.5.

use crate::persona::Traits;
use crate::token::{self, Args, Token};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Uid,
    Flags,
    Size,
    Date,
    Envelope,
    /// BODY or BODYSTRUCTURE.
    Structure(&'static str),
    /// RFC 8474.
    EmailId,
    ThreadId,
    /// X-GM-MSGID or X-GM-THRID.
    Gmail(&'static str),
    Body(Body),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Body {
    /// As the answer names it, without the partial.
    pub label: String,
    pub section: Section,
    pub sets_seen: bool,
    /// Offset and length.
    pub partial: Option<(u64, u64)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    All,
    Header,
    Text,
    /// The names in lower case; all but these if `not`.
    Fields {
        names: Vec<Vec<u8>>,
        not: bool,
    },
}

/// The items, or what is wrong with them.
pub(crate) fn parse(args: &mut Args<'_>, traits: &Traits) -> Result<Vec<Item>, String> {
    let names = args.atoms().filter(|names| !names.is_empty()).ok_or("Invalid arguments")?;
    if !args.is_empty() {
        return Err("Unknown FETCH modifier".into());
    }
    let mut items = Vec::new();
    for name in names {
        for item in one(name, traits)? {
            if !items.contains(&item) {
                items.push(item);
            }
        }
    }
    Ok(items)
}

fn one(name: &str, traits: &Traits) -> Result<Vec<Item>, String> {
    let upper = name.to_ascii_uppercase();
    let gmail = traits.has("X-GM-EXT-1");
    let object = traits.has("OBJECTID");
    Ok(match upper.as_str() {
        "UID" => vec![Item::Uid],
        "FLAGS" => vec![Item::Flags],
        "RFC822.SIZE" => vec![Item::Size],
        "INTERNALDATE" => vec![Item::Date],
        "ENVELOPE" => vec![Item::Envelope],
        "BODY" => vec![Item::Structure("BODY")],
        "BODYSTRUCTURE" => vec![Item::Structure("BODYSTRUCTURE")],
        "EMAILID" if object => vec![Item::EmailId],
        "THREADID" if object => vec![Item::ThreadId],
        "X-GM-MSGID" if gmail => vec![Item::Gmail("X-GM-MSGID")],
        "X-GM-THRID" if gmail => vec![Item::Gmail("X-GM-THRID")],
        "FAST" => vec![Item::Flags, Item::Date, Item::Size],
        "ALL" => vec![Item::Flags, Item::Date, Item::Size, Item::Envelope],
        "FULL" => vec![Item::Flags, Item::Date, Item::Size, Item::Envelope, Item::Structure("BODY")],
        "RFC822" if traits.no_fetch_rfc822 => vec![],
        "RFC822" => vec![whole("RFC822", Section::All, true)],
        "RFC822.HEADER" => vec![whole("RFC822.HEADER", Section::Header, false)],
        "RFC822.TEXT" => vec![whole("RFC822.TEXT", Section::Text, true)],
        _ => vec![Item::Body(body(&upper).ok_or_else(|| format!("Unknown parameter: {upper}"))?)],
    })
}

fn whole(label: &str, section: Section, sets_seen: bool) -> Item {
    Item::Body(Body { label: label.into(), section, sets_seen, partial: None })
}

/// `BODY.PEEK[section]<offset.length>`, in upper case.
fn body(text: &str) -> Option<Body> {
    let (name, rest) = text.split_once('[')?;
    let (inside, tail) = rest.rsplit_once(']')?;
    let sets_seen = match name {
        "BODY" => true,
        "BODY.PEEK" => false,
        _ => return None,
    };
    let partial = match tail {
        "" => None,
        _ => Some(partial(tail.strip_prefix('<')?.strip_suffix('>')?)?),
    };
    Some(Body { label: format!("BODY[{inside}]"), section: section(inside)?, sets_seen, partial })
}

fn section(inside: &str) -> Option<Section> {
    Some(match inside {
        "" => Section::All,
        "HEADER" | "1.MIME" => Section::Header,
        // Every message counts as one part.
        "TEXT" | "1" => Section::Text,
        _ => {
            let (name, list) = inside.split_once(' ')?;
            let not = match name {
                "HEADER.FIELDS" => false,
                "HEADER.FIELDS.NOT" => true,
                _ => return None,
            };
            let mut tokens = Vec::new();
            token::tokens(list.as_bytes(), &mut tokens).ok()?;
            let (Some(Token::Open), Some(Token::Close)) = (tokens.first(), tokens.last()) else {
                return None;
            };
            let mut names = Vec::new();
            for token in &tokens[1..tokens.len() - 1] {
                names.push(Args::new(std::slice::from_ref(token)).octets()?.to_ascii_lowercase());
            }
            Section::Fields { names, not }
        }
    })
}

fn partial(text: &str) -> Option<(u64, u64)> {
    match text.split_once('.') {
        Some((offset, length)) => Some((offset.parse().ok()?, length.parse().ok()?)),
        None => Some((text.parse().ok()?, u64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_understood() {
        let peek = body("BODY.PEEK[HEADER.FIELDS (SUBJECT \"X\")]<3.4>").unwrap();
        assert_eq!(peek.partial, Some((3, 4)));
        assert_eq!(peek.label, "BODY[HEADER.FIELDS (SUBJECT \"X\")]");
        let names = vec![b"subject".to_vec(), b"x".to_vec()];
        assert_eq!(peek.section, Section::Fields { names, not: false });
        assert!(body("BODY[]").unwrap().sets_seen);
        for wrong in ["BODY[]<", "BODY[]<1", "BODY[FOO]", "BODX[]", "BODY[HEADER.FIELDS]", "BODY[]<a.b>"] {
            assert_eq!(body(wrong), None, "{wrong}");
        }
    }
}
