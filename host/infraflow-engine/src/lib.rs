//! The loop that joins events, journals, plugins and tools through the ports of
//! `infraflow-core`.
//!
//! - [`router`]: events become runs.
//! - [`executor`]: the runs that this host has, and how many it may have.
//! - [`driver`]: one run, from its claim to its end.
//! - [`attempt`]: one try of one step.
//! - [`index`]: what is known of every run, from the feed of journals.
//! - [`catalog`]: the workflows.
//! - [`control`]: what people ask for.
//!
//! Never knows NATS, wasmtime or processes, and holds no rules: what follows
//! what is decided in `infraflow-core`.

pub mod catalog;
pub mod control;
pub mod index;

mod attempt;
mod driver;
mod engine;
mod executor;
mod router;
mod sabotage;
mod stop;
mod task;

pub use engine::{Engine, EngineConfig, Ports, Readiness};
