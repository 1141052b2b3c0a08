//! The bare figures: what NATS itself can do, with nothing of ours around it.
//!
//! `make bench` runs these in the same run, on the same server and with the
//! same message sizes as ours, and holds ours to them as a ratio. Never used by
//! the product.

use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream::{self, consumer, stream};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{StreamExt as _, TryStreamExt as _};

/// A failure of a bare measurement; nothing handles it.
pub type BareError = Box<dyn std::error::Error + Send + Sync>;

/// How a run is written down in a bare protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// No journal rules: one record a run, no expectation. What the brief calls
    /// the bare whole path.
    OneRecord,
    /// Two hops: the created record is a work item that is delivered, claimed
    /// by a record of its own, and acknowledged after the end. Three records.
    CreateWakeClaim,
    /// The created record holds the creator's claim and is a work item as well:
    /// it is delivered and acknowledged after the end. Two records.
    CreateClaimWake,
    /// The created record holds the creator's claim; no work item. Two records.
    CreateClaim,
}

/// One bare measurement.
#[derive(Debug, Clone, Copy)]
pub struct BareRun {
    /// The protocol.
    pub protocol: Protocol,
    /// Events, and so runs.
    pub events: usize,
    /// Log lines of each run.
    pub log_lines: usize,
    /// Runs at the same time.
    pub in_flight: usize,
    /// Size of an event's and a record's body, in bytes.
    pub body_bytes: usize,
}

/// What a bare measurement gave.
#[derive(Debug, Clone, Copy)]
pub struct BareFigures {
    /// From the first delivery to the last acknowledgement.
    pub elapsed: Duration,
    /// Runs a second.
    pub runs_per_second: f64,
}

/// The work of one run between its records, for example calling a component.
pub type Work<'a> = &'a (dyn Fn() -> Step + Sync);

/// What the work of a run is.
pub type Step = BoxFuture<'static, ()>;

/// A connection for bare measurements, with streams of its own.
#[derive(Debug, Clone)]
pub struct Bare {
    client: async_nats::Client,
    jetstream: jetstream::Context,
}

/// What was stored in a stream.
#[derive(Debug, Clone, Copy)]
pub struct Stored {
    /// How many messages.
    pub messages: u64,
    /// From the first one to the last one, by the server's clock.
    pub span: Duration,
}

const EVENT: &str = "bare.event.a";

impl Bare {
    /// What is stored in a stream now.
    ///
    /// # Errors
    /// When the server does not have it.
    pub async fn stored(&self, stream: &str) -> Result<Stored, BareError> {
        let mut stream = self.jetstream.get_stream(stream).await?;
        let state = &stream.info().await?.state;
        let span = state.last_timestamp - state.first_timestamp;
        Ok(Stored {
            messages: state.messages,
            span: span.try_into().unwrap_or_default(),
        })
    }

    /// How many different subjects of a filter a stream holds messages of.
    ///
    /// # Errors
    /// When the server does not have the stream.
    pub async fn subjects(&self, stream: &str, filter: &str) -> Result<usize, BareError> {
        let stream = self.jetstream.get_stream(stream).await?;
        let mut subjects = stream.info_with_subjects(filter).await?;
        let mut count = 0;
        while subjects.try_next().await?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// How many messages a consumer has not acknowledged yet.
    ///
    /// # Errors
    /// When the server does not have it.
    pub async fn left(&self, stream: &str, consumer: &str) -> Result<u64, BareError> {
        let stream = self.jetstream.get_stream(stream).await?;
        let mut consumer: consumer::PullConsumer = stream.get_consumer(consumer).await?;
        let info = consumer.info().await?;
        Ok(info.num_pending + u64::try_from(info.num_ack_pending)?)
    }

    /// Connects and makes fresh streams.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses a stream.
    pub async fn connect(url: &str, user: &str, password: &str) -> Result<Self, BareError> {
        let client =
            async_nats::ConnectOptions::with_user_and_password(user.into(), password.into())
                .client_capacity(4_096)
                .connect(url)
                .await?;
        let jetstream = jetstream::new(client.clone());
        let bare = Self { client, jetstream };
        bare.reset().await?;
        Ok(bare)
    }

    async fn reset(&self) -> Result<(), BareError> {
        for (name, subject) in [
            ("BARE_EVENTS", "bare.event.>"),
            ("BARE_RUNS", "bare.run.>"),
            ("BARE_LOGS", "bare.log.>"),
        ] {
            // It may not exist yet.
            drop(self.jetstream.delete_stream(name).await);
            self.jetstream
                .create_stream(stream::Config {
                    name: name.into(),
                    subjects: vec![subject.into()],
                    storage: stream::StorageType::File,
                    allow_direct: true,
                    ..stream::Config::default()
                })
                .await?;
        }
        Ok(())
    }

    /// Publishes, all at once, and returns the rate a second.
    ///
    /// # Errors
    /// When a publish fails.
    pub async fn publish(
        &self,
        subject: &str,
        count: usize,
        body: Bytes,
    ) -> Result<f64, BareError> {
        let start = Instant::now();
        let mut pending = FuturesUnordered::new();
        for _ in 0..count {
            if pending.len() >= 1_024 {
                pending.next().await.transpose()?;
            }
            pending.push(self.client.request(subject.to_owned(), body.clone()));
        }
        while let Some(done) = pending.next().await {
            done?;
        }
        Ok(rate(count, start.elapsed()))
    }

    /// Publishes one after the other and returns each round trip.
    ///
    /// # Errors
    /// When a publish fails.
    pub async fn round_trips(
        &self,
        count: usize,
        body_bytes: usize,
    ) -> Result<Vec<Duration>, BareError> {
        let body = Bytes::from(vec![b'x'; body_bytes]);
        let mut trips = Vec::with_capacity(count);
        for _ in 0..count {
            let start = Instant::now();
            self.client.request(EVENT, body.clone()).await?;
            trips.push(start.elapsed());
        }
        Ok(trips)
    }

    /// Publishes the events, then consumes and works through all of them.
    ///
    /// # Errors
    /// When the server refuses anything.
    pub async fn run(&self, run: BareRun, work: Work<'_>) -> Result<BareFigures, BareError> {
        self.reset().await?;
        let body = Bytes::from(vec![b'x'; run.body_bytes]);
        self.publish(EVENT, run.events, body).await?;
        let events = self.consumer("BARE_EVENTS", "bare.event.>").await?;
        let start = Instant::now();
        match run.protocol {
            Protocol::OneRecord | Protocol::CreateClaim => {
                self.consume(&events, run, |message| self.one_hop(message, run, work))
                    .await?;
            }
            Protocol::CreateWakeClaim | Protocol::CreateClaimWake => {
                let wakes = self
                    .consumer("BARE_RUNS", "bare.run.*.wake.default")
                    .await?;
                let first = self.consume(&events, run, |message| self.create(message, run));
                let second =
                    self.consume(&wakes, run, |message| self.second_hop(message, run, work));
                tokio::try_join!(first, second)?;
            }
        }
        let elapsed = start.elapsed();
        Ok(BareFigures {
            elapsed,
            runs_per_second: rate(run.events, elapsed),
        })
    }

    async fn consumer(
        &self,
        stream: &str,
        filter: &str,
    ) -> Result<consumer::PullConsumer, BareError> {
        let config = consumer::pull::Config {
            durable_name: Some("bare".into()),
            filter_subject: filter.into(),
            max_ack_pending: 20_000,
            ack_wait: Duration::from_secs(60),
            ..consumer::pull::Config::default()
        };
        Ok(self
            .jetstream
            .create_consumer_on_stream(config, stream)
            .await?)
    }

    async fn consume<'a, F>(
        &self,
        consumer: &consumer::PullConsumer,
        run: BareRun,
        handle: impl Fn(jetstream::Message) -> F,
    ) -> Result<(), BareError>
    where
        F: Future<Output = Result<(), BareError>> + 'a,
    {
        let mut messages = consumer
            .stream()
            .max_messages_per_batch(run.in_flight)
            .messages()
            .await?;
        let mut pending = FuturesUnordered::new();
        let mut taken = 0;
        let mut done = 0;
        while done < run.events {
            tokio::select! {
                message = messages.next(), if taken < run.events && pending.len() < run.in_flight => {
                    if let Some(message) = message {
                        pending.push(handle(message?));
                        taken += 1;
                    }
                }
                Some(result) = pending.next() => {
                    result?;
                    done += 1;
                }
            }
        }
        Ok(())
    }

    async fn one_hop(
        &self,
        message: jetstream::Message,
        run: BareRun,
        work: Work<'_>,
    ) -> Result<(), BareError> {
        let id = sequence(&message)?;
        let mut after = 0;
        if run.protocol == Protocol::CreateClaim {
            after = self.append(id, "created", Some(0), run.body_bytes).await?;
        }
        work().await;
        self.log(id, run).await?;
        let expected = (run.protocol == Protocol::CreateClaim).then_some(after);
        self.append(id, "ended", expected, run.body_bytes).await?;
        self.ack(&message).await
    }

    async fn create(&self, message: jetstream::Message, run: BareRun) -> Result<(), BareError> {
        let id = sequence(&message)?;
        self.append(id, "wake.default", Some(0), run.body_bytes)
            .await?;
        self.ack(&message).await
    }

    async fn second_hop(
        &self,
        message: jetstream::Message,
        run: BareRun,
        work: Work<'_>,
    ) -> Result<(), BareError> {
        let id: u64 = message
            .subject
            .split('.')
            .nth(2)
            .unwrap_or_default()
            .parse()?;
        let mut after = sequence(&message)?;
        if run.protocol == Protocol::CreateWakeClaim {
            after = self
                .append(id, "claimed", Some(after), run.body_bytes)
                .await?;
        }
        work().await;
        self.log(id, run).await?;
        self.append(id, "ended", Some(after), run.body_bytes)
            .await?;
        self.ack(&message).await
    }

    async fn append(
        &self,
        id: u64,
        kind: &str,
        after: Option<u64>,
        body_bytes: usize,
    ) -> Result<u64, BareError> {
        let mut headers = HeaderMap::new();
        if let Some(after) = after {
            headers.insert("Nats-Expected-Last-Subject-Sequence", after.to_string());
            headers.insert(
                "Nats-Expected-Last-Subject-Sequence-Subject",
                format!("bare.run.{id}.>"),
            );
        }
        let body = Bytes::from(vec![b'x'; body_bytes]);
        let reply = self
            .client
            .request_with_headers(format!("bare.run.{id}.{kind}"), headers, body)
            .await?;
        let ack: serde_json::Value = serde_json::from_slice(&reply.payload)?;
        ack.get("seq")
            .and_then(serde_json::Value::as_u64)
            .filter(|seq| *seq > 0)
            .ok_or_else(|| {
                format!(
                    "the server refused a record: {}",
                    String::from_utf8_lossy(&reply.payload)
                )
                .into()
            })
    }

    async fn log(&self, id: u64, run: BareRun) -> Result<(), BareError> {
        for _ in 0..run.log_lines {
            let line = Bytes::from_static(
                b"a log line of about the usual length, as a playbook prints it",
            );
            self.client
                .publish(format!("bare.log.{id}.step"), line)
                .await?;
        }
        Ok(())
    }

    async fn ack(&self, message: &jetstream::Message) -> Result<(), BareError> {
        let reply = message
            .reply
            .clone()
            .ok_or("a delivery without a reply subject")?;
        self.client.request(reply, "+ACK".into()).await?;
        Ok(())
    }
}

fn sequence(message: &jetstream::Message) -> Result<u64, BareError> {
    Ok(message.info()?.stream_sequence)
}

fn rate(count: usize, elapsed: Duration) -> f64 {
    let count = u32::try_from(count).map_or(f64::MAX, f64::from);
    count / elapsed.as_secs_f64().max(f64::EPSILON)
}
