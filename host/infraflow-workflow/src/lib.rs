//! From YAML to a valid [`Workflow`](infraflow_core::workflow::Workflow), with
//! every problem of a file reported at once: file, line, column, the text, what
//! was expected.
//!
//! Never reads files or the network, never knows NATS or wasmtime, never decides
//! what an event starts. The same documents and diagnostics serve the
//! configuration.
