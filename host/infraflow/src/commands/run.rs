//! `infraflow run` and `infraflow trigger`: start a workflow or a playbook.

use camino::{Utf8Path, Utf8PathBuf};
use infraflow_core::limits::UPLOAD;
use infraflow_core::{Json, JsonMap};
use infraflow_tools::workspace::upload;
use serde_json::json;

use super::logs::Reader;
use super::{here, load_config};
use crate::api::client::Client;
use crate::api::types::{
    JoinRequest, RunDetail, RunItem, RunRef, StartRequest, Started, Uploaded, WorkflowDetail,
    WorkflowRef,
};
use crate::api::verb;
use crate::cli::{Global, RunArgs, TriggerArgs};
use crate::config::{Config, SecretPlace};
use crate::data_dir::random_hex;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{
    BOLD, DIM, Format, RED, between, json, line, note, safe, state, styled, table, took,
};

/// Bytes of a piece of an upload; a message holds at most 1 MiB.
const PIECE: usize = 512 * 1024;

/// The workflow that runs a playbook that somebody hands over.
const PLAYBOOK_WORKFLOW: &str = "playbook";

/// Starts and follows.
pub(crate) async fn run(global: &Global, args: RunArgs) -> Outcome {
    let config = load_config(global)?;
    let client = Client::connect(&config).await?;
    let request = match (&args.workflow, &args.playbook) {
        (Some(workflow), _) => start_request(workflow, &args.input)?,
        (None, Some(playbook)) => playbook_request(&config, &client, playbook, &args).await?,
        (None, None) => {
            return Err(Failure::new(
                Exit::Usage,
                "name a workflow, or a `--playbook`",
            ));
        }
    };
    let workflow = request.workflow.clone();
    let started: Started = client.ask(verb::RUNS_START, &request).await?;
    if global.output == Format::Text {
        note(&format!(
            "run {} of workflow {workflow}",
            styled(BOLD, &started.run)
        ));
    }
    tokio::select! {
        outcome = follow(global, &client, &workflow, &started.run) => outcome,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.map_err(|error| Failure::internal("listen for signals", &error))?;
            note(&format!(
                "the run goes on: `infraflow logs {0} --follow`, or end it with `infraflow runs cancel {0}`",
                started.run
            ));
            Ok(Exit::Detached)
        }
    }
}

/// Starts and returns.
pub(crate) async fn trigger(global: &Global, args: TriggerArgs) -> Outcome {
    let client = Client::connect(&load_config(global)?).await?;
    let request = start_request(&args.workflow, &args.input)?;
    let started: Started = client.ask(verb::RUNS_START, &request).await?;
    match global.output {
        Format::Json => json(&started)?,
        Format::Text => line(&started.run)?,
    }
    Ok(Exit::Success)
}

fn start_request(workflow: &str, inputs: &[String]) -> Result<StartRequest, Failure> {
    Ok(StartRequest {
        workflow: workflow.to_owned(),
        texts: texts(inputs)?,
        inputs: None,
        request_id: request_id()?,
    })
}

/// Inputs of a command line.
pub(super) fn texts(inputs: &[String]) -> Result<Vec<(String, String)>, Failure> {
    inputs.iter().map(|text| pair(text, "--input")).collect()
}

/// What tells one request from another: the same one is done once.
pub(super) fn request_id() -> Result<String, Failure> {
    random_hex::<16>().map_err(|error| Failure::internal("draw a request id", &error))
}

fn pair(text: &str, option: &str) -> Result<(String, String), Failure> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Failure::new(
            Exit::Usage,
            format!("`{option} {text}`: expected a name and a value, like `{option} env=stage`"),
        )),
    }
}

/// Follows the log, then says how it ended.
async fn follow(global: &Global, client: &Client, workflow: &str, run: &str) -> Outcome {
    let mut reader = Reader::new(run.to_owned(), global.output, false, None);
    let wanted = WorkflowRef {
        workflow: workflow.to_owned(),
    };
    let shown: WorkflowDetail = client.ask(verb::WORKFLOWS_SHOW, &wanted).await?;
    reader.align(step_widths(&shown.text));
    reader.follow_new(client).await?;
    reader.report_lost(client).await?;
    let detail: RunDetail = client
        .ask(
            verb::RUNS_SHOW,
            &RunRef {
                run: run.to_owned(),
            },
        )
        .await?;
    match global.output {
        Format::Json => crate::output::json_line(&detail)?,
        Format::Text => print_end(&detail)?,
    }
    Ok(if detail.run.state == "succeeded" {
        Exit::Success
    } else {
        Exit::RunFailed
    })
}

fn step_widths(text: &str) -> impl Iterator<Item = usize> + '_ {
    // Only for looks: where the text is not understood, names are not aligned.
    let workflow = infraflow_workflow::parse_workflow("workflow", text).ok();
    let widths: Vec<usize> = workflow
        .iter()
        .flat_map(|w| w.steps().map(|step| step.id.as_str().len()))
        .collect();
    widths.into_iter()
}

/// A table of the steps, and the line that tells how it ended.
pub(crate) fn print_end(detail: &RunDetail) -> Result<(), Failure> {
    line("")?;
    let rows = detail
        .steps
        .iter()
        .map(|step| {
            let time = match (step.started_at, step.ended_at) {
                (Some(start), Some(end)) => took(between(start, end)),
                _ => String::new(),
            };
            let tries = if step.attempts.len() > 1 {
                step.attempts.len().to_string()
            } else {
                String::new()
            };
            let shown = match step.shown.as_str() {
                "waiting" if detail.run.is_ended => "not run",
                shown => shown,
            };
            vec![
                step.id.clone(),
                step.uses.clone(),
                state(shown),
                tries,
                time,
            ]
        })
        .collect();
    table(&["step", "uses", "outcome", "attempts", "time"], rows)?;
    line("")?;
    line(&end_line(&detail.run))
}

/// How a run ended, and why.
pub(crate) fn end_line(run: &RunItem) -> String {
    let mut text = format!("run {} {}", run.id, state(&run.state));
    if let Some(end) = run.ended_at {
        text.push_str(&format!(" in {}", took(between(run.created_at, end))));
    }
    if !run.reason.is_empty() {
        text.push_str(&format!("\n{}", styled(RED, &safe(&run.reason))));
    }
    text
}

// ---- playbooks ---------------------------------------------------------------------

/// Hands the playbook's folder over and asks for the workflow that runs it.
async fn playbook_request(
    config: &Config,
    client: &Client,
    playbook: &Utf8Path,
    args: &RunArgs,
) -> Result<StartRequest, Failure> {
    let here = here()?;
    let playbook = here.join(playbook);
    if !playbook.is_file() {
        return Err(Failure::new(
            Exit::NotFound,
            format!("there is no playbook `{playbook}`"),
        ));
    }
    let inventories: Vec<Utf8PathBuf> = args.input.iter().map(|path| here.join(path)).collect();
    if let Some(missing) = inventories.iter().find(|path| !path.exists()) {
        return Err(Failure::new(
            Exit::NotFound,
            format!("there is no inventory `{missing}`"),
        ));
    }
    let folder = common_folder(&playbook, &inventories);
    if folder.parent().is_none() {
        let problem =
            "playbook and inventories have no folder in common but `/`: put them into one folder";
        return Err(Failure::new(Exit::Invalid, problem));
    }
    let within = |path: &Utf8Path| path.strip_prefix(&folder).map(Utf8Path::to_string);
    let relative = |path: &Utf8PathBuf| {
        within(path)
            .map_err(|_| Failure::new(Exit::Invalid, format!("`{path}` is not below `{folder}`")))
    };
    let packed = upload::pack(&folder, &private_paths(config), UPLOAD.0)
        .map_err(|error| Failure::new(Exit::Invalid, crate::exit::chain(&error)))?;
    note(&styled(
        DIM,
        &format!(
            "handing over {folder} ({})",
            crate::output::bytes(u64::try_from(packed.len()).unwrap_or(u64::MAX))
        ),
    ));
    let digest = hand_over(client, &packed).await?;
    let mut connection = JsonMap::new();
    for (name, value) in [
        ("user", &args.user),
        ("private_key", &args.private_key),
        ("known_hosts", &args.known_hosts),
    ] {
        if let Some(value) = value {
            connection.insert(name.to_owned(), Json::from(value.as_str()));
        }
    }
    let extra: JsonMap = args
        .extra_var
        .iter()
        .map(|text| pair(text, "--extra-var").map(|(name, value)| (name, Json::from(value))))
        .collect::<Result<_, _>>()?;
    let inputs = json!({
        "upload": digest,
        "playbook": relative(&playbook)?,
        "inventory": inventories.iter().map(relative).collect::<Result<Vec<_>, _>>()?,
        "limit": args.limit,
        "extra_vars": extra,
        "check": args.check,
        "connection": connection,
    });
    Ok(StartRequest {
        workflow: PLAYBOOK_WORKFLOW.to_owned(),
        texts: vec![],
        inputs: inputs.as_object().cloned(),
        request_id: request_id()?,
    })
}

/// What is never handed over, wherever it is: the host's own data, and secrets.
fn private_paths(config: &Config) -> Vec<Utf8PathBuf> {
    let secrets = config.secrets.values().filter_map(|place| match place {
        SecretPlace::File(path) => Some(path),
        SecretPlace::Environment(_) => None,
    });
    secrets.chain([&config.data_dir]).cloned().collect()
}

/// The deepest folder that holds the playbook's folder and every inventory.
fn common_folder(playbook: &Utf8Path, inventories: &[Utf8PathBuf]) -> Utf8PathBuf {
    let mut folder = playbook.parent().unwrap_or(playbook).to_owned();
    for inventory in inventories {
        while !inventory.starts_with(&folder) {
            match folder.parent() {
                Some(parent) => folder = parent.to_owned(),
                None => return folder,
            }
        }
    }
    folder
}

async fn hand_over(client: &Client, packed: &[u8]) -> Result<String, Failure> {
    let mut pieces = Vec::new();
    for piece in packed.chunks(PIECE) {
        let stored: Uploaded = client.ask_bytes(verb::UPLOAD, piece.to_vec()).await?;
        pieces.push(stored.digest);
    }
    let whole: Uploaded = client
        .ask(verb::UPLOAD_JOIN, &JoinRequest { pieces })
        .await?;
    Ok(whole.digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_holds_playbook_and_inventories() {
        for (playbook, inventories, expected) in [
            ("/a/site.yml", &["/a/inventory"][..], "/a"),
            ("/a/plays/site.yml", &["/a/inventory"], "/a"),
            ("/a/site.yml", &["/b/hosts"], "/"),
            ("/a/site.yml", &[], "/a"),
        ] {
            let inventories: Vec<Utf8PathBuf> = inventories.iter().map(Into::into).collect();
            assert_eq!(
                common_folder(Utf8Path::new(playbook), &inventories),
                expected
            );
        }
    }

    #[test]
    fn inputs_are_pairs() {
        assert_eq!(pair("a=b=c", "-i").unwrap(), ("a".into(), "b=c".into()));
        for bad in ["a", "=a", ""] {
            assert_eq!(pair(bad, "-i").unwrap_err().exit, Exit::Usage);
        }
    }
}
