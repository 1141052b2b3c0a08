//! A valid workflow. Only `infraflow-workflow` makes one; whoever has one never
//! checks it again.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use globset::{GlobBuilder, GlobMatcher};

use crate::Timestamp;
use crate::id::{Digest, EnvironmentName, PoolName, ProjectName, StageName, StepId, WorkflowName};
use crate::inputs::InputSpec;
use crate::plugin::PluginRef;
use crate::retry::RetryPolicy;
use crate::template::{Expr, Template};

/// A workflow.
#[derive(Debug, Clone)]
pub struct Workflow {
    /// Its name.
    pub name: WorkflowName,
    /// The digest of its text: its version.
    pub digest: Digest,
    /// For people. May be empty.
    pub description: String,
    /// What starts it.
    pub triggers: Vec<Trigger>,
    /// What it takes.
    pub inputs: InputSpec,
    /// Values for its expressions, as `vars`.
    pub vars: Template,
    /// How long a run may take.
    pub timeout: Duration,
    /// The project that its runs belong to.
    pub project: ProjectName,
    /// The environment that its runs belong to.
    pub environment: EnvironmentName,
    /// The hosts that may execute its runs.
    pub pool: PoolName,
    /// Names of locks that a run holds from its first step to its end; each
    /// renders to a text.
    pub locks: Vec<Template>,
    /// How many runs at once, and what a run does that finds no place.
    pub concurrency: Concurrency,
    /// What it does, in order. At least one, each with at least one step.
    pub stages: Vec<Stage>,
}

impl Workflow {
    /// Its steps in the order in which they run.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.stages.iter().flat_map(|stage| &stage.steps)
    }

    /// The step of that id.
    pub fn step(&self, id: &StepId) -> Option<&Step> {
        self.steps().find(|step| step.id == *id)
    }

    /// The plugins that it names, each once, sorted.
    pub fn plugins(&self) -> Vec<PluginRef> {
        let mut plugins: Vec<PluginRef> = self
            .steps()
            .filter_map(|step| step.action.plugin().cloned())
            .collect();
        plugins.sort();
        plugins.dedup();
        plugins
    }
}

/// What starts a workflow.
#[derive(Debug, Clone)]
pub struct Trigger {
    /// The events that it takes.
    pub filter: Filter,
    /// The inputs that it makes of them. Unset: none, or for a trigger by name
    /// those that it came with.
    pub inputs: Option<Template>,
}

/// Which events a trigger takes.
#[derive(Debug, Clone)]
pub enum Filter {
    /// Pushes that create or update a branch.
    GitPush {
        /// Names of configured sources.
        sources: Patterns,
        /// Short names of branches.
        branches: Patterns,
        /// Changed paths; one that matches is enough.
        paths: Patterns,
    },
    /// Pushes that create or move a tag.
    GitTag {
        /// Names of configured sources.
        sources: Patterns,
        /// Short names of tags.
        tags: Patterns,
    },
    /// Messages on `infraflow.trigger.<workflow>`, and `infraflow run`.
    Manual,
    /// Any event.
    Event {
        /// Types.
        types: Patterns,
        /// NATS subjects, with `*` and `>`. Unset: any.
        subject: Option<SubjectPattern>,
    },
}

impl Filter {
    /// Its key in a workflow's `on`.
    pub fn key(&self) -> &'static str {
        match self {
            Self::GitPush { .. } => "git.push",
            Self::GitTag { .. } => "git.tag",
            Self::Manual => "manual",
            Self::Event { .. } => "event",
        }
    }
}

/// Glob patterns, of which those with a leading `!` exclude. The last pattern
/// that matches decides; a list that only excludes takes everything else; an
/// empty list takes everything.
///
/// `*` and `?` stay within one part of a path, `**` does not; `{a,b}` and
/// `[a-z]` work as in a shell.
#[derive(Clone, Default)]
pub struct Patterns {
    patterns: Vec<Pattern>,
}

#[derive(Clone)]
struct Pattern {
    text: Arc<str>,
    includes: bool,
    glob: GlobMatcher,
}

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.patterns.iter().map(|pattern| &pattern.text))
            .finish()
    }
}

impl fmt::Display for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self
            .patterns
            .iter()
            .map(|pattern| format!("`{}`", pattern.text))
            .collect();
        f.write_str(&texts.join(", "))
    }
}

impl Patterns {
    /// Takes everything.
    pub fn any() -> Self {
        Self::default()
    }

    /// Compiles patterns.
    ///
    /// # Errors
    /// The index of the first text that is not a pattern, and what is wrong.
    pub fn compile<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, (usize, String)> {
        let patterns = texts
            .into_iter()
            .enumerate()
            .map(|(index, text)| Pattern::compile(text).map_err(|reason| (index, reason)))
            .collect::<Result<_, _>>()?;
        Ok(Self { patterns })
    }

    /// Whether it takes everything.
    pub fn is_any(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether it takes this text.
    pub fn take(&self, text: &str) -> bool {
        let starts_with = self.patterns.first().is_none_or(|first| !first.includes);
        self.patterns
            .iter()
            .rev()
            .find(|pattern| pattern.glob.is_match(text))
            .map_or(starts_with, |pattern| pattern.includes)
    }
}

impl Pattern {
    fn compile(text: &str) -> Result<Self, String> {
        let (includes, glob) = match text.strip_prefix('!') {
            Some(rest) => (false, rest),
            None => (true, text),
        };
        if glob.is_empty() {
            return Err("the pattern is empty".to_owned());
        }
        if glob.len() > 1_024 {
            return Err("the pattern has more than 1024 bytes".to_owned());
        }
        let glob = GlobBuilder::new(glob)
            .literal_separator(true)
            .backslash_escape(true)
            .build()
            .map_err(|error| error.kind().to_string())?;
        Ok(Self {
            text: text.into(),
            includes,
            glob: glob.compile_matcher(),
        })
    }
}

/// A pattern of NATS subjects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectPattern(Arc<str>);

impl SubjectPattern {
    /// Checks and takes a pattern: tokens with dots between them, `*` for one
    /// token, `>` at the end for one or more.
    ///
    /// # Errors
    /// A text for people.
    pub fn new(text: &str) -> Result<Self, String> {
        let tokens: Vec<&str> = text.split('.').collect();
        let last = tokens.len() - 1;
        for (at, token) in tokens.iter().enumerate() {
            if token.is_empty() || token.contains(|c: char| c.is_whitespace() || c.is_control()) {
                return Err("a token of the subject is empty or holds white space".to_owned());
            }
            if *token == ">" && at != last {
                return Err("`>` stands only at the end of a subject".to_owned());
            }
            if token.len() > 1 && token.contains(['*', '>']) {
                return Err("`*` and `>` stand for whole tokens".to_owned());
            }
        }
        Ok(Self(text.into()))
    }

    /// The pattern.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a subject matches.
    pub fn matches(&self, subject: &str) -> bool {
        let mut tokens = subject.split('.');
        for pattern in self.0.split('.') {
            match (pattern, tokens.next()) {
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (literal, Some(token)) if literal == token => {}
                _ => return false,
            }
        }
        tokens.next().is_none()
    }
}

/// A part of a workflow.
#[derive(Debug, Clone)]
pub struct Stage {
    /// Its name, unique in the workflow.
    pub name: StageName,
    /// Its steps, in order. At least one.
    pub steps: Vec<Step>,
}

/// A workflow's `concurrency`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Concurrency {
    /// Most runs of the workflow at once. Unset: as many as there are.
    pub max: Option<NonZeroU32>,
    /// What a run does when a lock is taken.
    pub on_conflict: OnConflict,
}

/// What a run does when a lock that it needs is taken. Which run is newer goes
/// by the position of its event in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnConflict {
    /// It waits; older events come first.
    #[default]
    Queue,
    /// Only the run of the newest event waits; older ones that wait, or come
    /// late, end `skipped`.
    Skip,
    /// It cancels the runs of older events that have the lock or wait for it; a
    /// run of an older event that comes late ends `skipped`.
    CancelRunning,
}

impl OnConflict {
    /// Every policy.
    pub const ALL: [Self; 3] = [Self::Queue, Self::Skip, Self::CancelRunning];

    /// Its name in a workflow.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Skip => "skip",
            Self::CancelRunning => "cancel_running",
        }
    }

    /// The policy of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }
}

/// A step: something to do, once.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its id, unique in the workflow.
    pub id: StepId,
    /// A label for people. Unset: its id.
    pub label: Option<String>,
    /// Whether it runs. Unset: it does.
    pub when: Option<Expr>,
    /// How long an attempt may take.
    pub timeout: Duration,
    /// When a failed attempt is tried again.
    pub retry: RetryPolicy,
    /// What happens when an attempt was interrupted and its end is unknown.
    /// Unset: `Retry` for a plugin that says it is idempotent, else `Fail`.
    pub on_interrupt: Option<OnInterrupt>,
    /// What it does.
    pub action: Action,
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum Action {
    /// It calls a plugin.
    Plugin {
        /// The plugin.
        uses: PluginRef,
        /// Its input.
        with: Template,
    },
    /// It waits; meanwhile the run holds nothing but its locks.
    Wait(Wait),
}

impl Action {
    /// The plugin that it calls.
    pub fn plugin(&self) -> Option<&PluginRef> {
        match self {
            Self::Plugin { uses, .. } => Some(uses),
            Self::Wait(_) => None,
        }
    }

    /// What it does, in a word, for lists: the plugin, or `wait`.
    pub fn label(&self) -> String {
        match self {
            Self::Plugin { uses, .. } => uses.to_string(),
            Self::Wait(_) => "wait".to_owned(),
        }
    }
}

/// How long a `wait` takes.
#[derive(Debug, Clone)]
pub enum Wait {
    /// So long, from the moment when the step begins.
    For(Duration),
    /// Until a moment: a text that renders to RFC 3339. One in the past does
    /// not wait.
    Until(Template),
}

impl Wait {
    /// The moment that a rendered `until` names.
    ///
    /// # Errors
    /// When it is not RFC 3339, the only form that is taken: a date alone, or a
    /// time without an offset, would be another moment for each reader.
    pub fn moment(text: &str) -> Result<Timestamp, InvalidMoment> {
        let refused = || InvalidMoment {
            value: text.chars().take(80).collect(),
        };
        if !is_rfc_3339(text) {
            return Err(refused());
        }
        text.parse().map_err(|_| refused())
    }
}

/// Whether a text has the form of RFC 3339; whether there is such a day or hour
/// is not looked at.
fn is_rfc_3339(text: &str) -> bool {
    let has_form = |text: &str, form: &str| {
        text.len() == form.len()
            && text
                .bytes()
                .zip(form.bytes())
                .all(|(byte, wanted)| match wanted {
                    b'0' => byte.is_ascii_digit(),
                    b'+' => matches!(byte, b'+' | b'-'),
                    _ => byte == wanted,
                })
    };
    let Some((moment, rest)) = text.split_at_checked("0000-00-00T00:00:00".len()) else {
        return false;
    };
    let offset = match rest.strip_prefix('.') {
        Some(fraction) => {
            let offset = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            let digits = fraction.len() - offset.len();
            // Further digits are finer than any clock here.
            if !(1..=9).contains(&digits) {
                return false;
            }
            offset
        }
        None => rest,
    };
    has_form(moment, "0000-00-00T00:00:00") && (offset == "Z" || has_form(offset, "+00:00"))
}

/// A text that does not name a moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{value}` is not a moment: expected RFC 3339, like `2027-03-01T08:00:00Z` or `2027-03-01T08:00:00+01:00`"
)]
pub struct InvalidMoment {
    /// The text, cut to 80 characters.
    pub value: String,
}

/// What happens to a step whose attempt was interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnInterrupt {
    /// It is tried again.
    Retry,
    /// It ends `interrupted`, and so does the run.
    Fail,
    /// The run waits until a person says what to do.
    Ask,
}

/// Workflows for the tests of this crate.
#[cfg(test)]
pub(crate) mod samples {
    use super::*;
    use crate::Json;
    use crate::limits;

    pub(crate) fn patterns(texts: &[&str]) -> Patterns {
        Patterns::compile(texts.iter().copied()).unwrap()
    }

    /// A step that uses `uses` with nothing.
    pub(crate) fn step(id: &str, uses: &str) -> Step {
        Step {
            id: StepId::new(id).unwrap(),
            label: None,
            when: None,
            timeout: limits::STEP_TIMEOUT,
            retry: RetryPolicy::default(),
            on_interrupt: None,
            action: Action::Plugin {
                uses: uses.parse().unwrap(),
                with: Template::Literal(Json::Object(crate::JsonMap::new())),
            },
        }
    }

    pub(crate) struct SampleWorkflow {
        pub(crate) name: &'static str,
        pub(crate) triggers: Vec<Trigger>,
        pub(crate) inputs: Json,
        pub(crate) vars: Json,
        pub(crate) steps: Vec<Step>,
    }

    impl SampleWorkflow {
        pub(crate) fn named(name: &str) -> Self {
            Self {
                name: name.to_owned().leak(),
                triggers: vec![],
                inputs: serde_json::json!({ "type": "object" }),
                vars: serde_json::json!({}),
                steps: vec![step("only", "command@1")],
            }
        }

        pub(crate) fn build(self) -> Workflow {
            Workflow {
                name: WorkflowName::new(self.name).unwrap(),
                digest: Digest::of(self.name.as_bytes()),
                description: String::new(),
                triggers: self.triggers,
                inputs: InputSpec::compile(&self.inputs).unwrap(),
                vars: Template::compile(&self.vars).unwrap(),
                timeout: limits::RUN_TIMEOUT,
                project: ProjectName::default_project(),
                environment: EnvironmentName::default_environment(),
                pool: PoolName::default_pool(),
                locks: vec![],
                concurrency: Concurrency::default(),
                stages: vec![Stage {
                    name: StageName::new("main").unwrap(),
                    steps: self.steps,
                }],
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(patterns: &[&str], text: &str) -> bool {
        Patterns::compile(patterns.iter().copied())
            .unwrap()
            .take(text)
    }

    #[test]
    fn patterns() {
        for (patterns, text, expected) in [
            (&[][..], "anything", true),
            (&["main"][..], "main", true),
            (&["main"], "maint", false),
            (&["release/*"], "release/1.0", true),
            (&["release/*"], "release/1.0/x", false),
            (&["infra/**"], "infra/a/b.tf", true),
            (&["infra/**", "!**/*.md"], "infra/a/README.md", false),
            (&["infra/**", "!**/*.md"], "README.md", false),
            (&["!**/*.md"], "site.yml", true),
            (&["!**/*.md"], "a/README.md", false),
            (&["!**/*.md", "README.md"], "README.md", true),
            (&["v[0-9]*"], "v1", true),
            (&["{main,dev}"], "dev", true),
            (&["*"], "a.b", true),
            (&["*"], "a/b", false),
        ] {
            assert_eq!(takes(patterns, text), expected, "{patterns:?} {text}");
        }
        for bad in ["", "!", "[", "{a"] {
            assert!(Patterns::compile([bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn subject_patterns() {
        for (pattern, subject, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a.b.c", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*.c", "a.b.c", true),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            (">", "a", true),
        ] {
            assert_eq!(
                SubjectPattern::new(pattern).unwrap().matches(subject),
                expected,
                "{pattern} {subject}"
            );
        }
        for bad in ["", "a..b", ".a", "a.>.b", "a*", "a b", "a.>b"] {
            assert!(SubjectPattern::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn moments() {
        for (text, expected) in [
            ("2027-03-01T08:00:00Z", "2027-03-01T08:00:00Z"),
            ("2027-03-01T08:00:00+01:00", "2027-03-01T07:00:00Z"),
            ("2027-03-01T08:00:00.25-00:30", "2027-03-01T08:30:00.25Z"),
        ] {
            assert_eq!(
                Wait::moment(text).map(|at| at.to_string()),
                Ok(expected.to_owned())
            );
        }
        for bad in [
            "",
            "tomorrow",
            "2027-03-01",
            "08:00",
            "2027-03-01T08:00:00",
            "2027-03-01 08:00:00Z",
            "2027-03-01T08:00Z",
            "20270301T080000Z",
            "2027-02-30T08:00:00Z",
            "2027-03-01T25:00:00Z",
            "2027-03-01T08:00:00.Z",
            "2027-03-01T08:00:00.1234567890Z",
            "2027-03-01T08:00:00+0100",
            "2027-03-01T08:00:00+01:00[Europe/Rome]",
            "2027-03-01T08:00:00Zé",
            "2027-03-01T08:00:0é",
        ] {
            assert!(Wait::moment(bad).is_err(), "{bad}");
        }
    }
}
