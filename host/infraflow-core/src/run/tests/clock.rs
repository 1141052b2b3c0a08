//! The clock of a run's timeout.

use super::*;

/// A `wait`, a question and a queue for a lock do not use up the run's time; a
/// retry does, and so does waiting for a host.
#[test]
fn the_clock_of_the_timeout() {
    let limit = |steps, locks| Sample {
        timeout: Duration::from_secs(100),
        locks,
        ..Sample::of(steps)
    };
    let deadline = |run: &Run| run.deadline().duration_since(at(0)).as_secs();

    let run = limit(vec![wait_for("a", 1_000), step("b", "command@1")], vec![]).run();
    let run = after(&run, host(1), 10);
    assert_eq!(
        deadline(&run),
        100,
        "what it will have waited counts when it is over"
    );
    let run = after(&run, Request::Due, 1_010);
    assert_eq!(deadline(&run), 1_100, "a wait does not count");
    let run = after(&run, host(2), 1_050);
    assert_eq!(deadline(&run), 1_100, "waiting for a host does");
    assert_eq!(
        written(&run.decide(Input::Look, at(1_099)).unwrap()),
        "nothing"
    );

    let run = limit(vec![step("a", "command@1")], vec!["db"]).run();
    let run = after(&run, host(1), 10);
    let run = after(&run, answered("db", LockAnswer::Waits), 20);
    let run = after(&run, Request::Wake { lock: lock("db") }, 520);
    assert_eq!(deadline(&run), 600, "a queue does not count");

    let run = limit(vec![retrying_after(Duration::from_secs(50))], vec![]).run();
    let run = after(&run, host(1), 10);
    let run = after(&run, ended("a", 1, FLAKY), 20);
    let run = after(&run, Request::Due, 70);
    assert_eq!(deadline(&run), 100, "a retry counts");

    // A clock that was put back gives no time and takes none.
    let run = limit(vec![wait_for("a", 1_000)], vec![]).run();
    let run = after(&run, host(1), 50);
    let mut run = run;
    let woken = Entry::Woken {
        cause: WakeCause::Timer,
    };
    run.fold(&woken, at(10)).unwrap();
    assert_eq!(deadline(&run), 100);
}

#[test]
fn a_question_stops_the_clock() {
    let run = waiting_for_an_answer();
    let before = run.deadline();
    let run = after(&run, answer("a", Answer::Retry), 2 + DAY);
    assert_eq!(run.deadline(), before + Duration::from_secs(DAY));
}

/// What a run gives back when its time is up is over, not parked.
#[test]
fn a_late_run_ends_when_it_is_given_back() {
    let run = Sample {
        timeout: Duration::from_secs(30),
        ..Sample::of(vec![retrying_after(Duration::from_secs(60))])
    }
    .run();
    let run = after(&run, host(1), 1);
    let input = Input::AttemptEnded {
        step: id("a"),
        attempt: 1,
        report: report(FLAKY),
        then: Then::Release {
            reason: "shutdown".into(),
        },
    };
    assert_eq!(
        written(&run.decide(input, at(31)).unwrap()),
        "ended a#1 (failed, again), stop Timeout by host, run failed (its time of 30s was up)"
    );
}
