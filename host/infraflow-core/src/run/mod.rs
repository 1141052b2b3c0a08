//! A run: a fold over its journal, and what to do next.
//!
//! - [`record`]: what a journal holds.
//! - [`state`]: folding entries into the state of a run.
//! - [`decide`]: what happens next. Total: every state and input is either a
//!   decision or a refusal.
//! - `plan`: the steps of a decision, each on the state that the one before
//!   it made.
//! - `locks`: the locks that a run needs.
//! - [`scope`]: what the run's expressions see.
//!
//! Nothing here looks at the clock: times arrive with the input.

pub mod decide;
mod locks;
mod plan;
pub mod record;
pub mod scope;
pub mod state;

pub use decide::{AttemptReport, Decision, Effect, Input, Refusal, Request, StartAttempt, Then};
pub use record::{
    Answer, AttemptEnd, AttemptNext, Birth, BirthEvent, Carried, Claim, Entry, LogFacts, Origin,
    OriginKind, Parked, Parking, RecordEnvelope, RecordKind, StopKind, WakeCause, WorkspacePlace,
    Writer,
};
pub use state::{IllegalEntry, Phase, Run, StepState, StepStatus};

#[cfg(test)]
mod tests;
