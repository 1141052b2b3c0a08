//! The state of a run: a fold over its entries.

use std::sync::Arc;
use std::time::Duration;

use super::record::{
    Answer, AttemptEnd, AttemptNext, Birth, Carried, Claim, Entry, Parked, Parking, StopKind,
    WakeCause, WorkspacePlace,
};
use crate::event::Actor;
use crate::id::{HostName, LockName, RunId, StepId};
use crate::lock::LockSpec;
use crate::outcome::{AttemptOutcome, RunOutcome, StepOutcome};
use crate::workflow::{Step, Workflow};
use crate::{JsonMap, Timestamp};

/// A run.
///
/// Made from the first entry of its journal and the workflow that the entry
/// names; every further entry is folded in. Equal entries give equal states.
#[derive(Debug, Clone)]
pub struct Run {
    id: RunId,
    birth: Arc<Birth>,
    workflow: Arc<Workflow>,
    created_at: Timestamp,
    phase: Phase,
    epoch: u32,
    claims_without_progress: u32,
    stop: Option<(StopKind, Actor)>,
    steps: Vec<StepState>,
    locks_held: Vec<LockName>,
    workspace: Option<WorkspacePlace>,
    /// How long it has waited while its clock stood still.
    paused: Duration,
    /// Whether the time that its next step waits for has come, whatever the
    /// clock of the host that claims it says.
    is_due: bool,
}

/// Where a run is.
#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// Any host of the pool may claim it.
    Runnable,
    /// A host has it.
    Claimed(Claim),
    /// It waits and holds nothing but its locks.
    Waiting {
        /// For what, and until when.
        parked: Parked,
        /// Since when.
        since: Timestamp,
    },
    /// It is over.
    Ended {
        /// How.
        outcome: RunOutcome,
        /// Why.
        reason: String,
        /// When.
        at: Timestamp,
    },
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct StepState {
    /// The step.
    pub id: StepId,
    /// Where it is.
    pub status: StepStatus,
    /// Attempts that began.
    pub attempts: u32,
    /// Attempts that were interrupted: `retry` does not count them.
    pub interrupted: u32,
    /// When its first attempt began.
    pub started_at: Option<Timestamp>,
}

/// Where a step is.
#[derive(Debug, Clone, PartialEq)]
pub enum StepStatus {
    /// It has not begun.
    Waiting,
    /// An attempt runs.
    Running,
    /// The next attempt begins at that time.
    RetryAt(Timestamp),
    /// It is a `wait` that is over at that time.
    WaitUntil(Timestamp),
    /// A person says what to do.
    Asked,
    /// It is over.
    Ended {
        /// How.
        outcome: StepOutcome,
        /// Why it did not succeed.
        message: String,
        /// What it gave.
        outputs: Option<Arc<JsonMap>>,
        /// When.
        at: Timestamp,
    },
}

/// An entry that cannot follow the ones before it: the journal is damaged, or a
/// newer infraflow wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry `{entry}` cannot follow: {reason}")]
pub struct IllegalEntry {
    /// The entry's name.
    pub entry: &'static str,
    /// Why.
    pub reason: String,
}

impl Run {
    /// The run that this first entry makes.
    pub fn new(id: RunId, birth: Box<Birth>, workflow: Arc<Workflow>, at: Timestamp) -> Self {
        let carried = |id: &StepId| birth.origin.as_ref()?.carried.get(id);
        let steps = workflow
            .steps()
            .map(|step| StepState {
                id: step.id.clone(),
                status: carried(&step.id)
                    .map_or(StepStatus::Waiting, |carried| finished_before(carried, at)),
                attempts: 0,
                interrupted: 0,
                started_at: None,
            })
            .collect();
        let workspace = birth
            .origin
            .as_ref()
            .and_then(|origin| origin.workspace.clone());
        Self {
            id,
            birth: Arc::from(birth),
            workflow,
            created_at: at,
            phase: Phase::Runnable,
            epoch: 0,
            claims_without_progress: 0,
            stop: None,
            steps,
            locks_held: vec![],
            workspace,
            paused: Duration::ZERO,
            is_due: false,
        }
    }

    /// Its id.
    pub fn id(&self) -> RunId {
        self.id
    }

    /// What was decided when it was created.
    pub fn birth(&self) -> &Birth {
        &self.birth
    }

    /// The same, for whoever keeps it longer than the run.
    pub fn shared_birth(&self) -> Arc<Birth> {
        self.birth.clone()
    }

    /// Its workflow, as it was then.
    pub fn workflow(&self) -> &Workflow {
        &self.workflow
    }

    /// When it was created.
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// When its time is up, if it does not wait any more.
    pub fn deadline(&self) -> Timestamp {
        self.created_at
            .saturating_add(self.workflow.timeout.saturating_add(self.paused))
            .unwrap_or(Timestamp::MAX)
    }

    /// When a run that waits must be looked at; unset for one that does not.
    pub fn wake_at(&self) -> Option<Timestamp> {
        match &self.phase {
            Phase::Waiting { parked, .. } if parked.parking.stops_the_clock() => Some(parked.until),
            Phase::Waiting { parked, .. } => Some(parked.until.min(self.deadline())),
            _ => None,
        }
    }

    /// Whether a timer said that the time has come which its next step waits
    /// for. A host whose clock is behind would else park it again, and the timer
    /// wake it again, until the clocks agree.
    pub fn is_due(&self) -> bool {
        self.is_due
    }

    /// The next lock that it needs and does not have.
    pub fn missing_lock(&self) -> Option<&LockSpec> {
        self.birth
            .locks
            .iter()
            .find(|lock| !self.locks_held.contains(&lock.name))
    }

    /// Where its files are; unset: it has none yet.
    pub fn workspace(&self) -> Option<&WorkspacePlace> {
        self.workspace.as_ref()
    }

    /// The host that alone can go on with it: its files are there and nowhere
    /// else.
    pub fn pinned_to(&self) -> Option<&HostName> {
        match &self.workspace {
            Some(WorkspacePlace { host, stored: None }) => Some(host),
            _ => None,
        }
    }

    /// Where it is.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The number of claims so far.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Claims in a row that found an attempt whose host had gone away.
    pub fn claims_without_progress(&self) -> u32 {
        self.claims_without_progress
    }

    /// Why it is to end early, and who asked.
    pub fn stop(&self) -> Option<(StopKind, &Actor)> {
        self.stop.as_ref().map(|(kind, actor)| (*kind, actor))
    }

    /// Its steps, in order.
    pub fn steps(&self) -> &[StepState] {
        &self.steps
    }

    /// The step of that id, as the workflow has it and as it is now.
    pub fn step(&self, id: &StepId) -> Option<(&Step, &StepState)> {
        let state = self.steps.iter().find(|step| step.id == *id)?;
        Some((self.workflow.step(id)?, state))
    }

    /// Whether an attempt runs.
    pub fn is_running(&self) -> bool {
        self.steps
            .iter()
            .any(|step| step.status == StepStatus::Running)
    }

    /// Folds one entry of the journal in. `at` is its record's time.
    ///
    /// # Errors
    /// [`IllegalEntry`] when it cannot follow; the state is then unchanged.
    pub fn fold(&mut self, entry: &Entry, at: Timestamp) -> Result<(), IllegalEntry> {
        let illegal = |reason: String| IllegalEntry {
            entry: entry.name(),
            reason,
        };
        if let Phase::Ended { .. } = self.phase {
            return Err(illegal("the run has ended".to_owned()));
        }
        match entry {
            Entry::Created(_) => return Err(illegal("the run exists already".to_owned())),
            Entry::Claimed(claim) => {
                if let Phase::Waiting { parked, .. } = &self.phase {
                    return Err(illegal(format!("the run waits for {}", parked.parking)));
                }
                if claim.epoch != self.epoch + 1 {
                    let expected = self.epoch + 1;
                    return Err(illegal(format!(
                        "claim {} where {expected} is due",
                        claim.epoch
                    )));
                }
                self.epoch = claim.epoch;
                if self.is_running() {
                    self.claims_without_progress += 1;
                }
                self.phase = Phase::Claimed(claim.clone());
            }
            Entry::Released { .. } => {
                self.require_claim().map_err(illegal)?;
                self.require_idle().map_err(illegal)?;
                self.phase = Phase::Runnable;
            }
            Entry::AttemptStarted { step, attempt } => {
                self.require_claim().map_err(illegal)?;
                self.require_idle().map_err(illegal)?;
                self.require_locks().map_err(illegal)?;
                self.start_attempt(step, *attempt, at).map_err(illegal)?;
            }
            Entry::AttemptEnded(end) => {
                self.require_claim().map_err(illegal)?;
                self.end_attempt(end, at).map_err(illegal)?;
            }
            Entry::StepSkipped { step } => {
                self.require_claim().map_err(illegal)?;
                self.end_unstarted(step, StepOutcome::Skipped, "", at)
                    .map_err(illegal)?;
            }
            Entry::StepUnstartable { step, message } => {
                self.require_claim().map_err(illegal)?;
                let outcome = StepOutcome::Attempt(AttemptOutcome::CouldNotStart);
                self.end_unstarted(step, outcome, message, at)
                    .map_err(illegal)?;
            }
            Entry::WaitStarted { step, until } => {
                self.require_claim().map_err(illegal)?;
                self.start_wait(step, *until, at).map_err(illegal)?;
            }
            Entry::WaitEnded { step } => {
                self.require_claim().map_err(illegal)?;
                self.end_wait(step, at).map_err(illegal)?;
            }
            Entry::LockAcquired { lock, .. } => {
                self.require_claim().map_err(illegal)?;
                self.take_lock(lock).map_err(illegal)?;
            }
            Entry::StopRequested { kind, actor } => {
                // The first reason stays: a second request changes nothing.
                self.stop.get_or_insert_with(|| (*kind, actor.clone()));
            }
            Entry::Parked(parked) => {
                self.require_claim().map_err(illegal)?;
                self.require_idle().map_err(illegal)?;
                self.require_reason(&parked.parking).map_err(illegal)?;
                self.phase = Phase::Waiting {
                    parked: parked.clone(),
                    since: at,
                };
            }
            Entry::Woken { cause } => {
                self.wake(at).map_err(illegal)?;
                self.is_due = *cause == WakeCause::Timer;
            }
            Entry::Answered { step, answer, .. } => {
                self.take_answer(step, *answer, at).map_err(illegal)?;
            }
            Entry::FilesStored { place } => {
                self.require_idle().map_err(illegal)?;
                self.store_files(place).map_err(illegal)?;
            }
            Entry::Ended { outcome, reason } => {
                self.require_idle().map_err(illegal)?;
                self.phase = Phase::Ended {
                    outcome: *outcome,
                    reason: reason.clone(),
                    at,
                };
            }
        }
        Ok(())
    }

    fn require_claim(&self) -> Result<(), String> {
        match self.phase {
            Phase::Claimed(_) => Ok(()),
            _ => Err("no host has claimed the run".to_owned()),
        }
    }

    fn require_idle(&self) -> Result<(), String> {
        if self.is_running() {
            Err("an attempt runs".to_owned())
        } else {
            Ok(())
        }
    }

    fn require_locks(&self) -> Result<(), String> {
        match self.missing_lock() {
            None => Ok(()),
            Some(lock) => Err(format!("it has no lock `{}`", lock.name)),
        }
    }

    /// A run waits only for what its next step, or lock, has to wait for: so
    /// that no answer or timer brings a step back that is over.
    fn require_reason(&self, parking: &Parking) -> Result<(), String> {
        let status = |id: &StepId| Some(&self.steps.iter().find(|step| step.id == *id)?.status);
        let has_reason = match parking {
            Parking::Question { step } => matches!(status(step), Some(StepStatus::Asked)),
            Parking::Retry { step } => matches!(status(step), Some(StepStatus::RetryAt(_))),
            Parking::Wait { step } => matches!(status(step), Some(StepStatus::WaitUntil(_))),
            Parking::Lock { lock } => self.missing_lock().is_some_and(|next| next.name == *lock),
        };
        if has_reason {
            Ok(())
        } else {
            Err(format!("it has no reason to wait for {parking}"))
        }
    }

    fn step_mut(&mut self, id: &StepId) -> Result<&mut StepState, String> {
        self.steps
            .iter_mut()
            .find(|step| step.id == *id)
            .ok_or_else(|| format!("the workflow has no step `{id}`"))
    }

    fn start_attempt(&mut self, id: &StepId, attempt: u32, at: Timestamp) -> Result<(), String> {
        let step = self.step_mut(id)?;
        match step.status {
            StepStatus::Waiting | StepStatus::RetryAt(_) => {}
            _ => return Err(format!("step `{id}` is not due")),
        }
        if attempt != step.attempts + 1 {
            return Err(format!(
                "attempt {attempt} of step `{id}` where {} is due",
                step.attempts + 1
            ));
        }
        step.attempts = attempt;
        step.status = StepStatus::Running;
        step.started_at.get_or_insert(at);
        self.is_due = false;
        Ok(())
    }

    fn end_attempt(&mut self, end: &AttemptEnd, at: Timestamp) -> Result<(), String> {
        let step = self.step_mut(&end.step)?;
        if step.status != StepStatus::Running || step.attempts != end.attempt {
            return Err(format!(
                "attempt {} of step `{}` does not run",
                end.attempt, end.step
            ));
        }
        step.status = match end.next {
            AttemptNext::RetryAt(due) => StepStatus::RetryAt(due),
            AttemptNext::Ask => StepStatus::Asked,
            AttemptNext::StepEnds => StepStatus::Ended {
                outcome: StepOutcome::Attempt(end.outcome),
                message: end.message.clone(),
                outputs: end.outputs.clone(),
                at,
            },
        };
        if end.outcome == AttemptOutcome::Interrupted {
            step.interrupted += 1;
        } else {
            self.claims_without_progress = 0;
        }
        if end.workspace.is_some() {
            self.workspace.clone_from(&end.workspace);
        }
        Ok(())
    }

    fn start_wait(&mut self, id: &StepId, until: Timestamp, at: Timestamp) -> Result<(), String> {
        let step = self.step_mut(id)?;
        if step.status != StepStatus::Waiting {
            return Err(format!("step `{id}` has begun"));
        }
        step.status = StepStatus::WaitUntil(until);
        step.started_at.get_or_insert(at);
        Ok(())
    }

    fn end_wait(&mut self, id: &StepId, at: Timestamp) -> Result<(), String> {
        let step = self.step_mut(id)?;
        if !matches!(step.status, StepStatus::WaitUntil(_)) {
            return Err(format!("step `{id}` does not wait"));
        }
        step.status = StepStatus::Ended {
            outcome: StepOutcome::Attempt(AttemptOutcome::Succeeded),
            message: String::new(),
            outputs: None,
            at,
        };
        self.is_due = false;
        Ok(())
    }

    fn take_lock(&mut self, lock: &LockName) -> Result<(), String> {
        match self.missing_lock() {
            Some(missing) if missing.name == *lock => {
                self.locks_held.push(lock.clone());
                Ok(())
            }
            _ => Err(format!("lock `{lock}` is not the next one that it needs")),
        }
    }

    /// Ends a wait: the clock goes on where it stood still.
    fn wake(&mut self, at: Timestamp) -> Result<(), String> {
        let Phase::Waiting { parked, since } = &self.phase else {
            return Err("the run does not wait".to_owned());
        };
        if parked.parking.stops_the_clock() {
            let waited = Duration::try_from(at.duration_since(*since)).unwrap_or_default();
            self.paused = self.paused.saturating_add(waited);
        }
        self.phase = Phase::Runnable;
        Ok(())
    }

    fn end_unstarted(
        &mut self,
        id: &StepId,
        outcome: StepOutcome,
        message: &str,
        at: Timestamp,
    ) -> Result<(), String> {
        let step = self.step_mut(id)?;
        match step.status {
            // A retry that is due can lose its value too: `vars` may depend on
            // the run.
            StepStatus::Waiting | StepStatus::RetryAt(_) => {}
            _ => return Err(format!("step `{id}` has begun")),
        }
        step.status = StepStatus::Ended {
            outcome,
            message: message.to_owned(),
            outputs: None,
            at,
        };
        self.is_due = false;
        Ok(())
    }

    fn take_answer(&mut self, id: &StepId, answer: Answer, at: Timestamp) -> Result<(), String> {
        if self.question() != Some(id) {
            return Err(format!("nobody asked about step `{id}`"));
        }
        self.step_mut(id)?;
        self.wake(at)?;
        let step = self.step_mut(id)?;
        let ended = |outcome, message: &str| StepStatus::Ended {
            outcome: StepOutcome::Attempt(outcome),
            message: message.to_owned(),
            outputs: None,
            at,
        };
        step.status = match answer {
            Answer::Retry => StepStatus::RetryAt(at),
            Answer::Done => ended(AttemptOutcome::Succeeded, ""),
            Answer::Fail => ended(
                AttemptOutcome::Interrupted,
                "the attempt was interrupted, and a person said that it failed",
            ),
        };
        Ok(())
    }

    fn store_files(&mut self, place: &WorkspacePlace) -> Result<(), String> {
        match &self.workspace {
            Some(before) if before.host == place.host && place.stored.is_some() => {
                self.workspace = Some(place.clone());
                Ok(())
            }
            _ => Err(format!("host `{}` does not have its files", place.host)),
        }
    }

    /// The step that a person is asked about.
    pub fn question(&self) -> Option<&StepId> {
        match &self.phase {
            Phase::Waiting {
                parked:
                    Parked {
                        parking: Parking::Question { step },
                        ..
                    },
                ..
            } => Some(step),
            _ => None,
        }
    }
}

fn finished_before(carried: &Carried, at: Timestamp) -> StepStatus {
    StepStatus::Ended {
        outcome: if carried.is_skipped {
            StepOutcome::Skipped
        } else {
            StepOutcome::Attempt(AttemptOutcome::Succeeded)
        },
        message: String::new(),
        outputs: carried.outputs.clone(),
        at,
    }
}
