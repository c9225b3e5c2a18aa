//! Who logs in: SASL exchanges with the client, where a login leads, whether it is let in, and
//! what becomes of who guesses.

mod accounts;
mod door;
mod failures;
mod rejections;
mod sasl;
mod table;
mod throttle;
mod turns;

pub use accounts::{Accounts, Route};
pub use door::{Door, Refused, Visitor};
pub use rejections::Rejections;
pub use sasl::{Exchange, Malformed, Next};
pub use throttle::{Attempt, Throttle};

use crate::secret::Secret;

/// A name and a password, as the client gave them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub login: String,
    pub password: Secret,
}
