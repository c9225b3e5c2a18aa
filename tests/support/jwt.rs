//! Access tokens that a Dovecot checks by itself: JSON Web Tokens (RFC 7519) under HS256.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::json;
use tempfile::TempDir;

/// Nobody else's key.
const KEY: &[u8] = b"a key of the tests, and of nothing else";

/// What Dovecot is told of the tokens.
pub struct Issuer {
    folder: TempDir,
}

impl Issuer {
    /// Lays the key where Dovecot looks for it.
    pub fn new() -> Self {
        Self::checked_by(|folder| {
            format!(
                "introspection_mode = local\nlocal_validation_key_dict = fs:posix:prefix={folder}/keys/\n"
            )
        })
    }

    /// One that Dovecot would have to ask about its tokens, and that nobody can reach.
    pub fn unreachable() -> Self {
        let port = super::process::free_port();
        Self::checked_by(|_| {
            format!("introspection_mode = post\nintrospection_url = http://127.0.0.1:{port}/\n")
        })
    }

    fn checked_by(how: impl FnOnce(&str) -> String) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let keys = folder.path().join("keys/default/HS256");
        fs::create_dir_all(&keys).expect("a folder for the key");
        fs::write(keys.join("default"), STANDARD.encode(KEY)).expect("a file is written");
        let how = how(&folder.path().display().to_string());
        let settings = format!("{how}username_attribute = sub\n");
        fs::write(folder.path().join("oauth2.conf"), settings).expect("a file is written");
        // Dovecot reads it as a user of its own.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("our own folder");
        Self { folder }
    }

    /// Dovecot's settings: every mechanism that the bridge knows, tokens of this issuer.
    pub fn dovecot(&self) -> String {
        format!(
            "auth_mechanisms = plain login scram-sha-256 xoauth2 oauthbearer\n\
             passdb {{\n driver = oauth2\n mechanisms = xoauth2 oauthbearer\n args = {}\n}}\n",
            self.path().join("oauth2.conf").display()
        )
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A token for this user that ends so many seconds from now, or has ended.
    pub fn token(&self, user: &str, seconds: i64) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = i64::try_from(now.expect("after 1970").as_secs()).expect("for some time to come");
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let head = part(json!({ "alg": "HS256", "typ": "JWT" }));
        let claims = part(json!({ "sub": user, "iat": now - 7200, "exp": now + seconds }));
        let signed = format!("{head}.{claims}");
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, KEY), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
