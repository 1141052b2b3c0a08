//! Waiting for values.

use std::time::{Duration, Instant};

/// The longest wait for anything that should happen at once or soon.
pub const SOON: Duration = Duration::from_secs(60);

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(15);

/// Looks until there is a value.
///
/// # Panics
/// When there is none within [`SOON`]; `what` says what was waited for.
pub fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_within(SOON, what, look)
}

/// As [`wait_for`], within another limit.
///
/// # Panics
/// When there is none in time.
#[expect(clippy::panic, reason = "a test that waits in vain has failed")]
pub fn wait_within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = look() {
            return value;
        }
        if start.elapsed() > limit {
            panic!("waited {limit:?} in vain for {what}");
        }
        pause(LOOK);
    }
}

/// Lets others run between two looks.
pub fn pause(time: Duration) {
    // May end early: whoever waits looks again.
    std::thread::park_timeout(time);
}

/// Lets this time pass: for faults that last.
pub fn pause_for(time: Duration) {
    let begun = Instant::now();
    while let Some(left) = time
        .checked_sub(begun.elapsed())
        .filter(|left| !left.is_zero())
    {
        pause(left);
    }
}
