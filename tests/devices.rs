//! Devices: logins with a password of their own, in front of a mailbox whose password they do not
//! know.

mod support;

use std::fs::{Permissions, set_permissions, write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imapsim::Server;
use popbridge::secret::{PasswordHash, Secret};
use support::bridge::{Bridge, Settings};
use support::certs::Authority;
use support::local::Local;
use support::pop3::Pop3;
use tempfile::TempDir;

const UPSTREAM: &str = "upstre4m-Passw0rd";
const DEVICE: &str = "dev1ce-Passw0rd";
const OTHER: &str = "0ther-Passw0rd";

fn hash(password: &str) -> String {
    let hash = PasswordHash::of(&Secret::new(password.as_bytes().to_vec())).expect("random numbers");
    hash.as_str().to_owned()
}

/// The lines of an `[[account]]` for alice's mailbox.
fn account(login: &str, password: &str, lines: &str) -> String {
    format!("login = \"{login}\"\nusername = \"alice\"\npassword_hash = \"{}\"\n{lines}\n", hash(password))
}

async fn sim() -> Server {
    let sim = Server::builder().user("alice", UPSTREAM).start().await.expect("the simulator starts");
    for index in 0..3 {
        sim.append("alice", "INBOX", format!("Subject: {index}\r\n\r\n{index}\r\n").as_bytes(), &[]);
    }
    sim
}

fn settings(sim: &Server) -> Settings {
    Settings::new(format!("imap://{}", sim.address()))
}

/// A file with the mailbox's password.
struct Keeping {
    folder: TempDir,
}

impl Keeping {
    fn new(password: &str) -> Self {
        let keeping = Self { folder: tempfile::tempdir().expect("a folder") };
        keeping.change(password);
        keeping
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("alice")
    }

    fn change(&self, password: &str) {
        write(self.path(), format!("{password}\n")).expect("written");
        self.mode(0o600);
    }

    fn mode(&self, mode: u32) {
        set_permissions(self.path(), Permissions::from_mode(mode)).expect("our file");
    }

    fn line(&self) -> String {
        format!("password_file = {:?}", self.path())
    }
}

/// The answer to PASS.
async fn attempt(address: std::net::SocketAddr, login: &str, password: &str) -> String {
    let mut client = Pop3::connect(address).await;
    let answer = say(&mut client, login, password).await;
    client.ok("QUIT").await;
    answer
}

async fn say(client: &mut Pop3, login: &str, password: &str) -> String {
    client.ok(&format!("USER {login}")).await;
    client.command(&format!("PASS {password}")).await
}

async fn log_in(bridge: &Local, login: &str, password: &str) -> Pop3 {
    let mut client = Pop3::connect(bridge.address()).await;
    let answer = say(&mut client, login, password).await;
    assert!(answer.starts_with("+OK"), "{login}: {answer}");
    client
}

#[tokio::test]
async fn only_the_devices_own_password_lets_it_in() {
    let (sim, keeping) = (sim().await, Keeping::new(UPSTREAM));
    let settings = settings(&sim)
        .with("security", "max_login_failures = 0\nlogin_failure_window = \"1s\"")
        .with("[account]", &account("scanner", DEVICE, &keeping.line()));
    let bridge = Local::start(&settings).await;
    for wrong in [UPSTREAM, OTHER, "x", &format!("{DEVICE}x")] {
        let answer = attempt(bridge.address(), "scanner", wrong).await;
        assert_eq!(answer, "-ERR [AUTH] Authentication failed", "{wrong}");
    }
    assert_eq!(sim.connections(), 0, "the mail server hears of no wrong password");
    assert!(attempt(bridge.address(), "scanner", DEVICE).await.starts_with("+OK 3 messages"));
    bridge.settled(0).await;
    assert!(attempt(bridge.address(), "scanner", DEVICE).await.starts_with("+OK 3 messages"));
    bridge.settled(0).await;
    assert_eq!((sim.logins(), sim.connections()), (1, 1), "the connection waited");
    // While a connection waits that is logged in with the mailbox's password.
    let answer = attempt(bridge.address(), "scanner", UPSTREAM).await;
    assert_eq!(answer, "-ERR [AUTH] Authentication failed");
    assert_eq!(sim.connections(), 1);
    // The mailbox's own name is the mail server's to judge.
    let answer = attempt(bridge.address(), "alice", DEVICE).await;
    assert!(answer.starts_with("-ERR [AUTH]"), "{answer}");
    assert!(attempt(bridge.address(), "alice", UPSTREAM).await.starts_with("+OK 3 messages"));
    let mut client = Pop3::connect(bridge.address()).await;
    let response = STANDARD.encode(format!("\0scanner\0{DEVICE}"));
    client.ok(&format!("AUTH PLAIN {response}")).await;
    client.quit().await;
    let mut client = Pop3::connect(bridge.address()).await;
    let response = STANDARD.encode(format!("\0scanner\0{OTHER}"));
    client.err(&format!("AUTH PLAIN {response}")).await;
}

#[tokio::test]
async fn whoever_is_refused_hears_the_same() {
    let (sim, keeping) = (sim().await, Keeping::new(UPSTREAM));
    let elsewhere = format!("{}\nallow = [\"192.0.2.0/24\", \"::1\"]", keeping.line());
    let tls = format!("{}\nallow = [\"127.0.0.1\"]\nrequire_tls = true", keeping.line());
    let accounts = [
        account("elsewhere", DEVICE, &elsewhere),
        account("secure", DEVICE, &tls),
        "login = \"passed\"\nusername = \"alice\"\nallow = [\"192.0.2.0/24\"]".to_owned(),
    ];
    let authority = Authority::new("device");
    let settings = settings(&sim)
        .with("security", "max_login_failures = 0\nlogin_failure_window = \"1s\"")
        .listeners(&["starttls"])
        .certificate(&authority)
        .with("[account]", &accounts.join("\n[[account]]\n"));
    let mut bridge = Bridge::start(&settings);
    let address = bridge.address();
    let refused = "-ERR [AUTH] Authentication failed";
    for login in ["elsewhere", "secure", "passed"] {
        for password in [DEVICE, UPSTREAM, OTHER] {
            assert_eq!(attempt(address, login, password).await, refused, "{login} {password}");
        }
    }
    let mut client = Pop3::connect_stls(address, authority.client()).await;
    assert_eq!(say(&mut client, "secure", OTHER).await, refused);
    assert_eq!(say(&mut client, "elsewhere", DEVICE).await, refused);
    assert_eq!(sim.connections(), 0);
    assert!(say(&mut client, "secure", DEVICE).await.starts_with("+OK 3 messages"));
    client.quit().await;
    assert!(bridge.terminate().success());
    let log = bridge.log().join("\n");
    for reason in ["allow does not name this address", "require_tls wants TLS", "not the login's own"] {
        assert!(log.contains(reason), "{reason} should be in the log:\n{log}");
    }
}

#[tokio::test]
async fn a_login_that_is_not_there_hears_the_same() {
    let (sim, keeping) = (sim().await, Keeping::new(UPSTREAM));
    let lines = format!("upstream = \"home\"\n{}", keeping.line());
    let text = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.home]\nurl = \"imap://{}\"\ndomains = [\"a.example\"]\n\
         [state]\nurl = \"sqlite::memory:\"\n[[account]]\n{}",
        sim.address(),
        account("scanner", DEVICE, &lines)
    );
    let config = popbridge::config::Config::parse(&text, "test", Path::new(".")).expect("good");
    let app = popbridge::app::App::bind(config).await.expect("it starts");
    let address = app.addresses()[0];
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(app.run(async {
        let _ = stopped.await;
    }));
    let wrong = attempt(address, "scanner", OTHER).await;
    assert_eq!(attempt(address, "nobody", DEVICE).await, wrong);
    assert_eq!(sim.connections(), 0);
    drop(stop);
    running.await.expect("it ends");
}

#[tokio::test]
async fn a_new_password_counts_at_the_next_login() {
    let (sim, keeping) = (sim().await, Keeping::new(UPSTREAM));
    let settings = settings(&sim).with("[account]", &account("scanner", DEVICE, &keeping.line()));
    let bridge = Local::start(&settings).await;
    log_in(&bridge, "scanner", DEVICE).await.quit().await;
    bridge.settled(0).await;
    sim.set_password("alice", OTHER);
    keeping.change(OTHER);
    // The connection that waits is the old password's: the new one has to be shown.
    log_in(&bridge, "scanner", DEVICE).await.quit().await;
    bridge.settled(0).await;
    assert_eq!(sim.logins(), 2);
    log_in(&bridge, "scanner", DEVICE).await.quit().await;
    assert_eq!(sim.logins(), 2);
}

#[tokio::test]
async fn a_new_password_counts_in_the_middle_of_a_session() {
    let (sim, keeping) = (sim().await, Keeping::new(UPSTREAM));
    let settings = settings(&sim).with("[account]", &account("scanner", DEVICE, &keeping.line()));
    let bridge = Local::start(&settings).await;
    let mut client = log_in(&bridge, "scanner", DEVICE).await;
    sim.set_password("alice", OTHER);
    keeping.change(OTHER);
    sim.kill_connections();
    assert_eq!(client.retr(2).await, b"Subject: 1\r\n\r\n1\r\n");
    client.quit().await;
    bridge.settled(0).await;
    // What waits now is the new password's: the next login takes it up, the old one proves nothing.
    log_in(&bridge, "scanner", DEVICE).await.quit().await;
    bridge.settled(0).await;
    assert_eq!(sim.logins(), 2);
    let answer = attempt(bridge.address(), "alice", UPSTREAM).await;
    assert!(answer.starts_with("-ERR [AUTH]"), "{answer}");
    // Nor is a place that gives nothing for a moment a reason to give up.
    let mut client = log_in(&bridge, "scanner", DEVICE).await;
    std::fs::remove_file(keeping.path()).expect("our file");
    sim.kill_connections();
    assert_eq!(client.retr(3).await, b"Subject: 2\r\n\r\n2\r\n");
    client.quit().await;
}

#[tokio::test]
async fn a_password_that_the_mail_server_refuses_is_not_the_devices_fault() {
    let (sim, keeping) = (sim().await, Keeping::new("st4le-Passw0rd"));
    let settings = settings(&sim)
        .with("upstream.home", "keep_alive = \"0s\"")
        .with("[account]", &account("scanner", DEVICE, &keeping.line()));
    let mut bridge = Bridge::start(&settings);
    let answer = attempt(bridge.address(), "scanner", DEVICE).await;
    let expected = "-ERR [SYS/PERM] The bridge's password for the mail server is refused; who runs the bridge must \
                    look at its log";
    assert_eq!(answer, expected);
    assert_eq!((sim.connections(), sim.logins()), (1, 0));
    let entry = bridge.wait_for_log(|entry| entry["level"] == "ERROR");
    let entry = entry.to_string();
    assert!(entry.contains("scanner") && entry.contains("password_file"), "{entry}");
    keeping.change(UPSTREAM);
    assert!(attempt(bridge.address(), "scanner", DEVICE).await.starts_with("+OK 3 messages"));

    // In the middle of a session, too.
    let mut client = Pop3::connect(bridge.address()).await;
    say(&mut client, "scanner", DEVICE).await;
    sim.set_password("alice", OTHER);
    sim.kill_connections();
    assert_eq!(client.err("RETR 1").await, expected);
    client.abort();
    assert!(bridge.terminate().success());
    let log = bridge.log().join("\n");
    assert!(!log.contains("st4le") && !log.contains(UPSTREAM), "{log}");
}

#[tokio::test]
async fn an_outage_is_still_an_outage() {
    let (sim, keeping) = (sim().await, Keeping::new(UPSTREAM));
    let settings = settings(&sim).with("[account]", &account("scanner", DEVICE, &keeping.line()));
    let bridge = Local::start(&settings).await;
    sim.fault(imapsim::Place::Login, imapsim::Fault::No(Some("UNAVAILABLE")));
    let answer = attempt(bridge.address(), "scanner", DEVICE).await;
    assert!(answer.starts_with("-ERR [SYS/TEMP]"), "{answer}");
    sim.refuse(true);
    let answer = attempt(bridge.address(), "scanner", DEVICE).await;
    assert!(answer.starts_with("-ERR [SYS/TEMP]"), "{answer}");
}

/// A device for each place that a password can come from, and what the bridge has to be started
/// with.
fn every_place(keeping: &Keeping, credential: &Path) -> String {
    let words = format!("password_command = [\"sed\", \"s/^/{{}}/;s/[{{}}]//g\", {:?}]", keeping.path());
    [
        account("file", DEVICE, &keeping.line()),
        account("variable", DEVICE, "password_env = \"ALICE_PASSWORD\""),
        account("program", DEVICE, &words),
        account("credential", DEVICE, "password_credential = \"alice-mail\""),
        account("by-path", DEVICE, &format!("password_file = {credential:?}")),
    ]
    .join("\n[[account]]\n")
}

#[tokio::test]
async fn every_place_serves_and_nothing_of_it_is_logged() {
    let (sim, keeping) = (sim().await, Keeping::new(UPSTREAM));
    let credentials = tempfile::tempdir().expect("a folder");
    let credential = credentials.path().join("alice-mail");
    write(&credential, UPSTREAM).expect("written");
    // systemd's modes are its own.
    set_permissions(&credential, Permissions::from_mode(0o440)).expect("our file");
    let environment =
        [("ALICE_PASSWORD", UPSTREAM), ("CREDENTIALS_DIRECTORY", credentials.path().to_str().expect("text"))];
    let settings = settings(&sim)
        .with("upstream.home", "keep_alive = \"0s\"")
        .with("[account]", &every_place(&keeping, &credential));
    let mut bridge = Bridge::start_with(&settings, &environment);
    for (at, login) in ["file", "variable", "program", "credential", "by-path"].into_iter().enumerate() {
        let answer = attempt(bridge.address(), login, DEVICE).await;
        assert!(answer.starts_with("+OK 3 messages"), "{login}: {answer}");
        assert_eq!(sim.logins(), at + 1, "{login}");
        assert!(attempt(bridge.address(), login, OTHER).await.starts_with("-ERR [AUTH]"));
        let mut client = Pop3::connect(bridge.address()).await;
        client.err(&format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{login}\0{OTHER}")))).await;
        client.quit().await;
    }
    bridge.sessions(15);
    assert!(bridge.terminate().success());
    let log = bridge.log().join("\n");
    assert!(log.contains("DEBUG"), "it is searched at its loudest");
    let mut secrets = vec!["argon2id".to_owned()];
    for secret in [UPSTREAM, DEVICE, OTHER] {
        secrets.push(secret.to_owned());
        // Wherever it stands in what is encoded, one of these is in the result.
        for ahead in 0..3 {
            let encoded = STANDARD.encode(format!("{}{secret}", "-".repeat(ahead)));
            secrets.push(encoded[4..encoded.len() - 4].to_owned());
        }
    }
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret} in the log:\n{log}");
    }
}

#[tokio::test]
async fn a_place_without_a_password_is_not_the_devices_fault() {
    let (sim, keeping) = (sim().await, Keeping::new(UPSTREAM));
    let program = |login: &str, script: &str| {
        account(login, DEVICE, &format!("password_command = [\"sh\", \"-c\", {script:?}]"))
    };
    let accounts = [
        account("file", DEVICE, &keeping.line()),
        program("failing", "echo s4id; echo s4id >&2; exit 1"),
        program("hanging", "echo s4id; exec sleep 600"),
        program("endless", "exec yes s4id"),
        program("silent", "exit 0"),
        account("absent", DEVICE, "password_command = [\"/nowhere/program\"]"),
    ];
    let settings = settings(&sim).with("[account]", &accounts.join("\n[[account]]\n"));
    let mut bridge = Bridge::start(&settings);
    let address = bridge.address();
    let refused = |code: &str| {
        format!(
            "-ERR [{code}] The bridge cannot read its password for the mail server; who runs the bridge must look at \
             its log"
        )
    };
    for (login, code) in
        [("failing", "SYS/TEMP"), ("endless", "SYS/PERM"), ("silent", "SYS/PERM"), ("absent", "SYS/PERM")]
    {
        assert_eq!(attempt(address, login, DEVICE).await, refused(code), "{login}");
    }
    let started = Instant::now();
    assert_eq!(attempt(address, "hanging", DEVICE).await, refused("SYS/TEMP"));
    assert!(started.elapsed() >= Duration::from_secs(9), "{:?}", started.elapsed());
    for mode in [0o644, 0o640] {
        keeping.mode(mode);
        assert_eq!(attempt(address, "file", DEVICE).await, refused("SYS/PERM"));
    }
    std::fs::remove_file(keeping.path()).expect("our file");
    assert_eq!(attempt(address, "file", DEVICE).await, refused("SYS/PERM"));
    assert_eq!(attempt(address, "file", OTHER).await, "-ERR [AUTH] Authentication failed");
    assert_eq!(sim.connections(), 0);
    keeping.change(UPSTREAM);
    assert!(attempt(address, "file", DEVICE).await.starts_with("+OK 3 messages"));
    assert!(bridge.terminate().success());
    let log = bridge.log().join("\n");
    assert!(!log.contains("s4id"), "what a program says is in the log:\n{log}");
    for words in
        ["failing", "sh failed: exit status: 1", "within 10 seconds", "chmod 600", "password_command"]
    {
        assert!(log.contains(words), "{words} should be in the log:\n{log}");
    }
}

#[tokio::test]
async fn devices_of_one_mailbox_do_not_disturb_each_other() {
    let (sim, keeping) = (sim().await, Keeping::new(UPSTREAM));
    let accounts = [
        account("printer", DEVICE, &keeping.line()),
        account("scanner", OTHER, &format!("{}\nmaildrop = {{ on_delete = \"trash\" }}", keeping.line())),
    ];
    let settings = settings(&sim).with("[account]", &accounts.join("\n[[account]]\n"));
    let bridge = Local::start(&settings).await;
    assert!(attempt(bridge.address(), "printer", OTHER).await.starts_with("-ERR [AUTH]"));
    assert!(attempt(bridge.address(), "scanner", DEVICE).await.starts_with("-ERR [AUTH]"));

    // Both at once: each has a lock and a connection of its own.
    let mut printer = log_in(&bridge, "printer", DEVICE).await;
    let mut scanner = log_in(&bridge, "scanner", OTHER).await;
    let ids = printer.uidl().await;
    assert_eq!(scanner.uidl().await, ids, "a message has one unique id");
    printer.ok("DELE 1").await;
    printer.ok("DELE 2").await;
    printer.quit().await;
    bridge.settled(1).await;
    assert_eq!(scanner.list().await.len(), 3);
    scanner.quit().await;
    bridge.settled(0).await;
    assert_eq!(sim.messages("alice", "INBOX").len(), 3, "hidden from the printer only");

    let mut printer = log_in(&bridge, "printer", DEVICE).await;
    assert_eq!(printer.uidl().await, [(1, ids[2].1.clone())]);
    let mut scanner = log_in(&bridge, "scanner", OTHER).await;
    assert_eq!(scanner.uidl().await, ids);
    scanner.ok("DELE 3").await;
    scanner.quit().await;
    bridge.settled(1).await;
    assert_eq!(sim.messages("alice", "INBOX").len(), 2, "the scanner's deletions are real");
    printer.quit().await;
    bridge.settled(0).await;
    assert!(log_in(&bridge, "printer", DEVICE).await.list().await.is_empty());
    assert_eq!(log_in(&bridge, "scanner", OTHER).await.list().await.len(), 2);
    assert_eq!(sim.logins(), 2, "two connections have served them all");
    // Connections that wait are nobody's who does not know the right password.
    bridge.settled(0).await;
    assert!(attempt(bridge.address(), "printer", OTHER).await.starts_with("-ERR [AUTH]"));
    assert!(attempt(bridge.address(), "alice", DEVICE).await.starts_with("-ERR [AUTH]"));
    assert!(attempt(bridge.address(), "alice", OTHER).await.starts_with("-ERR [AUTH]"));
}

#[tokio::test]
async fn deletions_that_are_due_need_no_login() {
    let (sim, keeping) = (sim().await, Keeping::new(UPSTREAM));
    let lines = format!("{}\nmaildrop = {{ on_delete = \"trash\", delete_grace = \"2s\" }}", keeping.line());
    let settings = settings(&sim).with("[account]", &account("scanner", DEVICE, &lines));
    let bridge = Local::start(&settings).await;
    let mut client = log_in(&bridge, "scanner", DEVICE).await;
    client.ok("DELE 2").await;
    client.quit().await;
    bridge.settled(0).await;
    let folder = bridge.stop().await;
    assert_eq!(sim.messages("alice", "INBOX").len(), 3, "it waits");
    // What the former process knew is gone; the password is another one, and nobody logs in.
    sim.set_password("alice", OTHER);
    keeping.change(OTHER);
    let _bridge = Local::start_in(&settings, folder).await;
    let end = Instant::now() + Duration::from_secs(60);
    while sim.messages("alice", "INBOX").len() == 3 {
        assert!(Instant::now() < end, "it still waits");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(sim.messages("alice", "Trash").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_deleted_comes_back_without_a_word() {
    let (sim, keeping) = (sim().await, Keeping::new(UPSTREAM));
    let lines = format!("{}\nmaildrop = {{ on_delete = \"trash\" }}", keeping.line());
    let bridge = Bridge::start(&settings(&sim).with("[account]", &account("scanner", DEVICE, &lines)));
    let mut client = Pop3::connect(bridge.address()).await;
    say(&mut client, "scanner", DEVICE).await;
    client.ok("DELE 1").await;
    client.quit().await;
    bridge.sessions(1);
    assert_eq!(sim.messages("alice", "Trash").len(), 1);
    let restore = || bridge.run(&["deletions", "restore", "scanner", "--all"], None);
    keeping.change("st4le-Passw0rd");
    let output = restore();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(77), "{said}");
    assert!(said.contains("nothing was restored") && said.contains("password_file"), "{said}");
    assert!(!said.contains("st4le"), "{said}");
    keeping.change(UPSTREAM);
    let output = restore();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(sim.messages("alice", "INBOX").len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_wrong_passwords_takes_its_turns() {
    const CLIENTS: usize = 48;
    let (sim, keeping) = (sim().await, Keeping::new(UPSTREAM));
    let settings = settings(&sim)
        .with("security", "max_login_failures = 0\nlogin_failure_window = \"1s\"")
        .with("limits", "sessions_per_address = 100")
        .with("[account]", &account("scanner", DEVICE, &keeping.line()));
    let bridge = Bridge::start(&settings);
    let address = bridge.address();
    assert!(attempt(address, "scanner", DEVICE).await.starts_with("+OK"));
    let before = bridge.peak_kib();
    let flood: Vec<_> =
        (0..CLIENTS).map(|_| tokio::spawn(async move { attempt(address, "scanner", OTHER).await })).collect();
    // Who is remembered need not stand in line.
    let mut client = Pop3::connect(address).await;
    assert!(say(&mut client, "scanner", DEVICE).await.starts_with("+OK"));
    for answer in flood {
        assert_eq!(answer.await.expect("it ends"), "-ERR [AUTH] Authentication failed");
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    // 19 MiB each, and what the sessions and their threads take.
    let most = before + cores * 19_456 + 64 * 1024;
    assert!(bridge.peak_kib() < most, "{} KiB, before {before} KiB", bridge.peak_kib());
    assert!(sim.logins() <= 2, "of the flood the mail server hears nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_reads_every_password_and_logs_in_with_it() {
    let (sim, keeping) = (sim().await, Keeping::new(UPSTREAM));
    let accounts = [
        account("scanner", DEVICE, &keeping.line()),
        account("program", DEVICE, "password_command = [\"sh\", \"-c\", \"echo s4id; exit 3\"]"),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("popbridge.toml");
    let text = |count: usize| {
        settings(&sim).with("[account]", &accounts[..count].join("\n[[account]]\n")).text(folder.path())
    };
    let check = |more: &[&str]| {
        let path = path.display().to_string();
        let arguments = [&["check", "--config", &path], more].concat();
        let output = support::process::popbridge(&arguments, "");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!said.contains("s4id") && !said.contains("Passw0rd"), "{said}");
        (output.status.code(), said)
    };
    write(&path, text(1)).expect("written");
    let (code, said) = check(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("account scanner: password_file gives a password"), "{said}");
    let (code, said) = check(&["--login", "scanner"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("login scanner at home as alice: good"), "{said}");
    let (code, said) = check(&["--login", "scanner", "--password-file", "x"]);
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("leave --password-file out"), "{said}");
    keeping.change("st4le-Passw0rd");
    let (code, said) = check(&["--login", "scanner"]);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("refuses the password for scanner that password_file gives"), "{said}");

    write(&path, text(2)).expect("written");
    let (code, said) = check(&["--json"]);
    assert_eq!(code, Some(69), "{said}");
    let report: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(report["accounts"][0]["error"], serde_json::Value::Null);
    assert_eq!(report["accounts"][1]["source"], "password_command");
    assert_eq!(report["accounts"][1]["error"], "sh failed: exit status: 3");
    let (code, said) = check(&["--login", "program"]);
    assert_eq!(code, Some(77), "{said}");
}

#[test]
fn only_in_systemds_folder_may_a_file_be_open() {
    let (keeping, folder) = (Keeping::new(UPSTREAM), tempfile::tempdir().expect("a folder"));
    keeping.mode(0o440);
    let path = folder.path().join("popbridge.toml");
    let settings = Settings::new("imap://127.0.0.1:1".to_owned());
    let text = settings.with("[account]", &account("scanner", DEVICE, &keeping.line())).text(folder.path());
    write(&path, text).expect("written");
    let inside = keeping.folder.path().to_owned();
    for (credentials, code) in [
        (PathBuf::new(), 78),
        (PathBuf::from("."), 78),
        (folder.path().to_owned(), 78),
        (inside.join(".."), 78),
        (PathBuf::from("/"), 78),
        // The mail server is not there.
        (inside, 69),
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_popbridge"));
        command.args(["check", "--config"]).arg(&path).env("CREDENTIALS_DIRECTORY", &credentials);
        let output = support::process::run(&mut command, Duration::from_secs(60));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{credentials:?}: {said}");
        assert_eq!(said.contains("chmod 600"), code == 78, "{credentials:?}: {said}");
    }
}

#[test]
fn a_place_where_there_can_be_no_password_is_found_at_the_start() {
    for (line, words) in [
        ("password_env = \"POPBRIDGE_NOT_SET\"", "environment variable POPBRIDGE_NOT_SET is not set"),
        ("password_credential = \"alice\"", "LoadCredential="),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("popbridge.toml");
        let settings = Settings::new("imap://127.0.0.1:1".to_owned());
        write(&path, settings.with("[account]", &account("scanner", DEVICE, line)).text(folder.path()))
            .expect("written");
        let path = path.display().to_string();
        let output = support::process::popbridge(&["serve", "--config", &path], "");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(words) && said.contains("\"scanner\""), "{said}");
        // What does not serve need not have it.
        let output = support::process::popbridge(&["explain", "--config", &path, "scanner"], "");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(66), "{said}");
    }
}
