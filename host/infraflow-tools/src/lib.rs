//! The door to processes and to the files of runs.
//!
//! The only crate that starts processes. It never uses a shell, never inherits
//! the host's environment, never puts a secret into an argument, and knows
//! neither NATS, nor wasmtime, nor workflows.
//!
//! - [`watchdog`]: the small process that starts and knows every child;
//! - [`shim`]: what runs between a new process and its tool;
//! - [`jail`]: the box that tools run in;
//! - [`workspace`]: the files of runs, and uploads;
//! - [`ToolDoor`]: git, Ansible, OpenTofu and commands, as the engine calls them;
//! - [`probe`]: what is installed, for `doctor`.

pub mod jail;
pub mod limits;
pub mod probe;
pub mod programs;
pub mod shim;
pub mod watchdog;
pub mod workspace;

mod ansible;
mod boottime;
mod command;
mod config;
mod context;
mod door;
mod errors;
mod git;
mod loose;
mod packet;
mod process;
mod raw_lines;
mod sinks;
mod tasks;
mod tofu;
mod variables;

pub use self::boottime::boottime;
pub use self::config::{CommandSpec, SourceRepo, ToolsConfig};
pub use self::door::ToolDoor;
