//! Response lines: `+OK` and `-ERR`, with response codes (RFC 2449 §8, RFC 3206).

/// What a client may act on without understanding the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The credentials are wrong (RFC 3206 §5).
    Auth,
    /// Try later (RFC 3206 §4).
    SysTemp,
    /// A person has to do something (RFC 3206 §4).
    SysPerm,
    /// The maildrop is in use by another session (RFC 2449 §8.1.2).
    InUse,
}

impl Code {
    fn text(self) -> &'static str {
        match self {
            Self::Auth => "AUTH",
            Self::SysTemp => "SYS/TEMP",
            Self::SysPerm => "SYS/PERM",
            Self::InUse => "IN-USE",
        }
    }
}

/// The first line of a response holds at most 512 octets with its CRLF (RFC 2449 §4).
const MAX_LINE: usize = 512;

/// One response line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply(String);

impl Reply {
    /// `+OK text`
    pub fn ok(text: impl AsRef<str>) -> Self {
        Self::line("+OK", text.as_ref())
    }

    /// `-ERR text`
    pub fn err(text: impl AsRef<str>) -> Self {
        Self::line("-ERR", text.as_ref())
    }

    /// `-ERR [code] text`
    pub fn coded(code: Code, text: impl AsRef<str>) -> Self {
        Self::line(&format!("-ERR [{}]", code.text()), text.as_ref())
    }

    /// `+ challenge`: the blank stays even when nothing follows, or some clients hang.
    pub fn challenge(base64: &str) -> Self {
        Self(format!("+ {base64}"))
    }

    /// The line with its CRLF.
    pub fn write(&self, output: &mut Vec<u8>) {
        output.extend_from_slice(self.0.as_bytes());
        output.extend_from_slice(b"\r\n");
    }

    /// Whether it begins with `+`.
    pub fn is_positive(&self) -> bool {
        self.0.starts_with('+')
    }

    /// Whether it was made with this code.
    pub fn has(&self, code: Code) -> bool {
        self.0.starts_with(&format!("-ERR [{}]", code.text()))
    }

    // Words may come from an upstream: no control characters, no more than a line holds.
    fn line(indicator: &str, text: &str) -> Self {
        let mut line = String::from(indicator);
        if !text.is_empty() {
            line.push(' ');
        }
        for character in text.chars() {
            let character = if character.is_control() { ' ' } else { character };
            if line.len() + character.len_utf8() > MAX_LINE - 2 {
                break;
            }
            line.push(character);
        }
        Self(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_from_outside_stay_on_one_line() {
        let mut output = Vec::new();
        Reply::coded(Code::SysTemp, "down\r\n+OK not really").write(&mut output);
        assert_eq!(output, b"-ERR [SYS/TEMP] down  +OK not really\r\n");
    }

    #[test]
    fn a_line_holds_at_most_512_octets() {
        let mut output = Vec::new();
        Reply::err("é".repeat(600)).write(&mut output);
        assert!(output.len() <= 512, "{}", output.len());
        assert!(std::str::from_utf8(&output).is_ok());
    }
}
