//! What the host does now and then: keeps streams from filling up, and removes
//! workspaces that nobody needs any more.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use infraflow_bus::Bus;
use infraflow_engine::Engine;
use infraflow_tools::workspace::Workspaces;

use crate::up::{JOURNALS, JOURNALS_PERCENT_MAX};

/// How often streams are looked at.
const STREAM_INTERVAL: Duration = Duration::from_secs(15);

/// How often workspaces are looked at.
const WORKSPACE_INTERVAL: Duration = Duration::from_secs(20);

/// How long the workspace of a run that is not known is kept: its journal may
/// come back with a restored store.
const UNKNOWN_KEPT: Duration = Duration::from_secs(86_400);

/// Looks after the streams. Never returns.
pub(crate) async fn streams(bus: Bus, engine: Arc<Engine>) {
    loop {
        match bus.trim_events().await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "events removed that every consumer is done with"),
            Err(error) => tracing::debug!(%error, "events not trimmed"),
        }
        match bus.fill(JOURNALS).await {
            Ok(fill) => engine.note_journals_full(fill.percent() > JOURNALS_PERCENT_MAX),
            Err(error) => tracing::debug!(%error, "journals not looked at"),
        }
        tokio::time::sleep(STREAM_INTERVAL).await;
    }
}

/// Removes workspaces of runs that ended `kept` ago. Never returns.
pub(crate) async fn workspaces(workspaces: Workspaces, engine: Arc<Engine>, kept: Duration) {
    engine.index().caught_up().await;
    loop {
        match workspaces.list().await {
            Err(error) => tracing::warn!(%error, "workspaces not listed"),
            Ok(entries) => {
                for entry in entries {
                    let age = SystemTime::now()
                        .duration_since(entry.modified)
                        .unwrap_or_default();
                    if !is_done_with(&engine, entry.run, age, kept) {
                        continue;
                    }
                    if let Err(error) = workspaces.remove(entry.run).await {
                        tracing::warn!(run = %entry.run, %error, "workspace not removed");
                    }
                }
            }
        }
        tokio::time::sleep(WORKSPACE_INTERVAL).await;
    }
}

fn is_done_with(
    engine: &Engine,
    run: infraflow_core::id::RunId,
    age: Duration,
    kept: Duration,
) -> bool {
    let Some(listed) = engine.index().get(run) else {
        return age > UNKNOWN_KEPT;
    };
    listed.summary.ended_at.is_some_and(|ended| {
        let passed = infraflow_core::Timestamp::now().duration_since(ended);
        Duration::try_from(passed).is_ok_and(|passed| passed >= kept)
    })
}
