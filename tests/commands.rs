//! The commands that look into the state and mend it, beside a running bridge.

mod support;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use imapsim::{Fault, Persona, Place, Server};
use serde_json::Value;
use support::bridge::Settings;
use support::dovecot::PASSWORD;
use support::local::Local;
use support::pop3::Pop3;
use support::process;
use tempfile::TempDir;

/// A simulated server, a bridge in front of it, and a configuration for commands beside it.
struct Setting {
    sim: Server,
    bridge: Local,
    folder: TempDir,
}

impl Setting {
    async fn new(messages: usize, maildrop: &str) -> Self {
        Self::with(messages, |settings| settings.with("maildrop", maildrop)).await
    }

    async fn with(messages: usize, change: impl FnOnce(Settings) -> Settings) -> Self {
        let sim = Server::builder().persona(Persona::Dovecot).user("alice", PASSWORD).start().await;
        let sim = sim.expect("the simulator starts");
        for index in 1..=messages {
            deliver(&sim, index);
        }
        let settings = change(Settings::new(format!("imap://{}", sim.address())));
        let folder = tempfile::tempdir().expect("a folder");
        let bridge = Local::start_in(&settings, tempfile::tempdir().expect("a folder")).await;
        let setting = Self { sim, bridge, folder };
        let text = settings.text(setting.bridge.folder());
        std::fs::write(setting.configuration(), text).expect("written");
        std::fs::write(setting.folder.path().join("password"), format!("{PASSWORD}\n")).expect("written");
        setting
    }

    fn configuration(&self) -> PathBuf {
        self.folder.path().join("popbridge.toml")
    }

    fn database(&self) -> PathBuf {
        self.bridge.folder().join("popbridge.db")
    }

    async fn login_as(&self, login: &str) -> Pop3 {
        let mut client = Pop3::connect(self.bridge.address()).await;
        client.login(login).await;
        client
    }

    /// The unique ids that a login is shown.
    async fn uidl(&self, login: &str) -> Vec<String> {
        let mut client = self.login_as(login).await;
        let ids = client.uidl().await.into_iter().map(|(_, id)| id).collect();
        client.quit().await;
        self.learnt().await;
        ids
    }

    /// Deletes by message number; the unique ids of all messages before that.
    async fn delete(&self, login: &str, numbers: &[usize]) -> Vec<String> {
        let mut client = self.login_as(login).await;
        let ids = client.uidl().await.into_iter().map(|(_, id)| id).collect();
        for number in numbers {
            client.ok(&format!("DELE {number}")).await;
        }
        client.quit().await;
        self.learnt().await;
        ids
    }

    /// Waits until the bridge has learnt what it does behind QUIT.
    async fn learnt(&self) {
        self.bridge.settled(0).await;
    }

    async fn run(&self, words: &[&str], arguments: &[&str]) -> Run {
        self.run_with(words, arguments, "").await
    }

    /// Runs the program with this setting's configuration, with something to read.
    async fn run_with(&self, words: &[&str], arguments: &[&str], input: &str) -> Run {
        let configuration = self.configuration().display().to_string();
        let mut all: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        all.extend(["--config".to_owned(), configuration]);
        all.extend(arguments.iter().map(|word| (*word).to_owned()));
        let input = input.to_owned();
        let run = tokio::task::spawn_blocking(move || process::popbridge(&all, &input)).await;
        Run::of(&run.expect("it does not panic"))
    }

    async fn list(&self, login: &str) -> Vec<Value> {
        let run = self.run(&["deletions", "list"], &[login, "--json"]).await;
        run.json(0)["deletions"].as_array().expect("a list").clone()
    }

    async fn restore(&self, arguments: &[&str]) -> Run {
        self.run(&["deletions", "restore"], arguments).await
    }

    fn password_file(&self) -> String {
        self.folder.path().join("password").display().to_string()
    }

    fn subjects(&self, mailbox: &str) -> Vec<String> {
        let messages = self.sim.messages("alice", mailbox);
        let subject = |raw: &[u8]| {
            let text = String::from_utf8_lossy(raw).into_owned();
            text.lines()
                .find_map(|line| line.strip_prefix("Subject: ").map(str::to_owned))
                .unwrap_or_default()
        };
        messages.iter().map(|message| subject(&message.body)).collect()
    }
}

fn deliver(sim: &Server, index: usize) -> u32 {
    let text = format!(
        "Message-ID: <{index}@example.org>\r\nDate: Mon, 2 Feb 2026 10:00:00 +0000\r\nSubject: {index}\r\n\r\n{index}\r\n"
    );
    sim.append("alice", "INBOX", text.as_bytes(), &[])
}

struct Run {
    code: Option<i32>,
    output: String,
    errors: String,
}

impl Run {
    fn of(output: &Output) -> Self {
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).expect("text");
        Self { code: output.status.code(), output: text(&output.stdout), errors: text(&output.stderr) }
    }

    #[track_caller]
    fn expect(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{}{}", self.output, self.errors);
        assert!(!self.output.contains(PASSWORD) && !self.errors.contains(PASSWORD), "a password is shown");
        &self.output
    }

    #[track_caller]
    fn json(&self, code: i32) -> Value {
        serde_json::from_str(self.expect(code)).expect("JSON")
    }
}

fn field(row: &Value, name: &str) -> String {
    row[name].as_str().unwrap_or_else(|| panic!("{name}: {row}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hidden_is_listed_and_comes_back() {
    let setting = Setting::new(3, "").await;
    let empty = setting.uidl("alice").await;
    let run = setting.run(&["deletions", "list"], &["alice"]).await;
    assert!(run.expect(0).contains("no program has deleted anything as alice"), "{}", run.output);
    assert!(setting.list("alice").await.is_empty());

    let ids = setting.delete("alice", &[1, 3]).await;
    assert_eq!(ids, empty);
    let rows = setting.list("alice").await;
    assert_eq!(rows.len(), 2);
    for (row, index) in rows.iter().zip([1, 3]) {
        assert_eq!(field(row, "unique_id"), ids[index - 1]);
        assert_eq!(field(row, "message_id"), format!("<{index}@example.org>"));
        assert_eq!((field(row, "folder"), field(row, "login")), ("INBOX".into(), "alice".into()));
        assert_eq!((field(row, "on_delete"), field(row, "outcome")), ("hide".into(), "hidden".into()));
        assert!(row["due_at"].is_null() && row["moved_to"].is_null(), "{row}");
        let at = field(row, "deleted_at");
        assert!(at.len() == 20 && at.ends_with('Z') && at.contains('T'), "{at}");
    }
    let run = setting.run(&["deletions", "list"], &["alice", "--since", "1h"]).await;
    assert_eq!(run.expect(0).lines().count(), 2, "{}", run.output);
    assert!(run.output.contains("  INBOX  ") && run.output.contains("hide: hidden from this login"));

    // By Message-ID, with and without brackets; the other one stays hidden.
    let run = setting.restore(&["alice", "1@example.org", "--json"]).await;
    let report = run.json(0);
    assert_eq!((report["restored"].as_u64(), report["failed"].as_u64()), (Some(1), Some(0)));
    assert_eq!(report["messages"][0]["unique_id"], ids[0].as_str());
    assert_eq!(setting.uidl("alice").await, ids[..2]);
    let run = setting.restore(&["alice", &ids[2]]).await;
    assert_eq!(run.expect(0), format!("restored {} <3@example.org> in INBOX\n", ids[2]));
    assert_eq!(setting.uidl("alice").await, ids);
    let outcomes: Vec<String> = setting.list("alice").await.iter().map(|row| field(row, "outcome")).collect();
    assert_eq!(outcomes, ["restored", "restored"]);

    // Once more is said, and changes nothing.
    let run = setting.restore(&["alice", &ids[2]]).await;
    assert!(run.expect(69).contains("it was restored already"), "{}", run.output);
    let run = setting.restore(&["alice", "--all"]).await;
    assert!(run.expect(0).contains("nothing to restore"), "{}", run.output);

    // Deleted again, it can be restored again.
    setting.delete("alice", &[3]).await;
    setting.restore(&["alice", &ids[2]]).await.expect(0);
    assert_eq!(setting.uidl("alice").await, ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_message_restores_nothing() {
    let setting = Setting::new(2, "").await;
    let ids = setting.delete("alice", &[1, 2]).await;
    let run = setting.restore(&["alice", &ids[0], "nobody@example.org"]).await;
    run.expect(66);
    assert!(
        run.errors.contains("nobody@example.org") && run.errors.contains("popbridge deletions list --config")
    );
    assert!(setting.uidl("alice").await.is_empty(), "nothing was restored");
    for wrong in [&["alice"][..], &["alice", "--since", "yesterday"], &[]] {
        setting.restore(wrong).await.expect(64);
    }
    let run = setting.restore(&["alice", "--since", "1h"]).await;
    assert_eq!(run.expect(0).lines().count(), 2);
    assert_eq!(setting.uidl("alice").await, ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_still_waits_is_called_off() {
    let setting = Setting::new(3, "on_delete = \"expunge\"\ndelete_grace = \"1h\"").await;
    let ids = setting.delete("alice", &[1, 2]).await;
    assert_eq!(setting.uidl("alice").await, ids[2..]);
    let rows = setting.list("alice").await;
    assert_eq!(field(&rows[0], "outcome"), "due");
    assert!(field(&rows[0], "due_at") > field(&rows[0], "deleted_at"));
    assert_eq!(field(&rows[0], "message_id"), "<1@example.org>");
    // No password is asked for.
    setting.restore(&["alice", "--all"]).await.expect(0);
    assert_eq!(setting.uidl("alice").await, ids);
    assert_eq!(setting.subjects("INBOX"), ["1", "2", "3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_goes_on_refusing_is_taken_back() {
    for (policy, place, without) in [
        ("trash", Place::Move, None),
        ("trash", Place::Copy, Some("MOVE")),
        ("expunge", Place::Expunge, None),
        ("flag", Place::Store, None),
    ] {
        let lines = format!("on_delete = \"{policy}\"\non_retrieve = \"leave\"");
        let setting = Setting::new(2, &lines).await;
        if let Some(capability) = without {
            setting.sim.set_capability(capability, false);
        }
        setting.sim.fault_times(place, Fault::No(None), usize::MAX);
        let mut client = setting.login_as("alice").await;
        let ids: Vec<String> = client.uidl().await.into_iter().map(|(_, id)| id).collect();
        client.ok("DELE 1").await;
        client.err("QUIT").await;
        setting.learnt().await;
        assert_eq!(setting.uidl("alice").await, ids[1..], "{policy}: it waits out of sight");
        assert_eq!(field(&setting.list("alice").await[0], "outcome"), "under-way", "{policy}");
        setting.sim.clear_faults();
        let file = setting.password_file();
        let run = setting.restore(&["alice", &ids[0], "--password-file", &file]).await;
        assert!(run.expect(0).contains("restored"), "{policy}: {}", run.output);
        assert_eq!(setting.uidl("alice").await, ids, "{policy}");
        assert_eq!(setting.subjects("INBOX"), ["1", "2"], "{policy}");
        assert!(setting.sim.messages("alice", "INBOX")[0].flags.is_empty(), "{policy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_called_off_at_the_last_moment_is_not_done() {
    tokio::join!(
        called_off("expunge", None),
        called_off("trash", None),
        called_off("trash", Some("MOVE")),
        called_off("flag", None),
    );
}

/// The bridge has read its journal and looks at the messages when one of them is called off.
async fn called_off(policy: &str, without: Option<&str>) {
    let lines = format!("on_delete = \"{policy}\"\ndelete_grace = \"1s\"");
    let setting = Setting::new(3, &lines).await;
    if let Some(capability) = without {
        setting.sim.set_capability(capability, false);
    }
    let ids = setting.delete("alice", &[1, 2]).await;
    // The sweep comes every 5 seconds; a login comes sooner.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    setting.sim.fault(Place::Select, Fault::Delay(Duration::from_secs(3)));
    let (seen, ()) = tokio::join!(setting.uidl("alice"), async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        setting.restore(&["alice", &ids[0]]).await.expect(0);
    });
    let left = [ids[0].clone(), ids[2].clone()];
    assert_eq!(seen, left, "{policy} {without:?}");
    assert_eq!(setting.uidl("alice").await, left, "{policy} {without:?}");
    let outcomes: Vec<String> = setting.list("alice").await.iter().map(|row| field(row, "outcome")).collect();
    assert_eq!(outcomes[0], "restored", "{policy} {without:?}");
    assert!(["removed", "moved", "flagged"].contains(&outcomes[1].as_str()), "{outcomes:?}");
    assert!(!setting.sim.messages("alice", "INBOX")[0].flags.contains("\\Deleted"), "{policy}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_moved_comes_back_under_its_unique_id() {
    // MOVE and COPY, each with and without being told where messages went.
    for (policy, capabilities) in
        [("trash", &[][..]), ("trash", &["MOVE"]), ("trash", &["UIDPLUS"]), ("archive", &[])]
    {
        let setting = Setting::new(3, &format!("on_delete = \"{policy}\"")).await;
        if policy == "archive" {
            setting.sim.create("alice", "Archive", None);
        }
        for capability in capabilities {
            setting.sim.set_capability(capability, false);
        }
        let ids = setting.delete("alice", &[1, 2]).await;
        let target = if policy == "trash" { "Trash" } else { "Archive" };
        assert_eq!(setting.subjects(target), ["1", "2"], "{policy} {capabilities:?}");
        let rows = setting.list("alice").await;
        assert_eq!(field(&rows[0], "outcome"), "moved");
        assert_eq!(
            (field(&rows[0], "moved_to"), field(&rows[0], "on_delete")),
            (target.into(), policy.into())
        );

        // A wrong password loses nothing; the right one brings both back.
        for (input, code) in [("wrong\n", 77), ("", 77)] {
            let run = setting.run_with(&["deletions", "restore"], &["alice", "--all"], input).await;
            run.expect(code);
            assert!(run.errors.contains("nothing was restored"), "{}", run.errors);
            assert!(!run.errors.contains("wrong"), "{}", run.errors);
            assert_eq!(setting.subjects(target), ["1", "2"]);
        }
        let run =
            setting.restore(&["alice", "2@example.org", "--password-file", &setting.password_file()]).await;
        assert_eq!(run.expect(0), format!("restored {} <2@example.org> in INBOX\n", ids[1]));
        let now = setting.uidl("alice").await;
        assert_eq!(now, [ids[2].clone(), ids[1].clone()], "{policy} {capabilities:?}");
        let run =
            setting.run_with(&["deletions", "restore"], &["alice", "--all"], &format!("{PASSWORD}\n")).await;
        run.expect(0);
        assert_eq!(setting.uidl("alice").await, [ids[2].clone(), ids[1].clone(), ids[0].clone()]);
        assert_eq!(setting.subjects("INBOX"), ["3", "2", "1"]);
        assert!(setting.subjects(target).is_empty());

        // A message that comes back can be deleted and brought back once more.
        setting.delete("alice", &[3]).await;
        assert_eq!(setting.subjects(target), ["1"]);
        setting.restore(&["alice", &ids[0], "--password-file", &setting.password_file()]).await.expect(0);
        assert_eq!(setting.uidl("alice").await, [ids[2].clone(), ids[1].clone(), ids[0].clone()]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_is_taken_off() {
    let setting = Setting::new(2, "on_delete = \"flag\"").await;
    let ids = setting.delete("alice", &[1]).await;
    assert_eq!(setting.uidl("alice").await, ids[1..]);
    assert_eq!(field(&setting.list("alice").await[0], "outcome"), "flagged");
    let file = setting.password_file();
    setting.restore(&["alice", &ids[0], "--password-file", &file]).await.expect(0);
    assert_eq!(setting.uidl("alice").await, ids);
    assert!(!setting.sim.messages("alice", "INBOX")[0].flags.contains("\\Deleted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_come_back_is_said_and_the_rest_comes() {
    let setting = Setting::new(4, "on_delete = \"expunge\"").await;
    let ids = setting.delete("alice", &[1]).await;
    let run = setting.restore(&["alice", "--all"]).await;
    assert!(run.expect(69).contains("removed from the mail server for good"), "{}", run.output);
    assert_eq!(field(&setting.list("alice").await[0], "outcome"), "removed");
    assert_eq!(setting.uidl("alice").await, ids[1..]);

    // One of two has left the trash.
    let setting = Setting::new(3, "on_delete = \"trash\"").await;
    setting.delete("alice", &[1, 2]).await;
    let uid = setting.sim.messages("alice", "Trash")[0].uid;
    setting.sim.remove("alice", "Trash", uid);
    let file = setting.password_file();
    let run = setting.restore(&["alice", "--all", "--json", "--password-file", &file]).await;
    let report = run.json(69);
    assert_eq!((report["restored"].as_u64(), report["failed"].as_u64()), (Some(1), Some(1)));
    assert_eq!(report["messages"][0]["restored"], false);
    assert!(field(&report["messages"][0], "reason").contains("no longer in the folder"), "{report}");
    assert_eq!(report["messages"][1]["same_unique_id"], true);
    assert_eq!(setting.subjects("INBOX"), ["3", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_breaks_is_told_and_loses_no_unique_id() {
    for (place, without) in [(Place::Move, None), (Place::Copy, Some("MOVE")), (Place::Expunge, Some("MOVE"))]
    {
        for fault in [Fault::No(None), Fault::Eof, Fault::EofAfterAction] {
            let setting = Setting::new(3, "on_delete = \"trash\"").await;
            if let Some(capability) = without {
                setting.sim.set_capability(capability, false);
            }
            let ids = setting.delete("alice", &[1, 2]).await;
            setting.sim.fault(place, fault.clone());
            let file = setting.password_file();
            let restore = ["alice", "--all", "--json", "--password-file", &file];
            let report = setting.restore(&restore).await;
            let report: Value = serde_json::from_str(&report.output).expect("JSON");
            let failed = report["failed"].as_u64().expect("a number");
            assert!(failed <= 1, "the second one is tried as well: {report}");
            let rest = setting.restore(&restore).await;
            rest.expect(0);
            let mut now = setting.uidl("alice").await;
            now.sort();
            assert_eq!(now, ids, "{place:?} {without:?} {fault:?}: {report}\n{}", rest.output);
            assert_eq!(setting.subjects("INBOX").len(), 3);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_moved_back_into_a_folder_that_nobody_has_seen_yet() {
    let setting = Setting::new(4, "on_delete = \"trash\"").await;
    let mut ids = setting.delete("alice", &[2]).await;
    setting.sim.renumber_shuffled("alice", "INBOX", 5);
    let file = setting.password_file();
    let restore = ["alice", &ids[1], "--password-file", &file];
    let run = setting.restore(&restore).await;
    assert!(run.expect(69).contains("log in once, then try again"), "{}", run.output);
    assert_eq!(setting.subjects("Trash"), ["2"]);
    assert_eq!(setting.uidl("alice").await.len(), 3);
    setting.restore(&restore).await.expect(0);
    let mut now = setting.uidl("alice").await;
    now.sort();
    ids.sort();
    assert_eq!(now, ids);
}

/// A server that does not tell where messages went is not asked for all headers for each of them.
#[tokio::test(flavor = "multi_thread")]
async fn many_are_found_by_reading_their_folder_once() {
    let setting = Setting::new(60, "on_delete = \"trash\"").await;
    setting.sim.set_capability("UIDPLUS", false);
    // Two are alike.
    deliver(&setting.sim, 7);
    let numbers: Vec<usize> = (1..=61).collect();
    let ids = setting.delete("alice", &numbers).await;
    let before = setting.sim.commands().len();
    let file = setting.password_file();
    setting.restore(&["alice", "--all", "--password-file", &file]).await.expect(0);
    let commands = setting.sim.commands();
    let whole = commands[before..].iter().filter(|command| command.contains("FETCH 1:*")).count();
    assert_eq!(whole, 1, "{:?}", &commands[before..]);
    let mut now = setting.uidl("alice").await;
    now.sort();
    assert_eq!(now, ids);
    assert!(setting.subjects("Trash").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_login_hid_stays_hidden_when_it_is_moved_back() {
    let account = "login = \"other\"\nusername = \"alice\"\nmaildrop = { on_delete = \"trash\" }";
    let setting = Setting::with(3, |settings| settings.with("[account]", account)).await;
    let ids = setting.delete("alice", &[1]).await;
    setting.delete("other", &[1, 2]).await;
    assert_eq!(setting.uidl("alice").await, ids[2..]);
    let file = setting.password_file();
    setting.restore(&["other", "--all", "--password-file", &file]).await.expect(0);
    assert_eq!(setting.uidl("other").await, [ids[2].clone(), ids[0].clone(), ids[1].clone()]);
    assert_eq!(setting.uidl("alice").await, [ids[2].clone(), ids[1].clone()]);
    setting.restore(&["alice", &ids[0]]).await.expect(0);
    assert_eq!(setting.uidl("alice").await, [ids[2].clone(), ids[0].clone(), ids[1].clone()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_of_one_account_have_trails_of_their_own() {
    let account = "login = \"scanner\"\nusername = \"alice\"";
    let setting = Setting::with(2, |settings| settings.with("[account]", account)).await;
    let ids = setting.delete("alice", &[1]).await;
    setting.delete("scanner", &[1, 2]).await;
    assert_eq!((setting.list("alice").await.len(), setting.list("scanner").await.len()), (1, 2));
    setting.restore(&["scanner", "--all"]).await.expect(0);
    assert_eq!(setting.uidl("scanner").await, ids);
    assert_eq!(setting.uidl("alice").await, ids[1..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_state_nothing_is_made() {
    let setting = Setting::new(1, "").await;
    let lonely = tempfile::tempdir().expect("a folder");
    let path = lonely.path().join("popbridge.toml");
    let write = |state: &str| {
        let text = format!(
            "[upstream.home]\nurl = \"imap://127.0.0.1:1\"\ndomains = [\"example.org\"]\n[state]\nurl = \"{state}\"\n"
        );
        std::fs::write(&path, text).expect("written");
    };
    let run = |words: &[&str]| {
        let mut all: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        all.extend(["--config".to_owned(), path.display().to_string()]);
        Run::of(&process::popbridge(&all, ""))
    };
    let login = "alice@example.org";
    for words in [
        &["deletions", "list", login][..],
        &["deletions", "restore", login, "--all"],
        &["accept", login],
        &["cache", "clear"],
    ] {
        write("sqlite:popbridge.db");
        let missing = run(words);
        missing.expect(66);
        assert!(missing.errors.contains("there is no state database at"), "{}", missing.errors);
        assert!(!lonely.path().join("popbridge.db").exists());
        write("sqlite::memory:");
        run(words).expect(78);
        std::fs::write(lonely.path().join("broken.db"), b"no database\n".repeat(100)).expect("written");
        write("sqlite:broken.db");
        let broken = run(words);
        broken.expect(73);
        assert!(broken.errors.contains("damaged"), "{}", broken.errors);
        if words[0] != "cache" {
            let words: Vec<&str> =
                words.iter().map(|word| if *word == login { "alice" } else { *word }).collect();
            run(&words).expect(78);
        }
    }
    drop(setting);
}

#[tokio::test(flavor = "multi_thread")]
async fn clearing_the_cache_changes_no_unique_id() {
    let setting = Setting::new(4, "").await;
    let ids = setting.delete("alice", &[2]).await;
    let seen = setting.uidl("alice").await;
    let mut open = setting.login_as("alice").await;
    let run = setting.run(&["cache", "clear"], &[]).await;
    assert!(run.expect(0).starts_with("1 listing dropped; "), "{}", run.output);
    assert!(setting.run(&["cache", "clear"], &[]).await.expect(0).starts_with("0 listings dropped; "));
    assert_eq!(open.retr(1).await, setting.sim.messages("alice", "INBOX")[0].body[..]);
    open.quit().await;
    assert_eq!(setting.uidl("alice").await, seen);
    assert_eq!(seen, [&ids[..1], &ids[2..]].concat());
}

/// Whether a file beside the bridge's database is there: the commands leave it to its bridge.
#[tokio::test(flavor = "multi_thread")]
async fn the_bridge_goes_on_beside_the_commands() {
    let setting = Setting::new(30, "").await;
    let ids = setting.uidl("alice").await;
    for round in 0..5 {
        let (list, deleted) = tokio::join!(
            setting.run(&["deletions", "list"], &["alice"]),
            setting.delete("alice", &[1, 2, 3])
        );
        list.expect(0);
        assert_eq!(deleted.len(), 30 - 3 * round);
    }
    let path: &Path = &setting.database();
    assert!(path.exists());
    let (restored, _) = tokio::join!(setting.restore(&["alice", "--all"]), setting.uidl("alice"));
    assert_eq!(restored.expect(0).lines().count(), 15);
    assert_eq!(setting.uidl("alice").await, ids);
}

async fn explained(setting: &Setting, login: &str, message: &str) -> Value {
    setting.run(&["explain"], &[login, message, "--json"]).await.json(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_explained() {
    let setting = Setting::new(4, "newest = 3").await;
    let never = setting.run(&["explain"], &["alice"]).await;
    assert!(never.expect(0).contains("INBOX: no login has opened it yet"), "{}", never.output);

    setting.delete("alice", &[1]).await;
    let facts = setting.run(&["explain"], &["alice", "--json"]).await.json(0);
    assert_eq!((field(&facts, "upstream"), field(&facts, "username")), ("home".into(), "alice".into()));
    assert_eq!(facts["settings"]["on_delete"], "hide");
    assert_eq!(facts["settings"]["newest"], 3);
    assert!(facts["message"].is_null());
    let inbox = &facts["folders"][0];
    assert_eq!(inbox["uid_validity"], setting.sim.uid_validity("alice", "INBOX"));
    assert_eq!(
        (&inbox["messages"], &inbox["hidden"], &inbox["below_newest"]),
        (&4.into(), &1.into(), &1.into())
    );
    assert!(inbox["refused"].is_null() && inbox["listing_changed_at"].is_string(), "{inbox}");
    let words = setting.run(&["explain"], &["alice"]).await;
    assert!(words.expect(0).contains("4 messages at the last login"), "{}", words.output);
    assert!(words.output.contains("1 not seen by this login: hidden"), "{}", words.output);
    assert!(words.output.contains("newest 3"), "{}", words.output);

    setting.run(&["cache", "clear"], &[]).await.expect(0);
    let facts = setting.run(&["explain"], &["alice", "--json"]).await.json(0);
    let inbox = &facts["folders"][0];
    assert_eq!((&inbox["messages"], &inbox["hidden"]), (&4.into(), &1.into()));
    assert!(inbox["below_newest"].is_null() && inbox["listing_changed_at"].is_null(), "{inbox}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_explained() {
    let setting = Setting::new(4, "newest = 3").await;
    let logins = setting.sim.logins();
    let ids = setting.delete("alice", &[1]).await;
    let listed = explained(&setting, "alice", &ids[1]).await;
    let place = &listed["message"]["places"][0];
    assert_eq!((&place["listed"], field(place, "why")), (&true.into(), "listed".into()));
    assert_eq!(
        (field(place, "unique_id"), field(place, "message_id")),
        (ids[1].clone(), "<3@example.org>".into())
    );
    assert_eq!(field(place, "unique_id_from"), "numbers");
    assert_eq!((&place["uid"], &place["first_uid"]), (&3.into(), &3.into()));
    assert_eq!(listed["message"]["deletions"], Value::Array(Vec::new()));

    let hidden = explained(&setting, "alice", "<2@example.org>").await;
    let place = &hidden["message"]["places"][0];
    assert_eq!((&place["listed"], field(place, "why")), (&false.into(), "hidden".into()));
    let deletion = &hidden["message"]["deletions"][0];
    assert_eq!((field(deletion, "login"), field(deletion, "outcome")), ("alice".into(), "hidden".into()));
    let words = setting.run(&["explain"], &["alice", "2@example.org"]).await;
    assert!(
        words.expect(0).contains("not listed to alice: hidden, since alice deleted it"),
        "{}",
        words.output
    );
    assert!(words.output.contains("on_delete \"hide\": hidden from this login"), "{}", words.output);

    let below = explained(&setting, "alice", "1@example.org").await;
    assert_eq!(field(&below["message"]["places"][0], "why"), "below-newest");

    // The command that it names is the one that works.
    let command = field(deletion, "command");
    let mut words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    assert_eq!(words.remove(0), "popbridge");
    Run::of(&tokio::task::spawn_blocking(move || process::popbridge(&words, "")).await.expect("it ends"))
        .expect(0);
    assert_eq!(setting.uidl("alice").await, ids);
    let back = explained(&setting, "alice", &ids[0]).await;
    assert_eq!(field(&back["message"]["deletions"][0], "outcome"), "restored");
    assert!(back["message"]["deletions"][0]["command"].is_null());

    let unknown = setting.run(&["explain"], &["alice", "nobody@example.org"]).await;
    assert!(unknown.expect(66).is_empty(), "{}", unknown.output);
    assert!(unknown.errors.contains("is not known for alice"), "{}", unknown.errors);
    assert!(unknown.errors.contains("deletions_kept (90d)"), "{}", unknown.errors);
    let unknown = setting.run(&["explain"], &["alice", "nobody@example.org", "--json"]).await.json(66);
    assert_eq!(unknown["message"]["known"], false);
    assert_eq!(
        setting.sim.logins() - logins,
        1,
        "only the sessions asked the mail server, over one connection"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_or_has_gone_is_explained() {
    let setting = Setting::new(2, "on_delete = \"trash\"\ndelete_grace = \"1h\"\nonly_unseen = true").await;
    let ids = setting.delete("alice", &[1]).await;
    let waiting = explained(&setting, "alice", &ids[0]).await;
    let place = &waiting["message"]["places"][0];
    assert_eq!((field(place, "why"), &place["listed"]), ("waiting".into(), &false.into()));
    assert!(place["waiting_until"].is_string());
    assert_eq!(field(&waiting["message"]["deletions"][0], "outcome"), "due");
    let seen = explained(&setting, "alice", &ids[1]).await;
    assert_eq!(seen["message"]["places"][0]["may_be_left_out_by"], serde_json::json!(["only_unseen"]));
    let words = setting.run(&["explain"], &["alice"]).await;
    assert!(words.expect(0).contains("1 not seen by this login: waiting to be removed, the last until 2"));

    let account = "login = \"other\"\nusername = \"alice\"\nmaildrop = { on_delete = \"trash\" }";
    let setting = Setting::with(2, |settings| settings.with("[account]", account)).await;
    let ids = setting.delete("other", &[1]).await;
    // Another login's deed, seen from this one, which has not logged in since.
    let facts = setting.run(&["explain"], &["alice", "--json"]).await.json(0);
    assert_eq!(facts["folders"][0]["messages"], 1);
    let gone = explained(&setting, "alice", &ids[0]).await;
    assert_eq!(gone["message"]["places"], Value::Array(Vec::new()));
    let deletion = &gone["message"]["deletions"][0];
    assert_eq!((field(deletion, "login"), field(deletion, "moved_to")), ("other".into(), "Trash".into()));
    assert!(field(deletion, "command").ends_with(&format!("other {}", ids[0])), "{deletion}");
    let words = setting.run(&["explain"], &["alice", &ids[0]]).await;
    assert!(words.expect(0).contains("is no longer in INBOX"), "{}", words.output);
    assert!(words.output.contains("on_delete \"trash\": moved to Trash"), "{}", words.output);
    let file = setting.password_file();
    setting.restore(&["other", &ids[0], "--password-file", &file]).await.expect(0);
    let words = setting.run(&["explain"], &["alice", &ids[0]]).await;
    assert!(words.expect(0).contains("is back, and listed from the next login on"), "{}", words.output);
    setting.uidl("alice").await;
    let back = explained(&setting, "alice", &ids[0]).await;
    assert_eq!(field(&back["message"]["places"][0], "unique_id_from"), "kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_are_explained_and_ids_from_before_a_renumbering() {
    let setting = Setting::new(12, "").await;
    deliver(&setting.sim, 5);
    let ids = setting.delete("alice", &[1]).await;
    let twice = explained(&setting, "alice", "5@example.org").await;
    assert_eq!(twice["message"]["places"].as_array().map(Vec::len), Some(2));
    let both = explained(&setting, "alice", &ids[4]).await;
    assert_eq!(both["message"]["places"], twice["message"]["places"]);
    let words = setting.run(&["explain"], &["alice", &ids[12]]).await;
    assert!(words.expect(0).contains("The mail server has it 2 times"), "{}", words.output);

    // What was learnt at the session's end serves to recognise the messages.
    setting.sim.renumber_shuffled("alice", "INBOX", 7);
    let mut now = setting.uidl("alice").await;
    now.sort();
    assert_eq!(now, ids[1..]);
    let early = explained(&setting, "alice", &ids[2]).await;
    let place = &early["message"]["places"][0];
    assert_eq!((field(place, "unique_id_from"), &place["first_uid"]), ("earlier-numbers".into(), &3.into()));
    assert_ne!(place["first_uid_validity"], place["uid_validity"]);
    let hidden = explained(&setting, "alice", &ids[0]).await;
    assert_eq!(field(&hidden["message"]["places"][0], "why"), "hidden");
    let login = setting.run(&["explain"], &["alice", "--json"]).await.json(0);
    assert_eq!(login["folders"][0]["ids_from_earlier_uid_validity"], 13);
    assert_eq!(field(&setting.list("alice").await[0], "message_id"), "<1@example.org>");
    setting.restore(&["alice", "1@example.org"]).await.expect(0);
    let mut now = setting.uidl("alice").await;
    now.sort();
    assert_eq!(now, ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_folder_is_explained_and_accepted() {
    let setting = Setting::new(6, "").await;
    let run = setting.run(&["accept"], &["alice"]).await;
    assert!(run.expect(0).contains("nothing is refused for alice"), "{}", run.output);

    // The first session breaks, and with it what it would have learnt at its end.
    let mut client = setting.login_as("alice").await;
    let before = client.uidl().await;
    setting.sim.fault_times(Place::Fetch(0), Fault::No(None), 100);
    client.abort();
    setting.learnt().await;
    setting.sim.clear_faults();
    setting.sim.renumber_shuffled("alice", "INBOX", 3);

    let mut client = Pop3::connect(setting.bridge.address()).await;
    client.ok("USER alice").await;
    client.err(&format!("PASS {PASSWORD}")).await;
    let facts = setting.run(&["explain"], &["alice", "--json"]).await.json(0);
    let refused = &facts["folders"][0]["refused"];
    assert_eq!(refused["uid_validity"], setting.sim.uid_validity("alice", "INBOX"));
    assert_eq!((&refused["former_messages"], &refused["messages"]), (&6.into(), &6.into()));
    assert_eq!((&refused["unrecognised"], &refused["accepted"]), (&6.into(), &false.into()));
    let command = field(refused, "command");
    assert_eq!(command, format!("popbridge accept --config {} alice", setting.configuration().display()));
    let words = setting.run(&["explain"], &["alice"]).await;
    assert!(words.expect(0).contains("REFUSED at ") && words.output.contains(&command), "{}", words.output);
    let one = setting.run(&["explain"], &["alice", &before[0].1]).await;
    assert!(one.expect(0).contains("made it anew since"), "{}", one.output);
    client.ok("USER alice").await;
    client.err(&format!("PASS {PASSWORD}")).await;

    let run = setting.run(&["accept"], &["alice"]).await;
    assert!(run.expect(0).contains("INBOX: accepted. At the next login up to 6 of its 6 messages look new"));
    let run = setting.run(&["accept"], &["alice"]).await;
    assert!(run.expect(0).contains("INBOX: accepted before already"), "{}", run.output);
    let words = setting.run(&["explain"], &["alice"]).await;
    assert!(words.expect(0).contains("which was accepted"), "{}", words.output);
    assert_eq!(setting.uidl("alice").await.len(), 6);
    let words = setting.run(&["explain"], &["alice", "--json"]).await;
    assert!(words.json(0)["folders"][0]["refused"].is_null());
    assert!(setting.run(&["accept"], &["alice"]).await.expect(0).contains("nothing is refused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_the_server_are_explained() {
    for (persona, scheme, from) in
        [(Persona::Gmail, "gmail", "gmail"), (Persona::Dovecot, "emailid", "email-id")]
    {
        let setting = Setting::new(2, &format!("unique_id = \"{scheme}\"")).await;
        setting.sim.set_persona(persona);
        setting.sim.set_capability("OBJECTID", scheme == "emailid");
        let ids = setting.uidl("alice").await;
        let facts = explained(&setting, "alice", &ids[0]).await;
        let place = &facts["message"]["places"][0];
        assert_eq!(field(place, "unique_id_from"), from);
        assert!(place["first_uid"].is_null(), "{place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_have_readable_names() {
    let settings = "folders = [\"INBOX\", \"Entwürfe\"]\non_delete = \"trash\"";
    let sim_folder = "Entw&APw-rfe";
    let setting = Setting::new(1, settings).await;
    setting.sim.create("alice", sim_folder, None);
    setting.sim.append("alice", sim_folder, b"Message-ID: <x@example.org>\r\nSubject: x\r\n\r\nx\r\n", &[]);
    let ids = setting.delete("alice", &[2]).await;
    let row = &setting.list("alice").await[0];
    assert_eq!((field(row, "folder"), field(row, "unique_id")), ("Entwürfe".into(), ids[1].clone()));
    let file = setting.password_file();
    setting.restore(&["alice", "x@example.org", "--password-file", &file]).await.expect(0);
    assert_eq!(setting.uidl("alice").await, ids);
    let facts = explained(&setting, "alice", &ids[1]).await;
    assert_eq!(field(&facts["message"]["places"][0], "folder"), "Entwürfe");
    // The folder's own login sees the same ids, and has a trail of its own.
    assert_eq!(setting.uidl("alice+Entwürfe").await, ids[1..]);
    assert!(setting.list("alice+Entwürfe").await.is_empty());
}
