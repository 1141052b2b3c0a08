//! The run state machine: tables of what follows, and properties of every
//! sequence of inputs.

mod cells;
mod clock;
mod invariants;
mod locks;
mod origin;
mod properties;
mod random;
mod steps;
mod stop;
mod takeover;
mod waiting;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};
use serde_json::json;

use super::decide::{AttemptReport, Request, Then};
use super::*;
use crate::event::Actor;
use crate::event::tests::push;
use crate::id::{
    Digest, EnvironmentName, HostName, Incarnation, LockName, PoolName, ProjectName, RunId, StepId,
    UserName,
};
use crate::lock::{LockAnswer, LockSpec};
use crate::outcome::AttemptOutcome;
use crate::plugin::ResolvedPlugin;
use crate::ports::{Sequence, Trust};
use crate::template::{Expr, Template};
use crate::workflow::samples::{SampleWorkflow, step};
use crate::workflow::{Action, OnConflict, OnInterrupt, Step, Wait, Workflow};
use crate::{Json, JsonMap, Timestamp};

const START: &str = "2026-11-21T12:00:00Z";
const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

const OK: AttemptOutcome = AttemptOutcome::Succeeded;
const BAD: AttemptOutcome = AttemptOutcome::Failed {
    exit_code: Some(2),
    transient: false,
};
const FLAKY: AttemptOutcome = AttemptOutcome::Failed {
    exit_code: Some(4),
    transient: true,
};

/// So many seconds after the run was created.
fn at(seconds: u64) -> Timestamp {
    START.parse::<Timestamp>().unwrap() + Duration::from_secs(seconds)
}

fn ann() -> Actor {
    Actor::User(UserName::new("ann").unwrap())
}

fn id(step: &str) -> StepId {
    StepId::new(step).unwrap()
}

fn lock(name: &str) -> LockName {
    LockName::new(name).unwrap()
}

fn run_id(n: u8) -> RunId {
    format!("{n:0>26}").parse().unwrap()
}

/// A run to be: what its workflow and its first entry say.
#[derive(Debug, Clone)]
struct Sample {
    steps: Vec<Step>,
    locks: Vec<&'static str>,
    on_conflict: OnConflict,
    origin: Option<Origin>,
    timeout: Duration,
}

impl Sample {
    fn of(steps: Vec<Step>) -> Self {
        Self {
            steps,
            locks: vec![],
            on_conflict: OnConflict::Queue,
            origin: None,
            timeout: crate::limits::RUN_TIMEOUT,
        }
    }

    fn run(self) -> Run {
        let mut workflow = SampleWorkflow {
            steps: self.steps,
            ..SampleWorkflow::named("deploy")
        }
        .build();
        workflow.timeout = self.timeout;
        let mut birth = birth_of(
            &workflow,
            &json!({ "env": "prod", "soon": at(60).to_string() }),
        );
        birth.on_conflict = self.on_conflict;
        birth.origin = self.origin.map(Box::new);
        birth.locks = self
            .locks
            .into_iter()
            .map(|name| LockSpec {
                name: lock(name),
                max: 1,
            })
            .collect();
        Run::new(run_id(1), birth, Arc::new(workflow), at(0))
    }
}

fn birth_of(workflow: &Workflow, inputs: &Json) -> Box<Birth> {
    let plugins: BTreeMap<_, _> = workflow
        .plugins()
        .into_iter()
        .map(|plugin| {
            let resolved = ResolvedPlugin {
                digest: Digest::of(plugin.name.as_str().as_bytes()),
                version: "1.0.0".parse().unwrap(),
                idempotent: plugin.name.as_str() == "checkout",
            };
            (plugin, resolved)
        })
        .collect();
    Box::new(Birth {
        workflow: workflow.name.clone(),
        workflow_digest: workflow.digest,
        workflow_revision: 1,
        plugins,
        event: BirthEvent::new(&push("main"), Sequence(7)),
        trigger: 0,
        inputs: inputs.as_object().unwrap().clone(),
        trust: Trust::Untrusted,
        project: ProjectName::default_project(),
        environment: EnvironmentName::default_environment(),
        pool: PoolName::default_pool(),
        locks: vec![],
        on_conflict: OnConflict::Queue,
        order: Sequence(7),
        origin: None,
    })
}

fn run_of(steps: Vec<Step>) -> Run {
    Sample::of(steps).run()
}

fn two_steps() -> Run {
    run_of(vec![step("a", "command@1"), step("b", "command@1")])
}

/// Step `a`, with so many attempts, 5 seconds apart.
fn retrying(attempts: u32) -> Step {
    let mut step = step("a", "command@1");
    step.retry.attempts = attempts;
    step
}

/// Step `a`, with three attempts so far apart.
fn retrying_after(delay: Duration) -> Step {
    let mut step = retrying(3);
    step.retry.delay = delay;
    step.retry.max_delay = delay;
    step
}

/// A step with an input.
fn with(id: &str, with: Json) -> Step {
    Step {
        action: Action::Plugin {
            uses: "command@1".parse().unwrap(),
            with: Template::compile(&with).unwrap(),
        },
        ..step(id, "command@1")
    }
}

fn wait_step(id: &str, wait: Wait) -> Step {
    Step {
        action: Action::Wait(wait),
        ..step(id, "command@1")
    }
}

fn wait_for(id: &str, seconds: u64) -> Step {
    wait_step(id, Wait::For(Duration::from_secs(seconds)))
}

fn host(life: u64) -> Input {
    Input::Claim {
        host: HostName::new("h1").unwrap(),
        incarnation: Incarnation(life),
    }
}

fn ended(step: &str, attempt: u32, outcome: AttemptOutcome) -> Input {
    Input::AttemptEnded {
        step: id(step),
        attempt,
        report: report(outcome),
        then: Then::GoOn,
    }
}

fn report(outcome: AttemptOutcome) -> AttemptReport {
    AttemptReport {
        outcome,
        message: if outcome == AttemptOutcome::Succeeded {
            String::new()
        } else {
            "why".into()
        },
        outputs: (outcome == AttemptOutcome::Succeeded)
            .then(|| json!({ "changes": 2 }).as_object().unwrap().clone()),
        not_granted: vec![],
        leaked_handles: false,
        log: LogFacts::default(),
        workspace: None,
    }
}

fn answered(name: &str, answer: LockAnswer) -> Input {
    Input::LockAnswered {
        lock: lock(name),
        answer,
    }
}

fn release() -> Input {
    Input::Release {
        reason: "shutdown".into(),
    }
}

fn stop() -> Input {
    Input::Stop {
        kind: StopKind::Cancel,
        actor: ann(),
    }
}

fn cancel() -> Request {
    Request::Cancel { actor: ann() }
}

fn answer(step: &str, answer: Answer) -> Request {
    Request::Answer {
        step: id(step),
        answer,
        actor: ann(),
    }
}

/// An input or a request: whatever a run can be told.
#[derive(Debug, Clone)]
enum Told {
    Input(Input),
    Request(Request),
}

impl From<Input> for Told {
    fn from(input: Input) -> Self {
        Self::Input(input)
    }
}

impl From<Request> for Told {
    fn from(request: Request) -> Self {
        Self::Request(request)
    }
}

fn tell(run: &Run, told: impl Into<Told>, now: Timestamp) -> Result<Decision, Refusal> {
    match told.into() {
        Told::Input(input) => run.decide(input, now),
        Told::Request(request) => run.request(request, now),
    }
}

/// The run after an input that it takes.
fn after(run: &Run, told: impl Into<Told>, seconds: u64) -> Run {
    tell(run, told, at(seconds)).unwrap().next
}

/// A run whose step `a` was interrupted, and that asks about it since second 2.
fn waiting_for_an_answer() -> Run {
    let run = run_of(vec![
        Step {
            on_interrupt: Some(OnInterrupt::Ask),
            ..step("a", "command@1")
        },
        step("b", "command@1"),
    ]);
    let run = after(&run, host(1), 1);
    after(&run, host(2), 2)
}

/// Feeds inputs, a second apart, and writes down what each leads to.
fn transcript(run: Run, inputs: Vec<Input>) -> String {
    let seconds = 1..;
    let told = seconds.zip(inputs.into_iter().map(Told::Input)).collect();
    history(run, told)
}

/// Tells a run things, each at a second, and writes down what each leads to.
fn history(mut run: Run, told: Vec<(u64, Told)>) -> String {
    let mut text = String::new();
    for (second, told) in told {
        match tell(&run, told, at(second)) {
            Err(refusal) => text.push_str(&format!("refused: {refusal}\n")),
            Ok(decision) => {
                text.push_str(&format!("{}\n", written(&decision)));
                run = decision.next;
            }
        }
    }
    text
}

/// Whether a run is over.
fn is_ended(run: &Run) -> bool {
    matches!(run.phase(), Phase::Ended { .. })
}

/// What a decision does, in words.
fn written(decision: &Decision) -> String {
    let mut words: Vec<String> = decision.entries.iter().map(entry_word).collect();
    if let Some(pool) = &decision.wakes {
        words.push(format!("wakes {pool}"));
    }
    words.extend(decision.effects.iter().map(effect_word));
    if words.is_empty() {
        "nothing".to_owned()
    } else {
        words.join(", ")
    }
}

fn effect_word(effect: &Effect) -> String {
    match effect {
        Effect::Start(start) => format!("-> start {}#{}", start.step, start.attempt),
        Effect::Stop(reason) => format!("-> stop {reason:?}"),
        Effect::LookAt(due) => format!("-> look {}", moment(*due)),
        Effect::AskLock(lock) => format!("-> ask for lock {}", lock.name),
    }
}

/// A time, counted from the run's creation.
fn moment(time: Timestamp) -> String {
    let seconds = time.duration_since(at(0)).as_secs();
    format!("at {seconds}s")
}

fn entry_word(entry: &Entry) -> String {
    match entry {
        Entry::Claimed(claim) => format!("claimed {}", claim.epoch),
        Entry::AttemptStarted { step, attempt } => format!("started {step}#{attempt}"),
        Entry::AttemptEnded(end) => {
            let next = match end.next {
                AttemptNext::StepEnds => "",
                AttemptNext::RetryAt(_) => ", again",
                AttemptNext::Ask => ", ask",
            };
            let outcome = end.outcome.name();
            format!("ended {}#{} ({outcome}{next})", end.step, end.attempt)
        }
        Entry::StepSkipped { step } => format!("skipped {step}"),
        Entry::StepUnstartable { step, message } => format!("unstartable {step} ({message})"),
        Entry::WaitStarted { step, until } => format!("wait {step} {}", moment(*until)),
        Entry::WaitEnded { step } => format!("waited {step}"),
        Entry::LockAcquired { lock, token } => format!("lock {lock} ({token})"),
        Entry::StopRequested { kind, actor } => format!("stop {kind:?} by {actor}"),
        Entry::Parked(parked) => {
            format!(
                "parked for {}, until {}",
                parked.parking,
                moment(parked.until)
            )
        }
        Entry::Woken { cause } => format!("woken by {}", cause.name()),
        Entry::Answered { step, answer, .. } => format!("answered {step} {}", answer.name()),
        Entry::Ended { outcome, reason } => format!("run {outcome} ({reason})"),
        Entry::FilesStored { place } => format!("files stored by {}", place.host),
        Entry::Created(_) | Entry::Released { .. } => entry.name().to_owned(),
    }
}

/// The files of a run, on the host that claims in these tests.
fn files(stored: bool) -> WorkspacePlace {
    WorkspacePlace {
        host: HostName::new("h1").unwrap(),
        stored: stored.then(|| Digest::of(b"files")),
    }
}

fn files_stored() -> Request {
    Request::FilesStored { place: files(true) }
}

fn check(run: Run, inputs: Vec<Input>, expected: &Expect) {
    expected.assert_eq(&transcript(run, inputs));
}
