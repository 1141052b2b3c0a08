//! Which artifacts may go: a function of data.

use std::collections::HashSet;
use std::time::Duration;

use infraflow_bus::StoredBlob;
use infraflow_core::Timestamp;
use infraflow_core::id::Digest;

/// An upload comes before the run that uses it, and a blob before the record
/// that names it: what is younger than the oldest unfinished run by less than
/// this may be its.
const BEFORE_RUN: Duration = Duration::from_secs(3_600);

/// What is kept.
pub(super) struct Limits {
    /// What is older goes.
    pub(super) before: Option<Timestamp>,
    /// Of what is more than this the oldest go.
    pub(super) bytes_max: u64,
}

/// The artifacts that may go, oldest first: too old, or too much together.
/// Never one that a pointer names, and never one that a run which has not ended
/// may name.
pub(super) fn removable(
    mut stored: Vec<StoredBlob>,
    needed: &HashSet<Digest>,
    oldest_unfinished: Option<Timestamp>,
    limits: &Limits,
) -> Vec<StoredBlob> {
    let unfinished = oldest_unfinished
        .map(|run| run.checked_sub(BEFORE_RUN).unwrap_or(Timestamp::MIN))
        .unwrap_or(Timestamp::MAX);
    let mut bytes: u64 = stored.iter().map(|blob| blob.bytes).sum();
    stored.sort_by_key(|blob| blob.stored_at);
    stored.retain(|blob| {
        let is_free = !needed.contains(&blob.digest) && blob.stored_at < unfinished;
        let is_old = limits.before.is_some_and(|before| blob.stored_at < before);
        let goes = is_free && (is_old || bytes > limits.bytes_max);
        if goes {
            bytes -= blob.bytes;
        }
        goes
    });
    stored
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: u64) -> Timestamp {
        "2026-11-21T00:00:00Z".parse::<Timestamp>().unwrap() + Duration::from_secs(hour * 3_600)
    }

    fn digest(hour: u64) -> Digest {
        Digest::of(&hour.to_be_bytes())
    }

    fn hours(needed: &[u64], unfinished: Option<u64>, before: u64, bytes_max: u64) -> Vec<u64> {
        let stored = [5, 1, 3, 2, 4].map(|hour| StoredBlob {
            digest: digest(hour),
            bytes: 10,
            stored_at: at(hour),
        });
        let needed = needed.iter().map(|hour| digest(*hour)).collect();
        let limits = Limits {
            before: Some(at(before)),
            bytes_max,
        };
        let removed = removable(stored.to_vec(), &needed, unfinished.map(at), &limits);
        let hour = |blob: &StoredBlob| (1..=5).find(|hour| digest(*hour) == blob.digest).unwrap();
        removed.iter().map(hour).collect()
    }

    #[test]
    fn what_is_old_or_too_much_goes_and_nothing_that_is_needed() {
        for (needed, unfinished, before, bytes_max, expected) in [
            (&[][..], None, 0, 50, &[][..]),
            (&[], None, 3, 50, &[1, 2]),
            (&[1], None, 3, 50, &[2]),
            (&[], None, 0, 25, &[1, 2, 3]),
            (&[2], None, 0, 25, &[1, 3, 4]),
            // The run of 4 o'clock may need what came an hour before it.
            (&[], Some(4), 9, 50, &[1, 2]),
            (&[], Some(0), 9, 0, &[]),
            (&[1, 2, 3, 4, 5], None, 9, 0, &[]),
        ] {
            let removed = hours(needed, unfinished, before, bytes_max);
            assert_eq!(
                removed, expected,
                "{needed:?} {unfinished:?} {before} {bytes_max}"
            );
        }
    }
}
