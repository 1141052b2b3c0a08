//! What cannot be processed lies in DEAD, with the reason and as it came.

use infraflow_tests::host::Host;
use infraflow_tests::nats::RawClient;
use infraflow_tests::wait::wait_for;
use serde_json::Value;

use crate::COMMANDS;
use crate::workflows::{log, manual};

#[test]
fn what_cannot_be_processed_is_kept_with_its_reason() {
    let mut host = Host::new(COMMANDS);
    host.workflow("hello", &manual("hello", &[log("hello", "hello", "")]));
    host.workflow(
        "closed",
        &manual("closed", &[log("hello", "hello", "")]).replace("on: manual", "on: git.push"),
    );
    host.start();
    let mut client = RawClient::connect(
        &host.credential("NATS_URL"),
        &host.credential("NATS_USER"),
        &host.credential("NATS_PASSWORD"),
    );
    for (subject, payload) in [
        ("infraflow.trigger.hello", "not json"),
        ("infraflow.trigger.hello", "[1]"),
        ("infraflow.trigger.nowhere", "{}"),
        ("infraflow.trigger.closed", "{}"),
        ("infraflow.event.custom.shop", "\u{1}\u{2}"),
    ] {
        client.publish(subject, payload);
    }
    // They do not stand in front of others.
    client.publish("infraflow.trigger.hello", "{}");
    wait_for("the good one to run", || {
        (host.runs().len() == 1).then_some(())
    });
    let listed = wait_for("all dead letters", || {
        let listed = host.json(&["dead", "list"]);
        let letters = listed["letters"].as_array()?.clone();
        (letters.len() >= 4).then_some(letters)
    });
    let about: Vec<_> = listed
        .iter()
        .map(|letter| {
            (
                letter["subject"].as_str().unwrap(),
                letter["reason"].as_str().unwrap(),
            )
        })
        .collect();
    for subject in [
        "infraflow.trigger.hello",
        "infraflow.trigger.nowhere",
        "infraflow.trigger.closed",
    ] {
        assert!(
            about.iter().any(|(known, _)| *known == subject),
            "{subject}: {about:?}"
        );
    }
    // In no order: they are looked at side by side.
    let shown: Vec<Value> = listed
        .iter()
        .map(|letter| host.json(&["dead", "show", &letter["id"].to_string()]))
        .collect();
    assert!(
        shown.iter().any(|letter| letter["payload"] == "not json"),
        "{shown:?}"
    );
    assert_eq!(host.cli(&["dead", "show", "999"]).status.code(), Some(5));
}
