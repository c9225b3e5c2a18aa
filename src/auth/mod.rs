//! Who logs in: SASL exchanges with the client, where a login leads, and whether it is let in; and
//! how popbridge itself signs in at a provider.

mod accounts;
mod door;
pub mod oauth;
mod sasl;

pub use accounts::{Accounts, Route};
pub use door::{Door, Refused, Visitor};
pub use sasl::{Exchange, Malformed, Next};

use crate::secret::Secret;

/// A name and a password, as the client gave them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub login: String,
    pub password: Secret,
}
