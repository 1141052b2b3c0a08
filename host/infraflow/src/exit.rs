//! Exit codes: one for each situation that a script may want to tell apart.
//! The README documents them.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what was asked; for `run`: the run succeeded.
    Success,
    /// The run did not succeed.
    RunFailed,
    /// The command line is wrong.
    Usage,
    /// The configuration or a workflow has problems.
    Invalid,
    /// No host or no NATS server answers.
    Unreachable,
    /// There is no such run, workflow or other thing.
    NotFound,
    /// It does not go now: the run has ended, the data directory is in use.
    Conflict,
    /// Something is missing on this machine (`doctor`).
    Unhealthy,
    /// Ctrl-C while following a run: the run goes on.
    Detached,
    /// Anything else.
    Failure,
}

impl Exit {
    /// The code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::RunFailed => 1,
            Self::Usage => 2,
            Self::Invalid => 3,
            Self::Unreachable => 4,
            Self::NotFound => 5,
            Self::Conflict => 6,
            Self::Unhealthy => 7,
            Self::Detached => 130,
            Self::Failure => 70,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command failed: what to print, and how to exit.
#[derive(Debug)]
pub(crate) struct Failure {
    /// How to exit.
    pub(crate) exit: Exit,
    /// For people, without a trailing period.
    pub(crate) message: String,
    /// Already printed, or nothing to say.
    pub(crate) is_silent: bool,
}

impl Failure {
    /// A failure with a message.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            is_silent: false,
        }
    }

    /// An exit whose reason the user has seen.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self {
            exit,
            message: String::new(),
            is_silent: true,
        }
    }

    /// A failure of this program or its machine.
    pub(crate) fn internal(what: &str, error: &dyn std::error::Error) -> Self {
        Self::new(Exit::Failure, format!("{what}: {}", chain(error)))
    }
}

/// An error and its causes in one line. Our errors do not repeat their source.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Errors of the NATS client print their source themselves.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// What a command returns.
pub(crate) type Outcome = Result<Exit, Failure>;
