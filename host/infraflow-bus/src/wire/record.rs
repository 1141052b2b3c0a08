//! Journal records on the wire: JSON, version 2. Version 1 is read as well: its
//! runs have no locks and no origin, and wait for nothing but persons.
//!
//! An older binary that meets a newer record refuses that run by name; it never
//! guesses. So every change that an old reader could misunderstand raises
//! [`VERSION`], and the goldens of all versions stay.

mod from_wire;
mod shape;
mod to_wire;

use infraflow_core::id::RunId;
use infraflow_core::run::RecordEnvelope;

use from_wire::from_wire;
use shape::{RecordWire, Version};
use to_wire::to_wire;

/// The version that this binary writes, and the newest that it reads.
pub(crate) const VERSION: u32 = 2;

/// The oldest version that it reads.
const VERSION_MIN: u32 = 1;

/// Writes a record.
pub(crate) fn encode(record: &RecordEnvelope) -> Vec<u8> {
    let wire = RecordWire {
        v: VERSION,
        host: record.writer.host.to_string(),
        life: record.writer.incarnation.to_string(),
        epoch: record.epoch,
        nonce: format!("{:016x}", record.nonce),
        at: record.at,
        wakes: record.wakes.as_ref().map(ToString::to_string),
        entries: record.entries.iter().map(to_wire).collect(),
    };
    serde_json::to_vec(&wire).expect("strings, numbers and JSON values always become JSON")
}

/// Reads a record of a run.
///
/// # Errors
/// A text for people: damaged, or written by a newer infraflow.
pub(crate) fn decode(run: RunId, payload: &[u8]) -> Result<RecordEnvelope, String> {
    let version: Version = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    if !(VERSION_MIN..=VERSION).contains(&version.v) {
        return Err(format!(
            "it has version {}, this infraflow reads versions {VERSION_MIN} to {VERSION}: use a newer one",
            version.v
        ));
    }
    let wire: RecordWire = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    from_wire(run, wire)
}

#[cfg(test)]
mod tests;
