//! The clock that leases count in: `CLOCK_BOOTTIME`.
//!
//! It goes on while the machine sleeps and is never set, so that a host which
//! was suspended knows how long it was away. It is the same for all processes
//! of a machine and means nothing on another one.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How long the machine has been up, time asleep included.
pub fn boottime() -> Duration {
    // Neither part is ever negative on this clock.
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(now.tv_nsec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_nanos(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_kernels_and_never_goes_back() {
        let first = boottime();
        let text = std::fs::read_to_string("/proc/uptime").unwrap();
        let told: f64 = text.split(' ').next().unwrap().parse().unwrap();
        let second = boottime();
        assert!(first <= second);
        // The kernel tells hundredths, cut off.
        assert!(first.as_secs_f64() - 0.02 <= told && told <= second.as_secs_f64() + 0.02);
    }
}
