//! The functions of the contract, one file per interface.
//!
//! Each has the same shape: the grant check, then the arguments into types of
//! core, then the port, then the answer into types of the contract. Whatever
//! fails on the way is an answer to the guest; only a stop or a limit ends it.
//! Nothing here touches a file, a process or the network by itself.

pub(crate) mod ansible;
pub(crate) mod arguments;
pub(crate) mod artifacts;
pub(crate) mod command;
pub(crate) mod events;
pub(crate) mod git;
pub(crate) mod http;
pub(crate) mod log;
pub(crate) mod opentofu;
pub(crate) mod secrets;
pub(crate) mod state;
pub(crate) mod types;
pub(crate) mod workspace;

use infraflow_core::outcome::LastCall;
use infraflow_core::tool::CallError;
use wasmtime::component::{HasSelf, Linker};

use crate::bindings::Step;
use crate::meter::Exceeded;
use crate::state::State;

/// Links every function of the contract.
///
/// # Errors
/// When a name is linked twice: never, with one contract.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    Step::add_to_linker::<State, HasSelf<State>>(linker, |state| state)
}

/// Why a host call has no answer of the usual kind.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The guest gets this as the call's error.
    Refused(CallError),
    /// The guest is ended and sees nothing; why is in the state or its meter.
    Ended,
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self::Refused(error)
    }
}

/// An argument that is wrong: which one, and what was expected.
fn invalid(text: impl Into<String>) -> Failure {
    Failure::Refused(CallError::Invalid(text.into()))
}

/// An answer of a port, on its way to the guest.
trait Answer {
    /// What the contract calls it.
    type Wit;

    /// The signal that ended the tool, when one did.
    fn signal(&self) -> Option<i32> {
        None
    }

    /// About how many bytes the guest gets.
    fn bytes(wit: &Self::Wit) -> usize;

    /// The same in the types of the contract.
    fn into_wit(self) -> Self::Wit;
}

impl State {
    /// The last line of every host call: an attempt that was stopped meanwhile
    /// never sees the answer, and one that is too large is refused.
    fn settle<A: Answer>(&mut self, answer: Result<A, CallError>) -> Result<A::Wit, Failure> {
        self.meter.forgive();
        if self.is_stopped() {
            return Err(Failure::Ended);
        }
        let answer = answer?;
        let signal = answer.signal();
        let wit = answer.into_wit();
        let bytes_max = self.meter.limits().call_bytes;
        if u64::try_from(A::bytes(&wit)).unwrap_or(u64::MAX) > bytes_max {
            let limit = Exceeded::bytes("call_bytes", bytes_max);
            return Err(Failure::Refused(limit.into()));
        }
        self.last_call = signal.map_or(LastCall::Fine, LastCall::Signalled);
        Ok(wit)
    }
}

impl Answer for () {
    type Wit = ();

    fn bytes((): &()) -> usize {
        0
    }

    fn into_wit(self) {}
}

impl Answer for Vec<u8> {
    type Wit = Self;

    fn bytes(wit: &Self) -> usize {
        wit.len()
    }

    fn into_wit(self) -> Self {
        self
    }
}

impl Answer for String {
    type Wit = Self;

    fn bytes(wit: &Self) -> usize {
        wit.len()
    }

    fn into_wit(self) -> Self {
        self
    }
}
