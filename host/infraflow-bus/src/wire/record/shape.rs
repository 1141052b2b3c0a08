//! The JSON of a record. A field or variant that is added here is a new
//! [`VERSION`](super::VERSION): older readers refuse what they do not know.

use std::collections::BTreeMap;
use std::sync::Arc;

use infraflow_core::{Json, JsonMap};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) v: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordWire {
    pub(super) v: u32,
    pub(super) host: String,
    pub(super) life: String,
    pub(super) epoch: u32,
    pub(super) nonce: String,
    pub(super) at: jiff::Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wakes: Option<String>,
    pub(super) entries: Vec<EntryWire>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum EntryWire {
    Created(Box<CreatedWire>),
    Claimed {
        host: String,
        life: String,
        epoch: u32,
    },
    Released {
        reason: String,
    },
    AttemptStarted {
        step: String,
        attempt: u32,
    },
    AttemptEnded(Box<AttemptEndedWire>),
    FilesStored(WorkspaceWire),
    StepSkipped {
        step: String,
    },
    StepUnstartable {
        step: String,
        message: String,
    },
    WaitStarted {
        step: String,
        until: jiff::Timestamp,
    },
    WaitEnded {
        step: String,
    },
    LockAcquired {
        lock: String,
        token: u64,
    },
    StopRequested {
        kind: StopKindWire,
        actor: String,
    },
    Parked(ParkedWire),
    Woken {
        cause: String,
    },
    Answered {
        step: String,
        answer: String,
        actor: String,
    },
    Ended {
        outcome: String,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
}

/// Exactly one of the reasons. Version 1 knew questions only, without `until`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ParkedWire {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) question: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) retry: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) wait: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lock: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) until: Option<jiff::Timestamp>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LockWire {
    pub(super) name: String,
    pub(super) max: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OriginWire {
    pub(super) run: String,
    pub(super) kind: String,
    pub(super) actor: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) carried: BTreeMap<String, CarriedWire>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) overrides: BTreeMap<String, JsonMap>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) workspace: Option<WorkspaceWire>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CarriedWire {
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) skipped: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) outputs: Option<Arc<JsonMap>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WorkspaceWire {
    pub(super) host: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stored: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreatedWire {
    pub(super) workflow: String,
    pub(super) digest: String,
    pub(super) revision: u64,
    pub(super) plugins: BTreeMap<String, PluginWire>,
    pub(super) event: Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) commit: Option<String>,
    pub(super) event_sequence: u64,
    pub(super) trigger: u32,
    pub(super) inputs: JsonMap,
    pub(super) trusted: bool,
    pub(super) project: String,
    pub(super) environment: String,
    pub(super) pool: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) locks: Vec<LockWire>,
    /// Unset: `queue`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) on_conflict: Option<String>,
    /// Unset: the event's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) order: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) origin: Option<Box<OriginWire>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PluginWire {
    pub(super) digest: String,
    pub(super) version: String,
    pub(super) idempotent: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AttemptEndedWire {
    pub(super) step: String,
    pub(super) attempt: u32,
    pub(super) outcome: OutcomeWire,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) outputs: Option<Arc<JsonMap>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) not_granted: Vec<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) leaked_handles: bool,
    pub(super) lines: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) lines_dropped: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) workspace: Option<WorkspaceWire>,
    pub(super) next: NextWire,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum OutcomeWire {
    Succeeded,
    Failed {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        transient: bool,
    },
    Signalled {
        signal: i32,
    },
    TimedOut,
    Trapped,
    LimitExceeded,
    NotGranted,
    CouldNotStart,
    Interrupted,
    Cancelled,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum NextWire {
    StepEnds,
    RetryAt(jiff::Timestamp),
    Ask,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StopKindWire {
    Cancel,
    Timeout,
    Superseded,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_zero(value: &u64) -> bool {
    *value == 0
}
