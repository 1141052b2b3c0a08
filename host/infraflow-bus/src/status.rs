//! How the server and its streams are.

use infraflow_core::Timestamp;
use infraflow_core::id::RunId;
use infraflow_core::ports::Sequence;
use serde_json::Value;

use crate::connect::Bus;
use crate::subject;
use crate::topology::{self, TopologyError};

/// How full a stream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fill {
    /// The stream.
    pub stream: String,
    /// Messages in it.
    pub messages: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Most bytes that it takes. Unset: no limit of its own.
    pub bytes_max: Option<u64>,
}

impl Fill {
    /// How full, from 0 to 100. 0 without a limit.
    pub fn percent(&self) -> u64 {
        match self.bytes_max {
            Some(max) if max > 0 => self.bytes.saturating_mul(100) / max,
            _ => 0,
        }
    }

    /// Bytes that are left until it is so many percent full. All there are
    /// without a limit.
    pub fn room(&self, percent: u64) -> u64 {
        self.bytes_max.map_or(u64::MAX, |max| {
            (max / 100)
                .saturating_mul(percent)
                .saturating_sub(self.bytes)
        })
    }
}

/// How the server and its streams are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusStatus {
    /// The server's version.
    pub server_version: String,
    /// Our streams.
    pub fills: Vec<Fill>,
}

impl Bus {
    /// Looks at the server.
    ///
    /// # Errors
    /// When it does not answer, or a stream is missing.
    pub async fn status(&self) -> Result<BusStatus, TopologyError> {
        let mut fills = Vec::new();
        for name in topology::stream_names() {
            fills.push(fill(&topology::stream_info(self, name).await?, name));
        }
        Ok(BusStatus {
            server_version: self.server_version(),
            fills,
        })
    }

    /// How full one stream is.
    ///
    /// # Errors
    /// When the server does not answer, or the stream is missing.
    pub async fn fill(&self, stream: &str) -> Result<Fill, TopologyError> {
        Ok(fill(&topology::stream_info(self, stream).await?, stream))
    }

    /// Removes events that every consumer is done with when the stream is more
    /// than 80 % full, and returns how many went. Consumed messages do not leave
    /// a stream by themselves, and a full one takes no more.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn trim_events(&self) -> Result<u64, TopologyError> {
        if self.fill(topology::EVENTS).await?.percent() <= 80 {
            return Ok(0);
        }
        let floor = topology::ack_floor(self, &topology::router()).await?;
        topology::purge_below(self, topology::EVENTS, floor + 1).await
    }

    /// The position up to which every event has been taken: none of them is
    /// delivered again.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn events_done(&self) -> Result<Sequence, TopologyError> {
        topology::ack_floor(self, &topology::router())
            .await
            .map(Sequence)
    }

    /// Removes the events up to a position.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn remove_events(&self, last: Sequence) -> Result<(), TopologyError> {
        topology::purge_below(self, topology::EVENTS, last.0 + 1).await?;
        Ok(())
    }

    /// Removes the log lines of a run.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn remove_logs_of(&self, run: RunId) -> Result<(), TopologyError> {
        topology::purge_subject(self, topology::LOGS, &subject::logs(run)).await
    }

    /// Removes the dead letters that came before a moment, and returns how many
    /// went.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn remove_dead_before(&self, time: Timestamp) -> Result<u64, TopologyError> {
        // The server does not understand years that are far away.
        let time = time.min(Timestamp::now());
        let first = match self.first_since(topology::DEAD, time).await {
            Ok(Some(first)) => first,
            Ok(None) => Sequence(topology::last_sequence(self, topology::DEAD).await? + 1),
            Err(error) => {
                return Err(TopologyError::Api {
                    what: "dead letters".to_owned(),
                    reason: error.to_string(),
                });
            }
        };
        topology::purge_below(self, topology::DEAD, first.0).await
    }

    /// Removes a run's journal. Its event must have gone before.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn remove_journal(&self, run: RunId) -> Result<(), TopologyError> {
        topology::purge_subject(self, topology::RUNS, &subject::journal(run)).await
    }
}

fn fill(info: &Value, name: &str) -> Fill {
    let number = |pointer: &str| info.pointer(pointer).and_then(Value::as_i64);
    let size = |pointer: &str| u64::try_from(number(pointer).unwrap_or(0)).unwrap_or(0);
    Fill {
        stream: name.to_owned(),
        messages: size("/state/messages"),
        bytes: size("/state/bytes"),
        bytes_max: number("/config/max_bytes").and_then(|max| u64::try_from(max).ok()),
    }
}
