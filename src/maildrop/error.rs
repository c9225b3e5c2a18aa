//! What can go wrong with a maildrop.

use super::policy::Unsuited;
use crate::{store, upstream};

/// An error of the maildrop; `session::failure` turns each into a POP3 reply.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Upstream(#[from] upstream::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Another session has the maildrop, and its client is alive.
    #[error("the maildrop is in use by another session")]
    InUse,
    /// The upstream cannot do what the policy asks for.
    #[error(transparent)]
    Unsuited(#[from] Unsuited),
    /// No message has this number.
    #[error("no such message")]
    NoSuchMessage,
    /// The message is marked deleted in this session.
    #[error("the message is marked deleted")]
    Deleted,
    /// The message was removed by another client after the login.
    #[error("the message was removed by another client")]
    Vanished,
    /// The mailbox was made anew on the server since the login.
    #[error("the mailbox was replaced on the server")]
    ValidityChanged,
    /// QUIT removed less than was marked.
    #[error("{removed} of {marked} deleted messages removed: {reason}")]
    NotRemoved { removed: usize, marked: usize, reason: Box<Error> },
    /// UID EXPUNGE was answered OK, but messages are still there.
    #[error("the server kept messages that it was told to expunge")]
    Kept,
}
