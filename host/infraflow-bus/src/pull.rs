//! One pull of a durable consumer (ADR-13): asks for messages in batches and
//! says when something is wrong.
//!
//! The client has a stream for this, but that one cannot be ended without
//! losing what is on its way, which then comes to nobody for a whole
//! acknowledgement time. This one ends when the server owes it nothing more.

use std::time::Duration;

use async_nats::jetstream::{self, Context};
use async_nats::{StatusCode, Subscriber};
use futures::{FutureExt as _, StreamExt as _};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use crate::connect::Bus;
use crate::topology::Consumer;
use crate::wire::headers as h;

/// How long a request for messages waits on the server before it is renewed:
/// also how long it takes at most to end a pull in order.
pub(crate) const EXPIRES: Duration = Duration::from_secs(5);

/// How often the server shows that a request is alive. Twice this without a
/// sign and the consumer counts as dead.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// How long after its end the news that a request is over may take.
const LATE: Duration = Duration::from_secs(1);

/// A pull. Asks for more when less than half of a batch is on its way.
pub(crate) struct Pull {
    bus: Bus,
    context: Context,
    subject: String,
    inbox: String,
    messages: Subscriber,
    batch: usize,
    /// Messages that were asked for and have not come.
    asked: usize,
    /// When the last request was made.
    asked_at: Instant,
}

/// What the server says beside messages.
#[derive(Debug, PartialEq, Eq)]
enum News {
    /// It is there.
    Heartbeat,
    /// A request is over with so many messages not given.
    Expired(usize),
    /// Something is wrong.
    Broken(String),
}

impl Pull {
    /// Begins to pull; at most `batch` messages are on their way at once.
    pub(crate) async fn start(
        bus: &Bus,
        consumer: &Consumer,
        batch: usize,
    ) -> Result<Self, String> {
        let inbox = bus.client.new_inbox();
        let messages = bus.client.subscribe(inbox.clone()).await;
        Ok(Self {
            bus: bus.clone(),
            context: bus.jetstream.clone(),
            subject: consumer.next_subject(),
            inbox,
            messages: messages.map_err(|error| error.to_string())?,
            batch,
            asked: 0,
            asked_at: Instant::now(),
        })
    }

    /// The next message, or what is wrong. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<jetstream::Message, String> {
        // What came while nobody took it is there at once.
        let mut heard = None;
        loop {
            if self.asked < self.batch / 2 {
                self.ask().await?;
            }
            let message = match self.messages.next().now_or_never() {
                Some(message) => message,
                // Nothing is there: only now the clock matters.
                None => self.wait(heard.get_or_insert_with(Instant::now)).await?,
            };
            let message = message.ok_or("the connection was closed")?;
            match news(&message) {
                None => {
                    self.asked = self.asked.saturating_sub(1);
                    let context = self.context.clone();
                    return Ok(jetstream::Message { message, context });
                }
                Some(News::Heartbeat) => {}
                Some(News::Expired(rest)) => self.asked = self.asked.saturating_sub(rest),
                Some(News::Broken(reason)) => return Err(reason),
            }
        }
    }

    /// Waits for what the server says next; `heard` is when it said something
    /// last.
    async fn wait(&mut self, heard: &mut Instant) -> Result<Option<async_nats::Message>, String> {
        let message = timeout_at(*heard + 2 * HEARTBEAT, self.messages.next())
            .await
            .map_err(|_| "the server shows no sign of life of the consumer".to_owned())?;
        *heard = Instant::now();
        Ok(message)
    }

    async fn ask(&mut self) -> Result<(), String> {
        let more = self.batch - self.asked;
        let request = json!({
            "batch": more,
            "expires": nanos(EXPIRES),
            "idle_heartbeat": nanos(HEARTBEAT),
        });
        let published = self
            .bus
            .client
            .publish_with_reply(
                self.subject.clone(),
                self.inbox.clone(),
                request.to_string().into(),
            )
            .await;
        published.map_err(|error| error.to_string())?;
        self.asked = self.batch;
        self.asked_at = Instant::now();
        Ok(())
    }

    /// Asks for nothing more, waits until the last request is over, and returns
    /// what came meanwhile.
    pub(crate) async fn end(mut self) -> Vec<jetstream::Message> {
        let over = self.asked_at + EXPIRES + LATE;
        let mut rest = Vec::new();
        while self.asked > 0 {
            let Ok(Some(message)) = timeout_at(over, self.messages.next()).await else {
                break;
            };
            match news(&message) {
                None => {
                    self.asked -= 1;
                    let context = self.context.clone();
                    rest.push(jetstream::Message { message, context });
                }
                Some(News::Heartbeat) => {}
                Some(News::Expired(unused)) => self.asked = self.asked.saturating_sub(unused),
                Some(News::Broken(_)) => break,
            }
        }
        rest
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What a message says that is none of the stream's.
fn news(message: &async_nats::Message) -> Option<News> {
    let status = message.status?;
    let text = message.description.as_deref().unwrap_or_default();
    let rest = || {
        let headers = message.headers.as_ref()?;
        headers.get(h::PENDING_MESSAGES)?.as_str().parse().ok()
    };
    Some(match status {
        StatusCode::IDLE_HEARTBEAT => News::Heartbeat,
        // Without a number all of it counts as over: asking once more does no harm.
        StatusCode::TIMEOUT | StatusCode::NOT_FOUND => News::Expired(rest().unwrap_or(usize::MAX)),
        _ => News::Broken(format!("the server ended the pull: {status} {text}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_nats::HeaderMap;

    fn message(status: Option<u16>, pending: Option<&str>) -> async_nats::Message {
        let mut headers = HeaderMap::new();
        if let Some(pending) = pending {
            headers.insert(h::PENDING_MESSAGES, pending);
        }
        async_nats::Message {
            subject: "x".into(),
            reply: None,
            payload: bytes::Bytes::new(),
            headers: Some(headers),
            status: status.map(|status| StatusCode::from_u16(status).unwrap()),
            description: Some("Consumer Deleted".to_owned()),
            length: 0,
        }
    }

    #[test]
    fn what_the_server_says() {
        let deleted = "the server ended the pull: 409 Consumer Deleted".to_owned();
        for (status, pending, expected) in [
            (None, None, None),
            (Some(100), None, Some(News::Heartbeat)),
            (Some(408), Some("7"), Some(News::Expired(7))),
            (Some(408), None, Some(News::Expired(usize::MAX))),
            (Some(404), Some("x"), Some(News::Expired(usize::MAX))),
            (Some(409), Some("7"), Some(News::Broken(deleted))),
        ] {
            assert_eq!(news(&message(status, pending)), expected, "{status:?}");
        }
    }
}
