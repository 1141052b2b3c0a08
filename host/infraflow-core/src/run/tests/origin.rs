//! Runs that a person made of another one.

use super::*;

fn object(value: Json) -> JsonMap {
    value.as_object().unwrap().clone()
}

fn origin() -> Origin {
    Origin {
        run: run_id(8),
        kind: OriginKind::Resume,
        actor: ann(),
        carried: BTreeMap::new(),
        overrides: BTreeMap::new(),
        workspace: None,
    }
}

fn carried(outputs: Option<Json>) -> Carried {
    Carried {
        is_skipped: outputs.is_none(),
        outputs: outputs.map(|outputs| Arc::new(object(outputs))),
    }
}

fn started(decision: &Decision) -> &StartAttempt {
    let start = decision.effects.iter().find_map(|effect| match effect {
        Effect::Start(start) => Some(start),
        _ => None,
    });
    start.expect("an attempt starts")
}

#[test]
fn carried_steps_are_not_run_and_give_their_outputs() {
    let run = Sample {
        origin: Some(Origin {
            carried: BTreeMap::from([
                (id("a"), carried(Some(json!({ "n": 3 })))),
                (id("b"), carried(None)),
                (id("gone"), carried(None)),
            ]),
            ..origin()
        }),
        ..Sample::of(vec![
            step("a", "command@1"),
            step("b", "command@1"),
            with(
                "c",
                json!({ "n": "{{ steps.a.outputs.n }}", "b": "{{ steps.b.outcome }}" }),
            ),
        ])
    }
    .run();
    let decision = run.decide(host(1), at(1)).unwrap();
    assert_eq!(written(&decision), "claimed 1, started c#1, -> start c#1");
    assert_eq!(started(&decision).input, json!({ "n": 3, "b": "skipped" }));
}

#[test]
fn a_run_whose_steps_were_all_carried_succeeds_at_once() {
    let run = Sample {
        locks: vec!["db"],
        origin: Some(Origin {
            carried: BTreeMap::from([(id("a"), carried(Some(json!({}))))]),
            ..origin()
        }),
        ..Sample::of(vec![step("a", "command@1")])
    }
    .run();
    check(
        run,
        vec![host(1)],
        &expect![[r#"
        claimed 1, run succeeded ()
    "#]],
    );
}

#[test]
fn overrides_replace_parts_of_with_in_every_attempt() {
    let run = Sample {
        origin: Some(Origin {
            overrides: BTreeMap::from([(id("a"), object(json!({ "limit": "web2", "new": 1 })))]),
            ..origin()
        }),
        ..Sample::of(vec![
            Step {
                retry: retrying(2).retry,
                ..with("a", json!({ "limit": "all", "env": "{{ inputs.env }}" }))
            },
            with("b", json!({ "limit": "all" })),
        ])
    }
    .run();
    let replaced = json!({ "limit": "web2", "env": "prod", "new": 1 });
    let first = run.decide(host(1), at(1)).unwrap();
    assert_eq!(started(&first).input, replaced);
    let waits = first.next.decide(ended("a", 1, FLAKY), at(2)).unwrap();
    let second = waits.next.decide(Input::Look, at(7)).unwrap();
    assert_eq!(started(&second).input, replaced);
    let third = second.next.decide(ended("a", 2, OK), at(8)).unwrap();
    assert_eq!(started(&third).input, json!({ "limit": "all" }));
}

#[test]
fn files_come_from_the_origin_and_follow_the_attempts() {
    let place = |host: &str, stored: bool| WorkspacePlace {
        host: host.parse().unwrap(),
        stored: stored.then(|| Digest::of(b"files")),
    };
    let run = Sample {
        origin: Some(Origin {
            workspace: Some(place("h1", true)),
            ..origin()
        }),
        ..Sample::of(vec![step("a", "command@1"), step("b", "command@1")])
    }
    .run();
    assert_eq!(run.pinned_to(), None);
    let first = run.decide(host(1), at(1)).unwrap();
    assert_eq!(started(&first).workspace, Some(place("h1", true)));
    let input = Input::AttemptEnded {
        step: id("a"),
        attempt: 1,
        report: AttemptReport {
            workspace: Some(place("h2", false)),
            ..report(OK)
        },
        then: Then::GoOn,
    };
    let second = first.next.decide(input, at(2)).unwrap();
    assert_eq!(started(&second).workspace, Some(place("h2", false)));
    assert_eq!(second.next.pinned_to(), Some(&"h2".parse().unwrap()));
    // An attempt that says nothing about the files left them where they were.
    let third = after(&second.next, ended("b", 1, OK), 3);
    assert_eq!(third.workspace(), Some(&place("h2", false)));
}
