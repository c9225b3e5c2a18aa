//! What a client does in one measurement.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::contender::{Kind, Running};
use crate::fetchmail;
use crate::mailbox::Mailbox;
use crate::pop3::{Command, Pop3};
use crate::raw::Raw;
use crate::relay::Traffic;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A session that retrieves everything, so many messages asked for at once.
    Retrieve { depth: usize },
    /// A session that asks for everybody's header with `TOP n 0`, one after another.
    Headers,
    /// A login, to the end of LIST.
    Listing,
    /// So many sessions one after another, each with STAT and UIDL alone.
    Poll { times: usize },
    /// The same for so many users at once.
    Pollers { users: usize, times: usize },
    /// fetchmail takes everything, and deletes it unless it is to be kept.
    Fetchmail { keep: bool },
    /// So many sessions that have logged in and say nothing more: of popbridge, of the others.
    Idle { sessions: usize, others: usize },
    /// The process starts.
    Start,
}

impl Work {
    /// How many sessions that is.
    pub fn sessions(self) -> usize {
        match self {
            Self::Poll { times } => times,
            Self::Pollers { users, times } => users * times,
            _ => 1,
        }
    }
}

/// When it was done.
pub struct Done {
    pub time: Duration,
    /// What the link had carried then.
    pub traffic: Traffic,
    /// From the first RETR to the first octet of its message.
    pub first_octet: Option<Duration>,
}

/// Logs these users in once, so that what can be remembered is.
pub async fn warm_up(
    kind: Kind,
    address: SocketAddr,
    users: &[String],
    mailbox: &Arc<Mailbox>,
) -> Result<()> {
    const AT_ONCE: usize = 10;
    if kind == Kind::Raw {
        return Ok(());
    }
    for users in users.chunks(AT_ONCE) {
        let mut logins = JoinSet::new();
        for user in users {
            let (user, mailbox) = (user.clone(), Arc::clone(mailbox));
            logins.spawn(async move {
                let mut pop3 = Pop3::login(address, &user).await?;
                pop3.list(&mailbox.sizes).await?;
                pop3.uidl(mailbox.len()).await?;
                pop3.quit().await
            });
        }
        while let Some(login) = logins.join_next().await {
            login??;
        }
    }
    Ok(())
}

pub async fn run(work: Work, kind: Kind, running: &Running, mailbox: &Arc<Mailbox>) -> Result<Done> {
    let address = running.address();
    let start = Instant::now();
    let user = mailbox.users[0].as_str();
    let mut first_octet = None;
    let now = || (Instant::now(), running.traffic());
    let mut end = None;
    match (work, kind) {
        (Work::Retrieve { .. } | Work::Headers, Kind::Raw) => {
            let mut raw = Raw::login(address, user).await?;
            let asked = Instant::now();
            match work {
                Work::Headers => raw.fetch(&mailbox.headers, "BODY.PEEK[HEADER]").await?,
                _ => raw.fetch(&mailbox.bodies, "BODY.PEEK[]").await?,
            }
            first_octet = raw.first_octet.map(|octet| octet - asked);
            raw.logout().await?;
        }
        (Work::Retrieve { .. } | Work::Headers, _) => {
            let mut pop3 = Pop3::login(address, user).await?;
            pop3.command("STAT").await?;
            let asked = Instant::now();
            match work {
                Work::Retrieve { depth } => pop3.fetch(&mailbox.bodies, depth, Command::Retr).await?,
                _ => pop3.fetch(&mailbox.headers, 1, Command::Top).await?,
            }
            first_octet = pop3.first_octet.map(|octet| octet - asked);
            pop3.quit().await?;
        }
        (Work::Listing, Kind::Raw) => {
            let mut raw = Raw::login(address, user).await?;
            raw.sizes(&mailbox.sizes).await?;
            end = Some(now());
            raw.logout().await?;
        }
        (Work::Listing, _) => {
            let mut pop3 = Pop3::login(address, user).await?;
            pop3.list(&mailbox.sizes).await?;
            end = Some(now());
            pop3.quit().await?;
        }
        (Work::Poll { times }, _) => {
            for _ in 0..times {
                poll(kind, address, user, mailbox.len()).await?;
            }
        }
        (Work::Pollers { users, times }, _) => {
            let together = Arc::new(Barrier::new(users));
            let mut polls = JoinSet::new();
            for user in &mailbox.users[..users] {
                let (user, together, count) = (user.clone(), Arc::clone(&together), mailbox.len());
                polls.spawn(async move {
                    together.wait().await;
                    for _ in 0..times {
                        poll(kind, address, &user, count).await?;
                    }
                    anyhow::Ok(())
                });
            }
            while let Some(poll) = polls.join_next().await {
                poll??;
            }
        }
        (Work::Fetchmail { keep }, _) => {
            let time = fetchmail::run(address, user, keep, mailbox).await?;
            end = Some((start + time, running.traffic()));
        }
        // They have no work of this kind.
        (Work::Idle { .. } | Work::Start, _) => {}
    }
    let (end, traffic) = end.unwrap_or_else(now);
    Ok(Done { time: end - start, traffic, first_octet })
}

async fn poll(kind: Kind, address: SocketAddr, user: &str, count: usize) -> Result<()> {
    if kind == Kind::Raw {
        return Raw::login(address, user).await?.logout().await;
    }
    let mut pop3 = Pop3::login(address, user).await?;
    pop3.command("STAT").await?;
    pop3.uidl(count).await?;
    pop3.quit().await
}

/// Sessions that have logged in and listed; they last as long as the value.
pub async fn open_idle(users: &[String], address: SocketAddr, mailbox: &Mailbox) -> Result<Vec<Pop3>> {
    let mut open = Vec::new();
    for user in users {
        let mut pop3 = Pop3::login(address, user).await?;
        pop3.list(&mailbox.sizes).await?;
        open.push(pop3);
    }
    Ok(open)
}
