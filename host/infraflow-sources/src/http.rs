//! The listener: `POST /webhooks/<source>`.
//!
//! The order of the checks is the order of their cost and of what they tell a
//! stranger: the source (404), the method (405), the size (413), the time (408),
//! the signature (401), the form (400). Only then is anything done: ignored
//! kinds are answered 204, events are stored and answered 202, after the store
//! has confirmed every one of them.
//!
//! Never logs a body, a signature or a secret, never answers with more than the
//! sender can mend.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, Request, State};
use axum::http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use axum::routing::any;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use infraflow_core::event::Event;
use infraflow_core::id::SourceName;
use infraflow_core::limits::{self, ByteCount};
use infraflow_core::ports::{Clock, EventPublisher, PublishError};
use infraflow_core::{Json, JsonMap};

use crate::receive::{Decoded, Refused, receive};
use crate::source::WebhookSource;

/// What the listener works with.
pub struct Webhooks {
    sources: HashMap<SourceName, WebhookSource>,
    publisher: Arc<dyn EventPublisher>,
    clock: Arc<dyn Clock>,
    limits: WebhookLimits,
    memory: Arc<AtomicU64>,
}

/// What one request, and all of them together, may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebhookLimits {
    /// Largest body. Default: [`limits::WEBHOOK_BODY`].
    pub body: ByteCount,
    /// How long a body may take to arrive. Default: [`limits::WEBHOOK_READ`].
    pub read: Duration,
    /// How long storing may take. Default: [`limits::WEBHOOK_STORE`].
    pub store: Duration,
    /// Bodies of all requests together. Default: [`limits::WEBHOOK_MEMORY`].
    pub memory: ByteCount,
}

impl Default for WebhookLimits {
    fn default() -> Self {
        Self {
            body: limits::WEBHOOK_BODY,
            read: limits::WEBHOOK_READ,
            store: limits::WEBHOOK_STORE,
            memory: limits::WEBHOOK_MEMORY,
        }
    }
}

impl Webhooks {
    /// The sources that there are, where their events go, and the time. Of two
    /// sources of one name the later one counts.
    pub fn new(
        sources: impl IntoIterator<Item = WebhookSource>,
        publisher: Arc<dyn EventPublisher>,
        clock: Arc<dyn Clock>,
        limits: WebhookLimits,
    ) -> Self {
        let sources = sources
            .into_iter()
            .map(|source| (source.name().clone(), source))
            .collect();
        Self {
            sources,
            publisher,
            clock,
            limits,
            memory: Arc::default(),
        }
    }
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks")
            .field("sources", &self.sources)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// The path that a source's webhooks are sent to.
pub fn webhook_path(source: &SourceName) -> String {
    format!("/webhooks/{source}")
}

/// Serves `POST /webhooks/<source>`.
///
/// A request whose connection closes before its answer may have been stored or
/// not; delivering it again does no harm, since the event keeps its id.
pub fn webhook_router(webhooks: Arc<Webhooks>) -> Router {
    Router::new()
        .route("/webhooks/{source}", any(answer))
        .with_state(webhooks)
}

async fn answer(
    State(webhooks): State<Arc<Webhooks>>,
    source: Result<Path<String>, axum::extract::rejection::PathRejection>,
    request: Request,
) -> Response {
    let source = source
        .ok()
        .and_then(|Path(name)| webhooks.sources.get(name.as_str()));
    let Some(source) = source else {
        return error(StatusCode::NOT_FOUND, "there is no such source");
    };
    match handle(&webhooks, source, request).await {
        Ok(response) => response,
        Err(refusal) => {
            refusal.log(source);
            refusal.response()
        }
    }
}

async fn handle(
    webhooks: &Webhooks,
    source: &WebhookSource,
    request: Request,
) -> Result<Response, Refusal> {
    if request.method() != Method::POST {
        return Err(Refusal::Method);
    }
    let (head, body) = request.into_parts();
    let length = head.headers.get(CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse().ok());
    let body = read_body(webhooks, length, body).await?;
    let decoded = receive(source, &head.headers, &body.bytes, webhooks.clock.now());
    // The events hold what they need of it.
    drop(body);
    match decoded.map_err(Refusal::Refused)? {
        Decoded::Ignored { reason } => {
            tracing::debug!(source = %source.name(), reason, "webhook ignored");
            Ok(empty(StatusCode::NO_CONTENT))
        }
        Decoded::Events(events) => store(webhooks, source, &events).await,
    }
}

// ---- the body -----------------------------------------------------------------

/// A body, and the memory that is reserved for it.
struct Received {
    bytes: Bytes,
    _memory: Reserved,
}

async fn read_body(
    webhooks: &Webhooks,
    length: Option<u64>,
    body: Body,
) -> Result<Received, Refusal> {
    let limits = webhooks.limits;
    if length.is_some_and(|length| length > limits.body.0) {
        return Err(Refusal::TooLarge(limits.body));
    }
    let mut memory = Reserved {
        used: webhooks.memory.clone(),
        bytes: 0,
        limit: limits.memory.0,
    };
    let read = read_chunks(body.into_data_stream(), limits.body, length, &mut memory);
    let bytes = tokio::time::timeout(limits.read, read)
        .await
        .map_err(|_| Refusal::Slow)??;
    Ok(Received {
        bytes,
        _memory: memory,
    })
}

/// Reads until the body ends or is larger than it may be; what comes after that
/// is not read.
async fn read_chunks(
    mut chunks: BodyDataStream,
    limit: ByteCount,
    length: Option<u64>,
    memory: &mut Reserved,
) -> Result<Bytes, Refusal> {
    let mut only = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Refusal::Broken)?;
        let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        if memory.bytes.saturating_add(count(chunk.len())) > limit.0 {
            return Err(Refusal::TooLarge(limit));
        }
        memory.reserve(count(chunk.len()))?;
        if only.is_empty() && all.is_empty() {
            // Most bodies come in one piece, which then is not copied.
            only = chunk;
            continue;
        }
        if all.is_empty() {
            let length = usize::try_from(length.unwrap_or_default()).unwrap_or_default();
            all.reserve(length.max(only.len() + chunk.len()));
            all.extend_from_slice(&only);
        }
        all.extend_from_slice(&chunk);
    }
    Ok(if all.is_empty() { only } else { all.freeze() })
}

/// A part of the memory for bodies, given back when it is dropped.
struct Reserved {
    used: Arc<AtomicU64>,
    bytes: u64,
    limit: u64,
}

impl Reserved {
    fn reserve(&mut self, bytes: u64) -> Result<(), Refusal> {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if before.saturating_add(bytes) > self.limit {
            return Err(Refusal::Busy);
        }
        Ok(())
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

// ---- storing ------------------------------------------------------------------

async fn store(
    webhooks: &Webhooks,
    source: &WebhookSource,
    events: &[Event],
) -> Result<Response, Refusal> {
    let all = async {
        for event in events {
            webhooks.publisher.publish(event).await?;
        }
        Ok(())
    };
    match tokio::time::timeout(webhooks.limits.store, all).await {
        Err(_) => return Err(Refusal::StoreSlow),
        Ok(stored) => stored.map_err(Refusal::Store)?,
    }
    for event in events {
        tracing::info!(
            source = %source.name(),
            event = %event.id,
            kind = %event.kind,
            subject = event.subject,
            actor = %event.actor,
            "webhook stored"
        );
    }
    Ok(json(StatusCode::ACCEPTED, &stored_document(events)))
}

fn stored_document(events: &[Event]) -> Json {
    let listed = events.iter().map(|event| {
        serde_json::json!({
            "id": event.id.as_str(),
            "type": event.kind.as_str(),
            "subject": event.subject,
        })
    });
    serde_json::json!({
        "event_id": events.first().map(|event| event.id.as_str()),
        "events": listed.collect::<Vec<_>>(),
    })
}

// ---- answers ------------------------------------------------------------------

/// Why a request to a source that there is was not taken.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("only POST is taken here")]
    Method,
    #[error("the body has more than the {0} allowed")]
    TooLarge(ByteCount),
    #[error("the body did not arrive in time")]
    Slow,
    #[error("the body broke off")]
    Broken,
    #[error("too many webhooks at once: try again")]
    Busy,
    #[error(transparent)]
    Refused(Refused),
    #[error("the event could not be stored: try again")]
    Store(#[source] PublishError),
    #[error("the event was not stored in time: try again")]
    StoreSlow,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge(_) | Self::Store(PublishError::TooLarge { .. }) => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken | Self::Refused(Refused::Malformed(_)) => StatusCode::BAD_REQUEST,
            Self::Refused(Refused::NotSigned | Refused::WrongSignature) => StatusCode::UNAUTHORIZED,
            Self::Busy
            | Self::StoreSlow
            | Self::Store(PublishError::Full | PublishError::Unavailable(_)) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// Seconds after which another try may succeed.
    fn retry_after(&self) -> Option<u16> {
        match self {
            // A janitor makes room, or a person does.
            Self::Store(PublishError::Full) => Some(60),
            _ if self.status() == StatusCode::SERVICE_UNAVAILABLE => Some(5),
            _ => None,
        }
    }

    /// What the sender may know.
    fn text(&self) -> String {
        match self {
            Self::Store(too_large @ PublishError::TooLarge { .. }) => too_large.to_string(),
            Self::Refused(Refused::Malformed(malformed)) => with_causes(malformed),
            other => other.to_string(),
        }
    }

    fn response(&self) -> Response {
        let mut response = error(self.status(), &self.text());
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if let Self::Method = self {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        response
    }

    fn log(&self, source: &WebhookSource) {
        let status = self.status().as_u16();
        let source = source.name();
        let error = with_causes(self);
        if self.status().is_server_error() {
            tracing::warn!(%source, status, error, "webhook not stored");
        } else {
            tracing::info!(%source, status, error, "webhook refused");
        }
    }
}

/// An error and its causes in one line, at most 500 characters: a cause may
/// quote the body.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    crate::text::line(&text, 500)
}

fn error(status: StatusCode, text: &str) -> Response {
    let mut document = JsonMap::new();
    document.insert("error".into(), text.into());
    json(status, &Json::Object(document))
}

fn json(status: StatusCode, document: &Json) -> Response {
    let mut response = Response::new(Body::from(document.to_string()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
