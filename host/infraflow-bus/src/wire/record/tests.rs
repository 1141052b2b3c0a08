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
        Entry::Parked {
            parking: Parking::Question { step: step() },
        },
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
    }
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

/// What version 1 looks like. This file never changes: what was written once
/// can be read.
#[test]
fn golden_of_version_1() {
    let text: Vec<String> = every_entry()
        .into_iter()
        .map(|entry| String::from_utf8(encode(&record(vec![entry]))).unwrap())
        .collect();
    expect_file!["../golden/record.v1.jsonl"].assert_eq(&(text.join("\n") + "\n"));
}

#[test]
fn every_entry_is_in_the_golden_and_reads_back() {
    let golden = include_str!("../golden/record.v1.jsonl");
    let read: Vec<RecordEnvelope> = golden
        .lines()
        .map(|line| decode(run(), line.as_bytes()).unwrap())
        .collect();
    let written: Vec<RecordEnvelope> = every_entry()
        .into_iter()
        .map(|entry| record(vec![entry]))
        .collect();
    assert_eq!(read, written);
    for name in Entry::NAMES {
        assert!(
            read.iter().any(|record| record.entries[0].name() == name),
            "{name}"
        );
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
            "\"v\":1",
            "\"v\":2",
            "it has version 2, this infraflow reads version 1: use a newer one",
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
    fn damaged_records_never_panic(line in 0_usize..27, at in 0_usize..900, byte in any::<u8>()) {
        let golden = include_str!("../golden/record.v1.jsonl");
        let mut bytes = golden.lines().nth(line).unwrap_or_default().as_bytes().to_vec();
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        let _ = decode(run(), &bytes);
    }
}
