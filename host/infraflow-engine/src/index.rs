//! What is known of every run: a projection of the feed of journals, kept in
//! memory and built anew at every start.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{PoisonError, RwLock};

use infraflow_core::Timestamp;
use infraflow_core::id::{HostName, LockName, PoolName, RunId, WorkflowName};
use infraflow_core::ports::{FeedItem, Sequence};
use infraflow_core::run::{Claim, Entry, RecordEnvelope};
use infraflow_core::summary::{RunSummary, SummaryState};
use tokio::sync::watch;

/// The index of all runs.
pub struct RunIndex {
    state: RwLock<State>,
    caught_up: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    runs: HashMap<RunId, Indexed>,
    /// In the order in which they were created.
    by_creation: BTreeMap<Sequence, RunId>,
    /// Those that have not ended, in the same order.
    unfinished: BTreeMap<Sequence, RunId>,
}

struct Indexed {
    summary: RunSummary,
    claim: Option<Claim>,
    created: Sequence,
    problem: Option<String>,
    /// Where its records are, while it has not ended and they are few.
    records: Option<Vec<Sequence>>,
}

/// Most records of a run whose positions are kept.
const POSITIONS: usize = 32;

/// Which runs to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Of this workflow.
    pub workflow: Option<WorkflowName>,
    /// In one of these states ([`SummaryState::NAMES`]). Empty: any.
    pub states: Vec<String>,
    /// Created before the run at this position: the next page.
    pub before: Option<Sequence>,
}

/// A listed run.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedRun {
    /// What is known of it.
    pub summary: RunSummary,
    /// Its position: [`RunFilter::before`] of the next page.
    pub position: Sequence,
    /// The host that has it.
    pub host: Option<HostName>,
    /// Why its journal cannot be read, when it cannot.
    pub problem: Option<String>,
}

/// A run that has not ended, for recovery.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Unfinished {
    /// The run.
    pub run: RunId,
    /// Who has it.
    pub claim: Claim,
    /// The pool whose hosts execute it.
    pub pool: PoolName,
}

/// A run that any host of its pool may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// The run.
    pub run: RunId,
    /// The pool whose hosts execute it.
    pub pool: PoolName,
    /// The host that alone has its files.
    pub pinned_to: Option<HostName>,
}

/// A run whose journal may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removable {
    /// The run.
    pub run: RunId,
    /// Its event, which must go first: it would make the run again.
    pub event: Sequence,
}

impl Default for RunIndex {
    fn default() -> Self {
        Self {
            state: RwLock::default(),
            caught_up: watch::Sender::new(false),
        }
    }
}

impl RunIndex {
    /// Takes an item of the feed in.
    pub fn take(&self, item: FeedItem) {
        match item {
            FeedItem::Record(sequence, record) => self.take_record(sequence, &record),
            FeedItem::Unreadable {
                run,
                sequence,
                reason,
            } => {
                tracing::error!(%run, sequence = sequence.0, reason, "record not readable; the run is left alone");
                let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
                if let Some(indexed) = state.runs.get_mut(&run) {
                    indexed.problem = Some(reason);
                }
            }
            FeedItem::CaughtUp => {
                self.caught_up.send_replace(true);
            }
        }
    }

    fn take_record(&self, sequence: Sequence, record: &RecordEnvelope) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(summary) = RunSummary::begin(record) {
            let indexed = Indexed {
                summary,
                claim: claim_of(None, record),
                created: sequence,
                problem: None,
                records: Some(vec![sequence]),
            };
            if !indexed.summary.state.is_ended() {
                state.unfinished.insert(sequence, record.run);
            }
            state.by_creation.insert(sequence, record.run);
            state.runs.insert(record.run, indexed);
        } else if let Some(indexed) = state.runs.get_mut(&record.run) {
            indexed.summary.fold(record);
            indexed.claim = claim_of(indexed.claim.take(), record);
            let created = indexed.created;
            let is_ended = indexed.summary.state.is_ended();
            indexed.records = indexed
                .records
                .take()
                .filter(|records| !is_ended && records.len() < POSITIONS)
                .map(|mut records| {
                    records.push(sequence);
                    records
                });
            if is_ended {
                state.unfinished.remove(&created);
            }
        } else {
            tracing::error!(run = %record.run, "record of a run whose beginning is missing");
        }
    }

    /// Whether everything that was there at the start is in the index.
    pub fn is_caught_up(&self) -> bool {
        *self.caught_up.borrow()
    }

    /// Waits until it is. Cancel-safe.
    pub async fn caught_up(&self) {
        let mut receiver = self.caught_up.subscribe();
        // The sender is ours.
        if receiver.wait_for(|caught_up| *caught_up).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// What `pick` makes of the runs that have not ended, oldest first.
    fn unfinished<T>(&self, pick: impl Fn(&Indexed) -> Option<T>) -> Vec<T> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let runs = state.unfinished.values();
        runs.filter_map(|run| state.runs.get(run))
            .filter(|indexed| indexed.problem.is_none())
            .filter_map(pick)
            .collect()
    }

    /// Where the records of a run are that has not ended, as far as it was heard
    /// of; unset when there are many.
    pub fn positions(&self, run: RunId) -> Option<Vec<Sequence>> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.runs.get(&run)?.records.clone()
    }

    /// Runs that some host has, oldest first.
    pub fn claimed(&self) -> Vec<Unfinished> {
        self.unfinished(|indexed| {
            Some(Unfinished {
                run: indexed.summary.id,
                claim: indexed.claim.clone()?,
                pool: indexed.summary.pool.clone(),
            })
        })
    }

    /// Runs that wait for a host since before that time, oldest first.
    pub fn queued_before(&self, time: Timestamp) -> Vec<Queued> {
        self.unfinished(|indexed| {
            let summary = &indexed.summary;
            let is_old = summary.state == SummaryState::Queued && summary.changed_at < time;
            is_old.then(|| Queued {
                run: summary.id,
                pool: summary.pool.clone(),
                pinned_to: summary.pinned_to.clone(),
            })
        })
    }

    /// Runs that no host has and whose files that host has alone.
    pub fn idle_pinned_to(&self, host: &HostName) -> Vec<(RunId, PoolName)> {
        self.unfinished(|indexed| {
            let summary = &indexed.summary;
            let is_pinned = indexed.claim.is_none() && summary.pinned_to.as_ref() == Some(host);
            is_pinned.then(|| (summary.id, summary.pool.clone()))
        })
    }

    /// Runs that wait, and whose time came before that, oldest first.
    pub fn due_before(&self, time: Timestamp) -> Vec<RunId> {
        self.unfinished(|indexed| {
            let due = indexed.summary.wakes_at?;
            (due < time).then_some(indexed.summary.id)
        })
    }

    /// Runs that wait for a lock, with the lock, oldest first.
    pub fn blocked(&self) -> Vec<(LockName, RunId)> {
        self.unfinished(|indexed| match &indexed.summary.state {
            SummaryState::Blocked { lock } => Some((lock.clone(), indexed.summary.id)),
            _ => None,
        })
    }

    /// How many runs wait for a lock in front of a run.
    pub fn blocked_before(&self, lock: &LockName, order: Sequence, run: RunId) -> usize {
        let ahead = self.unfinished(|indexed| {
            let summary = &indexed.summary;
            let waits =
                matches!(&summary.state, SummaryState::Blocked { lock: own } if own == lock);
            (waits && (summary.order, summary.id) < (order, run)).then_some(())
        });
        ahead.len()
    }

    /// The runs whose files runs that have not ended begin with.
    pub fn origins(&self) -> HashSet<RunId> {
        let origins = self.unfinished(|indexed| indexed.summary.origin);
        origins.into_iter().collect()
    }

    /// The oldest runs that have ended and whose events, up to this position, do
    /// not come again: their journals may go.
    pub fn removable(&self, events_done: Sequence, runs_max: usize) -> Vec<Removable> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state
            .by_creation
            .values()
            .filter_map(|run| state.runs.get(run))
            .filter(|indexed| indexed.problem.is_none() && indexed.summary.state.is_ended())
            .filter(|indexed| indexed.summary.event_sequence <= events_done)
            .take(runs_max)
            .map(|indexed| Removable {
                run: indexed.summary.id,
                event: indexed.summary.event_sequence,
            })
            .collect()
    }

    /// The oldest runs that ended before a time and whose events, up to this
    /// position, do not come again: their journals may go.
    pub fn ended_before(
        &self,
        time: Timestamp,
        events_done: Sequence,
        runs_max: usize,
    ) -> Vec<Removable> {
        let needed = self.origins();
        let mut runs = self.removable(events_done, usize::MAX);
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        runs.retain(|removable| {
            let indexed = state.runs.get(&removable.run);
            let ended = indexed.and_then(|indexed| indexed.summary.ended_at);
            ended.is_some_and(|ended| ended < time) && !needed.contains(&removable.run)
        });
        runs.truncate(runs_max);
        runs
    }

    /// When the oldest run was created that has not ended.
    pub fn oldest_unfinished(&self) -> Option<Timestamp> {
        let created = self.unfinished(|indexed| Some(indexed.summary.created_at));
        created.into_iter().min()
    }

    /// Takes a run out whose journal has been removed.
    pub fn forget(&self, run: RunId) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(indexed) = state.runs.remove(&run) {
            state.by_creation.remove(&indexed.created);
            state.unfinished.remove(&indexed.created);
        }
    }

    /// A page of runs, newest first.
    pub fn list(&self, filter: &RunFilter, runs_max: usize) -> Vec<ListedRun> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let before = filter.before.unwrap_or(Sequence(u64::MAX));
        state
            .by_creation
            .range(..before)
            .rev()
            .filter_map(|(_, run)| state.runs.get(run))
            .filter(|indexed| filter.takes(&indexed.summary))
            .take(runs_max)
            .map(listed)
            .collect()
    }

    /// One run.
    pub fn get(&self, run: RunId) -> Option<ListedRun> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.runs.get(&run).map(listed)
    }

    /// The runs whose id starts with `prefix`, at most `runs_max`.
    pub fn find(&self, prefix: &str, runs_max: usize) -> Vec<RunId> {
        if let Ok(run) = prefix.parse::<RunId>() {
            return self
                .get(run)
                .map(|found| found.summary.id)
                .into_iter()
                .collect();
        }
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state
            .runs
            .keys()
            .filter(|run| run.to_string().starts_with(prefix))
            .take(runs_max)
            .copied()
            .collect()
    }

    /// How many runs there are, by state.
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let mut counts = BTreeMap::new();
        for indexed in state.runs.values() {
            *counts.entry(indexed.summary.state.name()).or_default() += 1;
        }
        counts
    }
}

impl RunFilter {
    fn takes(&self, summary: &RunSummary) -> bool {
        self.workflow
            .as_ref()
            .is_none_or(|workflow| *workflow == summary.workflow)
            && (self.states.is_empty()
                || self
                    .states
                    .iter()
                    .any(|state| state == summary.state.name()))
    }
}

fn listed(indexed: &Indexed) -> ListedRun {
    ListedRun {
        summary: indexed.summary.clone(),
        position: indexed.created,
        host: indexed.claim.as_ref().map(|claim| claim.host.clone()),
        problem: indexed.problem.clone(),
    }
}

/// Who has the run after a record.
fn claim_of(before: Option<Claim>, record: &RecordEnvelope) -> Option<Claim> {
    record
        .entries
        .iter()
        .fold(before, |claim, entry| match entry {
            Entry::Claimed(claim) => Some(claim.clone()),
            Entry::Released { .. } | Entry::Parked { .. } | Entry::Ended { .. } => None,
            _ => claim,
        })
}

/// Whether a state is over, for filters.
pub fn is_state_name(name: &str) -> bool {
    SummaryState::NAMES.contains(&name)
}
