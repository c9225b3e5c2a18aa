//! A mail address, and the names of hosts: text from outside becomes one of them here.

use std::fmt;
use std::str::FromStr;

use url::Host;

/// RFC 5321 §4.5.3.1.1, in octets.
const LONGEST_LOCAL: usize = 64;
/// RFC 1035 §2.3.4, in octets.
const LONGEST_NAME: usize = 253;

/// A mail address: `alice@example.org`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailAddress {
    local: String,
    domain: String,
}

/// Why some text is no mail address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAddress {
    #[error("a mail address has an @, as in alice@example.org")]
    NoAt,
    #[error("{0:?} cannot stand before the @ of a mail address")]
    Local(String),
    #[error("{0:?} is no domain that mail servers could be looked up for")]
    Domain(String),
}

impl MailAddress {
    /// What stands before the last `@`, as it was written (RFC 5321 §4.1.2).
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The domain in lower case and in A-labels (RFC 5890 §2.3.2.1).
    pub fn domain(&self) -> &str {
        &self.domain
    }
}

impl FromStr for MailAddress {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let (local, domain) = text.trim().rsplit_once('@').ok_or(NoAddress::NoAt)?;
        if !is_local(local) {
            return Err(NoAddress::Local(local.to_owned()));
        }
        let domain = host_name(domain).ok_or_else(|| NoAddress::Domain(domain.to_owned()))?;
        Ok(Self { local: local.to_owned(), domain })
    }
}

impl fmt::Display for MailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

/// A dot-string or a quoted string (RFC 5321 §4.1.2), in UTF-8 as well (RFC 6531 §3.3). Dots may
/// stand anywhere, as in addresses that providers have given out.
fn is_local(text: &str) -> bool {
    let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let good = match quoted {
        Some(inner) => {
            let mut letters = inner.chars();
            let mut good = true;
            while let Some(letter) = letters.next() {
                // A backslash takes the next letter with it.
                good &= match letter {
                    '"' => false,
                    '\\' => letters.next().is_some(),
                    _ => true,
                };
            }
            good
        }
        None => {
            !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || r#"()<>[]:;@\,""#.contains(c))
        }
    };
    good && text.len() <= LONGEST_LOCAL && !text.contains(char::is_control)
}

/// A host's or a domain's name in lower case and in A-labels, without a dot behind it. `None` for
/// addresses and for what is no name that DNS and certificates have.
pub fn host_name(text: &str) -> Option<String> {
    // `Host` would decode percent signs.
    if text.contains('%') {
        return None;
    }
    let Ok(Host::Domain(name)) = Host::parse(text.strip_suffix('.').unwrap_or(text)) else {
        return None;
    };
    let is_label = |label: &str| {
        matches!(label.len(), 1..=63)
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (name.len() <= LONGEST_NAME && name.split('.').all(is_label)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Result<(String, String), NoAddress> {
        text.parse().map(|address: MailAddress| (address.local, address.domain))
    }

    #[test]
    fn addresses_are_read() {
        for (text, local, domain) in [
            ("alice@example.org", "alice", "example.org"),
            ("  Alice.B+tag@EXAMPLE.Org. ", "Alice.B+tag", "example.org"),
            ("alice@bücher.example", "alice", "xn--bcher-kva.example"),
            ("jörg@example.org", "jörg", "example.org"),
            ("..a..@example.org", "..a..", "example.org"),
            (r#""al ice@home"@example.org"#, r#""al ice@home""#, "example.org"),
            (r#""a\"b\\"@example.org"#, r#""a\"b\\""#, "example.org"),
            ("alice@localhost", "alice", "localhost"),
        ] {
            assert_eq!(parts(text), Ok((local.to_owned(), domain.to_owned())), "{text}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        assert_eq!(parts("alice"), Err(NoAddress::NoAt));
        for text in ["@example.org", "a b@example.org", "a\"b@example.org", r#""a"b"@example.org"#] {
            assert!(matches!(parts(text), Err(NoAddress::Local(_))), "{text}");
        }
        for text in [r#""a\"@example.org"#, "\"a\r\nb\"@example.org", "a\0@example.org", "<a@example.org"] {
            assert!(matches!(parts(text), Err(NoAddress::Local(_))), "{text}");
        }
        assert!(matches!(parts(&format!("{}@example.org", "a".repeat(65))), Err(NoAddress::Local(_))));
        for domain in [
            "",
            ".",
            "a..b",
            "exa mple.org",
            "192.0.2.1",
            "[192.0.2.1]",
            "[::1]",
            "-a.org",
            "a-.org",
            "a_b.org",
            "a/b",
            "a:1",
            "a%2eorg",
            "a\r\nb.org",
            "x@",
            "127.1",
            "0x7f.1",
        ] {
            let text = format!("alice@{domain}");
            assert!(parts(&text).is_err(), "{text}");
        }
        assert!(parts(&format!("alice@{}.org", "a".repeat(64))).is_err());
        assert!(parts(&format!("alice@{}org", "abcdefg.".repeat(32))).is_err());
    }
}
