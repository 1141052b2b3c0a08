//! Write infraflow step plugins in Rust.
//!
//! A plugin is a plain module: an input and an output (serde), a description,
//! and a function that asks the [`Host`] for what it needs. [`export_plugin!`]
//! makes a component of it; [`testing`] runs the same function natively against
//! a fake host.
//!
//! ```
//! use infraflow_step::{Context, Description, Host, Plugin, StepError, log::Level};
//!
//! struct Greet;
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Input {
//!     name: String,
//! }
//!
//! #[derive(serde::Serialize)]
//! struct Output {
//!     greeting: String,
//! }
//!
//! impl Plugin for Greet {
//!     type Input = Input;
//!     type Output = Output;
//!     const DESCRIPTION: Description = Description {
//!         name: "greet",
//!         version: "1.0.0",
//!         summary: "Greets somebody",
//!         input_schema: r#"{ "type": "object", "required": ["name"] }"#,
//!         output_schema: r#"{ "type": "object" }"#,
//!         capabilities: &[],
//!         idempotent: true,
//!         writes_workspace: false,
//!     };
//!
//!     fn run(host: &dyn Host, _: &Context, input: Input) -> Result<Output, StepError> {
//!         let greeting = format!("hello, {}", input.name);
//!         host.log(Level::Info, &greeting);
//!         Ok(Output { greeting })
//!     }
//! }
//!
//! infraflow_step::export_plugin!(Greet);
//! # fn main() {}
//! ```
//!
//! This crate never keeps state between calls, never waits and never retries:
//! that is the host's work.

#[doc(hidden)]
pub mod bindings;
mod host;
pub mod input;
mod plugin;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use bindings::infraflow::step::types::{
    CapabilityRequest, Context, Descriptor, Error, Limit, StepError,
};
pub use bindings::infraflow::step::{ansible, command, git, log, opentofu, workspace};
pub use host::Host;
pub use plugin::{Description, Plugin};

#[doc(hidden)]
pub mod export {
    pub use crate::host::Wit;
    pub use crate::plugin::{describe, run_json};
}

/// Makes the component's exports out of a [`Plugin`]. Does nothing when it is
/// not built for WebAssembly, so that the same crate has native tests.
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Exported;

            impl $crate::bindings::Guest for Exported {
                fn describe() -> $crate::Descriptor {
                    $crate::export::describe::<$plugin>()
                }

                fn run(
                    context: $crate::Context,
                    input: ::std::string::String,
                ) -> ::core::result::Result<::std::string::String, $crate::StepError> {
                    $crate::export::run_json::<$plugin>(&$crate::export::Wit, &context, &input)
                }
            }

    $crate::bindings::export_step!(Exported with_types_in $crate::bindings);
        };
    };
}
