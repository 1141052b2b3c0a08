//! `state`: small values over runs. The grant check stands; behind it there is
//! nothing yet, and the capability cannot be granted yet either.

use infraflow_core::grant::HostCall;
use infraflow_core::tool::CallError;

use super::Failure;
use crate::bindings::infraflow::step::state::{Host, Stored};
use crate::state::State;

impl Host for State {
    async fn get(&mut self, _: String) -> Result<Option<Stored>, Failure> {
        self.admit(HostCall::StateGet)?;
        Err(CallError::Unsupported("state.get".to_owned()).into())
    }

    async fn set(&mut self, _: String, _: Vec<u8>, _: Option<u64>) -> Result<u64, Failure> {
        self.admit(HostCall::StateSet)?;
        Err(CallError::Unsupported("state.set".to_owned()).into())
    }

    async fn remove(&mut self, _: String) -> Result<(), Failure> {
        self.admit(HostCall::StateRemove)?;
        Err(CallError::Unsupported("state.remove".to_owned()).into())
    }
}
