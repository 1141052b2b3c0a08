//! What an attempt costs beside bare wasmtime, how fast compiled plugins load,
//! and what a sandbox holds in memory, idle and with a thousand attempts.
//!
//! ```text
//! plugins/build.sh && cargo run --release -p infraflow-sandbox --example overhead
//! cargo run --release -p infraflow-sandbox --example overhead /tmp/cache   # twice: idle
//! ```

#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement for people"
)]

#[path = "../tests/it/support/mod.rs"]
#[expect(dead_code, reason = "shared with the tests")]
mod support;

use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use infraflow_core::mask::MaskSet;
use infraflow_core::outcome::AttemptOutcome;
use infraflow_core::ports::Plugins;
use infraflow_sandbox::{Sandbox, SandboxConfig, bare};
use support::Bench;
use support::fakes::Behaviour;
use support::guest::{component, guest};

const ROUNDS: usize = 20_000;
const CONCURRENT: usize = 1_000;

/// The same as the bare component does: three host calls, and the input back.
const THREE_CALLS: &str = r#"
  (import "infraflow:step/log@0.1.0" "write" (func $log (param i32 i32 i32)))
  (func $body (result i32)
    (call $log (i32.const 1) (global.get $input) (global.get $input_length))
    (call $log (i32.const 1) (global.get $input) (global.get $input_length))
    (call $log (i32.const 1) (global.get $input) (global.get $input_length))
    (call $ok (global.get $input) (global.get $input_length)))"#;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(measure());
}

async fn measure() {
    println!("resident at the start: {}", resident());
    let new = |cache_dir: &Path| {
        Sandbox::new(SandboxConfig {
            cache_dir: Some(cache_dir.to_owned()),
            ..SandboxConfig::default()
        })
        .unwrap()
    };
    // With a folder: what an idle host holds. Without: everything else.
    if let Some(folder) = std::env::args_os().nth(1) {
        let start = Instant::now();
        let sandbox = new(Path::new(&folder));
        println!(
            "making a sandbox: {:?}, resident {}",
            start.elapsed(),
            resident()
        );
        load("loading", &sandbox);
        println!("resident, idle, with the plugins: {}", resident());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let sandbox = new(folder.path());
    load("first", &sandbox);
    load("again", &sandbox);
    attempts(sandbox).await;
}

async fn attempts(sandbox: Sandbox) {
    let places = SandboxConfig::default().places;
    let bare = bare::Bench::new(places).unwrap();
    let mut bench = Bench::new();
    bench.sandbox = Arc::new(sandbox);
    bench.input = serde_json::json!({ "text": "hello" });
    let plugin = bench.prepare(&component(THREE_CALLS));
    for mask in [MaskSet::default(), MaskSet::new(["masked-secret-value"])] {
        println!("lines {}masked:", if mask.is_empty() { "not " } else { "" });
        for _ in 0..3 {
            let mut calls = Vec::with_capacity(ROUNDS);
            for _ in 0..ROUNDS {
                let mut call = bench.call(plugin);
                call.scope.mask = mask.clone();
                calls.push(call);
            }
            let calls = std::cell::RefCell::new(calls);
            let alone = times(async || {
                bare.once(r#"{"text":"hello"}"#).await.unwrap();
            });
            let alone = alone.await;
            let ours = times(async || {
                let call = calls.borrow_mut().pop().unwrap();
                let report = bench.sandbox.run(call).await;
                assert_eq!(report.outcome, AttemptOutcome::Succeeded);
            });
            println!("  bare {alone}; an attempt {}", ours.await);
            bench.lines = Arc::default();
        }
    }
    println!("resident after {} attempts: {}", 6 * ROUNDS, resident());
    concurrent(&bench);
}

/// Many attempts that wait in a host call.
fn concurrent(bench: &Bench) {
    bench.tools.behave(Behaviour::Never);
    let plugin = bench.prepare(&guest("call_once"));
    let before = resident_kib();
    let mut waiting: Vec<_> = (0..CONCURRENT)
        .map(|_| bench.sandbox.run(bench.call(plugin)))
        .collect();
    for attempt in &mut waiting {
        let mut context = Context::from_waker(Waker::noop());
        assert!(attempt.as_mut().poll(&mut context).is_pending());
    }
    let each = (resident_kib() - before) / CONCURRENT;
    println!("{CONCURRENT} attempts at the same time: {each} KiB each");
}

fn load(how: &str, sandbox: &Sandbox) {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/dist");
    for name in ["checkout", "ansible", "opentofu", "command"] {
        let path = dist.join(format!("{name}.wasm"));
        let Ok(bytes) = std::fs::read(&path) else {
            panic!("{} is missing: run plugins/build.sh", path.display());
        };
        let start = Instant::now();
        let prepared = sandbox.prepare(&bytes).unwrap();
        let took = start.elapsed();
        println!(
            "{how} {name} ({} bytes): {took:?} ({:?}), resident {}",
            bytes.len(),
            prepared.origin,
            resident()
        );
    }
}

/// Runs it often, one after the other.
async fn times(run: impl AsyncFn()) -> String {
    let mut times: Vec<Duration> = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        run().await;
        times.push(start.elapsed());
    }
    let mean = times.iter().sum::<Duration>() / u32::try_from(ROUNDS).unwrap();
    times.sort();
    let percentile = |part: usize| times.get(ROUNDS * part / 100).copied().unwrap();
    format!(
        "mean {mean:.1?} p50 {:.1?} p99 {:.1?}",
        percentile(50),
        percentile(99)
    )
}

fn resident() -> String {
    format!(
        "{:.1} MiB",
        f64::from(u32::try_from(resident_kib()).unwrap()) / 1_024.0
    )
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}
