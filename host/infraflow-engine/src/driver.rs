//! One run of this host, from its claim until it has ended, waits, or is
//! somebody else's.
//!
//! Every input goes through the state machine, its record is durable before its
//! effects begin, and a record of somebody else that comes in between is folded
//! in first.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use infraflow_core::Timestamp;
use infraflow_core::event::Actor;
use infraflow_core::id::{LockName, StepId};
use infraflow_core::limits::STEP_OUTPUT;
use infraflow_core::lock::LockAnswer;
use infraflow_core::outcome::AttemptOutcome;
use infraflow_core::ports::{BoxFuture, Receipt, Sequence, StopReason};
use infraflow_core::run::{
    AttemptReport, Decision, Effect, Entry, Input, Parking, Phase, Run, StartAttempt, StopKind,
    Then,
};
use tokio::sync::OwnedSemaphorePermit;

use crate::attempt::{self, AttemptDone};
use crate::engine::Shared;
use crate::executor::{ALIVE_INTERVAL, NotAppended, Nudge, Reservation, done, fold_all, settle};
use crate::locks;
use crate::requests::{followed, set_timer};
use crate::sabotage::{self, Break};
use crate::stop::{Stopper, stopper};

/// The pause after a foreign journal could not be read.
const READ_DELAY: Duration = Duration::from_millis(200);

/// What became of the run here.
#[derive(Debug)]
pub(crate) enum End {
    /// It has ended, waits, or is a work item again.
    Settled,
    /// Another host has it.
    Lost,
    /// The host shut down and NATS did not answer.
    Abandoned,
}

/// Drives one run.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    run: Run,
    last: Sequence,
    reservation: Reservation,
    receipts: Vec<Arc<dyn Receipt>>,
    attempts: FuturesUnordered<BoxFuture<'static, AttemptDone>>,
    /// The lock that was asked for.
    asking: Option<BoxFuture<'static, (LockName, LockAnswer)>>,
    stoppers: HashMap<StepId, Stopper>,
    event_text: Arc<str>,
    look_at: Option<Timestamp>,
    /// A moment that has certainly passed, whatever the clock says: it may have
    /// been set back while this slept.
    not_before: Timestamp,
    alive_at: tokio::time::Instant,
    draining: bool,
    _place: OwnedSemaphorePermit,
}

/// What happened next.
enum Happening {
    Attempt(AttemptDone),
    Lock(LockName, LockAnswer),
    Nudge(Nudge),
    Due,
    Alive,
}

impl Driver {
    /// A driver of a run that this host has just claimed with the record at
    /// `last`.
    pub(crate) fn new(
        shared: Arc<Shared>,
        run: Run,
        last: Sequence,
        reservation: Reservation,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let event_text = Arc::from(run.birth().event.document.to_string());
        let draining = shared.is_draining();
        Self {
            shared,
            run,
            last,
            reservation,
            receipts: vec![],
            attempts: FuturesUnordered::new(),
            asking: None,
            stoppers: HashMap::new(),
            event_text,
            look_at: None,
            not_before: Timestamp::MIN,
            alive_at: tokio::time::Instant::now() + ALIVE_INTERVAL,
            draining,
            _place: place,
        }
    }

    /// Drives the run; `effects` are those of the claim.
    pub(crate) async fn drive(mut self, effects: Vec<Effect>, receipts: Vec<Arc<dyn Receipt>>) {
        self.receipts = receipts;
        let end = self.drive_to_end(effects).await;
        // Whatever still runs of a run that is not ours any more ends here:
        // dropping an attempt kills its tools.
        self.attempts.clear();
        self.asking = None;
        settle(std::mem::take(&mut self.receipts), &end).await;
        // One that waits may have been woken already: that work item is a new one.
        let is_over = matches!(self.run.phase(), Phase::Ended { .. });
        for receipt in self.reservation.close() {
            if is_over {
                done(&receipt).await;
            } else {
                receipt.later(Duration::ZERO).await;
            }
        }
        if matches!(end, End::Settled) {
            follow(&self.shared, &self.run).await;
        }
    }

    async fn drive_to_end(&mut self, effects: Vec<Effect>) -> End {
        self.perform(effects);
        if self.draining
            && !self.run.is_running()
            && let Err(end) = self.release().await
        {
            return end;
        }
        while matches!(self.run.phase(), Phase::Claimed(_)) {
            let happening = self.next().await;
            if let Err(end) = self.handle(happening).await {
                return end;
            }
        }
        self.announce();
        End::Settled
    }

    async fn next(&mut self) -> Happening {
        let now = self.shared.ports.clock.now();
        let deadline = self.run.stop().is_none().then(|| self.run.deadline());
        let due = [self.look_at, deadline].into_iter().flatten().min();
        let wait = due.map(|due| Duration::try_from(due.duration_since(now)).unwrap_or_default());
        tokio::select! {
            Some(done) = self.attempts.next() => Happening::Attempt(done),
            (lock, answer) = asked(&mut self.asking) => Happening::Lock(lock, answer),
            Some(nudge) = self.reservation.mailbox.recv() => Happening::Nudge(nudge),
            () = sleep(wait) => Happening::Due,
            () = tokio::time::sleep_until(self.alive_at), if !self.receipts.is_empty() => Happening::Alive,
        }
    }

    async fn handle(&mut self, happening: Happening) -> Result<(), End> {
        match happening {
            Happening::Attempt(done) => self.attempt_ended(done).await,
            Happening::Lock(lock, answer) => {
                self.asking = None;
                self.commit(Input::LockAnswered { lock, answer }).await
            }
            Happening::Nudge(Nudge::Look) => {
                self.read_foreign().await?;
                self.commit(Input::Look).await
            }
            Happening::Nudge(Nudge::Settle(receipt)) => {
                self.receipts.push(receipt);
                Ok(())
            }
            Happening::Nudge(Nudge::Drain) => {
                self.draining = true;
                if self.run.is_running() {
                    Ok(())
                } else {
                    self.release().await
                }
            }
            Happening::Nudge(Nudge::Interrupt) => {
                self.draining = true;
                self.stop_attempts(StopReason::Interrupt);
                Ok(())
            }
            Happening::Nudge(Nudge::Fence) => {
                self.stop_attempts(StopReason::Interrupt);
                Ok(())
            }
            Happening::Due => self.due().await,
            Happening::Alive => {
                self.alive_at = tokio::time::Instant::now() + ALIVE_INTERVAL;
                for receipt in &self.receipts {
                    receipt.alive().await;
                }
                Ok(())
            }
        }
    }

    async fn due(&mut self) -> Result<(), End> {
        if let Some(due) = self
            .look_at
            .take()
            .filter(|due| *due <= self.run.deadline())
        {
            self.not_before = self.not_before.max(due);
        }
        let is_late = self.shared.ports.clock.now() >= self.run.deadline();
        if is_late && self.run.stop().is_none() {
            return self
                .commit(Input::Stop {
                    kind: StopKind::Timeout,
                    actor: Actor::Host,
                })
                .await;
        }
        self.commit(Input::Look).await
    }

    async fn release(&mut self) -> Result<(), End> {
        self.commit(Input::Release {
            reason: self.release_reason(),
        })
        .await
    }

    fn release_reason(&self) -> String {
        format!("host `{}` shuts down", self.shared.config.host)
    }

    async fn attempt_ended(&mut self, done: AttemptDone) -> Result<(), End> {
        self.stoppers.remove(&done.step);
        let then = if self.draining {
            if sabotage::is(Break::SilentShutdown) {
                return Err(End::Abandoned);
            }
            Then::Release {
                reason: self.release_reason(),
            }
        } else {
            Then::GoOn
        };
        let AttemptDone {
            step,
            attempt,
            report,
        } = done;
        self.commit(Input::AttemptEnded {
            step,
            attempt,
            report,
            then,
        })
        .await
    }

    /// Decides, appends, and only then performs. An input that the run refuses
    /// (it ended meanwhile) is dropped.
    async fn commit(&mut self, input: Input) -> Result<(), End> {
        let mut input = input;
        loop {
            let now = self.shared.ports.clock.now().max(self.not_before);
            let decision = match self.run.decide(input.clone(), now) {
                Ok(decision) => decision,
                Err(refusal) => {
                    tracing::debug!(run = %self.run.id(), %refusal, "input refused");
                    return Ok(());
                }
            };
            if decision.entries.is_empty() {
                self.accept(decision, self.last);
                return Ok(());
            }
            set_timer(&self.shared, &decision.next).await;
            let record = self.shared.appender.record(
                &decision.next,
                decision.entries.clone(),
                decision.wakes.clone(),
                now,
            );
            match self
                .shared
                .appender
                .append(&self.shared, &record, self.last)
                .await
            {
                Ok(sequence) => {
                    self.accept(decision, sequence);
                    return Ok(());
                }
                Err(NotAppended::Conflict) => self.read_foreign().await?,
                Err(NotAppended::GivenUp) => return Err(End::Abandoned),
                Err(NotAppended::TooLarge) => match without_outputs(input) {
                    Some(smaller) => input = smaller,
                    None => {
                        tracing::error!(run = %self.run.id(), "record too large without outputs");
                        return Err(End::Abandoned);
                    }
                },
            }
        }
    }

    fn accept(&mut self, decision: Decision, sequence: Sequence) {
        self.run = decision.next;
        self.last = sequence;
        self.perform(decision.effects);
    }

    /// Folds in what others appended. A foreign claim means that the run is not
    /// ours any more.
    async fn read_foreign(&mut self) -> Result<(), End> {
        let records = loop {
            match self
                .shared
                .ports
                .journals
                .read(self.run.id(), self.last)
                .await
            {
                Ok(records) => break records,
                Err(error) => {
                    tracing::warn!(run = %self.run.id(), %error, "journal not read, trying again");
                    if self.shared.has_given_up() {
                        return Err(End::Abandoned);
                    }
                    tokio::time::sleep(READ_DELAY).await;
                }
            }
        };
        for (sequence, record) in records {
            let foreign_claim = record
                .entries
                .iter()
                .any(|entry| matches!(entry, Entry::Claimed(_)));
            if foreign_claim {
                tracing::warn!(run = %self.run.id(), by = %record.writer.host, "run claimed by another host");
                return Err(End::Lost);
            }
            if let Err(error) = fold_all(&mut self.run, &record, 0) {
                tracing::error!(run = %self.run.id(), %error, "foreign record does not fold");
                return Err(End::Lost);
            }
            self.last = sequence;
        }
        Ok(())
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Start(start) => self.start(start),
                Effect::Stop(reason) => self.stop_attempts(reason),
                Effect::LookAt(due) => self.look_at = Some(due),
                // Asked already.
                Effect::AskLock(_) if self.asking.is_some() => {}
                Effect::AskLock(spec) => {
                    let (shared, run) = (self.shared.clone(), self.run.clone());
                    self.asking = Some(Box::pin(async move {
                        let answer = locks::ask(&shared, &run, &spec).await;
                        (spec.name, answer)
                    }));
                }
            }
        }
    }

    fn start(&mut self, start: StartAttempt) {
        let (stopper, stopped) = stopper();
        self.stoppers.insert(start.step.clone(), stopper.clone());
        let spec = attempt::Spec::new(&self.run, start, self.event_text.clone());
        self.attempts
            .push(attempt::run(self.shared.clone(), spec, stopper, stopped));
    }

    fn stop_attempts(&self, reason: StopReason) {
        for stopper in self.stoppers.values() {
            stopper.stop(reason);
        }
    }

    /// Tells whoever listens how it ended.
    fn announce(&self) {
        let (what, body) = match self.run.phase() {
            Phase::Ended {
                outcome, reason, ..
            } => (
                "ended",
                serde_json::json!({
                    "run": self.run.id().to_string(),
                    "workflow": self.run.birth().workflow.as_str(),
                    "outcome": outcome.name(),
                    "reason": reason,
                }),
            ),
            Phase::Waiting { parked, .. } => (
                "waiting",
                serde_json::json!({
                    "run": self.run.id().to_string(),
                    "workflow": self.run.birth().workflow.as_str(),
                    "for": parked.parking.to_string(),
                    "until": parked.until.to_string(),
                }),
            ),
            Phase::Runnable | Phase::Claimed(_) => return,
        };
        if let Phase::Ended {
            outcome, reason, ..
        } = self.run.phase()
        {
            tracing::info!(
                run = %self.run.id(),
                workflow = %self.run.birth().workflow,
                %outcome,
                reason,
                "run ended"
            );
        }
        self.shared.ports.notices.notice(self.run.id(), what, body);
    }
}

/// What is to be done after the record that ended or parked a run.
async fn follow(shared: &Arc<Shared>, run: &Run) {
    followed(shared, run).await;
    if let Phase::Waiting { parked, .. } = run.phase()
        && let Parking::Lock { lock } = &parked.parking
    {
        locks::look_again(shared, run.id(), lock).await;
    }
}

async fn asked(
    asking: &mut Option<BoxFuture<'static, (LockName, LockAnswer)>>,
) -> (LockName, LockAnswer) {
    match asking {
        Some(asking) => asking.await,
        None => std::future::pending().await,
    }
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// The same input with outputs that fit a record: none, and a failure that says
/// why.
fn without_outputs(input: Input) -> Option<Input> {
    let Input::AttemptEnded {
        step,
        attempt,
        report,
        then,
    } = input
    else {
        return None;
    };
    report.outputs.as_ref()?;
    let report = AttemptReport {
        outcome: AttemptOutcome::LimitExceeded,
        message: format!("its outputs do not fit a record: `step_output_bytes` is {STEP_OUTPUT}"),
        outputs: None,
        ..report
    };
    Some(Input::AttemptEnded {
        step,
        attempt,
        report,
        then,
    })
}
