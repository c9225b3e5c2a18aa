//! What was sent to a provider must not come back in its words: they reach logs and the state.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use oauth2::HttpRequest;
use oauth2::url::form_urlencoded;
use serde_json::Value;
use zeroize::Zeroizing;

/// The parameters whose values nobody is to see (RFC 6749 §2.3.1, §4.1.3, §6; RFC 7636 §4.5; RFC 8628
/// §3.4; RFC 7523 §2.1).
const SECRET: [&[u8]; 6] =
    [b"client_secret", b"code", b"code_verifier", b"refresh_token", b"device_code", b"assertion"];

/// The secrets of one request, plain and as they were written there; the longest first.
pub struct Sent(Vec<Zeroizing<String>>);

impl Sent {
    /// Those in its body and in its header.
    pub fn of(request: &HttpRequest) -> Self {
        let mut written: Vec<Zeroizing<Vec<u8>>> = Vec::new();
        for pair in request.body().split(|&octet| octet == b'&') {
            let (name, value) = halves(pair, b'=');
            if SECRET.contains(&name) {
                written.push(Zeroizing::new(value.to_vec()));
            }
        }
        let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        if let Some(basic) = header.and_then(|value| value.strip_prefix("Basic ")) {
            let pair = Zeroizing::new(STANDARD.decode(basic).unwrap_or_default());
            written.push(Zeroizing::new(basic.as_bytes().to_vec()));
            written.push(Zeroizing::new(halves(&pair, b':').1.to_vec()));
        }
        let mut values = Vec::new();
        for value in written {
            let field = Zeroizing::new([b"=", value.as_slice()].concat());
            let plain = form_urlencoded::parse(&field).next().map(|(_, plain)| plain.into_owned());
            values.extend(plain.map(Zeroizing::new));
            values.push(Zeroizing::new(String::from_utf8_lossy(&value).into_owned()));
        }
        values.retain(|value| !value.is_empty());
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Self(values)
    }

    /// Strikes them out of an answer, which is a JSON object (RFC 6749 §5.2) or nothing.
    pub fn strike(&self, answer: &mut Vec<u8>) {
        let Ok(Value::Object(mut fields)) = serde_json::from_slice(answer) else {
            return answer.clear();
        };
        for field in fields.values_mut() {
            if let Value::String(text) = field {
                for secret in &self.0 {
                    *text = text.replace(secret.as_str(), "…");
                }
            }
        }
        *answer = Value::Object(fields).to_string().into_bytes();
    }
}

/// What is before and behind a sign's first occurrence.
fn halves(text: &[u8], sign: u8) -> (&[u8], &[u8]) {
    let at = text.iter().position(|&octet| octet == sign);
    at.map_or((text, &[]), |at| (&text[..at], &text[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn struck(body: &str, authorization: &str, answer: &str) -> String {
        let request = http::Request::post("https://provider.example/token")
            .header(AUTHORIZATION, authorization)
            .body(body.as_bytes().to_vec())
            .expect("a request");
        let mut answer = answer.as_bytes().to_vec();
        Sent::of(&request).strike(&mut answer);
        String::from_utf8(answer).expect("text")
    }

    #[test]
    fn what_was_sent_does_not_come_back() {
        let body = "grant_type=refresh_token&refresh_token=r%2F+1&code=r&client_id=id&client_secret=";
        let basic = format!("Basic {}", STANDARD.encode("id:s%3D2"));
        let said = |text: &str| struck(body, &basic, &serde_json::json!({ "error": text }).to_string());
        for (text, expected) in [
            ("r/ 1 is bad", "… is bad"),
            ("refresh_token=r%2F+1", "…ef…esh_token=…"),
            ("s=2, s%3D2", "…, …"),
            (basic.as_str(), "Basic …"),
            ("id", "id"),
        ] {
            assert_eq!(said(text), serde_json::json!({ "error": expected }).to_string());
        }
        // Written in another way.
        assert_eq!(struck(body, "", r#"{"a":"\u0072\/ 1","b":2}"#), r#"{"a":"…","b":2}"#);
        // Read leniently, these would be errors, too.
        for answer in [r#"["invalid_grant","r/ 1"]"#, r#"{"error":"r/ 1","a":1e999}"#, "no JSON"] {
            assert_eq!(struck(body, "Basic =", answer), "");
        }
    }
}
