//! A mailbox that is opened with a sign-in: by a token, by its successor, and never by one that the
//! mail server refuses, for long.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use imapsim::Server;
use popbridge::app;
use popbridge::config::{Config, Database};
use popbridge::grants::Grant;
use popbridge::secret::{PasswordHash, Secret};
use popbridge::store::{Store, TokenName};
use support::bridge::Settings;
use support::local::Local;
use support::oauth::{Mood, OauthServer, browse, secret_line};
use support::pop3::Pop3;
use tempfile::TempDir;

const DEVICE: &str = "dev1ce-Passw0rd";

/// A provider, a mail server that takes its tokens, and a bridge in between with two logins for one
/// mailbox.
struct Stage {
    provider: OauthServer,
    sim: Arc<Server>,
    bridge: Local,
    settings: Settings,
    newest: Arc<Mutex<String>>,
    _secret: TempDir,
}

impl Stage {
    /// `knows`: whether the mail server hears of each token.
    async fn new(knows: bool) -> Self {
        let (provider, secret) = (OauthServer::start().await, tempfile::tempdir().expect("a folder"));
        let sim = Arc::new(Server::builder().user("alice", "no one's").start().await.expect("it starts"));
        sim.append("alice", "INBOX", b"Subject: one\r\n\r\none\r\n", &[]);
        sim.adjust(|traits| traits.mechanisms = vec!["XOAUTH2"]);
        sim.set_token("alice", "none yet");
        let (server, newest) = (Arc::clone(&sim), Arc::new(Mutex::new(String::new())));
        let kept = Arc::clone(&newest);
        provider.witness(move |owner, token| {
            *kept.lock().expect("no panic") = token.to_owned();
            if knows {
                server.set_token(owner, token);
            }
        });
        let hash = PasswordHash::of(&Secret::new(DEVICE.as_bytes().to_vec())).expect("random numbers");
        let account = |login: &str| {
            format!(
                "login = \"{login}\"\nusername = \"alice\"\npassword_hash = \"{}\"\noauth = \"home\"\n",
                hash.as_str()
            )
        };
        let lines = format!("{}{}", provider.lines("code"), secret_line(secret.path()));
        let settings = Settings::new(format!("imap://{}", sim.address()))
            .with("oauth.home", &lines)
            .with("[account]", &format!("{}[[account]]\n{}", account("scanner"), account("printer")));
        let bridge = Local::start(&settings).await;
        let stage = Self { provider, sim, bridge, settings, newest, _secret: secret };
        stage.sign_in().await;
        stage
    }

    async fn attempt(&self, login: &str) -> (Pop3, String) {
        let mut client = Pop3::connect(self.bridge.address()).await;
        client.ok(&format!("USER {login}")).await;
        let answer = client.command(&format!("PASS {DEVICE}")).await;
        (client, answer)
    }

    /// A poll to its end.
    async fn poll(&self, login: &str) -> String {
        let (mut client, answer) = self.attempt(login).await;
        if answer.starts_with("+OK") {
            assert_eq!(client.retr(1).await, b"Subject: one\r\n\r\none\r\n");
        }
        client.ok("QUIT").await;
        self.bridge.settled(0).await;
        answer
    }

    async fn sign_in(&self) {
        let text = self.settings.text(self.bridge.folder());
        let config = Config::parse(&text, "test", self.bridge.folder()).expect("a configuration");
        let store = Store::open(&config.database).await.expect("a store");
        let grants = app::grants(&config, store.clone()).await.expect("grants");
        agree(&grants.grant("home", "scanner", "alice").expect("the way to sign in")).await;
        store.close().await;
    }

    async fn age(&self) {
        let database = Database::File(self.bridge.folder().join("popbridge.db"));
        let store = Store::open_existing(&database).await.expect("a store");
        let name = TokenName { sign_in: "home".to_owned(), username: "alice".to_owned() };
        let stored = store.tokens(&name).await.expect("read").expect("there");
        let mut tokens = stored.tokens;
        tokens.expires_at -= 3600;
        tokens.obtained_at -= 3600;
        store.renew_tokens(&name, Some(stored.version), &tokens).await.expect("written");
        store.close().await;
    }

    /// How often the mail server was shown a token.
    fn shown(&self) -> usize {
        let commands = self.sim.commands();
        commands.iter().filter(|command| command.contains("AUTHENTICATE")).count()
    }

    fn refreshed(&self) -> usize {
        self.provider.count("refresh_token")
    }
}

async fn agree(grant: &Grant) {
    let provider = grant.provider();
    let request = provider.begin_code("http://127.0.0.1:1/", "alice").await.expect("asked").expect("by code");
    let (_, location, _) = browse(&request.url).await;
    let answered = request.answer(&location.expect("sent back")).expect("a code");
    grant.sign_in(provider.finish_code(request, answered).await.expect("tokens")).await.expect("kept");
}

fn good(answer: &str) {
    assert!(answer.starts_with("+OK 1 messages"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_connection_serves_as_long_as_its_token() {
    let stage = Stage::new(true).await;
    for _ in 0..3 {
        good(&stage.poll("scanner").await);
    }
    good(&stage.poll("printer").await);
    assert_eq!((stage.sim.logins(), stage.refreshed()), (1, 0), "one connection, one token");
    stage.age().await;
    good(&stage.poll("scanner").await);
    good(&stage.poll("printer").await);
    assert_eq!((stage.sim.logins(), stage.refreshed()), (2, 1), "a new token takes a new connection");
    assert!(stage.sim.live_connections() <= 1, "the former one is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sessions_at_once_renew_once() {
    let stage = Stage::new(true).await;
    stage.age().await;
    stage.provider.delay(Duration::from_millis(200));
    let ((scanner, first), (printer, second)) =
        tokio::join!(stage.attempt("scanner"), stage.attempt("printer"));
    good(&first);
    good(&second);
    assert_eq!(stage.refreshed(), 1);
    scanner.quit().await;
    printer.quit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_ended_early_is_replaced_in_the_login() {
    let stage = Stage::new(true).await;
    good(&stage.poll("scanner").await);
    // The mail server hears of the end of a token before its time, and hangs up.
    stage.sim.set_token("alice", "another");
    stage.sim.kill_connections();
    good(&stage.poll("scanner").await);
    assert_eq!(stage.refreshed(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_in_a_session_comes_back_with_a_new_token() {
    let stage = Stage::new(true).await;
    let (mut client, answer) = stage.attempt("scanner").await;
    good(&answer);
    stage.sim.set_token("alice", "another");
    stage.sim.kill_connections();
    assert_eq!(client.retr(1).await, b"Subject: one\r\n\r\none\r\n");
    assert_eq!(stage.refreshed(), 1);
    client.quit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_server_that_refuses_every_token_is_not_the_programs_fault() {
    let stage = Stage::new(false).await;
    for _ in 0..4 {
        let answer = stage.poll("scanner").await;
        assert!(
            answer.starts_with("-ERR [SYS/PERM] The mail server refuses the bridge's sign-in"),
            "{answer}"
        );
    }
    assert_eq!(stage.refreshed(), 1, "it is not the token");
    assert_eq!(stage.shown(), 2, "each token is shown once");
    // A new sign-in is tried at once, whatever was refused before.
    stage.sign_in().await;
    let newest = stage.newest.lock().expect("no panic").clone();
    stage.sim.set_token("alice", newest);
    good(&stage.poll("scanner").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_token_is_not_shown_again_while_there_is_no_other() {
    let stage = Stage::new(true).await;
    good(&stage.poll("scanner").await);
    stage.sim.set_token("alice", "another");
    stage.sim.kill_connections();
    stage.provider.mood(Mood::Down);
    for _ in 0..3 {
        for login in ["scanner", "printer"] {
            let answer = stage.poll(login).await;
            assert!(answer.starts_with("-ERR [SYS/TEMP]") && answer.contains("sign-in server"), "{answer}");
        }
    }
    assert_eq!((stage.shown(), stage.refreshed()), (2, 1), "when it was good, and once more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consent_that_is_gone_is_told_by_what_the_mail_server_refuses() {
    let stage = Stage::new(true).await;
    good(&stage.poll("scanner").await);
    stage.provider.revoke_all();
    stage.sim.set_token("alice", "another");
    stage.sim.kill_connections();
    for _ in 0..3 {
        let answer = stage.poll("scanner").await;
        assert!(answer.starts_with("-ERR [SYS/PERM]") && answer.contains("popbridge authorize"), "{answer}");
    }
    assert_eq!(stage.refreshed(), 1);
    stage.sign_in().await;
    good(&stage.poll("scanner").await);
}
