//! The documents of requests and answers. Times are RFC 3339, durations
//! milliseconds.

use infraflow_core::{Json, JsonMap};
use serde::{Deserialize, Serialize};

/// Which runs to list.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunsQuery {
    #[serde(default)]
    pub(crate) workflow: Option<String>,
    #[serde(default)]
    pub(crate) states: Vec<String>,
    /// The `position` of the last run of the page before.
    #[serde(default)]
    pub(crate) before: Option<u64>,
    /// Most runs, 1 to 500.
    pub(crate) limit: usize,
}

/// A page of runs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RunsPage {
    pub(crate) runs: Vec<RunItem>,
    /// `before` of the next page; unset on the last one.
    pub(crate) next: Option<u64>,
}

/// A run in a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunItem {
    pub(crate) id: String,
    pub(crate) workflow: String,
    /// `queued`, `running`, `retrying`, `waiting`, `blocked`, or the outcome.
    pub(crate) state: String,
    pub(crate) is_ended: bool,
    /// The step that it is at.
    pub(crate) step: Option<String>,
    /// What it waits for: `answer`, `time` or `lock`.
    #[serde(default)]
    pub(crate) waits_for: Option<String>,
    /// The lock that it waits for.
    #[serde(default)]
    pub(crate) lock: Option<String>,
    /// Its place in the queue of that lock, from 1.
    #[serde(default)]
    pub(crate) queue_position: Option<usize>,
    /// When it goes on by itself, or ends.
    #[serde(default)]
    pub(crate) wakes_at: Option<jiff::Timestamp>,
    /// The host that has it.
    #[serde(default)]
    pub(crate) host: Option<String>,
    /// The pool whose hosts execute it.
    pub(crate) pool: String,
    /// The run that it was made of.
    #[serde(default)]
    pub(crate) origin: Option<String>,
    /// Why it ended as it did.
    pub(crate) reason: String,
    pub(crate) created_at: jiff::Timestamp,
    pub(crate) ended_at: Option<jiff::Timestamp>,
    pub(crate) event_type: String,
    pub(crate) event_subject: Option<String>,
    pub(crate) actor: String,
    /// Why its journal cannot be read.
    pub(crate) problem: Option<String>,
    pub(crate) position: u64,
}

/// A run by its id or the beginning of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunRef {
    pub(crate) run: String,
}

/// Everything about a run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RunDetail {
    pub(crate) run: RunItem,
    pub(crate) workflow_digest: String,
    pub(crate) trusted: bool,
    pub(crate) event: Json,
    pub(crate) inputs: JsonMap,
    pub(crate) steps: Vec<StepItem>,
    pub(crate) journal: Vec<JournalItem>,
    /// The folder of its files, on the host that answered.
    pub(crate) workspace: Option<String>,
}

/// A step of a run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StepItem {
    pub(crate) id: String,
    pub(crate) stage: String,
    pub(crate) label: Option<String>,
    pub(crate) uses: String,
    /// `waiting`, `running`, `retrying`, `sleeping`, `asked`, or the outcome.
    pub(crate) state: String,
    /// The outcome with its exit code, for people.
    pub(crate) shown: String,
    pub(crate) message: String,
    pub(crate) started_at: Option<jiff::Timestamp>,
    pub(crate) ended_at: Option<jiff::Timestamp>,
    pub(crate) outputs: Option<JsonMap>,
    pub(crate) attempts: Vec<AttemptItem>,
}

/// One try of a step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AttemptItem {
    pub(crate) attempt: u32,
    pub(crate) started_at: jiff::Timestamp,
    pub(crate) ended_at: Option<jiff::Timestamp>,
    pub(crate) outcome: Option<String>,
    pub(crate) message: String,
    /// Log lines that it numbered.
    pub(crate) lines: u64,
    /// Log lines that the host had to drop.
    pub(crate) lines_dropped: u64,
    pub(crate) leaked_handles: bool,
    pub(crate) not_granted: Vec<String>,
}

/// A record of a journal.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct JournalItem {
    pub(crate) sequence: u64,
    pub(crate) at: jiff::Timestamp,
    pub(crate) host: String,
    pub(crate) epoch: u32,
    pub(crate) entries: Vec<String>,
}

/// A workflow to start.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartRequest {
    pub(crate) workflow: String,
    /// Texts that get the types of the schema; not together with `inputs`.
    #[serde(default)]
    pub(crate) texts: Vec<(String, String)>,
    #[serde(default)]
    pub(crate) inputs: Option<JsonMap>,
    /// The same id starts it once.
    pub(crate) request_id: String,
}

/// What was started.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Started {
    pub(crate) run: String,
    pub(crate) event: String,
}

/// An answer to a run's question.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnswerRequest {
    pub(crate) run: String,
    /// Unset: the step that the run asks about.
    #[serde(default)]
    pub(crate) step: Option<String>,
    pub(crate) answer: String,
}

/// A run to make of one that is over.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RepeatRequest {
    pub(crate) run: String,
    /// `rerun`, `resume` or `failed_hosts`.
    pub(crate) kind: String,
    /// Inputs that replace the run's; texts get the types of the schema.
    #[serde(default)]
    pub(crate) texts: Vec<(String, String)>,
    #[serde(default)]
    pub(crate) latest: bool,
    pub(crate) request_id: String,
}

/// A lock that runs have or wait for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LockItem {
    pub(crate) name: String,
    /// How many runs may have it at once.
    pub(crate) max: u32,
    pub(crate) holders: Vec<LockHolder>,
    /// In the order in which they get it.
    pub(crate) waiters: Vec<LockWaiter>,
}

/// A run that has a lock.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LockHolder {
    pub(crate) run: String,
    pub(crate) workflow: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) since: jiff::Timestamp,
    pub(crate) token: u64,
    /// The run is over: the lock is free of it.
    pub(crate) is_over: bool,
}

/// A run that waits for a lock.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LockWaiter {
    pub(crate) run: String,
    pub(crate) workflow: Option<String>,
    /// The position of its event.
    pub(crate) order: u64,
}

/// A lock to take away.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LockRef {
    pub(crate) lock: String,
    /// From this run only.
    #[serde(default)]
    pub(crate) run: Option<String>,
}

/// From which runs a lock was taken.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LockReleased {
    pub(crate) lock: String,
    pub(crate) runs: Vec<String>,
}

/// A host.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HostItem {
    pub(crate) name: String,
    /// `alive`, `draining` or `gone`.
    pub(crate) state: String,
    pub(crate) pools: Vec<String>,
    pub(crate) runs_active: usize,
    pub(crate) started_at: jiff::Timestamp,
    pub(crate) version: String,
    /// Milliseconds; 0: it has its NATS account to itself and needs none.
    pub(crate) lease_ms: u64,
}

/// A host to drain, or not to any more.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DrainRequest {
    /// Unset: the only one there is.
    #[serde(default)]
    pub(crate) host: Option<String>,
    pub(crate) draining: bool,
}

/// Audit entries to list, newest first.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditQuery {
    /// Older than the entry at this position.
    #[serde(default)]
    pub(crate) before: Option<u64>,
    pub(crate) limit: usize,
}

/// Some audit entries, newest first.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AuditPage {
    pub(crate) entries: Vec<AuditItem>,
    pub(crate) next: Option<u64>,
}

/// Who did what to what.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AuditItem {
    pub(crate) position: u64,
    /// Unset: the entry cannot be read.
    pub(crate) at: Option<jiff::Timestamp>,
    pub(crate) actor: String,
    pub(crate) action: String,
    pub(crate) object: String,
    pub(crate) detail: Json,
    /// `intent`, `done`, `refused`, or `unreadable`.
    pub(crate) phase: String,
    pub(crate) reason: String,
    /// The same for the intent and the result of one act.
    pub(crate) act: String,
}

/// Log lines to read.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogQuery {
    pub(crate) run: String,
    /// `next` of the page before; 0 for the first.
    pub(crate) from: u64,
    /// Most lines, 1 to 1,000.
    pub(crate) limit: usize,
}

/// Some log lines.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LogAnswer {
    pub(crate) run: String,
    pub(crate) lines: Vec<LogItem>,
    pub(crate) next: u64,
    pub(crate) more: bool,
    pub(crate) state: String,
    pub(crate) is_ended: bool,
}

/// A log line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LogItem {
    pub(crate) time: jiff::Timestamp,
    pub(crate) step: String,
    pub(crate) attempt: u32,
    pub(crate) number: u64,
    pub(crate) stream: String,
    pub(crate) level: String,
    pub(crate) text: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) continues: bool,
}

/// A workflow in a list.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WorkflowItem {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) digest: String,
    pub(crate) origin: String,
    pub(crate) triggers: Vec<String>,
    pub(crate) steps: usize,
    /// Why it cannot be used, or why its file is not the version in use.
    pub(crate) problem: Option<String>,
}

/// The workflows, and files that are none.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WorkflowList {
    pub(crate) workflows: Vec<WorkflowItem>,
    /// Files of the folder with problems: path and report.
    pub(crate) problems: Vec<(String, String)>,
}

/// A workflow by name.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorkflowRef {
    pub(crate) workflow: String,
}

/// A workflow with its text.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WorkflowDetail {
    pub(crate) workflow: WorkflowItem,
    pub(crate) text: String,
    pub(crate) inputs: Json,
}

/// A workflow to store.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApplyRequest {
    /// For messages: the file's path.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// A plugin in a list.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PluginItem {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) summary: String,
    pub(crate) digest: String,
    pub(crate) origin: String,
    /// What it asks for, with the reason, and whether it is granted.
    pub(crate) capabilities: Vec<CapabilityItem>,
}

/// A capability of a plugin.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CapabilityItem {
    pub(crate) capability: String,
    pub(crate) reason: String,
    pub(crate) granted: bool,
}

/// Dead letters to list.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeadQuery {
    pub(crate) from: u64,
    pub(crate) limit: usize,
}

/// Some dead letters.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DeadPage {
    pub(crate) letters: Vec<DeadItem>,
    pub(crate) next: Option<u64>,
}

/// A dead letter.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DeadItem {
    pub(crate) id: u64,
    pub(crate) time: jiff::Timestamp,
    pub(crate) reason: String,
    pub(crate) detail: String,
    pub(crate) subject: String,
    pub(crate) bytes: usize,
    pub(crate) headers: Vec<(String, String)>,
    /// The payload as text; unset in lists.
    pub(crate) payload: Option<String>,
    pub(crate) truncated: bool,
}

/// A dead letter by id.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeadRef {
    pub(crate) id: u64,
}

/// Pieces of an upload to put together, in order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JoinRequest {
    pub(crate) pieces: Vec<String>,
}

/// A stored upload, or a piece of one.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Uploaded {
    pub(crate) digest: String,
}

/// How the host is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) version: String,
    pub(crate) host: String,
    pub(crate) http: String,
    pub(crate) data_dir: String,
    pub(crate) storage: String,
    pub(crate) nats_version: String,
    pub(crate) ready: bool,
    pub(crate) checks: Vec<(String, Option<String>)>,
    pub(crate) jail: JailItem,
    pub(crate) runs_active: usize,
    pub(crate) runs: Vec<(String, usize)>,
    pub(crate) streams: Vec<StreamItem>,
    pub(crate) workflows: usize,
    pub(crate) workflow_problems: usize,
    pub(crate) plugins: Vec<String>,
}

/// Whether tools run in a jail.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct JailItem {
    pub(crate) ok: bool,
    pub(crate) summary: String,
}

/// How full a stream is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StreamItem {
    pub(crate) name: String,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) percent: u64,
}

/// A source.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SourceItem {
    pub(crate) name: String,
    pub(crate) provider: String,
    pub(crate) webhook: String,
    pub(crate) url: Option<String>,
    pub(crate) trusted: bool,
    pub(crate) insecure: bool,
}
