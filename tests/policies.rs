//! What DELE and QUIT do to the mailbox, and what is refused rather than approximated.

mod support;

use imapsim::{Fault, Persona, Place, Server};
use support::bridge::Settings;
use support::dovecot::PASSWORD;
use support::local::Local;
use support::pop3::Pop3;

async fn sim(persona: Persona, messages: usize) -> Server {
    let sim = Server::builder().persona(persona).user("alice", PASSWORD).start().await;
    let sim = sim.expect("the simulator starts");
    for index in 0..messages {
        sim.append("alice", "INBOX", format!("Subject: {index}\r\n\r\n{index}\r\n").as_bytes(), &[]);
    }
    sim
}

fn settings(sim: &Server, on_delete: &str) -> Settings {
    Settings::new(format!("imap://{}", sim.address()))
        .with("maildrop", &format!("on_delete = \"{on_delete}\""))
}

async fn login(bridge: &Local) -> Pop3 {
    let mut client = Pop3::connect(bridge.address()).await;
    client.login("alice").await;
    client
}

fn uids(sim: &Server) -> Vec<u32> {
    sim.messages("alice", "INBOX").iter().map(|message| message.uid).collect()
}

#[tokio::test]
async fn hidden_messages_stay_on_the_server_over_restarts() {
    let sim = sim(Persona::Dovecot, 4).await;
    let bridge = Local::start(&settings(&sim, "hide")).await;
    let mut client = login(&bridge).await;
    client.ok("DELE 2").await;
    client.quit().await;
    let folder = bridge.stop().await;
    sim.append("alice", "INBOX", b"Subject: new\r\n\r\n", &[]);
    let bridge = Local::start_in(&settings(&sim, "hide"), folder).await;
    let mut client = login(&bridge).await;
    assert_eq!(client.list().await.len(), 4);
    assert!(client.retr(2).await.starts_with(b"Subject: 2"));
    client.quit().await;
    assert_eq!(uids(&sim), [1, 2, 3, 4, 5]);
    assert!(!sim.commands().iter().any(|command| command.contains("Deleted")));
}

#[tokio::test]
async fn expunge_leaves_what_others_flagged() {
    for persona in [Persona::Dovecot, Persona::Cyrus, Persona::WildDuck] {
        let sim = sim(persona, 5).await;
        let bridge = Local::start(&settings(&sim, "expunge")).await;
        let mut client = login(&bridge).await;
        if persona != Persona::WildDuck {
            // WildDuck expunges by itself whatever is flagged.
            sim.set_flags("alice", "INBOX", 1, &["\\Deleted"]);
        }
        for number in [2, 4] {
            client.ok(&format!("DELE {number}")).await;
        }
        client.quit().await;
        assert_eq!(uids(&sim), [1, 3, 5], "{persona:?}");
        assert!(!sim.commands().iter().any(|command| command.ends_with(" EXPUNGE")), "{persona:?}");
    }
}

#[tokio::test]
async fn what_has_gone_already_counts_as_removed_and_hits_nothing_else() {
    for persona in [Persona::Dovecot, Persona::Cyrus] {
        let sim = sim(persona, 4).await;
        let bridge = Local::start(&settings(&sim, "expunge")).await;
        let mut client = login(&bridge).await;
        client.ok("DELE 1").await;
        client.ok("DELE 2").await;
        sim.remove("alice", "INBOX", 1);
        client.quit().await;
        assert_eq!(uids(&sim), [3, 4], "{persona:?}");
    }
}

#[tokio::test]
async fn a_flag_for_what_has_gone_hits_nothing_else() {
    // imap4d takes the neighbour of a UID that is no longer there.
    for persona in [Persona::Imap4d, Persona::Dovecot, Persona::Courier] {
        let sim = sim(persona, 4).await;
        let bridge = Local::start(&settings(&sim, "flag")).await;
        let mut client = login(&bridge).await;
        client.ok("DELE 2").await;
        client.ok("DELE 4").await;
        sim.remove("alice", "INBOX", 2);
        client.quit().await;
        let flagged = sim.messages("alice", "INBOX").into_iter();
        let flagged: Vec<u32> = flagged
            .filter(|message| message.flags.contains("\\Deleted"))
            .map(|message| message.uid)
            .collect();
        assert_eq!(flagged, [4], "{persona:?}");
    }
}

#[tokio::test]
async fn half_a_removal_is_said_to_be_half() {
    for fault in [Fault::No(None), Fault::Bad, Fault::Eof, Fault::EofAfterAction] {
        let done = matches!(fault, Fault::EofAfterAction);
        let sim = sim(Persona::Dovecot, 3).await;
        let bridge = Local::start(&settings(&sim, "expunge")).await;
        let mut client = login(&bridge).await;
        client.ok("DELE 2").await;
        sim.fault(Place::Expunge, fault.clone());
        let answer = client.err("QUIT").await;
        assert!(answer.contains("some deleted messages not removed"), "{answer}");
        let expected = if done { "1 of 1" } else { "0 of 1" };
        assert!(answer.contains(expected), "{fault:?}: {answer}");
        let left: &[u32] = if done { &[1, 3] } else { &[1, 2, 3] };
        assert_eq!(uids(&sim), left, "{fault:?}");
    }
}

#[tokio::test]
async fn expunge_is_refused_where_it_cannot_be_done() {
    for read_only in [false, true] {
        let sim = sim(Persona::Dovecot, 1).await;
        if read_only {
            sim.set_read_only("alice", "INBOX", true);
        } else {
            sim.set_capability("UIDPLUS", false);
        }
        let bridge = Local::start(&settings(&sim, "expunge")).await;
        let mut client = Pop3::connect(bridge.address()).await;
        client.ok("USER alice").await;
        let refused = client.err(&format!("PASS {PASSWORD}")).await;
        assert!(refused.starts_with("-ERR [SYS/PERM]"), "{refused}");
        assert!(refused.contains("hide"), "it names the way out: {refused}");
        // The lock is free again.
        client.ok("USER alice").await;
        client.err(&format!("PASS {PASSWORD}")).await;
        let bridge = Local::start(&settings(&sim, "hide")).await;
        let mut client = login(&bridge).await;
        client.retr(1).await;
        client.ok("DELE 1").await;
        client.quit().await;
    }
}

#[tokio::test]
async fn a_changed_uidvalidity_deletes_nothing() {
    let sim = sim(Persona::Dovecot, 3).await;
    let bridge = Local::start(&settings(&sim, "expunge")).await;
    let mut client = login(&bridge).await;
    client.ok("DELE 1").await;
    sim.change_uid_validity("alice", "INBOX");
    let refused = client.err("RETR 2").await;
    assert!(refused.starts_with("-ERR [SYS/TEMP]"), "{refused}");
    let refused = client.err("QUIT").await;
    assert!(refused.starts_with("-ERR [SYS/TEMP]"), "{refused}");
    assert_eq!(sim.messages("alice", "INBOX").len(), 3);
    assert!(sim.messages("alice", "INBOX").iter().all(|message| message.flags.is_empty()));
}

#[tokio::test]
async fn a_database_that_cannot_be_written_is_no_ok_to_hide() {
    locked_database("hide").await;
}

#[tokio::test]
async fn a_database_that_cannot_be_written_is_no_ok_to_remove() {
    locked_database("expunge").await;
}

async fn locked_database(on_delete: &str) {
    use sqlx::Connection;
    let sim = sim(Persona::Dovecot, 2).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("popbridge.db");
    let bridge = Local::start_in(&settings(&sim, on_delete), folder).await;
    let mut client = login(&bridge).await;
    client.ok("DELE 1").await;
    // Another program holds the database for longer than the bridge waits.
    let mut other = sqlx::SqliteConnection::connect(&path.display().to_string()).await.expect("it opens");
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.expect("held");
    let refused = client.err("QUIT").await;
    assert!(refused.starts_with("-ERR [SYS/TEMP] some deleted messages not removed: 0 of 1"), "{refused}");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.expect("let go");
    assert_eq!(uids(&sim), [1, 2], "nothing is removed that is not in the journal");
    let mut client = login(&bridge).await;
    assert_eq!(client.list().await.len(), 2);
    client.quit().await;
}

#[tokio::test]
async fn top_leaves_seen_alone_until_the_message_is_deleted() {
    let sim = sim(Persona::Dovecot, 4).await;
    let bridge = Local::start(&settings(&sim, "hide")).await;
    let mut client = login(&bridge).await;
    for number in 1..=3 {
        client.top(number, 99_999_999).await;
    }
    client.top(4, 0).await;
    client.ok("DELE 2").await;
    client.ok("DELE 4").await;
    client.abort();
    let mut client = login(&bridge).await;
    client.top(1, 99_999_999).await;
    client.top(2, 99_999_999).await;
    client.top(3, 0).await;
    client.ok("DELE 2").await;
    client.ok("DELE 3").await;
    client.quit().await;
    bridge.stop().await;
    let seen: Vec<bool> =
        sim.messages("alice", "INBOX").iter().map(|message| message.flags.contains("\\Seen")).collect();
    assert_eq!(seen, [false, true, false, false], "only what was sent whole and confirmed as deleted");
}

#[tokio::test]
async fn an_account_has_a_name_and_a_policy_of_its_own() {
    let sim = sim(Persona::Dovecot, 3).await;
    let account = "login = \"scanner\"\nusername = \"alice\"\nmaildrop = { on_delete = \"expunge\" }";
    let bridge = Local::start(&settings(&sim, "hide").with("[account]", account)).await;
    for (login, left) in [("alice", 3), ("scanner", 2)] {
        let mut client = Pop3::connect(bridge.address()).await;
        client.login(login).await;
        client.ok("DELE 1").await;
        client.quit().await;
        assert_eq!(uids(&sim).len(), left, "{login}");
    }
    // What one login hid is not hidden from the other.
    assert_eq!(uids(&sim), [2, 3]);
}

#[tokio::test]
async fn trash_archive_and_flag_are_carried_out() {
    for (on_delete, target) in [("trash", Some("Trash")), ("archive", Some("Archive")), ("flag", None)] {
        for without_move in [false, true] {
            let sim = sim(Persona::Dovecot, 5).await;
            sim.create("alice", "Archive", Some("\\Archive"));
            sim.set_capability("MOVE", !without_move);
            sim.set_flags("alice", "INBOX", 3, &["\\Deleted"]);
            let bridge = Local::start(&settings(&sim, on_delete)).await;
            let mut client = login(&bridge).await;
            let ids = client.uidl().await;
            client.ok("DELE 2").await;
            client.ok("DELE 4").await;
            client.quit().await;
            let bodies = |folder: &str| {
                let messages = sim.messages("alice", folder).into_iter();
                messages.map(|message| message.body[9] - b'0').collect::<Vec<u8>>()
            };
            match target {
                Some(target) => {
                    assert_eq!((bodies("INBOX"), bodies(target)), (vec![0, 2, 4], vec![1, 3]), "{on_delete}");
                }
                None => {
                    let inbox = sim.messages("alice", "INBOX");
                    let flagged = inbox.iter().filter(|message| message.flags.contains("\\Deleted"));
                    assert_eq!(flagged.map(|message| message.uid).collect::<Vec<u32>>(), [2, 3, 4]);
                }
            }
            let mut client = login(&bridge).await;
            let left: Vec<String> = client.uidl().await.into_iter().map(|(_, id)| id).collect();
            assert_eq!(left, [0, 2, 4].map(|index: usize| ids[index].1.clone()), "{on_delete}");
            client.quit().await;
        }
    }
}

/// What is not as in the usual mailbox on Dovecot.
type Change = fn(&Server);

#[tokio::test]
async fn what_the_server_cannot_do_is_refused_with_the_reason() {
    let nothing: Change = |_| {};
    let read_only: Change = |sim| sim.set_read_only("alice", "INBOX", true);
    let neither: Change = |sim| {
        sim.set_capability("MOVE", false);
        sim.set_capability("UIDPLUS", false);
    };
    let cases: &[(Persona, Change, &str, &str)] = &[
        (Persona::Dovecot, neither, "on_delete = \"expunge\"", "\"expunge\" needs UIDPLUS"),
        (Persona::Dovecot, neither, "on_delete = \"trash\"", "\"trash\" needs MOVE or UIDPLUS"),
        (
            Persona::Dovecot,
            |sim| sim.create("alice", "Trash", None),
            "on_delete = \"trash\"",
            "names no trash; set trash_folder",
        ),
        (
            Persona::Dovecot,
            nothing,
            "on_delete = \"trash\"\ntrash_folder = \"Nowhere\"",
            "has no folder \"Nowhere\", which trash_folder names",
        ),
        (Persona::Dovecot, nothing, "on_delete = \"archive\"", "names no archive"),
        (
            Persona::Dovecot,
            nothing,
            "on_delete = \"archive\"\narchive_folder = \"Nowhere\"",
            "has no folder \"Nowhere\", which archive_folder names",
        ),
        (Persona::Dovecot, read_only, "on_delete = \"trash\"", "only read"),
        (Persona::Dovecot, read_only, "on_delete = \"flag\"", "only read"),
        (Persona::Dovecot, read_only, "on_delete = \"expunge\"", "only read"),
        (Persona::Gmail, nothing, "on_delete = \"expunge\"", "\"expunge\" only archives"),
        (Persona::Gmail, nothing, "on_delete = \"flag\"", "removes at once what is flagged"),
        (Persona::WildDuck, nothing, "on_delete = \"flag\"", "removes at once what is flagged"),
        (Persona::Dovecot, nothing, "folders = [\"INBOX\", \"Nowhere\"]", "no folder \"Nowhere\""),
        (Persona::Dovecot, nothing, "unique_id = \"gmail\"", "\"gmail\" needs X-GM-EXT-1"),
        (Persona::Dovecot, nothing, "unique_id = \"emailid\"", "\"emailid\" needs OBJECTID"),
    ];
    for (persona, change, lines, words) in cases {
        let sim = sim(*persona, 2).await;
        change(&sim);
        let settings = Settings::new(format!("imap://{}", sim.address())).with("maildrop", lines);
        let bridge = Local::start(&settings).await;
        let mut client = Pop3::connect(bridge.address()).await;
        client.ok("USER alice").await;
        let refused = client.err(&format!("PASS {PASSWORD}")).await;
        assert!(refused.starts_with("-ERR [SYS/PERM]") && refused.contains(words), "{persona:?}: {refused}");
        assert_eq!(uids(&sim), [1, 2]);
    }
}

#[tokio::test]
async fn a_login_to_the_trash_cannot_move_to_the_trash() {
    let sim = sim(Persona::Dovecot, 1).await;
    sim.append("alice", "Trash", b"Subject: thrown away\r\n\r\n", &[]);
    let settings = settings(&sim, "trash").with("upstream.home", "username = \"{local}\"");
    let bridge = Local::start(&settings).await;
    let mut client = Pop3::connect(bridge.address()).await;
    client.ok("USER alice@example.org+Trash").await;
    let refused = client.err(&format!("PASS {PASSWORD}")).await;
    assert!(refused.starts_with("-ERR [SYS/PERM]"), "{refused}");
    assert!(refused.contains("would move messages to the folder that they are in"), "{refused}");
    client.login("alice@example.org").await;
    client.ok("DELE 1").await;
    client.quit().await;
    assert_eq!((uids(&sim).len(), sim.messages("alice", "Trash").len()), (0, 2));
}

#[tokio::test]
async fn a_brake_holds_all_deletions_back() {
    for (key, limit, over) in [("max_deletions", "2", 3), ("max_deletions_share", "\"50%\"", 4)] {
        for on_delete in ["hide", "trash", "expunge"] {
            let sim = sim(Persona::Dovecot, 6).await;
            let settings = settings(&sim, on_delete).with("maildrop", &format!("{key} = {limit}"));
            let bridge = Local::start(&settings).await;
            let mut client = login(&bridge).await;
            for number in 1..=over {
                client.ok(&format!("DELE {number}")).await;
            }
            let refused = client.err("QUIT").await;
            assert!(refused.starts_with("-ERR [SYS/PERM]"), "{refused}");
            assert!(refused.contains(&format!("{over} deletions are over {key} = {limit}; none was done")));
            assert_eq!(uids(&sim), [1, 2, 3, 4, 5, 6]);
            let mut client = login(&bridge).await;
            assert_eq!(client.list().await.len(), 6, "all are there again");
            for number in 1..over {
                client.ok(&format!("DELE {number}")).await;
            }
            client.quit().await;
            let mut client = login(&bridge).await;
            assert_eq!(client.list().await.len(), 6 + 1 - over);
            client.quit().await;
        }
    }
}
