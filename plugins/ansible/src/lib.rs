//! `ansible@1`: runs a playbook, or pings an inventory.
//!
//! The component's border only; what it does is in [`logic`].

pub mod logic;

infraflow_step::export_plugin!(logic::Ansible);
