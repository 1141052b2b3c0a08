//! The payload of a timer: JSON, version 1.

use infraflow_core::Timestamp;
use serde::{Deserialize, Serialize};

const VERSION: u32 = 1;

/// More than any payload of ours has.
const BYTES_MAX: usize = 1_024;

#[derive(Debug, Serialize, Deserialize)]
struct TimerV1 {
    v: u32,
    due: Timestamp,
}

/// Writes a timer.
pub(crate) fn encode(due: Timestamp) -> Vec<u8> {
    serde_json::to_vec(&TimerV1 { v: VERSION, due }).expect("numbers and texts are always JSON")
}

/// Reads when a timer was to be due.
pub(crate) fn decode(payload: &[u8]) -> Result<Timestamp, String> {
    if payload.len() > BYTES_MAX {
        return Err(format!("a timer of {} bytes", payload.len()));
    }
    let timer: TimerV1 = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    match timer.v {
        VERSION => Ok(timer.due),
        other => Err(format!("a timer of version {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden() {
        let due: Timestamp = "2026-11-21T20:00:00.5Z".parse().unwrap();
        let golden = r#"{"v":1,"due":"2026-11-21T20:00:00.5Z"}"#;
        assert_eq!(String::from_utf8(encode(due)).unwrap(), golden);
        assert_eq!(decode(golden.as_bytes()), Ok(due));
        let long = format!("{golden}{}", " ".repeat(BYTES_MAX));
        for bad in ["", "{}", r#"{"v":2,"due":"2026-11-21T20:00:00Z"}"#, &long] {
            assert!(decode(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_timer_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}
