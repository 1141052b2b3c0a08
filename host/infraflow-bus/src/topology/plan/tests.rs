use super::*;
use crate::topology::{DEAD, STREAMS, TopologyConfig, wanted_stream};

const KNOWN: [Known; 4] = [
    known(EVENTS, 1),
    known(RUNS, 1),
    known("TIMERS", 2),
    known("KV_locks", 2),
];

const fn known(name: &'static str, since: u32) -> Known {
    Known {
        name,
        since,
        file: "{}",
    }
}

/// Streams with the id `a` unless they say otherwise; a number after `EVENTS`
/// is its version.
fn found(text: &str) -> Vec<Mark> {
    text.split_whitespace()
        .map(|word| {
            let (name, id) = word.split_once('=').unwrap_or((word, "a"));
            let (name, version) = name.split_once('@').unzip();
            let name = name.unwrap_or(word.split('=').next().unwrap());
            Mark {
                name: KNOWN.iter().find(|known| known.name == name).unwrap().name,
                id: id.to_owned(),
                version: version.map(ToOwned::to_owned),
            }
        })
        .collect()
}

#[test]
fn what_is_done_about_what_is_there() {
    for (there, expected) in [
        ("", "new: EVENTS RUNS TIMERS KV_locks, finish"),
        // The previous release's.
        ("EVENTS RUNS", "a: TIMERS KV_locks, finish"),
        // Somebody died in the middle of the upgrade.
        ("EVENTS RUNS TIMERS", "a: KV_locks, finish"),
        ("EVENTS RUNS TIMERS KV_locks", "a: , finish"),
        // Somebody is creating everything, or died while doing so.
        ("EVENTS@0", "a: RUNS TIMERS KV_locks, finish"),
        ("EVENTS@0 RUNS TIMERS KV_locks", "a: , finish"),
        // All is well.
        ("EVENTS@2 RUNS TIMERS KV_locks", "a: "),
        // Somebody deleted streams.
        ("EVENTS@2 RUNS KV_locks", "missing: TIMERS"),
        ("EVENTS@2", "missing: RUNS TIMERS KV_locks"),
        ("EVENTS", "missing: RUNS"),
        ("EVENTS@1 TIMERS KV_locks", "missing: RUNS"),
        ("RUNS TIMERS KV_locks", "missing: EVENTS"),
        // A newer infraflow's.
        ("EVENTS@3 RUNS", "newer: 3"),
        ("EVENTS@x RUNS", "newer: x"),
        // Not made together.
        ("EVENTS RUNS=b", "mixed: EVENTS RUNS"),
        ("EVENTS RUNS TIMERS=", "mixed: EVENTS TIMERS"),
        ("EVENTS= RUNS=", "mixed: EVENTS EVENTS"),
    ] {
        let got = match plan(&KNOWN, &found(there)) {
            Ok(plan) => format!(
                "{}: {}{}",
                plan.id.as_deref().unwrap_or("new"),
                plan.create.join(" "),
                if plan.finish { ", finish" } else { "" }
            ),
            Err(TopologyError::Incomplete { missing }) => format!("missing: {}", missing.join(" ")),
            Err(TopologyError::Mixed { first, other }) => format!("mixed: {first} {other}"),
            Err(TopologyError::Newer { found }) => format!("newer: {found}"),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(got, expected, "{there}");
    }
}

#[test]
fn only_events_says_the_version() {
    let events = marked(json!({}), EVENTS, "a", 2);
    assert_eq!(Mark::of(EVENTS, &events), found("EVENTS@2")[0]);
    let runs = marked(json!({ "metadata": { "x": "y" } }), RUNS, "a", 2);
    assert_eq!(Mark::of(RUNS, &runs), found("RUNS")[0]);
    assert_eq!(runs["metadata"]["x"], "y", "what others wrote stays");
}

fn wanted(name: &str) -> Value {
    let known = STREAMS.iter().find(|known| known.name == name).unwrap();
    wanted_stream(known, &TopologyConfig::default())
}

#[test]
fn a_stream_that_would_lose_messages_is_refused() {
    let wanted = wanted(RUNS);
    assert!(matches!(check_stream(RUNS, &wanted, &wanted), Ok(None)));
    for (field, bad) in [
        ("discard", json!("old")),
        ("retention", json!("workqueue")),
        ("subjects", json!(["infraflow.>"])),
        ("subjects", json!(["infraflow.run.>", "more.>"])),
        ("subjects", json!(null)),
        ("max_age", json!(1)),
        ("deny_delete", json!(false)),
        ("storage", json!("memory")),
    ] {
        let mut found = wanted.clone();
        found[field] = bad;
        let error = check_stream(RUNS, &wanted, &found).unwrap_err();
        assert!(error.to_string().contains(&format!("`{field}`")), "{error}");
    }
    // Sizes are the operator's.
    let mut found = wanted.clone();
    found["max_bytes"] = json!(1);
    assert!(matches!(check_stream(RUNS, &wanted, &found), Ok(None)));
}

#[test]
fn subjects_that_came_later_are_added() {
    let wanted = wanted(DEAD);
    let mut found = wanted.clone();
    found["subjects"] = json!(["infraflow.dead.>"]);
    found["max_bytes"] = json!(7);
    let changed = check_stream(DEAD, &wanted, &found).unwrap().unwrap();
    assert_eq!(changed["subjects"], wanted["subjects"]);
    assert_eq!(changed["max_bytes"], json!(7), "nothing else changes");
}

#[test]
fn a_consumer_that_would_lose_messages_is_refused() {
    let router = super::super::router().config;
    let work = super::super::work(&infraflow_core::id::PoolName::default_pool()).config;
    for config in [&router, &work] {
        assert!(check_consumer("x", config, config).is_ok());
        for (field, bad) in [
            ("ack_policy", json!("none")),
            ("deliver_policy", json!("new")),
            ("filter_subject", json!("infraflow.other.>")),
        ] {
            let mut found = config.clone();
            found[field] = bad;
            assert!(check_consumer("x", config, &found).is_err(), "{field}");
        }
    }
    for (config, max_deliver, is_fine) in [
        (&router, 7, true),
        (&router, -1, false),
        (&work, -1, true),
        (&work, 7, false),
    ] {
        let mut found = config.clone();
        found["max_deliver"] = json!(max_deliver);
        let checked = check_consumer("x", config, &found);
        assert_eq!(checked.is_ok(), is_fine, "{max_deliver}");
    }
}
