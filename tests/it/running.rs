//! Runs: conditions, retries, deadlines, cancels, inputs, outputs.

use std::path::Path;

use infraflow_tests::counter::Counter;
use infraflow_tests::host::Host;
use infraflow_tests::nats::RawClient;
use infraflow_tests::processes;
use infraflow_tests::wait::wait_for;
use serde_json::{Value, json};

use crate::COMMANDS;
use crate::workflows::{call, log, manual, sh};

fn outcomes(run: &Value) -> Vec<(String, String)> {
    let steps = run["steps"].as_array().unwrap();
    steps
        .iter()
        .map(|step| {
            let text = |key: &str| step[key].as_str().unwrap().to_owned();
            (text("id"), text("state"))
        })
        .collect()
}

fn started(name: &str, steps: &[String]) -> Host {
    let mut host = Host::new(COMMANDS);
    host.workflow(name, &manual(name, steps));
    host.start();
    host
}

#[test]
fn steps_see_inputs_and_outputs_and_are_skipped() {
    let steps = [
        sh("one", "echo '{\"n\": 41}'", "").replace("run: sh,", "run: sh, parse: json,"),
        log(
            "two",
            "n is {{ steps.one.outputs.json.n + inputs.add }}",
            "",
        ),
        log("three", "never", "when: steps.one.outputs.json.n > 41"),
        log(
            "four",
            "skipped was {{ steps.three.outcome }}",
            "when: \"{{ steps.three.outcome == 'skipped' }}\"",
        ),
    ];
    let mut host = Host::new(COMMANDS);
    let schema = "inputs: { properties: { add: { type: integer } } }";
    let text = manual("sums", &steps);
    host.workflow(
        "sums",
        &text.replace("inputs: { additionalProperties: true }", schema),
    );
    host.start();
    let output = host.cli(&["run", "sums", "-i", "add=1", "-o", "json"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let detail: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let expected: Vec<_> = [
        ("one", "succeeded"),
        ("two", "succeeded"),
        ("three", "skipped"),
        ("four", "succeeded"),
    ]
    .map(|(id, state)| (id.to_owned(), state.to_owned()))
    .into();
    assert_eq!(outcomes(&detail), expected, "{detail:#}");
    let texts = host.texts(detail["run"]["id"].as_str().unwrap());
    assert_eq!(texts, ["{\"n\": 41}", "n is 42", "skipped was skipped"]);
}

#[test]
fn a_failing_step_ends_the_run_and_says_why() {
    let host = started(
        "bad",
        &[sh("boom", "echo no; exit 3", ""), log("after", "never", "")],
    );
    let output = host.cli(&["run", "bad"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("failed (exit code 3)"), "{text}");
    assert!(text.contains("`sh` ended with exit code 3"), "{text}");
    let run = &host.runs()[0];
    let shown = host.show(run["id"].as_str().unwrap());
    assert_eq!(
        shown["steps"][0]["attempts"].as_array().unwrap().len(),
        1,
        "no retry of its own"
    );
}

#[test]
fn a_retry_tries_again_and_counts() {
    let counter = Counter::start();
    let script = format!(
        "curl -sS {} && test -e again || {{ touch again; exit 9; }}",
        counter.url("tried")
    );
    // A program with network: `sh` has none of its own.
    let config = COMMANDS.replace("sh: /bin/sh", "sh: { program: /bin/sh, network: true }");
    let mut host = Host::new(&config);
    let retry = "retry: { attempts: 3, delay: 50ms, on: failed }";
    host.workflow("again", &manual("again", &[sh("flaky", &script, retry)]));
    host.start();
    let run = host.run("again", &[]);
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    let attempts: Vec<_> = run["steps"][0]["attempts"].as_array().unwrap().clone();
    let outcomes: Vec<_> = attempts
        .iter()
        .map(|attempt| attempt["outcome"].clone())
        .collect();
    assert_eq!(
        outcomes,
        [json!("failed (exit code 9)"), json!("succeeded")]
    );
    assert_eq!(counter.count("tried"), 2);
}

#[test]
fn promise_07_a_step_that_takes_too_long_is_stopped_with_all_it_started() {
    // It ignores TERM, and leaves a grandchild that holds the pipe.
    let script = "trap '' TERM; sleep 412 & sleep 413; sleep 414";
    let host = started("slow", &[sh("slow", script, "timeout: 500ms")]);
    let run = host.run("slow", &[]);
    assert_eq!(run["steps"][0]["state"], "timed_out", "{run:#}");
    assert_eq!(run["run"]["state"], "failed");
    wait_for("every process of the step to be gone", || {
        ["sleep 412", "sleep 413", "sleep 414"]
            .iter()
            .all(|text| processes::mentioning(text).is_empty())
            .then_some(())
    });
}

#[test]
fn the_whole_run_has_a_deadline() {
    let text = manual(
        "slow",
        &[sh("one", "sleep 415", ""), log("two", "never", "")],
    );
    let mut host = Host::new(COMMANDS);
    host.workflow(
        "slow",
        &text.replace("on: manual", "on: manual\ntimeout: 1s"),
    );
    host.start();
    let run = host.run("slow", &[]);
    assert_eq!(run["run"]["state"], "failed", "{run:#}");
    let reason = run["run"]["reason"].as_str().unwrap();
    assert!(reason.contains("1s"), "{reason}");
}

#[test]
fn a_run_is_cancelled_whatever_it_does() {
    let counter = Counter::start();
    let steps = [
        call("first", &counter.url("first"), ""),
        sh("wait", "echo begun; sleep 416", ""),
        call("never", &counter.url("never"), ""),
    ];
    let host = started("long", &steps);
    let run = host.trigger("long", &[]);
    wait_for("the tool to run", || {
        host.texts(&run).contains(&"begun".to_owned()).then_some(())
    });
    let cancelled = host.cli(&["runs", "cancel", &run]);
    assert!(cancelled.status.success());
    let ended = host.ended(&run);
    assert_eq!(ended["run"]["state"], "cancelled", "{ended:#}");
    assert!(
        ended["run"]["reason"]
            .as_str()
            .unwrap()
            .contains("user:operator")
    );
    assert_eq!(ended["steps"][1]["state"], "cancelled");
    assert_eq!((counter.count("first"), counter.count("never")), (1, 0));
    wait_for("the tool to be gone", || {
        processes::mentioning("sleep 416").is_empty().then_some(())
    });
    // Once more it is refused.
    assert_eq!(host.cli(&["runs", "cancel", &run]).status.code(), Some(6));
}

#[test]
fn a_waiting_retry_is_cancelled_at_once() {
    let retry = "retry: { attempts: 3, delay: 1h, on: failed }";
    let host = started("later", &[sh("flaky", "exit 1", retry)]);
    let run = host.trigger("later", &[]);
    host.until_state(&run, "retrying");
    assert!(host.cli(&["runs", "cancel", &run]).status.success());
    assert_eq!(host.ended(&run)["run"]["state"], "cancelled");
}

#[test]
fn inputs_that_do_not_fit_make_a_failed_run_that_says_why() {
    let text = manual("strict", &[log("hello", "n is {{ inputs.n }}", "")]);
    let schema = "inputs:\n  properties:\n    n: { type: integer, maximum: 5 }\n  required: [n]";
    let mut host = Host::new(COMMANDS);
    host.workflow(
        "strict",
        &text.replace("inputs: { additionalProperties: true }", schema),
    );
    host.start();
    for (inputs, expected) in [
        (&["n=6"][..], "n"),
        (&["n=x"], "n"),
        (&["n=1", "m=2"], "m"),
        (&[], "n"),
    ] {
        let arguments: Vec<&str> = ["run", "strict"]
            .into_iter()
            .chain(inputs.iter().flat_map(|i| ["-i", i]))
            .collect();
        let output = host.cli(&arguments);
        assert!(!output.status.success(), "{inputs:?}");
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(
            text.contains(&format!("`{expected}`")) || text.contains(&format!("\"{expected}\"")),
            "{inputs:?}: {text}"
        );
    }
    assert!(host.cli(&["run", "strict", "-i", "n=5"]).status.success());
}

#[test]
fn signals_exit_codes_and_leaked_handles_are_told_apart() {
    let mut host = Host::new(COMMANDS);
    for (name, script) in [
        ("signal", "kill -SEGV $$"),
        ("exit", "exit 200"),
        ("leak", "sleep 417 & echo done"),
    ] {
        host.workflow(name, &manual(name, &[sh("step", script, "")]));
    }
    host.start();
    let signal = host.run("signal", &[]);
    assert_eq!(signal["steps"][0]["state"], "signalled", "{signal:#}");
    let exit = host.run("exit", &[]);
    assert!(
        exit["steps"][0]["shown"]
            .as_str()
            .unwrap()
            .contains("exit code 200"),
        "{exit:#}"
    );
    let leak = host.run("leak", &[]);
    assert_eq!(leak["steps"][0]["state"], "succeeded", "{leak:#}");
    assert_eq!(
        leak["steps"][0]["attempts"][0]["leaked_handles"], true,
        "{leak:#}"
    );
    wait_for("the grandchild to be gone", || {
        processes::mentioning("sleep 417").is_empty().then_some(())
    });
}

#[test]
fn a_changed_workflow_is_taken_and_a_running_one_keeps_its_own() {
    let mut host = Host::new(COMMANDS);
    host.workflow(
        "w",
        &manual(
            "w",
            &[
                sh("wait", "while ! test -e go; do sleep 0.05; done", ""),
                log("say", "old", ""),
            ],
        ),
    );
    host.start();
    let old = host.trigger("w", &[]);
    host.until_state(&old, "running");
    host.workflow("w", &manual("w", &[log("say", "new", "")]));
    let digest = host.show(&old)["workflow_digest"].clone();
    wait_for("the new text", || {
        (host.json(&["workflow", "show", "w"])["workflow"]["digest"] != digest).then_some(())
    });
    let new = host.run("w", &[]);
    assert_eq!(host.texts(new["run"]["id"].as_str().unwrap()), ["new"]);
    host.let_go(&old);
    assert_eq!(host.ended(&old)["run"]["state"], "succeeded");
    assert_eq!(host.texts(&old), ["old"]);
}

#[test]
fn promise_08_a_secret_is_never_shown() {
    let secret = "s3cr3t-of-the-shop";
    let config = format!("{COMMANDS}secrets:\n  token: {{ file: token }}\n");
    let mut host = Host::new(&config);
    host.write("token", secret);
    let step = sh(
        "tell",
        "echo \"it is $TOKEN\"; echo $TOKEN | base64; echo \"$TOKEN\" >&2; exit 4",
        "",
    )
    .replace("run: sh,", "run: sh, secret_env: { TOKEN: token },");
    host.workflow("tell", &manual("tell", &[step]));
    host.start();
    let run = host.run("tell", &[]);
    let id = run["run"]["id"].as_str().unwrap();
    let texts = host.texts(id);
    assert!(
        texts
            .iter()
            .any(|text| text.starts_with("it is ") && text.contains("***")),
        "{texts:?}"
    );
    let everything = format!("{run}{texts:?}{}", host.log());
    assert!(!everything.contains(secret), "{everything}");
    let encoded = "czNjcjN0LW9mLXRoZS1zaG9w";
    assert!(!everything.contains(encoded), "{everything}");
}

#[test]
fn promise_06_a_plugin_without_a_grant_reaches_nothing() {
    let counter = Counter::start();
    let mut host = Host::new(COMMANDS);
    // The plugins that ship, one of them without its grants.
    let plugins = host.path("plugins");
    std::fs::create_dir(&plugins).unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/dist");
    for entry in std::fs::read_dir(&shipped).expect("plugins/build.sh makes them") {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), plugins.join(entry.file_name())).unwrap();
    }
    let grants = std::fs::read_to_string(plugins.join("grants.yaml")).unwrap();
    let without: String = grants
        .lines()
        .filter(|line| !line.contains("\"command:*\""))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_ne!(without.trim_end(), grants.trim_end());
    host.write("plugins/grants.yaml", &without);
    host.set_env("INFRAFLOW_PLUGINS", &plugins.display().to_string());
    host.workflow("w", &manual("w", &[call("one", &counter.url("one"), "")]));
    host.start();
    let run = host.run("w", &[]);
    assert_eq!(run["steps"][0]["state"], "not_granted", "{run:#}");
    assert_eq!(
        run["steps"][0]["attempts"][0]["not_granted"],
        json!(["command:curl"]),
        "{run:#}"
    );
    assert_eq!(counter.count("one"), 0);
}

#[test]
fn promise_07_journals_of_ended_runs_make_room() {
    const RUNS: usize = 700;
    const AT_ONCE: usize = 50;
    let mut host = Host::new(&format!("{COMMANDS}retention: {{ runs: 1MiB }}\n"));
    let waiting = sh("wait", "while ! test -e go; do sleep 0.05; done", "");
    host.workflow("long", &manual("long", &[waiting]));
    host.workflow("short", &manual("short", &[log("hello", "hello", "")]));
    host.start();
    let long = host.trigger("long", &[]);
    host.until_state(&long, "running");
    let mut client = RawClient::connect(
        &host.credential("NATS_URL"),
        &host.credential("NATS_USER"),
        &host.credential("NATS_PASSWORD"),
    );
    client.subscribe("infraflow.notice.run.*.ended");
    // Several times what the store holds; a few at a time, since the room that
    // unfinished runs need to end is a part of it.
    for sent in 0..RUNS + AT_ONCE {
        if sent >= AT_ONCE {
            client.message();
        }
        if sent < RUNS {
            client.publish("infraflow.trigger.short", "{}");
        }
    }
    assert!(
        host.log().contains("removed to make room"),
        "{}",
        host.log()
    );
    let listed = host.runs().len();
    assert!(listed < RUNS && listed > 1, "{listed} runs are left");
    // A run that has not ended keeps its journal, however old it is.
    host.let_go(&long);
    assert_eq!(host.ended(&long)["run"]["state"], "succeeded");
    // After a restart nothing is missing and nothing runs again.
    assert_eq!(host.stop(), 0);
    host.start();
    assert_eq!(host.show(&long)["run"]["state"], "succeeded");
    assert!(
        !host.log().contains("beginning is missing"),
        "{}",
        host.log()
    );
}
