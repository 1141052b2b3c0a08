//! The server's answer to a publish that asks for one.

use serde::Deserialize;

/// An acknowledgement, or why there is none.
#[derive(Debug, Deserialize)]
struct PublishReply {
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    error: Option<ReplyError>,
}

#[derive(Debug, Deserialize)]
struct ReplyError {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// Why the server did not store a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotStored {
    /// The subject's last sequence is another one.
    #[error("somebody else changed it first")]
    WrongSequence,
    /// The stream is full, and said so.
    #[error("the stream is full")]
    Full,
    /// Anything else: whether it is stored is unknown.
    #[error("{0}")]
    Unknown(String),
}

/// `wrong last sequence` (ADR-5, server error 10071), and its form for a
/// concurrent write to the same subject (10164).
const WRONG_LAST_SEQUENCE: [u64; 2] = [10_071, 10_164];

/// `maximum bytes exceeded` and its relatives: store failure with a limit
/// (10077), insufficient resources (10023), storage exceeded (10047).
const FULL: [u64; 3] = [10_077, 10_023, 10_047];

/// Reads an answer.
pub(crate) fn sequence(
    reply: Result<async_nats::Message, async_nats::RequestError>,
) -> Result<u64, NotStored> {
    let reply = reply.map_err(|error| NotStored::Unknown(error.to_string()))?;
    parse(&reply.payload)
}

fn parse(payload: &[u8]) -> Result<u64, NotStored> {
    let reply: PublishReply = serde_json::from_slice(payload)
        .map_err(|error| NotStored::Unknown(format!("an answer that is not JSON: {error}")))?;
    match reply.error {
        None if reply.seq > 0 => Ok(reply.seq),
        None => Err(NotStored::Unknown(
            "an answer without a sequence".to_owned(),
        )),
        Some(error) if WRONG_LAST_SEQUENCE.contains(&error.err_code) => {
            Err(NotStored::WrongSequence)
        }
        Some(error) if FULL.contains(&error.err_code) => Err(NotStored::Full),
        Some(error) => Err(NotStored::Unknown(error.description)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        for (payload, expected) in [
            (r#"{"stream":"RUNS","seq":7}"#, Ok(7)),
            (r#"{"stream":"RUNS","seq":7,"duplicate":true}"#, Ok(7)),
            (
                r#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 5"},"seq":0}"#,
                Err(NotStored::WrongSequence),
            ),
            (
                r#"{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}"#,
                Err(NotStored::Full),
            ),
            (
                r#"{"error":{"code":503,"err_code":10008,"description":"not available"}}"#,
                Err(NotStored::Unknown("not available".into())),
            ),
            (
                "{}",
                Err(NotStored::Unknown("an answer without a sequence".into())),
            ),
        ] {
            assert_eq!(parse(payload.as_bytes()), expected, "{payload}");
        }
        assert!(matches!(parse(b"x"), Err(NotStored::Unknown(_))));
    }
}
