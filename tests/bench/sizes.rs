//! Many runs: listing them, waiting in large numbers, long ones, and taking them
//! up after a kill.

use std::time::{Duration, Instant};

use bytes::Bytes;
use infraflow_bus::bare::Bare;
use infraflow_tests::host::Host;
use infraflow_tests::nats::{RawClient, Server};
use infraflow_tests::wait::{pause, wait_within};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::machine::memory_mb;
use crate::percentiles;

/// Runs in the list.
const LISTED: usize = 100_000;

/// Runs that wait, and runs that are taken up.
const MANY: usize = 10_000;

/// Steps of the long run.
const STEPS: usize = 1_000;

const LIMIT: Duration = Duration::from_secs(900);

const QUIET: &str = "warn";

fn workflow(name: &str, steps: &str) -> String {
    format!(
        "infraflow: v1\nname: {name}\non: {{ event: {{ subject: infraflow.event.custom.{name} }} }}\nstages:\n  - name: main\n    steps:\n{steps}"
    )
}

struct Scene<'a> {
    runtime: &'a Runtime,
    server: Server,
    host: Host,
    bare: Bare,
}

impl<'a> Scene<'a> {
    fn new(runtime: &'a Runtime, config: &str, workflows: &[(&str, &str)]) -> Self {
        let server = Server::start_with("2m");
        let mut host = Host::new(&format!("nats: {{ url: \"{}\" }}\n{config}", server.url()));
        host.set_env("INFRAFLOW_LOG", QUIET);
        for (name, steps) in workflows {
            host.workflow(name, &workflow(name, steps));
        }
        host.start();
        let bare = runtime
            .block_on(Bare::connect(&server.url(), "", ""))
            .expect("NATS answers");
        Self {
            runtime,
            server,
            host,
            bare,
        }
    }

    fn publish(&self, name: &str, count: usize) {
        let subject = format!("infraflow.event.custom.{name}");
        self.runtime
            .block_on(
                self.bare
                    .publish(&subject, count, Bytes::from_static(b"{}")),
            )
            .expect("the events are stored");
    }

    /// Waits until so many records of a kind are there.
    fn until(&self, kind: &str, count: usize) {
        let subject = format!("infraflow.run.*.{kind}");
        wait_within(LIMIT, kind, || {
            // Counting costs the server something.
            pause(Duration::from_millis(100));
            let found = self.runtime.block_on(self.bare.subjects("RUNS", &subject));
            (found.ok()? >= count).then_some(())
        });
    }
}

/// The figures.
pub(crate) fn figures(runtime: &Runtime) -> Value {
    let mut report = json!({});
    listing(runtime, &mut report);
    waiting(runtime, &mut report);
    long(runtime, &mut report);
    recovery(runtime, &mut report);
    report
}

fn listing(runtime: &Runtime, report: &mut Value) {
    let say = "      - { id: say, uses: log@1, with: { message: hello } }\n";
    let mut scene = Scene::new(runtime, "retention: { runs: 4GiB }\n", &[("many", say)]);
    scene.publish("many", LISTED);
    scene.until("ended", LISTED);
    let mut client = RawClient::connect(&scene.server.url(), "", "");
    let mut ask = |query: &Value| {
        let times = std::iter::repeat_with(|| {
            let begun = Instant::now();
            client.request("infraflow.rpc.operator.runs.list", &query.to_string());
            begun.elapsed()
        });
        percentiles(times.take(100).collect())
    };
    for (name, query) in [
        ("list_100k_first_page", json!({ "limit": 100 })),
        (
            "list_100k_middle_page",
            json!({ "limit": 100, "before": LISTED }),
        ),
        (
            "list_100k_by_state_none",
            json!({ "limit": 100, "states": ["failed"] }),
        ),
        (
            "list_100k_by_workflow",
            json!({ "limit": 100, "workflow": "many" }),
        ),
    ] {
        let [p50, p99, _] = ask(&query);
        report[format!("{name}_p50_ms")] = json!(p50 / 1e3);
        report[format!("{name}_p99_ms")] = json!(p99 / 1e3);
    }
    report["host_mb_with_100k_runs"] = json!(memory_mb(scene.host.pid()));
    scene.host.stop();
    let begun = Instant::now();
    scene.host.start();
    report["ready_with_100k_runs_s"] = json!(begun.elapsed().as_secs_f64());
    scene.host.stop();
}

fn waiting(runtime: &Runtime, report: &mut Value) {
    let nap = "      - { id: nap, wait: { for: 24h } }\n";
    let mut scene = Scene::new(runtime, "", &[("nap", nap)]);
    let before = memory_mb(scene.host.pid());
    let begun = Instant::now();
    scene.publish("nap", MANY);
    scene.until("parked", MANY);
    report["park_10k_s"] = json!(begun.elapsed().as_secs_f64());
    report["host_mb_with_10k_parked"] = json!(memory_mb(scene.host.pid()));
    report["host_mb_before"] = json!(before);
    scene.host.stop();
    scene.host.start();
    report["host_mb_with_10k_parked_after_restart"] = json!(memory_mb(scene.host.pid()));
    scene.host.stop();
}

fn long(runtime: &Runtime, report: &mut Value) {
    let steps: String = (0..STEPS)
        .map(|n| format!("      - {{ id: s{n}, uses: log@1, with: {{ message: hello }} }}\n"))
        .collect();
    let mut scene = Scene::new(runtime, "", &[("long", &steps)]);
    let begun = Instant::now();
    scene.publish("long", 1);
    scene.until("ended", 1);
    report["run_of_1000_steps_s"] = json!(begun.elapsed().as_secs_f64());
    scene.host.stop();
}

fn recovery(runtime: &Runtime, report: &mut Value) {
    let say = "      - { id: say, uses: log@1, with: { message: hello } }\n";
    let block = "      - { id: hold, uses: command@1, with: { run: sleep, args: [\"600\"] } }\n";
    let narrow = "commands: { sleep: /bin/sleep }\nlimits: { runs_active: 1 }\nsole_host: true\n";
    let mut scene = Scene::new(runtime, narrow, &[("block", block), ("many", say)]);
    scene.publish("block", 1);
    scene.until("created", 1);
    scene.publish("many", MANY);
    scene.until("wake.default", MANY);
    scene.host.kill();
    scene.host.configure(&format!(
        "nats: {{ url: \"{}\" }}\ncommands: {{ sleep: /bin/sleep }}\nsole_host: true\n",
        scene.server.url()
    ));
    let begun = Instant::now();
    scene.host.start();
    scene.until("ended", MANY);
    report["recover_10k_unfinished_s"] = json!(begun.elapsed().as_secs_f64());
    scene.host.stop();
}
