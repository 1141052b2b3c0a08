//! Dead letters: what could not be processed, kept with the reason.

use async_nats::HeaderMap;
use infraflow_core::Timestamp;
use infraflow_core::ports::{DeadReason, Sequence};

use crate::connect::Bus;
use crate::fetch::{FetchError, Query, Stored};
use crate::reply;
use crate::topology;
use crate::wire::headers as h;

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its position among the dead letters.
    pub position: Sequence,
    /// When it became one.
    pub time: Timestamp,
    /// Why, in one word.
    pub reason: String,
    /// Why, for people.
    pub detail: String,
    /// The subject that it came on.
    pub subject: String,
    /// Its position in the stream of events.
    pub sequence: Sequence,
    /// Its own headers, sorted.
    pub headers: Vec<(String, String)>,
    /// Its payload; the first part when `truncated`.
    pub payload: Vec<u8>,
    /// Whether the payload was cut because it did not fit beside the reason.
    pub truncated: bool,
}

/// The message that died.
pub(crate) struct Original<'a> {
    pub(crate) subject: &'a str,
    pub(crate) headers: Option<&'a HeaderMap>,
    pub(crate) payload: &'a [u8],
    pub(crate) sequence: Sequence,
}

/// Room for the headers of a dead letter beside its payload.
const HEADER_ROOM: usize = 64 * 1024;

/// Longest reason text kept.
const DETAIL_BYTES_MAX: usize = 2_048;

/// Most bytes of the original's headers kept.
const ORIGINAL_HEADERS_MAX: usize = 32 * 1024;

/// Keeps a dead letter and returns when it is stored.
pub(crate) async fn publish(
    bus: &Bus,
    original: &Original<'_>,
    reason: DeadReason,
    detail: &str,
) -> Result<(), String> {
    let room = bus
        .client
        .server_info()
        .max_payload
        .saturating_sub(HEADER_ROOM);
    let payload = original.payload.get(..room).unwrap_or(original.payload);
    let mut headers = HeaderMap::new();
    headers.insert(h::DEAD_REASON, reason.name());
    headers.insert(h::DEAD_DETAIL, one_line(detail));
    headers.insert(h::DEAD_SUBJECT, one_line(original.subject));
    headers.insert(h::DEAD_SEQUENCE, original.sequence.0.to_string());
    headers.insert(h::MSG_ID, format!("dead-{}", original.sequence.0));
    if payload.len() < original.payload.len() {
        headers.insert(h::DEAD_TRUNCATED, "true");
    }
    let mut kept = 0;
    for (name, values) in original.headers.iter().flat_map(|headers| headers.iter()) {
        for value in values {
            kept += name.to_string().len() + value.as_str().len();
            if kept <= ORIGINAL_HEADERS_MAX {
                headers.append(
                    format!("{}{name}", h::DEAD_ORIGINAL),
                    one_line(value.as_str()),
                );
            }
        }
    }
    let subject = format!("{}.event.{}", crate::subject::DEAD, reason.name());
    let reply = bus
        .client
        .request_with_headers(subject, headers, payload.to_vec().into())
        .await;
    reply::sequence(reply)
        .map(drop)
        .map_err(|refused| format!("{refused:?}"))
}

/// A header's value: one line, bounded.
fn one_line(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    text.get(..text.floor_char_boundary(DETAIL_BYTES_MAX))
        .unwrap_or_default()
        .to_owned()
}

/// The server's news about messages that it has delivered too often, which the
/// stream captures.
const ADVISORY: &str = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.";

/// Headers that a direct get adds to a stored message.
const DIRECT_GET_HEADERS: [&str; 6] = [
    "Nats-Stream",
    h::SUBJECT,
    h::SEQUENCE,
    h::TIMESTAMP,
    h::PENDING,
    "Nats-Last-Sequence",
];

/// What such news says (`io.nats.jetstream.advisory.v1.max_deliver`).
#[derive(Debug, serde::Deserialize)]
struct Advisory {
    stream_seq: u64,
    deliveries: u64,
}

/// Reads dead letters.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    bus: Bus,
}

impl DeadLetters {
    /// The dead letters behind this connection.
    pub fn new(bus: Bus) -> Self {
        Self { bus }
    }

    /// Dead letters from a position on, oldest first, and whether more follow.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn list(
        &self,
        from: Sequence,
        letters_max: usize,
    ) -> Result<(Vec<DeadLetter>, bool), FetchError> {
        let query = Query {
            stream: topology::DEAD,
            subject: ">",
            from,
            messages_max: letters_max,
        };
        let page = self.bus.fetch(query).await?;
        let mut letters = Vec::with_capacity(page.messages.len());
        for stored in &page.messages {
            letters.push(if stored.subject.starts_with(ADVISORY) {
                self.given_up(stored).await?
            } else {
                letter(stored)
            });
        }
        Ok((letters, page.more))
    }

    /// The letter behind the server's news that it has given an event up.
    async fn given_up(&self, stored: &Stored) -> Result<DeadLetter, FetchError> {
        let mut letter = DeadLetter {
            position: stored.sequence,
            time: stored.time,
            reason: DeadReason::DeliveryLimit.name().to_owned(),
            detail: String::new(),
            subject: String::new(),
            sequence: Sequence::NONE,
            headers: vec![],
            payload: vec![],
            truncated: false,
        };
        let advisory: Advisory = match serde_json::from_slice(&stored.payload) {
            Ok(advisory) => advisory,
            Err(error) => {
                letter.detail = one_line(&format!("the server's news cannot be read: {error}"));
                return Ok(letter);
            }
        };
        letter.sequence = Sequence(advisory.stream_seq);
        let what = format!("delivered {} times and never settled", advisory.deliveries);
        let original = self.bus.fetch_at(topology::EVENTS, letter.sequence).await?;
        let Some(original) = original else {
            letter.detail = format!("{what}; the event itself is not stored any more");
            return Ok(letter);
        };
        letter.detail = what;
        letter.subject = original.subject;
        letter.headers = original
            .headers
            .iter()
            // What the answer to our request adds is not the event's.
            .filter(|(name, _)| !DIRECT_GET_HEADERS.contains(&name.to_string().as_str()))
            .filter_map(|(name, values)| {
                Some((name.to_string(), values.first()?.as_str().to_owned()))
            })
            .collect();
        letter.headers.sort();
        letter.payload = original.payload.to_vec();
        Ok(letter)
    }
}

fn letter(stored: &Stored) -> DeadLetter {
    let text = |name: &str| {
        stored
            .headers
            .get(name)
            .map(|value| value.as_str().to_owned())
            .unwrap_or_default()
    };
    let mut headers: Vec<(String, String)> = stored
        .headers
        .iter()
        .filter_map(|(name, values)| {
            let name = name.to_string().strip_prefix(h::DEAD_ORIGINAL)?.to_owned();
            Some((name, values.first()?.as_str().to_owned()))
        })
        .collect();
    headers.sort();
    DeadLetter {
        position: stored.sequence,
        time: stored.time,
        reason: text(h::DEAD_REASON),
        detail: text(h::DEAD_DETAIL),
        subject: text(h::DEAD_SUBJECT),
        sequence: Sequence(text(h::DEAD_SEQUENCE).parse().unwrap_or_default()),
        headers,
        truncated: text(h::DEAD_TRUNCATED) == "true",
        payload: stored.payload.to_vec(),
    }
}
