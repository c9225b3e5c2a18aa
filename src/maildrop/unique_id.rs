//! Unique ids (RFC 1939 §7): the same for a message in every session.

use std::fmt;

use crate::ids::{Uid, UidValidity};

/// A unique id derived from UIDVALIDITY and UID: 16 hexadecimal digits, no dot, since Outlook 2003
/// dislikes one. Needs no memory, survives a loss of all state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UniqueId {
    validity: UidValidity,
    uid: Uid,
}

impl UniqueId {
    /// The id of the message that is `uid` under `validity`.
    pub fn derived(validity: UidValidity, uid: Uid) -> Self {
        Self { validity, uid }
    }
}

impl fmt::Display for UniqueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}{:08x}", self.validity.get(), self.uid.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn injective_and_within_the_rules(a in 1u32.., b in 1u32.., c in 1u32.., d in 1u32..) {
            let id = |validity: u32, uid: u32| {
                let validity = UidValidity::parse(validity.to_string().as_bytes()).expect("not zero");
                UniqueId::derived(validity, Uid::new(uid).expect("not zero")).to_string()
            };
            let text = id(a, b);
            prop_assert!((1..=70).contains(&text.len()));
            prop_assert!(text.bytes().all(|octet| (0x21..=0x7e).contains(&octet)));
            prop_assert_eq!(text == id(c, d), (a, b) == (c, d));
        }
    }
}
