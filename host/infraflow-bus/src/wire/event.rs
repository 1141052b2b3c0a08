//! Events on the wire: CloudEvents 1.0, NATS binding. Binary mode is written;
//! binary, structured and plain messages are read.

use std::sync::Arc;

use async_nats::HeaderMap;
use infraflow_core::event::{Actor, Event, EventData, TRIGGER};
use infraflow_core::id::{EventId, EventSource, EventType, WorkflowName};
use infraflow_core::limits::EVENT_DATA;
use infraflow_core::ports::{DeadReason, Sequence};
use infraflow_core::{Json, JsonMap, Timestamp};

use super::headers as h;
use crate::subject::{self, EventSubject};

/// Types that only hosts may use: a custom event cannot pretend to be one.
const RESERVED_TYPES: [&str; 6] = [
    "git.",
    "container.",
    "schedule.",
    "incident.",
    "run.",
    "infraflow.",
];

/// A message of the event stream.
pub(crate) struct Incoming<'a> {
    pub(crate) subject: &'a str,
    pub(crate) headers: Option<&'a HeaderMap>,
    pub(crate) payload: &'a [u8],
    pub(crate) sequence: Sequence,
    /// When the server stored it.
    pub(crate) stored_at: Timestamp,
    /// When the stream was created: tells the sequences of a stream that was
    /// deleted and made again apart.
    pub(crate) stream_created_at: Timestamp,
}

/// Why a message is no event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Undecodable {
    pub(crate) reason: DeadReason,
    pub(crate) detail: String,
}

fn undecodable(detail: impl Into<String>) -> Undecodable {
    Undecodable {
        reason: DeadReason::Undecodable,
        detail: detail.into(),
    }
}

/// The headers of an event that a host publishes.
pub(crate) fn headers(event: &Event) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(h::CE_SPECVERSION, "1.0");
    headers.insert(h::CE_ID, event.id.as_str());
    headers.insert(h::CE_SOURCE, event.source.as_str());
    headers.insert(h::CE_TYPE, event.kind.as_str());
    headers.insert(h::CE_TIME, event.time.to_string());
    headers.insert(h::CE_ACTOR, event.actor.to_string());
    if let Some(subject) = &event.subject {
        headers.insert(h::CE_SUBJECT, subject.as_str());
    }
    headers.insert(h::CONTENT_TYPE, "application/json");
    headers.insert(h::MSG_ID, message_id(event));
    headers
}

/// The same for every redelivery of the same happening: ids are unique within
/// their source only.
fn message_id(event: &Event) -> String {
    let both = format!("{}\n{}", event.source, event.id);
    infraflow_core::id::Digest::of(both.as_bytes()).to_hex()
}

/// Reads an event.
///
/// # Errors
/// Why it is none, for the dead letter.
pub(crate) fn decode(message: &Incoming<'_>) -> Result<Event, Undecodable> {
    if message.payload.len() > EVENT_DATA.to_usize() {
        return Err(Undecodable {
            reason: DeadReason::TooLarge,
            detail: format!(
                "it has {} bytes, more than the {EVENT_DATA} allowed",
                message.payload.len()
            ),
        });
    }
    let place = subject::parse_event(message.subject)
        .ok_or_else(|| undecodable(format!("`{}` is not a subject of events", message.subject)))?;
    let envelope = Envelope::read(message)?;
    match place {
        EventSubject::Host => envelope.host_event(message),
        EventSubject::Manual(workflow) => {
            let actor = envelope.trusted_actor()?;
            let source = envelope.required("source")?;
            envelope.trigger(message, workflow, actor, &source)
        }
        EventSubject::Trigger(workflow) => {
            let source = envelope.foreign_source();
            envelope.trigger(message, workflow, Actor::Publisher, &source)
        }
        EventSubject::Custom(rest) => envelope.custom_event(message, rest),
    }
}

/// The attributes and the data of a message, wherever they stood.
struct Envelope {
    attributes: JsonMap,
    data: Json,
}

impl Envelope {
    fn read(message: &Incoming<'_>) -> Result<Self, Undecodable> {
        let mut attributes = JsonMap::new();
        let mut content_type = String::new();
        for (name, values) in message.headers.iter().flat_map(|headers| headers.iter()) {
            // Clients write header names as they like.
            let name = name.to_string().to_ascii_lowercase();
            let Some(value) = values.first().map(async_nats::HeaderValue::as_str) else {
                continue;
            };
            if name == h::CONTENT_TYPE {
                content_type = value.to_ascii_lowercase();
            } else if let Some(name) = name.strip_prefix("ce-") {
                attributes.insert(name.to_owned(), value.into());
            }
        }
        if content_type.starts_with("application/cloudevents+json") {
            return Self::structured(message.payload);
        }
        Ok(Self {
            attributes,
            data: plain_data(message.payload, &content_type)?,
        })
    }

    fn structured(payload: &[u8]) -> Result<Self, Undecodable> {
        let mut attributes: JsonMap = serde_json::from_slice(payload)
            .map_err(|error| undecodable(format!("it is not a CloudEvent in JSON: {error}")))?;
        if attributes.contains_key("data_base64") {
            return Err(undecodable(
                "`data_base64` is not supported: send `data` as JSON",
            ));
        }
        let data = attributes.remove("data").unwrap_or(Json::Null);
        Ok(Self { attributes, data })
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.attributes
            .get(name)
            .and_then(Json::as_str)
            .filter(|text| !text.is_empty())
    }

    fn required(&self, name: &str) -> Result<String, Undecodable> {
        self.text(name)
            .map(str::to_owned)
            .ok_or_else(|| undecodable(format!("attribute `{name}` is missing")))
    }

    fn time(&self, message: &Incoming<'_>) -> Timestamp {
        self.text("time")
            .and_then(|text| text.parse().ok())
            .unwrap_or(message.stored_at)
    }

    /// The id that it came with, or one that no other message has.
    fn id(&self, message: &Incoming<'_>) -> Result<EventId, Undecodable> {
        let own = self.text("id").map(str::to_owned).or_else(|| {
            let headers = message.headers?;
            headers
                .get(h::MSG_ID)
                .map(|value| value.as_str().to_owned())
        });
        let id = own.unwrap_or_else(|| {
            format!(
                "{}-{}-{}",
                message.stream_created_at.as_nanosecond(),
                message.sequence.0,
                message.stored_at.as_nanosecond()
            )
        });
        EventId::new(&id).map_err(|error| undecodable(error.to_string()))
    }

    fn trusted_actor(&self) -> Result<Actor, Undecodable> {
        self.required("actor")?.parse().map_err(undecodable)
    }

    /// The source of a message that anybody may have published: under a prefix
    /// of its own, so that nobody can take the run id of somebody else's event.
    fn foreign_source(&self) -> String {
        format!("nats:{}", self.text("source").unwrap_or_default())
    }

    fn host_event(self, message: &Incoming<'_>) -> Result<Event, Undecodable> {
        let kind = self.kind(&self.required("type")?)?;
        let data = EventData::from_document(&kind, &self.data)
            .map_err(|error| undecodable(format!("{error}: {}", error.source)))?;
        let source = self.required("source")?;
        let actor = self.trusted_actor()?;
        self.event(message, kind, &source, actor, data)
    }

    fn trigger(
        self,
        message: &Incoming<'_>,
        workflow: &str,
        actor: Actor,
        source: &str,
    ) -> Result<Event, Undecodable> {
        let workflow = WorkflowName::new(workflow).map_err(|error| Undecodable {
            reason: DeadReason::NoSuchWorkflow,
            detail: error.to_string(),
        })?;
        if !matches!(self.data, Json::Object(_) | Json::Null) {
            return Err(undecodable(
                "the inputs are not a JSON object, like {\"env\":\"stage\"}",
            ));
        }
        let kind = self.kind(TRIGGER)?;
        self.event(
            message,
            kind,
            source,
            actor,
            EventData::Trigger { workflow },
        )
    }

    fn custom_event(self, message: &Incoming<'_>, rest: &str) -> Result<Event, Undecodable> {
        let kind = match self.text("type") {
            None => format!("custom.{rest}"),
            Some(kind) if RESERVED_TYPES.iter().any(|prefix| kind.starts_with(prefix)) => {
                return Err(undecodable(format!("type `{kind}` is reserved for hosts")));
            }
            Some(kind) => kind.to_owned(),
        };
        let kind = self.kind(&kind)?;
        let source = self.foreign_source();
        self.event(message, kind, &source, Actor::Publisher, EventData::Other)
    }

    fn kind(&self, text: &str) -> Result<EventType, Undecodable> {
        EventType::new(text).map_err(|error| undecodable(error.to_string()))
    }

    fn event(
        self,
        message: &Incoming<'_>,
        kind: EventType,
        source: &str,
        actor: Actor,
        data: EventData,
    ) -> Result<Event, Undecodable> {
        Ok(Event {
            id: self.id(message)?,
            source: EventSource::new(source).map_err(|error| undecodable(error.to_string()))?,
            kind,
            time: self.time(message),
            subject: self
                .text("subject")
                .map(|text| text.chars().take(512).collect()),
            actor,
            data,
            json: Arc::new(self.data),
        })
    }
}

/// The data of a message in binary mode or without any attributes: JSON, or a
/// text where the sender says that it is one, or nothing.
fn plain_data(payload: &[u8], content_type: &str) -> Result<Json, Undecodable> {
    if payload.is_empty() {
        return Ok(Json::Null);
    }
    if content_type.starts_with("text/") {
        let text = std::str::from_utf8(payload)
            .map_err(|error| undecodable(format!("its text is not UTF-8: {error}")))?;
        return Ok(Json::from(text));
    }
    serde_json::from_slice(payload)
        .map_err(|error| undecodable(format!("its data is not JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn header_map(headers: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, *value);
        }
        map
    }

    fn read(subject: &str, headers: &[(&str, &str)], payload: &[u8]) -> Result<Event, Undecodable> {
        let headers = header_map(headers);
        decode(&Incoming {
            subject,
            headers: Some(&headers),
            payload,
            sequence: Sequence(7),
            stored_at: "2026-11-21T12:00:00Z".parse().unwrap(),
            stream_created_at: "2026-11-01T00:00:00Z".parse().unwrap(),
        })
    }

    /// An event in one line: type, id, source, actor, data.
    fn shown(event: &Event) -> String {
        format!(
            "{} {} {} {} {}",
            event.kind, event.id, event.source, event.actor, event.json
        )
    }

    fn check(subject: &str, headers: &[(&str, &str)], payload: &str, expected: &str) {
        let found = match read(subject, headers, payload.as_bytes()) {
            Ok(event) => shown(&event),
            Err(undecodable) => format!("{}: {}", undecodable.reason.name(), undecodable.detail),
        };
        assert_eq!(found, expected, "{subject} {payload}");
    }

    #[test]
    fn plain_messages_are_events() {
        let id = "1793491200000000000-7-1795262400000000000";
        check(
            "infraflow.trigger.deploy",
            &[],
            r#"{"env":"stage"}"#,
            &format!(r#"infraflow.trigger {id} nats: publisher {{"env":"stage"}}"#),
        );
        check(
            "infraflow.trigger.deploy",
            &[],
            "",
            &format!("infraflow.trigger {id} nats: publisher null"),
        );
        check(
            "infraflow.event.custom.shop.order",
            &[("Nats-Msg-Id", "order-5")],
            "[1]",
            "custom.shop.order order-5 nats: publisher [1]",
        );
        check(
            "infraflow.event.custom.note",
            &[("Nats-Msg-Id", "1"), ("content-type", "text/plain")],
            "hello",
            r#"custom.note 1 nats: publisher "hello""#,
        );
    }

    #[test]
    fn cloudevents_are_read_in_both_modes() {
        check(
            "infraflow.event.custom.x",
            &[
                ("ce-id", "1"),
                ("ce-source", "/shop"),
                ("ce-type", "com.example.order"),
            ],
            r#"{"n":1}"#,
            r#"com.example.order 1 nats:/shop publisher {"n":1}"#,
        );
        check(
            "infraflow.event.custom.x",
            &[(
                "Content-Type",
                "application/cloudevents+json; charset=utf-8",
            )],
            r#"{"specversion":"1.0","id":"1","source":"/shop","type":"com.example.order","data":{"n":1}}"#,
            r#"com.example.order 1 nats:/shop publisher {"n":1}"#,
        );
    }

    #[test]
    fn what_is_no_event_says_why() {
        for (subject, headers, payload, expected) in [
            (
                "infraflow.trigger.deploy",
                &[][..],
                "{",
                "undecodable: its data is not JSON: EOF while parsing an object at line 1 column 1",
            ),
            (
                "infraflow.trigger.deploy",
                &[],
                "[1]",
                "undecodable: the inputs are not a JSON object, like {\"env\":\"stage\"}",
            ),
            (
                "infraflow.trigger.a.b",
                &[],
                "{}",
                "no_such_workflow: `a.b` is not a valid workflow name: expected 1 to 63 letters, digits, `-` or `_`, starting with a letter or a digit",
            ),
            (
                "infraflow.event.custom.x",
                &[("ce-type", "git.push")],
                "{}",
                "undecodable: type `git.push` is reserved for hosts",
            ),
            (
                "infraflow.event.git.push.forgejo.a.b",
                &[
                    ("ce-type", "git.push"),
                    ("ce-id", "1"),
                    ("ce-source", "s"),
                    ("ce-actor", "host"),
                ],
                "{}",
                "undecodable: decode the data of a `git.push` event: missing field `provider`",
            ),
            (
                "infraflow.event.git.push.forgejo.a.b",
                &[("ce-type", "git.push")],
                "{}",
                "undecodable: decode the data of a `git.push` event: missing field `provider`",
            ),
            (
                "infraflow.event.custom.x",
                &[("content-type", "application/cloudevents+json")],
                "[]",
                "undecodable: it is not a CloudEvent in JSON: invalid type: sequence, expected a map at line 1 column 0",
            ),
        ] {
            check(subject, headers, payload, expected);
        }
        let large = vec![b' '; EVENT_DATA.to_usize() + 1];
        let error = read("infraflow.trigger.a", &[], &large).unwrap_err();
        assert_eq!(error.reason, DeadReason::TooLarge);
        assert!(
            read(
                "infraflow.event.custom.x",
                &[("content-type", "text/plain")],
                b"\xff"
            )
            .is_err()
        );
    }

    /// Nobody outside can publish under a source of the host's, and so take the
    /// run id of somebody else's event.
    #[test]
    fn promise_03_foreign_events_have_sources_of_their_own() {
        for subject in ["infraflow.trigger.deploy", "infraflow.event.custom.x"] {
            let headers = [("ce-source", "source:shop"), ("ce-id", "delivery-1")];
            let event = read(subject, &headers, b"{}").unwrap();
            assert_eq!(event.source.as_str(), "nats:source:shop");
            assert_eq!(event.actor, Actor::Publisher);
        }
        let forged = [("ce-actor", "user:root"), ("ce-id", "1")];
        assert_eq!(
            read("infraflow.trigger.a", &forged, b"{}").unwrap().actor,
            Actor::Publisher
        );
    }

    #[test]
    fn a_person_who_asks_through_a_host_is_known() {
        let headers = [
            ("ce-actor", "user:ann"),
            ("ce-id", "1"),
            ("ce-source", "user:ann"),
        ];
        let event = read("infraflow.event.manual.deploy", &headers, b"{\"a\":1}").unwrap();
        assert_eq!(event.actor.to_string(), "user:ann");
        let deploy = WorkflowName::new("deploy").unwrap();
        assert_eq!(event.data, EventData::Trigger { workflow: deploy });
    }

    #[test]
    fn messages_without_an_id_differ_by_stream_and_position() {
        let ids = |sequence: u64, created: &str| {
            decode(&Incoming {
                subject: "infraflow.trigger.a",
                headers: None,
                payload: b"{}",
                sequence: Sequence(sequence),
                stored_at: "2026-11-21T12:00:00Z".parse().unwrap(),
                stream_created_at: created.parse().unwrap(),
            })
            .unwrap()
            .id
        };
        let first = ids(1, "2026-11-01T00:00:00Z");
        assert_ne!(first, ids(2, "2026-11-01T00:00:00Z"));
        assert_ne!(first, ids(1, "2026-11-02T00:00:00Z"));
    }

    #[test]
    fn what_a_host_writes_reads_back() {
        let event = Event {
            id: EventId::new("1").unwrap(),
            source: EventSource::new("user:ann").unwrap(),
            kind: EventType::new(TRIGGER).unwrap(),
            time: "2026-11-21T12:00:00Z".parse().unwrap(),
            subject: Some("deploy".into()),
            actor: "user:ann".parse().unwrap(),
            data: EventData::Trigger {
                workflow: WorkflowName::new("deploy").unwrap(),
            },
            json: Arc::new(json!({ "env": "stage" })),
        };
        let headers = headers(&event);
        let again = decode(&Incoming {
            subject: &subject::event(&event),
            headers: Some(&headers),
            payload: event.json.to_string().as_bytes(),
            sequence: Sequence(1),
            stored_at: "2026-11-21T13:00:00Z".parse().unwrap(),
            stream_created_at: "2026-11-01T00:00:00Z".parse().unwrap(),
        });
        assert_eq!(again, Ok(event));
    }

    proptest! {
        #[test]
        fn hostile_messages_never_panic(
            subject in "infraflow\\.(trigger|event\\.(custom|git|manual))\\.[a-z.>*]{0,12}",
            kind in "[a-z.\\PC]{0,20}",
            payload in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let headers = header_map(&[("ce-type", kind.as_str()), ("ce-id", "1")]);
            let _ = decode(&Incoming {
                subject: &subject,
                headers: Some(&headers),
                payload: &payload,
                sequence: Sequence(1),
                stored_at: Timestamp::UNIX_EPOCH,
                stream_created_at: Timestamp::UNIX_EPOCH,
            });
        }
    }
}
