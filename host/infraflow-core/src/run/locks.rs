//! Which locks a run needs: decided once, when it is created.

use crate::id::LockName;
use crate::limits::LOCKS;
use crate::lock::LockSpec;

use super::state::Run;

impl Run {
    /// The locks that the workflow asks for, rendered, each once and sorted by
    /// name. Every run takes its locks in this order.
    ///
    /// # Errors
    /// A text for people: a `lock` without a value, or with one that is not a
    /// lock's name.
    pub fn wanted_locks(&self) -> Result<Vec<LockSpec>, String> {
        let workflow = self.workflow();
        let mut locks = Vec::new();
        if let Some(max) = workflow.concurrency.max {
            locks.push(LockSpec {
                name: LockName::of_workflow(&workflow.name),
                max: max.get(),
            });
        }
        if !workflow.locks.is_empty() {
            let scope = self.scope().map_err(|error| format!("`vars`: {error}"))?;
            for lock in &workflow.locks {
                let name = lock
                    .render(&scope)
                    .map_err(|error| format!("`lock`: {error}"))?;
                locks.push(LockSpec {
                    name: lock_name(&name)?,
                    max: 1,
                });
            }
        }
        locks.sort();
        locks.dedup_by(|a, b| a.name == b.name);
        if locks.len() > LOCKS {
            return Err(format!(
                "it needs {} locks, at most {LOCKS} are allowed",
                locks.len()
            ));
        }
        Ok(locks)
    }
}

fn lock_name(rendered: &crate::Json) -> Result<LockName, String> {
    let text = match rendered {
        crate::Json::String(text) => text.clone(),
        crate::Json::Number(number) => number.to_string(),
        other => return Err(format!("`lock` is {other}, not a text")),
    };
    if text.starts_with(LockName::OF_WORKFLOW) {
        return Err(format!(
            "`lock` is `{text}`: names that begin with `{}` are those of `concurrency`",
            LockName::OF_WORKFLOW
        ));
    }
    LockName::new(&text).map_err(|error| format!("`lock`: {error}"))
}
