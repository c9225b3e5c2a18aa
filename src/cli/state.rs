//! The state database, for commands that look into it or mend it beside a running bridge.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use super::exit::Failure;
use crate::config::Config;
use crate::store::Store;

/// Opens the state that a bridge with this configuration has made, and does `work` with it.
pub fn with_state<T>(
    config: &Config,
    work: impl AsyncFnOnce(&Store) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let store = Store::open_existing(&config.database).await?;
        let done = work(&store).await;
        store.close().await;
        done
    })
}

/// Seconds since 1970 as people and programs read them (RFC 3339, UTC).
pub fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// A duration as the configuration has it, in days where that is even.
pub fn duration(duration: Duration) -> String {
    const DAY: u64 = 24 * 60 * 60;
    match duration.as_secs() {
        seconds if seconds > 0 && seconds.is_multiple_of(DAY) => format!("{}d", seconds / DAY),
        _ => humantime::format_duration(duration).to_string(),
    }
}

/// Prints to standard output. A reader that has had enough, as `head`, is no error.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("cannot write to standard output").into())
        }
        _ => Ok(()),
    }
}

/// Prints one JSON object.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).context("cannot print the report")?;
    print(&format!("{text}\n"))
}
