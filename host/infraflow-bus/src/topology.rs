//! Streams and consumers, as the files in `nats/` say.
//!
//! At start everything is created where nothing is there, and checked where it
//! is. A topology that would lose messages is refused, with the way out; so is
//! one that was made in parts by different hands.

use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use infraflow_core::Timestamp;
use serde_json::{Value, json};

use crate::connect::Bus;

/// The stream of events.
pub const EVENTS: &str = "EVENTS";
/// The stream of journals.
pub const RUNS: &str = "RUNS";
/// The stream of log lines.
pub const LOGS: &str = "LOGS";
/// The stream of dead letters.
pub const DEAD: &str = "DEAD";
/// The stream of audit entries.
pub const AUDIT: &str = "AUDIT";

macro_rules! file {
    ($path:literal) => {
        include_str!(concat!("../../../nats/", $path))
    };
}

const STREAM_FILES: [(&str, &str); 9] = [
    (EVENTS, file!("streams/EVENTS.json")),
    (RUNS, file!("streams/RUNS.json")),
    (LOGS, file!("streams/LOGS.json")),
    (DEAD, file!("streams/DEAD.json")),
    (AUDIT, file!("streams/AUDIT.json")),
    ("KV_workflows", file!("streams/KV_workflows.json")),
    ("KV_hosts", file!("streams/KV_hosts.json")),
    ("KV_pointers", file!("streams/KV_pointers.json")),
    ("OBJ_artifacts", file!("streams/OBJ_artifacts.json")),
];

/// The configuration of the embedded server, with `@...@` to fill in.
pub const SERVER_CONFIG: &str = file!("server.conf");

/// A durable consumer.
#[derive(Debug)]
pub struct Consumer {
    pub(crate) name: &'static str,
    stream: &'static str,
    file: &'static str,
}

/// Creates the runs of each event.
pub const ROUTER: Consumer = Consumer {
    name: "router",
    stream: EVENTS,
    file: file!("consumers/EVENTS.router.json"),
};

/// Work items of the pool `default`.
pub const WORK: Consumer = Consumer {
    name: "work-default",
    stream: RUNS,
    file: file!("consumers/RUNS.work-default.json"),
};

/// The metadata key that tells streams of one topology apart from others'.
const TOPOLOGY_ID: &str = "infraflow.topology";

/// The oldest server that has everything we use.
const SERVER_MIN: (i64, i64) = (2, 14);

/// What an operator may change of the topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopologyConfig {
    /// Replicas of every stream, 1 to 5. 1 for the embedded server.
    pub replicas: u8,
    /// Most bytes by stream name; the file's value where unset.
    pub bytes_max: Vec<(String, u64)>,
}

impl Default for TopologyConfig {
    fn default() -> Self {
        Self {
            replicas: 1,
            bytes_max: vec![],
        }
    }
}

/// Why the topology cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// The server does not answer, or has no JetStream.
    #[error("ask NATS about {what}: {reason}")]
    Api {
        /// What was asked.
        what: String,
        /// The answer.
        reason: String,
    },
    /// The server is too old.
    #[error(
        "the NATS server has version {found}, infraflow needs {}.{} or newer", SERVER_MIN.0, SERVER_MIN.1
    )]
    TooOld {
        /// Its version.
        found: String,
    },
    /// Some of our streams are there and others are not.
    #[error(
        "streams are missing while others are there: {}. Somebody deleted them, or two infraflows \
         share this account. Restore them from a backup, or delete all streams of infraflow to \
         start anew (that loses every event and run)", missing.join(", ")
    )]
    Incomplete {
        /// The missing ones.
        missing: Vec<String>,
    },
    /// Streams belong to different topologies.
    #[error(
        "the streams were not made together: `{first}` and `{other}` have different topology ids. \
         Two infraflows share this account; give each its own"
    )]
    Mixed {
        /// A stream.
        first: String,
        /// A stream with another id.
        other: String,
    },
    /// A stream or consumer is set up in a way that would lose messages.
    #[error(
        "`{name}` is set up in a way that loses messages: `{field}` is {found}, infraflow needs {wanted}. \
         Change it with the NATS CLI, or remove it"
    )]
    Unsafe {
        /// The stream or consumer.
        name: String,
        /// The field.
        field: &'static str,
        /// What it is.
        found: String,
        /// What it must be.
        wanted: String,
    },
}

impl Bus {
    /// Creates what is not there and checks what is.
    ///
    /// # Errors
    /// When the server is too old, has no JetStream, or has a topology that
    /// cannot be used.
    pub async fn ensure_topology(&self, config: &TopologyConfig) -> Result<(), TopologyError> {
        if !self
            .client
            .is_server_compatible(SERVER_MIN.0, SERVER_MIN.1, 0)
        {
            return Err(TopologyError::TooOld {
                found: self.server_version(),
            });
        }
        let mut found = Vec::new();
        let mut missing = Vec::new();
        for (name, file) in STREAM_FILES {
            let wanted = wanted_stream(file, name, config);
            match self.api(&format!("STREAM.INFO.{name}"), &json!({})).await {
                Ok(info) => found.push((name, wanted, info)),
                Err(error) if error.is_not_found() => missing.push((name, wanted)),
                Err(error) => return Err(error.about(&format!("stream {name}"))),
            }
        }
        if found.is_empty() {
            return self.create_all(missing).await;
        }
        if !missing.is_empty() {
            let missing = missing
                .into_iter()
                .map(|(name, _)| name.to_owned())
                .collect();
            return Err(TopologyError::Incomplete { missing });
        }
        check_ids(&found)?;
        for (name, wanted, info) in &found {
            check_stream(name, wanted, info.get("config").unwrap_or(&Value::Null))?;
        }
        Ok(())
    }

    async fn create_all(&self, streams: Vec<(&str, Value)>) -> Result<(), TopologyError> {
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random).map_err(|error| TopologyError::Api {
            what: "a topology id".to_owned(),
            reason: error.to_string(),
        })?;
        let id = format!("{:016x}", u64::from_be_bytes(random));
        for (name, mut stream) in streams {
            if let Some(map) = stream.as_object_mut() {
                map.insert("metadata".to_owned(), json!({ TOPOLOGY_ID: id }));
            }
            self.api(&format!("STREAM.CREATE.{name}"), &stream)
                .await
                .map_err(|error| error.about(&format!("creating stream {name}")))?;
            tracing::info!(stream = name, "stream created");
        }
        Ok(())
    }

    pub(crate) async fn api(&self, verb: &str, body: &Value) -> Result<Value, ApiError> {
        let reply = self
            .client
            .request(format!("$JS.API.{verb}"), body.to_string().into())
            .await
            .map_err(|error| ApiError {
                code: 0,
                text: no_jetstream(&error),
            })?;
        let value: Value = serde_json::from_slice(&reply.payload).map_err(|error| ApiError {
            code: 0,
            text: error.to_string(),
        })?;
        match value.get("error") {
            None => Ok(value),
            Some(error) => Err(ApiError {
                code: error.get("err_code").and_then(Value::as_u64).unwrap_or(0),
                text: error
                    .get("description")
                    .and_then(Value::as_str)
                    .unwrap_or("an error without a text")
                    .to_owned(),
            }),
        }
    }
}

fn no_jetstream(error: &async_nats::RequestError) -> String {
    match error.kind() {
        async_nats::RequestErrorKind::NoResponders => {
            "JetStream is not enabled for this account".to_owned()
        }
        _ => error.to_string(),
    }
}

/// A refusal of the server's API.
#[derive(Debug)]
pub(crate) struct ApiError {
    code: u64,
    text: String,
}

impl ApiError {
    /// Stream (10059) or consumer (10014) not found.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self.code, 10_059 | 10_014)
    }

    fn about(self, what: &str) -> TopologyError {
        TopologyError::Api {
            what: what.to_owned(),
            reason: self.text,
        }
    }
}

fn parse(file: &str) -> Value {
    serde_json::from_str(file).expect("the files in nats/ are JSON: a test reads them")
}

fn wanted_stream(file: &str, name: &str, config: &TopologyConfig) -> Value {
    let mut stream = parse(file);
    if let Some(map) = stream.as_object_mut() {
        map.insert("num_replicas".to_owned(), json!(config.replicas));
        if config.replicas > 1 {
            // Asynchronous writes exist for a single replica only.
            map.remove("persist_mode");
        }
        if let Some((_, bytes)) = config.bytes_max.iter().find(|(stream, _)| stream == name) {
            map.insert("max_bytes".to_owned(), json!(bytes));
        }
    }
    stream
}

/// Fields of a stream that decide whether messages are lost. Sizes and ages are
/// the operator's.
const STREAM_FIELDS: [&str; 7] = [
    "subjects",
    "retention",
    "discard",
    "storage",
    "max_msgs_per_subject",
    "deny_delete",
    "allow_direct",
];

fn check_stream(name: &str, wanted: &Value, found: &Value) -> Result<(), TopologyError> {
    for field in STREAM_FIELDS {
        let want = wanted.get(field).unwrap_or(&Value::Null);
        let have = found.get(field).unwrap_or(&Value::Null);
        if !same(want, have) {
            return Err(TopologyError::Unsafe {
                name: name.to_owned(),
                field,
                found: have.to_string(),
                wanted: want.to_string(),
            });
        }
    }
    // Journals and audit entries have no age.
    if matches!(name, RUNS | AUDIT) && found.get("max_age").and_then(Value::as_i64) != Some(0) {
        return Err(TopologyError::Unsafe {
            name: name.to_owned(),
            field: "max_age",
            found: found.get("max_age").unwrap_or(&Value::Null).to_string(),
            wanted: "0".to_owned(),
        });
    }
    Ok(())
}

/// The server leaves out what has its default, and writes -1 for "no limit".
fn same(wanted: &Value, found: &Value) -> bool {
    let default = |value: &Value| {
        value.is_null() || *value == json!(false) || *value == json!(-1) || *value == json!(0)
    };
    wanted == found || (default(wanted) && default(found))
}

fn check_ids(found: &[(&str, Value, Value)]) -> Result<(), TopologyError> {
    let id = |info: &Value| {
        info.pointer("/config/metadata")
            .and_then(|metadata| metadata.get(TOPOLOGY_ID))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let Some((first, _, first_info)) = found.first() else {
        return Ok(());
    };
    let first_id = id(first_info);
    match found
        .iter()
        .find(|(_, _, info)| id(info) != first_id || first_id.is_empty())
    {
        None => Ok(()),
        Some((other, _, _)) => Err(TopologyError::Mixed {
            first: (*first).to_owned(),
            other: (*other).to_owned(),
        }),
    }
}

/// Makes a consumer when it is not there, checks it when it is, and opens it.
pub(crate) async fn ensure_consumer(
    bus: &Bus,
    consumer: &Consumer,
) -> Result<PullConsumer, TopologyError> {
    let about = |error: ApiError| error.about(&format!("consumer {}", consumer.name));
    let Consumer { name, stream, file } = consumer;
    let wanted = parse(file);
    match bus
        .api(&format!("CONSUMER.INFO.{stream}.{name}"), &json!({}))
        .await
    {
        Ok(info) => check_consumer(name, &wanted, &info)?,
        Err(error) if error.is_not_found() => {
            let mut request = wanted;
            if let Some(map) = request.as_object_mut() {
                map.insert("action".to_owned(), json!("create"));
            }
            let created = bus
                .api(&format!("CONSUMER.CREATE.{stream}.{name}"), &request)
                .await;
            match created {
                Ok(_) => tracing::info!(consumer = name, "consumer created"),
                // Another host was quicker.
                Err(error) if error.code == 10_148 => {}
                Err(error) => return Err(about(error)),
            }
        }
        Err(error) => return Err(about(error)),
    }
    let failed = |reason: String| TopologyError::Api {
        what: format!("consumer {name}"),
        reason,
    };
    let handle = bus
        .jetstream
        .get_stream_no_info(*stream)
        .await
        .map_err(|error| failed(error.to_string()))?;
    handle
        .get_consumer(name)
        .await
        .map_err(|error| failed(error.to_string()))
}

fn check_consumer(name: &str, wanted: &Value, info: &Value) -> Result<(), TopologyError> {
    for field in [
        "ack_policy",
        "deliver_policy",
        "filter_subject",
        "filter_subjects",
    ] {
        let want = wanted
            .pointer(&format!("/config/{field}"))
            .unwrap_or(&Value::Null);
        let have = info
            .pointer(&format!("/config/{field}"))
            .unwrap_or(&Value::Null);
        if !same(want, have) {
            return Err(TopologyError::Unsafe {
                name: name.to_owned(),
                field,
                found: have.to_string(),
                wanted: want.to_string(),
            });
        }
    }
    Ok(())
}

pub(crate) fn stream_names() -> impl Iterator<Item = &'static str> {
    STREAM_FILES.iter().map(|(name, _)| *name)
}

pub(crate) async fn stream_info(bus: &Bus, name: &str) -> Result<Value, TopologyError> {
    bus.api(&format!("STREAM.INFO.{name}"), &json!({}))
        .await
        .map_err(|error| error.about(&format!("stream {name}")))
}

/// When a stream was created.
pub(crate) async fn created_at(bus: &Bus, name: &str) -> Result<Timestamp, TopologyError> {
    let info = stream_info(bus, name).await?;
    info.get("created")
        .and_then(Value::as_str)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| TopologyError::Api {
            what: format!("stream {name}"),
            reason: "an answer without the creation time".to_owned(),
        })
}

/// The last position up to which a consumer is done with everything.
pub(crate) async fn ack_floor(bus: &Bus, consumer: &Consumer) -> Result<u64, TopologyError> {
    let Consumer { name, stream, .. } = consumer;
    let info = bus
        .api(&format!("CONSUMER.INFO.{stream}.{name}"), &json!({}))
        .await
        .map_err(|error| error.about(&format!("consumer {name}")))?;
    Ok(info
        .pointer("/ack_floor/stream_seq")
        .and_then(Value::as_u64)
        .unwrap_or(0))
}

/// Removes every message before a position.
pub(crate) async fn purge_below(bus: &Bus, stream: &str, seq: u64) -> Result<u64, TopologyError> {
    let answer = bus
        .api(&format!("STREAM.PURGE.{stream}"), &json!({ "seq": seq }))
        .await
        .map_err(|error| error.about(&format!("purging stream {stream}")))?;
    Ok(answer.get("purged").and_then(Value::as_u64).unwrap_or(0))
}

/// Removes every message of a subject.
pub(crate) async fn purge_subject(
    bus: &Bus,
    stream: &str,
    subject: &str,
) -> Result<(), TopologyError> {
    bus.api(
        &format!("STREAM.PURGE.{stream}"),
        &json!({ "filter": subject }),
    )
    .await
    .map_err(|error| error.about(&format!("purging stream {stream}")))?;
    Ok(())
}

/// How long a delivery may stay unsettled before it comes again: work on it must
/// show signs of life more often.
pub const ACK_WAIT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_what_they_say() {
        for (name, file) in STREAM_FILES {
            let stream = parse(file);
            assert_eq!(stream["name"], json!(name));
            assert!(
                stream["max_bytes"].as_i64().unwrap() > 0,
                "{name} grows without a limit"
            );
        }
        for consumer in [&ROUTER, &WORK] {
            let file = parse(consumer.file);
            assert_eq!(file["stream_name"], json!(consumer.stream));
            assert_eq!(file["config"]["durable_name"], json!(consumer.name));
            let ack_wait = u64::try_from(ACK_WAIT.as_nanos()).unwrap();
            assert_eq!(file["config"]["ack_wait"], json!(ack_wait));
        }
    }

    /// Every file in `nats/` is used: none is only there to be read.
    #[test]
    fn every_file_is_used() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../nats");
        for (sub, used) in [
            (
                "streams",
                stream_names()
                    .map(|name| format!("{name}.json"))
                    .collect::<Vec<_>>(),
            ),
            (
                "consumers",
                vec!["EVENTS.router.json".into(), "RUNS.work-default.json".into()],
            ),
        ] {
            for entry in std::fs::read_dir(format!("{folder}/{sub}")).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                assert!(used.contains(&name), "{sub}/{name} is not used");
            }
        }
    }

    #[test]
    fn a_stream_that_would_lose_messages_is_refused() {
        let wanted = wanted_stream(STREAM_FILES[1].1, RUNS, &TopologyConfig::default());
        assert!(check_stream(RUNS, &wanted, &wanted).is_ok());
        for (field, bad) in [
            ("discard", json!("old")),
            ("retention", json!("workqueue")),
            ("subjects", json!(["infraflow.>"])),
            ("max_age", json!(1)),
            ("deny_delete", json!(false)),
            ("storage", json!("memory")),
        ] {
            let mut found = wanted.clone();
            found[field] = bad;
            let error = check_stream(RUNS, &wanted, &found).unwrap_err();
            assert!(error.to_string().contains(&format!("`{field}`")), "{error}");
        }
        // Sizes are the operator's.
        let mut found = wanted.clone();
        found["max_bytes"] = json!(1);
        assert!(check_stream(RUNS, &wanted, &found).is_ok());
    }
}
