//! What wit-bindgen makes of the contract. Not part of this crate's interface.

#![expect(
    clippy::too_many_arguments,
    reason = "generated: the functions take the fields of the contract's records"
)]

wit_bindgen::generate!({
    path: "../../wit",
    world: "step",
    additional_derives: [PartialEq, Clone],
    pub_export_macro: true,
    export_macro_name: "export_step",
    default_bindings_module: "infraflow_step::bindings",
});
