//! What `popbridge setup` writes, in front of a real Dovecot and for real programs: a first message,
//! and a unit that systemd takes.

mod support;

use std::process::{Command, Output};
use std::time::Duration;

use support::bridge::Bridge;
use support::dovecot::{Dovecot, Options, PASSWORD};
use support::process;
use support::terminal::Terminal;

const PATIENCE: Duration = Duration::from_secs(120);
const DEVICE: &str = "sc4nner-own";
const MESSAGE: &[u8] = b"Subject: first\r\n\r\nhello\r\n";

/// Each line of message 1, as poplib gives it.
const POPLIB: &str = "\
import poplib, sys
client = poplib.POP3(sys.argv[1], int(sys.argv[2]))
client.user('scanner')
client.pass_(sys.argv[3])
print('\\n'.join(line.decode() for line in client.retr(1)[1]))
client.quit()
";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Dovecot, curl and python3; .ci/run runs it"]
async fn answers_lead_to_a_first_message() {
    let (curl, python) = (process::require("curl", "curl"), process::require("python3", "python3"));
    let dovecot = Dovecot::start(&Options::default());
    dovecot.append("alice", "INBOX", MESSAGE, "");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_popbridge"));
    command
        .args(["setup", "--no-systemd", "--listen", "127.0.0.1:0", "--imap", &dovecot.url(), "--config"])
        .arg(folder.path().join("popbridge.toml"))
        .env("TERM", "xterm");
    let mut terminal = Terminal::start(&mut command);
    terminal.answer("Your mail address:", "alice@example.org");
    terminal.answer("User name at the mail server:", "alice");
    terminal.answer("Password of alice", PASSWORD);
    terminal.answer("A name for the device", "");
    terminal.expect("A password for the device:");
    terminal.press("\u{1b}[B\r");
    terminal.answer("The device's password:", DEVICE);
    terminal.answer("Once more:", DEVICE);
    terminal.answer("When it deletes a message:", "");
    terminal.answer("When it fetches a message:", "");
    terminal.answer("Shall it see the whole inbox?", "");
    terminal.answer("Write the configuration?", "");
    assert!(terminal.end().success(), "{}", terminal.screen());

    let bridge = Bridge::start_in(folder, 1, &[]);
    let address = bridge.address();
    let mut command = Command::new(curl);
    command.args(["--silent", "--show-error", "--noproxy", "*", "--user", &format!("scanner:{DEVICE}")]);
    let fetched = process::run(command.arg(format!("pop3://{address}/1")), PATIENCE);
    assert_eq!(fetched.stdout, MESSAGE, "{fetched:?}");

    let mut command = Command::new(python);
    command.args(["-c", POPLIB, &address.ip().to_string(), &address.port().to_string(), DEVICE]);
    let fetched = process::run(&mut command, PATIENCE);
    assert_eq!(text(&fetched), "Subject: first\n\nhello\n", "{fetched:?}");
}

#[test]
#[ignore = "needs systemd-analyze; .ci/run runs it"]
fn systemd_takes_the_unit() {
    let analyze = process::require("systemd-analyze", "systemd");
    let dovecot = Dovecot::start(&Options::default());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let units = folder.path().join("units");
    for (name, secret) in [("password", PASSWORD), ("device", DEVICE)] {
        std::fs::write(folder.path().join(name), format!("{secret}\n")).expect("written");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_popbridge"));
    command
        .current_dir(&folder)
        .args(["setup", "--yes", "--systemd", "--unit-directory", "units", "--config", "./popbridge.toml"])
        .args(["--address", "alice@example.org", "--username", "alice", "--imap", &dovecot.url()])
        .args(["--password-file", "password", "--device-password-file", "device"]);
    let set_up = process::run(&mut command, PATIENCE);
    assert!(set_up.status.success(), "{set_up:?}");
    let unit = units.join("popbridge.service");
    let verified = process::run(Command::new(&analyze).arg("verify").arg(&unit), PATIENCE);
    assert!(verified.status.success() && verified.stderr.is_empty(), "{verified:?}");
    // The method itself: a mistake in the drop-in is seen.
    let drop_in = units.join("popbridge.service.d/setup.conf");
    let own = std::fs::read_to_string(&drop_in).expect("a drop-in");
    std::fs::write(&drop_in, own.replace("LoadCredential=", "LoadCredentials=")).expect("written");
    let verified = process::run(Command::new(&analyze).arg("verify").arg(&unit), PATIENCE);
    assert!(!verified.stderr.is_empty(), "{verified:?}");
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
