//! Properties of every run: random workflows, told random things, by clocks
//! that go back and forth.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::cells::{missing, shape, shape_name, told_name};
use super::invariants::{check_decision, check_steps};
use super::random::{Move, moves, random_sample, told};
use super::*;

/// A life: the run at first, its records, the run at last.
struct Life {
    first: Run,
    journal: Vec<(Timestamp, Vec<Entry>)>,
    last: Run,
    now: Timestamp,
}

/// Lives a life and checks each decision; `seen` gets every cell that is hit.
fn live(
    sample: Sample,
    moves: &[Move],
    seen: &mut impl FnMut(&Run, &Told),
) -> Result<Life, TestCaseError> {
    let first = sample.run();
    let mut run = first.clone();
    let mut journal = Vec::new();
    let mut now = at(0);
    for play in moves {
        now += jiff::SignedDuration::from_secs(play.jump);
        let told = told(&run, play);
        seen(&run, &told);
        let decided = tell(&run, told.clone(), now);
        if is_ended(&run) {
            prop_assert!(matches!(decided, Err(Refusal::Ended(_))), "after the end");
        }
        let Ok(decision) = decided else { continue };
        check_decision(&run, &told, &decision, now)?;
        if !decision.entries.is_empty() {
            journal.push((now, decision.entries));
        }
        run = decision.next;
    }
    Ok(Life {
        first,
        journal,
        last: run,
        now,
    })
}

/// What helps a run on that is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Help {
    /// People answer, and locks come.
    All,
    /// Nothing but hosts and time.
    TimeOnly,
}

/// What a host, a timer or a person does next for a run, and when.
fn next_move(run: &Run, now: Timestamp, help: Help) -> (Told, Timestamp) {
    match run.phase() {
        Phase::Waiting { parked, .. } => match &parked.parking {
            Parking::Question { step } if help == Help::All => {
                (answer(step.as_str(), Answer::Retry).into(), now)
            }
            Parking::Lock { lock } if help == Help::All => {
                (Request::Wake { lock: lock.clone() }.into(), now)
            }
            // By the clock of the server: the host's may be behind.
            _ => (Request::Due.into(), now.max(run.wake_at().unwrap())),
        },
        Phase::Claimed(_) => {
            let running = run.steps().iter().find(|s| s.status == StepStatus::Running);
            match running {
                Some(step) => (ended(step.id.as_str(), step.attempts, OK).into(), now),
                None => effect_done(run, now, help),
            }
        }
        Phase::Runnable | Phase::Ended { .. } => (host(7).into(), now),
    }
}

/// What the effects of a host lead to that has a run and runs nothing.
fn effect_done(run: &Run, now: Timestamp, help: Help) -> (Told, Timestamp) {
    let looked = run.decide(Input::Look, now).unwrap();
    match looked.effects.first() {
        Some(Effect::AskLock(lock)) => {
            let answer = match help {
                Help::All => LockAnswer::Taken { token: 1 },
                Help::TimeOnly => LockAnswer::Waits,
            };
            (answered(lock.name.as_str(), answer).into(), now)
        }
        Some(Effect::LookAt(due)) => (Input::Look.into(), *due),
        _ => (Input::Look.into(), now),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// What was decided live is what the journal folds to, every prefix is
    /// legal, and folding it twice gives the same.
    #[test]
    fn promise_11_every_prefix_of_every_journal_folds(
        sample in random_sample(),
        moves in moves(60),
    ) {
        let life = live(sample, &moves, &mut |_, _| {})?;
        let (mut once, mut twice) = (life.first.clone(), life.first);
        for (now, entries) in &life.journal {
            for entry in entries {
                for run in [&mut once, &mut twice] {
                    run.fold(entry, *now).map_err(|error| TestCaseError::fail(error.to_string()))?;
                }
            }
            prop_assert_eq!(format!("{once:?}"), format!("{twice:?}"));
        }
        prop_assert_eq!(format!("{once:?}"), format!("{:?}", life.last));
    }

    /// Entries in any order never panic, one that is refused changes nothing,
    /// and no order starts a step again that is over.
    #[test]
    fn entries_out_of_order_are_refused_whole(
        sample in random_sample(),
        moves in moves(40),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let life = live(sample, &moves, &mut |_, _| {})?;
        let entries: Vec<Entry> = life.journal.into_iter().flat_map(|(_, entries)| entries).collect();
        let mut run = life.first;
        for index in order.iter().filter(|_| !entries.is_empty()) {
            let before = run.clone();
            if run.fold(index.get(&entries), at(9)).is_err() {
                prop_assert_eq!(format!("{run:?}"), format!("{before:?}"));
            }
            check_steps(&before, &run)?;
        }
    }

    /// Equal inputs give equal decisions.
    #[test]
    fn promise_01_decisions_depend_on_nothing_else(
        sample in random_sample(),
        moves in moves(40),
    ) {
        let first = live(sample.clone(), &moves, &mut |_, _| {})?;
        let second = live(sample, &moves, &mut |_, _| {})?;
        prop_assert_eq!(first.journal, second.journal);
    }

    /// A run that hosts claim, and whose timers come, always ends: nothing is
    /// left that waits for nobody. Nor does it go in circles: a few moves for
    /// each step and lock are enough, also when the clock of the hosts is
    /// behind that of the timers.
    #[test]
    fn promise_04_a_run_never_sticks(
        sample in random_sample(),
        moves in moves(40),
        help in prop::sample::select(vec![Help::All, Help::TimeOnly]),
    ) {
        let life = live(sample, &moves, &mut |_, _| {})?;
        let (mut run, mut now) = (life.last, life.now);
        for _ in 0..60 {
            if is_ended(&run) {
                break;
            }
            let (told, time) = next_move(&run, now, help);
            let is_host = matches!(told, Told::Input(_));
            let decision = tell(&run, told.clone(), time)
                .map_err(|refusal| TestCaseError::fail(refusal.to_string()))?;
            check_decision(&run, &told, &decision, time)?;
            if is_host {
                now = now.max(time);
            }
            run = decision.next;
        }
        prop_assert!(is_ended(&run), "{:?}", run);
    }
}

/// The properties above say something about every cell of the table: random
/// lives come by each.
#[test]
fn random_lives_hit_every_cell() {
    let mut runner = TestRunner::deterministic();
    let strategy = (random_sample(), moves(60));
    let mut cells = BTreeSet::new();
    for _ in 0..30_000 {
        let (sample, moves) = strategy.new_tree(&mut runner).unwrap().current();
        live(sample, &moves, &mut |run, told| {
            cells.insert((shape_name(&shape(run)), told_name(told)));
        })
        .unwrap();
        if missing(&cells).is_empty() {
            return;
        }
    }
    assert_eq!(missing(&cells), Vec::<String>::new());
}
