//! Any bytes: taken or refused with a report that can be shown, never a panic.

#![no_main]

use infraflow_workflow::diagnostic::Style;
use infraflow_workflow::document::text_of_file;
use infraflow_workflow::parse_workflow;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = text_of_file("fuzz.yaml", bytes) else {
        return;
    };
    if let Err(report) = parse_workflow("fuzz.yaml", text) {
        assert!(!report.problems().is_empty());
        let _ = (report.render(Style::Colour), report.to_json());
    }
});
