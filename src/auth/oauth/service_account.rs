//! A service account, which may act for each user of its domain by a key of its own (RFC 7523 §2.1).

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Request;
use http::header::{ACCEPT, CONTENT_TYPE};
use oauth2::RequestTokenError;
use oauth2::basic::{BasicErrorResponse, BasicTokenResponse};
use serde::Deserialize;
use serde_json::json;
use zeroize::{Zeroize as _, Zeroizing};

use super::error::{Error, HttpFailure};
use super::{Provider, Tokens, tokens};
use crate::secret::{Signer, read_private};

/// Google takes no longer ones.
const LIFE: u64 = 60 * 60;
/// So much may the provider's clock be behind.
const SKEW: u64 = 30;

/// What is needed of the file that Google hands out.
#[derive(Deserialize)]
struct KeyFile {
    client_email: String,
    private_key_id: Option<String>,
    private_key: String,
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        self.private_key.zeroize();
    }
}

impl Provider {
    /// An access token for this user.
    pub(super) async fn service_account(&self, key_file: &Path, username: &str) -> Result<Tokens, Error> {
        let unusable = |reason: String| Error::Secret {
            key: "service_account_file".to_owned(),
            reason: format!("{}: {reason}", key_file.display()),
            may_pass: false,
        };
        let text = read_private(key_file).await.map_err(|reason| Error::Secret {
            key: "service_account_file".to_owned(),
            may_pass: reason.may_pass(),
            reason: reason.to_string(),
        })?;
        let key: KeyFile = serde_json::from_slice(&text).map_err(|_| {
            unusable(
                "this is no key of a service account in JSON form, as Google lets it be downloaded"
                    .to_owned(),
            )
        })?;
        let signer =
            Signer::from_pem(key.private_key.as_bytes()).map_err(|reason| unusable(reason.to_string()))?;
        let assertion = self.assertion(&key, username);
        let signature = signer.sign(assertion.as_bytes()).map_err(|reason| unusable(reason.to_string()))?;
        let assertion = Zeroizing::new(format!("{assertion}.{}", URL_SAFE_NO_PAD.encode(signature)));
        let body = oauth2::url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
            .append_pair("assertion", &assertion)
            .finish();
        let request = Request::post(self.oauth.token_url.as_str())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(body.into_bytes())
            .map_err(|error| HttpFailure::None(error.to_string()))?;
        let answer = self.ask(request).await?;
        if answer.status().is_success() {
            let answer: BasicTokenResponse = serde_json::from_slice(answer.body())
                .map_err(|_| Error::senseless("what is no OAuth 2 response"))?;
            return tokens(answer);
        }
        let said: BasicErrorResponse = serde_json::from_slice(answer.body())
            .map_err(|_| Error::senseless("what is no OAuth 2 response"))?;
        Err(RequestTokenError::<HttpFailure, _>::ServerResponse(said).into())
    }

    /// What is claimed, without its signature (RFC 7515 §3.1, RFC 7523 §3).
    fn assertion(&self, key: &KeyFile, username: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let issued = now.saturating_sub(SKEW);
        let mut header = json!({ "alg": "RS256", "typ": "JWT" });
        if let Some(id) = &key.private_key_id {
            header["kid"] = json!(id);
        }
        let claims = json!({
            "iss": key.client_email,
            "sub": username,
            "scope": self.oauth.scopes.join(" "),
            "aud": self.oauth.token_url.as_str(),
            "iat": issued,
            "exp": issued + LIFE,
        });
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}", part(&header), part(&claims))
    }
}
