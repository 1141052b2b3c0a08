//! Timers of parked runs: scheduled messages (ADR-51) in the stream `TIMERS`.
//!
//! Each run has one subject for its timer. The server keeps one schedule a
//! subject, so that setting a timer replaces the earlier one, and moves the
//! message to the subject for due timers when its time has come.

use async_nats::HeaderMap;
use infraflow_core::Timestamp;
use infraflow_core::id::RunId;
use infraflow_core::ports::{BoxFuture, StoreError, Timers};

use crate::connect::Bus;
use crate::reply::{self, NotStored};
use crate::subject;
use crate::wire::{headers as h, timer};

/// How long a due timer waits for a host. The sweep finds the run as well, once
/// there is a host.
const DUE_KEPT: &str = "24h";

/// Sets timers.
#[derive(Debug, Clone)]
pub struct TimerStore {
    bus: Bus,
}

impl TimerStore {
    /// The timers behind this connection.
    pub fn new(bus: Bus) -> Self {
        Self { bus }
    }

    async fn set_timer(&self, run: RunId, due: Timestamp) -> Result<(), StoreError> {
        if !self.bus.is_connected() {
            return Err(StoreError("the connection is down".to_owned()));
        }
        let mut headers = HeaderMap::new();
        headers.insert(h::SCHEDULE, format!("@at {due}"));
        headers.insert(h::SCHEDULE_TARGET, subject::timer_due(run));
        headers.insert(h::SCHEDULE_TTL, DUE_KEPT);
        let payload = timer::encode(due);
        let reply = self
            .bus
            .client
            .request_with_headers(subject::timer_set(run), headers, payload.into())
            .await;
        match reply::sequence(reply) {
            Ok(_) => Ok(()),
            Err(NotStored::Unknown(reason)) => Err(StoreError(reason)),
            Err(NotStored::Full) => Err(StoreError("the stream of timers is full".to_owned())),
            Err(NotStored::WrongSequence) => Err(StoreError("an unexpected answer".to_owned())),
        }
    }
}

impl Timers for TimerStore {
    fn set(&self, run: RunId, due: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.set_timer(run, due))
    }
}
