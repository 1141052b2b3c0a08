//! Audit entries: JSON, version 1.

use infraflow_core::event::Actor;
use infraflow_core::ports::{AuditEntry, AuditPhase};
use infraflow_core::{Json, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

const VERSION: u32 = 1;

/// Most bytes of an entry on the wire; the stream takes 64 KiB with headers.
pub(crate) const BYTES_MAX: usize = 60 * 1024;

/// Most bytes of one text in an entry: an object, a reason.
const TEXT_BYTES_MAX: usize = 2 * 1024;

#[derive(Debug, Serialize, Deserialize)]
struct Version {
    v: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryV1 {
    v: u32,
    act: String,
    actor: String,
    action: String,
    object: String,
    #[serde(default, skip_serializing_if = "Json::is_null")]
    detail: Json,
    at: Timestamp,
    phase: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// The name of a phase: also part of the message's id.
pub(crate) fn phase_name(phase: &AuditPhase) -> &'static str {
    match phase {
        AuditPhase::Intent => "intent",
        AuditPhase::Done => "done",
        AuditPhase::Refused { .. } => "refused",
    }
}

fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(TEXT_BYTES_MAX))
        .unwrap_or_default()
        .to_owned()
}

/// Writes an entry. Texts that are too long are cut, and a detail that does not
/// fit is replaced by its size: an act is never kept from the audit by them.
pub(crate) fn encode(entry: &AuditEntry) -> Vec<u8> {
    let reason = match &entry.phase {
        AuditPhase::Refused { reason } => Some(cut(reason)),
        AuditPhase::Intent | AuditPhase::Done => None,
    };
    let mut wire = EntryV1 {
        v: VERSION,
        act: format!("{:016x}", entry.act),
        actor: cut(&entry.actor.to_string()),
        action: cut(&entry.action),
        object: cut(&entry.object),
        detail: entry.detail.clone(),
        at: entry.at,
        phase: phase_name(&entry.phase).to_owned(),
        reason,
    };
    let write = |wire: &EntryV1| serde_json::to_vec(wire).expect("an entry is always JSON");
    let bytes = write(&wire);
    if bytes.len() <= BYTES_MAX {
        return bytes;
    }
    wire.detail = json!({ "omitted_bytes": entry.detail.to_string().len() });
    write(&wire)
}

/// Reads an entry.
pub(crate) fn decode(payload: &[u8]) -> Result<AuditEntry, String> {
    if payload.len() > BYTES_MAX {
        return Err(format!("it has {} bytes", payload.len()));
    }
    let Version { v } = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    if v != VERSION {
        return Err(format!(
            "it has version {v}, this infraflow reads version {VERSION}"
        ));
    }
    let wire: EntryV1 = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    let phase = match (wire.phase.as_str(), wire.reason) {
        ("intent", None) => AuditPhase::Intent,
        ("done", None) => AuditPhase::Done,
        ("refused", Some(reason)) => AuditPhase::Refused { reason },
        (other, _) => return Err(format!("`{}` is no phase", other.escape_debug())),
    };
    let actor: Actor = wire.actor.parse()?;
    Ok(AuditEntry {
        act: u64::from_str_radix(&wire.act, 16).map_err(|error| error.to_string())?,
        actor,
        action: wire.action,
        object: wire.object,
        detail: wire.detail,
        at: wire.at,
        phase,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use infraflow_core::id::UserName;
    use proptest::prelude::*;

    const GOLDEN: &str = r#"{"v":1,"act":"00000000000000ff","actor":"user:ann","action":"runs.cancel","object":"00000000000000000000000001","detail":{"why":"late"},"at":"2026-11-21T20:00:00Z","phase":"refused","reason":"it has ended"}"#;

    fn entry() -> AuditEntry {
        AuditEntry {
            act: 255,
            actor: Actor::User(UserName::new("ann").unwrap()),
            action: "runs.cancel".to_owned(),
            object: "00000000000000000000000001".to_owned(),
            detail: json!({ "why": "late" }),
            at: "2026-11-21T20:00:00Z".parse().unwrap(),
            phase: AuditPhase::Refused {
                reason: "it has ended".to_owned(),
            },
        }
    }

    #[test]
    fn golden() {
        assert_eq!(String::from_utf8(encode(&entry())).unwrap(), GOLDEN);
        assert_eq!(decode(GOLDEN.as_bytes()), Ok(entry()));
        for phase in [AuditPhase::Intent, AuditPhase::Done] {
            let entry = AuditEntry { phase, ..entry() };
            assert_eq!(decode(&encode(&entry)), Ok(entry));
        }
    }

    #[test]
    fn a_large_entry_is_cut() {
        let large = AuditEntry {
            detail: json!("x".repeat(BYTES_MAX)),
            object: "ü".repeat(BYTES_MAX),
            ..entry()
        };
        let bytes = encode(&large);
        assert!(bytes.len() <= BYTES_MAX);
        let read = decode(&bytes).unwrap();
        assert_eq!(read.detail, json!({ "omitted_bytes": BYTES_MAX + 2 }));
        assert_eq!(read.object.len(), TEXT_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_entry_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }
    }
}
