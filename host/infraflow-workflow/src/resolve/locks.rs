//! `lock` and `concurrency`: each by itself, and what they say together.

use std::collections::HashMap;

use infraflow_core::id::LockName;
use infraflow_core::limits;
use infraflow_core::template::Template;
use infraflow_core::workflow::Concurrency;

use super::duplicate;
use crate::diagnostic::{ProblemKind, Span};
use crate::expression::Expressions;
use crate::names::Place;
use crate::raw::RawWorkflow;
use crate::read::{Read, Value, all};

/// The locks of a workflow, and its `concurrency`.
pub(super) fn locks(
    raw: &RawWorkflow<'_>,
    expressions: &Expressions<'_, '_>,
) -> (Read<Vec<Template>>, Read<Concurrency>) {
    let counted = check_count(raw);
    let mut seen = HashMap::new();
    let locks = match &raw.locks {
        Ok(values) => all(values
            .iter()
            .map(|value| lock(*value, expressions, &mut seen))),
        Err(refused) => Err(*refused),
    };
    let locks = counted.and(locks);
    (locks, concurrency(raw))
}

fn lock<'d>(
    value: Value<'d>,
    expressions: &Expressions<'_, '_>,
    seen: &mut HashMap<&'d str, Span>,
) -> Read<Template> {
    let text = value.text()?;
    let template = expressions.template(Place::Lock, value)?;
    if template.is_literal() {
        value.accept(LockName::new(text))?;
    }
    if text.starts_with(LockName::OF_WORKFLOW) {
        let message = format!(
            "a lock's name does not begin with `{}`",
            LockName::OF_WORKFLOW
        );
        let problem = value.problem(ProblemKind::Invalid, message);
        let hint = "such names are those of `concurrency`";
        return Err(value.report(problem.hint(hint)));
    }
    match seen.insert(text, value.span()) {
        Some(first) => Err(duplicate("lock", value, text, first)),
        None => Ok(template),
    }
}

fn check_count(raw: &RawWorkflow<'_>) -> Read<()> {
    let (Some(value), Ok(locks)) = (raw.lock, &raw.locks) else {
        return Ok(());
    };
    let has_max = raw.concurrency.as_ref().is_ok_and(|c| c.max.is_some());
    let most = limits::LOCKS - usize::from(has_max);
    if locks.len() <= most {
        return Ok(());
    }
    let expected = match has_max {
        true => format!("expected at most {most}, beside that of `concurrency`"),
        false => format!("expected at most {most}"),
    };
    let message = format!("the workflow has {} locks", locks.len());
    let problem = value.problem(ProblemKind::TooLarge, message);
    Err(value.report(problem.expected(expected)))
}

fn concurrency(raw: &RawWorkflow<'_>) -> Read<Concurrency> {
    let concurrency = raw.concurrency.as_ref().map_err(|refused| *refused)?;
    if let Some((value, _)) = concurrency.on_conflict
        && concurrency.max.is_none()
        && raw.lock.is_none()
    {
        let message = "there is no lock that `on_conflict` could be about";
        let hint = "add `max: 1` for one run of the workflow at a time, or name a `lock`";
        let problem = value.problem(ProblemKind::Missing, message);
        return Err(value.report(problem.hint(hint)));
    }
    let on_conflict = concurrency.on_conflict.map(|(_, policy)| policy);
    Ok(Concurrency {
        max: concurrency.max,
        on_conflict: on_conflict.unwrap_or_default(),
    })
}
