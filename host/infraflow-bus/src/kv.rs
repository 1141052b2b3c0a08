//! Keys and values in a JetStream bucket of history 1, read from its leader.
//!
//! The client's own type reads from whichever replica answers first; what is
//! decided by compare-and-set here must not be decided on old news.

use async_nats::HeaderMap;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use bytes::Bytes;
use infraflow_core::ports::Sequence;
use serde_json::{Value, json};

use crate::connect::Bus;
use crate::fetch::Query;
use crate::reply::{self, NotStored};
use crate::topology;
use crate::wire::headers as h;

/// How long the marker of a removed key stays, in seconds. After it the key is
/// as if it had never been; by then every watcher has seen the marker.
const MARKER_SECONDS: u32 = 86_400;

/// Most keys read in one request.
const PAGE: usize = 256;

/// A bucket.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    bus: Bus,
    stream: &'static str,
    prefix: &'static str,
}

/// Who holds what, and which hosts there are.
pub(crate) fn locks(bus: &Bus) -> Bucket {
    Bucket {
        bus: bus.clone(),
        stream: "KV_locks",
        prefix: "$KV.locks.",
    }
}

/// Named pointers to blobs.
pub(crate) fn pointers(bus: &Bus) -> Bucket {
    Bucket {
        bus: bus.clone(),
        stream: "KV_pointers",
        prefix: "$KV.pointers.",
    }
}

/// Which hosts there are.
pub(crate) fn hosts(bus: &Bus) -> Bucket {
    Bucket {
        bus: bus.clone(),
        stream: "KV_hosts",
        prefix: "$KV.hosts.",
    }
}

/// What a key has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// The version of the key.
    pub(crate) revision: u64,
    /// The value; unset: the key was removed.
    pub(crate) value: Option<Bytes>,
}

impl Bucket {
    /// The name of the bucket's stream.
    pub(crate) fn stream(&self) -> &'static str {
        self.stream
    }

    /// The subject of a key, or of keys when it has wildcards.
    pub(crate) fn subject(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The key of a subject.
    pub(crate) fn key<'a>(&self, subject: &'a str) -> Option<&'a str> {
        subject.strip_prefix(self.prefix)
    }

    /// Reads a key; `None` when it never was, or was removed long ago.
    pub(crate) async fn read(&self, key: &str) -> Result<Option<Stored>, String> {
        let stream = self
            .bus
            .jetstream
            .get_stream_no_info(self.stream)
            .await
            .map_err(|error| error.to_string())?;
        let subject = self.subject(key);
        match stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => Ok(Some(Stored {
                revision: message.sequence,
                value: value(&message.headers, message.payload),
            })),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Writes a key whose version still is `expected` (0: there is none), and
    /// returns its new one.
    pub(crate) async fn write(
        &self,
        key: &str,
        value: Bytes,
        expected: u64,
    ) -> Result<u64, NotStored> {
        let mut headers = HeaderMap::new();
        headers.insert(h::EXPECTED_SEQUENCE, expected.to_string());
        self.publish(key, headers, value).await
    }

    /// Writes a key, whatever it has.
    pub(crate) async fn put(&self, key: &str, value: Bytes) -> Result<u64, NotStored> {
        self.publish(key, HeaderMap::new(), value).await
    }

    /// Removes a key whose version still is `expected`; unset: whatever it has.
    pub(crate) async fn remove(&self, key: &str, expected: Option<u64>) -> Result<u64, NotStored> {
        let mut headers = HeaderMap::new();
        headers.insert(h::KV_OPERATION, "DEL");
        headers.insert(h::TTL, MARKER_SECONDS.to_string());
        if let Some(expected) = expected {
            headers.insert(h::EXPECTED_SEQUENCE, expected.to_string());
        }
        self.publish(key, headers, Bytes::new()).await
    }

    async fn publish(&self, key: &str, headers: HeaderMap, value: Bytes) -> Result<u64, NotStored> {
        if !self.bus.is_connected() {
            // What waits in memory for the connection would be written late.
            return Err(NotStored::Unknown("the connection is down".to_owned()));
        }
        let subject = self.subject(key);
        let reply = self
            .bus
            .client
            .request_with_headers(subject, headers, value)
            .await;
        reply::sequence(reply)
    }

    /// The last version that the bucket gave to any key. Only ever grows.
    pub(crate) async fn last_revision(&self) -> Result<u64, String> {
        topology::last_sequence(&self.bus, self.stream)
            .await
            .map_err(|error| error.to_string())
    }

    /// The keys that have a value or a marker and match a pattern, from the
    /// leader. For few keys: the server answers with at most 100,000.
    pub(crate) async fn keys(&self, pattern: &str) -> Result<Vec<String>, String> {
        let filter = self.subject(pattern);
        let info = self
            .bus
            .api(
                &format!("STREAM.INFO.{}", self.stream),
                &json!({ "subjects_filter": filter }),
            )
            .await
            .map_err(|error| error.to_string())?;
        let subjects = info.pointer("/state/subjects").and_then(Value::as_object);
        Ok(subjects
            .into_iter()
            .flat_map(|subjects| subjects.keys())
            .filter_map(|subject| self.key(subject).map(ToOwned::to_owned))
            .collect())
    }

    /// Every key with a value, in the order of their last changes. May be a
    /// moment old.
    pub(crate) async fn list(&self) -> Result<Vec<(String, u64, Bytes)>, String> {
        let subject = self.subject(">");
        let mut from = Sequence(1);
        let mut found = Vec::new();
        loop {
            let query = Query {
                stream: self.stream,
                subject: &subject,
                from,
                messages_max: PAGE,
            };
            let page = self
                .bus
                .fetch(query)
                .await
                .map_err(|error| error.to_string())?;
            for message in page.messages {
                from = Sequence(message.sequence.0 + 1);
                if let Some(key) = self.key(&message.subject)
                    && let Some(value) = value(&message.headers, message.payload)
                {
                    found.push((key.to_owned(), message.sequence.0, value));
                }
            }
            if !page.more {
                return Ok(found);
            }
        }
    }
}

/// The value of a message; `None` when it says that the key was removed.
pub(crate) fn value(headers: &HeaderMap, payload: Bytes) -> Option<Bytes> {
    let is_marker = headers.get(h::KV_OPERATION).is_some() || headers.get(h::MARKER).is_some();
    (!is_marker).then_some(payload)
}
