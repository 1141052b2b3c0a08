//! One request to events, without IO: the signature first, over the bytes as
//! they came; then the form, if it is one; then the decoder.

use std::borrow::Cow;

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use infraflow_core::Timestamp;
use infraflow_core::event::{Event, Provider};
use infraflow_core::id::{EventId, InvalidName};

use crate::source::WebhookSource;
use crate::{form, gitea_family, signature};

/// What a body says.
#[derive(Debug, Clone, PartialEq)]
pub enum Decoded {
    /// What happened. At least one event, at the moment exactly one.
    Events(Vec<Event>),
    /// Nothing that makes an event. Answered like a success, since providers
    /// disable webhooks that fail.
    Ignored {
        /// Why, for people.
        reason: String,
    },
}

/// Why a request is no webhook of its source. Who configured the webhook or the
/// source mends it; sending the same again does not help.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// A header that every request has is missing.
    #[error("the header `{name}` is missing")]
    MissingHeader {
        /// Which one.
        name: &'static str,
    },
    /// The request is another provider's.
    #[error(
        "source `{source_name}` is of type `{expected}`, but the request comes from {found}: {hint}"
    )]
    OtherProvider {
        /// The source.
        source_name: String,
        /// What the source is configured for.
        expected: Provider,
        /// What the headers say.
        found: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// Headers that say the same thing say different things.
    #[error("the headers `{one}` and `{other}` disagree")]
    HeadersDisagree {
        /// One of them.
        one: &'static str,
        /// The other.
        other: &'static str,
    },
    /// A header holds something that it cannot hold.
    #[error("the header `{name}` is not valid")]
    InvalidHeader {
        /// Which one.
        name: &'static str,
    },
    /// The body is of a type that no provider sends.
    #[error(
        "the content type is neither `application/json` nor `application/x-www-form-urlencoded`"
    )]
    ContentType,
    /// The body is not the form that its content type says.
    #[error("{0}")]
    Form(&'static str),
    /// The body is not JSON, or has something of another type where a push has a
    /// text, a number, a list or an object.
    #[error("the body cannot be read at line {line}, column {column}")]
    Json {
        /// Where, from 1.
        line: usize,
        /// Where, from 1; 0 at the start of a line.
        column: usize,
        /// What is wrong there.
        #[source]
        source: serde_json::Error,
    },
    /// The body is JSON of another form.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// A field is missing or holds something that it cannot hold.
    #[error("`{field}` {problem}")]
    Field {
        /// Its path in the body.
        field: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
}

impl Malformed {
    /// The problem of a body that does not parse.
    pub(crate) fn json(source: serde_json::Error) -> Self {
        Self::Json {
            line: source.line(),
            column: source.column(),
            source,
        }
    }
}

/// Why a request is refused. Nothing of it goes anywhere.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Nobody signed it. Answered 401.
    #[error("the request is not signed: set the source's secret in the webhook")]
    NotSigned,
    /// Somebody else signed it, or something changed it. Answered 401.
    #[error("the signature is wrong")]
    WrongSignature,
    /// It is no webhook of this source. Answered 400.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// Checks and decodes one request to a source.
///
/// For a JSON body the signature is that of the body; for a form it is that of
/// the decoded field `payload`, as Forgejo and Gitea make it. A source that is
/// insecure by name takes any signature and none.
///
/// # Errors
/// [`Refused`] says why; none of its texts holds anything of a secret or of a
/// signature.
pub fn receive(
    source: &WebhookSource,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<Decoded, Refused> {
    // Without one there is nothing to decode for.
    let claimed = signature::claimed(headers);
    if claimed.is_none() && !source.is_insecure() {
        return Err(Refused::NotSigned);
    }
    let json = json_of(headers, body)?;
    if let Some(claimed) = claimed
        && !source.is_insecure()
        && !claimed.is_by_one_of(source.keys(), &json)
    {
        return Err(Refused::WrongSignature);
    }
    match source.provider() {
        Provider::Forgejo | Provider::Gitea => {
            Ok(gitea_family::decode(source, headers, &json, now)?)
        }
    }
}

/// The id of an event: that of its delivery; where one delivery reports several
/// changes, with the change's number behind it, from 1. The same delivery gives
/// the same ids again.
pub(crate) fn event_id(delivery: &str, change: Option<usize>) -> Result<EventId, InvalidName> {
    match change {
        None => EventId::new(delivery),
        Some(number) => EventId::new(&format!("{delivery}/{number}")),
    }
}

/// The JSON of a body; that inside `payload` for a form.
fn json_of<'b>(headers: &HeaderMap, body: &'b [u8]) -> Result<Cow<'b, [u8]>, Malformed> {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Ok(Cow::Borrowed(body));
    };
    let value = value.to_str().map_err(|_| Malformed::ContentType)?;
    let kind = value.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        Ok(Cow::Borrowed(body))
    } else if kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        form::payload(body).map(Cow::Owned).map_err(Malformed::Form)
    } else {
        Err(Malformed::ContentType)
    }
}

#[cfg(test)]
mod tests {
    use super::event_id;

    #[test]
    fn ids_of_events() {
        let id = |delivery: &str, change| event_id(delivery, change).map(|id| id.to_string());
        assert_eq!(id("d-1", None).as_deref(), Ok("d-1"));
        assert_eq!(id("d-1", Some(2)).as_deref(), Ok("d-1/2"));
        assert!(id("", None).is_err());
        assert!(id(&"x".repeat(255), Some(1)).is_err());
    }
}
