//! The door itself: what the engine calls.

use std::sync::Arc;

use camino::Utf8PathBuf;
use infraflow_core::id::{Digest, RunId};
use infraflow_core::limits::UPLOAD;
use infraflow_core::ports::{
    BlobError, Blobs, BoxFuture, Secrets, ToolScope, Tools, WorkspaceStore, WorkspaceStoreError,
};
use infraflow_core::tool::{
    ApplyResult, CallError, Checkout, CheckoutRequest, CommandOutput, CommandRequest, Entry,
    GuestPath, PingRequest, PlanKind, PlanResult, PlaybookRequest, PlaybookResult, TofuModule,
    TofuOutcome,
};

use crate::config::ToolsConfig;
use crate::context::Context;
use crate::errors::too_large;
use crate::jail::{Jail, JailMode};
use crate::limits::WORKSPACE_STORED;
use crate::process::{ProcessSettings, Processes};
use crate::tofu::StateLocks;
use crate::watchdog::Watchdog;
use crate::workspace::Workspaces;
use crate::{ansible, command, git, loose, probe, tofu};

/// The door to processes and to the files of runs. Cloning is cheap.
///
/// Every call checks its paths, makes its jail, starts its process through the
/// watchdog, and returns when nothing of it is left. What a plugin may call was
/// checked before; only `network` is asked for here, because whether a call
/// needs it depends on the configuration.
#[derive(Clone)]
pub struct ToolDoor {
    context: Arc<Context>,
}

impl ToolDoor {
    /// Opens the door. Removes what a killed host has left of calls without a
    /// jail; starts nothing.
    pub fn new(
        config: ToolsConfig,
        watchdog: Watchdog,
        secrets: Arc<dyn Secrets>,
        blobs: Arc<dyn Blobs>,
    ) -> Self {
        let jail = Jail::new(config.jail.clone());
        let owner = match config.jail.mode {
            JailMode::Required => jail.identity(),
            JailMode::Off => None,
        };
        let settings = ProcessSettings {
            private: config.data_dir.join("private").join("loose"),
            environment: config.environment.clone(),
            active: config.active,
            grace: config.grace,
            leaked_handles: config.leaked_handles,
        };
        if let Err(error) = loose::remove(&settings.private) {
            tracing::warn!(%error, "what a killed host left behind cannot be removed");
        }
        let workspaces = Workspaces::new(&config.data_dir, owner);
        if let Err(error) = workspaces.remove_half_done() {
            tracing::warn!(%error, "workspaces that were not restored whole cannot be removed");
        }
        let context = Context {
            workspaces,
            processes: Processes::new(watchdog, jail, settings),
            config,
            secrets,
            blobs,
            states: StateLocks::default(),
        };
        Self {
            context: Arc::new(context),
        }
    }

    /// The workspaces, for retention.
    pub fn workspaces(&self) -> &Workspaces {
        &self.context.workspaces
    }

    /// What is installed and whether the jail holds, for `doctor`.
    pub async fn probe(&self) -> probe::ToolsStatus {
        probe::tools(&self.context).await
    }

    /// Where the current folder of a run's workspace is on this host.
    pub fn workspace_path(&self, run: RunId) -> Utf8PathBuf {
        self.context.workspaces.path(run)
    }

    async fn unpack(
        &self,
        scope: &ToolScope,
        upload: Digest,
        path: &GuestPath,
    ) -> Result<(), CallError> {
        let bytes = self.context.blobs.get(upload, UPLOAD.0).await;
        let bytes = bytes.map_err(|error| match error {
            BlobError::NotFound(_) => CallError::NotFound(format!("upload {upload}")),
            BlobError::TooLarge { .. } => too_large("upload_bytes", UPLOAD),
            BlobError::Unavailable(_) => {
                CallError::Unavailable(format!("read the upload: {error}"))
            }
            BlobError::Conflict(_) | BlobError::Damaged(_) => {
                CallError::Internal(format!("read the upload: {error}"))
            }
        })?;
        let workspaces = &self.context.workspaces;
        workspaces.unpack(scope.run, path, bytes).await
    }
}

impl Tools for ToolDoor {
    fn checkout<'a>(
        &'a self,
        scope: &'a ToolScope,
        request: CheckoutRequest,
    ) -> BoxFuture<'a, Result<Checkout, CallError>> {
        Box::pin(git::checkout(&self.context, scope, request))
    }

    fn run_playbook<'a>(
        &'a self,
        scope: &'a ToolScope,
        request: PlaybookRequest,
    ) -> BoxFuture<'a, Result<PlaybookResult, CallError>> {
        Box::pin(ansible::run_playbook(&self.context, scope, request))
    }

    fn install_requirements<'a>(
        &'a self,
        scope: &'a ToolScope,
        path: GuestPath,
    ) -> BoxFuture<'a, Result<PlaybookResult, CallError>> {
        Box::pin(ansible::install_requirements(&self.context, scope, path))
    }

    fn ping<'a>(
        &'a self,
        scope: &'a ToolScope,
        request: PingRequest,
    ) -> BoxFuture<'a, Result<PlaybookResult, CallError>> {
        Box::pin(ansible::ping(&self.context, scope, request))
    }

    fn tofu_init<'a>(
        &'a self,
        scope: &'a ToolScope,
        module: TofuModule,
    ) -> BoxFuture<'a, Result<TofuOutcome, CallError>> {
        Box::pin(tofu::init(&self.context, scope, module))
    }

    fn tofu_plan<'a>(
        &'a self,
        scope: &'a ToolScope,
        module: TofuModule,
        kind: PlanKind,
    ) -> BoxFuture<'a, Result<PlanResult, CallError>> {
        Box::pin(tofu::plan(&self.context, scope, module, kind))
    }

    fn tofu_apply<'a>(
        &'a self,
        scope: &'a ToolScope,
        module: TofuModule,
        plan: Digest,
    ) -> BoxFuture<'a, Result<ApplyResult, CallError>> {
        Box::pin(tofu::apply(&self.context, scope, module, plan))
    }

    fn tofu_destroy<'a>(
        &'a self,
        scope: &'a ToolScope,
        module: TofuModule,
    ) -> BoxFuture<'a, Result<ApplyResult, CallError>> {
        Box::pin(tofu::destroy(&self.context, scope, module))
    }

    fn tofu_output<'a>(
        &'a self,
        scope: &'a ToolScope,
        module: TofuModule,
    ) -> BoxFuture<'a, Result<ApplyResult, CallError>> {
        Box::pin(tofu::output(&self.context, scope, module))
    }

    fn tofu_show<'a>(
        &'a self,
        scope: &'a ToolScope,
        module: TofuModule,
        plan: Digest,
    ) -> BoxFuture<'a, Result<String, CallError>> {
        Box::pin(tofu::show(&self.context, scope, module, plan))
    }

    fn run_command<'a>(
        &'a self,
        scope: &'a ToolScope,
        request: CommandRequest,
    ) -> BoxFuture<'a, Result<CommandOutput, CallError>> {
        Box::pin(command::run(&self.context, scope, request))
    }

    fn read_file<'a>(
        &'a self,
        scope: &'a ToolScope,
        path: GuestPath,
    ) -> BoxFuture<'a, Result<Vec<u8>, CallError>> {
        Box::pin(self.context.workspaces.read(scope.run, path))
    }

    fn write_file<'a>(
        &'a self,
        scope: &'a ToolScope,
        path: GuestPath,
        data: Vec<u8>,
    ) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(self.context.workspaces.write(scope.run, path, data))
    }

    fn list_folder<'a>(
        &'a self,
        scope: &'a ToolScope,
        path: GuestPath,
    ) -> BoxFuture<'a, Result<Vec<Entry>, CallError>> {
        Box::pin(self.context.workspaces.list_folder(scope.run, path))
    }

    fn unpack_upload<'a>(
        &'a self,
        scope: &'a ToolScope,
        upload: Digest,
        path: GuestPath,
    ) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move { self.unpack(scope, upload, &path).await })
    }
}

impl WorkspaceStore for ToolDoor {
    fn is_here(&self, run: RunId) -> BoxFuture<'_, bool> {
        Box::pin(self.context.workspaces.is_here(run))
    }

    fn store(&self, run: RunId) -> BoxFuture<'_, Result<Digest, WorkspaceStoreError>> {
        Box::pin(async move {
            // Calls that were dropped may have processes that are just ending.
            self.context.processes.settle().await;
            let packed = self.context.workspaces.pack(run).await?;
            Ok(self.context.blobs.put(packed).await?)
        })
    }

    fn restore(
        &self,
        run: RunId,
        digest: Digest,
    ) -> BoxFuture<'_, Result<(), WorkspaceStoreError>> {
        Box::pin(async move {
            let packed = self.context.blobs.get(digest, WORKSPACE_STORED.0).await?;
            self.context.processes.settle().await;
            self.context.workspaces.replace(run, packed).await
        })
    }

    fn copy(&self, from: RunId, to: RunId) -> BoxFuture<'_, Result<(), WorkspaceStoreError>> {
        Box::pin(async move {
            self.context.processes.settle().await;
            self.context.workspaces.copy(from, to).await
        })
    }
}
