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

/// Starts a task. `work` must not fail: whatever goes wrong in it, it deals
/// with itself. A panic ends it and is logged by the runtime's hook.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this crate that starts tasks"
)]
pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Task {
    Task(tokio::spawn(work))
}
