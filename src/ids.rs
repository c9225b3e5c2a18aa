//! Numbers and names that must not be mixed up. Text becomes one of them in one place.

use std::fmt;
use std::num::NonZeroU32;

/// A message's place in the maildrop of one session, from 1 (RFC 1939 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageNumber(NonZeroU32);

impl MessageNumber {
    /// Reads a message number as a client writes it: decimal digits, not zero.
    pub fn parse(text: &[u8]) -> Option<Self> {
        decimal(text).and_then(NonZeroU32::new).map(Self)
    }

    /// The number of the entry at `index`, counted from 0; `None` past 2³² − 1.
    pub fn from_index(index: usize) -> Option<Self> {
        u32::try_from(index).ok().and_then(|index| index.checked_add(1)).and_then(NonZeroU32::new).map(Self)
    }

    /// The plain number.
    pub fn get(self) -> u32 {
        self.0.get()
    }

    /// The entry's index, counted from 0.
    pub fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl fmt::Display for MessageNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A message's unique identifier in one mailbox under one [`UidValidity`] (RFC 3501 §2.3.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(NonZeroU32);

impl Uid {
    /// Reads a UID as an IMAP server writes it: decimal digits, not zero.
    pub fn parse(text: &[u8]) -> Option<Self> {
        decimal(text).and_then(Self::new)
    }

    /// `None` for zero, which is no UID.
    pub fn new(value: u32) -> Option<Self> {
        NonZeroU32::new(value).map(Self)
    }

    /// The plain number.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Tells whether the UIDs of a mailbox still mean the same messages (RFC 3501 §2.3.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UidValidity(NonZeroU32);

impl UidValidity {
    /// `None` for zero, which is no UIDVALIDITY.
    pub fn new(value: u32) -> Option<Self> {
        NonZeroU32::new(value).map(Self)
    }

    /// Reads a UIDVALIDITY as an IMAP server writes it: decimal digits, not zero.
    pub fn parse(text: &[u8]) -> Option<Self> {
        decimal(text).and_then(NonZeroU32::new).map(Self)
    }

    /// The plain number.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for UidValidity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Octets of a message with CRLF line ends, before dot-stuffing (RFC 1939 §11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Octets(pub u64);

impl fmt::Display for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::iter::Sum for Octets {
    fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
        // A server may claim any sizes; their sum must not overflow.
        Self(items.fold(0, |sum, item| sum.saturating_add(item.0)))
    }
}

/// A decimal number of at most ten digits, with nothing else around it.
pub fn decimal(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 10 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_signs_and_overflow_are_no_numbers() {
        for text in ["0", "", "+1", "-1", " 1", "1 ", "4294967296", "00000000001", "1a"] {
            assert_eq!(MessageNumber::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(MessageNumber::parse(b"1").map(MessageNumber::index), Some(0));
        assert_eq!(Uid::parse(b"4294967295").map(Uid::get), Some(u32::MAX));
    }
}
