//! Attempts as the engine runs them: many at a time, stopped, dropped.

use std::sync::Arc;
use std::time::Duration;

use infraflow_core::id::Digest;
use infraflow_core::outcome::AttemptOutcome;
use infraflow_core::ports::{PluginLimits, Plugins, StopReason};

use crate::support::fakes::{Behaviour, FakeStop};
use crate::support::guest::{FINE, component, guest};
use crate::support::{Bench, sandbox_with_places, shown};

const REASONS: [(StopReason, &str); 3] = [
    (
        StopReason::Interrupt,
        "interrupted: the host ended the attempt",
    ),
    (StopReason::Timeout, "timed_out: the time is up"),
    (StopReason::Cancel, "cancelled: the run was cancelled"),
];

#[tokio::test]
async fn a_missing_plugin_could_not_start() {
    let digest = Digest::of(b"nothing");
    let report = Bench::new().run(digest).await;
    assert_eq!(
        shown(&report),
        format!("could_not_start: plugin {digest} is not installed on this host")
    );
}

#[tokio::test]
async fn a_guest_that_declares_more_memory_than_its_attempt_may_have() {
    let bench = Bench {
        limits: PluginLimits {
            memory_bytes: 65_536,
            ..PluginLimits::default()
        },
        ..Bench::new()
    };
    assert_eq!(
        shown(&bench.try_out(&component(FINE)).await),
        "limit_exceeded: limit `memory_bytes` of 65536 bytes exceeded"
    );
}

#[tokio::test]
async fn every_attempt_has_an_instance_of_its_own() {
    // Counts in its memory how often it was run.
    let counting = component(
        r#"(func $body (result i32)
             (i32.store (i32.const 16384) (i32.add (i32.load (i32.const 16384)) (i32.const 1)))
             (if (i32.ne (i32.load (i32.const 16384)) (i32.const 1)) (then unreachable))
             (call $ok_text))"#,
    );
    let bench = Bench::new();
    let digest = bench.prepare(&counting);
    for _ in 0..50 {
        assert_eq!(shown(&bench.run(digest).await), "succeeded");
    }
}

#[tokio::test]
async fn promise_12_a_stop_before_the_start_runs_nothing() {
    for (reason, expected) in REASONS {
        let bench = Bench::new();
        bench.stop.stop(reason);
        assert_eq!(shown(&bench.try_out(&guest("call_once")).await), expected);
        assert!(bench.tools.calls().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_12_a_stop_ends_a_computing_guest() {
    for (reason, expected) in REASONS {
        let bench = Bench::new();
        let digest = bench.prepare(&guest("spin_forever"));
        let stop = Arc::clone(&bench.stop);
        let stopping = async {
            // The guest computes meanwhile: it gives way on every tick.
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            stop.stop(reason);
        };
        let (report, ()) = tokio::join!(bench.run(digest), stopping);
        assert_eq!(shown(&report), expected);
    }
}

#[tokio::test]
async fn promise_12_a_stop_ends_a_host_call_and_the_guest_sees_no_answer() {
    for (reason, expected) in REASONS {
        let bench = Bench::new();
        bench.tools.behave(Behaviour::WaitForStop);
        let digest = bench.prepare(&guest("call_once"));
        let stopping = async {
            while bench.tools.calls().is_empty() {
                tokio::task::yield_now().await;
            }
            bench.stop.stop(reason);
        };
        // `call_once` returns outputs when it sees an answer.
        let (report, ()) = tokio::join!(bench.run(digest), stopping);
        assert_eq!(shown(&report), expected);
        assert_eq!(report.outputs, None);
    }
}

#[tokio::test]
async fn a_guest_that_computes_lets_others_run() {
    // One thread for both: the quick one ends while the other still computes.
    let bench = Bench {
        limits: PluginLimits {
            cpu: Duration::from_secs(20),
            ..PluginLimits::default()
        },
        ..Bench::new()
    };
    let spinning = bench.prepare(&guest("spin_forever"));
    let quick = bench.prepare(&component(FINE));
    let both = async {
        let report = bench.run(quick).await;
        bench.stop.stop(StopReason::Cancel);
        report
    };
    let (spun, report) = tokio::join!(bench.run(spinning), both);
    assert_eq!(report.outcome, AttemptOutcome::Succeeded);
    assert_eq!(spun.outcome, AttemptOutcome::Cancelled);
}

#[tokio::test]
async fn attempts_wait_for_a_place_and_a_stop_ends_the_waiting() {
    let bench = Bench {
        sandbox: Arc::new(sandbox_with_places(1)),
        ..Bench::new()
    };
    bench.tools.behave(Behaviour::WaitForStop);
    let digest = bench.prepare(&guest("call_once"));
    let quick = bench.prepare(&component(FINE));
    let other_stop = Arc::new(FakeStop::default());
    let mut waiting = bench.call(quick);
    waiting.scope.stop = other_stop.clone();
    let mut third = bench.call(quick);
    third.scope.stop = Arc::new(FakeStop::default());
    let run = async {
        while bench.tools.calls().is_empty() {
            tokio::task::yield_now().await;
        }
        // The only place is taken now.
        let stop_waiting = async { other_stop.stop(StopReason::Cancel) };
        let (waited, ()) = tokio::join!(bench.sandbox.run(waiting), stop_waiting);
        assert_eq!(waited.outcome, AttemptOutcome::Cancelled);
        let free = async { bench.stop.stop(StopReason::Timeout) };
        let (ran, ()) = tokio::join!(bench.sandbox.run(third), free);
        assert_eq!(ran.outcome, AttemptOutcome::Succeeded);
    };
    let (first, ()) = tokio::join!(bench.run(digest), run);
    assert_eq!(first.outcome, AttemptOutcome::TimedOut);
}

#[tokio::test]
async fn a_dropped_attempt_frees_its_place() {
    let bench = Bench {
        sandbox: Arc::new(sandbox_with_places(1)),
        ..Bench::new()
    };
    bench.tools.behave(Behaviour::Never);
    let digest = bench.prepare(&guest("call_once"));
    for round in 1..=20 {
        let reached = async {
            while bench.tools.calls().len() < round {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            report = bench.run(digest) => panic!("{report:?}"),
            () = reached => {}
        }
    }
    bench.tools.behave(Behaviour::Fine);
    assert_eq!(shown(&bench.run(digest).await), "succeeded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_attempts_at_the_same_time() {
    let bench = Arc::new(Bench::new());
    let digests = [
        bench.prepare(&component(FINE)),
        bench.prepare(&guest("call_once")),
        bench.prepare(&guest("divide_by_zero")),
        bench.prepare(&guest("deep_recursion")),
    ];
    let expected = [
        AttemptOutcome::Succeeded,
        AttemptOutcome::Succeeded,
        AttemptOutcome::Trapped,
        AttemptOutcome::LimitExceeded,
    ];
    let mut running = tokio::task::JoinSet::new();
    for round in 0..400 {
        let bench = Arc::clone(&bench);
        let which = round % digests.len();
        running.spawn(async move { (which, bench.run(digests[which]).await.outcome) });
    }
    while let Some(ended) = running.join_next().await {
        let (which, outcome) = ended.unwrap();
        assert_eq!(outcome, expected[which]);
    }
}
