//! Which workflows an event starts, and why the others it does not.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::event::{Event, EventData};
use crate::id::WorkflowName;
use crate::template::Scope;
use crate::workflow::{Filter, Patterns, Trigger, Workflow};
use crate::{Json, JsonMap};

/// The workflows that events are matched against, indexed by what their
/// triggers take.
#[derive(Debug, Default)]
pub struct RoutingTable {
    workflows: Vec<Arc<Workflow>>,
    by_name: HashMap<WorkflowName, usize>,
    pushes: Vec<Candidate>,
    tags: Vec<Candidate>,
    others: Vec<Candidate>,
}

/// A workflow and one of its triggers.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    workflow: usize,
    trigger: usize,
}

/// A workflow that an event starts.
#[derive(Debug, Clone)]
pub struct Match {
    /// The workflow.
    pub workflow: Arc<Workflow>,
    /// Which of its triggers took the event, from 0.
    pub trigger: usize,
    /// The inputs of the run, or why they do not fit.
    pub inputs: Result<JsonMap, String>,
}

/// Why a trigger does not take an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// It takes events of another kind.
    Kind {
        /// What the trigger takes.
        wants: &'static str,
    },
    /// A filter of the trigger does not match.
    Filter {
        /// Which one, as in the workflow.
        key: &'static str,
        /// What it wants.
        wants: String,
        /// What the event has.
        has: String,
    },
    /// The push deleted what the trigger wants to work with.
    Deleted,
    /// The event asks for another workflow by name.
    OtherWorkflow,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind { wants } => write!(f, "takes `{wants}` only"),
            Self::Filter { key, wants, has } => {
                write!(f, "`{key}` wants {wants}, the event has {has}")
            }
            Self::Deleted => {
                f.write_str("the push deleted it; triggers take created and updated ones")
            }
            Self::OtherWorkflow => f.write_str("the event asks for another workflow by name"),
        }
    }
}

/// What one workflow says to an event.
#[derive(Debug)]
pub struct Explanation {
    /// The workflow.
    pub workflow: WorkflowName,
    /// One entry for each of its triggers.
    pub triggers: Vec<Result<(), Mismatch>>,
}

impl RoutingTable {
    /// A table of these workflows, which have different names.
    pub fn new(workflows: Vec<Arc<Workflow>>) -> Self {
        let mut table = Self::default();
        for (index, workflow) in workflows.iter().enumerate() {
            table.by_name.insert(workflow.name.clone(), index);
            for (trigger, Trigger { filter, .. }) in workflow.triggers.iter().enumerate() {
                let candidate = Candidate {
                    workflow: index,
                    trigger,
                };
                match filter {
                    Filter::GitPush { .. } => table.pushes.push(candidate),
                    Filter::GitTag { .. } => table.tags.push(candidate),
                    Filter::Event { .. } => table.others.push(candidate),
                    // Found by name.
                    Filter::Manual => {}
                }
            }
        }
        table.workflows = workflows;
        table
    }

    /// The workflows.
    pub fn workflows(&self) -> &[Arc<Workflow>] {
        &self.workflows
    }

    /// The workflow of that name.
    pub fn workflow(&self, name: &WorkflowName) -> Option<&Arc<Workflow>> {
        self.by_name
            .get(name)
            .and_then(|index| self.workflows.get(*index))
    }

    /// The workflows that an event starts, each once, in the order of the
    /// table. The first trigger that takes the event makes the inputs.
    /// `address` is the NATS subject that the event arrived on.
    pub fn route(&self, event: &Event, address: &str) -> Vec<Match> {
        let mut taken: Vec<Candidate> = self
            .candidates(event)
            .filter(|candidate| {
                self.trigger(*candidate).is_some_and(|(workflow, trigger)| {
                    takes(workflow, &trigger.filter, event, address).is_ok()
                })
            })
            .collect();
        taken.sort_by_key(|candidate| (candidate.workflow, candidate.trigger));
        taken.dedup_by_key(|candidate| candidate.workflow);
        taken
            .into_iter()
            .filter_map(|candidate| {
                let (workflow, trigger) = self.trigger(candidate)?;
                let inputs = inputs_of(workflow, trigger, event);
                Some(Match {
                    workflow: workflow.clone(),
                    trigger: candidate.trigger,
                    inputs,
                })
            })
            .collect()
    }

    /// What every workflow says to an event; `address` as in
    /// [`RoutingTable::route`].
    pub fn explain(&self, event: &Event, address: &str) -> Vec<Explanation> {
        self.workflows
            .iter()
            .map(|workflow| Explanation {
                workflow: workflow.name.clone(),
                triggers: workflow
                    .triggers
                    .iter()
                    .map(|trigger| takes(workflow, &trigger.filter, event, address))
                    .collect(),
            })
            .collect()
    }

    fn trigger(&self, candidate: Candidate) -> Option<(&Arc<Workflow>, &Trigger)> {
        let workflow = self.workflows.get(candidate.workflow)?;
        Some((workflow, workflow.triggers.get(candidate.trigger)?))
    }

    fn candidates<'a>(&'a self, event: &'a Event) -> impl Iterator<Item = Candidate> + 'a {
        let of_kind: &[Candidate] = match &event.data {
            EventData::GitPush(_) => &self.pushes,
            EventData::GitTag(_) => &self.tags,
            EventData::Trigger { .. } | EventData::Other => &[],
        };
        of_kind
            .iter()
            .chain(&self.others)
            .copied()
            .chain(self.by_asked_name(event))
    }

    fn by_asked_name<'a>(&'a self, event: &'a Event) -> impl Iterator<Item = Candidate> + 'a {
        let asked = match &event.data {
            EventData::Trigger { workflow } => self.by_name.get(workflow).copied(),
            _ => None,
        };
        asked.into_iter().flat_map(|workflow| {
            let triggers = self.workflows.get(workflow).map_or(0, |w| w.triggers.len());
            (0..triggers).map(move |trigger| Candidate { workflow, trigger })
        })
    }
}

fn takes(
    workflow: &Workflow,
    filter: &Filter,
    event: &Event,
    address: &str,
) -> Result<(), Mismatch> {
    match (filter, &event.data) {
        (
            Filter::GitPush {
                sources,
                branches,
                paths,
            },
            EventData::GitPush(push),
        ) => {
            check("source", sources, &push.source)?;
            check("branches", branches, &push.branch)?;
            if push.deleted {
                return Err(Mismatch::Deleted);
            }
            check_paths(paths, &push.paths, push.paths_complete)
        }
        (Filter::GitTag { sources, tags }, EventData::GitTag(tag)) => {
            check("source", sources, &tag.source)?;
            check("tags", tags, &tag.tag)?;
            if tag.deleted {
                Err(Mismatch::Deleted)
            } else {
                Ok(())
            }
        }
        (Filter::Manual, EventData::Trigger { workflow: asked }) => {
            if *asked == workflow.name {
                Ok(())
            } else {
                Err(Mismatch::OtherWorkflow)
            }
        }
        // A trigger by name is for that workflow alone.
        (Filter::Event { .. }, EventData::Trigger { .. }) => Err(Mismatch::OtherWorkflow),
        (Filter::Event { types, subject }, _) => {
            check("type", types, event.kind.as_str())?;
            match subject {
                Some(pattern) if !pattern.matches(address) => Err(Mismatch::Filter {
                    key: "subject",
                    wants: format!("`{}`", pattern.as_str()),
                    has: format!("`{address}`"),
                }),
                _ => Ok(()),
            }
        }
        (filter, _) => Err(Mismatch::Kind {
            wants: filter.key(),
        }),
    }
}

fn check(key: &'static str, patterns: &Patterns, text: &str) -> Result<(), Mismatch> {
    if patterns.take(text) {
        return Ok(());
    }
    Err(Mismatch::Filter {
        key,
        wants: patterns.to_string(),
        has: format!("`{text}`"),
    })
}

/// One changed path that matches is enough. Where the provider cut the list
/// short, the trigger takes the push: a run too many is mended, a lost one not.
fn check_paths(patterns: &Patterns, paths: &[String], complete: bool) -> Result<(), Mismatch> {
    if patterns.is_any() || !complete || paths.iter().any(|path| patterns.take(path)) {
        return Ok(());
    }
    let mut has: Vec<String> = paths
        .iter()
        .take(5)
        .map(|path| format!("`{path}`"))
        .collect();
    if paths.len() > has.len() {
        has.push(format!("{} more", paths.len() - has.len()));
    }
    if has.is_empty() {
        has.push("no changed path".to_owned());
    }
    Err(Mismatch::Filter {
        key: "paths",
        wants: patterns.to_string(),
        has: has.join(", "),
    })
}

/// The inputs that a trigger makes of an event: what it says, and for a trigger
/// by name what it came with on top; then the defaults; then the check.
fn inputs_of(workflow: &Workflow, trigger: &Trigger, event: &Event) -> Result<JsonMap, String> {
    let mut inputs = match &trigger.inputs {
        None => JsonMap::new(),
        Some(template) => {
            let scope = event_scope(workflow, event);
            match template.render(&scope).map_err(|error| error.to_string())? {
                Json::Object(map) => map,
                _ => return Err("the trigger's `inputs` are not a map".to_owned()),
            }
        }
    };
    if let EventData::Trigger { .. } = event.data {
        match &*event.json {
            Json::Object(given) => inputs.extend(given.clone()),
            Json::Null => {}
            _ => return Err("the message is not a JSON object of inputs".to_owned()),
        }
    }
    workflow
        .inputs
        .complete(inputs)
        .map_err(|error| error.to_string())
}

fn event_scope(workflow: &Workflow, event: &Event) -> Scope {
    let mut roots = JsonMap::new();
    roots.insert("event".into(), event.to_document());
    roots.insert(
        "workflow".into(),
        serde_json::json!({ "name": workflow.name.as_str() }),
    );
    roots.insert("project".into(), workflow.project.as_str().into());
    roots.insert("environment".into(), workflow.environment.as_str().into());
    Scope::new(roots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::push;
    use crate::event::{Actor, EventData, GitPush};
    use crate::id::{EventId, EventSource, EventType};
    use crate::template::Template;
    use crate::workflow::SubjectPattern;
    use crate::workflow::samples::{SampleWorkflow, patterns};
    use expect_test::{Expect, expect};
    use serde_json::json;

    fn on(filter: Filter) -> Trigger {
        Trigger {
            filter,
            inputs: None,
        }
    }

    fn git_push(branches: &[&str], paths: &[&str]) -> Filter {
        Filter::GitPush {
            sources: patterns(&["shop-*"]),
            branches: patterns(branches),
            paths: patterns(paths),
        }
    }

    fn table(workflows: Vec<(&str, Vec<Trigger>)>) -> RoutingTable {
        RoutingTable::new(
            workflows
                .into_iter()
                .map(|(name, triggers)| {
                    Arc::new(
                        SampleWorkflow {
                            triggers,
                            ..SampleWorkflow::named(name)
                        }
                        .build(),
                    )
                })
                .collect(),
        )
    }

    fn trigger_event(workflow: &str, inputs: Json) -> Event {
        Event {
            id: EventId::new("1").unwrap(),
            source: EventSource::new("nats").unwrap(),
            kind: EventType::new(crate::event::TRIGGER).unwrap(),
            time: "2026-11-21T12:00:00Z".parse().unwrap(),
            subject: None,
            actor: Actor::Publisher,
            data: EventData::Trigger {
                workflow: WorkflowName::new(workflow).unwrap(),
            },
            json: Arc::new(inputs),
        }
    }

    fn with_push(event: &Event, change: impl FnOnce(&mut GitPush)) -> Event {
        let mut event = event.clone();
        let EventData::GitPush(push) = &mut event.data else {
            unreachable!()
        };
        change(push);
        event
    }

    const ADDRESS: &str = "infraflow.event.git.push.forgejo.shop.infra";

    fn names(table: &RoutingTable, event: &Event) -> Vec<String> {
        table
            .route(event, ADDRESS)
            .into_iter()
            .map(|found| found.workflow.name.to_string())
            .collect()
    }

    /// The explanation as text; it must agree with the routing.
    fn check_explanation(table: &RoutingTable, event: &Event, expected: &Expect) {
        let mut text = String::new();
        let mut explained = Vec::new();
        for explanation in table.explain(event, ADDRESS) {
            if explanation.triggers.iter().any(Result::is_ok) {
                explained.push(explanation.workflow.to_string());
            }
            for (at, trigger) in explanation.triggers.iter().enumerate() {
                let said = match trigger {
                    Ok(()) => "starts".to_owned(),
                    Err(mismatch) => mismatch.to_string(),
                };
                text.push_str(&format!(
                    "{} trigger {}: {said}\n",
                    explanation.workflow,
                    at + 1
                ));
            }
        }
        assert_eq!(explained, names(table, event), "explain and route disagree");
        expected.assert_eq(&text);
    }

    #[test]
    fn every_workflow_says_why_not() {
        let table = table(vec![
            ("main", vec![on(git_push(&["main"], &[]))]),
            ("other", vec![on(git_push(&["release/*"], &[]))]),
            ("docs", vec![on(git_push(&[], &["docs/**"]))]),
            ("infra", vec![on(git_push(&[], &["infra/**", "!**/*.md"]))]),
            (
                "tag",
                vec![on(Filter::GitTag {
                    sources: Patterns::any(),
                    tags: Patterns::any(),
                })],
            ),
            ("byhand", vec![on(Filter::Manual)]),
            (
                "any",
                vec![on(Filter::Event {
                    types: patterns(&["git.*"]),
                    subject: None,
                })],
            ),
            (
                "subject",
                vec![on(Filter::Event {
                    types: Patterns::any(),
                    subject: Some(SubjectPattern::new("infraflow.event.custom.>").unwrap()),
                })],
            ),
            (
                "two",
                vec![on(git_push(&["nope"], &[])), on(git_push(&["main"], &[]))],
            ),
        ]);
        check_explanation(
            &table,
            &push("main"),
            &expect![[r#"
                main trigger 1: starts
                other trigger 1: `branches` wants `release/*`, the event has `main`
                docs trigger 1: `paths` wants `docs/**`, the event has `infra/main.tf`, `README.md`
                infra trigger 1: starts
                tag trigger 1: takes `git.tag` only
                byhand trigger 1: takes `manual` only
                any trigger 1: starts
                subject trigger 1: `subject` wants `infraflow.event.custom.>`, the event has `infraflow.event.git.push.forgejo.shop.infra`
                two trigger 1: `branches` wants `nope`, the event has `main`
                two trigger 2: starts
            "#]],
        );
    }

    #[test]
    fn a_trigger_by_name_starts_that_workflow_alone() {
        let table = table(vec![
            ("a", vec![on(Filter::Manual)]),
            ("b", vec![on(Filter::Manual)]),
            (
                "all",
                vec![on(Filter::Event {
                    types: Patterns::any(),
                    subject: None,
                })],
            ),
        ]);
        assert_eq!(names(&table, &trigger_event("a", json!({}))), ["a"]);
        assert_eq!(
            names(&table, &trigger_event("nope", json!({}))),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_workflow_with_two_matching_triggers_starts_once() {
        let table = table(vec![(
            "a",
            vec![on(git_push(&["main"], &[])), on(git_push(&["*"], &[]))],
        )]);
        let found = table.route(&push("main"), ADDRESS);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].trigger, 0);
    }

    #[test]
    fn a_deleted_branch_starts_nothing() {
        let table = table(vec![("a", vec![on(git_push(&["main"], &[]))])]);
        let deleted = with_push(&push("main"), |push| push.deleted = true);
        check_explanation(
            &table,
            &deleted,
            &expect![[r#"
                a trigger 1: the push deleted it; triggers take created and updated ones
            "#]],
        );
    }

    #[test]
    fn a_cut_list_of_paths_takes_the_push() {
        let table = table(vec![("a", vec![on(git_push(&[], &["docs/**"]))])]);
        assert!(names(&table, &push("main")).is_empty());
        let cut = with_push(&push("main"), |push| push.paths_complete = false);
        assert_eq!(names(&table, &cut), ["a"]);
    }

    #[test]
    fn inputs_come_from_the_event_or_the_message() {
        let inputs = Template::compile(&json!({ "env": "{{ event.data.branch }}" })).unwrap();
        let schema = json!({ "type": "object", "properties": {
            "env": { "type": "string" }, "n": { "type": "integer", "default": 1 } } });
        let workflow = SampleWorkflow {
            triggers: vec![
                Trigger {
                    filter: git_push(&[], &[]),
                    inputs: Some(inputs),
                },
                on(Filter::Manual),
            ],
            inputs: schema,
            ..SampleWorkflow::named("a")
        };
        let table = RoutingTable::new(vec![Arc::new(workflow.build())]);
        let inputs_of = |event: &Event| {
            table
                .route(event, ADDRESS)
                .remove(0)
                .inputs
                .map(Json::Object)
        };
        assert_eq!(
            inputs_of(&push("main")),
            Ok(json!({ "env": "main", "n": 1 }))
        );
        assert_eq!(
            inputs_of(&trigger_event("a", json!({ "n": 2 }))),
            Ok(json!({ "n": 2 }))
        );
        assert_eq!(
            inputs_of(&trigger_event("a", Json::Null)),
            Ok(json!({ "n": 1 }))
        );
        for (message, expected) in [
            (json!([1]), "the message is not a JSON object of inputs"),
            (
                json!({ "n": "x" }),
                "the inputs do not fit the workflow: `n`: \"x\" is not of type \"integer\"",
            ),
        ] {
            assert_eq!(
                inputs_of(&trigger_event("a", message)),
                Err(expected.to_owned())
            );
        }
    }
}
