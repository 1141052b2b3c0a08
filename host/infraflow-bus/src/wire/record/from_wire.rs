//! From the wire to the model; every value is checked.

use std::sync::Arc;

use infraflow_core::Json;
use infraflow_core::JsonMap;
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

use super::shape::{
    AttemptEndedWire, CarriedWire, CreatedWire, EntryWire, NextWire, OriginWire, OutcomeWire,
    ParkedWire, RecordWire, StopKindWire, WorkspaceWire,
};

/// The record that was read.
///
/// # Errors
/// A text for people: a value is not what it should be.
pub(super) fn from_wire(run: RunId, wire: RecordWire) -> Result<RecordEnvelope, String> {
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
        EntryWire::FilesStored(place) => Entry::FilesStored {
            place: workspace_from_wire(&place)?,
        },
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

fn named<T>(parsed: Result<T, InvalidName>) -> Result<T, String> {
    parsed.map_err(|error| error.to_string())
}

fn hex(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text, 16).map_err(|_| format!("`{text}` is not a hexadecimal number"))
}
