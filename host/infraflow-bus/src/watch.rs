//! Live subscriptions of the command line.

use async_nats::Subscriber;
use futures::StreamExt as _;
use infraflow_core::Timestamp;
use infraflow_core::event::Event;
use infraflow_core::id::RunId;
use infraflow_core::ports::Sequence;

use crate::connect::Bus;
use crate::wire::event::{Incoming, decode};
use crate::{subject, topology};

/// Rings when something may have changed. A doorbell: whoever hears it looks.
pub struct Bell(Vec<Subscriber>);

impl Bell {
    /// Rings at each log line of a run and at each notice about it.
    ///
    /// # Errors
    /// When the connection refuses the subscription.
    pub async fn of_run(bus: &Bus, run: RunId) -> Result<Self, String> {
        let mut subscribers = Vec::new();
        for subject in [
            subject::logs(run),
            format!("{}.run.{run}.>", subject::NOTICE),
        ] {
            subscribers.push(
                bus.client
                    .subscribe(subject)
                    .await
                    .map_err(|error| error.to_string())?,
            );
        }
        bus.flush().await;
        Ok(Self(subscribers))
    }

    /// Waits for the next ring; several at once count as one. Cancel-safe.
    pub async fn ring(&mut self) {
        {
            let rings = self
                .0
                .iter_mut()
                .map(|subscriber| Box::pin(subscriber.next()));
            futures::future::select_all(rings).await;
        }
        for subscriber in &mut self.0 {
            while let Some(Some(_)) = futures::FutureExt::now_or_never(subscriber.next()) {}
        }
    }
}

/// Live events.
pub struct EventTail(futures::stream::SelectAll<Subscriber>);

impl EventTail {
    /// Starts to listen.
    ///
    /// # Errors
    /// When the connection refuses a subscription.
    pub async fn open(bus: &Bus) -> Result<Self, String> {
        let mut subscribers = Vec::new();
        for prefix in [subject::EVENT, subject::TRIGGER] {
            let subscriber = bus.client.subscribe(format!("{prefix}.>")).await;
            subscribers.push(subscriber.map_err(|error| error.to_string())?);
        }
        bus.flush().await;
        Ok(Self(futures::stream::select_all(subscribers)))
    }

    /// The next message: its subject, and the event or why it is none. `None`
    /// when the connection is closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<(String, Result<Event, String>)> {
        let message = self.0.next().await?;
        let now = Timestamp::now();
        let decoded = decode(&Incoming {
            subject: &message.subject,
            headers: message.headers.as_ref(),
            payload: &message.payload,
            // A live message does not know its position.
            sequence: Sequence::NONE,
            stored_at: now,
            stream_created_at: now,
        });
        let subject = message.subject.to_string();
        Some((subject, decoded.map_err(|undecodable| undecodable.detail)))
    }
}

impl Bus {
    /// Reads stored events from a position on: subject, position, and the event
    /// or why it is none.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn stored_events(
        &self,
        from: Sequence,
        events_max: usize,
    ) -> Result<Vec<(String, Sequence, Result<Event, String>)>, crate::fetch::FetchError> {
        let created = topology::created_at(self, topology::EVENTS)
            .await
            .unwrap_or(Timestamp::UNIX_EPOCH);
        let query = crate::fetch::Query {
            stream: topology::EVENTS,
            subject: ">",
            from,
            messages_max: events_max,
        };
        let page = self.fetch(query).await?;
        Ok(page
            .messages
            .into_iter()
            .map(|stored| {
                let decoded = decode(&Incoming {
                    subject: &stored.subject,
                    headers: Some(&stored.headers),
                    payload: &stored.payload,
                    sequence: stored.sequence,
                    stored_at: stored.time,
                    stream_created_at: created,
                });
                (
                    stored.subject,
                    stored.sequence,
                    decoded.map_err(|error| error.detail),
                )
            })
            .collect())
    }
}
