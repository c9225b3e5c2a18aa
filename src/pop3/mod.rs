//! The POP3 wire: lines in, replies and multi-line bodies out. No policy.

mod command;
mod connection;
mod multiline;
mod reply;
mod rows;

pub use command::{Command, Invalid};
pub use connection::{Connection, Input, Interrupted};
pub use multiline::{Limit, Multiline};
pub use reply::{Code, Reply};
pub use rows::{scan_row, unique_id_row};
