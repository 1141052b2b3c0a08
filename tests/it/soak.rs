//! The short form of the suite of faults, and proof that it can fail.

use std::path::Path;
use std::process::Output;

use infraflow_tests::host::command;

fn soak(arguments: &[&str], broken: Option<&str>) -> Output {
    let mut soak = command(Path::new(env!("CARGO_BIN_EXE_soak")));
    soak.args(arguments);
    for name in ["INFRAFLOW_BIN", "INFRAFLOW_FAULTS_BIN"] {
        if let Some(value) = std::env::var_os(name) {
            soak.env(name, value);
        }
    }
    if let Some(broken) = broken {
        soak.env("INFRAFLOW_BREAK", broken);
    }
    soak.output().expect("the suite runs")
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether a part of the suite fails with a break, and by this rule.
fn fails_with(broken: &str, arguments: &[&str], rule: &str) {
    let output = soak(arguments, Some(broken));
    let told = told(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(&format!("VIOLATED: {rule}")), "{told}");
}

#[test]
fn every_fault_strikes_once_and_everything_holds() {
    let output = soak(&["--short"], None);
    assert!(output.status.success(), "{}", told(&output));
}

/// A host that acknowledges an event before its run is durable loses the event
/// with itself.
#[test]
fn a_host_that_acknowledges_early_fails_the_suite() {
    fails_with(
        "AckBeforeRecord",
        &["--cell", "kill:before:created"],
        "every event has its run: none for",
    );
}

/// A host that stood still past its lease goes on beside the one that took its
/// runs over, when nothing ends its tools.
#[test]
fn a_host_without_fencing_fails_the_suite() {
    let cell = "stop:before:created";
    fails_with(
        "NoFencing",
        &["--cell", cell, "--workload", "beside", "--hosts", "2"],
        "two attempts of one run never act at the same time",
    );
}
