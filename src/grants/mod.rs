//! What popbridge has been granted: the tokens of each account, kept sealed in the store, renewed
//! before they end, by one at a time.

mod error;
mod renewal;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex as Turn;
use tokio::time::Instant;

pub use error::Error;

use crate::auth::oauth::{self, Provider, SetupError, Tokens};
use crate::config::Oauth;
use crate::secret::{Keyring, Secret};
use crate::store::{Store, TokenName};

/// The grants of all accounts; cheap to clone.
#[derive(Clone)]
pub struct Grants(Arc<Shared>);

struct Shared {
    store: Store,
    keyring: Keyring,
    /// By the names of the ways to sign in.
    providers: HashMap<String, Provider>,
    held: Mutex<HashMap<TokenName, Arc<Turn<Held>>>>,
}

/// One account's grant; cheap to clone.
#[derive(Clone)]
pub struct Grant {
    grants: Grants,
    name: TokenName,
    login: String,
    held: Arc<Turn<Held>>,
}

/// What is known of a grant beside the store; whoever has it works at the grant.
#[derive(Default)]
struct Held {
    /// The access token of this version, opened.
    opened: Option<(i64, Secret)>,
    /// Tokens that could not be stored yet: they are lost nowhere else.
    unsaved: Option<Received>,
    rest: Option<Rest>,
    /// The version whose access token the mail server has refused.
    refused: Option<i64>,
    /// When a token that the mail server had refused was last replaced.
    replaced: Option<Instant>,
}

/// Tokens that came in place of those of `version`.
struct Received {
    version: Option<i64>,
    tokens: Tokens,
    /// Seconds since 1970.
    at: i64,
}

/// The provider is not asked until this is over, or something is new.
struct Rest {
    version: Option<i64>,
    until: Instant,
    pause: Duration,
    error: oauth::Error,
}

impl Grants {
    /// Of accounts that sign in in these ways.
    pub fn new(store: Store, keyring: Keyring, sign_ins: &[Arc<Oauth>]) -> Result<Self, SetupError> {
        let provider = |oauth: &Arc<Oauth>| Ok((oauth.name.clone(), Provider::new(Arc::clone(oauth))?));
        let providers = sign_ins.iter().map(provider).collect::<Result<_, SetupError>>()?;
        Ok(Self(Arc::new(Shared { store, keyring, providers, held: Mutex::default() })))
    }

    /// The grant of an account that signs in in the way of this name; `None`: there is no such way.
    pub fn grant(&self, sign_in: &str, login: &str, username: &str) -> Option<Grant> {
        self.0.providers.contains_key(sign_in).then_some(())?;
        let name = TokenName { sign_in: sign_in.to_owned(), username: username.to_owned() };
        let held = {
            let mut table = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(table.entry(name.clone()).or_default())
        };
        Some(Grant { grants: self.clone(), name, login: login.to_owned(), held })
    }

    /// Waits until no token is on its way, and tries once more to store those that could not be: what
    /// is not stored is lost with the process.
    pub async fn settle(&self) {
        let grants: Vec<Grant> = {
            let table = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
            // Logins share a grant; none of them is here.
            let grant = |(name, held): (&TokenName, &Arc<Turn<Held>>)| Grant {
                grants: self.clone(),
                name: name.clone(),
                login: name.username.clone(),
                held: Arc::clone(held),
            };
            table.iter().map(grant).collect()
        };
        for grant in grants {
            let mut held = grant.held.lock().await;
            if let Some(received) = held.unsaved.take() {
                // It tells itself that it failed.
                let _ = grant.keep(&mut held, received).await;
            }
        }
    }
}

impl Grant {
    /// An access token that is good for a while, from the provider if need be.
    pub async fn token(&self) -> Result<Secret, Error> {
        self.obtain(None).await
    }

    /// Another access token than this one, which the mail server has refused just now; `None` where
    /// none can be had that promises more.
    pub async fn replace(&self, refused: &Secret) -> Result<Option<Secret>, Error> {
        let token = self.obtain(Some(refused.clone())).await?;
        Ok(Some(token).filter(|token| token != refused))
    }

    /// Keeps what a sign-in has given, in place of whatever was there; when the access token ends, in
    /// seconds since 1970.
    pub async fn sign_in(&self, tokens: Tokens) -> Result<i64, Error> {
        let mut held = self.held.lock().await;
        *held = Held::default();
        let sealed = self.seal(&tokens, None, crate::store::now()).await?;
        self.grants.0.store.sign_in(&self.name, &sealed).await?;
        Ok(sealed.expires_at)
    }

    /// How to sign in.
    pub fn provider(&self) -> &Provider {
        // A grant is made for a way that there is.
        &self.grants.0.providers[&self.name.sign_in]
    }

    /// Waits for its turn and works at the grant. Sessions that want the same share what the first one
    /// brings; one that gives up in between breaks nothing off, since a token may be on its way.
    async fn obtain(&self, refused: Option<Secret>) -> Result<Secret, Error> {
        let grant = self.clone();
        let working = tokio::spawn(async move {
            let mut held = Arc::clone(&grant.held).lock_owned().await;
            grant.work(&mut held, refused.as_ref()).await
        });
        working.await.unwrap_or(Err(Error::Interrupted))
    }
}
