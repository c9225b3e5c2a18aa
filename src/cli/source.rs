//! Where a command's configuration comes from: a file, or the name of an IMAP server.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::config::{Config, ConfigError};

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub struct Source {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The IMAP server, without a configuration file: imaps://imap.example.org
    #[arg(long, value_name = "URL")]
    imap: Option<String>,
}

impl Source {
    /// A configuration file.
    pub fn file(path: &Path) -> Self {
        Self { config: Some(path.to_owned()), imap: None }
    }

    /// The configuration; without a file it listens at `listen`.
    pub fn load(&self, listen: SocketAddr) -> Result<Config, ConfigError> {
        match (&self.config, &self.imap) {
            (Some(path), _) => Config::load(path),
            // The group wants one of the two, so the URL is there.
            (None, url) => Config::for_upstream(url.as_deref().unwrap_or_default(), listen),
        }
    }

    /// The configuration for a command that listens nowhere.
    pub fn for_state(&self) -> Result<Config, ConfigError> {
        self.load(([127, 0, 0, 1], 1110).into())
    }

    /// As it is written on a command line, for the commands that errors and reports name.
    pub fn words(&self) -> String {
        match (&self.config, &self.imap) {
            (Some(path), _) => format!("--config {}", quoted(&path.display().to_string())),
            (None, url) => format!("--imap {}", quoted(url.as_deref().unwrap_or_default())),
        }
    }
}

/// A word that a shell takes as it is.
pub fn quoted(word: &str) -> String {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"@%+=:,./-_".contains(&octet);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}
