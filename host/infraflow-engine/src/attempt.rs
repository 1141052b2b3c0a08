//! One try of one step: what it may do, its log, its clock, and its report.

use std::sync::Arc;
use std::time::Duration;

use infraflow_core::Timestamp;
use infraflow_core::grant::{Capability, Permissions, Scope};
use infraflow_core::id::StepId;
use infraflow_core::limits::{ERROR_TEXT, LEAKED_HANDLES, STOP_GRACE};
use infraflow_core::mask::MaskSet;
use infraflow_core::outcome::AttemptOutcome;
use infraflow_core::ports::{
    BlobError, BoxFuture, LogKey, PluginCall, PluginLimits, PluginReport, Secret, StopReason,
    StopSignal, ToolFacts, ToolScope, WorkspaceStoreError,
};
use infraflow_core::run::{AttemptReport, Birth, LogFacts, Run, StartAttempt};
use infraflow_core::{Json, JsonMap};

use crate::engine::Shared;
use crate::files::Files;
use crate::sabotage::{self, Break};
use crate::stop::{Stopped, Stopper};

/// How long an attempt may take to end after it was told to: the tools' grace,
/// the wait for their pipes, and some more. After it, it is dropped.
const STOP_PATIENCE: Duration =
    Duration::from_secs(STOP_GRACE.as_secs() + LEAKED_HANDLES.as_secs() + 3);

/// The pause before a store that did not answer is asked for the run's files
/// again.
const BRING_DELAY: Duration = Duration::from_secs(1);

/// What an attempt needs to know of its run.
pub(crate) struct Spec {
    pub(crate) key: LogKey,
    pub(crate) start: StartAttempt,
    pub(crate) birth: Arc<Birth>,
    event_text: Arc<str>,
}

/// How an attempt ended.
pub(crate) struct AttemptDone {
    pub(crate) step: StepId,
    pub(crate) attempt: u32,
    pub(crate) report: AttemptReport,
}

impl Spec {
    pub(crate) fn new(run: &Run, start: StartAttempt, event_text: Arc<str>) -> Self {
        let key = LogKey {
            run: run.id(),
            step: start.step.clone(),
            attempt: start.attempt,
            epoch: run.epoch(),
        };
        Self {
            key,
            start,
            birth: run.shared_birth(),
            event_text,
        }
    }
}

/// Runs an attempt. Dropping the future kills its tools.
pub(crate) fn run(
    shared: Arc<Shared>,
    spec: Spec,
    stopper: Stopper,
    stopped: Stopped,
) -> BoxFuture<'static, AttemptDone> {
    Box::pin(async move {
        let (step, attempt) = (spec.start.step.clone(), spec.start.attempt);
        let report = execute(&shared, spec, stopper, Arc::new(stopped)).await;
        AttemptDone {
            step,
            attempt,
            report,
        }
    })
}

async fn execute(
    shared: &Shared,
    spec: Spec,
    stopper: Stopper,
    stopped: Arc<Stopped>,
) -> AttemptReport {
    tokio::select! {
        () = shared.membership.until_may_act() => {}
        reason = stopped.stopped() => return stopped_early(reason),
    }
    let lapses = shared.membership.lapses();
    let files = Files::new(shared, &spec);
    if let Err(report) = bring(shared, &spec, &files, &stopped).await {
        return report;
    }
    let mut report = attempt(shared, &spec, stopper, stopped).await;
    if report.outcome != AttemptOutcome::Succeeded && shared.membership.has_lapsed_since(lapses) {
        interrupt(&mut report);
    }
    report.workspace = files.keep().await;
    report
}

/// Brings the run's files here. A store that does not answer is asked again for
/// as long as the attempt may take: nothing of the step has happened yet.
async fn bring(
    shared: &Shared,
    spec: &Spec,
    files: &Files<'_>,
    stopped: &Stopped,
) -> Result<(), AttemptReport> {
    loop {
        let Err(error) = files.prepare().await else {
            return Ok(());
        };
        let is_away = matches!(error, WorkspaceStoreError::Blob(BlobError::Unavailable(_)));
        if !is_away || shared.ports.clock.now() >= spec.start.deadline {
            return Err(could_not_start(format!("the run's files: {error}")));
        }
        tracing::warn!(run = %spec.key.run, %error, "files not brought here, trying again");
        tokio::select! {
            () = tokio::time::sleep(BRING_DELAY) => {}
            reason = stopped.stopped() => return Err(stopped_early(reason)),
        }
    }
}

fn interrupt(report: &mut AttemptReport) {
    report.outcome = AttemptOutcome::Interrupted;
    report.outputs = None;
    "this host lost touch with NATS and ended its tools".clone_into(&mut report.message);
}

async fn attempt(
    shared: &Shared,
    spec: &Spec,
    stopper: Stopper,
    stopped: Arc<Stopped>,
) -> AttemptReport {
    let log = shared.ports.logs.open(spec.key.clone());
    let facts = Arc::new(ToolFacts::default());
    let Some(permissions) = shared.permissions_of(spec.start.component) else {
        let digest = spec.start.component;
        return could_not_start(format!("plugin {digest} is not installed on this host"));
    };
    let mask = mask_of(shared, &permissions);
    let time = if sabotage::is(Break::NoDeadline) {
        Duration::from_secs(86_400)
    } else {
        time_until(spec.start.deadline, shared.ports.clock.now())
    };
    let scope = ToolScope {
        run: spec.key.run,
        workflow: spec.birth.workflow.clone(),
        project: spec.birth.project.clone(),
        environment: spec.birth.environment.clone(),
        step: spec.key.step.clone(),
        attempt: spec.key.attempt,
        event_source: spec.birth.event.source_name.clone(),
        event_commit: spec.birth.event.commit.clone(),
        trust: spec.birth.trust,
        permissions,
        lines: log.clone().sink(),
        mask: mask.clone(),
        stop: stopped.clone(),
        facts: facts.clone(),
    };
    let call = PluginCall {
        component: spec.start.component,
        input: spec.start.input.clone(),
        event: spec.event_text.clone(),
        limits: PluginLimits::default(),
        scope,
        tools: shared.ports.tools.clone(),
        secrets: shared.ports.secrets.clone(),
    };
    let report = within(shared, call, &stopper, &stopped, time).await;
    let mut report = finish(
        report,
        stopped.reason(),
        &mask,
        log.facts(),
        facts.leaked_handles(),
    );
    if facts.lease_ended() {
        // Whatever the plugin made of it.
        interrupt(&mut report);
    }
    report
}

/// Everything that the plugin may read is masked in what it prints, before it
/// has read it: a tool can be handed a secret by name.
fn mask_of(shared: &Shared, permissions: &Permissions) -> MaskSet {
    let mut values = Vec::new();
    if sabotage::is(Break::NoMasking) {
        return MaskSet::default();
    }
    for name in &shared.config.secrets {
        if !permissions.allow(&Capability::Secret(Scope::Only(name.clone()))) {
            continue;
        }
        match shared.ports.secrets.read(name) {
            Ok(secret) => values.push(secret),
            // A step that does not use it should not fail for it; one that does
            // is told when it asks.
            Err(error) => tracing::warn!(secret = %name, %error, "secret not readable"),
        }
    }
    MaskSet::new(values.iter().map(Secret::expose))
}

fn time_until(deadline: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(deadline.duration_since(now)).unwrap_or_default()
}

/// Runs the plugin until it is done. Told to stop it has some time left, and is
/// dropped then.
async fn within(
    shared: &Shared,
    call: PluginCall,
    stopper: &Stopper,
    stopped: &Stopped,
    time: Duration,
) -> PluginReport {
    let mut running = shared.ports.plugins.run(call);
    tokio::select! {
        report = &mut running => return report,
        _ = stopped.stopped() => {}
        () = tokio::time::sleep(time) => stopper.stop(StopReason::Timeout),
    }
    if let Ok(report) = tokio::time::timeout(STOP_PATIENCE, running).await {
        return report;
    }
    PluginReport {
        outcome: stopped.reason().unwrap_or(StopReason::Timeout).outcome(),
        message: Some("it did not end after it was told to, and was killed".to_owned()),
        outputs: None,
        not_granted: vec![],
    }
}

/// The report as it is recorded: masked, bounded, and blamed on the stop where
/// there was one.
fn finish(
    report: PluginReport,
    stop: Option<StopReason>,
    mask: &MaskSet,
    log: LogFacts,
    leaked_handles: bool,
) -> AttemptReport {
    let mut outcome = report.outcome;
    let mut message = report.message.unwrap_or_default();
    let mut outputs = report.outputs;
    if let Some(reason) = stop.filter(|_| outcome != AttemptOutcome::Succeeded) {
        outcome = reason.outcome();
        if reason == StopReason::Timeout && message.is_empty() {
            "its time was up".clone_into(&mut message);
        }
    }
    if let Some(field) = outputs
        .as_ref()
        .and_then(|outputs| secret_field(outputs, mask))
    {
        outcome = AttemptOutcome::Failed {
            exit_code: None,
            transient: false,
        };
        message = format!("output `{field}` holds a secret: outputs are kept and shown in clear");
        outputs = None;
    }
    if sabotage::is(Break::LostLinesFail) && log.dropped > 0 {
        outcome = AttemptOutcome::Failed {
            exit_code: None,
            transient: false,
        };
    }
    AttemptReport {
        outcome,
        message: shown(&message, mask),
        outputs,
        not_granted: report.not_granted,
        leaked_handles,
        log,
        workspace: None,
    }
}

/// A message as it may be shown: masked, and cut where it is too long.
fn shown(message: &str, mask: &MaskSet) -> String {
    let masked = mask.mask(message);
    let end = masked.floor_char_boundary(ERROR_TEXT.to_usize());
    masked.get(..end).unwrap_or_default().to_owned()
}

/// The dotted name of the first output that holds a secret.
fn secret_field(outputs: &JsonMap, mask: &MaskSet) -> Option<String> {
    if mask.is_empty() {
        return None;
    }
    outputs.iter().find_map(|(name, value)| {
        if mask.occurs_in(name) {
            return Some("<its name>".to_owned());
        }
        secret_within(value, mask).map(|rest| format!("{name}{rest}"))
    })
}

fn secret_within(value: &Json, mask: &MaskSet) -> Option<String> {
    match value {
        Json::String(text) => mask.occurs_in(text).then(String::new),
        Json::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
            secret_within(item, mask).map(|rest| format!("[{index}]{rest}"))
        }),
        Json::Object(map) => secret_field(map, mask).map(|rest| format!(".{rest}")),
        Json::Number(number) => mask.occurs_in(&number.to_string()).then(String::new),
        Json::Null | Json::Bool(_) => None,
    }
}

fn could_not_start(message: String) -> AttemptReport {
    nothing_ran(AttemptOutcome::CouldNotStart, message)
}

fn stopped_early(reason: StopReason) -> AttemptReport {
    nothing_ran(reason.outcome(), "it was ended before it began".to_owned())
}

fn nothing_ran(outcome: AttemptOutcome, message: String) -> AttemptReport {
    AttemptReport {
        outcome,
        message,
        outputs: None,
        not_granted: vec![],
        leaked_handles: false,
        log: LogFacts::default(),
        workspace: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report(outcome: AttemptOutcome, message: &str, outputs: Json) -> PluginReport {
        PluginReport {
            outcome,
            message: Some(message.to_owned()),
            outputs: outputs.as_object().cloned(),
            not_granted: vec![],
        }
    }

    fn finished(report: PluginReport, stop: Option<StopReason>) -> AttemptReport {
        finish(
            report,
            stop,
            &MaskSet::new(["s3cret-value"]),
            LogFacts::default(),
            false,
        )
    }

    const FAILED: AttemptOutcome = AttemptOutcome::Failed {
        exit_code: Some(1),
        transient: false,
    };

    #[test]
    fn promise_08_messages_are_masked_and_outputs_with_secrets_refused() {
        let masked = finished(
            report(FAILED, "login with s3cret-value failed", json!({})),
            None,
        );
        assert_eq!(masked.message, "login with *** failed");
        for (outputs, field) in [
            (json!({ "a": "x s3cret-value y" }), "a"),
            (
                json!({ "a": { "b": ["ok", { "c": "s3cret-value" }] } }),
                "a.b[1].c",
            ),
            (json!({ "s3cret-value": 1 }), "<its name>"),
        ] {
            let refused = finished(report(AttemptOutcome::Succeeded, "", outputs), None);
            assert_eq!(refused.outputs, None);
            assert!(
                refused
                    .message
                    .starts_with(&format!("output `{field}` holds a secret"))
            );
            assert_eq!(refused.outcome.name(), "failed");
        }
        let fine = finished(
            report(AttemptOutcome::Succeeded, "", json!({ "a": "ok" })),
            None,
        );
        assert_eq!(fine.outcome, AttemptOutcome::Succeeded);
    }

    #[test]
    fn promise_12_what_was_stopped_ended_for_that_reason() {
        for (stop, expected) in [
            (StopReason::Timeout, "timed_out"),
            (StopReason::Cancel, "cancelled"),
            (StopReason::Interrupt, "interrupted"),
        ] {
            let ended = finished(report(FAILED, "", json!({})), Some(stop));
            assert_eq!(ended.outcome.name(), expected);
        }
        let done = finished(
            report(AttemptOutcome::Succeeded, "", json!({})),
            Some(StopReason::Cancel),
        );
        assert_eq!(done.outcome, AttemptOutcome::Succeeded);
    }

    #[test]
    fn messages_are_cut_at_a_character() {
        let long = finished(report(FAILED, &"é".repeat(10_000), json!({})), None);
        assert!(long.message.len() <= ERROR_TEXT.to_usize());
        assert!(long.message.chars().all(|c| c == 'é'));
    }
}
