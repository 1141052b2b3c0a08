//! The bus against a real NATS server: each test has one of its own.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests look into JSON; what is missing there fails the test"
)]

mod audit;
mod dead;
mod health;
mod hosts;
mod locks;
mod pausing;
mod retention;
mod server;
mod timers;
mod topology;
