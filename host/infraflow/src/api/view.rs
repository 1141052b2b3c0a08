//! From the model to the documents of answers.

use infraflow_core::outcome::StepOutcome;
use infraflow_core::ports::Sequence;
use infraflow_core::run::{AttemptEnd, Entry, RecordEnvelope, Run, StepState, StepStatus};
use infraflow_core::summary::SummaryState;
use infraflow_engine::index::ListedRun;

use super::types::{AttemptItem, JournalItem, RunItem, StepItem};

/// A run in a list.
pub(crate) fn run_item(listed: &ListedRun) -> RunItem {
    let summary = &listed.summary;
    let step = match &summary.state {
        SummaryState::Running { step } => step.clone(),
        SummaryState::Retrying { step } | SummaryState::Waiting { step, .. } => Some(step.clone()),
        SummaryState::Queued | SummaryState::Blocked { .. } | SummaryState::Ended(_) => None,
    };
    let (waits_for, lock) = match &summary.state {
        SummaryState::Waiting { asks: true, .. } => (Some("answer"), None),
        SummaryState::Waiting { asks: false, .. } | SummaryState::Retrying { .. } => {
            (Some("time"), None)
        }
        SummaryState::Blocked { lock } => (Some("lock"), Some(lock.to_string())),
        SummaryState::Queued | SummaryState::Running { .. } | SummaryState::Ended(_) => {
            (None, None)
        }
    };
    RunItem {
        id: summary.id.to_string(),
        workflow: summary.workflow.to_string(),
        state: summary.state.name().to_owned(),
        is_ended: summary.state.is_ended(),
        step: step.map(|step| step.to_string()),
        waits_for: waits_for.map(str::to_owned),
        lock,
        queue_position: None,
        wakes_at: summary.wakes_at,
        host: listed.host.as_ref().map(ToString::to_string),
        pool: summary.pool.to_string(),
        origin: summary.origin.map(|run| run.to_string()),
        reason: summary.reason.clone(),
        created_at: summary.created_at,
        ended_at: summary.ended_at,
        event_type: summary.event_kind.clone(),
        event_subject: summary.event_subject.clone(),
        actor: summary.actor.clone(),
        problem: listed.problem.clone(),
        position: listed.position.0,
    }
}

/// The steps of a run.
pub(crate) fn steps(run: &Run, records: &[(Sequence, RecordEnvelope)]) -> Vec<StepItem> {
    let stages = run.workflow().stages.iter();
    stages
        .flat_map(|stage| stage.steps.iter().map(move |step| (stage, step)))
        .filter_map(|(stage, step)| {
            let (_, state) = run.step(&step.id)?;
            let (ended_at, message, outputs) = match &state.status {
                StepStatus::Ended {
                    at,
                    message,
                    outputs,
                    ..
                } => (
                    Some(*at),
                    message.clone(),
                    outputs.as_ref().map(|o| (**o).clone()),
                ),
                _ => (None, String::new(), None),
            };
            Some(StepItem {
                id: step.id.to_string(),
                stage: stage.name.to_string(),
                label: step.label.clone(),
                uses: step.action.label(),
                state: state_name(state).to_owned(),
                shown: state_shown(state),
                message,
                started_at: state.started_at,
                ended_at,
                outputs,
                attempts: attempts(step.id.as_str(), records),
            })
        })
        .collect()
}

fn state_name(step: &StepState) -> &'static str {
    match &step.status {
        StepStatus::Waiting => "waiting",
        StepStatus::Running => "running",
        StepStatus::RetryAt(_) => "retrying",
        StepStatus::WaitUntil(_) => "sleeping",
        StepStatus::Asked => "asked",
        StepStatus::Ended { outcome, .. } => outcome.name(),
    }
}

fn state_shown(step: &StepState) -> String {
    match &step.status {
        StepStatus::Ended {
            outcome: StepOutcome::Attempt(outcome),
            ..
        } => outcome.to_string(),
        _ => state_name(step).to_owned(),
    }
}

fn attempts(step: &str, records: &[(Sequence, RecordEnvelope)]) -> Vec<AttemptItem> {
    let mut attempts: Vec<AttemptItem> = Vec::new();
    for (_, record) in records {
        for entry in &record.entries {
            match entry {
                Entry::AttemptStarted { step: id, attempt } if id.as_str() == step => {
                    attempts.push(AttemptItem {
                        attempt: *attempt,
                        started_at: record.at,
                        ended_at: None,
                        outcome: None,
                        message: String::new(),
                        lines: 0,
                        lines_dropped: 0,
                        leaked_handles: false,
                        not_granted: vec![],
                    });
                }
                Entry::AttemptEnded(end) if end.step.as_str() == step => {
                    if let Some(item) = attempts.iter_mut().find(|item| item.attempt == end.attempt)
                    {
                        ended(item, end, record.at);
                    }
                }
                _ => {}
            }
        }
    }
    attempts
}

fn ended(item: &mut AttemptItem, end: &AttemptEnd, at: jiff::Timestamp) {
    item.ended_at = Some(at);
    item.outcome = Some(end.outcome.to_string());
    item.message.clone_from(&end.message);
    item.lines = end.log.lines;
    item.lines_dropped = end.log.dropped;
    item.leaked_handles = end.leaked_handles;
    item.not_granted = end.not_granted.iter().map(ToString::to_string).collect();
}

/// The records of a journal, one line each.
pub(crate) fn journal(records: &[(Sequence, RecordEnvelope)]) -> Vec<JournalItem> {
    records
        .iter()
        .map(|(sequence, record)| JournalItem {
            sequence: sequence.0,
            at: record.at,
            host: record.writer.host.to_string(),
            epoch: record.epoch,
            entries: record.entries.iter().map(entry_shown).collect(),
        })
        .collect()
}

fn entry_shown(entry: &Entry) -> String {
    let name = entry.name();
    match entry {
        Entry::AttemptStarted { step, attempt } => format!("{name} {step}#{attempt}"),
        Entry::AttemptEnded(end) => format!("{name} {}#{} {}", end.step, end.attempt, end.outcome),
        Entry::StepSkipped { step }
        | Entry::StepUnstartable { step, .. }
        | Entry::WaitEnded { step } => {
            format!("{name} {step}")
        }
        Entry::WaitStarted { step, until } => format!("{name} {step} until {until:.0}"),
        Entry::LockAcquired { lock, .. } => format!("{name} {lock}"),
        Entry::FilesStored { place } => format!("{name} by {}", place.host),
        Entry::Parked(parked) => format!("{name} for {}", parked.parking),
        Entry::Woken { cause } => format!("{name} by {}", cause.name()),
        Entry::StopRequested { actor, .. } => format!("{name} by {actor}"),
        Entry::Answered {
            step,
            answer,
            actor,
        } => {
            format!("{name} {step} {} by {actor}", answer.name())
        }
        Entry::Ended { outcome, .. } => format!("{name} {outcome}"),
        Entry::Created(birth) => match &birth.origin {
            Some(origin) => format!("{name} as {} of {}", origin.kind.name(), origin.run),
            None => name.to_owned(),
        },
        Entry::Claimed(_) | Entry::Released { .. } => name.to_owned(),
    }
}
