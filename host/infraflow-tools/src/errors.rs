//! How errors of this crate reach a plugin: blamed, with what to try, and
//! without anything secret.

use std::error::Error;
use std::io;

use infraflow_core::limits::ByteCount;
use infraflow_core::tool::{CallError, Unit};

/// An error with everything that caused it, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // A transparent error says the same as its cause.
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// A size that was too large.
pub(crate) fn too_large(name: &'static str, limit: ByteCount) -> CallError {
    CallError::LimitExceeded {
        name,
        value: limit.0,
        unit: Unit::Bytes,
    }
}

/// A count that was too high.
pub(crate) fn too_many(name: &'static str, limit: usize) -> CallError {
    CallError::LimitExceeded {
        name,
        value: u64::try_from(limit).unwrap_or(u64::MAX),
        unit: Unit::Items,
    }
}

/// An error of the operating system while doing `what`, that the operator has
/// to look at: a full disk, a missing right.
pub(crate) fn system(what: &str, error: &io::Error) -> CallError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            CallError::Unavailable(format!("{what}: the disk is full"))
        }
        io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::NotFound => CallError::Unavailable(format!("{what}: {error}")),
        _ => CallError::Internal(format!("{what}: {error}")),
    }
}

/// The first `limit` bytes of a text for people, marked where it was cut.
pub(crate) fn shorten(mut text: String, limit: ByteCount) -> String {
    const MARK: &str = " [cut]";
    if text.len() > limit.to_usize() {
        text.truncate(text.floor_char_boundary(limit.to_usize().saturating_sub(MARK.len())));
        text.push_str(MARK);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_say_everything_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("start `x`")]
        struct Outer(#[source] io::Error);
        #[derive(Debug, thiserror::Error)]
        #[error(transparent)]
        struct Wrapper(#[from] Outer);
        let error = Wrapper(Outer(io::Error::other("no such thing")));
        assert_eq!(chain(&error), "start `x`: no such thing");
    }

    #[test]
    fn texts_are_cut_at_a_character() {
        let limit = ByteCount(10);
        assert_eq!(shorten("0123456789".to_owned(), limit), "0123456789");
        assert_eq!(shorten("é".repeat(6), limit), "éé [cut]");
    }
}
