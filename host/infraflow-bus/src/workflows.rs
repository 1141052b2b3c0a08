//! Workflows in KV: the current version of each name, and every version's text
//! by digest.

use std::fmt;

use async_nats::jetstream::kv;
use futures::{StreamExt as _, TryStreamExt as _};
use infraflow_core::id::{Digest, WorkflowName};
use infraflow_core::ports::{BoxFuture, StoreError, StoredWorkflow, WorkflowStore};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};

use crate::connect::Bus;
use crate::task::{Task, spawn};

const BUCKET: &str = "workflows";

/// The pause before a failed watch is started again.
const RESTART_DELAY: std::time::Duration = std::time::Duration::from_millis(500);

/// The value of `name.<workflow>`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CurrentV1 {
    v: u32,
    digest: String,
    origin: String,
}

/// The store of workflows.
pub struct WorkflowBucket {
    bus: Bus,
    /// Its own mark of what was seen: a change during a look is seen after it.
    changes: Mutex<watch::Receiver<u64>>,
    _task: Task,
}

fn failed(error: impl fmt::Display) -> StoreError {
    StoreError(error.to_string())
}

fn name_key(name: &str) -> String {
    format!("name.{name}")
}

fn text_key(digest: Digest) -> String {
    format!("text.{}", digest.to_hex())
}

impl WorkflowBucket {
    /// Opens the store and starts to watch it.
    pub fn open(bus: Bus) -> Self {
        let (sender, changes) = watch::channel(0);
        let task = spawn(watch_forever(bus.clone(), sender));
        Self {
            bus,
            changes: Mutex::new(changes),
            _task: task,
        }
    }

    async fn bucket(&self) -> Result<kv::Store, StoreError> {
        bucket(&self.bus).await
    }

    async fn list_all(&self) -> Result<Vec<StoredWorkflow>, StoreError> {
        let bucket = self.bucket().await?;
        let keys: Vec<String> = bucket
            .keys()
            .await
            .map_err(failed)?
            .try_collect()
            .await
            .map_err(failed)?;
        let mut workflows = Vec::new();
        for key in keys {
            if let Some(name) = key.strip_prefix("name.")
                && let Some(workflow) = self.current(&bucket, name).await?
            {
                workflows.push(workflow);
            }
        }
        workflows.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(workflows)
    }

    async fn current(
        &self,
        bucket: &kv::Store,
        name: &str,
    ) -> Result<Option<StoredWorkflow>, StoreError> {
        let Some(entry) = bucket.entry(name_key(name)).await.map_err(failed)? else {
            return Ok(None);
        };
        if entry.operation != kv::Operation::Put {
            return Ok(None);
        }
        let current: CurrentV1 = serde_json::from_slice(&entry.value).map_err(failed)?;
        let digest: Digest = current.digest.parse().map_err(failed)?;
        let Some(text) = self.text_of(bucket, digest).await? else {
            return Err(StoreError(format!(
                "the text of workflow `{name}` is missing"
            )));
        };
        Ok(Some(StoredWorkflow {
            name: WorkflowName::new(name).map_err(failed)?,
            digest,
            text,
            origin: current.origin,
            revision: entry.revision,
        }))
    }

    async fn text_of(
        &self,
        bucket: &kv::Store,
        digest: Digest,
    ) -> Result<Option<String>, StoreError> {
        let Some(value) = bucket.get(text_key(digest)).await.map_err(failed)? else {
            return Ok(None);
        };
        let text = String::from_utf8(value.to_vec()).map_err(failed)?;
        if Digest::of(text.as_bytes()) != digest {
            return Err(StoreError(format!(
                "the text of version {digest} is damaged"
            )));
        }
        Ok(Some(text))
    }

    async fn put_workflow(&self, workflow: StoredWorkflow) -> Result<(), StoreError> {
        let bucket = self.bucket().await?;
        // The text first: a name never points at nothing.
        bucket
            .put(text_key(workflow.digest), workflow.text.into_bytes().into())
            .await
            .map_err(failed)?;
        let current = CurrentV1 {
            v: 1,
            digest: workflow.digest.to_string(),
            origin: workflow.origin,
        };
        let value = serde_json::to_vec(&current).map_err(failed)?;
        bucket
            .put(name_key(workflow.name.as_str()), value.into())
            .await
            .map_err(failed)?;
        Ok(())
    }
}

async fn bucket(bus: &Bus) -> Result<kv::Store, StoreError> {
    bus.jetstream.get_key_value(BUCKET).await.map_err(failed)
}

async fn watch_forever(bus: Bus, sender: watch::Sender<u64>) {
    loop {
        let watched = watch_once(&bus, &sender).await;
        if bus.is_closing() {
            return;
        }
        if let Err(error) = watched {
            tracing::warn!(%error, "watch of workflows interrupted, starting it again");
        }
        tokio::time::sleep(RESTART_DELAY).await;
        bus.connected().await;
    }
}

async fn watch_once(bus: &Bus, sender: &watch::Sender<u64>) -> Result<(), StoreError> {
    let bucket = bucket(bus).await?;
    let mut changes = bucket.watch("name.>").await.map_err(failed)?;
    // What changed before is found by looking.
    sender.send_modify(|count| *count += 1);
    while let Some(change) = changes.next().await {
        change.map_err(failed)?;
        sender.send_modify(|count| *count += 1);
    }
    Ok(())
}

impl WorkflowStore for WorkflowBucket {
    fn list(&self) -> BoxFuture<'_, Result<Vec<StoredWorkflow>, StoreError>> {
        Box::pin(self.list_all())
    }

    fn text(&self, digest: Digest) -> BoxFuture<'_, Result<Option<String>, StoreError>> {
        Box::pin(async move {
            let bucket = self.bucket().await?;
            self.text_of(&bucket, digest).await
        })
    }

    fn put(&self, workflow: StoredWorkflow) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.put_workflow(workflow))
    }

    fn remove(&self, name: WorkflowName) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.bucket()
                .await?
                .delete(name_key(name.as_str()))
                .await
                .map_err(failed)
        })
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if self.changes.lock().await.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}
