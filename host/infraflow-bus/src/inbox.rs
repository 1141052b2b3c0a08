//! Deliveries: events for the router, work items for the executor, due timers.
//!
//! A pull consumer can die while the connection stays up (argo-events#4183: 21
//! hours of silence). So each inbox pulls in a task of its own that notices,
//! makes the consumer again and says in [`InboxHealth`] what is wrong.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::{self, consumer};
use bytes::Bytes;
use futures::StreamExt as _;
use infraflow_core::Timestamp;
use infraflow_core::id::PoolName;
use infraflow_core::ports::{
    ArrivedEvent, BoxFuture, DeadReason, Delivery, DueTimer, Inbox, Receipt, Sequence, SettleError,
    WorkItem,
};
use tokio::sync::{Mutex, mpsc, watch};

use crate::connect::Bus;
use crate::task::{Task, spawn};
use crate::topology::{self, Standing, TopologyError};
use crate::wire::event::{Incoming, decode};
use crate::wire::timer;
use crate::{dead, subject};

/// Deliveries that wait in memory for the engine. More stay on the server.
const PREFETCH: usize = 512;

/// How long a pull waits before it is renewed.
const PULL_EXPIRES: Duration = Duration::from_secs(30);

/// How often the server shows that a pull is alive. Twice this without a sign
/// and the consumer counts as dead.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// How often the consumer is looked at. Heartbeats come from a paused one, too,
/// and a look that gets no answer ends after [`crate::connect::REQUEST_TIMEOUT`]: what is
/// wrong shows within 8 seconds.
const LOOK: Duration = Duration::from_secs(3);

/// The pause before a dead consumer is made again.
const REVIVE_DELAY: Duration = Duration::from_millis(500);

/// Whether deliveries come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InboxHealth {
    /// The server shows that the consumer is alive.
    Alive,
    /// It does not.
    Dead {
        /// Why, for people.
        reason: String,
    },
}

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
        self.0.health.borrow().clone()
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
        self.0.health.borrow().clone()
    }
}

impl TimerInbox {
    /// Starts pulling.
    pub fn open(bus: Bus) -> Self {
        Self(Puller::start(bus, topology::timers(), timer_delivery))
    }

    /// Whether due timers come.
    pub fn health(&self) -> InboxHealth {
        self.0.health.borrow().clone()
    }
}

impl Inbox<DueTimer> for TimerInbox {
    fn next(&self) -> BoxFuture<'_, Delivery<DueTimer>> {
        Box::pin(self.0.next())
    }
}

impl Inbox<ArrivedEvent> for EventInbox {
    fn next(&self) -> BoxFuture<'_, Delivery<ArrivedEvent>> {
        Box::pin(self.0.next())
    }
}

impl Inbox<WorkItem> for WorkInbox {
    fn next(&self) -> BoxFuture<'_, Delivery<WorkItem>> {
        Box::pin(self.0.next())
    }
}

struct Puller<T> {
    deliveries: Mutex<mpsc::Receiver<Delivery<T>>>,
    health: watch::Receiver<InboxHealth>,
    _task: Task,
}

impl<T: Send + 'static> Puller<T> {
    fn start(
        bus: Bus,
        consumer: topology::Consumer,
        deliver: impl Fn(&Bus, &jetstream::Message) -> Option<Delivery<T>> + Send + Sync + 'static,
    ) -> Self {
        let (sender, deliveries) = mpsc::channel(PREFETCH);
        let starting = InboxHealth::Dead {
            reason: "not started yet".to_owned(),
        };
        let (health_sender, health) = watch::channel(starting);
        let task = spawn(async move {
            loop {
                // Deliveries that wait here when the consumer fails come again.
                let reason = tokio::select! {
                    reason = pull(&bus, &consumer, &deliver, &sender, &health_sender) => reason,
                    reason = watch_over(&bus, &consumer) => reason,
                };
                if sender.is_closed() || bus.is_closing() {
                    return;
                }
                tracing::warn!(
                    consumer = %consumer.name,
                    reason,
                    "consumer lost, making it again"
                );
                health_sender.send_replace(InboxHealth::Dead { reason });
                tokio::time::sleep(REVIVE_DELAY).await;
                bus.connected().await;
            }
        });
        Self {
            deliveries: Mutex::new(deliveries),
            health,
            _task: task,
        }
    }

    async fn next(&self) -> Delivery<T> {
        match self.deliveries.lock().await.recv().await {
            Some(delivery) => delivery,
            // The task ends only with us.
            None => std::future::pending().await,
        }
    }
}

/// Pulls until something is wrong, and says what.
async fn pull<T>(
    bus: &Bus,
    consumer: &topology::Consumer,
    deliver: &impl Fn(&Bus, &jetstream::Message) -> Option<Delivery<T>>,
    sender: &mpsc::Sender<Delivery<T>>,
    health: &watch::Sender<InboxHealth>,
) -> String {
    let mut connection = bus.changes();
    let pulled: consumer::PullConsumer = match topology::ensure_consumer(bus, consumer).await {
        Ok(pulled) => pulled,
        Err(error) => return error.to_string(),
    };
    let messages = pulled
        .stream()
        .max_messages_per_batch(PREFETCH)
        .expires(PULL_EXPIRES)
        .heartbeat(HEARTBEAT)
        .messages()
        .await;
    let mut messages = match messages {
        Ok(messages) => messages,
        Err(error) => return error.to_string(),
    };
    health.send_replace(InboxHealth::Alive);
    loop {
        // A pull is gone with its connection; missed heartbeats would tell, but late.
        let next = tokio::select! {
            next = messages.next() => next,
            _ = connection.changed() => return "the connection was lost".to_owned(),
        };
        let message = match next {
            None => return "the server ended the pull".to_owned(),
            Some(Err(error)) => return error.to_string(),
            Some(Ok(message)) => message,
        };
        match deliver(bus, &message) {
            Some(delivery) => {
                if sender.send(delivery).await.is_err() {
                    return "nobody takes deliveries".to_owned();
                }
            }
            None => give_up(bus, message.reply.as_ref()).await,
        }
    }
}

/// Settles a message that nobody can make anything of, for good: it would come
/// again for ever.
async fn give_up(bus: &Bus, reply: Option<&async_nats::Subject>) {
    if let Some(reply) = reply
        && let Err(error) = bus
            .client
            .publish(reply.clone(), Bytes::from_static(b"+TERM"))
            .await
    {
        tracing::warn!(%error, "delivery not settled; it comes again");
    }
}

/// Looks at the consumer until something is wrong, and says what. A pull of a
/// consumer that was paused or deleted behind a proxy looks alive.
async fn watch_over(bus: &Bus, consumer: &topology::Consumer) -> String {
    loop {
        tokio::time::sleep(LOOK).await;
        match topology::standing(bus, consumer).await {
            Ok(Standing::Running) => {}
            Ok(Standing::Paused) => return "the consumer is paused".to_owned(),
            Ok(Standing::Missing) => return "the consumer was deleted".to_owned(),
            Err(error) => return error.to_string(),
        }
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
