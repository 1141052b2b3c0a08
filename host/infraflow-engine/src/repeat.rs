//! A run that is over, once more: all of it, on from the step that failed, or
//! for the hosts that failed. It is a new run that names the old one, so that
//! what has ended stays as it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use infraflow_core::event::Actor;
use infraflow_core::id::{EventId, EventSource, RunId, StepId, UserName};
use infraflow_core::outcome::StepOutcome;
use infraflow_core::ports::Sequence;
use infraflow_core::run::{
    Birth, Carried, Entry, Origin, OriginKind, Phase, Run, StepStatus, WorkspacePlace,
};
use infraflow_core::workflow::Workflow;
use infraflow_core::{Json, JsonMap};
use serde_json::json;

use crate::control::{Act, ControlError, GivenInputs, Requested, not_loaded};
use crate::engine::Engine;
use crate::executor::{NotAppended, load};
use crate::router::{resolve, with_locks};

/// What a person wants of a run that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Repeat {
    /// How much of it.
    pub kind: OriginKind,
    /// Inputs that replace those of the run.
    pub inputs: GivenInputs,
    /// Whether it uses the newest version of the workflow, not the run's.
    pub latest: bool,
}

impl Engine {
    /// Makes a new run of one that is over. The same request id makes it once.
    /// When this returns the new run is durable and queued.
    ///
    /// # Errors
    /// When the run has not ended, nothing of it failed, its files are gone, the
    /// inputs do not fit, or NATS does not answer.
    pub async fn repeat_run(
        &self,
        of: RunId,
        repeat: Repeat,
        user: &UserName,
        request_id: &str,
    ) -> Result<Requested, ControlError> {
        let detail = json!({
            "inputs": shown(&repeat.inputs),
            "latest": repeat.latest,
        });
        let action = match repeat.kind {
            OriginKind::Rerun => "runs.rerun",
            OriginKind::Resume => "runs.resume",
            OriginKind::FailedHosts => "runs.rerun_failed_hosts",
        };
        let act = Act::new(user, action, of).with(detail);
        self.audited(act, self.repeat(of, repeat, user, request_id))
            .await
    }

    async fn repeat(
        &self,
        of: RunId,
        repeat: Repeat,
        user: &UserName,
        request_id: &str,
    ) -> Result<Requested, ControlError> {
        let shared = &self.shared;
        let (old, _) = load(shared, of).await.map_err(not_loaded)?;
        if !matches!(old.phase(), Phase::Ended { .. }) {
            return Err(ControlError::Conflict(format!(
                "run {of} has not ended: cancel it first"
            )));
        }
        let workflow = self.workflow_of(&old, repeat.latest).await?;
        let id = EventId::new(request_id).map_err(|error| invalid(&error))?;
        let source = EventSource::new(&format!("user:{user}")).map_err(|error| invalid(&error))?;
        let run = RunId::derive(&workflow.project, &source, &id, &workflow.name);
        let workspace = self.files_of(&old, repeat.kind).await?;
        let origin = origin(&old, repeat.kind, user, &workflow, workspace)?;
        let inputs = edited(&old, repeat.inputs, &workflow)?;
        let newest = shared.ports.publisher.newest().await;
        let order = newest.map_err(|error| ControlError::Unavailable(error.to_string()))?;
        let birth = self.birth_again(&old, &workflow, inputs, order, origin)?;
        let now = shared.ports.clock.now();
        let (next, birth, problem) = with_locks(run, birth, None, &workflow, now);
        if let Some(problem) = problem {
            return Err(ControlError::Invalid(problem));
        }
        let wakes = Some(birth.pool.clone());
        let record = shared
            .appender
            .record(&next, vec![Entry::Created(birth)], wakes, now);
        match shared
            .appender
            .append(shared, &record, Sequence::NONE)
            .await
        {
            // A conflict: the same request has made it before.
            Ok(_) | Err(NotAppended::Conflict) => Ok(Requested { run, event: id }),
            Err(NotAppended::TooLarge) => Err(ControlError::Invalid(
                "what the finished steps gave does not fit a record: rerun it whole".to_owned(),
            )),
            Err(NotAppended::GivenUp) => {
                Err(ControlError::Unavailable("the host shuts down".to_owned()))
            }
        }
    }

    async fn workflow_of(&self, old: &Run, latest: bool) -> Result<Arc<Workflow>, ControlError> {
        let birth = old.birth();
        if latest {
            let current = self.shared.catalog.current();
            let found = current.table.workflow(&birth.workflow).cloned();
            return found.ok_or_else(|| ControlError::NotFound(self.no_workflow(&birth.workflow)));
        }
        let version = self.shared.catalog.version(birth.workflow_digest).await;
        version.map_err(|error| ControlError::Unavailable(error.to_string()))
    }

    /// Where the files are that a run begins with that goes on with another one.
    async fn files_of(
        &self,
        old: &Run,
        kind: OriginKind,
    ) -> Result<Option<WorkspacePlace>, ControlError> {
        if kind == OriginKind::Rerun {
            return Ok(None);
        }
        if let Some(place) = old.workspace() {
            return Ok(Some(place.clone()));
        }
        if self.shared.ports.workspaces.is_here(old.id()).await {
            return Ok(Some(WorkspacePlace {
                host: self.shared.config.host.clone(),
                stored: None,
            }));
        }
        if self.has_written(old) {
            return Err(ControlError::Conflict(format!(
                "the files of run {} are gone (`retention.workspaces`): rerun it whole",
                old.id()
            )));
        }
        Ok(None)
    }

    /// Whether a finished step may have left files.
    fn has_written(&self, old: &Run) -> bool {
        let plugins = self.shared.plugins();
        old.steps().iter().any(|state| {
            let is_finished = matches!(&state.status, StepStatus::Ended { outcome, .. }
                if *outcome != StepOutcome::Skipped && outcome.lets_the_run_go_on());
            let uses = old
                .step(&state.id)
                .and_then(|(step, _)| step.action.plugin());
            let resolved = uses.and_then(|uses| old.birth().plugins.get(uses));
            let plugin = resolved.and_then(|resolved| plugins.get(resolved.digest));
            is_finished && plugin.is_some_and(|plugin| plugin.manifest.writes_workspace)
        })
    }

    fn birth_again(
        &self,
        old: &Run,
        workflow: &Workflow,
        inputs: JsonMap,
        order: Sequence,
        origin: Origin,
    ) -> Result<Birth, ControlError> {
        let (plugins, missing) = resolve(&self.shared, &workflow.plugins());
        if let Some(missing) = missing {
            return Err(ControlError::Invalid(missing));
        }
        let current = self.shared.catalog.current();
        let before = old.birth();
        Ok(Birth {
            workflow: workflow.name.clone(),
            workflow_digest: workflow.digest,
            workflow_revision: current.revision(&workflow.name),
            plugins,
            event: before.event.clone(),
            trigger: before.trigger,
            inputs,
            trust: before.trust,
            project: workflow.project.clone(),
            environment: workflow.environment.clone(),
            pool: workflow.pool.clone(),
            locks: vec![],
            on_conflict: workflow.concurrency.on_conflict,
            order,
            origin: Some(Box::new(origin)),
        })
    }
}

fn invalid(error: &dyn std::fmt::Display) -> ControlError {
    ControlError::Invalid(error.to_string())
}

fn shown(inputs: &GivenInputs) -> Json {
    match inputs {
        GivenInputs::Texts(texts) => {
            let map: BTreeMap<_, _> = texts.iter().cloned().collect();
            json!(map)
        }
        GivenInputs::Document(document) => Json::Object(document.clone()),
    }
}

/// The run's inputs with what replaces some of them, checked.
fn edited(old: &Run, given: GivenInputs, workflow: &Workflow) -> Result<JsonMap, ControlError> {
    let mut inputs = old.birth().inputs.clone();
    inputs.extend(match given {
        GivenInputs::Texts(texts) => workflow.inputs.typed(texts),
        GivenInputs::Document(document) => document,
    });
    workflow
        .inputs
        .complete(inputs)
        .map_err(|problems| ControlError::Invalid(problems.to_string()))
}

fn origin(
    old: &Run,
    kind: OriginKind,
    user: &UserName,
    workflow: &Workflow,
    workspace: Option<WorkspacePlace>,
) -> Result<Origin, ControlError> {
    let mut origin = Origin {
        run: old.id(),
        kind,
        actor: Actor::User(user.clone()),
        carried: BTreeMap::new(),
        overrides: BTreeMap::new(),
        workspace,
    };
    if kind == OriginKind::Rerun {
        return Ok(origin);
    }
    origin.carried = carried(old, workflow);
    if workflow
        .steps()
        .all(|step| origin.carried.contains_key(&step.id))
    {
        return Err(ControlError::Conflict(format!(
            "every step of run {} is finished: `infraflow runs rerun` runs it again",
            old.id()
        )));
    }
    if kind == OriginKind::FailedHosts {
        let (step, hosts) = failed_hosts(old).ok_or_else(|| {
            ControlError::Conflict(format!(
                "no step of run {} failed on some hosts: use `infraflow runs resume`",
                old.id()
            ))
        })?;
        let limit = JsonMap::from_iter([("limit".to_owned(), Json::String(hosts.join(",")))]);
        origin.overrides.insert(step, limit);
    }
    Ok(origin)
}

/// The steps that are not run again.
fn carried(old: &Run, workflow: &Workflow) -> BTreeMap<StepId, Carried> {
    let finished = old.steps().iter().filter_map(|step| match &step.status {
        StepStatus::Ended {
            outcome, outputs, ..
        } if outcome.lets_the_run_go_on() && workflow.step(&step.id).is_some() => Some((
            step.id.clone(),
            Carried {
                is_skipped: *outcome == StepOutcome::Skipped,
                outputs: outputs.clone(),
            },
        )),
        _ => None,
    });
    finished.collect()
}

/// The step that failed on some hosts, and those: what the Ansible plugin gives
/// as `failed_hosts` and `unreachable_hosts`.
fn failed_hosts(old: &Run) -> Option<(StepId, Vec<String>)> {
    old.steps().iter().find_map(|step| match &step.status {
        StepStatus::Ended {
            outcome,
            outputs: Some(outputs),
            ..
        } if !outcome.lets_the_run_go_on() => {
            let hosts: Vec<String> = ["failed_hosts", "unreachable_hosts"]
                .iter()
                .filter_map(|key| outputs.get(*key)?.as_array())
                .flatten()
                .filter_map(|host| host.as_str().map(str::to_owned))
                .collect();
            (!hosts.is_empty()).then(|| (step.id.clone(), hosts))
        }
        _ => None,
    })
}
