//! The workflows, as the store has them now and had them when runs began.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use infraflow_core::id::{Digest, WorkflowName};
use infraflow_core::ports::{StoreError, StoredWorkflow, WorkflowStore};
use infraflow_core::route::RoutingTable;
use infraflow_core::workflow::Workflow;

/// Reads a workflow's text: the name is for messages.
pub type Parse = dyn Fn(&str, &str) -> Result<Workflow, String> + Send + Sync;

/// Versions kept in memory beside the current ones.
const OLD_VERSIONS: usize = 256;

/// The workflows.
pub struct Catalog {
    store: Arc<dyn WorkflowStore>,
    parse: Arc<Parse>,
    current: ArcSwap<Current>,
    /// One at a time: an older list must not replace a newer one.
    refreshing: tokio::sync::Mutex<()>,
    versions: Mutex<HashMap<Digest, Arc<Workflow>>>,
}

/// The current version of every workflow.
#[derive(Debug, Default)]
pub struct Current {
    /// What events are matched against.
    pub table: RoutingTable,
    /// What each came from, and what is wrong with those that are not in the
    /// table.
    pub entries: Vec<CatalogEntry>,
}

/// A workflow of the catalog.
#[derive(Debug, Clone)]
pub struct CatalogEntry {
    /// What is stored.
    pub stored: StoredWorkflow,
    /// Why this host cannot use it, when it cannot.
    pub problem: Option<String>,
}

impl Current {
    /// The store's revision of a workflow; routing decisions name it.
    pub fn revision(&self, name: &WorkflowName) -> u64 {
        self.entries
            .iter()
            .find(|entry| entry.stored.name == *name)
            .map_or(0, |entry| entry.stored.revision)
    }
}

impl Catalog {
    /// An empty catalog of a store.
    pub fn new(store: Arc<dyn WorkflowStore>, parse: Arc<Parse>) -> Self {
        Self {
            store,
            parse,
            current: ArcSwap::from_pointee(Current::default()),
            refreshing: tokio::sync::Mutex::new(()),
            versions: Mutex::new(HashMap::new()),
        }
    }

    /// The current workflows.
    pub fn current(&self) -> Arc<Current> {
        self.current.load_full()
    }

    /// Reads the store anew.
    ///
    /// # Errors
    /// When the store does not answer; the workflows stay as they are.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let _alone = self.refreshing.lock().await;
        let mut entries = Vec::new();
        let mut workflows = Vec::new();
        for stored in self.store.list().await? {
            let parsed = self.parsed(stored.digest, stored.name.as_str(), &stored.text);
            let problem = match parsed {
                Ok(workflow) if workflow.name == stored.name => {
                    workflows.push(workflow);
                    None
                }
                Ok(workflow) => Some(format!(
                    "its text names another workflow, `{}`",
                    workflow.name
                )),
                Err(problem) => Some(problem),
            };
            if let Some(problem) = &problem {
                tracing::warn!(workflow = %stored.name, problem, "workflow not usable");
            }
            entries.push(CatalogEntry { stored, problem });
        }
        let table = RoutingTable::new(workflows);
        self.current.store(Arc::new(Current { table, entries }));
        Ok(())
    }

    /// Reads the store anew whenever it has changed. Never returns.
    pub async fn follow(&self) {
        loop {
            self.store.changed().await;
            if let Err(error) = self.refresh().await {
                tracing::warn!(%error, "workflows not refreshed");
            }
        }
    }

    /// A version, current or not.
    ///
    /// # Errors
    /// A text for people when the store does not answer, does not have it, or
    /// this host cannot read it.
    pub async fn version(&self, digest: Digest) -> Result<Arc<Workflow>, VersionError> {
        if let Some(known) = self.known(digest) {
            return Ok(known);
        }
        let text = self.store.text(digest).await.map_err(VersionError::Store)?;
        let text = text.ok_or(VersionError::Missing(digest))?;
        self.parsed(digest, "workflow", &text)
            .map_err(|problem| VersionError::Unreadable { digest, problem })
    }

    fn known(&self, digest: Digest) -> Option<Arc<Workflow>> {
        let versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        versions.get(&digest).cloned()
    }

    fn parsed(&self, digest: Digest, name: &str, text: &str) -> Result<Arc<Workflow>, String> {
        if let Some(known) = self.known(digest) {
            return Ok(known);
        }
        let workflow = Arc::new((self.parse)(name, text)?);
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        if versions.len() >= OLD_VERSIONS {
            // Whoever still needs one reads it again.
            versions.clear();
        }
        versions.insert(digest, workflow.clone());
        Ok(workflow)
    }

    /// Checks a text and makes it the current version of its workflow.
    ///
    /// # Errors
    /// The problems of the text, or that the store does not answer.
    pub async fn put(
        &self,
        name: &str,
        text: &str,
        origin: &str,
    ) -> Result<WorkflowName, PutError> {
        let workflow = (self.parse)(name, text).map_err(PutError::Invalid)?;
        let stored = StoredWorkflow {
            name: workflow.name.clone(),
            digest: Digest::of(text.as_bytes()),
            text: text.to_owned(),
            origin: origin.to_owned(),
            revision: 0,
        };
        let current = self.current();
        let unchanged = current.entries.iter().any(|entry| {
            entry.stored.name == stored.name
                && entry.stored.digest == stored.digest
                && entry.stored.origin == stored.origin
        });
        if !unchanged {
            self.store.put(stored).await.map_err(PutError::Store)?;
            self.refresh().await.map_err(PutError::Store)?;
        }
        Ok(workflow.name)
    }

    /// Removes a workflow. Runs that use it go on.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn remove(&self, name: WorkflowName) -> Result<(), StoreError> {
        self.store.remove(name).await?;
        self.refresh().await
    }
}

/// Why a version cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    /// The store does not answer.
    #[error(transparent)]
    Store(StoreError),
    /// The store does not have it.
    #[error("version {0} of the workflow is not stored any more")]
    Missing(Digest),
    /// This host cannot read it.
    #[error("version {digest} of the workflow cannot be read: {problem}")]
    Unreadable {
        /// The version.
        digest: Digest,
        /// The problems.
        problem: String,
    },
}

/// Why a workflow was not stored.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// Its text has problems.
    #[error("{0}")]
    Invalid(String),
    /// The store does not answer.
    #[error(transparent)]
    Store(StoreError),
}
