//! Real OpenTofu, or Terraform: plans, applies and the state between them.

use infraflow_core::JsonMap;
use infraflow_core::id::Digest;
use infraflow_core::ports::{StopReason, Tools as _};
use infraflow_core::tool::{
    ApplyResult, CallError, PlanKind, PlanResult, ProcessEnd, SecretEnv, TofuModule,
};
use std::sync::atomic::Ordering;

use crate::watchdog::Host;
use crate::world::{Attempt, World, eventually, guest, marker, processes_with, soon};

const MODULE: &str = r#"
variable "region" { type = string }
variable "size" { default = 1 }
variable "password" {
  sensitive = true
  default   = "hunter2-of-the-module"
}
resource "terraform_data" "site" { input = "${var.region}-${var.size}" }
resource "terraform_data" "login" { input = var.password }
output "site" { value = terraform_data.site.output }
output "password" {
  value     = var.password
  sensitive = true
}
"#;

fn module(dir: &str) -> TofuModule {
    TofuModule {
        dir: guest(dir),
        vars: JsonMap::new(),
        var_files: vec![],
        secret_env: vec![],
    }
}

fn with_region(region: &str) -> TofuModule {
    let mut module = module("infra");
    module.vars.insert("region".to_owned(), region.into());
    module
}

async fn world_of(text: &str) -> World {
    let world = World::new().await;
    world.write("run", "infra/main.tf", text).await;
    world
}

async fn plan(world: &World, attempt: &Attempt, module: TofuModule) -> PlanResult {
    let plan = world
        .door
        .tofu_plan(&attempt.scope, module, PlanKind::Apply);
    soon("the plan", plan).await.unwrap()
}

async fn apply(
    world: &World,
    attempt: &Attempt,
    module: TofuModule,
    plan: Digest,
) -> Result<ApplyResult, CallError> {
    let apply = world.door.tofu_apply(&attempt.scope, module, plan);
    soon("the apply", apply).await
}

async fn plan_and_apply(world: &World, attempt: &Attempt, module: TofuModule) -> ApplyResult {
    let planned = plan(world, attempt, module.clone()).await;
    assert!(planned.outcome.succeeded, "{}", planned.outcome.message);
    apply(world, attempt, module, planned.plan.unwrap())
        .await
        .unwrap()
}

/// Files of state on this host's disk.
fn states_on_disk(world: &World) -> Vec<String> {
    let folder = world.data_dir.join("tofu");
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

#[tokio::test]
async fn from_plan_to_destroy() {
    let world = world_of(MODULE).await;
    let attempt = world.attempt("run");
    let planned = plan(&world, &attempt, with_region("eu")).await;
    assert_eq!(planned.outcome.message, "");
    assert!(planned.outcome.succeeded && planned.has_changes && !planned.truncated);
    assert_eq!((planned.changes.add, planned.changes.destroy), (2, 0));
    let changes: Vec<String> = planned
        .resource_changes
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        changes,
        [
            r#"{"action":"create","address":"terraform_data.login"}"#,
            r#"{"action":"create","address":"terraform_data.site"}"#
        ]
    );
    let applied = apply(&world, &attempt, with_region("eu"), planned.plan.unwrap());
    let applied = applied.await.unwrap();
    assert!(applied.outcome.succeeded, "{}", applied.outcome.message);
    assert_eq!(applied.changes.add, 2);
    assert_eq!(
        applied.outputs,
        JsonMap::from_iter([("site".to_owned(), "eu-1".into())])
    );
    assert_eq!(applied.sensitive_outputs, ["password"]);

    // Nothing of it lies around.
    assert_eq!(states_on_disk(&world), Vec::<String>::new());
    let names = std::fs::read_dir(world.workspace("run").join("infra"))
        .unwrap()
        .flatten();
    let names: Vec<_> = names
        .map(|e| e.file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, ["main.tf"]);
    let said = attempt.lines.texts().join("\n");
    assert!(!said.contains("hunter2"), "{said}");
    assert!(
        said.contains("terraform_data.site: Creation complete"),
        "{said}"
    );
    assert!(
        said.contains("Apply complete! Resources: 2 added"),
        "{said}"
    );
    assert!(!said.contains("Deprecated flag"), "{said}");

    // Another run of the workflow has the same state.
    world.write("later", "infra/main.tf", MODULE).await;
    let later = world.attempt("later");
    let again = plan(&world, &later, with_region("eu")).await;
    assert!(again.outcome.succeeded && !again.has_changes);
    assert_eq!(again.outcome.end, ProcessEnd::Exited(0));
    let outputs = soon(
        "outputs",
        world.door.tofu_output(&later.scope, module("infra")),
    );
    let outputs = outputs.await.unwrap();
    assert_eq!(outputs.outputs, applied.outputs);
    assert_eq!(outputs.sensitive_outputs, ["password"]);
    let said = later.lines.texts().join("\n");
    assert!(
        !said.contains("hunter2") && !said.contains("eu-1\""),
        "{said}"
    );

    let changed = plan(&world, &later, with_region("us")).await;
    assert_eq!((changed.changes.add, changed.changes.change), (0, 1));
    let destroyed = soon(
        "destroy",
        world.door.tofu_destroy(&later.scope, with_region("eu")),
    );
    let destroyed = destroyed.await.unwrap();
    assert!(destroyed.outcome.succeeded, "{}", destroyed.outcome.message);
    assert_eq!(destroyed.changes.destroy, 2);
    let kind = PlanKind::Destroy;
    let nothing = world.door.tofu_plan(&later.scope, with_region("eu"), kind);
    assert!(!soon("the plan", nothing).await.unwrap().has_changes);
}

#[tokio::test]
async fn variables_come_from_everywhere_and_no_argument() {
    let world = World::with(&[("pw", "secret-password-1")], |_| {}).await;
    let text = "variable \"a\" {}\nvariable \"b\" {}\nvariable \"c\" { sensitive = true }\n\
                output \"all\" { value = \"${var.a} ${var.b} ${nonsensitive(length(var.c))}\" }\n";
    world.write("run", "infra/main.tf", text).await;
    world
        .write("run", "vars/one.tfvars", "a = \"file\"\nb = \"file\"\n")
        .await;
    let mut wanted = module("infra");
    wanted.var_files = vec![guest("vars/one.tfvars")];
    wanted.vars.insert("b".to_owned(), "it's ours".into());
    wanted.secret_env = vec![SecretEnv {
        variable: "TF_VAR_c".to_owned(),
        secret: "pw".parse().unwrap(),
    }];
    let attempt = world.attempt("run");
    let applied = plan_and_apply(&world, &attempt, wanted.clone()).await;
    assert_eq!(applied.outcome.message, "");
    assert_eq!(applied.outputs["all"], "file it's ours 17");
    wanted.secret_env[0].variable = "TF_CLI_ARGS".to_owned();
    let told = world.door.tofu_init(&attempt.scope, wanted).await;
    assert!(matches!(told, Err(CallError::Invalid(_))), "{told:?}");
}

#[tokio::test]
async fn what_is_wrong_is_said_with_file_and_line() {
    let world = world_of(MODULE).await;
    let attempt = world.attempt("run");
    let failed = plan(&world, &attempt, module("infra")).await;
    assert!(!failed.outcome.succeeded && failed.plan.is_none());
    assert_eq!(failed.outcome.end, ProcessEnd::Exited(1));
    let message = &failed.outcome.message;
    assert!(
        message.starts_with("Error: No value for required variable\n  on main.tf:2"),
        "{message}"
    );

    world
        .write("run", "infra/bad.tf", "resource \"x\" {\n")
        .await;
    let failed = plan(&world, &attempt, with_region("eu")).await;
    assert!(
        failed.outcome.message.contains("bad.tf line 1"),
        "{}",
        failed.outcome.message
    );

    let provider =
        "terraform {\n required_providers {\n  random = { source = \"hashicorp/random\" }\n }\n}\n";
    world.write("run", "other/main.tf", provider).await;
    let failed = soon(
        "init",
        world.door.tofu_init(&attempt.scope, module("other")),
    );
    let failed = failed.await.unwrap();
    assert!(!failed.succeeded);
    assert!(
        failed.message.contains("hashicorp/random"),
        "{}",
        failed.message
    );

    for (dir, expected) in [
        ("none", CallError::NotFound("`none`".to_owned())),
        (
            "infra/main.tf",
            CallError::Invalid("`infra/main.tf`: expected a folder".to_owned()),
        ),
    ] {
        let told = world.door.tofu_init(&attempt.scope, module(dir)).await;
        assert_eq!(told, Err(expected));
    }
}

#[tokio::test]
async fn exactly_the_plan_of_this_run_is_applied() {
    let world = world_of(MODULE).await;
    let attempt = world.attempt("run");
    let first = plan(&world, &attempt, with_region("eu"))
        .await
        .plan
        .unwrap();
    let second = plan(&world, &attempt, with_region("us"))
        .await
        .plan
        .unwrap();
    let unknown = Digest::of(b"no plan");
    let not_found = |plan| Err(CallError::NotFound(format!("plan {plan} of this run")));
    assert_eq!(
        apply(&world, &attempt, with_region("eu"), unknown).await,
        not_found(unknown)
    );
    world.write("other", "infra/main.tf", MODULE).await;
    let other = world.attempt("other");
    assert_eq!(
        apply(&world, &other, with_region("eu"), first).await,
        not_found(first)
    );
    world.write("run", "elsewhere/main.tf", MODULE).await;
    let told = apply(&world, &attempt, module("elsewhere"), first).await;
    assert_eq!(
        told,
        Err(CallError::Invalid(
            "the plan was made for `infra`, not for `elsewhere`".to_owned()
        ))
    );
    // What the module says now does not matter: the plan does.
    world.write("run", "infra/main.tf", "").await;
    let applied = apply(&world, &attempt, module("infra"), second)
        .await
        .unwrap();
    assert_eq!(
        applied.outputs["site"], "us-1",
        "{}",
        applied.outcome.message
    );
    let stale = apply(&world, &attempt, module("infra"), first)
        .await
        .unwrap();
    assert!(!stale.outcome.succeeded);
    assert!(
        stale.outcome.message.contains("Saved plan is stale"),
        "{}",
        stale.outcome.message
    );
}

#[tokio::test]
async fn a_plan_is_shown_without_what_is_sensitive() {
    let world = world_of(MODULE).await;
    let attempt = world.attempt("run");
    let plan = plan(&world, &attempt, with_region("eu"))
        .await
        .plan
        .unwrap();
    let shown = world.door.tofu_show(&attempt.scope, module("infra"), plan);
    let shown = soon("show", shown).await.unwrap();
    assert!(!shown.contains("hunter2"), "{shown}");
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["resource_changes"].as_array().unwrap().len(), 2);
    assert_eq!(shown["variables"]["region"]["value"], "eu");
    let lines = attempt.lines.texts().join("\n");
    assert!(
        !lines.contains("hunter2") && !lines.contains("format_version"),
        "{lines}"
    );
}

#[tokio::test]
async fn a_backend_of_the_module_is_its_own() {
    let world = world_of(
        "terraform {\n  backend \"local\" { path = \"own.tfstate\" }\n}\n\
         output \"x\" { value = \"y\" }\n",
    )
    .await;
    let attempt = world.attempt("run");
    let applied = plan_and_apply(&world, &attempt, module("infra")).await;
    assert_eq!(applied.outputs["x"], "y", "{}", applied.outcome.message);
    assert!(world.workspace("run").join("infra/own.tfstate").exists());
    assert_eq!(world.blobs.names("tofu-state"), Vec::<String>::new());
    let outputs = soon(
        "outputs",
        world.door.tofu_output(&attempt.scope, module("infra")),
    );
    assert_eq!(outputs.await.unwrap().outputs["x"], "y");
}

#[tokio::test]
async fn an_apply_that_fails_half_way_keeps_what_it_did() {
    let world = world_of(
        "resource \"terraform_data\" \"a\" { input = \"kept\" }\n\
         resource \"terraform_data\" \"b\" {\n  depends_on = [terraform_data.a]\n  \
         provisioner \"local-exec\" { command = \"echo no >&2; exit 3\" }\n}\n",
    )
    .await;
    let attempt = world.attempt("run");
    let applied = plan_and_apply(&world, &attempt, module("infra")).await;
    assert!(!applied.outcome.succeeded);
    let message = &applied.outcome.message;
    assert!(
        message.contains("local-exec provisioner error\n  on main.tf:4"),
        "{message}"
    );
    assert_eq!(applied.changes.add, 1);
    let state = world
        .blobs
        .content(&world.blobs.names("tofu-state")[0])
        .unwrap();
    assert!(String::from_utf8(state).unwrap().contains("kept"));
}

/// A module whose apply lasts until a file appears.
fn slow(marker: &str) -> String {
    format!(
        "resource \"terraform_data\" \"first\" {{ input = \"kept\" }}\n\
         resource \"terraform_data\" \"second\" {{\n  depends_on = [terraform_data.first]\n  \
         provisioner \"local-exec\" {{\n    \
         command = \"echo sleeping {marker}; while ! test -e /workspace/go; do sleep 0.05; done\"\n  }}\n}}\n"
    )
}

#[tokio::test]
async fn two_hosts_that_change_one_state_both_keep_theirs() {
    let world = world_of(&slow("x")).await;
    let attempt = world.attempt("run");
    let planned = plan(&world, &attempt, module("infra")).await.plan.unwrap();
    let applying = apply(&world, &attempt, module("infra"), planned);
    let meanwhile = async {
        attempt.lines.wait_for("sleeping x").await;
        let name = state_name();
        world
            .blobs
            .overwrite(&name, b"{\"version\": 4, \"serial\": 77}");
        world.write("run", "go", "").await;
        std::future::pending::<()>().await;
    };
    let told = tokio::select! {
        told = applying => told,
        () = meanwhile => unreachable!(),
    };
    let Err(CallError::Internal(text)) = told else {
        panic!("{told:?}");
    };
    let kept = text
        .split('`')
        .find(|part| part.ends_with(".conflict"))
        .unwrap();
    let state = std::fs::read_to_string(format!("{kept}/state/terraform.tfstate")).unwrap();
    assert!(state.contains("kept"), "{state}");
    let stored = world.blobs.content(&state_name()).unwrap();
    assert!(String::from_utf8(stored).unwrap().contains("77"));
    // Nothing goes on until somebody has looked at it.
    let refused = world
        .door
        .tofu_plan(&attempt.scope, module("infra"), PlanKind::Apply)
        .await;
    assert!(
        matches!(refused, Err(CallError::Internal(_))),
        "{refused:?}"
    );
    std::fs::remove_dir_all(kept).unwrap();
    let refused = world
        .door
        .tofu_plan(&attempt.scope, module("infra"), PlanKind::Apply)
        .await;
    assert!(refused.is_ok(), "{refused:?}");
}

/// The pointer of the state of `infra` in the tests' workflow.
fn state_name() -> String {
    let dir = Digest::of(b"infra").to_hex();
    format!("tofu-state.default.default.test.{dir}")
}

#[tokio::test]
async fn a_state_that_cannot_be_stored_is_stored_with_the_next_call() {
    let world = world_of(&slow("x")).await;
    let attempt = world.attempt("run");
    let planned = plan(&world, &attempt, module("infra")).await.plan.unwrap();
    let applying = apply(&world, &attempt, module("infra"), planned);
    let meanwhile = async {
        attempt.lines.wait_for("sleeping x").await;
        world.blobs.away.store(true, Ordering::Relaxed);
        world.write("run", "go", "").await;
        std::future::pending::<()>().await;
    };
    let told = tokio::select! {
        told = applying => told,
        () = meanwhile => unreachable!(),
    };
    let Err(CallError::Unavailable(text)) = told else {
        panic!("{told:?}");
    };
    assert!(text.contains("stored with the next call"), "{text}");
    assert_eq!(states_on_disk(&world).len(), 1);
    world.blobs.away.store(false, Ordering::Relaxed);
    let again = plan(&world, &attempt, module("infra")).await;
    assert!(
        again.outcome.succeeded && !again.has_changes,
        "everything is applied"
    );
    assert_eq!(states_on_disk(&world), Vec::<String>::new());
}

#[tokio::test]
async fn a_dropped_apply_leaves_its_state_to_the_next_call() {
    let world = world_of(&slow("x")).await;
    let attempt = world.attempt("run");
    let planned = plan(&world, &attempt, module("infra")).await.plan.unwrap();
    tokio::select! {
        told = apply(&world, &attempt, module("infra"), planned) => panic!("{told:?}"),
        () = soon("the sleep", attempt.lines.wait_for("sleeping x")) => {}
    }
    let next = world.attempt("run");
    let again = plan(&world, &next, module("infra")).await;
    assert!(again.outcome.succeeded, "{}", again.outcome.message);
    assert_eq!(again.changes.add, 1, "the first resource is known");
    assert_eq!(
        again.resource_changes[0]["address"],
        "terraform_data.second"
    );
}

#[tokio::test]
async fn a_stopped_apply_ends_and_its_state_is_stored() {
    let marker = marker();
    let world = world_of(&slow(&marker)).await;
    let attempt = world.attempt("run");
    let planned = plan(&world, &attempt, module("infra")).await.plan.unwrap();
    let applying = apply(&world, &attempt, module("infra"), planned);
    let stop = async {
        attempt.lines.wait_for("sleeping").await;
        attempt.stop.stop(StopReason::Timeout);
        std::future::pending::<()>().await;
    };
    let told = tokio::select! {
        told = applying => told.unwrap(),
        () = stop => unreachable!(),
    };
    assert!(!told.outcome.succeeded);
    assert_eq!(processes_with(&marker), Vec::<i32>::new());
    let state = world.blobs.content(&state_name()).unwrap();
    assert!(String::from_utf8(state).unwrap().contains("kept"));
    assert_eq!(states_on_disk(&world), Vec::<String>::new());
}

#[tokio::test]
async fn one_call_at_a_time_has_a_state() {
    let world = world_of(&slow("x")).await;
    let first = world.attempt("run");
    let planned = plan(&world, &first, module("infra")).await.plan.unwrap();
    let applying = apply(&world, &first, module("infra"), planned);
    world.write("other", "infra/main.tf", &slow("x")).await;
    let second = world.attempt("other");
    let story = async {
        first.lines.wait_for("sleeping x").await;
        let waiting = plan(&world, &second, module("infra"));
        tokio::pin!(waiting);
        let early = std::time::Duration::from_millis(500);
        assert!(tokio::time::timeout(early, &mut waiting).await.is_err());
        world.write("run", "go", "").await;
        waiting.await
    };
    let (applied, planned) = tokio::join!(applying, story);
    assert!(applied.unwrap().outcome.succeeded);
    assert!(!planned.has_changes, "it saw what the first one did");
}

#[tokio::test]
async fn a_host_killed_in_an_apply_loses_no_state() {
    let folder = tempfile::tempdir().unwrap();
    let root = camino::Utf8Path::from_path(folder.path()).unwrap();
    let (data_dir, marker) = (root.join("data"), marker());
    let mut host = Host::start(&data_dir, "apply", &marker).unwrap();
    assert_eq!(host.line(), "ready");
    host.kill();
    let gone = || processes_with(&format!("1000.{marker}")).is_empty();
    eventually("the end of the apply", gone).await;
    let world = World::in_folder(root).await;
    let folders = std::fs::read_dir(data_dir.join("tofu")).unwrap();
    assert_eq!(folders.count(), 1, "it was cut off");
    let attempt = world.attempt("apply");
    let again = plan(&world, &attempt, module("infra")).await;
    assert!(again.outcome.succeeded, "{}", again.outcome.message);
    let changes: Vec<_> = again
        .resource_changes
        .iter()
        .map(|c| c["address"].as_str())
        .collect();
    assert_eq!(
        changes,
        [Some("terraform_data.second")],
        "the first is known"
    );
    assert_eq!(states_on_disk(&world), Vec::<String>::new());
}
