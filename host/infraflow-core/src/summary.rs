//! What lists of runs show: a projection of journals that needs neither the
//! workflow nor the outputs. Built from `RUNS` at any time.

use crate::Timestamp;
use crate::id::{Digest, HostName, LockName, PoolName, RunId, StepId, WorkflowName};
use crate::outcome::RunOutcome;
use crate::ports::Sequence;
use crate::run::{AttemptEnd, AttemptNext, Entry, Parking, RecordEnvelope};

/// One run, as a list shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSummary {
    /// Its id.
    pub id: RunId,
    /// Its workflow.
    pub workflow: WorkflowName,
    /// The workflow's version.
    pub workflow_digest: Digest,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Where it is.
    pub state: SummaryState,
    /// The event's position in the stream of events.
    pub event_sequence: Sequence,
    /// The event's type.
    pub event_kind: String,
    /// What the event is about.
    pub event_subject: Option<String>,
    /// Who caused it.
    pub actor: String,
    /// Why it ended as it did. Empty when it succeeded or has not ended.
    pub reason: String,
    /// The pool whose hosts execute it.
    pub pool: PoolName,
    /// Its place in queues.
    pub order: Sequence,
    /// Whether it needs locks.
    pub has_locks: bool,
    /// When it goes on by itself, or ends: of one that waits.
    pub wakes_at: Option<Timestamp>,
    /// When its last record was written.
    pub changed_at: Timestamp,
    /// The host that alone has its files.
    pub pinned_to: Option<HostName>,
    /// The run that it was made of: its files are needed while this one runs.
    pub origin: Option<RunId>,
}

/// Where a run is, in one word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SummaryState {
    /// No host has it yet.
    Queued,
    /// A host works on it.
    Running {
        /// The step that began last.
        step: Option<StepId>,
    },
    /// It waits for its next attempt.
    Retrying {
        /// The step.
        step: StepId,
    },
    /// It waits for a person, or for the end of a `wait`.
    Waiting {
        /// The step in question.
        step: StepId,
        /// Whether a person is asked.
        asks: bool,
    },
    /// It waits for a lock.
    Blocked {
        /// The lock.
        lock: LockName,
    },
    /// It is over.
    Ended(RunOutcome),
}

impl SummaryState {
    /// Its name in lists: a word for what is going on, or the outcome.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running { .. } => "running",
            Self::Retrying { .. } => "retrying",
            Self::Waiting { .. } => "waiting",
            Self::Blocked { .. } => "blocked",
            Self::Ended(outcome) => outcome.name(),
        }
    }

    /// Every name.
    pub const NAMES: [&'static str; 10] = [
        "queued",
        "running",
        "retrying",
        "waiting",
        "blocked",
        "succeeded",
        "failed",
        "cancelled",
        "interrupted",
        "skipped",
    ];

    /// Whether the run is over.
    pub fn is_ended(&self) -> bool {
        matches!(self, Self::Ended(_))
    }
}

impl RunSummary {
    /// The summary of a run from its first record; `None` when the record does
    /// not begin with the run's creation.
    pub fn begin(record: &RecordEnvelope) -> Option<Self> {
        let Some(Entry::Created(birth)) = record.entries.first() else {
            return None;
        };
        let mut summary = Self {
            id: record.run,
            workflow: birth.workflow.clone(),
            workflow_digest: birth.workflow_digest,
            created_at: record.at,
            ended_at: None,
            state: SummaryState::Queued,
            event_sequence: birth.event.sequence,
            event_kind: birth.event.kind.to_string(),
            event_subject: birth.event.subject.clone(),
            actor: birth.event.actor.to_string(),
            reason: String::new(),
            pool: birth.pool.clone(),
            order: birth.order,
            has_locks: !birth.locks.is_empty(),
            wakes_at: None,
            changed_at: record.at,
            pinned_to: birth
                .origin
                .as_ref()
                .and_then(|origin| origin.workspace.as_ref())
                .filter(|place| place.stored.is_none())
                .map(|place| place.host.clone()),
            origin: birth.origin.as_ref().map(|origin| origin.run),
        };
        summary.fold(record);
        Some(summary)
    }

    /// Takes a further record in.
    pub fn fold(&mut self, record: &RecordEnvelope) {
        self.changed_at = record.at;
        for entry in &record.entries {
            self.fold_entry(entry, record.at);
        }
    }

    fn fold_entry(&mut self, entry: &Entry, at: Timestamp) {
        if self.state.is_ended() {
            return;
        }
        match entry {
            Entry::Claimed(_) | Entry::WaitEnded { .. } => {
                self.state = SummaryState::Running { step: None }
            }
            Entry::Released { .. } | Entry::Answered { .. } | Entry::Woken { .. } => {
                self.state = SummaryState::Queued;
                self.wakes_at = None;
            }
            Entry::AttemptStarted { step, .. } => {
                self.state = SummaryState::Running {
                    step: Some(step.clone()),
                };
            }
            Entry::AttemptEnded(end) => self.fold_attempt(end),
            Entry::WaitStarted { step, .. } => {
                self.state = SummaryState::Waiting {
                    step: step.clone(),
                    asks: false,
                };
            }
            Entry::Parked(parked) => {
                self.wakes_at = Some(parked.until);
                self.state = parked_state(&parked.parking);
            }
            Entry::Ended { outcome, reason } => {
                self.state = SummaryState::Ended(*outcome);
                self.ended_at = Some(at);
                self.wakes_at = None;
                self.reason.clone_from(reason);
            }
            Entry::FilesStored { .. } => self.pinned_to = None,
            Entry::Created(_)
            | Entry::StepSkipped { .. }
            | Entry::StepUnstartable { .. }
            | Entry::LockAcquired { .. }
            | Entry::StopRequested { .. } => {}
        }
    }

    fn fold_attempt(&mut self, end: &AttemptEnd) {
        if let AttemptNext::RetryAt(_) = end.next {
            self.state = SummaryState::Retrying {
                step: end.step.clone(),
            };
        }
        if let Some(place) = &end.workspace {
            self.pinned_to = place.stored.is_none().then(|| place.host.clone());
        }
    }
}

fn parked_state(parking: &Parking) -> SummaryState {
    match parking {
        Parking::Question { step } => SummaryState::Waiting {
            step: step.clone(),
            asks: true,
        },
        Parking::Wait { step } => SummaryState::Waiting {
            step: step.clone(),
            asks: false,
        },
        Parking::Retry { step } => SummaryState::Retrying { step: step.clone() },
        Parking::Lock { lock } => SummaryState::Blocked { lock: lock.clone() },
    }
}

#[cfg(test)]
mod tests;
