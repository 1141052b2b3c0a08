//! Steps: their order, `when`, `with`, retries, and what is refused.

use super::*;

#[test]
fn steps_run_in_order() {
    check(
        two_steps(),
        vec![host(1), ended("a", 1, OK), ended("b", 1, OK), Input::Look],
        &expect![[r#"
            claimed 1, started a#1, -> start a#1
            ended a#1 (succeeded), started b#1, -> start b#1
            ended b#1 (succeeded), run succeeded ()
            refused: the run has ended: it succeeded
        "#]],
    );
}

#[test]
fn a_failed_step_ends_the_run() {
    check(
        two_steps(),
        vec![host(1), ended("a", 1, BAD)],
        &expect![[r#"
            claimed 1, started a#1, -> start a#1
            ended a#1 (failed), run failed (step `a`: failed (exit code 2): why)
        "#]],
    );
}

#[test]
fn when_decides_and_its_errors_are_named() {
    let with_when = |text: &str| {
        let when = Some(Expr::compile(text).unwrap());
        run_of(vec![
            step("a", "command@1"),
            Step {
                when,
                ..step("b", "command@1")
            },
        ])
    };
    let inputs = || vec![host(1), ended("a", 1, OK)];
    check(
        with_when("steps.a.outputs.changes > 5"),
        inputs(),
        &expect![[r#"
            claimed 1, started a#1, -> start a#1
            ended a#1 (succeeded), skipped b, run succeeded ()
        "#]],
    );
    check(
        with_when("steps.a.outputs.chnages > 1"),
        inputs(),
        &expect![[r#"
            claimed 1, started a#1, -> start a#1
            ended a#1 (succeeded), unstartable b (`when` of step `b`: `steps.a.outputs.chnages > 1`: `steps.a.outputs.chnages` does not exist: `steps.a.outputs` has `changes` (did you mean `changes`?)), run failed (step `b`: could_not_start: `when` of step `b`: `steps.a.outputs.chnages > 1`: `steps.a.outputs.chnages` does not exist: `steps.a.outputs` has `changes` (did you mean `changes`?))
        "#]],
    );
}

#[test]
fn inputs_are_rendered_from_what_went_before() {
    let run = run_of(vec![
        step("a", "command@1"),
        with("b", json!({ "n": "{{ steps.a.outputs.changes }}" })),
    ]);
    let run = run.decide(host(1), at(1)).unwrap().next;
    let decision = run.decide(ended("a", 1, OK), at(2)).unwrap();
    let Some(Effect::Start(start)) = decision.effects.first() else {
        panic!("b starts");
    };
    assert_eq!(start.input, json!({ "n": 2 }));
}

#[test]
fn transient_failures_are_tried_again_when_due() {
    check(
        run_of(vec![retrying(2)]),
        vec![
            host(1),
            ended("a", 1, FLAKY), // at 2 s: due at 7 s
            Input::Look,
            Input::Look,
            Input::Look,
            Input::Look,
            Input::Look,
            ended("a", 2, FLAKY),
        ],
        &expect![[r#"
            claimed 1, started a#1, -> start a#1
            ended a#1 (failed, again), -> look at 7s
            -> look at 7s
            -> look at 7s
            -> look at 7s
            -> look at 7s
            started a#2, -> start a#2
            ended a#2 (failed), run failed (step `a`: failed (exit code 4): why)
        "#]],
    );
}

#[test]
fn reports_that_fit_nothing_are_refused() {
    check(
        two_steps(),
        vec![
            ended("a", 1, OK),
            host(1),
            ended("a", 2, OK),
            ended("b", 1, OK),
            ended("nope", 1, OK),
            ended("a", 1, OK),
            ended("a", 1, OK),
        ],
        &expect![[r#"
            refused: no host has claimed the run
            claimed 1, started a#1, -> start a#1
            refused: attempt 2 of step `a` does not run
            refused: attempt 1 of step `b` does not run
            refused: attempt 1 of step `nope` does not run
            ended a#1 (succeeded), started b#1, -> start b#1
            refused: attempt 1 of step `a` does not run
        "#]],
    );
}

#[test]
fn entries_that_cannot_follow_are_refused_and_change_nothing() {
    let a = id("a");
    let started = |attempt| Entry::AttemptStarted {
        step: a.clone(),
        attempt,
    };
    let claim = |epoch| {
        Entry::Claimed(Claim {
            host: HostName::new("h1").unwrap(),
            incarnation: Incarnation(1),
            epoch,
        })
    };
    let mut run = two_steps();
    for (entry, expected) in [
        (
            started(1),
            "entry `attempt_started` cannot follow: no host has claimed the run",
        ),
        (
            claim(2),
            "entry `claimed` cannot follow: claim 2 where 1 is due",
        ),
        (
            Entry::Answered {
                step: a.clone(),
                answer: Answer::Retry,
                actor: ann(),
            },
            "entry `answered` cannot follow: nobody asked about step `a`",
        ),
    ] {
        let before = format!("{run:?}");
        assert_eq!(run.fold(&entry, at(1)).unwrap_err().to_string(), expected);
        assert_eq!(format!("{run:?}"), before);
    }
    run.fold(&claim(1), at(1)).unwrap();
    run.fold(&started(1), at(1)).unwrap();
    for entry in [
        started(1),
        started(2),
        Entry::StepSkipped { step: a.clone() },
    ] {
        assert!(run.fold(&entry, at(2)).is_err(), "{entry:?}");
    }
}

/// A run does not wait for what is over, and starts nothing beside what runs.
#[test]
fn waits_without_a_reason_cannot_follow() {
    let park = |parking| {
        Entry::Parked(Parked {
            parking,
            until: at(99),
        })
    };
    let run = after(&two_steps(), host(1), 1);
    let mut beside = run;
    let started = Entry::AttemptStarted {
        step: id("b"),
        attempt: 1,
    };
    assert!(beside.fold(&started, at(2)).is_err());
    let mut idle = after(&run_of(vec![retrying(2)]), host(1), 1);
    idle = after(&idle, ended("a", 1, FLAKY), 2);
    for (parking, expected) in [
        (Parking::Question { step: id("a") }, false),
        (Parking::Wait { step: id("a") }, false),
        (Parking::Retry { step: id("b") }, false),
        (Parking::Lock { lock: lock("db") }, false),
        (Parking::Retry { step: id("a") }, true),
    ] {
        let entry = park(parking);
        assert_eq!(
            idle.clone().fold(&entry, at(3)).is_ok(),
            expected,
            "{entry:?}"
        );
    }
}
