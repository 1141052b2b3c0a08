//! `make bench`: what a run costs through the release binary, beside what NATS
//! and wasmtime take for the same without anything of ours, in the same run, on
//! the same server, with the same sizes.
//!
//! Figures are printed and never asserted; what is asserted is that every event
//! made its run. `--output json` prints a document, `sizes` takes the figures of
//! many runs only.

#![expect(clippy::indexing_slicing, reason = "figures in a JSON document")]

mod machine;
mod ours;
mod sizes;
mod theirs;

use serde_json::{Value, json};

/// Events of a load, each of which makes a run of one step with one log line.
const EVENTS: usize = 20_000;

/// Runs at the same time, as the host does by default.
const IN_FLIGHT: usize = 256;

/// Bytes of an event's body.
const BODY_BYTES: usize = 256;

/// Rounds of the latencies.
const ROUNDS: usize = 1_000;

fn main() {
    let is_json = std::env::args().any(|argument| argument == "json");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut report = json!({ "machine": machine::describe(), "start": ours::start() });
    eprint("many runs ...");
    report["sizes"] = sizes::figures(&runtime);
    for sync in ["2m", "always"] {
        if std::env::args().any(|argument| argument == "sizes") {
            break;
        }
        eprint(&format!("sync_interval {sync}: bare ..."));
        let bare = runtime.block_on(theirs::figures(sync));
        eprint(&format!("sync_interval {sync}: ours ..."));
        let own = ours::figures(&runtime, sync);
        report["sync"][sync] = json!({ "bare": bare, "ours": own });
    }
    if is_json {
        print(&serde_json::to_string_pretty(&report).expect("JSON"));
    } else {
        print(&text(&report));
    }
}

#[expect(clippy::print_stdout, reason = "the figures")]
fn print(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "progress")]
fn eprint(text: &str) {
    eprintln!("bench: {text}");
}

/// The report for people.
fn text(report: &Value) -> String {
    let mut text = format!("{}\n\n", report["machine"].as_str().unwrap_or_default());
    for (name, value) in report["start"].as_object().into_iter().flatten() {
        text.push_str(&format!("{name:<34} {}\n", plain(value)));
    }
    text.push('\n');
    for (name, value) in report["sizes"].as_object().into_iter().flatten() {
        text.push_str(&format!("{name:<38} {}\n", plain(value)));
    }
    for (sync, figures) in report["sync"].as_object().into_iter().flatten() {
        text.push_str(&format!("\nsync_interval {sync}\n"));
        let whole = figures["bare"]["runs_per_second_whole_path"]
            .as_f64()
            .unwrap_or(f64::NAN);
        for side in ["bare", "ours"] {
            for (name, value) in figures[side].as_object().into_iter().flatten() {
                let ratio = match value.as_f64() {
                    Some(rate) if name.starts_with("runs_per_second") => {
                        format!("   {:.2} of the bare whole path", rate / whole)
                    }
                    _ => String::new(),
                };
                text.push_str(&format!(
                    "  {side}  {name:<34} {:>12}{ratio}\n",
                    plain(value)
                ));
            }
        }
    }
    text
}

fn plain(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if number >= 1_000.0 => format!("{number:.0}"),
        Some(number) => format!("{number:.2}"),
        None => value.as_str().unwrap_or_default().to_owned(),
    }
}

/// Median, 99th and 99.9th of a hundred, in microseconds.
fn percentiles(mut times: Vec<std::time::Duration>) -> [f64; 3] {
    times.sort_unstable();
    [0.5, 0.99, 0.999].map(|part| {
        let last = times.len().saturating_sub(1);
        let index = (f64::from(u32::try_from(last).unwrap_or(u32::MAX)) * part).round();
        times
            .iter()
            .enumerate()
            .find(|(at, _)| f64::from(u32::try_from(*at).unwrap_or(u32::MAX)) >= index)
            .map_or(0.0, |(_, time)| time.as_secs_f64() * 1e6)
    })
}
