//! The `[[account]]` tables: logins with settings, and perhaps a password, of their own.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::error::{ConfigError, quoted, unknown_name};
use super::file::AccountForm;
use super::oauth::Oauth;
use super::secrets::Places;
use super::source::Source;
use super::{Account, Means, OwnPassword, Upstream, upstream_for};
use crate::secret::{Fingerprint, PasswordHash, SecretSource};

pub fn accounts(
    source: &Source<'_>,
    forms: Vec<AccountForm>,
    upstreams: &[Arc<Upstream>],
    sign_ins: &[Arc<Oauth>],
    client_ca: bool,
) -> Result<Vec<Arc<Account>>, ConfigError> {
    let mut taken = BTreeSet::new();
    let mut accounts = Vec::new();
    for form in forms {
        let span = form.login.span();
        let login = form.login.get_ref().clone();
        if login.is_empty() || login.contains(char::is_control) {
            return Err(source.at(&span, "a login has at least one character, and no control characters"));
        }
        if !taken.insert(login.clone()) {
            return Err(source.at(&span, format!("the login \"{login}\" has an [[account]] already")));
        }
        accounts.push(Arc::new(account(source, form, login, upstreams, sign_ins, client_ca)?));
    }
    Ok(accounts)
}

fn account(
    source: &Source<'_>,
    form: AccountForm,
    login: String,
    upstreams: &[Arc<Upstream>],
    sign_ins: &[Arc<Oauth>],
    client_ca: bool,
) -> Result<Account, ConfigError> {
    let own_password = own_password(source, &form, sign_ins)?;
    let client_certificate = client_certificate(source, &form, client_ca)?;
    let upstream = match &form.upstream {
        Some(name) => named(name.get_ref(), upstreams).map_err(|message| source.at(&name.span(), message))?,
        None => upstream_for(upstreams, &login).ok_or_else(|| {
            let names: Vec<&str> = upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
            let message = format!(
                "no upstream takes \"{login}\" by its domain, so say which: upstream = {}",
                quoted(&names, " or ")
            );
            source.at(&form.login.span(), message)
        })?,
    };
    let username = match form.username {
        Some(name) if name.get_ref().is_empty() || name.get_ref().contains(char::is_control) => {
            return Err(source.at(
                &name.span(),
                "a username has at least one character, and no control characters; leave the key out for \
                 the upstream's username",
            ));
        }
        Some(name) => name.into_inner(),
        None => upstream.username.fill(&login),
    };
    Ok(Account {
        login,
        upstream: Arc::clone(upstream),
        username,
        own_password,
        client_certificate,
        allow: form.allow,
        require_tls: form.require_tls,
        maildrop: Arc::new(form.maildrop.over(&upstream.maildrop, source)?),
    })
}

/// The upstream of this name.
fn named<'a>(name: &str, upstreams: &'a [Arc<Upstream>]) -> Result<&'a Arc<Upstream>, String> {
    let known = upstreams.iter().map(|upstream| upstream.name.as_str());
    upstreams
        .iter()
        .find(|upstream| upstream.name == name)
        .ok_or_else(|| unknown_name("upstream", name, known))
}

/// What the program proves itself with here, and what the upstream wants: both or neither.
fn own_password(
    source: &Source<'_>,
    form: &AccountForm,
    sign_ins: &[Arc<Oauth>],
) -> Result<Option<OwnPassword>, ConfigError> {
    let given = means(source, form, sign_ins)?;
    let hash = form.password_hash.as_ref();
    let proof = hash.map(|hash| ("password_hash is what the program is asked for", hash)).or_else(|| {
        let certificate = form.client_certificate.as_ref()?;
        Some(("client_certificate is what the program shows", certificate))
    });
    let (span, upstream) = match (proof, given) {
        (None, None) => return Ok(None),
        (Some(_), Some(given)) => given,
        (Some((what, key)), None) => {
            let message = format!(
                "{what}; say as well where the mail server's password comes from: password_file, password_env, \
                 password_command or password_credential; or oauth, for a sign-in"
            );
            return Err(source.at(&key.span(), message));
        }
        (None, Some((span, upstream))) => {
            let message = format!(
                "with {} whoever knows the login would be let in; say what password the program is to give: \
                 password_hash, as popbridge hash-password makes it, or what it is to show: client_certificate",
                upstream.key()
            );
            return Err(source.at(&span, message));
        }
    };
    let read = |hash: &toml::Spanned<String>| {
        PasswordHash::parse(hash.get_ref())
            .map_err(|error| source.at(&hash.span(), format!("password_hash: {error}")))
    };
    let hash = hash.map(read).transpose()?;
    // What a service alone can see, as its environment, is looked at when the service starts.
    if let Means::Password(place @ SecretSource::File(_)) = &upstream {
        place.check().map_err(|error| source.at(&span, format!("password_file: {error}")))?;
    }
    Ok(Some(OwnPassword { hash, upstream }))
}

/// What the upstream is logged in to with: a password from one place, or a sign-in.
fn means(
    source: &Source<'_>,
    form: &AccountForm,
    sign_ins: &[Arc<Oauth>],
) -> Result<Option<(Range<usize>, Means)>, ConfigError> {
    let password = Places {
        secret: "password",
        file: form.password_file.as_ref(),
        env: form.password_env.as_ref(),
        command: form.password_command.as_ref(),
        credential: form.password_credential.as_ref(),
    };
    match (password.one(source)?, &form.oauth) {
        (Some((_, place)), Some(name)) => {
            let message =
                format!("{} and oauth are two ways to one mailbox: leave one of them out", place.key());
            Err(source.at(&name.span(), message))
        }
        (Some((span, place)), None) => Ok(Some((span, Means::Password(place)))),
        (None, Some(name)) => {
            let known = sign_ins.iter().map(|oauth| oauth.name.as_str());
            let found = sign_ins.iter().find(|oauth| oauth.name == *name.get_ref());
            let oauth = found.ok_or_else(|| {
                let message = match sign_ins {
                    [] => format!("there is no [oauth.{}] that says how to sign in", name.get_ref()),
                    _ => unknown_name("sign-in", name.get_ref(), known),
                };
                source.at(&name.span(), message)
            })?;
            Ok(Some((name.span(), Means::SignIn(Arc::clone(oauth)))))
        }
        (None, None) => Ok(None),
    }
}

/// The certificate that opens a login. Without an authority no client is asked for one.
fn client_certificate(
    source: &Source<'_>,
    form: &AccountForm,
    client_ca: bool,
) -> Result<Option<Fingerprint>, ConfigError> {
    let Some(key) = &form.client_certificate else { return Ok(None) };
    let fingerprint = Fingerprint::parse(key.get_ref())
        .map_err(|error| source.at(&key.span(), format!("client_certificate: {error}")))?;
    if !client_ca {
        return Err(source.at(
            &key.span(),
            "programs are not asked for a certificate before [tls] says whose are good: client_ca = \"ca.pem\"",
        ));
    }
    Ok(Some(fingerprint))
}
