//! Access tokens and SCRAM at a real Dovecot, each mechanism by itself, and its words about a token
//! that it refuses.

mod support;

use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use popbridge::config::{Config, Upstream};
use popbridge::secret::Secret;
use popbridge::upstream::{Connector, Error, Imap, Status};
use support::bridge::{Bridge, Settings};
use support::dovecot::{Dovecot, Options, PASSWORD};
use support::jwt::Issuer;
use support::pop3::Pop3;
use support::process;

/// Of curl(1).
const LOGIN_REFUSED: Option<i32> = Some(67);
/// An hour, in seconds.
const HOUR: i64 = 3600;

fn upstream(dovecot: &Dovecot, authentication: &str) -> Arc<Upstream> {
    let text = format!("[upstream.x]\nurl = \"{}\"\nauthentication = \"{authentication}\"\n", dovecot.url());
    let config = Config::parse(&text, "test", std::path::Path::new(".")).expect("a good configuration");
    Arc::clone(&config.upstreams[0])
}

async fn login(upstream: &Arc<Upstream>, user: &str, secret: &str) -> Result<Imap, Error> {
    let connector = Connector::new(Arc::clone(upstream)).expect("a usable upstream");
    let mut imap = Imap::open(&connector).await.expect("connected");
    imap.login(user, &upstream.credential(Secret::new(secret.as_bytes().to_vec()))).await?;
    Ok(imap)
}

fn refusal(result: Result<Imap, Error>) -> Status {
    match result {
        Err(Error::Login(status)) => status,
        Err(error) => panic!("no refused login: {error}"),
        Ok(_) => panic!("let in"),
    }
}

fn mechanism(imap: &Imap) -> String {
    imap.mechanism().map(|mechanism| mechanism.to_string()).expect("logged in")
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn tokens_by_either_mechanism() {
    let issuer = Issuer::new();
    for (offered, expected) in
        [("oauthbearer xoauth2", "OAUTHBEARER"), ("xoauth2", "XOAUTH2"), ("oauthbearer", "OAUTHBEARER")]
    {
        for initial in [true, false] {
            let extra = format!("{}auth_mechanisms = plain {offered}\n", issuer.dovecot());
            // Without SASL-IR every message waits to be asked for.
            let plain = "IMAP4rev1 LITERAL+ UIDPLUS MOVE IDLE";
            let capability = (!initial).then_some(plain);
            let dovecot = Dovecot::start(&Options { extra: &extra, capability, ..Options::default() });
            let upstream = upstream(&dovecot, "oauth2");
            let good = issuer.token("alice", HOUR);
            let imap = login(&upstream, "alice", &good).await;
            let imap = imap.unwrap_or_else(|error| panic!("{offered}: {error}\n{}", dovecot.log()));
            assert_eq!(mechanism(&imap), format!("AUTHENTICATE {expected}"));
            imap.logout().await;

            let expired = issuer.token("alice", -HOUR);
            for wrong in [expired.as_str(), &issuer.token("bob", HOUR), "garbage", &good[..good.len() - 4]] {
                let status = refusal(login(&upstream, "alice", wrong).await);
                assert!(status.rejects_credentials(), "{offered} {initial}: {status:?}\n{}", dovecot.log());
                assert!(status.text.contains("of the access token it says "), "{status}");
            }
        }
    }
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn a_token_that_cannot_be_checked_is_not_refused() {
    let issuer = Issuer::unreachable();
    for mechanism in ["xoauth2", "oauthbearer"] {
        let extra = format!("{}auth_mechanisms = plain {mechanism}\n", issuer.dovecot());
        let dovecot = Dovecot::start(&Options { extra: &extra, ..Options::default() });
        let token = issuer.token("alice", HOUR);
        let status = refusal(login(&upstream(&dovecot, "oauth2"), "alice", &token).await);
        assert!(!status.rejects_credentials(), "{mechanism}: {status:?}\n{}", dovecot.log());
    }
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn scram_proves_both_sides() {
    let issuer = Issuer::new();
    let dovecot = Dovecot::start(&Options { extra: &issuer.dovecot(), ..Options::default() });
    let upstream = upstream(&dovecot, "password");
    let imap = login(&upstream, "alice", PASSWORD).await;
    let imap = imap.unwrap_or_else(|error| panic!("{error}\n{}", dovecot.log()));
    assert_eq!(mechanism(&imap), "AUTHENTICATE SCRAM-SHA-256");
    imap.logout().await;
    let status = refusal(login(&upstream, "alice", "wrong").await);
    assert!(status.rejects_credentials(), "{status:?}\n{}", dovecot.log());
    // The right one, but nothing that SCRAM is tried with.
    let status = refusal(login(&upstream, "alice", "sécret").await);
    assert!(status.rejects_credentials(), "{status:?}\n{}", dovecot.log());
    assert!(dovecot.log().contains("method=SCRAM-SHA-256"), "{}", dovecot.log());
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn authenticate_login_where_nothing_else_is_offered() {
    let extra = "auth_mechanisms = login\nimap_capability = IMAP4rev1 SASL-IR LOGINDISABLED UIDPLUS\n";
    let dovecot = Dovecot::start(&Options { extra, ..Options::default() });
    let upstream = upstream(&dovecot, "password");
    let imap = login(&upstream, "alice", PASSWORD).await;
    let imap = imap.unwrap_or_else(|error| panic!("{error}\n{}", dovecot.log()));
    assert_eq!(mechanism(&imap), "AUTHENTICATE LOGIN");
    imap.logout().await;
    assert!(refusal(login(&upstream, "alice", "wrong").await).rejects_credentials());
}

/// alice's first message by curl, with a token of her own.
fn curl(bridge: &Bridge, mechanism: &str, token: &str) -> Output {
    let mut command = Command::new(process::require("curl", "curl"));
    command
        .args(["--silent", "--show-error", "--noproxy", "*", "--user", "alice:", "--oauth2-bearer", token])
        .args(["--login-options", &format!("AUTH={mechanism}"), &format!("pop3://{}/1", bridge.address())]);
    process::run(&mut command, Duration::from_secs(60))
}

#[test]
#[ignore = "needs Dovecot and curl; .ci/run runs it"]
fn a_program_reads_its_mail_with_a_token() {
    let issuer = Issuer::new();
    let dovecot = Dovecot::start(&Options { extra: &issuer.dovecot(), ..Options::default() });
    dovecot.append("alice", "INBOX", b"Subject: hello\r\n\r\nhi\r\n", "");
    let settings = Settings::new(dovecot.url()).with("upstream.home", "authentication = \"oauth2\"");
    let bridge = Bridge::start(&settings);
    let (good, expired) = (issuer.token("alice", HOUR), issuer.token("alice", -HOUR));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut client = Pop3::connect(bridge.address()).await;
        client.ok("USER alice").await;
        let answer = client.command(&format!("PASS {expired}")).await;
        assert!(answer.starts_with("-ERR [AUTH] Authentication failed"), "{answer}");
        client.ok("USER alice").await;
        let answer = client.command(&format!("PASS {good}")).await;
        assert!(answer.starts_with("+OK 1 messages"), "{answer}");
        client.ok("QUIT").await;
    });
    for mechanism in ["XOAUTH2", "OAUTHBEARER"] {
        for (token, expected) in [(&good, Some(0)), (&expired, LOGIN_REFUSED)] {
            let output = curl(&bridge, mechanism, token);
            assert_eq!(output.status.code(), expected, "{mechanism}: {output:?}");
            let fetched = output.stdout.as_slice() == b"Subject: hello\r\n\r\nhi\r\n";
            assert_eq!(fetched, output.status.success(), "{mechanism}");
        }
    }
    let report = bridge.run(&["check", "--login", "alice"], Some(&good));
    let report = String::from_utf8_lossy(&report.stdout).into_owned();
    assert!(report.contains("a login would go by AUTHENTICATE OAUTHBEARER"), "{report}");
    assert!(report.contains("alice: good\n  by AUTHENTICATE OAUTHBEARER"), "{report}");
    let log = bridge.log().join("\n");
    for token in [&good, &expired] {
        for part in token.split('.').skip(1) {
            assert!(!log.contains(part) && !report.contains(part), "{log}");
        }
    }
}
