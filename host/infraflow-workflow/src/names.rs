//! The names that expressions may use, and where: checked before anything runs.
//!
//! What core puts into the scopes of a run ([`infraflow_core::run::scope`]) and
//! of a trigger ([`infraflow_core::route`]) is listed here again; a test renders
//! every listed name there.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use infraflow_core::nearest::nearest;
use infraflow_core::template::ROOTS;

use crate::diagnostic::{Problem, ProblemKind, Span, listed, shown};
use crate::read::{Read, Refused, Value};

/// What `event` holds. `event.data` depends on the kind.
pub(crate) const EVENT: [&str; 7] = ["id", "source", "type", "time", "subject", "actor", "data"];

/// What `run` holds.
pub(crate) const RUN: [&str; 3] = ["id", "actor", "created_at"];

/// What `workflow` holds in a step, in `vars` and in `lock`.
pub(crate) const WORKFLOW: [&str; 3] = ["name", "description", "digest"];

/// What `workflow` holds in a trigger's `inputs`.
pub(crate) const WORKFLOW_IN_TRIGGER: [&str; 1] = ["name"];

/// What `steps.<id>` holds.
pub(crate) const STEP: [&str; 3] = ["outcome", "outputs", "attempts"];

/// Where an expression stands.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// In a trigger's `inputs`.
    Trigger,
    /// In `vars`.
    Vars,
    /// In `lock`.
    Lock,
    /// In the step of this number, from 0.
    Step(usize),
}

impl Place {
    /// The roots that there are.
    pub(crate) fn roots(self) -> &'static [&'static str] {
        match self {
            Self::Trigger => &["event", "workflow", "project", "environment"],
            Self::Vars => &[
                "event",
                "inputs",
                "run",
                "workflow",
                "project",
                "environment",
            ],
            Self::Lock => &[
                "event",
                "inputs",
                "vars",
                "run",
                "workflow",
                "project",
                "environment",
            ],
            Self::Step(_) => &[
                "event",
                "inputs",
                "vars",
                "steps",
                "run",
                "workflow",
                "project",
                "environment",
            ],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Trigger => "the `inputs` of a trigger",
            Self::Vars => "`vars`",
            Self::Lock => "`lock`",
            Self::Step(_) => "a step",
        }
    }
}

/// The names of one workflow.
pub(crate) struct Names<'d> {
    /// `None`: they cannot be known, since `inputs` was refused.
    pub(crate) inputs: Option<InputNames<'d>>,
    /// `None`: they cannot be known, since `vars` was refused.
    vars: Option<Vec<&'d str>>,
    steps: Vec<(&'d str, Span)>,
    step_numbers: HashMap<&'d str, usize>,
}

/// The inputs that a workflow names.
#[derive(Debug, Default, Clone)]
pub(crate) struct InputNames<'d> {
    pub(crate) names: Vec<&'d str>,
    /// Those without which no run starts.
    pub(crate) required: Vec<String>,
    /// Whether there may be others.
    pub(crate) takes_others: bool,
}

impl<'d> Names<'d> {
    /// The names of a workflow whose steps are added after.
    pub(crate) fn new(inputs: Option<InputNames<'d>>, vars: Option<Vec<&'d str>>) -> Self {
        Self {
            inputs,
            vars,
            steps: vec![],
            step_numbers: HashMap::new(),
        }
    }

    /// Adds the next step; `id` is empty when it has none. When there is one of
    /// that name already, says where.
    pub(crate) fn add_step(&mut self, id: &'d str, span: Span) -> Option<Span> {
        let number = self.steps.len();
        self.steps.push((id, span));
        if id.is_empty() {
            return None;
        }
        match self.step_numbers.entry(id) {
            Entry::Vacant(entry) => {
                entry.insert(number);
                None
            }
            Entry::Occupied(entry) => self.steps.get(*entry.get()).map(|(_, span)| *span),
        }
    }

    /// How many steps there are.
    pub(crate) fn step_count(&self) -> usize {
        self.steps.len()
    }

    fn step_number(&self, id: &str) -> Option<usize> {
        self.step_numbers.get(id).copied()
    }

    /// Checks the names of one expression that stands in `value`.
    /// `tolerates_missing`: it asks itself whether they exist.
    pub(crate) fn check(
        &self,
        place: Place,
        value: Value<'_>,
        paths: &[String],
        tolerates_missing: bool,
    ) -> Read<()> {
        let mut outcome = Ok(());
        for path in paths {
            if let Err(problem) = self.check_path(place, path, tolerates_missing) {
                let span = span_of(path, value);
                outcome = Err(value.report(Problem { span, ..problem }));
            }
        }
        outcome
    }

    fn check_path(&self, place: Place, path: &str, tolerates: bool) -> Result<(), Problem> {
        let mut parts = path.split('.');
        let root = parts.next().unwrap_or_default();
        let name = parts.next();
        if !place.roots().contains(&root) {
            // A whole root may be asked for; a part of one that is missing is
            // an error even then.
            return if tolerates && name.is_none() {
                Ok(())
            } else {
                Err(unknown_root(place, root))
            };
        }
        let Some(name) = name.filter(|_| !tolerates) else {
            return Ok(());
        };
        match root {
            "event" => known(root, name, &EVENT),
            "run" => known(root, name, &RUN),
            "workflow" => known(
                root,
                name,
                match place {
                    Place::Trigger => &WORKFLOW_IN_TRIGGER[..],
                    Place::Vars | Place::Lock | Place::Step(_) => &WORKFLOW,
                },
            ),
            "inputs" => self.check_input(name),
            "vars" => match &self.vars {
                Some(vars) => known(root, name, vars),
                None => Ok(()),
            },
            "steps" => self.check_step(place, name, parts.next()),
            // `project` and `environment` are texts.
            _ => Ok(()),
        }
    }

    /// Checks the name of an input.
    pub(crate) fn check_input(&self, name: &str) -> Result<(), Problem> {
        match &self.inputs {
            Some(inputs) if !inputs.takes_others => known("inputs", name, &inputs.names),
            _ => Ok(()),
        }
    }

    fn check_step(&self, place: Place, id: &str, part: Option<&str>) -> Result<(), Problem> {
        let Place::Step(this) = place else {
            return Ok(());
        };
        let Some(number) = self.step_number(id) else {
            let earlier = self.steps.iter().take(this).map(|(id, _)| *id);
            let earlier: Vec<&str> = earlier.filter(|id| !id.is_empty()).collect();
            return known("steps", id, &earlier);
        };
        if number >= this {
            return Err(self.not_earlier(id, number, this));
        }
        match part {
            Some(part) => known(&format!("steps.{id}"), part, &STEP),
            None => Ok(()),
        }
    }

    fn not_earlier(&self, id: &str, number: usize, this: usize) -> Problem {
        let message = if number == this {
            format!("step `{id}` refers to itself")
        } else {
            format!("step `{id}` runs after this one")
        };
        let problem = Problem::new(ProblemKind::UnknownName, Span::default(), message)
            .expected("expected an earlier step");
        match self.steps.get(number) {
            Some((_, span)) if number != this => problem.related(*span, "it stands here"),
            _ => problem,
        }
    }
}

fn unknown_root(place: Place, root: &str) -> Problem {
    let roots = listed(place.roots().iter().copied());
    let there = format!("in {} there are {roots}", place.name());
    let problem =
        |kind, message: String| Problem::new(kind, Span::default(), message).expected(&there);
    if root == "item" && !matches!(place, Place::Lock) {
        let message = "`item` is not supported yet".to_owned();
        return problem(ProblemKind::NotSupportedYet, message)
            .hint("it belongs to `for_each`, which is not supported yet");
    }
    if ROOTS.contains(&root) {
        let message = format!("`{root}` is not known in {}", place.name());
        let hint = match place {
            Place::Vars if root == "steps" => {
                Some("`vars` are computed before the first step: use it in the step's `with`")
            }
            Place::Lock => {
                Some("locks are taken before the first step: name them by what the run begins with")
            }
            _ => None,
        };
        return problem(ProblemKind::UnknownName, message).maybe_hint(hint);
    }
    let near = nearest(root, place.roots().iter().copied());
    problem(
        ProblemKind::UnknownName,
        format!("`{}` does not exist", shown(root)),
    )
    .maybe_hint(near.map(|near| format!("did you mean `{near}`?")))
}

/// Checks that `name` is one of `names`, which `above` holds.
fn known(above: &str, name: &str, names: &[&str]) -> Result<(), Problem> {
    if names.contains(&name) {
        return Ok(());
    }
    let message = format!("`{above}.{}` does not exist", shown(name));
    let problem = Problem::new(ProblemKind::UnknownName, Span::default(), message);
    if names.is_empty() {
        return Err(problem.expected(match above {
            "steps" => "no step runs before this one".to_owned(),
            _ => format!("the workflow has no `{above}`"),
        }));
    }
    let near = nearest(name, names.iter().copied());
    Err(problem
        .expected(format!("`{above}` has {}", listed(names.iter().copied())))
        .maybe_hint(near.map(|near| format!("did you mean `{near}`?"))))
}

/// Where a name stands in the text of a value; the whole value where it cannot
/// be found as it is (a text with escapes, a name in brackets).
pub(crate) fn span_of(path: &str, value: Value<'_>) -> Span {
    let written = value.written();
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    let found = written.match_indices(path).find(|(at, _)| {
        let (before, rest) = written.split_at(*at);
        let after = rest.get(path.len()..).unwrap_or_default();
        !before.ends_with(is_part) && !after.starts_with(is_part)
    });
    match found {
        Some((at, _)) => {
            let start = value.span().start() + at;
            Span::new(start, start + path.len())
        }
        None => value.span(),
    }
}

/// Reports a problem that has no place yet at a value.
pub(crate) fn report_at(value: Value<'_>, problem: Problem) -> Refused {
    value.report(Problem {
        span: value.span(),
        ..problem
    })
}
