//! Runs that a plain NATS client starts, over raw TCP.

use infraflow_tests::host::Host;
use infraflow_tests::nats::RawClient;
use infraflow_tests::wait::wait_for;

use crate::COMMANDS;
use crate::workflows::{log, manual};

fn client(host: &Host) -> RawClient {
    RawClient::connect(
        &host.credential("NATS_URL"),
        &host.credential("NATS_USER"),
        &host.credential("NATS_PASSWORD"),
    )
}

#[test]
fn a_raw_line_starts_a_run_and_its_lines_come_as_plain_text() {
    let mut host = Host::new(COMMANDS);
    let hello = log("hello", "hello {{ inputs.name }}", "");
    host.workflow("hello", &manual("hello", &[hello]));
    host.start();
    let mut client = client(&host);
    client.subscribe("infraflow.log.>");
    client.publish("infraflow.trigger.hello", r#"{"name":"Ann"}"#);
    let line = client.message();
    assert_eq!(String::from_utf8(line.payload).unwrap(), "hello Ann");
    assert!(line.subject.starts_with("infraflow.log.") && line.subject.ends_with(".hello"));
    let run = host.runs().remove(0);
    assert_eq!(run["workflow"], "hello");
    assert_eq!(run["actor"], "publisher");
}

#[test]
fn promise_03_an_event_with_an_id_makes_one_run_however_often_it_comes() {
    let mut host = Host::new(COMMANDS);
    let text = manual("hello", &[log("hello", "hello", "")]);
    host.workflow(
        "hello",
        &text.replace("on: manual", "on: { event: { type: shop.ready } }"),
    );
    host.start();
    let mut client = client(&host);
    let publish = |client: &mut RawClient, id: &str| {
        // Not the dedup of JetStream: the ids of the messages are different.
        let headers = format!(
            "NATS/1.0\r\nce-specversion: 1.0\r\nce-id: {id}\r\nce-source: shop\r\nce-type: shop.ready\r\n\r\n"
        );
        let payload = "{\"n\":1}";
        client.send(&format!(
            "HPUB infraflow.event.custom.shop {} {}\r\n{headers}{payload}\r\n",
            headers.len(),
            headers.len() + payload.len()
        ));
        client.try_flush().unwrap();
    };
    for _ in 0..5 {
        publish(&mut client, "one");
    }
    publish(&mut client, "two");
    wait_for("both runs to end", || {
        let runs = host.runs();
        (runs.len() == 2 && runs.iter().all(|run| run["is_ended"] == true)).then_some(())
    });
    // A last one, after which no duplicate can be on its way any more.
    publish(&mut client, "three");
    let runs = wait_for("the last run", || {
        let runs = host.runs();
        (runs.len() >= 3 && runs.iter().all(|run| run["is_ended"] == true)).then_some(runs)
    });
    assert_eq!(runs.len(), 3, "{runs:#?}");
}

#[test]
fn people_may_not_publish_as_the_host() {
    let mut host = Host::new(COMMANDS);
    host.start();
    let mut client = client(&host);
    for subject in [
        "infraflow.run.x.created",
        "infraflow.log.x.y",
        "infraflow.dead.x",
        "infraflow.audit.x",
        "infraflow.notice.run.x.ended",
        "$JS.API.STREAM.DELETE.EVENTS",
        "$KV.hosts.owner",
    ] {
        client.send(&format!("PUB {subject} 2\r\n{{}}\r\n"));
        let refused = client.try_flush().unwrap_err();
        assert!(
            refused.contains("Permissions Violation"),
            "{subject}: {refused}"
        );
        client.try_flush().unwrap();
    }
}
