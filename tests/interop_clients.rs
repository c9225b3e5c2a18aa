//! Real mail programs fetch through the bridge from a real Dovecot.
//!
//! Each takes the whole maildrop, then polls again and gets nothing. What they
//! delivered is compared octet by octet, in the form that a maildir has.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use tempfile::TempDir;

use support::bridge::{Bridge, Settings};
use support::certs::Authority;
use support::dovecot::{Dovecot, Options, PASSWORD};
use support::mail;
use support::pop3::Pop3;
use support::process;

const MESSAGES: usize = 60;
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test]
#[ignore = "needs Dovecot and curl; .ci/run runs it"]
async fn curl() {
    let curl = process::require("curl", "curl");
    let authority = Authority::new("the bridge's");
    let stage = Stage::new(21, &["none", "starttls", "implicit"], Some(&authority));
    let user = format!("alice:{PASSWORD}");
    let addresses = stage.bridge.addresses();
    let runs = [
        (format!("pop3://{}", addresses[0]), None),
        (format!("pop3://{}", addresses[1]), Some("--ssl-reqd")),
        (format!("pop3s://{}", addresses[2]), None),
    ];
    for (at, (url, option)) in runs.into_iter().enumerate() {
        let folder = stage.folder(&format!("curl{at}"));
        let mut command = stage.command(&curl);
        command
            .args(["--silent", "--show-error", "--noproxy", "*", "--user", &user])
            .arg("--cacert")
            .arg(authority.ca())
            .args(option)
            .arg("--output")
            .arg(folder.join("#1"))
            .arg(format!("{url}/[1-{MESSAGES}]"));
        succeed(&mut command);
        for (number, message) in (1..).zip(&stage.messages) {
            let got = fs::read(folder.join(number.to_string())).expect("curl wrote it");
            mail::assert_same(&got, &mail::crlf(message), &format!("{url}/{number}"));
        }
    }
    // A session a command: what is hidden by one is not message 1 of the next.
    for _ in 0..MESSAGES {
        let mut command = stage.command(&curl);
        command
            .args(["--silent", "--show-error", "--noproxy", "*", "--user", &user])
            .args(["--request", "DELE", "--head"])
            .arg(format!("pop3://{}/1", addresses[0]));
        succeed(&mut command);
    }
    stage.all_read_and_hidden().await;
}

#[tokio::test]
#[ignore = "needs Dovecot and fetchmail; .ci/run runs it"]
async fn fetchmail_keeping() {
    let stage = Stage::new(22, &["none"], None);
    let fetchmail = Fetchmail::new(&stage, "uidl", "keep", "sslproto ''");
    fetchmail.first_poll();
    fetchmail.second_poll_fetches_nothing();
    // It downloads by TOP, which marks nothing.
    stage.all_still_there();
    assert_eq!(stage.listed().await, MESSAGES);
}

#[tokio::test]
#[ignore = "needs Dovecot and fetchmail; .ci/run runs it"]
async fn fetchmail_keeping_with_fastuidl() {
    let stage = Stage::new(23, &["none"], None);
    let fetchmail = Fetchmail::new(&stage, "uidl", "keep", "sslproto '' fastuidl 4");
    fetchmail.first_poll();
    // Every fourth poll asks for the whole UIDL, the others search in it.
    for _ in 0..5 {
        fetchmail.second_poll_fetches_nothing();
    }
    stage.all_still_there();
    // New mail is found by the search as well.
    let new = mail::ordinary(24, 3);
    stage.dovecot.append_all("alice", "INBOX", new.iter().map(Vec::as_slice), "");
    fetchmail.poll(0);
    assert_eq!(files(&fetchmail.inbox).len(), MESSAGES + 3);
    fetchmail.poll(1);
}

#[tokio::test]
#[ignore = "needs Dovecot and fetchmail; .ci/run runs it"]
async fn fetchmail_not_keeping() {
    let stage = Stage::new(25, &["none"], None);
    let fetchmail = Fetchmail::new(&stage, "", "nokeep", "sslproto ''");
    fetchmail.first_poll();
    fetchmail.second_poll_fetches_nothing();
    // It downloads by TOP and then deletes: read all the same.
    stage.all_read_and_hidden().await;
}

#[tokio::test]
#[ignore = "needs Dovecot and fetchmail; .ci/run runs it"]
async fn fetchmail_fetching_all_by_retr() {
    let stage = Stage::new(35, &["none"], None);
    let fetchmail = Fetchmail::new(&stage, "", "nokeep fetchall", "sslproto ''");
    fetchmail.first_poll();
    fetchmail.second_poll_fetches_nothing();
    stage.all_read_and_hidden().await;
}

#[tokio::test]
#[ignore = "needs Dovecot and fetchmail; .ci/run runs it"]
async fn fetchmail_over_starttls() {
    let authority = Authority::new("the bridge's");
    let stage = Stage::new(26, &["starttls"], Some(&authority));
    let options = format!(
        "sslproto 'auto' sslcertck sslcommonname localhost sslcertfile '{}'",
        authority.ca().display()
    );
    let fetchmail = Fetchmail::new(&stage, "uidl", "nokeep", &options);
    fetchmail.first_poll();
    fetchmail.second_poll_fetches_nothing();
    assert!(stage.bridge.sessions(2)[0].tls);
    stage.all_read_and_hidden().await;
}

struct Fetchmail<'a> {
    stage: &'a Stage,
    program: PathBuf,
    settings: PathBuf,
    inbox: PathBuf,
}

impl<'a> Fetchmail<'a> {
    fn new(stage: &'a Stage, server: &str, keep: &str, options: &str) -> Self {
        let program = process::require("fetchmail", "fetchmail");
        let inbox = stage.folder("inbox");
        let deliver = stage.deliver(&inbox, "");
        let port = stage.port();
        let mda = format!("sh {}", deliver.display());
        let text = format!(
            "set invisible\nset no spambounce\n\
             poll 127.0.0.1 protocol pop3 port {port} {server} timeout 60\n\
             user 'alice' password '{PASSWORD}' {keep} no rewrite no mimedecode pass8bits\n\
             {options} mda '{mda}'\n"
        );
        let settings = stage.write("fetchmailrc", &text);
        Self { stage, program, settings, inbox }
    }

    fn first_poll(&self) {
        self.poll(0);
        // The envelope's sender is not for the header of what is delivered anew.
        let habits = Habits { fields: &["Return-Path"], ..Habits::default() };
        self.stage.delivered(&self.inbox, habits);
    }

    fn second_poll_fetches_nothing(&self) {
        self.poll(1);
        assert_eq!(files(&self.inbox).len(), MESSAGES);
    }

    /// fetchmail ends with 0 for new mail and with 1 for none.
    fn poll(&self, code: i32) {
        let mut command = self.stage.command(&self.program);
        command.env("FETCHMAILHOME", self.stage.home.path());
        // Root's fetchmail would keep one lock for the whole machine.
        let lock = self.stage.home.path().join("fetchmail.pid");
        command.arg("--pidfile").arg(lock);
        command.args(["--nosyslog", "--nodetach", "--verbose", "--fetchmailrc"]);
        let output = process::run(command.arg(&self.settings), PATIENCE);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
    }
}

#[tokio::test]
#[ignore = "needs Dovecot and mpop; .ci/run runs it"]
async fn mpop_keeping() {
    let stage = Stage::new(27, &["none"], None);
    mpop(&stage, "keep on");
    mpop(&stage, "keep on");
    stage.second_poll_fetched_nothing();
    stage.all_still_there();
    assert_eq!(stage.listed().await, MESSAGES);
}

#[tokio::test]
#[ignore = "needs Dovecot and mpop; .ci/run runs it"]
async fn mpop_not_keeping() {
    let stage = Stage::new(28, &["none"], None);
    mpop(&stage, "keep off");
    mpop(&stage, "keep off");
    stage.second_poll_fetched_nothing();
    stage.all_read_and_hidden().await;
}

#[tokio::test]
#[ignore = "needs Dovecot and mpop; .ci/run runs it"]
async fn mpop_over_implicit_tls() {
    let authority = Authority::new("the bridge's");
    let stage = Stage::new(29, &["implicit"], Some(&authority));
    let options = format!("keep on\ntls on\ntls_starttls off\ntls_trust_file {}", authority.ca().display());
    mpop(&stage, &options);
    mpop(&stage, &options);
    assert!(stage.bridge.sessions(2)[0].tls);
}

/// One poll; the maildir holds every message once, whatever poll it is.
fn mpop(stage: &Stage, options: &str) {
    let program = process::require("mpop", "mpop");
    let maildir = stage.maildir("maildir");
    let (port, folder) = (stage.port(), maildir.display());
    let home = stage.home.path().display();
    let tls = if options.contains("tls on") { "" } else { "tls off\n" };
    let text = format!(
        "account default\nhost 127.0.0.1\nport {port}\nuser alice\npassword {PASSWORD}\n\
         auth user\n{tls}pipelining on\nreceived_header off\ndelivery maildir {folder}\n\
         uidls_file {home}/uidls\n{options}\n"
    );
    let file = stage.write("mpoprc", &text);
    let mut command = stage.command(&program);
    succeed(command.arg("--file").arg(file));
    stage.delivered(&maildir.join("new"), Habits::default());
}

#[tokio::test]
#[ignore = "needs Dovecot and getmail6; .ci/run runs it"]
async fn getmail_keeping() {
    let stage = Stage::new(30, &["none"], None);
    getmail(&stage, "delete = false");
    getmail(&stage, "delete = false");
    stage.second_poll_fetched_nothing();
    stage.all_still_there();
    assert_eq!(stage.listed().await, MESSAGES);
}

#[tokio::test]
#[ignore = "needs Dovecot and getmail6; .ci/run runs it"]
async fn getmail_not_keeping() {
    let stage = Stage::new(31, &["none"], None);
    getmail(&stage, "delete = true");
    getmail(&stage, "delete = true");
    stage.second_poll_fetched_nothing();
    stage.all_read_and_hidden().await;
}

fn getmail(stage: &Stage, options: &str) {
    let program = process::require("getmail", "getmail6");
    let inbox = stage.folder("inbox");
    let deliver = stage.deliver(&inbox, AWAITED);
    let (port, deliver) = (stage.port(), deliver.display());
    // Its own maildir delivery refuses to work for root, whom tests often run as.
    let text = format!(
        "[retriever]\ntype = SimplePOP3Retriever\nserver = 127.0.0.1\nport = {port}\n\
         username = alice\npassword = {PASSWORD}\n\
         [destination]\ntype = MDA_external\npath = /bin/sh\narguments = ('{deliver}',)\n\
         allow_root_commands = true\n\
         [options]\nread_all = false\ndelivered_to = false\nreceived = false\nverbose = 2\n\
         {options}\n"
    );
    let file = stage.write("getmailrc", &text);
    let mut command = stage.command(&program);
    command.arg("--getmaildir").arg(stage.home.path());
    succeed(command.arg("--rcfile").arg(file));
    let habits = Habits { fields: &["Return-Path"], refolds: true };
    stage.delivered(&inbox, habits);
}

/// getmail never hears of a child that ends before it has begun to wait: it sets its handler for
/// SIGCHLD (bit 16) behind the fork and sleeps then. A quick shell would win now and then.
const AWAITED: &str = "until grep -q '^SigCgt:.*[13579bdf]....$' /proc/$PPID/status && \
     grep -q '^State:.S' /proc/$PPID/status; do sleep 0.01; done";

#[tokio::test]
#[ignore = "needs Dovecot and Python 3; .ci/run runs it"]
async fn python_poplib() {
    let stage = Stage::new(32, &["none"], None);
    let python = process::require("python3", "python3");
    let inbox = stage.folder("inbox");
    let script = stage.write("fetch.py", POPLIB);
    let poll = |mode: &str| {
        let mut command = stage.command(&python);
        command.arg(&script).arg(stage.port().to_string()).arg(PASSWORD).arg(&inbox).arg(mode);
        text(&succeed(&mut command)).trim().to_owned()
    };
    assert_eq!(poll("keep"), format!("{MESSAGES} new"));
    stage.delivered(&inbox, Habits::default());
    assert_eq!(poll("keep"), "0 new");
    stage.second_poll_fetched_nothing();
    assert_eq!(poll("delete"), "0 new");
    stage.all_read_and_hidden().await;
}

/// Keeps a file a unique id, as most scripts around poplib do.
const POPLIB: &str = r#"
import os, poplib, sys
port, password, inbox, mode = sys.argv[1:]
pop = poplib.POP3("127.0.0.1", int(port), timeout=60)
pop.user("alice")
pop.pass_(password)
pop.stat()
new = 0
for row in pop.uidl()[1]:
    number, unique_id = row.decode().split()
    file = os.path.join(inbox, unique_id)
    if not os.path.exists(file):
        new += 1
        lines = pop.retr(number)[1]
        with open(file, "wb") as out:
            out.write(b"".join(line + b"\n" for line in lines))
    if mode == "delete":
        pop.dele(number)
pop.quit()
print(new, "new")
"#;

#[tokio::test]
#[ignore = "needs Dovecot, mutt and script; .ci/run runs it"]
async fn mutt_fetching_mail() {
    let stage = Stage::new(33, &["none"], None);
    let maildir = stage.maildir("maildir");
    for _ in 0..2 {
        let keys = "push <fetch-mail><quit>";
        mutt(&stage, &maildir.display().to_string(), keys);
        stage.delivered(&maildir.join("new"), MUTT);
    }
    stage.second_poll_fetched_nothing();
    stage.all_read_and_hidden().await;
}

#[tokio::test]
#[ignore = "needs Dovecot, mutt and script; .ci/run runs it"]
async fn mutt_browsing_the_folder() {
    let stage = Stage::new(34, &["none"], None);
    let copies = stage.maildir("copies");
    let folder = format!("pop://alice@127.0.0.1:{}/", stage.port());
    let copy = copies.display();
    let keys = format!("push <tag-pattern>~A<enter><tag-prefix><copy-message>{copy}<enter><quit>");
    mutt(&stage, &folder, &keys);
    stage.delivered(&copies.join("new"), MUTT);
    stage.all_still_there();
    assert_eq!(stage.listed().await, MESSAGES);

    // It knows what it has in its cache: opening the folder again fetches headers at most.
    mutt(&stage, &folder, "push <tag-pattern>~A<enter><quit>");
    let sessions = stage.bridge.sessions(3);
    assert_eq!(sessions[2].retrieved, 0, "{:?}", sessions[2]);
}

/// It keeps a message's state in the file as well.
const MUTT: Habits = Habits { fields: &["Status", "X-Status", "Content-Length", "Lines"], refolds: false };

fn mutt(stage: &Stage, folder: &str, keys: &str) {
    let program = process::require("mutt", "mutt");
    let script = process::require("script", "bsdutils");
    let (port, home) = (stage.port(), stage.home.path().display());
    let spool = stage.maildir("maildir");
    let spool = spool.display();
    let text = format!(
        "set pop_host='pop://alice@127.0.0.1:{port}'\nset pop_pass='{PASSWORD}'\n\
         set pop_delete=yes\nset pop_checkinterval=0\nset pop_authenticators='user'\n\
         set ssl_starttls=no\nset ssl_force_tls=no\n\
         set mbox_type=maildir\nset spoolfile='{spool}'\nset folder='{home}'\n\
         set header_cache='{home}/headers'\nset message_cachedir='{home}/bodies'\n\
         set quit=yes\nset confirmappend=no\nset copy=yes\nset move=no\nset wait_key=no\n\
         set mark_old=no\nset mail_check=0\nset sort=mailbox-order\n"
    );
    let file = stage.write("muttrc", &text);
    let line = format!("{} -n -F '{}' -f '{folder}' -e '{keys}'", program.display(), file.display());
    let mut command = stage.command(&script);
    command.env("TERM", "vt100").args(["-qec", &line, "/dev/null"]);
    succeed(&mut command);
}

/// Dovecot with mail for `alice`, the bridge in front, and a home for the program.
struct Stage {
    messages: Vec<Vec<u8>>,
    bridge: Bridge,
    dovecot: Dovecot,
    home: TempDir,
}

impl Stage {
    fn new(seed: u64, listeners: &[&'static str], authority: Option<&Authority>) -> Self {
        let messages = mail::ordinary(seed, MESSAGES);
        let dovecot = Dovecot::start(&Options::default());
        dovecot.append_all("alice", "INBOX", messages.iter().map(Vec::as_slice), "");
        let mut settings = Settings::new(dovecot.url()).listeners(listeners);
        if let Some(authority) = authority {
            settings = settings.certificate(authority);
        }
        Self {
            messages,
            bridge: Bridge::start(&settings),
            dovecot,
            home: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    fn port(&self) -> u16 {
        self.bridge.address().port()
    }

    /// A command that sees this home and nothing of the caller's mail settings.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.home.path());
        command.env("HOME", self.home.path()).env("LC_ALL", "C");
        for name in ["MAIL", "MAILDIR", "XDG_CONFIG_HOME", "http_proxy", "all_proxy"] {
            command.env_remove(name);
        }
        command
    }

    /// A file of the home, for the owner's eyes as fetchmail demands.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.home.path().join(name);
        fs::write(&file, text).expect("a file is written");
        fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("our own file");
        file
    }

    /// A shell script that puts its input into a new file of this folder.
    ///
    /// `first` is what else it does, before.
    fn deliver(&self, inbox: &Path, first: &str) -> PathBuf {
        let inbox = inbox.display();
        let text = format!("{first}\nfile=$(mktemp '{inbox}/XXXXXXXXXX') && exec cat > \"$file\"\n");
        self.write("deliver", &text)
    }

    fn folder(&self, name: &str) -> PathBuf {
        let folder = self.home.path().join(name);
        fs::create_dir_all(&folder).expect("a folder is made");
        folder
    }

    fn maildir(&self, name: &str) -> PathBuf {
        for part in ["cur", "new", "tmp"] {
            self.folder(&format!("{name}/{part}"));
        }
        self.folder(name)
    }

    /// Every message is in the folder once and whole.
    fn delivered(&self, folder: &Path, habits: Habits) {
        let expected = self.messages.iter().map(|message| habits.undo(message));
        let mut expected: Vec<Vec<u8>> = expected.collect();
        let found = files(folder);
        let found = found.iter().map(|message| habits.undo(message));
        let mut found: Vec<Vec<u8>> = found.collect();
        assert_eq!(found.len(), expected.len());
        // Each has a Message-ID of its own, near the front in every form.
        expected.sort();
        found.sort();
        for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
            mail::assert_same(found, expected, &format!("message {at} in order of content"));
        }
    }

    /// The bridge's own word for it.
    fn second_poll_fetched_nothing(&self) {
        let sessions = self.bridge.sessions(2);
        assert_eq!(sessions[1].retrieved, 0, "{:?}", sessions[1]);
    }

    /// Nothing left the IMAP mailbox and nothing changed in it.
    fn all_still_there(&self) -> Vec<support::imap::Message> {
        let stored = self.dovecot.messages("alice", "INBOX");
        assert_eq!(stored.len(), self.messages.len());
        for (stored, message) in stored.iter().zip(&self.messages) {
            let form = mail::crlf(&stored.body);
            mail::assert_same(&form, &mail::crlf(message), &format!("UID {}", stored.uid));
            assert!(!stored.has("\\Deleted"), "UID {}", stored.uid);
        }
        stored
    }

    /// The default policy behind a program that deletes.
    async fn all_read_and_hidden(&self) {
        let stored = self.all_still_there();
        assert!(stored.iter().all(|message| message.has("\\Seen")));
        assert_eq!(self.listed().await, 0);
    }

    /// How many messages POP3 shows.
    async fn listed(&self) -> usize {
        let mut pop3 = Pop3::connect(self.bridge.address()).await;
        pop3.login("alice").await;
        let listing = pop3.list().await;
        pop3.quit().await;
        listing.len()
    }
}

/// What a program does to a message on the way into a file.
#[derive(Clone, Copy, Default)]
struct Habits {
    /// Header fields that it adds or takes away.
    fields: &'static [&'static str],
    /// It folds the header's lines as it likes.
    refolds: bool,
}

impl Habits {
    /// LF line ends, no blank lines at the end, and nothing of the program's own.
    fn undo(self, message: &[u8]) -> Vec<u8> {
        let text = mail::lf(message);
        let end = text.windows(2).position(|pair| pair == b"\n\n");
        let (header, body) = text.split_at(end.expect("a header and a body"));
        let mut kept = Vec::with_capacity(text.len());
        for line in header.split(|&octet| octet == b'\n') {
            let name = line.split(|&octet| octet == b':').next().unwrap_or(line);
            if !self.fields.iter().any(|own| own.as_bytes() == name) {
                kept.extend_from_slice(line);
                kept.push(b'\n');
            }
        }
        if self.refolds {
            kept.retain(|octet| !octet.is_ascii_whitespace());
        }
        kept.extend_from_slice(body);
        let length = kept.trim_ascii_end().len();
        kept.truncate(length);
        kept
    }
}

fn files(folder: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder).expect("a folder of the test's own");
    let paths = entries.map(|entry| entry.expect("readable").path());
    paths.map(|path| fs::read(path).expect("readable")).collect()
}

fn succeed(command: &mut Command) -> Output {
    let output = process::run(command, PATIENCE);
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    output
}

fn text(output: &Output) -> String {
    let parts = [&output.stdout, &output.stderr].map(|part| String::from_utf8_lossy(part));
    parts.concat()
}
