//! Streams and consumers, as the files in `nats/` say.
//!
//! At start everything is created where nothing is there, and checked where it
//! is. A topology of an older release gets the streams that came since. One
//! that would lose messages is refused, with the way out; so is one that was
//! made in parts by different hands.

mod consumer;
mod plan;

use std::time::Duration;

use infraflow_core::Timestamp;
use serde_json::{Value, json};

pub(crate) use self::consumer::{
    Consumer, Standing, ensure_consumer, router, standing, timers, work,
};
use self::plan::{Known, Mark, VERSION, VERSION_UNFINISHED, check_stream, marked, plan};
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
/// The stream behind the store of artifacts.
pub const ARTIFACTS: &str = "OBJ_artifacts";
/// The stream of timers.
pub const TIMERS: &str = "TIMERS";

macro_rules! file {
    ($path:literal) => {
        include_str!(concat!("../../../../nats/", $path))
    };
}
use file;

macro_rules! known {
    ($($since:literal $name:literal)*) => {
        [$(Known {
            name: $name,
            since: $since,
            file: include_str!(concat!("../../../../nats/streams/", $name, ".json")),
        }),*]
    };
}

/// Our streams, and the version of the topology that brought each. `EVENTS` is
/// created first: who creates it decides the topology's id.
const STREAMS: [Known; 11] = known! {
    1 "EVENTS"
    1 "RUNS"
    1 "LOGS"
    1 "DEAD"
    1 "AUDIT"
    1 "KV_workflows"
    1 "KV_hosts"
    1 "KV_pointers"
    1 "OBJ_artifacts"
    2 "TIMERS"
    2 "KV_locks"
};

/// The configuration of the embedded server, with `@...@` to fill in.
pub const SERVER_CONFIG: &str = file!("server.conf");

/// The oldest server that has everything we use.
const SERVER_MIN: (i64, i64) = (2, 14);

/// How often the topology is looked at again because somebody else was making
/// it at the same time.
const LOOKS_MAX: usize = 10;

/// The pause before another look for streams that were missing.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What an operator may change of the topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopologyConfig {
    /// Replicas of every stream, 1 to 5. 1 for the embedded server.
    pub replicas: u8,
    /// Sizes and ages of streams; the file's values where unset. A stream that
    /// has others gets these.
    pub limits: Vec<StreamLimit>,
}

/// How much of a stream is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamLimit {
    /// The stream.
    pub stream: &'static str,
    /// Most bytes.
    pub bytes_max: u64,
    /// How long; unset: as the stream's file says.
    pub age_max: Option<Duration>,
}

impl StreamLimit {
    fn apply(&self, stream: &mut Value) {
        if let Some(map) = stream.as_object_mut() {
            map.insert("max_bytes".to_owned(), json!(self.bytes_max));
            if let Some(age) = self.age_max {
                let nanos = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
                map.insert("max_age".to_owned(), json!(nanos));
            }
        }
    }
}

impl Default for TopologyConfig {
    fn default() -> Self {
        Self {
            replicas: 1,
            limits: vec![],
        }
    }
}

impl TopologyConfig {
    fn limit_of(&self, stream: &str) -> Option<&StreamLimit> {
        self.limits.iter().find(|limit| limit.stream == stream)
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
    /// A newer infraflow made the streams.
    #[error(
        "a newer infraflow made the streams of this account (topology version {found}, this one \
         knows {VERSION}): use that version or a newer one"
    )]
    Newer {
        /// The version of the topology.
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

/// Whether a look at the topology was the last one.
enum Looked {
    /// All is as it should be.
    Done,
    /// Somebody else was quicker with a stream: look again.
    Raced,
}

impl Bus {
    /// Creates what is not there and checks what is. Several hosts may do so at
    /// once.
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
        let mut missed: Option<Vec<String>> = None;
        for _ in 0..LOOKS_MAX {
            match self.look_at_topology(config).await {
                Ok(Looked::Done) => return Ok(()),
                Ok(Looked::Raced) => {}
                // A look takes a while, in which another host may create them.
                Err(TopologyError::Incomplete { missing }) if missed.as_ref() != Some(&missing) => {
                    missed = Some(missing);
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        }
        Err(TopologyError::Api {
            what: "creating streams".to_owned(),
            reason: "somebody else keeps creating them in another way".to_owned(),
        })
    }

    async fn look_at_topology(&self, config: &TopologyConfig) -> Result<Looked, TopologyError> {
        let mut found = Vec::new();
        for known in &STREAMS {
            match self
                .api(&format!("STREAM.INFO.{}", known.name), &json!({}))
                .await
            {
                Ok(info) => found.push((known, info.get("config").cloned().unwrap_or_default())),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.about(&format!("stream {}", known.name))),
            }
        }
        let marks: Vec<Mark> = found
            .iter()
            .map(|(known, config)| Mark::of(known.name, config))
            .collect();
        let plan = plan(&STREAMS, &marks)?;
        for (known, have) in &found {
            let wanted = wanted_stream(known, config);
            let checked = check_stream(known.name, &wanted, have)?;
            let mut changed = checked.unwrap_or_else(|| have.clone());
            if let Some(limit) = config.limit_of(known.name) {
                limit.apply(&mut changed);
            }
            if changed != *have {
                self.update_stream(known.name, &changed).await?;
            }
        }
        let id = match plan.id {
            Some(id) => id,
            None => new_id()?,
        };
        for known in STREAMS.iter().filter(|k| plan.create.contains(&k.name)) {
            let stream = wanted_stream(known, config);
            let stream = marked(stream, known.name, &id, VERSION_UNFINISHED);
            if let Looked::Raced = self.create_stream(known.name, &stream).await? {
                return Ok(Looked::Raced);
            }
        }
        if plan.finish {
            let info = stream_info(self, EVENTS).await?;
            let config = info.get("config").cloned().unwrap_or_default();
            self.update_stream(EVENTS, &marked(config, EVENTS, &id, VERSION))
                .await?;
        }
        Ok(Looked::Done)
    }

    async fn create_stream(&self, name: &str, config: &Value) -> Result<Looked, TopologyError> {
        match self.api(&format!("STREAM.CREATE.{name}"), config).await {
            Ok(_) => {
                tracing::info!(stream = name, "stream created");
                Ok(Looked::Done)
            }
            Err(error) if error.code == NAME_IN_USE => Ok(Looked::Raced),
            Err(error) => Err(error.about(&format!("creating stream {name}"))),
        }
    }

    async fn update_stream(&self, name: &str, config: &Value) -> Result<(), TopologyError> {
        self.api(&format!("STREAM.UPDATE.{name}"), config)
            .await
            .map_err(|error| error.about(&format!("updating stream {name}")))?;
        tracing::info!(stream = name, "stream updated");
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

fn new_id() -> Result<String, TopologyError> {
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).map_err(|error| TopologyError::Api {
        what: "a topology id".to_owned(),
        reason: error.to_string(),
    })?;
    Ok(format!("{:016x}", u64::from_be_bytes(random)))
}

fn no_jetstream(error: &async_nats::RequestError) -> String {
    match error.kind() {
        async_nats::RequestErrorKind::NoResponders => {
            "JetStream is not enabled for this account".to_owned()
        }
        _ => error.to_string(),
    }
}

/// `stream name already in use with a different configuration`.
const NAME_IN_USE: u64 = 10_058;

/// A refusal of the server's API.
#[derive(Debug)]
pub(crate) struct ApiError {
    code: u64,
    text: String,
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
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

fn wanted_stream(known: &Known, config: &TopologyConfig) -> Value {
    let mut stream = parse(known.file);
    if let Some(map) = stream.as_object_mut() {
        map.insert("num_replicas".to_owned(), json!(config.replicas));
        if config.replicas > 1 {
            // Asynchronous writes exist for a single replica only.
            map.remove("persist_mode");
        }
    }
    if let Some(limit) = config.limit_of(known.name) {
        limit.apply(&mut stream);
    }
    stream
}

pub(crate) fn stream_names() -> impl Iterator<Item = &'static str> {
    STREAMS.iter().map(|known| known.name)
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

/// The position of a stream's newest message, also when that one is gone.
pub(crate) async fn last_sequence(bus: &Bus, name: &str) -> Result<u64, TopologyError> {
    let info = stream_info(bus, name).await?;
    info.pointer("/state/last_seq")
        .and_then(Value::as_u64)
        .ok_or_else(|| TopologyError::Api {
            what: format!("stream {name}"),
            reason: "an answer without the last position".to_owned(),
        })
}

/// The last position up to which a consumer is done with everything.
pub(crate) async fn ack_floor(bus: &Bus, consumer: &Consumer) -> Result<u64, TopologyError> {
    let info = bus
        .api(&consumer.api("INFO"), &json!({}))
        .await
        .map_err(|error| error.about(&format!("consumer {}", consumer.name)))?;
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
    use infraflow_core::id::PoolName;

    #[test]
    fn files_are_what_they_say() {
        for known in &STREAMS {
            let stream = parse(known.file);
            let name = known.name;
            assert_eq!(stream["name"], json!(name));
            assert!(
                stream["max_bytes"].as_i64().unwrap() > 0,
                "{name} grows without a limit"
            );
            assert!(known.since <= VERSION, "{name}");
        }
        assert_eq!(STREAMS[0].name, EVENTS, "it is created first");
        for consumer in [router(), work(&PoolName::default_pool()), timers()] {
            assert_eq!(consumer.config["name"], json!(consumer.name));
            assert_eq!(consumer.config["durable_name"], json!(consumer.name));
            let ack_wait = u64::try_from(ACK_WAIT.as_nanos()).unwrap();
            assert_eq!(consumer.config["ack_wait"], json!(ack_wait));
            let pending = consumer.config["max_ack_pending"].as_i64().unwrap();
            assert!(pending > 1_000, "not the server's default: {pending}");
        }
        let deliveries = router().config["max_deliver"].as_i64().unwrap();
        assert!(deliveries > 0, "poison ends among the dead letters");
    }

    #[test]
    fn each_pool_has_a_consumer() {
        let work = work(&PoolName::new("gpu-2").unwrap());
        assert_eq!(work.name, "work-gpu-2");
        let config = &work.config;
        assert_eq!(config["filter_subject"], "infraflow.run.*.wake.gpu-2");
        assert!(!config.to_string().contains("default"), "{config}");
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
                vec![
                    "EVENTS.router.json".into(),
                    "RUNS.work-default.json".into(),
                    "TIMERS.timers.json".into(),
                ],
            ),
        ] {
            for entry in std::fs::read_dir(format!("{folder}/{sub}")).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                assert!(used.contains(&name), "{sub}/{name} is not used");
            }
        }
    }

    /// `nats/subjects.md` names every stream and every consumer.
    #[test]
    fn everything_is_documented() {
        let text = include_str!("../../../../nats/subjects.md");
        for name in stream_names().chain(["router", "work-<pool>", "timers"]) {
            assert!(text.contains(&format!("| `{name}` |")), "{name}");
        }
        for known in &STREAMS {
            for subject in parse(known.file)["subjects"].as_array().unwrap() {
                let subject = subject.as_str().unwrap();
                assert!(text.contains(&format!("`{subject}`")), "{subject}");
            }
        }
    }
}
