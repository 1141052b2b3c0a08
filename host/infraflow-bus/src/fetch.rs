//! Reading stored messages by position and subject, many in one request
//! (JetStream direct get, ADR-31).

use std::time::Duration;

use async_nats::{HeaderMap, StatusCode};
use bytes::Bytes;
use futures::StreamExt as _;
use infraflow_core::Timestamp;
use infraflow_core::ports::Sequence;

use crate::connect::{Bus, REQUEST_TIMEOUT};
use crate::wire::headers as h;

/// Stored messages could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read messages of `{stream}`: {reason}")]
pub struct FetchError {
    /// The stream.
    pub stream: &'static str,
    /// Why not.
    pub reason: String,
}

/// A stored message.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) sequence: Sequence,
    pub(crate) subject: String,
    pub(crate) time: Timestamp,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
}

/// Some stored messages, in order, and whether more follow.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) messages: Vec<Stored>,
    pub(crate) more: bool,
}

/// Which messages to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query<'a> {
    pub(crate) stream: &'static str,
    /// A subject, with wildcards.
    pub(crate) subject: &'a str,
    /// The first position to read.
    pub(crate) from: Sequence,
    /// Most messages to read.
    pub(crate) messages_max: usize,
}

/// The server sends at most this many bytes for one request.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

impl Bus {
    /// Reads a page of stored messages.
    pub(crate) async fn fetch(&self, query: Query<'_>) -> Result<Page, FetchError> {
        let request = serde_json::json!({
            "batch": query.messages_max,
            "max_bytes": PAGE_BYTES_MAX,
            "seq": query.from.0.max(1),
            "next_by_subj": query.subject,
        });
        self.direct_get(query.stream, &request).await
    }

    /// The position of the first message that was stored at a moment or later.
    pub(crate) async fn first_since(
        &self,
        stream: &'static str,
        time: Timestamp,
    ) -> Result<Option<Sequence>, FetchError> {
        let request = serde_json::json!({
            "batch": 1,
            "start_time": time.to_string(),
            "next_by_subj": ">",
        });
        let page = self.direct_get(stream, &request).await?;
        Ok(page.messages.first().map(|stored| stored.sequence))
    }

    /// The message at a position, when it is there still.
    pub(crate) async fn fetch_at(
        &self,
        stream: &'static str,
        position: Sequence,
    ) -> Result<Option<Stored>, FetchError> {
        let query = Query {
            stream,
            subject: ">",
            from: position,
            messages_max: 1,
        };
        let page = self.fetch(query).await?;
        let first = page.messages.into_iter().next();
        Ok(first.filter(|stored| stored.sequence == position))
    }

    /// The message at a position, found without a search.
    pub(crate) async fn fetch_exactly(
        &self,
        stream: &'static str,
        position: Sequence,
    ) -> Result<Option<Stored>, FetchError> {
        let failed = |reason: String| FetchError { stream, reason };
        let request = serde_json::json!({ "seq": position.0 });
        let asked = self.client.request(
            format!("$JS.API.DIRECT.GET.{stream}"),
            request.to_string().into(),
        );
        let answer = asked.await.map_err(|error| failed(error.to_string()))?;
        match answer.status {
            None => stored(answer).map(Some).map_err(failed),
            Some(StatusCode::NOT_FOUND) => Ok(None),
            Some(status) => Err(failed(status.to_string())),
        }
    }

    async fn direct_get(
        &self,
        stream: &'static str,
        request: &serde_json::Value,
    ) -> Result<Page, FetchError> {
        let failed = |reason: String| FetchError { stream, reason };
        let inbox = self.client.new_inbox();
        let mut answers = self
            .client
            .subscribe(inbox.clone())
            .await
            .map_err(|error| failed(error.to_string()))?;
        self.client
            .publish_with_reply(
                format!("$JS.API.DIRECT.GET.{stream}"),
                inbox,
                request.to_string().into(),
            )
            .await
            .map_err(|error| failed(error.to_string()))?;
        let mut page = Page::default();
        loop {
            let answer = within(REQUEST_TIMEOUT, answers.next())
                .await
                .map_err(&failed)?;
            match answer.status {
                None => page.messages.push(stored(answer).map_err(&failed)?),
                // End of the batch; says how many are left.
                Some(status) if status.as_u16() == 204 => {
                    page.more = header(answer.headers.as_ref(), h::PENDING)
                        .and_then(|text| text.parse::<u64>().ok())
                        .is_some_and(|pending| pending > 0);
                    return Ok(page);
                }
                Some(StatusCode::NOT_FOUND) => return Ok(page),
                Some(status) => {
                    let text = answer.description.unwrap_or_default();
                    return Err(failed(format!("{status} {text}")));
                }
            }
        }
    }
}

async fn within<T>(limit: Duration, next: impl Future<Output = Option<T>>) -> Result<T, String> {
    match tokio::time::timeout(limit, next).await {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err("the connection was closed".to_owned()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

fn header<'a>(headers: Option<&'a HeaderMap>, name: &str) -> Option<&'a str> {
    headers?.get(name).map(async_nats::HeaderValue::as_str)
}

fn stored(message: async_nats::Message) -> Result<Stored, String> {
    let headers = message.headers.unwrap_or_default();
    let text = |name: &str| {
        header(Some(&headers), name).ok_or_else(|| format!("an answer without `{name}`"))
    };
    let sequence = text(h::SEQUENCE)?
        .parse()
        .map_err(|_| "a bad sequence".to_owned())?;
    let time = text(h::TIMESTAMP)?
        .parse()
        .map_err(|_| "a bad time stamp".to_owned())?;
    let subject = text(h::SUBJECT)?.to_owned();
    Ok(Stored {
        sequence: Sequence(sequence),
        subject,
        time,
        headers,
        payload: message.payload,
    })
}
