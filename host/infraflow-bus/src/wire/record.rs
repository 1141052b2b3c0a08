//! Journal records on the wire: JSON, version 1.
//!
//! An older binary that meets a newer record refuses that run by name; it never
//! guesses. So every change that an old reader could misunderstand raises
//! [`VERSION`], and the goldens of all versions stay.

use std::collections::BTreeMap;
use std::sync::Arc;

use infraflow_core::event::Actor;
use infraflow_core::id::{
    EventId, EventSource, EventType, Incarnation, InvalidName, RunId, StepId,
};
use infraflow_core::outcome::{AttemptOutcome, RunOutcome};
use infraflow_core::plugin::ResolvedPlugin;
use infraflow_core::ports::{Sequence, Trust};
use infraflow_core::run::{
    Answer, AttemptEnd, AttemptNext, Birth, BirthEvent, Claim, Entry, LogFacts, Parking,
    RecordEnvelope, StopKind, Writer,
};
use infraflow_core::{Json, JsonMap};
use serde::{Deserialize, Serialize};

/// The version that this binary writes, and the newest that it reads.
pub(crate) const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Version {
    v: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordV1 {
    v: u32,
    host: String,
    life: String,
    epoch: u32,
    nonce: String,
    at: jiff::Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    wakes: Option<String>,
    entries: Vec<EntryV1>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum EntryV1 {
    Created(Box<CreatedV1>),
    Claimed {
        host: String,
        life: String,
        epoch: u32,
    },
    Released {
        reason: String,
    },
    AttemptStarted {
        step: String,
        attempt: u32,
    },
    AttemptEnded(Box<AttemptEndedV1>),
    StepSkipped {
        step: String,
    },
    StepUnstartable {
        step: String,
        message: String,
    },
    StopRequested {
        kind: StopKindV1,
        actor: String,
    },
    Parked {
        question: String,
    },
    Answered {
        step: String,
        answer: String,
        actor: String,
    },
    Ended {
        outcome: String,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CreatedV1 {
    workflow: String,
    digest: String,
    revision: u64,
    plugins: BTreeMap<String, PluginV1>,
    event: Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<String>,
    event_sequence: u64,
    trigger: u32,
    inputs: JsonMap,
    trusted: bool,
    project: String,
    environment: String,
    pool: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PluginV1 {
    digest: String,
    version: String,
    idempotent: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AttemptEndedV1 {
    step: String,
    attempt: u32,
    outcome: OutcomeV1,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outputs: Option<Arc<JsonMap>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    not_granted: Vec<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    leaked_handles: bool,
    lines: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    lines_dropped: u64,
    next: NextV1,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum OutcomeV1 {
    Succeeded,
    Failed {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        transient: bool,
    },
    Signalled {
        signal: i32,
    },
    TimedOut,
    Trapped,
    LimitExceeded,
    NotGranted,
    CouldNotStart,
    Interrupted,
    Cancelled,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum NextV1 {
    StepEnds,
    RetryAt(jiff::Timestamp),
    Ask,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StopKindV1 {
    Cancel,
    Timeout,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Writes a record.
pub(crate) fn encode(record: &RecordEnvelope) -> Vec<u8> {
    let wire = RecordV1 {
        v: VERSION,
        host: record.writer.host.to_string(),
        life: record.writer.incarnation.to_string(),
        epoch: record.epoch,
        nonce: format!("{:016x}", record.nonce),
        at: record.at,
        wakes: record.wakes.as_ref().map(ToString::to_string),
        entries: record.entries.iter().map(to_wire).collect(),
    };
    serde_json::to_vec(&wire).expect("strings, numbers and JSON values always become JSON")
}

/// Reads a record of a run.
///
/// # Errors
/// A text for people: damaged, or written by a newer infraflow.
pub(crate) fn decode(run: RunId, payload: &[u8]) -> Result<RecordEnvelope, String> {
    let version: Version = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    if version.v != VERSION {
        return Err(format!(
            "it has version {}, this infraflow reads version {VERSION}: use a newer one",
            version.v
        ));
    }
    let wire: RecordV1 = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    from_wire(run, wire)
}

fn to_wire(entry: &Entry) -> EntryV1 {
    match entry {
        Entry::Created(birth) => EntryV1::Created(Box::new(created_to_wire(birth))),
        Entry::Claimed(claim) => EntryV1::Claimed {
            host: claim.host.to_string(),
            life: claim.incarnation.to_string(),
            epoch: claim.epoch,
        },
        Entry::Released { reason } => EntryV1::Released {
            reason: reason.clone(),
        },
        Entry::AttemptStarted { step, attempt } => EntryV1::AttemptStarted {
            step: step.to_string(),
            attempt: *attempt,
        },
        Entry::AttemptEnded(end) => EntryV1::AttemptEnded(Box::new(end_to_wire(end))),
        Entry::StepSkipped { step } => EntryV1::StepSkipped {
            step: step.to_string(),
        },
        Entry::StepUnstartable { step, message } => EntryV1::StepUnstartable {
            step: step.to_string(),
            message: message.clone(),
        },
        Entry::StopRequested { kind, actor } => EntryV1::StopRequested {
            kind: match kind {
                StopKind::Cancel => StopKindV1::Cancel,
                StopKind::Timeout => StopKindV1::Timeout,
            },
            actor: actor.to_string(),
        },
        Entry::Parked {
            parking: Parking::Question { step },
        } => EntryV1::Parked {
            question: step.to_string(),
        },
        Entry::Answered {
            step,
            answer,
            actor,
        } => EntryV1::Answered {
            step: step.to_string(),
            answer: answer.name().to_owned(),
            actor: actor.to_string(),
        },
        Entry::Ended { outcome, reason } => EntryV1::Ended {
            outcome: outcome.name().to_owned(),
            reason: reason.clone(),
        },
    }
}

fn created_to_wire(birth: &Birth) -> CreatedV1 {
    CreatedV1 {
        workflow: birth.workflow.to_string(),
        digest: birth.workflow_digest.to_string(),
        revision: birth.workflow_revision,
        plugins: birth
            .plugins
            .iter()
            .map(|(name, plugin)| {
                let wire = PluginV1 {
                    digest: plugin.digest.to_string(),
                    version: plugin.version.to_string(),
                    idempotent: plugin.idempotent,
                };
                (name.to_string(), wire)
            })
            .collect(),
        event: (*birth.event.document).clone(),
        source: birth.event.source_name.as_ref().map(ToString::to_string),
        commit: birth.event.commit.as_ref().map(ToString::to_string),
        event_sequence: birth.event.sequence.0,
        trigger: birth.trigger,
        inputs: birth.inputs.clone(),
        trusted: birth.trust == Trust::Trusted,
        project: birth.project.to_string(),
        environment: birth.environment.to_string(),
        pool: birth.pool.to_string(),
    }
}

fn end_to_wire(end: &AttemptEnd) -> AttemptEndedV1 {
    AttemptEndedV1 {
        step: end.step.to_string(),
        attempt: end.attempt,
        outcome: match end.outcome {
            AttemptOutcome::Succeeded => OutcomeV1::Succeeded,
            AttemptOutcome::Failed {
                exit_code,
                transient,
            } => OutcomeV1::Failed {
                exit_code,
                transient,
            },
            AttemptOutcome::Signalled { signal } => OutcomeV1::Signalled { signal },
            AttemptOutcome::TimedOut => OutcomeV1::TimedOut,
            AttemptOutcome::Trapped => OutcomeV1::Trapped,
            AttemptOutcome::LimitExceeded => OutcomeV1::LimitExceeded,
            AttemptOutcome::NotGranted => OutcomeV1::NotGranted,
            AttemptOutcome::CouldNotStart => OutcomeV1::CouldNotStart,
            AttemptOutcome::Interrupted => OutcomeV1::Interrupted,
            AttemptOutcome::Cancelled => OutcomeV1::Cancelled,
        },
        message: end.message.clone(),
        outputs: end.outputs.clone(),
        not_granted: end.not_granted.iter().map(ToString::to_string).collect(),
        leaked_handles: end.leaked_handles,
        lines: end.log.lines,
        lines_dropped: end.log.dropped,
        next: match end.next {
            AttemptNext::StepEnds => NextV1::StepEnds,
            AttemptNext::RetryAt(due) => NextV1::RetryAt(due),
            AttemptNext::Ask => NextV1::Ask,
        },
    }
}

fn named<T>(parsed: Result<T, InvalidName>) -> Result<T, String> {
    parsed.map_err(|error| error.to_string())
}

fn hex(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text, 16).map_err(|_| format!("`{text}` is not a hexadecimal number"))
}

fn from_wire(run: RunId, wire: RecordV1) -> Result<RecordEnvelope, String> {
    if wire.entries.is_empty() {
        return Err("it has no entries".to_owned());
    }
    Ok(RecordEnvelope {
        run,
        writer: Writer {
            host: named(wire.host.parse())?,
            incarnation: Incarnation(hex(&wire.life)?),
        },
        epoch: wire.epoch,
        nonce: hex(&wire.nonce)?,
        at: wire.at,
        wakes: wire.wakes.map(|pool| named(pool.parse())).transpose()?,
        entries: wire
            .entries
            .into_iter()
            .map(entry_from_wire)
            .collect::<Result<_, _>>()?,
    })
}

fn entry_from_wire(entry: EntryV1) -> Result<Entry, String> {
    let step_id = |text: &str| named(StepId::new(text));
    let actor = |text: &str| text.parse::<Actor>();
    Ok(match entry {
        EntryV1::Created(created) => Entry::Created(Box::new(created_from_wire(*created)?)),
        EntryV1::Claimed { host, life, epoch } => Entry::Claimed(Claim {
            host: named(host.parse())?,
            incarnation: Incarnation(hex(&life)?),
            epoch,
        }),
        EntryV1::Released { reason } => Entry::Released { reason },
        EntryV1::AttemptStarted { step, attempt } => Entry::AttemptStarted {
            step: step_id(&step)?,
            attempt,
        },
        EntryV1::AttemptEnded(end) => Entry::AttemptEnded(Box::new(end_from_wire(*end)?)),
        EntryV1::StepSkipped { step } => Entry::StepSkipped {
            step: step_id(&step)?,
        },
        EntryV1::StepUnstartable { step, message } => Entry::StepUnstartable {
            step: step_id(&step)?,
            message,
        },
        EntryV1::StopRequested { kind, actor: who } => Entry::StopRequested {
            kind: match kind {
                StopKindV1::Cancel => StopKind::Cancel,
                StopKindV1::Timeout => StopKind::Timeout,
            },
            actor: actor(&who)?,
        },
        EntryV1::Parked { question } => Entry::Parked {
            parking: Parking::Question {
                step: step_id(&question)?,
            },
        },
        EntryV1::Answered {
            step,
            answer,
            actor: who,
        } => Entry::Answered {
            step: step_id(&step)?,
            answer: Answer::from_name(&answer)
                .ok_or_else(|| format!("`{answer}` is not an answer"))?,
            actor: actor(&who)?,
        },
        EntryV1::Ended { outcome, reason } => Entry::Ended {
            outcome: RunOutcome::from_name(&outcome)
                .ok_or_else(|| format!("`{outcome}` is not the outcome of a run"))?,
            reason,
        },
    })
}

fn created_from_wire(wire: CreatedV1) -> Result<Birth, String> {
    let plugins = wire
        .plugins
        .into_iter()
        .map(|(name, plugin)| {
            let resolved = ResolvedPlugin {
                digest: named(plugin.digest.parse())?,
                version: plugin.version.parse()?,
                idempotent: plugin.idempotent,
            };
            Ok((name.parse()?, resolved))
        })
        .collect::<Result<_, String>>()?;
    let event_field = |name: &str| {
        wire.event
            .get(name)
            .and_then(Json::as_str)
            .ok_or_else(|| format!("its event has no `{name}`"))
    };
    let event = BirthEvent {
        id: named(EventId::new(event_field("id")?))?,
        source: named(EventSource::new(event_field("source")?))?,
        kind: named(EventType::new(event_field("type")?))?,
        time: event_field("time")?
            .parse()
            .map_err(|error| format!("its event's time: {error}"))?,
        subject: wire
            .event
            .get("subject")
            .and_then(Json::as_str)
            .map(str::to_owned),
        actor: event_field("actor")?.parse()?,
        source_name: wire.source.map(|name| named(name.parse())).transpose()?,
        commit: wire
            .commit
            .map(|commit| infraflow_core::tool::CommitId::new(&commit))
            .transpose()?,
        sequence: Sequence(wire.event_sequence),
        document: Arc::new(wire.event.clone()),
    };
    Ok(Birth {
        workflow: named(wire.workflow.parse())?,
        workflow_digest: named(wire.digest.parse())?,
        workflow_revision: wire.revision,
        plugins,
        event,
        trigger: wire.trigger,
        inputs: wire.inputs,
        trust: if wire.trusted {
            Trust::Trusted
        } else {
            Trust::Untrusted
        },
        project: named(wire.project.parse())?,
        environment: named(wire.environment.parse())?,
        pool: named(wire.pool.parse())?,
    })
}

fn end_from_wire(wire: AttemptEndedV1) -> Result<AttemptEnd, String> {
    Ok(AttemptEnd {
        step: named(wire.step.parse())?,
        attempt: wire.attempt,
        outcome: match wire.outcome {
            OutcomeV1::Succeeded => AttemptOutcome::Succeeded,
            OutcomeV1::Failed {
                exit_code,
                transient,
            } => AttemptOutcome::Failed {
                exit_code,
                transient,
            },
            OutcomeV1::Signalled { signal } => AttemptOutcome::Signalled { signal },
            OutcomeV1::TimedOut => AttemptOutcome::TimedOut,
            OutcomeV1::Trapped => AttemptOutcome::Trapped,
            OutcomeV1::LimitExceeded => AttemptOutcome::LimitExceeded,
            OutcomeV1::NotGranted => AttemptOutcome::NotGranted,
            OutcomeV1::CouldNotStart => AttemptOutcome::CouldNotStart,
            OutcomeV1::Interrupted => AttemptOutcome::Interrupted,
            OutcomeV1::Cancelled => AttemptOutcome::Cancelled,
        },
        message: wire.message,
        outputs: wire.outputs,
        not_granted: wire
            .not_granted
            .iter()
            .map(|text| text.parse().map_err(|error| format!("{error}")))
            .collect::<Result<_, String>>()?,
        leaked_handles: wire.leaked_handles,
        log: LogFacts {
            lines: wire.lines,
            dropped: wire.lines_dropped,
        },
        next: match wire.next {
            NextV1::StepEnds => AttemptNext::StepEnds,
            NextV1::RetryAt(due) => AttemptNext::RetryAt(due),
            NextV1::Ask => AttemptNext::Ask,
        },
    })
}

#[cfg(test)]
mod tests;
