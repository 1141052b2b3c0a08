//! Publishing events.

use infraflow_core::event::Event;
use infraflow_core::limits::EVENT_DATA;
use infraflow_core::ports::{BoxFuture, EventPublisher, PublishError, Sequence, StoreError};

use crate::connect::Bus;
use crate::reply::{self, NotStored};
use crate::wire::event;
use crate::{subject, topology};

/// Publishes events as a host.
#[derive(Debug, Clone)]
pub struct Publisher {
    bus: Bus,
}

impl Publisher {
    /// A publisher on this connection.
    pub fn new(bus: Bus) -> Self {
        Self { bus }
    }

    async fn publish_event(&self, event: &Event) -> Result<Sequence, PublishError> {
        let payload = serde_json::to_vec(&*event.json)
            .map_err(|error| PublishError::Unavailable(error.to_string()))?;
        if payload.len() > EVENT_DATA.to_usize() {
            let bytes = u64::try_from(payload.len()).unwrap_or(u64::MAX);
            return Err(PublishError::TooLarge { bytes });
        }
        if !self.bus.is_connected() {
            // Fail at once: the caller has somebody waiting who can ask again.
            return Err(PublishError::Unavailable(
                "the connection is down".to_owned(),
            ));
        }
        let headers = event::headers(event);
        let subject = subject::event(event);
        let reply = self
            .bus
            .client
            .request_with_headers(subject, headers, payload.into())
            .await;
        match reply::sequence(reply) {
            Ok(sequence) => Ok(Sequence(sequence)),
            Err(NotStored::Full) => Err(PublishError::Full),
            Err(NotStored::WrongSequence) => {
                Err(PublishError::Unavailable("an unexpected answer".to_owned()))
            }
            Err(NotStored::Unknown(reason)) => Err(PublishError::Unavailable(reason)),
        }
    }
}

impl EventPublisher for Publisher {
    fn publish<'a>(&'a self, event: &'a Event) -> BoxFuture<'a, Result<Sequence, PublishError>> {
        Box::pin(self.publish_event(event))
    }

    fn newest(&self) -> BoxFuture<'_, Result<Sequence, StoreError>> {
        Box::pin(async move {
            topology::last_sequence(&self.bus, topology::EVENTS)
                .await
                .map(Sequence)
                .map_err(|error| StoreError(error.to_string()))
        })
    }
}
