//! `popbridge setup`: from a mail address to a working bridge, by questions. Each has a flag that
//! answers it. Everything is asked and tried out before anything is written.
//!
//! `questions` asks; `server`, `access`, `device`, `policy`, `place` and `unit` know what; `plan` adds
//! the answers to the configuration's `tables`; `write` writes it; `finish` says what to enter in the mail program.

mod access;
mod device;
mod finish;
mod listening;
mod place;
mod plan;
mod policy;
mod questions;
mod server;
mod sign_in;
mod tables;
mod trial;
mod unit;
mod write;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use ipnet::IpNet;

pub use self::questions::tell;

use self::access::Entry;
use self::plan::{Access, Plan, Target};
use self::questions::{Question, Questions};
use self::write::Existing;
use super::authorize;
use super::exit::{self, Failure};
use super::state::print;
use crate::config::{ListenerTls, OnDelete, OnRetrieve};
use crate::discovery::{MailAddress, Places};
use crate::secret::Secret;

pub const EXAMPLES: &str = "\
Examples:
  popbridge setup
  popbridge setup --address alice@example.org --password-file password --generate-password --yes

Without a terminal each answer is a flag; --yes takes every default there is.";

#[derive(clap::Args, Clone)]
pub struct Arguments {
    /// The mailbox's address.
    #[arg(long)]
    address: Option<MailAddress>,
    /// The IMAP server, instead of looking for it: imaps://imap.example.org
    #[arg(long, value_name = "URL")]
    imap: Option<String>,
    /// The user name at the mail server, if it is not the address.
    #[arg(long, value_name = "NAME", value_parser = server::good_username)]
    username: Option<String>,
    /// The mailbox's password: this file's first line.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The private authority that vouches for the mail server, in PEM.
    #[arg(long, value_name = "FILE")]
    ca_certificate: Option<PathBuf>,
    /// Sign in by OAuth 2, with this client id of your own.
    #[arg(long, value_name = "ID", conflicts_with = "password_file")]
    oauth_client_id: Option<String>,
    /// The client's secret, if it has one: this file's first line.
    #[arg(long, value_name = "FILE", requires = "oauth_client_id")]
    oauth_client_secret_file: Option<PathBuf>,
    /// The device's user name towards popbridge.
    #[arg(long, value_name = "NAME", value_parser = device::good_login)]
    login: Option<String>,
    /// Set a login up anew that the configuration has already.
    #[arg(long)]
    replace: bool,
    /// The device's password: this file's first line.
    #[arg(long, value_name = "FILE", conflicts_with = "generate_password")]
    device_password_file: Option<PathBuf>,
    /// Make a password for the device, and show it.
    #[arg(long)]
    generate_password: bool,
    /// What happens when it deletes: hide, trash, archive, flag, expunge.
    #[arg(long, value_name = "WORD", value_parser = on_delete)]
    on_delete: Option<OnDelete>,
    /// What happens when it fetches: leave, mark-seen.
    #[arg(long, value_name = "WORD", value_parser = on_retrieve)]
    on_retrieve: Option<OnRetrieve>,
    /// Show it only so many of the newest messages.
    #[arg(long, value_name = "N")]
    newest: Option<u32>,
    /// Show it only what came in this time: 30d
    #[arg(long, value_name = "TIME", value_parser = policy::max_age)]
    max_age: Option<String>,
    /// Where it connects: 127.0.0.1:1110 on this machine, 0.0.0.0:995 from the home network.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// What protects that: none, starttls, implicit.
    #[arg(long, value_name = "WORD", value_parser = listener_tls)]
    tls: Option<ListenerTls>,
    /// Who may connect there: 192.168.1.0/24
    #[arg(long, value_name = "NETWORK", value_parser = place::parse_network)]
    network: Option<IpNet>,
    /// The configuration file, to be made or added to [default: /etc/popbridge/popbridge.toml for
    /// root, else ./popbridge.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Install a service of systemd.
    #[arg(long, conflicts_with = "no_systemd")]
    systemd: bool,
    /// Install none.
    #[arg(long)]
    no_systemd: bool,
    /// Write the service's unit here, and start nothing.
    #[arg(long, value_name = "FOLDER", requires = "systemd")]
    unit_directory: Option<PathBuf>,
    /// Take the default of everything that has one.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    places: PlacesArguments,
}

/// Where mail servers are looked for, in a network that has names of its own.
#[derive(clap::Args, Clone)]
struct PlacesArguments {
    /// A DNS server to ask instead of the system's; may be given several times.
    #[arg(long, value_name = "ADDRESS", hide = true)]
    dns: Vec<SocketAddr>,
    /// The port that autoconfig is asked at.
    #[arg(long, value_name = "PORT", hide = true)]
    autoconfig_port: Option<u16>,
    /// Thunderbird's database, up to the domain.
    #[arg(long, value_name = "URL", hide = true)]
    ispdb: Option<String>,
    /// The port that servers with TLS are guessed at.
    #[arg(long, value_name = "PORT", hide = true)]
    imaps_port: Option<u16>,
    /// The port that servers with STARTTLS are guessed at.
    #[arg(long, value_name = "PORT", hide = true)]
    imap_port: Option<u16>,
}

impl PlacesArguments {
    fn places(&self) -> Places {
        let usual = Places::default();
        Places {
            dns: self.dns.clone(),
            https_port: self.autoconfig_port.unwrap_or(usual.https_port),
            ispdb: self.ispdb.clone().unwrap_or(usual.ispdb),
            imaps_port: self.imaps_port.unwrap_or(usual.imaps_port),
            imap_port: self.imap_port.unwrap_or(usual.imap_port),
        }
    }
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let questions = Questions::new(arguments.yes);
    let path = arguments.config.clone().unwrap_or_else(usual_path);
    let existing = Existing::read(&path)?;
    match existing.is_there() {
        true => tell(&format!("{} is there already: what you answer is added to it.", path.display())),
        false => tell(&format!("This makes {}. Ctrl-C ends it without a trace.", path.display())),
    }
    let question = Question { flag: "--address ADDRESS", text: "Your mail address:", help: "" };
    let parse = |text: &str| text.parse().map_err(|error: crate::discovery::NoAddress| error.to_string());
    let address: MailAddress = questions.text(&question, arguments.address.clone(), None, parse)?;
    let (server, entry) = runtime.block_on(access::find(&questions, arguments, &address, &existing))?;
    let device = device::ask(&questions, arguments, &existing)?;
    let report = match &entry {
        Entry::Password(_, report) => Some(report),
        Entry::OAuth { .. } => None,
    };
    let maildrop = policy::ask(&questions, arguments, report)?;
    let place = place::ask(&questions, arguments, &existing)?;
    let service = unit::ask(&questions, arguments, &existing)?;

    let on_delete = maildrop.on_delete;
    let (access, secrets) = files(&existing, &device.login, &entry);
    let plan = Plan {
        address: address.to_string(),
        upstream: server.new.as_ref().map_or(Target::Known(&server.upstream.name), Target::New),
        username: &server.username,
        access,
        login: &device.login,
        password_hash: device.hash.as_str(),
        maildrop,
        opening: place.opening.clone(),
        state: service.as_ref().and_then(|service| service.state.as_deref()),
    };
    let text = plan.text(&existing)?;
    let question = Question { flag: "--yes", text: "Write the configuration?", help: "" };
    let given = (!questions.can_ask()).then_some(true);
    if !questions.confirm(&question, given, true)? {
        return Err(Failure::new(exit::INTERRUPTED, anyhow::anyhow!("nothing has been changed")));
    }
    let backup = write::write(&existing, &text, &secrets)?;
    tell(&format!("\n{} is written.", path.display()));
    if let Some(backup) = &backup {
        tell(&format!("What was there before is in {}.", backup.display()));
    }
    print(&format!("\n{}\n", finish::card(&place, &device, on_delete)))?;
    if matches!(entry, Entry::OAuth { .. }) {
        sign_in(&questions, &path, &device.login);
    }
    if let Some(service) = &service {
        service.install(&path, &text)?;
    }
    tell(&finish::next(&path, &device.login, service.is_none()));
    Ok(ExitCode::SUCCESS)
}

/// The files beside the configuration, and how it names them.
fn files<'a>(existing: &Existing, login: &str, entry: &'a Entry) -> (Access<'a>, Vec<(String, Secret)>) {
    match entry {
        Entry::Password(password, _) => {
            let name = existing.free_name(login, "password");
            (Access::PasswordFile(name.clone()), vec![(name, password.clone())])
        }
        Entry::OAuth { provider, client_id, client_secret } => {
            let known = existing.document().ok().and_then(|text| sign_in::known(&text, provider, client_id));
            let is_known =
                |secret: &&Secret| known.as_ref().is_some_and(|name| existing.has_secret(name, secret));
            let new = client_secret.as_ref().filter(|secret| !is_known(secret));
            let secret = new.map(|secret| {
                let name = existing.free_name(provider, "client-secret");
                (name, secret.clone())
            });
            let client_secret_file = secret.as_ref().map(|(name, _)| name.clone());
            (Access::OAuth { provider, client_id, client_secret_file }, secret.into_iter().collect())
        }
    }
}

/// The sign-in, as `popbridge authorize` does it. It can be repeated; without it the rest is set up.
fn sign_in(questions: &Questions, configuration: &Path, login: &str) {
    let quoted = super::source::quoted;
    let command = format!(
        "popbridge authorize --config {} {}",
        quoted(&configuration.display().to_string()),
        quoted(login)
    );
    if !questions.can_ask() {
        return tell(&format!("Now sign in at the provider:\n  {command}\n"));
    }
    if let Err(failure) = authorize::beside_setup(configuration, login) {
        failure.report();
        tell(&format!("The sign-in can be repeated:\n  {command}\n"));
    }
}

/// Root's is the machine's.
fn usual_path() -> PathBuf {
    if unit::is_root() { "/etc/popbridge/popbridge.toml".into() } else { "popbridge.toml".into() }
}

fn on_delete(text: &str) -> Result<OnDelete, String> {
    word(text, OnDelete::ALL, OnDelete::name)
}

fn on_retrieve(text: &str) -> Result<OnRetrieve, String> {
    word(text, [OnRetrieve::Leave, OnRetrieve::MarkSeen], OnRetrieve::name)
}

fn listener_tls(text: &str) -> Result<ListenerTls, String> {
    word(text, [ListenerTls::None, ListenerTls::StartTls, ListenerTls::Implicit], ListenerTls::name)
}

/// The value that the configuration has under this word.
fn word<T: Copy>(
    text: &str,
    values: impl IntoIterator<Item = T> + Clone,
    name: impl Fn(T) -> &'static str,
) -> Result<T, String> {
    let found = values.clone().into_iter().find(|value| name(*value) == text);
    let names = || values.into_iter().map(&name).collect::<Vec<_>>().join(", ");
    found.ok_or_else(|| format!("one of these: {}", names()))
}
