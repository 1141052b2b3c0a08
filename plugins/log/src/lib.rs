//! `log@1`: writes a message to the run's log.
//!
//! The component's border only; what it does is in [`logic`].

pub mod logic;

infraflow_step::export_plugin!(logic::Log);
