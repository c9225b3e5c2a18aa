//! What commands need of a login: where it leads, and its password.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::exit::{self, Failure};
use crate::auth::{Accounts, Route};
use crate::config::Config;
use crate::grants::Grants;
use crate::maildrop::{self, Account, Entrusted};
use crate::secret::Secret;
use crate::upstream::Connector;

/// Where a password comes from, if not from the terminal or standard input.
#[derive(clap::Args)]
pub struct PasswordSource {
    /// Read the password from this file's first line instead of asking.
    #[arg(long, value_name = "FILE", requires = "login")]
    password_file: Option<PathBuf>,
}

impl PasswordSource {
    /// Reads or asks.
    fn read(&self) -> Result<Secret, Failure> {
        read_password(self.password_file.as_deref())
    }
}

/// The first line of a file or of standard input; on a terminal it is asked for.
pub fn read_password(file: Option<&Path>) -> Result<Secret, Failure> {
    match file {
        Some(path) => first_line(std::fs::read(path), &path.display().to_string()),
        None if std::io::stdin().is_terminal() => ask("Password: "),
        None => {
            let mut text = Vec::new();
            let read = std::io::Read::read_to_end(&mut std::io::stdin(), &mut text);
            first_line(read.map(|_| text), "standard input")
        }
    }
}

/// Asks at the terminal, without echo.
pub fn ask(prompt: &str) -> Result<Secret, Failure> {
    first_line(rpassword::prompt_password(prompt).map(String::into_bytes), "the terminal")
}

fn first_line(text: std::io::Result<Vec<u8>>, from: &str) -> Result<Secret, Failure> {
    let text = text.map(Zeroizing::new).map_err(|error| {
        let error = anyhow::Error::new(error).context(format!("cannot read the password from {from}"));
        Failure::new(exit::NO_PERMISSION, error)
    })?;
    let line = text.split(|&octet| octet == b'\n').next().unwrap_or_default();
    Ok(Secret::new(line.strip_suffix(b"\r").unwrap_or(line).to_vec()))
}

/// Where a POP3 login leads.
pub fn route(config: &Config, login: &str) -> Result<Route, Failure> {
    Accounts::new(config.upstreams.clone(), config.accounts.clone()).route(login).ok_or_else(|| {
        let error =
            anyhow::anyhow!("no upstream takes the login \"{login}\": see the domains of each [upstream]");
        Failure::new(exit::CONFIG, error)
    })
}

/// A login's mailbox, with what the mail server wants: read from where the configuration says, else
/// asked for.
pub async fn account(
    route: &Route,
    login: &str,
    password: &PasswordSource,
    grants: &Grants,
) -> Result<Account, Failure> {
    let connector =
        Connector::new(Arc::clone(&route.upstream)).map_err(|error| Failure::new(exit::CONFIG, error))?;
    let (login, username) = (login.to_owned(), route.username.clone());
    match route.means().and_then(|means| maildrop::Source::of(means, grants, &login, &username)) {
        Some(source) if password.password_file.is_some() => {
            let error = anyhow::anyhow!(
                "what the mail server wants for {login} comes from its {}: leave --password-file out",
                source.key()
            );
            Err(Failure::new(exit::USAGE, error))
        }
        Some(source) => {
            let entrusted = Entrusted { login, connector, username, source };
            entrusted.account().await.map_err(|error| match error {
                maildrop::Error::SignIn(error) => error.into(),
                error => Failure::new(exit::NO_PERMISSION, error),
            })
        }
        None => {
            let credential = connector.upstream().credential(password.read()?);
            Ok(Account { login, connector, username, credential, source: None })
        }
    }
}
