//! Why an account has no token.

use crate::auth::oauth;
use crate::secret::KeyError;
use crate::store;

/// An error of a grant. No token is in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("nobody has signed \"{login}\" in yet: popbridge authorize {login}")]
    NotSignedIn { login: String },
    /// Consent was taken back, or has run out.
    #[error("the sign-in of \"{login}\" is over: {reason}; sign in anew: popbridge authorize {login}")]
    Gone { login: String, reason: String },
    #[error("no access token for \"{login}\": {reason}")]
    Provider { login: String, reason: oauth::Error },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The program ends.
    #[error("the sign-in was broken off")]
    Interrupted,
}
