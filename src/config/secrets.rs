//! The keys that say where a secret is: `password_file` and its like, of which one is given.

use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;

use super::error::ConfigError;
use super::source::Source;
use crate::secret::SecretSource;

/// What one secret's keys say.
#[derive(Default)]
pub struct Places<'a> {
    /// What the keys begin with: `password`, `client_secret`.
    pub secret: &'static str,
    pub file: Option<&'a Spanned<PathBuf>>,
    pub env: Option<&'a Spanned<String>>,
    pub command: Option<&'a Spanned<Vec<String>>>,
    pub credential: Option<&'a Spanned<String>>,
}

/// A place, and where the configuration names it.
pub type Named = (Range<usize>, SecretSource);

impl Places<'_> {
    /// The one that is given, if any.
    pub fn one(&self, source: &Source<'_>) -> Result<Option<Named>, ConfigError> {
        let mut named = self.all(source)?.into_iter();
        let first = named.next();
        if let (Some((_, first)), Some((span, second))) = (&first, named.next()) {
            let secret = self.secret;
            let word = secret.rsplit('_').next().unwrap_or(secret);
            let message = format!(
                "{secret}_{} and {secret}_{} are two places for one {word}: leave one of them out",
                first.kind(),
                second.kind()
            );
            return Err(source.at(&span, message));
        }
        Ok(first)
    }

    /// All that are given, in the order in which the keys are documented.
    fn all(&self, source: &Source<'_>) -> Result<Vec<Named>, ConfigError> {
        let mut found = Vec::new();
        if let Some(path) = self.file {
            if path.get_ref().as_os_str().is_empty() {
                return Err(source.at(&path.span(), "an empty path leads nowhere"));
            }
            found.push((path.span(), SecretSource::File(source.path(path.get_ref().clone()))));
        }
        if let Some(name) = self.env {
            let text = name.get_ref();
            if text.is_empty() || text.contains(['=', '\0']) {
                return Err(source.at(&name.span(), "this is no name of an environment variable"));
            }
            found.push((name.span(), SecretSource::Environment(text.clone())));
        }
        if let Some(words) = self.command {
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
        if let Some(name) = self.credential {
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
}
