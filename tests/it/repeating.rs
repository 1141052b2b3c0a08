//! Runs that are over, once more: whole, from the failed step, for the hosts that
//! failed; with other inputs, with a newer workflow. And who asked.

use infraflow_tests::counter::Counter;
use infraflow_tests::host::Host;
use serde_json::Value;

use crate::COMMANDS;
use crate::workflows::{call, manual, sh};

fn repeated(host: &Host, arguments: &[&str]) -> Value {
    let made = host.json(arguments);
    host.ended(made["run"].as_str().unwrap())
}

fn refused(host: &Host, arguments: &[&str]) -> String {
    let output = host.cli(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn failing(counter: &Counter) -> Vec<String> {
    vec![
        call("one", &counter.url("one"), ""),
        sh("file", "echo kept > kept.txt", ""),
        sh(
            "work",
            "test \"$(cat kept.txt)\" = kept && test {{ inputs.mode }} = good",
            "",
        ),
        call("two", &counter.url("two"), ""),
    ]
}

#[test]
fn resume_goes_on_from_the_failed_step_with_other_inputs() {
    let counter = Counter::start();
    let mut host = Host::new(COMMANDS);
    host.workflow("w", &manual("w", &failing(&counter)));
    host.start();
    let failed = host.run("w", &["mode=bad"]);
    let id = failed["run"]["id"].as_str().unwrap();
    assert_eq!(failed["run"]["state"], "failed", "{failed:#}");
    // The same inputs fail the same way; the finished steps are not run again.
    let again = repeated(&host, &["runs", "resume", id]);
    assert_eq!(again["run"]["state"], "failed");
    let good = repeated(&host, &["runs", "resume", id, "-i", "mode=good"]);
    assert_eq!(good["run"]["state"], "succeeded", "{good:#}");
    assert_eq!(good["run"]["origin"], id);
    assert_eq!(good["inputs"]["mode"], "good");
    assert_eq!((counter.count("one"), counter.count("two")), (1, 1));
    // A run of a run.
    let error = refused(
        &host,
        &["runs", "resume", good["run"]["id"].as_str().unwrap()],
    );
    assert!(
        error.contains("every step") && error.contains("rerun"),
        "{error}"
    );
    let whole = repeated(&host, &["runs", "rerun", id, "-i", "mode=good"]);
    assert_eq!(whole["run"]["state"], "succeeded");
    assert_eq!((counter.count("one"), counter.count("two")), (2, 2));
    let audit = host.json(&["audit", "-n", "200"]);
    let acts: Vec<(&str, &str)> = audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            (
                entry["action"].as_str().unwrap(),
                entry["phase"].as_str().unwrap(),
            )
        })
        .collect();
    for expected in [
        ("runs.resume", "done"),
        ("runs.resume", "refused"),
        ("runs.rerun", "intent"),
        ("runs.rerun", "done"),
    ] {
        assert!(acts.contains(&expected), "{expected:?} in {acts:?}");
    }
}

#[test]
fn resume_takes_the_newest_workflow_when_asked() {
    let counter = Counter::start();
    let mut host = Host::new(COMMANDS);
    let with_work = |script: &str| {
        let steps = [call("one", &counter.url("one"), ""), sh("work", script, "")];
        manual("w", &steps)
    };
    host.workflow("w", &with_work("exit 1"));
    host.start();
    let failed = host.run("w", &[]);
    let id = failed["run"]["id"].as_str().unwrap();
    let before = failed["workflow_digest"].as_str().unwrap();
    host.write("mended.yaml", &with_work("exit 0"));
    assert!(
        host.cli(&["workflow", "apply", "mended.yaml"])
            .status
            .success()
    );
    // The run's own version, then the newest.
    let same = repeated(&host, &["runs", "resume", id]);
    assert_eq!(
        (
            same["run"]["state"].as_str(),
            same["workflow_digest"].as_str()
        ),
        (Some("failed"), Some(before))
    );
    let newest = repeated(&host, &["runs", "resume", id, "--latest"]);
    assert_eq!(newest["run"]["state"], "succeeded", "{newest:#}");
    assert_ne!(newest["workflow_digest"], before);
    assert_eq!(counter.count("one"), 1);
}

#[test]
fn what_cannot_be_repeated_is_refused_with_a_reason() {
    let mut host = Host::new(COMMANDS);
    host.workflow(
        "w",
        &manual(
            "w",
            &[sh("work", "while ! test -e go; do sleep 0.05; done", "")],
        ),
    );
    host.start();
    let run = host.trigger("w", &[]);
    host.until_state(&run, "running");
    let error = refused(&host, &["runs", "rerun", &run]);
    assert!(error.contains("has not ended"), "{error}");
    host.let_go(&run);
    host.ended(&run);
    let error = refused(&host, &["runs", "rerun", &run, "--failed-hosts"]);
    assert!(error.contains("every step"), "{error}");
    let error = refused(&host, &["runs", "rerun", "zzzz"]);
    assert!(error.contains("there is no run"), "{error}");
}

/// A playbook fails on one of three hosts; only that one is done again.
#[test]
fn only_the_failed_hosts_are_done_again() {
    let mut host = Host::new(COMMANDS);
    let playbook = "\
- hosts: all
  gather_facts: false
  connection: local
  tasks:
    - ansible.builtin.debug: { msg: \"did {{ inventory_hostname }}\" }
    - ansible.builtin.fail: { msg: broken }
      when: inventory_hostname == 'b' and mended != 'yes'
";
    let steps = [
        sh("files", &format!("cat > site.yml <<'END'\n{playbook}END\nprintf 'a\\nb\\nc\\n' > hosts.ini"), ""),
        "id: play\nuses: ansible@1\nwith: { playbook: site.yml, inventory: hosts.ini, extra_vars: { mended: \"{{ inputs.mended }}\" } }\n".to_owned(),
    ];
    let text = manual("w", &steps).replace(
        "{{ inventory_hostname }}",
        "{{ '{{' }} inventory_hostname {{ '}}' }}",
    );
    host.workflow("w", &text);
    host.start();
    let failed = host.run("w", &["mended=no"]);
    assert_eq!(failed["run"]["state"], "failed", "{failed:#}");
    assert_eq!(
        failed["steps"][1]["outputs"]["failed_hosts"],
        serde_json::json!(["b"]),
        "{failed:#}"
    );
    let id = failed["run"]["id"].as_str().unwrap();
    let mended = repeated(
        &host,
        &["runs", "rerun", id, "--failed-hosts", "-i", "mended=yes"],
    );
    assert_eq!(mended["run"]["state"], "succeeded", "{mended:#}");
    let texts = host.texts(mended["run"]["id"].as_str().unwrap()).join("\n");
    assert!(texts.contains("did b"), "{texts}");
    assert!(
        !texts.contains("did a") && !texts.contains("did c"),
        "{texts}"
    );
}
