//! `popbridge check`: the configuration, the mail servers, and what they let each policy do.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use serde::Serialize;

use super::exit::{self, Failure};
use super::hashes;
use super::login::{self, PasswordSource};
use super::source::Source;
use crate::app;
use crate::auth::Route;
use crate::config::{Config, Database, Maildrop, Means, OnDelete, Upstream};
use crate::grants::Grants;
use crate::maildrop::{self, Account};
use crate::secret::{Credential, Secret};
use crate::server::Certificates;
use crate::store::Store;
use crate::upstream::{self, Access, Compression, Connector, FolderName, Imap, Wanted, find_folder};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Log in as this POP3 user as well; the mail server's password is asked for, or read from standard input,
    /// unless popbridge has it of its own.
    #[arg(long, value_name = "NAME")]
    login: Option<String>,
    #[command(flatten)]
    password: PasswordSource,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What was found out.
#[derive(Serialize)]
struct Report {
    ok: bool,
    upstreams: Vec<UpstreamReport>,
    /// Those whose mail server's password or token popbridge has by itself.
    accounts: Vec<AccountReport>,
    /// What works, but could be better.
    warnings: Vec<String>,
    login: Option<LoginReport>,
}

#[derive(Serialize)]
struct AccountReport {
    login: String,
    /// The configuration's key for where it comes from.
    source: &'static str,
    error: Option<String>,
}

#[derive(Serialize)]
struct UpstreamReport {
    name: String,
    address: String,
    capabilities: Vec<String>,
    /// How a login would begin.
    login_by: Option<String>,
    error: Option<String>,
}

#[derive(Serialize)]
pub struct LoginReport {
    login: String,
    upstream: String,
    username: String,
    /// How the login began.
    login_by: Option<String>,
    capabilities: Vec<String>,
    /// Absent without `compress = true`.
    compression: Option<CompressionReport>,
    pub folders: Vec<FolderReport>,
    pub policies: Vec<PolicyReport>,
    error: Option<String>,
}

impl LoginReport {
    /// Before anything is found out.
    pub fn of(account: &Account) -> Self {
        Self {
            login: account.login.clone(),
            upstream: account.connector.upstream().name.clone(),
            username: account.username.clone(),
            login_by: None,
            capabilities: Vec::new(),
            compression: None,
            folders: Vec::new(),
            policies: Vec::new(),
            error: None,
        }
    }
}

#[derive(Serialize)]
struct CompressionReport {
    active: bool,
    /// Why it is not; mail comes all the same.
    refused: Option<String>,
}

impl From<&Compression> for CompressionReport {
    fn from(compression: &Compression) -> Self {
        let refused = match compression {
            Compression::Active => None,
            Compression::NotOffered => Some("the mail server does not offer COMPRESS=DEFLATE".to_owned()),
            Compression::Refused(status) => Some(format!("the mail server refused it: {status}")),
        };
        Self { active: refused.is_none(), refused }
    }
}

#[derive(Serialize)]
pub struct FolderReport {
    pub name: String,
    pub messages: u32,
}

#[derive(Serialize)]
pub struct PolicyReport {
    pub on_delete: &'static str,
    configured: bool,
    /// Why it cannot be honoured; absent if it can.
    pub refused: Option<String>,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let config = arguments.source.load(([127, 0, 0, 1], 1110).into())?;
    if let Some(certificate @ crate::config::Certificate::Files { .. }) = &config.certificate {
        Certificates::load(certificate.clone(), config.client_ca.clone())
            .map_err(|error| Failure::new(exit::CONFIG, error))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let report = runtime.block_on(check(&config, arguments))?;
    if arguments.json {
        let text = serde_json::to_string_pretty(&report).context("cannot print the report")?;
        println!("{text}");
    } else {
        print(&report, config.listeners.len());
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { exit::UNAVAILABLE.into() })
}

async fn check(config: &Config, arguments: &Arguments) -> Result<Report, Failure> {
    let warnings = hashes::warnings(&config.accounts);
    let mut report = Report { ok: true, upstreams: Vec::new(), accounts: Vec::new(), warnings, login: None };
    app::check_door(config).await?;
    let grants = grants(config).await?;
    let login = match &arguments.login {
        Some(login) => {
            let route = login::route(config, login)?;
            let account = login::account(&route, login, &arguments.password, &grants).await?;
            Some((route, account))
        }
        None => None,
    };
    for upstream in &config.upstreams {
        let found = reach(upstream, config).await?;
        report.ok &= found.error.is_none();
        report.upstreams.push(found);
    }
    for account in &config.accounts {
        let Some(own) = &account.own_password else { continue };
        let error = match &own.upstream {
            Means::Password(source) => source.read().await.err().map(|error| error.to_string()),
            Means::SignIn(oauth) => match grants.grant(&oauth.name, &account.login, &account.username) {
                Some(grant) => grant.token().await.err().map(|error| error.to_string()),
                None => None,
            },
        };
        report.ok &= error.is_none();
        report.accounts.push(AccountReport {
            login: account.login.clone(),
            source: own.upstream.key(),
            error,
        });
    }
    if let Some((route, account)) = login {
        let found = log_in(&route, &account).await;
        let refused = |policy: &PolicyReport| policy.configured && policy.refused.is_some();
        report.ok &= found.error.is_none() && !found.policies.iter().any(refused);
        report.login = Some(found);
    }
    Ok(report)
}

/// The sign-ins as the bridge has them. Nothing is made for a look: where there is no state yet,
/// nobody is signed in.
async fn grants(config: &Config) -> Result<Grants, Failure> {
    match &config.database {
        Database::File(path) if !config.sign_ins.is_empty() && path.exists() => {
            let store = Store::open_existing(&config.database).await?;
            Ok(app::grants(config, store).await?)
        }
        _ => {
            let store = Store::open(&Database::Memory).await?;
            Ok(app::grants(&Config { state_key: None, ..config.clone() }, store).await?)
        }
    }
}

fn connector(upstream: &Arc<Upstream>) -> Result<Connector, Failure> {
    Connector::new(Arc::clone(upstream)).map_err(|error| Failure::new(exit::CONFIG, error))
}

async fn reach(upstream: &Arc<Upstream>, config: &Config) -> Result<UpstreamReport, Failure> {
    let mut report = UpstreamReport {
        name: upstream.name.clone(),
        address: format!("{}:{}", upstream.host, upstream.port),
        capabilities: Vec::new(),
        login_by: None,
        error: None,
    };
    match Imap::open(&connector(upstream)?).await {
        Ok(imap) => {
            report.capabilities = imap.capabilities().names().to_vec();
            let ways = samples(upstream, config).map(|sample| imap.way_in("alice", &sample));
            let (ways, errors): (Vec<_>, Vec<_>) = ways.partition(|way| way.is_ok());
            let ways: Vec<String> = ways.into_iter().flatten().map(|way| way.to_string()).collect();
            match errors.into_iter().find_map(Result::err).filter(|_| ways.is_empty()) {
                Some(error) => report.error = Some(error.to_string()),
                None => report.login_by = Some(ways.join(" or ")),
            }
            imap.logout().await;
        }
        Err(error) => report.error = Some(error.to_string()),
    }
    Ok(report)
}

/// What accounts of an upstream show it. A sample stands for any that is nothing but ASCII.
fn samples(upstream: &Arc<Upstream>, config: &Config) -> impl Iterator<Item = Credential> {
    let secret = || Secret::new(b"secret".to_vec());
    let signs_in = config.accounts.iter().any(|account| {
        let means = account.own_password.as_ref().map(|own| &own.upstream);
        account.upstream.name == upstream.name && matches!(means, Some(Means::SignIn(_)))
    });
    let token = signs_in.then(|| Credential::Token(secret()));
    let usual = upstream.credential(secret());
    [Some(usual.clone()), token.filter(|token| *token != usual)].into_iter().flatten()
}

async fn log_in(route: &Route, account: &Account) -> LoginReport {
    let mut report = LoginReport::of(account);
    if let Err(error) = try_login(account, &route.maildrop, &mut report).await {
        report.error = Some(error.to_string());
    }
    report
}

/// Logs in, opens the folders, and asks what the mail server lets each policy do.
pub async fn try_login(
    account: &Account,
    configured: &Maildrop,
    report: &mut LoginReport,
) -> Result<(), maildrop::Error> {
    let mut imap = Imap::open(&account.connector).await?;
    imap.login(&account.username, &account.credential).await.map_err(|error| account.blame(error))?;
    report.login_by = imap.mechanism().map(|mechanism| mechanism.to_string());
    report.capabilities = imap.capabilities().names().to_vec();
    report.compression = imap.compression().map(CompressionReport::from);
    let mut folders = Vec::new();
    for name in &configured.folders {
        let folder = FolderName::new(name);
        if find_folder(&mut imap, Wanted::Named(&folder)).await?.is_none() {
            return Err(maildrop::Error::NoSuchFolder(folder));
        }
        // EXAMINE says nothing about the right to write, so ask as a session would.
        let mailbox = upstream::select(&mut imap, &folder, Access::ReadWrite).await?;
        report.folders.push(FolderReport { name: name.clone(), messages: mailbox.exists });
        folders.push((folder, mailbox.read_only));
    }
    for on_delete in OnDelete::ALL {
        let settings = Maildrop { on_delete, ..configured.clone() };
        let refused = match suited(&settings, &mut imap, &folders).await {
            Ok(()) => None,
            Err(maildrop::Error::Unsuited(reason)) => Some(reason.to_string()),
            Err(error) => return Err(error),
        };
        let configured = on_delete == configured.on_delete;
        report.policies.push(PolicyReport { on_delete: on_delete.name(), configured, refused });
    }
    imap.logout().await;
    Ok(())
}

async fn suited(
    settings: &Maildrop,
    imap: &mut Imap,
    folders: &[(FolderName, bool)],
) -> Result<(), maildrop::Error> {
    let target = maildrop::target(settings, imap).await?;
    let plan = maildrop::plan(settings, imap.capabilities(), target)?;
    for (folder, read_only) in folders {
        plan.suits(folder, *read_only, imap.capabilities(), imap.server_id())?;
    }
    Ok(())
}

fn print(report: &Report, listeners: usize) {
    println!("configuration: good, {listeners} listener(s), {} upstream(s)", report.upstreams.len());
    for upstream in &report.upstreams {
        match &upstream.error {
            None => println!("upstream {}: {} answers", upstream.name, upstream.address),
            Some(error) => println!("upstream {}: {} FAILED: {error}", upstream.name, upstream.address),
        }
        if !upstream.capabilities.is_empty() {
            println!("  capabilities before login: {}", upstream.capabilities.join(" "));
        }
        if let Some(command) = &upstream.login_by {
            println!("  a login would go by {command}");
        }
    }
    for account in &report.accounts {
        let AccountReport { login, source, error } = account;
        match error {
            None if *source == "oauth" => {
                println!("account {login}: {source} gives an access token for the mail server")
            }
            None => println!("account {login}: {source} gives a password for the mail server"),
            Some(error) => println!("account {login}: {source} FAILED: {error}"),
        }
    }
    for warning in &report.warnings {
        println!("warning: {warning}");
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
    if let Some(command) = &login.login_by {
        println!("  by {command}");
    }
    println!("  capabilities: {}", login.capabilities.join(" "));
    match &login.compression {
        None => {}
        Some(CompressionReport { refused: Some(reason), .. }) => {
            println!("  compress = true: NOT COMPRESSED: {reason}");
        }
        Some(_) => println!("  compress = true: compressed in both directions"),
    }
    for folder in &login.folders {
        println!("  {}: {} messages", folder.name, folder.messages);
    }
    for policy in &login.policies {
        let mark = if policy.configured { " (configured)" } else { "" };
        match &policy.refused {
            None => println!("  on_delete = \"{}\"{mark}: can be kept", policy.on_delete),
            Some(reason) => println!("  on_delete = \"{}\"{mark}: REFUSED: {reason}", policy.on_delete),
        }
    }
}
