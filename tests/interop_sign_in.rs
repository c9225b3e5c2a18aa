//! Sign-ins with real programs: Dovecot, which asks the provider about each token, and OpenSSL, which
//! makes a service account's key and verifies what is signed with it.

mod support;

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use popbridge::secret::{PasswordHash, Secret};
use support::bridge::{Bridge, Settings};
use support::dovecot::{Dovecot, Options};
use support::oauth::{OauthServer, browse, secret_line};
use support::pop3::Pop3;
use support::process;

const DEVICE: &str = "dev1ce-Passw0rd";
const PATIENCE: Duration = Duration::from_secs(60);

fn account() -> String {
    let hash = PasswordHash::of(&Secret::new(DEVICE.as_bytes().to_vec())).expect("random numbers");
    format!(
        "login = \"scanner\"\nusername = \"alice\"\npassword_hash = \"{}\"\noauth = \"home\"",
        hash.as_str()
    )
}

/// A Dovecot that takes tokens by one mechanism, and asks the provider whose they are.
fn dovecot(provider: &OauthServer, mechanism: &str, folder: &Path) -> Dovecot {
    let settings = folder.join("oauth2.conf");
    let lines = format!(
        "introspection_mode = post\nintrospection_url = {}\nusername_attribute = username\n\
         active_attribute = active\nactive_value = true\n",
        provider.url("introspect")
    );
    fs::write(&settings, lines).expect("written");
    fs::set_permissions(folder, Permissions::from_mode(0o755)).expect("our folder");
    let extra = format!(
        "auth_mechanisms = plain login {mechanism}\npassdb {{\n driver = oauth2\n mechanisms = {mechanism}\n args = {}\n}}\n",
        settings.display()
    );
    Dovecot::start(&Options { extra: &extra, ..Options::default() })
}

/// `popbridge authorize`, with a browser that agrees; what it printed.
fn authorize(bridge: &Bridge) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_popbridge"))
        .args(["authorize", "scanner", "--config"])
        .arg(bridge.configuration())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let mut shown = String::new();
    let handle = tokio::runtime::Handle::current();
    loop {
        let mut line = String::new();
        assert!(output.read_line(&mut line).expect("text") > 0, "it ended:\n{shown}");
        shown.push_str(&line);
        if line.starts_with("http") {
            handle.block_on(async {
                let (_, back, _) = browse(line.trim()).await;
                browse(&back.expect("sent back")).await;
            });
            break;
        }
    }
    output.read_to_string(&mut shown).expect("text");
    let status = process::wait(&mut child, PATIENCE).expect("it ends");
    assert!(status.success(), "{status}:\n{shown}");
    shown
}

async fn poll(bridge: &Bridge) -> String {
    let mut client = Pop3::connect(bridge.address()).await;
    client.ok("USER scanner").await;
    let answer = client.command(&format!("PASS {DEVICE}")).await;
    if answer.starts_with("+OK") {
        assert!(client.retr(1).await.ends_with(b"one\r\n"));
    }
    client.ok("QUIT").await;
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn dovecot_takes_the_providers_tokens() {
    for mechanism in ["xoauth2", "oauthbearer"] {
        let (provider, folder) = (OauthServer::start().await, tempfile::tempdir().expect("a folder"));
        let dovecot = dovecot(&provider, mechanism, folder.path());
        dovecot.append("alice", "INBOX", b"Subject: one\r\n\r\none\r\n", "");
        let lines = format!("{}{}", provider.lines("code"), secret_line(folder.path()));
        let settings = Settings::new(dovecot.url()).with("oauth.home", &lines).with("[account]", &account());
        let mut bridge = Bridge::start(&settings);
        let answer = poll(&bridge).await;
        assert!(answer.contains("popbridge authorize scanner"), "{answer}");
        let shown = tokio::task::block_in_place(|| authorize(&bridge));
        assert!(shown.contains("127.0.0.1 lets alice in with it"), "{mechanism}: {shown}");
        let answer = poll(&bridge).await;
        assert!(answer.starts_with("+OK"), "{mechanism}: {answer}\n{}", dovecot.log());
        assert!(provider.count("introspect") >= 2, "{mechanism}");
        // Ended before its time: Dovecot's challenge says so, and the next token serves.
        provider.end_access();
        bridge.restart();
        let answer = poll(&bridge).await;
        assert!(answer.starts_with("+OK"), "{mechanism}: {answer}\n{}", dovecot.log());
        assert_eq!(provider.count("refresh_token"), 1, "{mechanism}");
        provider.revoke_all();
        bridge.restart();
        for _ in 0..2 {
            let answer = poll(&bridge).await;
            assert!(
                answer.starts_with("-ERR [SYS/PERM]") && answer.contains("popbridge authorize scanner"),
                "{mechanism}: {answer}"
            );
        }
        assert_eq!(provider.count("refresh_token"), 2, "{mechanism}");
        let log = dovecot.log() + &bridge.log().concat();
        for secret in provider.secrets() {
            assert!(!log.contains(&secret), "{mechanism}: {secret} is shown");
        }
    }
}

fn openssl(arguments: &[&str]) {
    let mut command = Command::new(process::require("openssl", "openssl"));
    let output = process::run(command.args(arguments), PATIENCE);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs openssl; .ci/run runs it"]
async fn a_service_account_signs_for_its_users() {
    let (provider, folder) = (OauthServer::start().await, tempfile::tempdir().expect("a folder"));
    let path = |name: &str| folder.path().join(name).display().to_string();
    openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", &path("key")]);
    openssl(&["pkey", "-in", &path("key"), "-pubout", "-out", &path("public")]);
    let key = fs::read_to_string(path("key")).expect("readable");
    let file = serde_json::json!({
        "type": "service_account", "client_email": "popbridge@tests.example", "private_key_id": "k1",
        "private_key": key, "token_uri": "https://elsewhere.example/",
    });
    let write = |text: &str| {
        fs::write(path("account.json"), text).expect("written");
        fs::set_permissions(path("account.json"), Permissions::from_mode(0o600)).expect("our file");
    };
    write(&file.to_string());
    let text = format!(
        "[upstream.home]\nurl = \"imap://127.0.0.1:1\"\n[oauth.home]\nprovider = \"custom\"\nflow = \"service-account\"\n\
         token_url = \"{}\"\nscopes = [\"mail\"]\nservice_account_file = {:?}\n[[account]]\n{}\n",
        provider.url("token"),
        path("account.json"),
        account()
    );
    fs::write(path("popbridge.toml"), text).expect("written");
    let configuration = path("popbridge.toml");
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_popbridge"));
        command.args(["authorize", "scanner", "--config", &configuration]);
        let output = tokio::task::block_in_place(|| process::run(&mut command, PATIENCE));
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let (code, shown) = run();
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("gives popbridge tokens for alice"), "{shown}");
    let secrets = provider.secrets();
    let assertion = secrets.iter().find(|secret| secret.starts_with("ey")).expect("an assertion");
    let (claimed, signature) = assertion.rsplit_once('.').expect("a signature");
    let (header, claims) = claimed.split_once('.').expect("a header");
    let part = |text: &str| -> serde_json::Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).expect("base64")).expect("JSON")
    };
    assert_eq!(part(header), serde_json::json!({ "alg": "RS256", "typ": "JWT", "kid": "k1" }));
    let claims = part(claims);
    assert_eq!(
        (claims["scope"].as_str(), claims["aud"].as_str()),
        (Some("mail"), Some(&*provider.url("token")))
    );
    let (issued, expires) =
        (claims["iat"].as_u64().expect("a time"), claims["exp"].as_u64().expect("a time"));
    assert_eq!(expires - issued, 3600);
    fs::write(path("claimed"), claimed).expect("written");
    fs::write(path("signature"), URL_SAFE_NO_PAD.decode(signature).expect("base64")).expect("written");
    openssl(&[
        "dgst",
        "-sha256",
        "-verify",
        &path("public"),
        "-signature",
        &path("signature"),
        &path("claimed"),
    ]);
    // What is no key is told without a word of it.
    for (text, words) in [
        ("{}".to_owned(), "no key of a service account in JSON form"),
        (file.to_string().replace("BEGIN", "BEGUN"), "no RSA key"),
    ] {
        write(&text);
        let (code, shown) = run();
        assert_eq!(code, Some(78), "{shown}");
        assert!(shown.contains("service_account_file") && shown.contains(words), "{shown}");
        assert!(key.lines().skip(1).all(|line| !shown.contains(line)), "{shown}");
    }
}
