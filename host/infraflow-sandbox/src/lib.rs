//! Plugins: loading components, checking what they may do, running them within
//! their limits.
//!
//! [`Sandbox`] is the whole interface: [`Sandbox::prepare`] takes a component's
//! bytes, checks them and asks the plugin what it is; as
//! [`infraflow_core::ports::Plugins`] it runs attempts. A guest reaches exactly
//! what its attempt's permissions allow, over the functions of `wit/`: no files,
//! no network, no environment, no clock, no inherited output.
//!
//! The only crate that knows wasmtime. It never starts processes, never knows
//! NATS, never inherits anything of the host into a guest, keeps no global
//! state, and never decides what is granted (`infraflow-core` does).

mod attempt;
mod bindings;
mod cache;
mod engine;
mod error;
mod host;
mod limits;
mod meter;
mod prepare;
mod sandbox;
mod state;
mod ticker;

pub mod bare;

pub use error::{PrepareError, SandboxError};
pub use prepare::{Origin, Prepared};
pub use sandbox::{Sandbox, SandboxConfig};

/// The version of the contract (`package infraflow:step`) that this host
/// implements.
pub const CONTRACT: &str = "infraflow:step@0.1.0";
