//! Keeps streams from filling up.

use std::sync::Arc;
use std::time::Duration;

use infraflow_bus::topology::TopologyError;
use infraflow_bus::{Bus, Fill};
use infraflow_engine::Engine;

use crate::up::{JOURNALS, JOURNALS_PERCENT_MAX};

/// How often streams are looked at.
const STREAM_INTERVAL: Duration = Duration::from_secs(2);

/// How full the store of journals is when the oldest make room, and until when.
const JOURNALS_PERCENT_HIGH: u64 = 75;
const JOURNALS_PERCENT_LOW: u64 = 70;

/// Journals that are removed between two looks at the store.
const RUNS_AT_ONCE: usize = 100;

/// Looks after the streams. Never returns.
pub(crate) async fn streams(bus: Bus, engine: Arc<Engine>) {
    loop {
        match bus.trim_events().await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "events removed that every consumer is done with"),
            Err(error) => tracing::debug!(%error, "events not trimmed"),
        }
        match make_room(&bus, &engine).await {
            Ok(fill) => {
                let is_full = fill.percent() > JOURNALS_PERCENT_MAX;
                engine.note_journals(is_full, fill.room(JOURNALS_PERCENT_MAX));
            }
            Err(error) => tracing::debug!(%error, "journals not looked at"),
        }
        tokio::time::sleep(STREAM_INTERVAL).await;
    }
}

/// Removes the journals of the oldest runs that have ended, when they take too
/// much room, and returns how full their store is. An event goes before the
/// journals that it made: with the one and without the others it would make its
/// runs again.
async fn make_room(bus: &Bus, engine: &Engine) -> Result<Fill, TopologyError> {
    let mut fill = bus.fill(JOURNALS).await?;
    if fill.percent() <= JOURNALS_PERCENT_HIGH || !engine.index().is_caught_up() {
        return Ok(fill);
    }
    let mut removed = 0;
    while fill.percent() > JOURNALS_PERCENT_LOW {
        let runs = engine
            .index()
            .removable(bus.events_done().await?, RUNS_AT_ONCE);
        let Some(last) = runs.iter().map(|run| run.event).max() else {
            break;
        };
        bus.remove_events(last).await?;
        for run in &runs {
            bus.remove_journal(run.run).await?;
            engine.index().forget(run.run);
        }
        removed += runs.len();
        fill = bus.fill(JOURNALS).await?;
    }
    if removed > 0 {
        let percent = fill.percent();
        tracing::info!(
            removed,
            percent,
            "journals of ended runs removed to make room"
        );
    }
    Ok(fill)
}
