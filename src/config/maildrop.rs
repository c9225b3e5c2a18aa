//! What a maildrop holds and what a session leaves behind: `[maildrop]`, resolved for one login.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

/// The settings of one maildrop: the defaults, under those for everyone, under the upstream's,
/// under the account's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maildrop {
    /// UTF-8 names in the order of the listing; at least one, each once, INBOX in capitals.
    pub folders: Vec<String>,
    /// `NAME+Folder` logs in to this one folder; empty: no login does.
    pub folder_separator: String,
    pub on_retrieve: OnRetrieve,
    pub on_delete: OnDelete,
    /// `None`: the one that the server marks `\Trash` (RFC 6154 §2).
    pub trash_folder: Option<String>,
    /// `None`: the one that the server marks `\Archive`, else the one of that name.
    pub archive_folder: Option<String>,
    pub only_unseen: bool,
    /// Only so many of the newest messages; 0: all.
    pub newest: u32,
    /// Only messages that arrived within this time; zero: all.
    pub max_age: Duration,
    /// A session that marks more than this is not followed; 0: no brake.
    pub max_deletions: u32,
    /// A session that marks more than this of its listing is not followed; never 0 %, and no
    /// brake at 100 %.
    pub max_deletions_share: Share,
    /// How long what is deleted stays where it is first; zero: not at all.
    pub delete_grace: Duration,
    pub unique_id: UniqueIdScheme,
    /// Behind a new UIDVALIDITY: a login to which more than this would look new is refused.
    pub max_new_share: Share,
    pub lock: Lock,
    /// What may be asked for of the server before the program asks; zero: nothing.
    pub read_ahead: Size,
}

impl Maildrop {
    /// More folders than this in one maildrop are a mistake: each costs a login round trips.
    pub const MAX_FOLDERS: usize = 64;
}

impl Default for Maildrop {
    fn default() -> Self {
        Self {
            folders: vec!["INBOX".to_owned()],
            folder_separator: "+".to_owned(),
            on_retrieve: OnRetrieve::MarkSeen,
            on_delete: OnDelete::Hide,
            trash_folder: None,
            archive_folder: None,
            only_unseen: false,
            newest: 0,
            max_age: Duration::ZERO,
            max_deletions: 0,
            max_deletions_share: Share(100),
            delete_grace: Duration::ZERO,
            unique_id: UniqueIdScheme::Popbridge,
            max_new_share: Share(10),
            lock: Lock::Exclusive,
            read_ahead: Size(4 * 1024 * 1024),
        }
    }
}

/// A folder's name as it is kept: INBOX in capitals however it is written (RFC 3501 §5.1).
/// `None` if no folder can have it.
pub fn folder_name(text: &str) -> Option<String> {
    if text.is_empty() || text.contains(char::is_control) {
        return None;
    }
    Some(if text.eq_ignore_ascii_case("INBOX") { "INBOX".to_owned() } else { text.to_owned() })
}

/// What happens on the server to a message that was retrieved whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnRetrieve {
    MarkSeen,
    Leave,
}

impl OnRetrieve {
    /// The word in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::MarkSeen => "mark-seen",
            Self::Leave => "leave",
        }
    }
}

/// What happens to a message that was deleted by DELE and QUIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDelete {
    /// Gone from this login's POP3 view, untouched on the server.
    Hide,
    /// Moved to the folder of what is thrown away.
    Trash,
    /// Moved to the folder of what is kept.
    Archive,
    /// Marked `\Deleted`, as an IMAP program does that expunges later.
    Flag,
    /// Removed from the server for everyone.
    Expunge,
}

impl OnDelete {
    /// Every one, for commands that go through them.
    pub const ALL: [Self; 5] = [Self::Hide, Self::Trash, Self::Archive, Self::Flag, Self::Expunge];

    /// The word in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hide => "hide",
            Self::Trash => "trash",
            Self::Archive => "archive",
            Self::Flag => "flag",
            Self::Expunge => "expunge",
        }
    }
}

/// How unique ids are made: as the POP3 server did that the programs know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UniqueIdScheme {
    Popbridge,
    Dovecot,
    Cyrus,
    Courier,
    Uw,
    Gmail,
    /// The server's own EMAILID (RFC 8474 §4).
    EmailId,
}

impl UniqueIdScheme {
    /// The word in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Popbridge => "popbridge",
            Self::Dovecot => "dovecot",
            Self::Cyrus => "cyrus",
            Self::Courier => "courier",
            Self::Uw => "uw",
            Self::Gmail => "gmail",
            Self::EmailId => "emailid",
        }
    }
}

/// Whether one maildrop may be open twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lock {
    Exclusive,
    Shared,
}

impl Lock {
    /// The word in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exclusive => "exclusive",
            Self::Shared => "shared",
        }
    }
}

/// Octets, written with their unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

impl Size {
    /// How many they are.
    pub fn octets(self) -> u64 {
        self.0
    }
}

/// A text that is no [`Size`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no size with its unit, like \"1 MiB\": B, KiB, MiB or GiB; \"0 B\" is none")]
pub struct NoSize;

impl FromStr for Size {
    type Err = NoSize;

    fn from_str(text: &str) -> Result<Self, NoSize> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let factor = match unit.trim_start_matches(' ') {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(NoSize),
        };
        let number: u64 = number.parse().map_err(|_| NoSize)?;
        number.checked_mul(factor).map(Self).ok_or(NoSize)
    }
}

/// A part of a whole in percent, 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u8);

impl Share {
    /// So much of `whole`, rounded down.
    pub fn of(self, whole: usize) -> usize {
        let percent = usize::from(self.0);
        // In two steps, so that no `whole` is too large to multiply.
        whole / 100 * percent + whole % 100 * percent / 100
    }

    /// Nothing of anything.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// A text that is no [`Share`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no share like \"10%\", from \"0%\" to \"100%\"")]
pub struct NoShare;

impl FromStr for Share {
    type Err = NoShare;

    fn from_str(text: &str) -> Result<Self, NoShare> {
        let digits = text.strip_suffix('%').ok_or(NoShare)?;
        if !digits.bytes().all(|octet| octet.is_ascii_digit()) {
            return Err(NoShare);
        }
        let percent = digits.parse().ok().filter(|percent| *percent <= 100);
        percent.map(Self).ok_or(NoShare)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(text: &str) -> Share {
        text.parse().unwrap_or_else(|_| panic!("{text} is a share"))
    }

    #[test]
    fn a_share_is_rounded_down() {
        assert_eq!(share("10%").of(99), 9);
        assert_eq!(share("10%").of(100), 10);
        assert_eq!(share("33%").of(10), 3);
        assert_eq!(share("100%").of(usize::MAX), usize::MAX);
        assert_eq!(share("99%").of(7), 6);
        assert_eq!(share("0%").of(1_000), 0);
        assert_eq!(share("7%").to_string(), "7%");
    }

    #[test]
    fn what_is_no_share() {
        for text in ["", "%", "10", "101%", "256%", "+10%", "-1%", "2.5%", "10 %", " 10%", "10%%"] {
            assert_eq!(text.parse::<Share>(), Err(NoShare), "{text}");
        }
    }

    #[test]
    fn sizes_have_their_unit() {
        for (text, octets) in [
            ("0 B", 0),
            ("0B", 0),
            ("1 KiB", 1024),
            ("1MiB", 1 << 20),
            ("3  GiB", 3 << 30),
            ("18446744073709551615 B", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(Size(octets)), "{text}");
        }
        for text in [
            "",
            "0",
            "1",
            "MiB",
            "1 mib",
            "1 MB",
            "1.5 MiB",
            "-1 B",
            "+1 B",
            " 1 B",
            "1 B ",
            "18446744073709551615 KiB",
        ] {
            assert_eq!(text.parse::<Size>(), Err(NoSize), "{text}");
        }
    }

    #[test]
    fn inbox_has_one_name() {
        assert_eq!(folder_name("inBox").as_deref(), Some("INBOX"));
        assert_eq!(folder_name("inbox/Work").as_deref(), Some("inbox/Work"));
        assert_eq!(folder_name("Entwürfe").as_deref(), Some("Entwürfe"));
        assert_eq!(folder_name(""), None);
        assert_eq!(folder_name("a\tb"), None);
    }
}
