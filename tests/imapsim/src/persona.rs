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
    /// The hierarchy delimiter.
    pub delimiter: char,
    /// Folders that exist from the start, with their special use ("" for none).
    pub folders: Vec<(&'static str, &'static str)>,
    /// Octets in a command line, literals not counted.
    pub line_limit: usize,
    /// What happens beyond.
    pub too_long: TooLong,
}

fn words(text: &str) -> BTreeSet<String> {
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

const USUAL_FOLDERS: &[(&str, &str)] = &[
    ("Archive", "\\Archive"),
    ("Drafts", "\\Drafts"),
    ("Junk", "\\Junk"),
    ("Sent", "\\Sent"),
    ("Trash", "\\Trash"),
];

impl Traits {
    fn dovecot() -> Self {
        Self {
            greeting: "Dovecot (Debian) ready.",
            id: "\"name\" \"Dovecot\"",
            before_login: words("IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+"),
            after_login: words(
                "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE UNSELECT CHILDREN NAMESPACE UIDPLUS \
                 LIST-EXTENDED ESEARCH MOVE LITERAL+ SPECIAL-USE",
            ),
            mechanisms: vec!["PLAIN", "LOGIN"],
            capability_codes: true,
            login_failed: "[AUTHENTICATIONFAILED] Authentication failed.",
            loses_pipelined_login: false,
            select_uidnext: true,
            select_unseen: true,
            auto_expunge: false,
            expunged_to: None,
            bare_lf: false,
            announces_keywords: true,
            keeps_keywords: true,
            missing_uid_hits_neighbour: false,
            no_fetch_rfc822: false,
            uid_last: false,
            size: SizeTrait::Exact,
            gone: Gone::NilAndOk,
            rejects_descending: false,
            lenient_examine: true,
            silent_enable: false,
            inbox: "INBOX",
            delimiter: '.',
            folders: USUAL_FOLDERS.to_vec(),
            line_limit: 64 * 1024,
            too_long: TooLong::Bad,
        }
    }

    fn minimal() -> Self {
        Self {
            greeting: "IMAP4rev1 server ready",
            id: "\"name\" \"minimal\"",
            before_login: words("IMAP4rev1"),
            after_login: words("IMAP4rev1"),
            mechanisms: vec![],
            capability_codes: false,
            login_failed: "Login failed.",
            gone: Gone::OmittedAndNo,
            lenient_examine: false,
            delimiter: '/',
            ..Self::dovecot()
        }
    }

    /// The ways of one server.
    pub fn of(persona: Persona) -> Self {
        match persona {
            Persona::Dovecot => Self::dovecot(),
            Persona::Gmail => Self::gmail(),
            Persona::Microsoft365 => Self::microsoft365(),
            Persona::Yahoo => Self::yahoo(),
            Persona::Courier => Self::courier(),
            Persona::Cyrus => Self::cyrus(),
            Persona::Imap4d => Self::imap4d(),
            Persona::Pymap => Self::pymap(),
            Persona::HMailServer => Self::hmailserver(),
            Persona::WildDuck => Self::wildduck(),
            Persona::ProtonBridge => Self::proton_bridge(),
            Persona::Icloud => Self::icloud(),
            Persona::Minimal => Self::minimal(),
        }
    }

    fn gmail() -> Self {
        Self {
            greeting: "Gimap ready for requests from 127.0.0.1 a1mb1",
            id: "\"name\" \"GImap\" \"vendor\" \"Google, Inc.\"",
            before_login: words(
                "IMAP4rev1 UNSELECT IDLE NAMESPACE QUOTA ID XLIST CHILDREN X-GM-EXT-1 XYZZY SASL-IR",
            ),
            after_login: words(
                "IMAP4rev1 UNSELECT IDLE NAMESPACE QUOTA ID XLIST CHILDREN X-GM-EXT-1 UIDPLUS \
                 ENABLE MOVE ESEARCH UTF8=ACCEPT LIST-EXTENDED LITERAL- SPECIAL-USE APPENDLIMIT=35651584",
            ),
            mechanisms: vec!["XOAUTH2", "PLAIN", "OAUTHBEARER"],
            login_failed: "[AUTHENTICATIONFAILED] Invalid credentials (Failure)",
            auto_expunge: true,
            expunged_to: Some("[Gmail]/All Mail"),
            gone: Gone::OmittedAndOk,
            folders: vec![
                ("[Gmail]", "\\Noselect"),
                ("[Gmail]/All Mail", "\\All"),
                ("[Gmail]/Drafts", "\\Drafts"),
                ("[Gmail]/Sent Mail", "\\Sent"),
                ("[Gmail]/Spam", "\\Junk"),
                ("[Gmail]/Trash", "\\Trash"),
            ],
            ..Self::minimal()
        }
    }

    fn microsoft365() -> Self {
        Self {
            greeting: "The Microsoft Exchange IMAP4 service is ready.",
            id: "\"name\" \"Microsoft.Exchange.Imap4.Imap4Server\" \"version\" \"15.20\"",
            before_login: words(
                "IMAP4 IMAP4rev1 SASL-IR UIDPLUS ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+",
            ),
            after_login: words(
                "IMAP4 IMAP4rev1 SASL-IR UIDPLUS MOVE ID UNSELECT CLIENTACCESSRULES \
                 CLIENTNETWORKPRESENCELOCATION BACKENDAUTHENTICATE CHILDREN IDLE NAMESPACE LITERAL+",
            ),
            mechanisms: vec!["PLAIN", "XOAUTH2"],
            login_failed: "LOGIN failed.",
            uid_last: true,
            announces_keywords: false,
            keeps_keywords: false,
            gone: Gone::OmittedAndOk,
            folders: vec![
                ("Archive", ""),
                ("Deleted Items", ""),
                ("Drafts", ""),
                ("Junk Email", ""),
                ("Sent Items", ""),
            ],
            ..Self::minimal()
        }
    }

    fn yahoo() -> Self {
        Self {
            greeting: "IMAP4rev1 Hello",
            id: "\"vendor\" \"Yahoo! Inc.\"",
            before_login: words("IMAP4rev1 SASL-IR ID MOVE NAMESPACE"),
            after_login: words(
                "IMAP4rev1 ID MOVE NAMESPACE UIDPLUS LITERAL+ CHILDREN UNSELECT SPECIAL-USE IDLE ENABLE",
            ),
            mechanisms: vec!["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"],
            capability_codes: true,
            login_failed: "[AUTHENTICATIONFAILED] LOGIN Invalid credentials",
            inbox: "Inbox",
            line_limit: 1000,
            folders: vec![
                ("Archive", "\\Archive"),
                ("Bulk", "\\Junk"),
                ("Draft", "\\Drafts"),
                ("Sent", "\\Sent"),
                ("Trash", "\\Trash"),
            ],
            ..Self::minimal()
        }
    }

    fn courier() -> Self {
        let list = "IMAP4rev1 UIDPLUS CHILDREN NAMESPACE THREAD=ORDEREDSUBJECT \
                    THREAD=REFERENCES SORT QUOTA IDLE";
        Self {
            greeting: "Courier-IMAP ready. Copyright 1998-2023 Double Precision, Inc.  \
                       See COPYING for distribution information.",
            before_login: words(list),
            after_login: words(list),
            capability_codes: true,
            loses_pipelined_login: true,
            select_uidnext: false,
            select_unseen: false,
            delimiter: '.',
            line_limit: 16 * 1024,
            too_long: TooLong::Bad,
            folders: vec![("INBOX.Trash", ""), ("INBOX.Sent", "")],
            ..Self::minimal()
        }
    }

    fn cyrus() -> Self {
        Self {
            greeting: "localhost Cyrus IMAP 3.6.1-Debian server ready",
            id: "\"name\" \"Cyrus IMAPD\" \"version\" \"3.6.1\"",
            before_login: words("IMAP4rev1 LITERAL+ ID ENABLE SASL-IR"),
            after_login: words(
                "IMAP4rev1 LITERAL+ ID ENABLE NAMESPACE UIDPLUS UNSELECT CHILDREN ESEARCH MOVE \
                 SPECIAL-USE LIST-EXTENDED OBJECTID IDLE",
            ),
            mechanisms: vec!["PLAIN"],
            capability_codes: true,
            login_failed: "Login failed: authentication failure",
            line_limit: 128 * 1024,
            too_long: TooLong::Bye,
            delimiter: '.',
            ..Self::minimal()
        }
    }

    fn imap4d() -> Self {
        let list = "IMAP4rev1 NAMESPACE ID IDLE LITERAL+ UNSELECT";
        Self {
            greeting: "IMAP4rev1",
            id: "\"name\" \"GNU imap4d\"",
            before_login: words(list),
            after_login: words(list),
            login_failed: "LOGIN User name or passwd rejected",
            missing_uid_hits_neighbour: true,
            folders: vec![("Trash", "")],
            ..Self::minimal()
        }
    }

    fn pymap() -> Self {
        let list = "IMAP4rev1 ENABLE ID IDLE LITERAL+ MOVE MULTIAPPEND OBJECTID SASL-IR \
                    SPECIAL-USE UIDPLUS UNSELECT";
        Self {
            greeting: "Server ready localhost",
            id: "\"name\" \"pymap\"",
            before_login: words("IMAP4rev1 ENABLE ID IDLE LITERAL+ SASL-IR"),
            after_login: words(list),
            mechanisms: vec!["PLAIN", "LOGIN"],
            capability_codes: true,
            login_failed: "[AUTHENTICATIONFAILED] Authentication failed.",
            bare_lf: true,
            announces_keywords: false,
            keeps_keywords: false,
            folders: vec![("Sent", "\\Sent"), ("Trash", "\\Trash")],
            ..Self::minimal()
        }
    }

    fn hmailserver() -> Self {
        let list = "IMAP4 IMAP4rev1 CHILDREN IDLE QUOTA SORT ACL NAMESPACE RIGHTS=texk";
        Self {
            greeting: "IMAPrev1",
            before_login: words(list),
            after_login: words(list),
            login_failed: "Invalid user name or password.",
            announces_keywords: false,
            keeps_keywords: false,
            size: SizeTrait::Off(-17),
            rejects_descending: true,
            delimiter: '.',
            folders: vec![("Trash", "")],
            ..Self::minimal()
        }
    }

    fn wildduck() -> Self {
        Self {
            greeting: "WildDuck ready",
            id: "\"name\" \"WildDuck\"",
            before_login: words("IMAP4rev1 ID SASL-IR"),
            after_login: words(
                "IMAP4rev1 ID IDLE NAMESPACE UIDPLUS UNSELECT SPECIAL-USE MOVE ENABLE CHILDREN",
            ),
            mechanisms: vec!["PLAIN"],
            login_failed: "[AUTHENTICATIONFAILED] Invalid credentials",
            auto_expunge: true,
            size: SizeTrait::Off(2),
            ..Self::minimal()
        }
    }

    fn proton_bridge() -> Self {
        let list = "IMAP4rev1 ID IDLE MOVE UIDPLUS UNSELECT";
        Self {
            greeting: "Proton Mail Bridge ready",
            id: "\"name\" \"Proton Mail Bridge\"",
            before_login: words("IMAP4rev1 ID IDLE"),
            after_login: words(list),
            login_failed: "[AUTHENTICATIONFAILED] incorrect login credentials",
            size: SizeTrait::CountedWithLf,
            folders: vec![
                ("All Mail", "\\All"),
                ("Archive", "\\Archive"),
                ("Drafts", "\\Drafts"),
                ("Sent", "\\Sent"),
                ("Spam", "\\Junk"),
                ("Trash", "\\Trash"),
            ],
            ..Self::minimal()
        }
    }

    fn icloud() -> Self {
        Self {
            greeting: "iCloud IMAP ready",
            id: "\"name\" \"iCloud\"",
            before_login: words("IMAP4rev1 SASL-IR XAPPLEPUSHSERVICE LITERAL+ ID"),
            after_login: words(
                "IMAP4rev1 ENABLE ESEARCH ID IDLE LITERAL+ MOVE NAMESPACE SPECIAL-USE UIDPLUS UNSELECT",
            ),
            mechanisms: vec!["PLAIN"],
            capability_codes: true,
            login_failed: "[AUTHENTICATIONFAILED] Authentication failed",
            no_fetch_rfc822: true,
            silent_enable: true,
            folders: vec![
                ("Archive", "\\Archive"),
                ("Deleted Messages", "\\Trash"),
                ("Drafts", "\\Drafts"),
                ("Junk", "\\Junk"),
                ("Sent Messages", "\\Sent"),
            ],
            ..Self::minimal()
        }
    }

    /// Whether an extension is announced after login, and so works.
    pub fn has(&self, capability: &str) -> bool {
        self.after_login.iter().any(|name| name.eq_ignore_ascii_case(capability))
    }

    /// Switches an extension on or off. `AUTH=…`, `SASL-IR`, `LITERAL+`, `ID` and whatever is
    /// announced before login changes there as well.
    pub fn set_capability(&mut self, name: &str, on: bool) {
        let name = name.to_ascii_uppercase();
        if let Some(mechanism) = name.strip_prefix("AUTH=") {
            self.mechanisms.retain(|known| *known != mechanism);
            let known =
                ["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"].into_iter().find(|known| *known == mechanism);
            self.mechanisms.extend(known.filter(|_| on));
        } else if on {
            if matches!(name.as_str(), "SASL-IR" | "LITERAL+" | "ID" | "LOGINDISABLED") {
                self.before_login.insert(name.clone());
            }
            self.after_login.insert(name);
        } else {
            self.before_login.remove(&name);
            self.after_login.remove(&name);
        }
    }
}
