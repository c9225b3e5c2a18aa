//! The code flow: a person agrees in a browser, which brings back a code (RFC 6749 §4.1).

use oauth2::{AuthUrl, AuthorizationCode, CsrfToken, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl};

use super::error::{Error, words};
use super::{Provider, Tokens, tokens};
use crate::config::Flow;
use crate::secret::Secret;

/// A request that a browser is on its way with.
pub struct CodeRequest {
    /// What the person opens.
    pub url: String,
    redirect: RedirectUrl,
    state: CsrfToken,
    verifier: PkceCodeVerifier,
}

/// What the browser brought back.
pub struct Answered(Secret);

/// Why what came back is no code.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// Not the answer to this request, so that the right one may still come.
    #[error("this is not the address that the provider sent the browser to for this sign-in")]
    Foreign,
    /// The person, or the provider, said no.
    #[error("the provider answered: {0}")]
    Refused(String),
}

impl Provider {
    /// Begins a sign-in whose answer comes to the address `redirect`; `None` with another flow. With
    /// a new verifier and a new state each time (RFC 7636 §4.1, RFC 6749 §10.12).
    pub async fn begin_code(&self, redirect: &str, username: &str) -> Result<Option<CodeRequest>, Error> {
        let Flow::Code { url, extra, .. } = &self.oauth.flow else { return Ok(None) };
        let redirect = RedirectUrl::new(redirect.to_owned())
            .map_err(|error| Error::Misconfigured(format!("the redirect's address: {error}")))?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let client = self.client().await?.set_auth_uri(AuthUrl::from_url(url.clone()));
        let mut request = client
            .authorize_url(CsrfToken::new_random)
            .set_redirect_uri(std::borrow::Cow::Borrowed(&redirect))
            .set_pkce_challenge(challenge)
            .add_scopes(self.scopes())
            // Who has several accounts there takes the right one.
            .add_extra_param("login_hint", username);
        for (name, value) in *extra {
            request = request.add_extra_param(*name, *value);
        }
        let (url, state) = request.url();
        Ok(Some(CodeRequest { url: url.into(), redirect, state, verifier }))
    }

    /// Trades what came back for tokens (RFC 6749 §4.1.3).
    pub async fn finish_code(&self, request: CodeRequest, answered: Answered) -> Result<Tokens, Error> {
        let client = self.client().await?.set_redirect_uri(request.redirect);
        let exchange = client
            .exchange_code(AuthorizationCode::new(super::text(&answered.0)))
            .set_pkce_verifier(request.verifier);
        tokens(exchange.request_async(self).await?)
    }
}

impl CodeRequest {
    /// Reads the address that the browser was sent to, or the path and query of it.
    pub fn answer(&self, address: &str) -> Result<Answered, NoAnswer> {
        let query = address.trim().split_once('?').map(|(_, query)| query).ok_or(NoAnswer::Foreign)?;
        let query = query.split('#').next().unwrap_or_default();
        let (mut code, mut state, mut error, mut description) = (None, None, None, None);
        for (name, value) in oauth2::url::form_urlencoded::parse(query.as_bytes()) {
            let field = match &*name {
                "code" => &mut code,
                "state" => &mut state,
                "error" => &mut error,
                "error_description" => &mut description,
                _ => continue,
            };
            *field = Some(value.into_owned());
        }
        if state.as_ref() != Some(self.state.secret()) {
            return Err(NoAnswer::Foreign);
        }
        match (code, error) {
            (_, Some(error)) => Err(NoAnswer::Refused(words(&error, description.as_deref()))),
            (Some(code), None) if !code.is_empty() => Ok(Answered(Secret::new(code.into_bytes()))),
            _ => Err(NoAnswer::Foreign),
        }
    }
}
