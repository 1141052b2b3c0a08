//! What a workflow's document says: every part read by itself, nothing joined.
//!
//! A part that was refused stays `Err` here, so that [`crate::resolve`] still
//! finds the problems of the others. Keys, types, ranges and words are checked
//! here; names that refer to something are not.

mod locks;
mod step;

use std::time::Duration;

use infraflow_core::event::TRIGGER;
use infraflow_core::id::{EnvironmentName, PoolName, ProjectName, WorkflowName};
use infraflow_core::limits;
use infraflow_core::workflow::{Filter, Patterns, SubjectPattern};

use crate::diagnostic::{ProblemKind, listed};
use crate::keys;
use crate::read::{Fields, Read, Refused, Value, all};

pub(crate) use locks::RawConcurrency;
pub(crate) use step::{RawAction, RawStage, RawStep, RawWait};

/// The version of the language.
const VERSION: &str = "v1";

/// A workflow as its document has it.
pub(crate) struct RawWorkflow<'d> {
    /// Whether it names the version of its language.
    pub(crate) version: Read<()>,
    pub(crate) name: Read<WorkflowName>,
    pub(crate) description: Read<String>,
    pub(crate) triggers: Read<Vec<Read<RawTrigger<'d>>>>,
    pub(crate) inputs: Option<Value<'d>>,
    pub(crate) vars: Option<Value<'d>>,
    pub(crate) lock: Option<Value<'d>>,
    /// What stands under `lock`, each.
    pub(crate) locks: Read<Vec<Value<'d>>>,
    pub(crate) concurrency: Read<RawConcurrency<'d>>,
    pub(crate) timeout: Read<Duration>,
    pub(crate) pool: Read<PoolName>,
    pub(crate) project: Read<ProjectName>,
    pub(crate) environment: Read<EnvironmentName>,
    pub(crate) stages_value: Option<Value<'d>>,
    pub(crate) stages: Read<Vec<Read<RawStage<'d>>>>,
}

pub(crate) struct RawTrigger<'d> {
    /// The trigger as a whole, for problems with what it does not say.
    pub(crate) value: Value<'d>,
    pub(crate) filter: Read<Filter>,
    pub(crate) inputs: Option<Value<'d>>,
}

/// Reads the parts of a workflow.
///
/// # Errors
/// When it is no workflow of a version that is known: then nothing in it can be
/// understood.
pub(crate) fn workflow(value: Value<'_>) -> Read<RawWorkflow<'_>> {
    if let Some(version) = value.get("infraflow")
        && version.node().as_text() != Some(VERSION)
    {
        return Err(version.mismatched("`v1`, the version that this host knows"));
    }
    let fields = value.fields(&keys::WORKFLOW)?;
    let environment = EnvironmentName::default_environment();
    Ok(RawWorkflow {
        version: match fields.get("infraflow") {
            Some(_) => Ok(()),
            None => Err(fields.missing("infraflow", Some("begin with `infraflow: v1`"))),
        },
        name: fields.required("name", Value::parse),
        description: fields.or("description", String::new(), Value::owned_text),
        triggers: triggers(&fields),
        inputs: fields.get("inputs"),
        vars: fields.get("vars"),
        lock: fields.get("lock"),
        locks: fields.or("lock", vec![], one_or_some),
        concurrency: fields.or("concurrency", RawConcurrency::default(), locks::concurrency),
        timeout: fields.or("timeout", limits::RUN_TIMEOUT, timeout),
        pool: fields.or("runs_on", PoolName::default_pool(), Value::parse),
        project: fields.or("project", ProjectName::default_project(), Value::parse),
        environment: fields.or("environment", environment, Value::parse),
        stages_value: fields.get("stages"),
        stages: fields.required("stages", |stages| {
            Ok(some(stages)?.into_iter().map(step::stage).collect())
        }),
    })
}

// ---- triggers -----------------------------------------------------------------

fn triggers<'d>(fields: &Fields<'d>) -> Read<Vec<Read<RawTrigger<'d>>>> {
    let Some(on) = fields.get("on") else {
        let hint = "`on: manual` is for a workflow that people start";
        return Err(fields.missing("on", Some(hint)));
    };
    let items = one_or_some(on)?;
    Ok(items.into_iter().flat_map(triggers_of).collect())
}

/// The triggers of one item: a word, or a map from kinds to what they want.
fn triggers_of(item: Value<'_>) -> Vec<Read<RawTrigger<'_>>> {
    if item.node().as_text().is_some() {
        return vec![trigger_word(item)];
    }
    if item.node().as_map().is_none_or(<[_]>::is_empty) {
        let known = listed(keys::TRIGGER.known().iter().copied());
        return vec![Err(item.wrong_type(&format!("a trigger: {known}")))];
    }
    let fields = match item.fields(&keys::TRIGGER) {
        Ok(fields) => fields,
        Err(refused) => return vec![Err(refused)],
    };
    let kinds = keys::TRIGGER.known().iter();
    kinds
        .filter_map(|kind| fields.get(kind).map(|value| trigger(kind, value)))
        .collect()
}

/// A trigger by its word alone: it takes every event of its kind.
fn trigger_word(item: Value<'_>) -> Read<RawTrigger<'_>> {
    keys::TRIGGER.refuse_later(item)?;
    // The same words as the keys of `keys::TRIGGER`.
    let filter = item.choice(&[
        ("git.push", Some(any_push())),
        ("git.tag", Some(any_tag())),
        ("manual", Some(Filter::Manual)),
        ("event", None),
    ])?;
    Ok(RawTrigger {
        value: item,
        filter: filter.ok_or_else(|| refuse_any_event(item)),
        inputs: None,
    })
}

fn trigger<'d>(kind: &str, value: Value<'d>) -> Read<RawTrigger<'d>> {
    match kind {
        "git.push" => git_push(value),
        "git.tag" => git_tag(value),
        "manual" => manual(value),
        _ => event(value),
    }
}

fn any_push() -> Filter {
    Filter::GitPush {
        sources: Patterns::any(),
        branches: Patterns::any(),
        paths: Patterns::any(),
    }
}

fn any_tag() -> Filter {
    Filter::GitTag {
        sources: Patterns::any(),
        tags: Patterns::any(),
    }
}

fn git_push(value: Value<'_>) -> Read<RawTrigger<'_>> {
    let fields = value.fields(&keys::GIT_PUSH)?;
    let sources = fields.or("source", Patterns::any(), patterns);
    let branches = fields.or("branches", Patterns::any(), ref_patterns);
    let paths = fields.or("paths", Patterns::any(), patterns);
    let filter = || {
        Ok(Filter::GitPush {
            sources: sources?,
            branches: branches?,
            paths: paths?,
        })
    };
    Ok(RawTrigger {
        value,
        filter: filter(),
        inputs: fields.get("inputs"),
    })
}

fn git_tag(value: Value<'_>) -> Read<RawTrigger<'_>> {
    let fields = value.fields(&keys::GIT_TAG)?;
    let sources = fields.or("source", Patterns::any(), patterns);
    let tags = fields.or("tags", Patterns::any(), ref_patterns);
    let filter = || {
        Ok(Filter::GitTag {
            sources: sources?,
            tags: tags?,
        })
    };
    Ok(RawTrigger {
        value,
        filter: filter(),
        inputs: fields.get("inputs"),
    })
}

fn manual(value: Value<'_>) -> Read<RawTrigger<'_>> {
    let fields = value.fields(&keys::MANUAL)?;
    Ok(RawTrigger {
        value,
        filter: Ok(Filter::Manual),
        inputs: fields.get("inputs"),
    })
}

/// An event trigger: a map, or its types alone.
fn event(value: Value<'_>) -> Read<RawTrigger<'_>> {
    if value.node().as_map().is_none() && !value.is_null() {
        let filter = type_patterns(value).map(|types| Filter::Event {
            types,
            subject: None,
        });
        return Ok(RawTrigger {
            value,
            filter,
            inputs: None,
        });
    }
    let fields = value.fields(&keys::EVENT)?;
    let types = fields.optional("type", type_patterns);
    let subject = fields.optional("subject", subject);
    let filter = || match (types?, subject?) {
        (None, None) => Err(refuse_any_event(value)),
        (types, subject) => Ok(Filter::Event {
            types: types.unwrap_or_default(),
            subject,
        }),
    };
    Ok(RawTrigger {
        value,
        filter: filter(),
        inputs: fields.get("inputs"),
    })
}

fn refuse_any_event(value: Value<'_>) -> Refused {
    let message = "this trigger would take every event";
    let problem = value.problem(ProblemKind::Missing, message);
    let hint = "say which: `event: shop.ready`, or with `type` or `subject`";
    value.report(problem.expected("expected `type` or `subject`").hint(hint))
}

fn subject(value: Value<'_>) -> Read<SubjectPattern> {
    let text = value.text()?;
    let pattern = value.accept(SubjectPattern::new(text))?;
    let mut tokens = text.split('.');
    let fits = |token: Option<&str>, name| match token {
        Some(">") => Fit::Whole,
        Some(token) if token == "*" || token == name => Fit::Token,
        _ => Fit::No,
    };
    let fits = match fits(tokens.next(), "infraflow") {
        Fit::Token => fits(tokens.next(), "event"),
        first => first,
    };
    if let Fit::No = fits {
        let message = format!("no event arrives on `{text}`");
        let problem = value
            .problem(ProblemKind::Invalid, message)
            .expected("expected `infraflow.event.` and more");
        let by_name = text.starts_with("infraflow.trigger");
        return Err(value.report(problem.maybe_hint(by_name.then_some(BY_NAME))));
    }
    Ok(pattern)
}

const BY_NAME: &str = "a workflow that is started by name has the trigger `manual`";

/// How a part of a subject pattern fits a name.
enum Fit {
    /// It takes everything that follows.
    Whole,
    /// It takes this token.
    Token,
    No,
}

/// One pattern or a list of them.
fn patterns(value: Value<'_>) -> Read<Patterns> {
    checked_patterns(value, |_, _| Ok(()))
}

/// Patterns of event types.
fn type_patterns(value: Value<'_>) -> Read<Patterns> {
    checked_patterns(value, |item, text| {
        if text != TRIGGER {
            return Ok(());
        }
        let message = format!("`{TRIGGER}` events are for the workflow that they name");
        let problem = item.problem(ProblemKind::Invalid, message);
        Err(item.report(problem.hint(BY_NAME)))
    })
}

/// Patterns of branches or tags.
fn ref_patterns(value: Value<'_>) -> Read<Patterns> {
    checked_patterns(value, |item, text| {
        let name = text.strip_prefix('!').unwrap_or(text);
        let short = ["refs/heads/", "refs/tags/"]
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix));
        let Some(short) = short else {
            return Ok(());
        };
        let problem = item
            .problem(ProblemKind::Invalid, format!("`{text}` is a full ref"))
            .expected("expected a short name")
            .hint(format!("write `{short}`"));
        Err(item.report(problem))
    })
}

fn checked_patterns(
    value: Value<'_>,
    check: impl Fn(Value<'_>, &str) -> Read<()>,
) -> Read<Patterns> {
    let items = one_or_some(value)?;
    let texts = all(items.into_iter().map(|item| {
        let text = item.text()?;
        check(item, text)?;
        let compiled = Patterns::compile([text]).map_err(|(_, reason)| reason);
        match compiled {
            Ok(_) => Ok(text),
            Err(reason) => Err(item.refuse(format!("`{text}` is not a pattern: {reason}"))),
        }
    }))?;
    value.accept(Patterns::compile(texts).map_err(|(_, reason)| reason))
}

// ---- shared -------------------------------------------------------------------

/// The items of a list that must not be empty.
fn some(value: Value<'_>) -> Read<Vec<Value<'_>>> {
    let items = value.items()?;
    if items.is_empty() {
        let message = format!("`{}` is an empty list", value.called());
        let problem = value.problem(ProblemKind::Invalid, message);
        return Err(value.report(problem.expected("expected at least one")));
    }
    Ok(items)
}

/// The items of a list that must not be empty, or the value itself when it is
/// no list.
fn one_or_some(value: Value<'_>) -> Read<Vec<Value<'_>>> {
    match value.node().as_list() {
        Some(_) => some(value),
        None => value.one_or_items(),
    }
}

fn timeout(value: Value<'_>) -> Read<Duration> {
    value.duration(Duration::from_millis(1)..=limits::TIMEOUT_MAX)
}
