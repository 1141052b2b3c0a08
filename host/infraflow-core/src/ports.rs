//! The outside, as the engine sees it.
//!
//! A trait stands here only for a true outside effect: NATS, wasmtime,
//! processes. The crates that hide those implement them, the engine calls them,
//! and the binary joins the two. Nothing of ours that is pure has a trait.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::event::Event;
use crate::grant::Permissions;
use crate::id::{
    Digest, EnvironmentName, ProjectName, RunId, SecretName, SourceName, StepId, WorkflowName,
};
use crate::lease::BootTime;
use crate::line::Line;
use crate::mask::MaskSet;
use crate::outcome::AttemptOutcome;
use crate::run::{LogFacts, RecordEnvelope};
use crate::tool::{
    ApplyResult, CallError, Checkout, CheckoutRequest, CommandOutput, CommandRequest, CommitId,
    Entry, GuestPath, PingRequest, PlanKind, PlanResult, PlaybookRequest, PlaybookResult,
    TofuModule, TofuOutcome,
};
use crate::{Json, JsonMap, Timestamp};

mod cluster;
mod journals;
mod workspaces;

pub use self::cluster::*;
pub use self::journals::*;
pub use self::workspaces::{WorkspaceStore, WorkspaceStoreError};

/// A future on the heap: what a port's methods return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

// ---- time -----------------------------------------------------------------------

/// The clock.
pub trait Clock: Send + Sync {
    /// The moment it is now. May step, in both directions.
    fn now(&self) -> Timestamp;
    /// The time since this machine's boot, sleep included. Never steps.
    fn boot(&self) -> BootTime;
}

/// Ends this host's tools in time when its lease is not renewed, even if the
/// host itself stands still.
pub trait Fence: Send + Sync {
    /// A renewal was confirmed: tools may start until the one and live until
    /// the other time. A host that never says so is not fenced.
    fn extend(&self, starts_until: BootTime, lives_until: BootTime);
}

// ---- events ---------------------------------------------------------------------

/// Why an event was not stored. Nothing of it is in a stream then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The stream is full, and said so.
    #[error("the event stream is full")]
    Full,
    /// NATS did not answer. Publishing the same event again does no harm.
    #[error("NATS did not answer: {0}")]
    Unavailable(String),
    /// The event's data is larger than [`crate::limits::EVENT_DATA`].
    #[error(
        "the event has {bytes} bytes, more than the {} allowed",
        crate::limits::EVENT_DATA
    )]
    TooLarge {
        /// The size of its data.
        bytes: u64,
    },
}

/// Stores events.
pub trait EventPublisher: Send + Sync {
    /// Stores an event and returns its position once it is durable. Publishing
    /// the same event again is no error: it is recognized by source and id.
    fn publish<'a>(&'a self, event: &'a Event) -> BoxFuture<'a, Result<Sequence, PublishError>>;
    /// The position of the newest event.
    fn newest(&self) -> BoxFuture<'_, Result<Sequence, StoreError>>;
}

// ---- deliveries -----------------------------------------------------------------

/// Something that was delivered and must be settled. Dropping it unsettled
/// means that it comes again after a while.
pub struct Delivery<T> {
    /// What came.
    pub item: T,
    /// How to settle it.
    pub receipt: Arc<dyn Receipt>,
}

/// Settles a delivery.
pub trait Receipt: Send + Sync {
    /// It is done and never comes again. Returns when the server has confirmed
    /// that.
    ///
    /// # Errors
    /// When the server did not answer: it may come again, which does no harm.
    fn done(&self) -> BoxFuture<'_, Result<(), SettleError>>;
    /// It comes again after a while.
    fn later(&self, delay: Duration) -> BoxFuture<'_, ()>;
    /// It is being worked on: it does not come again yet.
    fn alive(&self) -> BoxFuture<'_, ()>;
    /// It can never be processed: it is kept as a dead letter, and done.
    ///
    /// # Errors
    /// When the server did not answer: it comes again.
    fn bury(&self, reason: DeadReason, detail: String) -> BoxFuture<'_, Result<(), SettleError>>;
}

/// The server did not confirm that a delivery is settled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("NATS did not confirm the acknowledgement: {0}")]
pub struct SettleError(pub String);

/// Where deliveries come from. Shared by all hosts: each delivery comes to one.
pub trait Inbox<T>: Send + Sync {
    /// The next delivery; waits for it. Cancel-safe.
    fn next(&self) -> BoxFuture<'_, Delivery<T>>;
    /// Stops or starts taking deliveries. Those that were taken and not given
    /// yet go back, so that another host gets them.
    fn pause(&self, paused: bool);
}

/// A message of the event stream.
#[derive(Debug)]
pub struct ArrivedEvent {
    /// The event, or why it is none.
    pub event: Result<Event, (DeadReason, String)>,
    /// The NATS subject it arrived on.
    pub address: String,
    /// Its position in the stream.
    pub sequence: Sequence,
    /// How often it was delivered, this time included.
    pub deliveries: u64,
}

/// A work item: a run that may be worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkItem {
    /// The run.
    pub run: RunId,
}

/// Why something became a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeadReason {
    /// It is not an event.
    Undecodable,
    /// It is larger than an event may be.
    TooLarge,
    /// It asks for a workflow that does not exist or cannot be started by name.
    NoSuchWorkflow,
    /// It was delivered too often without being settled.
    DeliveryLimit,
}

impl DeadReason {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::TooLarge => "too_large",
            Self::NoSuchWorkflow => "no_such_workflow",
            Self::DeliveryLimit => "delivery_limit",
        }
    }
}

// ---- the feed of journals -------------------------------------------------------

/// Every record of every run, in order, from the beginning and then live.
pub trait RunFeed: Send + Sync {
    /// The next item; waits for it. Cancel-safe.
    fn next(&self) -> BoxFuture<'_, FeedItem>;
}

/// An item of the feed.
#[derive(Debug)]
pub enum FeedItem {
    /// A record.
    Record(Sequence, Box<RecordEnvelope>),
    /// A record that cannot be understood.
    Unreadable {
        /// The run.
        run: RunId,
        /// Its position.
        sequence: Sequence,
        /// Why.
        reason: String,
    },
    /// Everything that was there when the feed began has been given. Once.
    CaughtUp,
}

// ---- notices --------------------------------------------------------------------

/// Tells whoever listens. Nothing of ours relies on it.
pub trait Notices: Send + Sync {
    /// Says that something happened to a run. Never waits.
    fn notice(&self, run: RunId, what: &'static str, body: Json);
}

// ---- workflows ------------------------------------------------------------------

/// A workflow as it is stored for all hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredWorkflow {
    /// Its name.
    pub name: WorkflowName,
    /// The digest of its text.
    pub digest: Digest,
    /// Its text.
    pub text: String,
    /// Where it came from, for people: a path, or who put it there.
    pub origin: String,
    /// The store's revision; routing decisions name it.
    pub revision: u64,
}

/// The store of workflows did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the workflow store did not answer: {0}")]
pub struct StoreError(pub String);

/// The workflows of all hosts.
pub trait WorkflowStore: Send + Sync {
    /// The current version of each.
    fn list(&self) -> BoxFuture<'_, Result<Vec<StoredWorkflow>, StoreError>>;
    /// The text of a version, current or not.
    fn text(&self, digest: Digest) -> BoxFuture<'_, Result<Option<String>, StoreError>>;
    /// Makes a version the current one of its name.
    fn put(&self, workflow: StoredWorkflow) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Removes a name. Its versions stay for the runs that use them.
    fn remove(&self, name: WorkflowName) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Waits until something may have changed. Cancel-safe.
    fn changed(&self) -> BoxFuture<'_, ()>;
}

// ---- stopping -------------------------------------------------------------------

/// Why an attempt is ended early. Shutdown, timeout and cancel are one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StopReason {
    /// The host shuts down, or has lost its right to the run.
    Interrupt,
    /// The attempt's or the run's time is up.
    Timeout,
    /// Somebody cancelled the run.
    Cancel,
}

impl StopReason {
    /// The outcome of an attempt that was ended for this reason.
    pub fn outcome(self) -> AttemptOutcome {
        match self {
            Self::Interrupt => AttemptOutcome::Interrupted,
            Self::Timeout => AttemptOutcome::TimedOut,
            Self::Cancel => AttemptOutcome::Cancelled,
        }
    }
}

/// Tells whoever works on an attempt that it is to end.
pub trait StopSignal: Send + Sync {
    /// The reason, once there is one.
    fn reason(&self) -> Option<StopReason>;
    /// Waits until there is a reason. Cancel-safe.
    fn stopped(&self) -> BoxFuture<'_, StopReason>;
}

/// A signal that never comes.
#[derive(Debug, Clone, Copy, Default)]
pub struct NeverStop;

impl StopSignal for NeverStop {
    fn reason(&self) -> Option<StopReason> {
        None
    }

    fn stopped(&self) -> BoxFuture<'_, StopReason> {
        Box::pin(std::future::pending())
    }
}

// ---- the log --------------------------------------------------------------------

/// For which attempt lines are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogKey {
    /// The run.
    pub run: RunId,
    /// The step.
    pub step: StepId,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The claim under which it runs.
    pub epoch: u32,
}

/// The log lines of all runs.
pub trait LogBook: Send + Sync {
    /// Starts the log of an attempt.
    fn open(&self, key: LogKey) -> Arc<dyn AttemptLog>;
}

/// The log of one attempt.
pub trait AttemptLog: LineSink {
    /// What became of its lines so far.
    fn facts(&self) -> LogFacts;
    /// The same as a sink, for whoever only writes.
    fn sink(self: Arc<Self>) -> Arc<dyn LineSink>;
}

/// Takes the log lines of one attempt. Never fails: what it cannot take it
/// drops and counts.
pub trait LineSink: Send + Sync {
    /// Takes a masked, bounded line. Never waits.
    fn line(&self, line: Line);

    /// Waits a bounded time until there is room for more lines. Whoever reads a
    /// tool's output asks before each read, so that a burst is slowed instead
    /// of lost. Cancel-safe.
    fn room(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Takes note of lines that were dropped before they got here (a plugin
    /// that logs faster than it may), for the count of lost lines. Whoever
    /// dropped them has sent a line that says so.
    fn lost(&self, lines: u64) {
        let _ = lines;
    }
}

// ---- secrets --------------------------------------------------------------------

/// A secret's value. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Takes a value.
    pub fn new(value: &str) -> Self {
        Self(value.into())
    }

    /// The value. Whoever calls this must not put it into a record, an error, an
    /// argument vector or a log line.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// Why a secret could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The configuration has none of that name.
    #[error("secret `{0}` is not in the configuration")]
    Unknown(SecretName),
    /// Its provider failed. The text names the place, never the value.
    #[error("secret `{name}` cannot be read: {reason}")]
    Unreadable {
        /// The secret.
        name: SecretName,
        /// Why, and what to do.
        reason: String,
    },
}

/// Reads secrets.
pub trait Secrets: Send + Sync {
    /// Reads one. The value is read anew each time, so that a rotated secret is
    /// used by the next attempt.
    ///
    /// # Errors
    /// When there is none of that name, or its provider fails.
    fn read(&self, name: &SecretName) -> Result<Secret, SecretError>;
}

// ---- stored bytes ---------------------------------------------------------------

/// Why stored bytes could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// There is nothing under that digest or name.
    #[error("{0} is not stored")]
    NotFound(String),
    /// Somebody else changed it first.
    #[error("{0} was changed by somebody else")]
    Conflict(String),
    /// It is larger than the reader allows.
    #[error("{what} has {bytes} bytes, more than the {allowed} allowed")]
    TooLarge {
        /// What was read.
        what: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        allowed: u64,
    },
    /// What is stored cannot be decrypted or does not have its digest.
    #[error("{0} is damaged or was sealed with another key")]
    Damaged(String),
    /// The store did not answer.
    #[error("the object store did not answer: {0}")]
    Unavailable(String),
}

/// A version of a named pointer, for compare-and-set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revision(pub u64);

/// Encrypted bytes by digest, and named pointers to them. The digest is that of
/// the plain bytes. Every host of a cluster sees the same.
pub trait Blobs: Send + Sync {
    /// Stores bytes. Storing the same again is no error.
    fn put(&self, bytes: Vec<u8>) -> BoxFuture<'_, Result<Digest, BlobError>>;

    /// Reads bytes of at most `bytes_max`.
    fn get(&self, digest: Digest, bytes_max: u64) -> BoxFuture<'_, Result<Vec<u8>, BlobError>>;

    /// What a name points at.
    fn pointer<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<(Digest, Revision)>, BlobError>>;

    /// Lets a name point at a digest, when its revision still is `expected`
    /// (`None`: when there is no such name).
    fn set_pointer<'a>(
        &'a self,
        name: &'a str,
        digest: Digest,
        expected: Option<Revision>,
    ) -> BoxFuture<'a, Result<Revision, BlobError>>;
}

// ---- tools ----------------------------------------------------------------------

/// For which attempt a tool runs, and what that attempt may use.
#[derive(Clone)]
pub struct ToolScope {
    /// The run; its workspace is the tool's `/workspace`.
    pub run: RunId,
    /// The workflow.
    pub workflow: WorkflowName,
    /// The project.
    pub project: ProjectName,
    /// The environment.
    pub environment: EnvironmentName,
    /// The step.
    pub step: StepId,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The source that the run's event came through.
    pub event_source: Option<SourceName>,
    /// The commit that the run's event names.
    pub event_commit: Option<CommitId>,
    /// Whether code of this run may run without a jail where none can be made.
    pub trust: Trust,
    /// What the plugin may do; the door asks it for `network`.
    pub permissions: Permissions,
    /// Where lines go.
    pub lines: Arc<dyn LineSink>,
    /// What is masked in them.
    pub mask: MaskSet,
    /// When to end.
    pub stop: Arc<dyn StopSignal>,
    /// What the door notes for the record.
    pub facts: Arc<ToolFacts>,
}

/// How far the code of a run is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trust {
    /// Somebody else's code: it runs in a jail or not at all.
    Untrusted,
    /// The operator's own, or of a source marked `trusted: true`.
    Trusted,
}

/// What the tool door notes while an attempt runs.
#[derive(Debug, Default)]
pub struct ToolFacts {
    leaked_handles: AtomicBool,
    lease_ended: AtomicBool,
}

impl ToolFacts {
    /// Notes that a process ended while something else held its pipes open.
    pub fn note_leaked_handles(&self) {
        self.leaked_handles.store(true, Ordering::Relaxed);
    }

    /// Whether that happened.
    pub fn leaked_handles(&self) -> bool {
        self.leaked_handles.load(Ordering::Relaxed)
    }

    /// Notes that a tool was killed or not started because the host's lease ran
    /// out.
    pub fn note_lease_ended(&self) {
        self.lease_ended.store(true, Ordering::Relaxed);
    }

    /// Whether that happened: the attempt was interrupted, whatever the plugin
    /// made of it.
    pub fn lease_ended(&self) -> bool {
        self.lease_ended.load(Ordering::Relaxed)
    }
}

/// The door to processes and to the files of runs.
///
/// Every call checks its paths, makes its jail, starts its process, streams
/// its lines and returns when nothing of it is left. When [`ToolScope::stop`]
/// fires it ends the process (TERM, grace, KILL) and returns what it then
/// knows; the caller sees the stop by itself. Dropping the future kills the
/// process at once.
pub trait Tools: Send + Sync {
    /// `git.checkout`
    fn checkout<'a>(
        &'a self,
        scope: &'a ToolScope,
        request: CheckoutRequest,
    ) -> BoxFuture<'a, Result<Checkout, CallError>>;

    /// `ansible.run-playbook`
    fn run_playbook<'a>(
        &'a self,
        scope: &'a ToolScope,
        request: PlaybookRequest,
    ) -> BoxFuture<'a, Result<PlaybookResult, CallError>>;

    /// `ansible.install-requirements`
    fn install_requirements<'a>(
        &'a self,
        scope: &'a ToolScope,
        path: GuestPath,
    ) -> BoxFuture<'a, Result<PlaybookResult, CallError>>;

    /// `ansible.ping`
    fn ping<'a>(
        &'a self,
        scope: &'a ToolScope,
        request: PingRequest,
    ) -> BoxFuture<'a, Result<PlaybookResult, CallError>>;

    /// `opentofu.init`
    fn tofu_init<'a>(
        &'a self,
        scope: &'a ToolScope,
        module: TofuModule,
    ) -> BoxFuture<'a, Result<TofuOutcome, CallError>>;

    /// `opentofu.plan`
    fn tofu_plan<'a>(
        &'a self,
        scope: &'a ToolScope,
        module: TofuModule,
        kind: PlanKind,
    ) -> BoxFuture<'a, Result<PlanResult, CallError>>;

    /// `opentofu.apply`
    fn tofu_apply<'a>(
        &'a self,
        scope: &'a ToolScope,
        module: TofuModule,
        plan: Digest,
    ) -> BoxFuture<'a, Result<ApplyResult, CallError>>;

    /// `opentofu.destroy`
    fn tofu_destroy<'a>(
        &'a self,
        scope: &'a ToolScope,
        module: TofuModule,
    ) -> BoxFuture<'a, Result<ApplyResult, CallError>>;

    /// `opentofu.output`
    fn tofu_output<'a>(
        &'a self,
        scope: &'a ToolScope,
        module: TofuModule,
    ) -> BoxFuture<'a, Result<ApplyResult, CallError>>;

    /// `opentofu.show`
    fn tofu_show<'a>(
        &'a self,
        scope: &'a ToolScope,
        module: TofuModule,
        plan: Digest,
    ) -> BoxFuture<'a, Result<String, CallError>>;

    /// `command.run`
    fn run_command<'a>(
        &'a self,
        scope: &'a ToolScope,
        request: CommandRequest,
    ) -> BoxFuture<'a, Result<CommandOutput, CallError>>;

    /// `workspace.read`
    fn read_file<'a>(
        &'a self,
        scope: &'a ToolScope,
        path: GuestPath,
    ) -> BoxFuture<'a, Result<Vec<u8>, CallError>>;

    /// `workspace.write`
    fn write_file<'a>(
        &'a self,
        scope: &'a ToolScope,
        path: GuestPath,
        data: Vec<u8>,
    ) -> BoxFuture<'a, Result<(), CallError>>;

    /// `workspace.list`
    fn list_folder<'a>(
        &'a self,
        scope: &'a ToolScope,
        path: GuestPath,
    ) -> BoxFuture<'a, Result<Vec<Entry>, CallError>>;

    /// `workspace.unpack-upload`
    fn unpack_upload<'a>(
        &'a self,
        scope: &'a ToolScope,
        upload: Digest,
        path: GuestPath,
    ) -> BoxFuture<'a, Result<(), CallError>>;
}

// ---- plugins --------------------------------------------------------------------

/// One attempt, as the sandbox runs it.
pub struct PluginCall {
    /// The component.
    pub component: Digest,
    /// The rendered `with`.
    pub input: Json,
    /// The document of the run's event, as JSON text: written once for a run,
    /// read by every attempt of it.
    pub event: Arc<str>,
    /// What the plugin may use.
    pub limits: PluginLimits,
    /// For which attempt, and with what permissions, log and stop signal.
    pub scope: ToolScope,
    /// The tool door.
    pub tools: Arc<dyn Tools>,
    /// The secrets.
    pub secrets: Arc<dyn Secrets>,
}

/// What one attempt of a plugin may use of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PluginLimits {
    /// Linear memory, in bytes.
    pub memory_bytes: u64,
    /// Time that the guest computes, host calls not counted.
    pub cpu: Duration,
    /// Host calls.
    pub calls: u64,
    /// Size of one call's arguments or answer, in bytes.
    pub call_bytes: u64,
    /// Size of the output, in bytes.
    pub output_bytes: u64,
}

impl Default for PluginLimits {
    fn default() -> Self {
        use crate::limits;
        Self {
            memory_bytes: limits::GUEST_MEMORY.0,
            cpu: limits::GUEST_CPU,
            calls: limits::GUEST_CALLS,
            call_bytes: limits::GUEST_CALL_BYTES.0,
            output_bytes: limits::STEP_OUTPUT.0,
        }
    }
}

/// How an attempt ended, as far as the sandbox knows.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginReport {
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// Why it did not succeed, for people. Not masked yet.
    pub message: Option<String>,
    /// The outputs; also of a failed attempt when the plugin gave some.
    pub outputs: Option<JsonMap>,
    /// Capabilities that were asked for and are not granted, each once.
    pub not_granted: Vec<crate::grant::Capability>,
}

/// Runs plugins.
pub trait Plugins: Send + Sync {
    /// Runs one attempt. Always returns a report: a plugin that is missing,
    /// invalid, trapped or out of its limits is an outcome, not an error.
    fn run(&self, call: PluginCall) -> BoxFuture<'_, PluginReport>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_show() {
        assert_eq!(format!("{:?}", Secret::new("hunter22")), "<redacted>");
    }

    #[test]
    fn a_stronger_reason_is_greater() {
        assert!(StopReason::Cancel > StopReason::Timeout);
        assert!(StopReason::Timeout > StopReason::Interrupt);
    }
}
