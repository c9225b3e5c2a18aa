//! Grants: tokens from a real provider over HTTP, kept sealed, renewed by one at a time, and what
//! becomes of them when the provider has its moods.

mod support;

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use popbridge::app;
use popbridge::auth::oauth;
use popbridge::config::Config;
use popbridge::grants::{Error, Grant, Grants};
use popbridge::secret::{Secret, SecretSource};
use popbridge::store::{SealedTokens, Store, TokenName};
use support::oauth::{CLIENT, Mood, OauthServer, browse, secret_line};
use tempfile::TempDir;

const HASH: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

/// A provider, and popbridge as its client with its state in a folder.
struct Stage {
    provider: OauthServer,
    folder: TempDir,
    flow: &'static str,
}

impl Stage {
    async fn new(flow: &'static str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { provider: OauthServer::start().await, folder, flow }
    }

    fn config(&self) -> Config {
        let folder = self.folder.path();
        let text = format!(
            "[upstream.home]\nurl = \"imap://127.0.0.1:1\"\n[oauth.home]\n{}{}\n\
             [[account]]\nlogin = \"scanner\"\nusername = \"alice\"\npassword_hash = \"{HASH}\"\noauth = \"home\"\n",
            self.provider.lines(self.flow),
            secret_line(folder),
        );
        Config::parse(&text, "test", folder).expect("a configuration")
    }

    async fn store(&self) -> Store {
        Store::open(&self.config().database).await.expect("a store")
    }

    /// As a process has them that starts now.
    async fn grants(&self) -> Grants {
        app::grants(&self.config(), self.store().await).await.expect("grants")
    }

    async fn grant(&self) -> Grant {
        self.grants().await.grant("home", "scanner", "alice").expect("the way to sign in")
    }

    /// A grant that a person has agreed to.
    async fn signed_in(&self) -> Grant {
        let grant = self.grant().await;
        self.sign_in(&grant).await;
        grant
    }

    async fn sign_in(&self, grant: &Grant) {
        let provider = grant.provider();
        let request =
            provider.begin_code("http://127.0.0.1:1/", "alice").await.expect("asked").expect("by code");
        let (_, location, _) = browse(&request.url).await;
        let answered = request.answer(&location.expect("sent back")).expect("a code");
        let tokens = provider.finish_code(request, answered).await.expect("tokens");
        grant.sign_in(tokens).await.expect("kept");
    }

    fn refreshed(&self) -> usize {
        self.provider.count("refresh_token")
    }
}

fn name() -> TokenName {
    TokenName { sign_in: "home".to_owned(), username: "alice".to_owned() }
}

fn owner(stage: &Stage, token: &Secret) -> Option<String> {
    stage.provider.owner(token)
}

#[tokio::test]
async fn without_a_sign_in_nobody_is_asked() {
    let stage = Stage::new("code").await;
    let error = stage.grant().await.token().await.expect_err("nobody has agreed");
    assert!(matches!(error, Error::NotSignedIn { .. }), "{error}");
    assert!(error.to_string().contains("popbridge authorize scanner"), "{error}");
    assert_eq!((stage.refreshed(), stage.provider.count("client_credentials")), (0, 0));
}

#[tokio::test]
async fn a_token_serves_until_shortly_before_its_end() {
    let stage = Stage::new("code").await;
    let grant = stage.signed_in().await;
    let token = grant.token().await.expect("a token");
    assert_eq!(owner(&stage, &token).as_deref(), Some("alice"));
    assert_eq!(grant.token().await.expect("a token"), token);
    assert_eq!(stage.grant().await.token().await.expect("a token"), token, "after a restart");
    assert_eq!(stage.refreshed(), 0);
    // Less than two minutes are left; the provider takes it still.
    age(&stage, 3600 - 100).await;
    let next = grant.token().await.expect("a token");
    assert_ne!(next, token);
    assert_eq!((owner(&stage, &next).as_deref(), stage.refreshed()), (Some("alice"), 1));
}

/// Lets the stored access token be older by so many seconds.
async fn age(stage: &Stage, seconds: i64) {
    let store = stage.store().await;
    let stored = store.tokens(&name()).await.expect("read").expect("there");
    let mut tokens = stored.tokens;
    tokens.obtained_at -= seconds;
    tokens.expires_at -= seconds;
    store.renew_tokens(&name(), Some(stored.version), &tokens).await.expect("written").expect("nobody else");
    store.close().await;
}

#[tokio::test]
async fn each_renewal_counts_across_restarts() {
    let stage = Stage::new("code").await;
    let mut token = stage.signed_in().await.token().await.expect("a token");
    for round in 1..=4 {
        age(&stage, 3600).await;
        let next = stage.grant().await.token().await.expect("the refresh token is the newest");
        assert_ne!(next, token);
        assert_eq!((owner(&stage, &next).as_deref(), stage.refreshed()), (Some("alice"), round));
        token = next;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sessions_at_once_renew_it_once() {
    let stage = Stage::new("code").await;
    let grant = stage.signed_in().await;
    age(&stage, 3600).await;
    stage.provider.delay(Duration::from_millis(300));
    let sessions: Vec<_> = (0..8)
        .map(|_| {
            let grant = grant.clone();
            tokio::spawn(async move { grant.token().await.map_err(|error| error.to_string()) })
        })
        .collect();
    let mut tokens = Vec::new();
    for session in sessions {
        tokens.push(session.await.expect("no panic").expect("a token"));
    }
    assert!(tokens.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(stage.refreshed(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_gives_up_waiting_breaks_nothing_off() {
    let stage = Stage::new("code").await;
    let grants = stage.grants().await;
    let grant = grants.grant("home", "scanner", "alice").expect("the way to sign in");
    stage.sign_in(&grant).await;
    age(&stage, 3600).await;
    stage.provider.delay(Duration::from_millis(300));
    let waiting = tokio::time::timeout(Duration::from_millis(100), grant.token()).await;
    waiting.expect_err("it takes longer");
    grants.settle().await;
    let token = stage.grant().await.token().await.expect("what came was stored");
    assert_eq!((owner(&stage, &token).as_deref(), stage.refreshed()), (Some("alice"), 1));
}

#[tokio::test]
async fn an_outage_passes_and_is_not_asked_about_at_every_poll() {
    for (mood, words) in [
        (Mood::Down, "503"),
        (Mood::Hasty(240), "429"),
        (Mood::Garbage, "no OAuth 2 response"),
        (Mood::Deaf, "127.0.0.1"),
        (Mood::Refusing("temporarily_unavailable"), "temporarily_unavailable"),
    ] {
        let stage = Stage::new("code").await;
        let grant = stage.signed_in().await;
        age(&stage, 3600).await;
        stage.provider.mood(mood);
        for _ in 0..5 {
            let error = grant.token().await.expect_err("no token");
            let passes = matches!(error, Error::Provider { reason: oauth::Error::Unavailable { .. }, .. });
            assert!(passes && error.to_string().contains(words), "{mood:?}: {error}");
        }
        assert_eq!(stage.refreshed() + stage.provider.count("deaf"), 1, "{mood:?}");
        // Another process asks for itself, and finds it well again.
        stage.provider.mood(Mood::Good);
        stage.grant().await.token().await.expect("nothing was lost");
        // Which is news for the first one, too.
        grant.token().await.expect("nothing was lost");
    }
}

#[tokio::test]
async fn in_an_outage_a_token_serves_to_its_very_end() {
    let stage = Stage::new("code").await;
    let grant = stage.signed_in().await;
    let token = grant.token().await.expect("a token");
    age(&stage, 3600 - 60).await;
    stage.provider.mood(Mood::Down);
    assert_eq!(grant.token().await.expect("still good"), token);
    assert_eq!(grant.token().await.expect("still good"), token);
    assert_eq!(stage.refreshed(), 1);
    age(&stage, 60).await;
    grant.token().await.expect_err("it has ended");
}

#[tokio::test]
async fn without_anything_to_renew_it_a_token_serves_to_its_very_end() {
    let stage = Stage::new("code").await;
    let grant = stage.signed_in().await;
    let token = grant.token().await.expect("a token");
    let store = stage.store().await;
    let stored = store.tokens(&name()).await.expect("read").expect("there");
    let tokens = SealedTokens { refresh: None, ..stored.tokens };
    store.renew_tokens(&name(), Some(stored.version), &tokens).await.expect("written").expect("nobody else");
    age(&stage, 3600 - 60).await;
    assert_eq!(grant.token().await.expect("still good"), token);
    age(&stage, 60).await;
    let error = grant.token().await.expect_err("it has ended");
    assert!(matches!(error, Error::Gone { .. }) && error.to_string().contains("authorize"), "{error}");
    assert_eq!(stage.refreshed(), 0);
}

#[tokio::test]
async fn consent_that_is_gone_is_remembered_until_a_new_sign_in() {
    let stage = Stage::new("code").await;
    let grant = stage.signed_in().await;
    age(&stage, 3600).await;
    stage.provider.revoke_all();
    let before = stage.store().await.tokens(&name()).await.expect("read").expect("there").tokens;
    for grant in [&grant, &grant, &stage.grant().await] {
        let error = grant.token().await.expect_err("gone");
        assert!(matches!(error, Error::Gone { .. }), "{error}");
        assert!(error.to_string().contains("popbridge authorize scanner"), "{error}");
    }
    assert_eq!(stage.refreshed(), 1, "nobody is asked again");
    let after = stage.store().await.tokens(&name()).await.expect("read").expect("there").tokens;
    assert_eq!(before, after, "only a new sign-in replaces it");
    // By another process, as popbridge authorize is one.
    stage.sign_in(&stage.grant().await).await;
    let token = grant.token().await.expect("signed in");
    assert_eq!(owner(&stage, &token).as_deref(), Some("alice"));
}

#[tokio::test]
async fn a_client_that_is_refused_has_to_be_looked_at() {
    for code in ["invalid_client", "unauthorized_client", "invalid_scope"] {
        let stage = Stage::new("code").await;
        let grant = stage.signed_in().await;
        age(&stage, 3600).await;
        stage.provider.mood(Mood::Refusing(code));
        for _ in 0..3 {
            let error = grant.token().await.expect_err("refused");
            let lasts = matches!(error, Error::Provider { reason: oauth::Error::Misconfigured(_), .. });
            assert!(lasts && error.to_string().contains(code), "{error}");
            assert!(error.to_string().contains("client_id"), "{error}");
        }
        assert_eq!(stage.refreshed(), 1);
        stage.provider.mood(Mood::Good);
        stage.grant().await.token().await.expect("nothing was lost");
    }
}

#[tokio::test]
async fn a_token_that_a_mail_server_refuses_is_replaced_once() {
    let stage = Stage::new("code").await;
    let grant = stage.signed_in().await;
    let token = grant.token().await.expect("a token");
    let next = grant.replace(&token).await.expect("asked").expect("another");
    assert_ne!(next, token);
    // A session that still has the first one is given the second.
    assert_eq!(grant.replace(&token).await.expect("known"), Some(next.clone()));
    assert_eq!(grant.replace(&next).await.expect("asked"), None, "it is not the token");
    assert_eq!(stage.refreshed(), 1);
    stage.provider.revoke_all();
    age(&stage, 3600).await;
    assert!(matches!(grant.replace(&next).await, Err(Error::Gone { .. })));
}

#[tokio::test]
async fn a_program_may_be_let_in_by_itself() {
    let stage = Stage::new("client-credentials").await;
    let grant = stage.grant().await;
    let token = grant.token().await.expect("nobody has to agree");
    assert_eq!(owner(&stage, &token).as_deref(), Some("alice"));
    assert_eq!(stage.grant().await.token().await.expect("kept"), token);
    assert_eq!(stage.provider.count("client_credentials"), 1);
    age(&stage, 3600).await;
    assert_ne!(grant.token().await.expect("another"), token);
    assert_eq!((stage.provider.count("client_credentials"), stage.refreshed()), (2, 0));
    // A key that is lost costs a question, since there is no consent to lose.
    std::fs::remove_file(stage.folder.path().join("popbridge.key")).expect("our file");
    stage.grant().await.token().await.expect("another");
    assert_eq!(stage.provider.count("client_credentials"), 3);
    // Refused, it may be taken back there any time: no sign-in is called for.
    age(&stage, 3600).await;
    stage.provider.mood(Mood::Refusing("invalid_grant"));
    let error = stage.grant().await.token().await.expect_err("refused");
    assert!(matches!(error, Error::Provider { .. }), "{error}");
    stage.provider.mood(Mood::Good);
    stage.grant().await.token().await.expect("allowed again");
}

#[tokio::test]
async fn the_key_is_its_owners_and_the_right_one() {
    let stage = Stage::new("code").await;
    let grant = stage.signed_in().await;
    let key = stage.folder.path().join("popbridge.key");
    assert_eq!(key.metadata().expect("made at the first use").permissions().mode() & 0o7777, 0o600);
    set_permissions(&key, Permissions::from_mode(0o644)).expect("our file");
    let refused = app::grants(&stage.config(), stage.store().await).await.err().expect("refused").to_string();
    assert!(refused.contains("key_file") && refused.contains("chmod 600"), "{refused}");
    age(&stage, 3600).await;
    let error = grant.token().await.expect_err("open to all");
    assert!(matches!(error, Error::Key(_)), "{error}");
    assert_eq!(stage.refreshed(), 0, "what could not be stored is not asked for");
    set_permissions(&key, Permissions::from_mode(0o600)).expect("our file");
    let right = std::fs::read(&key).expect("readable");
    std::fs::remove_file(&key).expect("our file");
    let error = stage.grant().await.token().await.expect_err("gone").to_string();
    assert!(error.contains("key_file") && !key.exists(), "{error}");
    std::fs::write(&key, "BwcH".repeat(10) + "Bwc=\n").expect("written");
    set_permissions(&key, Permissions::from_mode(0o600)).expect("our file");
    let error = stage.grant().await.token().await.expect_err("wrong").to_string();
    assert!(error.contains("former key") && error.contains("popbridge authorize"), "{error}");
    std::fs::write(&key, right).expect("written");
    grant.token().await.expect("as if nothing had been");
}

#[tokio::test]
async fn a_token_in_anothers_place_does_not_open() {
    let stage = Stage::new("code").await;
    stage.signed_in().await;
    let store = stage.store().await;
    let stored = store.tokens(&name()).await.expect("read").expect("there");
    let bob = TokenName { username: "bob".to_owned(), ..name() };
    store.sign_in(&bob, &stored.tokens).await.expect("written");
    let grant = stage.grants().await.grant("home", "bob", "bob").expect("the way to sign in");
    assert!(matches!(grant.token().await, Err(Error::Key(_))));
}

#[tokio::test]
async fn a_refusal_is_that_of_the_client_that_asked() {
    let stage = Stage::new("code").await;
    stage.signed_in().await;
    age(&stage, 3600).await;
    // A slip: the provider knows no such client's consent.
    let mut slip = stage.config();
    let mut sign_in = (*slip.sign_ins[0]).clone();
    sign_in.client_id = "another".to_owned();
    slip.sign_ins = vec![sign_in.into()];
    let other = app::grants(&slip, stage.store().await).await.expect("grants");
    let other = other.grant("home", "scanner", "alice").expect("the way to sign in");
    stage.provider.mood(Mood::Refusing("invalid_grant"));
    for _ in 0..2 {
        assert!(matches!(other.token().await, Err(Error::Gone { .. })));
    }
    assert_eq!(stage.refreshed(), 1, "nobody is asked again");
    // Mended, it goes on.
    stage.provider.mood(Mood::Good);
    let token = stage.grant().await.token().await.expect("nothing was lost");
    assert_eq!(owner(&stage, &token).as_deref(), Some("alice"));
}

#[tokio::test]
async fn what_the_mail_server_has_refused_is_not_given_again() {
    let stage = Stage::new("code").await;
    let grant = stage.signed_in().await;
    let token = grant.token().await.expect("a token");
    stage.provider.mood(Mood::Down);
    let passes = |error| matches!(error, Error::Provider { reason: oauth::Error::Unavailable { .. }, .. });
    assert!(passes(grant.replace(&token).await.expect_err("nobody answers")));
    for _ in 0..3 {
        assert!(passes(grant.token().await.expect_err("it is refused")));
    }
    assert_eq!(stage.refreshed(), 1);
    // Another process has had another one.
    stage.provider.mood(Mood::Good);
    age(&stage, 3600).await;
    let next = stage.grant().await.token().await.expect("well again");
    assert_eq!(grant.token().await.expect("not refused"), next);
}

#[tokio::test]
async fn nothing_is_used_up_while_nothing_can_be_stored() {
    let stage = Stage::new("code").await;
    let grant = stage.signed_in().await;
    age(&stage, 3600).await;
    let other = sqlite(&stage).await;
    let mut connection = other.acquire().await.expect("a connection");
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await.expect("locked");
    let error = grant.token().await.expect_err("it cannot be written");
    assert!(matches!(error, Error::Store(_)), "{error}");
    assert_eq!(stage.refreshed(), 0, "the refresh token is as it was");
    sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await.expect("unlocked");
    grant.token().await.expect("as if nothing had been");
}

#[tokio::test]
async fn tokens_that_could_not_be_stored_are_stored_at_the_end() {
    let stage = Stage::new("code").await;
    let grants = stage.grants().await;
    let grant = grants.grant("home", "scanner", "alice").expect("the way to sign in");
    stage.sign_in(&grant).await;
    age(&stage, 3600).await;
    let other = sqlite(&stage).await;
    let full = "CREATE TRIGGER full BEFORE UPDATE ON token BEGIN SELECT RAISE(ABORT, 'full'); END";
    sqlx::raw_sql(full).execute(&other).await.expect("a trigger");
    let error = grant.token().await.expect_err("it cannot be written");
    assert!(matches!(error, Error::Store(_)), "{error}");
    sqlx::raw_sql("DROP TRIGGER full").execute(&other).await.expect("none");
    grants.settle().await;
    let token = stage.grant().await.token().await.expect("it was stored");
    assert_eq!((owner(&stage, &token).as_deref(), stage.refreshed()), (Some("alice"), 1));
}

/// The database, as another program opens it.
async fn sqlite(stage: &Stage) -> sqlx::SqlitePool {
    let options =
        sqlx::sqlite::SqliteConnectOptions::new().filename(stage.folder.path().join("popbridge.db"));
    sqlx::SqlitePool::connect_with(options).await.expect("a database")
}

#[tokio::test]
async fn a_command_that_fails_is_not_run_by_each_that_waits() {
    let stage = Stage::new("code").await;
    stage.signed_in().await;
    age(&stage, 3600).await;
    let runs = stage.folder.path().join("runs");
    let script = format!("echo >> {}; exit 1", runs.display());
    let mut config = stage.config();
    let mut sign_in = (*config.sign_ins[0]).clone();
    sign_in.client_secret = Some(SecretSource::Command(["sh", "-c", &script].map(str::to_owned).to_vec()));
    config.sign_ins = vec![sign_in.into()];
    let grants = app::grants(&config, stage.store().await).await.expect("grants");
    let grant = grants.grant("home", "scanner", "alice").expect("the way to sign in");
    for _ in 0..4 {
        let error = grant.token().await.expect_err("no secret");
        let passes =
            matches!(error, Error::Provider { reason: oauth::Error::Secret { may_pass: true, .. }, .. });
        assert!(passes, "{error}");
    }
    assert_eq!(std::fs::read(runs).expect("it ran").len(), 1);
    assert_eq!(stage.refreshed(), 0);
}

#[tokio::test]
async fn a_provider_that_says_what_it_was_sent_is_not_quoted() {
    for code in ["invalid_grant", "invalid_client", "temporarily_unavailable"] {
        let stage = Stage::new("code").await;
        let grant = stage.signed_in().await;
        age(&stage, 3600).await;
        stage.provider.mood(Mood::Echoing(code));
        let error = grant.token().await.expect_err("refused").to_string();
        assert!(error.contains(&format!("{code}: authorization … {CLIENT} …")), "{error}");
        assert!(error.contains("refresh_token …"), "{error}");
        assert!(stage.provider.secrets().iter().all(|secret| !error.contains(secret)), "{error}");
        state_shows_none(&stage);
    }
}

#[tokio::test]
async fn the_state_shows_no_secret() {
    let stage = Stage::new("code").await;
    let grant = stage.signed_in().await;
    age(&stage, 3600).await;
    grant.token().await.expect("another");
    state_shows_none(&stage);
    let secrets = stage.provider.secrets();
    assert!(secrets.len() >= 6, "{}", secrets.len());
    let shown = format!("{:?}", stage.config());
    assert!(secrets.iter().all(|secret| !shown.contains(secret)));
}

fn state_shows_none(stage: &Stage) {
    let secrets = stage.provider.secrets();
    let mut files = 0;
    for entry in std::fs::read_dir(stage.folder.path()).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.ends_with("client-secret") {
            continue;
        }
        files += 1;
        shows_none(&path, &secrets);
    }
    assert!(files >= 2, "the database and the key");
}

fn shows_none(path: &Path, secrets: &[String]) {
    let octets = std::fs::read(path).expect("readable");
    for secret in secrets {
        let found = octets.windows(secret.len()).any(|part| part == secret.as_bytes());
        assert!(!found, "{} holds {secret}", path.display());
    }
}
