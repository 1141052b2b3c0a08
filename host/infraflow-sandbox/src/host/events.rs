//! `events`: events that a plugin publishes. The grant check stands; behind it
//! there is nothing yet, and no such capability can be granted yet either.

use infraflow_core::grant::HostCall;
use infraflow_core::tool::CallError;

use super::Failure;
use crate::bindings::infraflow::step::events::Host;
use crate::state::State;

impl Host for State {
    async fn emit(&mut self, kind: String, _: String) -> Result<String, Failure> {
        self.admit(HostCall::EventsEmit { kind: &kind })?;
        Err(CallError::Unsupported("events.emit".to_owned()).into())
    }
}
