//! The plugins that ship with the host, as they are built and granted: from a
//! step's `with` to the request that arrives at the tool door.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use infraflow_core::Json;
use infraflow_core::grant::Capability;
use infraflow_core::id::Digest;
use infraflow_core::outcome::AttemptOutcome;
use infraflow_core::ports::PluginReport;
use infraflow_core::tool::{CallError, ProcessEnd};
use infraflow_sandbox::Prepared;
use serde_json::json;

use crate::support::fakes::{Behaviour, plan_digest};
use crate::support::{Bench, capabilities, shown};

const PLUGINS: [&str; 4] = ["checkout", "ansible", "opentofu", "command"];

fn dist() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/dist")
}

fn read(file: &str) -> Vec<u8> {
    let path = dist().join(file);
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}: build the plugins with `plugins/build.sh`",
            path.display()
        )
    })
}

/// What the shipped grants file grants, and for which digest.
fn granted(name: &str) -> (Digest, Arc<[Capability]>) {
    let text = String::from_utf8(read("grants.yaml")).unwrap();
    let section: Vec<&str> = text
        .lines()
        .skip_while(|line| line.trim_end() != format!("  {name}:"))
        .skip(1)
        .take_while(|line| line.starts_with("    "))
        .collect();
    let digest = section
        .iter()
        .find_map(|line| line.trim().strip_prefix("digest: "))
        .unwrap();
    let texts: Vec<&str> = section
        .iter()
        .filter_map(|line| line.trim().strip_prefix("- { capability: "))
        .map(|rest| rest.split(", reason").next().unwrap().trim_matches('"'))
        .collect();
    (digest.parse().unwrap(), capabilities(&texts))
}

fn prepared(bench: &Bench, name: &str) -> Prepared {
    bench
        .sandbox
        .prepare(&read(&format!("{name}.wasm")))
        .unwrap()
}

/// Runs a shipped plugin with its shipped grants.
async fn run(bench: &mut Bench, name: &str, with: Json) -> PluginReport {
    let plugin = prepared(bench, name);
    let (digest, grants) = granted(name);
    assert_eq!(plugin.digest, digest);
    bench.grants = grants;
    bench.input = with;
    bench.run(digest).await
}

async fn arrives(name: &str, with: Json, expected: &str) -> Json {
    let mut bench = Bench::new();
    let report = run(&mut bench, name, with.clone()).await;
    assert_eq!(shown(&report), "succeeded", "{with}");
    assert_eq!(bench.tools.calls(), [expected], "{with}");
    Json::Object(report.outputs.unwrap())
}

#[test]
fn manifests_and_shipped_grants_fit() {
    for name in PLUGINS {
        let prepared = prepared(&Bench::new(), name);
        let manifest = prepared.manifest;
        assert_eq!(manifest.name.as_str(), name);
        assert_eq!(manifest.version.to_string(), "1.0.0");
        let (digest, grants) = granted(name);
        assert_eq!(prepared.digest, digest);
        let wanted: BTreeSet<_> = manifest.capability_list().iter().cloned().collect();
        let given: BTreeSet<_> = grants.iter().cloned().collect();
        assert_eq!(wanted, given, "{name}");
    }
}

#[tokio::test]
async fn checkout_at_the_events_commit() {
    let outputs = arrives(
        "checkout",
        json!({}),
        r#"checkout CheckoutRequest { source: None, revision: Event, path: GuestPath(""), depth: Some(1) }"#,
    )
    .await;
    assert_eq!(
        outputs,
        json!({
            "source": "shop-repo", "commit": "2".repeat(40),
            "subject": "change the web server", "path": "", "upload": null,
        })
    );
}

#[tokio::test]
async fn checkout_of_an_upload() {
    let digest = Digest::of(b"upload").to_string();
    arrives(
        "checkout",
        json!({ "upload": digest, "path": "src/" }),
        &format!("unpack_upload {digest} src"),
    )
    .await;
}

#[tokio::test]
async fn ansible_runs_a_playbook() {
    let with = json!({
        "playbook": "site.yml", "inventory": "inventory/", "limit": "web",
        "extra_vars": { "env": "stage" }, "private_key": "deploy-key", "become": true,
    });
    let outputs = arrives(
        "ansible",
        with,
        "run_playbook PlaybookRequest { playbook: GuestPath(\"site.yml\"), \
         inventory: [GuestPath(\"inventory\")], limit: [\"web\"], tags: [], skip_tags: [], \
         extra_vars: {\"env\": String(\"stage\")}, mode: Apply, diff: Hide, forks: None, \
         verbosity: 0, connection: Connection { user: None, private_key: Some(\"deploy-key\"), \
         known_hosts: None, vault_password: None, become_user: Root } }",
    )
    .await;
    assert_eq!(outputs["ok"], 3);
    assert_eq!(outputs["hosts"]["web1"]["changed"], 1);
}

#[tokio::test]
async fn ansible_tells_failed_from_unreachable() {
    for (end, expected, transient) in [
        (ProcessEnd::Exited(2), "failed (exit code 2)", false),
        (ProcessEnd::Exited(4), "failed (exit code 4)", true),
        (ProcessEnd::Signalled(9), "signalled (signal 9)", false),
    ] {
        let mut bench = Bench::new();
        bench.tools.behave(Behaviour::End(end));
        let report = run(&mut bench, "ansible", json!({ "playbook": "site.yml" })).await;
        assert_eq!(report.outcome.to_string(), expected);
        assert_eq!(report.outcome.is_retryable(), transient);
        assert_eq!(
            report.outputs.unwrap()["ok"],
            3,
            "known in spite of the failure"
        );
    }
}

#[tokio::test]
async fn opentofu_plans_and_applies_exactly_that_plan() {
    let mut bench = Bench::new();
    let with = json!({ "action": "plan", "dir": "infra", "vars": { "region": "eu" } });
    let report = run(&mut bench, "opentofu", with).await;
    let outputs = Json::Object(report.outputs.unwrap());
    assert_eq!(outputs["changes"], 2);
    assert_eq!(outputs["digest"], plan_digest().to_string());

    let with = json!({ "action": "apply", "plan": outputs["plan"] });
    let report = run(&mut bench, "opentofu", with).await;
    assert_eq!(
        report.outputs.unwrap()["outputs"],
        json!({ "address": "10.0.0.1" })
    );
    let digest = plan_digest();
    assert_eq!(
        bench.tools.calls(),
        [
            "tofu_plan Apply TofuModule { dir: GuestPath(\"infra\"), \
             vars: {\"region\": String(\"eu\")}, var_files: [], secret_env: [] }"
                .to_owned(),
            format!(
                "tofu_apply {digest} TofuModule {{ dir: GuestPath(\"infra\"), vars: {{}}, \
                 var_files: [], secret_env: [] }}"
            ),
        ]
    );
}

#[tokio::test]
async fn command_runs_a_command() {
    let outputs = arrives(
        "command",
        json!({ "run": "ls", "args": ["-n", 3], "parse": "json", "secret_env": { "T": "token" } }),
        "run_command CommandRequest { name: \"ls\", args: [\"-n\", \"3\"], \
         dir: GuestPath(\"\"), env: [], \
         secret_env: [SecretEnv { variable: \"T\", secret: \"token\" }], stdin: None }",
    )
    .await;
    assert_eq!(outputs["json"], json!({ "a": 1 }));
}

#[tokio::test]
async fn a_missing_grant_is_named() {
    for (name, with, without, missing) in [
        ("checkout", json!({}), "git", "git"),
        (
            "ansible",
            json!({ "playbook": "site.yml" }),
            "ansible",
            "ansible",
        ),
        (
            "ansible",
            json!({ "playbook": "site.yml", "private_key": "k" }),
            "secret:*",
            "secret:k",
        ),
        (
            "opentofu",
            json!({ "action": "destroy" }),
            "opentofu:destroy",
            "opentofu:destroy",
        ),
        ("command", json!({ "run": "ls" }), "command:*", "command:ls"),
    ] {
        let mut bench = Bench::new();
        let digest = prepared(&bench, name).digest;
        let (_, grants) = granted(name);
        bench.grants = grants
            .iter()
            .filter(|grant| grant.to_string() != without)
            .cloned()
            .collect();
        bench.input = with;
        let report = bench.run(digest).await;
        assert_eq!(
            shown(&report),
            format!("not_granted: `{missing}` is not granted to this plugin")
        );
        assert_eq!(report.not_granted[..], capabilities(&[missing])[..]);
        assert!(bench.tools.calls().is_empty());
    }
}

#[tokio::test]
async fn a_tool_that_is_not_there_could_not_start() {
    let mut bench = Bench::new();
    bench.tools.behave(Behaviour::Fail(CallError::Unavailable(
        "ansible-playbook is not installed".to_owned(),
    )));
    let report = run(&mut bench, "ansible", json!({ "playbook": "site.yml" })).await;
    assert_eq!(
        shown(&report),
        "could_not_start: ansible-playbook is not installed"
    );
}

#[tokio::test]
async fn a_bad_with_is_refused_by_field() {
    for (name, with, expected) in [
        (
            "checkout",
            json!({ "url": "x" }),
            "`with.url`: unknown field `url`",
        ),
        (
            "ansible",
            json!({ "check": "yes" }),
            "`with.check`: invalid type",
        ),
        ("opentofu", json!({}), "`with`: missing field `action`"),
        (
            "command",
            json!({ "run": "ls", "args": [[]] }),
            "`with.args[0]`",
        ),
        (
            "command",
            json!({ "run": "/bin/ls" }),
            "`/bin/ls` is not a valid command name",
        ),
    ] {
        let mut bench = Bench::new();
        let report = run(&mut bench, name, with.clone()).await;
        assert!(matches!(report.outcome, AttemptOutcome::Failed { .. }));
        assert!(report.message.unwrap().starts_with(expected), "{with}");
        assert!(bench.tools.calls().is_empty());
    }
}
