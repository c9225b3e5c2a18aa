//! `popbridge check`: the configuration, the mail servers, and what they let each policy do.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use serde::Serialize;

use super::exit::{self, Failure};
use super::source::Source;
use crate::auth::Accounts;
use crate::config::{Config, Maildrop, OnDelete, Upstream};
use crate::maildrop;
use crate::secret::Secret;
use crate::server::Certificates;
use crate::upstream::{self, Access, Connector, FolderName, Imap};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Log in as this POP3 user as well; the password is asked for, or read from standard input.
    #[arg(long, value_name = "NAME")]
    login: Option<String>,
    /// Read the password from this file's first line instead.
    #[arg(long, value_name = "FILE", requires = "login")]
    password_file: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What was found out.
#[derive(Serialize)]
struct Report {
    ok: bool,
    upstreams: Vec<UpstreamReport>,
    login: Option<LoginReport>,
}

#[derive(Serialize)]
struct UpstreamReport {
    name: String,
    address: String,
    capabilities: Vec<String>,
    error: Option<String>,
}

#[derive(Serialize)]
struct LoginReport {
    login: String,
    upstream: String,
    username: String,
    capabilities: Vec<String>,
    messages: Option<u32>,
    policies: Vec<PolicyReport>,
    error: Option<String>,
}

#[derive(Serialize)]
struct PolicyReport {
    on_delete: &'static str,
    configured: bool,
    /// Why it cannot be honoured; absent if it can.
    refused: Option<String>,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let config = arguments.source.load(([127, 0, 0, 1], 1110).into())?;
    if let Some(certificate @ crate::config::Certificate::Files { .. }) = &config.certificate {
        Certificates::load(certificate.clone()).map_err(|error| Failure::new(exit::CONFIG, error))?;
    }
    let credentials = match &arguments.login {
        Some(login) => Some((login.clone(), password(arguments)?)),
        None => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let report = runtime.block_on(check(&config, credentials))?;
    if arguments.json {
        let text = serde_json::to_string_pretty(&report).context("cannot print the report")?;
        println!("{text}");
    } else {
        print(&report, config.listeners.len());
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { exit::UNAVAILABLE.into() })
}

async fn check(config: &Config, credentials: Option<(String, Secret)>) -> Result<Report, Failure> {
    let mut report = Report { ok: true, upstreams: Vec::new(), login: None };
    for upstream in &config.upstreams {
        let found = reach(upstream).await?;
        report.ok &= found.error.is_none();
        report.upstreams.push(found);
    }
    if let Some((login, password)) = credentials {
        let found = log_in(config, &login, &password).await?;
        let refused = |policy: &PolicyReport| policy.configured && policy.refused.is_some();
        report.ok &= found.error.is_none() && !found.policies.iter().any(refused);
        report.login = Some(found);
    }
    Ok(report)
}

fn connector(upstream: &Arc<Upstream>) -> Result<Connector, Failure> {
    Connector::new(Arc::clone(upstream)).map_err(|error| Failure::new(exit::CONFIG, error))
}

async fn reach(upstream: &Arc<Upstream>) -> Result<UpstreamReport, Failure> {
    let mut report = UpstreamReport {
        name: upstream.name.clone(),
        address: format!("{}:{}", upstream.host, upstream.port),
        capabilities: Vec::new(),
        error: None,
    };
    match Imap::open(&connector(upstream)?).await {
        Ok(imap) => {
            report.capabilities = imap.capabilities().names().to_vec();
            imap.logout().await;
        }
        Err(error) => report.error = Some(error.to_string()),
    }
    Ok(report)
}

async fn log_in(config: &Config, login: &str, password: &Secret) -> Result<LoginReport, Failure> {
    let Some(route) = Accounts::new(config.upstreams.clone(), config.accounts.clone()).route(login) else {
        let error =
            anyhow::anyhow!("no upstream takes the login \"{login}\": see the domains of each [upstream]");
        return Err(Failure::new(exit::CONFIG, error));
    };
    let mut report = LoginReport {
        login: login.to_owned(),
        upstream: route.upstream.name.clone(),
        username: route.username.clone(),
        capabilities: Vec::new(),
        messages: None,
        policies: Vec::new(),
        error: None,
    };
    let connector = connector(&route.upstream)?;
    if let Err(error) = try_login(&connector, &route.username, password, &route.maildrop, &mut report).await {
        report.error = Some(error.to_string());
    }
    Ok(report)
}

async fn try_login(
    connector: &Connector,
    username: &str,
    password: &Secret,
    configured: &Maildrop,
    report: &mut LoginReport,
) -> upstream::Result<()> {
    let mut imap = Imap::open(connector).await?;
    imap.login(username, password).await?;
    report.capabilities = imap.capabilities().names().to_vec();
    let folder = FolderName::new(maildrop::FOLDER);
    let mailbox = upstream::select(&mut imap, &folder, Access::ReadOnly).await?;
    report.messages = Some(mailbox.exists);
    // EXAMINE says nothing about the right to write, so ask as a session would.
    let mailbox = upstream::select(&mut imap, &folder, Access::ReadWrite).await?;
    for on_delete in [OnDelete::Hide, OnDelete::Expunge] {
        let settings = Maildrop { on_delete, ..configured.clone() };
        let refused = maildrop::check(&settings, imap.capabilities(), mailbox.read_only).err();
        report.policies.push(PolicyReport {
            on_delete: on_delete.name(),
            configured: on_delete == configured.on_delete,
            refused: refused.map(|reason| reason.to_string()),
        });
    }
    imap.logout().await;
    Ok(())
}

fn password(arguments: &Arguments) -> Result<Secret, Failure> {
    let read = |text: std::io::Result<String>, from: &str| {
        text.map_err(|error| {
            let error = anyhow::Error::new(error).context(format!("cannot read the password from {from}"));
            Failure::new(exit::NO_PERMISSION, error)
        })
    };
    let text = match &arguments.password_file {
        Some(path) => read(std::fs::read_to_string(path), &path.display().to_string())?,
        None if std::io::stdin().is_terminal() => {
            read(rpassword::prompt_password("Password: "), "the terminal")?
        }
        None => read(std::io::read_to_string(std::io::stdin()), "standard input")?,
    };
    let line = text.lines().next().unwrap_or_default();
    Ok(Secret::new(line.as_bytes().to_vec()))
}

fn print(report: &Report, listeners: usize) {
    println!("configuration: good, {listeners} listener(s), {} upstream(s)", report.upstreams.len());
    for upstream in &report.upstreams {
        match &upstream.error {
            None => {
                println!("upstream {}: {} answers", upstream.name, upstream.address);
                println!("  capabilities before login: {}", upstream.capabilities.join(" "));
            }
            Some(error) => println!("upstream {}: {} FAILED: {error}", upstream.name, upstream.address),
        }
    }
    let Some(login) = &report.login else {
        println!("add --login NAME to log in and see what the mail server lets each policy do");
        return;
    };
    if let Some(error) = &login.error {
        println!("login {} at {} as {} FAILED: {error}", login.login, login.upstream, login.username);
        return;
    }
    println!("login {} at {} as {}: good", login.login, login.upstream, login.username);
    println!("  capabilities: {}", login.capabilities.join(" "));
    if let Some(messages) = login.messages {
        println!("  INBOX: {messages} messages");
    }
    for policy in &login.policies {
        let mark = if policy.configured { " (configured)" } else { "" };
        match &policy.refused {
            None => println!("  on_delete = \"{}\"{mark}: can be kept", policy.on_delete),
            Some(reason) => println!("  on_delete = \"{}\"{mark}: REFUSED: {reason}", policy.on_delete),
        }
    }
}
