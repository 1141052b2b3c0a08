//! The one place where this crate starts tasks.

use std::future::Future;

use tokio::task::AbortHandle;
use tracing::Instrument as _;

/// A running task. Dropping it ends the task.
pub(crate) struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts a task under a name. What it does when it fails is its own business:
/// it returns nothing.
pub(crate) fn start(name: &'static str, future: impl Future<Output = ()> + Send + 'static) -> Task {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the named spawner: the owner holds the handle"
    )]
    let handle = tokio::spawn(future.instrument(tracing::debug_span!("task", name)));
    Task(handle.abort_handle())
}

/// Runs something that blocks on the disk, away from the runtime's threads.
///
/// Dropping the future lets it run to its end.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => std::future::pending().await,
        },
    }
}
