//! What a host says of itself in its lease: JSON, version 1.
//!
//! Unlike everything else on the wire a newer version is read as far as it is
//! understood: a host that runs a newer infraflow must never look as if it were
//! gone.

use std::time::Duration;

use infraflow_core::Timestamp;
use infraflow_core::id::{HostName, Incarnation, PoolName};
use infraflow_core::ports::HostCard;
use serde::{Deserialize, Serialize};

const VERSION: u32 = 1;

/// Largest value that is read.
const BYTES_MAX: usize = 64 * 1024;

/// Most pools of one host.
const POOLS_MAX: usize = 256;

/// Longest lease, in milliseconds. The configuration allows less.
const LEASE_MS_MAX: u64 = 3_600_000;

/// Longest text of a version.
const VERSION_TEXT_MAX: usize = 100;

#[derive(Debug, Serialize, Deserialize)]
struct CardV1 {
    v: u32,
    life: String,
    pools: Vec<String>,
    lease_ms: u64,
    #[serde(default)]
    draining: bool,
    started_at: Timestamp,
    #[serde(default)]
    runs_active: usize,
    #[serde(default)]
    version: String,
}

/// Writes a card. The host's name is its key.
pub(crate) fn encode(card: &HostCard) -> Vec<u8> {
    let card = CardV1 {
        v: VERSION,
        life: card.life.to_string(),
        pools: card.pools.iter().map(ToString::to_string).collect(),
        lease_ms: u64::try_from(card.lease.as_millis()).unwrap_or(u64::MAX),
        draining: card.draining,
        started_at: card.started_at,
        runs_active: card.runs_active,
        version: card.version.clone(),
    };
    serde_json::to_vec(&card).expect("numbers and texts are always JSON")
}

/// Reads a card.
pub(crate) fn decode(host: HostName, value: &[u8]) -> Result<HostCard, String> {
    if value.len() > BYTES_MAX {
        return Err(format!("it has {} bytes", value.len()));
    }
    let card: CardV1 = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    if card.v < VERSION {
        return Err(format!("it has version {}", card.v));
    }
    if !(1..=LEASE_MS_MAX).contains(&card.lease_ms) {
        return Err(format!("its lease lasts {} ms", card.lease_ms));
    }
    if card.pools.len() > POOLS_MAX {
        return Err(format!("it has {} pools", card.pools.len()));
    }
    if card.version.len() > VERSION_TEXT_MAX || card.version.contains(char::is_control) {
        return Err("its version is no version".to_owned());
    }
    let pools: Result<Vec<PoolName>, _> =
        card.pools.iter().map(|name| PoolName::new(name)).collect();
    Ok(HostCard {
        host,
        life: life(&card.life)?,
        pools: pools.map_err(|error| error.to_string())?,
        lease: Duration::from_millis(card.lease_ms),
        draining: card.draining,
        started_at: card.started_at,
        runs_active: card.runs_active,
        version: card.version,
    })
}

fn life(text: &str) -> Result<Incarnation, String> {
    let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u64::from_str_radix(text, 16);
    match number {
        Ok(number) if is_hex => Ok(Incarnation(number)),
        _ => Err(format!("`{}` is no life", text.escape_debug())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOLDEN: &str = r#"{"v":1,"life":"00000000000000ff","pools":["default","gpu"],"lease_ms":15000,"draining":false,"started_at":"2026-11-21T20:00:00Z","runs_active":3,"version":"0.2.0"}"#;

    fn host() -> HostName {
        HostName::new("alpha").unwrap()
    }

    fn card() -> HostCard {
        HostCard {
            host: host(),
            life: Incarnation(255),
            pools: vec![
                PoolName::new("default").unwrap(),
                PoolName::new("gpu").unwrap(),
            ],
            lease: Duration::from_secs(15),
            draining: false,
            started_at: "2026-11-21T20:00:00Z".parse().unwrap(),
            runs_active: 3,
            version: "0.2.0".to_owned(),
        }
    }

    #[test]
    fn golden() {
        assert_eq!(String::from_utf8(encode(&card())).unwrap(), GOLDEN);
        assert_eq!(decode(host(), GOLDEN.as_bytes()), Ok(card()));
    }

    #[test]
    fn a_newer_host_is_seen() {
        let newer = GOLDEN.replace("\"v\":1", "\"v\":9,\"mood\":\"fine\"");
        assert_eq!(decode(host(), newer.as_bytes()), Ok(card()));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (from, to) in [
            ("\"v\":1", "\"v\":0"),
            ("00000000000000ff", "+0000000000000ff"),
            ("00000000000000ff", "ff"),
            ("15000", "0"),
            ("15000", "3600001"),
            ("gpu", "a.b"),
            ("0.2.0", "\\u0000"),
        ] {
            let bad = GOLDEN.replacen(from, to, 1);
            assert!(decode(host(), bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(decode(host(), &vec![b' '; BYTES_MAX + 1]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_card_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(host(), &bytes);
        }
    }
}
