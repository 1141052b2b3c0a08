//! The keys of the language: those that are taken, and those that are refused
//! by name because they are not built.
//!
//! `docs/workflows.md` describes each of them; a test compares the two.

use crate::read::Keys;

/// A workflow.
pub(crate) const WORKFLOW: Keys = Keys::new(&[
    "infraflow",
    "name",
    "description",
    "on",
    "inputs",
    "vars",
    "lock",
    "concurrency",
    "timeout",
    "runs_on",
    "project",
    "environment",
    "stages",
])
.later(&[
    "outputs",
    "permissions",
    "on_success",
    "on_error",
    "finally",
])
.hints(&[
    ("steps", "steps stand in a stage, under `stages`"),
    ("triggers", "triggers stand under `on`"),
    ("env", "values for expressions stand under `vars`"),
    ("locks", "did you mean `lock`?"),
    ("pool", "did you mean `runs_on`?"),
    ("max", CONCURRENCY_KEY),
    ("on_conflict", CONCURRENCY_KEY),
]);

const CONCURRENCY_KEY: &str = "it stands under `concurrency`";

/// `concurrency`.
pub(crate) const CONCURRENCY: Keys = Keys::new(&["max", "on_conflict"]);

/// The kinds of triggers.
pub(crate) const TRIGGER: Keys = Keys::new(&["git.push", "git.tag", "manual", "event"])
    .later(&[
        "git.pull_request",
        "git.release",
        "container",
        "incident",
        "schedule",
        "run",
        "all_of",
    ])
    .hints(&[
        ("source", INDENT_TRIGGER),
        ("branches", INDENT_TRIGGER),
        ("paths", INDENT_TRIGGER),
        ("tags", INDENT_TRIGGER),
        ("type", INDENT_TRIGGER),
        ("subject", INDENT_TRIGGER),
        ("inputs", INDENT_TRIGGER),
        ("push", "did you mean `git.push`?"),
        ("tag", "did you mean `git.tag`?"),
        ("webhook", "a push that a webhook reports is `git.push`"),
    ]);

const INDENT_TRIGGER: &str = "it belongs to the trigger: indent it further";

/// Keys of every trigger that are not built.
const TRIGGER_LATER: &[&str] = &["if", "if_plugin", "dedupe", "threshold", "debounce"];

/// `git.push`.
pub(crate) const GIT_PUSH: Keys = Keys::new(&["source", "branches", "paths", "inputs"])
    .later(TRIGGER_LATER)
    .hints(&[("tags", "tags have a trigger of their own: `git.tag`")]);

/// `git.tag`.
pub(crate) const GIT_TAG: Keys = Keys::new(&["source", "tags", "inputs"]).later(TRIGGER_LATER);

/// `manual`.
pub(crate) const MANUAL: Keys = Keys::new(&["inputs"]).later(TRIGGER_LATER);

/// `event`.
pub(crate) const EVENT: Keys = Keys::new(&["type", "subject", "inputs"]).later(TRIGGER_LATER);

/// A stage.
pub(crate) const STAGE: Keys = Keys::new(&["name", "steps"])
    .later(&[
        "vars",
        "when",
        "parallel",
        "max_parallel",
        "timeout",
        "on_success",
        "on_error",
        "finally",
    ])
    .hints(&[
        ("id", "a stage has a `name`"),
        ("uses", "a plugin is used by a step, under `steps`"),
    ]);

/// What a step may do that is not built.
pub(crate) const STEP_ACTIONS: &[&str] = &["approve", "call", "emit", "parallel"];

/// A step.
pub(crate) const STEP: Keys = Keys::new(&[
    "id",
    "name",
    "uses",
    "with",
    "wait",
    "when",
    "timeout",
    "retry",
    "on_interrupt",
])
.later(&[
    "needs",
    "vars",
    "continue_on_error",
    "permissions",
    "for_each",
    "max_parallel",
    "rollback",
    "on_success",
    "on_error",
    "approve",
    "call",
    "inputs",
    "emit",
    "parallel",
])
.hints(&[
    ("run", "a command is run by a plugin: `uses: command@1`"),
    ("if", "did you mean `when`?"),
    ("plugin", "did you mean `uses`?"),
    ("input", "did you mean `with`?"),
    ("sleep", "did you mean `wait`?"),
    ("for", WAIT_KEY),
    ("until", WAIT_KEY),
]);

const WAIT_KEY: &str = "it stands under `wait`";

/// `wait`.
pub(crate) const WAIT: Keys = Keys::new(&["for", "until"]).later(&["event"]);

/// `retry`.
pub(crate) const RETRY: Keys =
    Keys::new(&["attempts", "delay", "backoff", "max_delay", "jitter", "on"]);
