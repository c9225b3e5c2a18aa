//! The IMAP server: connections, the framer, control commands, listings, bodies.
//!
//! `wire` owns the socket; `guard` is what async-imap sees of it; `control` is the only file
//! that names async-imap; `listing` and `bodies` speak through the framer directly, the other
//! commands with answers that matter through `exchange`. `pool` keeps connections between sessions,
//! `rest` says how they wait, `pace` how fast each account may go. `mechanism` chooses how to log in,
//! `login` and `sasl` do it.

mod bearer;
mod bodies;
mod buffer;
mod compress;
mod connect;
mod control;
mod error;
mod exchange;
mod folders;
mod guard;
mod headers;
mod items;
mod keeper;
mod known;
mod lines;
mod listing;
mod login;
mod look;
mod mechanism;
mod pace;
mod pool;
mod quirks;
mod ranges;
mod response;
mod rest;
mod rows;
mod sasl;
mod scram;
mod seats;
mod section;
mod throttle;
mod transfer;
mod verdict;
mod view;
mod wire;

pub use bodies::{Flight, Piece};
pub use connect::{Connector, SetupError};
pub use control::{Compression, Imap};
pub use error::{Error, Result};
pub use folders::{FolderName, Wanted, find_folder};
pub use headers::{HeaderRow, MAX_HEADER, ObjectId, fetch_headers, fetch_object_ids};
pub use known::Known;
pub use listing::{Access, Mailbox, Scanned, Told, scan, select};
pub use look::{deleted_uids, live_uids};
pub use mechanism::Mechanism;
pub use pace::jittered;
pub use pool::{Admission, Pool, Slot};
pub use quirks::{REST, auto_expunges, expunge_archives, uid_sets};
pub use response::{Capabilities, Code, Outcome, Status};
pub use rest::Watched;
pub use rows::{Extra, Row};
pub use section::{Found, Lost, Request, Section};
pub use throttle::Throttle;
pub use transfer::{CopyUid, FolderStatus};
