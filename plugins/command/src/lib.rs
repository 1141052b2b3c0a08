//! `command@1`: runs an executable that the operator has listed by name.
//!
//! The component's border only; what it does is in [`logic`].

pub mod logic;

infraflow_step::export_plugin!(logic::Command);
