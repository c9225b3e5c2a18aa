//! The configuration: `config/popbridge.toml` says every key with its true default, the examples
//! load, and what is wrong is answered with its place and the way out.

#[path = "configuration/accounts.rs"]
mod accounts;
#[path = "configuration/maildrop.rs"]
mod maildrop;
#[path = "configuration/oauth.rs"]
mod oauth;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use popbridge::config::{
    Certificate, Config, Database, ListenerTls, Maildrop, OnDelete, OnRetrieve, PlaintextLogin,
};

use popbridge::secret::{Credential, Secret};

const UPSTREAM: &str = "[upstream.home]\nurl = \"imaps://imap.example.org\"\n";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

fn tutorial() -> String {
    std::fs::read_to_string(folder().join("popbridge.toml")).expect("config/popbridge.toml")
}

/// The tutorial with its optional keys switched on: `#key` without a blank becomes `key`.
fn tutorial_in_full() -> String {
    let switched_on = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|first: char| first.is_ascii_lowercase() || first == '[') => {
            format!("{rest}\n")
        }
        _ => format!("{line}\n"),
    };
    tutorial().lines().map(switched_on).collect()
}

/// Without the tutorial's other places for one secret, and what is another provider's or flow's.
fn with_one_place(text: &str) -> String {
    let others = [
        "password_file",
        "password_env",
        "password_credential",
        "oauth =",
        "client_secret_file",
        "client_secret_command",
        "client_secret_credential",
        "authorization_url",
        "token_url",
        "device_authorization_url",
        "service_account_file",
        "redirect_url",
        "key_env",
        "key_credential",
    ];
    let other = |line: &&str| others.iter().any(|key| line.starts_with(key));
    assert_eq!(text.lines().filter(other).count(), others.len());
    text.lines().filter(|line| !other(line)).collect::<Vec<_>>().join("\n")
}

fn parse(text: &str) -> Config {
    Config::parse(text, "popbridge.toml", &folder()).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(text: &str) -> String {
    match Config::parse(text, "popbridge.toml", &folder()) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(error) => error.to_string(),
    }
}

/// Refused at this line, with all of these words.
fn refused_at(line: usize, text: &str, words: &[&str]) {
    let message = refusal(text);
    let place = format!("popbridge.toml:{line}: ");
    assert!(message.starts_with(&place), "{message:?} should begin with {place:?} for\n{text}");
    has_words(&message, words);
}

fn days(count: u64) -> Duration {
    Duration::from_secs(count * 24 * 60 * 60)
}

fn has_words(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "{message:?} should say {word:?}");
    }
}

#[test]
fn the_tutorial_shows_the_defaults() {
    let shown = Config::load(&folder().join("popbridge.toml")).expect("config/popbridge.toml");
    assert_eq!(format!("{shown:#?}"), format!("{:#?}", parse(UPSTREAM)));
}

#[test]
fn the_tutorial_names_every_key() {
    let text = tutorial_in_full();
    parse(&with_one_place(&text));
    let document: toml::Table = text.parse().expect("TOML");
    let tables = known_keys("");
    let shown: BTreeSet<String> = document.keys().cloned().collect();
    assert_eq!(shown, tables, "tables");
    let mut all: BTreeMap<&String, BTreeSet<String>> = BTreeMap::new();
    for (name, table) in &document {
        let (header, shown) = match table {
            toml::Value::Array(tables) => (format!("[[{name}]]\n"), &tables[0]),
            // Tables with names of their own, as [upstream.home].
            toml::Value::Table(inner) if inner.values().all(toml::Value::is_table) => {
                let (own, table) = inner.iter().next().expect("not empty");
                (format!("[{name}.{own}]\n"), table)
            }
            table => (format!("[{name}]\n"), table),
        };
        let shown: BTreeSet<String> = shown.as_table().expect("a table").keys().cloned().collect();
        assert_eq!(shown, known_keys(&header), "{header}");
        all.insert(name, shown);
    }
    // A look at the reading itself: were messages no longer understood, it would find nothing.
    assert_eq!(all.len(), 9);
    assert!(all.values().all(|keys| !keys.is_empty()));
    assert!(all.values().map(BTreeSet::len).sum::<usize>() >= 40);
}

/// The keys that the parser knows behind `header`, as it says itself when it meets one that it
/// does not know and that resembles none.
fn known_keys(header: &str) -> BTreeSet<String> {
    let message = refusal(&format!("{header}no-such-key-at-all-in-this-program = 1\n"));
    let (_, known) = message.split_once("known here: ").unwrap_or_else(|| panic!("{message}"));
    known.split(", ").map(|name| name.trim_matches('"').to_owned()).collect()
}

#[test]
fn every_example_loads() {
    let entries = std::fs::read_dir(folder().join("examples")).expect("config/examples");
    let paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    assert!(paths.len() >= 2);
    for path in paths {
        Config::load(&path).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn the_household_is_as_its_comments_say() {
    let config = Config::load(&folder().join("examples/household.toml")).expect("household.toml");
    let listeners: Vec<_> =
        config.listeners.iter().map(|listener| (listener.address.port(), listener.tls)).collect();
    assert_eq!(listeners, [(995, ListenerTls::Implicit), (110, ListenerTls::None)]);
    let plaintext = &config.security.plaintext_login;
    for (address, allowed) in [
        (Ipv4Addr::LOCALHOST, true),
        (Ipv4Addr::new(192, 168, 1, 40), true),
        (Ipv4Addr::new(192, 168, 1, 42), false),
    ] {
        assert_eq!(plaintext.allows(address.into()), allowed, "{address}");
    }
    assert_eq!(config.upstreams.len(), 3);
    for upstream in &config.upstreams {
        assert_eq!(upstream.maildrop.on_delete, OnDelete::Hide);
        assert_eq!(upstream.maildrop.on_retrieve, OnRetrieve::Leave);
    }
    let [printer] = config.accounts.as_slice() else { panic!("one account") };
    assert_eq!((printer.login.as_str(), printer.username.as_str()), ("printer", "family@example.org"));
    assert!(printer.own_password.is_some() && !printer.allow.is_empty());
    assert_eq!(printer.upstream.name, "family");
    let expected = Maildrop {
        folders: vec!["Print".to_owned()],
        on_retrieve: OnRetrieve::Leave,
        on_delete: OnDelete::Trash,
        ..Maildrop::default()
    };
    assert_eq!(*printer.maildrop, expected);
    assert_eq!(config.database, Database::File("/var/lib/popbridge/popbridge.db".into()));
}

#[test]
fn paths_start_at_the_files_folder() {
    let config = parse(&with_one_place(&tutorial_in_full()));
    let certs = folder().join("certs");
    let expected = Certificate::Files {
        certificate: certs.join("fullchain.pem"),
        private_key: certs.join("privkey.pem"),
    };
    assert_eq!(config.certificate, Some(expected));
    assert_eq!(config.upstreams[0].ca_certificate, Some(certs.join("ca.crt")));
}

#[test]
fn a_command_line_is_a_configuration() {
    let listen = (Ipv4Addr::LOCALHOST, 1110).into();
    let config = Config::for_upstream("imaps://imap.example.org", listen).expect("all defaults");
    let default = parse(UPSTREAM);
    assert_eq!(format!("{:?}", config.listeners), format!("{:?}", default.listeners));
    assert_eq!(config.upstreams[0].maildrop, default.upstreams[0].maildrop);
    assert_eq!(*config.upstreams[0].maildrop, Maildrop::default());
    assert_eq!(config.security.plaintext_login, PlaintextLogin::Loopback);
    let error = Config::for_upstream("imap.example.org", listen).expect_err("no URL").to_string();
    has_words(&error, &["command line", "imap.example.org", "imaps://"]);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load(Path::new("no/such/popbridge.toml")).expect_err("no file").to_string();
    has_words(&error, &["cannot read", "no/such/popbridge.toml"]);
}

#[test]
fn an_unknown_key_gets_the_nearest_known_one() {
    let with = |lines: &str| format!("{UPSTREAM}{lines}");
    refused_at(3, &with("usernme = \"{login}\"\n"), &["\"usernme\"", "did you mean \"username\"?"]);
    refused_at(3, &with("[maildrops]\n"), &["\"maildrops\"", "did you mean \"maildrop\"?"]);
    refused_at(
        5,
        &with("\n[maildrop]\nondelete = \"hide\"\n"),
        &["\"ondelete\"", "did you mean \"on_delete\"?"],
    );
    refused_at(4, &with("[limits]\nsesions = 5\n"), &["\"sesions\"", "did you mean \"sessions\"?"]);
    refused_at(
        4,
        &with("[[listener]]\naddres = \"127.0.0.1:1110\"\n"),
        &["\"addres\"", "did you mean \"address\"?"],
    );
}

#[test]
fn what_does_not_exist_yet_is_refused() {
    for lines in [
        "[[listener]]\naddress = \"127.0.0.1:1110\"\nproxy_protocol = true\n",
        "[admin]\naddress = \"127.0.0.1:8110\"\n",
    ] {
        has_words(&refusal(&format!("{UPSTREAM}{lines}")), &["unknown key"]);
    }
}

#[test]
fn no_toml_and_no_upstream() {
    refused_at(2, "[upstream.home]\nurl = \"imaps://imap.example.org\n", &["string"]);
    has_words(&refusal(""), &["popbridge.toml", "no upstream", "url = \"imaps://imap.example.org\""]);
    has_words(&refusal("[upstream.home]\ninsecure = false\n"), &["popbridge.toml:1", "\"url\" is missing"]);
}

#[test]
fn durations_have_a_unit() {
    for (value, words) in [
        ("\"10\"", &["\"10\"", "no duration with its unit, like \"10m\""][..]),
        ("\"soon\"", &["\"soon\"", "no duration with its unit, like \"10m\""]),
        ("\"0s\"", &["0 would end everything"]),
        ("600", &["600 is no duration"]),
    ] {
        refused_at(4, &format!("{UPSTREAM}[limits]\nidle_timeout = {value}\n"), words);
        refused_at(3, &format!("{UPSTREAM}timeout = {value}\n"), words);
    }
}

#[test]
fn limits_let_somebody_in() {
    for key in ["sessions", "sessions_per_address"] {
        refused_at(4, &format!("{UPSTREAM}[limits]\n{key} = 0\n"), &["0 would let nobody in", "at least 1"]);
        refused_at(4, &format!("{UPSTREAM}[limits]\n{key} = -1\n"), &["-1"]);
    }
}

#[test]
fn an_upstreams_url_is_checked() {
    let url = |url: &str| format!("[upstream.home]\nurl = \"{url}\"\n");
    for (wrong, words) in [
        (
            "imap.example.org",
            &["\"imap.example.org\" does not say how to connect", "imaps://imap.example.org"][..],
        ),
        ("pop3://imap.example.org", &["\"pop3://\"", "imaps://, imap+starttls:// or imap://"]),
        ("imaps://", &["imaps://"]),
        ("imaps://alice:secret@imap.example.org", &["scheme, host and port only"]),
        ("imaps://imap.example.org/INBOX", &["scheme, host and port only"]),
        ("imaps://imap.example.org:99999", &["port"]),
    ] {
        refused_at(2, &url(wrong), words);
    }
    for good in [
        "imaps://imap.example.org",
        "imaps://imap.example.org:1993/",
        "imap+starttls://imap.example.org",
        "imap://127.0.0.1",
        "imap://localhost:1143",
        "imap://[::1]:1143",
    ] {
        parse(&url(good));
    }
    let message = refusal(&url("imaps://alice:secret@imap.example.org"));
    assert!(!message.contains("secret"), "{message}");
}

#[test]
fn plaintext_to_another_host_takes_the_word_insecure() {
    let text = "[upstream.home]\nurl = \"imap://imap.example.org\"\n";
    refused_at(2, text, &["imap.example.org", "unprotected", "imaps://", "insecure = true"]);
    parse(&format!("{text}insecure = true\n"));
}

#[test]
fn a_listener_that_others_reach_says_what_protects_it() {
    let listener = |rest: &str| format!("{UPSTREAM}[[listener]]\naddress = \"0.0.0.0:1110\"\n{rest}");
    refused_at(4, &listener(""), &["reachable from outside", "\"implicit\"", "\"starttls\"", "\"none\""]);
    parse(&listener("tls = \"none\"\n"));
    refused_at(5, &listener("tls = \"ssl\"\n"), &["\"ssl\"", "\"none\", \"starttls\", \"implicit\""]);
    let address = format!("{UPSTREAM}[[listener]]\naddress = \"localhost\"\n");
    refused_at(4, &address, &["\"localhost\" is no address with a port", "127.0.0.1:1110"]);
    let allow = format!("{UPSTREAM}[[listener]]\naddress = \"127.0.0.1:1110\"\nallow = [\"home\"]\n");
    refused_at(5, &allow, &["\"home\" is no network like", "192.168.1.0/24"]);
    let twice = format!(
        "{UPSTREAM}[[listener]]\naddress = \"127.0.0.1:1110\"\n[[listener]]\naddress = \"0.0.0.0:1110\"\ntls = \"none\"\n"
    );
    refused_at(6, &twice, &["0.0.0.0:1110 cannot be had beside the listener 127.0.0.1:1110", "another port"]);
    let lone = format!("{UPSTREAM}[[listener]]\naddress = \"127.0.0.1:1110\"\nallow = [\"192.0.2.7\"]\n");
    assert_eq!(parse(&lone).listeners[0].allow[0].to_string(), "192.0.2.7/32");
}

#[test]
fn tls_wants_a_certificate() {
    let listener = format!("{UPSTREAM}[[listener]]\naddress = \"0.0.0.0:995\"\ntls = \"implicit\"\n");
    refused_at(4, &listener, &["[tls] is needed", "certificate", "self_signed = true"]);
    let config = parse(&format!("{listener}[tls]\nself_signed = true\n"));
    assert!(
        matches!(&config.certificate, Some(Certificate::SelfSigned { addresses, .. }) if addresses == &[config.listeners[0].address.ip()]),
        "{:?}",
        config.certificate
    );
    for lines in [
        "",
        "certificate = \"a.pem\"\n",
        "private_key = \"a.key\"\n",
        "self_signed = true\ncertificate = \"a.pem\"\nprivate_key = \"a.key\"\n",
    ] {
        refused_at(
            6,
            &format!("{listener}[tls]\n{lines}"),
            &["certificate and private_key together", "self_signed = true alone"],
        );
    }
}

#[test]
fn domains_belong_to_one_upstream() {
    let two = |first: &str, second: &str| {
        format!(
            "[upstream.a]\nurl = \"imaps://a.example\"\n{first}\n\
             [upstream.b]\nurl = \"imaps://b.example\"\n{second}\n"
        )
    };
    refused_at(
        6,
        &two("domains = [\"example.org\"]", "domains = [\"Example.ORG\"]"),
        &["\"example.org\" is taken", "\"a\""],
    );
    refused_at(5, &two("domains = [\"example.org\"]", ""), &["\"b\" has none", "\"*\" takes the rest"]);
    parse(&two("domains = [\"example.org\"]", "domains = [\"*\"]"));
}

#[test]
fn a_user_names_template_is_checked() {
    for template in ["{user}", "{login", "{}", "{local}@{host}"] {
        refused_at(
            3,
            &format!("{UPSTREAM}username = \"{template}\"\n"),
            &["{login}", "{local}", "{domain}", "nothing else"],
        );
    }
    parse(&format!("{UPSTREAM}username = \"{{local}}+{{domain}}\"\n"));
}

#[test]
fn authentication_is_by_password_or_token() {
    let secret = || Secret::new(b"x".to_vec());
    let upstream = |lines: &str| parse(&format!("{UPSTREAM}{lines}")).upstreams[0].clone();
    assert_eq!(upstream("").credential(secret()), Credential::Password(secret()));
    let password = upstream("authentication = \"password\"\n");
    assert_eq!(password.credential(secret()), Credential::Password(secret()));
    let token = upstream("authentication = \"oauth2\"\n");
    assert_eq!(token.credential(secret()), Credential::Token(secret()));
    let wrong = |value: &str| format!("{UPSTREAM}authentication = {value}\n");
    refused_at(3, &wrong("\"oauth\""), &["\"oauth\" is none of", "\"password\", \"oauth2\""]);
    refused_at(3, &wrong("true"), &["in quotation marks"]);
}

#[test]
fn plaintext_login_is_a_word_or_networks() {
    let security = |value: &str| format!("{UPSTREAM}[security]\nplaintext_login = {value}\n");
    refused_at(
        4,
        &security("\"loopbck\""),
        &["\"loopbck\"", "\"never\", \"loopback\", \"always\"", "[\"192.168.1.0/24\"]"],
    );
    refused_at(
        4,
        &security("[\"192.168.1.0/99\"]"),
        &["\"192.168.1.0/99\" is no network like \"192.168.1.0/24\""],
    );
    refused_at(4, &security("true"), &[]);
    parse(&security("[\"192.168.1.0/24\", \"::1/128\"]"));
}

#[test]
fn wrong_passwords_are_counted_over_a_while() {
    let security = |line: &str| format!("{UPSTREAM}[security]\n{line}\n");
    let own = parse(&security("max_login_failures = 0\nlogin_failure_window = \"1h\"")).security;
    assert_eq!((own.max_login_failures, own.login_failure_window.as_secs()), (0, 3600));
    let default = parse(UPSTREAM).security;
    assert_eq!((default.max_login_failures, default.login_failure_window.as_secs()), (5, 600));
    for (line, words) in [
        ("login_failure_window = \"0s\"", "max_login_failures = 0"),
        ("login_failure_window = \"10ms\"", "\"1s\" at the least"),
        ("login_failure_window = \"31d\"", "\"30d\" at the most"),
        ("login_failure_window = 600", "600 is no duration with its unit"),
        ("max_login_failures = -1", "a whole number"),
        ("max_login_failures = 4294967296", "4294967296"),
        ("max_failures = 5", "max_login_failures"),
    ] {
        refused_at(4, &security(line), &[words]);
    }
}

#[test]
fn the_state_is_in_sqlite() {
    let state = |url: &str| format!("{UPSTREAM}[state]\nurl = \"{url}\"\n");
    for wrong in ["popbridge.db", "sqlite:", "postgres://db/popbridge"] {
        refused_at(4, &state(wrong), &["is no database", "sqlite:PATH"]);
    }
    assert_eq!(parse(&state("sqlite::memory:")).database, Database::Memory);
    assert_eq!(parse(&state("sqlite:/var/lib/p.db")).database, Database::File("/var/lib/p.db".into()));
    assert_eq!(parse(&state("sqlite:///var/lib/p.db")).database, Database::File("/var/lib/p.db".into()));
}

#[test]
fn what_has_the_wrong_form_is_told_the_right_one() {
    for (line, text, words) in [
        (2, "[upstream]\nurl = \"imaps://a.example\"\n", &["[upstream.home]"][..]),
        (1, "[[upstream]]\nurl = \"imaps://a.example\"\n", &["[upstream.home]"]),
        (1, "[listener]\naddress = \"127.0.0.1:1110\"\n", &["[[listener]]"]),
        (1, "[account]\nlogin = \"scanner\"\n", &["[[account]]"]),
        (1, "[[maildrop]]\nnewest = 1\n", &["one table", "maildrop = { on_delete = \"hide\" }"]),
        (1, "maildrop = \"hide\"\n", &["one table"]),
        (1, "maildrop = []\n", &["one table"]),
        (3, "[upstream.a]\nurl = \"imaps://a.example\"\nmaildrop = \"hide\"\n", &["one table"]),
        (3, "[[account]]\nlogin = \"a\"\nmaildrop = \"hide\"\n", &["one table"]),
        (2, "[security]\nplaintext_login = true\n", &["true is none of", "\"loopback\""]),
        (2, "[security]\nplaintext_login = [1]\n", &["[1] is none of", "192.168.1.0/24"]),
        (2, "[security]\nplaintext_login = [\"x\"]\n", &["\"x\" is no network"]),
        (2, "[limits]\nsessions = -1\n", &["-1", "a whole number"]),
        (2, "[limits]\nsessions = \"5\"\n", &["a whole number"]),
        (2, "[limits]\nidle_timeout = 600\n", &["600 is no duration with its unit", "10m"]),
        (2, "[upstream.a]\nurl = \"imap.example.org:993\"\n", &["does not say how to connect", "imaps://"]),
        (3, "[upstream.a]\nurl = \"imaps://a.example\"\nusername = \"\"\n", &["empty username"]),
    ] {
        refused_at(line, text, words);
    }
}

#[test]
fn the_trail_is_kept_for_a_while() {
    let state = |kept: &str| format!("{UPSTREAM}[state]\ndeletions_kept = {kept}\n");
    refused_at(4, &state("\"0d\""), &["0 would keep no trail of what was deleted"]);
    refused_at(4, &state("\"90\""), &["\"90\" is no duration with its unit", "\"90d\""]);
    refused_at(4, &state("90"), &["90 is no duration with its unit"]);
    assert_eq!(parse(UPSTREAM).deletions_kept, days(90));
    assert_eq!(parse(&state("\"1y\"")).deletions_kept.as_secs(), 31_557_600);
}
