//! `popbridge setup`, by flags and at a terminal, to a first fetched message.

#[path = "setup/added.rs"]
mod added;
#[path = "setup/found.rs"]
mod found;
mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use imapsim::{Server, Tls};
use support::bridge::Bridge;
use support::dovecot::PASSWORD;
use support::pop3::Pop3;
use support::process;
use support::terminal::Terminal;
use tempfile::TempDir;

const USAGE: i32 = 64;
const UNAVAILABLE: i32 = 69;
const CANNOT_CREATE: i32 = 73;
const NO_PERMISSION: i32 = 77;
const CONFIG: i32 = 78;
const INTERRUPTED: i32 = 130;

const DEVICE: &str = "device's own";

/// A mail server with one message, and a folder for what setup makes.
struct Setting {
    sim: Server,
    folder: TempDir,
    /// What setup reads, and must not touch.
    given: TempDir,
}

impl Setting {
    async fn new() -> Self {
        let sim = Server::builder().user("alice@example.org", PASSWORD).tls(Tls::Implicit);
        Self::of(sim.start().await.expect("the simulator starts"), "alice@example.org")
    }

    fn of(sim: Server, user: &str) -> Self {
        sim.append(user, "INBOX", b"Subject: first\r\n\r\nhello\r\n", &[]);
        let setting = Self { sim, folder: folder(), given: folder() };
        std::fs::write(setting.given("ca.pem"), setting.sim.ca_pem()).expect("written");
        std::fs::write(setting.given("password"), format!("{PASSWORD}\n")).expect("written");
        std::fs::write(setting.given("wrong"), "wrong\n").expect("written");
        std::fs::write(setting.given("device"), format!("{DEVICE}\n")).expect("written");
        setting
    }

    fn given(&self, name: &str) -> PathBuf {
        self.given.path().join(name)
    }

    fn configuration(&self) -> PathBuf {
        self.folder.path().join("popbridge.toml")
    }

    fn url(&self) -> String {
        format!("imaps://localhost:{}", self.sim.address().port())
    }

    /// The flags that every case needs.
    fn flags(&self) -> Vec<String> {
        let text = |path: PathBuf| path.display().to_string();
        let flags = [
            ("--config", text(self.configuration())),
            ("--address", "alice@example.org".to_owned()),
            ("--imap", self.url()),
            ("--ca-certificate", text(self.given("ca.pem"))),
            ("--password-file", text(self.given("password"))),
            ("--device-password-file", text(self.given("device"))),
        ];
        let flags = flags.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
        ["setup".to_owned(), "--no-systemd".to_owned()].into_iter().chain(flags).collect()
    }

    /// Runs setup with the usual flags and others, with `--yes`.
    async fn run(&self, others: &[&str]) -> Run {
        self.run_with(&[others, &["--yes"]].concat(), &[]).await
    }

    /// Without those that are named.
    async fn run_with(&self, others: &[&str], without: &[&str]) -> Run {
        let mut flags = self.flags();
        for name in without {
            let at = flags.iter().position(|flag| flag == name).expect("one of the usual flags");
            flags.drain(at..at + 2);
        }
        flags.extend(others.iter().map(|&other| other.to_owned()));
        run(flags).await
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.configuration()).expect("a configuration")
    }

    /// The configuration with what differs from run to run replaced.
    fn snapshot(&self) -> String {
        let text = self.text().replace(&self.url(), "URL");
        let text =
            text.replace(&self.given("ca.pem").canonicalize().expect("there").display().to_string(), "CA");
        let mut lines: Vec<String> = Vec::new();
        for line in text.lines() {
            match line.split_once("$argon2id$") {
                Some((before, _)) => lines.push(format!("{before}HASH\"")),
                None => lines.push(line.to_owned()),
            }
        }
        lines.join("\n") + "\n"
    }

    /// Names, modes and contents of all files in the folder.
    fn files(&self) -> Vec<(String, u32, Vec<u8>)> {
        let mut files: Vec<_> = std::fs::read_dir(self.folder.path())
            .expect("a folder")
            .map(|entry| {
                let path = entry.expect("an entry").path();
                let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                (name, mode(&path), std::fs::read(&path).expect("a file"))
            })
            .collect();
        files.sort();
        files
    }

    fn names(&self) -> Vec<String> {
        self.files().into_iter().map(|(name, ..)| name).collect()
    }

    /// Starts the bridge with what setup has written, and fetches as the device would.
    async fn fetch(self, login: &str, password: &str) {
        let bridge = Bridge::start_in(self.folder, 1, &[]);
        let mut client = Pop3::connect(bridge.address()).await;
        client.ok(&format!("USER {login}")).await;
        client.ok(&format!("PASS {password}")).await;
        let message = client.retr(1).await;
        assert!(message.starts_with(b"Subject: first\r\n"), "{}", String::from_utf8_lossy(&message));
        client.quit().await;
        assert!(!bridge.log().join("\n").contains(PASSWORD), "the password is logged");
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}

struct Run {
    code: Option<i32>,
    output: String,
    errors: String,
}

impl Run {
    fn of(output: &Output) -> Self {
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).expect("text");
        let run =
            Self { code: output.status.code(), output: text(&output.stdout), errors: text(&output.stderr) };
        assert!(!run.output.contains(PASSWORD) && !run.errors.contains(PASSWORD), "a password is shown");
        run
    }

    #[track_caller]
    fn expect(&self, code: i32, words: &[&str]) {
        let said = format!("{}{}", self.output, self.errors);
        assert_eq!(self.code, Some(code), "{said}");
        for word in words {
            assert!(said.contains(word), "{word:?} is not in:\n{said}");
        }
    }
}

async fn run(flags: Vec<String>) -> Run {
    let run = tokio::task::spawn_blocking(move || process::popbridge(&flags, "")).await;
    Run::of(&run.expect("it does not panic"))
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_lead_to_a_first_message() {
    let setting = Setting::new().await;
    let run = setting.run(&["--listen", "127.0.0.1:0"]).await;
    run.expect(0, &["INBOX has 1 message", "popbridge serve --config", "popbridge check --config"]);
    for row in ["server          127.0.0.1", "encryption      none", "user name       scanner"] {
        assert!(run.output.contains(row), "{row}: {}", run.output);
    }
    assert!(!run.output.contains(DEVICE), "who has chosen it knows it");
    let expected = "\
# Written by popbridge setup. Every other key, its default and the reason for it:
# config/popbridge.toml of popbridge. Try a change out with popbridge check.

[[listener]]
address = \"127.0.0.1:0\"
tls = \"none\"

[upstream.home]
url = \"URL\"
ca_certificate = \"CA\"

[[account]]
login = \"scanner\"
upstream = \"home\"
username = \"alice@example.org\"
password_hash = \"HASH\"
password_file = \"scanner.password\"
maildrop = { on_delete = \"hide\", on_retrieve = \"leave\" }
";
    assert_eq!(setting.snapshot(), expected);
    let files = setting.files();
    let modes: Vec<(&str, u32)> = files.iter().map(|(name, mode, _)| (name.as_str(), *mode)).collect();
    assert_eq!(modes, [("popbridge.toml", 0o600), ("scanner.password", 0o600)]);
    assert_eq!(files[1].2, format!("{PASSWORD}\n").as_bytes());
    assert!(!setting.text().contains(PASSWORD) && !setting.text().contains(DEVICE));
    setting.fetch("scanner", DEVICE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_made_and_shown_once() {
    let setting = Setting::new().await;
    let flags =
        ["--listen", "127.0.0.1:0", "--generate-password", "--login", "printer", "--newest", "5", "--yes"];
    let run =
        setting.run_with(&[&flags[..], &["--max-age", "30d"]].concat(), &["--device-password-file"]).await;
    run.expect(0, &["user name       printer"]);
    let row = run.output.lines().find_map(|line| line.trim().strip_prefix("password ")).expect("a password");
    let password = row.trim().to_owned();
    assert!(password.len() == 19 && !setting.text().contains(&password), "{password}");
    assert!(setting.text().contains("newest = 5, max_age = \"30d\""), "{}", setting.text());
    setting.fetch("printer", &password).await;
}

/// A household's file, with comments everywhere, to which a device is added.
const BEFORE: &str = "\
# Ours. Do not touch.
[maildrop] # for all
on_delete = \"trash\"

[upstream.old] # the first provider
url = \"imaps://imap.example.net\" # since 2019

# The printer.
[[account]]
login = \"printer\" # in the hall
username = \"bob@example.net\"

# What it remembers.
[state]
url = \"sqlite:state.db\"
# The end.
";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_stays() {
    let setting = Setting::new().await;
    std::fs::write(setting.configuration(), BEFORE).expect("written");
    std::fs::set_permissions(setting.configuration(), std::fs::Permissions::from_mode(0o640)).expect("ours");
    let run = setting.run(&["--listen", "0.0.0.0:110", "--tls", "none", "--network", "192.168.1.40"]).await;
    run.expect(0, &["What was there before is in"]);
    let expected = "\
# Ours. Do not touch.
[maildrop] # for all
on_delete = \"trash\"

[upstream.old] # the first provider
url = \"imaps://imap.example.net\" # since 2019
domains = [\"*\"]

[upstream.example]
url = \"URL\"
ca_certificate = \"CA\"
domains = [\"example\"]

# The printer.
[[account]]
login = \"printer\" # in the hall
username = \"bob@example.net\"

[[account]]
login = \"scanner\"
upstream = \"example\"
username = \"alice@example.org\"
password_hash = \"HASH\"
password_file = \"scanner.password\"
maildrop = { on_delete = \"hide\", on_retrieve = \"leave\" }

# What it remembers.
[state]
url = \"sqlite:state.db\"

[[listener]]
address = \"127.0.0.1:1110\"

[[listener]]
address = \"0.0.0.0:110\"
tls = \"none\"
allow = [\"127.0.0.0/8\", \"::1/128\", \"192.168.1.40/32\"]

[security]
plaintext_login = [\"127.0.0.0/8\", \"::1/128\", \"192.168.1.40/32\"]
# The end.
";
    assert_eq!(setting.snapshot(), expected);
    let files = setting.files();
    let backup = files.iter().find(|(name, ..)| name.starts_with("popbridge.toml.bak-")).expect("a backup");
    assert_eq!((backup.1, backup.2.as_slice()), (0o640, BEFORE.as_bytes()));
    assert_eq!(mode(&setting.configuration()), 0o640);

    // The same server is not added twice, and a listener that is there is used.
    let run = setting.run(&["--login", "phone", "--listen", "0.0.0.0:110"]).await;
    run.expect(0, &[]);
    let text = setting.text();
    assert_eq!((text.matches("[upstream.").count(), text.matches("[[listener]]").count()), (2, 2), "{text}");
    let backups = setting.names().into_iter().filter(|name| name.contains(".bak-")).count();
    assert_eq!(backups, 2, "the first one is still there: {:?}", setting.names());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_replaced_only_if_told() {
    let setting = Setting::new().await;
    let listen = ["--listen", "127.0.0.1:0", "--login", "scanner"];
    setting.run(&listen).await.expect(0, &[]);
    let text =
        setting.text().replace("login = \"scanner\"", "login = \"scanner\" # hall\nallow = [\"127.0.0.1\"]");
    std::fs::write(setting.configuration(), &text).expect("written");
    let before = setting.files();
    setting.run(&listen).await.expect(USAGE, &["has a login \"scanner\" already", "--replace"]);
    assert_eq!(setting.files(), before);

    let more = ["--replace", "--on-delete", "expunge", "--on-retrieve", "mark-seen"];
    let run = setting.run(&[&listen[..], &more].concat()).await;
    run.expect(0, &["\"leave messages on the server\" ON"]);
    let text = setting.text();
    assert_eq!(text.matches("[[account]]").count(), 1, "{text}");
    assert!(text.contains("login = \"scanner\" # hall\nallow = [\"127.0.0.1\"]"), "{text}");
    assert!(text.contains("{ on_delete = \"expunge\", on_retrieve = \"mark-seen\" }"), "{text}");
    assert!(text.contains("password_file = \"scanner-2.password\""), "the backup's file is kept: {text}");
    // Without --login another name is taken.
    setting.run(&["--listen", "127.0.0.1:0"]).await.expect(0, &["user name       scanner2"]);
    setting.fetch("scanner2", DEVICE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_changes_nothing() {
    let setting = Setting::new().await;
    std::fs::write(setting.configuration(), BEFORE).expect("written");
    let before = setting.files();
    let wrong = setting.given("wrong").display().to_string();
    let none = setting.given("none").display().to_string();
    let closed = format!("imaps://localhost:{}", process::free_port());
    let cases: &[(&str, &str, i32, &[&str])] = &[
        ("--password-file", &wrong, NO_PERMISSION, &["refuses \"alice@example.org\"", "app password"]),
        ("--password-file", &none, NO_PERMISSION, &["cannot read the password"]),
        ("--imap", &closed, UNAVAILABLE, &["does not answer", "firewall"]),
        ("--imap", "imap.example.org", CONFIG, &["imaps://"]),
        ("--imap", "imap://imap.example.org", CONFIG, &["unprotected"]),
        ("--device-password-file", &wrong, NO_PERMISSION, &["less than 8"]),
        ("--ca-certificate", &none, USAGE, &["--ca-certificate"]),
    ];
    for (flag, value, code, words) in cases {
        setting.run_with(&[flag, value, "--yes"], &[flag]).await.expect(*code, words);
        assert_eq!(setting.files(), before, "{flag} {value}");
    }
    // Signed by an authority that nobody knows.
    let run = setting.run_with(&["--yes"], &["--ca-certificate"]).await;
    run.expect(UNAVAILABLE, &["cannot prove that it is localhost", "--ca-certificate FILE"]);
    assert_eq!(setting.files(), before);
    // What the existing file forbids.
    std::fs::write(setting.configuration(), format!("{BEFORE}[security]\nplaintext_login = \"never\"\n"))
        .expect("written");
    let before = setting.files();
    let run = setting.run(&["--listen", "0.0.0.0:110", "--tls", "none", "--network", "10.0.0.0/8"]).await;
    run.expect(CONFIG, &["plaintext_login"]);
    assert_eq!(setting.files(), before);
    // A file that cannot be understood is nobody's to add to.
    std::fs::write(setting.configuration(), "[[listener]]\nadress = 1\n").expect("written");
    let before = setting.files();
    setting.run(&[]).await.expect(CONFIG, &["address"]);
    assert_eq!(setting.files(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_stays_a_link() {
    let setting = Setting::new().await;
    let real = folder();
    let target = real.path().join("real.toml");
    std::fs::write(&target, BEFORE).expect("written");
    std::os::unix::fs::symlink(&target, setting.configuration()).expect("a link");
    setting.run(&[]).await.expect(0, &[]);
    assert!(std::fs::symlink_metadata(setting.configuration()).expect("there").is_symlink());
    assert!(std::fs::read_to_string(&target).expect("there").contains("login = \"scanner\""));
    assert_eq!(
        mode(&setting.folder.path().join("scanner.password")),
        0o600,
        "relative paths start at the link"
    );
    let beside = std::fs::read_dir(real.path()).expect("a folder").count();
    assert_eq!(beside, 2, "the file and its backup");

    // One that leads nowhere is a mistake.
    let setting = Setting::new().await;
    std::os::unix::fs::symlink("/nowhere/popbridge.toml", setting.configuration()).expect("a link");
    setting.run(&[]).await.expect(CONFIG, &["cannot read"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_to_ask_is_told_which_flag() {
    let setting = Setting::new().await;
    for (flag, named) in [
        ("--address", "--address ADDRESS"),
        ("--password-file", "--password-file FILE"),
        ("--device-password-file", "--generate-password or --device-password-file FILE"),
    ] {
        let given = ["--username", "alice@example.org", "--login", "scanner"];
        setting.run_with(&given, &[flag]).await.expect(USAGE, &["there is no terminal", named, "--yes"]);
    }
    let mut given = vec!["--username", "alice@example.org"];
    for (named, more) in [
        ("--login NAME", ["--login", "scanner"]),
        ("--on-delete WORD", ["--on-delete", "hide"]),
        ("--on-retrieve WORD", ["--on-retrieve", "leave"]),
        ("--listen ADDRESS", ["--listen", "0.0.0.0:0"]),
        ("--tls WORD", ["--tls", "starttls"]),
        ("--network NETWORK", ["--network", "192.168.1.0/24"]),
    ] {
        setting.run_with(&given, &[]).await.expect(USAGE, &["there is no terminal", named]);
        given.extend(more);
    }
    assert!(setting.names().is_empty());
    // All of them, and no --yes.
    setting.run_with(&given, &[]).await.expect(0, &["encryption      STARTTLS"]);
    assert!(setting.text().contains("[tls]\nself_signed = true"), "{}", setting.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_the_server_cannot_keep_is_refused() {
    let setting = Setting::new().await;
    // The simulator has no archive.
    let run = setting.run(&["--on-delete", "archive"]).await;
    run.expect(UNAVAILABLE, &["on_delete = \"archive\" does not work there"]);
    assert!(setting.names().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_described() {
    let setting = Setting::new().await;
    let units = folder();
    let mut flags = setting.flags();
    flags.retain(|flag| flag != "--no-systemd");
    let more =
        ["--yes", "--systemd", "--unit-directory", &units.path().display().to_string()].map(str::to_owned);
    run([flags, more.to_vec()].concat()).await.expect(0, &["sudo cp -r", "sudo systemctl enable popbridge"]);
    assert!(
        setting.text().contains("url = \"sqlite:/var/lib/popbridge/popbridge.db\""),
        "{}",
        setting.text()
    );
    let unit = std::fs::read_to_string(units.path().join("popbridge.service")).expect("a unit");
    assert!(unit.contains("DynamicUser=yes"));
    let special = units.path().join("popbridge.service.d/setup.conf");
    let special = std::fs::read_to_string(special).expect("a drop-in");
    let folder = setting.folder.path().canonicalize().expect("there").display().to_string();
    for line in [
        format!("LoadCredential=popbridge.toml:{folder}/popbridge.toml"),
        format!("LoadCredential=scanner.password:{folder}/scanner.password"),
        format!(
            "ExecStart={} serve --config ${{CREDENTIALS_DIRECTORY}}/popbridge.toml",
            env!("CARGO_BIN_EXE_popbridge")
        ),
    ] {
        assert!(special.lines().any(|own| own == line), "{line} is not in:\n{special}");
    }
}

/// As a person would: every answer typed.
fn terminal(flags: &[String]) -> Terminal {
    let mut command = Command::new(env!("CARGO_BIN_EXE_popbridge"));
    Terminal::start(command.args(flags).env("TERM", "xterm").env_remove("NO_COLOR"))
}

impl Setting {
    /// What no test could do without: its server and its file.
    fn few_flags(&self) -> Vec<String> {
        let flags = self.flags();
        let kept = ["--config", "--imap", "--ca-certificate"];
        let pairs = flags[2..].chunks(2).filter(|pair| kept.contains(&pair[0].as_str())).flatten().cloned();
        let listen = ["--listen", "127.0.0.1:0"].map(str::to_owned);
        ["setup".to_owned()].into_iter().chain(pairs).chain(listen).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_led_to_a_first_message() {
    let setting = Setting::new().await;
    let flags = setting.few_flags();
    let asked = tokio::task::spawn_blocking(move || {
        let mut terminal = terminal(&flags);
        terminal.answer("Your mail address:", "no address");
        terminal.expect("has an @");
        terminal.answer("Your mail address:", "alice@example.org");
        terminal.answer("User name at the mail server:", "");
        terminal.answer("Password of alice@example.org", "a-slip-of-the-finger");
        terminal.expect("The mail server refuses");
        terminal.answer("What now?", "");
        terminal.answer("Password of alice@example.org", PASSWORD);
        terminal.expect("It works: INBOX has 1 message.");
        terminal.answer("A name for the device", "");
        // The second of two.
        terminal.expect("A password for the device:");
        terminal.press("\u{1b}[B\r");
        terminal.answer("The device's password:", DEVICE);
        terminal.answer("Once more:", DEVICE);
        terminal.answer("When it deletes a message:", "");
        terminal.answer("When it fetches a message:", "");
        terminal.answer("Shall it see the whole inbox?", "n");
        terminal.answer("Only so many of the newest messages:", "");
        terminal.answer("Only what came in the last:", "");
        terminal.answer("Write the configuration?", "");
        terminal.expect("Enter this in the mail program");
        let status = terminal.end();
        (status, terminal.screen())
    });
    let (status, screen) = asked.await.expect("it does not panic");
    assert!(status.success(), "{screen}");
    for secret in [PASSWORD, "a-slip-of-the-finger", DEVICE] {
        assert!(!screen.contains(secret), "{secret} is shown:\n{screen}");
    }
    assert!(setting.text().contains("newest = 200"), "{}", setting.text());
    setting.fetch("scanner", DEVICE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_leaves_no_trace() {
    for questions in 0..4 {
        let setting = Setting::new().await;
        let flags = setting.few_flags();
        let asked = tokio::task::spawn_blocking(move || {
            let mut terminal = terminal(&flags);
            let answers = [
                ("Your mail address:", "alice@example.org"),
                ("User name at the mail server:", ""),
                ("Password of alice@example.org", PASSWORD),
            ];
            for (question, answer) in &answers[..questions] {
                terminal.answer(question, answer);
            }
            let next = answers.get(questions).map_or("A name for the device", |(question, _)| question);
            terminal.expect(next);
            terminal.press("\u{3}");
            let status = terminal.end();
            terminal.expect("nothing has been changed");
            (status.code(), terminal.screen())
        });
        let (code, screen) = asked.await.expect("it does not panic");
        assert_eq!(code, Some(INTERRUPTED), "{screen}");
        assert!(setting.names().is_empty(), "{:?}", setting.names());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_editor_has_saved_meanwhile_is_not_lost() {
    let setting = Setting::new().await;
    std::fs::write(setting.configuration(), BEFORE).expect("written");
    let mut flags = setting.flags();
    flags.extend(["--login", "phone", "--username", "alice@example.org"].map(str::to_owned));
    flags.extend(["--on-delete", "hide", "--on-retrieve", "leave", "--newest", "9"].map(str::to_owned));
    flags.extend(["--listen", "127.0.0.1:1110"].map(str::to_owned));
    let path = setting.configuration();
    let asked = tokio::task::spawn_blocking(move || {
        let mut terminal = terminal(&flags);
        terminal.expect("Write the configuration?");
        std::fs::write(&path, format!("{BEFORE}# An editor was here.\n")).expect("written");
        terminal.press("\r");
        let status = terminal.end();
        terminal.expect("changed by somebody else");
        (status.code(), terminal.screen())
    });
    let (code, screen) = asked.await.expect("it does not panic");
    assert_eq!(code, Some(CANNOT_CREATE), "{screen}");
    assert_eq!(setting.names(), ["popbridge.toml"]);
    assert!(setting.text().ends_with("# An editor was here.\n"));
}
