//! The sandbox from the outside: what guests can do, and what they cannot.
//!
//! Guests are written in WAT (`tests/guests`), so that these tests need no
//! compiler for guests. The tests of the plugins that ship with the host need
//! `plugins/build.sh` to have been run, and say so.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail the test"
)]

mod attempts;
mod contract;
mod denied;
mod loader;
mod misbehave;
mod plugins;
mod support;
