//! Log lines: floods, long lines, bytes that are no text, readers that come
//! late, connections that break.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use infraflow_tests::host::{Host, command, program};

use crate::COMMANDS;
use crate::workflows::{log, manual, sh};

fn ran(script: &str) -> (Host, String) {
    let mut host = Host::new(COMMANDS);
    host.workflow("w", &manual("w", &[sh("step", script, "")]));
    host.start();
    let run = host.run("w", &[]);
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    let id = run["run"]["id"].as_str().unwrap().to_owned();
    (host, id)
}

#[test]
fn promise_09_a_hundred_thousand_lines_arrive_or_are_counted() {
    let (host, run) = ran("seq 100000");
    let shown = host.show(&run);
    let attempt = &shown["steps"][0]["attempts"][0];
    assert_eq!(attempt["lines"], 100_000, "{attempt:#}");
    let lines = host.lines(&run);
    let dropped = attempt["lines_dropped"].as_u64().unwrap();
    assert_eq!(u64::try_from(lines.len()).unwrap() + dropped, 100_000);
    // In order, and each with its number.
    let numbers: Vec<_> = lines
        .iter()
        .map(|line| line["number"].as_u64().unwrap())
        .collect();
    assert!(numbers.is_sorted());
    for line in lines.iter().filter(|line| line["stream"] == "stdout") {
        assert_eq!(line["text"].as_str().unwrap(), line["number"].to_string());
    }
    assert_eq!(dropped, 0, "a tool is slowed down, not cut");
}

#[test]
fn a_line_of_five_megabytes_is_cut_into_pieces() {
    let (host, run) = ran("head -c 5000000 /dev/zero | tr '\\0' x; echo; echo end");
    let lines = host.lines(&run);
    let (last, pieces) = lines.split_last().unwrap();
    assert_eq!(last["text"], "end");
    let length: usize = pieces
        .iter()
        .map(|line| line["text"].as_str().unwrap().len())
        .sum();
    assert_eq!(length, 5_000_000);
    assert!(
        pieces
            .iter()
            .all(|line| line["text"].as_str().unwrap().len() <= 65_536)
    );
    let (end, begin) = pieces.split_last().unwrap();
    assert!(begin.iter().all(|line| line["continues"] == true) && end["continues"].is_null());
}

#[test]
fn bytes_that_are_no_text_and_a_missing_end_of_line() {
    let (host, run) = ran("printf 'a\\377b\\000c\\033[31mred\\nlast'");
    let texts = host.texts(&run);
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts[0].starts_with("a\u{fffd}b"), "{texts:?}");
    assert_eq!(texts[1], "last");
    // On a terminal nothing of it can move the cursor.
    let shown = host.cli(&["logs", &run]);
    assert!(
        !shown.stdout.contains(&0x1b) && !shown.stdout.contains(&0),
        "{:?}",
        shown.stdout
    );
}

#[test]
fn a_reader_follows_from_the_start_to_the_end_over_a_broken_connection() {
    let mut host = Host::new(COMMANDS);
    let script = "echo one; while ! test -e go; do sleep 0.05; done; echo two";
    host.workflow(
        "w",
        &manual("w", &[sh("step", script, ""), log("end", "three", "")]),
    );
    host.start();
    let run = host.trigger("w", &[]);
    let mut follow = command(&program())
        .args(["logs", &run, "--follow"])
        .current_dir(host.path("."))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let mut next = || lines.next().map(|line| line.unwrap());
    assert_eq!(next().unwrap(), "step | one");
    // The server dies and comes back while the reader waits.
    host.restart_nats();
    host.let_go(&run);
    let rest: Vec<String> = std::iter::from_fn(next).collect();
    let output = follow.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(host.ended(&run)["run"]["state"], "succeeded");
    // Lines are not confirmed: one that the server had not written when it died
    // is lost, and its place is taken by the next one. Then the reader says so.
    assert_eq!(rest.last().unwrap(), "end  | three");
    let told = String::from_utf8_lossy(&output.stderr);
    match rest.len() {
        2 => assert_eq!(rest[0], "step | two"),
        1 => assert!(
            told.contains("log lines lost of step `step`, attempt 1: 1"),
            "{told}"
        ),
        _ => panic!("{rest:?}"),
    }
}

#[test]
fn a_program_that_reads_no_more_ends_quietly() {
    let (host, run) = ran("seq 20000");
    let mut reader = command(&program())
        .args(["logs", &run])
        .current_dir(host.path("."))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(reader.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    let output = reader.wait_with_output().unwrap();
    assert_eq!(first, "step | 1\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn promise_09_a_plugin_that_floods_loses_lines_and_nothing_else() {
    let mut host = Host::new(COMMANDS);
    let text = "{{ inputs.text }}{{ inputs.text }}";
    host.workflow("w", &manual("w", &[log("step", text, "")]));
    host.start();
    let run = host.run("w", &[&format!("text={}", "x\n".repeat(60_000))]);
    assert_eq!(run["run"]["state"], "succeeded", "{}", run["run"]);
    let attempt = &run["steps"][0]["attempts"][0];
    assert!(
        attempt["lines_dropped"].as_u64().unwrap() > 0,
        "{attempt:#}"
    );
    let texts = host.texts(run["run"]["id"].as_str().unwrap());
    let told = texts
        .iter()
        .any(|text| text.contains("lines of the plugin are lost"));
    assert!(told, "{:?}", texts.last());
}
