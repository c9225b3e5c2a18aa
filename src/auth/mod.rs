//! Who logs in: SASL exchanges with the client, and where a login leads.

mod accounts;
mod sasl;

pub use accounts::{Accounts, Route};
pub use sasl::{Exchange, Malformed, Next};

use crate::secret::Secret;

/// A name and a password, as the client gave them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub login: String,
    pub password: Secret,
}
