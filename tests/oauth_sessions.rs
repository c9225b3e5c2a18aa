//! What a POP3 program is told of the bridge's sign-in; and that its own password has no part in it.

mod support;

use std::path::{Path, PathBuf};

use popbridge::app;
use popbridge::config::{Config, Database};
use popbridge::grants::Grant;
use popbridge::secret::{PasswordHash, Secret};
use popbridge::store::{Store, TokenName};
use support::bridge::{Bridge, Settings};
use support::oauth::{Mood, OauthServer, browse, secret_line};
use support::pop3::Pop3;
use tempfile::TempDir;

const DEVICE: &str = "dev1ce-Passw0rd";

/// A provider, and a running bridge that is its client.
struct Stage {
    provider: OauthServer,
    bridge: Bridge,
    _secret: TempDir,
}

impl Stage {
    async fn new() -> Self {
        let (provider, secret) = (OauthServer::start().await, tempfile::tempdir().expect("a folder"));
        let hash = PasswordHash::of(&Secret::new(DEVICE.as_bytes().to_vec())).expect("random numbers");
        let account = format!(
            "login = \"scanner\"\nusername = \"alice\"\npassword_hash = \"{}\"\noauth = \"home\"",
            hash.as_str()
        );
        let lines = format!("{}{}", provider.lines("code"), secret_line(secret.path()));
        // Nobody is there: a session ends where the mail server would be asked.
        let settings = Settings::new("imap://127.0.0.1:1".to_owned())
            .with("oauth.home", &lines)
            .with("[account]", &account);
        Self { provider, bridge: Bridge::start(&settings), _secret: secret }
    }

    fn folder(&self) -> PathBuf {
        self.bridge.configuration().parent().expect("a folder").to_owned()
    }

    async fn attempt(&self, password: &str) -> String {
        let mut client = Pop3::connect(self.bridge.address()).await;
        client.ok("USER scanner").await;
        let answer = client.command(&format!("PASS {password}")).await;
        client.ok("QUIT").await;
        answer
    }

    /// As `popbridge authorize` does, beside the running bridge.
    async fn sign_in(&self) {
        self.provider.mood(Mood::Good);
        let config = Config::load(&self.bridge.configuration()).expect("a configuration");
        let store = Store::open(&config.database).await.expect("a store");
        let grants = app::grants(&config, store.clone()).await.expect("grants");
        agree(&grants.grant("home", "scanner", "alice").expect("the way to sign in")).await;
        store.close().await;
    }

    /// Lets the access token come to its end.
    async fn age(&self) {
        let database = Database::File(self.folder().join("popbridge.db"));
        let store = Store::open_existing(&database).await.expect("a store");
        let name = TokenName { sign_in: "home".to_owned(), username: "alice".to_owned() };
        let stored = store.tokens(&name).await.expect("read").expect("there");
        let mut tokens = stored.tokens;
        tokens.expires_at -= 3600;
        tokens.obtained_at -= 3600;
        store.renew_tokens(&name, Some(stored.version), &tokens).await.expect("written");
        store.close().await;
    }
}

async fn agree(grant: &Grant) {
    let provider = grant.provider();
    let request = provider.begin_code("http://127.0.0.1:1/", "alice").await.expect("asked").expect("by code");
    let (_, location, _) = browse(&request.url).await;
    let answered = request.answer(&location.expect("sent back")).expect("a code");
    grant.sign_in(provider.finish_code(request, answered).await.expect("tokens")).await.expect("kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_failure_is_told_as_what_it_is() {
    let stage = Stage::new().await;
    let answer = stage.attempt(DEVICE).await;
    assert!(
        answer.starts_with("-ERR [SYS/PERM]") && answer.contains("popbridge authorize scanner"),
        "{answer}"
    );
    // The running bridge sees the new sign-in, and goes on to the mail server.
    stage.sign_in().await;
    let answer = stage.attempt(DEVICE).await;
    assert!(answer.starts_with("-ERR [SYS/TEMP] The mail server cannot be reached"), "{answer}");
    assert_eq!(stage.provider.count("refresh_token"), 0);

    stage.age().await;
    stage.provider.mood(Mood::Down);
    for _ in 0..3 {
        let answer = stage.attempt(DEVICE).await;
        assert!(answer.starts_with("-ERR [SYS/TEMP]") && answer.contains("sign-in server"), "{answer}");
    }
    assert_eq!(stage.provider.count("refresh_token"), 1, "programs poll, the provider is left alone");

    stage.sign_in().await;
    stage.age().await;
    stage.provider.mood(Mood::Refusing("invalid_client"));
    let answer = stage.attempt(DEVICE).await;
    assert!(answer.starts_with("-ERR [SYS/PERM]") && answer.contains("look at its log"), "{answer}");

    stage.sign_in().await;
    stage.age().await;
    stage.provider.revoke_all();
    let before = stage.provider.count("refresh_token");
    for _ in 0..3 {
        let answer = stage.attempt(DEVICE).await;
        assert!(
            answer.starts_with("-ERR [SYS/PERM]") && answer.contains("popbridge authorize scanner"),
            "{answer}"
        );
    }
    assert_eq!(stage.provider.count("refresh_token"), before + 1);
    stage.sign_in().await;
    let answer = stage.attempt(DEVICE).await;
    assert!(answer.starts_with("-ERR [SYS/TEMP] The mail server cannot be reached"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_of_the_device_reaches_no_token() {
    let stage = Stage::new().await;
    stage.sign_in().await;
    stage.age().await;
    for _ in 0..2 {
        let answer = stage.attempt("wrong").await;
        assert!(answer.starts_with("-ERR [AUTH]"), "{answer}");
    }
    assert_eq!(stage.provider.count("refresh_token"), 0);
    let answer = stage.attempt(DEVICE).await;
    assert!(answer.starts_with("-ERR [SYS/TEMP] The mail server cannot be reached"), "{answer}");
    assert_eq!(stage.provider.count("refresh_token"), 1, "the tokens were untouched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_the_log_nor_the_state_shows_a_secret() {
    let mut stage = Stage::new().await;
    stage.sign_in().await;
    stage.attempt(DEVICE).await;
    stage.age().await;
    for mood in [Mood::Down, Mood::Garbage, Mood::Refusing("invalid_client"), Mood::Good] {
        stage.provider.mood(mood);
        // What rests from before is forgotten with the process.
        stage.bridge.restart();
        stage.attempt(DEVICE).await;
        shows_none(&stage.bridge.log().concat(), &stage.provider.secrets());
    }
    assert!(stage.provider.count("refresh_token") >= 4);
    stage.age().await;
    stage.provider.mood(Mood::Echoing("invalid_grant"));
    let answer = stage.attempt(DEVICE).await;
    assert!(answer.contains("popbridge authorize"), "{answer}");
    stage.bridge.terminate();
    let mut secrets = stage.provider.secrets();
    secrets.push(DEVICE.to_owned());
    let log = stage.bridge.log().concat();
    assert!(log.contains("refresh_token …"), "{log}");
    shows_none(&log, &secrets);
    let files = files(&stage.folder());
    assert!(files.iter().any(|path| path.ends_with("popbridge.db")), "{files:?}");
    for path in files {
        shows_none(&String::from_utf8_lossy(&std::fs::read(path).expect("readable")), &secrets);
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
}

fn shows_none(text: &str, secrets: &[String]) {
    assert!(!text.is_empty());
    for secret in secrets {
        assert!(!text.contains(secret.as_str()), "{secret} is shown");
    }
}
