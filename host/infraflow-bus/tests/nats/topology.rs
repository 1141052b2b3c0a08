//! Streams are created, upgraded and refused.

use infraflow_bus::topology::{TopologyConfig, TopologyError};
use serde_json::{Value, json};

use crate::server::{Plain, Server};

async fn config(plain: &Plain, stream: &str) -> Value {
    let info = plain
        .api(&format!("STREAM.INFO.{stream}"), &json!({}))
        .await;
    info["config"].clone()
}

/// Makes of a topology what the previous release had.
async fn downgrade(plain: &Plain) {
    for stream in ["TIMERS", "KV_locks"] {
        plain
            .api(&format!("STREAM.DELETE.{stream}"), &json!({}))
            .await;
    }
    let mut events = config(plain, "EVENTS").await;
    let metadata = events["metadata"].as_object_mut().unwrap();
    assert!(metadata.remove("infraflow.topology.version").is_some());
    plain.api("STREAM.UPDATE.EVENTS", &events).await;
    let mut dead = config(plain, "DEAD").await;
    dead["subjects"] = json!(["infraflow.dead.>"]);
    plain.api("STREAM.UPDATE.DEAD", &dead).await;
}

#[tokio::test]
async fn an_older_release_is_upgraded_and_keeps_its_messages() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let plain = server.plain().await;
    plain.store("infraflow.trigger.a", "").await;
    downgrade(&plain).await;
    let id = config(&plain, "RUNS").await["metadata"]["infraflow.topology"].clone();
    let defaults = TopologyConfig::default();
    bus.ensure_topology(&defaults).await.unwrap();
    for stream in ["TIMERS", "KV_locks", "EVENTS"] {
        let metadata = &config(&plain, stream).await["metadata"];
        assert_eq!(metadata["infraflow.topology"], id, "{stream}");
    }
    let events = plain.api("STREAM.INFO.EVENTS", &json!({})).await;
    assert_eq!(
        events["config"]["metadata"]["infraflow.topology.version"],
        "2"
    );
    assert_eq!(events["state"]["messages"], 1);
    let subjects = config(&plain, "DEAD").await["subjects"].clone();
    assert_eq!(subjects.as_array().unwrap().len(), 2, "{subjects}");
    // A second time nothing is to be done.
    bus.ensure_topology(&defaults).await.unwrap();
}

#[tokio::test]
async fn missing_streams_are_refused() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let plain = server.plain().await;
    let defaults = TopologyConfig::default();
    // A new one of a topology that had it, and an old one.
    plain.api("STREAM.DELETE.TIMERS", &json!({})).await;
    let error = bus.ensure_topology(&defaults).await.unwrap_err();
    assert!(
        matches!(&error, TopologyError::Incomplete { missing } if missing == &["TIMERS"]),
        "{error}"
    );
    plain.api("STREAM.DELETE.KV_locks", &json!({})).await;
    plain.api("STREAM.DELETE.LOGS", &json!({})).await;
    let error = bus.ensure_topology(&defaults).await.unwrap_err();
    assert!(error.to_string().contains("LOGS"), "{error}");
}

#[tokio::test]
async fn a_newer_topology_is_refused() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let plain = server.plain().await;
    let mut events = config(&plain, "EVENTS").await;
    events["metadata"]["infraflow.topology.version"] = json!("3");
    plain.api("STREAM.UPDATE.EVENTS", &events).await;
    let error = bus.ensure_topology(&TopologyConfig::default()).await;
    assert!(matches!(error, Err(TopologyError::Newer { .. })));
}

/// Several hosts that start at once make one topology.
#[tokio::test]
async fn hosts_that_start_at_once_agree() {
    let server = Server::start().await;
    let mut buses = Vec::new();
    for _ in 0..4 {
        buses.push(server.connect().await);
    }
    let defaults = TopologyConfig::default();
    let made = buses.iter().map(|bus| bus.ensure_topology(&defaults));
    for made in futures::future::join_all(made).await {
        made.unwrap();
    }
    buses[0].ensure_topology(&defaults).await.unwrap();
}
