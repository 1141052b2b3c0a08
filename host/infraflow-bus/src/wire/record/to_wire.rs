//! From the model to the wire.

use infraflow_core::id::StepId;
use infraflow_core::outcome::AttemptOutcome;
use infraflow_core::ports::Trust;
use infraflow_core::run::{
    AttemptEnd, AttemptNext, Birth, Carried, Entry, Origin, Parked, Parking, StopKind,
    WorkspacePlace,
};
use infraflow_core::workflow::OnConflict;

use super::shape::{
    AttemptEndedWire, CarriedWire, CreatedWire, EntryWire, LockWire, NextWire, OriginWire,
    OutcomeWire, ParkedWire, PluginWire, StopKindWire, WorkspaceWire,
};

/// An entry as it is written.
pub(super) fn to_wire(entry: &Entry) -> EntryWire {
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
        Entry::FilesStored { place } => EntryWire::FilesStored(workspace_to_wire(place)),
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

fn workspace_to_wire(place: &WorkspacePlace) -> WorkspaceWire {
    WorkspaceWire {
        host: place.host.to_string(),
        stored: place.stored.as_ref().map(ToString::to_string),
    }
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
