//! Random workflows, and what a random somebody tells their runs.

use proptest::prelude::*;

use super::*;

/// One thing that is told, before it is known to which state.
#[derive(Debug, Clone)]
pub(super) struct Move {
    what: u8,
    pick: u8,
    /// How far the clock goes first, in seconds.
    pub(super) jump: i64,
}

pub(super) fn moves(most: usize) -> impl Strategy<Value = Vec<Move>> {
    let jump = prop_oneof![
        12 => 0_i64..4,
        3 => 0_i64..100,
        1 => 0_i64..40 * 86_400,
        1 => -700_i64..0,
    ];
    let one =
        (any::<u8>(), any::<u8>(), jump).prop_map(|(what, pick, jump)| Move { what, pick, jump });
    prop::collection::vec(one, 0..most)
}

const IDS: [&str; 4] = ["a", "b", "c", "d"];
const LOCKS: [&str; 3] = ["app", "db", "net"];

fn random_step(id: &'static str) -> impl Strategy<Value = Step> {
    let plugin = (
        prop::sample::select(vec!["command@1", "checkout@1"]),
        1_u32..4,
        prop::sample::select(vec![1_u64, 5, 6, 60, 2 * HOUR]),
        prop::option::of(prop::sample::select(vec![
            OnInterrupt::Ask,
            OnInterrupt::Retry,
            OnInterrupt::Fail,
        ])),
    )
        .prop_map(move |(uses, attempts, delay, on_interrupt)| {
            let mut step = step(id, uses);
            step.retry.attempts = attempts;
            step.retry.delay = Duration::from_secs(delay);
            step.retry.max_delay = step.retry.delay;
            step.on_interrupt = on_interrupt;
            step
        });
    let waits = prop::sample::select(vec![1, 5, 6, 600, 2 * DAY])
        .prop_map(move |seconds| wait_for(id, seconds));
    let until = prop::sample::select(vec![START, "{{ inputs.soon }}", "{{ inputs.env }}"])
        .prop_map(move |text| wait_step(id, Wait::Until(Template::compile(&json!(text)).unwrap())));
    let action = prop_oneof![6 => plugin, 2 => waits, 1 => until];
    let when = prop::sample::select(vec![
        None,
        None,
        None,
        Some("inputs.env == 'prod'"),
        Some("inputs.env == 'dev'"),
    ]);
    (action, when).prop_map(|(step, when)| Step {
        when: when.map(|text| Expr::compile(text).unwrap()),
        ..step
    })
}

fn random_origin() -> impl Strategy<Value = Option<Origin>> {
    let carried = prop::collection::btree_map(
        prop::sample::select(IDS[..2].to_vec()).prop_map(id),
        any::<bool>().prop_map(|is_skipped| Carried {
            is_skipped,
            outputs: None,
        }),
        0..2,
    );
    prop::option::weighted(
        0.3,
        carried.prop_map(|carried| Origin {
            run: run_id(8),
            kind: OriginKind::Resume,
            actor: ann(),
            carried,
            overrides: BTreeMap::new(),
            workspace: None,
        }),
    )
}

pub(super) fn random_sample() -> impl Strategy<Value = Sample> {
    let steps = IDS.map(|id| random_step(id).boxed()).to_vec();
    (
        steps,
        1..=IDS.len(),
        0..=LOCKS.len(),
        prop::sample::select(OnConflict::ALL.to_vec()),
        random_origin(),
        prop::sample::select(vec![30, HOUR, 100 * DAY]),
    )
        .prop_map(|(mut steps, count, locks, on_conflict, origin, timeout)| {
            steps.truncate(count);
            Sample {
                steps,
                locks: LOCKS[..locks].to_vec(),
                on_conflict,
                origin,
                timeout: Duration::from_secs(timeout),
            }
        })
}

/// What a move tells this run: mostly something that fits.
pub(super) fn told(run: &Run, play: &Move) -> Told {
    let pick = play.pick;
    match play.what % 16 {
        0 | 1 => host(u64::from(pick % 3)).into(),
        2 | 3 => Input::Look.into(),
        4 => release().into(),
        5 if pick < 100 => Input::Stop {
            kind: [StopKind::Cancel, StopKind::Timeout, StopKind::Superseded]
                [usize::from(pick % 3)],
            actor: ann(),
        }
        .into(),
        6 if pick.is_multiple_of(3) => cancel().into(),
        6 if pick % 3 == 1 => Request::Supersede { by: run_id(9) }.into(),
        7 => {
            let asked = run.question().filter(|_| pick < 230).cloned();
            Request::Answer {
                step: asked.unwrap_or_else(|| id("b")),
                answer: Answer::ALL[usize::from(pick) % 3],
                actor: ann(),
            }
            .into()
        }
        8 | 9 => {
            let missing = run.missing_lock().filter(|_| pick < 240);
            let name = missing.map_or("db", |lock| lock.name.as_str());
            let by = run_id(9);
            let answer = match pick % 12 {
                0..6 => LockAnswer::Taken { token: 1 },
                6..10 => LockAnswer::Waits,
                10 => LockAnswer::Superseded { by },
                _ => LockAnswer::Full,
            };
            answered(name, answer).into()
        }
        5 | 6 | 10 => Request::Due.into(),
        11 => {
            let lock = match run.phase() {
                Phase::Waiting { parked, .. } => match &parked.parking {
                    Parking::Lock { lock } => lock.clone(),
                    _ => lock("db"),
                },
                _ => lock("db"),
            };
            Request::Wake { lock }.into()
        }
        12 if pick.is_multiple_of(4) => Input::GiveUp {
            host: HostName::new("h2").unwrap(),
            incarnation: Incarnation(9),
            reason: "lost".into(),
        }
        .into(),
        13 if pick.is_multiple_of(2) => files_stored().into(),
        _ => attempt_ended(run, pick).into(),
    }
}

fn attempt_ended(run: &Run, pick: u8) -> Input {
    let running = run.steps().iter().find(|s| s.status == StepStatus::Running);
    let outcome = match pick % 8 {
        0..3 => FLAKY,
        3 => AttemptOutcome::Interrupted,
        4 => BAD,
        _ => OK,
    };
    let then = if pick.is_multiple_of(7) {
        Then::Release {
            reason: "bye".into(),
        }
    } else {
        Then::GoOn
    };
    Input::AttemptEnded {
        step: running.map_or_else(|| id("a"), |step| step.id.clone()),
        attempt: running.map_or(1, |step| step.attempts),
        report: AttemptReport {
            workspace: pick
                .is_multiple_of(3)
                .then(|| files(pick.is_multiple_of(2))),
            ..report(outcome)
        },
        then,
    }
}
