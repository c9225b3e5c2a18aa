//! `popbridge serve`: run the bridge until a signal says stop.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::Level;

use super::exit::Failure;
use super::source::Source;
use crate::app::App;
use crate::server::Certificates;
use crate::telemetry;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
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
    let config = arguments.source.load(arguments.listen)?;
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
        let hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
        let app = App::bind(config).await?;
        // systemd waits for this word (sd_notify(3)); nobody else asks.
        if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
            tracing::warn!(%error, "cannot tell systemd that popbridge serves");
        }
        let reloading = tokio::spawn(reload(hangup, app.certificates()));
        app.run(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await;
        reloading.abort();
        Ok(ExitCode::SUCCESS)
    })
}

/// Reads the certificate again at each SIGHUP, as after its renewal; sessions go on.
async fn reload(mut hangup: Signal, certificates: Option<Arc<Certificates>>) {
    while hangup.recv().await.is_some() {
        match certificates.as_ref().map(|certificates| certificates.reload()) {
            Some(Ok(())) => tracing::info!("certificate read again"),
            Some(Err(error)) => tracing::error!(%error, "the old certificate stays in use"),
            None => tracing::info!("no certificate to read again: no listener speaks TLS"),
        }
    }
}
