//! The text of a configuration, to name a place in it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::error::ConfigError;

/// The text that is being read.
pub struct Source<'a> {
    pub text: &'a str,
    /// Its name in errors.
    pub origin: &'a str,
    /// `None` when there is no file.
    pub folder: Option<&'a Path>,
}

impl Source<'_> {
    /// An error at the line where `span` begins.
    pub fn at(&self, span: &Range<usize>, message: impl Into<String>) -> ConfigError {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        ConfigError::At {
            origin: self.origin.to_owned(),
            line: 1 + before.bytes().filter(|&octet| octet == b'\n').count(),
            message: message.into(),
        }
    }

    /// An error that has no line of its own.
    pub fn whole(&self, message: impl Into<String>) -> ConfigError {
        ConfigError::Whole { origin: self.origin.to_owned(), message: message.into() }
    }

    /// Paths in the file start at its folder.
    pub fn path(&self, path: PathBuf) -> PathBuf {
        match self.folder {
            Some(folder) if path.is_relative() => folder.join(path),
            _ => path,
        }
    }
}
