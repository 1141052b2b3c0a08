//! Answering requests.

use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use infraflow_bus::{
    Bus, CallFailure, DeadLetter, DeadLetters, LogStore, LoggedLine, RpcRequest, RpcServer,
};
use infraflow_core::id::{RunId, StepId, UserName, WorkflowName};
use infraflow_core::limits::UPLOAD;
use infraflow_core::plugin::InstalledPlugin;
use infraflow_core::ports::{BlobError, Blobs, Sequence};
use infraflow_core::run::Answer;
use infraflow_engine::Engine;
use infraflow_engine::catalog::{CatalogEntry, PutError};
use infraflow_engine::control::{ControlError, GivenInputs};
use infraflow_engine::index::{ListedRun, RunFilter, is_state_name};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::types::{
    AnswerRequest, ApplyRequest, CapabilityItem, DeadItem, DeadPage, DeadQuery, DeadRef, JailItem,
    JoinRequest, LogAnswer, LogItem, LogQuery, PluginItem, RunDetail, RunItem, RunRef, RunsPage,
    RunsQuery, SourceItem, StartRequest, Started, Status, StreamItem, Uploaded, WorkflowDetail,
    WorkflowItem, WorkflowList, WorkflowRef,
};
use super::{verb, view};
use crate::health::Health;
use crate::task::spawn_short;
use crate::workflow_dir::WorkflowDir;

/// The longest time for one answer.
const ANSWER_TIME: Duration = Duration::from_secs(20);

/// Most runs, lines or letters in one answer.
const RUNS_MAX: usize = 500;
const LINES_MAX: usize = 1_000;
const LETTERS_MAX: usize = 100;

/// Bytes of log text in one answer: an answer must fit a message.
const LOG_BYTES_MAX: usize = 512 * 1024;

/// Everything that answers are made from.
pub(crate) struct Api {
    pub(crate) engine: Arc<Engine>,
    pub(crate) bus: Bus,
    pub(crate) logs: LogStore,
    pub(crate) dead: DeadLetters,
    pub(crate) blobs: Arc<dyn Blobs>,
    pub(crate) workflow_dir: Arc<WorkflowDir>,
    pub(crate) health: Arc<Health>,
    pub(crate) sources: Vec<SourceItem>,
    pub(crate) host: String,
    pub(crate) http: String,
    pub(crate) data_dir: Utf8PathBuf,
    pub(crate) jail: JailItem,
}

type Answered = Result<Vec<u8>, CallFailure>;

/// Answers requests until the connection is closed.
pub(crate) async fn serve(api: Arc<Api>, mut requests: RpcServer) {
    while let Some(request) = requests.next().await {
        let api = api.clone();
        spawn_short(async move { api.answer(request).await });
    }
}

pub(super) fn failure(code: &str, message: impl Into<String>) -> CallFailure {
    CallFailure {
        code: code.to_owned(),
        message: message.into(),
    }
}

pub(super) fn invalid(message: impl Into<String>) -> CallFailure {
    failure("invalid", message)
}

pub(super) fn unavailable(error: impl ToString) -> CallFailure {
    failure("unavailable", error.to_string())
}

pub(super) fn control(error: ControlError) -> CallFailure {
    let code = match error {
        ControlError::NotFound(_) => "not_found",
        ControlError::Invalid(_) => "invalid",
        ControlError::Conflict(_) => "conflict",
        ControlError::Unavailable(_) => "unavailable",
    };
    failure(code, error.to_string())
}

fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, CallFailure> {
    serde_json::from_slice(payload).map_err(|error| invalid(format!("the request: {error}")))
}

fn write(answer: &impl Serialize) -> Answered {
    serde_json::to_vec(answer).map_err(unavailable)
}

impl Api {
    async fn answer(&self, request: RpcRequest) {
        let answered = tokio::time::timeout(ANSWER_TIME, self.answer_verb(&request)).await;
        let reply = answered.unwrap_or_else(|_| Err(unavailable("the host took too long")));
        request.answer(reply).await;
    }

    async fn answer_verb(&self, request: &RpcRequest) -> Answered {
        let (user, payload) = (&request.user, request.payload.as_slice());
        match request.verb.as_str() {
            verb::STATUS => write(&self.status().await?),
            verb::RUNS_LIST => write(&self.list_runs(read(payload)?)?),
            verb::RUNS_SHOW => write(&self.show_run(read(payload)?).await?),
            verb::RUNS_START => write(&self.start_run(user, read(payload)?).await?),
            verb::RUNS_CANCEL => write(&self.cancel_run(user, read(payload)?).await?),
            verb::RUNS_ANSWER => write(&self.answer_run(user, read(payload)?).await?),
            verb::RUNS_REPEAT => write(&self.repeat_run(user, read(payload)?).await?),
            verb::LOCKS_LIST => write(&self.list_locks().await?),
            verb::LOCKS_RELEASE => write(&self.release_lock(user, read(payload)?).await?),
            verb::HOSTS_LIST => write(&self.list_hosts()),
            verb::HOSTS_DRAIN => write(&self.drain_host(user, read(payload)?).await?),
            verb::AUDIT_LIST => write(&self.list_audit(read(payload)?).await?),
            verb::LOGS_READ => write(&self.read_logs(read(payload)?).await?),
            verb::WORKFLOWS_LIST => write(&self.list_workflows()),
            verb::WORKFLOWS_SHOW => write(&self.show_workflow(&read(payload)?)?),
            verb::WORKFLOWS_APPLY => write(&self.apply_workflow(user, read(payload)?).await?),
            verb::PLUGINS_LIST => write(&self.list_plugins()),
            verb::SOURCES_LIST => write(&self.sources),
            verb::DEAD_LIST => write(&self.list_dead(&read(payload)?).await?),
            verb::DEAD_SHOW => write(&self.show_dead(&read(payload)?).await?),
            verb::UPLOAD => write(&self.upload(payload).await?),
            verb::UPLOAD_JOIN => write(&self.join_upload(read(payload)?).await?),
            other => Err(failure(
                "not_found",
                format!("this host does not know `{other}`: is it older than this program?"),
            )),
        }
    }

    // ---- runs --------------------------------------------------------------------

    fn list_runs(&self, query: RunsQuery) -> Result<RunsPage, CallFailure> {
        if let Some(bad) = query.states.iter().find(|state| !is_state_name(state)) {
            let names = infraflow_core::summary::SummaryState::NAMES.join("`, `");
            return Err(invalid(format!(
                "`{bad}` is not a state: expected one of `{names}`"
            )));
        }
        let workflow = query
            .workflow
            .map(|name| WorkflowName::new(&name).map_err(|error| invalid(error.to_string())))
            .transpose()?;
        let filter = RunFilter {
            workflow,
            states: query.states,
            before: query.before.map(Sequence),
        };
        let limit = query.limit.clamp(1, RUNS_MAX);
        let listed = self.engine.index().list(&filter, limit);
        let next = (listed.len() == limit).then(|| listed.last().map(|run| run.position.0));
        Ok(RunsPage {
            runs: listed.iter().map(|run| self.run_item(run)).collect(),
            next: next.flatten(),
        })
    }

    fn run_item(&self, listed: &ListedRun) -> RunItem {
        RunItem {
            queue_position: self.engine.queue_position(listed),
            ..view::run_item(listed)
        }
    }

    async fn show_run(&self, wanted: RunRef) -> Result<RunDetail, CallFailure> {
        let id = self.engine.find_run(&wanted.run).map_err(control)?;
        let listed = self.engine.index().get(id);
        let listed = listed.ok_or_else(|| failure("not_found", "there is no such run"))?;
        let (run, records) = self.engine.show_run(id).await.map_err(control)?;
        let birth = run.birth();
        let workspace = self.data_dir.join("work").join(id.to_string());
        Ok(RunDetail {
            run: self.run_item(&listed),
            workflow_digest: birth.workflow_digest.to_string(),
            trusted: birth.trust == infraflow_core::ports::Trust::Trusted,
            event: (*birth.event.document).clone(),
            inputs: birth.inputs.clone(),
            steps: view::steps(&run, &records),
            journal: view::journal(&records),
            workspace: workspace.is_dir().then(|| workspace.into_string()),
        })
    }

    async fn start_run(
        &self,
        user: &UserName,
        request: StartRequest,
    ) -> Result<Started, CallFailure> {
        let workflow =
            WorkflowName::new(&request.workflow).map_err(|error| invalid(error.to_string()))?;
        let inputs = match request.inputs {
            Some(inputs) => GivenInputs::Document(inputs),
            None => GivenInputs::Texts(request.texts),
        };
        let started = self
            .engine
            .start_workflow(&workflow, inputs, user, &request.request_id)
            .await
            .map_err(control)?;
        Ok(Started {
            run: started.run.to_string(),
            event: started.event.to_string(),
        })
    }

    async fn cancel_run(&self, user: &UserName, wanted: RunRef) -> Result<RunRef, CallFailure> {
        let id = self.engine.find_run(&wanted.run).map_err(control)?;
        self.engine.cancel_run(id, user).await.map_err(control)?;
        Ok(RunRef {
            run: id.to_string(),
        })
    }

    async fn answer_run(
        &self,
        user: &UserName,
        request: AnswerRequest,
    ) -> Result<RunRef, CallFailure> {
        let id = self.engine.find_run(&request.run).map_err(control)?;
        let answer = Answer::from_name(&request.answer).ok_or_else(|| {
            invalid(format!(
                "`{}` is not an answer: expected `retry`, `fail` or `done`",
                request.answer
            ))
        })?;
        let step = match request.step {
            Some(step) => StepId::new(&step).map_err(|error| invalid(error.to_string()))?,
            None => self.asked_step(id).await?,
        };
        self.engine
            .answer_run(id, step, answer, user)
            .await
            .map_err(control)?;
        Ok(RunRef {
            run: id.to_string(),
        })
    }

    async fn asked_step(&self, run: RunId) -> Result<StepId, CallFailure> {
        let (run, _) = self.engine.show_run(run).await.map_err(control)?;
        let asked = run.question().cloned();
        asked.ok_or_else(|| failure("conflict", "the run does not wait for an answer"))
    }

    // ---- logs --------------------------------------------------------------------

    async fn read_logs(&self, query: LogQuery) -> Result<LogAnswer, CallFailure> {
        let id = self.engine.find_run(&query.run).map_err(control)?;
        // The state first: what a run that has ended wrote is there already.
        let listed = self.engine.index().get(id);
        let limit = query.limit.clamp(1, LINES_MAX);
        let page = self
            .logs
            .read(id, Sequence(query.from), limit)
            .await
            .map_err(unavailable)?;
        let mut lines = Vec::with_capacity(page.lines.len());
        let (mut next, mut more, mut bytes) = (page.next, page.more, 0);
        for line in page.lines {
            bytes += line.line.text.len() + 200;
            if bytes > LOG_BYTES_MAX && !lines.is_empty() {
                (next, more) = (line.position, true);
                break;
            }
            lines.push(log_item(line));
        }
        Ok(LogAnswer {
            run: id.to_string(),
            lines,
            next: next.0,
            more,
            state: listed
                .as_ref()
                .map_or("queued", |run| run.summary.state.name())
                .to_owned(),
            is_ended: listed.is_some_and(|run| run.summary.state.is_ended()),
        })
    }

    // ---- workflows -----------------------------------------------------------------

    fn list_workflows(&self) -> WorkflowList {
        let current = self.engine.catalog().current();
        let problems = self.workflow_dir.problems();
        WorkflowList {
            workflows: current
                .entries
                .iter()
                .map(|entry| self.workflow_item(entry, &current.table))
                .collect(),
            problems: problems
                .into_iter()
                .map(|(path, text)| (path.into_string(), text))
                .collect(),
        }
    }

    fn workflow_item(
        &self,
        entry: &CatalogEntry,
        table: &infraflow_core::route::RoutingTable,
    ) -> WorkflowItem {
        let stored = &entry.stored;
        let workflow = table.workflow(&stored.name);
        let stale = self
            .workflow_dir
            .problems()
            .into_iter()
            .find(|(path, _)| stored.origin == format!("file {path}"));
        WorkflowItem {
            name: stored.name.to_string(),
            description: workflow.map(|w| w.description.clone()).unwrap_or_default(),
            digest: stored.digest.to_string(),
            origin: stored.origin.clone(),
            triggers: workflow
                .map(|w| {
                    w.triggers
                        .iter()
                        .map(|t| t.filter.key().to_owned())
                        .collect()
                })
                .unwrap_or_default(),
            steps: workflow.map_or(0, |w| w.steps().count()),
            problem: entry.problem.clone().or_else(|| {
                stale.map(|_| "its file has problems; this is the version before".into())
            }),
        }
    }

    fn show_workflow(&self, wanted: &WorkflowRef) -> Result<WorkflowDetail, CallFailure> {
        let current = self.engine.catalog().current();
        let entry = current
            .entries
            .iter()
            .find(|entry| entry.stored.name.as_str() == wanted.workflow);
        let entry = entry.ok_or_else(|| {
            let names = current
                .entries
                .iter()
                .map(|entry| entry.stored.name.as_str());
            let hint = infraflow_core::nearest::nearest(&wanted.workflow, names)
                .map(|near| format!(": did you mean `{near}`?"))
                .unwrap_or_default();
            failure(
                "not_found",
                format!("there is no workflow `{}`{hint}", wanted.workflow),
            )
        })?;
        let inputs = current
            .table
            .workflow(&entry.stored.name)
            .map(|workflow| workflow.inputs.schema().document().clone())
            .unwrap_or_default();
        Ok(WorkflowDetail {
            workflow: self.workflow_item(entry, &current.table),
            text: entry.stored.text.clone(),
            inputs,
        })
    }

    async fn apply_workflow(
        &self,
        user: &UserName,
        request: ApplyRequest,
    ) -> Result<WorkflowRef, CallFailure> {
        let origin = format!("applied by {user}");
        let put = self
            .engine
            .catalog()
            .put(&request.name, &request.text, &origin)
            .await;
        let name = put.map_err(|error| match error {
            PutError::Invalid(report) => invalid(report),
            PutError::Store(error) => unavailable(error),
        })?;
        tracing::info!(workflow = %name, %user, "workflow applied");
        Ok(WorkflowRef {
            workflow: name.to_string(),
        })
    }

    fn list_plugins(&self) -> Vec<PluginItem> {
        self.engine
            .plugins()
            .plugins()
            .iter()
            .map(plugin_item)
            .collect()
    }

    // ---- dead letters ----------------------------------------------------------------

    async fn list_dead(&self, query: &DeadQuery) -> Result<DeadPage, CallFailure> {
        let limit = query.limit.clamp(1, LETTERS_MAX);
        let (letters, more) = self
            .dead
            .list(Sequence(query.from), limit)
            .await
            .map_err(unavailable)?;
        let next = letters
            .last()
            .filter(|_| more)
            .map(|letter| letter.position.0 + 1);
        let letters = letters
            .into_iter()
            .map(|letter| DeadItem {
                payload: None,
                ..dead_item(letter)
            })
            .collect();
        Ok(DeadPage { letters, next })
    }

    async fn show_dead(&self, wanted: &DeadRef) -> Result<DeadItem, CallFailure> {
        let (letters, _) = self
            .dead
            .list(Sequence(wanted.id), 1)
            .await
            .map_err(unavailable)?;
        letters
            .into_iter()
            .find(|letter| letter.position.0 == wanted.id)
            .map(dead_item)
            .ok_or_else(|| {
                failure(
                    "not_found",
                    format!("there is no dead letter {}", wanted.id),
                )
            })
    }

    // ---- uploads and status ------------------------------------------------------------

    /// Stores a piece. Any host can take any piece: they meet in the store.
    async fn upload(&self, piece: &[u8]) -> Result<Uploaded, CallFailure> {
        let stored = self.blobs.put(piece.to_vec()).await;
        Ok(Uploaded {
            digest: stored.map_err(unavailable)?.to_string(),
        })
    }

    /// Stores the whole; the pieces go by age.
    async fn join_upload(&self, request: JoinRequest) -> Result<Uploaded, CallFailure> {
        let mut whole = Vec::new();
        for piece in &request.pieces {
            let digest = piece
                .parse()
                .map_err(|_| invalid(format!("`{piece}` is not a digest")))?;
            let room = UPLOAD
                .0
                .saturating_sub(u64::try_from(whole.len()).unwrap_or(u64::MAX));
            let bytes = self
                .blobs
                .get(digest, room)
                .await
                .map_err(|error| match error {
                    BlobError::TooLarge { .. } => {
                        invalid(format!("the files have more than {UPLOAD}, compressed"))
                    }
                    BlobError::NotFound(_) => invalid(format!("piece `{piece}` was not uploaded")),
                    error => unavailable(error),
                })?;
            whole.extend(bytes);
        }
        self.upload(&whole).await
    }

    async fn status(&self) -> Result<Status, CallFailure> {
        let bus = self.bus.status().await.map_err(unavailable)?;
        let health = self.health.look();
        let current = self.engine.catalog().current();
        let plugins = self.engine.plugins();
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: self.host.clone(),
            http: self.http.clone(),
            data_dir: self.data_dir.to_string(),
            storage: health.storage.to_owned(),
            nats_version: bus.server_version,
            ready: health.is_ready(),
            checks: health
                .checks
                .into_iter()
                .map(|check| (check.name.to_owned(), check.problem))
                .collect(),
            jail: self.jail.clone(),
            runs_active: self.engine.runs_active(),
            runs: self
                .engine
                .index()
                .counts()
                .into_iter()
                .map(|(state, count)| (state.to_owned(), count))
                .collect(),
            streams: bus
                .fills
                .iter()
                .map(|fill| StreamItem {
                    name: fill.stream.clone(),
                    messages: fill.messages,
                    bytes: fill.bytes,
                    percent: fill.percent(),
                })
                .collect(),
            workflows: current.entries.len(),
            workflow_problems: self.workflow_dir.problems().len()
                + current
                    .entries
                    .iter()
                    .filter(|entry| entry.problem.is_some())
                    .count(),
            plugins: plugins
                .plugins()
                .iter()
                .map(|plugin| format!("{}@{}", plugin.manifest.name, plugin.manifest.version))
                .collect(),
        })
    }
}

fn log_item(line: LoggedLine) -> LogItem {
    LogItem {
        time: line.time,
        step: line.step.to_string(),
        attempt: line.attempt,
        number: line.number,
        stream: line.line.stream.name().to_owned(),
        level: line.line.level.name().to_owned(),
        text: line.line.text,
        continues: line.line.continues,
    }
}

fn plugin_item(plugin: &InstalledPlugin) -> PluginItem {
    let permissions = plugin.permissions();
    PluginItem {
        name: plugin.manifest.name.to_string(),
        version: plugin.manifest.version.to_string(),
        summary: plugin.manifest.summary.clone(),
        digest: plugin.digest.to_string(),
        origin: plugin.origin.clone(),
        capabilities: plugin
            .manifest
            .capabilities
            .iter()
            .map(|request| CapabilityItem {
                capability: request.capability.to_string(),
                reason: request.reason.clone(),
                granted: permissions.allow(&request.capability),
            })
            .collect(),
    }
}

fn dead_item(letter: DeadLetter) -> DeadItem {
    DeadItem {
        id: letter.position.0,
        time: letter.time,
        reason: letter.reason,
        detail: letter.detail,
        subject: letter.subject,
        bytes: letter.payload.len(),
        headers: letter.headers,
        payload: Some(shown_payload(&letter.payload)),
        truncated: letter.truncated,
    }
}

/// A payload for people: its text, as far as it fits an answer.
fn shown_payload(payload: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 256 * 1024;
    String::from_utf8_lossy(payload.get(..SHOWN_BYTES_MAX).unwrap_or(payload)).into_owned()
}
