//! The model and the decisions of infraflow: what an event, a workflow, a run
//! and a grant are, which runs an event starts, and what a run does next.
//!
//! Everything here is a function of data: equal inputs give equal decisions.
//! This crate never does IO, never reads a clock, an environment variable or a
//! random number, never starts a task or a thread, and knows neither NATS, nor
//! wasmtime, nor processes. What it needs from the outside it either gets as a
//! value or names as a port ([`ports`]) for the engine to call.

pub mod duration;
pub mod event;
pub mod grant;
pub mod id;
pub mod inputs;
pub mod lease;
pub mod limits;
pub mod line;
pub mod lock;
pub mod mask;
pub mod nearest;
pub mod outcome;
pub mod plugin;
pub mod ports;
pub mod retry;
pub mod route;
pub mod run;
pub mod summary;
pub mod template;
pub mod tool;
pub mod workflow;

/// A JSON value: inputs, outputs and event data are JSON documents by contract.
pub type Json = serde_json::Value;

/// A JSON object.
pub type JsonMap = serde_json::Map<String, Json>;

/// A moment, in UTC, to the nanosecond.
pub type Timestamp = jiff::Timestamp;
