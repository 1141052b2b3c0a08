//! The harness of the integration tests: real NATS, real tools, real guests.
