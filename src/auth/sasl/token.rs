//! XOAUTH2 and OAUTHBEARER (RFC 7628): the token is the upstream's to judge.

use super::capture::{Capture, Said, Step};
use super::{Claim, Credentials, Malformed, name, unescaped};
use crate::secret::Secret;

/// RFC 7628 §3.2.2, with a code of RFC 6750 §3.1.
const OAUTHBEARER_REFUSAL: &str = r#"{"status":"invalid_token"}"#;
/// As Google's servers say it.
const XOAUTH2_REFUSAL: &str = r#"{"status":"401","schemes":"bearer"}"#;

/// `n,a=LOGIN,^Ahost=…^Aauth=Bearer TOKEN^A^A` (RFC 7628 §3.1). The login has to be in it: nothing
/// else says which upstream it belongs to.
pub fn oauthbearer(capture: &mut Capture, message: &[u8]) -> Result<Credentials, Malformed> {
    let said = said(capture, message)?;
    let login = unescaped(&said.authorization_id).ok_or(Malformed)?;
    let (scheme, token) = said.token.expose().split_at_checked("Bearer ".len()).ok_or(Malformed)?;
    if !scheme.eq_ignore_ascii_case(b"Bearer ") {
        return Err(Malformed);
    }
    credentials(&login, token, OAUTHBEARER_REFUSAL)
}

/// `user=LOGIN^Aauth=Bearer TOKEN^A^A`.
pub fn xoauth2(capture: &mut Capture, message: &[u8]) -> Result<Credentials, Malformed> {
    let said = said(capture, message)?;
    credentials(&said.authentication_id, said.token.expose(), XOAUTH2_REFUSAL)
}

fn said(capture: &mut Capture, message: &[u8]) -> Result<Said, Malformed> {
    match capture.step(Some(message))? {
        Step::Said(said) => Ok(said),
        Step::Challenge(_) => Err(Malformed),
    }
}

fn credentials(login: &str, token: &[u8], refusal: &'static str) -> Result<Credentials, Malformed> {
    // RFC 6750 §2.1; and at the upstream a ^A would begin another field.
    if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
        return Err(Malformed);
    }
    let claim = Claim::Token { token: Secret::new(token.to_vec()), refusal };
    Ok(Credentials { login: name(login.as_bytes())?, claim })
}

#[cfg(test)]
mod tests {
    use super::super::Mechanism;
    use super::*;

    type Read = fn(&mut Capture, &[u8]) -> Result<Credentials, Malformed>;

    fn taken(mechanism: Mechanism, message: &str) -> Result<Credentials, Malformed> {
        let read: Read = if mechanism == Mechanism::XOAuth2 { xoauth2 } else { oauthbearer };
        read(&mut Capture::new(mechanism).expect("rsasl reads it"), message.as_bytes())
    }

    fn token(login: &str, token: &str, refusal: &'static str) -> Result<Credentials, Malformed> {
        let claim = Claim::Token { token: Secret::new(token.as_bytes().to_vec()), refusal };
        Ok(Credentials { login: login.to_owned(), claim })
    }

    #[test]
    fn xoauth2_is_taken_apart() {
        let take = |message: &str| taken(Mechanism::XOAuth2, message);
        // The example in Google's description.
        let message =
            "user=someuser@example.com\x01auth=Bearer ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg\x01\x01";
        let expected = "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg";
        assert_eq!(take(message), token("someuser@example.com", expected, XOAUTH2_REFUSAL));
        for wrong in [
            "",
            "\x01",
            "user=\x01auth=Bearer t\x01\x01",
            "user=a\x01auth=Bearer \x01\x01",
            "user=a\x01auth=Basic t\x01\x01",
            "user=a\x01auth=Bearer t\x01",
            "user=a\x01auth=Bearer t\x01x=y\x01\x01",
            "user=a\x01auth=Bearer t u\x01\x01",
            "user=a\nb\x01auth=Bearer t\x01\x01",
            "a\x01auth=Bearer t\x01\x01",
        ] {
            assert_eq!(take(wrong), Err(Malformed), "{wrong:?}");
        }
    }

    #[test]
    fn oauthbearer_is_taken_apart() {
        let take = |message: &str| taken(Mechanism::OAuthBearer, message);
        // RFC 7628 §4.1
        let message = "n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01";
        let expected = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==";
        assert_eq!(take(message), token("user@example.com", expected, OAUTHBEARER_REFUSAL));
        assert_eq!(take("n,a=a=2Cb=3D,\x01auth=bearer t\x01\x01"), token("a,b=", "t", OAUTHBEARER_REFUSAL));
        for wrong in [
            "",
            "n,,\x01\x01",
            "n,,\x01auth=Bearer t\x01\x01",
            "n,a=a,\x01auth=t\x01\x01",
            "n,a=a,\x01auth=Basic  t\x01\x01",
            "n,a=a,\x01auth=Bearer \x01\x01",
            "n,a=a,\x01auth=Bearer t\x01",
            "n,a=a=2X,\x01auth=Bearer t\x01\x01",
            "y,a=a,\x01auth=Bearer t\x01\x01",
            "p=tls-exporter,a=a,\x01auth=Bearer t\x01\x01",
            "n,a,\x01auth=Bearer t\x01\x01",
            "n\x01auth=Bearer t\x01\x01",
        ] {
            assert_eq!(take(wrong), Err(Malformed), "{wrong:?}");
        }
    }
}
