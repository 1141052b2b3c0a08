//! The signal that ends an attempt.

use std::sync::Arc;

use infraflow_core::ports::{BoxFuture, StopReason, StopSignal};
use tokio::sync::watch;

/// Ends an attempt. The strongest reason that was given counts. Cloning is
/// cheap; all clones end the same attempt.
#[derive(Debug, Clone)]
pub(crate) struct Stopper(Arc<watch::Sender<Option<StopReason>>>);

/// What the attempt sees of it.
#[derive(Debug)]
pub(crate) struct Stopped(watch::Receiver<Option<StopReason>>);

/// A stopper and its signal.
pub(crate) fn stopper() -> (Stopper, Stopped) {
    let (sender, receiver) = watch::channel(None);
    (Stopper(Arc::new(sender)), Stopped(receiver))
}

impl Stopper {
    /// Ends the attempt. A weaker reason than an earlier one changes nothing.
    pub(crate) fn stop(&self, reason: StopReason) {
        self.0.send_if_modified(|current| {
            let stronger = current.is_none_or(|current| reason > current);
            if stronger {
                *current = Some(reason);
            }
            stronger
        });
    }
}

impl StopSignal for Stopped {
    fn reason(&self) -> Option<StopReason> {
        *self.0.borrow()
    }

    fn stopped(&self) -> BoxFuture<'_, StopReason> {
        let mut receiver = self.0.clone();
        Box::pin(async move {
            let reason = receiver
                .wait_for(Option::is_some)
                .await
                .ok()
                .and_then(|reason| *reason);
            match reason {
                Some(reason) => reason,
                // Nobody is left who could stop it.
                None => std::future::pending().await,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_strongest_reason_counts() {
        let (stopper, stopped) = stopper();
        assert_eq!(stopped.reason(), None);
        stopper.stop(StopReason::Timeout);
        stopper.stop(StopReason::Interrupt);
        assert_eq!(stopped.stopped().await, StopReason::Timeout);
        stopper.stop(StopReason::Cancel);
        assert_eq!(stopped.stopped().await, StopReason::Cancel);
    }
}
