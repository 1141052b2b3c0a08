//! What others than the host that has a run append to its journal: a person's
//! word, a timer, a lock that became free.

use std::sync::Arc;

use infraflow_core::Timestamp;
use infraflow_core::id::RunId;
use infraflow_core::run::{Phase, Refusal, Request, Run};

use crate::engine::Shared;
use crate::executor::{LoadError, NotAppended, Nudge, load, load_known};
use crate::locks;
use crate::sabotage::{self, Break};

/// Tries to append a request before it gives up: each one lost to somebody
/// else's record.
const REQUEST_TRIES: usize = 20;

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// The run could not be read.
    #[error(transparent)]
    Load(LoadError),
    /// It does not fit the run's state.
    #[error(transparent)]
    Refused(Refusal),
    /// It does not fit a record.
    #[error("the request is too large")]
    TooLarge,
    /// The run's journal changes too fast.
    #[error("the run's journal changes too fast: try again")]
    Busy,
    /// The host shuts down.
    #[error("the host shuts down")]
    GivenUp,
}

impl RequestError {
    /// Whether it may work later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Load(error) => error.is_transient(),
            Self::Busy | Self::GivenUp => true,
            Self::Refused(_) | Self::TooLarge => false,
        }
    }
}

/// Appends what a request means for a run, if anything, and returns the run
/// after it. The time is at least `not_before`.
pub(crate) async fn request(
    shared: &Arc<Shared>,
    run: RunId,
    request: &Request,
    not_before: Timestamp,
) -> Result<Run, RequestError> {
    let mut known = load_known(shared, run).await;
    for _ in 0..REQUEST_TRIES {
        let is_certain = known.is_none();
        let read = match known.take() {
            Some(known) => known,
            None => load(shared, run).await,
        };
        let (loaded, last) = read.map_err(RequestError::Load)?;
        let now = shared.ports.clock.now().max(not_before);
        let decision = match loaded.request(request.clone(), now) {
            Ok(decision) => decision,
            Err(_) if !is_certain => continue,
            Err(refusal) => return Err(RequestError::Refused(refusal)),
        };
        if decision.entries.is_empty() {
            if is_certain {
                return Ok(decision.next);
            }
            continue;
        }
        let record = shared
            .appender
            .record(&decision.next, decision.entries, decision.wakes, now);
        match shared.appender.append(shared, &record, last).await {
            Ok(_) => {
                // Its host hears of it from the feed; one that is here at once.
                drop(shared.live.nudge(run, Nudge::Look));
                followed(shared, &decision.next).await;
                return Ok(decision.next);
            }
            Err(NotAppended::Conflict) => {}
            Err(NotAppended::TooLarge) => return Err(RequestError::TooLarge),
            Err(NotAppended::GivenUp) => return Err(RequestError::GivenUp),
        }
    }
    Err(RequestError::Busy)
}

/// What follows a record that is durable: the locks of a run that has ended are
/// free for the next ones. Whoever dies before this leaves it to the sweep.
pub(crate) async fn followed(shared: &Arc<Shared>, run: &Run) {
    if matches!(run.phase(), Phase::Ended { .. }) && !run.birth().locks.is_empty() {
        locks::leave(shared, run.id(), &run.birth().locks).await;
    }
}

/// Sets the timer of a run that is about to wait: before the record, so that a
/// run never waits without one. The sweep is behind it.
pub(crate) async fn set_timer(shared: &Shared, run: &Run) {
    let Some(due) = run.wake_at() else {
        return;
    };
    if sabotage::is(Break::NoTimers) {
        return;
    }
    if let Err(error) = shared.ports.timers.set(run.id(), due).await {
        tracing::warn!(run = %run.id(), %error, "timer not set; the sweep wakes the run");
    }
}
