//! What crosses the wire, versioned: events, records, log lines.
//!
//! Each has its own types and one conversion to and from the model. A golden of
//! every version stays: what was written once can be read.

pub(crate) mod event;
pub(crate) mod headers;
pub(crate) mod line;
pub(crate) mod record;
