//! `types`: how a failure reaches the guest.

use infraflow_core::limits::ERROR_TEXT;
use infraflow_core::tool::CallError;

use super::Failure;
use crate::bindings::infraflow::step::types::{Error, Host, Limit};
use crate::meter::Ended;
use crate::state::State;

impl Host for State {
    fn convert_error(&mut self, failure: Failure) -> wasmtime::Result<Error> {
        self.meter.forgive();
        match failure {
            Failure::Ended => Err(wasmtime::Error::new(Ended)),
            Failure::Refused(error) => {
                let answer = wit_error(&error);
                self.note_refusal(error);
                Ok(answer)
            }
        }
    }
}

fn wit_error(error: &CallError) -> Error {
    match error {
        CallError::NotGranted(missing) => Error::NotGranted(missing.capability.to_string()),
        CallError::Invalid(text) => Error::Invalid(bounded(text)),
        CallError::NotFound(name) => Error::NotFound(bounded(name)),
        CallError::LimitExceeded { name, value, unit } => Error::LimitExceeded(Limit {
            name: (*name).to_owned(),
            value: *value,
            unit: unit.to_string(),
        }),
        CallError::Unavailable(text) | CallError::Interrupted(text) => {
            Error::Unavailable(bounded(text))
        }
        CallError::Unsupported(name) => Error::Unsupported(bounded(name)),
        CallError::Internal(text) => Error::Internal(bounded(text)),
    }
}

/// A text that is not longer than an error may be.
pub(crate) fn bounded(text: &str) -> String {
    let end = text.floor_char_boundary(ERROR_TEXT.to_usize());
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(bounded("short"), "short");
        let long = "é".repeat(ERROR_TEXT.to_usize());
        let cut = bounded(&format!("x{long}"));
        assert!(cut.len() <= ERROR_TEXT.to_usize() && cut.len() > ERROR_TEXT.to_usize() - 2);
    }
}
