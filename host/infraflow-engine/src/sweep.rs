//! Finds runs that nobody works on and that nothing would wake: those of hosts
//! that are gone, those whose handling here broke off, those whose work item,
//! timer or lock was lost with whoever was to deliver it. Any host may; that two
//! find the same one does no harm.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use infraflow_core::Timestamp;
use infraflow_core::id::RunId;
use infraflow_core::run::Request;

use crate::engine::Shared;
use crate::executor::{may_take_claim, take_over};
use crate::requests::{RequestError, request};
use crate::sabotage::{self, Break};
use crate::task::spawn_bounded;
use crate::{files, locks};

/// How often runs are looked for that nobody works on.
const INTERVAL: Duration = Duration::from_secs(10);

/// How long after its time a run that waits is woken by the sweep: its timer
/// comes first where it can.
const LATE: Duration = Duration::from_secs(10);

/// Takes over what nobody works on: at the start, then every [`INTERVAL`], and
/// when a host comes or goes. Never returns.
pub(crate) async fn claims(shared: Arc<Shared>) {
    shared.index.caught_up().await;
    let mut suspects: HashSet<RunId> = HashSet::new();
    let mut patience = shared.membership.first_patience();
    loop {
        if sabotage::is(Break::NoRecovery) {
            return;
        }
        if !shared.is_draining() {
            if shared.is_urgent.swap(false, Ordering::AcqRel) {
                patience = Duration::ZERO;
            }
            let mut taken = abandoned(&shared, &mut suspects);
            taken.extend(forgotten(&shared, patience));
            take(&shared, taken).await;
            patience = shared.membership.patience();
        }
        drop(tokio::time::timeout(INTERVAL, shared.sweep_now.notified()).await);
    }
}

/// Wakes what waits too long: at the start, then every [`INTERVAL`]. Never
/// returns.
pub(crate) async fn waits(shared: Arc<Shared>) {
    shared.index.caught_up().await;
    loop {
        if sabotage::is(Break::NoRecovery) {
            return;
        }
        if shared.is_draining() {
            files::hand_over(&shared).await;
        } else {
            wake_late(&shared).await;
            locks::sweep(&shared).await;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Runs whose claims are dead. Of a claim of this life the index may lag a
/// little: only one that is still there at the next look has been dropped.
fn abandoned(shared: &Shared, suspects: &mut HashSet<RunId>) -> Vec<RunId> {
    let mut mine = HashSet::new();
    let mut abandoned = Vec::new();
    for unfinished in shared.index.claimed() {
        let run = unfinished.run;
        if shared.live.has(run) || !shared.serves(&unfinished.pool) {
            continue;
        }
        if unfinished.claim.incarnation == shared.config.incarnation {
            if suspects.contains(&run) {
                abandoned.push(run);
            }
            mine.insert(run);
        } else if may_take_claim(shared, &unfinished.claim) {
            abandoned.push(run);
        }
    }
    *suspects = mine;
    abandoned
}

/// Runs that any host may take and none has for a long time: their work item
/// is lost, or they are pinned to this host and it came to another.
fn forgotten(shared: &Shared, patience: Duration) -> Vec<RunId> {
    let now = shared.ports.clock.now();
    let cutoff = now.checked_sub(patience).unwrap_or(Timestamp::MIN);
    let mut forgotten = shared.index.queued_before(cutoff);
    forgotten.retain(|queued| {
        shared.serves(&queued.pool)
            && !shared.live.has(queued.run)
            && queued
                .pinned_to
                .as_ref()
                .is_none_or(|host| shared.may_take_pinned(host).is_some())
    });
    forgotten.into_iter().map(|queued| queued.run).collect()
}

async fn take(shared: &Arc<Shared>, runs: Vec<RunId>) {
    if !runs.is_empty() {
        tracing::info!(
            runs = runs.len(),
            "runs that nobody works on are taken over"
        );
    }
    for run in runs {
        let Some(place) = shared.admission.enter().await else {
            return;
        };
        if shared.is_draining() {
            return;
        }
        let shared = shared.clone();
        spawn_bounded(async move { take_over(shared, run, None, place).await });
    }
}

async fn wake_late(shared: &Arc<Shared>) {
    let now = shared.ports.clock.now();
    let cutoff = now.checked_sub(LATE).unwrap_or(Timestamp::MIN);
    if sabotage::is(Break::NoTimers) {
        return;
    }
    for run in shared.index.due_before(cutoff) {
        match request(shared, run, &Request::Due, Timestamp::MIN).await {
            Ok(_) => tracing::info!(%run, "run woken that its timer had not"),
            Err(RequestError::Refused(_)) => {}
            Err(error) => tracing::warn!(%run, %error, "run not woken"),
        }
    }
}
