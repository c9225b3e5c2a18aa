//! `popbridge serve`: run the bridge until a signal says stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tracing::Level;

use super::exit::Failure;
use crate::app::App;
use crate::config::Config;
use crate::telemetry;

#[derive(clap::Args)]
pub struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", conflicts_with = "imap", required_unless_present = "imap")]
    config: Option<PathBuf>,
    /// The IMAP server, without a configuration file: imaps://imap.example.org
    #[arg(long, value_name = "URL")]
    imap: Option<String>,
    /// Where POP3 programs connect, with --imap.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:1110", conflicts_with = "config")]
    listen: SocketAddr,
    /// How log lines are written, to standard error.
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    log_format: LogFormat,
    /// How much is logged.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: Level,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum LogFormat {
    Human,
    Json,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let config = match (&arguments.config, &arguments.imap) {
        (Some(path), _) => Config::load(path)?,
        (None, Some(url)) => Config::for_upstream(url, arguments.listen)?,
        // clap wants one of the two.
        (None, None) => return Ok(super::exit::USAGE.into()),
    };
    let format = match arguments.log_format {
        LogFormat::Human => telemetry::Format::Human,
        LogFormat::Json => telemetry::Format::Json,
    };
    telemetry::start(format, arguments.log_level).context("cannot start logging")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let app = App::bind(config).await?;
        app.run(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await;
        Ok(ExitCode::SUCCESS)
    })
}
