//! `infraflow workflow list|show|apply`: the workflows of the host.

use camino::Utf8PathBuf;

use super::{here, load_config};
use crate::api::client::Client;
use crate::api::types::{ApplyRequest, WorkflowDetail, WorkflowList, WorkflowRef};
use crate::api::verb;
use crate::cli::Global;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{DIM, Format, RED, YELLOW, json, line, note, report_style, styled, table};
use crate::workflow_dir::read_text;

/// Lists workflows.
pub(crate) async fn list(global: &Global) -> Outcome {
    let client = Client::connect(&load_config(global)?).await?;
    let list: WorkflowList = client.ask(verb::WORKFLOWS_LIST, &()).await?;
    if global.output == Format::Json {
        json(&list)?;
        return Ok(Exit::Success);
    }
    let rows = list
        .workflows
        .iter()
        .map(|workflow| {
            let name = match workflow.problem {
                Some(_) => styled(YELLOW, &workflow.name),
                None => workflow.name.clone(),
            };
            vec![
                name,
                workflow.triggers.join(", "),
                workflow.steps.to_string(),
                workflow.origin.clone(),
                workflow.description.clone(),
            ]
        })
        .collect();
    table(
        &["workflow", "triggers", "steps", "from", "description"],
        rows,
    )?;
    for workflow in &list.workflows {
        if let Some(problem) = &workflow.problem {
            note(&format!("\n{}: {problem}", styled(YELLOW, &workflow.name)));
        }
    }
    for (path, problem) in &list.problems {
        note(&format!("\n{}\n{problem}", styled(RED, path)));
    }
    Ok(Exit::Success)
}

/// Shows a workflow.
pub(crate) async fn show(global: &Global, name: String) -> Outcome {
    let client = Client::connect(&load_config(global)?).await?;
    let shown: WorkflowDetail = client
        .ask(verb::WORKFLOWS_SHOW, &WorkflowRef { workflow: name })
        .await?;
    if global.output == Format::Json {
        json(&shown)?;
        return Ok(Exit::Success);
    }
    let workflow = &shown.workflow;
    line(&styled(
        DIM,
        &format!("# {} from {}", workflow.digest, workflow.origin),
    ))?;
    if let Some(problem) = &workflow.problem {
        note(&styled(YELLOW, problem));
    }
    line(shown.text.trim_end())?;
    Ok(Exit::Success)
}

/// Stores a workflow.
pub(crate) async fn apply(global: &Global, file: Utf8PathBuf) -> Outcome {
    let path = here()?.join(&file);
    let text = read_text(&path).map_err(|error| Failure::new(Exit::Invalid, error))?;
    // Here first: the report has colours then, and nothing is sent.
    if let Err(report) = infraflow_workflow::parse_workflow(file.as_str(), &text) {
        note(&report.render(report_style()));
        return Err(Failure::silent(Exit::Invalid));
    }
    let client = Client::connect(&load_config(global)?).await?;
    let request = ApplyRequest {
        name: file.into_string(),
        text,
    };
    let applied: WorkflowRef = client.ask(verb::WORKFLOWS_APPLY, &request).await?;
    match global.output {
        Format::Json => json(&applied)?,
        Format::Text => note(&format!("workflow {} is stored", applied.workflow)),
    }
    Ok(Exit::Success)
}
