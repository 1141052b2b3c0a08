//! Plugins: loading components, checking what they may do, running them within
//! their limits.
//!
//! The only crate that knows wasmtime. It never starts processes, never knows
//! NATS, never inherits anything of the host into a guest.
