//! What the interop tests share: a private Dovecot, the bridge as a process of
//! its own, a POP3 client that sees every octet, and mail to send through.
//!
//! Everything listens on 127.0.0.1 and a free port, lives in a temporary
//! folder, and ends with the value that stands for it, by process id.

#![allow(dead_code, reason = "each test file uses its own part of this module")]

pub mod bridge;
pub mod certs;
pub mod dovecot;
pub mod fetchmail;
pub mod imap;
pub mod local;
pub mod mail;
pub mod pop3;
pub mod process;
pub mod relay;
pub mod transcript;
