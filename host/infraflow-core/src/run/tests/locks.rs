//! Locks: asked for one after the other, held before anything runs.

use super::*;

fn needing(locks: &[&'static str]) -> Run {
    Sample {
        locks: locks.to_vec(),
        ..Sample::of(vec![step("a", "command@1")])
    }
    .run()
}

fn taken(name: &str, token: u64) -> Input {
    answered(name, LockAnswer::Taken { token })
}

#[test]
fn locks_are_taken_in_order_before_anything_runs() {
    check(
        needing(&["app", "db"]),
        vec![
            host(1),
            taken("db", 3),
            taken("app", 7),
            taken("app", 7),
            Input::Look,
            taken("db", 3),
            taken("db", 3),
            ended("a", 1, OK),
        ],
        &expect![[r#"
            claimed 1, -> ask for lock app
            refused: the run asks for no such lock
            lock app (7), -> ask for lock db
            refused: the run asks for no such lock
            -> ask for lock db
            lock db (3), started a#1, -> start a#1
            refused: the run asks for no such lock
            ended a#1 (succeeded), run succeeded ()
        "#]],
    );
}

#[test]
fn a_run_that_waits_for_a_lock_keeps_those_before_it() {
    let run = needing(&["app", "db"]);
    expect![[r#"
        claimed 1, -> ask for lock app
        lock app (7), -> ask for lock db
        parked for lock `db`, until at 2592003s
        refused: the run waits for lock `db`
        refused: the run waits for lock `db`
        refused: the run does not wait for that
        woken by lock, wakes default
        refused: the run does not wait for that
        claimed 2, -> ask for lock db
        parked for lock `db`, until at 2592008s
        woken by lock, wakes default
        claimed 3, -> ask for lock db
        lock db (4), started a#1, -> start a#1
    "#]]
    .assert_eq(&history(
        run,
        vec![
            (1, host(1).into()),
            (2, taken("app", 7).into()),
            (3, answered("db", LockAnswer::Waits).into()),
            (4, taken("db", 1).into()),
            (4, host(2).into()),
            (5, Request::Wake { lock: lock("app") }.into()),
            (6, Request::Wake { lock: lock("db") }.into()),
            (6, Request::Wake { lock: lock("db") }.into()),
            (7, host(2).into()),
            (8, answered("db", LockAnswer::Waits).into()),
            (9, Request::Wake { lock: lock("db") }.into()),
            (9, host(3).into()),
            (10, taken("db", 4).into()),
        ],
    ));
}

#[test]
fn answers_that_end_the_run() {
    for (input, expected) in [
        (
            LockAnswer::Superseded { by: run_id(9) },
            expect![
                "stop Superseded by run:00000000000000000000000009, run skipped (run:00000000000000000000000009, of a newer event, has or wants its lock)"
            ],
        ),
        (
            LockAnswer::Full,
            expect!["run failed (10000 runs wait for lock `db` already)"],
        ),
    ] {
        let run = after(&needing(&["db"]), host(1), 1);
        let decision = run.decide(answered("db", input), at(2)).unwrap();
        expected.assert_eq(&written(&decision));
    }
}

/// What was asked of a run before an answer came counts more than the answer.
#[test]
fn a_run_that_was_cancelled_ends_so_whatever_the_lock_says() {
    let run = after(&needing(&["db"]), host(1), 1);
    let run = after(&run, cancel(), 2);
    for answer in [
        LockAnswer::Taken { token: 1 },
        LockAnswer::Waits,
        LockAnswer::Superseded { by: run_id(9) },
        LockAnswer::Full,
    ] {
        let decision = run.decide(answered("db", answer), at(3)).unwrap();
        let text = written(&decision);
        assert!(
            text.ends_with("run cancelled (cancelled by user:ann)"),
            "{text}"
        );
    }
}

#[test]
fn a_run_is_superseded_until_it_has_its_locks() {
    let supersede = || Request::Supersede { by: run_id(9) };
    let fresh = needing(&["db"]);
    let claimed = after(&fresh, host(1), 1);
    let waits = after(&claimed, answered("db", LockAnswer::Waits), 2);
    let ended = "stop Superseded by run:00000000000000000000000009, \
        run skipped (run:00000000000000000000000009, of a newer event, has or wants its lock)";
    for run in [&fresh, &waits] {
        let decision = run.request(supersede(), at(5)).unwrap();
        assert_eq!(written(&decision), ended);
    }
    // A host has it: that host ends it.
    let told = claimed.request(supersede(), at(5)).unwrap();
    assert_eq!(
        written(&told),
        "stop Superseded by run:00000000000000000000000009"
    );
    let looked = told.next.decide(Input::Look, at(6)).unwrap();
    assert!(written(&looked).starts_with("run skipped"));
    // Once it has its locks it goes on, and so does one that needs none.
    let runs = after(&claimed, taken("db", 1), 3);
    for run in [runs, two_steps()] {
        assert_eq!(
            run.request(supersede(), at(5)).unwrap_err(),
            Refusal::HasLocks
        );
    }
}

#[test]
fn a_lock_that_is_not_next_cannot_be_folded_in() {
    let mut run = after(&needing(&["app", "db"]), host(1), 1);
    let acquired = Entry::LockAcquired {
        lock: lock("db"),
        token: 1,
    };
    assert_eq!(
        run.fold(&acquired, at(2)).unwrap_err().to_string(),
        "entry `lock_acquired` cannot follow: lock `db` is not the next one that it needs"
    );
}

#[test]
fn a_takeover_asks_again_for_the_lock_that_is_missing() {
    check(
        needing(&["app", "db"]),
        vec![host(1), taken("app", 1), host(2), taken("db", 1), host(3)],
        &expect![[r#"
            claimed 1, -> ask for lock app
            lock app (1), -> ask for lock db
            claimed 2, -> ask for lock db
            lock db (1), started a#1, -> start a#1
            claimed 3, ended a#1 (interrupted), run interrupted (step `a`: interrupted: the host that ran it went away; how it ended is unknown)
        "#]],
    );
}
