//! Runs that hold nothing while they wait: retries, `wait`, questions, and the
//! clock of the timeout meanwhile.

use super::*;
use crate::limits::{PARK_AFTER, PARKED_MAX, WAIT_MAX};

fn told<const N: usize>(told: [(u64, Told); N]) -> Vec<(u64, Told)> {
    told.into()
}

/// What follows the start of a run with this one step, at second 1.
fn first_move(step: Step) -> String {
    written(&run_of(vec![step]).decide(host(1), at(1)).unwrap())
}

#[test]
fn a_run_parks_for_longer_waits_only() {
    let park_after = PARK_AFTER.as_secs();
    assert_eq!(
        first_move(wait_for("a", park_after)),
        "claimed 1, wait a at 6s, -> look at 6s"
    );
    assert_eq!(
        first_move(wait_for("a", park_after + 1)),
        "claimed 1, wait a at 7s, parked for the end of step `a`, until at 7s"
    );
    for (delay, expected) in [
        (park_after, "ended a#1 (failed, again), -> look at 7s"),
        (
            park_after + 1,
            "ended a#1 (failed, again), parked for the next attempt of step `a`, until at 8s",
        ),
    ] {
        let run = run_of(vec![retrying_after(Duration::from_secs(delay))]);
        let run = after(&run, host(1), 1);
        let decision = run.decide(ended("a", 1, FLAKY), at(2)).unwrap();
        assert_eq!(written(&decision), expected);
    }
}

#[test]
fn a_parked_retry_goes_on_when_due() {
    let run = run_of(vec![retrying_after(Duration::from_secs(60))]);
    expect![[r#"
        claimed 1, started a#1, -> start a#1
        ended a#1 (failed, again), parked for the next attempt of step `a`, until at 62s
        refused: the run waits for the next attempt of step `a`
        refused: the run waits for the next attempt of step `a`
        nothing
        woken by timer, wakes default
        refused: the run does not wait for that
        claimed 2, started a#2, -> start a#2
        ended a#2 (succeeded), run succeeded ()
    "#]]
    .assert_eq(&history(
        run,
        told([
            (1, host(1).into()),
            (2, ended("a", 1, FLAKY).into()),
            (3, host(2).into()),
            (3, Input::Look.into()),
            (61, Request::Due.into()),
            (62, Request::Due.into()),
            (62, Request::Due.into()),
            (63, host(2).into()),
            (64, ended("a", 2, OK).into()),
        ]),
    ));
}

/// The clock of the server that keeps timers decides: a host that is behind
/// does not park the run again, else it would until the clocks agree.
#[test]
fn a_host_whose_clock_is_behind_goes_on_with_a_run_that_is_due() {
    for step in [retrying_after(Duration::from_secs(60)), wait_for("a", 60)] {
        expect_one_of(
            &history(
                run_of(vec![step]),
                told([
                    (1, host(1).into()),
                    (2, ended("a", 1, FLAKY).into()),
                    (62, Request::Due.into()),
                    (10, host(2).into()),
                ]),
            ),
            &[
                "claimed 2, started a#2, -> start a#2",
                "claimed 2, waited a, run succeeded ()",
            ],
        );
    }
    // Only once: what it waits for after that has a time of its own.
    let run = run_of(vec![wait_for("a", 60), wait_for("b", 60)]);
    expect![[r#"
        claimed 1, wait a at 61s, parked for the end of step `a`, until at 61s
        woken by timer, wakes default
        claimed 2, waited a, wait b at 70s, parked for the end of step `b`, until at 70s
    "#]]
    .assert_eq(&history(
        run,
        told([
            (1, host(1).into()),
            (61, Request::Due.into()),
            (10, host(2).into()),
        ]),
    ));
}

fn expect_one_of(text: &str, endings: &[&str]) {
    let is_there = endings.iter().any(|end| text.trim_end().ends_with(end));
    assert!(is_there, "{text}");
}

#[test]
fn a_retry_that_comes_after_the_deadline_ends_the_run_there() {
    let run = Sample {
        timeout: Duration::from_secs(30),
        ..Sample::of(vec![retrying_after(Duration::from_secs(60))])
    }
    .run();
    let run = after(&run, host(1), 1);
    let parked = after(&run, ended("a", 1, FLAKY), 2);
    assert_eq!(parked.wake_at(), Some(at(30)));
    expect![[r#"
        nothing
        stop Timeout by host, run failed (its time of 30s was up)
        refused: the run has ended: it failed
    "#]]
    .assert_eq(&history(
        parked,
        told([
            (29, Request::Due.into()),
            (30, Request::Due.into()),
            (31, Request::Due.into()),
        ]),
    ));
}

#[test]
fn questions_and_locks_are_not_waited_for_forever() {
    let asks = waiting_for_an_answer();
    let locked = Sample {
        locks: vec!["db"],
        ..Sample::of(vec![step("a", "command@1")])
    }
    .run();
    let locked = after(&locked, host(1), 1);
    let locked = after(&locked, answered("db", LockAnswer::Waits), 2);
    for (run, reason) in [
        (asks, "it waited 30d for an answer about step `a`, in vain"),
        (locked, "it waited 30d for lock `db`, in vain"),
    ] {
        let end = at(2) + PARKED_MAX;
        assert_eq!(run.wake_at(), Some(end));
        let early = run.request(Request::Due, end - Duration::from_millis(1));
        assert_eq!(written(&early.unwrap()), "nothing");
        let decision = run.request(Request::Due, end).unwrap();
        assert_eq!(written(&decision), format!("run failed ({reason})"));
        assert_eq!(decision.wakes, None);
    }
}

fn until(text: &str) -> Step {
    wait_step("a", Wait::Until(Template::compile(&json!(text)).unwrap()))
}

#[test]
fn wait_until_a_moment() {
    for (text, expected) in [
        // Past, and this very moment: it goes on at once.
        (
            "2026-11-21T11:00:00Z",
            "claimed 1, wait a at -3600s, waited a, run succeeded ()",
        ),
        (
            "2026-11-21T12:00:01Z",
            "claimed 1, wait a at 1s, waited a, run succeeded ()",
        ),
        // Soon, and later; a template that gives the text.
        (
            "2026-11-21T12:00:06Z",
            "claimed 1, wait a at 6s, -> look at 6s",
        ),
        (
            "2026-11-21T13:01:00+01:00",
            "claimed 1, wait a at 60s, parked for the end of step `a`, until at 60s",
        ),
        (
            "{{ inputs.soon }}",
            "claimed 1, wait a at 60s, parked for the end of step `a`, until at 60s",
        ),
    ] {
        assert_eq!(first_move(until(text)), expected, "{text}");
    }
}

#[test]
fn a_bad_wait_until_fails_its_step_by_name() {
    let far = (at(1) + WAIT_MAX + Duration::from_secs(1)).to_string();
    for (text, expected) in [
        (
            "soon",
            expect![[
                r#"claimed 1, unstartable a (`wait.until` of step `a` is "soon", not a time such as 2026-11-21T18:00:00Z), run failed (step `a`: could_not_start: `wait.until` of step `a` is "soon", not a time such as 2026-11-21T18:00:00Z)"#
            ]],
        ),
        (
            "2026-11-21T18:00:00",
            expect![[
                r#"claimed 1, unstartable a (`wait.until` of step `a` is "2026-11-21T18:00:00", not a time such as 2026-11-21T18:00:00Z), run failed (step `a`: could_not_start: `wait.until` of step `a` is "2026-11-21T18:00:00", not a time such as 2026-11-21T18:00:00Z)"#
            ]],
        ),
        (
            "{{ 5 }}",
            expect![
                "claimed 1, unstartable a (`wait.until` of step `a` is 5, not a time such as 2026-11-21T18:00:00Z), run failed (step `a`: could_not_start: `wait.until` of step `a` is 5, not a time such as 2026-11-21T18:00:00Z)"
            ],
        ),
        (
            "{{ inputs.sooon }}",
            expect![
                "claimed 1, unstartable a (`wait.until` of step `a`: `inputs.sooon`: `inputs.sooon` does not exist: `inputs` has `env`, `soon` (did you mean `soon`?)), run failed (step `a`: could_not_start: `wait.until` of step `a`: `inputs.sooon`: `inputs.sooon` does not exist: `inputs` has `env`, `soon` (did you mean `soon`?))"
            ],
        ),
        (
            far.as_str(),
            expect![
                "claimed 1, unstartable a (`wait.until` of step `a` is 2027-11-22T12:00:02Z, more than 366d ahead), run failed (step `a`: could_not_start: `wait.until` of step `a` is 2027-11-22T12:00:02Z, more than 366d ahead)"
            ],
        ),
    ] {
        expected.assert_eq(&first_move(until(text)));
    }
    let latest = (at(1) + WAIT_MAX).to_string();
    assert!(
        first_move(until(&latest)).contains("parked"),
        "at the limit"
    );
    let long = "x".repeat(1_000_000);
    assert!(first_move(until(&long)).len() < 1_000, "records stay small");
}

#[test]
fn a_wait_asks_when() {
    let when = |text| Step {
        when: Some(Expr::compile(text).unwrap()),
        ..wait_for("a", 60)
    };
    assert_eq!(
        first_move(when("inputs.env == 'dev'")),
        "claimed 1, skipped a, run succeeded ()"
    );
    assert_eq!(
        first_move(when("inputs.env == 'prod'")),
        "claimed 1, wait a at 61s, parked for the end of step `a`, until at 61s"
    );
}

#[test]
fn waits_and_steps_in_turn() {
    let run = run_of(vec![
        step("a", "command@1"),
        wait_for("b", 3),
        wait_for("c", DAY),
        step("d", "command@1"),
    ]);
    expect![[r#"
        claimed 1, started a#1, -> start a#1
        ended a#1 (succeeded), wait b at 5s, -> look at 5s
        -> look at 5s
        waited b, wait c at 86405s, parked for the end of step `c`, until at 86405s
        refused: the run waits for the end of step `c`
        woken by timer, wakes default
        claimed 2, waited c, started d#1, -> start d#1
        ended d#1 (succeeded), run succeeded ()
    "#]]
    .assert_eq(&history(
        run,
        told([
            (1, host(1).into()),
            (2, ended("a", 1, OK).into()),
            (4, Input::Look.into()),
            (5, Input::Look.into()),
            (6, Input::Look.into()),
            (5 + DAY, Request::Due.into()),
            (6 + DAY, host(2).into()),
            (7 + DAY, ended("d", 1, OK).into()),
        ]),
    ));
}

/// A host that shuts down parks what would only wait: nobody has to take it
/// over for that.
#[test]
fn a_release_parks_what_waits_for_long() {
    let releasing = |step: &str, outcome| Input::AttemptEnded {
        step: id(step),
        attempt: 1,
        report: report(outcome),
        then: Then::Release {
            reason: "shutdown".into(),
        },
    };
    for (steps, outcome, expected) in [
        (
            vec![retrying_after(Duration::from_secs(60))],
            FLAKY,
            "ended a#1 (failed, again), parked for the next attempt of step `a`, until at 62s",
        ),
        (
            vec![retrying_after(Duration::from_secs(3))],
            FLAKY,
            "ended a#1 (failed, again), released, wakes default",
        ),
        (
            vec![Step {
                on_interrupt: Some(OnInterrupt::Ask),
                ..step("a", "command@1")
            }],
            AttemptOutcome::Interrupted,
            "ended a#1 (interrupted, ask), parked for an answer about step `a`, until at 2592002s",
        ),
        (
            vec![step("a", "command@1")],
            OK,
            "ended a#1 (succeeded), run succeeded ()",
        ),
        (
            vec![step("a", "command@1")],
            BAD,
            "ended a#1 (failed), run failed (step `a`: failed (exit code 2): why)",
        ),
        (
            vec![step("a", "command@1"), wait_for("b", DAY)],
            OK,
            "ended a#1 (succeeded), released, wakes default",
        ),
    ] {
        let run = after(&run_of(steps), host(1), 1);
        let decision = run.decide(releasing("a", outcome), at(2)).unwrap();
        assert_eq!(written(&decision), expected);
    }
    // While a host waits for the end of a short wait, it gives the run back.
    let run = after(&run_of(vec![wait_for("a", 4)]), host(1), 1);
    let decision = run.decide(release(), at(2)).unwrap();
    assert_eq!(written(&decision), "released, wakes default");
}
