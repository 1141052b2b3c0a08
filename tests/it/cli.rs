//! The command line: exit codes, JSON everywhere, errors that help.

use infraflow_tests::host::Host;
use serde_json::Value;

use crate::COMMANDS;
use crate::workflows::{log, manual};

fn started() -> Host {
    let mut host = Host::new(COMMANDS);
    host.workflow("hello", &manual("hello", &[log("hello", "hello", "")]));
    host.start();
    host
}

#[test]
fn exit_codes_say_what_is_wrong() {
    let host = started();
    for (arguments, code) in [
        (&["run", "hello"][..], 0),
        (&["run", "nowhere"], 5),
        (&["run"], 2),
        (&["run", "hello", "-i", "no-value"], 2),
        (&["frobnicate"], 2),
        (
            &["--nats", "nats://user:password@127.0.0.1:1", "runs", "list"],
            2,
        ),
        (&["runs", "show", "zzzz"], 5),
        (&["logs", "zzzz"], 5),
        (&["runs", "cancel", "zzzz"], 5),
        (&["workflow", "show", "nowhere"], 5),
        (&["workflow", "validate", "nowhere.yaml"], 3),
        (&["dead", "show", "1"], 5),
        (&["init", "."], 6),
        (&["--config", "none.yaml", "runs", "list"], 3),
        (&["--help"], 0),
        (&["--version"], 0),
    ] {
        let output = host.cli(arguments);
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    }
    let none = Host::new("");
    let output = none.cli(&["runs", "list"]);
    assert_eq!(output.status.code(), Some(4));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("infraflow up"), "{text}");
}

#[test]
fn every_listing_has_a_json_form_and_no_colour_in_a_pipe() {
    let host = started();
    host.run("hello", &[]);
    let run = host.runs()[0]["id"].as_str().unwrap().to_owned();
    for arguments in [
        &["runs", "list"][..],
        &["runs", "show", &run],
        &["workflow", "list"],
        &["workflow", "show", "hello"],
        &["workflow", "validate"],
        &["dead", "list"],
        &["sources"],
        &["plugin", "list"],
        &["doctor"],
        &["trigger", "hello"],
    ] {
        let output = host.cli(&[arguments, &["--output", "json"]].concat());
        let parsed: Result<Value, _> = serde_json::from_slice(&output.stdout);
        assert!(
            parsed.is_ok(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stdout)
        );
        let plain = host.cli(arguments);
        assert!(!plain.stdout.contains(&0x1b), "{arguments:?}");
        assert!(
            !plain.stdout.is_empty() || !plain.stderr.is_empty(),
            "{arguments:?}"
        );
    }
    // The beginning of an id will do.
    assert_eq!(host.show(run.get(..8).unwrap())["run"]["id"], run.as_str());
}

#[test]
fn what_init_makes_works() {
    let made = Host::new("");
    let folder = made.path("new").display().to_string();
    assert!(made.cli(&["init", &folder]).status.success());
    let mut host = Host::new("");
    for name in [
        "workflows/hello.yaml",
        "workflows/site.yaml",
        "site.yml",
        "inventory/hosts.ini",
    ] {
        host.write(
            name,
            &std::fs::read_to_string(made.path("new").join(name)).unwrap(),
        );
    }
    let config = std::fs::read_to_string(made.path("new/infraflow.yaml")).unwrap();
    let config = config
        .replace("127.0.0.1:8080", "127.0.0.1:0")
        .replace("port: 4222", "port: 0")
        .replace("data_dir: .infraflow", "data_dir: data");
    host.configure(&config);
    host.start();
    let output = host.cli(&["run", "hello", "-i", "name=Ann"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("Hello, Ann!"),
        "{text}"
    );
    let output = host.cli(&["run", "--playbook", "site.yml", "-i", "inventory/hosts.ini"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("hello from localhost"),
        "{text}"
    );
    assert!(host.cli(&["workflow", "validate"]).status.success());
}

#[test]
fn workflows_can_be_stored_for_all_hosts() {
    let host = started();
    host.write(
        "other.yaml",
        &manual("other", &[log("hello", "stored", "")]),
    );
    let applied = host.cli(&["workflow", "apply", "other.yaml"]);
    assert!(
        applied.status.success(),
        "{}",
        String::from_utf8_lossy(&applied.stderr)
    );
    let run = infraflow_tests::wait::wait_for("the workflow", || {
        let output = host.cli(&["trigger", "other"]);
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    });
    assert_eq!(host.ended(&run)["run"]["state"], "succeeded");
    host.write("bad.yaml", "infraflow: v1\nname: bad\n");
    assert_eq!(
        host.cli(&["workflow", "apply", "bad.yaml"]).status.code(),
        Some(3)
    );
}

#[test]
fn doctor_names_what_is_missing_and_how_to_mend_it() {
    let host = started();
    let report = host.json(&["doctor"]);
    let findings = report.as_array().unwrap();
    assert!(findings.len() > 5, "{report:#}");
    for finding in findings {
        assert!(
            finding["what"].is_string() && finding["found"].is_string(),
            "{finding}"
        );
        assert!(
            finding["state"] == "good" || finding["fix"].is_string(),
            "{finding}"
        );
    }
    // Without a host it says what to start.
    let none = Host::new("commands: { nope: /no/such/program }\n");
    let output = none.cli(&["doctor"]);
    assert_eq!(output.status.code(), Some(7));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("infraflow up"), "{text}");
    assert!(text.contains("/no/such/program"), "{text}");
}
