//! The rows of the table, and how large they are in a full and in a quick run.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

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
    polls: usize,
    pollers: usize,
    idle: usize,
    /// What a measurement, or the login before it, may take.
    pub limit: Duration,
}

pub const FULL: Sizes = Sizes {
    small: 2_000,
    big: 20,
    big_octets: 25_000_000,
    many: 100_000,
    polls: 20,
    pollers: 200,
    idle: 200,
    limit: Duration::from_secs(300),
};

pub const QUICK: Sizes = Sizes {
    small: 200,
    big: 4,
    big_octets: 5_000_000,
    many: 5_000,
    polls: 10,
    pollers: 20,
    idle: 20,
    limit: Duration::from_secs(60),
};

/// Each way; a round trip takes twice as long.
const FAR: Duration = Duration::from_millis(20);
const DIRECT: Duration = Duration::ZERO;

const SMALL_OCTETS: usize = 8_192;
const MANY_OCTETS: usize = 1_000;
/// A mailbox that is polled has so many messages of so many octets.
const POLLED: usize = 100;
const POLLED_OCTETS: usize = 2_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mail {
    Small,
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
    pub work: Work,
}

pub fn rows(sizes: &Sizes) -> Vec<Row> {
    let Sizes { small, big, big_octets, many, polls, pollers, idle, .. } = *sizes;
    let megabytes = big_octets / 1_000_000;
    let kinds = [
        ("retr", format!("{small} × 8 KB, one RETR after another"), Mail::Small, true, retrieve(1)),
        ("pipelined", format!("{small} × 8 KB, 64 RETR pipelined"), Mail::Small, true, retrieve(64)),
        ("big", format!("{big} × {megabytes} MB, one RETR after another"), Mail::Big, true, retrieve(1)),
        ("first", format!("first login ever, {small}"), Mail::Small, false, Work::Listing),
        ("first-many", format!("first login ever, {many}"), Mail::Many, false, Work::Listing),
        ("later-many", format!("later login, {many}, nothing new"), Mail::Many, true, Work::Listing),
        ("poll", format!("poll of {POLLED}, nothing new"), Mail::Polled, true, Work::Poll { times: polls }),
        ("top", format!("{small} × `TOP n 0`, one after another"), Mail::Small, true, Work::Headers),
        ("pollers", format!("{pollers} pollers at once"), Mail::Polled, true, Work::Pollers),
        ("idle", "an idle session".to_owned(), Mail::Polled, true, Work::Idle { sessions: idle }),
        ("start", "start to first greeting".to_owned(), Mail::Polled, false, Work::Start),
    ];
    let mut rows = Vec::new();
    for (name, title, mail, warm, work) in kinds {
        let row = |name, title, delay| Row { name, title, mail, delay, warm, work };
        let far = match name {
            "retr" => Some("retr-far"),
            "pipelined" => Some("pipelined-far"),
            "first" => Some("first-far"),
            "poll" => Some("poll-far"),
            "top" => Some("top-far"),
            _ => None,
        };
        if name != "top" {
            rows.push(row(name, title.clone(), DIRECT));
        }
        if let Some(far) = far {
            rows.push(row(far, format!("{title}, at 40 ms"), FAR));
        }
    }
    rows
}

fn retrieve(depth: usize) -> Work {
    Work::Retrieve { depth }
}

/// Lays in what the rows need.
pub fn mail(upstream: &Dovecot, sizes: &Sizes, rows: &[Row]) -> HashMap<Mail, Arc<Mailbox>> {
    let mut laid = HashMap::new();
    for row in rows {
        laid.entry(row.mail).or_insert_with(|| {
            eprintln!("laying in: {:?}", row.mail);
            let mailbox = match row.mail {
                Mail::Small => Mailbox::lay(upstream, "small", sizes.small, SMALL_OCTETS),
                Mail::Big => Mailbox::lay(upstream, "big", sizes.big, sizes.big_octets),
                Mail::Many => Mailbox::lay(upstream, "many", sizes.many, MANY_OCTETS),
                Mail::Polled => {
                    let users = sizes.pollers.max(sizes.idle + 1);
                    Mailbox::lay(upstream, "polled", POLLED, POLLED_OCTETS).share(upstream, users)
                }
            };
            Arc::new(mailbox)
        });
    }
    laid
}
