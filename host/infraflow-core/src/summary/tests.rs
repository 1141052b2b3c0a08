//! What lists show after each entry.

use super::*;
use crate::event::tests::push;
use crate::id::{EnvironmentName, Incarnation, ProjectName};
use crate::lock::LockSpec;
use crate::outcome::AttemptOutcome;
use crate::ports::Trust;
use crate::run::{
    Answer, Birth, BirthEvent, Claim, LogFacts, Origin, OriginKind, Parked, WakeCause,
    WorkspacePlace, Writer,
};
use crate::workflow::OnConflict;
use std::collections::BTreeMap;
use std::time::Duration;

fn at(seconds: u64) -> Timestamp {
    "2026-11-21T12:00:00Z".parse::<Timestamp>().unwrap() + Duration::from_secs(seconds)
}

fn step(id: &str) -> StepId {
    StepId::new(id).unwrap()
}

fn birth() -> Birth {
    Birth {
        workflow: "deploy".parse().unwrap(),
        workflow_digest: Digest::of(b"deploy"),
        workflow_revision: 1,
        plugins: BTreeMap::new(),
        event: BirthEvent::new(&push("main"), Sequence(7)),
        trigger: 0,
        inputs: crate::JsonMap::new(),
        trust: Trust::Untrusted,
        project: ProjectName::default_project(),
        environment: EnvironmentName::default_environment(),
        pool: PoolName::default_pool(),
        locks: vec![],
        on_conflict: OnConflict::Queue,
        order: Sequence(9),
        origin: None,
    }
}

fn record(seconds: u64, entries: Vec<Entry>) -> RecordEnvelope {
    RecordEnvelope {
        run: "00000000000000000000000001".parse().unwrap(),
        writer: Writer {
            host: "h1".parse().unwrap(),
            incarnation: Incarnation(1),
        },
        epoch: 1,
        nonce: 1,
        at: at(seconds),
        wakes: None,
        entries,
    }
}

fn begun(birth: Birth) -> RunSummary {
    RunSummary::begin(&record(0, vec![Entry::Created(Box::new(birth))])).unwrap()
}

fn claimed() -> Entry {
    Entry::Claimed(Claim {
        host: "h1".parse().unwrap(),
        incarnation: Incarnation(1),
        epoch: 1,
    })
}

fn started() -> Entry {
    Entry::AttemptStarted {
        step: step("a"),
        attempt: 1,
    }
}

fn attempt_ended(next: AttemptNext, workspace: Option<WorkspacePlace>) -> Entry {
    Entry::AttemptEnded(Box::new(AttemptEnd {
        step: step("a"),
        attempt: 1,
        outcome: AttemptOutcome::Succeeded,
        message: String::new(),
        outputs: None,
        not_granted: vec![],
        leaked_handles: false,
        log: LogFacts::default(),
        workspace,
        next,
    }))
}

fn parked(parking: Parking) -> Entry {
    Entry::Parked(Parked {
        parking,
        until: at(900),
    })
}

fn woken() -> Entry {
    Entry::Woken {
        cause: WakeCause::Timer,
    }
}

/// The state and the time of waking after each entry, one record each.
fn states(entries: Vec<Entry>) -> Vec<String> {
    let mut summary = begun(birth());
    let mut states = vec![];
    for (second, entry) in (1..).zip(entries) {
        summary.fold(&record(second, vec![entry]));
        assert_eq!(summary.changed_at, at(second));
        let step = match &summary.state {
            SummaryState::Running { step } => step.as_ref().map_or("", StepId::as_str),
            SummaryState::Retrying { step } | SummaryState::Waiting { step, .. } => step.as_str(),
            SummaryState::Blocked { lock } => lock.as_str(),
            SummaryState::Queued | SummaryState::Ended(_) => "",
        };
        let mut text = format!("{} {step}", summary.state.name());
        if let SummaryState::Waiting { asks: true, .. } = summary.state {
            text.push('?');
        }
        if let Some(time) = summary.wakes_at {
            text.push_str(&format!(" {}", time.duration_since(at(0)).as_secs()));
        }
        states.push(text.trim_end().to_owned());
    }
    states
}

#[test]
fn a_run_in_one_word() {
    let a = || step("a");
    for (entries, expected) in [
        (vec![claimed(), started()], vec!["running", "running a"]),
        (
            vec![
                claimed(),
                started(),
                attempt_ended(AttemptNext::RetryAt(at(900)), None),
                parked(Parking::Retry { step: a() }),
                woken(),
                claimed(),
                started(),
            ],
            vec![
                "running",
                "running a",
                "retrying a",
                "retrying a 900",
                "queued",
                "running",
                "running a",
            ],
        ),
        (
            vec![
                claimed(),
                Entry::WaitStarted {
                    step: a(),
                    until: at(900),
                },
                parked(Parking::Wait { step: a() }),
                woken(),
                claimed(),
                Entry::WaitEnded { step: a() },
            ],
            vec![
                "running",
                "waiting a",
                "waiting a 900",
                "queued",
                "running",
                "running",
            ],
        ),
        (
            vec![
                parked(Parking::Question { step: a() }),
                Entry::Answered {
                    step: a(),
                    answer: Answer::Done,
                    actor: crate::event::Actor::Host,
                },
            ],
            vec!["waiting a? 900", "queued"],
        ),
        (
            vec![
                claimed(),
                parked(Parking::Lock {
                    lock: LockName::new("db").unwrap(),
                }),
                woken(),
                claimed(),
                Entry::LockAcquired {
                    lock: LockName::new("db").unwrap(),
                    token: 1,
                },
                Entry::Released {
                    reason: "bye".into(),
                },
            ],
            vec![
                "running",
                "blocked db 900",
                "queued",
                "running",
                "running",
                "queued",
            ],
        ),
    ] {
        assert_eq!(states(entries), expected);
    }
}

#[test]
fn the_end_is_the_end() {
    for outcome in RunOutcome::ALL {
        let end = Entry::Ended {
            outcome,
            reason: "why".into(),
        };
        let mut summary = begun(birth());
        summary.fold(&record(
            1,
            vec![parked(Parking::Question { step: step("a") })],
        ));
        summary.fold(&record(2, vec![end]));
        summary.fold(&record(3, vec![claimed()]));
        assert_eq!(summary.state, SummaryState::Ended(outcome));
        assert!(SummaryState::NAMES.contains(&summary.state.name()));
        assert_eq!(summary.ended_at, Some(at(2)));
        assert_eq!(summary.wakes_at, None);
        assert_eq!(summary.reason, "why");
    }
}

#[test]
fn every_state_has_its_name_in_the_list() {
    for state in [
        SummaryState::Queued,
        SummaryState::Running { step: None },
        SummaryState::Retrying { step: step("a") },
        SummaryState::Waiting {
            step: step("a"),
            asks: true,
        },
        SummaryState::Blocked {
            lock: LockName::new("db").unwrap(),
        },
    ] {
        assert!(SummaryState::NAMES.contains(&state.name()), "{state:?}");
    }
}

#[test]
fn what_a_list_needs_of_the_creation() {
    let summary = begun(Birth {
        locks: vec![LockSpec {
            name: LockName::new("db").unwrap(),
            max: 1,
        }],
        ..birth()
    });
    assert_eq!(summary.state, SummaryState::Queued);
    assert_eq!(summary.order, Sequence(9), "its place in queues");
    assert_eq!(summary.event_sequence, Sequence(7));
    assert!(summary.has_locks);
    assert!(!begun(birth()).has_locks);
    assert_eq!(RunSummary::begin(&record(1, vec![claimed()])), None);
}

#[test]
fn where_the_files_are() {
    let place = |host: &str, stored: bool| WorkspacePlace {
        host: host.parse().unwrap(),
        stored: stored.then(|| Digest::of(b"files")),
    };
    let pinned = |summary: &RunSummary| summary.pinned_to.as_ref().map(ToString::to_string);
    let origin = |workspace| Origin {
        run: "00000000000000000000000002".parse().unwrap(),
        kind: OriginKind::Resume,
        actor: crate::event::Actor::Host,
        carried: BTreeMap::new(),
        overrides: BTreeMap::new(),
        workspace: Some(workspace),
    };
    let from = |workspace| {
        begun(Birth {
            origin: Some(Box::new(origin(workspace))),
            ..birth()
        })
    };
    assert_eq!(pinned(&from(place("h1", true))), None);
    let mut summary = from(place("h1", false));
    assert_eq!(pinned(&summary).as_deref(), Some("h1"));
    for (workspace, expected) in [
        (Some(place("h2", false)), Some("h2")),
        (None, Some("h2")),
        (Some(place("h2", true)), None),
        (None, None),
    ] {
        summary.fold(&record(
            5,
            vec![attempt_ended(AttemptNext::StepEnds, workspace)],
        ));
        assert_eq!(pinned(&summary).as_deref(), expected);
    }
}
