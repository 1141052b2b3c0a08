//! Subjects, topology, consumers, journals, logs, KV and objects on NATS
//! JetStream.
//!
//! The only crate that knows NATS. It never knows what a workflow means, never
//! retries a step, and no type of the NATS client crosses its public API.
