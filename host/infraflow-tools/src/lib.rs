//! The door to processes and to the files of runs.
//!
//! The only crate that starts processes. It never uses a shell, never inherits
//! the host's environment, never puts a secret into an argument, and knows
//! neither NATS, nor wasmtime, nor workflows.
