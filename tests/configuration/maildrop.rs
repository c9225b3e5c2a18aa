//! `[maildrop]` in its three layers, and the accounts: what they come to, and what is refused.

use std::time::Duration;

use popbridge::config::{Lock, Maildrop, OnDelete, OnRetrieve, UniqueIdScheme};

use super::{UPSTREAM, days, parse, refusal, refused_at};

/// Everyone's settings; the line stands at 4.
fn everyone(line: &str) -> String {
    format!("{UPSTREAM}[maildrop]\n{line}\n")
}

fn of_everyone(line: &str) -> Maildrop {
    (*parse(&everyone(line)).upstreams[0].maildrop).clone()
}

/// Refused in each of the layers, however it is written.
fn refused_in_each_layer(line: &str, words: &[&str]) {
    refused_at(4, &everyone(line), words);
    refused_at(4, &format!("{UPSTREAM}[upstream.home.maildrop]\n{line}\n"), words);
    refused_at(3, &format!("{UPSTREAM}maildrop = {{ {line} }}\n"), words);
    refused_at(5, &format!("{UPSTREAM}[[account]]\nlogin = \"scanner\"\nmaildrop = {{ {line} }}\n"), words);
}

#[test]
fn the_defaults_are_what_they_are() {
    let maildrop = of_everyone("");
    let expected = Maildrop {
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
        max_deletions_share: "100%".parse().expect("a share"),
        delete_grace: Duration::ZERO,
        unique_id: UniqueIdScheme::Popbridge,
        max_new_share: "10%".parse().expect("a share"),
        lock: Lock::Exclusive,
        read_ahead: "4 MiB".parse().expect("a size"),
    };
    assert_eq!(maildrop, expected);
}

#[test]
fn every_key_is_heard() {
    let maildrop = of_everyone(
        "folders = [\"Work\", \"inbox\", \"Entwürfe\"]\n\
         folder_separator = \"/\"\n\
         on_retrieve = \"leave\"\n\
         on_delete = \"archive\"\n\
         trash_folder = \"Bin\"\n\
         archive_folder = \"Old\"\n\
         only_unseen = true\n\
         newest = 200\n\
         max_age = \"30d\"\n\
         max_deletions = 50\n\
         max_deletions_share = \"1%\"\n\
         delete_grace = \"7d\"\n\
         unique_id = \"emailid\"\n\
         max_new_share = \"0%\"\n\
         lock = \"shared\"\n\
         read_ahead = \"64 KiB\"\n",
    );
    let expected = Maildrop {
        folders: ["Work", "INBOX", "Entwürfe"].map(str::to_owned).to_vec(),
        folder_separator: "/".to_owned(),
        on_retrieve: OnRetrieve::Leave,
        on_delete: OnDelete::Archive,
        trash_folder: Some("Bin".to_owned()),
        archive_folder: Some("Old".to_owned()),
        only_unseen: true,
        newest: 200,
        max_age: days(30),
        max_deletions: 50,
        max_deletions_share: "1%".parse().expect("a share"),
        delete_grace: days(7),
        unique_id: UniqueIdScheme::EmailId,
        max_new_share: "0%".parse().expect("a share"),
        lock: Lock::Shared,
        read_ahead: "64 KiB".parse().expect("a size"),
    };
    assert_eq!(maildrop, expected);
}

#[test]
fn every_word_is_its_name() {
    for word in ["hide", "trash", "archive", "flag", "expunge"] {
        assert_eq!(of_everyone(&format!("on_delete = \"{word}\"")).on_delete.name(), word);
    }
    for word in ["popbridge", "dovecot", "cyrus", "courier", "uw", "gmail", "emailid"] {
        assert_eq!(of_everyone(&format!("unique_id = \"{word}\"")).unique_id.name(), word);
    }
    for word in ["mark-seen", "leave"] {
        assert_eq!(of_everyone(&format!("on_retrieve = \"{word}\"")).on_retrieve.name(), word);
    }
    for word in ["exclusive", "shared"] {
        assert_eq!(of_everyone(&format!("lock = \"{word}\"")).lock.name(), word);
    }
}

#[test]
fn wrong_words_are_answered_with_the_right_ones() {
    for (line, words) in [
        (
            "on_delete = \"delete\"",
            &["\"delete\" is none of the values", "\"hide\", \"trash\", \"archive\", \"flag\", \"expunge\""]
                [..],
        ),
        ("on_retrieve = \"read\"", &["\"mark-seen\", \"leave\""]),
        ("lock = true", &["one of this key's words", "in quotation marks"]),
        ("lock = \"none\"", &["\"exclusive\", \"shared\""]),
        (
            "unique_id = \"qmail\"",
            &["\"popbridge\", \"dovecot\", \"cyrus\", \"courier\", \"uw\", \"gmail\", \"emailid\""],
        ),
        ("on_deleet = \"hide\"", &["unknown key \"on_deleet\"", "did you mean \"on_delete\"?"]),
        ("folder = [\"INBOX\"]", &["unknown key \"folder\"", "did you mean \"folders\"?"]),
        ("newest = -1", &["-1", "a whole number below 2^32"]),
        ("max_deletions = \"5\"", &["\"5\"", "a whole number below 2^32"]),
        ("only_unseen = \"yes\"", &["\"yes\"", "a boolean"]),
    ] {
        refused_in_each_layer(line, words);
    }
}

#[test]
fn folders_are_checked() {
    let many: Vec<String> = (0..65).map(|number| format!("\"{number}\"")).collect();
    for (line, words) in [
        ("folders = []", &["at least one folder", "[\"INBOX\"]"][..]),
        ("folders = \"INBOX\"", &["\"INBOX\" is no list of folders, like [\"INBOX\"]"]),
        ("folders = [\"\"]", &["\"\" is no folder's name", "at least one character"]),
        ("folders = [\"a\\tb\"]", &["is no folder's name", "no control characters"]),
        ("folders = [1]", &["1 is no folder's name"]),
        ("folders = [\"Work\", \"INBOX\", \"Work\"]", &["the folder \"Work\" is named twice"]),
        ("folders = [\"INBOX\", \"Inbox\"]", &["the folder \"INBOX\" is named twice"]),
        (&format!("folders = [{}]", many.join(", ")), &["65 folders are too many", "at most 64"]),
        ("trash_folder = \"\"", &["\"\" is no folder's name"]),
        ("archive_folder = \"a\\u0000\"", &["is no folder's name"]),
        ("archive_folder = true", &["true is no folder's name"]),
    ] {
        refused_in_each_layer(line, words);
    }
    assert_eq!(of_everyone(&format!("folders = [{}]", many[..64].join(", "))).folders.len(), 64);
}

#[test]
fn a_separator_stands_in_no_login() {
    for (separator, shown) in
        [("@", "\"@\""), (".", "\".\""), ("-", "\"-\""), ("x1", "\"x1\""), ("\\t", "\"\\t\"")]
    {
        refused_in_each_layer(
            &format!("folder_separator = \"{separator}\""),
            &[shown, "cannot part a folder from a login", "\"+\" or \"/\"", "\"\" for none"],
        );
    }
    for good in ["", "+", "/", "--folder=", " "] {
        assert_eq!(of_everyone(&format!("folder_separator = \"{good}\"")).folder_separator, good);
    }
}

#[test]
fn shares_durations_and_sizes_have_their_form() {
    for key in ["max_deletions_share", "max_new_share"] {
        for value in ["\"10\"", "\"101%\"", "\"2.5%\"", "\"ten\"", "10", "0.1"] {
            refused_in_each_layer(
                &format!("{key} = {value}"),
                &[value, "is no share like \"10%\"", "from \"0%\" to \"100%\""],
            );
        }
    }
    refused_in_each_layer(
        "max_deletions_share = \"0%\"",
        &["\"0%\" would let nothing be deleted", "\"1%\" at least", "\"100%\" is no brake"],
    );
    for key in ["max_age", "delete_grace"] {
        for value in ["\"30\"", "\"0\"", "\"soon\"", "0", "30"] {
            refused_in_each_layer(
                &format!("{key} = {value}"),
                &[value, "is no duration with its unit, like \"30d\"", "\"0d\" is none"],
            );
        }
    }
    for value in ["\"1\"", "\"1 MB\"", "\"much\"", "1048576", "0"] {
        refused_in_each_layer(
            &format!("read_ahead = {value}"),
            &[value, "is no size with its unit, like \"1 MiB\"", "\"0 B\" is none"],
        );
    }
    assert_eq!(of_everyone("read_ahead = \"0 B\"").read_ahead.octets(), 0);
    assert_eq!(of_everyone("max_age = \"0s\"").max_age, Duration::ZERO);
    assert_eq!(of_everyone("delete_grace = \"0d\"").delete_grace, Duration::ZERO);
}

#[test]
fn nothing_is_moved_into_a_folder_that_is_shown() {
    for (policy, key) in [("trash", "trash_folder"), ("archive", "archive_folder")] {
        let folders = "folders = [\"INBOX\", \"Old\"]";
        let on_delete = format!("on_delete = \"{policy}\"");
        let target = format!("{key} = \"Old\"");
        let words: &[&str] = &[
            &format!("{key} = \"Old\" is one of the folders"),
            "take \"Old\" out of folders",
            "or name another",
        ];
        refused_at(6, &everyone(&format!("{folders}\n{on_delete}\n{target}")), words);
        refused_at(4, &everyone(&format!("{target}\n{folders}\n{on_delete}")), words);
        // The layer that brings it about is the one that is named.
        for (below, above) in [
            (format!("{folders}\n{on_delete}"), &target),
            (format!("{on_delete}\n{target}"), &folders.to_owned()),
            (format!("{folders}\n{target}"), &on_delete),
        ] {
            refused_at(7, &format!("{}[upstream.home.maildrop]\n{above}\n", everyone(&below)), words);
            let account = format!("[[account]]\nlogin = \"a\"\nmaildrop = {{ {above} }}\n");
            refused_at(8, &format!("{}{account}", everyone(&below)), words);
        }
        // Where nothing moves, nothing is wrong.
        for harmless in ["hide", "flag", "expunge"] {
            of_everyone(&format!("{folders}\n{target}\non_delete = \"{harmless}\""));
        }
    }
    let inbox = everyone("on_delete = \"trash\"\ntrash_folder = \"inbox\"");
    refused_at(5, &inbox, &["trash_folder = \"INBOX\" is one of the folders"]);
    of_everyone("on_delete = \"trash\"\narchive_folder = \"INBOX\"");
}

#[test]
fn each_layer_replaces_what_it_names() {
    let config = parse(
        "[maildrop]\nnewest = 1\nmax_deletions = 1\nfolders = [\"A\", \"B\"]\ntrash_folder = \"T\"\n\
         [upstream.one]\nurl = \"imaps://one.example\"\ndomains = [\"one.example\"]\n\
         [upstream.one.maildrop]\nmax_deletions = 2\non_delete = \"flag\"\n\
         [upstream.two]\nurl = \"imaps://two.example\"\ndomains = [\"two.example\"]\n\
         maildrop = { folders = [\"C\"] }\n\
         [[account]]\nlogin = \"x@one.example\"\nmaildrop = { on_delete = \"expunge\", newest = 0 }\n\
         [[account]]\nlogin = \"x@two.example\"\n\
         [[account]]\nlogin = \"y@two.example\"\nupstream = \"one\"\nmaildrop = { folders = [\"D\"] }\n",
    );
    let short = |maildrop: &Maildrop| {
        assert_eq!(maildrop.trash_folder.as_deref(), Some("T"));
        let on_delete = maildrop.on_delete.name();
        format!("{} {} {on_delete} {}", maildrop.newest, maildrop.max_deletions, maildrop.folders.join(","))
    };
    let upstreams: Vec<String> = config.upstreams.iter().map(|upstream| short(&upstream.maildrop)).collect();
    assert_eq!(upstreams, ["1 2 flag A,B", "1 1 hide C"]);
    let accounts: Vec<String> = config.accounts.iter().map(|account| short(&account.maildrop)).collect();
    assert_eq!(accounts, ["0 2 expunge A,B", "1 1 hide C", "1 2 flag D"]);
}

#[test]
fn an_account_says_who_it_is() {
    let account = |lines: &str| {
        format!(
            "[upstream.home]\nurl = \"imaps://h.example\"\nusername = \"{{local}}\"\n[[account]]\n{lines}"
        )
    };
    for (line, lines, words) in [
        (4, "", &["the key \"login\" is missing"][..]),
        (5, "login = \"\"\n", &["a login has at least one character"]),
        (5, "login = \"a\\u0007\"\n", &["no control characters"]),
        (5, "logn = \"a\"\n", &["unknown key \"logn\"", "did you mean \"login\"?"]),
        (6, "login = \"a\"\nupstream = \"hme\"\n", &["unknown upstream \"hme\"", "did you mean \"home\"?"]),
        (6, "login = \"a\"\nupstream = \"somewhere\"\n", &["known here: \"home\""]),
        (
            6,
            "login = \"a\"\nusername = \"\"\n",
            &["a username has at least one character", "leave the key out for the upstream's"],
        ),
        (6, "login = \"a\"\nusername = \"b\\r\\n\"\n", &["no control characters"]),
        (7, "login = \"a\"\n[[account]]\nlogin = \"a\"\n", &["the login \"a\" has an [[account]] already"]),
    ] {
        refused_at(line, &account(lines), words);
    }
    let config = parse(&account(
        "login = \"alice@h.example\"\n[[account]]\nlogin = \"scanner\"\nusername = \"{local}\"\n",
    ));
    let users: Vec<(&str, &str)> = config
        .accounts
        .iter()
        .map(|account| (account.username.as_str(), account.upstream.name.as_str()))
        .collect();
    // A user name is taken as it stands; only an upstream's is a template.
    assert_eq!(users, [("alice", "home"), ("{local}", "home")]);
}

#[test]
fn an_account_that_leads_nowhere_is_refused() {
    let text = "[upstream.a]\nurl = \"imaps://a.example\"\ndomains = [\"a.example\"]\n\
                [upstream.b]\nurl = \"imaps://b.example\"\ndomains = [\"b.example\"]\n\
                [[account]]\nlogin = \"scanner\"\n";
    refused_at(8, text, &["no upstream takes \"scanner\" by its domain", "upstream = \"a\" or \"b\""]);
    parse(&format!("{text}upstream = \"b\"\n"));
    let message = refusal(&text.replace("scanner", "x@c.example"));
    assert!(message.contains("\"x@c.example\""), "{message}");
}
