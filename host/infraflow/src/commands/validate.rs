//! `infraflow workflow validate`: check files, without a host.

use camino::{Utf8Path, Utf8PathBuf};
use infraflow_workflow::diagnostic::Report;
use serde_json::json;

use super::load_config;
use crate::cli::Global;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Format, GREEN, json as print_json, line, note, report_style, styled};
use crate::workflow_dir::read_text;

/// Checks every file and reports every problem.
pub(crate) fn run(global: &Global, paths: &[Utf8PathBuf]) -> Outcome {
    let folder = [load_config(global)?.workflows];
    let files = files_of(if paths.is_empty() { &folder } else { paths })?;
    if files.is_empty() {
        return Err(Failure::new(Exit::NotFound, "there are no workflow files"));
    }
    let mut documents = Vec::new();
    let mut bad = 0;
    for file in &files {
        let checked = check(file);
        bad += usize::from(checked.is_err());
        match global.output {
            Format::Json => documents.push(match checked {
                Ok(name) => json!({ "file": file, "workflow": name, "problems": [] }),
                Err(Problem::Report(report)) => report.to_json(),
                Err(Problem::Unreadable(reason)) => {
                    json!({ "file": file, "problems": [{ "kind": "unreadable", "message": reason }] })
                }
            }),
            Format::Text => match checked {
                Ok(name) => line(&format!("{} {file} ({name})", styled(GREEN, "ok")))?,
                Err(Problem::Report(report)) => note(&report.render(report_style())),
                Err(Problem::Unreadable(reason)) => note(&reason),
            },
        }
    }
    if global.output == Format::Json {
        print_json(&documents)?;
    }
    if bad == 0 {
        return Ok(Exit::Success);
    }
    if global.output == Format::Text {
        note(&format!("problems in {bad} of {} files", files.len()));
    }
    Err(Failure::silent(Exit::Invalid))
}

enum Problem {
    Report(Box<Report>),
    Unreadable(String),
}

fn check(file: &Utf8Path) -> Result<String, Problem> {
    let text = read_text(file).map_err(Problem::Unreadable)?;
    infraflow_workflow::parse_workflow(file.as_str(), &text)
        .map(|workflow| workflow.name.to_string())
        .map_err(|report| Problem::Report(Box::new(report)))
}

fn files_of(paths: &[Utf8PathBuf]) -> Result<Vec<Utf8PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = path.read_dir_utf8().map_err(|error| {
            Failure::new(Exit::Invalid, format!("read the folder `{path}`: {error}"))
        })?;
        let mut found: Vec<Utf8PathBuf> = entries
            .filter_map(Result::ok)
            .map(|entry| entry.path().to_owned())
            .filter(|path| matches!(path.extension(), Some("yaml" | "yml")))
            .collect();
        found.sort();
        files.extend(found);
    }
    Ok(files)
}
