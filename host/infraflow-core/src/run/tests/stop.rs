//! Runs that end early.

use super::*;

#[test]
fn cancel_is_immediate_in_every_state() {
    // Nobody has it yet; it waits for a person.
    for run in [two_steps(), waiting_for_an_answer()] {
        let decision = run.request(cancel(), at(5)).unwrap();
        assert_eq!(
            written(&decision),
            "stop Cancel by user:ann, run cancelled (cancelled by user:ann)"
        );
    }
    // A host works on it: it is told to stop, and ends the run when it has.
    check(
        two_steps(),
        vec![
            host(1),
            stop(),
            stop(),
            ended("a", 1, AttemptOutcome::Cancelled),
        ],
        &expect![[r#"
            claimed 1, started a#1, -> start a#1
            stop Cancel by user:ann, -> stop Cancel
            -> stop Cancel
            ended a#1 (cancelled), run cancelled (cancelled by user:ann)
        "#]],
    );
    // It waits for its next attempt.
    check(
        run_of(vec![retrying(3)]),
        vec![host(1), ended("a", 1, FLAKY), stop()],
        &expect![[r#"
            claimed 1, started a#1, -> start a#1
            ended a#1 (failed, again), -> look at 7s
            stop Cancel by user:ann, run cancelled (cancelled by user:ann)
        "#]],
    );
    // A foreign request to a run that a host has leaves the end to that host.
    let claimed = two_steps().decide(host(1), at(1)).unwrap().next;
    let decision = claimed.request(cancel(), at(5)).unwrap();
    assert_eq!(written(&decision), "stop Cancel by user:ann");
    let looked = decision.next.decide(Input::Look, at(6)).unwrap();
    assert_eq!(written(&looked), "-> stop Cancel");
}

#[test]
fn a_step_that_succeeds_while_it_is_cancelled_has_succeeded() {
    check(
        two_steps(),
        vec![host(1), stop(), ended("a", 1, OK)],
        &expect![[r#"
            claimed 1, started a#1, -> start a#1
            stop Cancel by user:ann, -> stop Cancel
            ended a#1 (succeeded), run cancelled (cancelled by user:ann)
        "#]],
    );
}

#[test]
fn a_run_whose_time_is_up_ends() {
    let run = run_of(vec![retrying(3)]);
    let late = |run: &Run, input| {
        let now = run.deadline() + Duration::from_secs(1);
        run.decide(input, now).map(|decision| written(&decision))
    };
    assert_eq!(
        late(&run, host(1)),
        Ok("claimed 1, stop Timeout by host, run failed (its time of 6h was up)".to_owned())
    );
    let running = run.decide(host(1), at(1)).unwrap().next;
    let stop = Input::Stop {
        kind: StopKind::Timeout,
        actor: Actor::Host,
    };
    assert_eq!(
        late(&running, stop),
        Ok("stop Timeout by host, -> stop Timeout".to_owned())
    );
}

#[test]
fn a_run_that_waits_ends_at_once_when_it_is_cancelled() {
    let parked = [
        after(
            &run_of(vec![wait_for("a", DAY), step("b", "command@1")]),
            host(1),
            1,
        ),
        after(
            &after(
                &run_of(vec![retrying_after(Duration::from_secs(DAY))]),
                host(1),
                1,
            ),
            ended("a", 1, FLAKY),
            2,
        ),
    ];
    for run in parked {
        assert!(matches!(run.phase(), Phase::Waiting { .. }));
        let decision = run.request(cancel(), at(5)).unwrap();
        assert_eq!(
            written(&decision),
            "stop Cancel by user:ann, run cancelled (cancelled by user:ann)"
        );
        assert_eq!(decision.wakes, None);
    }
}

fn give_up() -> Input {
    Input::GiveUp {
        host: HostName::new("h2").unwrap(),
        incarnation: Incarnation(9),
        reason: "its files are lost".into(),
    }
}

#[test]
fn a_run_that_can_never_go_on_is_given_up() {
    let running = after(&two_steps(), host(1), 1);
    let asked_to_stop = after(&running, cancel(), 2);
    for (run, expected) in [
        (
            two_steps(),
            "claimed 1, run interrupted (its files are lost)",
        ),
        (
            running,
            "claimed 2, ended a#1 (interrupted), run interrupted (its files are lost)",
        ),
        (
            asked_to_stop,
            "claimed 2, ended a#1 (interrupted), run cancelled (cancelled by user:ann)",
        ),
    ] {
        assert_eq!(written(&run.decide(give_up(), at(5)).unwrap()), expected);
    }
    let waits = waiting_for_an_answer();
    let parking = Parking::Question { step: id("a") };
    assert_eq!(
        waits.decide(give_up(), at(5)).unwrap_err(),
        Refusal::Waits(parking)
    );
}

/// A run that has done all of its work has succeeded, also when its time is up
/// before anybody looks.
#[test]
fn a_run_that_has_done_its_work_is_not_late() {
    let run = Sample {
        timeout: Duration::from_secs(10),
        ..Sample::of(vec![step("a", "command@1")])
    }
    .run();
    let run = after(&run, host(1), 1);
    let decision = run.decide(ended("a", 1, OK), at(11)).unwrap();
    assert_eq!(
        written(&decision),
        "ended a#1 (succeeded), run succeeded ()"
    );
}
