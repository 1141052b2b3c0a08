//! Journal records on the wire: JSON, version 2. Version 1 is read as well: its
//! runs have no locks and no origin, and wait for nothing but persons.
//!
//! An older binary that meets a newer record refuses that run by name; it never
//! guesses. So every change that an old reader could misunderstand raises
//! [`VERSION`], and the goldens of all versions stay.

use std::collections::BTreeMap;
use std::sync::Arc;

use infraflow_core::event::Actor;
use infraflow_core::id::{
    EventId, EventSource, EventType, Incarnation, InvalidName, LockName, RunId, StepId,
};
use infraflow_core::lock::LockSpec;
use infraflow_core::outcome::{AttemptOutcome, RunOutcome};
use infraflow_core::plugin::ResolvedPlugin;
use infraflow_core::ports::{Sequence, Trust};
use infraflow_core::run::{
    Answer, AttemptEnd, AttemptNext, Birth, BirthEvent, Carried, Claim, Entry, LogFacts, Origin,
    OriginKind, Parked, Parking, RecordEnvelope, StopKind, WakeCause, WorkspacePlace, Writer,
};
use infraflow_core::workflow::OnConflict;
use infraflow_core::{Json, JsonMap};
use serde::{Deserialize, Serialize};

/// The version that this binary writes, and the newest that it reads.
pub(crate) const VERSION: u32 = 2;

/// The oldest version that it reads.
const VERSION_MIN: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Version {
    v: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordWire {
    v: u32,
    host: String,
    life: String,
    epoch: u32,
    nonce: String,
    at: jiff::Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    wakes: Option<String>,
    entries: Vec<EntryWire>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum EntryWire {
    Created(Box<CreatedWire>),
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
    AttemptEnded(Box<AttemptEndedWire>),
    StepSkipped {
        step: String,
    },
    StepUnstartable {
        step: String,
        message: String,
    },
    WaitStarted {
        step: String,
        until: jiff::Timestamp,
    },
    WaitEnded {
        step: String,
    },
    LockAcquired {
        lock: String,
        token: u64,
    },
    StopRequested {
        kind: StopKindWire,
        actor: String,
    },
    Parked(ParkedWire),
    Woken {
        cause: String,
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

/// Exactly one of the reasons. Version 1 knew questions only, without `until`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ParkedWire {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    question: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wait: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lock: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<jiff::Timestamp>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LockWire {
    name: String,
    max: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OriginWire {
    run: String,
    kind: String,
    actor: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    carried: BTreeMap<String, CarriedWire>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    overrides: BTreeMap<String, JsonMap>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    workspace: Option<WorkspaceWire>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CarriedWire {
    #[serde(default, skip_serializing_if = "is_false")]
    skipped: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outputs: Option<Arc<JsonMap>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkspaceWire {
    host: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stored: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CreatedWire {
    workflow: String,
    digest: String,
    revision: u64,
    plugins: BTreeMap<String, PluginWire>,
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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    locks: Vec<LockWire>,
    /// Unset: `queue`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on_conflict: Option<String>,
    /// Unset: the event's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    order: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<Box<OriginWire>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PluginWire {
    digest: String,
    version: String,
    idempotent: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AttemptEndedWire {
    step: String,
    attempt: u32,
    outcome: OutcomeWire,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    workspace: Option<WorkspaceWire>,
    next: NextWire,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum OutcomeWire {
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
enum NextWire {
    StepEnds,
    RetryAt(jiff::Timestamp),
    Ask,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StopKindWire {
    Cancel,
    Timeout,
    Superseded,
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
    let wire = RecordWire {
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
    if !(VERSION_MIN..=VERSION).contains(&version.v) {
        return Err(format!(
            "it has version {}, this infraflow reads versions {VERSION_MIN} to {VERSION}: use a newer one",
            version.v
        ));
    }
    let wire: RecordWire = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    from_wire(run, wire)
}

fn to_wire(entry: &Entry) -> EntryWire {
    match entry {
        Entry::Created(birth) => EntryWire::Created(Box::new(created_to_wire(birth))),
        Entry::Claimed(claim) => EntryWire::Claimed {
            host: claim.host.to_string(),
            life: claim.incarnation.to_string(),
            epoch: claim.epoch,
        },
        Entry::Released { reason } => EntryWire::Released {
            reason: reason.clone(),
        },
        Entry::AttemptStarted { step, attempt } => EntryWire::AttemptStarted {
            step: step.to_string(),
            attempt: *attempt,
        },
        Entry::AttemptEnded(end) => EntryWire::AttemptEnded(Box::new(end_to_wire(end))),
        Entry::StepSkipped { step } => EntryWire::StepSkipped {
            step: step.to_string(),
        },
        Entry::StepUnstartable { step, message } => EntryWire::StepUnstartable {
            step: step.to_string(),
            message: message.clone(),
        },
        Entry::StopRequested { kind, actor } => EntryWire::StopRequested {
            kind: match kind {
                StopKind::Cancel => StopKindWire::Cancel,
                StopKind::Timeout => StopKindWire::Timeout,
                StopKind::Superseded => StopKindWire::Superseded,
            },
            actor: actor.to_string(),
        },
        Entry::WaitStarted { step, until } => EntryWire::WaitStarted {
            step: step.to_string(),
            until: *until,
        },
        Entry::WaitEnded { step } => EntryWire::WaitEnded {
            step: step.to_string(),
        },
        Entry::LockAcquired { lock, token } => EntryWire::LockAcquired {
            lock: lock.to_string(),
            token: *token,
        },
        Entry::Parked(parked) => EntryWire::Parked(parked_to_wire(parked)),
        Entry::Woken { cause } => EntryWire::Woken {
            cause: cause.name().to_owned(),
        },
        Entry::Answered {
            step,
            answer,
            actor,
        } => EntryWire::Answered {
            step: step.to_string(),
            answer: answer.name().to_owned(),
            actor: actor.to_string(),
        },
        Entry::Ended { outcome, reason } => EntryWire::Ended {
            outcome: outcome.name().to_owned(),
            reason: reason.clone(),
        },
    }
}

fn parked_to_wire(parked: &Parked) -> ParkedWire {
    let mut wire = ParkedWire {
        until: Some(parked.until),
        ..ParkedWire::default()
    };
    match &parked.parking {
        Parking::Question { step } => wire.question = Some(step.to_string()),
        Parking::Retry { step } => wire.retry = Some(step.to_string()),
        Parking::Wait { step } => wire.wait = Some(step.to_string()),
        Parking::Lock { lock } => wire.lock = Some(lock.to_string()),
    }
    wire
}

fn parked_from_wire(wire: &ParkedWire) -> Result<Parked, String> {
    let step = |text: &str| named(StepId::new(text));
    let parking = match (&wire.question, &wire.retry, &wire.wait, &wire.lock) {
        (Some(text), None, None, None) => Parking::Question { step: step(text)? },
        (None, Some(text), None, None) => Parking::Retry { step: step(text)? },
        (None, None, Some(text), None) => Parking::Wait { step: step(text)? },
        (None, None, None, Some(text)) => Parking::Lock {
            lock: named(LockName::new(text))?,
        },
        _ => return Err("it waits for nothing, or for several things".to_owned()),
    };
    Ok(Parked {
        parking,
        until: wire.until.unwrap_or(jiff::Timestamp::MAX),
    })
}

fn workspace_to_wire(place: &WorkspacePlace) -> WorkspaceWire {
    WorkspaceWire {
        host: place.host.to_string(),
        stored: place.stored.as_ref().map(ToString::to_string),
    }
}

fn workspace_from_wire(wire: &WorkspaceWire) -> Result<WorkspacePlace, String> {
    Ok(WorkspacePlace {
        host: named(wire.host.parse())?,
        stored: wire
            .stored
            .as_ref()
            .map(|digest| named(digest.parse()))
            .transpose()?,
    })
}

fn origin_to_wire(origin: &Origin) -> OriginWire {
    let carried = |(step, carried): (&StepId, &Carried)| {
        let wire = CarriedWire {
            skipped: carried.is_skipped,
            outputs: carried.outputs.clone(),
        };
        (step.to_string(), wire)
    };
    OriginWire {
        run: origin.run.to_string(),
        kind: origin.kind.name().to_owned(),
        actor: origin.actor.to_string(),
        carried: origin.carried.iter().map(carried).collect(),
        overrides: origin
            .overrides
            .iter()
            .map(|(step, overrides)| (step.to_string(), overrides.clone()))
            .collect(),
        workspace: origin.workspace.as_ref().map(workspace_to_wire),
    }
}

fn origin_from_wire(wire: OriginWire) -> Result<Origin, String> {
    let carried = |(step, wire): (String, CarriedWire)| {
        let carried = Carried {
            is_skipped: wire.skipped,
            outputs: wire.outputs,
        };
        Ok((named(StepId::new(&step))?, carried))
    };
    let overrides =
        |(step, overrides): (String, JsonMap)| Ok((named(StepId::new(&step))?, overrides));
    Ok(Origin {
        run: named(wire.run.parse())?,
        kind: OriginKind::from_name(&wire.kind)
            .ok_or_else(|| format!("`{}` is not a kind of origin", wire.kind))?,
        actor: wire.actor.parse()?,
        carried: wire
            .carried
            .into_iter()
            .map(carried)
            .collect::<Result<_, String>>()?,
        overrides: wire
            .overrides
            .into_iter()
            .map(overrides)
            .collect::<Result<_, String>>()?,
        workspace: wire
            .workspace
            .as_ref()
            .map(workspace_from_wire)
            .transpose()?,
    })
}

fn created_to_wire(birth: &Birth) -> CreatedWire {
    CreatedWire {
        workflow: birth.workflow.to_string(),
        digest: birth.workflow_digest.to_string(),
        revision: birth.workflow_revision,
        plugins: birth
            .plugins
            .iter()
            .map(|(name, plugin)| {
                let wire = PluginWire {
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
        locks: birth
            .locks
            .iter()
            .map(|lock| LockWire {
                name: lock.name.to_string(),
                max: lock.max,
            })
            .collect(),
        on_conflict: (birth.on_conflict != OnConflict::default())
            .then(|| birth.on_conflict.name().to_owned()),
        order: (birth.order != birth.event.sequence).then_some(birth.order.0),
        origin: birth
            .origin
            .as_deref()
            .map(|origin| Box::new(origin_to_wire(origin))),
    }
}

fn end_to_wire(end: &AttemptEnd) -> AttemptEndedWire {
    AttemptEndedWire {
        step: end.step.to_string(),
        attempt: end.attempt,
        outcome: match end.outcome {
            AttemptOutcome::Succeeded => OutcomeWire::Succeeded,
            AttemptOutcome::Failed {
                exit_code,
                transient,
            } => OutcomeWire::Failed {
                exit_code,
                transient,
            },
            AttemptOutcome::Signalled { signal } => OutcomeWire::Signalled { signal },
            AttemptOutcome::TimedOut => OutcomeWire::TimedOut,
            AttemptOutcome::Trapped => OutcomeWire::Trapped,
            AttemptOutcome::LimitExceeded => OutcomeWire::LimitExceeded,
            AttemptOutcome::NotGranted => OutcomeWire::NotGranted,
            AttemptOutcome::CouldNotStart => OutcomeWire::CouldNotStart,
            AttemptOutcome::Interrupted => OutcomeWire::Interrupted,
            AttemptOutcome::Cancelled => OutcomeWire::Cancelled,
        },
        message: end.message.clone(),
        outputs: end.outputs.clone(),
        not_granted: end.not_granted.iter().map(ToString::to_string).collect(),
        leaked_handles: end.leaked_handles,
        lines: end.log.lines,
        lines_dropped: end.log.dropped,
        workspace: end.workspace.as_ref().map(workspace_to_wire),
        next: match end.next {
            AttemptNext::StepEnds => NextWire::StepEnds,
            AttemptNext::RetryAt(due) => NextWire::RetryAt(due),
            AttemptNext::Ask => NextWire::Ask,
        },
    }
}

fn named<T>(parsed: Result<T, InvalidName>) -> Result<T, String> {
    parsed.map_err(|error| error.to_string())
}

fn hex(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text, 16).map_err(|_| format!("`{text}` is not a hexadecimal number"))
}

fn from_wire(run: RunId, wire: RecordWire) -> Result<RecordEnvelope, String> {
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

fn entry_from_wire(entry: EntryWire) -> Result<Entry, String> {
    let step_id = |text: &str| named(StepId::new(text));
    let actor = |text: &str| text.parse::<Actor>();
    Ok(match entry {
        EntryWire::Created(created) => Entry::Created(Box::new(created_from_wire(*created)?)),
        EntryWire::Claimed { host, life, epoch } => Entry::Claimed(Claim {
            host: named(host.parse())?,
            incarnation: Incarnation(hex(&life)?),
            epoch,
        }),
        EntryWire::Released { reason } => Entry::Released { reason },
        EntryWire::AttemptStarted { step, attempt } => Entry::AttemptStarted {
            step: step_id(&step)?,
            attempt,
        },
        EntryWire::AttemptEnded(end) => Entry::AttemptEnded(Box::new(end_from_wire(*end)?)),
        EntryWire::StepSkipped { step } => Entry::StepSkipped {
            step: step_id(&step)?,
        },
        EntryWire::StepUnstartable { step, message } => Entry::StepUnstartable {
            step: step_id(&step)?,
            message,
        },
        EntryWire::StopRequested { kind, actor: who } => Entry::StopRequested {
            kind: match kind {
                StopKindWire::Cancel => StopKind::Cancel,
                StopKindWire::Timeout => StopKind::Timeout,
                StopKindWire::Superseded => StopKind::Superseded,
            },
            actor: actor(&who)?,
        },
        EntryWire::WaitStarted { step, until } => Entry::WaitStarted {
            step: step_id(&step)?,
            until,
        },
        EntryWire::WaitEnded { step } => Entry::WaitEnded {
            step: step_id(&step)?,
        },
        EntryWire::LockAcquired { lock, token } => Entry::LockAcquired {
            lock: named(LockName::new(&lock))?,
            token,
        },
        EntryWire::Parked(parked) => Entry::Parked(parked_from_wire(&parked)?),
        EntryWire::Woken { cause } => Entry::Woken {
            cause: WakeCause::from_name(&cause)
                .ok_or_else(|| format!("`{cause}` is not what wakes a run"))?,
        },
        EntryWire::Answered {
            step,
            answer,
            actor: who,
        } => Entry::Answered {
            step: step_id(&step)?,
            answer: Answer::from_name(&answer)
                .ok_or_else(|| format!("`{answer}` is not an answer"))?,
            actor: actor(&who)?,
        },
        EntryWire::Ended { outcome, reason } => Entry::Ended {
            outcome: RunOutcome::from_name(&outcome)
                .ok_or_else(|| format!("`{outcome}` is not the outcome of a run"))?,
            reason,
        },
    })
}

fn created_from_wire(wire: CreatedWire) -> Result<Birth, String> {
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
        locks: wire
            .locks
            .into_iter()
            .map(|lock| {
                Ok(LockSpec {
                    name: named(LockName::new(&lock.name))?,
                    max: lock.max.max(1),
                })
            })
            .collect::<Result<_, String>>()?,
        on_conflict: match wire.on_conflict {
            None => OnConflict::default(),
            Some(name) => OnConflict::from_name(&name)
                .ok_or_else(|| format!("`{name}` is not what a run does at a conflict"))?,
        },
        order: Sequence(wire.order.unwrap_or(wire.event_sequence)),
        origin: wire
            .origin
            .map(|origin| origin_from_wire(*origin).map(Box::new))
            .transpose()?,
    })
}

fn end_from_wire(wire: AttemptEndedWire) -> Result<AttemptEnd, String> {
    Ok(AttemptEnd {
        step: named(wire.step.parse())?,
        attempt: wire.attempt,
        outcome: match wire.outcome {
            OutcomeWire::Succeeded => AttemptOutcome::Succeeded,
            OutcomeWire::Failed {
                exit_code,
                transient,
            } => AttemptOutcome::Failed {
                exit_code,
                transient,
            },
            OutcomeWire::Signalled { signal } => AttemptOutcome::Signalled { signal },
            OutcomeWire::TimedOut => AttemptOutcome::TimedOut,
            OutcomeWire::Trapped => AttemptOutcome::Trapped,
            OutcomeWire::LimitExceeded => AttemptOutcome::LimitExceeded,
            OutcomeWire::NotGranted => AttemptOutcome::NotGranted,
            OutcomeWire::CouldNotStart => AttemptOutcome::CouldNotStart,
            OutcomeWire::Interrupted => AttemptOutcome::Interrupted,
            OutcomeWire::Cancelled => AttemptOutcome::Cancelled,
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
        workspace: wire
            .workspace
            .as_ref()
            .map(workspace_from_wire)
            .transpose()?,
        next: match wire.next {
            NextWire::StepEnds => AttemptNext::StepEnds,
            NextWire::RetryAt(due) => AttemptNext::RetryAt(due),
            NextWire::Ask => AttemptNext::Ask,
        },
    })
}

#[cfg(test)]
mod tests;
