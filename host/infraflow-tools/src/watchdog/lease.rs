//! How long tools may run without a word from the host.
//!
//! Pure: times come in, nothing is killed here.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits::HOST_GONE_GRACE;

/// Two moments of `CLOCK_BOOTTIME`, both in nanoseconds since the boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    /// From then on no tool is started.
    spawn_until: u64,
    /// Then every tool is killed.
    kill_at: u64,
}

/// What a lease allows at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Allowed {
    /// Everything.
    Spawns,
    /// Tools go on, and none is started.
    NoSpawns,
    /// Tools are asked to end.
    Ending,
    /// No tool may live.
    Nothing,
}

impl Lease {
    /// A lease that ends tools at `kill_at` and starts none from `spawn_until`
    /// on, or from `kill_at` on when that is earlier.
    pub(crate) fn new(spawn_until: Duration, kill_at: Duration) -> Self {
        Self {
            spawn_until: nanos(spawn_until.min(kill_at)),
            kill_at: nanos(kill_at),
        }
    }

    /// What it allows at the moment `now`.
    pub(crate) fn allows(self, now: Duration) -> Allowed {
        let now = nanos(now);
        if now >= self.kill_at {
            Allowed::Nothing
        } else if now >= self.term_at() {
            Allowed::Ending
        } else if now >= self.spawn_until {
            Allowed::NoSpawns
        } else {
            Allowed::Spawns
        }
    }

    /// How long after `now` it allows less, if there is less to allow.
    pub(crate) fn next_change(self, now: Duration) -> Option<Duration> {
        let now = nanos(now);
        let changes = [self.spawn_until, self.term_at(), self.kill_at];
        let next = changes.into_iter().find(|&change| change > now)?;
        Some(Duration::from_nanos(next - now))
    }

    /// When tools are asked to end: the usual grace before they are killed, but
    /// never in the first half of the time in which a newer lease may come.
    fn term_at(self) -> u64 {
        let half = self.kill_at.saturating_sub(self.spawn_until) / 2;
        self.kill_at - half.min(nanos(HOST_GONE_GRACE))
    }
}

/// 584 years fit.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_a_lease_allows_and_when_that_changes() {
        use Allowed::{Ending, NoSpawns, Nothing, Spawns};
        // Spawns until 10 s, tools until 20 s, asked to end at 18 s.
        let long = Lease::new(ms(10_000), ms(20_000));
        // 250 ms each way.
        let short = Lease::new(ms(1_000), ms(1_500));
        let backwards = Lease::new(ms(2_000), ms(1_000));
        let ended = Lease::new(ms(0), ms(0));
        for (lease, now, allowed, change) in [
            (long, 0, Spawns, Some(10_000)),
            (long, 9_999, Spawns, Some(1)),
            (long, 10_000, NoSpawns, Some(8_000)),
            (long, 17_999, NoSpawns, Some(1)),
            (long, 18_000, Ending, Some(2_000)),
            (long, 19_999, Ending, Some(1)),
            (long, 20_000, Nothing, None),
            (short, 999, Spawns, Some(1)),
            (short, 1_249, NoSpawns, Some(1)),
            (short, 1_250, Ending, Some(250)),
            (short, 1_500, Nothing, None),
            (backwards, 999, Spawns, Some(1)),
            (backwards, 1_000, Nothing, None),
            (ended, 0, Nothing, None),
        ] {
            assert_eq!(lease.allows(ms(now)), allowed, "{lease:?} at {now}");
            assert_eq!(
                lease.next_change(ms(now)),
                change.map(ms),
                "{lease:?} at {now}"
            );
        }
        let longest = Lease::new(Duration::MAX, Duration::MAX);
        assert_eq!(longest.allows(ms(0)), Spawns);
    }
}
