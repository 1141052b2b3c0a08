//! The harness of the integration tests: the real program, a real NATS server,
//! real tools and guests, each test in folders and on ports of its own.
//!
//! Waits for values with a deadline, never for time. Ends everything it started,
//! also when a test panics.

pub mod cluster;
pub mod counter;
pub mod disk;
pub mod git;
pub mod history;
pub mod host;
pub mod nats;
pub mod processes;
pub mod proxy;
pub mod push;
pub mod wait;
