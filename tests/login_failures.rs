//! A login that cannot succeed says why by its code: `[AUTH]` for the password, `[SYS/TEMP]` for
//! an outage, and never a shorter maildrop.

mod support;

use imapsim::{Fault, Place, Server};
use support::bridge::Settings;
use support::dovecot::PASSWORD;
use support::local::Local;
use support::pop3::Pop3;

async fn sim() -> Server {
    let sim = Server::builder().user("alice", PASSWORD).start().await.expect("the simulator starts");
    for index in 0..5 {
        sim.append("alice", "INBOX", format!("Subject: {index}\r\n\r\n{index}\r\n").as_bytes(), &[]);
    }
    sim
}

async fn bridge(sim: &Server) -> Local {
    let settings = Settings::new(format!("imap://{}", sim.address()));
    Local::start(&settings.with("upstream.home", "timeout = \"500ms\"\nrecovery = \"500ms\"")).await
}

/// The answer to PASS.
async fn login(bridge: &Local, password: &str) -> String {
    let mut client = Pop3::connect(bridge.address()).await;
    client.ok("USER alice").await;
    client.command(&format!("PASS {password}")).await
}

#[tokio::test]
async fn a_wrong_password_is_auth() {
    let sim = sim().await;
    let bridge = bridge(&sim).await;
    let answer = login(&bridge, "wrong").await;
    assert!(answer.starts_with("-ERR [AUTH] Authentication failed"), "{answer}");
}

#[tokio::test]
async fn an_upstream_that_is_down_is_temporary() {
    let sim = sim().await;
    let bridge = bridge(&sim).await;
    sim.refuse(true);
    let answer = login(&bridge, PASSWORD).await;
    assert!(answer.starts_with("-ERR [SYS/TEMP]"), "{answer}");
    sim.refuse(false);
    assert!(login(&bridge, PASSWORD).await.starts_with("+OK 5 messages"));
    sim.stop();
    let answer = login(&bridge, PASSWORD).await;
    assert!(answer.starts_with("-ERR [SYS/TEMP]"), "{answer}");
}

#[tokio::test]
async fn an_outage_at_any_step_is_temporary() {
    for place in [Place::Greeting, Place::Login, Place::Select, Place::Fetch(1)] {
        for fault in [
            Fault::Eof,
            Fault::Bye,
            Fault::Stall,
            Fault::No(Some("UNAVAILABLE")),
            Fault::No(Some("SERVERBUG")),
            Fault::No(Some("LIMIT")),
            Fault::Bad,
        ] {
            let no_answer = matches!(fault, Fault::No(_) | Fault::Bad);
            if matches!(place, Place::Greeting) && no_answer {
                continue;
            }
            let sim = sim().await;
            let bridge = bridge(&sim).await;
            sim.fault(place, fault.clone());
            let answer = login(&bridge, PASSWORD).await;
            assert!(answer.starts_with("-ERR [SYS/TEMP]"), "{place:?} {fault:?}: {answer}");
            let answer = login(&bridge, PASSWORD).await;
            assert!(answer.starts_with("+OK 5 messages"), "{place:?} {fault:?}, then: {answer}");
        }
    }
}

#[tokio::test]
async fn a_listing_cut_short_is_no_shorter_maildrop() {
    for fault in [Fault::MissingRow, Fault::NoAfterRows(2), Fault::EofAfterRows(2), Fault::EofAfterRows(0)] {
        let sim = sim().await;
        let bridge = bridge(&sim).await;
        sim.fault_times(Place::Fetch(0), fault.clone(), usize::MAX);
        let answer = login(&bridge, PASSWORD).await;
        assert!(answer.starts_with("-ERR [SYS/TEMP]"), "{fault:?}: {answer}");
        sim.clear_faults();
        let answer = login(&bridge, PASSWORD).await;
        assert!(answer.starts_with("+OK 5 messages"), "{fault:?}, then: {answer}");
    }
}

#[tokio::test]
async fn a_row_that_was_left_out_once_is_asked_for_again() {
    let sim = sim().await;
    let bridge = bridge(&sim).await;
    sim.fault(Place::Fetch(1), Fault::MissingRow);
    let answer = login(&bridge, PASSWORD).await;
    assert!(answer.starts_with("+OK 5 messages"), "{answer}");
    let listings = sim.commands().iter().filter(|command| command.contains("RFC822.SIZE")).count();
    assert_eq!(listings, 2);
}

#[tokio::test]
async fn what_another_client_does_meanwhile_is_no_failure() {
    let sim = sim().await;
    let bridge = bridge(&sim).await;
    sim.fault(Place::Fetch(1), Fault::UnsolicitedExpunge);
    let answer = login(&bridge, PASSWORD).await;
    assert!(answer.starts_with("+OK 4 messages") || answer.starts_with("+OK 5 messages"), "{answer}");
}
