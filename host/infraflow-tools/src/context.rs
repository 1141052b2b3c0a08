//! What every adapter of a tool works with.

use std::sync::Arc;

use infraflow_core::ports::{Blobs, Secrets};

use crate::config::ToolsConfig;
use crate::process::Processes;
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
