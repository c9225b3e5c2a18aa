//! A private Dovecot: any user name, password `secret`.

use std::fs::{self, File, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio_rustls::rustls::ClientConfig;

use super::certs::Authority;
use super::imap::{Imap, Message};
use super::process::{self, Process};

pub const PASSWORD: &str = "secret";

/// The owner of all mail where Dovecot runs as root; no account needs to have it.
const MAIL_ID: u32 = 22_000;

/// Dovecot listens within a second, also beside a busy build.
const START: Duration = Duration::from_secs(30);

#[derive(Default)]
pub struct Options<'a> {
    /// Adds STARTTLS to the plain port and a port for `imaps://`.
    pub tls: Option<&'a Authority>,
    /// `LOGINDISABLED` until STARTTLS; needs `tls`.
    pub login_disabled: bool,
    /// Announced instead of Dovecot's own list.
    pub capability: Option<&'a str>,
    /// Serves the same mail by POP3 as well, as a former server would.
    pub pop3: bool,
    /// Put behind all else.
    pub extra: &'a str,
}

pub struct Dovecot {
    folder: TempDir,
    ports: Ports,
    tls: Option<Arc<ClientConfig>>,
    /// Absent while stopped.
    master: Option<Child>,
}

#[derive(Clone, Copy)]
struct Ports {
    imap: u16,
    imaps: Option<u16>,
    pop3: Option<u16>,
}

impl Dovecot {
    pub fn start(options: &Options) -> Self {
        process::require("dovecot", "dovecot-imapd");
        let folder = tempfile::tempdir().expect("a temporary folder");
        open_to_mail_owner(folder.path());
        let mail = folder.path().join("mail");
        fs::create_dir(&mail).expect("a folder for the mail");
        own(&mail);

        // Somebody may take a port between the choice and the start: choose anew.
        for _ in 0..5 {
            let ports = Ports {
                imap: process::free_port(),
                imaps: options.tls.map(|_| process::free_port()),
                pop3: options.pop3.then(process::free_port),
            };
            let text = configuration(folder.path(), ports, options);
            fs::write(folder.path().join("dovecot.conf"), text).expect("a file is written");
            if let Some(master) = launch(folder.path(), ports.imap) {
                return Self { folder, ports, tls: options.tls.map(Authority::client), master: Some(master) };
            }
        }
        panic!("Dovecot does not start:\n{}", log_of(folder.path()));
    }

    pub fn address(&self) -> SocketAddr {
        loopback(self.ports.imap)
    }

    /// The master process; all others are its children.
    pub fn pid(&self) -> u32 {
        self.master.as_ref().expect("it runs").id()
    }

    /// `imap://…`
    pub fn url(&self) -> String {
        format!("imap://{}", self.address())
    }

    /// `imap+starttls://…`, on the plain port.
    pub fn starttls_url(&self) -> String {
        format!("imap+starttls://{}", self.address())
    }

    /// `imaps://…`
    pub fn imaps_url(&self) -> String {
        format!("imaps://{}", self.imaps_address())
    }

    pub fn imaps_address(&self) -> SocketAddr {
        loopback(self.ports.imaps.expect("started with Options::tls"))
    }

    pub fn pop3_address(&self) -> SocketAddr {
        loopback(self.ports.pop3.expect("started with Options::pop3"))
    }

    /// A second IMAP connection of this user, logged in.
    pub fn connect(&self, user: &str) -> Imap {
        let connection = match &self.tls {
            Some(config) => Imap::connect_tls(self.imaps_address(), Arc::clone(config)),
            None => Imap::connect(self.address()),
        };
        let mut imap = connection.unwrap_or_else(|error| panic!("{error}:\n{}", self.log()));
        imap.command(&format!("LOGIN \"{user}\" {PASSWORD}"));
        imap
    }

    pub fn append(&self, user: &str, mailbox: &str, message: &[u8], flags: &str) {
        self.append_all(user, mailbox, [message], flags);
    }

    /// Lays many messages in over one connection, without waiting for each.
    pub fn append_all<'a>(
        &self,
        user: &str,
        mailbox: &str,
        messages: impl IntoIterator<Item = &'a [u8]>,
        flags: &str,
    ) {
        let mut imap = self.connect(user);
        imap.pipeline(messages.into_iter().map(|message| {
            let mut command = format!("APPEND {mailbox} ({flags}) {{{}+}}\r\n", message.len());
            let mut bytes = std::mem::take(&mut command).into_bytes();
            bytes.extend_from_slice(message);
            bytes
        }));
        imap.command("LOGOUT");
    }

    /// Lays one message in that arrived at this time: `"01-Jan-2020 12:00:00 +0000"`.
    pub fn append_dated(&self, user: &str, mailbox: &str, message: &[u8], flags: &str, date: &str) {
        let mut command =
            format!("APPEND {mailbox} ({flags}) \"{date}\" {{{}+}}\r\n", message.len()).into_bytes();
        command.extend_from_slice(message);
        let mut imap = self.connect(user);
        imap.pipeline([command]);
        imap.command("LOGOUT");
    }

    /// Puts a file straight into a maildir's INBOX: what APPEND would refuse.
    ///
    /// The user has to have logged in once.
    pub fn lay(&self, user: &str, name: &str, message: &[u8]) {
        let file = self.folder.path().join("mail").join(user).join("new");
        let file = file.join(name);
        fs::write(&file, message).expect("the maildir is there");
        own(&file);
    }

    /// Another client makes a folder, unless it is there; its name as it goes over the wire.
    pub fn create(&self, user: &str, folder: &str) {
        let mut imap = self.connect(user);
        if imap.command(&format!("LIST \"\" \"{folder}\"")).is_empty() {
            imap.command(&format!("CREATE \"{folder}\""));
        }
        imap.command("LOGOUT");
    }

    /// Leaves the owner so few rights to the INBOX; needs the plugin `acl`.
    ///
    /// The user has to have logged in once.
    pub fn restrict(&self, user: &str, rights: &str) {
        let file = self.folder.path().join("mail").join(user).join("dovecot-acl");
        fs::write(&file, format!("owner {rights}\n")).expect("the maildir is there");
        own(&file);
    }

    /// Makes a folder with a UIDVALIDITY of one's choice; its name as it goes over the wire.
    ///
    /// The user has to have logged in once, and the folder must hold no mail yet.
    pub fn make_folder(&self, user: &str, folder: &str, validity: u32) {
        let maildir = self.folder.path().join("mail").join(user);
        let maildir = if folder == "INBOX" { maildir } else { maildir.join(format!(".{folder}")) };
        for folder in ["", "cur", "new", "tmp"].map(|part| maildir.join(part)) {
            fs::create_dir_all(&folder).expect("the user is there");
            own(&folder);
        }
        for entry in fs::read_dir(&maildir).expect("made above") {
            let file = entry.expect("readable").path();
            if file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("dovecot.index")) {
                fs::remove_file(file).expect("our own file");
            }
        }
        let uids = maildir.join("dovecot-uidlist");
        fs::write(&uids, format!("3 V{validity} N1\n")).expect("the maildir is there");
        own(&uids);
    }

    /// Gives another user the same INBOX without using the disk twice.
    pub fn share(&self, from: &str, to: &str) {
        let mail = self.folder.path().join("mail");
        let maildir = mail.join(to);
        for folder in [&maildir, &maildir.join("cur"), &maildir.join("new"), &maildir.join("tmp")] {
            fs::create_dir(folder).expect("the user is new");
            own(folder);
        }
        for part in ["cur", "new"] {
            let files = fs::read_dir(mail.join(from).join(part)).expect("the maildir is there");
            for file in files {
                let file = file.expect("readable");
                let link = maildir.join(part).join(file.file_name());
                fs::hard_link(file.path(), link).expect("one file system");
            }
        }
    }

    /// Makes the INBOX anew, as after a move to another server: a new UIDVALIDITY, the messages in
    /// another order.
    pub fn make_anew(&self, user: &str, seed: u64) {
        assert!(process::eventually(START, || self.sessions(user).is_empty()), "{user} is logged in");
        let maildir = self.folder.path().join("mail").join(user);
        for file in fs::read_dir(&maildir).expect("the maildir is there") {
            let file = file.expect("readable").path();
            let name = file.file_name().expect("a file's name").to_string_lossy().into_owned();
            if name == "dovecot-uidlist" || name.starts_with("dovecot.index") {
                fs::remove_file(&file).expect("our own file");
            }
        }
        // New files get their UIDs in the order of their names' seconds.
        let mut rng = super::mail::Rng::new(seed);
        for (at, file) in fs::read_dir(maildir.join("cur")).expect("the maildir is there").enumerate() {
            let file = file.expect("readable").path();
            let name = file.file_name().expect("a file's name").to_string_lossy().into_owned();
            // Its size and its flags stay.
            let (_, rest) = name.split_once(',').unwrap_or((&name, "S=0:2,"));
            let second = 1_000_000_000 + rng.below(1_000_000);
            let renamed = file.with_file_name(format!("{second}.M{at}P1.test,{rest}"));
            fs::rename(&file, renamed).expect("our own file");
        }
        // UIDVALIDITY is made from the clock.
        std::thread::sleep(Duration::from_secs(2));
    }

    /// What the mailbox holds, seen by another client.
    pub fn messages(&self, user: &str, mailbox: &str) -> Vec<Message> {
        let mut imap = self.connect(user);
        let messages = imap.messages(mailbox);
        imap.command("LOGOUT");
        messages
    }

    /// The same without the bodies.
    pub fn summaries(&self, user: &str, mailbox: &str) -> Vec<Message> {
        let mut imap = self.connect(user);
        let messages = imap.summaries(mailbox);
        imap.command("LOGOUT");
        messages
    }

    /// Another client sets flags.
    pub fn flag_elsewhere(&self, user: &str, uid: u32, flags: &str) {
        let mut imap = self.connect(user);
        imap.command("SELECT INBOX");
        imap.command(&format!("UID STORE {uid} +FLAGS.SILENT ({flags})"));
        imap.command("LOGOUT");
    }

    /// Another client removes a message for good.
    pub fn expunge_elsewhere(&self, user: &str, uid: u32) {
        let mut imap = self.connect(user);
        imap.command("SELECT INBOX");
        imap.command(&format!("UID STORE {uid} +FLAGS.SILENT (\\Deleted)"));
        imap.command(&format!("UID EXPUNGE {uid}"));
        imap.command("LOGOUT");
    }

    /// The processes that serve this user's IMAP sessions.
    pub fn sessions(&self, user: &str) -> Vec<Process> {
        let title = format!("[{user} ");
        let mut own = self.children();
        own.retain(|process| {
            process::name_of(process.pid) == "imap" && process::title_of(process.pid).contains(&title)
        });
        own
    }

    /// Ends one session the hard way.
    pub fn kill_session(&self, session: Process) {
        session.signal("KILL");
        assert!(session.gone_within(START), "{session:?} survived SIGKILL");
    }

    /// An outage: master and every session end, the data stays.
    pub fn stop(&mut self) {
        let Some(mut master) = self.master.take() else {
            return;
        };
        let children = process::children(master.id());
        if let Some(process) = Process::of(master.id()) {
            process.signal("TERM");
        }
        if process::wait(&mut master, Duration::from_secs(3)).is_none() {
            let _ = master.kill();
            let _ = master.wait();
        }
        // Busy children outlive their master for a while.
        for child in children {
            if !child.gone_within(Duration::from_millis(50)) {
                child.signal("KILL");
                child.gone_within(START);
            }
        }
    }

    /// The end of an outage: the same ports, the same data.
    pub fn start_again(&mut self) {
        assert!(self.master.is_none(), "Dovecot still runs");
        let master = launch(self.folder.path(), self.ports.imap);
        self.master = Some(master.unwrap_or_else(|| panic!("Dovecot does not start:\n{}", self.log())));
    }

    /// How often the user has logged in by IMAP.
    pub fn logins(&self, user: &str) -> usize {
        let log = self.log();
        let start = format!("Login: user=<{user}>");
        log.lines().filter(|line| line.contains(&start)).count()
    }

    pub fn log(&self) -> String {
        log_of(self.folder.path())
    }

    fn children(&self) -> Vec<Process> {
        self.master.as_ref().map(|master| process::children(master.id())).unwrap_or_default()
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts the master in the foreground; nothing if it ends instead of listening.
fn launch(folder: &Path, port: u16) -> Option<Child> {
    let program = process::require("dovecot", "dovecot-imapd");
    let output = File::create(folder.join("output")).expect("a file is written");
    let mut master = Command::new(program)
        .arg("-F")
        .arg("-c")
        .arg(folder.join("dovecot.conf"))
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("a file can be shared"))
        .stderr(output)
        .spawn()
        .expect("dovecot can be run");
    let ours = greeting(folder);
    let mut ended = false;
    let listening = process::eventually(START, || {
        ended = master.try_wait().expect("a child can be waited for").is_some();
        ended || Imap::connect(loopback(port)).is_ok_and(|imap| imap.greeting.contains(&ours))
    });
    if listening && !ended {
        return Some(master);
    }
    let _ = master.kill();
    let _ = master.wait();
    None
}

fn configuration(folder: &Path, ports: Ports, options: &Options) -> String {
    let Ports { imap, imaps, pop3 } = ports;
    let imaps = imaps.unwrap_or(0);
    let pop3_port = pop3.unwrap_or(0);
    let dir = folder.display();
    let protocols = if pop3.is_some() { "imap pop3" } else { "imap" };
    let disabled = if options.login_disabled { "yes" } else { "no" };
    let greeting = greeting(folder);
    let (owner, rootless) = match unprivileged_user(folder) {
        None => (format!("uid={MAIL_ID} gid={MAIL_ID}"), String::new()),
        Some((uid, gid, user, group)) => (
            format!("uid={uid} gid={gid}"),
            format!(
                "default_internal_user = {user}\n\
                 default_login_user = {user}\n\
                 default_internal_group = {group}\n\
                 service anvil {{\n chroot =\n}}\n\
                 service imap-login {{\n chroot =\n}}\n\
                 service pop3-login {{\n chroot =\n}}\n"
            ),
        ),
    };
    let tls = match options.tls {
        None => "ssl = no\n".to_owned(),
        Some(authority) => format!(
            "ssl = {}\nssl_cert = <{}\nssl_key = <{}\n",
            if options.login_disabled { "required" } else { "yes" },
            authority.certificate().display(),
            authority.private_key().display(),
        ),
    };
    let capability = options.capability.map(|list| format!("imap_capability = {list}\n")).unwrap_or_default();
    let extra = options.extra;
    format!(
        "base_dir = {dir}/run
state_dir = {dir}/run
instance_name = test-{imap}
log_path = {dir}/log
login_greeting = {greeting}
protocols = {protocols}
listen = 127.0.0.1
disable_plaintext_auth = {disabled}
auth_mechanisms = plain login
# A wrong password is what some tests are about: no penalty, no delay.
auth_failure_delay = 0
passdb {{
  driver = static
  args = password={PASSWORD}
}}
userdb {{
  driver = static
  args = {owner} home={dir}/mail/%u
}}
first_valid_uid = 1000
mail_location = maildir:{dir}/mail/%u
mail_fsync = never
mail_max_userip_connections = 0
verbose_proctitle = yes
default_client_limit = 4096
default_vsz_limit = 0
service anvil {{
  client_limit = 20000
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {pop3_port}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service imap {{
  process_limit = 2048
}}
namespace inbox {{
  inbox = yes
  mailbox Trash {{
    auto = subscribe
    special_use = \\Trash
  }}
}}
{rootless}{tls}{capability}{extra}
"
    )
}

/// Tells this instance from another one that was quicker to take the port.
fn greeting(folder: &Path) -> String {
    // No other test has a folder of this name, also none of this process.
    format!("{} ready.", folder.file_name().unwrap_or_default().display())
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Every folder above the mail has to be passable for its owner.
fn open_to_mail_owner(folder: &Path) {
    fs::set_permissions(folder, Permissions::from_mode(0o755)).expect("our own folder");
}

fn own(path: &Path) {
    let folder = path.parent().expect("inside the temporary folder");
    if unprivileged_user(folder).is_none() {
        chown(path, Some(MAIL_ID), Some(MAIL_ID)).expect("root may give a file away");
    }
}

/// Who runs the tests, where that is not root: Dovecot then runs as that user alone.
fn unprivileged_user(folder: &Path) -> Option<(u32, u32, String, String)> {
    let process = fs::metadata("/proc/self").unwrap_or_else(|error| {
        panic!("no /proc beside {}: {error}", folder.display());
    });
    if process.uid() == 0 {
        return None;
    }
    let name = |option: &str| {
        let output = Command::new("id").args([option, "-n"]).output();
        let output = output.expect("id is part of coreutils");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    Some((process.uid(), process.gid(), name("-u"), name("-g")))
}

fn log_of(folder: &Path) -> String {
    let files: [PathBuf; 2] = [folder.join("output"), folder.join("log")];
    let texts = files.iter().map(fs::read_to_string);
    texts.filter_map(io::Result::ok).collect()
}
