//! Requests as providers and strangers send them.

mod corpus;
mod decoding;
mod docs;
mod listening;

use axum::http::{HeaderMap, HeaderName};
use infraflow_core::Timestamp;
use infraflow_core::event::{Event, EventData, GitPush, GitTag, Provider};
use infraflow_core::id::SourceName;
use infraflow_core::ports::Secret;

use crate::receive::Decoded;
use crate::sample::SampleRequest;
use crate::source::{WebhookSettings, WebhookSource};

const SECRET: &str = "a secret of the tests";

fn settings(name: &str, provider: Provider) -> WebhookSettings {
    WebhookSettings {
        name: SourceName::new(name).unwrap(),
        provider,
        secrets: vec![Secret::new(SECRET)],
        insecure: false,
    }
}

fn source(provider: Provider) -> WebhookSource {
    WebhookSource::new(settings("shop", provider)).unwrap()
}

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

fn headers_of(request: &SampleRequest) -> HeaderMap {
    headers(
        request
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_str())),
    )
}

fn headers<'h>(pairs: impl IntoIterator<Item = (&'h str, &'h str)>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        map.append(name, value.parse().unwrap());
    }
    map
}

#[track_caller]
fn only_event(decoded: Decoded) -> Event {
    match decoded {
        Decoded::Events(mut events) if events.len() == 1 => events.remove(0),
        other => panic!("expected one event: {other:?}"),
    }
}

#[track_caller]
fn push_of(event: &Event) -> &GitPush {
    match &event.data {
        EventData::GitPush(push) => push,
        other => panic!("expected a push: {other:?}"),
    }
}

#[track_caller]
fn tag_of(event: &Event) -> &GitTag {
    match &event.data {
        EventData::GitTag(tag) => tag,
        other => panic!("expected a tag: {other:?}"),
    }
}
