//! A command line as a flat list of tokens. Brackets nest only as tokens, so no depth that a peer
//! chooses is ever recursed over.

/// One piece of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// Unquoted; `[` … `]` inside may hold blanks, as in `BODY[HEADER.FIELDS (TO)]<0.9>`.
    Atom(String),
    /// A quoted string, or a literal.
    Text(Vec<u8>),
    Open,
    Close,
}

/// Adds the tokens of one line, or of one part of a line between literals.
pub(crate) fn tokens(line: &[u8], into: &mut Vec<Token>) -> Result<(), &'static str> {
    let mut at = 0;
    while let Some(&octet) = line.get(at) {
        match octet {
            b' ' => at += 1,
            b'(' => {
                into.push(Token::Open);
                at += 1;
            }
            b')' => {
                into.push(Token::Close);
                at += 1;
            }
            b'"' => {
                let (text, after) = quoted(line, at + 1)?;
                into.push(Token::Text(text));
                at = after;
            }
            0 | b'\r' | b'\n' => return Err("Invalid character"),
            _ => {
                let after = atom_end(line, at)?;
                let atom = std::str::from_utf8(&line[at..after]).map_err(|_| "8bit data in atom")?;
                into.push(Token::Atom(atom.to_owned()));
                at = after;
            }
        }
    }
    Ok(())
}

fn quoted(line: &[u8], mut at: usize) -> Result<(Vec<u8>, usize), &'static str> {
    let mut text = Vec::new();
    loop {
        match line.get(at) {
            None => return Err("Missing '\"'"),
            Some(b'"') => return Ok((text, at + 1)),
            Some(b'\\') => {
                text.push(*line.get(at + 1).ok_or("Missing '\"'")?);
                at += 2;
            }
            Some(&octet) => {
                text.push(octet);
                at += 1;
            }
        }
    }
}

fn atom_end(line: &[u8], mut at: usize) -> Result<usize, &'static str> {
    while let Some(&octet) = line.get(at) {
        match octet {
            b'[' => at += memchr::memchr(b']', &line[at..]).ok_or("Missing ']'")? + 1,
            b' ' | b'(' | b')' | b'"' | 0 => break,
            _ => at += 1,
        }
    }
    Ok(at)
}

/// The size a line announces at its end, `{n}` or `{n+}`, the latter as `true`, and the line before it.
pub(crate) fn literal(line: &[u8]) -> Option<(&[u8], u64, bool)> {
    let inner = line.strip_suffix(b"}")?;
    let open = memchr::memrchr(b'{', inner)?;
    if open > 0 && !matches!(inner[open - 1], b' ' | b'(') {
        return None;
    }
    let digits = &inner[open + 1..];
    let (digits, plus) = match digits.strip_suffix(b"+") {
        Some(rest) => (rest, true),
        None => (digits, false),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let size = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((&line[..open], size, plus))
}

/// Reads tokens from the front.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Args<'a> {
    left: &'a [Token],
}

impl<'a> Args<'a> {
    pub(crate) fn new(tokens: &'a [Token]) -> Self {
        Self { left: tokens }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    pub(crate) fn peek(&self) -> Option<&'a Token> {
        self.left.first()
    }

    pub(crate) fn next(&mut self) -> Option<&'a Token> {
        let (first, rest) = self.left.split_first()?;
        self.left = rest;
        Some(first)
    }

    /// An astring: an atom, a quoted string or a literal.
    pub(crate) fn octets(&mut self) -> Option<Vec<u8>> {
        match self.next()? {
            Token::Atom(atom) => Some(atom.clone().into_bytes()),
            Token::Text(text) => Some(text.clone()),
            Token::Open | Token::Close => None,
        }
    }

    /// An astring that is UTF-8.
    pub(crate) fn text(&mut self) -> Option<String> {
        String::from_utf8(self.octets()?).ok()
    }

    pub(crate) fn atom(&mut self) -> Option<&'a str> {
        match self.next()? {
            Token::Atom(atom) => Some(atom),
            _ => None,
        }
    }

    /// Takes the next token if it is this atom, in any case.
    pub(crate) fn take(&mut self, wanted: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Atom(atom)) if atom.eq_ignore_ascii_case(wanted));
        if found {
            self.next();
        }
        found
    }

    /// A list of atoms in parentheses, or one atom alone; nested lists are not wanted anywhere.
    pub(crate) fn atoms(&mut self) -> Option<Vec<&'a str>> {
        if self.peek() != Some(&Token::Open) {
            return Some(vec![self.atom()?]);
        }
        self.next();
        let mut list = Vec::new();
        loop {
            match self.next()? {
                Token::Close => return Some(list),
                Token::Atom(atom) => list.push(atom.as_str()),
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Vec<Token>, &'static str> {
        let mut list = Vec::new();
        tokens(line.as_bytes(), &mut list).map(|()| list)
    }

    #[test]
    fn a_section_is_one_atom() {
        let list = of("1:* (UID BODY.PEEK[HEADER.FIELDS (TO \"X\")]<0.9>)").unwrap();
        assert_eq!(list.len(), 5);
        assert_eq!(list[3], Token::Atom("BODY.PEEK[HEADER.FIELDS (TO \"X\")]<0.9>".into()));
    }

    #[test]
    fn strings_are_unquoted() {
        assert_eq!(of(r#""a \"b\\""#).unwrap(), [Token::Text(b"a \"b\\".to_vec())]);
        assert!(of("\"open").is_err() && of("BODY[").is_err() && of("a\0b").is_err());
    }

    #[test]
    fn literals_are_seen_at_the_end_only() {
        assert_eq!(literal(b"LOGIN {5}"), Some((&b"LOGIN "[..], 5, false)));
        assert_eq!(literal(b"LOGIN {5+}"), Some((&b"LOGIN "[..], 5, true)));
        assert_eq!(literal(b"LOGIN x{5}"), None);
        assert_eq!(literal(b"LOGIN {}"), None);
        assert_eq!(literal(b"LOGIN {5} x"), None);
    }
}
