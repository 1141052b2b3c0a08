//! A lock in its bucket: JSON, version 1.

use infraflow_core::Timestamp;
use infraflow_core::id::RunId;
use infraflow_core::limits::LOCK_WAITERS;
use infraflow_core::lock::{Holder, LockState, Waiter};
use infraflow_core::ports::Sequence;
use serde::{Deserialize, Serialize};

const VERSION: u32 = 1;

/// Largest value that is read: what the bucket takes.
const BYTES_MAX: usize = 1024 * 1024;

/// Most runs that have one lock at once.
const HOLDERS_MAX: usize = 10_000;

#[derive(Debug, Serialize, Deserialize)]
struct Version {
    v: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LockV1 {
    v: u32,
    max: u32,
    last_token: u64,
    holders: Vec<HolderV1>,
    waiters: Vec<WaiterV1>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HolderV1 {
    run: String,
    order: u64,
    token: u64,
    since: Timestamp,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WaiterV1 {
    run: String,
    order: u64,
}

/// Writes a lock.
pub(crate) fn encode(state: &LockState) -> Vec<u8> {
    let holders = state.holders.iter().map(|holder| HolderV1 {
        run: holder.run.to_string(),
        order: holder.order.0,
        token: holder.token,
        since: holder.since,
    });
    let waiters = state.waiters.iter().map(|waiter| WaiterV1 {
        run: waiter.run.to_string(),
        order: waiter.order.0,
    });
    let lock = LockV1 {
        v: VERSION,
        max: state.max,
        last_token: state.last_token,
        holders: holders.collect(),
        waiters: waiters.collect(),
    };
    serde_json::to_vec(&lock).expect("numbers and texts are always JSON")
}

/// Reads a lock.
pub(crate) fn decode(value: &[u8]) -> Result<LockState, String> {
    if value.len() > BYTES_MAX {
        return Err(format!("it has {} bytes", value.len()));
    }
    let Version { v } = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    if v != VERSION {
        return Err(format!(
            "it has version {v}, this infraflow reads version {VERSION}"
        ));
    }
    let lock: LockV1 = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    check(&lock)?;
    let holders: Result<Vec<Holder>, String> = lock.holders.into_iter().map(holder).collect();
    let waiters: Result<Vec<Waiter>, String> = lock.waiters.into_iter().map(waiter).collect();
    let waiters = waiters?;
    if !waiters.is_sorted_by(|a, b| a < b) {
        return Err("its queue is not in order".to_owned());
    }
    Ok(LockState {
        max: lock.max,
        holders: holders?,
        waiters,
        last_token: lock.last_token,
    })
}

fn check(lock: &LockV1) -> Result<(), String> {
    if lock.holders.len() > HOLDERS_MAX || lock.waiters.len() > LOCK_WAITERS {
        return Err(format!(
            "{} runs have it and {} wait for it",
            lock.holders.len(),
            lock.waiters.len()
        ));
    }
    if lock.last_token == u64::MAX || lock.holders.iter().any(|h| h.token > lock.last_token) {
        return Err("its tokens are not in order".to_owned());
    }
    Ok(())
}

fn holder(holder: HolderV1) -> Result<Holder, String> {
    Ok(Holder {
        run: run(&holder.run)?,
        order: Sequence(holder.order),
        token: holder.token,
        since: holder.since,
    })
}

fn waiter(waiter: WaiterV1) -> Result<Waiter, String> {
    Ok(Waiter {
        run: run(&waiter.run)?,
        order: Sequence(waiter.order),
    })
}

fn run(text: &str) -> Result<RunId, String> {
    text.parse()
        .map_err(|error: infraflow_core::id::InvalidName| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOLDEN: &str = r#"{"v":1,"max":1,"last_token":7,"holders":[{"run":"00000000000000000000000001","order":3,"token":7,"since":"2026-11-21T20:00:00Z"}],"waiters":[{"run":"00000000000000000000000002","order":4},{"run":"00000000000000000000000001","order":5}]}"#;

    fn state() -> LockState {
        let run = |n: u8| format!("0000000000000000000000000{n}").parse().unwrap();
        LockState {
            max: 1,
            holders: vec![Holder {
                run: run(1),
                order: Sequence(3),
                token: 7,
                since: "2026-11-21T20:00:00Z".parse().unwrap(),
            }],
            waiters: vec![
                Waiter {
                    order: Sequence(4),
                    run: run(2),
                },
                Waiter {
                    order: Sequence(5),
                    run: run(1),
                },
            ],
            last_token: 7,
        }
    }

    #[test]
    fn golden() {
        assert_eq!(String::from_utf8(encode(&state())).unwrap(), GOLDEN);
        assert_eq!(decode(GOLDEN.as_bytes()), Ok(state()));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (from, to, why) in [
            ("\"v\":1", "\"v\":2", "version 2"),
            ("\"order\":4", "\"order\":5", "not in order"),
            ("\"token\":7,\"s", "\"token\":8,\"s", "tokens"),
            ("\"waiters\"", "\"others\"", "unknown field"),
            (
                "\"run\":\"00000000000000000000000002\"",
                "\"run\":\"x\"",
                "run",
            ),
            ("\"v\":1", "\"v\":-1", "invalid value"),
            ("\"max\":1", "\"max\":4294967296", "invalid value"),
        ] {
            let bad = GOLDEN.replacen(from, to, 1);
            let error = decode(bad.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
        assert!(decode(&vec![b' '; BYTES_MAX + 1]).is_err());
    }

    /// The longest queue that may be fits the bucket.
    #[test]
    fn a_full_queue_fits() {
        let run = "7zzzzzzzzzzzzzzzzzzzzzzzzz".parse().unwrap();
        let waiters = (0..LOCK_WAITERS).map(|n| Waiter {
            order: Sequence(u64::MAX / 2 + u64::try_from(n).unwrap()),
            run,
        });
        let full = LockState {
            waiters: waiters.collect(),
            ..state()
        };
        let value = encode(&full);
        assert!(value.len() < BYTES_MAX, "{}", value.len());
        assert_eq!(decode(&value), Ok(full));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_lock_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }

        /// What is read is what was written, and what decode takes can be
        /// written again.
        #[test]
        fn a_damaged_lock_is_an_error_or_a_lock(at in 0..GOLDEN.len(), byte in any::<u8>()) {
            let mut bytes = GOLDEN.as_bytes().to_vec();
            bytes[at] = byte;
            if let Ok(state) = decode(&bytes) {
                prop_assert_eq!(decode(&encode(&state)), Ok(state));
            }
        }
    }
}
