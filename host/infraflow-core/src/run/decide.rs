//! What a run does next.
//!
//! A decision is the entries to append, the state that they lead to, and the
//! effects that follow once they are durable. Record before effect: whoever
//! gets a decision appends its entries first.

use std::time::Duration;

use crate::event::Actor;
use crate::grant::Capability;
use crate::id::{Digest, HostName, Incarnation, LockName, PoolName, RunId, StepId};
use crate::limits::{CLAIMS_WITHOUT_PROGRESS, LOCK_WAITERS, PARK_AFTER, PARKED_MAX, WAIT_MAX};
use crate::lock::{LockAnswer, LockSpec};
use crate::outcome::{AttemptOutcome, RunOutcome, StepOutcome};
use crate::ports::StopReason;
use crate::template::{Scope, TemplateError};
use crate::workflow::{Action, OnInterrupt, Step, Wait};
use crate::{Json, JsonMap, Timestamp};

use super::record::{
    Answer, AttemptEnd, AttemptNext, Claim, Entry, LogFacts, Parked, Parking, StopKind, WakeCause,
    WorkspacePlace,
};
use super::state::{Phase, Run, StepState, StepStatus};

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
                match self.phase() {
                    Phase::Waiting { parked, .. }
                        if parked.parking == (Parking::Lock { lock: lock.clone() }) => {}
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

/// Most bytes of a value that a message shows.
const VALUE_SHOWN: usize = 100;

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
    }

    fn go_on_after_claim(&mut self) {
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

    fn lock_answered(&mut self, lock: LockName, answer: LockAnswer) {
        match answer {
            LockAnswer::Taken { token } => {
                self.push(Entry::LockAcquired { lock, token });
                self.advance();
            }
            LockAnswer::Waits => {
                self.settle_early_ends();
                if matches!(self.run.phase(), Phase::Claimed(_)) {
                    self.park(Parking::Lock { lock }, later(self.now, PARKED_MAX));
                }
            }
            LockAnswer::Superseded { by } => {
                if self.run.stop().is_none() {
                    self.push(Entry::StopRequested {
                        kind: StopKind::Superseded,
                        actor: Actor::Run(by),
                    });
                }
                self.end_stopped();
            }
            LockAnswer::Full => {
                self.settle_early_ends();
                if matches!(self.run.phase(), Phase::Claimed(_)) {
                    let reason = format!("{LOCK_WAITERS} runs wait for lock `{lock}` already");
                    self.end(RunOutcome::Failed, reason);
                }
            }
        }
    }

    /// Ends a run that can never go on; one that was to stop has stopped.
    fn give_up(&mut self, reason: String) {
        if self.run.stop().is_some() {
            self.end_stopped();
        } else {
            self.end(RunOutcome::Interrupted, reason);
        }
    }

    fn park(&mut self, parking: Parking, until: Timestamp) {
        let until = if parking.stops_the_clock() {
            until
        } else {
            until.min(self.run.deadline())
        };
        self.push(Entry::Parked(Parked { parking, until }));
    }

    fn wake(&mut self, cause: WakeCause) {
        self.push(Entry::Woken { cause });
        self.wakes = Some(self.run.birth().pool.clone());
    }

    /// The time of a run that waits has come.
    fn due(&mut self, parking: &Parking) {
        match parking {
            Parking::Retry { .. } if self.now >= self.run.deadline() => self.time_is_up(),
            Parking::Retry { .. } | Parking::Wait { .. } => self.wake(WakeCause::Timer),
            Parking::Question { .. } | Parking::Lock { .. } => self.end(
                RunOutcome::Failed,
                format!(
                    "it waited {} for {parking}, in vain",
                    crate::duration::display(PARKED_MAX)
                ),
            ),
        }
    }

    fn release(&mut self, reason: String) {
        self.settle_early_ends();
        if let Some((parking, due)) = self.wait_ahead().filter(|_| !self.run.is_running())
            && self.is_far(due)
            && matches!(self.run.phase(), Phase::Claimed(_))
        {
            self.park(parking, due);
        }
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
        } else if self.next_step().is_none() {
            self.end(RunOutcome::Succeeded, String::new());
        } else if let Some(step) = self.asked() {
            self.park(Parking::Question { step }, later(self.now, PARKED_MAX));
        } else if self.now >= self.run.deadline() {
            self.time_is_up();
        }
    }

    fn time_is_up(&mut self) {
        self.push(Entry::StopRequested {
            kind: StopKind::Timeout,
            actor: Actor::Host,
        });
        self.end_stopped();
    }

    /// The first step that is not over.
    fn next_step(&self) -> Option<&StepState> {
        let is_over = |step: &StepState| matches!(step.status, StepStatus::Ended { .. });
        self.run.steps().iter().find(|step| !is_over(step))
    }

    /// What the run's next step waits for, and until when.
    fn wait_ahead(&self) -> Option<(Parking, Timestamp)> {
        let next = self.next_step().filter(|_| !self.run.is_due())?;
        let step = next.id.clone();
        match next.status {
            StepStatus::RetryAt(due) if due > self.now => Some((Parking::Retry { step }, due)),
            StepStatus::WaitUntil(due) if due > self.now => Some((Parking::Wait { step }, due)),
            _ => None,
        }
    }

    /// Whether a run does better to hold nothing until then.
    fn is_far(&self, due: Timestamp) -> bool {
        later(self.now, PARK_AFTER) < due
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
            if let Some(lock) = self.run.missing_lock() {
                self.effects.push(Effect::AskLock(lock.clone()));
                return;
            }
            if let Some((parking, due)) = self.wait_ahead() {
                if self.is_far(due) {
                    self.park(parking, due);
                } else {
                    self.effects.push(Effect::LookAt(due));
                }
                return;
            }
            // There is one: a run without one has ended above.
            let Some(next) = self.next_step() else { return };
            let (step, status) = (next.id.clone(), next.status.clone());
            match status {
                StepStatus::WaitUntil(_) => self.push(Entry::WaitEnded { step }),
                status => self.start(&step, matches!(status, StepStatus::RetryAt(_))),
            }
        }
    }

    /// Starts a step, or ends it when it does not run.
    fn start(&mut self, id: &StepId, is_retry: bool) {
        match self.prepare(id, is_retry) {
            Ok(Due::Attempt(start)) => {
                self.push(Entry::AttemptStarted {
                    step: id.clone(),
                    attempt: start.attempt,
                });
                self.effects.push(Effect::Start(*start));
            }
            Ok(Due::Wait(until)) => self.push(Entry::WaitStarted {
                step: id.clone(),
                until,
            }),
            Ok(Due::Nothing) => self.push(Entry::StepSkipped { step: id.clone() }),
            Err(message) => self.push(Entry::StepUnstartable {
                step: id.clone(),
                message,
            }),
        }
    }

    /// What a step that is due does. A retry does not ask `when` again.
    fn prepare(&self, id: &StepId, is_retry: bool) -> Result<Due, String> {
        let (step, state) = self
            .run
            .step(id)
            .ok_or_else(|| format!("the workflow has no step `{id}`"))?;
        let when = step.when.as_ref().filter(|_| !is_retry);
        let is_literal = match &step.action {
            Action::Plugin { with, .. } => with.is_literal(),
            Action::Wait(Wait::Until(until)) => until.is_literal(),
            Action::Wait(Wait::For(_)) => true,
        };
        let scope = if is_literal && when.is_none() {
            Scope::default()
        } else {
            self.run
                .scope()
                .map_err(|error| at_key("vars", id, &error))?
        };
        if let Some(when) = when
            && !when
                .is_true(&scope)
                .map_err(|error| at_key("when", id, &error))?
        {
            return Ok(Due::Nothing);
        }
        match &step.action {
            Action::Plugin { uses, with } => {
                let plugin = self
                    .run
                    .birth()
                    .plugins
                    .get(uses)
                    .ok_or_else(|| format!("plugin `{uses}` was not resolved"))?;
                let input = with
                    .render(&scope)
                    .map_err(|error| at_key("with", id, &error))?;
                Ok(Due::Attempt(Box::new(StartAttempt {
                    step: id.clone(),
                    attempt: state.attempts + 1,
                    component: plugin.digest,
                    input: self.overridden(id, input),
                    deadline: later(self.now, step.timeout).min(self.run.deadline()),
                    workspace: self.run.workspace().cloned(),
                })))
            }
            Action::Wait(wait) => self.wait_until(id, wait, &scope).map(Due::Wait),
        }
    }

    /// A step's input, with what a person put in the place of parts of it.
    fn overridden(&self, id: &StepId, input: Json) -> Json {
        let origin = self.run.birth().origin.as_ref();
        match (input, origin.and_then(|origin| origin.overrides.get(id))) {
            (Json::Object(mut input), Some(overrides)) => {
                input.extend(overrides.clone());
                Json::Object(input)
            }
            (input, _) => input,
        }
    }

    fn wait_until(&self, id: &StepId, wait: &Wait, scope: &Scope) -> Result<Timestamp, String> {
        let until = match wait {
            Wait::For(time) => return Ok(later(self.now, *time)),
            Wait::Until(until) => until
                .render(scope)
                .map_err(|error| at_key("wait.until", id, &error))?,
        };
        let text = until.as_str().unwrap_or_default();
        let until: Timestamp = text.parse().map_err(|_| {
            let shown = shortened(until.to_string());
            format!(
                "`wait.until` of step `{id}` is {shown}, not a time such as 2026-11-21T18:00:00Z"
            )
        })?;
        if until > later(self.now, WAIT_MAX) {
            return Err(format!(
                "`wait.until` of step `{id}` is {until}, more than {} ahead",
                crate::duration::display(WAIT_MAX)
            ));
        }
        Ok(until)
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
            workspace: report.workspace,
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
            Some(delay) => AttemptNext::RetryAt(later(self.now, delay)),
        }
    }

    fn on_interrupt(&self, step: &Step) -> OnInterrupt {
        let plugins = &self.run.birth().plugins;
        let idempotent = step
            .action
            .plugin()
            .and_then(|uses| plugins.get(uses))
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
            Some((StopKind::Superseded, actor)) => (
                RunOutcome::Skipped,
                format!("{actor}, of a newer event, has or wants its lock"),
            ),
            None => return,
        };
        self.end(outcome, reason);
    }

    fn end(&mut self, outcome: RunOutcome, reason: String) {
        self.push(Entry::Ended { outcome, reason });
    }
}

/// What a step that is due does.
enum Due {
    Attempt(Box<StartAttempt>),
    Wait(Timestamp),
    /// Its `when` is false.
    Nothing,
}

fn at_key(key: &str, step: &StepId, error: &TemplateError) -> String {
    format!("`{key}` of step `{step}`: {error}")
}

/// A value in a message: what an event or a step gave may be long, and a record
/// must stay small.
fn shortened(mut text: String) -> String {
    if text.len() > VALUE_SHOWN {
        text.truncate(text.floor_char_boundary(VALUE_SHOWN));
        text.push('…');
    }
    text
}

fn later(now: Timestamp, time: Duration) -> Timestamp {
    now.saturating_add(time).unwrap_or(Timestamp::MAX)
}

fn stop_reason(kind: StopKind) -> StopReason {
    match kind {
        StopKind::Cancel | StopKind::Superseded => StopReason::Cancel,
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
            workspace: None,
        }
    }
}
