//! Real servers' ways, as named traits.

use std::collections::BTreeSet;

/// A server to imitate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Persona {
    /// Dovecot 2.3.
    #[default]
    Dovecot,
    /// Gmail: auto-expunge, labels as folders.
    Gmail,
    /// Exchange Online.
    Microsoft365,
    /// Yahoo and AOL.
    Yahoo,
    /// Courier-IMAP.
    Courier,
    /// Cyrus IMAP.
    Cyrus,
    /// GNU mailutils imap4d.
    Imap4d,
    /// pymap (Python).
    Pymap,
    /// hMailServer.
    HMailServer,
    /// WildDuck.
    WildDuck,
    /// Proton Mail Bridge, an old one.
    ProtonBridge,
    /// iCloud.
    Icloud,
    /// IMAP4rev1 and not one extension.
    Minimal,
}

impl Persona {
    /// Every one, for tests that go through them.
    pub const ALL: [Self; 13] = [
        Self::Dovecot,
        Self::Gmail,
        Self::Microsoft365,
        Self::Yahoo,
        Self::Courier,
        Self::Cyrus,
        Self::Imap4d,
        Self::Pymap,
        Self::HMailServer,
        Self::WildDuck,
        Self::ProtonBridge,
        Self::Icloud,
        Self::Minimal,
    ];
}

/// What a FETCH shows of a message that another client has removed meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// `BODY[] NIL`, `RFC822.SIZE 0`, and a tagged `OK [EXPUNGEISSUED]`: Dovecot.
    NilAndOk,
    /// The same rows and a tagged `NO [EXPUNGEISSUED]`.
    NilAndNo,
    /// No row, tagged OK.
    OmittedAndOk,
    /// No row, tagged `NO`.
    OmittedAndNo,
}

/// How far RFC822.SIZE can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeTrait {
    /// It is the length of `BODY[]`.
    Exact,
    /// Line ends are counted as one octet.
    CountedWithLf,
    /// Off by this.
    Off(i64),
}

/// What happens to a command line that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooLong {
    /// It is answered BAD.
    Bad,
    /// The connection ends with BYE.
    Bye,
}

/// What happens to a connection over `most_connections`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// It is greeted with BYE.
    Bye,
    /// It is closed without a word, ahead of TLS.
    Close,
    /// Its login is answered NO with this.
    Refuse(&'static str),
}

/// Everything in which the personas differ. A test may change single ones, see `Server::adjust`.
#[derive(Clone, Debug)]
pub struct Traits {
    /// The text after the capabilities in the greeting.
    pub greeting: &'static str,
    /// The answer to ID, without the outer parentheses.
    pub id: &'static str,
    /// Announced before login; AUTH=…, STARTTLS and LOGINDISABLED are added where they hold.
    pub before_login: BTreeSet<String>,
    /// Announced after login, and what works.
    pub after_login: BTreeSet<String>,
    /// SASL mechanisms.
    pub mechanisms: Vec<&'static str>,
    /// The greeting and the answer to LOGIN carry CAPABILITY.
    pub capability_codes: bool,
    /// What follows the tagged NO of a wrong password.
    pub login_failed: &'static str,
    /// The challenge before the NO about an access token (RFC 7628 §3.2.2), if there is one.
    pub token_error: Option<&'static str>,
    /// Commands sent behind LOGIN before its answer are lost: Courier.
    pub loses_pipelined_login: bool,
    /// SELECT tells UIDNEXT.
    pub select_uidnext: bool,
    /// SELECT tells the first unseen message.
    pub select_unseen: bool,
    /// Setting \Deleted removes at once.
    pub auto_expunge: bool,
    /// What is expunged elsewhere than in the trash goes here: Gmail.
    pub expunged_to: Option<&'static str>,
    /// Bodies go out as they were appended, bare LF and all.
    pub bare_lf: bool,
    /// PERMANENTFLAGS has `\*`.
    pub announces_keywords: bool,
    /// Keywords are kept; else dropped while STORE answers OK.
    pub keeps_keywords: bool,
    /// A UID command for one missing UID is applied to its neighbour: GNU imap4d.
    pub missing_uid_hits_neighbour: bool,
    /// `FETCH RFC822` gives nothing: iCloud.
    pub no_fetch_rfc822: bool,
    /// FETCH items come in another order, UID after the body: Exchange.
    pub uid_last: bool,
    /// RFC822.SIZE.
    pub size: SizeTrait,
    /// Messages removed meanwhile.
    pub gone: Gone,
    /// UIDs of a set given as `9:1` are refused: hMailServer.
    pub rejects_descending: bool,
    /// STORE and EXPUNGE under EXAMINE are answered OK and ignored, and MOVE even works; else NO.
    pub lenient_examine: bool,
    /// ENABLE answers without `* ENABLED`: iCloud.
    pub silent_enable: bool,
    /// How LIST spells the inbox.
    pub inbox: &'static str,
    /// LIST answers names as literals, as any server may.
    pub list_literals: bool,
    /// The hierarchy delimiter.
    pub delimiter: char,
    /// Folders that exist from the start, with their special use ("" for none).
    pub folders: Vec<(&'static str, &'static str)>,
    /// Octets in a command line, literals not counted.
    pub line_limit: usize,
    /// What happens beyond.
    pub too_long: TooLong,
    /// IDLE tells nothing of what happens to the mailbox.
    pub mute_idle: bool,
    /// Connections at once, of all accounts.
    pub most_connections: usize,
    /// What happens beyond.
    pub when_full: WhenFull,
}

impl Traits {
    /// Whether an extension is announced after login, and so works.
    pub fn has(&self, capability: &str) -> bool {
        self.after_login.iter().any(|name| name.eq_ignore_ascii_case(capability))
    }

    /// Switches an extension on or off. `AUTH=…`, `SASL-IR`, `LITERAL+`, `LITERAL-`, `ID` and whatever is
    /// announced before login changes there as well.
    pub fn set_capability(&mut self, name: &str, on: bool) {
        let name = name.to_ascii_uppercase();
        if let Some(mechanism) = name.strip_prefix("AUTH=") {
            self.mechanisms.retain(|known| *known != mechanism);
            let known = ["PLAIN", "LOGIN", "SCRAM-SHA-256", "XOAUTH2", "OAUTHBEARER"];
            let known = known.into_iter().find(|known| *known == mechanism);
            self.mechanisms.extend(known.filter(|_| on));
        } else if on {
            if matches!(name.as_str(), "SASL-IR" | "LITERAL+" | "LITERAL-" | "ID" | "LOGINDISABLED") {
                self.before_login.insert(name.clone());
            }
            self.after_login.insert(name);
        } else {
            self.before_login.remove(&name);
            self.after_login.remove(&name);
        }
    }
}
