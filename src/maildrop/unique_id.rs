//! Unique ids (RFC 1939 §7): the same for a message in every session.
//!
//! Most are derived from UIDVALIDITY and UID, so that they need no memory and survive a loss of
//! all state. They are written as the former server wrote them, where there was one.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::config::UniqueIdScheme as Scheme;
use crate::ids::{Uid, UidValidity};

/// Derives the ids of one folder.
#[derive(Debug, Clone, Copy)]
pub struct Deriver {
    form: Form,
    suffix: Option<u32>,
}

impl Deriver {
    /// For the folder of this name, as it goes over the wire; it has to be spelled one way always.
    ///
    /// `popbridge` is UIDVALIDITY and UID, 8 hexadecimal digits each: no dot, since Outlook 2003
    /// dislikes one. `uw` is the same, as ipop3d wrote it. `dovecot` is the default of its
    /// `pop3_uidl_format`, `%08Xu%08Xv`, in lower case; `cyrus` what it writes since 2.1.4.
    /// `courier` has the right form, but Courier numbers by a list of its own: the numbers fit only
    /// where the migration took them over. For `gmail` and `emailid` the ids are stored, by `gmail()`
    /// and `email_id()`; nothing can be derived.
    pub fn new(scheme: Scheme, folder: &str) -> Self {
        // Its name is the only one that has no case (RFC 3501 §5.1).
        if folder.eq_ignore_ascii_case("INBOX") {
            let form = match scheme {
                Scheme::Popbridge | Scheme::Uw | Scheme::Gmail | Scheme::EmailId => Form::ValidityUid,
                Scheme::Dovecot => Form::UidValidity,
                Scheme::Cyrus => Form::Dotted,
                Scheme::Courier => Form::Courier,
            };
            return Self { form, suffix: None };
        }
        // A former POP3 server showed no other folder: there is nothing to go on with. Folders may
        // have the same UIDVALIDITY and UIDs, and may come together in one maildrop.
        let [a, b, c, d, ..]: [u8; 32] = Sha256::digest(folder).into();
        Self { form: Form::ValidityUid, suffix: Some(u32::from_be_bytes([a, b, c, d])) }
    }

    /// An id that does not derive from numbers, told apart from the same message's in other folders.
    pub fn stored(&self, id: &str) -> String {
        self.suffix.map_or_else(|| id.to_owned(), |suffix| format!("{id}{suffix:08x}"))
    }

    /// The id of the message that is `uid` under `validity`.
    pub fn id(&self, validity: UidValidity, uid: Uid) -> UniqueId {
        UniqueId { form: self.form, validity, uid, suffix: self.suffix }
    }
}

/// A derived unique id. Small, since a listing has one for every message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UniqueId {
    form: Form,
    validity: UidValidity,
    uid: Uid,
    suffix: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    ValidityUid,
    UidValidity,
    Dotted,
    Courier,
}

impl UniqueId {
    /// Appends it to `output`: ASCII, whatever the form.
    pub fn write(&self, output: &mut Vec<u8>) {
        let (validity, uid) = (self.validity.get(), self.uid.get());
        match self.form {
            Form::ValidityUid => {
                hexadecimal(validity, output);
                hexadecimal(uid, output);
            }
            Form::UidValidity => {
                hexadecimal(uid, output);
                hexadecimal(validity, output);
            }
            Form::Dotted => {
                decimal(validity, output);
                output.push(b'.');
                decimal(uid, output);
            }
            Form::Courier => {
                output.extend_from_slice(b"UID");
                decimal(uid, output);
                output.push(b'-');
                decimal(validity, output);
            }
        }
        if let Some(suffix) = self.suffix {
            hexadecimal(suffix, output);
        }
    }
}

impl fmt::Display for UniqueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        self.write(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

/// Eight digits.
fn hexadecimal(number: u32, output: &mut Vec<u8>) {
    let mut digits = [0; 8];
    // It fails for another length only.
    if hex::encode_to_slice(number.to_be_bytes(), &mut digits).is_ok() {
        output.extend_from_slice(&digits);
    }
}

fn decimal(number: u32, output: &mut Vec<u8>) {
    output.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Whether a client may be given this as a unique id: 1 to 70 of 0x21 to 0x7E (RFC 1939 §7).
pub fn is_valid(text: &str) -> bool {
    (1..=70).contains(&text.len()) && text.bytes().all(|octet| matches!(octet, 0x21..=0x7e))
}

/// The id that Gmail's own POP3 server writes, from X-GM-MSGID as IMAP shows it.
pub fn gmail(msgid_decimal: &str) -> Option<String> {
    // `parse` alone would take a sign.
    if !msgid_decimal.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    msgid_decimal.parse::<u64>().ok().map(|number| format!("GmailId{number:x}"))
}

/// The id from EMAILID (RFC 8474 §5.1), as it is.
pub fn email_id(id: &str) -> Option<String> {
    is_valid(id).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SCHEMES: [Scheme; 7] = [
        Scheme::Popbridge,
        Scheme::Dovecot,
        Scheme::Cyrus,
        Scheme::Courier,
        Scheme::Uw,
        Scheme::Gmail,
        Scheme::EmailId,
    ];

    fn id(scheme: Scheme, folder: &str, validity: u32, uid: u32) -> UniqueId {
        let validity = UidValidity::parse(validity.to_string().as_bytes()).expect("not zero");
        Deriver::new(scheme, folder).id(validity, Uid::new(uid).expect("not zero"))
    }

    #[test]
    fn forms() {
        let text = |scheme| id(scheme, "INBOX", 0x43ef_424e, 43).to_string();
        let own = "43ef424e0000002b";
        let expected = [own, "0000002b43ef424e", "1139753550.43", "UID43-1139753550", own, own, own];
        assert_eq!(SCHEMES.map(text), expected);
        assert_eq!(id(Scheme::Dovecot, "inbox", 1, 2), id(Scheme::Dovecot, "INBOX", 1, 2));
    }

    #[test]
    fn other_folders_have_a_suffix_and_one_form() {
        for scheme in SCHEMES {
            // printf Archive | sha256sum
            assert_eq!(id(scheme, "Archive", 1, 2).to_string(), "000000010000000266f4804e");
        }
        assert_ne!(id(Scheme::Cyrus, "Archive", 1, 2), id(Scheme::Cyrus, "archive", 1, 2));
    }

    #[test]
    fn ids_of_the_server() {
        assert_eq!(gmail("1278455344230334865").as_deref(), Some("GmailId11bdfc5cae0c8191"));
        assert_eq!(gmail("18446744073709551615").as_deref(), Some("GmailIdffffffffffffffff"));
        for none in ["", "-1", "+1", "18446744073709551616", "1a", " 1", "٣"] {
            assert_eq!(gmail(none), None, "{none:?}");
        }
        assert_eq!(email_id("M6d99ac3275bb4e").as_deref(), Some("M6d99ac3275bb4e"));
        let long = "x".repeat(70);
        assert_eq!(email_id(&long), Some(long.clone()));
        for none in ["", "a b", "ä", "a\u{7f}", &format!("{long}x")] {
            assert_eq!(email_id(none), None, "{none:?}");
        }
    }

    #[test]
    fn an_id_is_no_burden() {
        assert!(size_of::<UniqueId>() <= 24);
    }

    proptest! {
        #[test]
        fn within_the_rules_and_injective(
            scheme in prop::sample::select(&SCHEMES[..]),
            one in ("INBOX|[a-z]{1,3}", prop_oneof![1u32..20, 1u32..], prop_oneof![1u32..20, 1u32..]),
            other in ("INBOX|[a-z]{1,3}", prop_oneof![1u32..20, 1u32..], prop_oneof![1u32..20, 1u32..]),
        ) {
            let [a, b] = [&one, &other].map(|(folder, validity, uid)| id(scheme, folder, *validity, *uid));
            prop_assert!(is_valid(&a.to_string()));
            prop_assert_eq!(a == b, one == other);
            prop_assert_eq!(a.to_string() == b.to_string(), one == other);
        }
    }
}
