//! Every record of every run, in order: what read models are built from.

use async_nats::jetstream::consumer::{self, DeliverPolicy};
use futures::StreamExt as _;
use infraflow_core::ports::{BoxFuture, FeedItem, RunFeed, Sequence};
use tokio::sync::{Mutex, mpsc};

use crate::connect::Bus;
use crate::task::{Task, spawn};
use crate::wire::record;
use crate::{subject, topology};

/// Records that wait in memory for the reader. More stay on the server.
const PREFETCH: usize = 1_024;

/// The pause before a failed feed begins again where it stopped.
const RESTART_DELAY: std::time::Duration = std::time::Duration::from_millis(500);

/// A feed of all records.
pub struct Feed {
    items: Mutex<mpsc::Receiver<FeedItem>>,
    _task: Task,
}

impl Feed {
    /// Starts at the first record.
    pub fn open(bus: Bus) -> Self {
        let (sender, items) = mpsc::channel(PREFETCH);
        let task = spawn(async move {
            let mut progress = Progress {
                next: Sequence(1),
                caught_up: false,
            };
            loop {
                let reason = follow(&bus, &mut progress, &sender).await;
                if sender.is_closed() || bus.is_closing() {
                    return;
                }
                tracing::warn!(
                    reason,
                    "feed of runs interrupted, going on where it stopped"
                );
                tokio::time::sleep(RESTART_DELAY).await;
                bus.connected().await;
            }
        });
        Self {
            items: Mutex::new(items),
            _task: task,
        }
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

struct Progress {
    next: Sequence,
    caught_up: bool,
}

/// Follows the stream until something is wrong, and says what.
async fn follow(bus: &Bus, progress: &mut Progress, sender: &mpsc::Sender<FeedItem>) -> String {
    match open(bus, progress, sender).await {
        Ok(()) => "nobody reads it".to_owned(),
        Err(error) => error.to_string(),
    }
}

async fn open(
    bus: &Bus,
    progress: &mut Progress,
    sender: &mpsc::Sender<FeedItem>,
) -> Result<(), async_nats::Error> {
    let mut connection = bus.changes();
    let mut stream = bus.jetstream.get_stream(topology::RUNS).await?;
    let last = Sequence(stream.info().await?.state.last_sequence);
    if !progress.caught_up && progress.next > last {
        progress.caught_up = true;
        if sender.send(FeedItem::CaughtUp).await.is_err() {
            return Ok(());
        }
    }
    let config = consumer::pull::OrderedConfig {
        deliver_policy: DeliverPolicy::ByStartSequence {
            start_sequence: progress.next.0,
        },
        ..consumer::pull::OrderedConfig::default()
    };
    let mut messages = stream.create_consumer(config).await?.messages().await?;
    loop {
        let next = tokio::select! {
            next = messages.next() => next,
            _ = connection.changed() => return Err("the connection was lost".into()),
        };
        let message = next.ok_or("the server ended the feed")??;
        let info = message.info()?;
        let sequence = Sequence(info.stream_sequence);
        let is_last = info.pending == 0;
        progress.next = Sequence(sequence.0 + 1);
        if let Some(item) = item(sequence, &message.subject, &message.payload)
            && sender.send(item).await.is_err()
        {
            return Ok(());
        }
        if !progress.caught_up && (is_last || sequence >= last) {
            progress.caught_up = true;
            if sender.send(FeedItem::CaughtUp).await.is_err() {
                return Ok(());
            }
        }
    }
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
