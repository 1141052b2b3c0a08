//! Takes messages of a durable consumer, for as long as it takes.
//!
//! A pull consumer can die while the connection stays up (argo-events#4183: 21
//! hours of silence). So each is pulled by a task of its own that notices,
//! makes the consumer again and says in [`InboxHealth`] what is wrong.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use bytes::Bytes;
use infraflow_core::ports::Delivery;
use tokio::sync::{Mutex, mpsc, watch};

use crate::connect::Bus;
use crate::pull::{self, Pull};
use crate::task::{Task, spawn};
use crate::topology::{self, Standing};

/// Deliveries that wait in memory for the engine. More stay on the server.
const PREFETCH: usize = 512;

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

type Deliveries<T> = Arc<Mutex<mpsc::Receiver<Delivery<T>>>>;

/// Takes messages and keeps some ready.
pub(crate) struct Puller<T> {
    deliveries: Deliveries<T>,
    health: watch::Receiver<InboxHealth>,
    paused: watch::Sender<bool>,
    _task: Task,
}

/// Why a pull is over.
enum Over {
    /// It was asked to pause.
    Paused,
    /// Something is wrong.
    Broken(String),
}

/// What the task works with.
struct Pulling<T, F> {
    bus: Bus,
    consumer: topology::Consumer,
    deliver: F,
    sender: mpsc::Sender<Delivery<T>>,
    health: watch::Sender<InboxHealth>,
    paused: watch::Receiver<bool>,
}

impl<T: Send + 'static> Puller<T> {
    /// Starts. `deliver` makes a delivery of a message, or says why it cannot
    /// by itself: then the message is settled for good.
    pub(crate) fn start(
        bus: Bus,
        consumer: topology::Consumer,
        deliver: impl Fn(&Bus, &jetstream::Message) -> Option<Delivery<T>> + Send + Sync + 'static,
    ) -> Self {
        let (sender, deliveries) = mpsc::channel(PREFETCH);
        let deliveries = Arc::new(Mutex::new(deliveries));
        let starting = InboxHealth::Dead {
            reason: "not started yet".to_owned(),
        };
        let (health_sender, health) = watch::channel(starting);
        let (paused, is_paused) = watch::channel(false);
        let pulling = Pulling {
            bus,
            consumer,
            deliver,
            sender,
            health: health_sender,
            paused: is_paused,
        };
        let task = spawn(pulling.for_ever(deliveries.clone()));
        Self {
            deliveries,
            health,
            paused,
            _task: task,
        }
    }

    pub(crate) async fn next(&self) -> Delivery<T> {
        loop {
            let Some(delivery) = self.deliveries.lock().await.recv().await else {
                // The task ends only with us.
                return std::future::pending().await;
            };
            if !*self.paused.borrow() {
                return delivery;
            }
            // Until our own pull has ended: it would get it again.
            delivery.receipt.later(pull::EXPIRES).await;
        }
    }

    pub(crate) fn pause(&self, paused: bool) {
        self.paused.send_replace(paused);
    }

    pub(crate) fn health(&self) -> InboxHealth {
        self.health.borrow().clone()
    }
}

/// Gives back what waits. Who waits for the next delivery holds the lock: then
/// nothing waits but what that one gives back itself.
async fn give_back<T>(deliveries: &Deliveries<T>) {
    let Ok(mut deliveries) = deliveries.try_lock() else {
        return;
    };
    while let Ok(delivery) = deliveries.try_recv() {
        delivery.receipt.later(Duration::ZERO).await;
    }
}

impl<T, F> Pulling<T, F>
where
    T: Send + 'static,
    F: Fn(&Bus, &jetstream::Message) -> Option<Delivery<T>> + Send + Sync + 'static,
{
    async fn for_ever(self, deliveries: Deliveries<T>) {
        loop {
            let mut paused = self.paused.clone();
            if *paused.borrow_and_update() {
                give_back(&deliveries).await;
                self.health.send_replace(InboxHealth::Alive);
                if paused.wait_for(|paused| !paused).await.is_err() {
                    return;
                }
            }
            // Deliveries that wait here when the consumer fails come again.
            let over = tokio::select! {
                over = self.pull() => over,
                reason = watch_over(&self.bus, &self.consumer) => Over::Broken(reason),
            };
            if self.sender.is_closed() || self.bus.is_closing() {
                return;
            }
            let Over::Broken(reason) = over else {
                continue;
            };
            tracing::warn!(
                consumer = %self.consumer.name,
                reason,
                "consumer lost, making it again"
            );
            self.health.send_replace(InboxHealth::Dead { reason });
            tokio::time::sleep(REVIVE_DELAY).await;
            self.bus.connected().await;
        }
    }

    /// Pulls until something is wrong or it is to pause.
    async fn pull(&self) -> Over {
        let broken = |error: &dyn std::fmt::Display| Over::Broken(error.to_string());
        let mut connection = self.bus.changes();
        if let Err(error) = topology::ensure_consumer(&self.bus, &self.consumer).await {
            return broken(&error);
        }
        let mut pull = match Pull::start(&self.bus, &self.consumer, PREFETCH).await {
            Ok(pull) => pull,
            Err(error) => return broken(&error),
        };
        self.health.send_replace(InboxHealth::Alive);
        let mut paused = self.paused.clone();
        loop {
            // A pull is gone with its connection; missed heartbeats would tell, but late.
            let next = tokio::select! {
                biased;
                () = asked_to(&mut paused) => {
                    for message in pull.end().await {
                        settle(&self.bus, &message, Bytes::from_static(b"-NAK")).await;
                    }
                    return Over::Paused;
                }
                _ = connection.changed() => return broken(&"the connection was lost"),
                next = pull.next() => next,
            };
            let message = match next {
                Ok(message) => message,
                Err(reason) => return Over::Broken(reason),
            };
            match (self.deliver)(&self.bus, &message) {
                Some(delivery) => tokio::select! {
                    permit = self.sender.reserve() => match permit {
                        Ok(permit) => permit.send(delivery),
                        Err(_) => return broken(&"nobody takes deliveries"),
                    },
                    () = asked_to(&mut paused) => {
                        delivery.receipt.later(pull::EXPIRES).await;
                    }
                },
                // Nobody can make anything of it: it would come again for ever.
                None => settle(&self.bus, &message, Bytes::from_static(b"+TERM")).await,
            }
        }
    }
}

/// Waits until the pull is to pause. Cancel-safe.
async fn asked_to(paused: &mut watch::Receiver<bool>) {
    // Fails when the owner is gone, and the task with it.
    drop(paused.wait_for(|paused| *paused).await);
}

async fn settle(bus: &Bus, message: &jetstream::Message, how: Bytes) {
    if let Some(reply) = &message.reply
        && let Err(error) = bus.client.publish(reply.clone(), how).await
    {
        tracing::warn!(%error, "delivery not settled; it comes again");
    }
}

/// Looks at the consumer until something is wrong, and says what: a pull of a
/// consumer that was paused looks alive.
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
