//! Who did what, in the stream `AUDIT`, which denies deletes and purges.

use async_nats::HeaderMap;
use infraflow_core::ports::{Audit, AuditEntry, BoxFuture, Sequence, StoreError};

use crate::connect::Bus;
use crate::fetch::{FetchError, Query};
use crate::reply::{self, NotStored};
use crate::wire::{audit, headers as h};
use crate::{subject, topology};

/// Most entries of one page.
const PAGE_MAX: usize = 1_000;

/// Writes audit entries.
#[derive(Debug, Clone)]
pub struct AuditStore {
    bus: Bus,
}

/// An audit entry as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAudit {
    /// Its position in the stream.
    pub position: Sequence,
    /// The entry, or why it cannot be read.
    pub entry: Result<AuditEntry, String>,
}

/// Some audit entries, the newest last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// The entries.
    pub entries: Vec<StoredAudit>,
    /// Whether there are older ones.
    pub more: bool,
}

impl AuditStore {
    /// The audit behind this connection.
    pub fn new(bus: Bus) -> Self {
        Self { bus }
    }

    async fn write_entry(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        if !self.bus.is_connected() {
            return Err(StoreError("the connection is down".to_owned()));
        }
        let mut headers = HeaderMap::new();
        let phase = audit::phase_name(&entry.phase);
        headers.insert(h::MSG_ID, format!("{:016x}-{phase}", entry.act));
        let subject = subject::audit(&entry.actor.to_string(), &entry.action);
        let reply = self
            .bus
            .client
            .request_with_headers(subject, headers, audit::encode(entry).into())
            .await;
        match reply::sequence(reply) {
            Ok(_) => Ok(()),
            Err(NotStored::Full) => Err(StoreError(
                "the stream AUDIT is full: raise its size".to_owned(),
            )),
            Err(error) => Err(StoreError(error.to_string())),
        }
    }
}

impl Audit for AuditStore {
    fn write<'a>(&'a self, entry: &'a AuditEntry) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.write_entry(entry))
    }
}

impl Bus {
    /// The audit entries before a position (unset: the newest), at most so many
    /// and at most 1,000.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn audit_entries(
        &self,
        before: Option<Sequence>,
        entries_max: usize,
    ) -> Result<AuditPage, FetchError> {
        let last = topology::last_sequence(self, topology::AUDIT)
            .await
            .map_err(|error| FetchError {
                stream: topology::AUDIT,
                reason: error.to_string(),
            })?;
        let end = before.map_or(last + 1, |before| before.0.min(last + 1));
        let wanted = entries_max.min(PAGE_MAX);
        // Nothing is ever removed from this stream, so positions are a count.
        let from = end
            .saturating_sub(u64::try_from(wanted).unwrap_or(u64::MAX))
            .max(1);
        let mut page = AuditPage {
            entries: vec![],
            more: from > 1,
        };
        let mut next = from;
        while next < end {
            let query = Query {
                stream: topology::AUDIT,
                subject: ">",
                from: Sequence(next),
                messages_max: wanted,
            };
            let fetched = self.fetch(query).await?;
            let Some(newest) = fetched.messages.last().map(|stored| stored.sequence.0) else {
                break;
            };
            next = newest + 1;
            page.entries.extend(
                fetched
                    .messages
                    .into_iter()
                    .filter(|stored| stored.sequence.0 < end)
                    .map(|stored| StoredAudit {
                        position: stored.sequence,
                        entry: audit::decode(&stored.payload),
                    }),
            );
        }
        Ok(page)
    }
}
