//! `popbridge hash-password`: what `password_hash` of an `[[account]]` takes.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use super::exit::{self, Failure};
use super::login::{ask, read_password};
use super::state::print;
use crate::secret::{PasswordHash, Secret, Unhashed};

pub const EXAMPLES: &str = "\
Examples:
  popbridge hash-password
  popbridge hash-password --password-file password
  popbridge hash-password --scram

What it prints goes behind password_hash = of an [[account]], in quotation marks.";

#[derive(clap::Args)]
pub struct Arguments {
    /// Read the password from this file's first line instead of asking.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Make a verifier for SCRAM-SHA-256, with which a program need not send its password.
    #[arg(long)]
    scram: bool,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let password = read_password(arguments.password_file.as_deref())?;
    good(&password)?;
    if arguments.password_file.is_none() && std::io::stdin().is_terminal() && ask("Once more: ")? != password
    {
        return Err(refused("the two are not the same: nothing was hashed"));
    }
    let hash = if arguments.scram {
        PasswordHash::scram_of(&password)
    } else {
        PasswordHash::of(&password).map_err(Unhashed::from)
    };
    let hash = hash.map_err(|error| {
        let code = match error {
            Unhashed::Random(_) => exit::UNAVAILABLE,
            Unhashed::Unprepared => exit::NO_PERMISSION,
        };
        Failure::new(code, error)
    })?;
    print(&format!("{}\n", hash.as_str()))?;
    Ok(ExitCode::SUCCESS)
}

/// A program has to be able to send it: POP3 has lines, AUTH PLAIN parts its fields by NUL.
fn good(password: &Secret) -> Result<(), Failure> {
    if password.expose().is_empty() {
        return Err(refused("an empty password would let everybody in who knows the login"));
    }
    if password.expose().iter().any(u8::is_ascii_control) {
        return Err(refused("no mail program can send a password with control characters"));
    }
    Ok(())
}

fn refused(reason: &'static str) -> Failure {
    Failure::new(exit::NO_PERMISSION, anyhow::anyhow!(reason))
}
