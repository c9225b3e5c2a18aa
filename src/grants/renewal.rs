//! How a grant is renewed: from what is stored to an access token.

use std::time::Duration;

use tokio::time::Instant;

use super::{Error, Grant, Held, Received, Rest};
use crate::auth::oauth::{self, Tokens};
use crate::failpoint;
use crate::secret::Secret;
use crate::store::{Refusal, SealedTokens, StoredTokens, now};

/// So much before its end a token is renewed, in seconds: a session that begins now goes on for a
/// while. Of a short-lived one, a quarter of its life.
const MARGIN: i64 = 120;
/// The pauses behind failures that pass.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);
/// The pause where somebody has to do something first.
const LASTING_PAUSE: Duration = Duration::from_secs(60);
/// A mail server that refuses a new token as well does not mean the token.
const BETWEEN_REPLACEMENTS: Duration = Duration::from_secs(10 * 60);
/// So often another process may be quicker.
const TRIES: usize = 5;

impl Grant {
    /// An access token, by what the store and the provider say; not the `refused` one, if another can
    /// be had.
    pub(super) async fn work(&self, held: &mut Held, refused: Option<&Secret>) -> Result<Secret, Error> {
        for _ in 0..TRIES {
            if let Some(received) = held.unsaved.take() {
                self.keep(held, received).await?;
            }
            let stored = self.grants.0.store.tokens(&self.name).await?;
            let version = stored.as_ref().map(|stored| stored.version);
            if held.rest.as_ref().is_some_and(|rest| rest.version != version) {
                held.rest = None;
            }
            let current = match &stored {
                None if self.needs_consent() => {
                    return Err(Error::NotSignedIn { login: self.login.clone() });
                }
                None => None,
                // One that was meant for another client says nothing of this one.
                Some(StoredTokens { refused: Some(refusal), .. }) if refusal.asker == self.asker() => {
                    return Err(self.gone(&refusal.reason));
                }
                Some(stored) => self.open(held, stored).await?,
            };
            if refused.is_some_and(|refused| current.as_ref() == Some(refused)) {
                held.refused = version;
            }
            // Until it is replaced: a mail server that is shown it at each poll locks the account.
            let is_refused = version.is_some() && held.refused == version;
            let left = stored.as_ref().map_or(0, |stored| stored.tokens.expires_at.saturating_sub(now()));
            let serves = left > stored.as_ref().map_or(0, margin) && !(is_refused && held.may_replace());
            if let Some(token) = current.as_ref().filter(|_| serves) {
                return Ok(token.clone());
            }
            // Good until the very end, if there is no other.
            let last = current.filter(|_| !is_refused && left > 0);
            if let Some(rest) = held.rest.as_ref().filter(|rest| rest.until > Instant::now()) {
                return last.ok_or_else(|| self.refused(rest.error.clone()));
            }
            let fetched = match self.fetch(stored.as_ref()).await {
                Ok(fetched) => fetched,
                Err(error) => {
                    tracing::warn!(login = %self.login, %error, still_good = last.is_some(), "nobody can be asked");
                    return last.ok_or(error);
                }
            };
            match fetched {
                Ok(tokens) => {
                    held.rest = None;
                    held.replaced = is_refused.then(Instant::now).or(held.replaced);
                    failpoint::reached("token-received");
                    if let Some(token) = self.keep(held, Received { version, tokens, at: now() }).await? {
                        failpoint::reached("token-stored");
                        return Ok(token);
                    }
                }
                Err(oauth::Error::Gone(reason))
                    if let Some(version) = version.filter(|_| self.needs_consent()) =>
                {
                    // Unless another process has renewed them meanwhile, and so used them up.
                    let refusal = Refusal { reason, asker: self.asker() };
                    let Refusal { reason, .. } = &refusal;
                    if self.grants.0.store.refuse_tokens(&self.name, version, &refusal).await? {
                        tracing::error!(login = %self.login, %reason, "the provider takes the sign-in no more");
                        return Err(self.gone(reason));
                    }
                }
                Err(error) => {
                    let error = held.rest(version, error);
                    tracing::warn!(login = %self.login, %error, still_good = last.is_some(), "no new access token");
                    return last.ok_or_else(|| self.refused(error));
                }
            }
        }
        Err(self.refused(oauth::Error::senseless("new tokens to several at once")))
    }

    /// Asks the provider. The outer error is our own, before anything was asked.
    async fn fetch(&self, stored: Option<&StoredTokens>) -> Result<Result<Tokens, oauth::Error>, Error> {
        // What comes must be stored, so both places are tried before what is there is used up.
        self.grants.0.keyring.check().await?;
        self.grants.0.store.prove_writable().await?;
        if !self.needs_consent() {
            return Ok(self.provider().own(&self.name.username).await);
        }
        match stored.and_then(|stored| stored.tokens.refresh.as_ref()) {
            Some(sealed) => {
                let token = self.grants.0.keyring.open(&self.bound("refresh"), sealed).await?;
                Ok(self.provider().refresh(&token).await)
            }
            None => Err(self.gone("it has run out, and the provider gave nothing to renew it with")),
        }
    }

    /// Stores tokens before they are used: a provider may take the former ones no more. The access
    /// token; `None` if another process has stored others.
    pub(super) async fn keep(&self, held: &mut Held, received: Received) -> Result<Option<Secret>, Error> {
        let kept = async {
            let Received { version, tokens, at } = &received;
            let former = match tokens.refresh {
                Some(_) => None,
                None => {
                    self.grants.0.store.tokens(&self.name).await?.and_then(|stored| stored.tokens.refresh)
                }
            };
            let sealed = self.seal(tokens, former, *at).await?;
            Ok::<_, Error>(self.grants.0.store.renew_tokens(&self.name, *version, &sealed).await?)
        };
        match kept.await {
            Ok(Some(version)) => {
                let token = received.tokens.access;
                tracing::debug!(login = %self.login, life = ?received.tokens.life, "a new access token");
                held.opened = Some((version, token.clone()));
                Ok(Some(token))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                tracing::error!(login = %self.login, %error, "a new token cannot be stored");
                held.unsaved = Some(received);
                Err(error)
            }
        }
    }

    /// Tokens as the store may have them; `former` is the refresh token that stays, sealed.
    pub(super) async fn seal(
        &self,
        tokens: &Tokens,
        former: Option<Vec<u8>>,
        at: i64,
    ) -> Result<SealedTokens, Error> {
        let keyring = &self.grants.0.keyring;
        let refresh = match &tokens.refresh {
            // Who needs no consent has nothing else to renew it with.
            _ if !self.needs_consent() => None,
            Some(token) => Some(keyring.seal(&self.bound("refresh"), token).await?),
            None => former,
        };
        let life = i64::try_from(tokens.life.as_secs()).unwrap_or(i64::MAX);
        Ok(SealedTokens {
            refresh,
            access: keyring.seal(&self.bound("access"), &tokens.access).await?,
            obtained_at: at,
            expires_at: at.saturating_add(life),
        })
    }

    /// The access token that is stored. One that does not open is as good as none where another can be
    /// had without anybody's consent.
    async fn open(&self, held: &mut Held, stored: &StoredTokens) -> Result<Option<Secret>, Error> {
        if let Some((version, token)) = &held.opened
            && *version == stored.version
        {
            return Ok(Some(token.clone()));
        }
        match self.grants.0.keyring.open(&self.bound("access"), &stored.tokens.access).await {
            Ok(token) => {
                held.opened = Some((stored.version, token.clone()));
                Ok(Some(token))
            }
            Err(_) if !self.needs_consent() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The name that a token is sealed under: nobody can put it in another account's place.
    fn bound(&self, kind: &'static str) -> [&str; 3] {
        [kind, &self.name.sign_in, &self.name.username]
    }

    /// What a provider knows popbridge by, and which one: a refusal says nothing about others.
    fn asker(&self) -> String {
        let settings = self.provider().settings();
        format!("{} {}", settings.token_url, settings.client_id)
    }

    fn needs_consent(&self) -> bool {
        self.provider().settings().flow.needs_consent()
    }

    fn gone(&self, reason: &str) -> Error {
        Error::Gone { login: self.login.clone(), reason: reason.to_owned() }
    }

    fn refused(&self, reason: oauth::Error) -> Error {
        Error::Provider { login: self.login.clone(), reason }
    }
}

/// How long before its end a token is renewed, in seconds.
fn margin(stored: &StoredTokens) -> i64 {
    let tokens = &stored.tokens;
    MARGIN.min(tokens.expires_at.saturating_sub(tokens.obtained_at) / 4)
}

impl Held {
    /// Whether another token may be had for one that a mail server refuses.
    fn may_replace(&self) -> bool {
        self.replaced.is_none_or(|replaced| replaced.elapsed() >= BETWEEN_REPLACEMENTS)
    }

    /// Lets the provider rest behind an error, each time for longer: programs poll.
    fn rest(&mut self, version: Option<i64>, error: oauth::Error) -> oauth::Error {
        let last = self.rest.take().map(|rest| rest.pause);
        let pause = match &error {
            oauth::Error::Unavailable { retry_after, .. } => {
                let growing = last.map_or(FIRST_PAUSE, |last| (last * 2).min(LONGEST_PAUSE));
                growing.max(retry_after.unwrap_or_default().min(LONGEST_PAUSE))
            }
            oauth::Error::Gone(_) | oauth::Error::Misconfigured(_) => LASTING_PAUSE,
            // Who waits behind a command that takes its time shares what has become of it.
            oauth::Error::Secret { may_pass: true, .. } => FIRST_PAUSE,
            // Nobody was asked, and to look again costs nothing.
            oauth::Error::Secret { may_pass: false, .. } => return error,
        };
        self.rest = Some(Rest { version, until: Instant::now() + pause, pause, error: error.clone() });
        error
    }
}
