//! Each persona's oddity, and TLS.

mod support;

use std::sync::Arc;

use imapsim::{Persona, Tls};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use support::{Client, builder, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

const MAIL: &[u8] = b"Subject: a\n\nbody\n";

#[tokio::test]
async fn every_persona_lets_a_plain_client_read() {
    for persona in Persona::ALL {
        let server = start(persona).await;
        server.append("alice", "INBOX", MAIL, &[]);
        let mut client = Client::connect(&server).await;
        let answer = client.run("LOGIN alice wrong").await;
        assert!(answer.starts_with("t NO "), "{persona:?}");
        client.run("LOGIN alice secret").await;
        let answer = client.run("SELECT INBOX").await;
        assert!(answer.contains("* 1 EXISTS"), "{persona:?} {answer}");
        let answer = client.run("UID FETCH 1:* (UID BODY.PEEK[])").await;
        assert!(answer.contains("Subject: a") && answer.contains("t OK "), "{persona:?} {answer}");
        assert!(client.run("LOGOUT").await.starts_with("* BYE "), "{persona:?}");
    }
}

#[tokio::test]
async fn gmail_expunges_by_itself_and_archives() {
    let server = start(Persona::Gmail).await;
    server.append("alice", "INBOX", MAIL, &[]);
    server.append("alice", "INBOX", MAIL, &[]);
    let mut client = Client::selected(&server).await;
    let answer = client.run("UID STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    assert!(answer.contains("* 1 EXPUNGE\r\n"), "{answer}");
    assert_eq!(server.messages("alice", "[Gmail]/All Mail").len(), 1);
    client.run("UID MOVE 2 [Gmail]/Trash").await;
    assert_eq!(server.messages("alice", "[Gmail]/Trash").len(), 1);
    assert!(server.messages("alice", "INBOX").is_empty());
    assert!(
        client.run("LIST \"\" \"*\"").await.contains("(\\HasNoChildren \\Trash) \"/\" \"[Gmail]/Trash\"")
    );
    assert!(client.run("SELECT [Gmail]").await.contains("t NO "));
}

#[tokio::test]
async fn courier_loses_what_follows_login() {
    let server = start(Persona::Courier).await;
    let mut client = Client::connect(&server).await;
    client.send("1 LOGIN alice secret\r\n2 NOOP\r\n").await;
    client.tagged("1").await;
    assert!(client.is_silent().await);
    let answer = client.run("SELECT INBOX").await;
    assert!(!answer.contains("UIDNEXT") && answer.contains("UIDVALIDITY"), "{answer}");
    assert!(client.run("UID MOVE 1 INBOX.Trash").await.starts_with("t BAD "));
    assert!(client.run("UID SEARCH RETURN () ALL").await.starts_with("t BAD "));
    assert!(client.run("UNSELECT").await.starts_with("t BAD "));
}

#[tokio::test]
async fn oddities_of_fetch() {
    let mut rows = Vec::new();
    for persona in [Persona::Pymap, Persona::Microsoft365, Persona::HMailServer, Persona::ProtonBridge] {
        let server = start(persona).await;
        server.append("alice", "INBOX", MAIL, &[]);
        let mut client = Client::selected(&server).await;
        rows.push(client.run("UID FETCH 1 (UID RFC822.SIZE BODY.PEEK[])").await);
    }
    assert!(rows[0].contains("(UID 1 RFC822.SIZE 17 BODY[] {17}\r\nSubject: a\n\nbody\n)"), "{}", rows[0]);
    assert!(
        rows[1].contains("(BODY[] {20}\r\n") && rows[1].contains("\r\n RFC822.SIZE 20 UID 1)"),
        "{}",
        rows[1]
    );
    assert!(rows[2].contains("RFC822.SIZE 3 ") && rows[3].contains("RFC822.SIZE 17 BODY[] {20}"));

    let server = start(Persona::Icloud).await;
    server.append("alice", "INBOX", MAIL, &[]);
    let mut client = Client::selected(&server).await;
    assert_eq!(client.run("FETCH 1 RFC822").await, "t OK Fetch completed.\r\n");
    assert_eq!(client.run("ENABLE UTF8=ACCEPT").await, "t OK Enabled.\r\n");
}

#[tokio::test]
async fn oddities_of_commands() {
    let server = start(Persona::Imap4d).await;
    for _ in 0..3 {
        server.append("alice", "INBOX", MAIL, &[]);
    }
    server.remove("alice", "INBOX", 2);
    let mut client = Client::selected(&server).await;
    client.run("UID STORE 2 +FLAGS (\\Deleted)").await;
    assert!(server.messages("alice", "INBOX")[1].flags.contains("\\Deleted"));

    let server = start(Persona::Pymap).await;
    server.append("alice", "INBOX", MAIL, &[]);
    let mut client = Client::selected(&server).await;
    assert!(client.run("STORE 1 +FLAGS (kw \\Seen)").await.contains("t OK "));
    assert_eq!(server.messages("alice", "INBOX")[0].flags.len(), 1);

    let server = start(Persona::Yahoo).await;
    let mut client = Client::selected(&server).await;
    assert!(client.run("LIST \"\" *").await.contains("\"/\" Inbox\r\n"));
    let long = vec!["1"; 600].join(",");
    assert!(client.run(&format!("UID FETCH {long} UID")).await.starts_with("t BAD "));

    let server = start(Persona::HMailServer).await;
    let mut client = Client::selected(&server).await;
    assert!(client.run("UID FETCH 2:1 UID").await.starts_with("t BAD "));
    assert!(client.run("UID EXPUNGE 1").await.starts_with("t BAD "));
}

#[tokio::test]
async fn capabilities_are_switched() {
    let server = start(Persona::Dovecot).await;
    let mut client = Client::selected(&server).await;
    server.set_capability("MOVE", false);
    assert!(!client.run("CAPABILITY").await.contains(" MOVE"));
    assert!(client.run("UID MOVE 1:* Trash").await.starts_with("t BAD "));
    server.set_persona(Persona::Minimal);
    assert!(client.run("CAPABILITY").await.starts_with("* CAPABILITY IMAP4rev1\r\n"));
    let server = start(Persona::Microsoft365).await;
    server.set_token("alice", "token");
    let mut client = Client::connect(&server).await;
    // user=alice SOH auth=Bearer secret SOH SOH: its password is no token.
    let answer = client.run("AUTHENTICATE XOAUTH2 dXNlcj1hbGljZQFhdXRoPUJlYXJlciBzZWNyZXQBAQ==").await;
    assert_eq!(answer, "t NO LOGIN failed.\r\n");
    server.set_token("alice", "secret");
    // user=alice SOH auth=Bearer secret SOH SOH
    let answer = client.run("AUTHENTICATE XOAUTH2 dXNlcj1hbGljZQFhdXRoPUJlYXJlciBzZWNyZXQBAQ==").await;
    assert!(answer.starts_with("t OK "), "{answer}");
}

#[tokio::test]
async fn tls_of_both_kinds() {
    for tls in [Tls::StartTls, Tls::Implicit] {
        let server = builder(Persona::Dovecot).tls(tls).start().await.unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(server.ca_pem().as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        for name in ["localhost", "127.0.0.1"] {
            let mut stream = TcpStream::connect(server.address()).await.unwrap();
            if tls == Tls::StartTls {
                for (command, part) in [
                    ("", "LOGINDISABLED"),
                    ("t LOGIN alice secret\r\n", "t NO "),
                    ("t STARTTLS\r\n", "t OK "),
                ] {
                    stream.write_all(command.as_bytes()).await.unwrap();
                    let mut got = [0; 1024];
                    let size = stream.read(&mut got).await.unwrap();
                    assert!(String::from_utf8_lossy(&got[..size]).contains(part), "{part}");
                }
            }
            let name = ServerName::try_from(name).unwrap();
            let mut stream = connector.connect(name, stream).await.unwrap();
            stream.write_all(b"1 LOGIN alice secret\r\n2 LOGOUT\r\n").await.unwrap();
            let mut got = String::new();
            stream.read_to_string(&mut got).await.unwrap();
            assert!(got.contains("1 OK ") && got.ends_with("2 OK Logout completed.\r\n"), "{got}");
        }
    }
}
