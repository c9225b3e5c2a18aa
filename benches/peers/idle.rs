//! Many idle sessions of popbridge. Each has an IMAP connection of its own, which costs Dovecot a
//! process: so the mail server is the simulator of the tests, in this process, without a relay.

use std::time::Duration;

use anyhow::{Context as _, Result};
use imapsim::Server;

use crate::mailbox::Mailbox;
use crate::measure::Sample;
use crate::popbridge::{Popbridge, Setup};
use crate::support::dovecot::PASSWORD;
use crate::support::mail;
use crate::tree::Tree;
use crate::work;

/// A message's octets; how long it is makes no difference to a session that only lists it.
const OCTETS: usize = 300;
/// What a login leaves to do behind its answer is done.
const QUIET: Duration = Duration::from_secs(1);

/// As many sessions as there are users, each with a mailbox of so many messages.
pub async fn measure(users: usize, messages: usize) -> Result<Sample> {
    let server = Server::builder().any_user(PASSWORD).start().await?;
    let mut mailbox = Mailbox::empty();
    let texts: Vec<Vec<u8>> = (0..messages).map(|number| mail::big(OCTETS, number as u64)).collect();
    texts.iter().for_each(|text| mailbox.remember(text));
    // One more, who logs in first, so that what is made once is there.
    for number in 0..=users {
        let user = format!("idle-{number}");
        for text in &texts {
            server.append(&user, "INBOX", text, &[]);
        }
        mailbox.users.push(user);
    }
    let setup = Setup { kept: true, sessions: users + 1 };
    let popbridge = Popbridge::start(server.address(), setup)?;
    let tree = Tree(popbridge.pid());
    let first = work::open_idle(&mailbox.users[..1], popbridge.address(), &mailbox).await?;
    tokio::time::sleep(QUIET).await;
    let before = tree.pss_kib();
    let sessions = work::open_idle(&mailbox.users[1..], popbridge.address(), &mailbox);
    let sessions = sessions.await.context("are descriptors enough? see ulimit -n")?;
    tokio::time::sleep(QUIET).await;
    let memory = tree.pss_kib();
    let connections = server.live_connections() - first.len();
    let each = sessions.len() as f64;
    Ok(Sample {
        growth: Some((memory as f64 - before as f64) / each),
        memory: Some(memory as f64),
        connections: Some(connections as f64 / each),
        ..Sample::default()
    })
}
