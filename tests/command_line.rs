//! The program from outside: arguments, exit codes, signals, `check`.

mod support;

use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use imapsim::Server;
use support::bridge::{Bridge, Settings};
use support::certs::Authority;
use support::dovecot::PASSWORD;
use support::pop3::Pop3;
use support::process::{self, Process};

fn popbridge(arguments: &[&str]) -> Output {
    with_input(arguments, "")
}

fn with_input(arguments: &[&str], input: &str) -> Output {
    process::popbridge(arguments, input)
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).expect("text")
}

fn configuration(folder: &Path, text: &str) -> String {
    let path = folder.join("popbridge.toml");
    std::fs::write(&path, text).expect("written");
    path.display().to_string()
}

#[test]
fn version_tells_how_it_was_built() {
    let output = popbridge(&["--version"]);
    assert!(output.status.success());
    let version = text(&output.stdout);
    assert!(version.starts_with(concat!("popbridge ", env!("CARGO_PKG_VERSION"), "\n")), "{version}");
    for fact in ["commit ", "rustc ", "target ", "profile "] {
        assert!(version.contains(fact), "{version}");
    }
}

#[test]
fn wrong_arguments_are_usage_errors() {
    let wrong: [&[&str]; 6] = [
        &[],
        &["sevre"],
        &["serve"],
        &["serve", "--imap", "imaps://a.example", "--listen", "nowhere"],
        &["serve", "--config", "a.toml", "--imap", "imaps://a.example"],
        &["check", "--password-file", "x", "--imap", "imaps://a.example"],
    ];
    for arguments in wrong {
        let output = popbridge(arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {}", text(&output.stderr));
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    assert!(popbridge(&["serve", "--help"]).status.success());
    let usage = text(&popbridge(&["serve"]).stderr);
    assert!(usage.contains("--config <FILE>|--imap <URL>"), "{usage}");
}

#[test]
fn a_wrong_configuration_names_the_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = configuration(
        folder.path(),
        "[upstream.home]\nurl = \"imaps://imap.example.org\"\n\n[[listener]]\nadress = \"127.0.0.1:0\"\n",
    );
    for command in ["serve", "check"] {
        let output = popbridge(&[command, "--config", &path]);
        assert_eq!(output.status.code(), Some(78));
        let expected = format!("popbridge: {path}:5: unknown key \"adress\"; did you mean \"address\"?\n");
        assert_eq!(text(&output.stderr), expected);
    }
    let output = popbridge(&["serve", "--config", "/nowhere/popbridge.toml"]);
    assert_eq!(output.status.code(), Some(78), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr).matches("No such file").count(), 1, "{}", text(&output.stderr));
}

#[test]
fn an_address_in_use_is_said() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let text_ = format!(
        "[[listener]]\naddress = \"{address}\"\n[upstream.a]\nurl = \"imap://127.0.0.1:1\"\n[state]\nurl = \"sqlite::memory:\"\n"
    );
    let output = popbridge(&["serve", "--config", &configuration(folder.path(), &text_)]);
    assert_eq!(output.status.code(), Some(69));
    assert!(text(&output.stderr).contains(&address), "{}", text(&output.stderr));
}

#[test]
fn a_state_that_cannot_be_used_is_said_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("broken.db"), b"this is no database, it is a text file\n".repeat(100))
        .expect("written");
    std::fs::write(folder.path().join("file"), b"").expect("written");
    for url in ["sqlite:broken.db", "sqlite:file/popbridge.db"] {
        let text_ = format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.a]\nurl = \"imap://127.0.0.1:1\"\n[state]\nurl = \"{url}\"\n"
        );
        let output = popbridge(&["serve", "--config", &configuration(folder.path(), &text_)]);
        assert_eq!(output.status.code(), Some(73), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("state"), "{}", text(&output.stderr));
    }
}

async fn sim() -> Server {
    let sim = Server::builder().user("alice", PASSWORD).start().await.expect("the simulator starts");
    sim.append("alice", "INBOX", b"Subject: one\r\n\r\nbody\r\n", &[]);
    sim
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_what_the_server_lets_each_policy_do() {
    let sim = sim().await;
    sim.set_capability("UIDPLUS", false);
    let url = format!("imap://{}", sim.address());
    let arguments = ["check", "--imap", &url, "--login", "alice"];
    let output = with_input(&arguments, "secret\n");
    let report = text(&output.stdout);
    assert!(output.status.success(), "{report}");
    assert!(report.contains("INBOX: 1 messages"), "{report}");
    assert!(report.contains("on_delete = \"hide\" (configured): can be kept"), "{report}");
    assert!(report.contains("on_delete = \"expunge\": REFUSED"), "{report}");

    let output = with_input(&[&arguments[..], &["--json"]].concat(), "secret\n");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["ok"], true);
    assert_eq!(report["login"]["folders"][0]["messages"], 1);
    let refused: Vec<(&str, bool)> = report["login"]["policies"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|policy| (policy["on_delete"].as_str().unwrap_or_default(), policy["refused"].is_string()))
        .collect();
    let expected = [("hide", false), ("trash", false), ("archive", true), ("flag", false), ("expunge", true)];
    assert_eq!(refused, expected);

    let output = with_input(&arguments, "wrong\n");
    assert_eq!(output.status.code(), Some(69));
    let report = text(&output.stdout);
    assert!(report.contains("FAILED") && !report.contains("wrong"), "{report}");
    assert!(!sim.messages("alice", "INBOX")[0].flags.contains("\\Seen"));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_what_became_of_compression() {
    let sim = sim().await;
    let folder = tempfile::tempdir().expect("a folder");
    let text_ = format!("[upstream.a]\nurl = \"imap://{}\"\ncompress = true\n", sim.address());
    let path = configuration(folder.path(), &text_);
    let check = |more: &[&str]| {
        let arguments = ["check", "--config", &path, "--login", "alice"];
        let output = with_input(&[&arguments[..], more].concat(), "secret\n");
        assert!(output.status.success(), "{}", text(&output.stdout));
        text(&output.stdout)
    };
    let report = check(&[]);
    assert!(report.contains("NOT COMPRESSED: the mail server does not offer COMPRESS=DEFLATE"), "{report}");

    sim.set_capability("COMPRESS=DEFLATE", true);
    let report = check(&[]);
    assert!(report.contains("compress = true: compressed in both directions"), "{report}");
    assert!(report.contains("INBOX: 1 messages"), "{report}");

    sim.fault(imapsim::Place::Compress, imapsim::Fault::No(Some("COMPRESSIONACTIVE")));
    let report: serde_json::Value = serde_json::from_str(&check(&["--json"])).expect("JSON");
    let compression = &report["login"]["compression"];
    assert_eq!((&report["ok"], &compression["active"]), (&true.into(), &false.into()));
    let reason = compression["refused"].as_str().expect("a reason");
    assert!(reason.contains("COMPRESSIONACTIVE") || reason.contains("Refused"), "{reason}");

    let url = format!("imap://{}", sim.address());
    let output = with_input(&["check", "--imap", &url, "--login", "alice"], "secret\n");
    assert!(!text(&output.stdout).contains("compress ="), "it was not asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_how_a_login_goes() {
    let sim = sim().await;
    let url = format!("imap://{}", sim.address());
    let check = |more: &[&str]| with_input(&[&["check", "--imap", &url], more].concat(), "secret\n");
    let report = text(&check(&["--login", "alice"]).stdout);
    assert!(report.contains("\n  a login would go by AUTHENTICATE PLAIN\n"), "{report}");
    assert!(report.contains(" as alice: good\n  by AUTHENTICATE PLAIN\n"), "{report}");

    sim.set_capability("AUTH=SCRAM-SHA-256", true);
    let output = check(&["--login", "alice", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["upstreams"][0]["login_by"], "AUTHENTICATE SCRAM-SHA-256");
    assert_eq!(report["login"]["login_by"], "AUTHENTICATE SCRAM-SHA-256");

    for mechanism in ["PLAIN", "LOGIN", "SCRAM-SHA-256"] {
        sim.set_capability(&format!("AUTH={mechanism}"), false);
    }
    for (capability, words) in [
        ("LOGINDISABLED", "imap+starttls://"),
        ("AUTH=XOAUTH2", "this server wants OAuth: an [[account]] with oauth"),
    ] {
        sim.set_capability(capability, true);
        let output = check(&[]);
        let report = text(&output.stdout);
        assert_eq!(output.status.code(), Some(69), "{report}");
        assert!(report.contains("FAILED") && report.contains(words), "{report}");
        assert!(
            report.contains("capabilities before login: ") && !report.contains("would go by"),
            "{report}"
        );
    }
    // For an account that signs in it is the right server.
    let hash = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    let folder = tempfile::tempdir().expect("a folder");
    let settings = format!(
        "[upstream.a]\nurl = \"imap://{}\"\n[oauth.own]\nprovider = \"google\"\nclient_id = \"x\"\n\
         [[account]]\nlogin = \"scanner\"\nusername = \"alice\"\noauth = \"own\"\npassword_hash = \"{hash}\"\n",
        sim.address()
    );
    let output = popbridge(&["check", "--config", &configuration(folder.path(), &settings)]);
    let report = text(&output.stdout);
    assert!(report.contains("would go by AUTHENTICATE XOAUTH2"), "{report}");
    assert!(report.contains("popbridge authorize scanner"), "{report}");
}

#[test]
fn check_says_when_nobody_answers() {
    let output = popbridge(&["check", "--imap", "imap://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(69));
    assert!(text(&output.stdout).contains("127.0.0.1:1 FAILED"), "{}", text(&output.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_fails_when_the_configured_policy_cannot_be_kept() {
    let sim = sim().await;
    sim.set_capability("UIDPLUS", false);
    let folder = tempfile::tempdir().expect("a folder");
    let text_ =
        format!("[upstream.a]\nurl = \"imap://{}\"\n[maildrop]\non_delete = \"expunge\"\n", sim.address());
    let path = configuration(folder.path(), &text_);
    std::fs::write(folder.path().join("password"), "secret\n").expect("written");
    let password = folder.path().join("password").display().to_string();
    let output = popbridge(&["check", "--config", &path, "--login", "alice", "--password-file", &password]);
    assert_eq!(output.status.code(), Some(69), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("(configured): REFUSED"), "{}", text(&output.stdout));
    assert!(!folder.path().join("popbridge.db").exists(), "check leaves nothing behind");
}

/// What `hash-password` has printed, in a configuration that takes it.
fn hashed(output: Output, form: &str) -> popbridge::secret::PasswordHash {
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    let line = text(&output.stdout);
    let line = line.strip_suffix('\n').expect("one line").to_owned();
    assert!(line.starts_with(form), "{line}");
    let configuration = format!(
        "[upstream.a]\nurl = \"imaps://a.example\"\n[[account]]\nlogin = \"scanner\"\n\
         password_env = \"A\"\npassword_hash = \"{line}\"\n"
    );
    let config = popbridge::config::Config::parse(&configuration, "test", Path::new("."));
    config.unwrap_or_else(|error| panic!("{error}"));
    popbridge::secret::PasswordHash::parse(&line).expect("a hash")
}

#[test]
fn hash_password_prints_what_the_configuration_takes() {
    let secret = |text: &str| popbridge::secret::Secret::new(text.as_bytes().to_vec());
    for (form, options) in
        [("$argon2id$v=19$m=19456,t=2,p=1$", &[][..]), ("SCRAM-SHA-256$100000:", &["--scram"])]
    {
        let asked = [&["hash-password"], options].concat();
        let first = hashed(with_input(&asked, "pa ss wörd\r\nsecond line\n"), form);
        assert!(first.is_of(&secret("pa ss wörd")) && !first.is_of(&secret("pa ss")));
        let again = hashed(with_input(&asked, "pa ss wörd"), form);
        assert_ne!(first.as_str(), again.as_str(), "each has a salt of its own");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("password");
        std::fs::write(&file, "from a file\n").expect("written");
        let file = file.display().to_string();
        let from_file = [&asked[..], &["--password-file", &file]].concat();
        assert!(hashed(popbridge(&from_file), form).is_of(&secret("from a file")));
    }
}

#[test]
fn hash_password_takes_only_what_a_program_can_send() {
    for (input, words) in
        [("", "empty password"), ("\n", "empty password"), ("\r\nx", "empty password"), ("a\0b", "control")]
    {
        let output = with_input(&["hash-password"], input);
        assert_eq!(output.status.code(), Some(77), "{input:?}");
        assert!(output.stdout.is_empty(), "{input:?}");
        assert!(text(&output.stderr).contains(words), "{input:?}: {}", text(&output.stderr));
    }
    // Two that SASLprep forbids: of the private use, and one in both directions.
    for input in ["\u{e000}", "\u{627}1"] {
        assert!(with_input(&["hash-password"], input).status.success(), "{input:?}");
        let output = with_input(&["hash-password", "--scram"], input);
        assert_eq!(output.status.code(), Some(77), "{input:?}");
        assert!(text(&output.stderr).contains("SASLprep"), "{}", text(&output.stderr));
    }
    let output = popbridge(&["hash-password", "--password-file", "/nowhere/password"]);
    assert_eq!(output.status.code(), Some(77));
    assert!(text(&output.stderr).contains("/nowhere/password"), "{}", text(&output.stderr));
    assert_eq!(popbridge(&["hash-password", "secret"]).status.code(), Some(64), "others see arguments");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_sessions_finish() {
    let sim = sim().await;
    let settings = Settings::new(format!("imap://{}", sim.address()));
    let mut bridge = Bridge::start(&settings);
    let address = bridge.address();
    let mut client = Pop3::connect(address).await;
    client.login("alice").await;
    let mut waiting = Pop3::connect(address).await;
    let ended = std::thread::spawn(move || (bridge.terminate(), bridge));
    let goodbye = waiting.line().await.expect("a word of goodbye");
    assert!(goodbye.starts_with("-ERR [SYS/TEMP]"), "{goodbye}");
    // The goodbye and the end of listening are a moment apart, in either order.
    let deadline = Instant::now() + Duration::from_secs(10);
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        assert!(Instant::now() < deadline, "nobody new is let in");
    }
    client.retr(1).await;
    client.ok("DELE 1").await;
    client.quit().await;
    let (status, bridge) = ended.join().expect("the program ends");
    assert_eq!(status.code(), Some(0));
    let sessions = bridge.sessions(2);
    let session = sessions.iter().find(|session| session.login == "alice").expect("its line");
    assert_eq!((session.retrieved, session.deleted, session.end.as_str()), (1, 1, "quit"));
    assert!(session.octets > 0 && !session.tls);
}

#[tokio::test(flavor = "multi_thread")]
async fn grace_has_an_end() {
    let sim = sim().await;
    let settings =
        Settings::new(format!("imap://{}", sim.address())).with("limits", "shutdown_grace = \"300ms\"");
    let mut bridge = Bridge::start(&settings);
    let mut client = Pop3::connect(bridge.address()).await;
    client.login("alice").await;
    client.ok("DELE 1").await;
    let started = Instant::now();
    let status = tokio::task::spawn_blocking(move || (bridge.terminate(), bridge)).await.expect("it ends");
    assert_eq!(status.0.code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(client.rest().await.is_empty());
    assert_eq!(status.1.sessions(1)[0].end, "shutdown");
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reads_a_renewed_certificate() {
    let sim = sim().await;
    let [old, new] = ["before", "after"].map(Authority::new);
    let settings = Settings::new(format!("imap://{}", sim.address())).listeners(&["implicit"]);
    let mut bridge = Bridge::start(&settings.certificate(&old));
    let mut kept = Pop3::connect_tls(bridge.address(), old.client()).await;
    kept.login("alice").await;
    let hang_up = |message: &str, bridge: &Bridge| {
        Process::of(bridge.pid()).expect("it runs").signal("HUP");
        bridge.wait_for_log(|entry| entry["fields"]["message"] == message);
    };

    let good = std::fs::read(old.private_key()).expect("the old key");
    std::fs::write(old.private_key(), "no key").expect("written");
    hang_up("the old certificate stays in use", &bridge);
    std::fs::write(old.private_key(), good).expect("written");
    Pop3::connect_tls(bridge.address(), old.client()).await.quit().await;

    std::fs::copy(new.certificate(), old.certificate()).expect("renewed");
    std::fs::copy(new.private_key(), old.private_key()).expect("renewed");
    hang_up("certificate read again", &bridge);
    Pop3::connect_tls(bridge.address(), new.client()).await.quit().await;
    assert_eq!(kept.list().await.len(), 1, "a session goes on with the old one");
    kept.quit().await;
    assert!(tokio::task::spawn_blocking(move || bridge.terminate()).await.expect("it ends").success());
}

#[cfg(target_os = "linux")]
#[test]
fn a_crash_leaves_no_passwords_on_the_disk() {
    use std::os::unix::process::ExitStatusExt as _;
    let mut bridge = Bridge::start(&Settings::new("imap://127.0.0.1:1".to_owned()));
    let pid = bridge.pid().to_string();
    let mut unlimited = std::process::Command::new(process::require("prlimit", "util-linux"));
    let output = process::run(unlimited.args(["--core=unlimited", "--pid", &pid]), Duration::from_secs(60));
    assert!(output.status.success(), "{}", text(&output.stderr));
    Process::of(bridge.pid()).expect("it runs").signal("ABRT");
    let status = bridge.await_end();
    assert!(status.signal().is_some() && !status.core_dumped(), "{status}");
}
