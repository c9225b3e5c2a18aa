//! fetchmail takes everything by POP3, as somebody's server at home does, and writes one file.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use crate::mailbox::Mailbox;
use crate::support::dovecot::PASSWORD;

/// One run from its start to its end; what it has written is compared behind that.
pub async fn run(address: SocketAddr, user: &str, keep: bool, mailbox: &Mailbox) -> Result<Duration> {
    let home = tempfile::tempdir()?;
    let (settings, mail) = (home.path().join("fetchmailrc"), home.path().join("mail"));
    let (server, keep) = if keep { ("uidl", "keep") } else { ("", "nokeep") };
    // BSMTP is what it would say to a mail server, in a file: no program to start for each message.
    let text = format!(
        "set invisible\nset no spambounce\n\
         poll 127.0.0.1 protocol pop3 port {} {server} no dns timeout 300\n\
         user '{user}' password '{PASSWORD}' {keep} no rewrite no mimedecode pass8bits sslproto ''\n\
         bsmtp '{}'\n",
        address.port(),
        mail.display(),
    );
    fs::write(&settings, text)?;
    // It refuses a file with a password that others can read.
    fs::set_permissions(&settings, Permissions::from_mode(0o600))?;
    let mut command = Command::new("fetchmail");
    command
        .env("HOME", home.path())
        .env("FETCHMAILHOME", home.path())
        .env("LC_ALL", "C")
        // Root's fetchmail would keep one lock for the whole machine.
        .arg("--pidfile")
        .arg(home.path().join("fetchmail.pid"))
        .args(["--nosyslog", "--nodetach", "--silent", "--fetchmailrc"])
        .arg(&settings)
        .stdin(Stdio::null())
        // It may be stopped by the limit.
        .kill_on_drop(true);
    let start = Instant::now();
    let output = command.output().await.context("fetchmail")?;
    let time = start.elapsed();
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        bail!("fetchmail: {}: {}", output.status, told.lines().last().unwrap_or_default());
    }
    compare(&fs::read(&mail)?, mailbox)?;
    Ok(time)
}

/// Each message in its order, octet for octet. The first line, Return-Path, has become MAIL FROM.
fn compare(bsmtp: &[u8], mailbox: &Mailbox) -> Result<()> {
    let mut bodies = mailbox.bodies.iter();
    let mut sender: &[u8] = b"";
    let mut message: Option<Sha256> = None;
    for line in bsmtp.split_inclusive(|&octet| octet == b'\n') {
        match &mut message {
            None if line == b"DATA\r\n" => {
                message = Some(Sha256::new_with_prefix([b"Return-Path: ", sender, b"\r\n"].concat()));
            }
            None => {
                let path = line.strip_prefix(b"MAIL FROM:");
                sender = path.and_then(|path| path.split(|&octet| octet == b' ').next()).unwrap_or(sender);
            }
            Some(hash) if line == b".\r\n" => {
                let own = bodies.next().context("more messages than were laid in")?;
                ensure!(hash.finalize_reset()[..] == own[..], "a message is not what was laid in");
                message = None;
            }
            Some(hash) => hash.update(line.strip_prefix(b".").unwrap_or(line)),
        }
    }
    ensure!(bodies.len() == 0, "{} messages are missing", bodies.len());
    Ok(())
}
