//! What every adapter of a tool works with.

use std::sync::Arc;

use infraflow_core::ports::{Blobs, Secrets, ToolScope};
use infraflow_core::tool::CallError;

use crate::config::ToolsConfig;
use crate::jail::Room;
use crate::process::{Processes, Stand};
use crate::tofu::StateLocks;
use crate::workspace::Workspaces;

/// What every adapter of a tool works with.
pub(crate) struct Context {
    pub(crate) config: ToolsConfig,
    pub(crate) processes: Processes,
    pub(crate) workspaces: Workspaces,
    pub(crate) secrets: Arc<dyn Secrets>,
    pub(crate) blobs: Arc<dyn Blobs>,
    pub(crate) states: StateLocks,
}

impl Context {
    /// Decides how the tools of a call run, and where they see what.
    ///
    /// # Errors
    /// `Unavailable` when what they run is not trusted and no jail can be made.
    pub(crate) async fn prepare<'a>(
        &'a self,
        scope: &'a ToolScope,
        room: Room,
    ) -> Result<Stand<'a>, CallError> {
        let trust = self.workspaces.trust(scope.run, scope.trust).await?;
        self.processes.prepare(scope, trust, room).await
    }
}
