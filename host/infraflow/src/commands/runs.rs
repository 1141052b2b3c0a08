//! `infraflow runs`: look at runs, cancel, answer and repeat them.

use super::load_config;
use super::run::{print_end, request_id, texts};
use crate::api::client::Client;
use crate::api::types::{
    AnswerRequest, RepeatRequest, RunDetail, RunItem, RunRef, RunsPage, RunsQuery, Started,
};
use crate::api::verb;
use crate::cli::{Global, RerunArgs, ResumeArgs, RunsListArgs};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{
    DIM, Format, ago, between, json, line, note, safe, state, styled, table, took, until,
};

/// Lists runs.
pub(crate) async fn list(global: &Global, args: RunsListArgs) -> Outcome {
    let client = Client::connect(&load_config(global)?).await?;
    let query = RunsQuery {
        workflow: args.workflow,
        states: args.state,
        before: args.before,
        limit: usize::from(args.limit),
    };
    let page: RunsPage = client.ask(verb::RUNS_LIST, &query).await?;
    if global.output == Format::Json {
        json(&page)?;
        return Ok(Exit::Success);
    }
    if page.runs.is_empty() {
        note("no runs");
        return Ok(Exit::Success);
    }
    let rows = page.runs.iter().map(row).collect();
    table(
        &[
            "run", "workflow", "state", "step", "event", "by", "created", "took",
        ],
        rows,
    )?;
    if let Some(next) = page.next {
        note(&styled(DIM, &format!("older ones: --before {next}")));
    }
    Ok(Exit::Success)
}

fn row(run: &RunItem) -> Vec<String> {
    let event = match &run.event_subject {
        Some(subject) => format!("{} {}", run.event_type, safe(subject)),
        None => run.event_type.clone(),
    };
    let shown_state = match &run.problem {
        Some(_) => state("unreadable"),
        None => state(&run.state),
    };
    vec![
        run.id.clone(),
        run.workflow.clone(),
        shown_state,
        at(run),
        event,
        safe(&run.actor),
        ago(run.created_at),
        run.ended_at
            .map(|end| took(between(run.created_at, end)))
            .unwrap_or_default(),
    ]
}

/// The step that it is at, or what it waits for.
fn at(run: &RunItem) -> String {
    let until = run.wakes_at.map(|time| format!(", {}", until(time)));
    match (&run.lock, run.queue_position) {
        (Some(lock), Some(position)) => format!("lock {}, place {position}", safe(lock)),
        (Some(lock), None) => format!("lock {}", safe(lock)),
        _ => {
            let step = run.step.clone().unwrap_or_default();
            match run.waits_for.as_deref() {
                Some("time") => format!("{step}{}", until.unwrap_or_default()),
                _ => step,
            }
        }
    }
}

/// Shows a run.
pub(crate) async fn show(global: &Global, run: String) -> Outcome {
    let client = Client::connect(&load_config(global)?).await?;
    let detail: RunDetail = client.ask(verb::RUNS_SHOW, &RunRef { run }).await?;
    match global.output {
        Format::Json => json(&detail)?,
        Format::Text => print(&detail)?,
    }
    Ok(Exit::Success)
}

fn print(detail: &RunDetail) -> Result<(), Failure> {
    let run = &detail.run;
    let event = run.event_subject.as_deref().map(safe).unwrap_or_default();
    let mut rows = vec![
        ("run", run.id.clone()),
        (
            "workflow",
            format!(
                "{} {}",
                run.workflow,
                styled(DIM, &short(&detail.workflow_digest))
            ),
        ),
        ("state", state(&run.state)),
        ("event", format!("{} {event}", run.event_type)),
        ("by", safe(&run.actor)),
        (
            "created",
            format!("{:.3} ({})", run.created_at, ago(run.created_at)),
        ),
        (
            "code",
            if detail.trusted {
                "trusted"
            } else {
                "untrusted"
            }
            .to_owned(),
        ),
    ];
    if !detail.inputs.is_empty() {
        rows.push((
            "inputs",
            safe(&serde_json::Value::from(detail.inputs.clone()).to_string()),
        ));
    }
    if run.waits_for.is_some() {
        rows.push(("waits for", at(run)));
    }
    if let Some(host) = &run.host {
        rows.push(("host", host.clone()));
    }
    if run.pool != "default" {
        rows.push(("pool", run.pool.clone()));
    }
    if let Some(origin) = &run.origin {
        rows.push(("made of", origin.clone()));
    }
    if let Some(workspace) = &detail.workspace {
        rows.push(("workspace", workspace.clone()));
    }
    if let Some(problem) = &run.problem {
        rows.push(("problem", problem.clone()));
    }
    for (name, value) in rows {
        line(&format!("{}  {value}", styled(DIM, &format!("{name:<9}"))))?;
    }
    print_end(detail)?;
    for step in &detail.steps {
        if let Some(outputs) = step.outputs.as_ref().filter(|outputs| !outputs.is_empty()) {
            let text = serde_json::to_string_pretty(outputs).unwrap_or_default();
            let text: Vec<String> = text.lines().map(safe).collect();
            line(&format!(
                "\n{}\n{}",
                styled(DIM, &format!("outputs of {}", step.id)),
                text.join("\n")
            ))?;
        }
    }
    line(&format!("\n{}", styled(DIM, "journal")))?;
    let rows = detail
        .journal
        .iter()
        .map(|item| {
            vec![
                item.sequence.to_string(),
                format!("{:.3}", item.at),
                item.host.clone(),
                item.entries.join(", "),
            ]
        })
        .collect();
    table(&["record", "time", "host", "entries"], rows)
}

fn short(digest: &str) -> String {
    digest.chars().take("sha256:".len() + 12).collect()
}

/// Cancels a run.
pub(crate) async fn cancel(global: &Global, run: String) -> Outcome {
    let client = Client::connect(&load_config(global)?).await?;
    let cancelled: RunRef = client.ask(verb::RUNS_CANCEL, &RunRef { run }).await?;
    match global.output {
        Format::Json => json(&cancelled)?,
        Format::Text => note(&format!("run {} is being cancelled", cancelled.run)),
    }
    Ok(Exit::Success)
}

/// Answers a run that asks, or goes on with one that failed.
pub(crate) async fn resume(global: &Global, args: ResumeArgs) -> Outcome {
    let Some(answer) = args.answer else {
        let repeat = repeat_request(args.run, "resume", &args.input, args.latest)?;
        return make_again(global, &repeat).await;
    };
    let client = Client::connect(&load_config(global)?).await?;
    let request = AnswerRequest {
        run: args.run,
        step: None,
        answer,
    };
    let answered: RunRef = client.ask(verb::RUNS_ANSWER, &request).await?;
    match global.output {
        Format::Json => json(&answered)?,
        Format::Text => note(&format!("run {} goes on", answered.run)),
    }
    Ok(Exit::Success)
}

/// Runs one that is over again.
pub(crate) async fn rerun(global: &Global, args: RerunArgs) -> Outcome {
    let kind = if args.failed_hosts {
        "failed_hosts"
    } else {
        "rerun"
    };
    let repeat = repeat_request(args.run, kind, &args.input, args.latest)?;
    make_again(global, &repeat).await
}

fn repeat_request(
    run: String,
    kind: &str,
    inputs: &[String],
    latest: bool,
) -> Result<RepeatRequest, Failure> {
    Ok(RepeatRequest {
        run,
        kind: kind.to_owned(),
        texts: texts(inputs)?,
        latest,
        request_id: request_id()?,
    })
}

async fn make_again(global: &Global, request: &RepeatRequest) -> Outcome {
    let client = Client::connect(&load_config(global)?).await?;
    let made: Started = client.ask(verb::RUNS_REPEAT, request).await?;
    match global.output {
        Format::Json => json(&made)?,
        Format::Text => {
            line(&made.run)?;
            note(&styled(DIM, &format!("infraflow logs -f {}", made.run)));
        }
    }
    Ok(Exit::Success)
}
