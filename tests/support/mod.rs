//! What the interop tests share: a private Dovecot, the bridge as a process of
//! its own, a POP3 client that sees every octet, and mail to send through.
//!
//! Everything listens on 127.0.0.1 and a free port, lives in a temporary
//! folder, and ends with the value that stands for it, by process id.

#![allow(dead_code, reason = "each test file uses its own part of this module")]

/// A line that is seen also when the test passes: libtest takes in what `println!` writes.
pub fn report(line: &str) {
    use std::io::Write as _;
    // A test run that cannot be written to has nobody to read it.
    let _ = writeln!(std::io::stderr(), "{line}");
}

pub mod bridge;
pub mod certs;
pub mod dovecot;
pub mod fetchmail;
pub mod imap;
pub mod jwt;
pub mod local;
pub mod mail;
pub mod names;
pub mod oauth;
pub mod polls;
pub mod pop3;
pub mod process;
pub mod relay;
pub mod terminal;
pub mod transcript;
pub mod web;
