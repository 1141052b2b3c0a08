//! What a journal holds: records, each one message, each with one or more
//! entries that hold together.
//!
//! Entries are facts and decisions. What a later binary would decide
//! differently is written down, not derived again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::event::{Actor, Event};
use crate::grant::Capability;
use crate::id::{
    Digest, EnvironmentName, EventId, EventSource, EventType, HostName, Incarnation, LockName,
    PoolName, ProjectName, RunId, SourceName, StepId, WorkflowName,
};
use crate::lock::LockSpec;
use crate::outcome::{AttemptOutcome, RunOutcome};
use crate::plugin::{PluginRef, ResolvedPlugin};
use crate::ports::{Sequence, Trust};
use crate::tool::CommitId;
use crate::workflow::OnConflict;
use crate::{Json, JsonMap, Timestamp};

/// One message of a journal.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordEnvelope {
    /// The run.
    pub run: RunId,
    /// Who wrote it.
    pub writer: Writer,
    /// The claim under which it was written: the number of claims of the run
    /// so far, its own included. 0: none.
    pub epoch: u32,
    /// A random number of the writer: tells its own record from another's after
    /// an append without an answer.
    pub nonce: u64,
    /// When it was written, by the writer's clock.
    pub at: Timestamp,
    /// The pool whose hosts it wakes: then it is a work item too.
    pub wakes: Option<PoolName>,
    /// What happened, in order. At least one.
    pub entries: Vec<Entry>,
}

impl RecordEnvelope {
    /// The kind of record, for its subject.
    pub fn kind(&self) -> RecordKind {
        if let Some(pool) = &self.wakes {
            return RecordKind::Wake(pool.clone());
        }
        let has = |test: fn(&Entry) -> bool| self.entries.iter().any(test);
        if has(|entry| matches!(entry, Entry::Ended { .. })) {
            RecordKind::Ended
        } else if has(|entry| matches!(entry, Entry::Parked { .. })) {
            RecordKind::Parked
        } else if has(|entry| matches!(entry, Entry::Created(_))) {
            RecordKind::Created
        } else if has(|entry| matches!(entry, Entry::Claimed(_))) {
            RecordKind::Claimed
        } else if has(|entry| {
            matches!(
                entry,
                Entry::StopRequested { .. } | Entry::Answered { .. } | Entry::Woken { .. }
            )
        }) {
            RecordKind::Request
        } else {
            RecordKind::Step
        }
    }
}

/// Kinds of records; the last part of a record's subject.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// The run was created and claimed by its creator.
    Created,
    /// The run may be worked on by any host of a pool: a work item.
    Wake(PoolName),
    /// A host took it over.
    Claimed,
    /// Attempts and steps began or ended.
    Step,
    /// A person asked for something.
    Request,
    /// The run waits.
    Parked,
    /// The run ended.
    Ended,
}

/// Who wrote a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// The host.
    pub host: HostName,
    /// Its life.
    pub incarnation: Incarnation,
}

/// One thing that happened to a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// The run came to be. Always the first entry, and only that.
    Created(Box<Birth>),
    /// A host took the right to act on it.
    Claimed(Claim),
    /// The claim was given back: any host of the pool may go on.
    Released {
        /// Why, for people.
        reason: String,
    },
    /// An attempt of a step is about to begin.
    AttemptStarted {
        /// The step.
        step: StepId,
        /// Which try, from 1.
        attempt: u32,
    },
    /// An attempt ended.
    AttemptEnded(Box<AttemptEnd>),
    /// A step's `when` was false.
    StepSkipped {
        /// The step.
        step: StepId,
    },
    /// A step could not begin: its `when` or `with` has no value.
    StepUnstartable {
        /// The step.
        step: StepId,
        /// Why, for people.
        message: String,
    },
    /// A `wait` began.
    WaitStarted {
        /// The step.
        step: StepId,
        /// When it is over.
        until: Timestamp,
    },
    /// A `wait` is over.
    WaitEnded {
        /// The step.
        step: StepId,
    },
    /// The run has a lock that it needs.
    LockAcquired {
        /// The lock.
        lock: LockName,
        /// The fencing token: grows with every taking of the lock.
        token: u64,
    },
    /// The run is to end early.
    StopRequested {
        /// Why.
        kind: StopKind,
        /// Who asked.
        actor: Actor,
    },
    /// The run waits, and holds nothing but its locks.
    Parked(Parked),
    /// What a run waited for has come, or its time: any host of the pool may
    /// go on.
    Woken {
        /// What.
        cause: WakeCause,
    },
    /// A person answered what the run waits for.
    Answered {
        /// The step in question.
        step: StepId,
        /// The answer.
        answer: Answer,
        /// Who answered.
        actor: Actor,
    },
    /// The run's files were stored, so that another host can go on with it.
    FilesStored {
        /// Where they are now.
        place: WorkspacePlace,
    },
    /// The run ended. Nothing follows.
    Ended {
        /// How.
        outcome: RunOutcome,
        /// Why, for people. Empty when it succeeded.
        reason: String,
    },
}

impl Entry {
    /// Its name, on the wire and in lists.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Created(_) => "created",
            Self::Claimed(_) => "claimed",
            Self::Released { .. } => "released",
            Self::AttemptStarted { .. } => "attempt_started",
            Self::AttemptEnded(_) => "attempt_ended",
            Self::StepSkipped { .. } => "step_skipped",
            Self::StepUnstartable { .. } => "step_unstartable",
            Self::WaitStarted { .. } => "wait_started",
            Self::WaitEnded { .. } => "wait_ended",
            Self::LockAcquired { .. } => "lock_acquired",
            Self::StopRequested { .. } => "stop_requested",
            Self::Parked(_) => "parked",
            Self::Woken { .. } => "woken",
            Self::Answered { .. } => "answered",
            Self::FilesStored { .. } => "files_stored",
            Self::Ended { .. } => "ended",
        }
    }

    /// Every name, for tests that must hit each.
    pub const NAMES: [&'static str; 16] = [
        "created",
        "claimed",
        "released",
        "attempt_started",
        "attempt_ended",
        "step_skipped",
        "step_unstartable",
        "wait_started",
        "wait_ended",
        "lock_acquired",
        "stop_requested",
        "parked",
        "woken",
        "answered",
        "files_stored",
        "ended",
    ];
}

/// Everything that is decided when a run is created.
#[derive(Debug, Clone, PartialEq)]
pub struct Birth {
    /// The workflow's name.
    pub workflow: WorkflowName,
    /// The workflow's text, by digest.
    pub workflow_digest: Digest,
    /// The revision of the workflow store that the decision was made from.
    pub workflow_revision: u64,
    /// The plugins, resolved now: the run uses these, whatever is installed
    /// later.
    pub plugins: BTreeMap<PluginRef, ResolvedPlugin>,
    /// The event.
    pub event: BirthEvent,
    /// Which trigger took it, from 0.
    pub trigger: u32,
    /// The inputs, complete and checked.
    pub inputs: JsonMap,
    /// How far the run's code is trusted.
    pub trust: Trust,
    /// The project.
    pub project: ProjectName,
    /// The environment.
    pub environment: EnvironmentName,
    /// The pool.
    pub pool: PoolName,
    /// The locks that it needs, each once, sorted by name: every run takes them
    /// in this order, so that no two ever wait for each other.
    pub locks: Vec<LockSpec>,
    /// What it does when one of them is taken.
    pub on_conflict: OnConflict,
    /// Its place in queues: the position of its event, or of the newest event
    /// when a person asked for it.
    pub order: Sequence,
    /// The run that it repeats or goes on with, when a person asked for that.
    pub origin: Option<Box<Origin>>,
}

/// Where a run comes from that a person made of another one.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// The other run.
    pub run: RunId,
    /// What was asked.
    pub kind: OriginKind,
    /// Who asked.
    pub actor: Actor,
    /// Steps that the other run had finished, with their outputs: they are not
    /// run again.
    pub carried: BTreeMap<StepId, Carried>,
    /// What replaces parts of a step's `with`.
    pub overrides: BTreeMap<StepId, JsonMap>,
    /// The files to begin with.
    pub workspace: Option<WorkspacePlace>,
}

/// What a person asked of a run that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OriginKind {
    /// All of it again.
    Rerun,
    /// On from the step that failed.
    Resume,
    /// On from the step that failed, for the hosts that failed in it.
    FailedHosts,
}

impl OriginKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Rerun, Self::Resume, Self::FailedHosts];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rerun => "rerun",
            Self::Resume => "resume",
            Self::FailedHosts => "failed_hosts",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A step that another run had finished.
#[derive(Debug, Clone, PartialEq)]
pub struct Carried {
    /// Whether its `when` was false there; else it had succeeded.
    pub is_skipped: bool,
    /// What it gave.
    pub outputs: Option<Arc<JsonMap>>,
}

/// Where the files of a run are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspacePlace {
    /// The host that wrote to them last.
    pub host: HostName,
    /// Their digest in the store of artifacts; unset: only that host has them.
    pub stored: Option<Digest>,
}

/// The event of a run, as far as the run needs it after it has left the stream.
#[derive(Debug, Clone, PartialEq)]
pub struct BirthEvent {
    /// Its id.
    pub id: EventId,
    /// Its source.
    pub source: EventSource,
    /// Its type.
    pub kind: EventType,
    /// When it happened.
    pub time: Timestamp,
    /// What it is about.
    pub subject: Option<String>,
    /// Who caused it.
    pub actor: Actor,
    /// The configured source it came through.
    pub source_name: Option<SourceName>,
    /// The commit that it names.
    pub commit: Option<CommitId>,
    /// Its position in the stream of events: queues go by it.
    pub sequence: Sequence,
    /// The document that templates and guests see.
    pub document: Arc<Json>,
}

impl BirthEvent {
    /// The event at a position of the stream.
    pub fn new(event: &Event, sequence: Sequence) -> Self {
        Self {
            id: event.id.clone(),
            source: event.source.clone(),
            kind: event.kind.clone(),
            time: event.time,
            subject: event.subject.clone(),
            actor: event.actor.clone(),
            source_name: event
                .source_name()
                .and_then(|name| SourceName::new(name).ok()),
            commit: event.commit().and_then(|commit| CommitId::new(commit).ok()),
            sequence,
            document: Arc::new(event.to_document()),
        }
    }
}

/// The right of one host to act on a run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The host.
    pub host: HostName,
    /// Its life: another life of the same host needs a claim of its own.
    pub incarnation: Incarnation,
    /// The number of claims of the run so far, this one included.
    pub epoch: u32,
}

/// How an attempt ended, and what follows.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptEnd {
    /// The step.
    pub step: StepId,
    /// Which try.
    pub attempt: u32,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// Why it did not succeed, masked and bounded. Empty when it did.
    pub message: String,
    /// Its outputs; also of a failed attempt when the plugin gave some.
    pub outputs: Option<Arc<JsonMap>>,
    /// Capabilities that it asked for and did not have.
    pub not_granted: Vec<Capability>,
    /// Whether something held a tool's pipes open after the tool had ended.
    pub leaked_handles: bool,
    /// What became of its log.
    pub log: LogFacts,
    /// Where the run's files are after it; unset: where they were.
    pub workspace: Option<WorkspacePlace>,
    /// What follows.
    pub next: AttemptNext,
}

/// What became of an attempt's log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogFacts {
    /// Lines that were numbered; a reader that has fewer has lost some.
    pub lines: u64,
    /// Lines that the host had to drop.
    pub dropped: u64,
}

/// What follows the end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptNext {
    /// The step has ended as the attempt has.
    StepEnds,
    /// Another attempt at that time.
    RetryAt(Timestamp),
    /// A person says what to do.
    Ask,
}

/// Why a run is to end early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopKind {
    /// Somebody cancelled it.
    Cancel,
    /// Its time is up.
    Timeout,
    /// The run of a newer event has the lock that it needs, or waits for it.
    Superseded,
}

/// A run that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// For what.
    pub parking: Parking,
    /// When it goes on without it, or ends.
    pub until: Timestamp,
}

/// What a run waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parking {
    /// A person, to say what to do with a step whose end is unknown.
    Question {
        /// The step.
        step: StepId,
    },
    /// The time of a step's next attempt.
    Retry {
        /// The step.
        step: StepId,
    },
    /// The end of a `wait`.
    Wait {
        /// The step.
        step: StepId,
    },
    /// A lock.
    Lock {
        /// The lock.
        lock: LockName,
    },
}

impl Parking {
    /// Whether the run's `timeout` stands still meanwhile. A retry is a part of
    /// the work; what others make a run wait for is not.
    pub fn stops_the_clock(&self) -> bool {
        match self {
            Self::Question { .. } | Self::Wait { .. } | Self::Lock { .. } => true,
            Self::Retry { .. } => false,
        }
    }
}

impl fmt::Display for Parking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Question { step } => write!(f, "an answer about step `{step}`"),
            Self::Retry { step } => write!(f, "the next attempt of step `{step}`"),
            Self::Wait { step } => write!(f, "the end of step `{step}`"),
            Self::Lock { lock } => write!(f, "lock `{lock}`"),
        }
    }
}

/// What woke a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WakeCause {
    /// Its time has come.
    Timer,
    /// The lock that it waits for may be free.
    Lock,
}

impl WakeCause {
    /// Every cause.
    pub const ALL: [Self; 2] = [Self::Timer, Self::Lock];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timer => "timer",
            Self::Lock => "lock",
        }
    }

    /// The cause of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.name() == name)
    }
}

/// A person's answer to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Try the step again.
    Retry,
    /// The step has failed.
    Fail,
    /// The step has done its work: go on after it, without outputs.
    Done,
}

impl Answer {
    /// Every answer.
    pub const ALL: [Self; 3] = [Self::Retry, Self::Fail, Self::Done];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Fail => "fail",
            Self::Done => "done",
        }
    }

    /// The answer of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|answer| answer.name() == name)
    }
}
