//! Does the mailbox's password work? And what to do, in plain words, when it does not.

use std::sync::Arc;

use super::questions::harmless;
use super::server::MailServer;
use crate::cli::check::{LoginReport, try_login};
use crate::cli::exit;
use crate::maildrop::{self, Account};
use crate::secret::{Credential, Secret};
use crate::upstream::{Connector, Error};

/// Logs in and opens the inbox, as a session would.
pub async fn log_in(server: &MailServer, password: &Secret) -> Result<LoginReport, Trouble> {
    let connector = Connector::new(Arc::clone(&server.upstream))
        .map_err(|error| Trouble { code: exit::CONFIG, text: error.to_string() })?;
    let account = Account {
        login: server.username.clone(),
        connector,
        username: server.username.clone(),
        credential: Credential::Password(password.clone()),
        source: None,
    };
    let mut report = LoginReport::of(&account);
    match try_login(&account, &server.upstream.maildrop, &mut report).await {
        Ok(()) => Ok(report),
        Err(error) => Err(explain(&error, server)),
    }
}

/// Why the login did not work.
pub struct Trouble {
    pub code: u8,
    pub text: String,
}

fn explain(error: &maildrop::Error, server: &MailServer) -> Trouble {
    let host = &server.upstream.host;
    let trouble = |code, text: String| Trouble { code, text: harmless(&text) };
    match error {
        maildrop::Error::Upstream(Error::Login(status)) if status.rejects_credentials() => {
            let hint = match (host.as_str(), server.oauth) {
                ("imap.gmail.com", _) => {
                    "Gmail takes no ordinary password here. Make an app password at \
                     https://myaccount.google.com/apppasswords (2-step verification has to be on), or sign in by OAuth."
                }
                ("outlook.office365.com", _) => "Microsoft takes no passwords here: sign in by OAuth.",
                (_, Some(_)) => {
                    "Look at the user name and the password; this provider may want an app password (made on its \
                     web pages), or a sign-in by OAuth."
                }
                _ => {
                    "Look at the user name and the password; some providers want an app password, made on their web \
                     pages, or IMAP to be switched on there."
                }
            };
            trouble(
                exit::NO_PERMISSION,
                format!(
                    "The mail server refuses \"{}\" with this password ({status}). {hint}",
                    server.username
                ),
            )
        }
        maildrop::Error::Upstream(Error::Login(_)) => trouble(
            exit::UNAVAILABLE,
            format!("The mail server cannot log anybody in just now ({error}). Try again in a while."),
        ),
        maildrop::Error::Upstream(Error::NoMechanism(_)) => trouble(
            exit::UNAVAILABLE,
            format!("{host} takes no passwords from mail programs ({error}): it wants a sign-in by OAuth."),
        ),
        maildrop::Error::Upstream(Error::Tls { .. }) => trouble(
            exit::UNAVAILABLE,
            format!(
                "{host} cannot prove that it is {host} ({error}). Nothing was sent to it. Is the name right? If the \
                 server is your own, with a certificate of its own, name its authority: --ca-certificate FILE."
            ),
        ),
        maildrop::Error::Upstream(Error::NoStartTls) => trouble(
            exit::UNAVAILABLE,
            format!("{host} does not protect this connection (no STARTTLS). Try imaps://{host}."),
        ),
        maildrop::Error::Upstream(Error::Connect { port, .. }) => trouble(
            exit::UNAVAILABLE,
            format!(
                "{host} does not answer at port {port} ({error}). Is the name right, does this machine reach the \
                 internet, does a firewall block port {port}?"
            ),
        ),
        error => trouble(exit::UNAVAILABLE, format!("The login did not work: {error}.")),
    }
}
