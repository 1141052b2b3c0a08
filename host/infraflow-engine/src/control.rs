//! What people ask for: to see runs, to start, cancel and answer.

use std::sync::Arc;

use infraflow_core::event::{Actor, Event, EventData, TRIGGER};
use infraflow_core::id::{EventId, EventSource, EventType, RunId, StepId, UserName, WorkflowName};
use infraflow_core::ports::{PublishError, Sequence};
use infraflow_core::run::{Answer, RecordEnvelope, Refusal, Request, Run};
use infraflow_core::workflow::Filter;
use infraflow_core::{Json, JsonMap};

use crate::engine::Engine;
use crate::executor::{LoadError, NotAppended, Nudge, load};

/// Tries to append a request before it gives up: each one lost to somebody
/// else's record.
const REQUEST_TRIES: usize = 20;

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

    fn no_workflow(&self, wanted: &WorkflowName) -> String {
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

    /// Cancels a run, in whatever state it is.
    ///
    /// # Errors
    /// When it has ended, or NATS does not answer.
    pub async fn cancel_run(&self, run: RunId, user: &UserName) -> Result<(), ControlError> {
        let actor = Actor::User(user.clone());
        if self
            .shared
            .live
            .nudge(run, Nudge::Cancel(actor.clone()))
            .is_ok()
        {
            return Ok(());
        }
        self.append_request(run, &Request::Cancel { actor }).await
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
        let actor = Actor::User(user.clone());
        self.append_request(
            run,
            &Request::Answer {
                step,
                answer,
                actor,
            },
        )
        .await
    }

    async fn append_request(&self, run: RunId, request: &Request) -> Result<(), ControlError> {
        for _ in 0..REQUEST_TRIES {
            let (loaded, last) = load(&self.shared, run).await.map_err(not_loaded)?;
            let now = self.shared.ports.clock.now();
            let decision = loaded.request(request.clone(), now).map_err(refused)?;
            if decision.entries.is_empty() {
                return Ok(());
            }
            let record =
                self.shared
                    .appender
                    .record(&decision.next, decision.entries, decision.wakes, now);
            match self
                .shared
                .appender
                .append(&self.shared, &record, last)
                .await
            {
                Ok(_) => {
                    // Its host hears of it from the feed; one that is here at once.
                    drop(self.shared.live.nudge(run, Nudge::Look));
                    return Ok(());
                }
                Err(NotAppended::Conflict) => {}
                Err(NotAppended::TooLarge) => {
                    return Err(ControlError::Invalid("the request is too large".to_owned()));
                }
                Err(NotAppended::GivenUp) => {
                    return Err(ControlError::Unavailable("the host shuts down".to_owned()));
                }
            }
        }
        Err(ControlError::Conflict(
            "the run's journal changes too fast: try again".to_owned(),
        ))
    }
}

fn refused(refusal: Refusal) -> ControlError {
    ControlError::Conflict(refusal.to_string())
}

fn not_loaded(error: LoadError) -> ControlError {
    match error {
        LoadError::Missing => ControlError::NotFound(error.to_string()),
        LoadError::Read(_) | LoadError::Version(_) | LoadError::Illegal(_) => {
            ControlError::Unavailable(error.to_string())
        }
    }
}
