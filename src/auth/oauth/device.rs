//! The device flow: a person types a short code into a browser anywhere (RFC 8628).

use std::time::Duration;

use oauth2::{DeviceAuthorizationUrl, StandardDeviceAuthorizationResponse};
use tokio::time::sleep;

use super::error::Error;
use super::{Provider, Tokens, tokens};
use crate::config::Flow;

/// More seconds between two questions, or until the end, are no sense of a server's.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A server that wants to be asked without end (`"interval": 0`) is asked once a second.
const SHORTEST: Duration = Duration::from_secs(1);

/// A code that waits for somebody to type it.
pub struct DeviceRequest {
    /// Where it is typed.
    pub url: String,
    /// What is typed.
    pub user_code: String,
    /// How long it is good.
    pub life: Duration,
    details: StandardDeviceAuthorizationResponse,
}

impl Provider {
    /// Asks for a code; `None` with another flow (RFC 8628 §3.1).
    pub async fn begin_device(&self) -> Result<Option<DeviceRequest>, Error> {
        let Flow::Device { url } = &self.oauth.flow else { return Ok(None) };
        let client =
            self.client().await?.set_device_authorization_url(DeviceAuthorizationUrl::from_url(url.clone()));
        let request = client.exchange_device_code().add_scopes(self.scopes());
        let details: StandardDeviceAuthorizationResponse = request.request_async(self).await?;
        if details.interval() > LONGEST || details.expires_in() > LONGEST {
            return Err(Error::senseless("a code that takes days"));
        }
        // They go to a terminal.
        let shown = |text: &str| text.chars().filter(|letter| !letter.is_control()).collect::<String>();
        Ok(Some(DeviceRequest {
            url: shown(details.verification_uri()),
            user_code: shown(details.user_code().secret()),
            life: details.expires_in(),
            details,
        }))
    }

    /// Waits until the code was typed, asking as often as the provider wants (RFC 8628 §3.4, §3.5).
    pub async fn finish_device(&self, request: &DeviceRequest) -> Result<Tokens, Error> {
        let client = self.client().await?;
        let polling = client.exchange_device_access_token(&request.details);
        let pause = |interval: Duration| sleep(interval.max(SHORTEST));
        tokens(polling.request_async(self, pause, None).await?)
    }
}
