//! The items of a FETCH response, one after another, without recursion (RFC 3501 §7.4.2).

/// What an item holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number, flag or NIL as it stands.
    Atom(&'a [u8]),
    /// The inside of a quoted string, backslashes still in it.
    Quoted(&'a [u8]),
    /// A parenthesised list with its parentheses.
    List(&'a [u8]),
    /// A literal: its octets follow the line.
    Literal,
}

/// Iterates over `NAME value` pairs up to the closing parenthesis or the line's end.
pub struct Items<'a>(&'a [u8]);

impl<'a> Items<'a> {
    /// `text` begins behind `FETCH (`, or behind a literal that was one of the values.
    pub fn new(text: &'a [u8]) -> Self {
        Self(text)
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = (&'a [u8], Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.0.trim_ascii_start();
        if text.is_empty() || text[0] == b')' {
            return None;
        }
        let (name, rest) = text.split_at(name_length(text)?);
        let (value, rest) = value(rest.strip_prefix(b" ")?)?;
        self.0 = rest;
        Some((name, value))
    }
}

/// A name may hold blanks inside brackets: `BODY[HEADER.FIELDS (DATE)]<0>`.
fn name_length(text: &[u8]) -> Option<usize> {
    let mut in_brackets = false;
    for (index, &octet) in text.iter().enumerate() {
        match octet {
            b'[' => in_brackets = true,
            b']' => in_brackets = false,
            b' ' if !in_brackets => return Some(index).filter(|&length| length > 0),
            _ => {}
        }
    }
    None
}

/// One value, and what stands behind it.
pub fn value(text: &[u8]) -> Option<(Value<'_>, &[u8])> {
    match text.first()? {
        b'"' => {
            let end = 1 + quoted_length(&text[1..])?;
            Some((Value::Quoted(&text[1..end]), &text[end + 1..]))
        }
        b'(' => {
            let end = list_length(text)?;
            Some((Value::List(&text[..end]), &text[end..]))
        }
        b'{' => Some((Value::Literal, &[])),
        _ => {
            let end = text.iter().position(|octet| b" )".contains(octet)).unwrap_or(text.len());
            Some((Value::Atom(&text[..end]), &text[end..]))
        }
    }
}

/// Octets up to the closing quote.
fn quoted_length(text: &[u8]) -> Option<usize> {
    let mut escaped = false;
    for (index, &octet) in text.iter().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(index),
            _ => {}
        }
    }
    None
}

/// Octets up to and with the parenthesis that closes the first one.
fn list_length(text: &[u8]) -> Option<usize> {
    let mut depth = 0usize;
    let mut index = 0;
    while index < text.len() {
        match text[index] {
            b'(' => depth += 1,
            b')' => {
                depth -= 1;
                if depth == 0 {
                    return Some(index + 1);
                }
            }
            b'"' => index += 1 + quoted_length(&text[index + 1..])?,
            _ => {}
        }
        index += 1;
    }
    None
}

/// A quoted string's octets without the backslashes.
pub fn unquote(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut escaped = false;
    for &octet in text {
        if octet == b'\\' && !escaped {
            escaped = true;
        } else {
            plain.push(octet);
            escaped = false;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<(String, String)> {
        Items::new(text.as_bytes())
            .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), format!("{value:?}")))
            .collect()
    }

    #[test]
    fn items_in_any_order() {
        let names: Vec<String> =
            all(r#"FLAGS (\Seen "(") UID 5 X "a\")" BODY[HEADER.FIELDS (DATE)]<0> NIL)"#)
                .into_iter()
                .map(|(name, _)| name)
                .collect();
        assert_eq!(names, ["FLAGS", "UID", "X", "BODY[HEADER.FIELDS (DATE)]<0>"]);
    }

    #[test]
    fn a_literal_ends_the_line() {
        let items: Vec<_> = Items::new(b"UID 5 BODY[] {12}").collect();
        assert_eq!(items[1], (&b"BODY[]"[..], Value::Literal));
    }

    proptest::proptest! {
        #[test]
        fn any_octets_end(text in proptest::collection::vec(
            proptest::prop_oneof![
                proptest::sample::select(b" ()[]{}\"\\<>BODYUIDNIL0123456789\r".to_vec()),
                proptest::arbitrary::any::<u8>(),
            ],
            0..300,
        )) {
            let octets: usize = Items::new(&text).map(|(name, _)| name.len() + 2).sum();
            proptest::prop_assert!(octets <= text.len() + 1);
        }
    }

    #[test]
    fn what_is_broken_ends_the_items() {
        for text in ["(((((((((((((", "UID", "UID ", "UID (", "X \"", ")", "[", &"(".repeat(60_000)] {
            assert!(all(text).len() <= 1, "{text:.20}");
        }
        assert_eq!(all(&format!("X {}", "(".repeat(60_000))).len(), 0);
    }
}
