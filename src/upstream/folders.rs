//! Mailboxes by their name and by their use: modified UTF-7 and LIST.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};

use super::control::Imap;
use super::error::Result;
use super::exchange::{Answer, Exchange};
use super::items::{Value, unquote, value};
use super::response::word;

/// A longer name is nobody's.
const MAX_NAME: usize = 1000;

/// The coding inside modified UTF-7: base64 that ends in `+,`, unpadded (RFC 3501 §5.1.3).
const CODING: GeneralPurpose = GeneralPurpose::new(&IMAP_MUTF7, NO_PAD);

/// A mailbox's name as it goes over the wire; shown in its readable form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FolderName(String);

impl FolderName {
    /// A name as people write it. What is not printable ASCII is coded (RFC 3501 §5.1.3).
    pub fn new(name: &str) -> Self {
        let mut wire = String::with_capacity(name.len());
        let mut coded = Vec::new();
        for character in name.chars() {
            if matches!(character, ' '..='~') {
                end_coded(&mut coded, &mut wire);
                wire.push(character);
                if character == '&' {
                    wire.push('-');
                }
            } else {
                let mut units = [0; 2];
                coded.extend(character.encode_utf16(&mut units).iter().flat_map(|unit| unit.to_be_bytes()));
            }
        }
        end_coded(&mut coded, &mut wire);
        Self::normal(wire)
    }

    /// A name as a server wrote it, kept as it is: it must come back to the server unchanged.
    /// `None` if it is over 1,000 octets, not UTF-8, or has control characters, which no command
    /// could carry.
    pub fn from_wire(name: &[u8]) -> Option<Self> {
        let name = std::str::from_utf8(name).ok()?;
        let fits = name.len() <= MAX_NAME && !name.chars().any(char::is_control);
        fits.then(|| Self::normal(name.to_owned()))
    }

    /// INBOX is one mailbox in any case (RFC 3501 §5.1); Yahoo lists it as `Inbox`.
    fn normal(wire: String) -> Self {
        Self(if wire.eq_ignore_ascii_case("INBOX") { "INBOX".to_owned() } else { wire })
    }

    /// As it goes over the wire, without quotes.
    pub fn as_wire(&self) -> &str {
        &self.0
    }

    /// For a command, as a quoted string (RFC 3501 §4.3).
    pub fn quoted(&self) -> String {
        format!("\"{}\"", self.0.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

fn end_coded(coded: &mut Vec<u8>, wire: &mut String) {
    if !coded.is_empty() {
        wire.push('&');
        CODING.encode_string(&*coded, wire);
        wire.push('-');
        coded.clear();
    }
}

impl fmt::Display for FolderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A server that writes `&` without coding is shown as it writes.
        f.write_str(readable(&self.0).as_deref().unwrap_or(&self.0))
    }
}

/// The readable form, if the name is valid modified UTF-7 and safe to show.
fn readable(wire: &str) -> Option<String> {
    let mut parts = wire.split('&');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let (coded, plain) = part.split_once('-')?;
        if coded.is_empty() {
            name.push('&');
        } else {
            let octets = CODING.decode(coded).ok()?;
            let (units, []) = octets.as_chunks::<2>() else { return None };
            let units = units.iter().map(|unit| u16::from_be_bytes(*unit));
            for character in char::decode_utf16(units) {
                name.push(character.ok().filter(|character| !character.is_control())?);
            }
        }
        name.push_str(plain);
    }
    Some(name)
}

/// Which mailbox is looked for.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// By its attribute, `\Trash` (RFC 6154 §2).
    SpecialUse(&'static str),
    Named(&'a FolderName),
}

/// Looks for a mailbox that can be selected; the first, if several bear the special use.
pub async fn find_folder(imap: &mut Imap, wanted: Wanted<'_>) -> Result<Option<FolderName>> {
    let offered = imap.capabilities();
    let command = match wanted {
        // RFC 6154 §2: a plain LIST may leave the attributes out, where they can be asked for.
        Wanted::SpecialUse(_) if offered.has("SPECIAL-USE") && offered.has("LIST-EXTENDED") => {
            "LIST \"\" \"*\" RETURN (SPECIAL-USE)".to_owned()
        }
        Wanted::SpecialUse(_) => "LIST \"\" \"*\"".to_owned(),
        // A name with `*` or `%` matches others as well; they are told apart below.
        Wanted::Named(name) => format!("LIST \"\" {}", name.quoted()),
    };
    let mut found = None;
    let mut exchange = Exchange::begin(imap, "LIST", &command, 0, MAX_NAME).await?;
    while let Answer::Untagged { text, cut } = exchange.next().await? {
        // A name that was cut is another name.
        if found.is_none() && !cut {
            found = listed(text).filter(|folder| folder.is(wanted)).map(|folder| folder.name);
        }
    }
    Ok(found)
}

/// One line of a LIST's answer.
struct Listed<'a> {
    attributes: &'a [u8],
    name: FolderName,
}

impl Listed<'_> {
    fn is(&self, wanted: Wanted<'_>) -> bool {
        // `\NonExistent` is of RFC 5258 §3.
        if self.bears("\\Noselect") || self.bears("\\NonExistent") {
            return false;
        }
        match wanted {
            Wanted::SpecialUse(attribute) => self.bears(attribute),
            Wanted::Named(name) => self.name == *name,
        }
    }

    fn bears(&self, attribute: &str) -> bool {
        let mut attributes = self.attributes.split(|octet| b" ()".contains(octet));
        attributes.any(|own| own.eq_ignore_ascii_case(attribute.as_bytes()))
    }
}

/// `* LIST (attributes) delimiter name`, and what an extension adds behind (RFC 3501 §7.2.2).
fn listed(line: &[u8]) -> Option<Listed<'_>> {
    let (kind, rest) = word(line.strip_prefix(b"* ")?);
    let (Value::List(attributes), rest) = value(rest).filter(|_| kind.eq_ignore_ascii_case(b"LIST"))? else {
        return None;
    };
    // A quoted character or NIL: nothing hangs on it here.
    let (_, rest) = value(rest.strip_prefix(b" ")?)?;
    let (name, _) = value(rest.strip_prefix(b" ")?)?;
    let name = string(&name).and_then(|name| FolderName::from_wire(&name))?;
    Some(Listed { attributes, name })
}

/// An astring's octets (RFC 3501 §9).
fn string(value: &Value<'_>) -> Option<Vec<u8>> {
    match value {
        Value::Atom(text) if !text.is_empty() => Some(text.to_vec()),
        Value::Quoted(text) => Some(unquote(text)),
        Value::Atom(_) | Value::List(_) | Value::Literal => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_coded() {
        for (name, wire) in [
            ("Entwürfe", "Entw&APw-rfe"),
            ("&", "&-"),
            ("R&D", "R&-D"),
            ("日本語", "&ZeVnLIqe-"),
            ("Papierkorb 🗑", "Papierkorb &2D3d0Q-"),
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("a\nb", "a&AAo-b"),
            ("inbox", "INBOX"),
            ("Inbox/Sub", "Inbox/Sub"),
        ] {
            assert_eq!(FolderName::new(name).as_wire(), wire);
        }
        assert_eq!(FolderName::new("ü\\\"").quoted(), r#""&APw-\\\"""#);
    }

    #[test]
    fn names_are_shown_readable_or_as_they_are() {
        let shown = |wire: &str| FolderName::from_wire(wire.as_bytes()).map(|name| name.to_string());
        for (wire, name) in [
            ("Entw&APw-rfe", "Entwürfe"),
            ("&2D3d0Q-", "🗑"),
            ("R&-D", "R&D"),
            // No end, no coding, half a character, half a pair, a control character.
            ("R&D", "R&D"),
            ("&****-", "&****-"),
            ("&AA-", "&AA-"),
            ("&2D0-", "&2D0-"),
            ("&AAo-", "&AAo-"),
            ("Entwürfe", "Entwürfe"),
            ("inBOX", "INBOX"),
        ] {
            assert_eq!(shown(wire).as_deref(), Some(name));
        }
        for refused in [&b"a\r\nb"[..], b"\xff", b"a\0", &[b'a'; MAX_NAME + 1]] {
            assert_eq!(FolderName::from_wire(refused), None);
        }
        assert!(FolderName::from_wire(&[b'a'; MAX_NAME]).is_some());
    }

    #[test]
    fn names_are_listed_in_every_form() {
        let name = |line: &str| listed(line.as_bytes()).map(|folder| folder.name.as_wire().to_owned());
        for (line, expected) in [
            (r#"* LIST (\Trash) "/" Trash"#, "Trash"),
            (r#"* list () NIL "a \"b\"""#, "a \"b\""),
            (r#"* LIST (\HasNoChildren) "\\" "a)b" ("OLDNAME" ("c"))"#, "a)b"),
            (r#"* LIST () "." Inbox"#, "INBOX"),
        ] {
            assert_eq!(name(line).as_deref(), Some(expected), "{line}");
        }
        for line in
            ["* LIST", "* LIST (", "* LIST () \"/\"", "* LIST () \"/\" ", "* LSUB () \"/\" a", "* LIST a b c"]
        {
            assert_eq!(name(line), None, "{line}");
        }
    }

    #[test]
    fn what_cannot_be_selected_is_not_found() {
        let is = |line: &str| listed(line.as_bytes()).is_some_and(|it| it.is(Wanted::SpecialUse("\\Trash")));
        assert!(is(r#"* LIST (\HasNoChildren \trash) "/" Bin"#));
        assert!(!is(r#"* LIST (\Noselect \Trash) "/" Bin"#));
        assert!(!is(r#"* LIST (\Trash \nonexistent) "/" Bin"#));
        assert!(!is(r#"* LIST (\Trashed) "/" Bin"#));
    }

    proptest::proptest! {
        #[test]
        fn coding_is_undone(name in proptest::collection::vec(proptest::arbitrary::any::<char>(), 0..40)) {
            let name: String = name.into_iter().filter(|character| !character.is_control()).collect();
            let folder = FolderName::new(&name);
            proptest::prop_assert!(folder.as_wire().bytes().all(|octet| (b' '..=b'~').contains(&octet)));
            if !name.eq_ignore_ascii_case("INBOX") {
                proptest::prop_assert_eq!(folder.to_string(), name);
            }
            proptest::prop_assert_eq!(FolderName::from_wire(folder.as_wire().as_bytes()), Some(folder));
        }

        #[test]
        fn any_octets_are_read_without_harm(
            start in proptest::sample::select(vec!["", "* LIST (", "* LIST () \"/\" ", "* LIST () "]),
            rest in proptest::collection::vec(proptest::arbitrary::any::<u8>(), 0..200),
        ) {
            let line = [start.as_bytes(), &rest].concat();
            if let Some(folder) = listed(&line) {
                proptest::prop_assert!(!folder.name.to_string().chars().any(char::is_control));
            }
        }
    }
}
