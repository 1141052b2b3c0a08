//! What must hold after every scenario, whatever happened.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use infraflow_core::outcome::{AttemptOutcome, RunOutcome};
use infraflow_core::run::Entry;
use infraflow_tests::cluster::Cluster;
use infraflow_tests::history::{Attempt, Journal};
use infraflow_tests::nats::RawClient;
use infraflow_tests::processes::mentioning;
use infraflow_tests::wait::pause;
use serde_json::Value;

use crate::scenario::{Fault, Scenario};
use crate::workload::{PARKED, Workload};

/// The longest wait until every delivery is acknowledged: one that died with its
/// host comes again after 30 s.
const SETTLED: Duration = Duration::from_secs(60);

/// By how much clocks may differ.
const TICK: Duration = Duration::from_millis(200);

/// How long a host may take to end.
const ENDING: Duration = Duration::from_secs(30);

/// A rule that did not hold.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    rule: &'static str,
    detail: String,
}

impl Violation {
    pub(crate) fn new(rule: &'static str, detail: String) -> Self {
        Self { rule, detail }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.detail)
    }
}

type Verdict = Result<(), Violation>;

/// Judges a scenario whose runs have ended, and ends its hosts.
pub(crate) fn judge(scenario: &Scenario, cluster: &mut Cluster) -> Verdict {
    everything_is_acknowledged(cluster)?;
    let journals = cluster.history().journals();
    let unreadable = cluster.history().unreadable();
    if !unreadable.is_empty() {
        return Err(Violation::new(
            "every record is readable",
            unreadable.join("; "),
        ));
    }
    each_event_has_its_run(scenario, &journals)?;
    let hits = cluster.counter.in_order();
    for journal in &journals {
        ended_legally(scenario, journal)?;
        effects_happened_once(journal, &hits)?;
        attempts_do_not_overlap(journal, &hits)?;
    }
    if scenario.workload == Workload::Lock {
        locked_runs_do_not_overlap(&hits)?;
    }
    waits_are_not_short(scenario, cluster, &journals)?;
    journals_fold(scenario, cluster, &journals)?;
    no_tools_are_left(cluster)?;
    locks_are_free(cluster)?;
    hosts_end(cluster)
}

// ---- deliveries ----------------------------------------------------------------------

fn everything_is_acknowledged(cluster: &Cluster) -> Verdict {
    let begun = Instant::now();
    loop {
        let waiting: Vec<String> = ["EVENTS.router", "RUNS.work-default"]
            .into_iter()
            .filter_map(|consumer| {
                let open = open_deliveries(cluster, consumer);
                (open != Some(0)).then(|| format!("{consumer} has {open:?}"))
            })
            .collect();
        if waiting.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > SETTLED {
            return Err(Violation::new(
                "every delivery is acknowledged",
                waiting.join(", "),
            ));
        }
        pause(Duration::from_millis(100));
    }
}

/// Deliveries of a consumer that are to come or to be acknowledged.
pub(crate) fn open_deliveries(cluster: &Cluster, consumer: &str) -> Option<u64> {
    let mut client = RawClient::connect(&cluster.server.url(), "", "");
    let answer = client.request(&format!("$JS.API.CONSUMER.INFO.{consumer}"), "");
    let info: Value = serde_json::from_slice(&answer.payload).ok()?;
    let count = |field: &str| info.get(field).and_then(Value::as_u64);
    Some(count("num_pending")? + count("num_ack_pending")?)
}

// ---- runs ----------------------------------------------------------------------------

fn each_event_has_its_run(scenario: &Scenario, journals: &[Journal]) -> Verdict {
    let mut runs: BTreeMap<&str, usize> = BTreeMap::new();
    for journal in journals {
        let Some(event) = journal.event() else {
            return Err(Violation::new(
                "a journal begins with its run's creation",
                journal.run.to_string(),
            ));
        };
        *runs.entry(event).or_default() += 1;
    }
    let expected: BTreeMap<String, usize> =
        scenario.event_ids().into_iter().map(|id| (id, 1)).collect();
    let found: BTreeMap<String, usize> = runs
        .into_iter()
        .map(|(event, count)| (event.to_owned(), count))
        .collect();
    if found == expected {
        return Ok(());
    }
    Err(Violation::new(
        "every event has exactly its run",
        format!("runs by event: {found:?}, expected {expected:?}"),
    ))
}

fn ended_legally(scenario: &Scenario, journal: &Journal) -> Verdict {
    let Some((outcome, reason)) = journal.end() else {
        return Err(Violation::new("every run ends", journal.last().to_owned()));
    };
    let ends = journal
        .entries()
        .filter(|entry| matches!(entry, Entry::Ended { .. }))
        .count();
    let is_legal = match outcome {
        RunOutcome::Succeeded => scenario.workload != Workload::Unstartable,
        RunOutcome::Interrupted => is_interruptible(scenario, journal),
        RunOutcome::Cancelled => journal.has("stop_requested"),
        RunOutcome::Failed => journal.has("step_unstartable"),
        // The runs of a lock queue here.
        RunOutcome::Skipped => false,
    };
    if is_legal && ends == 1 {
        return Ok(());
    }
    Err(Violation::new(
        "a run ends as its steps did",
        format!("{outcome}: {reason} (ends: {ends})"),
    ))
}

/// Whether a step that says nothing about interruption was interrupted.
fn is_interruptible(scenario: &Scenario, journal: &Journal) -> bool {
    let says_nothing = |step: &str| match scenario.workload {
        Workload::Unstartable | Workload::Short => scenario.on_interrupt.is_empty(),
        Workload::Retry => scenario.on_interrupt.is_empty() && step != "two",
        _ => scenario.on_interrupt.is_empty() && step != "two",
    };
    journal.attempts().iter().any(|attempt| {
        attempt.outcome == Some(AttemptOutcome::Interrupted) && says_nothing(&attempt.step)
    })
}

// ---- effects -------------------------------------------------------------------------

/// A finished step's effect happened once; one whose end is unknown happened at
/// most once an attempt.
fn effects_happened_once(journal: &Journal, hits: &[String]) -> Verdict {
    let event = journal.event().unwrap_or_default();
    let attempts = journal.attempts();
    let mut effects: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for hit in hits {
        let mut parts = hit.trim_start_matches('/').split('/');
        if parts.next() == Some("effect")
            && parts.next() == Some(event)
            && let (Some(step), Some(token)) = (parts.next(), parts.next())
        {
            effects.entry(step).or_default().push(token);
        }
    }
    let steps: BTreeSet<&str> = attempts
        .iter()
        .map(|attempt| attempt.step.as_str())
        .chain(effects.keys().copied())
        .collect();
    for step in steps {
        let tokens = effects.get(step).cloned().unwrap_or_default();
        let different: BTreeSet<_> = tokens.iter().collect();
        let of_step: Vec<_> = attempts.iter().filter(|a| a.step == step).collect();
        let finished = |outcome| {
            matches!(
                outcome,
                AttemptOutcome::Succeeded | AttemptOutcome::Failed { .. }
            )
        };
        let least = of_step
            .iter()
            .filter(|a| a.outcome.is_some_and(finished))
            .count();
        if different.len() != tokens.len() || tokens.len() < least || tokens.len() > of_step.len() {
            return Err(Violation::new(
                "an effect happens once an attempt, and never more",
                format!(
                    "step {step} of event {event}: {} effects of {} processes, {} attempts of which {least} finished",
                    tokens.len(),
                    different.len(),
                    of_step.len()
                ),
            ));
        }
    }
    Ok(())
}

/// No process of an earlier attempt does anything after one of a later attempt
/// has begun.
fn attempts_do_not_overlap(journal: &Journal, hits: &[String]) -> Verdict {
    let event = journal.event().unwrap_or_default();
    let mut over: BTreeSet<&str> = BTreeSet::new();
    let mut current: Option<&str> = None;
    for hit in hits {
        let parts: Vec<&str> = hit.trim_start_matches('/').split('/').collect();
        let (Some(kind), Some(of), Some(token)) = (parts.first(), parts.get(1), parts.last())
        else {
            continue;
        };
        if *of != event || !["effect", "open"].contains(kind) || current == Some(token) {
            continue;
        }
        if over.contains(token) {
            return Err(Violation::new(
                "two attempts of one run never act at the same time",
                format!("event {event}: process {token} called {hit} after a later one had begun"),
            ));
        }
        over.extend(current.replace(token));
    }
    Ok(())
}

/// Runs that need the same lock act one after the other.
fn locked_runs_do_not_overlap(hits: &[String]) -> Verdict {
    let mut over: BTreeSet<&str> = BTreeSet::new();
    let mut current: Option<&str> = None;
    let events = hits
        .iter()
        .filter_map(|hit| hit.strip_prefix("/effect/")?.split('/').next());
    for event in events {
        if current == Some(event) {
            continue;
        }
        if over.contains(event) {
            return Err(Violation::new(
                "one run at a time has a lock",
                format!("the run of event {event} acted after another had begun"),
            ));
        }
        over.extend(current.replace(event));
    }
    Ok(())
}

/// What waits for a time waits so long, whatever happens to clocks and hosts
/// meanwhile. How long is decided by the clock of the host that begins to wait.
fn waits_are_not_short(scenario: &Scenario, cluster: &Cluster, journals: &[Journal]) -> Verdict {
    let steps_a_clock = matches!(scenario.cell.fault, Fault::ClockForward | Fault::ClockBack);
    let waits = ["wait_started", "parked", "woken", "wait_ended", "ended"];
    if steps_a_clock && !waits.contains(&scenario.cell.boundary.entry) {
        return Ok(());
    }
    let (before, after) = match scenario.workload {
        Workload::Wait => ("one", "three"),
        Workload::Later => ("two", "two"),
        _ => return Ok(()),
    };
    for journal in journals {
        let event = journal.event().unwrap_or_default();
        // An interrupted attempt is tried again at once.
        let is_interrupted = |a: &Attempt| a.outcome == Some(AttemptOutcome::Interrupted);
        if journal.attempts().iter().any(is_interrupted) {
            continue;
        }
        let times = |step: &str| cluster.counter.times(&format!("effect/{event}/{step}/"));
        let (Some(begun), Some(ended)) =
            (times(before).first().copied(), times(after).last().copied())
        else {
            continue;
        };
        let waited = ended.saturating_duration_since(begun);
        if waited + TICK < PARKED {
            return Err(Violation::new(
                "a wait is as long as it says",
                format!("event {event} waited {waited:?}, not {PARKED:?}"),
            ));
        }
    }
    Ok(())
}

// ---- the hosts' view -----------------------------------------------------------------

fn journals_fold(scenario: &Scenario, cluster: &Cluster, journals: &[Journal]) -> Verdict {
    for member in cluster.members.iter().filter(|m| m.host.is_up()) {
        let begun = Instant::now();
        loop {
            let runs = member.host.try_runs().unwrap_or_default();
            let is_ended = |run: &Value| run.get("is_ended") == Some(&Value::Bool(true));
            if let Some(run) = runs
                .iter()
                .find(|run| run.get("problem").is_some_and(|p| !p.is_null()))
            {
                return Err(Violation::new(
                    "every journal folds",
                    format!("host {}: {run}", member.name),
                ));
            }
            let has_all = journals.iter().all(|journal| {
                let id = journal.run.to_string();
                let is_it = |run: &&Value| run.get("id").and_then(Value::as_str) == Some(&id);
                match runs.iter().find(is_it) {
                    Some(run) => is_ended(run),
                    // Journals of ended runs go first when the stream is full.
                    None => scenario.cell.fault == Fault::DiskFull,
                }
            });
            if has_all {
                break;
            }
            if begun.elapsed() > ENDING {
                return Err(Violation::new(
                    "every host knows every run's end",
                    format!("host {}: {runs:?}", member.name),
                ));
            }
            pause(Duration::from_millis(50));
        }
    }
    Ok(())
}

/// No tool runs when all runs have ended.
fn no_tools_are_left(cluster: &Cluster) -> Verdict {
    for member in &cluster.members {
        let begun = Instant::now();
        loop {
            let mut left = mentioning(&member.host.folder());
            left.retain(|process| process.command.contains("bwrap"));
            if left.is_empty() {
                break;
            }
            if begun.elapsed() > ENDING {
                return Err(Violation::new("no tool is left", format!("{left:#?}")));
            }
            pause(Duration::from_millis(50));
        }
    }
    Ok(())
}

/// Nobody has a lock or waits for one.
fn locks_are_free(cluster: &Cluster) -> Verdict {
    let Some(member) = cluster.members.iter().find(|member| member.host.is_up()) else {
        return Ok(());
    };
    let begun = Instant::now();
    loop {
        let output = member.host.cli(&["locks", "list", "--output", "json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let list: Value = serde_json::from_str(&text).unwrap_or_default();
        if output.status.success() && !is_in_use(&list) {
            return Ok(());
        }
        if begun.elapsed() > ENDING {
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Violation::new("locks are free", format!("{text}{error}")));
        }
        pause(Duration::from_millis(50));
    }
}

/// Whether some lock has a holder or somebody who waits.
fn is_in_use(list: &Value) -> bool {
    match list {
        Value::Array(items) => items.iter().any(is_in_use),
        Value::Object(fields) => fields.iter().any(|(name, value)| {
            let is_people = ["holders", "waiters"].contains(&name.as_str());
            let is_somebody = value.as_array().is_some_and(|all| !all.is_empty());
            is_people && is_somebody || is_in_use(value)
        }),
        _ => false,
    }
}

/// Every host ends when it is told to, and leaves no process behind.
fn hosts_end(cluster: &mut Cluster) -> Verdict {
    for member in &mut cluster.members {
        if !member.host.is_up() {
            continue;
        }
        let status = member.host.stop();
        if status != 0 {
            return Err(Violation::new(
                "a host ends in good order",
                format!("host {} ended with status {status}", member.name),
            ));
        }
    }
    for member in &cluster.members {
        member.host.nothing_is_left();
    }
    Ok(())
}
