//! What can go wrong with the upstream server.

use std::io;
use std::time::Duration;

use super::response::Status;
use super::throttle::Throttle;

/// An error of the upstream; `session::failure` turns each into a POP3 reply.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Name resolution, TCP, or a handshake that was cut off.
    #[error("cannot connect to {host}:{port}: {source}")]
    Connect { host: String, port: u16, source: io::Error },
    /// A certificate that is not trusted, or TLS that does not fit.
    #[error("TLS with {host} failed: {source}")]
    Tls { host: String, source: io::Error },
    /// The socket failed later.
    #[error("connection to the upstream failed: {0}")]
    Io(#[from] io::Error),
    /// The upstream closed without a word.
    #[error("the upstream closed the connection")]
    Closed,
    /// The upstream said BYE.
    #[error("the upstream said BYE: {0}")]
    Bye(Status),
    /// No answer within the upstream's `timeout`.
    #[error("no answer from the upstream within {}", humantime::format_duration(*.0))]
    Timeout(Duration),
    /// A response that cannot be understood, or that is over a limit.
    #[error("the upstream sent {0}")]
    Protocol(&'static str),
    /// An earlier command was given up half way: the connection is of no more use.
    #[error("the upstream connection was given up in the middle of a command")]
    Desynchronised,
    /// The upstream refused the credentials or could not check them.
    #[error("login refused: {0}")]
    Login(Status),
    /// The upstream takes no such credential here: no mechanism of ours, or no TLS.
    #[error("the upstream offers no way to log in: {0}")]
    NoMechanism(&'static str),
    /// STARTTLS is configured, the upstream does not offer or do it.
    #[error("the upstream does not offer STARTTLS")]
    NoStartTls,
    /// A command answered NO or BAD.
    #[error("the upstream refused {command}: {status}")]
    Refused { command: &'static str, status: Status },
    /// The rows do not add up to the mailbox, twice.
    #[error("the upstream listed {rows} of {exists} messages")]
    ShortListing { rows: usize, exists: u32 },
    /// The account has as many connections as it may have, and none became free.
    #[error("all {most} connections that the account may have are in use")]
    Crowded { most: usize },
    /// The upstream has asked for less haste: nothing is sent to it for the account for so long.
    #[error("the upstream asks for less haste, for {} s more", .0.as_secs() + 1)]
    Throttled(Duration),
    /// A mailbox without UIDVALIDITY has no lasting identifiers.
    #[error("the upstream's mailbox has no UIDVALIDITY")]
    NoUidValidity,
}

impl Error {
    /// What the upstream asks for, if it has refused a command or the connection in haste.
    pub fn throttle(&self) -> Option<Throttle> {
        match self {
            Self::Login(status) | Self::Refused { status, .. } | Self::Bye(status) => status.throttles(),
            _ => None,
        }
    }

    /// Whether a command was refused, and not for haste: another way to the same may be taken at once.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. }) && self.throttle().is_none()
    }

    /// Whether QRESYNC may be the reason, on a connection that has enabled it: the server breaks
    /// off, hangs, or does not make sense.
    pub fn may_be_resync(&self) -> bool {
        matches!(
            self,
            Self::Protocol(_)
                | Self::ShortListing { .. }
                | Self::NoUidValidity
                | Self::Closed
                | Self::Bye(_)
                | Self::Io(_)
                | Self::Timeout(_)
        )
    }
}

/// Shorthand of this layer.
pub type Result<T> = std::result::Result<T, Error>;
