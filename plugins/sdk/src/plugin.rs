//! What a plugin is, and the way from JSON to it and back.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::infraflow::step::types::{CapabilityRequest, Context, Descriptor, StepError};
use crate::{Host, input};

/// A step plugin.
pub trait Plugin {
    /// The step's `with`. Use `#[serde(deny_unknown_fields)]`.
    type Input: DeserializeOwned;
    /// What becomes `steps.<id>.outputs`; it must serialize to an object.
    type Output: Serialize;
    /// What the plugin says of itself.
    const DESCRIPTION: Description;

    /// Runs one attempt.
    ///
    /// # Errors
    /// A [`StepError`]; it is transient only when trying again without any
    /// change may help.
    fn run(
        host: &dyn Host,
        context: &Context,
        input: Self::Input,
    ) -> Result<Self::Output, StepError>;
}

/// What a plugin says of itself. It is constant: the same component always
/// describes itself in the same way.
#[derive(Debug, Clone, Copy)]
pub struct Description {
    /// Its name: the part before the `@` in a workflow's `uses`.
    pub name: &'static str,
    /// Its version, like `1.4.2`.
    pub version: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// JSON Schema (2020-12) of the input, at most 64 KiB.
    pub input_schema: &'static str,
    /// JSON Schema (2020-12) of the output, at most 64 KiB.
    pub output_schema: &'static str,
    /// What it wants to use: the capability, and why in one line.
    pub capabilities: &'static [(&'static str, &'static str)],
    /// Whether a second attempt after an unknown end does no harm.
    pub idempotent: bool,
    /// Whether it may change files of the workspace.
    pub writes_workspace: bool,
}

/// The descriptor of a plugin.
pub fn describe<P: Plugin>() -> Descriptor {
    let own = P::DESCRIPTION;
    let request = |&(capability, reason): &(&str, &str)| CapabilityRequest {
        capability: capability.into(),
        reason: reason.into(),
    };
    Descriptor {
        name: own.name.into(),
        version: own.version.into(),
        summary: own.summary.into(),
        input_schema: own.input_schema.into(),
        output_schema: own.output_schema.into(),
        capabilities: own.capabilities.iter().map(request).collect(),
        idempotent: own.idempotent,
        writes_workspace: own.writes_workspace,
    }
}

/// Runs a plugin from JSON to JSON.
///
/// # Errors
/// When the input does not fit, or the plugin fails.
pub fn run_json<P: Plugin>(
    host: &dyn Host,
    context: &Context,
    text: &str,
) -> Result<String, StepError> {
    let input = input::parse(text)?;
    let output = P::run(host, context, input)?;
    serde_json::to_string(&output)
        .map_err(|error| StepError::new(format!("the outputs cannot be written as JSON: {error}")))
}
