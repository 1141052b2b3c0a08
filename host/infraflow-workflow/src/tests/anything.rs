//! Anything at all is taken or refused; names agree with those of the core.

use super::*;

/// Whatever is done to a workflow's text, it is taken or refused with a report
/// that can be shown.
fn takes_or_refuses(text: &str) {
    if let Err(report) = parse_workflow("w.yaml", text) {
        assert!(!report.problems().is_empty());
        let _ = (report.to_string(), report.to_json());
    }
}

/// An edit of a text, as a hand or an editor does them.
#[derive(Debug, Clone)]
enum Edit {
    Remove { at: usize, length: usize },
    Insert { at: usize, text: String },
    Swap { at: usize, with: usize },
    Repeat { at: usize, length: usize },
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = || 0..FULL.len();
    prop_oneof![
        (at(), 0..60_usize).prop_map(|(at, length)| Edit::Remove { at, length }),
        (at(), "[-a-z:{}\\[\\]|>&*!#%'\",. \n\t0-9é]{0,12}")
            .prop_map(|(at, text)| Edit::Insert { at, text }),
        (at(), at()).prop_map(|(at, with)| Edit::Swap { at, with }),
        (at(), 0..200_usize).prop_map(|(at, length)| Edit::Repeat { at, length }),
    ]
}

fn apply(text: &str, edit: &Edit) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let end = chars.len();
    let range = |at: usize, length: usize| at.min(end)..(at + length).min(end);
    match edit {
        Edit::Remove { at, length } => {
            chars.drain(range(*at, *length));
        }
        Edit::Insert { at, text } => {
            chars.splice(range(*at, 0), text.chars());
        }
        Edit::Swap { at, with } => {
            if *at < end && *with < end {
                chars.swap(*at, *with);
            }
        }
        Edit::Repeat { at, length } => {
            let part = chars[range(*at, *length)].to_vec();
            chars.splice(range(*at, 0), part);
        }
    }
    chars.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn edited_workflows_are_taken_or_refused(edits in proptest::collection::vec(edit(), 1..4)) {
        let text = edits.iter().fold(FULL.to_owned(), |text, edit| apply(&text, edit));
        takes_or_refuses(&text);
    }

    #[test]
    fn any_text_is_taken_or_refused(text in "\\PC{0,200}") {
        takes_or_refuses(&text);
        takes_or_refuses(&with_top(&text));
        takes_or_refuses(&with_step(&text));
        takes_or_refuses(&with_on(&format!("on: {text}")));
    }

    #[test]
    fn any_expression_is_taken_or_refused(text in "[-a-z.|{}%#'()\\[\\] 0-9+*=<>!~\\\\é]{0,40}") {
        takes_or_refuses(&with_step(&format!("when: '{}'", text.replace('\'', "''"))));
        takes_or_refuses(&with_step(&format!("with: {{ a: '{}' }}", text.replace('\'', "''"))));
    }
}

#[test]
fn every_head_of_a_workflow_is_taken_or_refused() {
    for (end, _) in FULL.char_indices() {
        takes_or_refuses(FULL.split_at(end).0);
    }
}

/// The names that the checks know are those that runs and triggers have.
#[test]
fn names_are_those_of_core() {
    use crate::names::{EVENT, Place, RUN, STEP, WORKFLOW, WORKFLOW_IN_TRIGGER};
    use infraflow_core::template::ROOTS;

    for place in [Place::Trigger, Place::Vars, Place::Lock, Place::Step(0)] {
        assert!(place.roots().iter().all(|root| ROOTS.contains(root)));
    }
    let event = sample_event();
    let document = event.to_document();
    let mut known = EVENT.to_vec();
    known.sort_unstable();
    let names: Vec<&str> = document
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(names, known);

    let trigger = Place::Trigger.roots().join(" }} {{ ");
    let parts: Vec<String> = EVENT
        .iter()
        .map(|name| format!("event.{name}"))
        .chain(
            WORKFLOW_IN_TRIGGER
                .iter()
                .map(|name| format!("workflow.{name}")),
        )
        .collect();
    let input = format!("{{{{ {trigger} }}}} {{{{ {} }}}}", parts.join(" }} {{ "));
    let workflow = good(&with_on(&format!(
        "on: {{ git.push: {{ inputs: {{ env: \"{input}\" }} }} }}"
    )));
    let table = infraflow_core::route::RoutingTable::new(vec![std::sync::Arc::new(workflow)]);
    let matches = table.route(&event, "infraflow.event.git.push.forgejo.a.b");
    assert!(matches[0].inputs.is_ok(), "{:?}", matches[0].inputs);

    // What `lock` may name.
    let lock = Place::Lock.roots().join(" }} {{ ");
    let workflow = std::sync::Arc::new(good(&with_top(&format!("lock: \"{{{{ {lock} }}}}\"\n"))));
    let named = workflow.locks[0].render(&sample_run(&workflow).scope().unwrap());
    named.unwrap();

    // A run's scope, after its first step has ended.
    let paths: Vec<String> = [
        ("run", &RUN[..]),
        ("workflow", &WORKFLOW),
        ("steps.one", &STEP),
    ]
    .iter()
    .flat_map(|(root, names)| names.iter().map(move |name| format!("{root}.{name}")))
    .chain(Place::Step(1).roots().iter().map(|root| (*root).to_owned()))
    .collect();
    let step = format!(
        "      - {{ id: two, uses: command@1, with: {{ a: \"{{{{ {} }}}}\" }} }}\n",
        paths.join(" }} {{ ")
    );
    let workflow = std::sync::Arc::new(good(&format!("{}{step}", with_top(""))));
    let run = sample_run(&workflow);
    let scope = run.scope().unwrap();
    let (step, _) = run.step(&"two".parse().unwrap()).unwrap();
    let Action::Plugin { with, .. } = &step.action else {
        panic!("it is no plugin");
    };
    with.render(&scope).unwrap();
}

fn sample_event() -> infraflow_core::event::Event {
    use infraflow_core::event::{Actor, Event, EventData, GitPush, Person, Provider, Repository};

    let push = GitPush {
        provider: Provider::Forgejo,
        source: "shop-repo".into(),
        repository: Repository {
            full_name: "shop/infra".into(),
            owner: "shop".into(),
            name: "infra".into(),
            url: String::new(),
            default_branch: "main".into(),
        },
        git_ref: "refs/heads/main".into(),
        branch: "main".into(),
        before: "1".repeat(40),
        after: "2".repeat(40),
        commit: "2".repeat(40),
        created: false,
        deleted: false,
        forced: None,
        pusher: Person::default(),
        message: String::new(),
        commits: vec![],
        commits_total: 0,
        paths: vec![],
        paths_complete: true,
        compare_url: String::new(),
    };
    Event {
        id: infraflow_core::id::EventId::new("1").unwrap(),
        source: infraflow_core::id::EventSource::new("source:shop-repo").unwrap(),
        kind: infraflow_core::id::EventType::new("git.push").unwrap(),
        time: "2026-11-21T12:00:00Z".parse().unwrap(),
        subject: None,
        actor: Actor::Host,
        json: std::sync::Arc::new(push.to_document()),
        data: EventData::GitPush(Box::new(push)),
    }
}

/// A run of which the step `one` has ended.
fn sample_run(workflow: &std::sync::Arc<Workflow>) -> infraflow_core::run::Run {
    use infraflow_core::id::{HostName, Incarnation, RunId};
    use infraflow_core::ports::{Sequence, Trust};
    use infraflow_core::run::{Birth, BirthEvent, Claim, Entry, Run};

    let event = sample_event();
    let id = RunId::derive(&workflow.project, &event.source, &event.id, &workflow.name);
    let birth = Birth {
        workflow: workflow.name.clone(),
        workflow_digest: workflow.digest,
        workflow_revision: 1,
        plugins: std::collections::BTreeMap::new(),
        event: BirthEvent::new(&event, Sequence(1)),
        trigger: 0,
        inputs: infraflow_core::JsonMap::new(),
        trust: Trust::Trusted,
        project: workflow.project.clone(),
        environment: workflow.environment.clone(),
        pool: workflow.pool.clone(),
        locks: vec![],
        on_conflict: workflow.concurrency.on_conflict,
        order: Sequence(1),
        origin: None,
    };
    let mut run = Run::new(id, Box::new(birth), workflow.clone(), event.time);
    let claim = Claim {
        host: HostName::new("h").unwrap(),
        incarnation: Incarnation(1),
        epoch: 1,
    };
    run.fold(&Entry::Claimed(claim), event.time).unwrap();
    let skipped = Entry::StepSkipped {
        step: "one".parse().unwrap(),
    };
    run.fold(&skipped, event.time).unwrap();
    run
}
