//! `popbridge authorize`: a person agrees once that popbridge may read their mail, and the bridge
//! signs in by itself from then on.

use std::io::BufRead as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::sync::mpsc;

use super::exit::{self, Failure};
use super::login;
use super::setup::tell;
use super::source::{Source, quoted};
use super::state::{print, time};
use crate::app;
use crate::auth::Route;
use crate::auth::oauth::{Answered, CodeRequest, Listener, NoAnswer, Tokens};
use crate::config::{Config, Flow, Means, Oauth, Redirect};
use crate::grants::{self, Grant};
use crate::secret::Credential;
use crate::store::Store;
use crate::upstream::{self, Connector, Imap};

pub const EXAMPLES: &str = "\
Examples:
  popbridge authorize --config popbridge.toml scanner

Run it as the user that the bridge runs as. The bridge may be running: it uses the new sign-in at
its next login.";

/// How long somebody may take in the browser.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// The POP3 user name.
    #[arg(value_name = "LOGIN")]
    login: String,
}

/// Tells the person something.
type Tell = fn(&str) -> Result<(), Failure>;

pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    sign_in(arguments, print)
}

/// As `popbridge setup` goes on, whose standard output is a note to be kept.
pub fn beside_setup(configuration: &Path, login: &str) -> Result<ExitCode, Failure> {
    let arguments = Arguments { source: Source::file(configuration), login: login.to_owned() };
    sign_in(&arguments, |text| {
        tell(text.trim_end());
        Ok(())
    })
}

fn sign_in(arguments: &Arguments, say: Tell) -> Result<ExitCode, Failure> {
    let config = arguments.source.for_state()?;
    let route = login::route(&config, &arguments.login)?;
    let Some(Means::SignIn(oauth)) = route.means() else {
        let error = anyhow!(
            "\"{login}\" does not sign in: its [[account]] says oauth = \"NAME\" where it does, and [oauth.NAME] how",
            login = arguments.login
        );
        return Err(Failure::new(exit::CONFIG, error));
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let store = Store::open(&config.database).await?;
        let done = authorize(arguments, &config, &route, oauth, &store, say).await;
        store.close().await;
        done
    })
}

async fn authorize(
    arguments: &Arguments,
    config: &Config,
    route: &Route,
    oauth: &Arc<Oauth>,
    store: &Store,
    say: Tell,
) -> Result<ExitCode, Failure> {
    let grants = app::grants(config, store.clone()).await?;
    let grant = grants
        .grant(&oauth.name, &arguments.login, &route.username)
        .ok_or_else(|| anyhow!("[oauth.{}] is gone", oauth.name))?;
    let tokens = match &oauth.flow {
        Flow::Code { redirect, .. } => by_browser(&grant, redirect, &route.username, say).await?,
        Flow::Device { .. } => by_device(&grant, &route.username, say).await?,
        Flow::ClientCredentials | Flow::ServiceAccount { .. } => {
            grant.provider().own(&route.username).await.map_err(refused)?
        }
    };
    let (credential, renewed) = (Credential::Token(tokens.access.clone()), tokens.refresh.is_some());
    let until = time(grant.sign_in(tokens).await?);
    say(&match (oauth.flow.needs_consent(), renewed) {
        (true, true) => format!(
            "{} is signed in. The access token is good until {until}; popbridge renews it by itself\n",
            route.username
        ),
        (true, false) => format!(
            "{} is signed in, but only until {until}: the provider gave nothing to renew it with. Look at scopes \
             in [oauth.{}]; Microsoft wants offline_access among them\n",
            route.username, oauth.name
        ),
        (false, _) => format!(
            "the provider gives popbridge tokens for {}; this one is good until {until}\n",
            route.username
        ),
    })?;
    try_out(arguments, route, &credential, say).await
}

/// Whether the mail server takes the token, as far as it can be asked.
async fn try_out(
    arguments: &Arguments,
    route: &Route,
    credential: &Credential,
    say: Tell,
) -> Result<ExitCode, Failure> {
    let connector =
        Connector::new(Arc::clone(&route.upstream)).map_err(|error| Failure::new(exit::CONFIG, error))?;
    let (host, username) = (&route.upstream.host, &route.username);
    let tried = async {
        let mut imap = Imap::open(&connector).await?;
        let result = imap.login(username, credential).await;
        imap.logout().await;
        result
    };
    match tried.await {
        Ok(()) => {
            say(&format!("{host} lets {username} in with it\n"))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(upstream::Error::Login(status)) if status.rejects_credentials() => {
            let error = anyhow!(
                "{host} does not let {username} in with it: {status}. Was it {username} who agreed? Is IMAP switched \
                 on for the mailbox, and does the scope let mail be read?"
            );
            Err(Failure::new(exit::NO_PERMISSION, error))
        }
        Err(error) => {
            say(&format!(
                "whether the mail server takes it could not be tried now: {error}\nLater: popbridge check {} --login {}\n",
                arguments.source.words(),
                quoted(&arguments.login)
            ))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The code flow, with the browser here or anywhere.
async fn by_browser(
    grant: &Grant,
    redirect: &Redirect,
    username: &str,
    say: Tell,
) -> Result<Tokens, Failure> {
    let (listener, address) = match redirect {
        Redirect::Here { host, port } => {
            let listener = Listener::bind(*port).await.map_err(|error| {
                let error = anyhow!("cannot listen on 127.0.0.1:{port}, redirect_port: {error}");
                Failure::new(exit::UNAVAILABLE, error)
            })?;
            let address = listener.url(host).context("cannot listen")?;
            (Some(listener), address)
        }
        Redirect::Elsewhere(url) => (None, url.clone()),
    };
    let request = grant.provider().begin_code(&address, username).await.map_err(refused)?;
    let request = request.ok_or_else(|| anyhow!("the sign-in has no code flow"))?;
    say(&format!(
        "Open this address in a browser, on this machine or any other, and agree as {username}:\n\n{}\n\n\
         The browser is sent to {address} then. If it finds nothing there, copy the whole address from its address \
         line, paste it here and press Enter.\n",
        request.url
    ))?;
    let answered = tokio::time::timeout(PATIENCE, answer(listener.as_ref(), &request, say)).await;
    let answered = answered.map_err(|_| {
        Failure::new(exit::UNAVAILABLE, anyhow!("nobody has agreed within 15 minutes; begin again"))
    })??;
    grant.provider().finish_code(request, answered).await.map_err(refused)
}

/// What comes first: the browser, or an address that is pasted.
async fn answer(listener: Option<&Listener>, request: &CodeRequest, say: Tell) -> Result<Answered, Failure> {
    let no = |error: NoAnswer| Failure::new(exit::NO_PERMISSION, error);
    let mut lines = lines();
    let browser = async {
        match listener {
            Some(listener) => listener.wait(request).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(browser);
    let mut open = true;
    loop {
        tokio::select! {
            answered = &mut browser => return answered.map_err(no),
            line = lines.recv(), if open => match line.as_deref().map(str::trim) {
                Some("") => {}
                Some(line) => match request.answer(line) {
                    Err(NoAnswer::Foreign) => {
                        say(&format!("{}: the whole of it, please, with code= and state=\n", NoAnswer::Foreign))?;
                    }
                    answered => return answered.map_err(no),
                },
                None if listener.is_none() => {
                    let error = anyhow!("there is no address on standard input, and nobody listens at redirect_url");
                    return Err(Failure::new(exit::NO_INPUT, error));
                }
                None => open = false,
            },
        }
    }
}

/// The lines of standard input. A thread of its own waits for them, and ends with the program.
fn lines() -> mpsc::UnboundedReceiver<String> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The device flow.
async fn by_device(grant: &Grant, username: &str, say: Tell) -> Result<Tokens, Failure> {
    let request = grant.provider().begin_device().await.map_err(refused)?;
    let request = request.ok_or_else(|| anyhow!("the sign-in has no device flow"))?;
    say(&format!(
        "Open {} in a browser, on any device, and type this code as {username}:\n\n    {}\n\n\
         It is good for {} minutes; popbridge waits.\n",
        request.url,
        request.user_code,
        request.life.as_secs() / 60
    ))?;
    grant.provider().finish_device(&request).await.map_err(refused)
}

fn refused(error: crate::auth::oauth::Error) -> Failure {
    use crate::auth::oauth::Error as E;
    let code = match &error {
        E::Unavailable { .. } | E::Secret { may_pass: true, .. } => exit::UNAVAILABLE,
        E::Gone(_) => exit::NO_PERMISSION,
        E::Misconfigured(_) | E::Secret { .. } => exit::CONFIG,
    };
    Failure::new(code, error)
}

impl From<grants::Error> for Failure {
    fn from(error: grants::Error) -> Self {
        use grants::Error as E;
        match error {
            E::Provider { reason, .. } => refused(reason),
            E::Store(error) => error.into(),
            E::NotSignedIn { .. } | E::Gone { .. } => Self::new(exit::NO_PERMISSION, error),
            E::Key(ref key) if !key.may_pass() => Self::new(exit::CONFIG, error),
            E::Key(_) | E::Interrupted => Self::new(exit::UNAVAILABLE, error),
        }
    }
}
