//! The ways of each server, as differences from Dovecot or from a server without extensions.

use std::collections::BTreeSet;

use crate::persona::{Gone, Persona, SizeTrait, TooLong, Traits, WhenFull};

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
            token_error: Some("{\"status\":\"invalid_token\",\"scope\":\"mail\"}"),
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
            list_literals: false,
            delimiter: '.',
            folders: vec![("Trash", "\\Trash")],
            line_limit: 64 * 1024,
            too_long: TooLong::Bad,
            mute_idle: false,
            most_connections: usize::MAX,
            when_full: WhenFull::Bye,
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
            folders: USUAL_FOLDERS.to_vec(),
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
            token_error: Some(
                "{\"status\":\"400\",\"schemes\":\"Bearer\",\"scope\":\"https://mail.google.com/\"}",
            ),
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
            token_error: None,
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
                    THREAD=REFERENCES SORT QUOTA IDLE ACL ACL2=UNION";
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
            id: "\"name\" \"WildDuck IMAP Server\" \"vendor\" \"Kreata\"",
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
}
