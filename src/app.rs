//! The wiring: from a configuration to a running bridge, and its orderly end.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::auth::{Accounts, Door, Rejections, Throttle, oauth};
use crate::config::{Account, Config, ListenerTls, Means};
use crate::grants::Grants;
use crate::maildrop::{Entrusted, Maildrops, Source};
use crate::secret::{KeyError, Keyring, NoRandom, Unreadable};
use crate::server::{CertificateError, Certificates, Listener, Permits};
use crate::session::Context;
use crate::shutdown::{self, Trigger};
use crate::store::{self, Store};
use crate::upstream::{Connector, Pool, SetupError};

/// Why the bridge cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Upstream(#[from] SetupError),
    #[error(transparent)]
    Random(#[from] NoRandom),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("the mail server's password for \"{login}\" cannot be read from {key}: {reason}")]
    Secret { login: String, key: &'static str, reason: Unreadable },
    #[error(transparent)]
    SignIn(#[from] oauth::SetupError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
}

/// A bridge whose sockets are bound.
pub struct App {
    context: Arc<Context>,
    listeners: Vec<Listener>,
    addresses: Vec<SocketAddr>,
    permits: Permits,
    trigger: Trigger,
    certificates: Option<Arc<Certificates>>,
    deletions_kept: Duration,
    pool: Pool,
}

impl App {
    /// Reads certificates, opens the state, binds the listeners; nobody is served yet.
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        let mut connectors = HashMap::new();
        for upstream in &config.upstreams {
            connectors.insert(upstream.name.clone(), Connector::new(Arc::clone(upstream))?);
        }
        check_places(&config)?;
        let client_ca = config.client_ca.clone();
        let certificates = config.certificate.clone().map(|source| Certificates::load(source, client_ca));
        let certificates = certificates.transpose()?.map(Arc::new);
        let store = Store::open(&config.database).await?;
        let grants = grants(&config, store.clone()).await?;
        let door = Door::new(&config.accounts, &keyring(&config)?).await?;
        let entrusted = entrusted(&config, &connectors, &grants);
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for settings in config.listeners {
            let address = settings.address;
            let failed = |source| StartError::Listen { address, source };
            let certificates = certificates.clone().filter(|_| settings.tls != ListenerTls::None);
            let listener = Listener::bind(settings, certificates).await.map_err(failed)?;
            addresses.push(listener.address().map_err(failed)?);
            listeners.push(listener);
        }
        let (trigger, shutdown) = shutdown::channel();
        let permits = Permits::new(&config.limits);
        let pool = Pool::new(config.limits.kept_connections)?;
        let maildrops = Maildrops::new(store, pool.clone(), config.limits.preempt_after);
        let context = Arc::new(Context {
            door,
            throttle: Throttle::new(&config.security)?,
            rejections: Rejections::new()?,
            accounts: Accounts::new(config.upstreams, config.accounts),
            connectors,
            maildrops: maildrops.entrust(entrusted),
            grants,
            security: config.security,
            limits: config.limits,
            shutdown,
        });
        let deletions_kept = config.deletions_kept;
        Ok(Self { context, listeners, addresses, permits, trigger, certificates, deletions_kept, pool })
    }

    /// Where the listeners listen, in the configuration's order.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What clients see, to be read again after a renewal; `None` without TLS.
    pub fn certificates(&self) -> Option<Arc<Certificates>> {
        self.certificates.clone()
    }

    /// The upstream connections.
    pub fn pool(&self) -> Pool {
        self.pool.clone()
    }

    /// Serves until `stop` resolves; then lets nobody in, gives sessions their grace period and
    /// ends what is left of them without an update.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let mut accepting = JoinSet::new();
        for (listener, address) in self.listeners.into_iter().zip(&self.addresses) {
            tracing::info!(%address, tls = listener.tls().name(), "listening");
            accepting.spawn(listener.run(Arc::clone(&self.context), self.permits.clone()));
        }
        let (maildrops, shutdown) = (self.context.maildrops.clone(), self.context.shutdown.clone());
        let sweeping = tokio::spawn(async move { maildrops.sweep(self.deletions_kept, shutdown).await });
        stop.await;
        let sessions = self.permits.taken();
        tracing::info!(sessions, "shutting down");
        self.trigger.drain();
        while accepting.join_next().await.is_some() {}
        let grace = self.context.limits.shutdown_grace;
        if timeout(grace, self.permits.all_returned()).await.is_err() {
            self.trigger.stop();
            // Sessions in their update finish it; each wait of theirs has its own deadline.
            self.permits.all_returned().await;
        }
        // A removal under way is finished, too.
        let _ = sweeping.await;
        self.context.grants.settle().await;
        self.context.maildrops.close().await;
        tracing::info!("stopped");
    }
}

/// What accounts sign in with. A key that cannot be had is found now, not at somebody's login.
pub async fn grants(config: &Config, store: Store) -> Result<Grants, StartError> {
    let keyring = keyring(config)?;
    if !config.sign_ins.is_empty() {
        keyring.check().await?;
    }
    Ok(Grants::new(store, keyring, &config.sign_ins)?)
}

/// Whether the door can have the key that it needs where an account has a verifier for SCRAM.
pub async fn check_door(config: &Config) -> Result<(), StartError> {
    let verifier = |account: &Arc<Account>| {
        account.own_password.as_ref()?.hash.as_ref()?.scram()?;
        Some(())
    };
    if config.accounts.iter().any(|account| verifier(account).is_some()) {
        keyring(config)?.check().await?;
    }
    Ok(())
}

/// The state's key; a new one where the state does not outlive the process.
pub fn keyring(config: &Config) -> Result<Keyring, NoRandom> {
    match &config.state_key {
        Some(source) => Ok(Keyring::new(source.clone())),
        None => Keyring::in_memory(),
    }
}

/// A place where there can be no password is found now, not at somebody's login.
fn check_places(config: &Config) -> Result<(), StartError> {
    for account in &config.accounts {
        if let Some(own) = &account.own_password
            && let Means::Password(source) = &own.upstream
            && let Err(reason) = source.check()
        {
            return Err(StartError::Secret { login: account.login.clone(), key: source.key(), reason });
        }
    }
    Ok(())
}

/// The accounts whose upstream credential popbridge has by itself.
fn entrusted(config: &Config, connectors: &HashMap<String, Connector>, grants: &Grants) -> Vec<Entrusted> {
    let mut entrusted = Vec::new();
    for account in &config.accounts {
        let (Some(own), Some(connector)) = (&account.own_password, connectors.get(&account.upstream.name))
        else {
            continue;
        };
        let Some(source) = Source::of(&own.upstream, grants, &account.login, &account.username) else {
            continue;
        };
        entrusted.push(Entrusted {
            login: account.login.clone(),
            connector: connector.clone(),
            username: account.username.clone(),
            source,
        });
    }
    entrusted
}
