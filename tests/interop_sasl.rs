//! Real mail programs prove themselves in each mechanism that they have, for a mailbox at a real
//! Dovecot whose password none of them knows.
//!
//! Debian's curl is built without GNU SASL, so it has no SCRAM: mpop shows that.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::time::Duration;

use tempfile::TempDir;

use popbridge::secret::{PasswordHash, Secret};
use support::bridge::{Bridge, Settings};
use support::certs::{Authority, Identity};
use support::dovecot::{Dovecot, Options, PASSWORD};
use support::fetchmail::Fetchmail;
use support::mail;
use support::process;

const MESSAGES: usize = 5;
const PATIENCE: Duration = Duration::from_secs(120);
const SCANNER: &str = "sc4nner's own";
const PRINTER: &str = "pr1nter's own";
/// Of curl(1): the login was refused.
const REFUSED: Option<i32> = Some(67);
/// Of mpop(1), from sysexits: permission denied, as for a wrong password.
const NO_PERMISSION: Option<i32> = Some(77);

/// One mailbox, and three devices: "scanner" has a SCRAM verifier, "printer" an Argon2id hash,
/// "camera" a certificate.
struct Stage {
    messages: Vec<Vec<u8>>,
    bridge: Bridge,
    dovecot: Dovecot,
    home: TempDir,
    authority: Authority,
    camera: Identity,
    stranger: Identity,
}

impl Stage {
    fn new(seed: u64) -> Self {
        let messages = mail::ordinary(seed, MESSAGES);
        let dovecot = Dovecot::start(&Options::default());
        dovecot.append_all("alice", "INBOX", messages.iter().map(Vec::as_slice), "");
        let home = tempfile::tempdir().expect("a temporary folder");
        let secret = home.path().join("secret");
        fs::write(&secret, format!("{PASSWORD}\n")).expect("a file is written");
        fs::set_permissions(&secret, Permissions::from_mode(0o600)).expect("our own file");
        let authority = Authority::new("the bridge's and the devices'");
        let (camera, stranger) = (authority.identity("camera"), authority.identity("stranger"));
        let account = |login: &str, line: &str| {
            format!("login = \"{login}\"\nusername = \"alice\"\npassword_file = {secret:?}\n{line}")
        };
        let password = |text: &str| Secret::new(text.as_bytes().to_vec());
        let scram = PasswordHash::scram_of(&password(SCANNER)).expect("a password");
        let argon2 = PasswordHash::of(&password(PRINTER)).expect("random numbers");
        let accounts = [
            account("scanner", &format!("password_hash = \"{}\"", scram.as_str())),
            account("printer", &format!("password_hash = \"{}\"", argon2.as_str())),
            account("camera", &format!("client_certificate = \"{}\"", camera.fingerprint)),
        ];
        let settings = Settings::new(dovecot.url())
            .listeners(&["none", "implicit"])
            .certificate(&authority)
            .with("tls", &format!("client_ca = {:?}", authority.ca()))
            .with(
                "upstream.tokens",
                &format!(
                    "url = \"{}\"\ndomains = [\"tokens.example\"]\nauthentication = \"oauth2\"",
                    dovecot.url()
                ),
            )
            // Much is wrong here on purpose.
            .with("security", "max_login_failures = 0\nlogin_failure_window = \"1s\"")
            .with("[account]", &accounts.join("\n[[account]]\n"));
        Self { messages, bridge: Bridge::start(&settings), dovecot, home, authority, camera, stranger }
    }

    /// curl fetches message 1 and does nothing else.
    fn curl(&self, mechanism: &str, user: &str, more: &[&str]) -> Output {
        let [plain, implicit] = self.bridge.addresses() else { panic!("two listeners") };
        let url = if more.contains(&"--cert") {
            format!("pop3s://{implicit}/1")
        } else {
            format!("pop3://{plain}/1")
        };
        let mut command = Command::new(process::require("curl", "curl"));
        command
            .env("HOME", self.home.path())
            .args(["--silent", "--show-error", "--noproxy", "*", "--cacert"])
            .arg(self.authority.ca())
            .args(["--login-options", &format!("AUTH={mechanism}"), "--user", user])
            .args(more)
            .arg(url);
        process::run(&mut command, PATIENCE)
    }

    fn curl_fetches(&self, mechanism: &str, user: &str, more: &[&str]) {
        let output = self.curl(mechanism, user, more);
        assert!(output.status.success(), "{mechanism}: {}", String::from_utf8_lossy(&output.stderr));
        mail::assert_same(&output.stdout, &mail::crlf(&self.messages[0]), mechanism);
    }

    fn curl_is_refused(&self, mechanism: &str, user: &str, more: &[&str]) {
        let output = self.curl(mechanism, user, more);
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), REFUSED, "{mechanism} {user}: {words}");
    }

    /// mpop counts what there is, and fetches nothing.
    fn mpop(&self, mechanism: &str, user: &str, password: &str, more: &[String]) -> Output {
        let [plain, implicit] = self.bridge.addresses() else { panic!("two listeners") };
        let port = if more.is_empty() { plain.port() } else { implicit.port() };
        let tls = if more.is_empty() { "tls off" } else { "tls on\ntls_starttls off" };
        let home = self.home.path();
        let text = format!(
            "account default\nhost 127.0.0.1\nport {port}\nuser {user}\npassword {password}\nauth {mechanism}\n\
             {tls}\n{}\ndelivery maildir {}\nuidls_file {}\n",
            more.join("\n"),
            home.join("maildir").display(),
            home.join("uidls").display(),
        );
        for part in ["cur", "new", "tmp"] {
            fs::create_dir_all(home.join("maildir").join(part)).expect("a folder is made");
        }
        let file = home.join("mpoprc");
        fs::write(&file, text).expect("a file is written");
        fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("our own file");
        let mut command = Command::new(process::require("mpop", "mpop"));
        command.env("HOME", home).args(["--status-only", "--debug", "--file"]).arg(file);
        process::run(&mut command, PATIENCE)
    }

    fn mpop_sees_the_mail(&self, mechanism: &str, user: &str, password: &str, more: &[String]) {
        let output = self.mpop(mechanism, user, password, more);
        let dialogue = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{dialogue}{}", String::from_utf8_lossy(&output.stderr));
        assert!(dialogue.contains(&format!("{MESSAGES} messages")), "{dialogue}");
        let said = format!("--> AUTH {}", mechanism.to_uppercase());
        assert!(dialogue.contains(&said), "{dialogue}");
    }

    fn mpop_is_refused(&self, mechanism: &str, user: &str, password: &str, more: &[String]) {
        let output = self.mpop(mechanism, user, password, more);
        assert_eq!(output.status.code(), NO_PERMISSION, "{}", String::from_utf8_lossy(&output.stdout));
    }

    fn mpop_options(&self, identity: &Identity) -> [String; 3] {
        [
            format!("tls_trust_file {}", self.authority.ca().display()),
            format!("tls_cert_file {}", identity.certificate.display()),
            format!("tls_key_file {}", identity.private_key.display()),
        ]
    }

    /// Of what was wrong, Dovecot has heard nothing.
    fn dovecot_heard_no_wrong_password(&self) {
        let log = self.dovecot.log();
        assert!(!log.contains("auth failed") && !log.contains("password mismatch"), "{log}");
    }
}

#[tokio::test]
#[ignore = "needs Dovecot and curl; .ci/run runs it"]
async fn curl_in_each_mechanism_that_it_has() {
    let stage = Stage::new(94);
    for mechanism in ["PLAIN", "LOGIN"] {
        for (login, right, wrong) in [("scanner", SCANNER, PRINTER), ("printer", PRINTER, SCANNER)] {
            stage.curl_is_refused(mechanism, &format!("{login}:{wrong}"), &[]);
            stage.curl_fetches(mechanism, &format!("{login}:{right}"), &[]);
        }
    }
    fn shown(identity: &Identity) -> [String; 4] {
        let [certificate, key] =
            [&identity.certificate, &identity.private_key].map(|path| path.display().to_string());
        ["--cert".to_owned(), certificate, "--key".to_owned(), key]
    }
    let (camera, stranger) = (shown(&stage.camera), shown(&stage.stranger));
    let [camera, stranger] = [&camera, &stranger].map(|options| options.each_ref().map(String::as_str));
    stage.curl_fetches("EXTERNAL", "camera:", &camera);
    stage.curl_is_refused("EXTERNAL", "scanner:", &camera);
    stage.curl_is_refused("EXTERNAL", "camera:", &stranger);
    for mechanism in ["XOAUTH2", "OAUTHBEARER"] {
        stage.curl_is_refused(mechanism, "scanner:", &["--oauth2-bearer", "t0ken"]);
    }
    stage.dovecot_heard_no_wrong_password();
}

#[tokio::test]
#[ignore = "needs Dovecot and mpop; .ci/run runs it"]
async fn mpop_in_each_mechanism_that_it_has() {
    let stage = Stage::new(95);
    for mechanism in ["scram-sha-256", "plain", "login"] {
        stage.mpop_is_refused(mechanism, "scanner", PRINTER, &[]);
        stage.mpop_sees_the_mail(mechanism, "scanner", SCANNER, &[]);
    }
    // SCRAM cannot be had of an Argon2id hash, nor of a login that is not there.
    stage.mpop_is_refused("scram-sha-256", "printer", PRINTER, &[]);
    stage.mpop_is_refused("scram-sha-256", "nobody", SCANNER, &[]);
    stage.mpop_sees_the_mail("plain", "printer", PRINTER, &[]);
    stage.mpop_sees_the_mail("external", "camera", "", &stage.mpop_options(&stage.camera));
    stage.mpop_is_refused("external", "camera", "", &stage.mpop_options(&stage.stranger));
    for mechanism in ["xoauth2", "oauthbearer"] {
        stage.mpop_is_refused(mechanism, "scanner", "t0ken", &[]);
    }
    stage.dovecot_heard_no_wrong_password();
}

#[tokio::test]
#[ignore = "needs Dovecot, fetchmail and Python; .ci/run runs it"]
async fn programs_that_only_send_a_password() {
    let stage = Stage::new(96);
    let address = stage.bridge.address();
    let fetchmail = Fetchmail::new("scanner").giving(SCANNER);
    fetchmail.fetches_something(address);
    fetchmail.has_delivered(&stage.messages);
    let poll = Fetchmail::new("scanner").giving(PRINTER).poll(address);
    assert_eq!(poll.code, Some(3), "fetchmail's code for a refused login: {}", poll.text);
    let script = "import poplib, sys\n\
        host, port, user, password = sys.argv[1:]\n\
        mailbox = poplib.POP3(host, int(port))\n\
        mailbox.user(user)\n\
        mailbox.pass_(password)\n\
        print(mailbox.capa()['SASL'], mailbox.stat()[0])\n\
        mailbox.quit()\n";
    let port = address.port().to_string();
    // fetchmail has deleted what it fetched, from its own view alone.
    for (login, password, left) in [("scanner", SCANNER, 0), ("printer", PRINTER, MESSAGES)] {
        let mut command = Command::new(process::require("python3", "python3"));
        command.args(["-c", script, "127.0.0.1", &port, login, password]);
        let output = process::run(&mut command, PATIENCE);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("'SCRAM-SHA-256'") && text.trim_end().ends_with(&format!(" {left}")), "{text}");
    }
    stage.dovecot_heard_no_wrong_password();
}

/// The commands of the manual make what the bridge takes, and SIGHUP reads the authority again.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs openssl and curl; .ci/run runs it"]
async fn the_manuals_authority_is_good() {
    let sim = imapsim::Server::builder().user("alice", PASSWORD).start().await.expect("the simulator starts");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let manual = include_str!("../docs/operations.md");
    let section = manual.split("## Certificates of devices").nth(1).expect("the manual has it");
    let script = section.split("```").nth(1).and_then(|block| block.strip_prefix("sh\n")).expect("commands");
    process::require("openssl", "openssl");
    let mut shell = Command::new("sh");
    let output = process::run(shell.current_dir(folder.path()).args(["-ec", script]), PATIENCE);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    let fingerprint = printed.trim_end().rsplit_once('=').expect("a fingerprint").1;

    let secret = folder.path().join("secret");
    fs::write(&secret, PASSWORD).expect("a file is written");
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).expect("our own file");
    let authority = Authority::new("the bridge's");
    let clients = folder.path().join("clients.pem");
    let account = format!(
        "login = \"camera\"\nusername = \"alice\"\npassword_file = {secret:?}\n\
         client_certificate = \"{fingerprint}\""
    );
    let settings = Settings::new(format!("imap://{}", sim.address()))
        .listeners(&["implicit"])
        .certificate(&authority)
        .with("tls", &format!("client_ca = {clients:?}"))
        .with("[account]", &account);
    let bridge = Bridge::start(&settings);
    let curl = || {
        let mut command = Command::new(process::require("curl", "curl"));
        command
            .current_dir(folder.path())
            .args(["--silent", "--show-error", "--noproxy", "*", "--login-options", "AUTH=EXTERNAL"])
            .args(["--user", "camera:", "--cert", "camera.pem", "--key", "camera.key", "--cacert"])
            .arg(authority.ca())
            .arg(format!("pop3s://{}/", bridge.address()));
        process::run(&mut command, PATIENCE)
    };
    let output = curl();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::copy(Authority::new("POP3 devices").ca(), &clients).expect("another authority");
    process::Process::of(bridge.pid()).expect("it runs").signal("HUP");
    bridge.wait_for_log(|line| line.to_string().contains("certificate read again"));
    let output = curl();
    assert!(!output.status.success(), "the authority is no longer good");
}
