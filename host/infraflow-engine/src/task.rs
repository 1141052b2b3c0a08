//! Background tasks of this crate: named, owned, ended with their owner.

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
    reason = "one of the two places of this crate that start tasks"
)]
pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Task {
    Task(tokio::spawn(work))
}

/// Starts a task that ends by itself: the handling of one event or one run. It
/// holds a permit of a bounded semaphore, which is what bounds their number; a
/// panic in it ends that run's handling only, and the run is taken over.
#[expect(
    clippy::disallowed_methods,
    reason = "one of the two places of this crate that start tasks"
)]
pub(crate) fn spawn_bounded(work: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(work);
}
