//! One POP3 session: authorization, then transaction, then update (RFC 1939 §3).
//!
//! The states are types, consumed by value. The only way to an update is QUIT in the transaction
//! state, so a dropped connection cannot delete.

mod authorization;
mod common;
mod failure;
mod login;
mod transaction;
mod update;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;

use crate::auth::{Accounts, Door, Rejections, Throttle};
use crate::config::{Limits, Security};
use crate::grants::Grants;
use crate::maildrop::Maildrops;
use crate::pop3::{Connection, Interrupted};
use crate::shutdown::Shutdown;
use crate::upstream::{Connector, Status};

use authorization::Authorization;
use transaction::Transaction;

/// What all sessions share.
pub struct Context {
    pub accounts: Accounts,
    pub door: Door,
    pub throttle: Throttle,
    pub rejections: Rejections<Status>,
    /// By the upstreams' names.
    pub connectors: HashMap<String, Connector>,
    pub maildrops: Maildrops,
    pub grants: Grants,
    pub security: Security,
    pub limits: Limits,
    pub shutdown: Shutdown,
}

/// Who is at the other end, and what the listener offers.
#[derive(Clone)]
pub struct Client {
    pub address: SocketAddr,
    /// For STLS; `None` where it is not offered.
    pub stls: Option<TlsAcceptor>,
}

/// Why a session ended.
#[derive(Debug)]
pub enum End {
    /// QUIT, and all was done.
    Quit,
    /// QUIT, but the update failed.
    NotRemoved(String),
    /// The client's connection.
    Client(Interrupted),
    /// A message broke off for good behind `+OK`.
    BrokeOff(String),
    /// Too many lines that were no commands.
    Nonsense,
    /// Too many refused logins.
    LoginFailures,
    /// Not logged in within the time.
    LoginTimeout,
    /// A new login took over from a silent client.
    Preempted,
    /// The program stops.
    Shutdown,
}

impl From<Interrupted> for End {
    fn from(interrupted: Interrupted) -> Self {
        Self::Client(interrupted)
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Quit => f.write_str("quit"),
            Self::NotRemoved(reason) => write!(f, "quit, {reason}"),
            Self::Client(interrupted) => interrupted.fmt(f),
            Self::BrokeOff(reason) => write!(f, "message broke off: {reason}"),
            Self::Nonsense => f.write_str("too many errors"),
            Self::LoginFailures => f.write_str("too many failed logins"),
            Self::LoginTimeout => f.write_str("login timeout"),
            Self::Preempted => f.write_str("gave way to a new login"),
            Self::Shutdown => f.write_str("shutdown"),
        }
    }
}

/// What a session did, for its one line in the log.
#[derive(Debug, Default)]
struct Summary {
    login: Option<String>,
    tls: bool,
    retrieved: u64,
    octets: u64,
    deleted: usize,
}

/// Serves a client from the greeting to the end.
pub async fn run(connection: Connection, client: Client, context: Arc<Context>) {
    let mut summary = Summary { tls: connection.is_tls(), ..Summary::default() };
    let end = serve(connection, &client, &context, &mut summary).await;
    tracing::info!(
        login = summary.login.as_deref().unwrap_or_default(),
        address = %client.address,
        tls = summary.tls,
        retrieved = summary.retrieved,
        octets = summary.octets,
        deleted = summary.deleted,
        %end,
        "session"
    );
}

async fn serve(connection: Connection, client: &Client, context: &Context, summary: &mut Summary) -> End {
    let authorization = Authorization::new(connection, client, context);
    let (connection, maildrop) = match authorization.run(summary).await {
        Ok(authorized) => authorized,
        Err(end) => return end,
    };
    let transaction = Transaction::new(connection, maildrop, client, context);
    match transaction.run(summary).await {
        Ok(update) => update.run(summary, context.shutdown.draining()).await,
        Err(end) => end,
    }
}
