//! What crosses the wire, versioned: events, records, log lines, locks, hosts,
//! timers, audit entries.
//!
//! Each has its own types and one conversion to and from the model. A golden of
//! every version stays: what was written once can be read.

pub(crate) mod audit;
pub(crate) mod event;
pub(crate) mod headers;
pub(crate) mod host;
pub(crate) mod line;
pub(crate) mod lock;
pub(crate) mod record;
pub(crate) mod timer;
