//! The files of a run, before and after an attempt: they go where the run goes.

use std::sync::Arc;

use infraflow_core::Timestamp;
use infraflow_core::id::RunId;
use infraflow_core::ports::WorkspaceStoreError;
use infraflow_core::run::{Origin, OriginKind, Request, WorkspacePlace};

use crate::attempt::Spec;
use crate::engine::Shared;
use crate::requests::request;

/// Stores the files of runs that wait and that only this host can go on with:
/// it leaves, and others stay.
pub(crate) async fn hand_over(shared: &Arc<Shared>) {
    let host = &shared.config.host;
    for (run, pool) in shared.index.idle_pinned_to(host) {
        if !shared.membership.has_others_in(&pool) || shared.live.has(run) {
            continue;
        }
        let stored = match shared.ports.workspaces.store(run).await {
            Ok(digest) => digest,
            Err(error) => {
                tracing::warn!(%run, %error, "files not stored: the run waits for this host");
                continue;
            }
        };
        let place = WorkspacePlace {
            host: host.clone(),
            stored: Some(stored),
        };
        let what = Request::FilesStored { place };
        if let Err(error) = request(shared, run, &what, Timestamp::MIN).await {
            tracing::warn!(%run, %error, "files stored, and not noted");
        }
    }
}

/// The files of the run of one attempt.
pub(crate) struct Files<'a> {
    shared: &'a Shared,
    spec: &'a Spec,
}

impl<'a> Files<'a> {
    pub(crate) fn new(shared: &'a Shared, spec: &'a Spec) -> Self {
        Self { shared, spec }
    }

    fn run(&self) -> RunId {
        self.spec.key.run
    }

    fn origin(&self) -> Option<&Origin> {
        self.spec.birth.origin.as_deref()
    }

    /// Brings the files here. Nothing to do when this host wrote to them last.
    pub(crate) async fn prepare(&self) -> Result<(), WorkspaceStoreError> {
        let Some(place) = &self.spec.start.workspace else {
            return Ok(());
        };
        let workspaces = &self.shared.ports.workspaces;
        let is_mine = place.host == self.shared.config.host;
        if is_mine && workspaces.is_here(self.run()).await {
            return Ok(());
        }
        let from = self
            .origin()
            .filter(|origin| origin.kind != OriginKind::Rerun);
        if let Some(origin) = from.filter(|_| is_mine)
            && workspaces.is_here(origin.run).await
        {
            return workspaces.copy(origin.run, self.run()).await;
        }
        match place.stored {
            Some(digest) => workspaces.restore(self.run(), digest).await,
            None => Err(WorkspaceStoreError::NotFound(self.run())),
        }
    }

    /// Where the files are after the attempt: stored, when another host could go
    /// on with the run, else here. `None` where nothing about them changed.
    pub(crate) async fn keep(&self) -> Option<WorkspacePlace> {
        if !self.shared.membership.is_shared() || !self.may_write() {
            return None;
        }
        // It ended before it had files.
        if !self.shared.ports.workspaces.is_here(self.run()).await {
            return None;
        }
        let stored = match self.shared.membership.has_others_in(&self.spec.birth.pool) {
            true => self.store().await,
            false => None,
        };
        Some(WorkspacePlace {
            host: self.shared.config.host.clone(),
            stored,
        })
    }

    fn may_write(&self) -> bool {
        let plugins = self.shared.plugins();
        let plugin = plugins.get(self.spec.start.component);
        plugin.is_some_and(|plugin| plugin.manifest.writes_workspace)
    }

    async fn store(&self) -> Option<infraflow_core::id::Digest> {
        match self.shared.ports.workspaces.store(self.run()).await {
            Ok(digest) => Some(digest),
            Err(WorkspaceStoreError::NotFound(_)) => None,
            Err(error) => {
                tracing::warn!(run = %self.run(), %error, "files not stored: the run stays on this host");
                None
            }
        }
    }
}
