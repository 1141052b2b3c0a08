//! Asking for locks and giving them back. What each change of a lock means is
//! decided in `infraflow_core::lock`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use infraflow_core::Timestamp;
use infraflow_core::event::Actor;
use infraflow_core::id::{LockName, RunId};
use infraflow_core::lock::{Asker, Displaced, LockAnswer, LockSpec, LockState};
use infraflow_core::ports::{LockStoreError, Sequence, StoredLock};
use infraflow_core::run::{Request, Run};

use crate::engine::Shared;
use crate::executor::{LoadError, load};
use crate::requests::{RequestError, request};
use crate::sabotage::{self, Break};

/// The pause before a lock is asked for again that could not be read or
/// written.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// The pause after somebody else changed a lock first.
const CONFLICT_DELAY: Duration = Duration::from_millis(3);

/// Asks for a lock, for as long as it takes to get an answer. Cancel-safe: what
/// was asked for is found again.
pub(crate) async fn ask(shared: &Arc<Shared>, run: &Run, spec: &LockSpec) -> LockAnswer {
    let asker = Asker {
        run: run.id(),
        order: run.birth().order,
        on_conflict: run.birth().on_conflict,
    };
    loop {
        match try_ask(shared, asker, spec).await {
            Ok((answer, displaced)) => {
                displace(shared, asker.run, displaced).await;
                return answer;
            }
            Err(LockStoreError::Conflict) => tokio::time::sleep(CONFLICT_DELAY).await,
            Err(error @ LockStoreError::Unavailable(_)) => {
                tracing::warn!(run = %asker.run, lock = %spec.name, %error, "asking again");
                tokio::time::sleep(RETRY_DELAY).await;
            }
        }
    }
}

async fn try_ask(
    shared: &Shared,
    asker: Asker,
    spec: &LockSpec,
) -> Result<(LockAnswer, Displaced), LockStoreError> {
    let mut lock = shared.ports.locks.read(&spec.name).await?;
    let over = ended(shared, &lock.state).await;
    let before = lock.state.clone();
    let now = shared.ports.clock.now();
    let asked = lock.state.ask(asker, spec.max, &over, now);
    if lock.state != before {
        shared.ports.locks.write(&lock).await?;
    }
    Ok(asked)
}

/// Of those that have a lock or wait for it, the runs that are over. Nobody
/// needs to have given the lock back: the journal says it.
async fn ended(shared: &Shared, state: &LockState) -> HashSet<RunId> {
    let mut over = HashSet::new();
    if sabotage::is(Break::LocksLeak) {
        return over;
    }
    for run in state.runs() {
        let is_over = match shared.index.get(run) {
            Some(listed) => listed.summary.state.is_ended(),
            // Not heard of yet, or removed after its end.
            None => matches!(load(shared, run).await, Err(LoadError::Missing)),
        };
        if is_over {
            over.insert(run);
        }
    }
    over
}

/// Ends the runs whose place another one takes.
async fn displace(shared: &Arc<Shared>, by: RunId, displaced: Displaced) {
    let cancel = Request::Cancel {
        actor: Actor::Run(by),
    };
    let cancelled = displaced
        .cancel
        .into_iter()
        .map(|run| (run, cancel.clone()));
    let skip = Request::Supersede { by };
    let skipped = displaced.skip.into_iter().map(|run| (run, skip.clone()));
    for (run, what) in cancelled.chain(skipped) {
        match Box::pin(request(shared, run, &what, Timestamp::MIN)).await {
            Ok(_) => tracing::info!(%run, %by, "run of an older event ends"),
            Err(RequestError::Refused(_)) => {}
            Err(error) => tracing::warn!(%run, %error, "run of an older event not told to end"),
        }
    }
}

/// Gives the locks of a run back that has ended, and wakes the next ones.
pub(crate) async fn leave(shared: &Arc<Shared>, run: RunId, locks: &[LockSpec]) {
    if sabotage::is(Break::LocksLeak) {
        return;
    }
    for spec in locks {
        if let Err(error) = give_back(shared, &spec.name, &HashSet::from([run])).await {
            tracing::warn!(%run, lock = %spec.name, %error, "lock not given back; the sweep finds it");
        }
    }
}

/// Takes runs out of a lock, and wakes those that may have it now. Says whether
/// any of them was there.
pub(crate) async fn give_back(
    shared: &Arc<Shared>,
    name: &LockName,
    runs: &HashSet<RunId>,
) -> Result<bool, LockStoreError> {
    loop {
        let mut lock = shared.ports.locks.read(name).await?;
        let before = lock.state.clone();
        lock.state.forget(runs);
        let was_there = lock.state != before;
        if was_there {
            match shared.ports.locks.write(&lock).await {
                Ok(()) => {}
                Err(LockStoreError::Conflict) => {
                    tokio::time::sleep(CONFLICT_DELAY).await;
                    continue;
                }
                Err(error) => return Err(error),
            }
        }
        wake_next(shared, &lock).await;
        return Ok(was_there);
    }
}

/// Wakes the runs that may have a lock now.
async fn wake_next(shared: &Arc<Shared>, lock: &StoredLock) {
    for run in lock.state.next() {
        wake(shared, &lock.name, run).await;
    }
}

async fn wake(shared: &Arc<Shared>, lock: &LockName, run: RunId) {
    let wake = Request::Wake { lock: lock.clone() };
    match Box::pin(request(shared, run, &wake, Timestamp::MIN)).await {
        // One that does not wait yet looks again when it does.
        Ok(_) | Err(RequestError::Refused(_)) => {}
        Err(error) => {
            tracing::warn!(%run, %lock, %error, "run not woken; the sweep finds it");
        }
    }
}

/// Looks again after a run has begun to wait: the lock may have become free
/// while nobody could wake it yet.
pub(crate) async fn look_again(shared: &Arc<Shared>, run: RunId, name: &LockName) {
    match shared.ports.locks.read(name).await {
        Ok(lock) if lock.state.next().contains(&run) => {
            wake_next(shared, &lock).await;
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%run, lock = %name, %error, "the sweep looks again"),
    }
}

/// Frees locks of runs that are over and were not given back, wakes whoever
/// waits for a lock that is free, and has those ask again that wait for a lock
/// and are not in its queue.
pub(crate) async fn sweep(shared: &Arc<Shared>) {
    let blocked = shared.index.blocked();
    if blocked.is_empty() {
        return;
    }
    let locks = match shared.ports.locks.list().await {
        Ok(locks) => locks,
        Err(error) => {
            tracing::warn!(%error, "locks not looked at");
            return;
        }
    };
    for lock in locks.iter().filter(|lock| !lock.state.waiters.is_empty()) {
        let over = ended(shared, &lock.state).await;
        if let Err(error) = give_back(shared, &lock.name, &over).await {
            tracing::warn!(lock = %lock.name, %error, "lock not looked at");
        }
    }
    let queued: HashSet<(&LockName, RunId)> = locks
        .iter()
        .flat_map(|lock| lock.state.waiters.iter().map(|w| (&lock.name, w.run)))
        .collect();
    for (lock, run) in blocked
        .iter()
        .filter(|(lock, run)| !queued.contains(&(lock, *run)))
    {
        wake(shared, lock, *run).await;
    }
}

/// A lock, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockView {
    /// The lock.
    pub lock: StoredLock,
    /// Runs that are over and were not taken out yet.
    pub over: HashSet<RunId>,
}

/// All locks that somebody has or waits for.
pub(crate) async fn list(shared: &Shared) -> Result<Vec<LockView>, LockStoreError> {
    let mut views = Vec::new();
    for lock in shared.ports.locks.list().await? {
        let over = ended(shared, &lock.state).await;
        views.push(LockView { lock, over });
    }
    Ok(views)
}

/// The place of a run in the queue of a lock, from 1.
pub(crate) fn position(shared: &Shared, lock: &LockName, order: Sequence, run: RunId) -> usize {
    shared.index.blocked_before(lock, order, run) + 1
}
