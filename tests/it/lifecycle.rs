//! `infraflow up`: what it starts, what it says, and that nothing is left of it.

use std::fs;

use infraflow_tests::host::Host;
use infraflow_tests::nats::{RawClient, Server};
use infraflow_tests::wait::wait_for;
use infraflow_tests::{processes, push};
use rustix::process::Signal;

use crate::COMMANDS;
use crate::workflows::{call, log, manual, sh};

fn with_hello() -> Host {
    let host = Host::new(COMMANDS);
    host.workflow(
        "hello",
        &manual("hello", &[log("hello", "hello there", "")]),
    );
    host
}

#[test]
fn it_says_where_everything_is() {
    let mut host = with_hello();
    host.start();
    let printed = host.printed();
    let data = host.path("data").display().to_string();
    let credentials = host
        .path("data/credentials/operator.env")
        .display()
        .to_string();
    for expected in [
        host.http().as_str(),
        "nats://127.0.0.1:",
        &data,
        &credentials,
        "nats pub infraflow.trigger.hello '{}'",
        "infraflow run hello",
    ] {
        assert!(printed.contains(expected), "{expected}\n{printed}");
    }
    for (path, status) in [("/healthz", 200), ("/readyz", 200), ("/nothing", 404)] {
        let answer = push::get(&format!("{}{path}", host.http()));
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
    }
}

#[test]
fn there_is_always_a_line_to_publish_with() {
    let mut host = Host::new("");
    host.start();
    let line = "nats pub infraflow.event.custom.hello '{}'";
    assert!(host.printed().contains(line), "{}", host.printed());
}

#[test]
fn promise_12_signals_end_everything() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut host = with_hello();
        host.start();
        host.signal(signal);
        assert_eq!(host.wait_until_gone(), 0, "{}", host.log());
        host.nothing_is_left();
    }
}

#[test]
fn a_killed_host_leaves_no_process() {
    let mut host = with_hello();
    host.workflow(
        "long",
        &manual("long", &[sh("wait", "echo begun; sleep 300", "")]),
    );
    host.start();
    let run = host.trigger("long", &[]);
    wait_for("the tool to run", || {
        host.texts(&run).contains(&"begun".to_owned()).then_some(())
    });
    assert!(!processes::mentioning("sleep 300").is_empty());
    host.kill();
    host.nothing_is_left();
}

#[test]
fn a_second_host_on_the_same_data_is_refused() {
    let mut host = with_hello();
    host.start();
    let refused = host.cli(&["up"]);
    assert_eq!(refused.status.code(), Some(6));
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(
        text.contains("another infraflow has it") && text.contains(&host.folder()),
        "{text}"
    );
    // The first one is not disturbed.
    assert_eq!(host.run("hello", &[])["run"]["state"], "succeeded");
}

#[test]
fn taken_ports_are_named() {
    let mut host = with_hello();
    host.start();
    let taken = host.http().trim_start_matches("http://").to_owned();
    let other = Host::new("");
    let refused = other.cli(&["up", "--listen", &taken]);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && text.contains(&taken), "{text}");
    let port = host
        .credential("NATS_URL")
        .rsplit(':')
        .next()
        .unwrap()
        .to_owned();
    let refused = other.cli(&["up", "--nats-port", &port]);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && text.contains(&port), "{text}");
    other.nothing_is_left();
}

#[test]
fn an_external_server_is_used_by_who_has_its_key() {
    let server = Server::start();
    let mut host = with_hello();
    host.set_arguments(&["--nats", &server.url()]);
    host.start();
    let mut other = Host::new("");
    other.set_arguments(&["--nats", &server.url()]);
    other.spawn();
    assert_ne!(other.wait_until_gone(), 0);
    assert!(other.log().contains("blobs.key"), "{}", other.log());

    let mut client = RawClient::connect(&server.url(), "", "");
    client.subscribe("infraflow.log.>");
    client.publish("infraflow.trigger.hello", "{}");
    assert_eq!(client.message().payload, b"hello there");
    // The command that the banner shows.
    let output = host.cli(&["--nats", &server.url(), "run", "hello"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        host.printed()
            .contains(&format!("infraflow --nats {} run hello", server.url()))
    );
    assert_eq!(host.stop(), 0);
    host.nothing_is_left();
}

#[test]
fn an_external_server_that_does_not_answer_is_named() {
    let host = Host::new("");
    let refused = host.cli(&["up", "--nats", "nats://127.0.0.1:1"]);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(4), "{text}");
    assert!(text.contains("127.0.0.1:1"), "{text}");
}

#[test]
fn promise_10_a_host_without_nats_is_not_ready() {
    let server = Server::start();
    let mut server = server;
    let mut host = with_hello();
    host.set_arguments(&["--nats", &server.url()]);
    host.start();
    let ready = || push::get(&format!("{}/readyz", host.http())).status;
    assert_eq!(ready(), 200);
    server.kill();
    wait_for("the host to be not ready", || {
        (ready() == 503).then_some(())
    });
    assert_eq!(push::get(&format!("{}/healthz", host.http())).status, 200);
    server.restart();
    wait_for("the host to be ready again", || {
        (ready() == 200).then_some(())
    });
}

#[test]
fn promise_12_a_shutdown_records_what_it_interrupts() {
    let counter = infraflow_tests::counter::Counter::start();
    let mut host = Host::new(&format!("{COMMANDS}shutdown_grace: 100ms\n"));
    let steps = [
        call("first", &counter.url("first"), ""),
        sh(
            "wait",
            "echo begun; while ! test -e go; do sleep 0.05; done",
            "on_interrupt: retry",
        ),
    ];
    host.workflow("long", &manual("long", &steps));
    host.start();
    let run = host.trigger("long", &[]);
    wait_for("the tool to run", || {
        host.texts(&run).contains(&"begun".to_owned()).then_some(())
    });
    assert_eq!(host.stop(), 0);
    host.nothing_is_left();
    host.start();
    host.let_go(&run);
    let ended = host.ended(&run);
    assert_eq!(ended["run"]["state"], "succeeded", "{ended:#}");
    assert_eq!(counter.count("first"), 1);

    // It was the shutdown that recorded the end of the attempt, not the next life.
    let journal = ended["journal"].to_string();

    assert!(
        journal.contains("attempt_ended wait#1 interrupted\",\"released"),
        "{journal}"
    );
}

#[test]
fn credentials_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut host = with_hello();
    host.start();
    for folder in ["data/credentials", "data/keys"] {
        for entry in fs::read_dir(host.path(folder)).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o077;
            assert_eq!(mode, 0, "{}", entry.path().display());
        }
    }
    let password = host.credential("NATS_PASSWORD");
    assert!(password.len() >= 32);
    assert!(
        !processes::command_lines()
            .iter()
            .any(|line| line.contains(&password))
    );
    assert!(!host.log().contains(&password) && !host.printed().contains(&password));
}

#[test]
fn a_nats_server_that_dies_comes_back() {
    let mut host = with_hello();
    host.start();
    let before = host.run("hello", &[]);
    host.restart_nats();
    assert_eq!(host.run("hello", &[])["run"]["state"], "succeeded");
    let kept = host.show(before["run"]["id"].as_str().unwrap());
    assert_eq!(kept["run"]["state"], "succeeded");
}
