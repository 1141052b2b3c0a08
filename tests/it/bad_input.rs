//! Nonsense: it is named with its place, and nothing breaks.

use std::fmt::Write as _;

use infraflow_tests::host::Host;
use infraflow_tests::wait::wait_for;

use crate::COMMANDS;
use crate::workflows::{log, manual};

/// Validates a file; returns exit code and message.
fn validate(host: &Host, text: &str) -> (Option<i32>, String) {
    host.write("bad.yaml", text);
    let output = host.cli(&["workflow", "validate", "bad.yaml"]);
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (output.status.code(), text)
}

#[test]
fn bad_workflows_are_refused_with_their_place() {
    let host = Host::new("");
    let good = manual("good", &[log("hello", "hello", "")]);
    let (code, text) = validate(&host, &good);
    assert_eq!(code, Some(0), "{text}");
    let bomb = {
        let mut text = String::from("a0: &a0 [x]\n");
        for level in 1..40 {
            let before = level - 1;
            writeln!(
                text,
                "a{level}: &a{level} [*a{before}, *a{before}, *a{before}, *a{before}]"
            )
            .unwrap();
        }
        text
    };
    let nested = format!("infraflow: {}", "[".repeat(10 * 1024 * 1024));
    for (text, expected) in [
        (good.replace("  - name", "\t- name"), "tab"),
        (
            good.replace("name: good", "name: good\nname: again"),
            "duplicate key",
        ),
        (
            good.replace("on: manual", "on: manual\nonn: manual"),
            "unknown key `onn`",
        ),
        (good.replace("name: good", "name: [good]"), "name"),
        (good.replace("log@1", "log"), "uses"),
        (
            good.replace("on: manual", "on: manual\noutputs: {}"),
            "not supported yet",
        ),
        (good.replace("name: good", "name: \"../evil\""), "name"),
        (
            good.replace("hello\" }", "{{ nothing.here }}\" }"),
            "nothing",
        ),
        (nested, "1 MiB"),
        (bomb, "bad.yaml"),
        (String::new(), "bad.yaml"),
        ("\u{0}".to_owned(), "bad.yaml"),
        ("- a\n- b\n".to_owned(), "bad.yaml"),
    ] {
        let (code, told) = validate(&host, &text);
        let shown: String = text.chars().take(300).collect();
        assert_eq!(code, Some(3), "{shown}\n{told}");
        assert!(told.contains(expected), "{expected}\n{told}");
        assert!(told.len() < 20_000, "a message of {} bytes", told.len());
    }
}

#[test]
fn a_bad_workflow_does_not_stop_the_others() {
    let mut host = Host::new(COMMANDS);
    host.workflow("good", &manual("good", &[log("hello", "hello", "")]));
    host.workflow("bad", "infraflow: v1\nname: bad\nunknown: 1\n");
    host.start();
    assert!(host.log().contains("bad.yaml"), "{}", host.log());
    assert_eq!(host.run("good", &[])["run"]["state"], "succeeded");
    // One that becomes bad keeps its last good form.
    host.workflow("good", "nonsense: [");
    wait_for("the host to say so", || {
        host.log().contains("good.yaml").then_some(())
    });
    assert_eq!(host.run("good", &[])["run"]["state"], "succeeded");
}

#[test]
fn bad_configurations_are_refused_with_their_place() {
    for (config, expected) in [
        ("htpp: {}\n", "infraflow.yaml:1:1"),
        ("nats: { port: 70000 }\n", "infraflow.yaml:1"),
        ("http: { listen: nowhere }\n", "nowhere"),
        ("commands: { sh: sh }\n", "absolute"),
        ("sources: { shop: { type: svn } }\n", "svn"),
    ] {
        let host = Host::new(config);
        let output = host.cli(&["up"]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{config}: {text}");
        assert!(text.contains(expected), "{expected}\n{text}");
        host.nothing_is_left();
    }
}

#[test]
fn a_full_disk_fails_the_step_and_not_the_host() {
    let mut host = Host::new(COMMANDS);
    // The disk of a tool's own folder is a bounded memory file system.
    let step = crate::workflows::sh("fill", "head -c 5000000000 /dev/zero > /tmp/fill", "");
    host.workflow("fill", &manual("fill", &[step]));
    host.workflow("hello", &manual("hello", &[log("hello", "hello", "")]));
    host.start();
    let run = host.run("fill", &[]);
    assert_eq!(run["run"]["state"], "failed", "{run:#}");
    assert_eq!(host.run("hello", &[])["run"]["state"], "succeeded");
}
