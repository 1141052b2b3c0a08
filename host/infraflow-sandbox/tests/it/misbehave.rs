//! Guests that misbehave, one a file in `tests/guests`, and what becomes of
//! them: the outcome, a message that names the limit, and nothing behind them
//! that was reached unasked.

use std::time::Duration;

use infraflow_core::limits::{ERROR_TEXT, LOG_LINE, LOG_LINES_PER_SECOND};
use infraflow_core::line::Stream;
use infraflow_core::outcome::AttemptOutcome;
use infraflow_core::ports::PluginLimits;
use infraflow_core::tool::{CallError, ProcessEnd};
use serde_json::json;

use crate::support::fakes::Behaviour;
use crate::support::guest::{guest, guests_folder};
use crate::support::{Bench, capabilities, shown};

/// Lists the guests. A guest without a test of its name does not compile.
macro_rules! guests {
    ($($name:ident),* $(,)?) => {
        const GUESTS: &[&str] = &[$(stringify!($name)),*];
        $(const _: fn() = $name;)*
    };
}

guests![
    ask_for_everything,
    call_in_describe,
    call_once,
    deep_recursion,
    divide_by_zero,
    echo,
    fails,
    fails_at_length,
    fails_without_a_word,
    forged_handle,
    grow_memory,
    grow_table,
    huge_describe,
    huge_list,
    huge_memory,
    huge_output,
    huge_table,
    ignore_not_granted,
    invalid_level,
    invalid_utf8,
    log_a_read_secret,
    log_a_secret,
    log_flood,
    log_huge_line,
    log_larger_than_a_call,
    log_many_lines_at_once,
    many_calls,
    out_of_bounds,
    output_larger_than_a_call,
    output_not_an_object,
    output_not_json,
    own_maximum,
    run_a_command,
    spin_forever,
    spin_in_describe,
    spin_with_calls,
    trap_after_call,
    trap_in_describe,
];

#[test]
fn every_guest_is_listed() {
    let mut files: Vec<String> = std::fs::read_dir(guests_folder())
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            path.file_stem().unwrap().to_str().unwrap().to_owned()
        })
        .collect();
    files.sort();
    assert_eq!(files, GUESTS);
}

/// Runs a guest and checks how it ended.
async fn check(bench: &Bench, name: &str, expected: &str) {
    let report = bench.try_out(&guest(name)).await;
    assert_eq!(shown(&report), expected, "{name}");
}

async fn check_default(name: &str, expected: &str) {
    check(&Bench::new(), name, expected).await;
}

fn with_limits(limits: PluginLimits) -> Bench {
    Bench {
        limits,
        ..Bench::new()
    }
}

fn with_cpu(millis: u64) -> Bench {
    with_limits(PluginLimits {
        cpu: Duration::from_millis(millis),
        ..PluginLimits::default()
    })
}

// ---- time ---------------------------------------------------------------------

#[tokio::test]
async fn spin_forever() {
    let expected = "limit_exceeded: limit `cpu_ms` of 50 ms exceeded";
    check(&with_cpu(50), "spin_forever", expected).await;
}

#[tokio::test]
async fn spin_with_calls() {
    let expected = "limit_exceeded: limit `cpu_ms` of 50 ms exceeded";
    check(&with_cpu(50), "spin_with_calls", expected).await;
}

#[tokio::test]
async fn call_once() {
    // A call that takes ten times as long as the guest may compute.
    let bench = with_cpu(20);
    bench
        .tools
        .behave(Behaviour::Take(Duration::from_millis(200)));
    check(&bench, "call_once", "succeeded").await;
}

#[tokio::test]
async fn many_calls() {
    let bench = with_limits(PluginLimits {
        calls: 1_000,
        ..PluginLimits::default()
    });
    let expected = "limit_exceeded: limit `calls` of 1000 calls exceeded";
    check(&bench, "many_calls", expected).await;
    assert_eq!(bench.tools.calls().len(), 1_000);
}

// ---- memory -------------------------------------------------------------------

#[tokio::test]
async fn grow_memory() {
    let expected = "limit_exceeded: limit `memory_bytes` of 268435456 bytes exceeded";
    check_default("grow_memory", expected).await;
}

#[test]
fn huge_memory() {
    assert_eq!(
        describe_error("huge_memory"),
        "the plugin cannot describe itself: limit `memory_bytes` of 268435456 bytes exceeded"
    );
}

#[tokio::test]
async fn own_maximum() {
    check_default("own_maximum", "succeeded").await;
}

#[tokio::test]
async fn grow_table() {
    let expected = "limit_exceeded: limit `table_elements` of 100000 items exceeded";
    check_default("grow_table", expected).await;
}

#[tokio::test]
async fn huge_table() {
    let bench = Bench::new();
    let error = bench.sandbox.prepare(&guest("huge_table")).unwrap_err();
    assert_eq!(error.to_string(), "compile the component");
    let source = format!("{:?}", std::error::Error::source(&error).unwrap());
    assert!(source.contains("table"), "{source}");
}

#[tokio::test]
async fn deep_recursion() {
    let expected = "limit_exceeded: limit `stack_bytes` of 524288 bytes exceeded";
    check_default("deep_recursion", expected).await;
}

// ---- arguments and outputs ----------------------------------------------------

#[tokio::test]
async fn huge_list() {
    let bench = Bench::new();
    let expected = "limit_exceeded: limit `call_bytes` of 8388608 bytes exceeded";
    check(&bench, "huge_list", expected).await;
    assert!(bench.tools.calls().is_empty());
}

#[tokio::test]
async fn huge_output() {
    let expected = "limit_exceeded: limit `output_bytes` of 262144 bytes exceeded";
    check_default("huge_output", expected).await;
}

#[tokio::test]
async fn output_larger_than_a_call() {
    let expected = "limit_exceeded: limit `call_bytes` of 8388608 bytes exceeded";
    check_default("output_larger_than_a_call", expected).await;
}

#[tokio::test]
async fn output_not_json() {
    let expected = "failed: the plugin's outputs are not JSON: expected value at line 1 column 1";
    check_default("output_not_json", expected).await;
}

#[tokio::test]
async fn output_not_an_object() {
    let expected = "failed: the plugin's outputs are not a JSON object";
    check_default("output_not_an_object", expected).await;
}

#[tokio::test]
async fn echo() {
    let bench = Bench {
        input: json!({ "text": "ü\u{0}\n", "deep": [[[1]]] }),
        ..Bench::new()
    };
    let report = bench.try_out(&guest("echo")).await;
    assert_eq!(report.outcome, AttemptOutcome::Succeeded);
    assert_eq!(
        serde_json::Value::Object(report.outputs.unwrap()),
        bench.input
    );

    // One byte less than the limit, with the quotes and the name around it.
    let text = "x".repeat(1_048_576 - r#"{"a":""}"#.len());
    for (text, expected) in [
        (
            text.clone(),
            "limit_exceeded: limit `output_bytes` of 262144 bytes exceeded",
        ),
        (
            text + "x",
            "limit_exceeded: limit `step_input_bytes` of 1048576 bytes exceeded",
        ),
    ] {
        let bench = Bench {
            input: json!({ "a": text }),
            ..Bench::new()
        };
        check(&bench, "echo", expected).await;
    }
}

#[tokio::test]
async fn invalid_utf8() {
    let bench = Bench::new();
    let report = bench.try_out(&guest("invalid_utf8")).await;
    assert_eq!(report.outcome, AttemptOutcome::Trapped, "{report:?}");
    assert!(bench.lines.texts(Stream::Plugin).is_empty());
}

#[tokio::test]
async fn invalid_level() {
    let report = Bench::new().try_out(&guest("invalid_level")).await;
    assert_eq!(report.outcome, AttemptOutcome::Trapped, "{report:?}");
}

#[tokio::test]
async fn out_of_bounds() {
    let report = Bench::new().try_out(&guest("out_of_bounds")).await;
    assert_eq!(report.outcome, AttemptOutcome::Trapped, "{report:?}");
}

#[tokio::test]
async fn forged_handle() {
    let bench = Bench::new();
    let report = bench.try_out(&guest("forged_handle")).await;
    assert_eq!(report.outcome, AttemptOutcome::Trapped, "{report:?}");
    assert!(bench.tools.calls().is_empty());
}

// ---- failures -----------------------------------------------------------------

#[tokio::test]
async fn fails() {
    let report = Bench::new().try_out(&guest("fails")).await;
    let transient = true;
    let exit_code = Some(3);
    let outcome = AttemptOutcome::Failed {
        exit_code,
        transient,
    };
    assert_eq!(report.outcome, outcome);
    assert_eq!(report.message.as_deref(), Some("no luck"));
    assert_eq!(report.outputs.unwrap().get("a"), Some(&json!(1)));
}

#[tokio::test]
async fn fails_without_a_word() {
    let expected = "failed: the plugin failed and did not say why (its outputs are left out: they are not JSON: expected value at line 1 column 1)";
    check_default("fails_without_a_word", expected).await;
}

#[tokio::test]
async fn fails_at_length() {
    let report = Bench::new().try_out(&guest("fails_at_length")).await;
    assert_eq!(report.message.unwrap().len(), ERROR_TEXT.to_usize());
}

#[tokio::test]
async fn divide_by_zero() {
    let expected = "trapped: the plugin trapped: wasm trap: integer divide by zero";
    check_default("divide_by_zero", expected).await;
}

#[tokio::test]
async fn trap_after_call() {
    let bench = Bench::new();
    let expected =
        "trapped: the plugin trapped: wasm trap: wasm `unreachable` instruction executed";
    check(&bench, "trap_after_call", expected).await;
    assert_eq!(bench.tools.calls(), ["write_file x 1 bytes"]);
}

#[tokio::test]
async fn run_a_command() {
    let not_found = CallError::NotFound("command `x`".to_owned());
    let unavailable = CallError::Unavailable("no jail".to_owned());
    for (behaviour, expected) in [
        (Behaviour::Fine, "failed: x"),
        (
            Behaviour::End(ProcessEnd::Signalled(9)),
            "signalled (signal 9): x",
        ),
        (Behaviour::End(ProcessEnd::Exited(1)), "failed: x"),
        (Behaviour::Fail(not_found), "failed: x"),
        (Behaviour::Fail(unavailable), "could_not_start: x"),
    ] {
        let bench = Bench::new();
        bench.tools.behave(behaviour);
        check(&bench, "run_a_command", expected).await;
    }
    let bench = Bench {
        grants: capabilities(&["workspace:rw"]),
        ..Bench::new()
    };
    check(&bench, "run_a_command", "not_granted: x").await;
    assert!(bench.tools.calls().is_empty());
}

#[tokio::test]
async fn ignore_not_granted() {
    let bench = Bench {
        grants: capabilities(&[]),
        ..Bench::new()
    };
    let report = bench.try_out(&guest("ignore_not_granted")).await;
    assert_eq!(report.outcome, AttemptOutcome::Succeeded);
    assert_eq!(
        report.not_granted[..],
        capabilities(&["workspace:ro", "secret:x"])[..]
    );
    assert!(bench.tools.calls().is_empty());
}

#[tokio::test]
async fn ask_for_everything() {
    let bench = Bench {
        grants: capabilities(&[]),
        ..Bench::new()
    };
    let report = bench.try_out(&guest("ask_for_everything")).await;
    assert_eq!(report.outcome, AttemptOutcome::Succeeded);
    assert_eq!(report.not_granted.len(), 64, "the list is bounded");
}

// ---- the log ------------------------------------------------------------------

#[tokio::test]
async fn log_flood() {
    let bench = Bench::new();
    check(&bench, "log_flood", "succeeded").await;
    let passed = u64::try_from(bench.lines.texts(Stream::Plugin).len()).unwrap();
    assert_eq!(
        passed + bench.lines.lost(),
        100_000,
        "each is passed or counted"
    );
    assert!(passed >= LOG_LINES_PER_SECOND);
    if bench.lines.lost() > 0 {
        let markers = bench.lines.texts(Stream::Host);
        assert!(markers.last().unwrap().contains("are lost"), "{markers:?}");
    }
}

#[tokio::test]
async fn log_many_lines_at_once() {
    let bench = Bench::new();
    check(&bench, "log_many_lines_at_once", "succeeded").await;
    let passed = u64::try_from(bench.lines.texts(Stream::Plugin).len()).unwrap();
    assert_eq!(passed, LOG_LINES_PER_SECOND);
    assert_eq!(bench.lines.lost(), 1_000_000 - LOG_LINES_PER_SECOND);
}

#[tokio::test]
async fn log_huge_line() {
    let bench = Bench::new();
    check(&bench, "log_huge_line", "succeeded").await;
    let lines = bench.lines.texts(Stream::Plugin);
    assert!(lines.iter().all(|line| line.len() <= LOG_LINE.to_usize()));
    assert_eq!(lines.iter().map(String::len).sum::<usize>(), 5_000_000);
}

#[tokio::test]
async fn log_larger_than_a_call() {
    let bench = Bench::new();
    let expected = "limit_exceeded: limit `call_bytes` of 8388608 bytes exceeded";
    check(&bench, "log_larger_than_a_call", expected).await;
    assert!(bench.lines.texts(Stream::Plugin).is_empty());
}

#[tokio::test]
async fn log_a_secret() {
    let bench = Bench::new();
    check(&bench, "log_a_secret", "succeeded").await;
    assert_eq!(bench.lines.texts(Stream::Plugin), ["a *** b"]);
}

#[tokio::test]
async fn log_a_read_secret() {
    let bench = Bench::new();
    check(&bench, "log_a_read_secret", "succeeded").await;
    assert_eq!(bench.lines.texts(Stream::Plugin), ["***"]);
}

// ---- describe -----------------------------------------------------------------

fn describe_error(name: &str) -> String {
    Bench::new()
        .sandbox
        .prepare(&guest(name))
        .unwrap_err()
        .to_string()
}

#[test]
fn spin_in_describe() {
    assert_eq!(
        describe_error("spin_in_describe"),
        "the plugin cannot describe itself: limit `cpu_ms` of 2000 ms exceeded"
    );
}

#[test]
fn trap_in_describe() {
    assert_eq!(
        describe_error("trap_in_describe"),
        "the plugin cannot describe itself: the plugin trapped: wasm trap: wasm `unreachable` instruction executed"
    );
}

#[test]
fn huge_describe() {
    assert_eq!(
        describe_error("huge_describe"),
        "the plugin cannot describe itself: limit `call_bytes` of 262144 bytes exceeded"
    );
}

#[test]
fn call_in_describe() {
    let bench = Bench::new();
    bench.prepare(&guest("call_in_describe"));
    assert!(bench.tools.calls().is_empty());
    assert!(bench.lines.texts(Stream::Plugin).is_empty());
}
