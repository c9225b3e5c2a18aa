//! Exit codes (sysexits.h), and the last words that go with them.

use std::process::ExitCode;

use crate::app::StartError;
use crate::config::ConfigError;
use crate::store;

/// The command line is wrong.
pub const USAGE: u8 = 64;
/// What a command is asked about is not there: no state database yet, no such message in it.
pub const NO_INPUT: u8 = 66;
/// The password cannot be read, or is refused.
pub const NO_PERMISSION: u8 = 77;
/// The mail server or an address cannot be had.
pub const UNAVAILABLE: u8 = 69;
/// Something that should not happen.
const SOFTWARE: u8 = 70;
/// The state, or a file, cannot be written.
pub const CANNOT_CREATE: u8 = 73;
/// The configuration is wrong.
pub const CONFIG: u8 = 78;
/// A person has stopped it, as a shell tells of SIGINT.
pub const INTERRUPTED: u8 = 130;

/// An error with its exit code.
pub struct Failure {
    code: u8,
    error: anyhow::Error,
}

impl Failure {
    /// Ends the program with `code`.
    pub fn new(code: u8, error: impl Into<anyhow::Error>) -> Self {
        Self { code, error: error.into() }
    }

    /// Prints the error.
    pub fn report(self) -> ExitCode {
        // Most of our errors tell their cause themselves.
        let mut text = self.error.to_string();
        for cause in self.error.chain().skip(1).map(ToString::to_string) {
            if !text.contains(&cause) {
                text.push_str(": ");
                text.push_str(&cause);
            }
        }
        eprintln!("popbridge: {text}");
        self.code.into()
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(CONFIG, error)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let code = match &error {
            StartError::Upstream(_)
            | StartError::Certificate(_)
            | StartError::Secret { .. }
            | StartError::SignIn(_)
            | StartError::Key(_) => CONFIG,
            StartError::Store(_) => CANNOT_CREATE,
            StartError::Listen { .. } | StartError::Random(_) => UNAVAILABLE,
        };
        Self::new(code, error)
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        let code = match &error {
            store::Error::Missing { .. } => NO_INPUT,
            store::Error::InMemory => CONFIG,
            _ => CANNOT_CREATE,
        };
        Self::new(code, error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(SOFTWARE, error)
    }
}
