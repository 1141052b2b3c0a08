//! Tests of the tool door with real processes: bubblewrap, git, Ansible,
//! OpenTofu (or Terraform), sshd, nats-server.
//!
//! `INFRAFLOW_TOOLS_BIN` names the folder with Ansible and nats-server when it is
//! not `.tools/venv/bin` of the repository.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests may panic like the tests themselves"
)]

#[path = "../support/mod.rs"]
mod support;

mod ansible;
mod commands;
mod files;
mod git;
mod jail;
mod lease;
mod ssh;
mod tofu;
mod watchdog;
mod workspaces;
mod world;
