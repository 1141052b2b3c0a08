//! A scenario: who is there, what they do, which fault strikes, and between
//! which two records. Everything follows from one seed.

use std::fmt;

use crate::random::Random;
use crate::workload::Workload;

/// How many hosts there may be, as often as they are named.
const HOSTS: [usize; 4] = [1, 2, 2, 3];

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The host gets SIGKILL.
    Kill,
    /// The host gets SIGTERM.
    Term,
    /// The host is stopped for longer than its lease, and goes on then.
    Stop,
    /// The server is killed and started again.
    NatsKill,
    /// The host's connection ends, or stands still.
    Cut,
    /// The server's disk, or the stream of journals, is full for a while.
    DiskFull,
    /// Every event is delivered again.
    Twice,
    /// The host's clock steps forward.
    ClockForward,
    /// The host's clock steps back.
    ClockBack,
}

impl Fault {
    /// All of them.
    pub(crate) const ALL: [Self; 9] = [
        Self::Kill,
        Self::Term,
        Self::Stop,
        Self::NatsKill,
        Self::Cut,
        Self::DiskFull,
        Self::Twice,
        Self::ClockForward,
        Self::ClockBack,
    ];

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Term => "term",
            Self::Stop => "stop",
            Self::NatsKill => "nats-kill",
            Self::Cut => "cut",
            Self::DiskFull => "disk-full",
            Self::Twice => "twice",
            Self::ClockForward => "clock-fwd",
            Self::ClockBack => "clock-back",
        }
    }
}

/// A place between two records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Boundary {
    /// The entry.
    pub(crate) entry: &'static str,
    /// `before` or `after` its record.
    pub(crate) side: &'static str,
}

impl fmt::Display for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.side, self.entry)
    }
}

/// One cell of the table that has to be full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cell {
    /// Where.
    pub(crate) boundary: Boundary,
    /// What.
    pub(crate) fault: Fault,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.fault.name(), self.boundary)
    }
}

/// Every place that some workload reaches.
pub(crate) fn boundaries() -> Vec<Boundary> {
    let reached = |entry: &str| Workload::ALL.iter().any(|w| w.entries().contains(&entry));
    infraflow_core::run::Entry::NAMES
        .into_iter()
        .filter(|entry| reached(entry))
        .flat_map(|entry| ["before", "after"].map(|side| Boundary { entry, side }))
        .collect()
}

/// Every cell.
pub(crate) fn cells() -> Vec<Cell> {
    let faults = |boundary| Fault::ALL.map(|fault| Cell { boundary, fault });
    boundaries().into_iter().flat_map(faults).collect()
}

/// A scenario.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    /// What it follows from.
    pub(crate) seed: u64,
    /// How many hosts.
    pub(crate) hosts: usize,
    /// Whether the one host is alone for certain, and has no lease.
    pub(crate) is_sole: bool,
    /// What they do.
    pub(crate) workload: Workload,
    /// Which fault strikes, and where.
    pub(crate) cell: Cell,
    /// At which record of that kind.
    pub(crate) nth: u64,
    /// How many events.
    pub(crate) events: u64,
    /// What interrupted steps do where the workload leaves it open.
    pub(crate) on_interrupt: &'static str,
    /// For what is decided on the way.
    pub(crate) random: Random,
}

impl Scenario {
    /// The scenario of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let cells = cells();
        let mut random = Random::new(seed);
        let cell = cells[index_of(seed, cells.len())];
        let workload = workload_of(&mut random, cell);
        let hosts = random.pick(&HOSTS).copied().unwrap_or(1);
        let hosts = match workload {
            // Somebody must be there to leave it to.
            Workload::Leave => hosts.max(2),
            _ => hosts,
        };
        let events = match workload {
            Workload::Short | Workload::Retry => random.within(1..=3),
            Workload::Lock => random.within(2..=4),
            // So many that one of them comes to the host of the first.
            Workload::Beside => 5,
            _ => 1,
        };
        // Only where there is more than one for certain.
        let nth = match (workload, cell.boundary.entry) {
            (Workload::Short, "attempt_started" | "attempt_ended") => random.within(1..=3),
            (Workload::Retry, "attempt_started" | "attempt_ended") => random.within(1..=4),
            (Workload::Later, "attempt_started") if hosts == 1 => random.within(1..=4),
            (Workload::Lock, "lock_acquired") => random.within(1..=2),
            _ => 1,
        };
        Self {
            seed,
            hosts,
            is_sole: hosts == 1 && random.coin(),
            workload,
            cell,
            nth,
            events,
            on_interrupt: if random.coin() { "retry" } else { "" },
            random,
        }
    }

    /// A seed whose scenario is in a cell.
    pub(crate) fn seed_in(cell: usize, random: &mut Random) -> u64 {
        let count = u64::try_from(cells().len()).unwrap_or(1);
        let cell = u64::try_from(cell).unwrap_or(0);
        // Short enough to be typed.
        let any = random.next() >> 40;
        any - any % count + cell
    }

    /// The point of the gate.
    pub(crate) fn point(&self) -> String {
        format!("{}:{}", self.cell.boundary, self.nth)
    }

    /// Its hosts, for people.
    pub(crate) fn who(&self) -> &'static str {
        match (self.hosts, self.is_sole) {
            (1, true) => "a sole host",
            (1, false) => "1 host",
            (2, _) => "2 hosts",
            _ => "3 hosts",
        }
    }

    /// The ids of its events.
    pub(crate) fn event_ids(&self) -> Vec<String> {
        (1..=self.events)
            .map(|number| format!("e{number}"))
            .collect()
    }
}

fn index_of(seed: u64, count: usize) -> usize {
    let count = u64::try_from(count).unwrap_or(1).max(1);
    usize::try_from(seed % count).unwrap_or(0)
}

fn workload_of(random: &mut Random, cell: Cell) -> Workload {
    let fitting: Vec<Workload> = Workload::ALL
        .into_iter()
        .filter(|workload| workload.entries().contains(&cell.boundary.entry))
        .collect();
    *random
        .pick(&fitting)
        .expect("a boundary is in the table because a workload reaches it")
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}: {} at {}, {} of {} on {}",
            self.seed,
            self.cell.fault.name(),
            self.point(),
            match self.events {
                1 => "1 event".to_owned(),
                events => format!("{events} events"),
            },
            self.workload.name(),
            self.who()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_of_a_journal_is_a_boundary() {
        let names: Vec<&str> = boundaries().iter().map(|boundary| boundary.entry).collect();
        for name in infraflow_core::run::Entry::NAMES {
            assert!(names.contains(&name), "no workload writes `{name}`");
        }
    }

    #[test]
    fn a_seed_is_a_scenario_of_its_cell() {
        let mut random = Random::new(1);
        for (index, cell) in cells().into_iter().enumerate() {
            let seed = Scenario::seed_in(index, &mut random);
            let scenario = Scenario::of(seed);
            assert_eq!(scenario.cell, cell);
            assert_eq!(scenario.to_string(), Scenario::of(seed).to_string());
        }
    }
}
