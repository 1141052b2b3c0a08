//! The files of runs, beyond one host.

use super::{BlobError, BoxFuture};
use crate::id::{Digest, RunId};

/// Why the files of a run were not stored, restored or copied. What was there
/// before is still there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkspaceStoreError {
    /// There is too much in it.
    #[error("the workspace has more than the {allowed} {what} that can be taken along")]
    TooLarge {
        /// What there is too much of, in the plural.
        what: &'static str,
        /// How much is allowed.
        allowed: u64,
    },
    /// This host has no files of the run.
    #[error("there is no workspace of run `{0}` on this host")]
    NotFound(RunId),
    /// Something in it cannot be taken along: a pipe, a link that leads out of
    /// it, a set-id bit; or what is stored is no workspace. Names what.
    #[error("{0}")]
    Unfit(String),
    /// The store failed, or does not have it.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The disk failed; where and why.
    #[error("{0}")]
    Io(String),
}

/// The files of runs, beyond one host.
///
/// Call it only for runs whose tools have all ended, and once at a time for a
/// run. Dropping a future lets the work that has begun run to its end.
pub trait WorkspaceStore: Send + Sync {
    /// Whether this host has files of the run.
    fn is_here(&self, run: RunId) -> BoxFuture<'_, bool>;

    /// Packs and stores the run's workspace, with its trust. Equal workspaces
    /// have equal digests.
    ///
    /// # Errors
    /// When there is none, it cannot be taken along, or the store fails.
    fn store(&self, run: RunId) -> BoxFuture<'_, Result<Digest, WorkspaceStoreError>>;

    /// Replaces the run's workspace by a stored one, whole or not at all. A
    /// workspace that is not trusted stays so, whatever is restored into it.
    ///
    /// # Errors
    /// When it is not stored or not fit; the run's files are then as before.
    fn restore(&self, run: RunId, digest: Digest)
    -> BoxFuture<'_, Result<(), WorkspaceStoreError>>;

    /// Replaces the workspace of the run `to` by a copy of that of the run
    /// `from` on this host, with its trust (for a run that resumes another).
    ///
    /// # Errors
    /// As of [`WorkspaceStore::store`] and [`WorkspaceStore::restore`], but the
    /// packed size does not count.
    fn copy(&self, from: RunId, to: RunId) -> BoxFuture<'_, Result<(), WorkspaceStoreError>>;
}
