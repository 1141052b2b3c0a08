//! The bare figures: NATS and wasmtime alone.

use std::sync::Arc;

use bytes::Bytes;
use infraflow_bus::bare::{Bare, BareRun, Protocol};
use infraflow_sandbox::bare::Bench;
use infraflow_tests::nats::Server;
use serde_json::{Value, json};

use crate::{BODY_BYTES, EVENTS, IN_FLIGHT, ROUNDS, percentiles};

/// Measures on a server of its own.
pub(crate) async fn figures(sync: &'static str) -> Value {
    let server = Server::start_with(sync);
    let bare = Bare::connect(&server.url(), "", "")
        .await
        .expect("NATS answers");
    let body = Bytes::from(vec![b'x'; BODY_BYTES]);
    let publish = bare
        .publish("bare.event.a", EVENTS, body)
        .await
        .expect("publishes");
    let trips = bare
        .round_trips(ROUNDS, BODY_BYTES)
        .await
        .expect("round trips");
    let [p50, p99, p999] = percentiles(trips);
    let places = u32::try_from(IN_FLIGHT + 8).expect("a small number");
    let bench = Arc::new(Bench::new(places).expect("the bare component"));
    let work = || -> infraflow_bus::bare::Step {
        let bench = bench.clone();
        Box::pin(async move {
            bench.once("a line").await.expect("the bare component runs");
        })
    };
    let mut report = json!({
        "publish_per_second": publish,
        "publish_confirmed_p50_us": p50,
        "publish_confirmed_p99_us": p99,
        "publish_confirmed_p999_us": p999,
    });
    for (name, protocol) in [
        ("runs_per_second_whole_path", Protocol::OneRecord),
        ("runs_per_second_chosen_protocol", Protocol::CreateClaim),
    ] {
        let run = BareRun {
            protocol,
            events: EVENTS,
            log_lines: 1,
            in_flight: IN_FLIGHT,
            body_bytes: BODY_BYTES,
        };
        let measured = bare.run(run, &work).await.expect("the bare path");
        report[name] = json!(measured.runs_per_second);
    }
    report
}
