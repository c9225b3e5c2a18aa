//! IDLE: what is told in it, what is said beside it, and how it ends. Also servers that are full.

mod support;

use std::io::ErrorKind::UnexpectedEof;

use imapsim::{Aside, Fault, Persona, Place, Server, WhenFull};
use support::{Client, start};

async fn idle(server: &Server) -> Client {
    let mut client = Client::selected(server).await;
    client.send("i IDLE\r\n").await;
    assert_eq!(client.until("\r\n").await, "+ idling\r\n");
    client
}

#[tokio::test]
async fn what_a_server_does_by_itself() {
    let server = start(Persona::Dovecot).await;
    let mut client = idle(&server).await;
    assert_eq!(server.idling(), 1);
    server.while_idle(Aside::Line("* OK Still here".to_owned()));
    assert_eq!(client.until("\r\n").await, "* OK Still here\r\n");
    server.while_idle(Aside::End);
    assert_eq!(client.until("\r\n").await, "i OK Idle ended.\r\n");
    assert_eq!(server.idling(), 0);
    assert!(client.run("NOOP").await.starts_with("t OK"));
    client.send("i IDLE\r\n").await;
    client.until("\r\n").await;
    server.while_idle(Aside::Bye);
    assert!(client.rest().await.starts_with("* BYE "));
    let mut client = idle(&server).await;
    server.while_idle(Aside::Cut);
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_mute_server_tells_nothing_until_it_is_asked() {
    let server = start(Persona::Dovecot).await;
    server.adjust(|traits| traits.mute_idle = true);
    let mut client = idle(&server).await;
    server.append("alice", "INBOX", b"Subject: a\r\n\r\n", &[]);
    client.send("DONE\r\n").await;
    assert_eq!(client.until("\r\n").await, "i OK Idle completed.\r\n");
    assert!(client.run("NOOP").await.starts_with("* 1 EXISTS\r\n"));
}

#[tokio::test]
async fn done_has_faults_of_its_own() {
    for (fault, answer) in [
        (Fault::No(None), "i NO Refused.\r\n"),
        (Fault::Bad, "i BAD Refused.\r\n"),
        (Fault::Raw(b"* OK hm\r\n".to_vec()), "* OK hm\r\n"),
    ] {
        let server = start(Persona::Dovecot).await;
        server.fault(Place::Done, fault);
        let mut client = idle(&server).await;
        assert_eq!(server.faults_left(), 1);
        client.send("DONE\r\nn NOOP\r\n").await;
        assert_eq!(client.until("\r\n").await, answer);
        if answer.starts_with("i ") {
            assert_eq!(client.until("\r\n").await, "n OK NOOP completed.\r\n");
        } else {
            assert_eq!(client.rest().await, "");
        }
    }
}

#[tokio::test]
async fn a_full_server() {
    let server = start(Persona::Dovecot).await;
    let mut first = Client::selected(&server).await;
    server.adjust(|traits| traits.most_connections = 1);
    assert!(first.run("NOOP").await.starts_with("t OK"));
    let mut second = Client::connect(&server).await;
    assert_eq!(second.rest().await, "");
    server.adjust(|traits| traits.when_full = WhenFull::Close);
    let mut stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    assert_eq!(tokio::io::AsyncReadExt::read_u8(&mut stream).await.unwrap_err().kind(), UnexpectedEof);
    server.adjust(|traits| traits.when_full = WhenFull::Refuse("[LIMIT] Too many."));
    let mut third = Client::connect(&server).await;
    assert_eq!(third.run("LOGIN alice secret").await, "t NO [LIMIT] Too many.\r\n");
    assert!(third.run("LOGIN alice wrong").await.starts_with("t NO [AUTHENTICATIONFAILED]"));
}
