//! What people ask for: to see runs, to start, cancel and answer them, to take
//! locks away, to drain hosts. What changes something is audited.

use std::collections::HashSet;
use std::sync::Arc;

use infraflow_core::event::{Actor, Event, EventData, TRIGGER};
use infraflow_core::id::{
    EventId, EventSource, EventType, HostName, LockName, RunId, StepId, UserName, WorkflowName,
};
use infraflow_core::ports::{AuditEntry, AuditPhase, LockStoreError, PublishError, Sequence};
use infraflow_core::run::{Answer, RecordEnvelope, Request, Run};
use infraflow_core::summary::SummaryState;
use infraflow_core::workflow::Filter;
use infraflow_core::{Json, JsonMap, Timestamp};
use serde_json::json;

use crate::engine::Engine;
use crate::executor::{LoadError, load};
use crate::index::ListedRun;
use crate::locks;
use crate::requests::{RequestError, request};

pub use crate::locks::LockView;
pub use crate::repeat::Repeat;

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// It does not fit.
    #[error("{0}")]
    Invalid(String),
    /// The run is not in a state for it.
    #[error("{0}")]
    Conflict(String),
    /// NATS does not answer, or the host shuts down.
    #[error("{0}")]
    Unavailable(String),
}

/// A run that somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requested {
    /// The run that the event starts, when it starts one.
    pub run: RunId,
    /// The event.
    pub event: EventId,
}

/// Inputs as people give them.
#[derive(Debug, Clone, PartialEq)]
pub enum GivenInputs {
    /// Texts of a command line: they get the types of the workflow's schema.
    Texts(Vec<(String, String)>),
    /// A document.
    Document(JsonMap),
}

impl Engine {
    /// The run that a text means: its id, or the beginning of it.
    ///
    /// # Errors
    /// When there is none, or several.
    pub fn find_run(&self, text: &str) -> Result<RunId, ControlError> {
        let found = self.shared.index.find(&text.to_ascii_lowercase(), 3);
        match found.as_slice() {
            [run] => Ok(*run),
            [] => Err(ControlError::NotFound(format!("there is no run `{text}`"))),
            _ => Err(ControlError::Invalid(format!(
                "`{text}` begins the ids of several runs: give more of it"
            ))),
        }
    }

    /// A run with its steps, and its journal.
    ///
    /// # Errors
    /// When its journal cannot be read.
    pub async fn show_run(
        &self,
        run: RunId,
    ) -> Result<(Run, Vec<(Sequence, RecordEnvelope)>), ControlError> {
        let (loaded, _) = load(&self.shared, run).await.map_err(not_loaded)?;
        let records = self.shared.ports.journals.read(run, Sequence::NONE).await;
        let records = records.map_err(|error| ControlError::Unavailable(error.to_string()))?;
        Ok((loaded, records))
    }

    /// Starts a workflow as a person. The same request id starts it once.
    ///
    /// # Errors
    /// When there is no such workflow, the inputs do not fit, or NATS does not
    /// answer.
    pub async fn start_workflow(
        &self,
        workflow: &WorkflowName,
        inputs: GivenInputs,
        user: &UserName,
        request_id: &str,
    ) -> Result<Requested, ControlError> {
        let current = self.shared.catalog.current();
        let Some(found) = current.table.workflow(workflow) else {
            return Err(ControlError::NotFound(self.no_workflow(workflow)));
        };
        if !found
            .triggers
            .iter()
            .any(|trigger| matches!(trigger.filter, Filter::Manual))
        {
            return Err(ControlError::Invalid(format!(
                "workflow `{workflow}` has no `manual` trigger: add `- manual: {{}}` to its `on`"
            )));
        }
        let inputs = match inputs {
            GivenInputs::Texts(texts) => found.inputs.typed(texts),
            GivenInputs::Document(document) => document,
        };
        let invalid = |error: String| ControlError::Invalid(error);
        let event = Event {
            id: EventId::new(request_id).map_err(|error| invalid(error.to_string()))?,
            source: EventSource::new(&format!("user:{user}"))
                .map_err(|error| invalid(error.to_string()))?,
            kind: EventType::new(TRIGGER).map_err(|error| invalid(error.to_string()))?,
            time: self.shared.ports.clock.now(),
            subject: Some(workflow.to_string()),
            actor: Actor::User(user.clone()),
            data: EventData::Trigger {
                workflow: workflow.clone(),
            },
            json: Arc::new(Json::Object(inputs)),
        };
        // Refuse here what would only become a failed run.
        for found in current.table.route(&event, "") {
            if let Err(problem) = found.inputs {
                return Err(ControlError::Invalid(problem));
            }
        }
        let run = RunId::derive(&found.project, &event.source, &event.id, workflow);
        self.shared
            .ports
            .publisher
            .publish(&event)
            .await
            .map_err(|error| match error {
                PublishError::TooLarge { .. } => ControlError::Invalid(error.to_string()),
                PublishError::Full | PublishError::Unavailable(_) => {
                    ControlError::Unavailable(error.to_string())
                }
            })?;
        Ok(Requested {
            run,
            event: event.id,
        })
    }

    pub(crate) fn no_workflow(&self, wanted: &WorkflowName) -> String {
        let current = self.shared.catalog.current();
        let names: Vec<&str> = current
            .entries
            .iter()
            .map(|entry| entry.stored.name.as_str())
            .collect();
        let broken = current
            .entries
            .iter()
            .find(|entry| entry.stored.name == *wanted);
        if let Some(problem) = broken.and_then(|entry| entry.problem.as_ref()) {
            return format!("workflow `{wanted}` cannot be used: {problem}");
        }
        match infraflow_core::nearest::nearest(wanted.as_str(), names.iter().copied()) {
            Some(near) => format!("there is no workflow `{wanted}`: did you mean `{near}`?"),
            None if names.is_empty() => {
                format!("there is no workflow `{wanted}`: there are none at all")
            }
            None => format!(
                "there is no workflow `{wanted}`: there are `{}`",
                names.join("`, `")
            ),
        }
    }

    /// Cancels a run, in whatever state it is. When this returns the run has
    /// ended, or the host that has it finds the request in its journal, whatever
    /// happens to either host.
    ///
    /// # Errors
    /// When it has ended, or NATS does not answer.
    pub async fn cancel_run(&self, run: RunId, user: &UserName) -> Result<(), ControlError> {
        let request = Request::Cancel {
            actor: Actor::User(user.clone()),
        };
        let act = Act::new(user, "runs.cancel", run);
        self.audited(act, self.append_request(run, &request)).await
    }

    /// Answers what a run asks.
    ///
    /// # Errors
    /// When nobody asked, or NATS does not answer.
    pub async fn answer_run(
        &self,
        run: RunId,
        step: StepId,
        answer: Answer,
        user: &UserName,
    ) -> Result<(), ControlError> {
        let act = Act::new(user, "runs.answer", run)
            .with(json!({ "step": step.as_str(), "answer": answer.name() }));
        let request = Request::Answer {
            step,
            answer,
            actor: Actor::User(user.clone()),
        };
        self.audited(act, self.append_request(run, &request)).await
    }

    async fn append_request(&self, run: RunId, what: &Request) -> Result<(), ControlError> {
        request(&self.shared, run, what, Timestamp::MIN)
            .await
            .map(drop)
            .map_err(not_requested)
    }

    /// All locks that a run has or waits for.
    ///
    /// # Errors
    /// When NATS does not answer.
    pub async fn locks(&self) -> Result<Vec<LockView>, ControlError> {
        locks::list(&self.shared).await.map_err(no_lock_store)
    }

    /// The place of a run in the queue of the lock that it waits for, from 1.
    pub fn queue_position(&self, listed: &ListedRun) -> Option<usize> {
        let summary = &listed.summary;
        match &summary.state {
            SummaryState::Blocked { lock } => Some(locks::position(
                &self.shared,
                lock,
                summary.order,
                summary.id,
            )),
            _ => None,
        }
    }

    /// Takes a lock away from the runs that have it, or from one of them, and
    /// wakes the next. The runs go on: this is for a person who knows better.
    ///
    /// # Errors
    /// When nobody has it, or NATS does not answer.
    pub async fn release_lock(
        &self,
        name: &LockName,
        run: Option<RunId>,
        user: &UserName,
    ) -> Result<Vec<RunId>, ControlError> {
        let act = Act::new(user, "locks.release", name)
            .with(json!({ "run": run.map(|run| run.to_string()) }));
        let work = async {
            let lock = self.shared.ports.locks.read(name).await;
            let holders = lock.map_err(no_lock_store)?.state.holders;
            let gone: HashSet<RunId> = holders
                .iter()
                .map(|holder| holder.run)
                .filter(|holder| run.is_none_or(|run| run == *holder))
                .collect();
            if gone.is_empty() {
                return Err(ControlError::NotFound(match run {
                    None => format!("nobody has lock `{name}`"),
                    Some(run) => format!("run {run} does not have lock `{name}`"),
                }));
            }
            locks::give_back(&self.shared, name, &gone)
                .await
                .map_err(no_lock_store)?;
            Ok(gone.into_iter().collect())
        };
        self.audited(act, work).await
    }

    /// Asks a host to take no new runs, or to take some again. What it works on
    /// it gives back when the attempts have ended. Survives its restart.
    ///
    /// # Errors
    /// When there is no such host, or NATS does not answer.
    pub async fn drain_host(
        &self,
        host: &HostName,
        draining: bool,
        user: &UserName,
    ) -> Result<(), ControlError> {
        let action = if draining {
            "host.drain"
        } else {
            "host.undrain"
        };
        let work = async {
            let hosts = self.hosts();
            if !hosts.iter().any(|known| known.card.host == *host) {
                let names: Vec<&str> = hosts.iter().map(|h| h.card.host.as_str()).collect();
                return Err(ControlError::NotFound(format!(
                    "there is no host `{host}`: there are `{}`",
                    names.join("`, `")
                )));
            }
            if let Some(leases) = &self.shared.ports.leases {
                let set = leases.hosts.set_draining(host, draining).await;
                set.map_err(|error| ControlError::Unavailable(error.to_string()))?;
            }
            if *host == self.shared.config.host {
                self.shared.set_drained(draining);
            }
            Ok(())
        };
        self.audited(Act::new(user, action, host), work).await
    }

    /// Does what a person asked for, written down before and after.
    pub(crate) async fn audited<T>(
        &self,
        act: Act,
        work: impl Future<Output = Result<T, ControlError>>,
    ) -> Result<T, ControlError> {
        let mut entry = AuditEntry {
            act: self.shared.appender.nonce(),
            actor: Actor::User(act.user),
            action: act.action.to_owned(),
            object: act.object,
            detail: act.detail,
            at: self.shared.ports.clock.now(),
            phase: AuditPhase::Intent,
        };
        let written = self.shared.ports.audit.write(&entry).await;
        written.map_err(|error| {
            ControlError::Unavailable(format!("not done, for it cannot be audited: {error}"))
        })?;
        let result = work.await;
        entry.at = self.shared.ports.clock.now();
        entry.phase = match &result {
            Ok(_) => AuditPhase::Done,
            Err(error) => AuditPhase::Refused {
                reason: error.to_string(),
            },
        };
        if let Err(error) = self.shared.ports.audit.write(&entry).await {
            tracing::error!(action = entry.action, object = entry.object, %error, "result not audited");
        }
        result
    }
}

/// What a person asks for, as it is audited.
pub(crate) struct Act {
    user: UserName,
    action: &'static str,
    object: String,
    detail: Json,
}

impl Act {
    pub(crate) fn new(user: &UserName, action: &'static str, object: impl ToString) -> Self {
        Self {
            user: user.clone(),
            action,
            object: object.to_string(),
            detail: Json::Null,
        }
    }

    pub(crate) fn with(self, detail: Json) -> Self {
        Self { detail, ..self }
    }
}

fn no_lock_store(error: LockStoreError) -> ControlError {
    ControlError::Unavailable(error.to_string())
}

fn not_requested(error: RequestError) -> ControlError {
    match error {
        RequestError::Load(error) => not_loaded(error),
        RequestError::Refused(refusal) => ControlError::Conflict(refusal.to_string()),
        RequestError::TooLarge => ControlError::Invalid(error.to_string()),
        RequestError::Busy => ControlError::Conflict(error.to_string()),
        RequestError::GivenUp => ControlError::Unavailable(error.to_string()),
    }
}

pub(crate) fn not_loaded(error: LoadError) -> ControlError {
    match error {
        LoadError::Missing => ControlError::NotFound(error.to_string()),
        LoadError::Read(_) | LoadError::Version(_) | LoadError::Illegal(_) => {
            ControlError::Unavailable(error.to_string())
        }
    }
}
