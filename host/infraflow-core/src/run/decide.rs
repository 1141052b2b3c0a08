//! What a run does next.
//!
//! A decision is the entries to append, the state that they lead to, and the
//! effects that follow once they are durable. Record before effect: whoever
//! gets a decision appends its entries first.

use crate::event::Actor;
use crate::grant::Capability;
use crate::id::{Digest, HostName, Incarnation, LockName, PoolName, RunId, StepId};
use crate::lock::{LockAnswer, LockSpec};
use crate::outcome::{AttemptOutcome, RunOutcome};
use crate::ports::StopReason;
use crate::{Json, JsonMap, Timestamp};

use super::plan::Plan;
use super::record::{Answer, Entry, LogFacts, Parking, StopKind, WakeCause, WorkspacePlace};
use super::state::{Phase, Run, StepStatus};

/// Something that happened to a run that this host has, or wants to have.
#[derive(Debug, Clone)]
pub enum Input {
    /// This host takes the run. Whether it may (no claim, or one whose host is
    /// gone) is for the caller to know.
    Claim {
        /// This host.
        host: HostName,
        /// Its life.
        incarnation: Incarnation,
    },
    /// An attempt ended.
    AttemptEnded {
        /// The step.
        step: StepId,
        /// Which try.
        attempt: u32,
        /// How.
        report: AttemptReport,
        /// What the host does after it.
        then: Then,
    },
    /// The run is to end early.
    Stop {
        /// Why.
        kind: StopKind,
        /// Who asked.
        actor: Actor,
    },
    /// Time passed, or somebody else's record was folded in.
    Look,
    /// A lock was asked for, as [`Effect::AskLock`] said.
    LockAnswered {
        /// The lock.
        lock: LockName,
        /// The answer.
        answer: LockAnswer,
    },
    /// This host takes the run only to end it: it can never go on.
    GiveUp {
        /// This host.
        host: HostName,
        /// Its life.
        incarnation: Incarnation,
        /// Why, for people.
        reason: String,
    },
    /// This host gives the run back.
    Release {
        /// Why, for people.
        reason: String,
    },
}

/// What a host does after an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// It goes on with the run.
    GoOn,
    /// It gives the run back: it shuts down.
    Release {
        /// Why, for people.
        reason: String,
    },
}

/// How an attempt ended, as its host saw it. Masked and bounded.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptReport {
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// Why it did not succeed. Empty when it did.
    pub message: String,
    /// Its outputs.
    pub outputs: Option<JsonMap>,
    /// Capabilities that it asked for and did not have.
    pub not_granted: Vec<Capability>,
    /// Whether something held a tool's pipes open.
    pub leaked_handles: bool,
    /// What became of its log.
    pub log: LogFacts,
    /// Where the run's files are now; unset: where they were.
    pub workspace: Option<WorkspacePlace>,
}

/// What somebody without a claim may ask of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// To end it early.
    Cancel {
        /// Who asks.
        actor: Actor,
    },
    /// To go on after a question.
    Answer {
        /// The step in question.
        step: StepId,
        /// The answer.
        answer: Answer,
        /// Who answers.
        actor: Actor,
    },
    /// To look whether its time has come: what it waits for, or all that it may
    /// wait.
    Due,
    /// To ask for a lock again that may be free now.
    Wake {
        /// The lock.
        lock: LockName,
    },
    /// To note that its files were stored: their host leaves.
    FilesStored {
        /// Where they are now.
        place: WorkspacePlace,
    },
    /// To end: the run of a newer event has the lock that it needs, or waits
    /// for it.
    Supersede {
        /// That run.
        by: RunId,
    },
}

/// What to append, and what then to do.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The entries of one record. Empty: there is nothing to append.
    pub entries: Vec<Entry>,
    /// The pool that the record wakes.
    pub wakes: Option<PoolName>,
    /// What to do once the record is durable, in order.
    pub effects: Vec<Effect>,
    /// The state after the entries.
    pub next: Run,
}

/// Something to do in the world.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Run an attempt.
    Start(StartAttempt),
    /// End the attempts that run; each reports its end as an input.
    Stop(StopReason),
    /// Say [`Input::Look`] at that time.
    LookAt(Timestamp),
    /// Ask for a lock, and say [`Input::LockAnswered`].
    AskLock(LockSpec),
}

/// An attempt to run.
#[derive(Debug, Clone, PartialEq)]
pub struct StartAttempt {
    /// The step.
    pub step: StepId,
    /// Which try, from 1.
    pub attempt: u32,
    /// The component.
    pub component: Digest,
    /// The rendered `with`.
    pub input: Json,
    /// When the attempt's time is up.
    pub deadline: Timestamp,
    /// Where the run's files are; unset: it has none yet.
    pub workspace: Option<WorkspacePlace>,
}

/// Why an input leads to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The run is over.
    #[error("the run has ended: it {0}")]
    Ended(RunOutcome),
    /// The run waits.
    #[error("the run waits for {0}")]
    Waits(Parking),
    /// The run does not wait for that.
    #[error("the run does not wait for that")]
    WaitsNot,
    /// The run has every lock that it needs, or that one is not the next.
    #[error("the run asks for no such lock")]
    HasLocks,
    /// Nobody has claimed it.
    #[error("no host has claimed the run")]
    NotClaimed,
    /// That attempt does not run.
    #[error("attempt {attempt} of step `{step}` does not run")]
    NotRunning {
        /// The step.
        step: StepId,
        /// The attempt.
        attempt: u32,
    },
    /// An attempt runs.
    #[error("an attempt runs")]
    Busy,
    /// That host does not have the run's files alone.
    #[error("that host does not have the run's files alone")]
    NotPinned,
    /// Nobody asked about that step.
    #[error("nobody asked about step `{0}`")]
    NotAsked(StepId),
}

impl Run {
    /// Decides what follows an input. Total: an input that does not fit the
    /// state is a [`Refusal`], and nothing else happens.
    ///
    /// # Errors
    /// [`Refusal`] when the input does not fit the state.
    pub fn decide(&self, input: Input, now: Timestamp) -> Result<Decision, Refusal> {
        if let Phase::Ended { outcome, .. } = self.phase() {
            return Err(Refusal::Ended(*outcome));
        }
        let mut plan = Plan::new(self, now);
        match input {
            Input::Claim { host, incarnation } => {
                self.check_not_waiting()?;
                plan.claim(host, incarnation);
                plan.go_on_after_claim();
            }
            Input::GiveUp {
                host,
                incarnation,
                reason,
            } => {
                self.check_not_waiting()?;
                plan.claim(host, incarnation);
                plan.give_up(reason);
            }
            Input::LockAnswered { lock, answer } => {
                self.check_claimed()?;
                if self.is_running() || self.missing_lock().is_none_or(|next| next.name != lock) {
                    return Err(Refusal::HasLocks);
                }
                plan.lock_answered(lock, answer);
            }
            Input::AttemptEnded {
                step,
                attempt,
                report,
                then,
            } => {
                self.check_claimed()?;
                let runs = self.step(&step).is_some_and(|(_, state)| {
                    state.status == StepStatus::Running && state.attempts == attempt
                });
                if !runs {
                    return Err(Refusal::NotRunning { step, attempt });
                }
                plan.end_attempt(step, attempt, report);
                match then {
                    Then::GoOn => plan.advance(),
                    Then::Release { reason } => plan.release(reason),
                }
            }
            Input::Stop { kind, actor } => {
                self.check_claimed()?;
                if self.stop().is_none() {
                    plan.push(Entry::StopRequested { kind, actor });
                }
                plan.advance();
            }
            Input::Look => {
                self.check_claimed()?;
                plan.advance();
            }
            Input::Release { reason } => {
                self.check_claimed()?;
                if self.is_running() {
                    return Err(Refusal::Busy);
                }
                plan.release(reason);
            }
        }
        Ok(plan.done())
    }

    /// Decides what a request of somebody without a claim does. A run that
    /// nobody works on ends at once; one that a host has is asked to.
    ///
    /// # Errors
    /// [`Refusal`] when the run is over, or nobody asked.
    pub fn request(&self, request: Request, now: Timestamp) -> Result<Decision, Refusal> {
        if let Phase::Ended { outcome, .. } = self.phase() {
            return Err(Refusal::Ended(*outcome));
        }
        let mut plan = Plan::new(self, now);
        match request {
            Request::Cancel { actor } => {
                if self.stop().is_none() {
                    plan.push(Entry::StopRequested {
                        kind: StopKind::Cancel,
                        actor,
                    });
                }
                if !matches!(self.phase(), Phase::Claimed(_)) {
                    plan.end_stopped();
                }
            }
            Request::FilesStored { place } => {
                if matches!(self.phase(), Phase::Claimed(_)) {
                    return Err(Refusal::Busy);
                }
                if self.pinned_to() != Some(&place.host) || place.stored.is_none() {
                    return Err(Refusal::NotPinned);
                }
                plan.push(Entry::FilesStored { place });
                // Others have left it alone until now.
                plan.wake_again();
            }
            Request::Supersede { by } => {
                if self.missing_lock().is_none() {
                    return Err(Refusal::HasLocks);
                }
                if self.stop().is_none() {
                    plan.push(Entry::StopRequested {
                        kind: StopKind::Superseded,
                        actor: Actor::Run(by),
                    });
                }
                if !matches!(self.phase(), Phase::Claimed(_)) {
                    plan.end_stopped();
                }
            }
            Request::Due => {
                let Phase::Waiting { parked, .. } = self.phase() else {
                    return Err(Refusal::WaitsNot);
                };
                if self.wake_at().is_some_and(|due| due <= now) {
                    plan.due(&parked.parking);
                }
            }
            Request::Wake { lock } => {
                let wanted = Parking::Lock { lock };
                match self.phase() {
                    Phase::Waiting { parked, .. } if parked.parking == wanted => {}
                    _ => return Err(Refusal::WaitsNot),
                }
                plan.wake(WakeCause::Lock);
            }
            Request::Answer {
                step,
                answer,
                actor,
            } => {
                if self.question() != Some(&step) {
                    return Err(Refusal::NotAsked(step));
                }
                plan.push(Entry::Answered {
                    step,
                    answer,
                    actor,
                });
                plan.wakes = Some(self.birth().pool.clone());
            }
        }
        Ok(plan.done())
    }

    fn check_claimed(&self) -> Result<(), Refusal> {
        match self.phase() {
            Phase::Claimed(_) => Ok(()),
            Phase::Waiting { parked, .. } => Err(Refusal::Waits(parked.parking.clone())),
            Phase::Runnable => Err(Refusal::NotClaimed),
            Phase::Ended { outcome, .. } => Err(Refusal::Ended(*outcome)),
        }
    }

    fn check_not_waiting(&self) -> Result<(), Refusal> {
        match self.phase() {
            Phase::Waiting { parked, .. } => Err(Refusal::Waits(parked.parking.clone())),
            Phase::Ended { outcome, .. } => Err(Refusal::Ended(*outcome)),
            Phase::Runnable | Phase::Claimed(_) => Ok(()),
        }
    }
}

impl AttemptReport {
    /// The report of an attempt whose host went away.
    pub fn interrupted() -> Self {
        Self {
            outcome: AttemptOutcome::Interrupted,
            message: "the host that ran it went away; how it ended is unknown".to_owned(),
            outputs: None,
            not_granted: vec![],
            leaked_handles: false,
            log: LogFacts::default(),
            workspace: None,
        }
    }
}
