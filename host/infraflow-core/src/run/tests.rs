//! The run state machine: tables of what follows, and properties of every
//! sequence of inputs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::json;

use super::decide::{AttemptReport, Request, Then};
use super::*;
use crate::event::Actor;
use crate::event::tests::push;
use crate::id::{
    Digest, EnvironmentName, HostName, Incarnation, PoolName, ProjectName, RunId, StepId, UserName,
};
use crate::limits::CLAIMS_WITHOUT_PROGRESS;
use crate::outcome::AttemptOutcome;
use crate::plugin::ResolvedPlugin;
use crate::ports::{Sequence, Trust};
use crate::template::{Expr, Template};
use crate::workflow::samples::{SampleWorkflow, step};
use crate::workflow::{OnInterrupt, Step, Workflow};
use crate::{Json, Timestamp};

const START: &str = "2026-11-21T12:00:00Z";

fn at(seconds: u64) -> Timestamp {
    START.parse::<Timestamp>().unwrap() + Duration::from_secs(seconds)
}

fn ann() -> Actor {
    Actor::User(UserName::new("ann").unwrap())
}

fn birth_of(workflow: &Workflow, inputs: &Json) -> Box<Birth> {
    let plugins: BTreeMap<_, _> = workflow
        .plugins()
        .into_iter()
        .map(|plugin| {
            let resolved = ResolvedPlugin {
                digest: Digest::of(plugin.name.as_str().as_bytes()),
                version: "1.0.0".parse().unwrap(),
                idempotent: plugin.name.as_str() == "checkout",
            };
            (plugin, resolved)
        })
        .collect();
    Box::new(Birth {
        workflow: workflow.name.clone(),
        workflow_digest: workflow.digest,
        workflow_revision: 1,
        plugins,
        event: BirthEvent::new(&push("main"), Sequence(7)),
        trigger: 0,
        inputs: inputs.as_object().unwrap().clone(),
        trust: Trust::Untrusted,
        project: ProjectName::default_project(),
        environment: EnvironmentName::default_environment(),
        pool: PoolName::default_pool(),
    })
}

fn run_of(steps: Vec<Step>) -> Run {
    let workflow = SampleWorkflow {
        steps,
        ..SampleWorkflow::named("deploy")
    }
    .build();
    let birth = birth_of(&workflow, &json!({ "env": "prod" }));
    let id: RunId = "00000000000000000000000001".parse().unwrap();
    Run::new(id, birth, Arc::new(workflow), at(0))
}

fn host(life: u64) -> Input {
    Input::Claim {
        host: HostName::new("h1").unwrap(),
        incarnation: Incarnation(life),
    }
}

fn ended(id: &str, attempt: u32, outcome: AttemptOutcome) -> Input {
    Input::AttemptEnded {
        step: StepId::new(id).unwrap(),
        attempt,
        report: report(outcome),
        then: Then::GoOn,
    }
}

fn report(outcome: AttemptOutcome) -> AttemptReport {
    AttemptReport {
        outcome,
        message: if outcome == AttemptOutcome::Succeeded {
            String::new()
        } else {
            "why".into()
        },
        outputs: (outcome == AttemptOutcome::Succeeded)
            .then(|| json!({ "changes": 2 }).as_object().unwrap().clone()),
        not_granted: vec![],
        leaked_handles: false,
        log: LogFacts::default(),
    }
}

const OK: AttemptOutcome = AttemptOutcome::Succeeded;
const BAD: AttemptOutcome = AttemptOutcome::Failed {
    exit_code: Some(2),
    transient: false,
};
const FLAKY: AttemptOutcome = AttemptOutcome::Failed {
    exit_code: Some(4),
    transient: true,
};

/// Feeds inputs, a second apart, and writes down what each leads to.
fn transcript(run: Run, inputs: Vec<Input>) -> String {
    let mut run = run;
    let mut text = String::new();
    for (second, input) in inputs.into_iter().enumerate() {
        let now = at(u64::try_from(second).unwrap() + 1);
        match run.decide(input, now) {
            Err(refusal) => text.push_str(&format!("refused: {refusal}\n")),
            Ok(decision) => {
                text.push_str(&written(&decision));
                run = decision.next;
            }
        }
    }
    text
}

fn written(decision: &Decision) -> String {
    let mut words: Vec<String> = decision.entries.iter().map(entry_word).collect();
    if let Some(pool) = &decision.wakes {
        words.push(format!("wakes {pool}"));
    }
    for effect in &decision.effects {
        words.push(match effect {
            Effect::Start(start) => format!("-> start {}#{}", start.step, start.attempt),
            Effect::Stop(reason) => format!("-> stop {reason:?}"),
            Effect::LookAt(due) => {
                format!("-> look in {}s", due.duration_since(at(0)).as_secs())
            }
        });
    }
    if words.is_empty() {
        "nothing\n".to_owned()
    } else {
        format!("{}\n", words.join(", "))
    }
}

fn entry_word(entry: &Entry) -> String {
    match entry {
        Entry::Claimed(claim) => format!("claimed {}", claim.epoch),
        Entry::AttemptStarted { step, attempt } => format!("started {step}#{attempt}"),
        Entry::AttemptEnded(end) => {
            let next = match end.next {
                AttemptNext::StepEnds => "",
                AttemptNext::RetryAt(_) => ", again",
                AttemptNext::Ask => ", ask",
            };
            format!(
                "ended {}#{} ({}{next})",
                end.step,
                end.attempt,
                end.outcome.name()
            )
        }
        Entry::StepSkipped { step } => format!("skipped {step}"),
        Entry::StepUnstartable { step, message } => format!("unstartable {step} ({message})"),
        Entry::StopRequested { kind, actor } => format!("stop {kind:?} by {actor}"),
        Entry::Ended { outcome, reason } => format!("run {outcome} ({reason})"),
        other => other.name().to_owned(),
    }
}

fn check(run: Run, inputs: Vec<Input>, expected: &Expect) {
    expected.assert_eq(&transcript(run, inputs));
}

fn two_steps() -> Run {
    run_of(vec![step("a", "command@1"), step("b", "command@1")])
}

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
    let with = Template::compile(&json!({ "n": "{{ steps.a.outputs.changes }}" })).unwrap();
    let run = run_of(vec![
        step("a", "command@1"),
        Step {
            with,
            ..step("b", "command@1")
        },
    ]);
    let run = run.decide(host(1), at(1)).unwrap().next;
    let decision = run.decide(ended("a", 1, OK), at(2)).unwrap();
    let Some(Effect::Start(start)) = decision.effects.first() else {
        panic!("b starts");
    };
    assert_eq!(start.input, json!({ "n": 2 }));
}

fn retrying(attempts: u32) -> Step {
    let mut step = step("a", "command@1");
    step.retry.attempts = attempts;
    step
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
            ended a#1 (failed, again), -> look in 7s
            -> look in 7s
            -> look in 7s
            -> look in 7s
            -> look in 7s
            started a#2, -> start a#2
            ended a#2 (failed), run failed (step `a`: failed (exit code 4): why)
        "#]],
    );
}

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
                claimed 2, ended a#1 (interrupted, ask), parked
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

fn asked() -> Run {
    let run = run_of(vec![
        Step {
            on_interrupt: Some(OnInterrupt::Ask),
            ..step("a", "command@1")
        },
        step("b", "command@1"),
    ]);
    let run = run.decide(host(1), at(1)).unwrap().next;
    run.decide(host(2), at(2)).unwrap().next
}

#[test]
fn a_person_answers() {
    for (answer, expected) in [
        (
            Answer::Retry,
            "answered, wakes default\nclaimed 3, started a#2, -> start a#2\n",
        ),
        (
            Answer::Done,
            "answered, wakes default\nclaimed 3, started b#1, -> start b#1\n",
        ),
        (
            Answer::Fail,
            "answered, wakes default\nclaimed 3, run interrupted (step `a`: interrupted: the attempt was interrupted, and a person said that it failed)\n",
        ),
    ] {
        let run = asked();
        let request = Request::Answer {
            step: StepId::new("a").unwrap(),
            answer,
            actor: ann(),
        };
        let decision = run.request(request.clone(), at(9)).unwrap();
        let claimed = decision.next.decide(host(3), at(10)).unwrap();
        assert_eq!(
            format!("{}{}", written(&decision), written(&claimed)),
            expected
        );
        assert_eq!(
            decision.next.request(request, at(11)).unwrap_err(),
            Refusal::NotAsked(StepId::new("a").unwrap()),
        );
    }
    assert_eq!(
        asked().decide(host(3), at(9)).unwrap_err(),
        Refusal::Parked(StepId::new("a").unwrap())
    );
}

#[test]
fn cancel_is_immediate_in_every_state() {
    let cancel = || Request::Cancel { actor: ann() };
    // Nobody has it yet; it waits for a person.
    for run in [two_steps(), asked()] {
        let decision = run.request(cancel(), at(5)).unwrap();
        assert_eq!(
            written(&decision),
            "stop Cancel by user:ann, run cancelled (cancelled by user:ann)\n"
        );
    }
    // A host works on it: it is told to stop, and ends the run when it has.
    let stop = || Input::Stop {
        kind: StopKind::Cancel,
        actor: ann(),
    };
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
            ended a#1 (failed, again), -> look in 7s
            stop Cancel by user:ann, run cancelled (cancelled by user:ann)
        "#]],
    );
    // A foreign request to a run that a host has leaves the end to that host.
    let claimed = two_steps().decide(host(1), at(1)).unwrap().next;
    let decision = claimed.request(cancel(), at(5)).unwrap();
    assert_eq!(written(&decision), "stop Cancel by user:ann\n");
    let looked = decision.next.decide(Input::Look, at(6)).unwrap();
    assert_eq!(written(&looked), "-> stop Cancel\n");
}

#[test]
fn a_step_that_succeeds_while_it_is_cancelled_has_succeeded() {
    let stop = Input::Stop {
        kind: StopKind::Cancel,
        actor: ann(),
    };
    check(
        two_steps(),
        vec![host(1), stop, ended("a", 1, OK)],
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
        Ok("claimed 1, stop Timeout by host, run failed (its time of 6h was up)\n".to_owned())
    );
    let running = run.decide(host(1), at(1)).unwrap().next;
    let stop = Input::Stop {
        kind: StopKind::Timeout,
        actor: Actor::Host,
    };
    assert_eq!(
        late(&running, stop),
        Ok("stop Timeout by host, -> stop Timeout\n".to_owned())
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
            "ended a#1 (succeeded), released, wakes default\n",
        ),
        (
            run_of(vec![step("a", "checkout@1")]),
            AttemptOutcome::Interrupted,
            "ended a#1 (interrupted, again), released, wakes default\n",
        ),
        (
            two_steps(),
            AttemptOutcome::Interrupted,
            "ended a#1 (interrupted), run interrupted (step `a`: interrupted: why)\n",
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
            ended a#1 (failed, again), -> look in 8s
            released, wakes default
            refused: no host has claimed the run
            claimed 2, -> look in 8s
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
        "claimed 7, ended a#6 (interrupted, again), run failed (poisoned: 5 hosts in a row went away while they worked on it)\n"
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
    let a = StepId::new("a").unwrap();
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

// ---- properties ------------------------------------------------------------------

/// A journal of a random life, and the state it led to.
fn live(steps: Vec<Step>, moves: &[u8]) -> (Run, Vec<(Timestamp, Vec<Entry>)>, Run) {
    let first = run_of(steps);
    let mut run = first.clone();
    let mut journal = Vec::new();
    for (second, &choice) in moves.iter().enumerate() {
        let now = at(u64::try_from(second).unwrap() * 3);
        let decided = match choice % 12 {
            0 | 1 => run.decide(host(u64::from(choice)), now),
            2 => run.decide(Input::Look, now),
            3 => run.decide(
                Input::Release {
                    reason: "bye".into(),
                },
                now,
            ),
            4 if choice > 200 => run.decide(
                Input::Stop {
                    kind: StopKind::Cancel,
                    actor: ann(),
                },
                now,
            ),
            5 if choice > 240 => run.request(Request::Cancel { actor: ann() }, now),
            6 => run.request(
                Request::Answer {
                    step: StepId::new(if choice > 128 { "a" } else { "b" }).unwrap(),
                    answer: Answer::ALL[usize::from(choice) % 3],
                    actor: ann(),
                },
                now,
            ),
            other => {
                let id = if other % 2 == 0 { "a" } else { "b" };
                let attempts = run
                    .step(&StepId::new(id).unwrap())
                    .map_or(1, |(_, s)| s.attempts);
                let outcome = match choice % 5 {
                    0 => FLAKY,
                    1 => AttemptOutcome::Interrupted,
                    2 if choice > 200 => BAD,
                    _ => OK,
                };
                let then = match choice % 7 {
                    0 => Then::Release {
                        reason: "bye".into(),
                    },
                    _ => Then::GoOn,
                };
                let step = StepId::new(id).unwrap();
                run.decide(
                    Input::AttemptEnded {
                        step,
                        attempt: attempts,
                        report: report(outcome),
                        then,
                    },
                    now,
                )
            }
        };
        if let Ok(decision) = decided {
            if !decision.entries.is_empty() {
                journal.push((now, decision.entries));
            }
            run = decision.next;
        }
    }
    (first, journal, run)
}

fn random_steps() -> impl Strategy<Value = Vec<Step>> {
    let one = |id: &'static str| {
        (
            prop::sample::select(vec!["command@1", "checkout@1"]),
            1_u32..4,
            0_u8..4,
        )
            .prop_map(move |(uses, attempts, on_interrupt)| {
                let mut step = step(id, uses);
                step.retry.attempts = attempts;
                step.on_interrupt = match on_interrupt {
                    0 => Some(OnInterrupt::Ask),
                    1 => Some(OnInterrupt::Retry),
                    2 => Some(OnInterrupt::Fail),
                    _ => None,
                };
                step
            })
    };
    (one("a"), one("b")).prop_map(|(a, b)| vec![a, b])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// What was decided live is what the journal folds to, every prefix is
    /// legal, and the promises about steps hold.
    #[test]
    fn promise_11_every_prefix_of_every_journal_folds(
        steps in random_steps(),
        moves in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let (first, journal, last) = live(steps, &moves);
        let mut folded = first;
        let mut finished: BTreeMap<StepId, usize> = BTreeMap::new();
        let mut over = false;
        for (record, (now, entries)) in journal.iter().enumerate() {
            for entry in entries {
                prop_assert!(!over, "nothing follows the end");
                folded.fold(entry, *now).map_err(|error| TestCaseError::fail(error.to_string()))?;
                match entry {
                    Entry::AttemptStarted { step, .. } => {
                        prop_assert!(!finished.contains_key(step), "a finished step started again");
                    }
                    Entry::AttemptEnded(end) if end.next == AttemptNext::StepEnds => {
                        finished.insert(end.step.clone(), record);
                    }
                    Entry::Ended { .. } => over = true,
                    _ => {}
                }
            }
        }
        prop_assert_eq!(format!("{folded:?}"), format!("{last:?}"));
    }

    /// Equal inputs give equal decisions.
    #[test]
    fn promise_01_decisions_depend_on_nothing_else(
        steps in random_steps(),
        moves in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let (_, first, _) = live(steps.clone(), &moves);
        let (_, second, _) = live(steps, &moves);
        prop_assert_eq!(first, second);
    }

    /// A claimed run that is told to look, and whose attempts end, always ends:
    /// nothing is left that waits for nobody.
    #[test]
    fn promise_04_a_run_never_sticks(
        steps in random_steps(),
        moves in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let (_, _, mut run) = live(steps, &moves);
        let mut now = at(10_000);
        for life in 1_000..1_050 {
            now += Duration::from_secs(400);
            let decision = match run.phase() {
                Phase::Ended { .. } => break,
                Phase::Parked(Parking::Question { step }) => {
                    let step = step.clone();
                    run.request(Request::Answer { step, answer: Answer::Done, actor: ann() }, now)
                }
                Phase::Runnable => run.decide(host(life), now),
                Phase::Claimed(_) => {
                    let running = run.steps().iter().find(|s| s.status == StepStatus::Running);
                    match running.map(|s| (s.id.to_string(), s.attempts)) {
                        Some((id, attempt)) => run.decide(ended(&id, attempt, OK), now),
                        None => run.decide(Input::Look, now),
                    }
                }
            };
            run = decision.map_err(|refusal| TestCaseError::fail(refusal.to_string()))?.next;
        }
        let is_ended = matches!(run.phase(), Phase::Ended { .. });
        prop_assert!(is_ended, "{:?}", run.phase());
    }
}
