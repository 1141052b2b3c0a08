//! The host's own log: on standard error, for people and their log collectors.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Starts it. `INFRAFLOW_LOG` says what is shown, as `tracing` filters do;
/// `verbose` raises the default.
pub(crate) fn start(verbose: bool) {
    let default = if verbose {
        "debug,async_nats=info,hyper=info"
    } else {
        "info,async_nats=warn"
    };
    let filter =
        EnvFilter::try_from_env("INFRAFLOW_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .try_init();
    // Only a second start fails, and the first one stands.
    drop(started);
}
