//! `popbridge authorize`: a person agrees once, with a browser here, elsewhere, or none; and a death
//! between a token and its use loses nothing.

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use popbridge::config::Database;
use popbridge::store::{Store, TokenName};
use support::oauth::{Mood, OauthServer, browse, secret_line};
use tempfile::TempDir;

const HASH: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

/// A provider, and a configuration of popbridge as its client.
struct Stage {
    provider: OauthServer,
    folder: TempDir,
}

impl Stage {
    async fn new(flow: &str, more: &str) -> Self {
        let (provider, folder) = (OauthServer::start().await, tempfile::tempdir().expect("a folder"));
        let text = format!(
            "[upstream.home]\nurl = \"imap://127.0.0.1:1\"\n[oauth.home]\n{}{}{more}\n\
             [[account]]\nlogin = \"scanner\"\nusername = \"alice\"\npassword_hash = \"{HASH}\"\noauth = \"home\"\n\
             [[account]]\nlogin = \"plain\"\n",
            provider.lines(flow),
            secret_line(folder.path()),
        );
        std::fs::write(folder.path().join("popbridge.toml"), text).expect("written");
        Self { provider, folder }
    }

    fn configuration(&self) -> PathBuf {
        self.folder.path().join("popbridge.toml")
    }

    fn command(&self, name: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_popbridge"));
        command.arg(name).arg("--config").arg(self.configuration()).args(more);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs it to its end, off this thread, which serves the provider.
    async fn run(&self, mut command: Command) -> (Option<i32>, String, String) {
        let output = tokio::task::spawn_blocking(move || command.output().expect("the program ends"));
        ended(output.await.expect("no panic"))
    }

    fn begin(&self) -> Begun {
        Begun::new(self.command("authorize", &["scanner"]))
    }
}

fn ended(output: Output) -> (Option<i32>, String, String) {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// A sign-in that waits for somebody.
struct Begun {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    shown: String,
}

impl Begun {
    fn new(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).spawn().expect("the program starts");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, input, output, shown: String::new() }
    }

    /// Reads until a line that begins like this; that line.
    async fn line(mut self, beginning: &'static str) -> (Self, String) {
        let reading = tokio::task::spawn_blocking(move || {
            loop {
                let mut line = String::new();
                let read = self.output.read_line(&mut line).expect("it writes text");
                assert!(read > 0, "it ended:\n{}", self.shown);
                self.shown.push_str(&line);
                if line.starts_with(beginning) {
                    return (self, line.trim().to_owned());
                }
            }
        });
        reading.await.expect("no panic")
    }

    fn paste(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("it reads");
    }

    async fn end(mut self) -> (Option<i32>, String, String) {
        let waiting = tokio::task::spawn_blocking(move || {
            let mut rest = String::new();
            std::io::Read::read_to_string(&mut self.output, &mut rest).expect("text");
            let (code, _, errors) = ended(self.child.wait_with_output().expect("it ends"));
            (code, self.shown + &rest, errors)
        });
        waiting.await.expect("no panic")
    }
}

/// Where the browser is sent by the address that was printed.
async fn agree(address: &str) -> String {
    let (status, location, _) = browse(address).await;
    assert_eq!(status, 302);
    location.expect("sent back")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_browser_of_this_machine_brings_the_answer() {
    let stage = Stage::new("code", "").await;
    let (begun, address) = stage.begin().line("http").await;
    assert!(address.contains("login_hint=alice"), "{address}");
    let back = agree(&address).await;
    assert!(back.starts_with("http://127.0.0.1:"), "{back}");
    // Others may knock there, and one that sends nothing at all.
    let (here, _) = back.split_once("/?").expect("a query");
    let silent =
        tokio::net::TcpStream::connect(here.trim_start_matches("http://")).await.expect("it listens");
    for other in ["/favicon.ico", "/?code=a&state=b", "/?code=a", "/"] {
        let (status, ..) = browse(&format!("{here}{other}")).await;
        assert_eq!(status, 404, "{other}");
    }
    let (status, _, page) = browse(&back).await;
    assert_eq!(status, 200);
    assert!(page.contains("close this window"), "{page}");
    drop(silent);
    let (code, shown, errors) = begun.end().await;
    assert_eq!(code, Some(0), "{errors}");
    assert!(shown.contains("alice is signed in") && shown.contains("renews it by itself"), "{shown}");
    assert!(shown.contains("check") && shown.contains("--login scanner"), "{shown}");
    let secrets = stage.provider.secrets();
    assert!(secrets.iter().all(|secret| !shown.contains(secret) && !errors.contains(secret)));
    let (_, shown, _) = stage.run(stage.command("check", &[])).await;
    assert!(shown.contains("account scanner: oauth gives an access token"), "{shown}");
    assert_eq!(stage.provider.count("authorization_code"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_address_may_be_pasted_from_another_machine() {
    for (more, sent, at) in [
        ("", "http%3A%2F%2F127.0.0.1%3A", "http://127.0.0.1:"),
        // Not a slash is added to what was registered.
        ("redirect_url = \"https://localhost\"", "https%3A%2F%2Flocalhost&", "https://localhost/?"),
    ] {
        let stage = Stage::new("code", more).await;
        let (mut begun, address) = stage.begin().line("http").await;
        assert!(address.contains(&format!("redirect_uri={sent}")), "{address}");
        let back = agree(&address).await;
        assert!(back.starts_with(at), "{back}");
        begun.paste("");
        begun.paste("what is this?code=1&state=2");
        let (mut begun, line) = begun.line("this is not the address").await;
        assert!(line.contains("the whole of it"), "{line}");
        begun.paste(&format!("  {back}  "));
        let (code, shown, errors) = begun.end().await;
        assert_eq!(code, Some(0), "{errors}");
        assert!(shown.contains("alice is signed in"), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_no_is_told() {
    let stage = Stage::new("code", "").await;
    stage.provider.person("alice", false);
    let (begun, address) = stage.begin().line("http").await;
    browse(&agree(&address).await).await;
    let (code, _, errors) = begun.end().await;
    assert_eq!(code, Some(77), "{errors}");
    assert!(errors.contains("access_denied: The person said no."), "{errors}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_anybody_to_ask_it_ends() {
    let stage = Stage::new("code", "redirect_url = \"https://localhost/\"").await;
    let (code, _, errors) = stage.run(stage.command("authorize", &["scanner"])).await;
    assert_eq!(code, Some(66), "{errors}");
    let (code, _, errors) = stage.run(stage.command("authorize", &["plain"])).await;
    assert_eq!(code, Some(78), "{errors}");
    assert!(errors.contains("[oauth.NAME]"), "{errors}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_is_typed_on_another_device() {
    let stage = Stage::new("device", "").await;
    stage.provider.pending(&["authorization_pending", "slow_down", "authorization_pending"]);
    let began = Instant::now();
    let (code, shown, errors) = stage.run(stage.command("authorize", &["scanner"])).await;
    assert_eq!(code, Some(0), "{errors}");
    assert!(shown.contains("/type in a browser") && shown.contains("WDJB-MJHT"), "{shown}");
    assert_eq!((stage.provider.count("device"), stage.provider.count("device_code")), (1, 4));
    // Of its "interval": 0, and 5 seconds with slow_down (RFC 8628 §3.5).
    assert!(began.elapsed() >= Duration::from_secs(1 + 5 + 5), "it asks without end");
    stage.provider.person("alice", false);
    let (code, _, errors) = stage.run(stage.command("authorize", &["scanner"])).await;
    assert_eq!(code, Some(77), "{errors}");
    assert!(errors.contains("access_denied"), "{errors}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_proxy_sees_what_stays_on_this_machine() {
    let stage = Stage::new("client-credentials", "").await;
    let mut command = stage.command("authorize", &["scanner"]);
    for name in ["http_proxy", "https_proxy", "all_proxy"] {
        command.env(name, "http://127.0.0.1:1");
    }
    command.env_remove("no_proxy").env_remove("NO_PROXY");
    let (code, shown, errors) = stage.run(command).await;
    assert_eq!(code, Some(0), "{errors}");
    assert!(shown.contains("gives popbridge tokens for alice"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_nobody_is_tried_out() {
    let stage = Stage::new("client-credentials", "").await;
    let (code, shown, errors) = stage.run(stage.command("authorize", &["scanner"])).await;
    assert_eq!(code, Some(0), "{errors}");
    assert!(shown.contains("gives popbridge tokens for alice"), "{shown}");
    for (mood, expected, words) in [
        (Mood::Down, 69, "503"),
        (Mood::Refusing("invalid_client"), 78, "client_id"),
        (Mood::Garbage, 69, "no OAuth 2 response"),
    ] {
        stage.provider.mood(mood);
        let (code, _, errors) = stage.run(stage.command("authorize", &["scanner"])).await;
        assert_eq!(code, Some(expected), "{errors}");
        assert!(errors.contains(words), "{errors}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_between_a_token_and_its_use_loses_nothing() {
    // What was stored is used by the next start; what was not is asked for again.
    for (place, asked) in [("token-received", 4), ("token-stored", 3)] {
        let stage = Stage::new("code", "").await;
        let (begun, address) = stage.begin().line("http").await;
        browse(&agree(&address).await).await;
        assert_eq!(begun.end().await.0, Some(0));
        for round in 1..=3 {
            age(&stage).await;
            let mut command = stage.command("check", &[]);
            command.env("POPBRIDGE_DIE_AT", place);
            let (code, ..) = stage.run(command).await;
            assert_eq!(code, None, "{place}, round {round}: it died by a signal");
        }
        let (_, shown, _) = stage.run(stage.command("check", &[])).await;
        assert!(shown.contains("account scanner: oauth gives an access token"), "{place}: {shown}");
        assert_eq!(stage.provider.count("refresh_token"), asked, "{place}");
    }
}

/// Lets the stored token come to its end.
async fn age(stage: &Stage) {
    let path = stage.folder.path().join("popbridge.db");
    let store = Store::open_existing(&Database::File(path)).await.expect("a store");
    let name = TokenName { sign_in: "home".to_owned(), username: "alice".to_owned() };
    let stored = store.tokens(&name).await.expect("read").expect("there");
    let mut tokens = stored.tokens;
    tokens.obtained_at -= 3600;
    tokens.expires_at -= 3600;
    store.renew_tokens(&name, Some(stored.version), &tokens).await.expect("written");
    store.close().await;
}
