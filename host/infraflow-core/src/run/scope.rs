//! What a run's expressions see.

use super::state::{Run, StepState, StepStatus};
use crate::template::{Scope, TemplateError};
use crate::{Json, JsonMap};

impl Run {
    /// The scope of a step's `when` and `with`: `event`, `inputs`, `vars`,
    /// `steps`, `run`, `workflow`, `project` and `environment`. `steps` has the
    /// steps that have ended.
    ///
    /// # Errors
    /// When one of `vars` has no value.
    pub fn scope(&self) -> Result<Scope, TemplateError> {
        let roots = self.roots();
        let vars = self.workflow().vars.render(&Scope::new(roots.clone()))?;
        let mut roots = roots;
        roots.insert("vars".into(), vars);
        Ok(Scope::new(roots))
    }

    fn roots(&self) -> JsonMap {
        let birth = self.birth();
        let workflow = self.workflow();
        let mut roots = JsonMap::new();
        roots.insert("event".into(), (*birth.event.document).clone());
        roots.insert("inputs".into(), Json::Object(birth.inputs.clone()));
        roots.insert(
            "steps".into(),
            Json::Object(self.steps().iter().filter_map(ended).collect()),
        );
        roots.insert(
            "run".into(),
            serde_json::json!({
                "id": self.id().to_string(),
                "actor": birth.event.actor.to_string(),
                "created_at": self.created_at().to_string(),
            }),
        );
        roots.insert(
            "workflow".into(),
            serde_json::json!({
                "name": workflow.name.as_str(),
                "description": workflow.description,
                "digest": workflow.digest.to_string(),
            }),
        );
        roots.insert("project".into(), birth.project.as_str().into());
        roots.insert("environment".into(), birth.environment.as_str().into());
        roots
    }
}

fn ended(step: &StepState) -> Option<(String, Json)> {
    let StepStatus::Ended {
        outcome, outputs, ..
    } = &step.status
    else {
        return None;
    };
    let outputs = outputs
        .as_ref()
        .map(|outputs| (**outputs).clone())
        .unwrap_or_default();
    let document = serde_json::json!({
        "outcome": outcome.name(),
        "outputs": outputs,
        "attempts": step.attempts,
    });
    Some((step.id.to_string(), document))
}
