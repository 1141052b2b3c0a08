//! Stages and steps.

use std::time::Duration;

use infraflow_core::id::{StageName, StepId};
use infraflow_core::limits;
use infraflow_core::outcome::ATTEMPT_OUTCOMES;
use infraflow_core::plugin::PluginRef;
use infraflow_core::retry::{Backoff, RetryPolicy};
use infraflow_core::workflow::{OnInterrupt, Wait};

use super::{some, timeout};
use crate::diagnostic::ProblemKind;
use crate::keys;
use crate::read::{Fields, Read, Refused, Value};

pub(crate) struct RawStage<'d> {
    pub(crate) name_value: Option<Value<'d>>,
    pub(crate) name: Read<StageName>,
    pub(crate) steps: Read<Vec<Read<RawStep<'d>>>>,
}

pub(crate) struct RawStep<'d> {
    /// What stands under `id`, also when it is no valid id.
    pub(crate) id_value: Option<Value<'d>>,
    pub(crate) id: Read<StepId>,
    pub(crate) label: Read<Option<String>>,
    pub(crate) when: Option<Value<'d>>,
    pub(crate) timeout: Read<Duration>,
    pub(crate) retry: Read<RetryPolicy>,
    pub(crate) on_interrupt: Read<Option<OnInterrupt>>,
    pub(crate) action: RawAction<'d>,
}

/// What a step does.
pub(crate) enum RawAction<'d> {
    Plugin {
        uses: Read<PluginRef>,
        with: Option<Value<'d>>,
    },
    Wait(Read<RawWait<'d>>),
}

/// How long a `wait` takes.
pub(crate) enum RawWait<'d> {
    For(Duration),
    Until(Value<'d>),
}

pub(super) fn stage(value: Value<'_>) -> Read<RawStage<'_>> {
    let fields = value.fields(&keys::STAGE)?;
    Ok(RawStage {
        name_value: fields.get("name"),
        name: fields.required("name", Value::parse),
        steps: fields.required("steps", |steps| {
            Ok(some(steps)?.into_iter().map(step).collect())
        }),
    })
}

fn step(value: Value<'_>) -> Read<RawStep<'_>> {
    let fields = value.fields(&keys::STEP)?;
    let action = action(&fields);
    let attempts = match action {
        RawAction::Plugin { .. } => Attempts::read(&fields),
        RawAction::Wait(_) => Attempts::refused_for_wait(&fields),
    };
    Ok(RawStep {
        id_value: fields.get("id"),
        id: fields.required("id", Value::parse),
        label: fields.optional("name", Value::owned_text),
        when: fields.get("when"),
        timeout: attempts.timeout,
        retry: attempts.retry,
        on_interrupt: attempts.on_interrupt,
        action,
    })
}

fn action<'d>(fields: &Fields<'d>) -> RawAction<'d> {
    let with = fields.get("with");
    if let (None, Some(value)) = (fields.get("uses"), fields.get("wait")) {
        let wait = wait(value);
        let refused = with.map(|with| {
            let problem = with
                .problem(ProblemKind::Invalid, "a `wait` has no `with`")
                .hint("`with` is the input of a plugin");
            with.report(problem)
        });
        return RawAction::Wait(refused.map_or(wait, Err));
    }
    RawAction::Plugin {
        uses: uses(fields),
        with,
    }
}

fn uses(fields: &Fields<'_>) -> Read<PluginRef> {
    let uses = fields.optional("uses", Value::parse);
    if let Some(value) = fields.get("wait") {
        let problem = value
            .problem(ProblemKind::Invalid, "the step has `uses` and `wait`")
            .expected("expected one of them")
            .hint("make two steps of it");
        return Err(value.report(problem));
    }
    match (uses?, fields.refused_later(keys::STEP_ACTIONS)) {
        (Some(uses), _) => Ok(uses),
        // It does something else that is not built: no need to miss `uses`.
        (None, Some(refused)) => Err(refused),
        (None, None) => {
            let hint = "say what the step does: `uses` calls a plugin, `wait` waits";
            Err(fields.missing("uses", Some(hint)))
        }
    }
}

fn wait(value: Value<'_>) -> Read<RawWait<'_>> {
    if value.node().as_map().is_none() && !value.is_null() {
        return Err(not_a_wait(value));
    }
    let fields = value.fields(&keys::WAIT)?;
    let time = fields.optional("for", |time| {
        time.duration(Duration::from_millis(1)..=limits::WAIT_MAX)
    });
    let until = fields.optional("until", |until| until.text().map(|_| until));
    if fields.get("for").is_some() && fields.get("until").is_some() {
        let message = "the `wait` has `for` and `until`";
        let problem = value.problem(ProblemKind::Invalid, message);
        return Err(value.report(problem.expected("expected one of them")));
    }
    match (time?, until?, fields.refused_later(&["event"])) {
        (_, _, Some(refused)) => Err(refused),
        (Some(time), _, None) => Ok(RawWait::For(time)),
        (None, Some(until), None) => Ok(RawWait::Until(until)),
        (None, None, None) => {
            let problem = value
                .problem(ProblemKind::Missing, "the `wait` does not say how long")
                .expected("expected `for` or `until`")
                .hint("for example `wait: { for: 10m }`");
            Err(value.report(problem))
        }
    }
}

/// Refuses what people write for a map of one key.
fn not_a_wait(value: Value<'_>) -> Refused {
    let is_moment = |text| Wait::moment(text).is_ok();
    let key = match value.node().as_text().is_some_and(is_moment) {
        true => "until",
        false => "for",
    };
    let message = format!("`wait` is {}", value.node().describe());
    let problem = value
        .problem(ProblemKind::WrongType, message)
        .expected("expected a map with `for` or `until`")
        .hint(format!("write `wait: {{ {key}: ... }}`"));
    value.report(problem)
}

/// What a step says about its attempts.
struct Attempts {
    timeout: Read<Duration>,
    retry: Read<RetryPolicy>,
    on_interrupt: Read<Option<OnInterrupt>>,
}

impl Attempts {
    fn read(fields: &Fields<'_>) -> Self {
        Self {
            timeout: fields.or("timeout", limits::STEP_TIMEOUT, timeout),
            retry: fields.or("retry", RetryPolicy::default(), retry),
            on_interrupt: fields.optional("on_interrupt", on_interrupt),
        }
    }

    /// A `wait` has no attempts: what is said about them is refused.
    fn refused_for_wait(fields: &Fields<'_>) -> Self {
        Self {
            timeout: no_attempts(
                fields,
                "timeout",
                limits::STEP_TIMEOUT,
                "it ends when its time has come, and the run's `timeout` stands still meanwhile",
            ),
            retry: no_attempts(
                fields,
                "retry",
                RetryPolicy::default(),
                "nothing runs that could fail and be tried again",
            ),
            on_interrupt: no_attempts(
                fields,
                "on_interrupt",
                None,
                "no host runs it, so none can interrupt it",
            ),
        }
    }
}

/// Refuses a key of a `wait` that is about attempts; `nothing` is what stands
/// for a key that is not there.
fn no_attempts<T>(fields: &Fields<'_>, key: &'static str, nothing: T, why: &str) -> Read<T> {
    let Some(value) = fields.get(key) else {
        return Ok(nothing);
    };
    let message = format!("a `wait` has no `{key}`");
    let problem = value.problem(ProblemKind::Invalid, message);
    Err(value.report(problem.hint(why)))
}

fn on_interrupt(value: Value<'_>) -> Read<OnInterrupt> {
    value.choice(&[
        ("retry", OnInterrupt::Retry),
        ("fail", OnInterrupt::Fail),
        ("ask", OnInterrupt::Ask),
    ])
}

fn retry(value: Value<'_>) -> Read<RetryPolicy> {
    let fields = value.fields(&keys::RETRY)?;
    let default = RetryPolicy::default();
    let delays = Duration::ZERO..=limits::RETRY_DELAY;
    let attempts = fields.required("attempts", |v| v.whole(1..=limits::RETRY_ATTEMPTS));
    let delay = fields.or("delay", default.delay, |v| v.duration(delays.clone()));
    let backoff = fields.or("backoff", default.backoff, |v| {
        v.choice(&[
            ("constant", Backoff::Constant),
            ("exponential", Backoff::Exponential),
        ])
    });
    let max_delay = fields.optional("max_delay", |v| v.duration(delays.clone()));
    let jitter = fields.or("jitter", default.jitter, |v| v.decimal(0.0..=1.0));
    let on = fields.optional("on", |v| v.one_or_each(retried_outcome));
    let delay = delay?;
    let max_delay = match max_delay? {
        Some(longest) if longest < delay => {
            let value = fields.get("max_delay").unwrap_or(value);
            return Err(value.refuse("`max_delay` is shorter than `delay`"));
        }
        // A long delay that is asked for is not cut by a default.
        longest => longest.unwrap_or(default.max_delay.max(delay)),
    };
    Ok(RetryPolicy {
        attempts: attempts?,
        delay,
        backoff: backoff?,
        max_delay,
        jitter: jitter?,
        on: on?,
    })
}

/// The name of an outcome that an attempt may be tried again after.
fn retried_outcome(value: Value<'_>) -> Read<String> {
    let words: Vec<(&str, &str)> = ATTEMPT_OUTCOMES
        .iter()
        .filter(|name| !matches!(**name, "succeeded" | "cancelled" | "interrupted"))
        .map(|name| (*name, *name))
        .collect();
    if value.node().as_text() == Some("interrupted") {
        let problem = value
            .problem(
                ProblemKind::Invalid,
                "`retry` does not count interrupted attempts",
            )
            .hint("`on_interrupt` says what happens after one");
        return Err(value.report(problem));
    }
    value.choice(&words).map(str::to_owned)
}
