//! The journals of runs, in the stream `RUNS`.

use async_nats::HeaderMap;
use infraflow_core::id::RunId;
use infraflow_core::limits::RECORD;
use infraflow_core::ports::{AppendError, BoxFuture, Journals, ReadError, Sequence, StoredRecords};
use infraflow_core::run::RecordEnvelope;

use crate::connect::Bus;
use crate::fetch::{FetchError, Query};
use crate::reply::{self, NotStored};
use crate::wire::{headers as h, record};
use crate::{subject, topology};

/// Most records read in one request.
const PAGE: usize = 500;

/// The journals.
#[derive(Debug, Clone)]
pub struct JournalStore {
    bus: Bus,
}

impl JournalStore {
    /// The journals behind this connection.
    pub fn new(bus: Bus) -> Self {
        Self { bus }
    }

    async fn append_record(
        &self,
        record: &RecordEnvelope,
        after: Sequence,
    ) -> Result<Sequence, AppendError> {
        let payload = record::encode(record);
        if payload.len() > RECORD.to_usize() {
            return Err(AppendError::TooLarge(
                u64::try_from(payload.len()).unwrap_or(u64::MAX),
            ));
        }
        let mut headers = HeaderMap::new();
        headers.insert(h::EXPECTED_SEQUENCE, after.0.to_string());
        headers.insert(h::EXPECTED_SUBJECT, subject::journal(record.run));
        let subject = subject::record(record.run, &record.kind());
        let reply = self
            .bus
            .client
            .request_with_headers(subject, headers, payload.into())
            .await;
        match reply::sequence(reply) {
            Ok(sequence) => Ok(Sequence(sequence)),
            Err(NotStored::WrongSequence) => self.was_it_mine(record).await,
            Err(NotStored::Full) => Err(AppendError::Full),
            Err(NotStored::Unknown(reason)) => Err(AppendError::Unavailable(reason)),
        }
    }

    /// After a lost answer the same append finds its own record there. Asks the
    /// stream's leader: a replica may lag.
    async fn was_it_mine(&self, record: &RecordEnvelope) -> Result<Sequence, AppendError> {
        let unavailable = |error: String| AppendError::Unavailable(error);
        let stream = self.bus.jetstream.get_stream_no_info(topology::RUNS).await;
        let stream = stream.map_err(|error| unavailable(error.to_string()))?;
        let last = stream
            .get_last_raw_message_by_subject(&subject::journal(record.run))
            .await;
        let last = last.map_err(|error| unavailable(error.to_string()))?;
        match record::decode(record.run, &last.payload) {
            Ok(found) if found.nonce == record.nonce && found.writer == record.writer => {
                Ok(Sequence(last.sequence))
            }
            _ => Err(AppendError::Conflict),
        }
    }

    async fn read_positions(
        &self,
        run: RunId,
        positions: &[Sequence],
    ) -> Result<Option<StoredRecords>, ReadError> {
        let unavailable = |error: FetchError| ReadError::Unavailable(error.to_string());
        let fetched = positions
            .iter()
            .map(|position| self.bus.fetch_exactly(topology::RUNS, *position));
        let mut records = Vec::with_capacity(positions.len());
        for stored in futures::future::try_join_all(fetched)
            .await
            .map_err(unavailable)?
        {
            let Some(message) = stored else {
                return Ok(None);
            };
            if subject::parse_record(&message.subject) != Some(run) {
                return Ok(None);
            }
            let sequence = message.sequence;
            let record = record::decode(run, &message.payload)
                .map_err(|reason| ReadError::Unreadable { sequence, reason })?;
            records.push((sequence, record));
        }
        Ok(Some(records))
    }

    async fn read_records(
        &self,
        run: RunId,
        after: Sequence,
    ) -> Result<Vec<(Sequence, RecordEnvelope)>, ReadError> {
        let subject = subject::journal(run);
        let mut records = Vec::new();
        let mut from = Sequence(after.0 + 1);
        loop {
            let query = Query {
                stream: topology::RUNS,
                subject: &subject,
                from,
                messages_max: PAGE,
            };
            let page = self
                .bus
                .fetch(query)
                .await
                .map_err(|error| ReadError::Unavailable(error.to_string()))?;
            for message in page.messages {
                let sequence = message.sequence;
                let record = record::decode(run, &message.payload)
                    .map_err(|reason| ReadError::Unreadable { sequence, reason })?;
                from = Sequence(sequence.0 + 1);
                records.push((sequence, record));
            }
            if !page.more {
                return Ok(records);
            }
        }
    }
}

impl Journals for JournalStore {
    fn append<'a>(
        &'a self,
        record: &'a RecordEnvelope,
        after: Sequence,
    ) -> BoxFuture<'a, Result<Sequence, AppendError>> {
        Box::pin(self.append_record(record, after))
    }

    fn read_at<'a>(
        &'a self,
        run: RunId,
        positions: &'a [Sequence],
    ) -> BoxFuture<'a, Result<Option<StoredRecords>, ReadError>> {
        Box::pin(self.read_positions(run, positions))
    }

    fn read(
        &self,
        run: RunId,
        after: Sequence,
    ) -> BoxFuture<'_, Result<Vec<(Sequence, RecordEnvelope)>, ReadError>> {
        Box::pin(self.read_records(run, after))
    }
}
