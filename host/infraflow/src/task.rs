//! Background tasks of the binary: named, owned, ended with their owner.

use tokio::task::JoinHandle;

/// A task that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts a task that its owner ends.
#[expect(
    clippy::disallowed_methods,
    reason = "one of the two places of the binary that start tasks"
)]
pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Task {
    Task(tokio::spawn(work))
}

/// Starts a task that ends by itself: the answer to one request, which has a
/// deadline.
#[expect(
    clippy::disallowed_methods,
    reason = "one of the two places of the binary that start tasks"
)]
pub(crate) fn spawn_short(work: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(work);
}
