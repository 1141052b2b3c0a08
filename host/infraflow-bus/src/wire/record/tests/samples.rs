//! Every entry in every form, as values.

use std::collections::BTreeMap;
use std::sync::Arc;

use infraflow_core::event::Actor;
use infraflow_core::id::{
    Digest, EventId, EventSource, EventType, HostName, Incarnation, LockName, RunId, StepId,
};
use infraflow_core::lock::LockSpec;
use infraflow_core::outcome::{AttemptOutcome, RunOutcome};
use infraflow_core::plugin::ResolvedPlugin;
use infraflow_core::ports::{Sequence, Trust};
use infraflow_core::run::{
    Answer, AttemptEnd, AttemptNext, Birth, BirthEvent, Carried, Claim, Entry, LogFacts, Origin,
    OriginKind, Parked, Parking, RecordEnvelope, StopKind, WakeCause, WorkspacePlace, Writer,
};
use infraflow_core::tool::CommitId;
use infraflow_core::workflow::OnConflict;
use infraflow_core::{Json, JsonMap};
use serde_json::json;

pub(super) fn run() -> RunId {
    "00000000000000000000000001".parse().unwrap()
}

pub(super) fn step() -> StepId {
    StepId::new("plan").unwrap()
}

fn ann() -> Actor {
    "user:ann".parse().unwrap()
}

fn later() -> jiff::Timestamp {
    "2026-11-21T12:00:05.25Z".parse().unwrap()
}

fn object(value: &Json) -> JsonMap {
    value.as_object().unwrap().clone()
}

pub(super) fn record(entries: Vec<Entry>) -> RecordEnvelope {
    RecordEnvelope {
        run: run(),
        writer: Writer {
            host: "h1".parse().unwrap(),
            incarnation: Incarnation(0xabc),
        },
        epoch: 1,
        nonce: 0xdef,
        at: "2026-11-21T12:00:01.5Z".parse().unwrap(),
        wakes: Some("default".parse().unwrap()),
        entries,
    }
}

pub(super) fn claimed() -> Entry {
    Entry::Claimed(Claim {
        host: HostName::new("h1").unwrap(),
        incarnation: Incarnation(0xabc),
        epoch: 2,
    })
}

pub(super) fn ended(outcome: AttemptOutcome, next: AttemptNext) -> AttemptEnd {
    AttemptEnd {
        step: step(),
        attempt: 1,
        outcome,
        message: String::new(),
        outputs: None,
        not_granted: vec![],
        leaked_handles: false,
        log: LogFacts {
            lines: 3,
            dropped: 0,
        },
        workspace: None,
        next,
    }
}

/// How an attempt can end. Version 1 knew all of them.
fn attempt_ends() -> Vec<Entry> {
    let failed = AttemptEnd {
        message: "2 hosts failed".into(),
        outputs: Some(Arc::new(object(&json!({ "failed_hosts": ["web1"] })))),
        not_granted: vec!["secret:key".parse().unwrap()],
        leaked_handles: true,
        log: LogFacts {
            lines: 9,
            dropped: 1,
        },
        ..ended(
            AttemptOutcome::Failed {
                exit_code: Some(2),
                transient: true,
            },
            AttemptNext::RetryAt(later()),
        )
    };
    let plain = AttemptOutcome::Failed {
        exit_code: None,
        transient: false,
    };
    let others = [
        AttemptOutcome::Succeeded,
        plain,
        AttemptOutcome::Signalled { signal: 9 },
        AttemptOutcome::TimedOut,
        AttemptOutcome::Trapped,
        AttemptOutcome::LimitExceeded,
        AttemptOutcome::NotGranted,
        AttemptOutcome::CouldNotStart,
        AttemptOutcome::Interrupted,
        AttemptOutcome::Cancelled,
    ]
    .map(|outcome| {
        let next = match outcome {
            AttemptOutcome::Interrupted => AttemptNext::Ask,
            _ => AttemptNext::StepEnds,
        };
        ended(outcome, next)
    });
    std::iter::once(failed)
        .chain(others)
        .map(|end| Entry::AttemptEnded(Box::new(end)))
        .collect()
}

fn parked(parking: Parking, until: jiff::Timestamp) -> Entry {
    Entry::Parked(Parked { parking, until })
}

fn stop(kind: StopKind, actor: Actor) -> Entry {
    Entry::StopRequested { kind, actor }
}

fn run_ended(outcome: RunOutcome) -> Entry {
    Entry::Ended {
        outcome,
        reason: outcome.name().to_owned(),
    }
}

/// What the lines of the golden of version 1 say, in order.
pub(super) fn entries_of_version_1() -> Vec<Entry> {
    let mut entries = vec![
        Entry::Created(Box::new(birth())),
        claimed(),
        Entry::Released {
            reason: "shutdown".into(),
        },
        Entry::AttemptStarted {
            step: step(),
            attempt: 1,
        },
        Entry::StepSkipped { step: step() },
        Entry::StepUnstartable {
            step: step(),
            message: "`with`: no".into(),
        },
        stop(StopKind::Cancel, ann()),
        stop(StopKind::Timeout, Actor::Host),
        // A question had no end then.
        parked(Parking::Question { step: step() }, jiff::Timestamp::MAX),
    ];
    entries.extend(attempt_ends());
    entries.extend(Answer::ALL.map(|answer| Entry::Answered {
        step: step(),
        answer,
        actor: ann(),
    }));
    entries.extend(
        [
            RunOutcome::Succeeded,
            RunOutcome::Failed,
            RunOutcome::Cancelled,
            RunOutcome::Interrupted,
        ]
        .map(run_ended),
    );
    entries
}

/// What version 2 added.
fn entries_new_in_version_2() -> Vec<Entry> {
    let lock = || LockName::new("shop/prod db").unwrap();
    let mut entries = vec![
        Entry::WaitStarted {
            step: step(),
            until: later(),
        },
        Entry::FilesStored {
            place: WorkspacePlace {
                host: HostName::new("h1").unwrap(),
                stored: Some(Digest::of(b"files")),
            },
        },
        Entry::WaitEnded { step: step() },
        Entry::LockAcquired {
            lock: lock(),
            token: 12,
        },
        stop(StopKind::Superseded, Actor::Run(run())),
        parked(Parking::Question { step: step() }, later()),
        parked(Parking::Retry { step: step() }, later()),
        parked(Parking::Wait { step: step() }, later()),
        parked(Parking::Lock { lock: lock() }, later()),
        run_ended(RunOutcome::Skipped),
    ];
    entries.extend(WakeCause::ALL.map(|cause| Entry::Woken { cause }));
    entries.extend([true, false].map(|is_stored| {
        Entry::AttemptEnded(Box::new(AttemptEnd {
            workspace: Some(place(is_stored)),
            ..ended(AttemptOutcome::Succeeded, AttemptNext::StepEnds)
        }))
    }));
    entries.extend(births_new_in_version_2().map(|birth| Entry::Created(Box::new(birth))));
    entries
}

/// One record with an entry of every kind, and every form of each.
pub(super) fn every_entry() -> Vec<Entry> {
    let mut entries = entries_of_version_1();
    entries.extend(entries_new_in_version_2());
    entries
}

fn place(is_stored: bool) -> WorkspacePlace {
    WorkspacePlace {
        host: "h2".parse().unwrap(),
        stored: is_stored.then(|| Digest::of(b"workspace")),
    }
}

fn births_new_in_version_2() -> impl Iterator<Item = Birth> {
    let origin = |kind| Origin {
        run: "00000000000000000000000002".parse().unwrap(),
        kind,
        actor: ann(),
        carried: BTreeMap::new(),
        overrides: BTreeMap::new(),
        workspace: None,
    };
    let carried = |is_skipped, outputs: Option<Json>| Carried {
        is_skipped,
        outputs: outputs.map(|outputs| Arc::new(object(&outputs))),
    };
    let full = Origin {
        carried: BTreeMap::from([
            (step(), carried(false, Some(json!({ "changes": 2 })))),
            (StepId::new("approve").unwrap(), carried(false, None)),
            (StepId::new("check").unwrap(), carried(true, None)),
        ]),
        overrides: BTreeMap::from([(step(), object(&json!({ "limit": "web1" })))]),
        workspace: Some(place(true)),
        ..origin(OriginKind::FailedHosts)
    };
    let lock = |name, max| LockSpec {
        name: LockName::new(name).unwrap(),
        max,
    };
    let locked = OnConflict::ALL.map(|on_conflict| Birth {
        locks: vec![lock("app", 1), lock("shop/prod db", 3)],
        on_conflict,
        ..birth()
    });
    let of_origin = [full, origin(OriginKind::Rerun), origin(OriginKind::Resume)];
    let repeated = of_origin.map(|origin| Birth {
        order: Sequence(90),
        origin: Some(Box::new(origin)),
        ..birth()
    });
    locked.into_iter().chain(repeated)
}

pub(super) fn birth() -> Birth {
    let document = json!({
        "id": "delivery-1", "source": "source:shop", "type": "git.push",
        "time": "2026-11-21T12:00:00Z", "subject": "shop/infra@main", "actor": "forgejo:ann",
        "data": { "branch": "main" },
    });
    let plugin = ResolvedPlugin {
        digest: Digest::of(b"component"),
        version: "1.2.3".parse().unwrap(),
        idempotent: true,
    };
    Birth {
        workflow: "deploy".parse().unwrap(),
        workflow_digest: Digest::of(b"workflow"),
        workflow_revision: 4,
        plugins: BTreeMap::from([("checkout@1".parse().unwrap(), plugin)]),
        event: BirthEvent {
            id: EventId::new("delivery-1").unwrap(),
            source: EventSource::new("source:shop").unwrap(),
            kind: EventType::new("git.push").unwrap(),
            time: "2026-11-21T12:00:00Z".parse().unwrap(),
            subject: Some("shop/infra@main".into()),
            actor: "forgejo:ann".parse().unwrap(),
            source_name: Some("shop".parse().unwrap()),
            commit: Some(CommitId::new(&"a1".repeat(20)).unwrap()),
            sequence: Sequence(7),
            document: Arc::new(document),
        },
        trigger: 0,
        inputs: object(&json!({ "env": "prod" })),
        trust: Trust::Untrusted,
        project: "default".parse().unwrap(),
        environment: "default".parse().unwrap(),
        pool: "default".parse().unwrap(),
        locks: vec![],
        on_conflict: OnConflict::Queue,
        order: Sequence(7),
        origin: None,
    }
}
