//! Whose mailbox, and which folder of it.

use crate::ids::UidValidity;
use crate::secret::Secret;
use crate::upstream::{Access, Connector, FolderName};

/// Whose mailbox on which server.
#[derive(Clone)]
pub struct Account {
    /// The POP3 login.
    pub login: String,
    pub connector: Connector,
    /// The user name there.
    pub username: String,
    pub password: Secret,
}

/// A folder as it has to be when something is done in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub folder: FolderName,
    pub validity: UidValidity,
    pub access: Access,
}
