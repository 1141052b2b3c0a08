//! The `infraflow` binary: command line, configuration, wiring, signals and exit
//! codes. Never logic with a branch worth testing: that belongs further down.

mod api;
mod banner;
mod cli;
mod commands;
mod config;
mod credentials;
mod data_dir;
mod embedded;
mod exit;
#[cfg(feature = "faults")]
mod faults;
mod health;
mod http;
mod install;
mod output;
mod plugins;
mod retention;
mod secrets;
mod task;
mod telemetry;
mod up;
mod upkeep;
mod workflow_dir;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::Cli;
use crate::exit::{Exit, Outcome};
use crate::output::{RED, note, styled};

fn main() -> ExitCode {
    // What the watchdog starts must be single-threaded and know nothing else.
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next().as_deref().and_then(|first| first.to_str()) {
        Some("watchdog") => return infraflow_tools::watchdog::run(),
        Some("shim") => return infraflow_tools::shim::run(arguments),
        _ => {}
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let is_error = error.use_stderr();
            // Help and errors go where clap sends them.
            drop(error.print());
            return if is_error {
                Exit::Usage.into()
            } else {
                Exit::Success.into()
            };
        }
    };
    finish(commands::dispatch(cli))
}

fn finish(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => {
            if !failure.is_silent {
                note(&format!("{} {}", styled(RED, "error:"), failure.message));
            }
            failure.exit.into()
        }
    }
}
