//! Every record of every run, in order: what read models are built from.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::consumer::{self, DeliverPolicy};
use futures::StreamExt as _;
use infraflow_core::ports::{BoxFuture, FeedItem, RunFeed, Sequence};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::Instant;

use crate::connect::Bus;
use crate::fetch::{FetchError, Query};
use crate::puller::InboxHealth;
use crate::task::{Task, spawn};
use crate::wire::record;
use crate::{subject, topology};

/// Records that wait in memory for the reader. More stay on the server.
const PREFETCH: usize = 1_024;

/// The pause before a failed feed begins again where it stopped.
const RESTART_DELAY: Duration = Duration::from_millis(500);

/// How often the feed's position is compared with the stream's.
const LOOK: Duration = Duration::from_secs(1);

/// How long a feed may be behind without moving before it counts as dead.
const STUCK_AFTER: Duration = Duration::from_secs(5);

/// A feed of all records.
pub struct Feed {
    items: Mutex<mpsc::Receiver<FeedItem>>,
    health: watch::Receiver<InboxHealth>,
    _task: Task,
}

impl Feed {
    /// Starts at the first record.
    pub fn open(bus: Bus) -> Self {
        let (sender, items) = mpsc::channel(PREFETCH);
        let (health_sender, health) = watch::channel(InboxHealth::Dead {
            reason: "not started yet".to_owned(),
        });
        let task = spawn(async move {
            let progress = Progress::default();
            loop {
                let reason = tokio::select! {
                    reason = follow(&bus, &progress, &sender, &health_sender) => reason,
                    reason = watch_over(&bus, &progress) => reason,
                };
                if sender.is_closed() || bus.is_closing() {
                    return;
                }
                tracing::warn!(
                    reason,
                    "feed of runs interrupted, going on where it stopped"
                );
                health_sender.send_replace(InboxHealth::Dead { reason });
                tokio::time::sleep(RESTART_DELAY).await;
                bus.connected().await;
            }
        });
        Self {
            items: Mutex::new(items),
            health,
            _task: task,
        }
    }

    /// Whether records come.
    pub fn health(&self) -> InboxHealth {
        self.health.borrow().clone()
    }
}

impl RunFeed for Feed {
    fn next(&self) -> BoxFuture<'_, FeedItem> {
        Box::pin(async move {
            match self.items.lock().await.recv().await {
                Some(item) => item,
                // The task ends only with us.
                None => std::future::pending().await,
            }
        })
    }
}

/// How far the feed is. Changed only after an item was handed over, so that a
/// feed that is interrupted in between gives it once.
#[derive(Debug, Default)]
struct Progress {
    /// The last position that was handed over.
    given: AtomicU64,
    caught_up: AtomicBool,
}

impl Progress {
    fn next(&self) -> Sequence {
        Sequence(self.given.load(Ordering::Relaxed) + 1)
    }

    /// Says once that everything was given; `Err` when nobody listens.
    async fn catch_up(&self, sender: &mpsc::Sender<FeedItem>) -> Result<(), NobodyReads> {
        if !self.caught_up.load(Ordering::Relaxed) {
            let sent = sender.send(FeedItem::CaughtUp).await;
            sent.map_err(|_| NobodyReads)?;
            self.caught_up.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("nobody reads it")]
struct NobodyReads;

/// Follows the stream until something is wrong, and says what.
async fn follow(
    bus: &Bus,
    progress: &Progress,
    sender: &mpsc::Sender<FeedItem>,
    health: &watch::Sender<InboxHealth>,
) -> String {
    match follow_stream(bus, progress, sender, health).await {
        Ok(never) => match never {},
        Err(error) => error.to_string(),
    }
}

async fn follow_stream(
    bus: &Bus,
    progress: &Progress,
    sender: &mpsc::Sender<FeedItem>,
    health: &watch::Sender<InboxHealth>,
) -> Result<Infallible, async_nats::Error> {
    let mut connection = bus.changes();
    let mut stream = bus.jetstream.get_stream(topology::RUNS).await?;
    let last = Sequence(stream.info().await?.state.last_sequence);
    if progress.next() > last {
        progress.catch_up(sender).await?;
    }
    let config = consumer::pull::OrderedConfig {
        deliver_policy: DeliverPolicy::ByStartSequence {
            start_sequence: progress.next().0,
        },
        ..consumer::pull::OrderedConfig::default()
    };
    let mut messages = stream.create_consumer(config).await?.messages().await?;
    health.send_replace(InboxHealth::Alive);
    loop {
        let next = tokio::select! {
            next = messages.next() => next,
            _ = connection.changed() => return Err("the connection was lost".into()),
        };
        let message = next.ok_or("the server ended the feed")??;
        let info = message.info()?;
        let sequence = Sequence(info.stream_sequence);
        let is_last = info.pending == 0;
        if let Some(item) = item(sequence, &message.subject, &message.payload) {
            sender.send(item).await.map_err(|_| NobodyReads)?;
        }
        progress.given.store(sequence.0, Ordering::Relaxed);
        if is_last || sequence >= last {
            progress.catch_up(sender).await?;
        }
    }
}

/// Watches the feed until it does not move while there is more, and says so. A
/// consumer can die while the connection stays up.
async fn watch_over(bus: &Bus, progress: &Progress) -> String {
    let mut seen = progress.next();
    let mut since = Instant::now();
    loop {
        tokio::time::sleep(LOOK).await;
        let next = progress.next();
        if next != seen {
            seen = next;
            since = Instant::now();
            continue;
        }
        match is_behind(bus, next).await {
            Ok(false) => since = Instant::now(),
            Ok(true) if since.elapsed() < STUCK_AFTER => {}
            Ok(true) => {
                return format!(
                    "no record came for {} s although there are some after {}",
                    STUCK_AFTER.as_secs(),
                    next.0 - 1
                );
            }
            Err(error) => return error.to_string(),
        }
    }
}

/// Whether the stream has a record at a position or after it. Its last position
/// alone does not tell: records at the end may have been removed.
async fn is_behind(bus: &Bus, next: Sequence) -> Result<bool, FetchError> {
    let query = Query {
        stream: topology::RUNS,
        subject: ">",
        from: next,
        messages_max: 1,
    };
    Ok(!bus.fetch(query).await?.messages.is_empty())
}

fn item(sequence: Sequence, subject: &str, payload: &[u8]) -> Option<FeedItem> {
    let Some(run) = subject::parse_record(subject) else {
        tracing::error!(subject, "record on a subject that names no run");
        return None;
    };
    Some(match record::decode(run, payload) {
        Ok(record) => FeedItem::Record(sequence, Box::new(record)),
        Err(reason) => FeedItem::Unreadable {
            run,
            sequence,
            reason,
        },
    })
}
