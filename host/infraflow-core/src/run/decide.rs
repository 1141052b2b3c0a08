//! What a run does next.
//!
//! A decision is the entries to append, the state that they lead to, and the
//! effects that follow once they are durable. Record before effect: whoever
//! gets a decision appends its entries first.

use crate::event::Actor;
use crate::grant::Capability;
use crate::id::{Digest, HostName, Incarnation, PoolName, StepId};
use crate::limits::CLAIMS_WITHOUT_PROGRESS;
use crate::outcome::{AttemptOutcome, RunOutcome, StepOutcome};
use crate::ports::StopReason;
use crate::template::TemplateError;
use crate::workflow::{OnInterrupt, Step};
use crate::{Json, JsonMap, Timestamp};

use super::record::{Answer, AttemptEnd, AttemptNext, Claim, Entry, LogFacts, Parking, StopKind};
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
}

/// Why an input leads to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The run is over.
    #[error("the run has ended: it {0}")]
    Ended(RunOutcome),
    /// The run waits for a person.
    #[error("the run waits for an answer about step `{0}`")]
    Parked(StepId),
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
                if let Phase::Parked(Parking::Question { step }) = self.phase() {
                    return Err(Refusal::Parked(step.clone()));
                }
                plan.claim(host, incarnation);
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
            Request::Answer {
                step,
                answer,
                actor,
            } => {
                match self.phase() {
                    Phase::Parked(Parking::Question { step: asked }) if *asked == step => {}
                    _ => return Err(Refusal::NotAsked(step)),
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
            Phase::Parked(Parking::Question { step }) => Err(Refusal::Parked(step.clone())),
            Phase::Runnable => Err(Refusal::NotClaimed),
            Phase::Ended { outcome, .. } => Err(Refusal::Ended(*outcome)),
        }
    }
}

/// A decision in the making: entries are folded into the state as they are
/// thought of, so that what follows is decided on the state that they make.
struct Plan {
    run: Run,
    now: Timestamp,
    entries: Vec<Entry>,
    wakes: Option<PoolName>,
    effects: Vec<Effect>,
}

impl Plan {
    fn new(run: &Run, now: Timestamp) -> Self {
        Self {
            run: run.clone(),
            now,
            entries: vec![],
            wakes: None,
            effects: vec![],
        }
    }

    fn done(self) -> Decision {
        let Self {
            run,
            entries,
            wakes,
            effects,
            ..
        } = self;
        Decision {
            entries,
            wakes,
            effects,
            next: run,
        }
    }

    fn push(&mut self, entry: Entry) {
        let folded = self.run.fold(&entry, self.now);
        debug_assert_eq!(folded, Ok(()), "a decision is always legal");
        self.entries.push(entry);
    }

    fn claim(&mut self, host: HostName, incarnation: Incarnation) {
        let open: Vec<(StepId, u32)> = self
            .run
            .steps()
            .iter()
            .filter(|step| step.status == StepStatus::Running)
            .map(|step| (step.id.clone(), step.attempts))
            .collect();
        let epoch = self.run.epoch() + 1;
        self.push(Entry::Claimed(Claim {
            host,
            incarnation,
            epoch,
        }));
        for (step, attempt) in open {
            self.end_attempt(step, attempt, AttemptReport::interrupted());
        }
        if self.run.claims_without_progress() > CLAIMS_WITHOUT_PROGRESS {
            self.end(
                RunOutcome::Failed,
                format!(
                    "poisoned: {CLAIMS_WITHOUT_PROGRESS} hosts in a row went away while they worked on it"
                ),
            );
        } else {
            self.advance();
        }
    }

    fn release(&mut self, reason: String) {
        self.settle_early_ends();
        if matches!(self.run.phase(), Phase::Claimed(_)) {
            self.push(Entry::Released { reason });
            self.wakes = Some(self.run.birth().pool.clone());
        }
    }

    /// Ends or parks the run where that is certain already, so that nobody has
    /// to claim it for that alone.
    fn settle_early_ends(&mut self) {
        if self.run.is_running() {
            return;
        }
        if self.run.stop().is_some() {
            self.end_stopped();
        } else if let Some((outcome, reason)) = self.failure() {
            self.end(outcome, reason);
        } else if let Some(step) = self.asked() {
            self.push(Entry::Parked {
                parking: Parking::Question { step },
            });
        }
    }

    /// Goes on as far as it can without waiting for anything.
    fn advance(&mut self) {
        loop {
            if self.run.is_running() {
                if let Some((kind, _)) = self.run.stop() {
                    self.effects.push(Effect::Stop(stop_reason(kind)));
                }
                return;
            }
            self.settle_early_ends();
            if !matches!(self.run.phase(), Phase::Claimed(_)) {
                return;
            }
            if self.now >= self.run.deadline() {
                self.push(Entry::StopRequested {
                    kind: StopKind::Timeout,
                    actor: Actor::Host,
                });
                continue;
            }
            let next = self.run.steps().iter().find_map(|step| match step.status {
                StepStatus::Ended { .. } => None,
                StepStatus::RetryAt(due) => Some((step.id.clone(), Some(due))),
                _ => Some((step.id.clone(), None)),
            });
            match next {
                None => self.end(RunOutcome::Succeeded, String::new()),
                Some((_, Some(due))) if due > self.now => {
                    self.effects.push(Effect::LookAt(due));
                    return;
                }
                Some((step, due)) => self.start(&step, due.is_some()),
            }
        }
    }

    /// Starts a step, or ends it when it does not run.
    fn start(&mut self, id: &StepId, is_retry: bool) {
        match self.prepare(id, is_retry) {
            Ok(Some(start)) => {
                self.push(Entry::AttemptStarted {
                    step: id.clone(),
                    attempt: start.attempt,
                });
                self.effects.push(Effect::Start(start));
            }
            Ok(None) => self.push(Entry::StepSkipped { step: id.clone() }),
            Err(message) => self.push(Entry::StepUnstartable {
                step: id.clone(),
                message,
            }),
        }
    }

    /// The attempt that is due, or `None` when the step's `when` is false. A
    /// retry does not ask `when` again.
    fn prepare(&self, id: &StepId, is_retry: bool) -> Result<Option<StartAttempt>, String> {
        let (step, state) = self
            .run
            .step(id)
            .ok_or_else(|| format!("the workflow has no step `{id}`"))?;
        let plugin = self
            .run
            .birth()
            .plugins
            .get(&step.uses)
            .ok_or_else(|| format!("plugin `{}` was not resolved", step.uses))?;
        let place = |key: &str| {
            let key = key.to_owned();
            move |error: TemplateError| format!("`{key}` of step `{id}`: {error}")
        };
        let needs_scope = !step.with.is_literal() || (step.when.is_some() && !is_retry);
        let scope = match needs_scope {
            true => self.run.scope().map_err(place("vars"))?,
            false => crate::template::Scope::default(),
        };
        if let Some(when) = step.when.as_ref().filter(|_| !is_retry)
            && !when.is_true(&scope).map_err(place("when"))?
        {
            return Ok(None);
        }
        let input = step.with.render(&scope).map_err(place("with"))?;
        Ok(Some(StartAttempt {
            step: id.clone(),
            attempt: state.attempts + 1,
            component: plugin.digest,
            input,
            deadline: self
                .now
                .saturating_add(step.timeout)
                .unwrap_or(Timestamp::MAX)
                .min(self.run.deadline()),
        }))
    }

    fn end_attempt(&mut self, step: StepId, attempt: u32, report: AttemptReport) {
        let next = self.after(&step, &report);
        self.push(Entry::AttemptEnded(Box::new(AttemptEnd {
            step,
            attempt,
            outcome: report.outcome,
            message: report.message,
            outputs: report.outputs.map(Into::into),
            not_granted: report.not_granted,
            leaked_handles: report.leaked_handles,
            log: report.log,
            next,
        })));
    }

    fn after(&self, id: &StepId, report: &AttemptReport) -> AttemptNext {
        let Some((step, state)) = self.run.step(id) else {
            return AttemptNext::StepEnds;
        };
        if self.run.stop().is_some() {
            return AttemptNext::StepEnds;
        }
        if report.outcome == AttemptOutcome::Interrupted {
            return match self.on_interrupt(step) {
                OnInterrupt::Retry => AttemptNext::RetryAt(self.now),
                OnInterrupt::Fail => AttemptNext::StepEnds,
                OnInterrupt::Ask => AttemptNext::Ask,
            };
        }
        let tried = state.attempts.saturating_sub(state.interrupted);
        match step
            .retry
            .next_delay(report.outcome, tried, self.run.id(), id)
        {
            None => AttemptNext::StepEnds,
            Some(delay) => {
                AttemptNext::RetryAt(self.now.saturating_add(delay).unwrap_or(Timestamp::MAX))
            }
        }
    }

    fn on_interrupt(&self, step: &Step) -> OnInterrupt {
        let idempotent = self
            .run
            .birth()
            .plugins
            .get(&step.uses)
            .is_some_and(|plugin| plugin.idempotent);
        let default = if idempotent {
            OnInterrupt::Retry
        } else {
            OnInterrupt::Fail
        };
        step.on_interrupt.unwrap_or(default)
    }

    /// The step that ended the run's chances, as an outcome and a reason.
    fn failure(&self) -> Option<(RunOutcome, String)> {
        self.run.steps().iter().find_map(|step| match &step.status {
            StepStatus::Ended {
                outcome, message, ..
            } if !outcome.lets_the_run_go_on() => {
                let run_outcome = match outcome {
                    StepOutcome::Attempt(AttemptOutcome::Interrupted) => RunOutcome::Interrupted,
                    _ => RunOutcome::Failed,
                };
                let reason = match message.as_str() {
                    "" => format!("step `{}`: {outcome}", step.id),
                    message => format!("step `{}`: {outcome}: {message}", step.id),
                };
                Some((run_outcome, reason))
            }
            _ => None,
        })
    }

    fn asked(&self) -> Option<StepId> {
        let asked = self
            .run
            .steps()
            .iter()
            .find(|step| step.status == StepStatus::Asked)?;
        Some(asked.id.clone())
    }

    fn end_stopped(&mut self) {
        let (outcome, reason) = match self.run.stop() {
            Some((StopKind::Timeout, _)) => (
                RunOutcome::Failed,
                format!(
                    "its time of {} was up",
                    crate::duration::display(self.run.workflow().timeout)
                ),
            ),
            Some((StopKind::Cancel, actor)) => {
                (RunOutcome::Cancelled, format!("cancelled by {actor}"))
            }
            None => return,
        };
        self.end(outcome, reason);
    }

    fn end(&mut self, outcome: RunOutcome, reason: String) {
        self.push(Entry::Ended { outcome, reason });
    }
}

fn stop_reason(kind: StopKind) -> StopReason {
    match kind {
        StopKind::Cancel => StopReason::Cancel,
        StopKind::Timeout => StopReason::Timeout,
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
        }
    }
}
