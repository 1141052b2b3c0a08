//! The loop that joins events, journals, plugins and tools through the ports of
//! `infraflow-core`.
//!
//! - [`router`]: events become runs.
//! - [`executor`]: the runs that this host has, and how many it may have.
//! - [`driver`]: one run, from its claim to its end.
//! - [`attempt`]: one try of one step.
//! - [`files`]: the files of a run, before and after an attempt.
//! - [`locks`]: asking for locks and giving them back.
//! - [`requests`]: what others than its host append to a run's journal.
//! - [`timers`], [`sweep`]: runs go on that wait, or that nobody has.
//! - [`membership`]: which hosts there are, and whether this one may act.
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
mod files;
mod locks;
mod membership;
mod repeat;
mod requests;
mod router;
mod sabotage;
mod stop;
mod sweep;
mod task;
mod timers;

pub use engine::{Engine, EngineConfig, Ports, Readiness};
pub use membership::{HostView, LeasePorts, Tenancy};
