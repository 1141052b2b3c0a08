//! From the outside world to events: webhooks.
//!
//! Checks who sends, decodes what they send, and makes one normalized event of
//! each change. Never decides what an event starts, never knows NATS: a port
//! publishes.
