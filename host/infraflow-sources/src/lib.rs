//! From the outside world to events: webhooks.
//!
//! Checks who sends, decodes what they send, and makes one normalized event of
//! each change. Never decides what an event starts, never knows NATS: a port
//! publishes.
//!
//! - [`source`]: a configured source; there is none that checks nothing unless
//!   the operator says so.
//! - [`receive`]: one request to events, without IO: signature, form, decoder.
//! - [`gitea_family`]: the decoder of Forgejo and Gitea.
//! - [`http`]: the listener: limits, deadlines, answers.
//! - [`sample`]: signed requests as a provider sends them, for
//!   `infraflow webhook test`, the demo and tests.
//!
//! The fields of each kind of event stand in `docs/events.md`.

pub mod gitea_family;
pub mod http;
pub mod receive;
pub mod sample;
pub mod source;

mod body;
mod form;
mod signature;
mod text;

#[cfg(test)]
mod tests;
