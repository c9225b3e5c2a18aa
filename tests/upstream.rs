//! The upstream layer against the simulator: folders, transfers, headers, listings, and servers
//! that mean harm.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use imapsim::{Fault, Persona, Place, Server};
use popbridge::config::Config;
use popbridge::ids::Uid;
use popbridge::secret::{Credential, Secret};
use popbridge::upstream::{
    Access, Connector, Error, Extra, FolderName, HeaderRow, Imap, MAX_HEADER, ObjectId, Wanted,
    auto_expunges, expunge_archives, fetch_headers, fetch_object_ids, find_folder, live_uids, scan, select,
    uid_sets,
};

async fn sim(persona: Persona, messages: usize) -> Server {
    let sim = Server::builder().persona(persona).user("alice", "secret").start().await;
    let sim = sim.expect("the simulator starts");
    for index in 0..messages {
        sim.append("alice", "INBOX", format!("Subject: {index}\r\n\r\n{index}\r\n").as_bytes(), &[]);
    }
    sim
}

async fn login(sim: &Server) -> Imap {
    let text = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.sim]\nurl = \"imap://{}\"\ntimeout = \"2s\"\n",
        sim.address()
    );
    let folder = std::path::Path::new(".");
    let config = Config::parse(&text, "test", folder).expect("a good configuration");
    let connector = Connector::new(config.upstreams[0].clone()).expect("a usable upstream");
    let mut imap = Imap::open(&connector).await.expect("connected");
    imap.login("alice", &Credential::Password(Secret::new(b"secret".to_vec()))).await.expect("logged in");
    imap
}

async fn selected(sim: &Server) -> Imap {
    let mut imap = login(sim).await;
    select(&mut imap, &inbox(), Access::ReadWrite).await.expect("selected");
    imap
}

fn inbox() -> FolderName {
    FolderName::new("INBOX")
}

async fn trash(imap: &mut Imap) -> Option<String> {
    let found = find_folder(imap, Wanted::SpecialUse("\\Trash")).await.expect("listed");
    found.map(|name| name.to_string())
}

async fn headers(imap: &mut Imap, set: &str) -> Result<Vec<HeaderRow>, Error> {
    let object_id = ObjectId::of(imap.capabilities());
    let mut rows = Vec::new();
    fetch_headers(imap, set, object_id, &mut |row| rows.push(row)).await?;
    Ok(rows)
}

/// The connection goes on to work.
async fn assert_usable(imap: &mut Imap) {
    assert!(find_folder(imap, Wanted::Named(&inbox())).await.expect("listed").is_some());
}

#[tokio::test]
async fn the_trash_is_found_where_it_is_told() {
    for (persona, expected) in [
        (Persona::Dovecot, Some("Trash")),
        (Persona::Gmail, Some("[Gmail]/Trash")),
        (Persona::Cyrus, Some("Trash")),
        (Persona::WildDuck, Some("Trash")),
        (Persona::Icloud, Some("Deleted Messages")),
        (Persona::Yahoo, Some("Trash")),
        (Persona::Microsoft365, None),
        (Persona::Courier, None),
        (Persona::Minimal, None),
    ] {
        for literals in [false, true] {
            let sim = sim(persona, 0).await;
            sim.adjust(|traits| traits.list_literals = literals);
            assert_eq!(trash(&mut login(&sim).await).await.as_deref(), expected, "{persona:?}");
        }
    }
}

#[tokio::test]
async fn special_uses_are_asked_for_where_that_is_offered() {
    let sim = sim(Persona::Dovecot, 0).await;
    let asked = |sim: &Server| sim.commands().iter().any(|command| command.contains("RETURN"));
    sim.set_capability("LIST-EXTENDED", false);
    assert!(trash(&mut login(&sim).await).await.is_some() && !asked(&sim));
    sim.set_capability("LIST-EXTENDED", true);
    assert!(trash(&mut login(&sim).await).await.is_some() && asked(&sim));
}

#[tokio::test]
async fn of_several_the_first_is_taken_and_none_that_cannot_be_selected() {
    let sim = sim(Persona::Dovecot, 0).await;
    sim.create("alice", "Another", Some("\\Trash"));
    let mut imap = login(&sim).await;
    assert_eq!(trash(&mut imap).await.as_deref(), Some("Another"));
    let sim = self::sim(Persona::Gmail, 0).await;
    let mut imap = login(&sim).await;
    let parent = FolderName::new("[Gmail]");
    assert_eq!(find_folder(&mut imap, Wanted::Named(&parent)).await.expect("listed"), None);
}

#[tokio::test]
async fn names_go_there_and_back() {
    let names = ["Entwürfe", "R&D", "&", "日本語", "Müll 🗑", "a\"b\\c", "100%", "a*c", "plain", "with blank"];
    for literals in [false, true] {
        let sim = sim(Persona::Dovecot, 0).await;
        sim.adjust(|traits| traits.list_literals = literals);
        for name in names.iter().chain(&["1000", "100x", "abc", "axxc"]) {
            sim.create("alice", FolderName::new(name).as_wire(), None);
        }
        let mut imap = login(&sim).await;
        for name in names {
            let wanted = FolderName::new(name);
            let found = find_folder(&mut imap, Wanted::Named(&wanted)).await.expect("listed");
            assert_eq!(found.map(|name| name.to_string()).as_deref(), Some(name));
            let mailbox = select(&mut imap, &wanted, Access::ReadOnly).await.expect("selected");
            let status = imap.status(&wanted).await.expect("a status");
            assert_eq!(status.validity, mailbox.validity);
        }
        for absent in ["Entwurfe", "10%", "*", "%", "PLAIN"] {
            let wanted = FolderName::new(absent);
            assert_eq!(find_folder(&mut imap, Wanted::Named(&wanted)).await.expect("listed"), None);
        }
    }
}

#[tokio::test]
async fn the_inbox_is_found_in_any_spelling() {
    let sim = sim(Persona::Yahoo, 0).await;
    let found = find_folder(&mut login(&sim).await, Wanted::Named(&FolderName::new("inbox"))).await;
    assert_eq!(found.expect("listed").map(|name| name.to_string()).as_deref(), Some("INBOX"));
}

#[tokio::test]
async fn moves_and_copies_tell_where_to() {
    for persona in
        [Persona::Dovecot, Persona::Gmail, Persona::Cyrus, Persona::Microsoft365, Persona::WildDuck]
    {
        let sim = sim(persona, 5).await;
        sim.create("alice", "Entw&APw-rfe", None);
        let target = FolderName::new("Entwürfe");
        sim.append("alice", "Entw&APw-rfe", b"Subject: old\r\n\r\n", &[]);
        let mut imap = selected(&sim).await;
        let copied = imap.uid_copy("2", &target).await.expect("copied").expect("a code");
        let moved = imap.uid_move("2:3,5", &target).await.expect("moved").expect("a code");
        let there = imap.status(&target).await.expect("a status");
        assert_eq!((moved.validity, copied.validity), (there.validity, there.validity));
        let pairs = |told: &popbridge::upstream::CopyUid| -> Vec<(u32, u32)> {
            told.pairs.iter().map(|(from, to)| (from.get(), to.get())).collect()
        };
        assert_eq!(pairs(&copied), [(2, 2)], "{persona:?}");
        assert_eq!(pairs(&moved), [(2, 3), (3, 4), (5, 5)], "{persona:?}");
        assert_eq!((there.messages, there.uid_next.get()), (5, 6));
        let left: Vec<u32> = sim.messages("alice", "INBOX").iter().map(|message| message.uid).collect();
        assert_eq!(left, [1, 4]);
    }
}

#[tokio::test]
async fn without_uidplus_nothing_is_told() {
    let sim = sim(Persona::Dovecot, 2).await;
    sim.set_capability("UIDPLUS", false);
    let mut imap = selected(&sim).await;
    let trash = FolderName::new("Trash");
    assert_eq!(imap.uid_copy("1", &trash).await.expect("copied"), None);
    assert_eq!(imap.uid_move("1", &trash).await.expect("moved"), None);
    assert_eq!(sim.messages("alice", "Trash").len(), 2);
}

#[tokio::test]
async fn refused_transfers_are_errors() {
    let sim = sim(Persona::Courier, 1).await;
    let mut imap = selected(&sim).await;
    // No MOVE there.
    let refused = imap.uid_move("1", &FolderName::new("INBOX.Trash")).await;
    assert!(matches!(refused, Err(Error::Refused { command: "UID MOVE", .. })), "{refused:?}");
    let refused = imap.uid_copy("1", &FolderName::new("Nowhere")).await;
    assert!(matches!(refused, Err(Error::Refused { command: "UID COPY", .. })), "{refused:?}");
    assert!(matches!(imap.status(&FolderName::new("Nowhere")).await, Err(Error::Refused { .. })));
    assert_usable(&mut imap).await;
    assert_eq!(sim.messages("alice", "INBOX").len(), 1);
}

#[tokio::test]
async fn every_server_tells_a_status() {
    for persona in Persona::ALL {
        let sim = sim(persona, 3).await;
        let status = login(&sim).await.status(&inbox()).await.expect("a status");
        assert_eq!((status.messages, status.uid_next.get()), (3, 4), "{persona:?}");
        assert_eq!(status.validity.get(), sim.uid_validity("alice", "INBOX"));
    }
}

#[tokio::test]
async fn headers_come_from_every_server() {
    for persona in Persona::ALL {
        let sim = sim(persona, 3).await;
        let mut imap = selected(&sim).await;
        let object_id = ObjectId::of(imap.capabilities());
        let expected = match persona {
            Persona::Gmail => ObjectId::GmailMsgId,
            Persona::Cyrus | Persona::Pymap => ObjectId::EmailId,
            _ => ObjectId::None,
        };
        assert_eq!(object_id, expected, "{persona:?}");
        let rows = headers(&mut imap, "1:2,3").await.expect("headers");
        assert_eq!(rows.len(), 3, "{persona:?}");
        for (index, row) in rows.iter().enumerate() {
            assert_eq!(row.uid.get() as usize, index + 1);
            assert_eq!(row.header, format!("Subject: {index}\r\n\r\n").as_bytes(), "{persona:?}");
            assert_eq!(row.object_id.is_some(), object_id != ObjectId::None);
        }
        let ids = fetch_object_ids(&mut imap, "1:3", object_id).await.expect("identifiers");
        let same: Vec<(Uid, String)> =
            rows.into_iter().filter_map(|row| Some((row.uid, row.object_id?))).collect();
        assert_eq!(ids, same, "{persona:?}");
        assert!(sim.messages("alice", "INBOX").iter().all(|message| message.flags.is_empty()));
    }
}

#[tokio::test]
async fn identifiers_outlive_a_renumbering() {
    for persona in [Persona::Cyrus, Persona::Gmail] {
        let sim = sim(persona, 9).await;
        let by_id = async || -> (Vec<u32>, BTreeMap<String, Vec<u8>>) {
            let mut imap = selected(&sim).await;
            let rows = headers(&mut imap, "1:*").await.expect("headers");
            let uids = rows.iter().map(|row| row.uid.get()).collect();
            (uids, rows.into_iter().filter_map(|row| Some((row.object_id?, row.header))).collect())
        };
        let (uids, before) = by_id().await;
        let validity = sim.uid_validity("alice", "INBOX");
        let mut open = selected(&sim).await;
        sim.renumber_shuffled("alice", "INBOX", 7);
        let ended = headers(&mut open, "1:*").await;
        assert!(matches!(ended, Err(Error::Bye(_))), "{ended:?}");
        assert_ne!(sim.uid_validity("alice", "INBOX"), validity);
        let (shuffled, after) = by_id().await;
        assert_eq!((before.len(), &before), (9, &after), "{persona:?}");
        assert_ne!(uids, shuffled);
        sim.change_uid_validity("alice", "INBOX");
        assert_eq!(by_id().await.1, before, "{persona:?}");
    }
}

#[tokio::test]
async fn a_long_header_is_cut_and_the_next_one_is_whole() {
    let sim = sim(Persona::Dovecot, 0).await;
    let long = format!("X: {}\r\n\r\n", "\"".repeat(3 * MAX_HEADER));
    sim.append("alice", "INBOX", long.as_bytes(), &[]);
    sim.append("alice", "INBOX", b"Subject: short\r\n\r\n", &[]);
    sim.append("alice", "INBOX", b"\r\nno header\r\n", &[]);
    let rows = headers(&mut selected(&sim).await, "1:3").await.expect("headers");
    let lengths: Vec<usize> = rows.iter().map(|row| row.header.len()).collect();
    assert_eq!(lengths, [MAX_HEADER, 18, 2]);
    assert_eq!(rows[0].header, &long.as_bytes()[..MAX_HEADER]);
}

#[tokio::test]
async fn messages_that_are_gone_have_no_row() {
    for persona in [Persona::Dovecot, Persona::Gmail] {
        let sim = sim(persona, 3).await;
        let mut imap = selected(&sim).await;
        sim.remove("alice", "INBOX", 2);
        let uids: Vec<u32> =
            headers(&mut imap, "1:3").await.expect("headers").iter().map(|row| row.uid.get()).collect();
        assert_eq!(uids, [1, 3], "{persona:?}");
    }
}

#[tokio::test]
async fn a_refused_or_broken_fetch_is_never_a_short_answer() {
    for (fault, closed) in [
        (Fault::NoAfterRows(1), false),
        (Fault::No(Some("LIMIT")), false),
        (Fault::EofAfterRows(1), true),
        (Fault::TruncateLiteral(5), true),
        (Fault::Bye, true),
    ] {
        let sim = sim(Persona::Cyrus, 3).await;
        let mut imap = selected(&sim).await;
        sim.fault(Place::Fetch(0), fault.clone());
        let error = headers(&mut imap, "1:3").await.expect_err("an error");
        match error {
            Error::Refused { command: "FETCH", .. } => {
                assert!(!closed, "{fault:?}");
                assert_eq!(headers(&mut imap, "1:3").await.expect("headers").len(), 3);
            }
            Error::Closed | Error::Bye(_) => assert!(closed, "{fault:?}"),
            other => panic!("{fault:?}: {other}"),
        }
    }
}

#[tokio::test]
async fn listings_tell_what_was_asked_for_and_no_more() {
    for persona in Persona::ALL {
        let sim = sim(persona, 2).await;
        sim.set_flags("alice", "INBOX", 2, &["\\Seen"]);
        let mut imap = login(&sim).await;
        let extra = Extra { flags: true, internal_date: true };
        let scanned = scan(&mut imap, &inbox(), Access::ReadWrite, extra, None).await.expect("listed");
        let (mailbox, rows) = (scanned.mailbox, scanned.rows);
        let seen: Vec<bool> = rows.iter().map(|row| row.seen).collect();
        assert_eq!(seen, [false, true], "{persona:?}");
        assert!(rows.iter().all(|row| row.internal_date > 1_700_000_000), "{persona:?}");
        let uid_next = mailbox.uid_next.map(Uid::get);
        assert_eq!(uid_next, Some(3).filter(|_| persona != Persona::Courier), "{persona:?}");
        let keeps = !matches!(persona, Persona::Microsoft365 | Persona::Pymap | Persona::HMailServer);
        assert_eq!((mailbox.keywords, mailbox.highest_modseq), (keeps, None), "{persona:?}");
        let plain = scan(&mut imap, &inbox(), Access::ReadWrite, Extra::default(), None).await;
        let plain = plain.expect("listed").rows;
        assert!(plain.iter().all(|row| !row.seen && row.internal_date == 0));
        let uids: Vec<Uid> = plain.iter().map(|row| row.uid).collect();
        sim.remove("alice", "INBOX", 1);
        // Alone, the FETCH may still show it, or be refused: the EXPUNGE comes behind its rows.
        assert_eq!(live_uids(&mut imap, &uids).await.expect("a look"), uids[1..], "{persona:?}");
        let asked: Vec<String> =
            sim.commands().into_iter().filter(|command| command.contains("1:*")).collect();
        assert!(asked[0].ends_with("(UID RFC822.SIZE FLAGS INTERNALDATE)") && asked[1].ends_with("SIZE)"));
    }
}

#[tokio::test]
async fn servers_are_known_by_their_id() {
    for persona in Persona::ALL {
        let sim = sim(persona, 0).await;
        let mut imap = login(&sim).await;
        assert_eq!(imap.server_id(), None);
        select(&mut imap, &inbox(), Access::ReadWrite).await.expect("selected");
        let offers = imap.capabilities().has("ID");
        assert_eq!(imap.server_id().is_some(), offers, "{persona:?}");
        let auto = auto_expunges(imap.capabilities(), imap.server_id());
        assert_eq!(auto, matches!(persona, Persona::Gmail | Persona::WildDuck), "{persona:?}");
        assert_eq!(expunge_archives(imap.capabilities()), persona == Persona::Gmail);
        // Once is enough.
        select(&mut imap, &inbox(), Access::ReadOnly).await.expect("selected");
        assert_eq!(imap.server_id().is_some(), offers);
        let asked = sim.commands().iter().filter(|command| command.contains(" ID ")).count();
        assert_eq!(asked, usize::from(offers), "{persona:?}");
    }
}

/// The tag of the next command behind a login, and behind a SELECT with ID before it.
const FIRST: &str = "P1";
const SELECTED: &str = "P3";

fn raw(lines: &[&str]) -> Fault {
    Fault::RawThenStall(lines.iter().flat_map(|line| [line.as_bytes(), b"\r\n"].concat()).collect())
}

#[tokio::test]
async fn garbage_for_a_copyuid_is_no_answer() {
    for code in [
        "COPYUID",
        "COPYUID 1",
        "COPYUID 1 1:4294967295 1:4294967295",
        "COPYUID 1 1:2 1",
        "COPYUID 1 a b",
        "COPYUID 1 1:10001 1:10001",
        "COPYUID 0 1 1",
    ] {
        let sim = sim(Persona::Dovecot, 1).await;
        let mut imap = selected(&sim).await;
        let lines = [format!("* OK [{code}] Moved."), format!("{SELECTED} OK [{code}] Done.")];
        sim.fault(Place::Move, raw(&lines.each_ref().map(String::as_str)));
        let told = imap.uid_move("1", &FolderName::new("Trash")).await.expect("moved");
        assert_eq!(told, None, "{code}");
    }
}

#[tokio::test]
async fn endless_answers_end() {
    let lines = |line: &str| Fault::RawThenStall(format!("{line}\r\n").repeat(150_000).into_bytes());
    let list = sim(Persona::Dovecot, 1).await;
    list.fault(Place::List, lines("* LIST () \"/\" a"));
    let endless = find_folder(&mut login(&list).await, Wanted::SpecialUse("\\Trash")).await;
    assert!(matches!(endless, Err(Error::Protocol(_))), "{endless:?}");
    let status = sim(Persona::Dovecot, 1).await;
    status.fault(Place::Status, lines("* STATUS INBOX (MESSAGES 1)"));
    let endless = login(&status).await.status(&inbox()).await;
    assert!(matches!(endless, Err(Error::Protocol(_))), "{endless:?}");
    let copy = sim(Persona::Dovecot, 1).await;
    copy.fault(Place::Copy, lines("* OK [COPYUID 1 1 1] Copied."));
    let endless = selected(&copy).await.uid_copy("1", &FolderName::new("Trash")).await;
    assert!(matches!(endless, Err(Error::Protocol(_))), "{endless:?}");
    let fetch = sim(Persona::Cyrus, 1).await;
    fetch.fault_times(Place::Fetch(0), lines("* 1 FETCH (UID 1 EMAILID (M1))"), 2);
    let endless = fetch_object_ids(&mut selected(&fetch).await, "1", ObjectId::EmailId).await;
    assert!(matches!(endless, Err(Error::Protocol("more rows than messages"))), "{endless:?}");
    let endless = headers(&mut selected(&fetch).await, "1").await;
    assert!(matches!(endless, Err(Error::Protocol(_))), "{endless:?}");
}

#[tokio::test]
async fn huge_literals_are_refused_before_they_come() {
    let started = Instant::now();
    let sim = sim(Persona::Dovecot, 1).await;
    sim.fault(Place::List, raw(&["* LIST (\\Trash) \"/\" {4000000000}"]));
    let huge = find_folder(&mut login(&sim).await, Wanted::SpecialUse("\\Trash")).await;
    assert!(matches!(huge, Err(Error::Protocol(_))), "{huge:?}");
    sim.fault(Place::Fetch(0), raw(&["* 1 FETCH (UID 1 RFC822.SIZE 9 BODY[HEADER] {4000000000}"]));
    let huge = headers(&mut selected(&sim).await, "1").await;
    assert!(matches!(huge, Err(Error::Protocol(_))), "{huge:?}");
    sim.fault(Place::Status, raw(&["* STATUS {99999999999999999999}"]));
    let huge = login(&sim).await.status(&inbox()).await;
    assert!(matches!(huge, Err(Error::Protocol(_))), "{huge:?}");
    sim.fault(Place::Copy, raw(&["* OK {4000000000}", &format!("{SELECTED} OK Copied. {{7}}")]));
    let text = selected(&sim).await.uid_copy("1", &FolderName::new("Trash")).await;
    assert!(matches!(text, Ok(None)), "braces in status text announce nothing: {text:?}");
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_name_that_is_too_long_is_passed_over() {
    let sim = sim(Persona::Dovecot, 0).await;
    let name = "x".repeat(100_000);
    let done = format!("{FIRST} OK Listed.");
    let long = format!("* LIST (\\Trash) \"/\" {{{}}}\r\n{name}", name.len());
    sim.fault(Place::List, raw(&[&long, "* LIST (\\Trash) \"/\" {3}\r\nBin", &done]));
    assert_eq!(trash(&mut login(&sim).await).await.as_deref(), Some("Bin"));
}

#[tokio::test]
async fn nonsense_is_no_folder_and_no_status() {
    let sim = sim(Persona::Dovecot, 0).await;
    let done = format!("{FIRST} OK Done.");
    let lines =
        ["* LIST", "* LIST (((((", "* LIST (\\Trash)", "* LIST (\\Trash) NIL", "* LIST (\\Trash) \"/\" \"a"];
    sim.fault(Place::List, raw(&[&lines[..], &[&done]].concat()));
    assert_eq!(trash(&mut login(&sim).await).await, None);
    sim.fault(Place::Status, raw(&["* STATUS INBOX (MESSAGES 1 UIDNEXT 0 UIDVALIDITY 7)", &done]));
    let status = login(&sim).await.status(&inbox()).await;
    assert!(matches!(status, Err(Error::Protocol(_))), "{status:?}");
    sim.fault(Place::Status, raw(&["* STATUS INBOX (MESSAGES 1 UIDNEXT 2)", &done]));
    let status = login(&sim).await.status(&inbox()).await;
    assert!(matches!(status, Err(Error::NoUidValidity)), "{status:?}");
}

#[tokio::test]
async fn silence_is_bounded() {
    let sim = sim(Persona::Dovecot, 1).await;
    sim.fault(Place::Fetch(0), raw(&["* 1 FETCH (UID 1 RFC822.SIZE 9 BODY[HEADER] {50}", "Subject: "]));
    let mut imap = selected(&sim).await;
    let silent = headers(&mut imap, "1").await;
    assert!(matches!(silent, Err(Error::Timeout(_))), "{silent:?}");
    let after = imap.status(&inbox()).await;
    assert!(matches!(after, Err(Error::Desynchronised)), "{after:?}");
}

#[tokio::test]
async fn quoted_headers_and_rows_for_others_are_handed_out() {
    let sim = sim(Persona::Dovecot, 2).await;
    sim.fault(
        Place::Fetch(0),
        raw(&[
            "* 2 FETCH (BODY[HEADER] \"A: \\\"b\\\"\" RFC822.SIZE 9 UID 2)",
            "* 1 FETCH (FLAGS (\\Seen))",
            "* 1 FETCH (UID 1 RFC822.SIZE 5 BODY[HEADER] {4}\r\n\r\n\r\n FLAGS ())",
            &format!("{SELECTED} OK [EXPUNGEISSUED] Some are gone."),
        ]),
    );
    let rows = headers(&mut selected(&sim).await, "1").await.expect("headers");
    let rows: Vec<(u32, u64, &[u8])> =
        rows.iter().map(|row| (row.uid.get(), row.size.0, &row.header[..])).collect();
    assert_eq!(rows, [(2, 9, &b"A: \"b\""[..]), (1, 5, b"\r\n\r\n")]);
}

/// Sessions run as tasks of their own: what they wait for has to be `Send`.
#[tokio::test]
async fn everything_runs_in_a_task() {
    let sim = sim(Persona::Gmail, 2).await;
    let mut imap = selected(&sim).await;
    let task = tokio::spawn(async move {
        let mut count = 0;
        let sets = uid_sets(&[Uid::new(1), Uid::new(2)].map(|uid| uid.expect("not zero")));
        for set in sets {
            fetch_headers(&mut imap, &set, ObjectId::None, &mut |_| count += 1).await?;
            fetch_object_ids(&mut imap, &set, ObjectId::GmailMsgId).await?;
            let trash = find_folder(&mut imap, Wanted::SpecialUse("\\Trash")).await?;
            imap.uid_move(&set, &trash.expect("a trash")).await?;
        }
        Ok::<usize, Error>(count)
    });
    assert_eq!(task.await.expect("no panic").expect("no error"), 2);
    assert_eq!(sim.messages("alice", "[Gmail]/Trash").len(), 2);
}
