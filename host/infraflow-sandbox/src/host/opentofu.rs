//! `opentofu`: plans and what becomes of them, in the jail.

use infraflow_core::Json;
use infraflow_core::grant::HostCall;
use infraflow_core::tool::{self, PlanKind, TofuModule};

use super::arguments::{digest, names_of, path, paths, secret_env, variables};
use super::{Answer, Failure};
use crate::bindings::infraflow::step::opentofu::{
    ApplyResult, Changes, Host, Module, Outcome, PlanResult,
};
use crate::state::State;

impl Host for State {
    async fn init(&mut self, module: Module) -> Result<Outcome, Failure> {
        self.admit(HostCall::TofuInit { secrets: &[] })?;
        let module = tofu_module(module)?;
        let secrets = names_of(&module.secret_env);
        self.check(HostCall::TofuInit { secrets: &secrets })?;
        let attempt = self.attempt()?;
        let answer = attempt.tools.tofu_init(&attempt.scope, module).await;
        self.settle(answer)
    }

    async fn plan(&mut self, module: Module, destroy: bool) -> Result<PlanResult, Failure> {
        self.admit(HostCall::TofuPlan { secrets: &[] })?;
        let module = tofu_module(module)?;
        let secrets = names_of(&module.secret_env);
        self.check(HostCall::TofuPlan { secrets: &secrets })?;
        let kind = if destroy {
            PlanKind::Destroy
        } else {
            PlanKind::Apply
        };
        let attempt = self.attempt()?;
        let answer = attempt.tools.tofu_plan(&attempt.scope, module, kind).await;
        self.settle(answer)
    }

    async fn apply(&mut self, module: Module, plan: String) -> Result<ApplyResult, Failure> {
        self.admit(HostCall::TofuApply { secrets: &[] })?;
        let module = tofu_module(module)?;
        let plan = digest(&plan)?;
        let secrets = names_of(&module.secret_env);
        self.check(HostCall::TofuApply { secrets: &secrets })?;
        let attempt = self.attempt()?;
        let answer = attempt.tools.tofu_apply(&attempt.scope, module, plan).await;
        self.settle(answer)
    }

    async fn destroy(&mut self, module: Module) -> Result<ApplyResult, Failure> {
        self.admit(HostCall::TofuDestroy { secrets: &[] })?;
        let module = tofu_module(module)?;
        let secrets = names_of(&module.secret_env);
        self.check(HostCall::TofuDestroy { secrets: &secrets })?;
        let attempt = self.attempt()?;
        let answer = attempt.tools.tofu_destroy(&attempt.scope, module).await;
        self.settle(answer)
    }

    async fn output(&mut self, module: Module) -> Result<ApplyResult, Failure> {
        self.admit(HostCall::TofuOutput { secrets: &[] })?;
        let module = tofu_module(module)?;
        let secrets = names_of(&module.secret_env);
        self.check(HostCall::TofuOutput { secrets: &secrets })?;
        let attempt = self.attempt()?;
        let answer = attempt.tools.tofu_output(&attempt.scope, module).await;
        self.settle(answer)
    }

    async fn show(&mut self, module: Module, plan: String) -> Result<String, Failure> {
        self.admit(HostCall::TofuShow { secrets: &[] })?;
        let module = tofu_module(module)?;
        let plan = digest(&plan)?;
        let secrets = names_of(&module.secret_env);
        self.check(HostCall::TofuShow { secrets: &secrets })?;
        let attempt = self.attempt()?;
        let answer = attempt.tools.tofu_show(&attempt.scope, module, plan).await;
        self.settle(answer)
    }
}

fn tofu_module(module: Module) -> Result<TofuModule, Failure> {
    Ok(TofuModule {
        dir: path(&module.dir)?,
        vars: variables("vars", &module.vars)?,
        var_files: paths("var-files", &module.var_files)?,
        secret_env: secret_env(module.secret_env)?,
    })
}

fn outcome(outcome: tool::TofuOutcome) -> Outcome {
    Outcome {
        exit_code: outcome.end.exit_code(),
        succeeded: outcome.succeeded,
        message: outcome.message,
    }
}

fn changes(changes: tool::Changes) -> Changes {
    Changes {
        add: changes.add,
        change: changes.change,
        destroy: changes.destroy,
        imported: changes.import,
    }
}

impl Answer for tool::TofuOutcome {
    type Wit = Outcome;

    fn signal(&self) -> Option<i32> {
        self.end.signal()
    }

    fn bytes(wit: &Outcome) -> usize {
        wit.message.len()
    }

    fn into_wit(self) -> Outcome {
        outcome(self)
    }
}

impl Answer for tool::PlanResult {
    type Wit = PlanResult;

    fn signal(&self) -> Option<i32> {
        self.outcome.end.signal()
    }

    fn bytes(wit: &PlanResult) -> usize {
        wit.outcome.message.len() + wit.resource_changes.len()
    }

    fn into_wit(self) -> PlanResult {
        PlanResult {
            outcome: outcome(self.outcome),
            has_changes: self.has_changes,
            changes: changes(self.changes),
            resource_changes: Json::Array(self.resource_changes).to_string(),
            truncated: self.truncated,
            plan: self.plan.map(|digest| digest.to_string()),
        }
    }
}

impl Answer for tool::ApplyResult {
    type Wit = ApplyResult;

    fn signal(&self) -> Option<i32> {
        self.outcome.end.signal()
    }

    fn bytes(wit: &ApplyResult) -> usize {
        let names: usize = wit.sensitive_outputs.iter().map(String::len).sum();
        wit.outcome.message.len() + wit.outputs.len() + names
    }

    fn into_wit(self) -> ApplyResult {
        ApplyResult {
            outcome: outcome(self.outcome),
            changes: changes(self.changes),
            outputs: Json::Object(self.outputs).to_string(),
            sensitive_outputs: self.sensitive_outputs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module() -> Module {
        Module {
            dir: "infra".into(),
            vars: r#"{"region": "eu"}"#.into(),
            var_files: vec!["prod.tfvars".into()],
            secret_env: vec![("TOKEN".into(), "cloud".into())],
        }
    }

    #[test]
    fn arguments_become_types() {
        let done = tofu_module(module()).unwrap();
        assert_eq!(done.dir.as_str(), "infra");
        assert_eq!(done.vars.len(), 1);
        assert_eq!(
            names_of(&done.secret_env).first().unwrap().as_str(),
            "cloud"
        );
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for bad in [
            Module {
                dir: "/".into(),
                ..module()
            },
            Module {
                vars: "1".into(),
                ..module()
            },
            Module {
                var_files: vec!["..".into()],
                ..module()
            },
            Module {
                var_files: vec!["a".into(); 17],
                ..module()
            },
            Module {
                secret_env: vec![("LD_PRELOAD".into(), "x".into())],
                ..module()
            },
            Module {
                secret_env: vec![("A".into(), "no name".into())],
                ..module()
            },
        ] {
            let shown = format!("{bad:?}");
            assert!(
                matches!(tofu_module(bad), Err(Failure::Refused(_))),
                "{shown}"
            );
        }
        assert!(digest("latest").is_err());
    }
}
