//! Runs that wait: for a time, for a lock, for a person. They hold nothing, they
//! survive everything, and they can always be ended.

use std::time::Duration;

use infraflow_core::Timestamp;

use infraflow_tests::counter::Counter;
use infraflow_tests::host::Host;
use infraflow_tests::wait::{pause, wait_for};
use serde_json::Value;

use crate::COMMANDS;
use crate::workflows::{call, log, manual, sh};

fn wait_step(id: &str, time: &str) -> String {
    format!("id: {id}\nwait: {{ for: {time} }}\n")
}

/// A workflow with more keys of its own.
fn with(head: &str, text: &str) -> String {
    text.replacen("on: manual\n", &format!("on: manual\n{head}\n"), 1)
}

fn entries(run: &Value) -> Vec<String> {
    let journal = run["journal"].as_array().unwrap();
    let records = journal
        .iter()
        .flat_map(|item| item["entries"].as_array().unwrap());
    records
        .map(|entry| entry.as_str().unwrap().to_owned())
        .collect()
}

fn state(host: &Host, run: &str) -> String {
    host.show(run)["run"]["state"].as_str().unwrap().to_owned()
}

#[test]
fn a_wait_holds_nothing_and_is_over_in_time() {
    let mut host = Host::new(COMMANDS);
    host.workflow(
        "w",
        &manual("w", &[wait_step("nap", "6s"), log("after", "done", "")]),
    );
    host.start();
    let run = host.trigger("w", &[]);
    let waiting = host.until_state(&run, "waiting");
    assert_eq!(waiting["run"]["waits_for"], "time");
    assert_eq!(waiting["steps"][0]["state"], "sleeping");
    assert!(
        waiting["run"]["host"].is_null(),
        "no host has it: {waiting:#}"
    );
    assert_eq!(host.json(&["host", "list"])[0]["runs_active"], 0);
    let ended = host.ended(&run);
    assert_eq!(ended["run"]["state"], "succeeded", "{ended:#}");
    let entries = entries(&ended);
    assert!(
        entries.iter().any(|entry| entry.starts_with("parked for")),
        "{entries:?}"
    );
    assert!(
        entries.contains(&"woken by timer".to_owned()),
        "{entries:?}"
    );
    let started: Timestamp = ended["steps"][0]["started_at"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let over: Timestamp = ended["steps"][0]["ended_at"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(over.duration_since(started).as_secs() >= 6, "{ended:#}");
}

#[test]
fn a_short_wait_is_waited_for_in_place() {
    let mut host = Host::new(COMMANDS);
    host.workflow("w", &manual("w", &[wait_step("nap", "300ms")]));
    host.start();
    let ended = host.run("w", &[]);
    assert_eq!(ended["run"]["state"], "succeeded");
    assert!(
        !entries(&ended)
            .iter()
            .any(|entry| entry.starts_with("parked"))
    );
}

/// The host and its server are killed while runs wait for a time; one time comes
/// while they are down. Nothing is lost, nothing happens twice.
#[test]
fn promise_04_timers_survive_the_death_of_everything() {
    let counter = Counter::start();
    let mut host = Host::new(COMMANDS);
    host.workflow(
        "w",
        &manual(
            "w",
            &[
                call("one", &counter.url("one"), ""),
                "id: nap\nwait: { until: \"{{ inputs.until }}\" }\n".to_owned(),
                call("two", &counter.url("two"), ""),
            ],
        ),
    );
    host.start();
    let now = Timestamp::now();
    let runs: Vec<String> = [7_u64, 12]
        .into_iter()
        .map(|seconds| {
            let until = now + Duration::from_secs(seconds);
            host.trigger("w", &[&format!("until={until}")])
        })
        .collect();
    for run in &runs {
        host.until_state(run, "waiting");
    }
    host.kill();
    host.nothing_is_left();
    // The first time comes while nothing runs.
    pause(Duration::from_secs(8).saturating_sub(passed_since(now)));
    host.start();
    for run in &runs {
        let ended = host.ended(run);
        assert_eq!(ended["run"]["state"], "succeeded", "{ended:#}");
    }
    assert_eq!((counter.count("one"), counter.count("two")), (2, 2));
}

fn passed_since(then: Timestamp) -> Duration {
    Duration::try_from(Timestamp::now().duration_since(then)).unwrap_or_default()
}

#[test]
fn promise_04_a_long_retry_delay_survives_a_kill() {
    let mut host = Host::new(COMMANDS);
    let step = sh(
        "flaky",
        "test -e again || { touch again; exit 1; }",
        "retry: { attempts: 2, delay: 7s, on: [failed] }\n",
    );
    host.workflow("w", &manual("w", &[step]));
    host.start();
    let run = host.trigger("w", &[]);
    let retrying = host.until_state(&run, "retrying");
    assert!(retrying["run"]["host"].is_null(), "{retrying:#}");
    host.kill();
    host.nothing_is_left();
    host.start();
    let ended = host.ended(&run);
    assert_eq!(ended["run"]["state"], "succeeded", "{ended:#}");
    assert_eq!(ended["steps"][0]["attempts"].as_array().unwrap().len(), 2);
}

#[test]
fn cancel_is_immediate_while_a_run_waits() {
    let mut host = Host::new(COMMANDS);
    host.workflow("nap", &manual("nap", &[wait_step("nap", "1h")]));
    host.workflow(
        "locked",
        &with(
            "lock: shared",
            &manual(
                "locked",
                &[sh("hold", "while ! test -e go; do sleep 0.05; done", "")],
            ),
        ),
    );
    host.start();
    let nap = host.trigger("nap", &[]);
    let holder = host.trigger("locked", &[]);
    host.until_state(&holder, "running");
    let blocked = host.trigger("locked", &[]);
    host.until_state(&nap, "waiting");
    host.until_state(&blocked, "blocked");
    for run in [&nap, &blocked] {
        assert!(host.cli(&["runs", "cancel", run]).status.success());
        // Cancelled when the command returns.
        let shown = wait_for("the index", || {
            let shown = host.show(run);
            (shown["run"]["is_ended"] == true).then_some(shown)
        });
        assert_eq!(shown["run"]["state"], "cancelled", "{shown:#}");
    }
    host.let_go(&holder);
    assert_eq!(host.ended(&holder)["run"]["state"], "succeeded");
}

// ---- locks ------------------------------------------------------------------------

fn locked(host: &Host, on_conflict: &str) {
    let head = format!(
        "lock: \"deploy-{{{{ inputs.env }}}}\"\nconcurrency: {{ on_conflict: {on_conflict} }}"
    );
    let steps = [sh("work", "while ! test -e go; do sleep 0.05; done", "")];
    host.workflow("w", &with(&head, &manual("w", &steps)));
}

#[test]
fn runs_queue_behind_a_lock_in_the_order_of_their_events() {
    let mut host = Host::new(COMMANDS);
    locked(&host, "queue");
    host.start();
    let first = host.trigger("w", &["env=a"]);
    host.until_state(&first, "running");
    let queued: Vec<String> = (0..3).map(|_| host.trigger("w", &["env=a"])).collect();
    let other = host.trigger("w", &["env=b"]);
    host.until_state(&other, "running");
    for (index, run) in queued.iter().enumerate() {
        let blocked = host.until_state(run, "blocked");
        assert_eq!(blocked["run"]["lock"], "deploy-a");
        wait_for("its place", || {
            (host.show(run)["run"]["queue_position"] == index + 1).then_some(())
        });
    }
    let locks = host.json(&["locks", "list"]);
    assert_eq!(locks.as_array().unwrap().len(), 2, "{locks:#}");
    let a = &locks[0];
    assert_eq!(
        (a["name"].as_str(), a["holders"][0]["run"].as_str()),
        (Some("deploy-a"), Some(first.as_str()))
    );
    let waiters: Vec<&str> = a["waiters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| w["run"].as_str().unwrap())
        .collect();
    assert_eq!(
        waiters,
        queued.iter().map(String::as_str).collect::<Vec<_>>()
    );
    // One after the other, in order.
    host.let_go(&first);
    for (index, run) in queued.iter().enumerate() {
        host.until_state(run, "running");
        for later in &queued[index + 1..] {
            assert_eq!(state(&host, later), "blocked");
        }
        host.let_go(run);
        assert_eq!(host.ended(run)["run"]["state"], "succeeded");
    }
    host.let_go(&other);
    host.ended(&other);
    wait_for("every lock to be free", || {
        host.json(&["locks", "list"])
            .as_array()
            .unwrap()
            .is_empty()
            .then_some(())
    });
}

#[test]
fn skip_runs_the_newest_event_last() {
    let mut host = Host::new(COMMANDS);
    locked(&host, "skip");
    host.start();
    let first = host.trigger("w", &["env=a"]);
    host.until_state(&first, "running");
    let second = host.trigger("w", &["env=a"]);
    host.until_state(&second, "blocked");
    let third = host.trigger("w", &["env=a"]);
    let skipped = host.ended(&second);
    assert_eq!(skipped["run"]["state"], "skipped", "{skipped:#}");
    let reason = skipped["run"]["reason"].as_str().unwrap();
    assert!(reason.contains(&third), "{reason}");
    host.until_state(&third, "blocked");
    host.let_go(&first);
    host.until_state(&third, "running");
    host.let_go(&third);
    assert_eq!(host.ended(&third)["run"]["state"], "succeeded");
    assert_eq!(host.ended(&first)["run"]["state"], "succeeded");
}

#[test]
fn cancel_running_lets_the_newest_event_win() {
    let mut host = Host::new(&format!("{COMMANDS}shutdown_grace: 200ms\n"));
    locked(&host, "cancel_running");
    host.start();
    let first = host.trigger("w", &["env=a"]);
    host.until_state(&first, "running");
    let second = host.trigger("w", &["env=a"]);
    let cancelled = host.ended(&first);
    assert_eq!(cancelled["run"]["state"], "cancelled", "{cancelled:#}");
    assert!(
        cancelled["run"]["reason"]
            .as_str()
            .unwrap()
            .contains(&second)
    );
    host.until_state(&second, "running");
    host.let_go(&second);
    assert_eq!(host.ended(&second)["run"]["state"], "succeeded");
}

#[test]
fn concurrency_bounds_the_runs_of_a_workflow() {
    let mut host = Host::new(COMMANDS);
    let steps = [sh("work", "while ! test -e go; do sleep 0.05; done", "")];
    host.workflow("w", &with("concurrency: { max: 2 }", &manual("w", &steps)));
    host.start();
    let runs: Vec<String> = (0..3).map(|_| host.trigger("w", &[])).collect();
    let blocked = wait_for("one to be blocked", || {
        let all = host.runs();
        let of = |name: &str| all.iter().filter(|run| run["state"] == name).count();
        if of("running") != 2 || of("blocked") != 1 {
            return None;
        }
        let run = all.iter().find(|run| run["state"] == "blocked")?;
        Some(run["id"].as_str()?.to_owned())
    });
    let running = runs.iter().find(|run| **run != blocked).unwrap();
    host.let_go(running);
    host.until_state(&blocked, "running");
    for run in runs.iter().filter(|run| *run != running) {
        host.let_go(run);
    }
    for run in &runs {
        assert_eq!(host.ended(run)["run"]["state"], "succeeded");
    }
}

/// Two workflows want the same two locks, named in opposite orders.
#[test]
fn promise_04_two_locks_never_deadlock() {
    let mut host = Host::new(COMMANDS);
    for (name, locks) in [("one", "[left, right]"), ("two", "[right, left]")] {
        let steps = [sh("work", "sleep 0.05", "")];
        host.workflow(
            name,
            &with(&format!("lock: {locks}"), &manual(name, &steps)),
        );
    }
    host.start();
    let runs: Vec<String> = (0..10)
        .map(|n| host.trigger(if n % 2 == 0 { "one" } else { "two" }, &[]))
        .collect();
    for run in &runs {
        assert_eq!(host.ended(run)["run"]["state"], "succeeded");
    }
}

/// However a run ends, its lock goes to the next one.
#[test]
fn promise_04_a_lock_is_free_when_its_run_is_over() {
    let mut host = Host::new(&format!("{COMMANDS}shutdown_grace: 200ms\n"));
    let looping = "while ! test -e go; do test -e fail && exit 1; sleep 0.05; done";
    host.workflow(
        "w",
        &with("lock: one", &manual("w", &[sh("work", looping, "")])),
    );
    host.start();
    let next = |host: &Host, holder: &str| {
        let next = host.trigger("w", &[]);
        host.until_state(&next, "blocked");
        assert_eq!(state(host, holder), "running");
        next
    };
    let holds = |host: &Host, run: &str| {
        host.until_state(run, "running");
    };
    // It fails.
    let first = host.trigger("w", &[]);
    holds(&host, &first);
    let second = next(&host, &first);
    std::fs::write(host.workspace(&first).join("fail"), "").unwrap();
    assert_eq!(host.ended(&first)["run"]["state"], "failed");
    holds(&host, &second);
    // It is cancelled.
    let third = next(&host, &second);
    assert!(host.cli(&["runs", "cancel", &second]).status.success());
    assert_eq!(host.ended(&second)["run"]["state"], "cancelled");
    holds(&host, &third);
    // Its host is killed: the step's end is unknown, and the run is over.
    let fourth = next(&host, &third);
    host.kill();
    host.nothing_is_left();
    host.start();
    assert_eq!(host.ended(&third)["run"]["state"], "interrupted");
    holds(&host, &fourth);
    // A person takes it away; the run goes on.
    let fifth = next(&host, &fourth);
    let released = host.json(&["locks", "release", "one"]);
    assert_eq!(released["runs"][0], fourth.as_str());
    holds(&host, &fifth);
    assert_eq!(state(&host, &fourth), "running");
    for run in [&fourth, &fifth] {
        host.let_go(run);
        assert_eq!(host.ended(run)["run"]["state"], "succeeded");
    }
    let audit = host.json(&["audit"]);
    let done = audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["action"] == "locks.release" && entry["phase"] == "done");
    let done = done.expect("the release is audited");
    assert_eq!(
        (done["actor"].as_str(), done["object"].as_str()),
        (Some("user:operator"), Some("one"))
    );
}
