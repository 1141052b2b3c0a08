//! The same through the release binary, in its own process, with its defaults.

use std::time::{Duration, Instant};

use bytes::Bytes;
use infraflow_bus::bare::Bare;
use infraflow_tests::host::{Host, program};
use infraflow_tests::nats::{RawClient, Server};
use infraflow_tests::wait::{wait_for, wait_within};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::machine::{cpu_seconds, memory_mb, memory_peak_mb};
use crate::{BODY_BYTES, EVENTS, ROUNDS, percentiles};

const WORKFLOW: &str = "\
infraflow: v1
name: bench
on: { event: { subject: infraflow.event.custom.bench } }
stages:
  - name: main
    steps:
      - id: say
        uses: log@1
        with: { message: \"a log line of about the usual length, as a playbook prints it\" }
";

/// What a host logs when nobody says otherwise.
const DEFAULT_LOG: &str = "info,async_nats=warn";

const LATENCY: &str = "infraflow.event.custom.bench";

/// Size, time to ready, idle memory: with the embedded server and its defaults.
pub(crate) fn start() -> Value {
    let bytes = std::fs::metadata(program()).expect("the program").len();
    // Once for the compiled plugins, which stay.
    let mut host = Host::new("nats: { port: 0 }\n");
    host.set_env("INFRAFLOW_LOG", DEFAULT_LOG);
    host.workflow("bench", WORKFLOW);
    host.start();
    host.stop();
    let mut ready = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        host.start();
        ready.push(begun.elapsed());
        if ready.len() < 5 {
            host.stop();
        }
    }
    ready.sort_unstable();
    let ready = ready.get(2).copied().unwrap_or_default();
    let nats = host
        .nats_pid()
        .and_then(|pid| u32::try_from(pid).ok())
        .expect("a server");
    let idle = json!({
        "binary_mb": mb(bytes),
        "ready_ms": ready.as_secs_f64() * 1e3,
        "idle_host_mb": memory_mb(host.pid()),
        "idle_nats_mb": memory_mb(nats),
    });
    host.stop();
    idle
}

fn mb(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1024).unwrap_or(u32::MAX)) / 1024.0
}

/// The load and the latencies.
pub(crate) fn figures(runtime: &Runtime, sync: &'static str) -> Value {
    let server = Server::start_with(sync);
    let mut host = Host::new("");
    host.set_env("INFRAFLOW_LOG", DEFAULT_LOG);
    host.workflow("bench", WORKFLOW);
    host.set_arguments(&["--nats", &server.url()]);
    // It makes the streams; then the events wait for it, as in the bare runs.
    host.start();
    host.stop();
    let bare = runtime
        .block_on(Bare::connect(&server.url(), "", ""))
        .expect("NATS answers");
    let filler = "x".repeat(BODY_BYTES - 10);
    let body = Bytes::from(format!("{{\"a\":\"{filler}\"}}"));
    runtime
        .block_on(bare.publish(LATENCY, EVENTS, body))
        .expect("the events are stored");
    host.start();
    wait_within(Duration::from_secs(600), "every event to be taken", || {
        let left = runtime.block_on(bare.left("EVENTS", "router")).ok()?;
        (left == 0).then_some(())
    });
    let ended = || {
        runtime
            .block_on(bare.subjects("RUNS", "infraflow.run.*.ended"))
            .ok()
    };
    wait_for("every run to end", || (ended()? >= EVENTS).then_some(()));
    assert_eq!(
        ended(),
        Some(EVENTS),
        "each event made one run, and it ended"
    );
    let stored = runtime.block_on(bare.stored("RUNS")).expect("the journals");
    let rate =
        f64::from(u32::try_from(EVENTS).expect("a small number")) / stored.span.as_secs_f64();
    let mut report = json!({
        "runs_per_second_one_step": rate,
        "records": stored.messages,
        "cpu_seconds_host": cpu_seconds(host.pid()),
        "cpu_seconds_nats": cpu_seconds(server.pid()),
        "peak_host_mb": memory_peak_mb(host.pid()),
    });
    let [p50, p99, p999] = percentiles(event_to_step(&server.url()));
    report["event_to_step_p50_us"] = json!(p50);
    report["event_to_step_p99_us"] = json!(p99);
    report["event_to_step_p999_us"] = json!(p999);
    host.stop();
    report
}

/// From the publish of an event until the step's log line is here: one at a
/// time, a plain client on both ends.
fn event_to_step(url: &str) -> Vec<Duration> {
    let mut client = RawClient::connect(url, "", "");
    client.subscribe("infraflow.log.>");
    let once = || {
        let begun = Instant::now();
        client.send(&format!("PUB {LATENCY} 2\r\n{{}}\r\n"));
        client.message();
        begun.elapsed()
    };
    std::iter::repeat_with(once).take(ROUNDS).collect()
}
