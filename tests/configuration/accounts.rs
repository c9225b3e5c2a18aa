//! Accounts that are devices: a password of their own, a place for the mail server's, from where
//! and how they may be used.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use popbridge::config::{Config, Means};
use popbridge::secret::{Fingerprint, SecretSource};

use super::{UPSTREAM, has_words, parse, refused_at};

const HASH: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

/// The account is on line 3, its first other key on line 5.
fn account(lines: &str) -> String {
    format!("{UPSTREAM}[[account]]\nlogin = \"scanner\"\n{lines}\n")
}

fn device(lines: &str) -> String {
    account(&format!("password_hash = \"{HASH}\"\n{lines}"))
}

fn source(text: &str) -> SecretSource {
    let config = parse(text);
    let own = config.accounts[0].own_password.as_ref().expect("a password of its own");
    let Means::Password(source) = &own.upstream else { panic!("{:?}", own.upstream) };
    source.clone()
}

#[test]
fn without_a_hash_the_password_is_the_upstreams() {
    let config = parse(&account(""));
    let account = &config.accounts[0];
    assert!(account.own_password.is_none() && account.allow.is_empty() && !account.require_tls);
}

#[test]
fn the_password_has_one_place() {
    let environment = device("password_env = \"MAIL\"");
    assert_eq!(source(&environment), SecretSource::Environment("MAIL".to_owned()));
    let credential = device("password_credential = \"mail\"");
    assert_eq!(source(&credential), SecretSource::Credential("mail".to_owned()));
    let words = |words: &[&str]| SecretSource::Command(words.iter().map(|&word| word.to_owned()).collect());
    let command = device("password_command = [\"pass\", \"show\", \"a/b\"]");
    assert_eq!(source(&command), words(&["pass", "show", "a/b"]));
    let beside = super::folder().join("bin/give");
    let command = device("password_command = [\"bin/give\", \"a/b\"]");
    assert_eq!(source(&command), words(&[&beside.to_string_lossy(), "a/b"]));
    let absolute = device("password_command = [\"/usr/bin/give\"]");
    assert_eq!(source(&absolute), words(&["/usr/bin/give"]));
}

#[test]
fn half_a_device_is_refused() {
    let all = ["password_file", "password_env", "password_command", "password_credential"];
    refused_at(5, &device(""), &[&["password_hash is what the program is asked for"][..], &all].concat());
    for (key, value) in [
        ("password_file", "\"nowhere\""),
        ("password_env", "\"MAIL\""),
        ("password_command", "[\"true\"]"),
        ("password_credential", "\"mail\""),
    ] {
        refused_at(
            5,
            &account(&format!("{key} = {value}")),
            &[key, "password_hash", "popbridge hash-password", "client_certificate"],
        );
    }
    refused_at(
        7,
        &device("password_env = \"MAIL\"\npassword_credential = \"mail\""),
        &["password_env and password_credential", "two places for one password", "leave one of them out"],
    );
    // Whatever comes first in the file, and before either is looked at.
    refused_at(
        6,
        &device("password_command = [\"true\"]\npassword_file = \"nowhere\""),
        &["password_file and password_command"],
    );
}

#[test]
fn a_hash_is_checked() {
    let with = |hash: &str| account(&format!("password_hash = \"{hash}\"\npassword_env = \"MAIL\""));
    for wrong in ["hunter2", "", "$argon2id$", "$2b$12$abcdefghijklmnopqrstuv", &HASH.replace("2id", "2i")] {
        let words = ["password_hash", "Argon2id", "SCRAM-SHA-256$", "popbridge hash-password"];
        refused_at(5, &with(wrong), &words);
        let message = super::refusal(&with(wrong));
        assert!(wrong.is_empty() || wrong == "$argon2id$" || !message.contains(wrong), "{message}");
    }
    let dear = HASH.replace("m=256", "m=4194304");
    refused_at(5, &with(&dear), &["4194304 KiB", "1 GiB", "popbridge hash-password"]);
    let slow = HASH.replace("t=2", "t=4000000");
    refused_at(5, &with(&slow), &["4000000 passes"]);
    let verifier = |iterations: &str| {
        let keys =
            "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        format!("SCRAM-SHA-256${iterations}:W22ZaJ0SNY7soEsUEjb6gQ==${keys}")
    };
    let config = parse(&with(&verifier("4096")));
    let own = config.accounts[0].own_password.as_ref().expect("its own");
    assert!(own.hash.as_ref().is_some_and(|hash| hash.scram().is_some()));
    assert!(!format!("{config:?}").contains("WG5d"), "{config:?}");
    refused_at(5, &with(&verifier("1000")), &["from 4096", "1000"]);
    refused_at(5, &with(&verifier("9000000")), &["to 4000000", "9000000"]);
}

/// The account is on line 6 of this one, its first other key on line 8.
fn shown(lines: &str) -> String {
    account(lines).replace("[[account]]", "[tls]\nself_signed = true\nclient_ca = \"ca.pem\"\n[[account]]")
}

#[test]
fn a_certificate_opens_a_login() {
    let digits = "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD";
    let line = format!("client_certificate = \"{digits}\"");
    let config = parse(&shown(&format!("{line}\npassword_env = \"MAIL\"")));
    assert_eq!(config.client_ca, Some(super::folder().join("ca.pem")));
    let account_ = &config.accounts[0];
    assert_eq!(account_.client_certificate, Some(Fingerprint::of(b"abc")));
    assert!(account_.own_password.as_ref().is_some_and(|own| own.hash.is_none()));
    let both = shown(&format!("{line}\npassword_hash = \"{HASH}\"\npassword_env = \"MAIL\""));
    assert!(parse(&both).accounts[0].own_password.as_ref().is_some_and(|own| own.hash.is_some()));

    let sources = ["password_file", "password_env", "password_command", "password_credential"];
    refused_at(8, &shown(&line), &[&["client_certificate is what the program shows"][..], &sources].concat());
    let without_authority = account(&format!("{line}\npassword_env = \"MAIL\""));
    refused_at(5, &without_authority, &["[tls]", "client_ca = \"ca.pem\""]);
    for wrong in ["", "CN=alice", &digits[2..], &digits.replace('B', "x")] {
        let text = shown(&format!("client_certificate = \"{wrong}\"\npassword_env = \"MAIL\""));
        refused_at(8, &text, &["client_certificate", "SHA-256", "openssl x509 -noout -fingerprint -sha256"]);
    }
}

#[test]
fn a_place_has_a_proper_name() {
    for (value, words) in [
        ("password_env = \"\"", "no name of an environment variable"),
        ("password_env = \"A=B\"", "no name of an environment variable"),
        ("password_command = []", "a program and its arguments"),
        ("password_command = [\"\"]", "a program has a name"),
        ("password_command = [\"a\", \"\\u0000\"]", "NUL"),
        ("password_credential = \"\"", "not a path"),
        ("password_credential = \"..\"", "not a path"),
        ("password_credential = \"a/b\"", "not a path"),
        ("password_file = \"\"", "leads nowhere"),
        ("password_command = \"pass show\"", ""),
        ("allow = [\"home\"]", "\"home\" is no network"),
        ("require_tls = \"yes\"", ""),
    ] {
        refused_at(6, &device(value), &[words]);
    }
}

#[test]
fn a_file_is_its_owners_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = device("password_file = \"secret\"");
    let load = |text: &str| Config::parse(text, "popbridge.toml", folder.path());
    let refusal = |words: &[&str]| {
        let message = load(&text).expect_err("refused").to_string();
        assert!(message.starts_with("popbridge.toml:6: password_file: "), "{message}");
        has_words(&message, words);
    };
    let path = folder.path().join("secret");
    let shown = path.display().to_string();
    refusal(&[&shown, "No such file"]);
    std::fs::write(&path, "s3cret\n").expect("written");
    for mode in [0o644, 0o640, 0o604, 0o602] {
        set_permissions(&path, Permissions::from_mode(mode)).expect("our file");
        refusal(&[&format!("mode {mode:04o}"), &format!("chmod 600 {shown}")]);
    }
    for mode in [0o600, 0o400] {
        set_permissions(&path, Permissions::from_mode(mode)).expect("our file");
        let config = load(&text).expect("closed");
        let own = config.accounts[0].own_password.as_ref().expect("its own");
        let Means::Password(source) = &own.upstream else { panic!("{:?}", own.upstream) };
        assert_eq!(*source, SecretSource::File(path.clone()), "relative to the folder");
        assert!(!format!("{config:?}").contains("argon2"), "{config:?}");
    }
    std::fs::remove_file(&path).expect("our file");
    std::fs::create_dir(&path).expect("made");
    refusal(&["no ordinary file"]);
    let absolute = device("password_file = \"/nowhere/secret\"");
    assert!(load(&absolute).expect_err("refused").to_string().contains("/nowhere/secret: No such file"));
    assert!(Path::new("/nowhere").metadata().is_err());
}

#[test]
fn where_and_how_a_login_may_be_used() {
    let config = parse(&account("allow = [\"192.168.1.41\", \"fd00::/8\"]\nrequire_tls = true"));
    let account = &config.accounts[0];
    assert!(account.require_tls);
    let networks: Vec<String> = account.allow.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["192.168.1.41/32", "fd00::/8"]);
}
