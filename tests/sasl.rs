//! How a program proves who it is, in each mechanism of AUTH, and what becomes of exchanges that go
//! wrong.

mod support;

use std::fs::{Permissions, set_permissions, write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imapsim::{Persona, Server};
use popbridge::secret::{PasswordHash, Secret};
use rsasl::prelude::{Mechname, SASLClient, SASLConfig, Session};
use support::bridge::{Bridge, Settings};
use support::certs::{Authority, Identity};
use support::local::Local;
use support::pop3::Pop3;
use tempfile::TempDir;

const UPSTREAM: &str = "upstre4m-Passw0rd";
/// The password of [`VERIFIER`], which is of few iterations.
const PENCIL: &str = "pencil";
const VERIFIER: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
const REFUSED: &str = "-ERR [AUTH] Authentication failed";

/// A simulator with alice's mail, and a file with her password.
struct Stage {
    sim: Server,
    folder: TempDir,
    authority: Authority,
}

impl Stage {
    async fn new() -> Self {
        let sim = Server::builder().user("alice", UPSTREAM).start().await.expect("the simulator starts");
        sim.append("alice", "INBOX", b"Subject: one\r\n\r\none\r\n", &[]);
        let stage =
            Self { sim, folder: tempfile::tempdir().expect("a folder"), authority: Authority::new("bridge") };
        write(stage.password_file(), format!("{UPSTREAM}\n")).expect("written");
        set_permissions(stage.password_file(), Permissions::from_mode(0o600)).expect("our file");
        stage
    }

    fn password_file(&self) -> PathBuf {
        self.folder.path().join("alice")
    }

    /// An `[[account]]` for alice's mailbox.
    fn account(&self, login: &str, lines: &str) -> String {
        format!(
            "login = \"{login}\"\nusername = \"alice\"\npassword_file = {:?}\n{lines}\n",
            self.password_file()
        )
    }

    /// A device that "pencil" opens.
    fn scram(&self, login: &str, lines: &str) -> String {
        self.account(login, &format!("password_hash = \"{VERIFIER}\"\n{lines}"))
    }

    /// A second upstream, for programs with tokens of their own.
    fn tokens(&self) -> String {
        let url = format!("imap://{}", self.sim.address());
        format!("url = \"{url}\"\ndomains = [\"tokens.example\"]\nauthentication = \"oauth2\"")
    }

    fn settings(&self, accounts: &[String]) -> Settings {
        Settings::new(format!("imap://{}", self.sim.address()))
            .listeners(&["starttls", "implicit"])
            .certificate(&self.authority)
            .with("upstream.tokens", &self.tokens())
            // Many a test is wrong on purpose.
            .with("security", "max_login_failures = 0\nlogin_failure_window = \"1s\"")
            .with("[account]", &accounts.join("\n[[account]]\n"))
    }
}

/// What CAPA says of SASL, and whether it offers USER.
async fn offered(client: &mut Pop3) -> (Option<String>, bool) {
    let lines = String::from_utf8(client.multi("CAPA").await).expect("text");
    let sasl = lines.lines().find_map(|line| line.strip_prefix("SASL ").map(str::to_owned));
    let listed = String::from_utf8(client.multi("AUTH").await).expect("text");
    let listed = listed.lines().collect::<Vec<_>>().join(" ");
    assert_eq!(sasl.clone().unwrap_or_default(), listed, "CAPA and AUTH list the same");
    (sasl, lines.lines().any(|line| line == "USER"))
}

/// rsasl's client of SCRAM-SHA-256.
fn scram_client(login: &str, password: &str) -> Session {
    let config = SASLConfig::with_credentials(None, login.to_owned(), password.to_owned());
    let name = Mechname::parse(b"SCRAM-SHA-256").expect("a name");
    SASLClient::new(config.expect("a client")).start_suggested(&[name]).expect("a session")
}

fn said(session: &mut Session, challenge: Option<&[u8]>) -> String {
    let mut message = Vec::new();
    session.step(challenge, &mut message).expect("a good server");
    STANDARD.encode(message)
}

fn challenge(answer: &str) -> Vec<u8> {
    let text = answer.strip_prefix("+ ").unwrap_or_else(|| panic!("no challenge: {answer}"));
    STANDARD.decode(text).expect("base64")
}

/// The last answer of an exchange by SCRAM.
async fn scram(client: &mut Pop3, login: &str, password: &str) -> String {
    let mut session = scram_client(login, password);
    let first = said(&mut session, None);
    let answer = client.command(&format!("AUTH SCRAM-SHA-256 {first}")).await;
    let last = said(&mut session, Some(&challenge(&answer)));
    let answer = client.command(&last).await;
    if answer.starts_with("-ERR") {
        return answer;
    }
    // The bridge proves itself as well: rsasl refuses a wrong proof.
    let empty = said(&mut session, Some(&challenge(&answer)));
    client.command(&empty).await
}

#[tokio::test]
async fn scram_needs_no_tls_and_sends_no_password() {
    let stage = Stage::new().await;
    let accounts = [stage.scram("scanner", ""), stage.scram("secure", "require_tls = true")];
    let settings = stage.settings(&accounts).with("security", "plaintext_login = \"never\"");
    let bridge = Local::start(&settings).await;
    let mut client = Pop3::connect(bridge.address()).await;
    assert_eq!(offered(&mut client).await, (Some("SCRAM-SHA-256".to_owned()), false));
    for command in ["USER scanner", "AUTH PLAIN", "AUTH LOGIN", "AUTH XOAUTH2", "AUTH OAUTHBEARER"] {
        assert!(client.err(command).await.contains("plaintext"), "{command}");
    }
    for command in ["AUTH EXTERNAL", "AUTH SCRAM-SHA-256-PLUS", "AUTH CRAM-MD5"] {
        assert!(client.err(command).await.contains("not offered"), "{command}");
    }
    for (login, password) in
        [("scanner", "Pencil"), ("secure", PENCIL), ("nobody", PENCIL), ("alice", UPSTREAM)]
    {
        assert_eq!(scram(&mut client, login, password).await, REFUSED, "{login}");
    }
    assert_eq!(stage.sim.connections(), 0);
    assert!(scram(&mut client, "scanner", PENCIL).await.starts_with("+OK 1 messages"));
    assert_eq!(offered_in_transaction(&mut client).await, Some("SCRAM-SHA-256".to_owned()));
    client.quit().await;

    let mut client = Pop3::connect_stls(bridge.address(), stage.authority.client()).await;
    let all = "PLAIN LOGIN SCRAM-SHA-256 OAUTHBEARER XOAUTH2";
    assert_eq!(offered(&mut client).await, (Some(all.to_owned()), true));
    assert!(scram(&mut client, "secure", PENCIL).await.starts_with("+OK 1 messages"));
    client.quit().await;
}

async fn offered_in_transaction(client: &mut Pop3) -> Option<String> {
    let lines = String::from_utf8(client.multi("CAPA").await).expect("text");
    lines.lines().find_map(|line| line.strip_prefix("SASL ").map(str::to_owned))
}

/// The lines that send a login and a password.
type Way = fn(&str, &str) -> Vec<String>;

#[tokio::test]
async fn a_verifier_recognises_a_password_that_is_sent() {
    let stage = Stage::new().await;
    let hash = PasswordHash::of(&Secret::new(b"0ther".to_vec())).expect("random numbers");
    let argon2 = stage.account("printer", &format!("password_hash = \"{}\"", hash.as_str()));
    let bridge = Local::start(&stage.settings(&[stage.scram("scanner", ""), argon2])).await;
    let ways: [(&str, Way); 3] = [
        ("PLAIN", |login, password| {
            vec![format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{login}\0{password}")))]
        }),
        ("LOGIN", |login, password| {
            vec!["AUTH LOGIN".to_owned(), STANDARD.encode(login), STANDARD.encode(password)]
        }),
        ("PASS", |login, password| vec![format!("USER {login}"), format!("PASS {password}")]),
    ];
    let mut client = Pop3::connect(bridge.address()).await;
    for (name, way) in ways {
        for (device, right, wrong) in [("scanner", PENCIL, "0ther"), ("printer", "0ther", PENCIL)] {
            let mut answer = String::new();
            for line in way(device, wrong) {
                answer = client.command(&line).await;
            }
            assert_eq!(answer, REFUSED, "{name} {device}");
            let mut client = Pop3::connect(bridge.address()).await;
            for line in way(device, right) {
                answer = client.command(&line).await;
            }
            assert!(answer.starts_with("+OK 1 messages"), "{name} {device}: {answer}");
            client.quit().await;
        }
    }
    // Of an Argon2id hash SCRAM can do nothing, and it says so to nobody.
    assert_eq!(scram(&mut client, "printer", "0ther").await, REFUSED);
    client.quit().await;
}

#[tokio::test]
async fn without_a_verifier_scram_is_not_offered() {
    let stage = Stage::new().await;
    let hash = PasswordHash::of(&Secret::new(b"0ther".to_vec())).expect("random numbers");
    let argon2 = stage.account("printer", &format!("password_hash = \"{}\"", hash.as_str()));
    let bridge = Local::start(&stage.settings(&[argon2])).await;
    let mut client = Pop3::connect(bridge.address()).await;
    let (sasl, _) = offered(&mut client).await;
    assert_eq!(sasl.as_deref(), Some("PLAIN LOGIN OAUTHBEARER XOAUTH2"));
    assert!(client.err("AUTH SCRAM-SHA-256").await.contains("not offered"));
    client.quit().await;
}

#[tokio::test]
async fn whatever_goes_wrong_in_an_exchange_is_answered() {
    let stage = Stage::new().await;
    let bridge = Local::start(&stage.settings(&[stage.scram("scanner", "")])).await;
    let mut client = Pop3::connect(bridge.address()).await;
    let first = STANDARD.encode("n,,n=scanner,r=nonce");
    let long = "A".repeat(20_000);
    // Each ends the exchange: NOOP is a command again.
    let dialogues: [&[&str]; 8] = [
        &["AUTH SCRAM-SHA-256", "*"],
        &["AUTH SCRAM-SHA-256", "!!!!"],
        &["AUTH SCRAM-SHA-256", &long],
        &["AUTH SCRAM-SHA-256 ="],
        &["AUTH SCRAM-SHA-256", ""],
        &["AUTH SCRAM-SHA-256", &first, "*"],
        &["AUTH SCRAM-SHA-256", &first, "biws"],
        &["AUTH XOAUTH2", "dXNlcj0="],
    ];
    for dialogue in dialogues {
        let mut answer = String::new();
        for line in dialogue {
            assert!(answer.is_empty() || answer.starts_with("+ "), "{dialogue:?}: {answer}");
            answer = client.command(line).await;
        }
        let cancelled = dialogue.last() == Some(&"*");
        let expected = if cancelled { "cancelled" } else { "malformed" };
        assert!(answer.starts_with("-ERR ") && answer.contains(expected), "{dialogue:?}: {answer}");
        assert_eq!(client.err("NOOP").await, "-ERR Log in first");
    }
    // The client does not trust the bridge's proof, and goes.
    let mut session = scram_client("scanner", PENCIL);
    let answer = client.command(&format!("AUTH SCRAM-SHA-256 {}", said(&mut session, None))).await;
    let answer = client.command(&said(&mut session, Some(&challenge(&answer)))).await;
    assert!(challenge(&answer).starts_with(b"v="), "{answer}");
    assert!(client.err("*").await.contains("cancelled"));
    // Six were malformed; wrong ones count as well, and nine are enough.
    for _ in 0..2 {
        assert_eq!(scram(&mut client, "scanner", "wrong").await, REFUSED);
    }
    assert_eq!(scram(&mut client, "scanner", "wrong").await, REFUSED);
    assert_eq!(client.rest().await, b"-ERR Too many failed logins\r\n");
    assert_eq!(stage.sim.connections(), 0);
}

#[tokio::test]
async fn a_token_is_refused_with_a_reason_and_then_an_error() {
    let stage = Stage::new().await;
    let settings = stage.settings(&[stage.scram("scanner", "")]);
    let bridge = Local::start(&settings).await;
    let bearer = STANDARD.encode("n,a=scanner,\x01host=h\x01port=110\x01auth=Bearer t0ken\x01\x01");
    let xoauth2 = STANDARD.encode("user=scanner\x01auth=Bearer t0ken\x01\x01");
    let cases = [
        ("OAUTHBEARER", &bearer, r#"{"status":"invalid_token"}"#, "AQ=="),
        ("XOAUTH2", &xoauth2, r#"{"status":"401","schemes":"bearer"}"#, ""),
        ("XOAUTH2", &xoauth2, r#"{"status":"401","schemes":"bearer"}"#, "*"),
    ];
    let mut client = Pop3::connect(bridge.address()).await;
    for (mechanism, message, expected, response) in cases {
        assert_eq!(client.command(&format!("AUTH {mechanism}")).await, "+ ");
        let answer = client.command(message).await;
        assert_eq!(challenge(&answer), expected.as_bytes(), "{mechanism}");
        assert_eq!(client.command(response).await, REFUSED, "{mechanism}");
    }
    // Who does not answer is not waited for for ever, and told all the same, be it behind
    // `login_timeout`.
    let impatient = Local::start(&settings.with("limits", "login_timeout = \"5s\"")).await;
    let mut client = Pop3::connect(impatient.address()).await;
    let answer = client.command(&format!("AUTH XOAUTH2 {xoauth2}")).await;
    assert!(answer.starts_with("+ "), "{answer}");
    let rest = client.rest().await;
    assert_eq!(String::from_utf8_lossy(&rest), format!("{REFUSED}\r\n"));
    assert_eq!(stage.sim.connections(), 0);
}

/// Devices that certificates open, in front of alice's mailbox.
struct Shown {
    stage: Stage,
    clients: Authority,
    scanner: Identity,
    shared: Identity,
}

impl Shown {
    async fn new() -> Self {
        let clients = Authority::new("clients");
        let (scanner, shared) = (clients.identity("scanner"), clients.identity("shared"));
        Self { stage: Stage::new().await, clients, scanner, shared }
    }

    fn settings(&self) -> Settings {
        let opened = |identity: &Identity| format!("client_certificate = \"{}\"", identity.fingerprint);
        let accounts = [
            self.stage.account("scanner", &opened(&self.scanner)),
            self.stage.scram("first", &opened(&self.shared)),
            self.stage.account("second", &opened(&self.shared)),
        ];
        let ca = format!("client_ca = {:?}", self.clients.ca());
        self.stage.settings(&accounts).with("tls", &ca)
    }

    async fn connect(&self, address: std::net::SocketAddr, identity: &Identity) -> Pop3 {
        Pop3::connect_tls(address, self.stage.authority.client_as(identity)).await
    }
}

async fn external(client: &mut Pop3, authzid: &str) -> String {
    let message = if authzid.is_empty() { "=".to_owned() } else { STANDARD.encode(authzid) };
    client.command(&format!("AUTH EXTERNAL {message}")).await
}

#[tokio::test]
async fn a_certificate_opens_the_logins_it_belongs_to() {
    let shown = Shown::new().await;
    let bridge = Local::start(&shown.settings()).await;
    let implicit = bridge.addresses()[1];
    let opened = "+OK 1 messages";
    for authzid in ["", "scanner"] {
        let mut client = shown.connect(implicit, &shown.scanner).await;
        let (sasl, _) = offered(&mut client).await;
        assert_eq!(sasl.as_deref(), Some("PLAIN LOGIN SCRAM-SHA-256 EXTERNAL OAUTHBEARER XOAUTH2"));
        assert!(external(&mut client, authzid).await.starts_with(opened), "{authzid}");
        client.quit().await;
        bridge.settled(0).await;
    }
    // Asked for by a challenge, under STLS.
    let config = shown.stage.authority.client_as(&shown.scanner);
    let mut client = Pop3::connect_stls(bridge.address(), config).await;
    assert_eq!(client.command("AUTH EXTERNAL").await, "+ ");
    assert!(client.command("").await.starts_with(opened));
    client.quit().await;
    bridge.settled(0).await;
    // One of two has to be named.
    let mut client = shown.connect(implicit, &shown.shared).await;
    for wrong in ["", "scanner", "nobody", "alice"] {
        assert_eq!(external(&mut client, wrong).await, REFUSED, "{wrong:?}");
    }
    assert!(external(&mut client, "second").await.starts_with(opened));
    client.quit().await;
    // A certificate and nothing else opens it.
    let mut client = shown.connect(implicit, &shown.shared).await;
    client.ok("USER scanner").await;
    assert_eq!(client.command(&format!("PASS {PENCIL}")).await, REFUSED);
    assert_eq!(scram(&mut client, "scanner", PENCIL).await, REFUSED);
    assert!(scram(&mut client, "first", PENCIL).await.starts_with(opened), "the password does as well");
    client.quit().await;
}

#[tokio::test]
async fn a_certificate_that_is_not_known_opens_nothing() {
    let shown = Shown::new().await;
    let stranger = shown.clients.identity("stranger");
    let mut bridge = Bridge::start(&shown.settings());
    let implicit = bridge.addresses()[1];
    let mut client = shown.connect(implicit, &stranger).await;
    for authzid in ["", "scanner", "alice"] {
        assert_eq!(external(&mut client, authzid).await, REFUSED, "{authzid:?}");
    }
    client.ok("QUIT").await;
    // None shown: it is not offered.
    let mut client = Pop3::connect_tls(implicit, shown.stage.authority.client()).await;
    let (sasl, _) = offered(&mut client).await;
    assert!(sasl.is_some_and(|names| !names.contains("EXTERNAL")));
    assert!(external(&mut client, "scanner").await.contains("not offered"));
    client.ok("QUIT").await;
    // What another authority has signed ends the handshake, before a word of POP3.
    let other = Authority::new("clients").identity("scanner");
    let config = shown.stage.authority.client_as(&other);
    assert!(!greets(implicit, config).await);
    assert!(greets(implicit, shown.stage.authority.client()).await);
    assert_eq!(shown.stage.sim.connections(), 0);
    assert!(bridge.terminate().success());
    let log = bridge.log().join("\n");
    assert!(log.contains(&stranger.fingerprint), "what to write into the configuration:\n{log}");
}

/// The simulator answers while this thread waits for the bridge.
#[tokio::test(flavor = "multi_thread")]
async fn no_exchange_leaves_a_secret_in_the_log() {
    let stage = Stage::new().await;
    let mut bridge = Bridge::start(&stage.settings(&[stage.scram("scanner", "")]));
    let mut client = Pop3::connect(bridge.address()).await;
    for mechanism in ["XOAUTH2", "PLAIN", "LOGIN", "SCRAM-SHA-256", "OAUTHBEARER"] {
        // As some broken programs send it.
        client.err(&format!("AUTH {mechanism} {PENCIL}")).await;
    }
    for login in ["scanner", "alice@tokens.example"] {
        let token = STANDARD.encode(format!("user={login}\x01auth=Bearer t0ken-of-mine\x01\x01"));
        if client.command(&format!("AUTH XOAUTH2 {token}")).await.starts_with('+') {
            client.err("").await;
        }
    }
    assert_eq!(scram(&mut client, "scanner", "pencil2").await, REFUSED);
    assert!(scram(&mut client, "scanner", PENCIL).await.starts_with("+OK"));
    client.quit().await;
    bridge.sessions(1);
    assert!(bridge.terminate().success());
    let log = bridge.log().join("\n");
    assert!(log.contains("DEBUG"), "it is searched at its loudest");
    let keys = VERIFIER.rsplit('$').next().expect("its keys").split(':');
    for secret in [PENCIL, UPSTREAM, "t0ken-of-mine", "SCRAM-SHA-256$"].into_iter().chain(keys) {
        assert!(!log.contains(secret), "{secret} in the log:\n{log}");
    }
}

/// Whether the bridge greets behind the handshake.
async fn greets(
    address: std::net::SocketAddr,
    config: std::sync::Arc<tokio_rustls::rustls::ClientConfig>,
) -> bool {
    use tokio::io::AsyncReadExt as _;
    let socket = tokio::net::TcpStream::connect(address).await.expect("it listens");
    let name = tokio_rustls::rustls::pki_types::ServerName::from(address.ip());
    let Ok(mut tls) = tokio_rustls::TlsConnector::from(config).connect(name, socket).await else {
        return false;
    };
    let mut octet = [0];
    matches!(tls.read(&mut octet).await, Ok(1))
}

#[tokio::test]
async fn a_programs_own_token_opens_the_upstream() {
    for offered in ["AUTH=XOAUTH2", "AUTH=OAUTHBEARER"] {
        let builder = Server::builder().user("alice@example.org", "n0t-it").persona(Persona::Dovecot);
        let sim = builder.start().await.expect("the simulator starts");
        sim.set_token("alice@example.org", "t0ken");
        for name in ["AUTH=PLAIN", "AUTH=LOGIN"] {
            sim.set_capability(name, false);
        }
        sim.set_capability(offered, true);
        let settings = Settings::new(format!("imap://{}", sim.address()))
            .with("upstream.home", "authentication = \"oauth2\"");
        let bridge = Local::start(&settings).await;
        for (mechanism, right, wrong) in [
            (
                "XOAUTH2",
                "user=alice@example.org\x01auth=Bearer t0ken\x01\x01",
                "user=alice@example.org\x01auth=Bearer old\x01\x01",
            ),
            (
                "OAUTHBEARER",
                "n,a=alice@example.org,\x01auth=Bearer t0ken\x01\x01",
                "n,a=alice@example.org,\x01auth=Bearer old\x01\x01",
            ),
        ] {
            let mut client = Pop3::connect(bridge.address()).await;
            let answer = client.command(&format!("AUTH {mechanism} {}", STANDARD.encode(wrong))).await;
            assert!(String::from_utf8(challenge(&answer)).expect("text").contains("status"), "{answer}");
            let answer = client.command("AQ==").await;
            assert!(answer.starts_with("-ERR [AUTH]"), "{answer}");
            let answer = client.command(&format!("AUTH {mechanism} {}", STANDARD.encode(right))).await;
            assert!(answer.starts_with("+OK 0 messages"), "{mechanism} {offered}: {answer}");
            client.quit().await;
            bridge.settled(0).await;
        }
    }
}
