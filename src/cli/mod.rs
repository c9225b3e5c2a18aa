//! The command line: one file a subcommand, sysexits for exit codes.

mod accept;
mod authorize;
mod cache;
mod check;
mod deletions;
mod exit;
mod explain;
mod facts;
mod gather;
mod hash_password;
mod hashes;
mod login;
mod restore;
mod serve;
mod setup;
mod source;
mod state;
mod trail;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit ",
    env!("POPBRIDGE_COMMIT"),
    "\n",
    env!("POPBRIDGE_RUSTC"),
    "\ntarget ",
    env!("POPBRIDGE_TARGET"),
    ", profile ",
    env!("POPBRIDGE_PROFILE"),
);

/// Lets POP3 programs read the mail of an IMAP server. Mail stays on the server.
#[derive(Parser)]
#[command(name = "popbridge", version = VERSION, propagate_version = false)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// From a mail address to a working bridge: asks, tries out, writes the configuration.
    #[command(after_help = setup::EXAMPLES)]
    Setup(Box<setup::Arguments>),
    /// Run the bridge.
    Serve(serve::Arguments),
    /// Try out a configuration: is it right, does the mail server answer, can it keep the policies?
    Check(check::Arguments),
    /// What did a program delete? Show it, or bring it back.
    Deletions(deletions::Arguments),
    /// Why is a message missing, new, or there twice for a login?
    #[command(after_help = explain::EXAMPLES)]
    Explain(explain::Arguments),
    /// Let a login go on whose mailbox the mail server has made anew, though messages look new.
    Accept(accept::Arguments),
    /// Make the hash of a device's password, for password_hash of its account.
    #[command(after_help = hash_password::EXAMPLES)]
    HashPassword(hash_password::Arguments),
    /// Let popbridge read somebody's mail at a provider that takes no passwords (OAuth 2).
    #[command(after_help = authorize::EXAMPLES)]
    Authorize(authorize::Arguments),
    /// The listings that are kept from former logins.
    Cache(cache::Arguments),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors; nowhere to print them is no news either.
            let _ = error.print();
            return if error.use_stderr() { exit::USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    let result = match arguments.command {
        Command::Setup(arguments) => setup::run(&arguments),
        Command::Serve(arguments) => serve::run(arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Deletions(arguments) => deletions::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Accept(arguments) => accept::run(&arguments),
        Command::HashPassword(arguments) => hash_password::run(&arguments),
        Command::Authorize(arguments) => authorize::run(&arguments),
        Command::Cache(arguments) => cache::run(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
