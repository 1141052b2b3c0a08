//! `artifacts`: files that are kept with the run. The grant check stands; behind
//! it there is nothing yet, and the capability cannot be granted yet either.

use infraflow_core::grant::HostCall;
use infraflow_core::tool::CallError;
use wasmtime::component::Resource;

use super::Failure;
use crate::bindings::infraflow::step::artifacts::{Host, HostWriter};
use crate::state::State;

/// An artifact that is being written. There is none yet.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub enum Writer {}

impl Host for State {
    async fn create(&mut self, _: String, _: String) -> Result<Resource<Writer>, Failure> {
        self.admit(HostCall::ArtifactsCreate)?;
        Err(CallError::Unsupported("artifacts.create".to_owned()).into())
    }

    async fn finish(&mut self, _: Resource<Writer>) -> Result<String, Failure> {
        self.admit(HostCall::ArtifactsFinish)?;
        Err(CallError::Unsupported("artifacts.finish".to_owned()).into())
    }
}

impl HostWriter for State {
    async fn write(&mut self, _: Resource<Writer>, _: Vec<u8>) -> Result<(), Failure> {
        Err(CallError::Unsupported("artifacts.writer.write".to_owned()).into())
    }

    async fn drop(&mut self, _: Resource<Writer>) -> wasmtime::Result<()> {
        // A guest has no handle that nobody gave it; wasmtime sees to that.
        Err(wasmtime::Error::msg("there is no such writer"))
    }
}
