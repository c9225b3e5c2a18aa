//! The IMAP server: connections, the framer, control commands, listings, bodies.
//!
//! `wire` owns the socket; `guard` is what async-imap sees of it; `control` is the only file
//! that names async-imap; `listing` and `bodies` speak through the framer directly.

mod bodies;
mod connect;
mod control;
mod error;
mod guard;
mod items;
mod listing;
mod quirks;
mod response;
mod wire;

pub use bodies::{Body, Fetched, Piece, Section};
pub use connect::{Connector, SetupError};
pub use control::Imap;
pub use error::{Error, Result};
pub use listing::{Access, Mailbox, Row, live_uids, scan, select};
pub use quirks::{REST, uid_sets};
pub use response::{Capabilities, Code, Outcome, Status};
