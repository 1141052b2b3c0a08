//! Locks: who has one, who waits for it, and what follows.
//!
//! A lock belongs to runs, never to hosts. It is free of a holder whose run is
//! over, which whoever wants it may find out. The state of a lock is one stored
//! value that is changed by compare-and-set: everything here is what one such
//! change does.

use std::collections::HashSet;

use crate::Timestamp;
use crate::id::{LockName, RunId};
use crate::limits::LOCK_WAITERS;
use crate::ports::Sequence;
use crate::workflow::OnConflict;

/// A lock that a run needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockSpec {
    /// Its name.
    pub name: LockName,
    /// How many runs may have it at once. At least 1.
    pub max: u32,
}

/// Who asks for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// The run.
    pub run: RunId,
    /// Its place in the queue: the position of its event.
    pub order: Sequence,
    /// What it does when the lock is taken.
    pub on_conflict: OnConflict,
}

/// A run that has a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The run.
    pub run: RunId,
    /// The position of its event.
    pub order: Sequence,
    /// The fencing token: grows with every taking of the lock.
    pub token: u64,
    /// Since when.
    pub since: Timestamp,
}

/// A run that waits for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiter {
    /// The position of its event: the order of the queue.
    pub order: Sequence,
    /// The run.
    pub run: RunId,
}

/// A lock as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LockState {
    /// How many runs may have it at once, as whoever asked last said. 0: nobody
    /// ever asked.
    pub max: u32,
    /// The runs that have it.
    pub holders: Vec<Holder>,
    /// The runs that wait for it, in order.
    pub waiters: Vec<Waiter>,
    /// The last token that was given.
    pub last_token: u64,
}

/// What a run is told that asked for a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockAnswer {
    /// It has the lock.
    Taken {
        /// The fencing token.
        token: u64,
    },
    /// It waits.
    Waits,
    /// It is to end: the run of a newer event has the lock or waits for it.
    Superseded {
        /// That run.
        by: RunId,
    },
    /// Too many wait already ([`LOCK_WAITERS`]).
    Full,
}

/// What asking for a lock does to other runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Displaced {
    /// Runs to cancel: they have the lock, or waited for it.
    pub cancel: Vec<RunId>,
    /// Runs that waited and are to end `skipped`.
    pub skip: Vec<RunId>,
}

impl LockState {
    /// A run asks for the lock. Asking again changes nothing: who has it keeps
    /// it, who waits keeps its place.
    ///
    /// `over` are the runs, among those that have it or wait for it, that are
    /// known to have ended.
    pub fn ask(
        &mut self,
        asker: Asker,
        max: u32,
        over: &HashSet<RunId>,
        now: Timestamp,
    ) -> (LockAnswer, Displaced) {
        self.forget(over);
        self.max = max;
        if let Some(holder) = self.holders.iter().find(|holder| holder.run == asker.run) {
            let token = holder.token;
            return (LockAnswer::Taken { token }, Displaced::default());
        }
        if self.has_room_for(asker, max) {
            return (self.give(asker, now), Displaced::default());
        }
        if asker.on_conflict != OnConflict::Queue
            && let Some(by) = self.newer_than(asker)
        {
            self.waiters.retain(|waiter| waiter.run != asker.run);
            return (LockAnswer::Superseded { by }, Displaced::default());
        }
        let displaced = self.displace(asker);
        let place = Waiter {
            order: asker.order,
            run: asker.run,
        };
        let ahead = self
            .waiters
            .iter()
            .filter(|waiter| **waiter < place)
            .count();
        let free = usize::try_from(max)
            .unwrap_or(usize::MAX)
            .saturating_sub(self.holders.len());
        if ahead < free {
            return (self.give(asker, now), displaced);
        }
        match self.waiters.binary_search(&place) {
            Ok(_) => {}
            Err(_) if self.waiters.len() >= LOCK_WAITERS => return (LockAnswer::Full, displaced),
            Err(at) => self.waiters.insert(at, place),
        }
        (LockAnswer::Waits, displaced)
    }

    /// Whether there is a place and nobody else wants it: then there is no
    /// conflict, whatever the asker does at one.
    fn has_room_for(&self, asker: Asker, max: u32) -> bool {
        let has_place = u32::try_from(self.holders.len()).is_ok_and(|holders| holders < max);
        has_place && self.waiters.iter().all(|waiter| waiter.run == asker.run)
    }

    fn give(&mut self, asker: Asker, now: Timestamp) -> LockAnswer {
        self.waiters.retain(|waiter| waiter.run != asker.run);
        self.last_token += 1;
        let token = self.last_token;
        self.holders.push(Holder {
            run: asker.run,
            order: asker.order,
            token,
            since: now,
        });
        LockAnswer::Taken { token }
    }

    /// A run of a newer event that has the lock or waits for it.
    fn newer_than(&self, asker: Asker) -> Option<RunId> {
        let holding = self.holders.iter().map(|holder| (holder.order, holder.run));
        let waiting = self.waiters.iter().map(|waiter| (waiter.order, waiter.run));
        holding
            .chain(waiting)
            .filter(|&(order, run)| order > asker.order && run != asker.run)
            .max()
            .map(|(_, run)| run)
    }

    /// Takes older runs out of the queue, as the asker's policy says. Those that
    /// have the lock keep it until they have ended.
    fn displace(&mut self, asker: Asker) -> Displaced {
        let is_older = |order: Sequence, run: RunId| order < asker.order && run != asker.run;
        let mut displaced = Displaced::default();
        if asker.on_conflict == OnConflict::Queue {
            return displaced;
        }
        self.waiters.retain(|waiter| {
            let goes = is_older(waiter.order, waiter.run);
            if goes {
                match asker.on_conflict {
                    OnConflict::CancelRunning => displaced.cancel.push(waiter.run),
                    OnConflict::Skip | OnConflict::Queue => displaced.skip.push(waiter.run),
                }
            }
            !goes
        });
        if asker.on_conflict == OnConflict::CancelRunning {
            let older = self
                .holders
                .iter()
                .filter(|holder| is_older(holder.order, holder.run));
            displaced.cancel.extend(older.map(|holder| holder.run));
        }
        displaced
    }

    /// Takes a run out, whether it has the lock or waits for it; says whether
    /// it was there.
    pub fn leave(&mut self, run: RunId) -> bool {
        let before = (self.holders.len(), self.waiters.len());
        self.holders.retain(|holder| holder.run != run);
        self.waiters.retain(|waiter| waiter.run != run);
        before != (self.holders.len(), self.waiters.len())
    }

    /// Takes runs out that have ended.
    pub fn forget(&mut self, over: &HashSet<RunId>) {
        self.holders.retain(|holder| !over.contains(&holder.run));
        self.waiters.retain(|waiter| !over.contains(&waiter.run));
    }

    /// The runs that may have the lock now and wait for it still: they are to
    /// be woken, and ask again.
    pub fn next(&self) -> Vec<RunId> {
        let free = usize::try_from(self.max)
            .unwrap_or(usize::MAX)
            .saturating_sub(self.holders.len());
        self.waiters.iter().take(free).map(|w| w.run).collect()
    }

    /// Everybody who has it or waits for it.
    pub fn runs(&self) -> impl Iterator<Item = RunId> {
        let holders = self.holders.iter().map(|holder| holder.run);
        holders.chain(self.waiters.iter().map(|waiter| waiter.run))
    }

    /// Whether nobody has it and nobody waits: it need not be stored.
    pub fn is_unused(&self) -> bool {
        self.holders.is_empty() && self.waiters.is_empty()
    }
}

#[cfg(test)]
mod tests;
