//! Hosts that go away or shut down, and questions to persons.

use super::*;
use crate::limits::CLAIMS_WITHOUT_PROGRESS;

#[test]
fn promise_04_an_interrupted_attempt_follows_on_interrupt() {
    let interrupted = |on_interrupt| {
        run_of(vec![
            Step {
                on_interrupt,
                ..step("a", "command@1")
            },
            step("b", "command@1"),
        ])
    };
    for (on_interrupt, expected) in [
        (
            None,
            expect![[r#"
                claimed 1, started a#1, -> start a#1
                claimed 2, ended a#1 (interrupted), run interrupted (step `a`: interrupted: the host that ran it went away; how it ended is unknown)
            "#]],
        ),
        (
            Some(OnInterrupt::Retry),
            expect![[r#"
                claimed 1, started a#1, -> start a#1
                claimed 2, ended a#1 (interrupted, again), started a#2, -> start a#2
            "#]],
        ),
        (
            Some(OnInterrupt::Ask),
            expect![[r#"
                claimed 1, started a#1, -> start a#1
                claimed 2, ended a#1 (interrupted, ask), parked for an answer about step `a`, until at 2592002s
            "#]],
        ),
    ] {
        check(interrupted(on_interrupt), vec![host(1), host(2)], &expected);
    }
    // A plugin that says it is idempotent is tried again by default.
    check(
        run_of(vec![step("a", "checkout@1")]),
        vec![host(1), host(2)],
        &expect![[r#"
            claimed 1, started a#1, -> start a#1
            claimed 2, ended a#1 (interrupted, again), started a#2, -> start a#2
        "#]],
    );
}

#[test]
fn promise_05_a_finished_step_is_not_run_again_after_a_takeover() {
    check(
        run_of(vec![step("a", "command@1"), step("b", "checkout@1")]),
        vec![host(1), ended("a", 1, OK), host(2), ended("b", 2, OK)],
        &expect![[r#"
            claimed 1, started a#1, -> start a#1
            ended a#1 (succeeded), started b#1, -> start b#1
            claimed 2, ended b#1 (interrupted, again), started b#2, -> start b#2
            ended b#2 (succeeded), run succeeded ()
        "#]],
    );
}

#[test]
fn a_person_answers() {
    for (answer, expected) in [
        (
            Answer::Retry,
            "answered a retry, wakes default\nclaimed 3, started a#2, -> start a#2",
        ),
        (
            Answer::Done,
            "answered a done, wakes default\nclaimed 3, started b#1, -> start b#1",
        ),
        (
            Answer::Fail,
            "answered a fail, wakes default\nclaimed 3, run interrupted (step `a`: interrupted: the attempt was interrupted, and a person said that it failed)",
        ),
    ] {
        let run = waiting_for_an_answer();
        let request = Request::Answer {
            step: id("a"),
            answer,
            actor: ann(),
        };
        let decision = run.request(request.clone(), at(9)).unwrap();
        let claimed = decision.next.decide(host(3), at(10)).unwrap();
        assert_eq!(
            format!("{}\n{}", written(&decision), written(&claimed)),
            expected
        );
        assert_eq!(
            decision.next.request(request, at(11)).unwrap_err(),
            Refusal::NotAsked(id("a")),
        );
    }
    assert_eq!(
        waiting_for_an_answer().decide(host(3), at(9)).unwrap_err(),
        Refusal::Waits(Parking::Question { step: id("a") })
    );
}

#[test]
fn promise_12_a_host_that_shuts_down_gives_its_runs_back() {
    let release = || Then::Release {
        reason: "shutdown".into(),
    };
    let ended_and_released = |step: &str, outcome| Input::AttemptEnded {
        step: StepId::new(step).unwrap(),
        attempt: 1,
        report: report(outcome),
        then: release(),
    };
    for (run, outcome, expected) in [
        (
            two_steps(),
            OK,
            "ended a#1 (succeeded), released, wakes default",
        ),
        (
            run_of(vec![step("a", "checkout@1")]),
            AttemptOutcome::Interrupted,
            "ended a#1 (interrupted, again), released, wakes default",
        ),
        (
            two_steps(),
            AttemptOutcome::Interrupted,
            "ended a#1 (interrupted), run interrupted (step `a`: interrupted: why)",
        ),
    ] {
        let run = run.decide(host(1), at(1)).unwrap().next;
        let decision = run.decide(ended_and_released("a", outcome), at(2)).unwrap();
        assert_eq!(written(&decision), expected);
    }
    check(
        run_of(vec![retrying(3)]),
        vec![
            host(1),
            Input::Release {
                reason: "shutdown".into(),
            },
            ended("a", 1, FLAKY),
            Input::Release {
                reason: "shutdown".into(),
            },
            Input::Look,
            host(2),
        ],
        &expect![[r#"
            claimed 1, started a#1, -> start a#1
            refused: an attempt runs
            ended a#1 (failed, again), -> look at 8s
            released, wakes default
            refused: no host has claimed the run
            claimed 2, -> look at 8s
        "#]],
    );
}

#[test]
fn a_run_that_kills_its_hosts_is_poisoned() {
    let mut run = run_of(vec![step("a", "checkout@1")]);
    let mut last = String::new();
    for life in 0..=u64::from(CLAIMS_WITHOUT_PROGRESS) + 1 {
        let decision = run.decide(host(life), at(life)).unwrap();
        last = written(&decision);
        run = decision.next;
    }
    assert_eq!(
        last,
        "claimed 7, ended a#6 (interrupted, again), run failed (poisoned: 5 hosts in a row went away while they worked on it)"
    );
}

/// A run whose attempt left files on its host alone, and that waits now.
fn with_files() -> Run {
    let run = run_of(vec![step("a", "command@1"), wait_for("nap", 60)]);
    let run = after(&run, host(1), 1);
    let end = Input::AttemptEnded {
        step: id("a"),
        attempt: 1,
        report: AttemptReport {
            workspace: Some(files(false)),
            ..report(OK)
        },
        then: Then::GoOn,
    };
    after(&run, end, 2)
}

#[test]
fn files_that_only_one_host_has_pin_the_run_to_it() {
    let run = with_files();
    assert_eq!(run.pinned_to().map(HostName::as_str), Some("h1"));
    let stored = run.request(files_stored(), at(3)).unwrap();
    assert_eq!(written(&stored), "files stored by h1");
    let next = stored.next;
    assert_eq!(next.pinned_to(), None);
    assert_eq!(next.workspace(), Some(&files(true)));
    assert!(matches!(next.phase(), Phase::Waiting { .. }), "it waits on");
    assert_eq!(
        next.request(files_stored(), at(4)).unwrap_err(),
        Refusal::NotPinned
    );
    let woken = after(&next, Request::Due, 70);
    let claimed = woken.decide(host(2), at(71)).unwrap();
    assert_eq!(claimed.next.workspace(), Some(&files(true)));
}
