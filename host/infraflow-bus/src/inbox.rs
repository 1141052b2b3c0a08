//! Deliveries: events for the router, work items for the executor, due timers.
//! Never settles one by itself.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream;
use bytes::Bytes;
use infraflow_core::Timestamp;
use infraflow_core::id::PoolName;
use infraflow_core::ports::{
    ArrivedEvent, BoxFuture, DeadReason, Delivery, DueTimer, Inbox, Receipt, Sequence, SettleError,
    WorkItem,
};

use crate::connect::Bus;
use crate::puller::{InboxHealth, Puller};
use crate::topology::{self, TopologyError};
use crate::wire::event::{Incoming, decode};
use crate::wire::timer;
use crate::{dead, subject};

/// Where events come from: the consumer `router` of the stream `EVENTS`.
pub struct EventInbox(Puller<ArrivedEvent>);

/// Where work items of a pool come from: the consumer `work-<pool>` of `RUNS`.
pub struct WorkInbox(Puller<WorkItem>);

/// Where due timers come from: the consumer `timers` of the stream `TIMERS`.
pub struct TimerInbox(Puller<DueTimer>);

impl EventInbox {
    /// Starts pulling.
    ///
    /// # Errors
    /// When the stream's creation time cannot be read.
    pub async fn open(bus: Bus) -> Result<Self, TopologyError> {
        let created = topology::created_at(&bus, topology::EVENTS).await?;
        let deliver =
            move |bus: &Bus, message: &jetstream::Message| event_delivery(bus, message, created);
        Ok(Self(Puller::start(bus, topology::router(), deliver)))
    }

    /// Whether events come.
    pub fn health(&self) -> InboxHealth {
        self.0.health()
    }
}

impl WorkInbox {
    /// Starts pulling the work items of a pool. Its consumer is made when no
    /// host of the pool has been here before.
    pub fn open(bus: Bus, pool: &PoolName) -> Self {
        Self(Puller::start(bus, topology::work(pool), work_delivery))
    }

    /// Whether work items come.
    pub fn health(&self) -> InboxHealth {
        self.0.health()
    }
}

impl TimerInbox {
    /// Starts pulling.
    pub fn open(bus: Bus) -> Self {
        Self(Puller::start(bus, topology::timers(), timer_delivery))
    }

    /// Whether due timers come.
    pub fn health(&self) -> InboxHealth {
        self.0.health()
    }
}

impl Inbox<DueTimer> for TimerInbox {
    fn next(&self) -> BoxFuture<'_, Delivery<DueTimer>> {
        Box::pin(self.0.next())
    }

    fn pause(&self, paused: bool) {
        self.0.pause(paused);
    }
}

impl Inbox<ArrivedEvent> for EventInbox {
    fn next(&self) -> BoxFuture<'_, Delivery<ArrivedEvent>> {
        Box::pin(self.0.next())
    }

    fn pause(&self, paused: bool) {
        self.0.pause(paused);
    }
}

impl Inbox<WorkItem> for WorkInbox {
    fn next(&self) -> BoxFuture<'_, Delivery<WorkItem>> {
        Box::pin(self.0.next())
    }

    fn pause(&self, paused: bool) {
        self.0.pause(paused);
    }
}

fn event_delivery(
    bus: &Bus,
    message: &jetstream::Message,
    stream_created_at: Timestamp,
) -> Option<Delivery<ArrivedEvent>> {
    let receipt = MessageReceipt::new(bus, message)?;
    let decoded = decode(&Incoming {
        subject: &message.subject,
        headers: message.headers.as_ref(),
        payload: &message.payload,
        sequence: receipt.sequence,
        stored_at: receipt.stored_at,
        stream_created_at,
    });
    let item = ArrivedEvent {
        event: decoded.map_err(|undecodable| (undecodable.reason, undecodable.detail)),
        address: message.subject.to_string(),
        sequence: receipt.sequence,
        deliveries: receipt.deliveries,
    };
    Some(Delivery {
        item,
        receipt: Arc::new(receipt),
    })
}

fn work_delivery(bus: &Bus, message: &jetstream::Message) -> Option<Delivery<WorkItem>> {
    let receipt = MessageReceipt::new(bus, message)?;
    let Some(run) = subject::parse_record(&message.subject) else {
        tracing::error!(subject = %message.subject, "work item on a subject that names no run");
        return None;
    };
    Some(Delivery {
        item: WorkItem { run },
        receipt: Arc::new(receipt),
    })
}

fn timer_delivery(bus: &Bus, message: &jetstream::Message) -> Option<Delivery<DueTimer>> {
    let receipt = MessageReceipt::new(bus, message)?;
    let due = timer::decode(&message.payload);
    match (subject::parse_timer_due(&message.subject), due) {
        (Some(run), Ok(due)) => Some(Delivery {
            item: DueTimer { run, due },
            receipt: Arc::new(receipt),
        }),
        (None, _) => {
            tracing::error!(subject = %message.subject, "timer on a subject that names no run");
            None
        }
        (Some(run), Err(reason)) => {
            tracing::error!(%run, reason, "timer that cannot be read");
            None
        }
    }
}

/// Settles one message.
struct MessageReceipt {
    bus: Bus,
    reply: async_nats::Subject,
    subject: async_nats::Subject,
    headers: Option<HeaderMap>,
    payload: Bytes,
    sequence: Sequence,
    stored_at: Timestamp,
    deliveries: u64,
}

impl MessageReceipt {
    /// `None` for a message that did not come from a stream.
    fn new(bus: &Bus, message: &jetstream::Message) -> Option<Self> {
        let info = match message.info() {
            Ok(info) => info,
            Err(error) => {
                tracing::error!(%error, "delivery without JetStream information");
                return None;
            }
        };
        let stored_at = Timestamp::from_nanosecond(info.published.unix_timestamp_nanos()).ok()?;
        Some(Self {
            bus: bus.clone(),
            reply: message.reply.clone()?,
            subject: message.subject.clone(),
            headers: message.headers.clone(),
            payload: message.payload.clone(),
            sequence: Sequence(info.stream_sequence),
            stored_at,
            deliveries: u64::try_from(info.delivered).unwrap_or(1),
        })
    }

    async fn say(&self, what: String) {
        if let Err(error) = self
            .bus
            .client
            .publish(self.reply.clone(), what.into())
            .await
        {
            tracing::warn!(%error, "delivery not settled; it comes again");
        }
    }

    async fn confirmed_ack(&self) -> Result<(), SettleError> {
        self.bus
            .client
            .request(self.reply.clone(), Bytes::from_static(b"+ACK"))
            .await
            .map(drop)
            .map_err(|error| SettleError(error.to_string()))
    }

    async fn bury_message(&self, reason: DeadReason, detail: &str) -> Result<(), SettleError> {
        let original = dead::Original {
            subject: &self.subject,
            headers: self.headers.as_ref(),
            payload: &self.payload,
            sequence: self.sequence,
        };
        dead::publish(&self.bus, &original, reason, detail)
            .await
            .map_err(SettleError)?;
        self.confirmed_ack().await
    }
}

impl Receipt for MessageReceipt {
    fn done(&self) -> BoxFuture<'_, Result<(), SettleError>> {
        Box::pin(self.confirmed_ack())
    }

    fn later(&self, delay: Duration) -> BoxFuture<'_, ()> {
        Box::pin(self.say(format!("-NAK {{\"delay\":{}}}", delay.as_nanos())))
    }

    fn alive(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.say("+WPI".to_owned()))
    }

    fn bury(&self, reason: DeadReason, detail: String) -> BoxFuture<'_, Result<(), SettleError>> {
        Box::pin(async move { self.bury_message(reason, &detail).await })
    }
}
