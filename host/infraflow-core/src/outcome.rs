//! How attempts, steps and runs end: closed sets, never a bool.

use std::fmt;

use crate::tool::CallError;

/// How one try of a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttemptOutcome {
    /// The plugin returned outputs.
    Succeeded,
    /// The plugin returned an error.
    Failed {
        /// The exit code of the tool that failed, when there was one.
        exit_code: Option<i32>,
        /// Whether the plugin says that trying again may help.
        transient: bool,
    },
    /// The tool was ended by a signal that nobody here sent.
    Signalled {
        /// The signal's number.
        signal: i32,
    },
    /// Its time was up.
    TimedOut,
    /// The plugin trapped.
    Trapped,
    /// A limit of the plugin or its calls was hit.
    LimitExceeded,
    /// The plugin failed for want of a grant.
    NotGranted,
    /// Nothing ran: the plugin is missing or invalid, its input does not fit,
    /// a tool or its jail could not be started.
    CouldNotStart,
    /// The host that ran it went away; how it ended is unknown.
    Interrupted,
    /// Somebody cancelled the run.
    Cancelled,
}

/// Names of the attempt outcomes, as `retry.on` and everything printed has them.
pub const ATTEMPT_OUTCOMES: [&str; 10] = [
    "succeeded",
    "failed",
    "signalled",
    "timed_out",
    "trapped",
    "limit_exceeded",
    "not_granted",
    "could_not_start",
    "interrupted",
    "cancelled",
];

impl AttemptOutcome {
    /// Its name, as in `steps.<id>.outcome`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed { .. } => "failed",
            Self::Signalled { .. } => "signalled",
            Self::TimedOut => "timed_out",
            Self::Trapped => "trapped",
            Self::LimitExceeded => "limit_exceeded",
            Self::NotGranted => "not_granted",
            Self::CouldNotStart => "could_not_start",
            Self::Interrupted => "interrupted",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether trying again may help, where the workflow does not say.
    /// Interrupted attempts follow `on_interrupt` instead.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Failed { transient, .. } => transient,
            Self::TimedOut | Self::CouldNotStart => true,
            Self::Succeeded
            | Self::Signalled { .. }
            | Self::Trapped
            | Self::LimitExceeded
            | Self::NotGranted
            | Self::Interrupted
            | Self::Cancelled => false,
        }
    }

    /// Whose fault it is when nothing more is known; decides who is told.
    pub fn blame(self) -> Option<Blame> {
        match self {
            Self::Succeeded | Self::Cancelled => None,
            Self::Failed { .. } | Self::Signalled { .. } | Self::TimedOut => Some(Blame::Tool),
            Self::Trapped | Self::LimitExceeded => Some(Blame::Plugin),
            Self::NotGranted | Self::CouldNotStart => Some(Blame::Operator),
            Self::Interrupted => Some(Blame::Host),
        }
    }
}

impl fmt::Display for AttemptOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed {
                exit_code: Some(code),
                ..
            } => write!(f, "failed (exit code {code})"),
            Self::Signalled { signal } => write!(f, "signalled (signal {signal})"),
            other => f.write_str(other.name()),
        }
    }
}

/// Who can mend a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The plugin's author.
    Plugin,
    /// The workflow's author.
    Author,
    /// Whoever configured the host.
    Operator,
    /// The tool, or what it worked on.
    Tool,
    /// The host.
    Host,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StepOutcome {
    /// Like its last attempt.
    Attempt(AttemptOutcome),
    /// Its `when` was false.
    Skipped,
}

impl StepOutcome {
    /// Its name, as in `steps.<id>.outcome`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Attempt(outcome) => outcome.name(),
            Self::Skipped => "skipped",
        }
    }

    /// Whether the run goes on after it.
    pub fn lets_the_run_go_on(self) -> bool {
        matches!(
            self,
            Self::Skipped | Self::Attempt(AttemptOutcome::Succeeded)
        )
    }
}

impl fmt::Display for StepOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attempt(outcome) => fmt::Display::fmt(outcome, f),
            Self::Skipped => f.write_str("skipped"),
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunOutcome {
    /// Every step succeeded or was skipped.
    Succeeded,
    /// A step failed, or the run could not start.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
    /// A step was interrupted and may not be tried again.
    Interrupted,
    /// It did nothing: a run of a newer event has or wants its lock.
    Skipped,
}

impl RunOutcome {
    /// Every outcome.
    pub const ALL: [Self; 5] = [
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Interrupted,
        Self::Skipped,
    ];

    /// Its name, as in `run.outcome`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
            Self::Skipped => "skipped",
        }
    }

    /// The outcome of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }
}

impl fmt::Display for RunOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How the last host call of an attempt ended, as far as it explains a failure
/// that the plugin reports after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LastCall {
    /// No call yet, or one that did what was asked.
    Fine,
    /// The tool was ended by a signal.
    Signalled(i32),
    /// The call was refused or failed.
    Refused(CallError),
}

/// What outcome an error is that a plugin returned: a plugin that fails because
/// a call was refused did not fail by itself.
pub fn of_plugin_error(
    exit_code: Option<i32>,
    transient: bool,
    last_call: &LastCall,
) -> AttemptOutcome {
    match last_call {
        LastCall::Signalled(signal) => AttemptOutcome::Signalled { signal: *signal },
        LastCall::Refused(CallError::NotGranted(_)) => AttemptOutcome::NotGranted,
        LastCall::Refused(CallError::LimitExceeded { .. }) => AttemptOutcome::LimitExceeded,
        LastCall::Refused(CallError::Unavailable(_) | CallError::Unsupported(_)) => {
            AttemptOutcome::CouldNotStart
        }
        LastCall::Refused(CallError::Interrupted(_)) => AttemptOutcome::Interrupted,
        LastCall::Refused(
            CallError::Invalid(_) | CallError::NotFound(_) | CallError::Internal(_),
        )
        | LastCall::Fine => AttemptOutcome::Failed {
            exit_code,
            transient,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::{Capability, NotGranted};

    #[test]
    fn plugin_errors_are_blamed_on_what_caused_them() {
        let not_granted = CallError::NotGranted(NotGranted {
            capability: Capability::Ansible,
        });
        for (last, expected) in [
            (LastCall::Fine, "failed (exit code 2)"),
            (LastCall::Signalled(9), "signalled (signal 9)"),
            (LastCall::Refused(not_granted), "not_granted"),
            (
                LastCall::Refused(CallError::Unavailable("no jail".into())),
                "could_not_start",
            ),
            (
                LastCall::Refused(CallError::Interrupted("the lease ran out".into())),
                "interrupted",
            ),
            (
                LastCall::Refused(CallError::NotFound("site.yml".into())),
                "failed (exit code 2)",
            ),
        ] {
            assert_eq!(of_plugin_error(Some(2), false, &last).to_string(), expected);
        }
    }

    #[test]
    fn only_failures_that_may_pass_are_retried() {
        let retried: Vec<_> = [
            AttemptOutcome::Succeeded,
            AttemptOutcome::Failed {
                exit_code: Some(4),
                transient: true,
            },
            AttemptOutcome::Failed {
                exit_code: Some(2),
                transient: false,
            },
            AttemptOutcome::Signalled { signal: 9 },
            AttemptOutcome::TimedOut,
            AttemptOutcome::Trapped,
            AttemptOutcome::LimitExceeded,
            AttemptOutcome::NotGranted,
            AttemptOutcome::CouldNotStart,
            AttemptOutcome::Interrupted,
            AttemptOutcome::Cancelled,
        ]
        .into_iter()
        .filter(|outcome| outcome.is_retryable())
        .map(|outcome| outcome.to_string())
        .collect();
        assert_eq!(
            retried,
            ["failed (exit code 4)", "timed_out", "could_not_start"]
        );
    }
}
