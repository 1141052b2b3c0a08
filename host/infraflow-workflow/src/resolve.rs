//! From what a document says to a valid workflow: names are joined with what
//! they name, expressions compiled, and every problem found on the way is
//! reported.

mod locks;

use std::collections::HashMap;

use infraflow_core::id::Digest;
use infraflow_core::limits;
use infraflow_core::workflow::{Action, Filter, Stage, Step, Trigger, Wait, Workflow};

use crate::diagnostic::{ProblemKind, Span, shown};
use crate::expression::Expressions;
use crate::inputs;
use crate::names::{InputNames, Names, Place, report_at};
use crate::raw::{RawAction, RawStage, RawStep, RawTrigger, RawWait, RawWorkflow};
use crate::read::{Read, Refused, Value, all};

/// Makes a workflow of its parts. `text` is the whole document: its digest is
/// the workflow's version.
pub(crate) fn resolve(raw: RawWorkflow<'_>, text: &str) -> Read<Workflow> {
    let (inputs, input_names) = inputs::inputs(raw.inputs);
    let (names, unique) = names(&raw, input_names);
    let expressions = Expressions::new(&names);
    let (locks, concurrency) = locks::locks(&raw, &expressions);
    let vars = expressions.map_template(Place::Vars, raw.vars);
    let triggers = raw.triggers.and_then(|triggers| {
        all(triggers
            .into_iter()
            .map(|raw| trigger(raw?, &expressions, &names)))
    });
    let mut number = 0;
    let stages = raw.stages.and_then(|stages| {
        all(stages
            .into_iter()
            .map(|raw| stage(raw?, &expressions, &mut number)))
    });
    raw.version?;
    unique?;
    Ok(Workflow {
        name: raw.name?,
        digest: Digest::of(text.as_bytes()),
        description: raw.description?,
        triggers: triggers?,
        inputs: inputs?,
        vars: vars?,
        timeout: raw.timeout?,
        project: raw.project?,
        environment: raw.environment?,
        pool: raw.pool?,
        locks: locks?,
        concurrency: concurrency?,
        stages: stages?,
    })
}

// ---- names --------------------------------------------------------------------

/// The names of a workflow, and whether none of them is given twice.
fn names<'d>(raw: &RawWorkflow<'d>, inputs: Option<InputNames<'d>>) -> (Names<'d>, Read<()>) {
    let vars = raw.vars.map_or(Some(&[][..]), |vars| vars.node().as_map());
    let vars = vars.map(|entries| entries.iter().map(|entry| entry.key()).collect());
    let mut names = Names::new(inputs, vars);
    let mut unique = Ok(());
    let mut stages = HashMap::new();
    for stage in raw.stages.iter().flatten().flatten() {
        if let Some((value, name)) = stage.name_value.and_then(named)
            && let Some(first) = stages.insert(name, value.span())
        {
            unique = Err(duplicate("stage", value, name, first));
        }
        for step in stage.steps.iter().flatten() {
            let id = step.as_ref().ok().and_then(|step| step.id_value);
            match id.and_then(named) {
                // A step without an id keeps its number, so that "earlier"
                // stays true.
                None => {
                    names.add_step("", Span::default());
                }
                Some((value, id)) => {
                    if let Some(first) = names.add_step(id, value.span()) {
                        unique = Err(duplicate("step", value, id, first));
                    }
                }
            }
        }
    }
    let count = names.step_count();
    if let Some(stages) = raw.stages_value.filter(|_| count > limits::WORKFLOW_STEPS) {
        let message = format!("the workflow has {count} steps");
        let problem = stages.problem(ProblemKind::TooLarge, message);
        let expected = format!("expected at most {}", limits::WORKFLOW_STEPS);
        unique = Err(stages.report(problem.expected(expected)));
    }
    (names, unique)
}

/// A name as it is written, also when it is no valid one.
fn named(value: Value<'_>) -> Option<(Value<'_>, &str)> {
    Some((value, value.node().as_text()?))
}

fn duplicate(what: &str, value: Value<'_>, name: &str, first: Span) -> Refused {
    let message = format!("a {what} `{}` stands here already", shown(name));
    let problem = value.problem(
        ProblemKind::Duplicate,
        format!("duplicate {what} `{}`", shown(name)),
    );
    value.report(problem.related(first, message))
}

// ---- triggers -----------------------------------------------------------------

fn trigger(
    raw: RawTrigger<'_>,
    expressions: &Expressions<'_, '_>,
    names: &Names<'_>,
) -> Read<Trigger> {
    let known = check_inputs(&raw, names);
    let inputs = match raw.inputs {
        None => Ok(None),
        inputs => expressions.map_template(Place::Trigger, inputs).map(Some),
    };
    let filter = raw.filter?;
    known?;
    Ok(Trigger {
        filter,
        inputs: inputs?,
    })
}

/// Checks that a trigger gives inputs that the workflow takes, and every one
/// that it needs: else each of its runs would fail before it begins.
fn check_inputs(raw: &RawTrigger<'_>, names: &Names<'_>) -> Read<()> {
    let mut outcome = Ok(());
    if let Some(inputs) = raw.inputs
        && inputs.node().as_map().is_some()
    {
        let checked = inputs.entries(|key, _| {
            let name = key.node().as_text().unwrap_or_default();
            names
                .check_input(name)
                .map_err(|problem| report_at(key, problem))
        });
        outcome = checked.map(drop);
    }
    // A person gives what is missing.
    if let Ok(Filter::Manual) | Err(_) = raw.filter {
        return outcome;
    }
    let required = names.inputs.as_ref().map(|inputs| &*inputs.required);
    for name in required.unwrap_or_default() {
        if raw.inputs.is_some_and(|inputs| inputs.get(name).is_some()) {
            continue;
        }
        let name = shown(name);
        let message = format!("this trigger does not give the input `{name}`");
        let problem = raw.value.problem(ProblemKind::Missing, message);
        let hint = format!("add `inputs: {{ {name}: ... }}` to it, or a `default` to the input");
        outcome = Err(raw.value.report(problem.hint(hint)));
    }
    outcome
}

// ---- stages and steps ---------------------------------------------------------

/// `number` counts the steps of the whole workflow.
fn stage(raw: RawStage<'_>, expressions: &Expressions<'_, '_>, number: &mut usize) -> Read<Stage> {
    let steps = raw.steps.and_then(|steps| {
        all(steps.into_iter().map(|raw| {
            let place = Place::Step(*number);
            *number += 1;
            step(raw?, expressions, place)
        }))
    });
    Ok(Stage {
        name: raw.name?,
        steps: steps?,
    })
}

fn step(raw: RawStep<'_>, expressions: &Expressions<'_, '_>, place: Place) -> Read<Step> {
    let when = raw.when.map(|when| expressions.expression(place, when));
    let action = action(raw.action, expressions, place);
    Ok(Step {
        id: raw.id?,
        label: raw.label?,
        when: when.transpose()?,
        timeout: raw.timeout?,
        retry: raw.retry?,
        on_interrupt: raw.on_interrupt?,
        action: action?,
    })
}

fn action(raw: RawAction<'_>, expressions: &Expressions<'_, '_>, place: Place) -> Read<Action> {
    let wait = match raw {
        RawAction::Plugin { uses, with } => {
            let with = expressions.map_template(place, with);
            return Ok(Action::Plugin {
                uses: uses?,
                with: with?,
            });
        }
        RawAction::Wait(wait) => wait?,
    };
    Ok(Action::Wait(match wait {
        RawWait::For(time) => Wait::For(time),
        RawWait::Until(value) => {
            let until = expressions.template(place, value)?;
            if let Some(text) = until.literal_text() {
                value.accept(Wait::moment(text))?;
            }
            Wait::Until(until)
        }
    }))
}
