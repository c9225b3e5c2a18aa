//! Logging: human lines on a terminal, JSON on request, to standard error.

use std::io::IsTerminal;

use tracing::Level;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One readable line an event; coloured on a terminal.
    Human,
    /// One JSON object an event.
    Json,
}

/// Starts logging for the whole process, at `level` for popbridge and at warnings for the rest.
///
/// Records of the `log` crate are not taken in at all: async-imap writes passwords there.
pub fn start(format: Format, level: Level) -> Result<(), TryInitError> {
    let filter = Targets::new()
        .with_default(level.min(Level::WARN))
        .with_target("popbridge", level)
        .with_target("async_imap", tracing::level_filters::LevelFilter::OFF);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = match format {
        Format::Human => layer.with_ansi(std::io::stderr().is_terminal()).with_target(false).boxed(),
        Format::Json => layer.json().boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init()
}
