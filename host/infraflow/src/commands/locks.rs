//! `infraflow locks`: who has a lock, who waits for it, and taking it away.

use super::load_config;
use crate::api::client::Client;
use crate::api::types::{LockItem, LockRef, LockReleased};
use crate::api::verb;
use crate::cli::Global;
use crate::exit::{Exit, Outcome};
use crate::output::{Format, ago, json, note, safe, state, table};

/// Lists locks.
pub(crate) async fn list(global: &Global) -> Outcome {
    let client = Client::connect(&load_config(global)?).await?;
    let locks: Vec<LockItem> = client.ask(verb::LOCKS_LIST, &()).await?;
    if global.output == Format::Json {
        json(&locks)?;
        return Ok(Exit::Success);
    }
    if locks.is_empty() {
        note("no locks");
        return Ok(Exit::Success);
    }
    let rows = locks.iter().flat_map(rows).collect();
    table(
        &["lock", "place", "run", "workflow", "state", "since"],
        rows,
    )?;
    Ok(Exit::Success)
}

/// A line for each run that has the lock, then for each that waits.
fn rows(lock: &LockItem) -> Vec<Vec<String>> {
    let name = match lock.max {
        1 => safe(&lock.name),
        max => format!("{} (for {max})", safe(&lock.name)),
    };
    let holders = lock.holders.iter().map(|holder| {
        let shown = holder.state.as_deref().unwrap_or("unknown");
        vec![
            name.clone(),
            "has it".to_owned(),
            holder.run.clone(),
            holder.workflow.clone().unwrap_or_default(),
            state(shown),
            ago(holder.since),
        ]
    });
    let waiters = lock.waiters.iter().enumerate().map(|(index, waiter)| {
        vec![
            name.clone(),
            (index + 1).to_string(),
            waiter.run.clone(),
            waiter.workflow.clone().unwrap_or_default(),
            state("blocked"),
            String::new(),
        ]
    });
    holders.chain(waiters).collect()
}

/// Takes a lock away.
pub(crate) async fn release(global: &Global, lock: String, run: Option<String>) -> Outcome {
    let client = Client::connect(&load_config(global)?).await?;
    let released: LockReleased = client
        .ask(verb::LOCKS_RELEASE, &LockRef { lock, run })
        .await?;
    match global.output {
        Format::Json => json(&released)?,
        Format::Text => note(&format!(
            "lock {} taken away from run {}; the run goes on without it",
            safe(&released.lock),
            released.runs.join(", ")
        )),
    }
    Ok(Exit::Success)
}
