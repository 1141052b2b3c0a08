//! What stands behind one guest: its attempt, its permissions, what it has used.
//!
//! Everything is refused unless the permissions say otherwise; the state of
//! `describe` has no permission and no attempt at all.

use std::sync::Arc;

use infraflow_core::grant::{Capability, HostCall, Permissions};
use infraflow_core::outcome::LastCall;
use infraflow_core::ports::{PluginLimits, Secrets, StopReason, ToolScope, Tools};
use infraflow_core::tool::CallError;
use wasmtime::UpdateDeadline;

use crate::host::Failure;
use crate::host::log::LogGate;
use crate::limits::MISSING_NAMED;
use crate::meter::{Ended, Meter};
use crate::ticker::Clock;

/// The data of a store.
pub(crate) struct State {
    /// Unset for `describe`.
    pub(crate) attempt: Option<Attempt>,
    pub(crate) meter: Meter,
    pub(crate) log: LogGate,
    pub(crate) last_call: LastCall,
    /// Capabilities that were asked for and are not granted, each once.
    pub(crate) not_granted: Vec<Capability>,
    /// Why the guest was stopped, when it was.
    pub(crate) stopped: Option<StopReason>,
}

/// What an attempt may reach.
pub(crate) struct Attempt {
    pub(crate) scope: ToolScope,
    pub(crate) tools: Arc<dyn Tools>,
    pub(crate) secrets: Arc<dyn Secrets>,
}

impl State {
    /// The state of an attempt.
    pub(crate) fn for_attempt(attempt: Attempt, limits: PluginLimits, clock: &Arc<Clock>) -> Self {
        Self::new(Some(attempt), limits, clock)
    }

    /// The state of `describe`: every import is refused, log lines go nowhere.
    pub(crate) fn for_describe(limits: PluginLimits, clock: &Arc<Clock>) -> Self {
        Self::new(None, limits, clock)
    }

    fn new(attempt: Option<Attempt>, limits: PluginLimits, clock: &Arc<Clock>) -> Self {
        Self {
            attempt,
            meter: Meter::new(clock, limits),
            log: LogGate::new(clock.now()),
            last_call: LastCall::Fine,
            not_granted: Vec::new(),
            stopped: None,
        }
    }

    /// The first line of every host call: may the guest go on, has it a call
    /// left, and is this one granted?
    pub(crate) fn admit(&mut self, call: HostCall<'_>) -> Result<(), Failure> {
        self.look()?;
        if self.meter.count_call().is_err() {
            return Err(Failure::Ended);
        }
        self.check(call)
    }

    /// Whether a call is granted, without counting it.
    pub(crate) fn check(&self, call: HostCall<'_>) -> Result<(), Failure> {
        let checked = match &self.attempt {
            Some(attempt) => attempt.scope.permissions.check(call),
            None => Permissions::none().check(call),
        };
        checked.map_err(|missing| Failure::Refused(CallError::NotGranted(missing)))
    }

    /// The attempt. There is one wherever a call is granted.
    pub(crate) fn attempt(&self) -> Result<&Attempt, Failure> {
        self.attempt.as_ref().ok_or_else(|| {
            Failure::Refused(CallError::Internal(
                "a call was granted to a plugin that describes itself".to_owned(),
            ))
        })
    }

    /// Whether the guest may go on: nobody has stopped it, and it has time left.
    pub(crate) fn look(&mut self) -> Result<(), Failure> {
        if self.is_stopped() || self.meter.account().is_err() {
            return Err(Failure::Ended);
        }
        Ok(())
    }

    /// Whether somebody has stopped the attempt.
    pub(crate) fn is_stopped(&mut self) -> bool {
        if self.stopped.is_none()
            && let Some(attempt) = &self.attempt
        {
            self.stopped = attempt.scope.stop.reason();
        }
        self.stopped.is_some()
    }

    /// Called on every tick while the guest computes.
    pub(crate) fn on_tick(&mut self) -> wasmtime::Result<UpdateDeadline> {
        if self.look().is_err() {
            return Err(wasmtime::Error::new(Ended));
        }
        // `describe` runs where nobody else waits for a turn.
        Ok(match self.attempt {
            Some(_) => UpdateDeadline::Yield(1),
            None => UpdateDeadline::Continue(1),
        })
    }

    /// Notes a call that did not do what was asked.
    pub(crate) fn note_refusal(&mut self, error: CallError) {
        if let CallError::NotGranted(missing) = &error
            && self.not_granted.len() < MISSING_NAMED
            && !self.not_granted.contains(&missing.capability)
        {
            self.not_granted.push(missing.capability.clone());
        }
        self.last_call = LastCall::Refused(error);
    }
}
