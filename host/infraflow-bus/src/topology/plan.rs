//! What is to be done about the streams that are there, as functions of what
//! was found: which are created, which are changed, which are refused.

use serde_json::{Value, json};

use super::{AUDIT, EVENTS, RUNS, TopologyError};

/// The version of the topology that this binary makes. Version 1 had no
/// `TIMERS` and no `KV_locks`.
pub(super) const VERSION: u32 = 2;

/// The version while streams are being created: any host may go on with that.
pub(super) const VERSION_UNFINISHED: u32 = 0;

/// The metadata key that tells streams of one topology apart from others'.
const TOPOLOGY_ID: &str = "infraflow.topology";

/// The metadata key of `EVENTS` with the version of the topology. Absent: 1. It
/// is written last, so that who dies in the middle of an upgrade does no harm.
const TOPOLOGY_VERSION: &str = "infraflow.topology.version";

/// A stream of ours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) name: &'static str,
    /// The version of the topology that brought it.
    pub(super) since: u32,
    pub(super) file: &'static str,
}

/// What a stream that is there says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) name: &'static str,
    pub(super) id: String,
    pub(super) version: Option<String>,
}

impl Mark {
    /// Reads it from the stream's configuration.
    pub(super) fn of(name: &'static str, config: &Value) -> Self {
        let text = |key: &str| {
            let value = config.get("metadata")?.get(key)?;
            value.as_str().map(ToOwned::to_owned)
        };
        Self {
            name,
            id: text(TOPOLOGY_ID).unwrap_or_default(),
            version: text(TOPOLOGY_VERSION),
        }
    }
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// The topology's id; unset: it is new.
    pub(super) id: Option<String>,
    /// Streams to create, in order.
    pub(super) create: Vec<&'static str>,
    /// Whether `EVENTS` is to say our version afterwards.
    pub(super) finish: bool,
}

/// Says what to do about these streams.
pub(super) fn plan(known: &[Known], found: &[Mark]) -> Result<Plan, TopologyError> {
    let missing: Vec<Known> = known
        .iter()
        .filter(|known| found.iter().all(|mark| mark.name != known.name))
        .copied()
        .collect();
    let names = |streams: &[Known]| streams.iter().map(|known| known.name).collect::<Vec<_>>();
    let Some(first) = found.first() else {
        return Ok(Plan {
            id: None,
            create: names(&missing),
            finish: true,
        });
    };
    if let Some(other) = found
        .iter()
        .find(|mark| mark.id != first.id || mark.id.is_empty())
    {
        return Err(TopologyError::Mixed {
            first: first.name.to_owned(),
            other: other.name.to_owned(),
        });
    }
    let incomplete = |streams: &[Known]| TopologyError::Incomplete {
        missing: names(streams).into_iter().map(ToOwned::to_owned).collect(),
    };
    let Some(events) = found.iter().find(|mark| mark.name == EVENTS) else {
        return Err(incomplete(&missing));
    };
    let version = version(events)?;
    let lost: Vec<Known> = missing
        .iter()
        .filter(|known| known.since <= version)
        .copied()
        .collect();
    if !lost.is_empty() {
        return Err(incomplete(&lost));
    }
    Ok(Plan {
        id: Some(first.id.clone()),
        create: names(&missing),
        finish: version < VERSION,
    })
}

fn version(events: &Mark) -> Result<u32, TopologyError> {
    let Some(text) = &events.version else {
        return Ok(1);
    };
    match text.parse() {
        Ok(version) if version <= VERSION => Ok(version),
        _ => Err(TopologyError::Newer {
            found: text.chars().take(40).collect(),
        }),
    }
}

/// The configuration of a stream with the mark of its topology. Only `EVENTS`
/// has a version.
pub(super) fn marked(mut config: Value, name: &str, id: &str, version: u32) -> Value {
    if let Some(map) = config.as_object_mut() {
        let metadata = map.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert(TOPOLOGY_ID.to_owned(), json!(id));
            if name == EVENTS {
                metadata.insert(TOPOLOGY_VERSION.to_owned(), json!(version.to_string()));
            }
        }
    }
    config
}

/// Fields of a stream that decide whether messages are lost. Sizes and ages are
/// the operator's.
const STREAM_FIELDS: [&str; 9] = [
    "retention",
    "discard",
    "storage",
    "max_msgs_per_subject",
    "deny_delete",
    "allow_direct",
    "allow_rollup_hdrs",
    "allow_msg_ttl",
    "allow_msg_schedules",
];

/// Checks a stream. Returns the configuration to change it to when it lacks
/// subjects: taking more is the one change that loses nothing.
pub(super) fn check_stream(
    name: &str,
    wanted: &Value,
    found: &Value,
) -> Result<Option<Value>, TopologyError> {
    for field in STREAM_FIELDS {
        let want = wanted.get(field).unwrap_or(&Value::Null);
        let have = found.get(field).unwrap_or(&Value::Null);
        if !same(want, have) {
            return Err(unsafe_setup(name, field, want, have));
        }
    }
    // Journals and audit entries have no age, and a timer may be far away.
    let no_age = matches!(name, RUNS | AUDIT | super::TIMERS);
    let age = found.get("max_age").unwrap_or(&Value::Null);
    if no_age && !same(&json!(0), age) {
        return Err(unsafe_setup(name, "max_age", &json!(0), age));
    }
    let want = wanted.get("subjects").unwrap_or(&Value::Null);
    let have = found.get("subjects").unwrap_or(&Value::Null);
    if want == have {
        return Ok(None);
    }
    let (Some(wanted_subjects), Some(found_subjects)) = (want.as_array(), have.as_array()) else {
        return Err(unsafe_setup(name, "subjects", want, have));
    };
    if !found_subjects
        .iter()
        .all(|subject| wanted_subjects.contains(subject))
    {
        return Err(unsafe_setup(name, "subjects", want, have));
    }
    let mut changed = found.clone();
    if let Some(map) = changed.as_object_mut() {
        map.insert("subjects".to_owned(), want.clone());
    }
    Ok(Some(changed))
}

fn unsafe_setup(name: &str, field: &'static str, want: &Value, have: &Value) -> TopologyError {
    TopologyError::Unsafe {
        name: name.to_owned(),
        field,
        found: have.to_string(),
        wanted: want.to_string(),
    }
}

/// The server leaves out what has its default, and writes -1 for "no limit".
fn same(wanted: &Value, found: &Value) -> bool {
    let default = |value: &Value| {
        value.is_null() || *value == json!(false) || *value == json!(-1) || *value == json!(0)
    };
    wanted == found || (default(wanted) && default(found))
}

/// Checks a consumer: which messages it takes, and whether it gives any up.
pub(super) fn check_consumer(
    name: &str,
    wanted: &Value,
    found: &Value,
) -> Result<(), TopologyError> {
    for field in [
        "ack_policy",
        "deliver_policy",
        "filter_subject",
        "filter_subjects",
    ] {
        let want = wanted.get(field).unwrap_or(&Value::Null);
        let have = found.get(field).unwrap_or(&Value::Null);
        if !same(want, have) {
            return Err(unsafe_setup(name, field, want, have));
        }
    }
    // Which number is the operator's; that there is one, or none, is not.
    let is_finite = |config: &Value| {
        let most = config.get("max_deliver").and_then(Value::as_i64);
        most.is_some_and(|most| most > 0)
    };
    if is_finite(wanted) != is_finite(found) {
        let want = wanted.get("max_deliver").unwrap_or(&Value::Null);
        let have = found.get("max_deliver").unwrap_or(&Value::Null);
        return Err(unsafe_setup(name, "max_deliver", want, have));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
