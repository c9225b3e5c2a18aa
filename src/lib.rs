//! A POP3-to-IMAP bridge: POP3 clients connect, each command becomes IMAP operations on the
//! upstream server, and the mail stays there.
//!
//! Modules import strictly downwards; `tests/layers.rs` holds that.
//!
//! | layer | module | what it is |
//! |---|---|---|
//! | 6 | [`cli`] | one file a subcommand |
//! | 6 | [`app`] | the wiring, and the orderly end |
//! | 5 | [`server`] | listeners, permits, TLS towards the client |
//! | 4 | [`session`] | the three states, and the table from errors to replies |
//! | 3 | [`maildrop`] | the domain: frozen listing, unique ids, policy, reader, removal |
//! | 3 | [`discovery`] | from a mail address to its IMAP server |
//! | 3 | [`grants`] | the tokens that accounts sign in with: kept, renewed one at a time |
//! | 2 | [`auth`] | from a login to an upstream, and whether it is let in; SASL; who guesses; OAuth 2 |
//! | 2 | [`upstream`] | the IMAP server: framer, guard, control, listing, bodies |
//! | 2 | [`store`] | what outlives a session, in SQLite |
//! | 1 | [`pop3`] | the POP3 wire, no policy |
//! | 1 | [`config`] | settings, resolved once |
//! | 1 | [`fingerprint`] | what identifies a message whatever its UID |
//! | 1 | [`http`] | requests to web servers: signing in, finding a mail server |
//! | 0 | [`ids`], [`secret`], [`trust`], [`owner`], [`network`], [`activity`], [`shutdown`], [`telemetry`], [`failpoint`] | |
//!
//! # The walk of one RETR
//!
//! `server::listener` accepts and starts [`session::run`]; `pop3::connection` reads a line,
//! `pop3::command` parses it; `session::transaction` asks the [`maildrop`], whose `reader` asks
//! `upstream::bodies` for the message. Its literal comes through the framer, `upstream::wire`, in
//! pieces; each goes through `pop3::multiline` to the client's socket before the next is read, so
//! that the client's speed holds back the upstream's and no message is ever held whole. What
//! `maildrop::ahead` expects to be wanted next is asked for meanwhile, and waits in the socket.

pub mod activity;
pub mod app;
pub mod auth;
pub mod cli;
pub mod config;
pub mod discovery;
pub mod failpoint;
pub mod fingerprint;
pub mod grants;
pub mod http;
pub mod ids;
pub mod maildrop;
pub mod network;
pub mod owner;
pub mod pop3;
pub mod secret;
pub mod server;
pub mod session;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod trust;
pub mod upstream;
