//! What is kept, and for how long: journals of ended runs with their log lines,
//! workspaces, artifacts, dead letters. Each goes by age and by size, and never
//! while something still needs it. Events and log lines go by the ages and sizes
//! of their streams.

mod artifacts;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use infraflow_bus::{Bus, SealedBlobs};
use infraflow_core::Timestamp;
use infraflow_core::id::RunId;
use infraflow_engine::Engine;
use infraflow_tools::workspace::Workspaces;
use infraflow_tools::workspace::retention::{Candidate, Retention, RunState};

use crate::config::RetentionConfig;

/// How often everything is looked at.
const INTERVAL: Duration = Duration::from_secs(20);

/// Journals that are removed at one look: the rest waits for the next one.
const JOURNALS_AT_ONCE: usize = 500;

/// How long the workspace of a run that is not known is kept: its journal may
/// come back with a restored store.
const UNKNOWN_KEPT: Duration = Duration::from_secs(86_400);

/// What retention works on.
pub(crate) struct Keeper {
    pub(crate) bus: Bus,
    pub(crate) blobs: SealedBlobs,
    pub(crate) engine: Arc<Engine>,
    pub(crate) workspaces: Workspaces,
    pub(crate) config: RetentionConfig,
}

/// Removes what need not be kept. Never returns.
pub(crate) async fn keep(keeper: Keeper) {
    keeper.engine.index().caught_up().await;
    loop {
        keeper.look().await;
        tokio::time::sleep(INTERVAL).await;
    }
}

impl Keeper {
    async fn look(&self) {
        if let Err(error) = self.journals().await {
            tracing::warn!(error, "old journals not removed");
        }
        if let Err(error) = self.artifacts().await {
            tracing::warn!(error, "old artifacts not removed");
        }
        if let Err(error) = self.workspaces().await {
            tracing::warn!(error, "old workspaces not removed");
        }
        if let Err(error) = self.dead_letters().await {
            tracing::warn!(error, "old dead letters not removed");
        }
    }

    /// Journals of runs that ended long ago, with their log lines. Their events
    /// go first: one that is still there would make its runs again.
    async fn journals(&self) -> Result<(), String> {
        let text = |error: infraflow_bus::topology::TopologyError| error.to_string();
        let Some(before) = ago(self.config.runs_age) else {
            return Ok(());
        };
        let events_done = self.bus.events_done().await.map_err(text)?;
        let index = self.engine.index();
        let runs = index.ended_before(before, events_done, JOURNALS_AT_ONCE);
        let Some(last) = runs.iter().map(|run| run.event).max() else {
            return Ok(());
        };
        self.bus.remove_events(last).await.map_err(text)?;
        for run in &runs {
            self.bus.remove_journal(run.run).await.map_err(text)?;
            self.bus.remove_logs_of(run.run).await.map_err(text)?;
            if let Err(error) = self.workspaces.remove(run.run).await {
                tracing::warn!(run = %run.run, %error, "workspace not removed");
            }
            index.forget(run.run);
        }
        tracing::info!(runs = runs.len(), "journals removed by age");
        Ok(())
    }

    async fn artifacts(&self) -> Result<(), String> {
        let text = |error: infraflow_core::ports::BlobError| error.to_string();
        let stored = self.blobs.list().await.map_err(text)?;
        let pointers = self.blobs.pointers_all().await.map_err(text)?;
        let needed: HashSet<_> = pointers.into_iter().map(|(_, digest)| digest).collect();
        let removable = artifacts::removable(
            stored,
            &needed,
            self.engine.index().oldest_unfinished(),
            &artifacts::Limits {
                before: ago(self.config.artifacts_age),
                bytes_max: self.config.artifacts.0,
            },
        );
        for artifact in &removable {
            self.blobs.remove(artifact.digest).await.map_err(text)?;
        }
        if !removable.is_empty() {
            tracing::info!(artifacts = removable.len(), "artifacts removed");
        }
        Ok(())
    }

    async fn workspaces(&self) -> Result<(), String> {
        let text = |error: infraflow_tools::workspace::WorkspaceError| crate::exit::chain(&error);
        let listed = self.workspaces.list().await.map_err(text)?;
        let needed = self.engine.index().origins();
        let mut candidates = Vec::with_capacity(listed.len());
        for entry in &listed {
            candidates.push(Candidate {
                run: entry.run,
                bytes: self.workspaces.bytes(entry.run).await,
                state: self.state_of(entry.run, entry.modified, &needed),
            });
        }
        let retention = Retention {
            ended: self.config.workspaces,
            unknown: UNKNOWN_KEPT,
            bytes: self.config.workspaces_size,
        };
        for run in retention.to_remove(&candidates) {
            self.workspaces.remove(run).await.map_err(text)?;
        }
        Ok(())
    }

    fn state_of(&self, run: RunId, modified: SystemTime, needed: &HashSet<RunId>) -> RunState {
        if needed.contains(&run) {
            return RunState::Open;
        }
        let Some(listed) = self.engine.index().get(run) else {
            let changed_ago = SystemTime::now().duration_since(modified);
            return RunState::Unknown {
                changed_ago: changed_ago.unwrap_or_default(),
            };
        };
        listed
            .summary
            .ended_at
            .map_or(RunState::Open, |ended| RunState::Ended {
                ago: Duration::try_from(Timestamp::now().duration_since(ended)).unwrap_or_default(),
            })
    }

    async fn dead_letters(&self) -> Result<(), String> {
        let Some(before) = ago(self.config.dead_age) else {
            return Ok(());
        };
        let removed = self.bus.remove_dead_before(before).await;
        match removed.map_err(|error| error.to_string())? {
            0 => {}
            letters => tracing::info!(letters, "dead letters removed by age"),
        }
        Ok(())
    }
}

/// The moment that long ago; unset when that is before all time.
fn ago(age: Duration) -> Option<Timestamp> {
    Timestamp::now().checked_sub(age).ok()
}
