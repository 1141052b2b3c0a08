//! A decision in the making.

use std::time::Duration;

use super::decide::{AttemptReport, Decision, Effect, StartAttempt};
use super::record::{AttemptEnd, AttemptNext, Claim, Entry, Parked, Parking, StopKind, WakeCause};
use super::state::{Phase, Run, StepState, StepStatus};
use crate::event::Actor;
use crate::id::{HostName, Incarnation, LockName, PoolName, StepId};
use crate::limits::{CLAIMS_WITHOUT_PROGRESS, LOCK_WAITERS, PARK_AFTER, PARKED_MAX, WAIT_MAX};
use crate::lock::LockAnswer;
use crate::outcome::{AttemptOutcome, RunOutcome, StepOutcome};
use crate::ports::StopReason;
use crate::template::{Scope, TemplateError};
use crate::workflow::{Action, OnInterrupt, Step, Wait};
use crate::{Json, Timestamp};

/// Most bytes of a value that a message shows.
const VALUE_SHOWN: usize = 100;

/// A decision in the making: entries are folded into the state as they are
/// thought of, so that what follows is decided on the state that they make.
pub(super) struct Plan {
    run: Run,
    now: Timestamp,
    entries: Vec<Entry>,
    pub(super) wakes: Option<PoolName>,
    effects: Vec<Effect>,
}

impl Plan {
    pub(super) fn new(run: &Run, now: Timestamp) -> Self {
        Self {
            run: run.clone(),
            now,
            entries: vec![],
            wakes: None,
            effects: vec![],
        }
    }

    pub(super) fn done(self) -> Decision {
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

    pub(super) fn push(&mut self, entry: Entry) {
        let folded = self.run.fold(&entry, self.now);
        debug_assert_eq!(folded, Ok(()), "a decision is always legal");
        self.entries.push(entry);
    }

    pub(super) fn claim(&mut self, host: HostName, incarnation: Incarnation) {
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

    pub(super) fn go_on_after_claim(&mut self) {
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

    pub(super) fn lock_answered(&mut self, lock: LockName, answer: LockAnswer) {
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
    pub(super) fn give_up(&mut self, reason: String) {
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

    /// Makes a run a work item once more that any host may take.
    pub(super) fn wake_again(&mut self) {
        if matches!(self.run.phase(), Phase::Runnable) {
            self.wakes = Some(self.run.birth().pool.clone());
        }
    }

    pub(super) fn wake(&mut self, cause: WakeCause) {
        self.push(Entry::Woken { cause });
        self.wakes = Some(self.run.birth().pool.clone());
    }

    /// The time of a run that waits has come.
    pub(super) fn due(&mut self, parking: &Parking) {
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

    pub(super) fn release(&mut self, reason: String) {
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
    pub(super) fn advance(&mut self) {
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
        let until = Wait::moment(text).map_err(|_| {
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

    pub(super) fn end_attempt(&mut self, step: StepId, attempt: u32, report: AttemptReport) {
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

    pub(super) fn end_stopped(&mut self) {
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

    pub(super) fn end(&mut self, outcome: RunOutcome, reason: String) {
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
