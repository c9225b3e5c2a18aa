//! What is wrong with a configuration: the place, and the way out.

use std::io;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}: {source}")]
    Read { path: String, source: io::Error },
    #[error("{origin}:{line}: {message}")]
    At { origin: String, line: usize, message: String },
    #[error("{origin}: {message}")]
    Whole { origin: String, message: String },
}

/// Words a TOML error the way a person needs it: an unknown key with the nearest known one.
pub fn reworded(error: &toml::de::Error) -> String {
    let message = error.message();
    let words: Vec<&str> = message.split('`').collect();
    match words.as_slice() {
        ["unknown field ", unknown, rest @ ..] => {
            let known = rest.iter().skip(1).step_by(2);
            unknown_name("key", unknown, known.copied())
        }
        ["unknown variant ", unknown, rest @ ..] => {
            let known: Vec<&str> = rest.iter().skip(1).step_by(2).copied().collect();
            format!("\"{unknown}\" is none of the values here: {}", quoted(&known, ", "))
        }
        _ if message.contains("expected struct UpstreamForm")
            || message == "invalid type: sequence, expected a map" =>
        {
            "an upstream has a name of its own, as in [upstream.home]".to_owned()
        }
        _ if message.contains("expected struct OauthForm") => {
            "a way to sign in has a name of its own, as in [oauth.google]".to_owned()
        }
        _ if message == "invalid type: map, expected a sequence" => {
            "there may be several of these, so the brackets are double, as in [[listener]] and [[account]]"
                .to_owned()
        }
        _ if message == "wanted string or table" => {
            "one of this key's words belongs here, in quotation marks".to_owned()
        }
        ["missing field ", name, ..] => format!("the key \"{name}\" is missing here"),
        _ => message
            .replace("expected usize", "expected a whole number")
            .replace("expected u32", "expected a whole number below 2^32"),
    }
}

/// A name that is none of the known ones, with the nearest of them.
pub fn unknown_name<'a>(kind: &str, unknown: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let nearest = known
        .clone()
        .map(|name| (strsim::osa_distance(unknown, name), name))
        .min()
        .filter(|(distance, name)| *distance <= name.len().div_ceil(2));
    match nearest {
        Some((_, name)) => format!("unknown {kind} \"{unknown}\"; did you mean \"{name}\"?"),
        None => {
            format!("unknown {kind} \"{unknown}\"; known here: {}", quoted(&known.collect::<Vec<_>>(), ", "))
        }
    }
}

/// Names in quotation marks, with `between` them.
pub fn quoted(names: &[&str], between: &str) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    names.join(between)
}
