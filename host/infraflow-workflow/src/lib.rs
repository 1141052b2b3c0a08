//! From YAML to a valid [`Workflow`](infraflow_core::workflow::Workflow), with
//! every problem of a file reported at once: file, line, column, the text, what
//! was expected.
//!
//! - [`document`]: text to a tree of nodes with their places, bounded.
//! - [`diagnostic`]: problems, and the report that shows them.
//! - [`read`]: reading a document into types; the configuration uses it too.
//! - [`parse_workflow`]: a workflow's text to a workflow.
//!
//! Never reads files or the network, never knows NATS or wasmtime, never decides
//! what an event starts. The same documents and diagnostics serve the
//! configuration.

pub mod diagnostic;
pub mod document;
pub mod read;

mod expression;
mod inputs;
mod keys;
mod names;
mod raw;
mod resolve;

use infraflow_core::workflow::Workflow;

use diagnostic::Report;

/// Makes a workflow of its text. `name` stands for the text in reports: mostly
/// the file's path.
///
/// The workflow's digest is that of the text as it is given, byte for byte.
///
/// # Errors
/// Every problem of the text, at most
/// [`DOCUMENT_PROBLEMS`](infraflow_core::limits::DOCUMENT_PROBLEMS); the author
/// mends them, a second try with the same text gives the same report.
pub fn parse_workflow(name: &str, text: &str) -> Result<Workflow, Report> {
    read::read_document(name, text, |root| {
        let raw = raw::workflow(root)?;
        resolve::resolve(raw, text)
    })
}

#[cfg(test)]
mod tests;
