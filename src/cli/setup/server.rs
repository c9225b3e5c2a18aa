//! Which mail server: looked for by the address, or named.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Arguments;
use super::plan::NewUpstream;
use super::questions::{Choice, Question, Questions, tell, usage};
use super::write::Existing;
use crate::cli::exit::{self, Failure};
use crate::config::{Authentication, ConfigError, Upstream};
use crate::discovery::{self, Candidate, Discovery, MailAddress, Outcome, Source, recognise};

/// A mail server, and how one logs in there.
pub struct MailServer {
    /// As the configuration has it, or would have it.
    pub upstream: Arc<Upstream>,
    /// `None`: the configuration has it already.
    pub new: Option<NewUpstream>,
    pub username: String,
    /// Whether a password may do.
    pub password: bool,
    /// For whom there are OAuth settings.
    pub oauth: Option<&'static str>,
}

/// What setup knows of a server before it is an upstream.
struct Named {
    url: String,
    username: String,
    template: String,
    password: bool,
    oauth: Option<&'static str>,
}

/// Looks for the server, unless it is named, and lets the person choose.
pub async fn pick(
    questions: &Questions,
    arguments: &Arguments,
    address: &MailAddress,
    existing: &Existing,
) -> Result<MailServer, Failure> {
    let named = match &arguments.imap {
        Some(url) => by_url(url, address)?,
        None => found(questions, arguments, address).await?,
    };
    finish(questions, arguments, named, existing)
}

/// The same behind a login that did not work: the person names all of it.
pub fn again(
    questions: &Questions,
    address: &MailAddress,
    arguments: &Arguments,
    existing: &Existing,
) -> Result<MailServer, Failure> {
    let named = named_by_person(questions, address)?;
    finish(questions, arguments, named, existing)
}

fn finish(
    questions: &Questions,
    arguments: &Arguments,
    named: Named,
    existing: &Existing,
) -> Result<MailServer, Failure> {
    let question = Question { flag: "--username NAME", text: "User name at the mail server:", help: "" };
    let username = arguments.username.clone();
    let username = questions.text(&question, username, Some(&named.username), good_username)?;
    resolved(named, username, arguments, existing)
}

/// What the configuration takes.
pub fn good_username(text: &str) -> Result<String, String> {
    match text.is_empty() || text.contains(char::is_control) {
        true => Err("a user name has at least one character, and no control characters".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// A server that a person names; what its provider wants is known all the same.
fn by_url(url: &str, address: &MailAddress) -> Result<Named, ConfigError> {
    let upstream = NewUpstream { url: url.to_owned(), ca_certificate: None, username: None }.resolve()?;
    let candidate = recognise(Candidate {
        host: upstream.host.clone(),
        port: upstream.port,
        security: upstream.security,
        username: address.to_string(),
        username_template: upstream.username.to_string(),
        authentication: vec![discovery::Authentication::Password],
        source: Source::Guess,
        provider: None,
        confirm: false,
        note: None,
    });
    Ok(Named { url: url.to_owned(), ..by_candidate(candidate) })
}

async fn found(
    questions: &Questions,
    arguments: &Arguments,
    address: &MailAddress,
) -> Result<Named, Failure> {
    tell(&format!("Looking for the mail server of {address}."));
    let discovery = Discovery::with(arguments.ca_certificate.as_deref(), arguments.places.places())
        .map_err(|error| Failure::new(exit::UNAVAILABLE, error))?;
    let heard = |tried: &crate::discovery::Tried| {
        if tried.outcome != Outcome::Asking {
            tell(&format!("  {tried}"));
        }
    };
    let mut candidates = match discovery.find(address, heard).await {
        Ok(candidates) => candidates,
        Err(nothing) if questions.can_ask() => {
            tell(&nothing.to_string());
            return named_by_person(questions, address);
        }
        Err(nothing) => return Err(Failure::new(exit::UNAVAILABLE, nothing)),
    };
    let label = |candidate: &Candidate| {
        let reason = match candidate.confirm {
            true => format!("{}: another domain's host, be sure that it is right", candidate.source.name()),
            false => candidate.source.name().to_owned(),
        };
        format!("{} ({reason})", candidate.url())
    };
    // What only unverified DNS has named is not taken unseen.
    let taken = candidates.iter().position(|candidate| !candidate.confirm);
    let mut choices: Vec<Choice<Option<usize>>> = candidates
        .iter()
        .enumerate()
        .map(|(index, candidate)| Choice::new(Some(index), label(candidate)))
        .collect();
    choices.push(Choice::new(None, "another one"));
    if !questions.can_ask() && taken.is_none() {
        let found: Vec<String> = candidates.iter().map(label).collect();
        return Err(usage(format!("found: {}. If that is right, give it: --imap URL", found.join("; "))));
    }
    let question = Question { flag: "--imap URL", text: "Mail server:", help: "" };
    // Where nobody can be asked, what was found and verified is the answer.
    let given = taken.map(Some).filter(|_| !questions.can_ask());
    match questions.choose(&question, given, choices, taken.unwrap_or(0))? {
        Some(index) => {
            let candidate = candidates.swap_remove(index);
            if let Some(note) = candidate.note {
                tell(&format!("  {note}"));
            }
            Ok(by_candidate(candidate))
        }
        None => named_by_person(questions, address),
    }
}

fn by_candidate(candidate: Candidate) -> Named {
    let oauth =
        candidate.authentication.iter().any(|way| matches!(way, discovery::Authentication::OAuth2(_)));
    Named {
        url: candidate.url(),
        password: candidate.authentication.contains(&discovery::Authentication::Password),
        oauth: candidate.provider.filter(|_| oauth),
        username: candidate.username,
        template: candidate.username_template,
    }
}

fn named_by_person(questions: &Questions, address: &MailAddress) -> Result<Named, Failure> {
    let question = Question {
        flag: "--imap URL",
        text: "IMAP server:",
        help: "its name, as imap.example.org; or imaps://NAME, imap+starttls://NAME, with :PORT if it is not the \
               usual one",
    };
    let parse = |text: &str| {
        let url = match text.contains("://") {
            true => text.to_owned(),
            false => format!("imaps://{text}"),
        };
        by_url(&url, address).map_err(|error| message(&error))
    };
    questions.text(&question, None, None, parse)
}

fn message(error: &ConfigError) -> String {
    match error {
        ConfigError::At { message, .. } | ConfigError::Whole { message, .. } => message.clone(),
        error => error.to_string(),
    }
}

/// The upstream that the configuration has for this server, or a new one.
fn resolved(
    named: Named,
    username: String,
    arguments: &Arguments,
    existing: &Existing,
) -> Result<MailServer, Failure> {
    let ca_certificate = arguments.ca_certificate.as_deref().map(absolute).transpose()?;
    let new = NewUpstream { url: named.url, ca_certificate, username: Some(named.template) };
    let upstream = new.resolve().map_err(|error| usage(message(&error)))?;
    let tokens = !named.password || arguments.oauth_client_id.is_some();
    let known = existing.config.iter().flat_map(|config| &config.upstreams).find(|known| {
        let place = |upstream: &Upstream| (upstream.host.to_lowercase(), upstream.port, upstream.security);
        let trusted = upstream.ca_certificate.is_none() || upstream.ca_certificate == known.ca_certificate;
        // One for tokens takes no passwords.
        let fits = known.authentication == Authentication::Password || tokens;
        place(known) == place(&upstream) && trusted && fits
    });
    Ok(MailServer {
        new: known.is_none().then_some(new),
        upstream: known.map_or(upstream, Arc::clone),
        username,
        password: named.password,
        oauth: named.oauth,
    })
}

/// The configuration may be read from another folder than this.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::fs::canonicalize(path)
        .map_err(|error| usage(format!("--ca-certificate {}: {error}", path.display())))
}
