//! Unique ids over the time: as the former server wrote them, and when the server makes the mailbox
//! anew, as real mail programs see it.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use popbridge::config::UniqueIdScheme as Scheme;
use popbridge::ids::{Uid, UidValidity};
use popbridge::maildrop::Deriver;

use sqlx::Connection;
use tempfile::TempDir;

use support::bridge::{Bridge, Settings};
use support::dovecot::{Dovecot, Options, PASSWORD};
use support::pop3::Pop3;
use support::{mail, process};

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn dovecot_writes_what_is_derived() {
    check(Scheme::Dovecot, "").await;
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn dovecot_in_the_place_of_another_writes_what_is_derived() {
    // As Dovecot's own documentation tells those who come from there.
    check(Scheme::Uw, "pop3_uidl_format = %08Xv%08Xu").await;
    check(Scheme::Cyrus, "pop3_uidl_format = %v.%u").await;
    check(Scheme::Courier, "pop3_uidl_format = UID%u-%v").await;
}

async fn check(scheme: Scheme, extra: &str) {
    let dovecot = Dovecot::start(&Options { pop3: true, extra, ..Options::default() });
    // Enough for UIDs with hexadecimal letters, and a gap.
    let messages = mail::corpus(6, 40);
    dovecot.append_all("alice", "INBOX", messages.iter().map(Vec::as_slice), "");
    let uids: Vec<u32> = dovecot.summaries("alice", "INBOX").iter().map(|message| message.uid).collect();
    dovecot.expunge_elsewhere("alice", uids[7]);

    let deriver = Deriver::new(scheme, "INBOX");
    let validity = validity(&dovecot, "alice");
    let summaries = dovecot.summaries("alice", "INBOX");
    let derived = summaries.iter().map(|message| Uid::new(message.uid).expect("not zero"));
    let derived: Vec<String> = derived.map(|uid| deriver.id(validity, uid).to_string()).collect();

    let mut pop3 = Pop3::connect(dovecot.pop3_address()).await;
    pop3.login("alice").await;
    let written: Vec<String> = pop3.uidl().await.into_iter().map(|(_, id)| id).collect();
    pop3.quit().await;
    assert_eq!(written.len(), 39);
    assert_eq!(derived, written, "{scheme:?}");
}

fn validity(dovecot: &Dovecot, user: &str) -> UidValidity {
    let mut imap = dovecot.connect(user);
    let responses = imap.command("STATUS INBOX (UIDVALIDITY)");
    imap.command("LOGOUT");
    let text = responses.iter().find_map(|response| response.text.split_once("(UIDVALIDITY "));
    let (_, number) = text.expect("a STATUS response");
    UidValidity::parse(number.trim_end_matches(')').as_bytes()).expect("a UIDVALIDITY")
}

const MESSAGES: usize = 1_000;
const PATIENCE: Duration = Duration::from_secs(300);

#[tokio::test]
#[ignore = "needs Dovecot and fetchmail; .ci/run runs it"]
async fn fetchmail_fetches_nothing_twice() {
    nothing_twice(fetchmail).await;
}

#[tokio::test]
#[ignore = "needs Dovecot and getmail6; .ci/run runs it"]
async fn getmail_fetches_nothing_twice() {
    nothing_twice(getmail).await;
}

/// Polls before and behind a restart, a lost cache and new UIDVALIDITYs.
async fn nothing_twice(poll: fn(&Home, u16)) {
    let dovecot = Dovecot::start(&Options::default());
    let messages: Vec<Vec<u8>> = (0..MESSAGES).map(message).collect();
    dovecot.append_all("alice", "INBOX", messages.iter().map(Vec::as_slice), "");
    // Nobody is logged in while the mailbox is made anew.
    let settings = Settings::new(dovecot.url()).with("upstream.home", "keep_alive = \"0s\"");
    let mut bridge = Bridge::start(&settings);
    // getmail remembers by the port as well: it stays over restarts.
    let file = bridge.configuration();
    let text = fs::read_to_string(&file).expect("the configuration");
    let address = bridge.address().to_string();
    fs::write(&file, text.replace("127.0.0.1:0", &address)).expect("our own file");
    let home = Home::new();
    let mut polls = 0;
    let mut new = |bridge: &Bridge, what: &str| {
        let before = home.delivered();
        poll(&home, bridge.address().port());
        let new = home.delivered() - before;
        polls += 1;
        println!("poll {polls}, {what}: {new} new");
        new
    };
    assert_eq!(new(&bridge, "at first"), MESSAGES);
    assert_eq!(new(&bridge, "again"), 0);
    bridge.restart();
    assert_eq!(new(&bridge, "behind a restart"), 0);
    let former = validity(&dovecot, "alice");
    for round in 0..3 {
        if round > 0 {
            clear_cache(&bridge).await;
            assert_eq!(new(&bridge, "without the cache"), 0);
        }
        if round == 2 {
            clear_cache(&bridge).await;
        }
        dovecot.make_anew("alice", round);
        assert_eq!(new(&bridge, "in a mailbox made anew"), 0);
    }
    assert_ne!(validity(&dovecot, "alice"), former);
    dovecot.append("alice", "INBOX", &message(MESSAGES), "");
    bridge.restart();
    assert_eq!(new(&bridge, "with one that has come"), 1);
}

async fn clear_cache(bridge: &Bridge) {
    let database = bridge.configuration().with_file_name("popbridge.db");
    let mut database =
        sqlx::SqliteConnection::connect(&database.display().to_string()).await.expect("it opens");
    sqlx::raw_sql("DELETE FROM listing").execute(&mut database).await.expect("emptied");
    database.close().await.expect("closed");
}

/// Small, for there are many; twins, and some without a Message-ID, among them.
fn message(number: usize) -> Vec<u8> {
    let number = if number < 20 { number / 2 } else { number };
    let id =
        if number % 50 == 30 { String::new() } else { format!("Message-ID: <{number}@example.net>\r\n") };
    let body = "a line of text\r\n".repeat(1 + number % 40);
    format!(
        "From: sender@example.net\r\nTo: alice@example.org\r\n{id}Date: Mon, 01 Jan 2024 10:00:00 +0000\r\n\
         Subject: message {number}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A program's home, and a count of what it has delivered.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    /// A file for the owner's eyes, as fetchmail demands.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.0.path().join(name);
        fs::write(&file, text).expect("a file is written");
        fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("our own file");
        file
    }

    /// A shell script that counts a message.
    fn deliver(&self, first: &str) -> PathBuf {
        let counted = self.0.path().join("delivered");
        let text = format!("{first}\ncat > /dev/null && echo >> '{}'\n", counted.display());
        self.write("deliver", &text)
    }

    fn delivered(&self) -> usize {
        fs::read(self.0.path().join("delivered")).map_or(0, |lines| lines.len())
    }

    fn command(&self, program: PathBuf) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.0.path());
        command.env("HOME", self.0.path()).env("LC_ALL", "C").env("FETCHMAILHOME", self.0.path());
        command
    }
}

fn fetchmail(home: &Home, port: u16) {
    let deliver = home.deliver("");
    let text = format!(
        "set no spambounce\npoll 127.0.0.1 protocol pop3 port {port} uidl timeout 60\n\
         user 'alice' password '{PASSWORD}' keep no rewrite sslproto '' mda 'sh {}'\n",
        deliver.display()
    );
    let file = home.write("fetchmailrc", &text);
    let mut command = home.command(process::require("fetchmail", "fetchmail"));
    command.arg("--pidfile").arg(home.0.path().join("fetchmail.pid"));
    command.args(["--nosyslog", "--nodetach", "--fetchmailrc"]).arg(file);
    let output = process::run(&mut command, PATIENCE);
    // 1 is: no new mail.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
}

fn getmail(home: &Home, port: u16) {
    // See tests/interop_clients.rs for what is awaited.
    let deliver = home.deliver(
        "until grep -q '^SigCgt:.*[13579bdf]....$' /proc/$PPID/status && \
         grep -q '^State:.S' /proc/$PPID/status; do sleep 0.01; done",
    );
    let text = format!(
        "[retriever]\ntype = SimplePOP3Retriever\nserver = 127.0.0.1\nport = {port}\n\
         username = alice\npassword = {PASSWORD}\n\
         [destination]\ntype = MDA_external\npath = /bin/sh\narguments = ('{}',)\n\
         allow_root_commands = true\n\
         [options]\nread_all = false\ndelivered_to = false\nreceived = false\nverbose = 0\ndelete = false\n",
        deliver.display()
    );
    let file = home.write("getmailrc", &text);
    let mut command = home.command(process::require("getmail", "getmail6"));
    command.arg("--getmaildir").arg(home.0.path()).arg("--rcfile").arg(file);
    let output = process::run(&mut command, PATIENCE);
    assert!(output.status.success(), "{output:?}");
}
