//! What can go wrong with a maildrop.

use super::policy::Unsuited;
use crate::secret::Unreadable;
use crate::upstream::{FolderName, Status};
use crate::{grants, store, upstream};

/// An error of the maildrop; `session::failure` turns each into a POP3 reply.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Upstream(#[from] upstream::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The login's password for the upstream, which popbridge reads itself, cannot be read.
    #[error("the mail server's password for {login} cannot be read from {key}: {reason}")]
    Secret { login: String, key: &'static str, reason: Unreadable },
    /// The upstream does not take it. The program's own password was right.
    #[error("the mail server refuses the password for {login} that {key} gives: {status}")]
    SecretRefused { login: String, key: &'static str, status: Status },
    /// popbridge has no access token for the upstream.
    #[error(transparent)]
    SignIn(#[from] grants::Error),
    /// The upstream does not take the access token, nor a new one.
    #[error(
        "the mail server refuses the access token for {login}: {status}; was the right person signed in, does the \
         token's scope let mail be read, and is IMAP switched on for the mailbox? To sign in anew: popbridge \
         authorize {login}"
    )]
    TokenRefused { login: String, status: Status },
    /// Another session has the maildrop, and its client is alive.
    #[error("the maildrop is in use by another session")]
    InUse,
    /// The upstream cannot do what the policy asks for.
    #[error(transparent)]
    Unsuited(#[from] Unsuited),
    /// A folder of the maildrop that the upstream does not have.
    #[error("the mail server has no folder \"{0}\"")]
    NoSuchFolder(FolderName),
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
    /// The mailbox was made anew on the server, and too few of its messages can be recognised.
    #[error(
        "the mail server has made {folder} anew (UIDVALIDITY changed), and {unmatched} of its {messages} messages \
         would be downloaded again; popbridge explain {login} tells more, popbridge accept {login} lets it happen"
    )]
    Unrecognised { login: String, folder: FolderName, unmatched: usize, messages: usize },
    /// More deletions than a session may confirm; none was done.
    #[error(
        "{marked} deletions are over {key} = {limit}; none was done. Raise {key} in [maildrop] if they are meant"
    )]
    TooManyDeletions { marked: usize, key: &'static str, limit: String },
    /// QUIT removed less than was marked.
    #[error("{removed} of {marked} deleted messages removed: {reason}")]
    NotRemoved { removed: usize, marked: usize, reason: Box<Error> },
    /// The server said OK to a removal, but messages are still there.
    #[error("the server kept messages that it was told to remove")]
    Kept,
}

impl Error {
    /// Whether the upstream has been asked for too much, or nothing is asked of it since it was.
    pub fn is_throttling(&self) -> bool {
        match self {
            Self::Upstream(upstream::Error::Throttled(_)) => true,
            Self::Upstream(error) => error.throttle().is_some(),
            _ => false,
        }
    }
}
