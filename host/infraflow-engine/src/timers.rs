//! Timers that are due wake their runs.

use std::sync::Arc;
use std::time::Duration;

use infraflow_core::ports::{Delivery, DueTimer};
use infraflow_core::run::Request;

use crate::engine::Shared;
use crate::executor::done;
use crate::requests::{RequestError, request, set_timer};
use crate::task::spawn_bounded;

/// How long a timer is put off whose run cannot be read now.
const PUT_OFF: Duration = Duration::from_secs(2);

/// Takes due timers until the engine ends. Never returns.
pub(crate) async fn wake(shared: Arc<Shared>) {
    loop {
        let Ok(place) = shared.waking.clone().acquire_owned().await else {
            return;
        };
        let delivery = shared.ports.due.next().await;
        let shared = shared.clone();
        spawn_bounded(async move {
            handle(&shared, delivery).await;
            drop(place);
        });
    }
}

/// The server's clock says that it is time; the run's journal says for what. A
/// timer of a run that does not wait any more means nothing.
async fn handle(shared: &Arc<Shared>, delivery: Delivery<DueTimer>) {
    let DueTimer { run, due } = delivery.item;
    match request(shared, run, &Request::Due, due).await {
        Ok(run) => {
            // It waits for something later: this timer was an older one's.
            set_timer(shared, &run).await;
            done(&delivery.receipt).await;
        }
        Err(error) if error.is_transient() => {
            tracing::warn!(%run, %error, "run not woken, trying again");
            delivery.receipt.later(PUT_OFF).await;
        }
        Err(error) => {
            if !matches!(error, RequestError::Refused(_)) {
                tracing::warn!(%run, %error, "run not woken");
            }
            done(&delivery.receipt).await;
        }
    }
}
