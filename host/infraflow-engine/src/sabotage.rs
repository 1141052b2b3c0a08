//! Test-only switches that break single promises, to show that their tests
//! would fail. Compiled to `false` unless the feature `sabotage` is on.

/// A promise to break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// Promise 2: acknowledge the event before its runs are durable.
    AckBeforeRecord,
    /// Promise 2: acknowledge the work item before the run has ended.
    AckWorkBeforeEnd,
    /// Promise 3: derive the run id from chance, not from the event.
    RandomRunId,
    /// Promise 4: do not take over runs of earlier lives.
    NoRecovery,
    /// Promise 5: forget finished steps at a takeover.
    ForgetFinishedSteps,
    /// Promise 6: let a plugin have whatever it asks for.
    GrantEverything,
    /// Promise 7: let attempts take as long as they like.
    NoDeadline,
    /// Promise 8: mask nothing.
    NoMasking,
    /// Promise 9: let lost log lines fail the attempt.
    LostLinesFail,
    /// Promise 4: let tools of a host live that has lost its lease.
    NoFencing,
    /// Promise 4: set no timers, and let the sweep wake nobody.
    NoTimers,
    /// Promise 4: let runs that are over keep their locks.
    LocksLeak,
    /// Promise 4: take runs over from hosts that live.
    NoLeases,
    /// Promise 12: shut down without recording what was interrupted.
    SilentShutdown,
}

/// Whether the switch is on: the environment variable `INFRAFLOW_BREAK` names it.
#[cfg(feature = "sabotage")]
pub(crate) fn is(what: Break) -> bool {
    std::env::var("INFRAFLOW_BREAK").is_ok_and(|name| name == format!("{what:?}"))
}

/// Always off.
#[cfg(not(feature = "sabotage"))]
pub(crate) const fn is(_: Break) -> bool {
    false
}
