//! Readiness that tells the truth, and retention that removes what nobody needs.

use infraflow_tests::host::Host;
use infraflow_tests::nats::RawClient;
use infraflow_tests::push;
use infraflow_tests::wait::{wait_for, wait_within};
use serde_json::{Value, json};
use std::fs;
use std::time::Duration;

use crate::COMMANDS;
use crate::workflows::{log, manual, sh};

/// How long an operator may be told that all is well when it is not.
const TRUTH: Duration = Duration::from_secs(10);

/// Asks the server's API as the host.
fn api(host: &Host, verb: &str, body: &Value) -> Value {
    let text = fs::read_to_string(host.path("data/credentials/host.env")).unwrap();
    let value = |name: &str| {
        let prefix = format!("export {name}=");
        let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
        line.unwrap().to_owned()
    };
    let mut client = RawClient::connect(
        &value("NATS_URL"),
        &value("NATS_USER"),
        &value("NATS_PASSWORD"),
    );
    let answer = client.request(&format!("$JS.API.{verb}"), &body.to_string());
    serde_json::from_slice(&answer.payload).unwrap()
}

fn readyz(host: &Host) -> (u16, Value) {
    let answer = push::get(&format!("{}/readyz", host.http()));
    let body = serde_json::from_str(&answer.body).unwrap();
    (answer.status, body)
}

/// Something is done to a consumer while TCP stays up: `/readyz` names it in
/// time, the host makes it again, and work goes on.
fn broken(stream: &str, consumer: &str, check: &str, verb: &str, body: &Value) {
    let mut host = Host::new(COMMANDS);
    host.workflow("w", &manual("w", &[log("hello", "hello", "")]));
    host.start();
    assert_eq!(readyz(&host).0, 200);
    let answer = api(&host, &format!("CONSUMER.{verb}.{stream}.{consumer}"), body);
    assert!(answer.get("error").is_none(), "{answer}");
    let report = wait_within(TRUTH, "the host to say so", || {
        let (status, report) = readyz(&host);
        (status == 503).then_some(report)
    });
    let problem = report["checks"][check]["problem"].as_str();
    assert!(problem.is_some(), "{check}: {report:#}");
    wait_for("the host to mend it", || {
        (readyz(&host).0 == 200).then_some(())
    });
    assert_eq!(host.run("w", &[])["run"]["state"], "succeeded");
}

#[test]
fn promise_10_a_deleted_consumer_shows_and_is_made_again() {
    broken("EVENTS", "router", "events", "DELETE", &json!({}));
    broken("RUNS", "work-default", "work", "DELETE", &json!({}));
    broken("TIMERS", "timers", "timers", "DELETE", &json!({}));
}

#[test]
fn promise_10_a_paused_consumer_shows_and_is_resumed() {
    let until = json!({ "pause_until": "2099-01-01T00:00:00Z" });
    broken("EVENTS", "router", "events", "PAUSE", &until);
    broken("RUNS", "work-default", "work", "PAUSE", &until);
}

#[test]
fn retention_by_age_removes_journals_lines_and_files_and_nothing_else() {
    let config =
        format!("{COMMANDS}retention: {{ runs_age: 1s, workspaces: 1s, artifacts_age: 1s }}\n");
    let mut host = Host::new(&config);
    host.workflow("done", &manual("done", &[sh("file", "echo x > x", "")]));
    host.workflow(
        "open",
        &manual(
            "open",
            &[sh("wait", "while ! test -e go; do sleep 0.05; done", "")],
        ),
    );
    host.start();
    let open = host.trigger("open", &[]);
    host.until_state(&open, "running");
    let done = host.run("done", &[]);
    let id = done["run"]["id"].as_str().unwrap().to_owned();
    let folder = host.path(&format!("data/work/{id}"));
    wait_for("the journal to be gone", || {
        host.try_runs()?
            .iter()
            .all(|run| run["id"] != id.as_str())
            .then_some(())
    });
    wait_for("its files to be gone", || (!folder.exists()).then_some(()));
    let lines = host.cli(&["logs", &id]);
    assert!(
        lines.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&lines.stdout)
    );
    // What has not ended keeps everything, however old.
    assert!(host.path(&format!("data/work/{open}")).is_dir());
    host.let_go(&open);
    assert_eq!(host.ended(&open)["run"]["state"], "succeeded");
    // After a restart they are still gone, and the event does not make them again.
    host.stop();
    host.start();
    assert!(host.runs().iter().all(|run| run["id"] != id.as_str()));
}

/// What is known of runs is rebuilt from the journals alone.
#[test]
fn the_read_model_is_rebuilt_from_the_journals() {
    let mut host = Host::new(COMMANDS);
    host.workflow("w", &manual("w", &[log("hello", "hello", "")]));
    host.start();
    let before: Vec<Value> = (0..5).map(|_| host.run("w", &[])["run"].clone()).collect();
    host.stop();
    // Everything but what NATS stores, the keys and the credentials.
    for folder in ["cache", "work", "private"] {
        drop(fs::remove_dir_all(host.path(&format!("data/{folder}"))));
    }
    host.start();
    for run in &before {
        assert_eq!(&host.show(run["id"].as_str().unwrap())["run"], run);
    }
}
