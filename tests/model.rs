//! Sessions, other clients and accidents at random, held step by step against a model that knows
//! nothing of how the bridge does it.
//!
//! The seed is printed; `POPBRIDGE_MODEL_SEED` chooses another one, `POPBRIDGE_MODEL_STEPS` how many
//! steps each policy takes.

mod support;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use imapsim::Server;
use popbridge::config::Database;
use popbridge::store::{MailboxName, Store};
use sqlx::{Connection, SqliteConnection};

use support::bridge::Settings;
use support::dovecot::PASSWORD;
use support::local::Local;
use support::mail::Rng;
use support::pop3::Pop3;
use support::report;

/// Both are the upstream's `alice`.
const LOGINS: [&str; 2] = ["alice", "scanner"];
const USER: &str = "alice";
/// Default of `max_new_share`, in percent.
const SHARE: usize = 10;

#[tokio::test]
async fn hide() {
    run(["hide", "trash"]).await;
}

#[tokio::test]
async fn trash() {
    run(["trash", "hide"]).await;
}

#[tokio::test]
async fn archive() {
    run(["archive", "hide"]).await;
}

#[tokio::test]
async fn flag() {
    run(["flag", "hide"]).await;
}

#[tokio::test]
async fn expunge() {
    run(["expunge", "flag"]).await;
}

/// What can be told apart by reading it: one message, or several identical ones.
type Class = usize;

/// How a login sees the messages of a class.
#[derive(Clone, Debug, Default)]
struct View {
    /// With the unique ids that were shown.
    visible: Vec<Option<String>>,
    hidden: usize,
    /// UIDVALIDITY has changed before all of them could be learnt: their ids and what was hidden
    /// are up to the bridge once.
    loose: bool,
}

struct Session {
    client: Pop3,
    /// Class, unique id, marked deleted.
    rows: Vec<(Class, String, bool)>,
    retrieved: BTreeSet<usize>,
    /// The UIDVALIDITY's number at the login.
    epoch: usize,
}

/// A message of the upstream as it was at one moment.
#[derive(Clone, Debug, PartialEq)]
struct Stored {
    uid: u32,
    class: Class,
    flags: BTreeSet<String>,
}

struct Model {
    sim: Server,
    bridge: Option<Local>,
    policies: [&'static str; 2],
    settings: Settings,
    database: PathBuf,
    rng: Rng,
    sessions: [Option<Session>; 2],
    bodies: Vec<Vec<u8>>,
    views: [BTreeMap<Class, View>; 2],
    /// Every unique id that a login was ever shown, and what it names.
    named: [HashMap<String, Class>; 2],
    /// How often UIDVALIDITY has changed, and at which of these a login last succeeded.
    epoch: usize,
    opened: Option<usize>,
    validities: Vec<u32>,
    /// Messages that were shown and cannot be recognised after the last change.
    at_risk: HashSet<Class>,
    /// How many of each class can be recognised behind it.
    learnt: HashMap<Class, usize>,
    /// What the present UIDs mean or meant.
    uids: HashMap<u32, Class>,
    /// What may be \Seen.
    seen: HashSet<Class>,
    counts: BTreeMap<&'static str, usize>,
    story: Story,
}

/// Told when a test fails.
struct Story {
    seed: u64,
    policies: [&'static str; 2],
    last: VecDeque<String>,
}

impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { seed, policies, last } = self;
            eprintln!("POPBRIDGE_MODEL_SEED={seed}, {policies:?}; the last steps:");
            for step in last {
                eprintln!("  {step}");
            }
        }
    }
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

async fn run(policies: [&'static str; 2]) {
    let seed = from_environment("POPBRIDGE_MODEL_SEED").unwrap_or(1);
    let steps = from_environment("POPBRIDGE_MODEL_STEPS").unwrap_or(2_000);
    let started = Instant::now();
    let mut model = Model::start(policies, seed).await;
    for step in 0..steps {
        model.step(step).await;
    }
    let counts = &model.counts;
    report(&format!("{policies:?}, seed {seed}: {steps} steps in {:.1?}: {counts:?}", started.elapsed()));
    for kind in ["login", "refused", "quit", "drop", "restart", "validity", "cache"] {
        let enough = counts.get(kind).is_some_and(|count| *count > 0);
        assert!(enough || steps < 1_000, "no {kind} in {steps} steps: {counts:?}");
    }
}

impl Model {
    async fn start(policies: [&'static str; 2], seed: u64) -> Self {
        let sim = Server::builder().user(USER, PASSWORD).start().await.expect("the simulator starts");
        // With what tells removals, and without it.
        sim.set_capability("QRESYNC", !matches!(policies[0], "hide" | "archive"));
        sim.create(USER, "Archive", None);
        sim.create(USER, "Work", None);
        let account = format!(
            "login = \"{}\"\nupstream = \"home\"\nusername = \"{USER}\"\n\
             maildrop = {{ on_delete = \"{}\", unique_id = \"dovecot\" }}",
            LOGINS[1], policies[1]
        );
        let settings = Settings::new(format!("imap://{}", sim.address()))
            .with("maildrop", &format!("on_delete = \"{}\"", policies[0]))
            .with("limits", "shutdown_grace = \"50ms\"")
            .with("[account]", &account);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let database = folder.path().join("popbridge.db");
        let bridge = Some(Local::start_in(&settings, folder).await);
        let validities = vec![sim.uid_validity(USER, "INBOX")];
        Self {
            sim,
            bridge,
            policies,
            settings,
            database,
            rng: Rng::new(seed ^ policies[0].bytes().map(u64::from).sum::<u64>() << 32),
            sessions: [None, None],
            bodies: Vec::new(),
            views: Default::default(),
            named: Default::default(),
            epoch: 0,
            opened: None,
            validities,
            at_risk: HashSet::new(),
            learnt: HashMap::new(),
            uids: HashMap::new(),
            seen: HashSet::new(),
            counts: BTreeMap::new(),
            story: Story { seed, policies, last: VecDeque::new() },
        }
    }

    fn note(&mut self, kind: &'static str, what: String) {
        *self.counts.entry(kind).or_default() += 1;
        if self.story.last.len() == 60 {
            self.story.last.pop_front();
        }
        self.story.last.push_back(format!("{kind} {what}"));
    }

    async fn step(&mut self, step: u64) {
        let login = self.rng.below(2);
        let open = self.sessions[login].is_some();
        match self.rng.below(1_000) {
            0..120 if !open => self.login(login).await,
            0..550 if open => self.command(login).await,
            550..660 if open => self.quit(login).await,
            660..700 if open => self.drop_session(login),
            700..850 => self.append(),
            850..890 => self.flag(),
            890..930 => self.take_away(),
            930..945 => self.expunge_flagged(),
            945..960 => self.clear_cache().await,
            960..970 => self.restart().await,
            970..990 => self.change_validity().await,
            _ if !open => self.login(login).await,
            _ => self.command(login).await,
        }
        self.settle_gone();
        let wrongly_seen = self
            .inbox()
            .into_iter()
            .find(|message| message.flags.contains("\\Seen") && !self.seen.contains(&message.class));
        assert_eq!(wrongly_seen, None, "step {step}: \\Seen, and nobody has read it");
    }

    // The upstream, as it is.

    fn stored(&self, folder: &str) -> Vec<Stored> {
        let messages = self.sim.messages(USER, folder).into_iter();
        messages
            .map(|message| Stored { uid: message.uid, class: class_of(&message.body), flags: message.flags })
            .collect()
    }

    fn inbox(&self) -> Vec<Stored> {
        self.stored("INBOX")
    }

    fn per_class(messages: &[Stored]) -> HashMap<Class, usize> {
        let mut counts = HashMap::new();
        for message in messages {
            *counts.entry(message.class).or_default() += 1;
        }
        counts
    }

    /// A class that has left the mailbox altogether is as if it had never been there.
    fn settle_gone(&mut self) {
        let inbox = self.inbox();
        self.uids.extend(inbox.iter().map(|message| (message.uid, message.class)));
        let there = Self::per_class(&inbox);
        for views in &mut self.views {
            views.retain(|class, _| there.contains_key(class));
        }
    }

    // The POP3 clients.

    async fn login(&mut self, login: usize) {
        let name = LOGINS[login];
        self.note("login", name.to_owned());
        let (mut client, mut answer) = self.connect(name).await;
        let inbox = self.inbox();
        let there = Self::per_class(&inbox);
        let allowed = inbox.len() / 100 * SHARE + inbox.len() % 100 * SHARE / 100;
        let first = self.opened.is_some_and(|opened| opened < self.epoch);
        if !answer.starts_with("+OK") {
            self.note("refused", format!("{name}: {answer}"));
            let expected = "-ERR [SYS/TEMP] The mail server has made the mailbox anew";
            assert!(answer.starts_with(expected), "{answer}");
            assert!(first, "nothing has changed");
            let strange = |(class, count): (&Class, &usize)| {
                count.saturating_sub(self.learnt.get(class).copied().unwrap_or_default())
            };
            let strange: usize = there.iter().map(strange).sum();
            assert!(strange > allowed, "refused for {strange} of {} messages", inbox.len());
            // The next one is refused without much ado.
            let headers = self.headers_fetched();
            client.ok(&format!("USER {name}")).await;
            let again = client.command(&format!("PASS {PASSWORD}")).await;
            assert!(again.starts_with(expected), "{again}");
            assert_eq!(self.headers_fetched(), headers, "headers are fetched again");
            drop(client);
            if self.rng.below(3) == 0 {
                return;
            }
            self.accept().await;
            (client, answer) = self.connect(name).await;
        } else if first {
            let risk = self.at_risk.iter().filter(|class| there.contains_key(class)).count();
            assert!(
                risk <= allowed,
                "{risk} of {} messages would be downloaded again: {:?}",
                inbox.len(),
                self.at_risk
            );
        }
        assert!(answer.starts_with("+OK"), "{answer}");
        self.opened = Some(self.epoch);
        self.at_risk.clear();
        let rows = self.read_listing(login, &mut client).await;
        self.check_listing(login, &rows, &there);
        let rows = rows.into_iter().map(|(class, id)| (class, id, false)).collect();
        let session = Session { client, rows, retrieved: BTreeSet::new(), epoch: self.epoch };
        self.sessions[login] = Some(session);
    }

    async fn connect(&self, name: &str) -> (Pop3, String) {
        let address = self.bridge.as_ref().expect("it runs").address();
        let mut client = Pop3::connect(address).await;
        client.ok(&format!("USER {name}")).await;
        let answer = client.command(&format!("PASS {PASSWORD}")).await;
        (client, answer)
    }

    fn headers_fetched(&self) -> usize {
        let commands = self.sim.commands();
        commands.iter().filter(|command| command.contains("RFC822.SIZE BODY.PEEK[HEADER]")).count()
    }

    /// As a person does who has read the log.
    async fn accept(&self) {
        let store = Store::open_existing(&Database::File(self.database.clone())).await.expect("it is there");
        let name = MailboxName { upstream: "home".into(), username: USER.into(), folder: "INBOX".into() };
        assert!(store.accept_renumbering(&name).await.expect("written"), "nothing was refused");
        store.close().await;
    }

    /// The unique-id listing with what each message is, by its own word.
    async fn read_listing(&mut self, login: usize, client: &mut Pop3) -> Vec<(Class, String)> {
        let ids = client.uidl().await;
        let sizes = client.list().await;
        assert!(ids.iter().map(|(number, _)| number).eq(sizes.iter().map(|(number, _)| number)));
        assert!(ids.iter().map(|(number, _)| *number).eq(1..=ids.len()));
        let mut rows = Vec::new();
        for ((number, id), (_, size)) in ids.into_iter().zip(sizes) {
            let known = self.named[login].get(&id).copied();
            let class = match known {
                Some(class) if self.rng.below(4) > 0 && size == self.bodies[class].len() as u64 => class,
                _ => class_of(&client.top(number, 0).await),
            };
            assert!(known.is_none_or(|known| known == class), "{id} was {known:?} and is now {class}");
            assert_eq!(size, self.bodies[class].len() as u64);
            rows.push((class, id));
        }
        rows
    }

    fn check_listing(&mut self, login: usize, rows: &[(Class, String)], there: &HashMap<Class, usize>) {
        let different: HashSet<&String> = rows.iter().map(|(_, id)| id).collect();
        assert_eq!(different.len(), rows.len(), "unique ids are not unique");
        let mut shown: BTreeMap<Class, Vec<&String>> =
            there.keys().map(|class| (*class, Vec::new())).collect();
        for (class, id) in rows {
            shown.get_mut(class).unwrap_or_else(|| panic!("{class} is listed and not there")).push(id);
        }
        for (class, ids) in shown {
            let there = there[&class];
            let named = &mut self.named[login];
            let view = self.views[login].entry(class).or_default();
            let fresh = ids.iter().filter(|id| !named.contains_key(**id)).count();
            let what = format!("{class} as {ids:?}, {there} there, {view:?}");
            assert!(ids.len() <= there, "too many: {what}");
            if !view.loose {
                let gone = (view.visible.len() + view.hidden).checked_sub(there);
                let gone = gone.unwrap_or_else(|| panic!("the model lost some: {what}"));
                assert!(ids.len() <= view.visible.len(), "what was hidden is back: {what}");
                assert!(ids.len() + gone >= view.visible.len(), "something is missing: {what}");
                let unseen = view.visible.iter().filter(|id| id.is_none()).count();
                assert!(fresh <= unseen, "a unique id has changed: {what}");
                let known = ids.iter().filter(|id| named.contains_key(**id));
                for id in known {
                    let own = view.visible.iter().flatten().any(|visible| visible == *id);
                    assert!(own, "{id} is back: {what}");
                }
            }
            view.visible = ids.iter().map(|id| Some((*id).clone())).collect();
            view.hidden = there - ids.len();
            view.loose = false;
            named.extend(ids.into_iter().map(|id| (id.clone(), class)));
        }
    }

    async fn command(&mut self, login: usize) {
        let Some(mut session) = self.sessions[login].take() else { return };
        let count = session.rows.len();
        let at = if count == 0 { 0 } else { self.rng.below(count) };
        let number = at + 1;
        let marked = session.rows.get(at).is_none_or(|row| row.2);
        match self.rng.below(20) {
            0..8 => {
                let top = self.rng.below(3) == 0;
                let command = if top { format!("TOP {number} 9999") } else { format!("RETR {number}") };
                self.note("retrieve", format!("{}: {command}", LOGINS[login]));
                if marked {
                    session.client.err(&command).await;
                } else if !self.retrieve(login, &mut session, at, &command).await {
                    return;
                }
            }
            8..16 => {
                self.note("dele", format!("{} {number}", LOGINS[login]));
                let command = format!("DELE {number}");
                if marked {
                    session.client.err(&command).await;
                } else {
                    session.client.ok(&command).await;
                    session.rows[at].2 = true;
                }
            }
            16 => {
                self.note("rset", LOGINS[login].to_owned());
                session.client.ok("RSET").await;
                for row in &mut session.rows {
                    row.2 = false;
                }
            }
            17 => {
                let expected = (1..).zip(&session.rows).filter(|(_, row)| !row.2);
                let expected: Vec<(usize, String)> =
                    expected.map(|(number, row)| (number, row.1.clone())).collect();
                assert_eq!(session.client.uidl().await, expected, "the listing is frozen");
            }
            18 => {
                let expected = (1..).zip(&session.rows).filter(|(_, row)| !row.2);
                let expected: Vec<(usize, u64)> =
                    expected.map(|(number, row)| (number, self.bodies[row.0].len() as u64)).collect();
                assert_eq!(session.client.list().await, expected, "the listing is frozen");
            }
            _ if !marked => {
                let answer = session.client.ok(&format!("UIDL {number}")).await;
                assert_eq!(answer, format!("+OK {number} {}", session.rows[at].1));
            }
            _ => {
                session.client.err(&format!("UIDL {number}")).await;
            }
        }
        self.sessions[login] = Some(session);
    }

    /// Whether the session goes on.
    async fn retrieve(&mut self, login: usize, session: &mut Session, at: usize, command: &str) -> bool {
        let (class, id) = (session.rows[at].0, session.rows[at].1.clone());
        let valid = session.epoch == self.epoch;
        let must = valid && self.surely_there(login, class, &id);
        let answer = session.client.command(command).await;
        if !answer.starts_with("+OK") {
            assert!(answer.starts_with("-ERR"), "{answer}");
            assert!(!must, "{class} is there: {answer}");
            return true;
        }
        // Whatever else happens: what is sent is the message.
        let mut body = Vec::new();
        let ended = session.client.body_until(&mut body, usize::MAX).await;
        if ended.is_err() {
            assert!(!must, "{class} broke off");
            return false;
        }
        assert!(body == self.bodies[class], "{id} is not {class}: {}", String::from_utf8_lossy(&body));
        self.seen.insert(class);
        if command.starts_with("RETR") && must {
            session.retrieved.insert(at);
        }
        true
    }

    /// That the message which a login knows by this id is still in the mailbox.
    fn surely_there(&self, login: usize, class: Class, id: &str) -> bool {
        let count = self.inbox().iter().filter(|message| message.class == class).count();
        self.views[login].get(&class).is_some_and(|view| {
            let known = view.visible.iter().flatten().any(|visible| visible == id);
            !view.loose && known && view.visible.len() + view.hidden == count
        })
    }

    fn drop_session(&mut self, login: usize) {
        if let Some(session) = self.sessions[login].take() {
            self.note("drop", LOGINS[login].to_owned());
            session.client.abort();
        }
    }

    async fn quit(&mut self, login: usize) {
        let Some(mut session) = self.sessions[login].take() else { return };
        let policy = self.policies[login];
        let target = match policy {
            "trash" => Some("Trash"),
            "archive" => Some("Archive"),
            _ => None,
        };
        let before = self.inbox();
        let others = ["Trash", "Archive", "Work"];
        let others_before = others.map(|folder| self.stored(folder));
        let answer = session.client.command("QUIT").await;
        let done = answer.starts_with("+OK");
        self.note("quit", format!("{}: {answer}", LOGINS[login]));
        assert!(session.client.rest().await.is_empty());
        let after = self.inbox();
        let others_after = others.map(|folder| self.stored(folder));

        let mut marked: BTreeMap<Class, Vec<String>> = BTreeMap::new();
        for (class, id, _) in session.rows.iter().filter(|row| row.2) {
            marked.entry(*class).or_default().push(id.clone());
        }
        let valid = session.epoch == self.epoch;
        let must =
            marked.is_empty() || if policy == "hide" { Some(session.epoch) == self.opened } else { valid };
        assert_eq!(done, must, "{answer}");
        let acts = |class: &Class| valid && policy != "hide" && marked.contains_key(class);

        // Nothing that was not marked changes, but for \Seen on what was retrieved.
        let unseen = |messages: &[Stored]| -> Vec<Stored> {
            let mut messages: Vec<Stored> =
                messages.iter().filter(|message| !acts(&message.class)).cloned().collect();
            for message in &mut messages {
                message.flags.remove("\\Seen");
            }
            messages
        };
        assert_eq!(unseen(&before), unseen(&after));
        let (count_before, count_after) = (Self::per_class(&before), Self::per_class(&after));
        let flagged = |messages: &[Stored], class: Class| {
            let own = messages.iter().filter(|message| message.class == class);
            own.filter(|message| message.flags.contains("\\Deleted")).count()
        };
        for (class, ids) in &marked {
            let there = count_before.get(class).copied().unwrap_or_default();
            let left = count_after.get(class).copied().unwrap_or_default();
            let view = self.views[login].get(class).cloned().unwrap_or_default();
            let known = |id: &&String| view.visible.iter().flatten().any(|visible| visible == *id);
            let found = ids.iter().filter(known).count();
            let gone = (view.visible.len() + view.hidden).saturating_sub(there);
            let least = found.saturating_sub(gone);
            let what = format!("{class}: {there} became {left}, {ids:?} of {view:?}");
            let removes = valid && matches!(policy, "trash" | "archive" | "expunge");
            if removes && !view.loose {
                assert!((least..=found).contains(&(there - left)), "{what}");
            } else if !removes {
                assert_eq!(there, left, "{what}");
            }
            if valid && policy == "flag" && !view.loose {
                assert!(flagged(&after, *class) >= least, "{what}");
                assert!(flagged(&after, *class) <= flagged(&before, *class) + found, "{what}");
            }
            for ((folder, before), after) in others.iter().zip(&others_before).zip(&others_after) {
                let before = before.iter().filter(|message| message.class == *class).count();
                let after = after.iter().filter(|message| message.class == *class).count();
                let came = if target == Some(folder) { there - left } else { 0 };
                assert_eq!(after, before + came, "{folder}: {what}");
            }
            if !done {
                continue;
            }
            let view = self.views[login].entry(*class).or_default();
            let listed = view.visible.len();
            view.visible.retain(|id| id.as_ref().is_none_or(|id| !ids.contains(id)));
            if !removes {
                view.hidden += listed - view.visible.len();
            }
            self.seen.insert(*class);
        }
        let (count_others_before, count_others_after) =
            (others_before.map(|stored| stored.len()), others_after.map(|stored| stored.len()));
        if !valid || marked.is_empty() {
            assert_eq!(count_others_before, count_others_after);
        }
        // What was retrieved is marked read.
        for at in session.retrieved.iter().filter(|_| valid) {
            let (class, id, _) = &session.rows[*at];
            if there_once(&after, *class) && self.surely_there(login, *class, id) {
                let read = after.iter().find(|message| message.class == *class);
                assert!(
                    read.is_some_and(|message| message.flags.contains("\\Seen")),
                    "{class} is not \\Seen"
                );
            }
        }
    }

    // The other client.

    fn append(&mut self) {
        let inbox = self.inbox();
        // Some that were taken away come back.
        let work = self.stored("Work");
        let class = match self.rng.below(10) {
            0 if !inbox.is_empty() => inbox[self.rng.below(inbox.len())].class,
            1 | 2 if !work.is_empty() => {
                let back = work[self.rng.below(work.len())].clone();
                self.sim.remove(USER, "Work", back.uid);
                back.class
            }
            _ => {
                let body = self.compose();
                self.bodies.push(body);
                self.bodies.len() - 1
            }
        };
        let flags: &[&str] = match self.rng.below(6) {
            0 => &["\\Seen"],
            1 => &["\\Flagged", "$Label1"],
            _ => &[],
        };
        if flags.contains(&"\\Seen") {
            self.seen.insert(class);
        }
        let uid = self.sim.append(USER, "INBOX", &self.bodies[class], flags);
        self.note("append", format!("{class} as {uid}"));
        let renumbered = self.opened.is_some_and(|opened| opened < self.epoch);
        for views in &mut self.views {
            let view = views.entry(class).or_default();
            view.visible.push(None);
            // What was known of it when it was taken away may be known of it again.
            view.loose |= renumbered;
        }
    }

    fn compose(&mut self) -> Vec<u8> {
        let token = self.bodies.len();
        let id = match self.rng.below(8) {
            0 => String::new(),
            // Several with one Message-ID and one Date.
            1 => "Message-ID: <same@example.org>\r\n".to_owned(),
            _ => format!("Message-ID: <{token}@example.org>\r\n"),
        };
        let mut text = format!(
            "{id}Date: Mon, 01 Jan 2024 10:00:00 +0000\r\nX-Token: {token}\r\nSubject: a message\r\n\r\n"
        );
        for line in 0..self.rng.below(12) {
            text.push_str([".\r\n", "..\r\n", "a line\r\n", "\r\n"][(line + token) % 4]);
        }
        text.push_str("end\r\n");
        text.into_bytes()
    }

    fn flag(&mut self) {
        let inbox = self.inbox();
        if inbox.is_empty() {
            return;
        }
        let message = &inbox[self.rng.below(inbox.len())];
        let flags: &[&str] = match self.rng.below(6) {
            0 => &[],
            1 | 2 => &["\\Seen"],
            3 => &["\\Deleted"],
            4 => &["\\Deleted", "\\Seen"],
            _ => &["\\Flagged", "\\Answered"],
        };
        if flags.contains(&"\\Seen") {
            self.seen.insert(message.class);
        }
        self.sim.set_flags(USER, "INBOX", message.uid, flags);
        self.note("flags", format!("{} {flags:?}", message.uid));
    }

    /// Moves a few messages away, many if the mailbox has grown large.
    fn take_away(&mut self) {
        let inbox = self.inbox();
        let count = if inbox.len() > 40 { 20 } else { 1 };
        for _ in 0..count.min(inbox.len()) {
            let inbox = self.inbox();
            let message = &inbox[self.rng.below(inbox.len())];
            if self.rng.below(2) == 0 {
                let flags: Vec<&str> = message.flags.iter().map(String::as_str).collect();
                self.sim.append(USER, "Work", &self.bodies[message.class], &flags);
            }
            self.sim.remove(USER, "INBOX", message.uid);
            self.note("away", format!("{} ({})", message.uid, message.class));
            self.settle_gone();
        }
    }

    fn expunge_flagged(&mut self) {
        let flagged: Vec<Stored> =
            self.inbox().into_iter().filter(|message| message.flags.contains("\\Deleted")).collect();
        for message in flagged {
            self.sim.remove(USER, "INBOX", message.uid);
            self.note("expunged", format!("{} ({})", message.uid, message.class));
        }
    }

    // Accidents.

    async fn clear_cache(&mut self) {
        self.note("cache", String::new());
        self.sql("DELETE FROM listing").await;
    }

    async fn sql(&self, sql: &'static str) {
        let mut database = self.open().await;
        sqlx::raw_sql(sql).execute(&mut database).await.expect("a good statement");
        database.close().await.expect("closed");
    }

    async fn open(&self) -> SqliteConnection {
        SqliteConnection::connect(&self.database.display().to_string()).await.expect("it opens")
    }

    async fn restart(&mut self) {
        self.note("restart", String::new());
        if self.rng.below(2) == 0 {
            (0..2).for_each(|login| self.drop_session(login));
        }
        let folder = self.bridge.take().expect("it runs").stop().await;
        self.sessions = [None, None];
        self.bridge = Some(Local::start_in(&self.settings, folder).await);
    }

    async fn change_validity(&mut self) {
        let outdated = |session: &Session| session.epoch != self.epoch;
        for login in 0..2 {
            if self.sessions[login].as_ref().is_some_and(outdated) {
                self.sessions[login] = None;
            }
        }
        let validity = self.sim.uid_validity(USER, "INBOX");
        self.wait_for_closing().await;
        let mut known = self.known_uids(validity).await;
        // An open session whose connection broke is counted for one that is still learning.
        loop {
            tokio::time::sleep(Duration::from_millis(25)).await;
            let before = std::mem::replace(&mut known, self.known_uids(validity).await);
            if before == known {
                break;
            }
        }
        if self.opened == Some(self.epoch) {
            let mut learnt: HashMap<Class, usize> = HashMap::new();
            let inbox = self.inbox();
            for message in inbox.iter().filter(|message| known.contains(&message.uid)) {
                *learnt.entry(message.class).or_default() += 1;
            }
            for (class, count) in Self::per_class(&inbox) {
                if learnt.get(&class).copied().unwrap_or_default() == count {
                    continue;
                }
                for views in &mut self.views {
                    let view = views.entry(class).or_default();
                    if count == 1 && (view.hidden > 0 || view.visible.iter().any(Option::is_some)) {
                        self.at_risk.insert(class);
                    }
                    view.loose = true;
                }
            }
            self.learnt = learnt;
            // One that came back may be recognised by what was known before it went.
            let gone = known.iter().filter(|uid| inbox.iter().all(|message| message.uid != **uid));
            gone.filter_map(|uid| self.uids.get(uid)).for_each(|class| _ = self.at_risk.remove(class));
        }
        self.uids.clear();
        let how = match self.rng.below(3) {
            0 => {
                self.sim.change_uid_validity(USER, "INBOX");
                "in order"
            }
            1 => {
                let seed = self.rng.next();
                self.sim.renumber_shuffled(USER, "INBOX", seed);
                "shuffled"
            }
            _ => {
                let former = self.validities[self.rng.below(self.validities.len())];
                // There and back with other UIDs between two logins: nobody could tell.
                let last_seen = self.opened.map(|opened| self.validities[opened]);
                if former == validity || Some(former) == last_seen {
                    self.sim.change_uid_validity(USER, "INBOX");
                } else {
                    self.sim.set_uid_validity(USER, "INBOX", former);
                }
                "a former one"
            }
        };
        self.epoch += 1;
        self.validities.push(self.sim.uid_validity(USER, "INBOX"));
        self.note("validity", format!("{how}, {:?}", self.validities.last()));
    }

    /// Until ended sessions have left their upstream connections.
    async fn wait_for_closing(&self) {
        let open = self.sessions.iter().flatten().count();
        self.bridge.as_ref().expect("it runs").settled(open).await;
    }

    /// The UIDs that can be recognised.
    async fn known_uids(&self, validity: u32) -> HashSet<u32> {
        let mut database = self.open().await;
        let sql = "SELECT key.uid FROM message_key key JOIN mailbox ON mailbox.id = key.mailbox \
                   WHERE mailbox.current = 1 AND mailbox.uid_validity = $1";
        let rows: Vec<(u32,)> =
            sqlx::query_as(sql).bind(validity).fetch_all(&mut database).await.expect("a good query");
        database.close().await.expect("closed");
        rows.into_iter().map(|(uid,)| uid).collect()
    }
}

fn there_once(messages: &[Stored], class: Class) -> bool {
    messages.iter().filter(|message| message.class == class).count() == 1
}

/// By the token in the header.
fn class_of(message: &[u8]) -> Class {
    let token = support::mail::field(message, "X-Token").expect("a header with a token");
    token.parse().expect("a number")
}
