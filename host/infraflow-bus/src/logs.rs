//! Log lines: writing them without ever waiting for a reader, and reading them
//! from the start.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use infraflow_core::Timestamp;
use infraflow_core::id::RunId;
use infraflow_core::limits::{LOG_BYTES, LOG_LINES_PER_SECOND, LOG_QUEUE, LOG_QUEUE_BYTES};
use infraflow_core::line::Line;
use infraflow_core::ports::{AttemptLog, BoxFuture, LineSink, LogBook, LogKey, Sequence};
use infraflow_core::run::LogFacts;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::connect::Bus;
use crate::fetch::{FetchError, Query};
use crate::task::{Task, spawn};
use crate::wire::line::{self, Attempt, LoggedLine};
use crate::{subject, topology};

/// The longest wait for room when lines come faster than NATS takes them. After
/// it lines are dropped until there is room again.
const PATIENCE: Duration = Duration::from_secs(2);

/// Room that a writer waits for: what a tool can print between two waits.
const ROOM: usize = LOG_QUEUE / 4;

/// The same in bytes.
const ROOM_BYTES: u32 = 256 * 1024;

/// The log lines of all runs. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct LogStore {
    bus: Bus,
    queue: Arc<Queue>,
}

/// Lines on their way out, shared by all attempts.
#[derive(Debug)]
struct Queue {
    sender: mpsc::Sender<Outgoing>,
    bytes: Arc<Semaphore>,
    /// Nobody waits for room while NATS takes nothing.
    stuck: AtomicBool,
    _task: Task,
}

#[derive(Debug)]
struct Outgoing {
    subject: async_nats::Subject,
    headers: HeaderMap,
    text: String,
    /// Its place in the queue, in bytes.
    _bytes: OwnedSemaphorePermit,
}

/// Some log lines, in the order in which they were stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogPage {
    /// The lines.
    pub lines: Vec<LoggedLine>,
    /// Where the next page begins.
    pub next: Sequence,
    /// Whether there is more already.
    pub more: bool,
}

impl LogStore {
    /// The log lines behind this connection. Give it one of its own: then a
    /// flood of lines does not stand in front of the records of other runs.
    pub fn new(bus: Bus) -> Self {
        let (sender, receiver) = mpsc::channel(LOG_QUEUE);
        let task = spawn(send_all(bus.clone(), receiver));
        Self {
            bus,
            queue: Arc::new(Queue {
                sender,
                bytes: Arc::new(Semaphore::new(LOG_QUEUE_BYTES)),
                stuck: AtomicBool::new(false),
                _task: task,
            }),
        }
    }

    /// Reads lines of a run from a position on.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn read(
        &self,
        run: RunId,
        from: Sequence,
        lines_max: usize,
    ) -> Result<LogPage, FetchError> {
        let subject = subject::logs(run);
        let query = Query {
            stream: topology::LOGS,
            subject: &subject,
            from,
            messages_max: lines_max,
        };
        let page = self.bus.fetch(query).await?;
        let next = page
            .messages
            .last()
            .map_or(from, |last| Sequence(last.sequence.0 + 1));
        let lines = page
            .messages
            .into_iter()
            .filter_map(|stored| {
                line::decode(
                    stored.sequence,
                    &stored.subject,
                    &stored.headers,
                    &stored.payload,
                )
            })
            .collect();
        Ok(LogPage {
            lines,
            next,
            more: page.more,
        })
    }
}

/// Sends lines as plain publishes: their order is the connection's, and a reader
/// counts what is missing by number.
async fn send_all(bus: Bus, mut lines: mpsc::Receiver<Outgoing>) {
    while let Some(Outgoing {
        subject,
        headers,
        text,
        _bytes,
    }) = lines.recv().await
    {
        // What is written to a connection that is gone would be lost.
        if !bus.is_connected() {
            bus.connected().await;
        }
        if let Err(error) = bus
            .client
            .publish_with_headers(subject, headers, text.into())
            .await
        {
            tracing::warn!(%error, "log line not published");
        }
    }
}

impl LogBook for LogStore {
    fn open(&self, key: LogKey) -> Arc<dyn AttemptLog> {
        let LogKey {
            run,
            step,
            attempt,
            epoch,
        } = key;
        Arc::new(Writer {
            queue: self.queue.clone(),
            subject: subject::log(run, &step).into(),
            attempt: Attempt {
                run,
                step,
                attempt,
                epoch,
            },
            numbered: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            pace: Mutex::new(Pace {
                since: Instant::now(),
                lines: 0,
            }),
        })
    }
}

/// Writes the lines of one attempt.
struct Writer {
    queue: Arc<Queue>,
    subject: async_nats::Subject,
    attempt: Attempt,
    numbered: AtomicU64,
    dropped: AtomicU64,
    bytes: AtomicU64,
    pace: Mutex<Pace>,
}

/// Lines since the second began.
struct Pace {
    since: Instant,
    lines: u64,
}

impl LineSink for Writer {
    fn line(&self, line: Line) {
        let number = self.numbered.fetch_add(1, Ordering::Relaxed) + 1;
        let length = u64::try_from(line.text.len()).unwrap_or(u64::MAX);
        let bytes = self.bytes.fetch_add(length, Ordering::Relaxed) + length;
        if bytes > LOG_BYTES.0 || !self.publish(number, line) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn lost(&self, lines: u64) {
        self.numbered.fetch_add(lines, Ordering::Relaxed);
        self.dropped.fetch_add(lines, Ordering::Relaxed);
    }

    fn room(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some(pause) = self.pause() {
                tokio::time::sleep(pause).await;
            }
            self.queue.wait_for_room().await;
        })
    }
}

impl AttemptLog for Writer {
    fn facts(&self) -> LogFacts {
        LogFacts {
            lines: self.numbered.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }

    fn sink(self: Arc<Self>) -> Arc<dyn LineSink> {
        self
    }
}

impl Writer {
    /// Hands a line to the queue; `false` when it has no room.
    fn publish(&self, number: u64, line: Line) -> bool {
        let headers = line::headers(&self.attempt, number, Timestamp::now(), &line);
        let subject = self.subject.clone();
        let Some(bytes) = self.queue.bytes_for(&line) else {
            return false;
        };
        self.queue
            .sender
            .try_send(Outgoing {
                subject,
                headers,
                text: line.text,
                _bytes: bytes,
            })
            .is_ok()
    }

    /// How long to wait before more lines of this attempt, so that it stays
    /// below [`LOG_LINES_PER_SECOND`].
    fn pause(&self) -> Option<Duration> {
        const SECOND: Duration = Duration::from_secs(1);
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = self.numbered.load(Ordering::Relaxed);
        let passed = pace.since.elapsed();
        if passed >= SECOND {
            *pace = Pace {
                since: Instant::now(),
                lines,
            };
            return None;
        }
        (lines.saturating_sub(pace.lines) >= LOG_LINES_PER_SECOND).then(|| SECOND - passed)
    }
}

impl Queue {
    fn bytes_for(&self, line: &Line) -> Option<OwnedSemaphorePermit> {
        let length = u32::try_from(line.text.len()).ok()?;
        self.bytes.clone().try_acquire_many_owned(length).ok()
    }

    fn has_bytes(&self) -> bool {
        u32::try_from(self.bytes.available_permits()).is_ok_and(|bytes| bytes >= ROOM_BYTES)
    }

    async fn wait_for_room(&self) {
        if self.sender.capacity() >= ROOM && self.has_bytes() {
            self.stuck.store(false, Ordering::Relaxed);
            return;
        }
        if self.stuck.load(Ordering::Relaxed) {
            return;
        }
        let room = async {
            // Errors mean that the queue is closed: then there is nothing to wait for.
            drop(self.bytes.acquire_many(ROOM_BYTES).await);
            drop(self.sender.reserve_many(ROOM).await);
        };
        if tokio::time::timeout(PATIENCE, room).await.is_err() {
            self.stuck.store(true, Ordering::Relaxed);
            tracing::warn!("NATS takes no log lines; they are dropped and counted until it does");
        }
    }
}
