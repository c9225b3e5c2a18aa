//! The fault matrix: every place × kind × policy on the simulator, and the promises that hold
//! through each: no shortened listing, no false `+OK`, no message cut short that looks whole,
//! nothing gone that was not confirmed by QUIT, nothing twice, no `[AUTH]` for an outage, the same
//! unique ids. After the fault the next session does what is left to be done.
//!
//! `POPBRIDGE_FAULTS=Copy,MissingRow` runs only what has all these words in its name.

mod support;

#[path = "faults/kinds.rs"]
mod kinds;
#[path = "faults/policy.rs"]
mod policy;
#[path = "faults/promises.rs"]
mod promises;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use imapsim::{Fault, Place, Server};
use kinds::{Cut, Kept, Moment};
use policy::{Account, DELETED, Policy};
use promises::Run;
use support::dovecot::PASSWORD;
use support::local::Local;
use support::polls::idling;
use support::pop3::Pop3;
use support::report;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// No session may take longer, whatever the upstream does.
const PATIENCE: Duration = Duration::from_secs(60);

/// In which session the fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Story {
    /// The one that deletes.
    Marks,
    /// The one behind it, when its deletions have become due.
    Due,
    /// The one behind it, which was cut off from its server in the update.
    Interrupted,
}

/// One row of the matrix, for all kinds of fault.
#[derive(Clone, Copy, Debug)]
struct Case {
    story: Story,
    policy: Policy,
    moment: Moment,
    /// Where the session before was cut off.
    cut: Option<Cut>,
    /// Others have changed the mailbox since it was listed.
    stale: bool,
    /// A session before has left its connection.
    kept: Option<Kept>,
}

/// What a policy's runs begin with: a database that knows the messages, and their unique ids.
struct Stage {
    folder: TempDir,
    validity: u32,
    ids: Vec<String>,
}

impl Stage {
    /// A healthy session; with `Story::Due` it deletes.
    async fn new(policy: Policy, story: Story) -> Self {
        let sim = policy.server().await;
        let bridge = Local::start(&policy.settings(&sim, "30s")).await;
        let mut client = Pop3::connect(bridge.address()).await;
        client.login("alice").await;
        let ids: Vec<String> = client.uidl().await.into_iter().map(|(_, id)| id).collect();
        if story == Story::Due {
            for index in DELETED {
                client.ok(&format!("DELE {}", index + 1)).await;
            }
        }
        client.quit().await;
        bridge.settled(0).await;
        let folder = bridge.stop().await;
        if story == Story::Due {
            sleep(Duration::from_millis(1100)).await;
        }
        Self { folder, validity: sim.uid_validity("alice", "INBOX"), ids }
    }

    fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir().expect("a folder");
        for file in std::fs::read_dir(self.folder.path()).expect("readable") {
            let file = file.expect("readable");
            let to: &Path = copy.path();
            std::fs::copy(file.path(), to.join(file.file_name())).expect("copied");
        }
        copy
    }
}

/// What the client saw. Messages are told by their unique ids.
#[derive(Debug, Default)]
pub struct Seen {
    login: Option<String>,
    rows: Option<usize>,
    ids: Vec<String>,
    /// Whole messages.
    bodies: Vec<(String, Vec<u8>)>,
    /// All that were to be deleted are marked, and QUIT is sent.
    quit_sent: bool,
    quit: Option<String>,
}

/// A session that goes as far as it can; `before_quit` is done between the last DELE and QUIT.
async fn session(bridge: &Local, delete: &[&String], before_quit: impl FnOnce()) -> Seen {
    let mut seen = Seen::default();
    let mut client = Pop3::connect(bridge.address()).await;
    // A closed connection ends it anywhere: that is what a client sees, too.
    let _ = async {
        client.attempt("USER alice").await?;
        let login = client.attempt(&format!("PASS {PASSWORD}")).await?;
        seen.login = Some(login.clone());
        if !login.starts_with("+OK") {
            client.attempt("QUIT").await?;
            return Ok(());
        }
        if client.attempt("LIST").await?.starts_with("+OK") {
            let mut rows = Vec::new();
            client.body_until(&mut rows, usize::MAX).await?;
            seen.rows = Some(rows.split(|&octet| octet == b'\n').count() - 1);
        }
        if client.attempt("UIDL").await?.starts_with("+OK") {
            let mut rows = Vec::new();
            client.body_until(&mut rows, usize::MAX).await?;
            let rows = String::from_utf8(rows).expect("a listing is ASCII");
            seen.ids = rows.lines().filter_map(|row| Some(row.split_once(' ')?.1.to_owned())).collect();
        }
        for (number, command) in [(1, "RETR 1"), (2, "RETR 2"), (3, "RETR 3"), (4, "TOP 4 99999")] {
            if client.attempt(command).await?.starts_with("+OK") {
                let mut body = Vec::new();
                if client.body_until(&mut body, usize::MAX).await? {
                    let id = seen.ids.get(number - 1).expect("a message that is not listed").clone();
                    seen.bodies.push((id, body));
                }
            }
        }
        for id in delete {
            let number = seen.ids.iter().position(|listed| listed == *id);
            let number = number.expect("a message that is not listed") + 1;
            if !client.attempt(&format!("DELE {number}")).await?.starts_with("+OK") {
                return Ok(());
            }
        }
        before_quit();
        seen.quit_sent = true;
        seen.quit = Some(client.attempt("QUIT").await?);
        std::io::Result::Ok(())
    }
    .await;
    seen
}

/// One run: what the story begins with, a session with the fault, then sessions without.
/// Returns whether the fault struck.
async fn run(case: Case, fault: Fault, stage: Arc<Stage>) -> bool {
    let Case { story, policy, moment, cut, stale, kept } = case;
    let mut run = Run {
        what: format!(
            "{story:?} {policy:?} {cut:?} stale: {stale} {kept:?} × {moment:?} × {}",
            short(&fault)
        ),
        policy,
        ids: &stage.ids,
        theirs: stale || matches!(fault, Fault::UnsolicitedExpunge),
        in_target: story == Story::Interrupted && policy == Policy::TrashByCopy,
        new_validity: matches!(fault, Fault::UidValidityChange),
        intended: story != Story::Marks,
    };
    let what = run.what.clone();
    let sim = policy.server().await;
    let mut folder = stage.copy();
    let deleted = DELETED.map(|index| &stage.ids[index]);
    if let Some(Cut { place, done }) = cut {
        let bridge = Local::start_in(&policy.settings(&sim, "30s"), folder).await;
        let arm = || {
            sim.fault(place, if done { Fault::EofAfterAction } else { Fault::Eof });
            sim.refuse(true);
        };
        let seen = timeout(PATIENCE, session(&bridge, &deleted, arm)).await.expect("the session before");
        let answer = seen.quit.unwrap_or_else(|| panic!("{what}: the session before was not healthy"));
        assert!(answer.starts_with("-ERR [SYS/TEMP]"), "{what}: {answer}");
        folder = bridge.stop().await;
        sim.refuse(false);
        assert_eq!(sim.faults_left(), 0, "{what}: the session before was not cut off");
    }

    // A healthy session needs more time than it takes to see that nothing comes.
    let patience = if kept.is_some() { "1500ms" } else { "400ms" };
    let mut bridge = None;
    if let Some(kept) = kept {
        let waiting = Local::start_in(&policy.settings(&sim, patience), folder).await;
        leave_connection(&waiting, &sim, kept, &what).await;
        bridge = Some(waiting);
        folder = tempfile::tempdir().expect("a folder");
    }
    if stale {
        let passing = sim.append("alice", "INBOX", b"Subject: passing\r\n\r\n", &[]);
        sim.remove("alice", "INBOX", passing);
        // The fault removes it itself.
        if !matches!(fault, Fault::UnsolicitedExpunge) {
            sim.remove("alice", "INBOX", 1);
        }
    }
    let bridge = match bridge {
        Some(bridge) => bridge,
        None => Local::start_in(&policy.settings(&sim, patience), folder).await,
    };
    if let Moment::Start(place, skip) = moment {
        sim.fault_behind(place, skip, fault.clone());
    }
    let arm = || {
        if let Moment::Quit(place, skip) = moment {
            sim.fault_behind(place, skip, fault.clone());
        }
    };
    let marks: &[&String] = if story == Story::Marks { &deleted } else { &[] };
    let seen = timeout(PATIENCE, session(&bridge, marks, arm)).await;
    let seen = seen.unwrap_or_else(|_| panic!("{what}: hangs"));
    let folder = timeout(PATIENCE, bridge.stop()).await.unwrap_or_else(|_| panic!("{what}: does not stop"));
    let struck = sim.faults_left() == 0;
    sim.clear_faults();
    run.intended |= seen.quit_sent;
    let refused = matches!((moment, &fault), (Moment::Start(Place::Login, 0), Fault::No(None)));
    let account = || Account::of(&sim, policy, stage.validity);
    run.session(&seen, refused, &account());
    run.nothing_is_lost(&account());
    let confirmed = story == Story::Marks && seen.quit.as_ref().is_some_and(|reply| reply.starts_with("+OK"));
    if confirmed && policy != Policy::Grace {
        run.is_done(&account());
    }

    let bridge = Local::start_in(&policy.settings(&sim, "30s"), folder).await;
    let mut sessions = 1;
    if policy == Policy::Grace && story == Story::Marks {
        run.next(&mut login(&bridge, &what).await, &account, confirmed, true).await;
        sleep(Duration::from_millis(1100)).await;
    } else if story == Story::Interrupted {
        sessions = 2;
    }
    for _ in 0..sessions {
        run.next(&mut login(&bridge, &what).await, &account, confirmed, false).await;
        run.nothing_is_lost(&account());
    }
    bridge.stop().await;
    struck
}

/// A healthy session, whose connection then waits for the next one.
async fn leave_connection(bridge: &Local, sim: &Server, kept: Kept, what: &str) {
    if kept == Kept::Mute {
        sim.adjust(|traits| traits.mute_idle = true);
    }
    let mut attempts = 0;
    loop {
        let seen = timeout(PATIENCE, session(bridge, &[], || ())).await.expect("the session before");
        bridge.settled(0).await;
        if seen.quit.is_some_and(|reply| reply.starts_with("+OK")) && sim.live_connections() == 1 {
            break;
        }
        attempts += 1;
        assert!(attempts < 10, "{what}: the session before is not healthy");
    }
    match kept {
        Kept::Silent => {}
        Kept::Killed => sim.kill_connections(),
        Kept::Idle | Kept::Mute => idling(sim, 1).await,
    }
}

async fn login(bridge: &Local, what: &str) -> Pop3 {
    let mut client = Pop3::connect(bridge.address()).await;
    client.ok("USER alice").await;
    let answer = client.command(&format!("PASS {PASSWORD}")).await;
    assert!(answer.starts_with("+OK"), "{what}: {answer}");
    client
}

fn short(fault: &Fault) -> String {
    let mut text = format!("{fault:?}");
    text.truncate(60);
    text
}

fn cases() -> Vec<(Case, Vec<Fault>)> {
    let mut cases = Vec::new();
    let kinds_for = |policy| match policy {
        Policy::Hide | Policy::Archive | Policy::Grace => kinds::few(),
        Policy::Trash | Policy::TrashByCopy | Policy::Flag | Policy::Expunge => kinds::all(),
    };
    for (policy, faults) in [(Policy::Hide, kinds::all()), (Policy::Trash, kinds::few())] {
        for &place in kinds::WAY {
            let case = Case {
                story: Story::Marks,
                policy,
                moment: Moment::Start(place, 0),
                cut: None,
                stale: false,
                kept: None,
            };
            cases.push((case, faults.clone()));
        }
    }
    for (policy, faults) in [(Policy::Hide, kinds::all()), (Policy::Trash, kinds::few())] {
        for &place in kinds::STALE {
            let moment = Moment::Start(place, 0);
            let case = Case { story: Story::Marks, policy, moment, cut: None, stale: true, kept: None };
            cases.push((case, faults.clone()));
        }
    }
    for policy in Policy::ALL {
        for moment in kinds::update(policy) {
            cases.push((
                Case { story: Story::Marks, policy, moment, cut: None, stale: false, kept: None },
                kinds_for(policy),
            ));
        }
    }
    let list = Moment::Start(Place::List, 0);
    let case = Case {
        story: Story::Marks,
        policy: Policy::Trash,
        moment: list,
        cut: None,
        stale: false,
        kept: None,
    };
    cases.push((case, kinds::all()));
    for &moment in kinds::DUE {
        let case =
            Case { story: Story::Due, policy: Policy::Grace, moment, cut: None, stale: false, kept: None };
        cases.push((case, kinds::few()));
    }
    for (policy, cut, moments) in kinds::cuts() {
        for moment in moments {
            cases.push((
                Case { story: Story::Interrupted, policy, moment, cut: Some(cut), stale: false, kept: None },
                kinds::few(),
            ));
        }
    }
    for (policy, kept, stale, moments) in kinds::kept() {
        for moment in moments {
            let case = Case { story: Story::Marks, policy, moment, cut: None, stale, kept: Some(kept) };
            cases.push((case, kinds::few()));
        }
    }
    cases
}

#[tokio::test(flavor = "multi_thread")]
async fn every_place_and_kind_keeps_the_promises() {
    let only = std::env::var("POPBRIDGE_FAULTS").unwrap_or_default();
    let mut stages: Vec<(Policy, bool, Arc<Stage>)> = Vec::new();
    let at_once = Arc::new(Semaphore::new(96));
    let mut runs = JoinSet::new();
    for (case, faults) in cases() {
        let due = case.story == Story::Due;
        let known = stages.iter().find(|(policy, was_due, _)| *policy == case.policy && *was_due == due);
        let stage = match known {
            Some((_, _, stage)) => Arc::clone(stage),
            None => {
                let story = if due { Story::Due } else { Story::Marks };
                let stage = Arc::new(Stage::new(case.policy, story).await);
                stages.push((case.policy, due, Arc::clone(&stage)));
                stage
            }
        };
        for fault in faults {
            let name = format!("{case:?} {fault:?}");
            if !only.split(',').all(|word| name.contains(word)) {
                continue;
            }
            let (at_once, stage) = (Arc::clone(&at_once), Arc::clone(&stage));
            runs.spawn(async move {
                let _permit = at_once.acquire().await.expect("never closed");
                (format!("{case:?}"), run(case, fault, stage).await)
            });
        }
    }
    let (mut count, mut broken) = (0, Vec::new());
    let mut strikes: BTreeMap<String, usize> = BTreeMap::new();
    while let Some(run) = runs.join_next().await {
        count += 1;
        match run {
            Ok((case, struck)) => *strikes.entry(case).or_default() += usize::from(struck),
            Err(panic) => {
                let panic = panic.into_panic();
                let words = panic.downcast_ref::<String>().cloned();
                broken.push(words.or_else(|| panic.downcast_ref::<&str>().map(|words| words.to_string())));
            }
        }
    }
    report(&format!("fault matrix: {count} runs"));
    broken.sort();
    assert!(broken.is_empty(), "{} of {count} runs: {broken:#?}", broken.len());
    let missed: Vec<&String> =
        strikes.iter().filter(|(_, struck)| **struck == 0).map(|(case, _)| case).collect();
    assert!(missed.is_empty() || !only.is_empty(), "no fault ever struck there: {missed:#?}");
}
