//! The loop that joins events, journals, plugins and tools through the ports of
//! `infraflow-core`.
//!
//! Never knows NATS, wasmtime or processes, and holds no rules: what follows
//! what is decided in `infraflow-core`.
