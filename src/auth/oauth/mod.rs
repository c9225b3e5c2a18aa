//! OAuth 2 (RFC 6749), the protocol: a request goes out, tokens come back. Nothing is kept here.

mod code;
mod device;
mod error;
mod redirect;
mod sent;
mod service_account;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderMap, RETRY_AFTER};
use oauth2::basic::{BasicClient, BasicTokenResponse, BasicTokenType};
use oauth2::{
    AsyncHttpClient, AuthType, ClientId, ClientSecret, EndpointNotSet, EndpointSet, HttpRequest,
    HttpResponse, RefreshToken, Scope, TokenResponse as _, TokenUrl,
};

pub use code::{Answered, CodeRequest, NoAnswer};
pub use device::DeviceRequest;
pub use error::{Error, SetupError};
pub use redirect::Listener;

use crate::config::{Flow, Oauth};
use crate::http::{Http, Redirects};
use crate::secret::Secret;
use crate::trust;
use error::HttpFailure;
use sent::Sent;

/// An hour, as nearly everybody has it, where a provider does not say how long its token is good.
const USUAL_LIFE: Duration = Duration::from_secs(60 * 60);
/// No token is taken to be good for longer.
const LONGEST_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// More is no token: IMAP servers do not take lines much longer.
const LONGEST_TOKEN: usize = 16 * 1024;

/// What a provider has given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    pub access: Secret,
    /// `None`: the one that there is stays good.
    pub refresh: Option<Secret>,
    /// How long the access token is good, from now on.
    pub life: Duration,
}

/// popbridge in front of one provider, as one registered client.
pub struct Provider {
    oauth: Arc<Oauth>,
    http: Http,
}

/// With the address of the token endpoint.
type Client = BasicClient<EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

impl Provider {
    /// Reads the authorities that vouch for it; it is asked nothing yet.
    pub fn new(oauth: Arc<Oauth>) -> Result<Self, SetupError> {
        let name = || oauth.name.clone();
        let roots = trust::roots(oauth.ca_certificate.as_deref())
            .map_err(|reason| SetupError::Roots { name: name(), reason })?;
        let http = Http::new(roots, Redirects::Refused)
            .map_err(|reason| SetupError::Http { name: name(), reason })?;
        Ok(Self { oauth, http })
    }

    /// How to sign in there.
    pub fn settings(&self) -> &Arc<Oauth> {
        &self.oauth
    }

    /// A new access token for what a person has agreed to (RFC 6749 §6).
    pub async fn refresh(&self, token: &Secret) -> Result<Tokens, Error> {
        let token = RefreshToken::new(text(token));
        let client = self.client().await?;
        let answer = client.exchange_refresh_token(&token).request_async(self).await;
        tokens(answer?)
    }

    /// An access token for a user whom nobody has to ask.
    pub async fn own(&self, username: &str) -> Result<Tokens, Error> {
        match &self.oauth.flow {
            Flow::ServiceAccount { key_file } => self.service_account(key_file, username).await,
            // A person's consent cannot be had here; asked for like this, the provider says so.
            Flow::ClientCredentials | Flow::Code { .. } | Flow::Device { .. } => {
                let client = self.client().await?;
                let request = client.exchange_client_credentials().add_scopes(self.scopes());
                tokens(request.request_async(self).await?)
            }
        }
    }

    fn scopes(&self) -> impl Iterator<Item = Scope> {
        self.oauth.scopes.iter().cloned().map(Scope::new)
    }

    /// The client with its secret, as that is now.
    async fn client(&self) -> Result<Client, Error> {
        let oauth = &self.oauth;
        let mut client = BasicClient::new(ClientId::new(oauth.client_id.clone()));
        if let Some(source) = &oauth.client_secret {
            let secret = source.read().await.map_err(|reason| Error::Secret {
                key: format!("client_secret_{}", source.kind()),
                may_pass: reason.may_pass(),
                reason: reason.to_string(),
            })?;
            client = client.set_client_secret(ClientSecret::new(text(&secret)));
        }
        let by = if oauth.secret_in_body { AuthType::RequestBody } else { AuthType::BasicAuth };
        Ok(client.set_auth_type(by).set_token_uri(TokenUrl::from_url(oauth.token_url.clone())))
    }

    /// Asks the provider. What is no answer of its protocol, but an outage, becomes an error here.
    async fn ask(&self, request: HttpRequest) -> Result<HttpResponse, HttpFailure> {
        let sent = Sent::of(&request);
        let mut answer =
            self.http.send(request).await.map_err(|error| HttpFailure::None(error.to_string()))?;
        match answer.status() {
            StatusCode::OK => Ok(answer),
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                sent.strike(answer.body_mut());
                Ok(answer)
            }
            status => Err(HttpFailure::Status(status, retry_after(answer.headers()))),
        }
    }
}

impl<'c> AsyncHttpClient<'c> for Provider {
    type Error = HttpFailure;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpFailure>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.ask(request))
    }
}

/// Seconds (RFC 9110 §10.2.3); a date is as good as nothing.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// What a provider is sent has to be text; what it cannot be, it refuses.
fn text(secret: &Secret) -> String {
    String::from_utf8_lossy(secret.expose()).into_owned()
}

/// What is in an answer, if it is of use (RFC 6749 §5.1).
fn tokens(answer: BasicTokenResponse) -> Result<Tokens, Error> {
    if !matches!(answer.token_type(), BasicTokenType::Bearer) {
        return Err(Error::senseless("a token that is no bearer token"));
    }
    let token = |text: &str, octets: std::ops::RangeInclusive<u8>| {
        let sound = !text.is_empty()
            && text.len() <= LONGEST_TOKEN
            && text.bytes().all(|octet| octets.contains(&octet));
        sound
            .then(|| Secret::new(text.as_bytes().to_vec()))
            .ok_or_else(|| Error::senseless("what is no token"))
    };
    // Some say with an empty one that there is none.
    let refresh = answer.refresh_token().map(|refresh| refresh.secret()).filter(|text| !text.is_empty());
    Ok(Tokens {
        // It is sent to an IMAP server between control characters (RFC 6750 §2.1, RFC 7628 §3.1).
        access: token(answer.access_token().secret(), 0x21..=0x7E)?,
        // RFC 6749 A.17.
        refresh: refresh.map(|text| token(text, 0x20..=0x7E)).transpose()?,
        life: answer.expires_in().unwrap_or(USUAL_LIFE).min(LONGEST_LIFE),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(access: &str, refresh: &str) -> Result<Tokens, Error> {
        let answer = serde_json::json!({
            "access_token": access, "token_type": "bearer", "expires_in": 60, "refresh_token": refresh,
        });
        tokens(serde_json::from_value(answer).expect("an answer"))
    }

    #[test]
    fn a_refresh_token_may_hold_blanks_and_be_empty() {
        let refresh = |text| given("a", text).map(|tokens| tokens.refresh);
        assert_eq!(refresh(" r ~").expect("sound"), Some(Secret::new(b" r ~".to_vec())));
        assert_eq!(refresh("").expect("sound"), None);
        for (access, refresh) in [("a", "r\u{7f}"), ("a", "r\n"), ("a", "\u{e9}"), ("a b", "r"), ("", "r")] {
            assert!(given(access, refresh).is_err(), "{access:?} {refresh:?}");
        }
    }
}
