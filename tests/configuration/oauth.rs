//! Ways to sign in: what is known of the providers, what each flow needs, and the key.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt as _;

use popbridge::config::{Config, Flow, Means, Oauth, Redirect};
use popbridge::secret::SecretSource;

use super::{UPSTREAM, has_words, parse, refusal, refused_at};

const HASH: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

/// The table is on line 3, its provider on line 4, the next key on line 5.
fn table(provider: &str, lines: &str) -> String {
    format!("{UPSTREAM}[oauth.work]\nprovider = \"{provider}\"\n{lines}\n")
}

fn oauth(provider: &str, lines: &str) -> Oauth {
    let config = parse(&table(provider, lines));
    let [oauth] = config.sign_ins.as_slice() else { panic!("one way to sign in") };
    (**oauth).clone()
}

const CLIENT: &str = "client_id = \"c\"";

#[test]
fn the_providers_are_known() {
    let google = oauth("google", CLIENT);
    let Flow::Code { url, extra, redirect: Redirect::Here { host: "127.0.0.1", port: 0 } } = &google.flow
    else {
        panic!("{google:?}");
    };
    assert_eq!(url.as_str(), "https://accounts.google.com/o/oauth2/v2/auth");
    assert_eq!(*extra, [("access_type", "offline"), ("prompt", "consent")]);
    assert_eq!(google.token_url.as_str(), "https://oauth2.googleapis.com/token");
    assert_eq!(google.scopes, ["https://mail.google.com/"]);

    let microsoft = oauth("microsoft", CLIENT);
    let Flow::Code { url, redirect: Redirect::Here { host: "localhost", .. }, .. } = &microsoft.flow else {
        panic!("{microsoft:?}");
    };
    assert_eq!(url.as_str(), "https://login.microsoftonline.com/common/oauth2/v2.0/authorize");
    assert_eq!(microsoft.token_url.as_str(), "https://login.microsoftonline.com/common/oauth2/v2.0/token");
    assert_eq!(microsoft.scopes, ["https://outlook.office.com/IMAP.AccessAsUser.All", "offline_access"]);
    let device = oauth("microsoft", &format!("{CLIENT}\nflow = \"device\"\ntenant = \"example.org\""));
    let Flow::Device { url } = &device.flow else { panic!("{device:?}") };
    assert_eq!(url.as_str(), "https://login.microsoftonline.com/example.org/oauth2/v2.0/devicecode");
    let own = oauth(
        "microsoft",
        &format!(
            "{CLIENT}\nflow = \"client-credentials\"\ntenant = \"example.org\"\nclient_secret_env = \"S\""
        ),
    );
    assert!(matches!(own.flow, Flow::ClientCredentials), "{own:?}");
    assert_eq!(own.scopes, ["https://outlook.office365.com/.default"]);
    assert_eq!(own.client_secret, Some(SecretSource::Environment("S".to_owned())));

    let yahoo = oauth("yahoo", &format!("{CLIENT}\nredirect_url = \"https://localhost/\""));
    let Flow::Code { url, redirect: Redirect::Elsewhere(back), .. } = &yahoo.flow else {
        panic!("{yahoo:?}")
    };
    assert_eq!(url.as_str(), "https://api.login.yahoo.com/oauth2/request_auth");
    assert_eq!((back.as_str(), yahoo.scopes.as_slice()), ("https://localhost/", &["mail-w".to_owned()][..]));
}

#[test]
fn a_custom_provider_says_where_it_is() {
    let addresses =
        "authorization_url = \"https://a.example/x?y=z\"\ntoken_url = \"http://127.0.0.1:8080/token\"";
    let custom =
        oauth("custom", &format!("{CLIENT}\n{addresses}\nscopes = [\"mail\"]\nredirect_port = 8025"));
    let Flow::Code { url, redirect: Redirect::Here { port: 8025, .. }, .. } = &custom.flow else {
        panic!("{custom:?}");
    };
    assert_eq!(url.as_str(), "https://a.example/x?y=z");
    for (lines, words) in [
        ("", "\"authorization_url\" is missing"),
        ("authorization_url = \"https://a.example\"", "\"token_url\" is missing"),
        ("token_url = \"https://a.example\"\nflow = \"device\"", "\"device_authorization_url\" is missing"),
    ] {
        refused_at(4, &table("custom", &format!("{CLIENT}\n{lines}")), &[words]);
    }
    for (url, words) in [
        ("http://a.example/token", "must begin with https://"),
        ("ftp://a.example/token", "must begin with https://"),
        ("http://localhost.a.example/token", "must begin with https://"),
        ("a.example", "is no address"),
        ("https://user:pw@a.example/", "more than scheme"),
        ("https://a.example/#there", "more than scheme"),
    ] {
        let lines = format!("token_url = \"{url}\"\nauthorization_url = \"https://a.example\"\n{CLIENT}");
        refused_at(5, &table("custom", &lines), &["token_url: ", words]);
    }
    refused_at(
        5,
        &table("google", &format!("token_url = \"https://a.example\"\n{CLIENT}")),
        &["provider = \"custom\""],
    );
}

#[test]
fn a_flow_that_is_not_for_mail_is_refused() {
    for (provider, flow, words) in [
        ("google", "device", "not for mail"),
        ("google", "client-credentials", "service-account"),
        ("microsoft", "service-account", "client-credentials"),
        ("yahoo", "device", "flow = \"code\" only"),
        ("yahoo", "client-credentials", "flow = \"code\" only"),
        ("yahoo", "service-account", "flow = \"code\" only"),
        ("google", "password", "none of the values"),
    ] {
        refused_at(5, &table(provider, &format!("flow = \"{flow}\"\n{CLIENT}")), &[words]);
    }
}

#[test]
fn what_a_flow_needs_is_asked_for() {
    refused_at(4, &table("google", ""), &["\"client_id\" is missing", "docs/oauth.md"]);
    refused_at(5, &table("google", "client_id = \"\""), &["no client id"]);
    let own = "flow = \"client-credentials\"\nclient_secret_env = \"S\"";
    refused_at(4, &table("microsoft", &format!("{own}\n{CLIENT}")), &["tenant", "your organisation"]);
    refused_at(
        5,
        &table("microsoft", &format!("tenant = \"common\"\n{own}\n{CLIENT}")),
        &["your organisation"],
    );
    let lines = format!("tenant = \"example.org\"\nflow = \"client-credentials\"\n{CLIENT}");
    refused_at(4, &table("microsoft", &lines), &["client_secret_file"]);
    refused_at(4, &table("google", "flow = \"service-account\""), &["\"service_account_file\" is missing"]);
    refused_at(
        5,
        &table("google", "service_account_file = \"nowhere.json\"\nflow = \"service-account\""),
        &["service_account_file: ", "No such file"],
    );
    refused_at(5, &table("google", "tenant = \"a\""), &["only Microsoft"]);
    for tenant in ["", "a/b", "..", "a?b"] {
        refused_at(5, &table("microsoft", &format!("tenant = \"{tenant}\"\n{CLIENT}")), &["a tenant is"]);
    }
    refused_at(5, &table("google", &format!("scopes = [\"a b\"]\n{CLIENT}")), &["several go in a list"]);
    let both = format!("redirect_url = \"https://localhost/\"\nredirect_port = 1\n{CLIENT}");
    refused_at(5, &table("google", &both), &["redirect_port and redirect_url"]);
    for url in ["here", " https://localhost", "https://local host", "https://localhost#there"] {
        refused_at(5, &table("google", &format!("redirect_url = \"{url}\"\n{CLIENT}")), &["no address"]);
    }
    let bare = oauth("google", &format!("redirect_url = \"https://localhost\"\n{CLIENT}"));
    let Flow::Code { redirect: Redirect::Elsewhere(back), .. } = &bare.flow else { panic!("{bare:?}") };
    assert_eq!(back, "https://localhost", "as it was registered");
    let idle = format!("redirect_port = 1\nflow = \"device\"\n{CLIENT}");
    refused_at(5, &table("microsoft", &idle), &["redirect_port has no meaning", "\"device\""]);
    let idle = format!("service_account_file = \"a\"\n{CLIENT}");
    refused_at(5, &table("google", &idle), &["service_account_file has no meaning", "\"code\""]);
    has_words(&refusal(&format!("{UPSTREAM}[oauth]\nprovider = \"google\"\n")), &["[oauth.google]"]);
    let memory = format!("{}[state]\nurl = \"sqlite::memory:\"\n", table("google", CLIENT));
    refused_at(4, &memory, &["url of [state]"]);
}

#[test]
fn a_secret_has_one_closed_place() {
    let two = format!("client_secret_env = \"A\"\nclient_secret_credential = \"b\"\n{CLIENT}");
    refused_at(6, &table("google", &two), &["client_secret_env and client_secret_credential", "one secret"]);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret");
    std::fs::write(&path, "s3cret\n").expect("written");
    set_permissions(&path, Permissions::from_mode(0o644)).expect("our file");
    let text = table("google", &format!("client_secret_file = \"secret\"\n{CLIENT}"));
    let load = || Config::parse(&text, "popbridge.toml", folder.path());
    has_words(
        &load().expect_err("open").to_string(),
        &["popbridge.toml:5: client_secret_file: ", "chmod 600"],
    );
    set_permissions(&path, Permissions::from_mode(0o600)).expect("our file");
    assert_eq!(load().expect("closed").sign_ins[0].client_secret, Some(SecretSource::File(path)));
}

#[test]
fn an_account_names_its_way() {
    let account =
        |lines: &str| format!("{}[[account]]\nlogin = \"scanner\"\n{lines}\n", table("google", CLIENT));
    let hash = format!("password_hash = \"{HASH}\"");
    let config = parse(&account(&format!("{hash}\noauth = \"work\"")));
    let own = config.accounts[0].own_password.as_ref().expect("a password of its own");
    let Means::SignIn(oauth) = &own.upstream else { panic!("{:?}", own.upstream) };
    assert_eq!(oauth.name, "work");
    refused_at(8, &account("oauth = \"work\""), &["with oauth whoever", "password_hash"]);
    refused_at(9, &account(&format!("{hash}\noauth = \"wrok\"")), &["did you mean \"work\"?"]);
    let both = format!("{hash}\noauth = \"work\"\npassword_env = \"A\"");
    refused_at(9, &account(&both), &["password_env and oauth", "leave one of them out"]);
    let none = format!("{UPSTREAM}[[account]]\nlogin = \"scanner\"\n{hash}\noauth = \"work\"\n");
    refused_at(6, &none, &["no [oauth.work]"]);
}

#[test]
fn the_key_has_one_place() {
    let key = |lines: &str| {
        parse(&format!("{UPSTREAM}[state]\nurl = \"sqlite:/var/lib/p/state.db\"\n{lines}\n")).state_key
    };
    assert_eq!(key(""), Some(SecretSource::File("/var/lib/p/popbridge.key".into())));
    assert_eq!(key("key_file = \"k\""), Some(SecretSource::File(super::folder().join("k"))));
    assert_eq!(key("key_env = \"K\""), Some(SecretSource::Environment("K".to_owned())));
    assert_eq!(key("key_credential = \"k\""), Some(SecretSource::Credential("k".to_owned())));
    let memory = parse(&format!("{UPSTREAM}[state]\nurl = \"sqlite::memory:\"\n"));
    assert_eq!(memory.state_key, None);
    refused_at(
        5,
        &format!("{UPSTREAM}[state]\nkey_file = \"k\"\nkey_env = \"K\"\n"),
        &["key_file and key_env are two places for one key"],
    );
}
