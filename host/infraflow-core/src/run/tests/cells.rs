//! The table of all states and inputs: what each cell does, held by a golden.
//!
//! The names come from `match`es without a wildcard: a new input or request
//! does not compile until it has a name, and does not pass until it has a row.

use std::collections::BTreeSet;

use expect_test::expect_file;

use super::invariants::check_decision;
use super::*;

/// Names every variant of a type, and lists the names.
macro_rules! names {
    ($function:ident, $list:ident, $type:ty, { $($pattern:pat => $name:literal,)+ }) => {
        pub(super) fn $function(value: &$type) -> &'static str {
            match value {
                $($pattern => $name,)+
            }
        }

        pub(super) const $list: &[&str] = &[$($name),+];
    };
}

names!(told_name, TOLD, Told, {
    Told::Input(Input::Claim { .. }) => "claim",
    Told::Input(Input::AttemptEnded { then: Then::GoOn, .. }) => "attempt ended",
    Told::Input(Input::AttemptEnded { then: Then::Release { .. }, .. }) => "attempt ended, release",
    Told::Input(Input::Stop { kind: StopKind::Cancel, .. }) => "stop: cancel",
    Told::Input(Input::Stop { kind: StopKind::Timeout, .. }) => "stop: timeout",
    Told::Input(Input::Stop { kind: StopKind::Superseded, .. }) => "stop: superseded",
    Told::Input(Input::Look) => "look",
    Told::Input(Input::LockAnswered { answer: LockAnswer::Taken { .. }, .. }) => "lock: taken",
    Told::Input(Input::LockAnswered { answer: LockAnswer::Waits, .. }) => "lock: waits",
    Told::Input(Input::LockAnswered { answer: LockAnswer::Superseded { .. }, .. }) => "lock: superseded",
    Told::Input(Input::LockAnswered { answer: LockAnswer::Full, .. }) => "lock: full",
    Told::Input(Input::GiveUp { .. }) => "give up",
    Told::Input(Input::Release { .. }) => "release",
    Told::Request(Request::Cancel { .. }) => "request: cancel",
    Told::Request(Request::Answer { answer: Answer::Retry, .. }) => "answer: retry",
    Told::Request(Request::Answer { answer: Answer::Fail, .. }) => "answer: fail",
    Told::Request(Request::Answer { answer: Answer::Done, .. }) => "answer: done",
    Told::Request(Request::Due) => "due",
    Told::Request(Request::Wake { .. }) => "wake",
    Told::Request(Request::Supersede { .. }) => "supersede",
    Told::Request(Request::FilesStored { .. }) => "files stored",
});

/// A state, as far as inputs can tell states apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shape {
    Fresh,
    Again,
    Running,
    RunningToStop,
    IdleToStop,
    BeforeLock,
    BeforeRetry,
    InShortWait,
    Question,
    Retry,
    Wait,
    Lock,
    Ended,
}

names!(shape_name, SHAPES, Shape, {
    Shape::Fresh => "runnable, fresh",
    Shape::Again => "runnable, given back or woken",
    Shape::Running => "claimed, an attempt runs",
    Shape::RunningToStop => "claimed, an attempt runs and is to stop",
    Shape::IdleToStop => "claimed, idle and to stop",
    Shape::BeforeLock => "claimed, before a lock",
    Shape::BeforeRetry => "claimed, shortly before a retry",
    Shape::InShortWait => "claimed, in a short wait",
    Shape::Question => "waits for an answer",
    Shape::Retry => "waits for a retry",
    Shape::Wait => "waits for the end of a wait",
    Shape::Lock => "waits for a lock",
    Shape::Ended => "ended",
});

pub(super) fn shape(run: &Run) -> Shape {
    match run.phase() {
        Phase::Runnable if run.epoch() == 0 => Shape::Fresh,
        Phase::Runnable => Shape::Again,
        Phase::Claimed(_) => claimed_shape(run),
        Phase::Waiting { parked, .. } => match &parked.parking {
            Parking::Question { .. } => Shape::Question,
            Parking::Retry { .. } => Shape::Retry,
            Parking::Wait { .. } => Shape::Wait,
            Parking::Lock { .. } => Shape::Lock,
        },
        Phase::Ended { .. } => Shape::Ended,
    }
}

fn claimed_shape(run: &Run) -> Shape {
    match (run.is_running(), run.stop()) {
        (true, None) => return Shape::Running,
        (true, Some(_)) => return Shape::RunningToStop,
        (false, Some(_)) => return Shape::IdleToStop,
        (false, None) if run.missing_lock().is_some() => return Shape::BeforeLock,
        (false, None) => {}
    }
    let next = run
        .steps()
        .iter()
        .find(|step| !matches!(step.status, StepStatus::Ended { .. }));
    match next.map(|step| &step.status) {
        Some(StepStatus::RetryAt(_)) => Shape::BeforeRetry,
        Some(StepStatus::WaitUntil(_)) => Shape::InShortWait,
        status => panic!("a host has the run and nothing to do with it: {status:?}"),
    }
}

/// One run of every shape, at second 10.
fn samples() -> Vec<Run> {
    let locked = Sample {
        locks: vec!["db"],
        ..Sample::of(vec![step("a", "command@1")])
    };
    let before_lock = after(&locked.run(), host(1), 9);
    let running = after(&two_steps(), host(1), 9);
    let between = |delay| {
        let run = run_of(vec![retrying_after(Duration::from_secs(delay))]);
        let run = after(&run, host(1), 8);
        after(&run, ended("a", 1, FLAKY), 9)
    };
    let waiting = |seconds| {
        let run = run_of(vec![wait_for("a", seconds), step("b", "command@1")]);
        after(&run, host(1), 9)
    };
    vec![
        two_steps(),
        after(&between(4), release(), 10),
        running.clone(),
        after(&running, cancel(), 10),
        after(&between(4), cancel(), 10),
        before_lock.clone(),
        between(4),
        waiting(4),
        waiting_for_an_answer(),
        between(60),
        waiting(60),
        after(&before_lock, answered("db", LockAnswer::Waits), 10),
        after(&running, ended("a", 1, BAD), 10),
    ]
}

/// Every input, at least once: what it is called in the table, and when it
/// comes.
fn rows() -> Vec<(&'static str, Told, Timestamp)> {
    let now = at(11);
    let stop = |kind| Input::Stop { kind, actor: ann() };
    let release_after = Input::AttemptEnded {
        step: id("a"),
        attempt: 1,
        report: report(OK),
        then: Then::Release {
            reason: "shutdown".into(),
        },
    };
    let give_up = Input::GiveUp {
        host: HostName::new("h2").unwrap(),
        incarnation: Incarnation(9),
        reason: "its files are lost".into(),
    };
    let by = run_id(9);
    vec![
        ("claim", host(2).into(), now),
        ("claim, much later", host(2).into(), at(DAY)),
        ("attempt ended: succeeded", ended("a", 1, OK).into(), now),
        ("attempt ended: failed", ended("a", 1, BAD).into(), now),
        ("attempt ended: of another", ended("a", 2, OK).into(), now),
        ("attempt ended, release", release_after.into(), now),
        ("stop: cancel", stop(StopKind::Cancel).into(), now),
        ("stop: timeout", stop(StopKind::Timeout).into(), now),
        ("stop: superseded", stop(StopKind::Superseded).into(), now),
        ("look", Input::Look.into(), now),
        ("look, later", Input::Look.into(), at(20)),
        ("look, much later", Input::Look.into(), at(DAY)),
        (
            "lock: taken",
            answered("db", LockAnswer::Taken { token: 5 }).into(),
            now,
        ),
        (
            "lock: another",
            answered("net", LockAnswer::Taken { token: 5 }).into(),
            now,
        ),
        ("lock: waits", answered("db", LockAnswer::Waits).into(), now),
        (
            "lock: superseded",
            answered("db", LockAnswer::Superseded { by }).into(),
            now,
        ),
        ("lock: full", answered("db", LockAnswer::Full).into(), now),
        ("give up", give_up.into(), now),
        ("release", release().into(), now),
        ("request: cancel", cancel().into(), now),
        ("answer: retry", answer("a", Answer::Retry).into(), now),
        ("answer: fail", answer("a", Answer::Fail).into(), now),
        ("answer: done", answer("a", Answer::Done).into(), now),
        ("answer: of another", answer("b", Answer::Done).into(), now),
        ("due, too early", Request::Due.into(), now),
        ("due", Request::Due.into(), at(70)),
        ("due, much later", Request::Due.into(), at(40 * DAY)),
        ("wake", Request::Wake { lock: lock("db") }.into(), now),
        (
            "wake: another",
            Request::Wake { lock: lock("net") }.into(),
            now,
        ),
        ("supersede", Request::Supersede { by }.into(), now),
        ("files stored", files_stored().into(), now),
    ]
}

#[test]
fn promise_04_every_state_meets_every_input() {
    let mut text = String::new();
    let mut cells = BTreeSet::new();
    for run in samples() {
        let state = shape_name(&shape(&run));
        text.push_str(&format!("{state}\n"));
        for (label, told, now) in rows() {
            cells.insert((state, told_name(&told)));
            let cell = match tell(&run, told.clone(), now) {
                Err(refusal) => format!("refused: {refusal}"),
                Ok(decision) => {
                    check_decision(&run, &told, &decision, now).unwrap();
                    written(&decision)
                }
            };
            text.push_str(&format!("    {label}: {cell}\n"));
        }
    }
    assert_eq!(missing(&cells), Vec::<String>::new());
    expect_file!["cells.txt"].assert_eq(&text);
}

/// The cells that are not there, by name.
pub(super) fn missing(cells: &BTreeSet<(&'static str, &'static str)>) -> Vec<String> {
    SHAPES
        .iter()
        .flat_map(|state| TOLD.iter().map(move |told| (*state, *told)))
        .filter(|cell| !cells.contains(cell))
        .map(|(state, told)| format!("{state} / {told}"))
        .collect()
}
