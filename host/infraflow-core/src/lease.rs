//! Leases: which hosts live, and for how long a host may go on that hears
//! nothing from NATS.
//!
//! Times are readings of the own machine's clock since boot, which goes on
//! while the machine sleeps; no two machines' clocks are ever compared. A host
//! counts as gone only after its lease was seen unchanged for a whole period by
//! somebody who was connected all the while, and by then it has killed its
//! tools: its own time is counted from before it sent its last renewal.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::{HostName, Incarnation};

/// A reading of the clock since boot (`CLOCK_BOOTTIME`).
pub type BootTime = Duration;

/// How long what takes, as parts of the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTimes {
    /// The lease.
    pub lease: Duration,
}

impl LeaseTimes {
    /// How often the holder renews.
    pub fn renewal(self) -> Duration {
        self.lease / 6
    }

    /// How long after its last confirmed renewal the holder begins effects.
    pub fn effects(self) -> Duration {
        self.lease / 2
    }

    /// How long after its last confirmed renewal its tools live. What is left
    /// until the lease runs out is for killing them.
    pub fn tools(self) -> Duration {
        self.lease * 3 / 4
    }
}

/// A host's own lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnLease {
    times: LeaseTimes,
    confirmed: Option<BootTime>,
}

impl OwnLease {
    /// A lease that was never confirmed.
    pub fn new(times: LeaseTimes) -> Self {
        Self {
            times,
            confirmed: None,
        }
    }

    /// A renewal was confirmed that was sent at that time.
    pub fn confirm(&mut self, sent: BootTime) {
        self.confirmed = self.confirmed.max(Some(sent));
    }

    /// Until when effects may begin.
    pub fn effects_until(&self) -> BootTime {
        self.confirmed
            .map_or(Duration::ZERO, |sent| sent + self.times.effects())
    }

    /// Until when tools may live.
    pub fn tools_until(&self) -> BootTime {
        self.confirmed
            .map_or(Duration::ZERO, |sent| sent + self.times.tools())
    }

    /// Whether an effect may begin.
    pub fn may_act(&self, now: BootTime) -> bool {
        now < self.effects_until()
    }
}

/// Whether a life of a host may still act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Alive,
    /// It may not, for that long at least.
    Gone {
        /// Since it was found gone.
        since: Duration,
    },
}

impl Standing {
    /// Whether it may not act any more.
    pub fn is_gone(self) -> bool {
        matches!(self, Self::Gone { .. })
    }
}

/// What one host sees of the leases of all.
#[derive(Debug, Clone, Default)]
pub struct LeaseTable {
    hosts: BTreeMap<HostName, Seen>,
    /// Since when this host has been connected; unset: it is not.
    connected: Option<BootTime>,
    /// Since when all leases are known.
    complete: Option<BootTime>,
    /// When the clock was looked at last.
    ticked: Option<BootTime>,
}

#[derive(Debug, Clone)]
struct Seen {
    /// The life that has the lease; unset: it was given back.
    life: Option<Incarnation>,
    lease: Duration,
    revision: u64,
    at: BootTime,
    gone: Option<BootTime>,
}

impl LeaseTable {
    /// A lease was written, or found when the table was read.
    pub fn saw(
        &mut self,
        host: &HostName,
        life: Incarnation,
        lease: Duration,
        revision: u64,
        now: BootTime,
    ) {
        if let Some(seen) = self.hosts.get_mut(host)
            && seen.revision == revision
        {
            return;
        }
        let seen = Seen {
            life: Some(life),
            lease,
            revision,
            at: now,
            gone: None,
        };
        self.hosts.insert(host.clone(), seen);
    }

    /// A lease was given back.
    pub fn saw_left(&mut self, host: &HostName, revision: u64, now: BootTime) {
        let gone = Seen {
            life: None,
            lease: Duration::ZERO,
            revision,
            at: now,
            gone: Some(now),
        };
        self.hosts.insert(host.clone(), gone);
    }

    /// Every lease that is there has been seen.
    pub fn is_complete(&mut self, now: BootTime) {
        self.complete.get_or_insert(now);
    }

    /// The connection came back: what was not seen meanwhile proves nothing.
    pub fn connected(&mut self, now: BootTime) {
        self.connected = Some(now);
    }

    /// The connection is gone.
    pub fn disconnected(&mut self) {
        self.connected = None;
    }

    /// Looks at the clock: finds who is gone now, and returns them.
    ///
    /// After a gap between two looks (this process stood still, the machine
    /// slept) nothing that was not seen in it counts: renewals may lie unread.
    pub fn tick(&mut self, now: BootTime) -> Vec<HostName> {
        let leases = self.hosts.values().map(|seen| seen.lease);
        let shortest = leases.filter(|lease| !lease.is_zero()).min();
        let gap = now.saturating_sub(self.ticked.replace(now).unwrap_or(now));
        if self.connected.is_some() && shortest.is_some_and(|lease| gap > lease / 4) {
            self.connected = Some(now);
        }
        let Some(connected) = self.connected else {
            return vec![];
        };
        let mut gone = Vec::new();
        for (host, seen) in &mut self.hosts {
            let unchanged = now.saturating_sub(seen.at.max(connected));
            if seen.gone.is_none() && unchanged > seen.lease {
                seen.gone = Some(now);
                gone.push(host.clone());
            }
        }
        gone
    }

    /// Whether a life of a host may still act. A life that another one of the
    /// same host has followed may not: they share a data directory, and its
    /// lock. Of a host without a lease nothing is known until the table is
    /// complete.
    pub fn standing(&self, host: &HostName, life: Incarnation, now: BootTime) -> Standing {
        let since = |then: BootTime| Standing::Gone {
            since: now.saturating_sub(then),
        };
        match self.hosts.get(host) {
            Some(seen) => match (seen.life, seen.gone) {
                (Some(current), None) if current == life => Standing::Alive,
                (Some(_), None) => since(seen.at),
                (_, gone) => since(gone.unwrap_or(seen.at)),
            },
            None => self.complete.map_or(Standing::Alive, since),
        }
    }

    /// Whether any life of a host has a lease, and for how long not.
    pub fn host_standing(&self, host: &HostName, now: BootTime) -> Standing {
        match self.hosts.get(host) {
            Some(seen) => match seen.gone {
                None => Standing::Alive,
                Some(then) => Standing::Gone {
                    since: now.saturating_sub(then),
                },
            },
            None => self
                .complete
                .map_or(Standing::Alive, |then| Standing::Gone {
                    since: now.saturating_sub(then),
                }),
        }
    }
}

#[cfg(test)]
mod tests;
