//! Records as they are written, and what is refused.

use super::*;
use expect_test::expect_file;
use infraflow_core::id::{Digest, HostName};
use proptest::prelude::*;

fn run() -> RunId {
    "00000000000000000000000001".parse().unwrap()
}

/// One record with an entry of every kind, and every form of each.
fn every_entry() -> Vec<Entry> {
    let step = || StepId::new("plan").unwrap();
    let at = "2026-11-21T12:00:05.25Z".parse().unwrap();
    let ann: Actor = "user:ann".parse().unwrap();
    let end = |outcome, next| AttemptEnd {
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
    };
    let mut entries = vec![
        Entry::Created(Box::new(birth())),
        Entry::Claimed(Claim {
            host: HostName::new("h1").unwrap(),
            incarnation: Incarnation(0xabc),
            epoch: 2,
        }),
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
        Entry::StopRequested {
            kind: StopKind::Cancel,
            actor: ann.clone(),
        },
        Entry::StopRequested {
            kind: StopKind::Timeout,
            actor: Actor::Host,
        },
        parked(Parking::Question { step: step() }),
        Entry::AttemptEnded(Box::new(AttemptEnd {
            message: "2 hosts failed".into(),
            outputs: serde_json::json!({ "failed_hosts": ["web1"] })
                .as_object()
                .cloned()
                .map(Arc::new),
            not_granted: vec!["secret:key".parse().unwrap()],
            leaked_handles: true,
            log: LogFacts {
                lines: 9,
                dropped: 1,
            },
            ..end(
                AttemptOutcome::Failed {
                    exit_code: Some(2),
                    transient: true,
                },
                AttemptNext::RetryAt(at),
            )
        })),
    ];
    entries.extend(
        [
            (AttemptOutcome::Succeeded, AttemptNext::StepEnds),
            (
                AttemptOutcome::Failed {
                    exit_code: None,
                    transient: false,
                },
                AttemptNext::StepEnds,
            ),
            (
                AttemptOutcome::Signalled { signal: 9 },
                AttemptNext::StepEnds,
            ),
            (AttemptOutcome::TimedOut, AttemptNext::StepEnds),
            (AttemptOutcome::Trapped, AttemptNext::StepEnds),
            (AttemptOutcome::LimitExceeded, AttemptNext::StepEnds),
            (AttemptOutcome::NotGranted, AttemptNext::StepEnds),
            (AttemptOutcome::CouldNotStart, AttemptNext::StepEnds),
            (AttemptOutcome::Interrupted, AttemptNext::Ask),
            (AttemptOutcome::Cancelled, AttemptNext::StepEnds),
        ]
        .map(|(outcome, next)| Entry::AttemptEnded(Box::new(end(outcome, next)))),
    );
    entries.extend(Answer::ALL.map(|answer| Entry::Answered {
        step: step(),
        answer,
        actor: ann.clone(),
    }));
    entries.extend(RunOutcome::ALL.map(|outcome| Entry::Ended {
        outcome,
        reason: outcome.name().to_owned(),
    }));
    entries
}

fn birth() -> Birth {
    let document = serde_json::json!({
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
            commit: Some(infraflow_core::tool::CommitId::new(&"a1".repeat(20)).unwrap()),
            sequence: Sequence(7),
            document: Arc::new(document),
        },
        trigger: 0,
        inputs: serde_json::json!({ "env": "prod" })
            .as_object()
            .unwrap()
            .clone(),
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

fn parked(parking: Parking) -> Entry {
    let until = "2026-11-21T13:00:00Z".parse().unwrap();
    Entry::Parked(Parked { parking, until })
}

/// What came with version 2.
fn every_entry_of_version_2() -> Vec<Entry> {
    let step = || StepId::new("plan").unwrap();
    let lock = || LockName::new("prod eu/1").unwrap();
    let place = |stored| WorkspacePlace {
        host: "h1".parse().unwrap(),
        stored,
    };
    let outputs = serde_json::json!({ "a": 1 }).as_object().cloned();
    let origin = |kind| Origin {
        run: "00000000000000000000000002".parse().unwrap(),
        kind,
        actor: "user:ann".parse().unwrap(),
        carried: BTreeMap::from([
            (
                step(),
                Carried {
                    is_skipped: false,
                    outputs: outputs.clone().map(Arc::new),
                },
            ),
            (
                StepId::new("gate").unwrap(),
                Carried {
                    is_skipped: true,
                    outputs: None,
                },
            ),
        ]),
        overrides: BTreeMap::from([(step(), outputs.clone().unwrap())]),
        workspace: Some(place(Some(Digest::of(b"files")))),
    };
    let mut entries: Vec<Entry> = OriginKind::ALL
        .into_iter()
        .zip(OnConflict::ALL)
        .map(|(kind, on_conflict)| {
            Entry::Created(Box::new(Birth {
                locks: vec![LockSpec {
                    name: lock(),
                    max: 2,
                }],
                on_conflict,
                order: Sequence(9),
                origin: Some(Box::new(origin(kind))),
                ..birth()
            }))
        })
        .collect();
    let end = every_entry().into_iter().find_map(|entry| match entry {
        Entry::AttemptEnded(end) => Some(end),
        _ => None,
    });
    let end = end.unwrap();
    entries.extend(
        [place(None), place(Some(Digest::of(b"files")))].map(|place| {
            Entry::AttemptEnded(Box::new(AttemptEnd {
                workspace: Some(place),
                ..*end.clone()
            }))
        }),
    );
    entries.extend([
        Entry::WaitStarted {
            step: step(),
            until: "2026-11-21T13:00:00Z".parse().unwrap(),
        },
        Entry::WaitEnded { step: step() },
        Entry::LockAcquired {
            lock: lock(),
            token: 7,
        },
        Entry::StopRequested {
            kind: StopKind::Superseded,
            actor: "run:00000000000000000000000002".parse().unwrap(),
        },
        parked(Parking::Retry { step: step() }),
        parked(Parking::Wait { step: step() }),
        parked(Parking::Lock { lock: lock() }),
    ]);
    entries.extend(WakeCause::ALL.map(|cause| Entry::Woken { cause }));
    entries
}

fn record(entries: Vec<Entry>) -> RecordEnvelope {
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

const GOLDEN_1: &str = include_str!("../golden/record.v1.jsonl");
const GOLDEN_2: &str = include_str!("../golden/record.v2.jsonl");

fn read(golden: &str) -> Vec<RecordEnvelope> {
    golden
        .lines()
        .map(|line| decode(run(), line.as_bytes()).unwrap())
        .collect()
}

/// Every entry in a record of its own.
fn written() -> Vec<RecordEnvelope> {
    every_entry()
        .into_iter()
        .chain(every_entry_of_version_2())
        .map(|entry| record(vec![entry]))
        .collect()
}

/// What version 2 looks like. Once it is released this file never changes: what
/// was written once can be read.
#[test]
fn golden_of_version_2() {
    let text: Vec<String> = written()
        .iter()
        .map(|record| String::from_utf8(encode(record)).unwrap())
        .collect();
    expect_file!["../golden/record.v2.jsonl"].assert_eq(&(text.join("\n") + "\n"));
}

#[test]
fn every_entry_is_in_the_golden_and_reads_back() {
    let read = read(GOLDEN_2);
    assert_eq!(read, written());
    for name in Entry::NAMES {
        assert!(
            read.iter().any(|record| record.entries[0].name() == name),
            "{name}"
        );
    }
}

/// What the previous release wrote reads as what it meant: a question without
/// an end, an outcome that did not exist then.
#[test]
fn version_1_is_read() {
    let read = read(GOLDEN_1);
    let mut expected: Vec<RecordEnvelope> = every_entry()
        .into_iter()
        .filter(|entry| {
            !matches!(
                entry,
                Entry::Ended {
                    outcome: RunOutcome::Skipped,
                    ..
                }
            )
        })
        .map(|entry| record(vec![entry]))
        .collect();
    for (read, expected) in read.iter().zip(&mut expected) {
        if let ([Entry::Parked(read)], [Entry::Parked(expected)]) =
            (read.entries.as_slice(), expected.entries.as_mut_slice())
        {
            assert!(read.until > record(vec![]).at, "{read:?}");
            expected.until = read.until;
        }
    }
    assert_eq!(read, expected);
    // Written again it is of version 2, and means the same.
    for record in read {
        assert_eq!(decode(run(), &encode(&record)), Ok(record));
    }
}

#[test]
fn promise_11_a_newer_record_is_refused_by_name() {
    let text = String::from_utf8(encode(&record(vec![Entry::Released {
        reason: "x".into(),
    }])));
    let text = text.unwrap();
    for (from, to, expected) in [
        (
            "\"v\":2",
            "\"v\":3",
            "it has version 3, this infraflow reads versions 1 to 2: use a newer one",
        ),
        ("released", "teleported", "unknown variant `teleported`"),
        ("\"reason\"", "\"because\"", "unknown field `because`"),
    ] {
        let error = decode(run(), text.replace(from, to).as_bytes()).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

/// The journal of a one-step run stays small.
#[test]
fn a_one_step_run_takes_less_than_2_kib() {
    let step = StepId::new("only").unwrap();
    let created = record(vec![
        Entry::Created(Box::new(birth())),
        Entry::Claimed(Claim {
            host: "h1".parse().unwrap(),
            incarnation: Incarnation(1),
            epoch: 1,
        }),
        Entry::AttemptStarted {
            step: step.clone(),
            attempt: 1,
        },
    ]);
    let ended = record(vec![
        Entry::AttemptEnded(Box::new(AttemptEnd {
            step,
            attempt: 1,
            outcome: AttemptOutcome::Succeeded,
            message: String::new(),
            outputs: Some(Arc::new(JsonMap::new())),
            not_granted: vec![],
            leaked_handles: false,
            log: LogFacts {
                lines: 1,
                dropped: 0,
            },
            workspace: None,
            next: AttemptNext::StepEnds,
        })),
        Entry::Ended {
            outcome: RunOutcome::Succeeded,
            reason: String::new(),
        },
    ]);
    let bytes = encode(&created).len() + encode(&ended).len();
    assert!(bytes < 2_048, "{bytes} bytes");
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(run(), &bytes);
    }

    #[test]
    fn damaged_records_never_panic(line in 0_usize..60, at in 0_usize..900, byte in any::<u8>()) {
        let mut bytes = GOLDEN_1.lines().chain(GOLDEN_2.lines()).nth(line).unwrap_or_default().as_bytes().to_vec();
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        let _ = decode(run(), &bytes);
    }
}
