//! One request to events, without IO: the signature first, over the bytes as
//! they came; then the form, if it is one; then the decoder.

use std::borrow::Cow;

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use infraflow_core::Timestamp;
use infraflow_core::event::Provider;

use crate::gitea_family::{self, Decoded, Malformed};
use crate::source::WebhookSource;
use crate::{form, signature};

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
