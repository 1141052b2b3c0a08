//! One attempt: a fresh instance, one call, and what came of it as an outcome.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use infraflow_core::id::{EnvironmentName, ProjectName, StepId, WorkflowName};
use infraflow_core::limits::STEP_INPUT;
use infraflow_core::outcome::{AttemptOutcome, of_plugin_error};
use infraflow_core::ports::{PluginCall, PluginReport, StopReason, StopSignal};
use infraflow_core::tool::CallError;
use infraflow_core::{Json, JsonMap};
use tokio::sync::SemaphorePermit;
use wasmtime::{Engine, PoolConcurrencyLimitError, Store, Trap};

use crate::bindings::StepPre;
use crate::bindings::infraflow::step::types::{Context, StepError};
use crate::host::types::bounded;
use crate::limits::{HANDLES, STACK};
use crate::meter::{Ended, Exceeded};
use crate::sandbox::Sandbox;
use crate::state::{Attempt, State};

/// Runs one attempt. See [`infraflow_core::ports::Plugins::run`].
pub(crate) async fn run(sandbox: &Sandbox, call: PluginCall) -> PluginReport {
    let Some(plugin) = sandbox.find(call.component) else {
        let message = format!("plugin {} is not installed on this host", call.component);
        return without_run(AttemptOutcome::CouldNotStart, message);
    };
    let input = call.input.to_string();
    if input.len() > STEP_INPUT.to_usize() {
        let limit = Exceeded::bytes("step_input_bytes", STEP_INPUT.0);
        return without_run(
            AttemptOutcome::LimitExceeded,
            Cause::Limit(limit).to_string(),
        );
    }
    let _place = match place(sandbox, &*call.scope.stop).await {
        Ok(place) => place,
        Err(reason) => {
            return without_run(reason.outcome(), Cause::Stopped(reason).to_string());
        }
    };
    let _running = sandbox.ticker.run();
    let names = Names::of(&call);
    let attempt = Attempt {
        scope: call.scope,
        tools: call.tools,
        secrets: call.secrets,
    };
    let state = State::for_attempt(attempt, call.limits, sandbox.ticker.clock());
    let mut store = new_store(&sandbox.engine, state);
    let ended = execute(&mut store, &plugin, names.context(), &input).await;
    conclude(ended, store.into_data())
}

/// A place to run in, or why the attempt ends while it waits for one.
async fn place<'a>(
    sandbox: &'a Sandbox,
    stop: &dyn StopSignal,
) -> Result<SemaphorePermit<'a>, StopReason> {
    if let Some(reason) = stop.reason() {
        return Err(reason);
    }
    if let Ok(place) = sandbox.places.try_acquire() {
        return Ok(place);
    }
    let mut stopped = stop.stopped();
    let mut free = std::pin::pin!(sandbox.places.acquire());
    // Both may be dropped at any time: the signal by its contract, and the place
    // goes to the next in line.
    poll_fn(|context| {
        if let Poll::Ready(reason) = stopped.as_mut().poll(context) {
            return Poll::Ready(Err(reason));
        }
        free.as_mut()
            .poll(context)
            .map(|place| Ok(place.expect("nobody closes the semaphore")))
    })
    .await
}

/// What the guest is told about where it runs.
struct Names {
    run: String,
    workflow: WorkflowName,
    step: StepId,
    attempt: u32,
    project: ProjectName,
    environment: EnvironmentName,
    event: Arc<str>,
}

impl Names {
    fn of(call: &PluginCall) -> Self {
        let scope = &call.scope;
        Self {
            run: scope.run.to_string(),
            workflow: scope.workflow.clone(),
            step: scope.step.clone(),
            attempt: scope.attempt,
            project: scope.project.clone(),
            environment: scope.environment.clone(),
            event: Arc::clone(&call.event),
        }
    }

    fn context(&self) -> Context<'_> {
        Context {
            run: &self.run,
            workflow: self.workflow.as_str(),
            step: self.step.as_str(),
            attempt: self.attempt,
            project: self.project.as_str(),
            environment: self.environment.as_str(),
            event: &self.event,
        }
    }
}

/// A store in which every limit is finite.
pub(crate) fn new_store(engine: &Engine, state: State) -> Store<State> {
    let call_bytes = usize::try_from(state.meter.limits().call_bytes).unwrap_or(usize::MAX);
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.meter);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|mut context| context.data_mut().on_tick());
    store.set_hostcall_fuel(call_bytes);
    store.set_max_component_handles(HANDLES);
    store
}

async fn execute(
    store: &mut Store<State>,
    plugin: &StepPre<State>,
    context: Context<'_>,
    input: &str,
) -> wasmtime::Result<Result<String, StepError>> {
    let instance = plugin.instantiate_async(&mut *store).await?;
    instance.call_run(store, context, input).await
}

/// Why a guest did not come to its end by itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Somebody stopped the attempt.
    Stopped(StopReason),
    /// A limit was hit.
    Limit(Exceeded),
    /// More instances, memories or tables are in use than there are.
    Busy,
    /// It trapped.
    Trap(String),
}

impl Cause {
    /// The cause of an error, which may stand in the state.
    pub(crate) fn of(error: &wasmtime::Error, state: &State) -> Self {
        let was_ended = error.chain().any(|cause| cause.is::<Ended>());
        if let (true, Some(reason)) = (was_ended, state.stopped) {
            return Self::Stopped(reason);
        }
        if let (true, Some(limit)) = (was_ended, state.meter.exceeded()) {
            return Self::Limit(limit);
        }
        if error.downcast_ref::<Trap>() == Some(&Trap::StackOverflow) {
            return Self::Limit(Exceeded::bytes("stack_bytes", STACK.0));
        }
        if error.is::<PoolConcurrencyLimitError>() {
            return Self::Busy;
        }
        let innermost = error.root_cause().to_string();
        // Wasmtime keeps the type of this one to itself; a test holds the text.
        if innermost.contains("fuel allocated for hostcalls has been exhausted") {
            let call_bytes = state.meter.limits().call_bytes;
            return Self::Limit(Exceeded::bytes("call_bytes", call_bytes));
        }
        Self::Trap(bounded(&innermost))
    }

    fn outcome(&self) -> AttemptOutcome {
        match self {
            Self::Stopped(reason) => reason.outcome(),
            Self::Limit(_) => AttemptOutcome::LimitExceeded,
            Self::Busy => AttemptOutcome::CouldNotStart,
            Self::Trap(_) => AttemptOutcome::Trapped,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped(StopReason::Interrupt) => f.write_str("the host ended the attempt"),
            Self::Stopped(StopReason::Timeout) => f.write_str("the time is up"),
            Self::Stopped(StopReason::Cancel) => f.write_str("the run was cancelled"),
            Self::Limit(limit) => fmt::Display::fmt(&CallError::from(*limit), f),
            Self::Busy => f.write_str("this host has no place left for another plugin instance"),
            Self::Trap(text) => write!(f, "the plugin trapped: {text}"),
        }
    }
}

fn without_run(outcome: AttemptOutcome, message: String) -> PluginReport {
    PluginReport {
        outcome,
        message: Some(message),
        outputs: None,
        not_granted: vec![],
    }
}

fn conclude(ended: wasmtime::Result<Result<String, StepError>>, mut state: State) -> PluginReport {
    if let Some(attempt) = &state.attempt {
        state.log.report(&*attempt.scope.lines);
    }
    let report = match ended {
        Ok(Ok(text)) => returned(&text, &state),
        Ok(Err(error)) => failed(&error, &state),
        Err(error) => {
            let cause = Cause::of(&error, &state);
            without_run(cause.outcome(), cause.to_string())
        }
    };
    PluginReport {
        not_granted: state.not_granted,
        ..report
    }
}

fn returned(text: &str, state: &State) -> PluginReport {
    match outputs(text, state.meter.limits().output_bytes) {
        Ok(outputs) => PluginReport {
            outcome: AttemptOutcome::Succeeded,
            message: None,
            outputs: Some(outputs),
            not_granted: vec![],
        },
        Err(BadOutputs::TooLarge(limit)) => {
            let cause = Cause::Limit(limit);
            without_run(cause.outcome(), cause.to_string())
        }
        Err(BadOutputs::NoObject(reason)) => {
            let outcome = AttemptOutcome::Failed {
                exit_code: None,
                transient: false,
            };
            without_run(outcome, format!("the plugin's outputs are {reason}"))
        }
    }
}

fn failed(error: &StepError, state: &State) -> PluginReport {
    let mut message = bounded(&error.message);
    if message.trim().is_empty() {
        message = "the plugin failed and did not say why".to_owned();
    }
    let given = error.outputs.as_deref();
    let outputs = match given.map(|text| outputs(text, state.meter.limits().output_bytes)) {
        None => None,
        Some(Ok(outputs)) => Some(outputs),
        Some(Err(bad)) => {
            message = format!("{message} (its outputs are left out: they are {bad})");
            None
        }
    };
    PluginReport {
        outcome: of_plugin_error(error.exit_code, error.transient, &state.last_call),
        message: Some(message),
        outputs,
        not_granted: vec![],
    }
}

/// Why outputs cannot be taken.
#[derive(Debug)]
enum BadOutputs {
    TooLarge(Exceeded),
    NoObject(String),
}

impl fmt::Display for BadOutputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(limit) => write!(f, "larger than {} {}", limit.value, limit.unit),
            Self::NoObject(reason) => f.write_str(reason),
        }
    }
}

fn outputs(text: &str, bytes_max: u64) -> Result<JsonMap, BadOutputs> {
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > bytes_max {
        let limit = Exceeded::bytes("output_bytes", bytes_max);
        return Err(BadOutputs::TooLarge(limit));
    }
    match serde_json::from_str(text) {
        Ok(Json::Object(outputs)) => Ok(outputs),
        Ok(_) => Err(BadOutputs::NoObject("not a JSON object".to_owned())),
        Err(error) => Err(BadOutputs::NoObject(format!("not JSON: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_objects_within_the_limit() {
        assert_eq!(outputs(r#"{"a":1}"#, 7).unwrap().len(), 1);
        for (text, expected) in [
            (r#"{"a":12}"#, "larger than 7 bytes"),
            ("[]", "not a JSON object"),
            ("1", "not a JSON object"),
            ("", "not JSON: EOF while parsing a value at line 1 column 0"),
        ] {
            assert_eq!(outputs(text, 7).unwrap_err().to_string(), expected);
        }
    }
}
