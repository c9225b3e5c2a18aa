//! The `[[account]]` tables: logins with settings, and perhaps a password, of their own.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::{ConfigError, quoted, unknown_name};
use super::file::AccountForm;
use super::source::Source;
use super::{Account, OwnPassword, Upstream, upstream_for};
use crate::secret::{Fingerprint, PasswordHash, SecretSource};

pub fn accounts(
    source: &Source<'_>,
    forms: Vec<AccountForm>,
    upstreams: &[Arc<Upstream>],
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
        accounts.push(Arc::new(account(source, form, login, upstreams, client_ca)?));
    }
    Ok(accounts)
}

fn account(
    source: &Source<'_>,
    form: AccountForm,
    login: String,
    upstreams: &[Arc<Upstream>],
    client_ca: bool,
) -> Result<Account, ConfigError> {
    let own_password = own_password(source, &form)?;
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

/// What the program proves itself with here, and the password that the upstream wants: both or
/// neither.
fn own_password(source: &Source<'_>, form: &AccountForm) -> Result<Option<OwnPassword>, ConfigError> {
    let mut sources = secret_sources(source, form)?.into_iter();
    let hash = form.password_hash.as_ref();
    let proof = hash.map(|hash| ("password_hash is what the program is asked for", hash)).or_else(|| {
        let certificate = form.client_certificate.as_ref()?;
        Some(("client_certificate is what the program shows", certificate))
    });
    let (span, upstream) = match (proof, sources.next()) {
        (None, None) => return Ok(None),
        (Some(_), Some(first)) => first,
        (Some((what, key)), None) => {
            let message = format!(
                "{what}; say as well where the mail server's password comes from: password_file, password_env, \
                 password_command or password_credential"
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
    if let Some((span, second)) = sources.next() {
        let message = format!(
            "{} and {} are two places for one password: leave one of them out",
            upstream.key(),
            second.key()
        );
        return Err(source.at(&span, message));
    }
    let read = |hash: &toml::Spanned<String>| {
        PasswordHash::parse(hash.get_ref())
            .map_err(|error| source.at(&hash.span(), format!("password_hash: {error}")))
    };
    let hash = hash.map(read).transpose()?;
    // What a service alone can see, as its environment, is looked at when the service starts.
    if let SecretSource::File(_) = upstream {
        upstream.check().map_err(|error| source.at(&span, format!("password_file: {error}")))?;
    }
    Ok(Some(OwnPassword { hash, upstream }))
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

type Named = (Range<usize>, SecretSource);

/// All that are given, in the order in which the keys are documented.
fn secret_sources(source: &Source<'_>, form: &AccountForm) -> Result<Vec<Named>, ConfigError> {
    let mut found = Vec::new();
    if let Some(path) = &form.password_file {
        if path.get_ref().as_os_str().is_empty() {
            return Err(source.at(&path.span(), "an empty path leads nowhere"));
        }
        found.push((path.span(), SecretSource::File(source.path(path.get_ref().clone()))));
    }
    if let Some(name) = &form.password_env {
        let text = name.get_ref();
        if text.is_empty() || text.contains(['=', '\0']) {
            return Err(source.at(&name.span(), "this is no name of an environment variable"));
        }
        found.push((name.span(), SecretSource::Environment(text.clone())));
    }
    if let Some(words) = &form.password_command {
        let wrong = |message: &str| Err(source.at(&words.span(), message));
        let mut command = words.get_ref().clone();
        match command.first_mut() {
            Some(program) if program.is_empty() => return wrong("a program has a name"),
            // By its path, not by a name to be looked for.
            Some(program) if program.contains('/') => {
                let path = source.path(PathBuf::from(&*program));
                *program = path.to_string_lossy().into_owned();
            }
            Some(_) => {}
            None => return wrong("a program and its arguments, as [\"pass\", \"show\", \"mail\"]"),
        }
        if command.iter().any(|word| word.contains('\0')) {
            return wrong("a word with a NUL cannot be handed to a program");
        }
        found.push((words.span(), SecretSource::Command(command)));
    }
    if let Some(name) = &form.password_credential {
        let text = name.get_ref();
        if text.is_empty() || text.contains(['/', '\0']) || text == "." || text == ".." {
            return Err(source.at(
                &name.span(),
                "a credential's name, as LoadCredential= of systemd gives it, not a path",
            ));
        }
        found.push((name.span(), SecretSource::Credential(text.clone())));
    }
    Ok(found)
}
