//! Events become runs: each event is decoded, matched, and acknowledged only
//! when every run that it causes is durable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use infraflow_core::event::{Event, EventData};
use infraflow_core::id::{RunId, SourceName};
use infraflow_core::outcome::RunOutcome;
use infraflow_core::plugin::{PluginRef, ResolvedPlugin};
use infraflow_core::ports::{ArrivedEvent, DeadReason, Delivery, Receipt, Sequence, Trust};
use infraflow_core::route::Match;
use infraflow_core::run::{Birth, BirthEvent, Effect, Entry, Input, Run};
use infraflow_core::workflow::Workflow;
use tokio::sync::OwnedSemaphorePermit;

use crate::catalog::Current;
use crate::driver::Driver;
use crate::engine::Shared;
use crate::executor::{ALIVE_INTERVAL, NotAppended, Reservation, done, load};
use crate::sabotage::{self, Break};
use crate::task::spawn_bounded;

/// How long an event is put off whose runs cannot be created now.
const PUT_OFF: Duration = Duration::from_secs(2);

/// How often room in the store of journals is looked for.
const ROOM_INTERVAL: Duration = Duration::from_millis(100);

/// Takes events until the engine ends. Never returns.
pub(crate) async fn route(shared: Arc<Shared>) {
    loop {
        let Ok(place) = shared.intake.clone().acquire_owned().await else {
            return;
        };
        shared.membership.until_may_act().await;
        let delivery = shared.ports.events.next().await;
        if !wait_for_room(&shared, &delivery.receipt).await {
            delivery.receipt.later(Duration::ZERO).await;
            continue;
        }
        let shared = shared.clone();
        spawn_bounded(async move { handle(shared, delivery, place).await });
    }
}

/// Waits until there is room for another run's journal; `false` when the host
/// shuts down. In the order of events, so that none holds back the removal of
/// journals of those before it.
async fn wait_for_room(shared: &Shared, receipt: &Arc<dyn Receipt>) -> bool {
    let mut shown_alive = Instant::now();
    loop {
        if shared.is_draining() {
            return false;
        }
        if !shared.has_full_journals() && shared.take_journal_room() {
            return true;
        }
        tokio::time::sleep(ROOM_INTERVAL).await;
        if shown_alive.elapsed() > ALIVE_INTERVAL {
            receipt.alive().await;
            shown_alive = Instant::now();
        }
    }
}

/// A run that was created and that this host has.
struct Begun {
    driver: Driver,
    effects: Vec<Effect>,
}

/// What became of one match.
enum Created {
    /// It is durable; this host has it.
    Begun(Box<Begun>),
    /// It is durable, and somebody else's or over.
    Durable,
    /// It is not durable yet.
    NotYet,
}

async fn handle(
    shared: Arc<Shared>,
    delivery: Delivery<ArrivedEvent>,
    place: OwnedSemaphorePermit,
) {
    let Delivery { item, receipt } = delivery;
    let ArrivedEvent {
        event,
        address,
        sequence,
        ..
    } = item;
    let event = match event {
        Ok(event) => event,
        Err((reason, detail)) => return bury(&receipt, &address, reason, detail).await,
    };
    if sabotage::is(Break::AckBeforeRecord) {
        done(&receipt).await;
    }
    let current = shared.catalog.current();
    let matches = current.table.route(&event, &address);
    if let (EventData::Trigger { workflow }, true) = (&event.data, matches.is_empty()) {
        let known = current.table.workflow(workflow).is_some();
        let detail = if known {
            format!("workflow `{workflow}` has no `manual` trigger")
        } else {
            format!("there is no workflow `{workflow}`")
        };
        return bury(&receipt, &address, DeadReason::NoSuchWorkflow, detail).await;
    }
    let mut begun = Vec::new();
    let mut all_durable = true;
    for found in matches {
        match create(&shared, &current, found, &event, sequence, &receipt).await {
            Created::Begun(run) => begun.push(run),
            Created::Durable => {}
            Created::NotYet => all_durable = false,
        }
    }
    let settle = async {
        if all_durable {
            done(&receipt).await;
        } else {
            receipt.later(PUT_OFF).await;
        }
        drop(place);
    };
    let drive = begun
        .into_iter()
        .map(|run| run.driver.drive(run.effects, vec![]));
    futures::join!(settle, futures::future::join_all(drive));
}

async fn bury(receipt: &Arc<dyn Receipt>, address: &str, reason: DeadReason, detail: String) {
    tracing::warn!(
        address,
        reason = reason.name(),
        detail,
        "event became a dead letter"
    );
    if let Err(error) = receipt.bury(reason, detail).await {
        tracing::warn!(%error, "dead letter not stored; the event comes again");
    }
}

async fn create(
    shared: &Arc<Shared>,
    current: &Current,
    found: Match,
    event: &Event,
    sequence: Sequence,
    receipt: &Arc<dyn Receipt>,
) -> Created {
    let workflow = found.workflow.clone();
    let source = if sabotage::is(Break::RandomRunId) {
        random_source()
    } else {
        event.source.clone()
    };
    let id = RunId::derive(&workflow.project, &source, &event.id, &workflow.name);
    let Some(reservation) = shared.live.reserve(id) else {
        // This process works on it: whether it is durable is not known here.
        return if exists(shared, id).await {
            Created::Durable
        } else {
            Created::NotYet
        };
    };
    let now = shared.ports.clock.now();
    let (birth, problem) = birth(shared, current, found, event, sequence);
    let (run, birth, problem) = with_locks(id, birth, problem, &workflow, now);
    let may_begin = problem.is_none() && !shared.is_draining() && shared.serves(&birth.pool);
    let place = if may_begin && shared.membership.may_act() {
        shared.admission.try_enter().await
    } else {
        None
    };
    let beginning = beginning(shared, &run, problem, place.is_some(), now);
    let entries = std::iter::once(Entry::Created(birth))
        .chain(beginning.entries)
        .collect();
    let record = shared
        .appender
        .record(&beginning.next, entries, beginning.wakes, now);
    match shared
        .appender
        .append(shared, &record, Sequence::NONE)
        .await
    {
        Ok(last) => match place {
            Some(place) => begun(
                shared,
                beginning.next,
                beginning.effects,
                last,
                reservation,
                place,
            ),
            None => Created::Durable,
        },
        Err(NotAppended::Conflict) => Created::Durable,
        Err(NotAppended::TooLarge) => {
            let detail = format!(
                "its run's first record is too large (workflow `{}`)",
                run.birth().workflow
            );
            match receipt.bury(DeadReason::TooLarge, detail).await {
                Ok(()) => Created::Durable,
                Err(_) => Created::NotYet,
            }
        }
        Err(NotAppended::GivenUp) => Created::NotYet,
    }
}

/// The run with the locks that it needs; a problem, when they have no names.
pub(crate) fn with_locks(
    id: RunId,
    mut birth: Birth,
    problem: Option<String>,
    workflow: &Arc<Workflow>,
    now: infraflow_core::Timestamp,
) -> (Run, Box<Birth>, Option<String>) {
    let make = |birth: &Birth| Run::new(id, Box::new(birth.clone()), workflow.clone(), now);
    let run = make(&birth);
    if problem.is_some() || (workflow.locks.is_empty() && workflow.concurrency.max.is_none()) {
        return (run, Box::new(birth), problem);
    }
    match run.wanted_locks() {
        Ok(locks) => {
            birth.locks = locks;
            (make(&birth), Box::new(birth), None)
        }
        Err(problem) => (run, Box::new(birth), Some(problem)),
    }
}

fn begun(
    shared: &Arc<Shared>,
    run: Run,
    effects: Vec<Effect>,
    last: Sequence,
    reservation: Reservation,
    place: OwnedSemaphorePermit,
) -> Created {
    let driver = Driver::new(shared.clone(), run, last, reservation, place);
    Created::Begun(Box::new(Begun { driver, effects }))
}

/// What follows the creation in the same record: the claim and the first
/// attempt where this host has a place; else it is a work item; a run that
/// cannot start has ended.
struct Beginning {
    entries: Vec<Entry>,
    wakes: Option<infraflow_core::id::PoolName>,
    effects: Vec<Effect>,
    next: Run,
}

fn beginning(
    shared: &Shared,
    run: &Run,
    problem: Option<String>,
    has_place: bool,
    now: infraflow_core::Timestamp,
) -> Beginning {
    if let Some(reason) = problem {
        let entry = Entry::Ended {
            outcome: RunOutcome::Failed,
            reason,
        };
        let mut next = run.clone();
        if let Err(error) = next.fold(&entry, now) {
            tracing::error!(%error, "a new run cannot end");
        }
        return Beginning {
            entries: vec![entry],
            wakes: None,
            effects: vec![],
            next,
        };
    }
    let claim = Input::Claim {
        host: shared.config.host.clone(),
        incarnation: shared.config.incarnation,
    };
    match run.decide(claim, now) {
        Ok(decision) if has_place => Beginning {
            entries: decision.entries,
            wakes: decision.wakes,
            effects: decision.effects,
            next: decision.next,
        },
        _ => Beginning {
            entries: vec![],
            wakes: Some(run.birth().pool.clone()),
            effects: vec![],
            next: run.clone(),
        },
    }
}

/// Everything that is decided now, and why the run cannot start when it cannot:
/// it is visible then, not lost.
fn birth(
    shared: &Shared,
    current: &Current,
    found: Match,
    event: &Event,
    sequence: Sequence,
) -> (Birth, Option<String>) {
    let Match {
        workflow,
        trigger,
        inputs,
    } = found;
    let (plugins, missing) = resolve(shared, &workflow.plugins());
    let (inputs, problem) = match inputs {
        Ok(inputs) => (inputs, None),
        Err(problem) => (infraflow_core::JsonMap::new(), Some(problem)),
    };
    let birth = Birth {
        workflow: workflow.name.clone(),
        workflow_digest: workflow.digest,
        workflow_revision: current.revision(&workflow.name),
        plugins,
        event: BirthEvent::new(event, sequence),
        trigger: u32::try_from(trigger).unwrap_or(u32::MAX),
        inputs,
        trust: trust(shared, event),
        project: workflow.project.clone(),
        environment: workflow.environment.clone(),
        pool: workflow.pool.clone(),
        locks: vec![],
        on_conflict: workflow.concurrency.on_conflict,
        order: sequence,
        origin: None,
    };
    (birth, problem.or(missing))
}

pub(crate) fn resolve(
    shared: &Shared,
    wanted: &[PluginRef],
) -> (BTreeMap<PluginRef, ResolvedPlugin>, Option<String>) {
    let catalog = shared.plugins();
    let mut plugins = BTreeMap::new();
    let mut missing = Vec::new();
    for plugin in wanted {
        match catalog.resolve(plugin) {
            Some(resolved) => {
                plugins.insert(plugin.clone(), resolved);
            }
            None => missing.push(format!("`{plugin}`")),
        }
    }
    let problem = (!missing.is_empty()).then(|| {
        format!(
            "plugin {} is not installed; there are {}",
            missing.join(", "),
            catalog.names()
        )
    });
    (plugins, problem)
}

/// Code that a configured source delivers is somebody else's unless the operator
/// says otherwise; what a person starts is that person's.
fn trust(shared: &Shared, event: &Event) -> Trust {
    match event.source_name().map(SourceName::new) {
        None => Trust::Trusted,
        Some(Ok(name)) if shared.config.trusted_sources.contains(&name) => Trust::Trusted,
        Some(_) => Trust::Untrusted,
    }
}

/// Whether the run's journal has begun.
async fn exists(shared: &Shared, run: RunId) -> bool {
    shared.index.get(run).is_some() || load(shared, run).await.is_ok()
}

fn random_source() -> infraflow_core::id::EventSource {
    let mut bytes = [0_u8; 8];
    if let Err(error) = getrandom::fill(&mut bytes) {
        tracing::error!(%error, "no random numbers");
    }
    infraflow_core::id::EventSource::new(&format!("{:x}", u64::from_be_bytes(bytes)))
        .expect("hexadecimal digits are a source")
}
