//! What `opentofu` does: turns `with` into one request, and what came of it into
//! outputs. It never sees state, plans or credentials: it passes on their
//! names and digests.

use std::collections::BTreeMap;

use infraflow_step::input::{OneOrMany, pairs};
use infraflow_step::opentofu::{ApplyResult, Module, Outcome, PlanResult};
use infraflow_step::{Context, Description, Host, Plugin, StepError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The plugin.
#[derive(Debug)]
pub struct OpenTofu;

/// The step's `with`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    action: Action,
    dir: Option<String>,
    vars: Option<Map<String, Value>>,
    #[serde(default)]
    var_files: OneOrMany,
    plan: Option<PlanGiven>,
    destroy: Option<bool>,
    secret_env: Option<BTreeMap<String, String>>,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    /// Fetch providers and modules.
    Init,
    /// Compute what would change, and store the plan.
    Plan,
    /// Apply a stored plan.
    Apply,
    /// Destroy everything that the state holds.
    Destroy,
    /// Read the outputs of the last apply.
    Output,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Plan => "plan",
            Self::Apply => "apply",
            Self::Destroy => "destroy",
            Self::Output => "output",
        }
    }
}

/// A plan, as a step gives it to `apply`.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a plan (`steps.<id>.outputs.plan`) or its digest"
)]
enum PlanGiven {
    /// What `plan` gave: it knows its folder.
    Whole(Plan),
    /// The digest alone.
    Digest(String),
}

/// A stored plan, as it stands in the outputs of `plan`. Holds names only.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    digest: String,
    dir: String,
    secret_env: BTreeMap<String, String>,
}

/// The step's outputs.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Output {
    /// Of `init`.
    Init {},
    /// Of `plan`.
    Plan {
        /// Whether applying would change anything, outputs of the module included.
        has_changes: bool,
        /// How many resources it would change.
        changes: u64,
        /// How many of them it would create.
        add: u32,
        /// How many of them it would change in place.
        change: u32,
        /// How many of them it would destroy.
        destroy: u32,
        /// How many of them it would import.
        import: u32,
        /// The plan's digest: what an approval binds to.
        digest: String,
        /// The plan, for `apply`.
        plan: Plan,
        /// The changed resources.
        resource_changes: Value,
        /// Whether some are left out.
        truncated: bool,
    },
    /// Of `apply` and `destroy`.
    Applied {
        /// How many resources were created.
        add: u32,
        /// How many were changed in place.
        change: u32,
        /// How many were destroyed.
        destroy: u32,
        /// How many were imported.
        import: u32,
        /// The module's outputs, without the sensitive ones.
        outputs: Value,
        /// The names of the sensitive ones.
        sensitive_outputs: Vec<String>,
    },
    /// Of `output`.
    Read {
        /// The module's outputs, without the sensitive ones.
        outputs: Value,
        /// The names of the sensitive ones.
        sensitive_outputs: Vec<String>,
    },
}

impl Plugin for OpenTofu {
    type Input = Input;
    type Output = Output;
    const DESCRIPTION: Description = Description {
        name: "opentofu",
        version: env!("CARGO_PKG_VERSION"),
        summary: "Plans, applies and destroys what an OpenTofu module describes",
        input_schema: include_str!("input.schema.json"),
        output_schema: include_str!("output.schema.json"),
        capabilities: &[
            ("opentofu:plan", "to plan and to read outputs"),
            ("opentofu:apply", "to apply a stored plan"),
            ("opentofu:destroy", "to destroy when a step asks for it"),
            (
                "workspace:rw",
                "to read the module and to keep providers there",
            ),
            (
                "network",
                "to fetch providers and to reach what they manage",
            ),
            (
                "secret:*",
                "to hand the credentials that a step names to the providers",
            ),
        ],
        idempotent: false,
        writes_workspace: true,
    };

    fn run(host: &dyn Host, _: &Context, input: Input) -> Result<Output, StepError> {
        check_fields(&input)?;
        let action = input.action;
        let secret_env = input.secret_env.clone().unwrap_or_default();
        let module = module(&input);
        match (action, input.plan) {
            (Action::Init, _) => {
                let outcome = host.tofu_init(&module)?;
                succeeded(action, &outcome)?;
                Ok(Output::Init {})
            }
            (Action::Plan, _) => {
                let result = host.tofu_plan(&module, input.destroy.unwrap_or(false))?;
                planned(result, module.dir, secret_env)
            }
            (Action::Apply, Some(plan)) => {
                let digest = match plan {
                    PlanGiven::Whole(plan) => plan.digest,
                    PlanGiven::Digest(digest) => digest,
                };
                applied(action, host.tofu_apply(&module, &digest)?)
            }
            (Action::Apply, None) => Err(StepError::new(
                "`with.plan` is missing: give the plan that an earlier step made, \
                 `\"{{ steps.<id>.outputs.plan }}\"`",
            )),
            (Action::Destroy, _) => applied(action, host.tofu_destroy(&module)?),
            (Action::Output, _) => read(host.tofu_output(&module)?),
        }
    }
}

/// Refuses fields that the action would ignore.
fn check_fields(input: &Input) -> Result<(), StepError> {
    let action = input.action;
    let only_for = |name: &str, given: bool, wanted: Action| {
        if given && action != wanted {
            Err(StepError::new(format!(
                "`with.{name}` has a meaning with `action: {}` only: take it out",
                wanted.name()
            )))
        } else {
            Ok(())
        }
    };
    only_for("plan", input.plan.is_some(), Action::Apply)?;
    only_for("destroy", input.destroy.is_some(), Action::Plan)?;
    let vars_given = input.vars.is_some() || !input.var_files.0.is_empty();
    if vars_given && action == Action::Apply {
        return Err(StepError::new(
            "`with` has variables for `action: apply`: a stored plan holds its variables, \
             give them to the step that plans",
        ));
    }
    Ok(())
}

/// The module to work on. A plan brings its folder and the names of its
/// credentials along, unless the step says otherwise.
fn module(input: &Input) -> Module {
    let from_plan = match &input.plan {
        Some(PlanGiven::Whole(plan)) => Some(plan),
        Some(PlanGiven::Digest(_)) | None => None,
    };
    let dir = input
        .dir
        .as_ref()
        .or(from_plan.map(|plan| &plan.dir))
        .cloned();
    let secret_env = input
        .secret_env
        .as_ref()
        .or(from_plan.map(|plan| &plan.secret_env))
        .cloned();
    Module {
        dir: dir.unwrap_or_default(),
        vars: Value::Object(input.vars.clone().unwrap_or_default()).to_string(),
        var_files: input.var_files.0.clone(),
        secret_env: pairs(secret_env.unwrap_or_default()),
    }
}

fn planned(
    result: PlanResult,
    dir: String,
    secret_env: BTreeMap<String, String>,
) -> Result<Output, StepError> {
    succeeded(Action::Plan, &result.outcome)?;
    let Some(digest) = result.plan else {
        return Err(StepError::new("the host stored no plan"));
    };
    let changes = result.changes;
    let counts = [
        changes.add,
        changes.change,
        changes.destroy,
        changes.imported,
    ];
    Ok(Output::Plan {
        has_changes: result.has_changes,
        changes: counts.into_iter().map(u64::from).sum(),
        add: changes.add,
        change: changes.change,
        destroy: changes.destroy,
        import: changes.imported,
        digest: digest.clone(),
        plan: Plan {
            digest,
            dir,
            secret_env,
        },
        resource_changes: json("resource-changes", &result.resource_changes)?,
        truncated: result.truncated,
    })
}

fn applied(action: Action, result: ApplyResult) -> Result<Output, StepError> {
    let output = Output::Applied {
        add: result.changes.add,
        change: result.changes.change,
        destroy: result.changes.destroy,
        import: result.changes.imported,
        outputs: json("outputs", &result.outputs)?,
        sensitive_outputs: result.sensitive_outputs,
    };
    match succeeded(action, &result.outcome) {
        Ok(()) => Ok(output),
        // What was changed before it failed stays changed.
        Err(error) => Err(error.outputs(&output)),
    }
}

fn read(result: ApplyResult) -> Result<Output, StepError> {
    succeeded(Action::Output, &result.outcome)?;
    Ok(Output::Read {
        outputs: json("outputs", &result.outputs)?,
        sensitive_outputs: result.sensitive_outputs,
    })
}

fn json(what: &str, text: &str) -> Result<Value, StepError> {
    serde_json::from_str(text)
        .map_err(|error| StepError::new(format!("the host's `{what}` is no JSON: {error}")))
}

fn succeeded(action: Action, outcome: &Outcome) -> Result<(), StepError> {
    if outcome.succeeded {
        return Ok(());
    }
    let name = action.name();
    let mut message = match outcome.exit_code {
        Some(code) => format!("{name} failed with exit code {code}"),
        None => format!("{name} was ended by a signal"),
    };
    if !outcome.message.is_empty() {
        message = format!("{message}: {}", outcome.message);
    }
    // Somebody else holds the state: it passes.
    let locked = outcome.message.contains("acquiring the state lock");
    Err(StepError::new(message)
        .transient(locked)
        .exit_code(outcome.exit_code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use infraflow_step::Error;
    use infraflow_step::opentofu::Changes;
    use infraflow_step::testing::{Call, FakeHost, run};
    use serde_json::json;

    const DIGEST: &str = "sha256:abc";

    fn outcome(code: i32, message: &str) -> Outcome {
        Outcome {
            exit_code: Some(code),
            succeeded: matches!(code, 0 | 2),
            message: message.into(),
        }
    }

    fn changes() -> Changes {
        Changes {
            add: 2,
            change: 1,
            destroy: 0,
            imported: 1,
        }
    }

    fn plan_result() -> PlanResult {
        PlanResult {
            outcome: outcome(2, ""),
            has_changes: true,
            changes: changes(),
            resource_changes: r#"[{"address":"a.b","action":"create"}]"#.into(),
            truncated: false,
            plan: Some(DIGEST.into()),
        }
    }

    fn apply_result(outcome: Outcome) -> ApplyResult {
        ApplyResult {
            outcome,
            changes: changes(),
            outputs: r#"{"address":"10.0.0.1"}"#.into(),
            sensitive_outputs: vec!["password".into()],
        }
    }

    fn module() -> Module {
        Module {
            dir: "infra".into(),
            vars: "{}".into(),
            var_files: vec![],
            secret_env: vec![],
        }
    }

    #[test]
    fn a_plan_says_what_would_change() {
        let host = FakeHost::new().answers(plan_result());
        let with = json!({
            "action": "plan", "dir": "infra", "vars": { "region": "eu" },
            "var_files": "prod.tfvars", "secret_env": { "TOKEN": "cloud-token" },
        });
        let outputs = run::<OpenTofu>(&host, &with).unwrap();
        let expected = Module {
            vars: r#"{"region":"eu"}"#.into(),
            var_files: vec!["prod.tfvars".into()],
            secret_env: vec![("TOKEN".into(), "cloud-token".into())],
            ..module()
        };
        assert_eq!(host.calls(), [Call::TofuPlan(expected, false)]);
        assert_eq!(
            outputs,
            json!({
                "has_changes": true, "changes": 4,
                "add": 2, "change": 1, "destroy": 0, "import": 1,
                "digest": DIGEST,
                "plan": { "digest": DIGEST, "dir": "infra", "secret_env": { "TOKEN": "cloud-token" } },
                "resource_changes": [{ "address": "a.b", "action": "create" }],
                "truncated": false,
            })
        );
    }

    #[test]
    fn apply_takes_what_plan_gave() {
        let whole = json!({ "digest": DIGEST, "dir": "infra", "secret_env": { "T": "t" } });
        let secret = Module {
            secret_env: vec![("T".into(), "t".into())],
            ..module()
        };
        let elsewhere = Module {
            dir: "other".into(),
            ..module()
        };
        for (with, expected) in [
            (json!({ "action": "apply", "plan": whole }), secret),
            (
                json!({ "action": "apply", "plan": whole, "dir": "other", "secret_env": {} }),
                elsewhere,
            ),
            (
                json!({ "action": "apply", "plan": DIGEST, "dir": "infra" }),
                module(),
            ),
        ] {
            let host = FakeHost::new().answers(apply_result(outcome(0, "")));
            let outputs = run::<OpenTofu>(&host, &with).unwrap();
            assert_eq!(
                host.calls(),
                [Call::TofuApply(expected, DIGEST.into())],
                "{with}"
            );
            assert_eq!(
                outputs,
                json!({
                    "add": 2, "change": 1, "destroy": 0, "import": 1,
                    "outputs": { "address": "10.0.0.1" }, "sensitive_outputs": ["password"],
                })
            );
        }
    }

    #[test]
    fn the_other_actions() {
        let host = FakeHost::new().answers(apply_result(outcome(0, "")));
        run::<OpenTofu>(&host, &json!({ "action": "destroy", "dir": "infra" })).unwrap();
        assert_eq!(host.calls(), [Call::TofuDestroy(module())]);

        let host = FakeHost::new().answers(apply_result(outcome(0, "")));
        let read = run::<OpenTofu>(&host, &json!({ "action": "output", "dir": "infra" })).unwrap();
        assert_eq!(host.calls(), [Call::TofuOutput(module())]);
        assert_eq!(
            read,
            json!({ "outputs": { "address": "10.0.0.1" }, "sensitive_outputs": ["password"] })
        );

        let host = FakeHost::new().answers(outcome(0, ""));
        let init = run::<OpenTofu>(&host, &json!({ "action": "init", "dir": "infra" })).unwrap();
        assert_eq!(host.calls(), [Call::TofuInit(module())]);
        assert_eq!(init, json!({}));

        let host = FakeHost::new().answers(plan_result());
        let with = json!({ "action": "plan", "dir": "infra", "destroy": true });
        run::<OpenTofu>(&host, &with).unwrap();
        assert_eq!(host.calls(), [Call::TofuPlan(module(), true)]);
    }

    #[test]
    fn failures_keep_the_tools_words() {
        let failed_plan = PlanResult {
            outcome: outcome(1, "no such provider"),
            plan: None,
            ..plan_result()
        };
        let host = FakeHost::new().answers(failed_plan);
        let error = run::<OpenTofu>(&host, &json!({ "action": "plan" })).unwrap_err();
        assert_eq!(
            error.message,
            "plan failed with exit code 1: no such provider"
        );
        assert_eq!((error.exit_code, error.transient), (Some(1), false));

        let host = FakeHost::new().answers(apply_result(outcome(1, "quota")));
        let with = json!({ "action": "apply", "plan": DIGEST });
        let error = run::<OpenTofu>(&host, &with).unwrap_err();
        assert_eq!(error.message, "apply failed with exit code 1: quota");
        let outputs: Value = serde_json::from_str(&error.outputs.unwrap()).unwrap();
        assert_eq!(outputs["add"], 2, "what was changed stays changed");

        let signalled = Outcome {
            exit_code: None,
            succeeded: false,
            message: String::new(),
        };
        let host = FakeHost::new().answers(signalled);
        let error = run::<OpenTofu>(&host, &json!({ "action": "init" })).unwrap_err();
        assert_eq!(error.message, "init was ended by a signal");

        let host = FakeHost::new().answers(apply_result(outcome(
            1,
            "Error: Error acquiring the state lock",
        )));
        let error = run::<OpenTofu>(&host, &json!({ "action": "destroy" })).unwrap_err();
        assert!(error.transient, "a lock passes");
    }

    #[test]
    fn a_plan_without_a_digest_is_a_failure() {
        let host = FakeHost::new().answers(PlanResult {
            plan: None,
            ..plan_result()
        });
        let error = run::<OpenTofu>(&host, &json!({ "action": "plan" })).unwrap_err();
        assert_eq!(error.message, "the host stored no plan");
    }

    #[test]
    fn bad_inputs_ask_the_host_for_nothing() {
        for (with, expected) in [
            (json!({}), "missing field `action`"),
            (
                json!({ "action": "refresh" }),
                "`with.action`: unknown variant `refresh`",
            ),
            (json!({ "action": "apply" }), "`with.plan` is missing"),
            (
                json!({ "action": "apply", "plan": 1 }),
                "`with.plan`: a plan (`steps.<id>.outputs.plan`) or its digest",
            ),
            (
                json!({ "action": "apply", "plan": DIGEST, "vars": {} }),
                "a stored plan holds its variables",
            ),
            (
                json!({ "action": "apply", "plan": DIGEST, "var_files": "x" }),
                "a stored plan holds its variables",
            ),
            (
                json!({ "action": "plan", "plan": DIGEST }),
                "`with.plan` has a meaning with `action: apply` only",
            ),
            (
                json!({ "action": "apply", "plan": DIGEST, "destroy": true }),
                "`with.destroy` has a meaning with `action: plan` only",
            ),
            (
                json!({ "action": "plan", "vars": [] }),
                "`with.vars`: invalid type",
            ),
            (
                json!({ "action": "plan", "dir": 1 }),
                "`with.dir`: invalid type",
            ),
            (
                json!({ "action": "plan", "module": "x" }),
                "unknown field `module`",
            ),
        ] {
            infraflow_step::testing::check_refused::<OpenTofu>(&with, expected);
        }
    }

    #[test]
    fn host_errors_are_passed_on() {
        for (error, transient) in [
            (Error::NotGranted("opentofu:apply".into()), false),
            (Error::NotFound("infra".into()), false),
            (Error::Invalid("`vars`".into()), false),
            (Error::Unavailable("no tofu".into()), true),
        ] {
            for with in [
                json!({ "action": "init" }),
                json!({ "action": "plan" }),
                json!({ "action": "apply", "plan": DIGEST }),
                json!({ "action": "destroy" }),
                json!({ "action": "output" }),
            ] {
                let host = FakeHost::new().refuses(error.clone());
                let failed = run::<OpenTofu>(&host, &with).unwrap_err();
                assert_eq!(failed.message, error.text());
                assert_eq!(failed.transient, transient);
            }
        }
    }

    #[test]
    fn the_schemas_name_every_field() {
        infraflow_step::testing::check_schemas::<OpenTofu>();
    }
}
