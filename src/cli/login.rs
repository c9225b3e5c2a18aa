//! What commands need of a login: where it leads, and its password.

use std::io::IsTerminal;
use std::path::PathBuf;

use super::exit::{self, Failure};
use crate::auth::{Accounts, Route};
use crate::config::Config;
use crate::secret::Secret;

/// Where a password comes from, if not from the terminal or standard input.
#[derive(clap::Args)]
pub struct PasswordSource {
    /// Read the password from this file's first line instead of asking.
    #[arg(long, value_name = "FILE", requires = "login")]
    password_file: Option<PathBuf>,
}

impl PasswordSource {
    /// Reads or asks.
    pub fn read(&self) -> Result<Secret, Failure> {
        let read = |text: std::io::Result<String>, from: &str| {
            text.map_err(|error| {
                let error =
                    anyhow::Error::new(error).context(format!("cannot read the password from {from}"));
                Failure::new(exit::NO_PERMISSION, error)
            })
        };
        let text = match &self.password_file {
            Some(path) => read(std::fs::read_to_string(path), &path.display().to_string())?,
            None if std::io::stdin().is_terminal() => {
                read(rpassword::prompt_password("Password: "), "the terminal")?
            }
            None => read(std::io::read_to_string(std::io::stdin()), "standard input")?,
        };
        let line = text.lines().next().unwrap_or_default();
        Ok(Secret::new(line.as_bytes().to_vec()))
    }
}

/// Where a POP3 login leads.
pub fn route(config: &Config, login: &str) -> Result<Route, Failure> {
    Accounts::new(config.upstreams.clone(), config.accounts.clone()).route(login).ok_or_else(|| {
        let error =
            anyhow::anyhow!("no upstream takes the login \"{login}\": see the domains of each [upstream]");
        Failure::new(exit::CONFIG, error)
    })
}
