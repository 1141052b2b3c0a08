//! Durable consumers: what they take, and how they are made and looked at.

use infraflow_core::id::PoolName;
use serde_json::{Value, json};

use super::plan::check_consumer;
use super::{ApiError, EVENTS, RUNS, TIMERS, TopologyError, file, parse};
use crate::connect::Bus;
use crate::subject;

/// A durable consumer.
#[derive(Debug, Clone)]
pub(crate) struct Consumer {
    pub(crate) name: String,
    stream: &'static str,
    pub(super) config: Value,
}

impl Consumer {
    fn of(file: &str, stream: &'static str, name: &str) -> Self {
        let config = parse(file).get("config").cloned().unwrap_or_default();
        Self {
            name: name.to_owned(),
            stream,
            config,
        }
    }

    /// The subject of a request for its next messages.
    pub(crate) fn next_subject(&self) -> String {
        format!("$JS.API.{}", self.api("MSG.NEXT"))
    }

    /// The subject of a request about it.
    pub(super) fn api(&self, verb: &str) -> String {
        format!("CONSUMER.{verb}.{}.{}", self.stream, self.name)
    }
}

/// Creates the runs of each event.
pub(crate) fn router() -> Consumer {
    Consumer::of(file!("consumers/EVENTS.router.json"), EVENTS, "router")
}

/// Timers that are due.
pub(crate) fn timers() -> Consumer {
    Consumer::of(file!("consumers/TIMERS.timers.json"), TIMERS, "timers")
}

/// Work items of a pool, as the file says for the pool `default`.
///
/// Its `max_ack_pending` bounds the runs that all hosts of the pool work on at
/// once: a work item stays unsettled until its run has ended or is parked. So
/// it is far above what hosts admit, and a run that waits for a place on one
/// host does not keep the others from theirs.
pub(crate) fn work(pool: &PoolName) -> Consumer {
    let name = format!("work-{pool}");
    let mut work = Consumer::of(file!("consumers/RUNS.work-default.json"), RUNS, &name);
    if let Some(config) = work.config.as_object_mut() {
        let description = format!("Work items of the pool `{pool}`; shared by its hosts");
        config.insert("description".to_owned(), json!(description));
        config.insert("name".to_owned(), json!(name));
        config.insert("durable_name".to_owned(), json!(name));
        config.insert("filter_subject".to_owned(), json!(subject::wakes(pool)));
    }
    work
}

/// Makes a consumer when it is not there, checks it when it is, lets it go on
/// when somebody paused it.
pub(crate) async fn ensure_consumer(bus: &Bus, consumer: &Consumer) -> Result<(), TopologyError> {
    let name = &consumer.name;
    let about = |error: ApiError| error.about(&format!("consumer {name}"));
    match bus.api(&consumer.api("INFO"), &json!({})).await {
        Ok(info) => {
            let config = info.get("config").unwrap_or(&Value::Null);
            check_consumer(name, &consumer.config, config)?;
            if is_paused(&info) {
                // Without a time it goes on at once.
                let resumed = bus.api(&consumer.api("PAUSE"), &json!({})).await;
                resumed.map_err(about)?;
                tracing::warn!(consumer = name, "consumer was paused, resumed it");
            }
        }
        Err(error) if error.is_not_found() => {
            let request = json!({
                "stream_name": consumer.stream,
                "config": consumer.config,
                "action": "create",
            });
            match bus.api(&consumer.api("CREATE"), &request).await {
                Ok(_) => tracing::info!(consumer = name, "consumer created"),
                // Another host was quicker.
                Err(error) if error.code == 10_148 => {}
                Err(error) => return Err(about(error)),
            }
        }
        Err(error) => return Err(about(error)),
    }
    Ok(())
}

fn is_paused(info: &Value) -> bool {
    info.get("paused").and_then(Value::as_bool) == Some(true)
}

/// How a consumer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It delivers.
    Running,
    /// Somebody paused it.
    Paused,
    /// Somebody deleted it.
    Missing,
}

/// Looks at a consumer.
pub(crate) async fn standing(bus: &Bus, consumer: &Consumer) -> Result<Standing, TopologyError> {
    match bus.api(&consumer.api("INFO"), &json!({})).await {
        Ok(info) if is_paused(&info) => Ok(Standing::Paused),
        Ok(_) => Ok(Standing::Running),
        Err(error) if error.is_not_found() => Ok(Standing::Missing),
        Err(error) => Err(error.about(&format!("consumer {}", consumer.name))),
    }
}
