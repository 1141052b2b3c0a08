//! `checkout@1`: puts the files of a commit, or of an upload, into the run's
//! workspace.
//!
//! The component's border only; what it does is in [`logic`].

pub mod logic;

infraflow_step::export_plugin!(logic::Checkout);
