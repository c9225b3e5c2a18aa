//! How popbridge gets in at the mail server: a password that works, or a sign-in by OAuth.

use std::path::PathBuf;

use super::Arguments;
use super::questions::{Choice, Question, Questions, tell};
use super::server::{self, MailServer};
use super::trial;
use super::write::Existing;
use crate::cli::check::LoginReport;
use crate::cli::exit::{self, Failure};
use crate::discovery::MailAddress;
use crate::secret::Secret;

/// The way in.
pub enum Entry {
    /// Tried out.
    Password(Secret, LoginReport),
    OAuth {
        provider: &'static str,
        client_id: String,
        client_secret: Option<Secret>,
    },
}

#[derive(Clone, Copy)]
enum Again {
    Same,
    Server,
}

/// Finds the server and the way in, until one works or the person gives up.
pub async fn find(
    questions: &Questions,
    arguments: &Arguments,
    address: &MailAddress,
    existing: &Existing,
) -> Result<(MailServer, Entry), Failure> {
    let mut arguments = arguments.clone();
    let mut server = server::pick(questions, &arguments, address, existing).await?;
    loop {
        if let Some(provider) = oauth(questions, &arguments, &server)? {
            let entry = client(questions, &arguments, provider)?;
            return Ok((server, entry));
        }
        let text = format!("Password of {} at {}:", server.username, server.upstream.host);
        let question = Question {
            flag: "--password-file FILE",
            text: &text,
            help: "it is kept in a file that only you can read, and given to nobody but this server",
        };
        let password = questions.secret(&question, arguments.password_file.take().as_deref(), false)?;
        tell(&format!("Logging in at {} …", server.upstream.host));
        let trouble = match trial::log_in(&server, &password).await {
            Ok(report) => {
                for folder in &report.folders {
                    let messages = if folder.messages == 1 { "message" } else { "messages" };
                    tell(&format!("  It works: {} has {} {messages}.", folder.name, folder.messages));
                }
                return Ok((server, Entry::Password(password, report)));
            }
            Err(trouble) => trouble,
        };
        if !questions.can_ask() {
            return Err(Failure::new(trouble.code, anyhow::anyhow!(trouble.text)));
        }
        tell(&format!("  {}", trouble.text));
        let choices = vec![
            Choice::new(Again::Same, "try again"),
            Choice::new(Again::Server, "change the server or the user name"),
        ];
        let question = Question { flag: "", text: "What now?", help: "" };
        if let Again::Server = questions.choose(&question, None, choices, 0)? {
            (arguments.imap, arguments.username) = (None, None);
            server = server::again(questions, address, &arguments, existing)?;
        }
    }
}

/// The provider, if one signs in there rather than give a password.
fn oauth(
    questions: &Questions,
    arguments: &Arguments,
    server: &MailServer,
) -> Result<Option<&'static str>, Failure> {
    let Some(provider) = server.oauth else {
        return match (server.password, &arguments.oauth_client_id) {
            (true, None) => Ok(None),
            _ => Err(no_settings(server)),
        };
    };
    if arguments.oauth_client_id.is_some() {
        return Ok(Some(provider));
    }
    if !server.password || arguments.password_file.is_some() {
        return Ok(Some(provider).filter(|_| !server.password));
    }
    let question = Question {
        flag: "--password-file FILE or --oauth-client-id ID",
        text: "How do you log in there?",
        help: "an app password is made on the provider's web pages, for one program",
    };
    let choices = vec![
        Choice::new(false, "with an app password"),
        Choice::new(true, "by OAuth, with a client id of my own (see docs/oauth.md)"),
    ];
    let by_oauth = questions.choose(&question, None, choices, 0)?;
    Ok(Some(provider).filter(|_| by_oauth))
}

fn no_settings(server: &MailServer) -> Failure {
    let text = format!(
        "{} wants a sign-in by OAuth, and setup does not know its provider: write [oauth] into the configuration by \
         hand, see docs/oauth.md",
        server.upstream.host
    );
    Failure::new(exit::UNAVAILABLE, anyhow::anyhow!(text))
}

/// The person's own client.
fn client(questions: &Questions, arguments: &Arguments, provider: &'static str) -> Result<Entry, Failure> {
    let question = Question {
        flag: "--oauth-client-id ID",
        text: "Your client id:",
        help: "docs/oauth.md says how to get one from the provider",
    };
    let parse =
        |text: &str| match text.is_empty() || text.contains(|c: char| c.is_control() || c.is_whitespace()) {
            true => Err("A client id is one word.".to_owned()),
            false => Ok(text.to_owned()),
        };
    let client_id = questions.text(&question, arguments.oauth_client_id.clone(), None, parse)?;
    let file: Option<PathBuf> = arguments.oauth_client_secret_file.clone();
    let has_secret = match (&file, questions.can_ask()) {
        (Some(_), _) => true,
        (None, false) => false,
        (None, true) => {
            let question = Question {
                flag: "--oauth-client-secret-file FILE",
                text: "Did the provider give you a client secret with it?",
                help: "Google does, even for programs; Microsoft does not",
            };
            questions.confirm(&question, None, provider == "google")?
        }
    };
    let question = Question { flag: "--oauth-client-secret-file FILE", text: "The client secret:", help: "" };
    let client_secret =
        if has_secret { Some(questions.secret(&question, file.as_deref(), false)?) } else { None };
    Ok(Entry::OAuth { provider, client_id, client_secret })
}
