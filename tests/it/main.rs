//! The whole product, from outside: the real program, a real NATS server, real
//! tools. Each test has a host of its own in a folder of its own.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests look into JSON; what is missing there fails the test"
)]

mod bad_input;
mod cli;
mod crashes;
mod dead_letters;
mod hosts;
mod jail;
mod lifecycle;
mod logs;
mod playbooks;
mod repeating;
mod running;
mod soak;
mod tidy;
mod triggers;
mod upkeep;
mod waiting;
mod webhooks;
mod workflows;

/// Commands that the tests' steps run.
pub(crate) const COMMANDS: &str = "\
commands:
  sh: /bin/sh
  curl: { program: /usr/bin/curl, network: true }
";
