//! rsasl's mechanisms, as far as they only read what the client says: whether it is right is for
//! the door or the upstream to tell.

use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::mechanisms::external::EXTERNAL;
use rsasl::mechanisms::login::LOGIN;
use rsasl::mechanisms::oauthbearer::OAUTHBEARER;
use rsasl::mechanisms::oauthbearer::properties::OAuthBearerValidate;
use rsasl::mechanisms::xoauth2::XOAUTH2;
use rsasl::mechanisms::xoauth2::properties::XOAuth2Validate;
use rsasl::prelude::{Mechname, Registry, SASLConfig, SASLServer, Session, SessionError, State};
use rsasl::property::{AuthId, AuthzId, OAuthBearerToken, Password};
use rsasl::validate::{Validate, Validation, ValidationError};
use zeroize::Zeroizing;

use super::{Malformed, Mechanism};
use crate::secret::Secret;

/// An exchange that ends with what the client said.
pub struct Capture(Box<Session<Captured>>);

/// What the client said; empty, where its mechanism has no such thing.
pub struct Said {
    pub authentication_id: String,
    pub authorization_id: String,
    pub password: Secret,
    pub token: Secret,
}

/// What comes next.
pub enum Step {
    Challenge(Vec<u8>),
    Said(Said),
}

impl Capture {
    /// Of a mechanism that rsasl reads; `None` for any other.
    pub fn new(mechanism: Mechanism) -> Option<Self> {
        static MECHANISMS: &[rsasl::prelude::Mechanism] = &[LOGIN, EXTERNAL, OAUTHBEARER, XOAUTH2];
        let config = SASLConfig::builder()
            .with_registry(Registry::with_mechanisms(MECHANISMS))
            .with_callback(Listen)
            .ok()?;
        let name = Mechname::parse(mechanism.name().as_bytes()).ok()?;
        let session = SASLServer::<Captured>::new(config).start_suggested(name).ok()?;
        Some(Self(Box::new(session)))
    }

    /// Takes the client's response.
    pub fn step(&mut self, response: Option<&[u8]>) -> Result<Step, Malformed> {
        let mut challenge = Zeroizing::new(Vec::new());
        match self.0.step(response, &mut *challenge) {
            Ok(State::Running) => Ok(Step::Challenge(challenge.to_vec())),
            Ok(State::Finished(_)) => self.0.validation().ok_or(Malformed).map(Step::Said),
            Err(_) => Err(Malformed),
        }
    }
}

struct Listen;

struct Captured;

impl Validation for Captured {
    type Value = Said;
}

impl SessionCallback for Listen {
    fn callback(
        &self,
        _session: &SessionData,
        _context: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        request.satisfy::<OAuthBearerValidate>(&Ok(()))?.satisfy::<XOAuth2Validate>(&Ok(()))?;
        Ok(())
    }

    fn validate(
        &self,
        _session: &SessionData,
        context: &Context<'_>,
        validate: &mut Validate<'_>,
    ) -> Result<(), ValidationError> {
        validate.with::<Captured, _>(|| {
            let secret = |octets: Option<&[u8]>| Secret::new(octets.unwrap_or_default().to_vec());
            Ok(Said {
                authentication_id: context.get_ref::<AuthId>().unwrap_or_default().to_owned(),
                authorization_id: context.get_ref::<AuthzId>().unwrap_or_default().to_owned(),
                password: secret(context.get_ref::<Password>()),
                token: secret(context.get_ref::<OAuthBearerToken>().map(str::as_bytes)),
            })
        })?;
        Ok(())
    }
}
