//! How the bridge proves itself to the mail server: each mechanism, by what the server offers, and a
//! server that goes wrong at each step of it.

mod support;

use std::sync::Arc;

use imapsim::{Fault, Persona, Place, Server, Tls};
use popbridge::config::{Config, Upstream};
use popbridge::secret::{PasswordHash, Secret};
use popbridge::upstream::{Code, Connector, Error, Imap, Status};
use support::bridge::{Bridge, Settings};
use support::local::Local;
use support::pop3::Pop3;
use tempfile::TempDir;
use tokio::task::JoinSet;

const PASSWORD: &str = "s3cret \"\\ word";
const TOKEN: &str = "ya29.t0ken-._~+/==";

/// By which command, whether with a token, and how many challenges there are without SASL-IR.
const WAYS: [(&str, bool, u32); 5] = [
    ("AUTHENTICATE PLAIN", false, 1),
    ("AUTHENTICATE LOGIN", false, 2),
    ("AUTHENTICATE SCRAM-SHA-256", false, 3),
    ("AUTHENTICATE OAUTHBEARER", true, 1),
    ("AUTHENTICATE XOAUTH2", true, 1),
];

/// A server with one user, who has a password and a token.
async fn sim(persona: Persona, tls: Tls) -> Server {
    let sim = Server::builder().user("alice", PASSWORD).persona(persona).tls(tls);
    let sim = sim.start().await.expect("the simulator starts");
    sim.set_token("alice", TOKEN);
    sim.append("alice", "INBOX", b"Subject: hello\r\n\r\nhi\r\n", &[]);
    sim
}

/// Offers this mechanism and no other, LOGIN neither.
fn offer(sim: &Server, way: &str, initial: bool) {
    for mechanism in ["PLAIN", "LOGIN", "SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2"] {
        sim.set_capability(&format!("AUTH={mechanism}"), way.ends_with(&format!(" {mechanism}")));
    }
    sim.set_capability("LOGINDISABLED", way != "LOGIN");
    sim.set_capability("SASL-IR", initial);
}

/// The configuration of an upstream, and a folder that has its authority.
fn upstream(sim: &Server, tls: Tls, oauth: bool) -> (Arc<Upstream>, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("ca.crt"), sim.ca_pem()).expect("a file is written");
    let scheme = match tls {
        Tls::None => "imap",
        Tls::StartTls => "imap+starttls",
        Tls::Implicit => "imaps",
    };
    let authentication = if oauth { "oauth2" } else { "password" };
    let text = format!(
        "[upstream.sim]\nurl = \"{scheme}://{}\"\ntimeout = \"2s\"\nca_certificate = \"ca.crt\"\n\
         authentication = \"{authentication}\"\n",
        sim.address()
    );
    let config = Config::parse(&text, "test", folder.path()).expect("a good configuration");
    (Arc::clone(&config.upstreams[0]), folder)
}

/// A connection before its login.
struct Client {
    imap: Imap,
    upstream: Arc<Upstream>,
}

impl Client {
    async fn open(sim: &Server, tls: Tls, oauth: bool) -> Self {
        let (upstream, _folder) = upstream(sim, tls, oauth);
        let connector = Connector::new(Arc::clone(&upstream)).expect("a usable upstream");
        Self { imap: Imap::open(&connector).await.expect("connected"), upstream }
    }

    async fn login(&mut self, secret: &str) -> Result<(), Error> {
        let credential = self.upstream.credential(Secret::new(secret.as_bytes().to_vec()));
        self.imap.login("alice", &credential).await
    }
}

fn secret(oauth: bool) -> &'static str {
    if oauth { TOKEN } else { PASSWORD }
}

/// The commands of logins so far, without their tags.
fn logins(sim: &Server) -> Vec<String> {
    let commands = sim.commands().into_iter().filter_map(|line| {
        let (_, command) = line.split_once(' ')?;
        Some(command.trim_end_matches(" ***").to_owned())
    });
    commands.filter(|command| command.starts_with("AUTHENTICATE") || command.starts_with("LOGIN")).collect()
}

fn refusal(result: Result<(), Error>) -> Status {
    match result {
        Err(Error::Login(status)) => status,
        other => panic!("no refused login: {other:?}"),
    }
}

#[tokio::test]
async fn each_mechanism_lets_in_who_it_should() {
    for (way, oauth, _) in WAYS {
        for initial in [true, false] {
            let sim = sim(Persona::Dovecot, Tls::None).await;
            offer(&sim, way, initial);
            let mut client = Client::open(&sim, Tls::None, oauth).await;
            assert_eq!(client.imap.mechanism(), None);

            let status = refusal(client.login("wrong").await);
            assert!(status.rejects_credentials(), "{way} {initial}: {status:?}");
            assert_eq!(logins(&sim), [way], "one wrong login, and no other way is tried");

            // The connection has come to no harm.
            client.login(secret(oauth)).await.unwrap_or_else(|error| panic!("{way}: {error}"));
            assert_eq!(client.imap.mechanism().map(|way| way.to_string()).as_deref(), Some(way));
            assert_eq!(sim.logins(), 1);
            assert!(client.imap.capabilities().has("UIDPLUS"), "{way}: what is offered behind the login");
            let asked = sim.commands().iter().filter(|line| line.ends_with(" CAPABILITY")).count();
            assert_eq!(asked, 0, "{way}: it was told already");
            client.imap.logout().await;
        }
    }
}

#[tokio::test]
async fn a_server_without_mechanisms_gets_the_login_command() {
    let sim = sim(Persona::Dovecot, Tls::None).await;
    offer(&sim, "LOGIN", true);
    for (secret, quoted) in [(PASSWORD, true), ("pässword\u{7f}", false)] {
        for literals in [true, false] {
            sim.set_capability("LITERAL+", literals);
            sim.set_password("alice", secret);
            let mut client = Client::open(&sim, Tls::None, false).await;
            let status = refusal(client.login(&format!("{secret}!")).await);
            assert!(status.rejects_credentials(), "{status:?}");
            client.login(secret).await.unwrap_or_else(|error| panic!("{quoted}: {error}"));
            client.imap.logout().await;
        }
    }
    assert_eq!(logins(&sim), vec!["LOGIN alice"; 8]);
}

#[tokio::test]
async fn a_literal_too_long_to_send_at_once_waits_for_the_servers_word() {
    let sim = sim(Persona::Dovecot, Tls::None).await;
    offer(&sim, "LOGIN", true);
    sim.set_capability("LITERAL+", false);
    sim.set_capability("LITERAL-", true);
    for length in [10, 4096, 4097, 9000] {
        let secret = "\u{7f}".repeat(length);
        sim.set_password("alice", &secret);
        let mut client = Client::open(&sim, Tls::None, false).await;
        client.login(&secret).await.unwrap_or_else(|error| panic!("{length}: {error}"));
        client.imap.logout().await;
    }
}

#[tokio::test]
async fn tls_decides_between_plain_and_scram() {
    for (tls, expected) in [
        (Tls::None, "AUTHENTICATE SCRAM-SHA-256"),
        (Tls::StartTls, "AUTHENTICATE PLAIN"),
        (Tls::Implicit, "AUTHENTICATE PLAIN"),
    ] {
        let sim = sim(Persona::Dovecot, tls).await;
        sim.set_capability("AUTH=SCRAM-SHA-256", true);
        let mut client = Client::open(&sim, tls, false).await;
        client.login(PASSWORD).await.expect("logged in");
        assert_eq!(logins(&sim), [expected]);
    }
    // Only what is offered counts.
    let sim = sim(Persona::Dovecot, Tls::Implicit).await;
    offer(&sim, "AUTHENTICATE SCRAM-SHA-256", true);
    let mut client = Client::open(&sim, Tls::Implicit, false).await;
    client.login(PASSWORD).await.expect("logged in");
    assert_eq!(logins(&sim), ["AUTHENTICATE SCRAM-SHA-256"]);
}

#[tokio::test]
async fn providers_take_tokens_each_in_its_way() {
    for (persona, expected) in [
        (Persona::Gmail, "AUTHENTICATE OAUTHBEARER"),
        (Persona::Yahoo, "AUTHENTICATE OAUTHBEARER"),
        (Persona::Microsoft365, "AUTHENTICATE XOAUTH2"),
    ] {
        let sim = sim(persona, Tls::Implicit).await;
        let mut client = Client::open(&sim, Tls::Implicit, true).await;
        let status = refusal(client.login("expired").await);
        assert!(status.rejects_credentials(), "{persona:?}: {status:?}");
        client.login(TOKEN).await.unwrap_or_else(|error| panic!("{persona:?}: {error}"));
        assert_eq!(logins(&sim), [expected, expected]);
    }
}

#[tokio::test]
async fn a_refused_token_is_told_from_an_outage() {
    for (way, oauth, _) in WAYS.into_iter().filter(|(_, oauth, _)| *oauth) {
        for (error, rejected, words) in [
            (
                "{\"status\":\"invalid_token\",\"scope\":\"mail\"}",
                true,
                "of the access token it says invalid_token; it wants one for mail",
            ),
            ("{\"status\":\"401\",\"schemes\":\"bearer\"}", true, "of the access token it says 401"),
            ("no JSON at all", true, "Authentication failed"),
            ("{\"status\":\"503\"}", false, "of the access token it says 503"),
        ] {
            let sim = sim(Persona::Dovecot, Tls::None).await;
            offer(&sim, way, true);
            sim.adjust(|traits| traits.token_error = Some(error));
            let mut client = Client::open(&sim, Tls::None, oauth).await;
            let status = refusal(client.login("expired").await);
            assert_eq!(status.rejects_credentials(), rejected, "{way} {error}");
            assert!(status.text.ends_with(words), "{way}: {status}");
            assert!(!format!("{status:?}").contains("expired"));
            // Answered as each mechanism wants it, or the server would have said BAD.
            client.login(TOKEN).await.unwrap_or_else(|error| panic!("{way}: {error}"));
        }
    }
}

#[tokio::test]
async fn what_is_no_token_is_not_sent() {
    for persona in [Persona::Gmail, Persona::Microsoft365] {
        let sim = sim(persona, Tls::None).await;
        let mut client = Client::open(&sim, Tls::None, true).await;
        for wrong in ["my old password", "", "t\u{1}host=evil", "tökén"] {
            let status = refusal(client.login(wrong).await);
            assert!(status.rejects_credentials() && status.text.contains("no access token"), "{status}");
        }
        assert!(logins(&sim).is_empty());
        client.login(TOKEN).await.expect("logged in");
    }
}

#[tokio::test]
async fn a_fault_at_any_step_is_an_outage() {
    // Side by side: some are waited for in vain.
    let mut cases = JoinSet::new();
    for (way, oauth, challenges) in WAYS {
        for place in [Place::Login].into_iter().chain((1..=challenges).map(Place::Challenge)) {
            for fault in [
                Fault::Eof,
                Fault::Bye,
                Fault::Bad,
                Fault::Stall,
                Fault::No(Some("UNAVAILABLE")),
                Fault::Raw(b"+ AAAA".to_vec()),
                Fault::RawThenStall([b"* X {9999999}\r\n", &[b'x'; 4096][..]].concat()),
            ] {
                cases.spawn(fails_in_passing(way, oauth, place, fault));
            }
        }
    }
    assert_eq!(cases.join_all().await.len(), 7 * (5 + 8));
}

async fn fails_in_passing(way: &str, oauth: bool, place: Place, fault: Fault) {
    let what = format!("{way} {place:?} {fault:?}");
    let sim = sim(Persona::Dovecot, Tls::None).await;
    offer(&sim, way, false);
    let mut client = Client::open(&sim, Tls::None, oauth).await;
    sim.fault(place, fault);
    let error = client.login(secret(oauth)).await.expect_err(&what);
    let rejected = matches!(&error, Error::Login(status) if status.rejects_credentials());
    assert!(!rejected, "{what}: {error:?}");
    assert_eq!((sim.faults_left(), sim.logins()), (0, 0), "{what}");
    assert_eq!(logins(&sim).len(), 1, "{what}: no other way is tried");
}

#[tokio::test]
async fn an_ok_before_the_end_is_no_login() {
    for (way, oauth, challenges) in WAYS {
        // Instead of the challenge: the server has not heard all yet, or not proven itself.
        for step in 1..=challenges {
            let sim = sim(Persona::Dovecot, Tls::None).await;
            offer(&sim, way, false);
            let mut client = Client::open(&sim, Tls::None, oauth).await;
            sim.fault(Place::Challenge(step), Fault::Tagged("OK Welcome.".to_owned()));
            let error = client.login(secret(oauth)).await.expect_err("no login");
            assert!(matches!(error, Error::Protocol(_)), "{way} {step}: {error:?}");
            let again = client.login(secret(oauth)).await.expect_err("of no more use");
            assert!(matches!(again, Error::Desynchronised), "{way} {step}: {again:?}");
        }
    }
    // To another command than this one.
    let confused = sim(Persona::Dovecot, Tls::None).await;
    let mut client = Client::open(&confused, Tls::None, false).await;
    let other = b"P9 OK [CAPABILITY IMAP4rev1] Welcome.\r\n".to_vec();
    confused.fault(Place::Login, Fault::RawThenStall(other));
    let error = client.login(PASSWORD).await.expect_err("no login");
    assert!(matches!(error, Error::Protocol("an unknown tag")), "{error:?}");
    // Behind a word against the token as well.
    let sim = sim(Persona::Dovecot, Tls::None).await;
    offer(&sim, "AUTHENTICATE XOAUTH2", true);
    let mut client = Client::open(&sim, Tls::None, true).await;
    sim.fault(Place::Login, Fault::Raw(b"+ e30=\r\nP0 OK Welcome.\r\n".to_vec()));
    let error = client.login(TOKEN).await.expect_err("no login");
    assert!(matches!(error, Error::Protocol(_)), "{error:?}");
}

#[tokio::test]
async fn challenges_that_make_no_sense_end_the_connection() {
    let long = [b"+ ", &[b'A'; 9000][..], b"\r\n"].concat();
    let endless = b"+ \r\n".repeat(9);
    for (way, oauth, step) in [
        ("AUTHENTICATE SCRAM-SHA-256", false, Place::Challenge(1)),
        ("AUTHENTICATE SCRAM-SHA-256", false, Place::Challenge(2)),
        ("AUTHENTICATE XOAUTH2", true, Place::Login),
        ("AUTHENTICATE OAUTHBEARER", true, Place::Login),
    ] {
        for garbage in [&b"+ %%%\r\n"[..], b"+ A\r\n", b"+ cj1hYmMs\r\n", &long, &endless] {
            // Of a token's error any JSON or none at all is taken.
            if oauth && garbage == b"+ cj1hYmMs\r\n" {
                continue;
            }
            let sim = sim(Persona::Dovecot, Tls::None).await;
            offer(&sim, way, true);
            let mut client = Client::open(&sim, Tls::None, oauth).await;
            sim.fault(step, Fault::RawThenStall(garbage.to_vec()));
            let error = client.login(secret(oauth)).await.expect_err("no login");
            assert!(matches!(error, Error::Protocol(_)), "{way} {step:?}: {error:?}");
        }
    }
}

#[tokio::test]
async fn a_server_that_cannot_prove_itself_is_left() {
    let sim = sim(Persona::Dovecot, Tls::None).await;
    offer(&sim, "AUTHENTICATE SCRAM-SHA-256", true);
    let mut client = Client::open(&sim, Tls::None, false).await;
    sim.fault(Place::Login, Fault::WrongSignature);
    let error = client.login(PASSWORD).await.expect_err("no login");
    assert!(error.to_string().contains("does not know the password"), "{error}");
    assert_eq!(sim.logins(), 0);
}

#[tokio::test]
async fn words_in_a_first_prompt_do_no_harm() {
    for (way, oauth, _) in WAYS {
        let sim = sim(Persona::Dovecot, Tls::None).await;
        offer(&sim, way, false);
        let mut client = Client::open(&sim, Tls::None, oauth).await;
        // What follows never comes: it is enough that the first message is sent.
        sim.fault(
            Place::Challenge(1),
            Fault::Raw(b"+ Go ahead, please\r\nP0 NO [UNAVAILABLE] Later.\r\n".to_vec()),
        );
        let status = refusal(client.login(secret(oauth)).await);
        assert_eq!(status.code, Some(Code::Unavailable), "{way}");
    }
}

async fn bridge(sim: &Server, lines: &str) -> Local {
    let settings = Settings::new(format!("imap://{}", sim.address())).with("upstream.home", lines);
    Local::start(&settings).await
}

/// The answer to PASS.
async fn pass(bridge: &Local, secret: &str) -> String {
    let mut client = Pop3::connect(bridge.address()).await;
    client.ok("USER alice").await;
    client.command(&format!("PASS {secret}")).await
}

#[tokio::test]
async fn a_program_may_give_a_token() {
    let sim = sim(Persona::Gmail, Tls::None).await;
    let bridge = bridge(&sim, "authentication = \"oauth2\"").await;
    let answer = pass(&bridge, "expired").await;
    let words = "of the access token it says 400; it wants one for https://mail.google.com/";
    assert!(answer.starts_with("-ERR [AUTH] ") && answer.ends_with(words), "{answer}");
    let answer = pass(&bridge, TOKEN).await;
    assert!(answer.starts_with("+OK 1 messages"), "{answer}");
    sim.set_token("alice", "t2");
    let answer = pass(&bridge, "t2").await;
    assert!(answer.starts_with("+OK 1 messages"), "{answer}");
    sim.adjust(|traits| traits.token_error = Some("{\"status\":\"500\"}"));
    let answer = pass(&bridge, "t1").await;
    assert!(answer.starts_with("-ERR [SYS/TEMP] "), "{answer}");
}

#[tokio::test]
async fn a_device_is_served_by_a_program_that_keeps_tokens_fresh() {
    let sim = sim(Persona::Microsoft365, Tls::None).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("token");
    let hash = PasswordHash::of(&Secret::new(b"d3vice".to_vec())).expect("random numbers");
    let account = format!(
        "login = \"scanner\"\nusername = \"alice\"\npassword_hash = \"{}\"\npassword_command = [\"cat\", {file:?}]",
        hash.as_str()
    );
    let settings = Settings::new(format!("imap://{}", sim.address()))
        .with("upstream.home", "authentication = \"oauth2\"\nkeep_alive = \"0s\"")
        .with("[account]", &account);
    let bridge = Local::start(&settings).await;
    for token in [TOKEN, "the.next-one"] {
        std::fs::write(&file, format!("{token}\n")).expect("a file is written");
        sim.set_token("alice", token);
        let mut client = Pop3::connect(bridge.address()).await;
        client.ok("USER scanner").await;
        assert!(client.command("PASS d3vice").await.starts_with("+OK 1 messages"));
        client.ok("QUIT").await;
    }
    assert_eq!(sim.logins(), 2);
    // The device has given the right password: the token is not its fault.
    sim.set_token("alice", "unknown here");
    let mut client = Pop3::connect(bridge.address()).await;
    client.ok("USER scanner").await;
    let answer = client.command("PASS d3vice").await;
    assert!(answer.starts_with("-ERR [SYS/PERM] "), "{answer}");
    assert_eq!(logins(&sim), vec!["AUTHENTICATE XOAUTH2"; 3]);
}

#[tokio::test]
async fn where_nothing_fits_the_program_is_told_what_to_do() {
    let sim = sim(Persona::Dovecot, Tls::None).await;
    offer(&sim, "AUTHENTICATE XOAUTH2", true);
    let answer = pass(&bridge(&sim, "").await, PASSWORD).await;
    assert!(answer.starts_with("-ERR [SYS/PERM] "), "{answer}");
    assert!(answer.contains("wants OAuth") && answer.contains("authentication = \"oauth2\""), "{answer}");
    offer(&sim, "AUTHENTICATE PLAIN", true);
    let answer = pass(&bridge(&sim, "authentication = \"oauth2\"").await, TOKEN).await;
    assert!(answer.starts_with("-ERR [SYS/PERM] ") && answer.contains("no access token"), "{answer}");
    assert!(logins(&sim).is_empty());
}

#[tokio::test]
async fn nothing_of_a_secret_is_in_the_log() {
    for (way, oauth, _) in WAYS {
        let sim = sim(Persona::Dovecot, Tls::None).await;
        offer(&sim, way, false);
        let authentication = if oauth { "authentication = \"oauth2\"" } else { "" };
        let settings = Settings::new(format!("imap://{}", sim.address()));
        // Blocks while it starts; the simulator has this thread's runtime.
        let settings = settings.with("upstream.home", authentication);
        let mut bridge =
            tokio::task::spawn_blocking(move || Bridge::start(&settings)).await.expect("started");
        for (secret, expected) in [("wr0ng-secret", "-ERR"), (secret(oauth), "+OK")] {
            let mut client = Pop3::connect(bridge.address()).await;
            client.ok("USER alice").await;
            let answer = client.command(&format!("PASS {secret}")).await;
            assert!(answer.starts_with(expected), "{way}: {answer}");
            client.command("QUIT").await;
        }
        let log = tokio::task::spawn_blocking(move || {
            bridge.terminate();
            bridge.log().join("\n")
        });
        let log = log.await.expect("ended");
        assert!(log.contains("login failed"), "{way}: {log}");
        for part in
            ["wr0ng", "s3cret", "t0ken", "d3IwbmctcGVuY2ls", "czNjcmV0", "dDBrZW4", "AGFsaWNl", "biws"]
        {
            assert!(!log.contains(part), "{way}: {part} in {log}");
        }
    }
}
