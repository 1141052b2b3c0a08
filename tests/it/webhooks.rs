//! Webhooks: what is answered, what is stored, what starts.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use infraflow_tests::git::Repository;
use infraflow_tests::host::Host;
use infraflow_tests::nats::{RawClient, Server};
use infraflow_tests::push::{self, Answer};
use infraflow_tests::wait::wait_for;
use serde_json::{Value, json};

use crate::COMMANDS;
use crate::workflows::{log, manual};

const SECRET: &str = "a-secret-of-the-shop";
const COMMIT: &str = "2222222222222222222222222222222222222222";

fn config(sources: &str) -> String {
    format!("{COMMANDS}sources:\n{sources}secrets:\n  shop: {{ file: secret }}\n")
}

fn on_push(more: &str) -> String {
    let step = log(
        "hello",
        "push of {{ event.data.commit }} to {{ event.data.branch }}",
        "",
    );
    manual("on-push", &[step]).replace("on: manual", &format!("on: {{ git.push: {{ {more} }} }}"))
}

fn host() -> Host {
    let host = Host::new(&config("  shop: { type: forgejo, secret: shop }\n"));
    host.write("secret", SECRET);
    host.workflow("on-push", &on_push("source: shop"));
    host
}

fn address(host: &Host) -> String {
    format!("{}/webhooks/shop", host.http())
}

fn deliver(host: &Host, delivery: &str, body: &Value) -> Answer {
    push::post(
        &address(host),
        SECRET,
        delivery,
        "push",
        body.to_string().as_bytes(),
    )
}

fn ended_runs(host: &Host, count: usize) -> Vec<Value> {
    wait_for("the runs to end", || {
        let runs = host.runs();
        (runs.len() >= count && runs.iter().all(|run| run["is_ended"] == true)).then_some(runs)
    })
}

#[test]
fn every_answer_has_its_status_and_nothing_refused_is_stored() {
    let mut host = host();
    host.start();
    let body = push::body(COMMIT, &["site.yml"]).to_string();
    let body = body.as_bytes();
    let signature = push::signature(SECRET, body);
    let wrong = push::signature("another-secret", body);
    let other_body = push::signature(SECRET, b"{}");
    let post = |event: &str, delivery: &str, signature: &str, body: &[u8]| {
        let headers = [
            ("Content-Type", "application/json"),
            ("X-Forgejo-Event", event),
            ("X-Forgejo-Delivery", delivery),
            ("X-Forgejo-Signature", signature),
        ];
        let given: Vec<_> = headers
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .collect();
        push::post_raw(&address(&host), &given, body)
    };
    let signed = |event: &str, body: &[u8]| post(event, "d", &push::signature(SECRET, body), body);

    for (what, answer, status) in [
        ("no signature", post("push", "d", "", body), 401),
        ("a wrong signature", post("push", "d", &wrong, body), 401),
        (
            "a signature of another body",
            post("push", "d", &other_body, body),
            401,
        ),
        (
            "a signature that is no hex",
            post("push", "d", "zz", body),
            401,
        ),
        ("no event", post("", "d", &signature, body), 400),
        ("no delivery", post("push", "", &signature, body), 400),
        ("not JSON", signed("push", b"{"), 400),
        ("no push", signed("push", b"{}"), 400),
        (
            "deep JSON",
            signed("push", "[".repeat(100_000).as_bytes()),
            400,
        ),
        ("a kind that is ignored", signed("issues", b"{}"), 204),
        (
            "no such source",
            push::post_raw(&format!("{}/webhooks/nope", host.http()), &[], b"{}"),
            404,
        ),
    ] {
        assert_eq!(answer.status, status, "{what}: {}", answer.body);
    }
    assert_eq!(push::get(&address(&host)).status, 405);
    // Refused by its announced length, before its body is read.
    let head = format!(
        "POST /webhooks/shop HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        26 * 1024 * 1024
    );
    let mut stream = TcpStream::connect(host.http().trim_start_matches("http://")).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let mut status = String::new();
    BufReader::new(stream).read_line(&mut status).unwrap();
    assert!(status.starts_with("HTTP/1.1 413 "), "{status}");

    // Only this one is stored: it makes the first run.
    let taken = deliver(&host, "d-1", &push::body(COMMIT, &["site.yml"]));
    assert_eq!(taken.status, 202, "{}", taken.body);
    let answer: Value = serde_json::from_str(&taken.body).unwrap();
    assert_eq!(answer["event_id"], "d-1");
    let runs = ended_runs(&host, 1);
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0]["actor"], "forgejo:ann");
    let texts = host.texts(runs[0]["id"].as_str().unwrap());
    assert_eq!(texts, [format!("push of {COMMIT} to main")]);
    let event = host.show(runs[0]["id"].as_str().unwrap())["event"].clone();
    assert_eq!(event["id"], "d-1");
    assert_eq!(event["source"], "source:shop");
}

#[test]
fn promise_03_a_delivery_that_comes_again_starts_nothing() {
    let mut host = host();
    host.start();
    for delivery in ["one", "one", "two", "one"] {
        assert_eq!(
            deliver(&host, delivery, &push::body(COMMIT, &[])).status,
            202
        );
    }
    ended_runs(&host, 2);
    // Also when the host was killed in between, and when JetStream has forgotten
    // the message id: the run's id is the truth.
    host.kill();
    host.start();
    assert_eq!(deliver(&host, "one", &push::body(COMMIT, &[])).status, 202);
    assert_eq!(
        deliver(&host, "three", &push::body(COMMIT, &[])).status,
        202
    );
    let runs = ended_runs(&host, 3);
    assert_eq!(runs.len(), 3, "{runs:#?}");
}

#[test]
fn names_of_any_kind_are_one_token() {
    let mut host = host();
    host.start();
    let names = ["a.b", "a b", "*", ">", "ünïcode", "a*b>c.d e", "..", "%2E"];
    for (index, name) in names.iter().enumerate() {
        let mut body = push::body(COMMIT, &[]);
        body["repository"]["name"] = json!(name);
        body["repository"]["full_name"] = json!(format!("shop/{name}"));
        let answer = deliver(&host, &format!("d-{index}"), &body);
        assert_eq!(answer.status, 202, "{name}: {}", answer.body);
    }
    let runs = ended_runs(&host, names.len());
    let mut about: Vec<_> = runs
        .iter()
        .map(|run| run["event_subject"].as_str().unwrap().to_owned())
        .collect();
    about.sort();
    let mut expected: Vec<_> = names
        .iter()
        .map(|name| format!("shop/{name}@main"))
        .collect();
    expected.sort();
    assert_eq!(about, expected);
}

#[test]
fn a_deleted_branch_starts_nothing() {
    let mut host = host();
    host.start();
    let mut body = push::body(&"0".repeat(40), &[]);
    body["commits"] = json!([]);
    body["total_commits"] = json!(0);
    assert_eq!(deliver(&host, "gone", &body).status, 202);
    assert_eq!(deliver(&host, "next", &push::body(COMMIT, &[])).status, 202);
    let runs = ended_runs(&host, 1);
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0]["event_subject"], "shop/infra@main");
    assert_eq!(
        host.show(runs[0]["id"].as_str().unwrap())["event"]["id"],
        "next"
    );
}

#[test]
fn promise_02_a_webhook_is_taken_only_when_it_is_durable() {
    let mut server = Server::start();
    let mut host = host();
    host.set_arguments(&["--nats", &server.url()]);
    host.start();
    let mut plain = RawClient::connect(&server.url(), "", "");
    plain.subscribe("infraflow.log.>");
    server.kill();
    let refused = deliver(&host, "early", &push::body(COMMIT, &[]));
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.retry_after.unwrap().parse::<u32>().unwrap() > 0);
    server.restart();
    let taken = wait_for("the webhook to be taken", || {
        let answer = deliver(&host, "again", &push::body(COMMIT, &[]));
        (answer.status == 202).then_some(answer)
    });
    assert!(taken.body.contains("again"));
}

#[test]
fn a_source_without_a_secret_does_not_start() {
    let sources = "  open: { type: forgejo }\n";
    let host = Host::new(&config(sources));
    let refused = host.cli(&["up"]);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(3), "{text}");
    assert!(
        text.contains("insecure: true") && text.contains("infraflow.yaml:5"),
        "{text}"
    );
    // By name it does.
    let mut host = Host::new(&config("  shop: { type: forgejo, insecure: true }\n"));
    host.write("secret", SECRET);
    host.start();
    let body = push::body(COMMIT, &[]).to_string();
    let headers = [
        ("X-Forgejo-Event", "push"),
        ("X-Forgejo-Delivery", "d"),
        ("Content-Type", "application/json"),
    ];
    assert_eq!(
        push::post_raw(&address(&host), &headers, body.as_bytes()).status,
        202
    );
}

#[test]
fn a_push_checks_its_commit_out() {
    let repository = Repository::new();
    let commit = repository.commit(&[("hello.txt", "hello from the commit\n")]);
    repository.commit(&[("hello.txt", "too new\n")]);
    let host = Host::new(&config(&format!(
        "  shop: {{ type: forgejo, secret: shop, url: \"{}\" }}\n",
        repository.url()
    )));
    host.write("secret", SECRET);
    let steps = [
        "id: source\nuses: checkout@1\n".to_owned(),
        "id: read\nuses: command@1\nwith: { run: sh, args: [\"-c\", \"cat hello.txt\"] }\n"
            .to_owned(),
    ];
    host.workflow(
        "on-push",
        &manual("on-push", &steps).replace("on: manual", "on: git.push"),
    );
    let mut host = host;
    host.start();
    assert_eq!(
        deliver(&host, "d", &push::body(&commit, &["hello.txt"])).status,
        202
    );
    let runs = ended_runs(&host, 1);
    let run = host.show(runs[0]["id"].as_str().unwrap());
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    assert_eq!(run["steps"][0]["outputs"]["commit"], commit.as_str());
    assert_eq!(
        run["steps"][1]["outputs"]["stdout"],
        "hello from the commit\n"
    );
    assert_eq!(run["trusted"], false);
}

#[test]
fn webhook_add_and_test_work_together() {
    let mut host = Host::new(COMMANDS);
    let added = host.cli(&["webhook", "add", "infra", "--type", "gitea"]);
    let text = String::from_utf8_lossy(&added.stdout);
    assert!(
        added.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&added.stderr)
    );
    host.workflow("on-push", &on_push("source: infra"));
    host.start();
    let sent = host.cli(&["webhook", "test", "infra"]);
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&sent.stdout),
        String::from_utf8_lossy(&sent.stderr)
    );
    assert!(sent.status.success(), "{text}");
    let runs = ended_runs(&host, 1);
    assert_eq!(runs[0]["workflow"], "on-push");
    // Once more by the same name is refused, and changes nothing.
    let again = host.cli(&["webhook", "add", "infra", "--type", "gitea"]);
    assert_eq!(again.status.code(), Some(6));
}

#[test]
fn promise_07_a_full_stream_refuses_and_makes_room_again() {
    let config = config("  shop: { type: forgejo, secret: shop }\n");
    let mut host = Host::new(&format!("{config}retention: {{ events: 1MiB }}\n"));
    host.write("secret", SECRET);
    host.start();
    let mut body = push::body(COMMIT, &[]);
    let paths: Vec<String> = (0..1_500)
        .map(|n| format!("{n:04}/{}", "x".repeat(50)))
        .collect();
    body["commits"][0]["modified"] = json!(paths);
    let refused = (0..100)
        .map(|index| deliver(&host, &format!("large-{index}"), &body))
        .find(|answer| answer.status != 202)
        .expect("the stream gets full");
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.retry_after.is_some());
    // Events that every consumer is done with make room, now and then.
    wait_for("room in the stream", || {
        (deliver(&host, "later", &push::body(COMMIT, &[])).status == 202).then_some(())
    });
}
