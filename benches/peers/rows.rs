//! The rows of the table, and how large they are in a full and in a quick run.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::contender::Kind;
use crate::mailbox::Mailbox;
use crate::support::dovecot::Dovecot;
use crate::work::Work;

#[derive(Clone, Copy)]
pub struct Sizes {
    /// Messages of 8 KB.
    small: usize,
    /// Big messages, and the octets of each.
    big: usize,
    big_octets: usize,
    /// Messages of 1 KB.
    many: usize,
    /// One after another, direct and at 40 ms.
    polls: usize,
    polls_far: usize,
    /// At once, and how often each.
    pollers: usize,
    polls_each: usize,
    /// Of popbridge, and of the others, whose sessions are processes.
    idle: usize,
    idle_others: usize,
    /// What a measurement, or the login before it, may take.
    pub limit: Duration,
}

pub const FULL: Sizes = Sizes {
    small: 2_000,
    big: 20,
    big_octets: 25_000_000,
    many: 100_000,
    polls: 200,
    polls_far: 20,
    pollers: 200,
    polls_each: 10,
    idle: 5_000,
    idle_others: 200,
    limit: Duration::from_secs(300),
};

pub const QUICK: Sizes = Sizes {
    small: 200,
    big: 4,
    big_octets: 5_000_000,
    many: 5_000,
    polls: 50,
    polls_far: 10,
    pollers: 20,
    polls_each: 10,
    idle: 200,
    idle_others: 20,
    limit: Duration::from_secs(60),
};

/// Each way; a round trip takes twice as long.
const FAR: Duration = Duration::from_millis(20);

const SMALL_OCTETS: usize = 8_192;
const MANY_OCTETS: usize = 1_000;
/// A mailbox that is polled has so many messages of so many octets.
const POLLED: usize = 100;
const POLLED_OCTETS: usize = 2_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mail {
    Small,
    /// The same for many users, since it is deleted.
    Spent,
    Big,
    Many,
    Polled,
}

pub struct Row {
    /// By which it is asked for.
    pub name: &'static str,
    pub title: String,
    pub mail: Mail,
    pub delay: Duration,
    /// The users have logged in before.
    pub warm: bool,
    /// popbridge keeps the connections of the sessions before.
    pub kept: bool,
    pub work: Work,
}

impl Row {
    fn new(name: &'static str, title: String, mail: Mail, work: Work) -> Self {
        Self { name, title, mail, delay: Duration::ZERO, warm: true, kept: false, work }
    }

    fn first(self) -> Self {
        Self { warm: false, ..self }
    }

    fn kept(self) -> Self {
        Self { title: format!("{}, connection kept", self.title), kept: true, ..self }
    }

    fn far(self) -> Self {
        Self { title: format!("{}, at 40 ms", self.title), delay: FAR, ..self }
    }
}

pub fn rows(sizes: &Sizes) -> Vec<Row> {
    let Sizes { small, big, big_octets, many, .. } = *sizes;
    let retrieve = |name, depth| {
        let how =
            if depth == 1 { "one RETR after another".to_owned() } else { format!("{depth} RETR pipelined") };
        Row::new(name, format!("{small} × 8 KB, {how}"), Mail::Small, Work::Retrieve { depth })
    };
    let large = format!("{big} × {} MB, one RETR after another", big_octets / 1_000_000);
    let first =
        |name, count, mail| Row::new(name, format!("first login ever, {count}"), mail, Work::Listing).first();
    let later = |name| Row::new(name, format!("later login, {many}, nothing new"), Mail::Many, Work::Listing);
    let poll = |name, times| {
        Row::new(name, format!("poll of {POLLED}, nothing new"), Mail::Polled, Work::Poll { times })
    };
    let top = format!("{small} × `TOP n 0`, one after another");
    let fetchmail = |name, mail, keep| {
        let how = if keep { "keep" } else { "nokeep" };
        Row::new(name, format!("fetchmail, {how}, {small} × 8 KB"), mail, Work::Fetchmail { keep })
    };
    let pollers = |name| {
        let title = format!("{} pollers at once, {} polls each", sizes.pollers, sizes.polls_each);
        Row::new(name, title, Mail::Polled, Work::Pollers { users: sizes.pollers, times: sizes.polls_each })
    };
    let idle = format!("an idle session, of {} (others: {})", sizes.idle, sizes.idle_others);
    vec![
        retrieve("retr", 1),
        retrieve("retr-far", 1).far(),
        retrieve("pipelined", 64),
        retrieve("pipelined-far", 64).far(),
        Row::new("big", large, Mail::Big, Work::Retrieve { depth: 1 }),
        Row::new("top-far", top, Mail::Small, Work::Headers).far(),
        first("first", small, Mail::Small),
        first("first-far", small, Mail::Small).far(),
        first("first-many", many, Mail::Many),
        later("later-many"),
        later("later-kept").kept(),
        later("later-far").far(),
        later("later-kept-far").kept().far(),
        poll("poll", sizes.polls),
        poll("poll-kept", sizes.polls).kept(),
        poll("poll-far", sizes.polls_far).far(),
        poll("poll-kept-far", sizes.polls_far).kept().far(),
        fetchmail("fetchmail-keep-far", Mail::Small, true).far(),
        fetchmail("fetchmail-nokeep-far", Mail::Spent, false).far(),
        pollers("pollers").kept(),
        pollers("pollers-fresh"),
        Row::new("idle", idle, Mail::Polled, Work::Idle { sessions: sizes.idle, others: sizes.idle_others }),
        Row::new("start", "start to first greeting".to_owned(), Mail::Polled, Work::Start).first(),
    ]
}

/// Lays in what the rows need in so many rounds.
pub fn mail(upstream: &Dovecot, sizes: &Sizes, rows: &[Row], rounds: usize) -> HashMap<Mail, Arc<Mailbox>> {
    let mut laid = HashMap::new();
    for row in rows {
        laid.entry(row.mail).or_insert_with(|| {
            eprintln!("laying in: {:?}", row.mail);
            let mailbox = match row.mail {
                Mail::Small => Mailbox::lay(upstream, "small", sizes.small, SMALL_OCTETS),
                Mail::Spent => {
                    let users = rounds * Kind::ALL.len();
                    Mailbox::lay(upstream, "spent", sizes.small, SMALL_OCTETS).share(upstream, users)
                }
                Mail::Big => Mailbox::lay(upstream, "big", sizes.big, sizes.big_octets),
                Mail::Many => Mailbox::lay(upstream, "many", sizes.many, MANY_OCTETS),
                Mail::Polled => {
                    let users = sizes.pollers.max(sizes.idle_others + 1);
                    Mailbox::lay(upstream, "polled", POLLED, POLLED_OCTETS).share(upstream, users)
                }
            };
            Arc::new(mailbox)
        });
    }
    laid
}
