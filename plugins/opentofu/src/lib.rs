//! `opentofu@1`: plans, applies and destroys what an OpenTofu module describes.
//!
//! The component's border only; what it does is in [`logic`].

pub mod logic;

infraflow_step::export_plugin!(logic::OpenTofu);
