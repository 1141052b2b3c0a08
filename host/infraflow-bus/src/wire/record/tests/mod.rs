//! Records as they are written, and what is refused.

mod samples;

use expect_test::expect_file;
use infraflow_core::JsonMap;
use infraflow_core::outcome::{AttemptOutcome, RunOutcome};
use infraflow_core::run::{AttemptEnd, AttemptNext, Entry, RecordEnvelope};
use proptest::prelude::*;
use std::sync::Arc;

use super::*;
use samples::{birth, claimed, ended, entries_of_version_1, every_entry, record, run, step};

const GOLDEN_1: &str = include_str!("../../golden/record.v1.jsonl");
const GOLDEN_2: &str = include_str!("../../golden/record.v2.jsonl");

fn read(golden: &str) -> Vec<RecordEnvelope> {
    golden
        .lines()
        .map(|line| decode(run(), line.as_bytes()).unwrap())
        .collect()
}

fn one_each(entries: Vec<Entry>) -> Vec<RecordEnvelope> {
    entries
        .into_iter()
        .map(|entry| record(vec![entry]))
        .collect()
}

/// What was written once can be read: this golden never changes, and the digest
/// of it here says so.
#[test]
fn promise_11_version_1_is_still_read() {
    assert_eq!(read(GOLDEN_1), one_each(entries_of_version_1()));
    assert_eq!(
        infraflow_core::id::Digest::of(GOLDEN_1.as_bytes()).to_string(),
        "sha256:e5fab972c4059aa401080b94a5b298e500332510ce221a1deaf820ad1ef09c46"
    );
}

#[test]
fn golden_of_version_2() {
    let text: Vec<String> = one_each(every_entry())
        .iter()
        .map(|record| String::from_utf8(encode(record)).unwrap())
        .collect();
    expect_file!["../../golden/record.v2.jsonl"].assert_eq(&(text.join("\n") + "\n"));
}

#[test]
fn every_entry_is_in_the_golden_and_reads_back() {
    let records = read(GOLDEN_2);
    assert_eq!(records, one_each(every_entry()));
    for name in Entry::NAMES {
        let is_there = records
            .iter()
            .any(|record| record.entries[0].name() == name);
        assert!(is_there, "{name}");
    }
}

/// A record of several entries that wakes nobody.
#[test]
fn several_entries_read_back() {
    let written = RecordEnvelope {
        wakes: None,
        ..record(every_entry())
    };
    assert_eq!(decode(run(), &encode(&written)).unwrap(), written);
}

fn text_of(entry: Entry) -> String {
    String::from_utf8(encode(&record(vec![entry]))).unwrap()
}

fn refusal(text: &str) -> String {
    decode(run(), text.as_bytes()).unwrap_err()
}

#[test]
fn promise_11_a_newer_record_is_refused_by_name() {
    let text = text_of(Entry::Released { reason: "x".into() });
    for newer in [
        text.replace("\"v\":2", "\"v\":3"),
        r#"{"v":3,"all":"different"}"#.to_owned(),
    ] {
        assert_eq!(
            refusal(&newer),
            "it has version 3, this infraflow reads versions 1 to 2: use a newer one"
        );
    }
    for (from, to, expected) in [
        ("released", "teleported", "unknown variant `teleported`"),
        ("\"reason\"", "\"because\"", "unknown field `because`"),
        ("\"epoch\"", "\"era\":1,\"epoch\"", "unknown field `era`"),
    ] {
        let error = refusal(&text.replace(from, to));
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn values_that_cannot_be_are_refused() {
    let entry = |json: &str| {
        let text = text_of(Entry::Released { reason: "x".into() });
        text.replace(r#"{"released":{"reason":"x"}}"#, json)
    };
    let several = "it waits for nothing, or for several things";
    for (json, expected) in [
        ("", "it has no entries"),
        (r#"{"parked":{"until":"2026-11-21T12:00:00Z"}}"#, several),
        (r#"{"parked":{"retry":"a","wait":"a"}}"#, several),
        (r#"{"parked":{"question":"A b"}}"#, "step"),
        (
            r#"{"woken":{"cause":"noise"}}"#,
            "`noise` is not what wakes a run",
        ),
        (
            r#"{"answered":{"step":"a","answer":"perhaps","actor":"host"}}"#,
            "`perhaps` is not an answer",
        ),
        (
            r#"{"ended":{"outcome":"so-so"}}"#,
            "`so-so` is not the outcome of a run",
        ),
        (
            r#"{"stop_requested":{"kind":"mood","actor":"host"}}"#,
            "unknown variant `mood`",
        ),
        (
            r#"{"claimed":{"host":"h1","life":"zz","epoch":1}}"#,
            "`zz` is not a hexadecimal number",
        ),
        (r#"{"lock_acquired":{"lock":"","token":1}}"#, "lock name"),
    ] {
        let error = refusal(&entry(json));
        assert!(error.contains(expected), "{json}: {error}");
    }
}

/// Parts of a creation that only a newer infraflow could have written.
#[test]
fn creations_that_cannot_be_are_refused() {
    let full = GOLDEN_2
        .lines()
        .find(|line| line.contains("failed_hosts\",\"actor"));
    let full = full.expect("the golden has a run of failed hosts");
    let conflict = GOLDEN_2
        .lines()
        .find(|line| line.contains("cancel_running"));
    for (line, from, to, expected) in [
        (
            full,
            "\"failed_hosts\"",
            "\"clone\"",
            "`clone` is not a kind of origin",
        ),
        (
            full,
            "\"overrides\"",
            "\"patches\"",
            "unknown field `patches`",
        ),
        (
            full,
            "\"skipped\":true",
            "\"skipped\":1",
            "expected a boolean",
        ),
        (
            conflict.expect("the golden has one that cancels"),
            "cancel_running",
            "fight",
            "`fight` is not what a run does at a conflict",
        ),
    ] {
        assert!(line.contains(from), "{from}");
        let error = refusal(&line.replace(from, to));
        assert!(error.contains(expected), "{error}");
    }
}

/// The journal of a one-step run stays small.
#[test]
fn a_one_step_run_takes_less_than_2_kib() {
    let created = record(vec![
        Entry::Created(Box::new(birth())),
        claimed(),
        Entry::AttemptStarted {
            step: step(),
            attempt: 1,
        },
    ]);
    let ended = record(vec![
        Entry::AttemptEnded(Box::new(AttemptEnd {
            outputs: Some(Arc::new(JsonMap::new())),
            ..ended(AttemptOutcome::Succeeded, AttemptNext::StepEnds)
        })),
        Entry::Ended {
            outcome: RunOutcome::Succeeded,
            reason: String::new(),
        },
    ]);
    let bytes = encode(&created).len() + encode(&ended).len();
    assert!(bytes < 2_048, "{bytes} bytes");
}

/// Some line of a golden.
fn some_line() -> impl Strategy<Value = &'static str> {
    let lines: Vec<&str> = GOLDEN_1.lines().chain(GOLDEN_2.lines()).collect();
    prop::sample::select(lines)
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(run(), &bytes);
    }

    /// What can be read of a damaged record can be written and read again.
    #[test]
    fn damaged_records_never_panic(
        line in some_line(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        keep in any::<prop::sample::Index>(),
    ) {
        let mut bytes = line.as_bytes().to_vec();
        let place = at.index(bytes.len());
        bytes[place] = byte;
        if let Ok(read) = decode(run(), &bytes) {
            prop_assert_eq!(decode(run(), &encode(&read)), Ok(read));
        }
        let _ = decode(run(), &bytes[..keep.index(bytes.len())]);
    }
}
