//! What lists of runs show: a projection of journals that needs neither the
//! workflow nor the outputs. Built from `RUNS` at any time.

use crate::Timestamp;
use crate::id::{Digest, RunId, StepId, WorkflowName};
use crate::outcome::RunOutcome;
use crate::ports::Sequence;
use crate::run::{AttemptNext, Entry, Parking, RecordEnvelope};

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
    /// It waits for a person.
    Waiting {
        /// The step in question.
        step: StepId,
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
            Self::Ended(outcome) => outcome.name(),
        }
    }

    /// Every name.
    pub const NAMES: [&'static str; 8] = [
        "queued",
        "running",
        "retrying",
        "waiting",
        "succeeded",
        "failed",
        "cancelled",
        "interrupted",
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
        };
        summary.fold(record);
        Some(summary)
    }

    /// Takes a further record in.
    pub fn fold(&mut self, record: &RecordEnvelope) {
        for entry in &record.entries {
            self.fold_entry(entry, record.at);
        }
    }

    fn fold_entry(&mut self, entry: &Entry, at: Timestamp) {
        if self.state.is_ended() {
            return;
        }
        match entry {
            Entry::Claimed(_) => self.state = SummaryState::Running { step: None },
            Entry::Released { .. } | Entry::Answered { .. } => self.state = SummaryState::Queued,
            Entry::AttemptStarted { step, .. } => {
                self.state = SummaryState::Running {
                    step: Some(step.clone()),
                };
            }
            Entry::AttemptEnded(end) => {
                if let AttemptNext::RetryAt(_) = end.next {
                    self.state = SummaryState::Retrying {
                        step: end.step.clone(),
                    };
                }
            }
            Entry::Parked {
                parking: Parking::Question { step },
            } => {
                self.state = SummaryState::Waiting { step: step.clone() };
            }
            Entry::Ended { outcome, reason } => {
                self.state = SummaryState::Ended(*outcome);
                self.ended_at = Some(at);
                self.reason.clone_from(reason);
            }
            Entry::Created(_)
            | Entry::StepSkipped { .. }
            | Entry::StepUnstartable { .. }
            | Entry::StopRequested { .. } => {}
        }
    }
}
