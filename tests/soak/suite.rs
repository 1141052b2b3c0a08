//! Plays scenarios side by side, and reports.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use infraflow_tests::cluster::Cluster;

use crate::judge::Violation;
use crate::options::{Options, Wanted, What};
use crate::play::{self, Played};
use crate::random::Random;
use crate::say;
use crate::scenario::{Fault, Scenario, cells};
use crate::table::Table;

/// How often a cell is tried again whose gate nobody came to.
const TRIES: u32 = 6;

/// How often a seed is drawn until its scenario is a wanted one.
const DRAWS: u32 = 1_000;

/// Lines of a host's log that are shown after a violation.
const LOG_LINES: usize = 60;

/// The cells of the short form: one for each fault, where it hurts.
const SHORT: [&str; 9] = [
    "kill:before:created",
    "term:before:attempt_ended",
    "stop:before:attempt_ended",
    "nats-kill:after:attempt_started",
    "cut:before:ended",
    "disk-full:before:attempt_ended",
    "twice:after:created",
    "clock-fwd:after:attempt_started",
    "clock-back:before:attempt_ended",
];

/// What is to be played, and what was.
struct Work {
    queue: VecDeque<(usize, u32)>,
    until: Option<Instant>,
    random: Random,
    table: Table,
    played: u64,
    missed: u64,
    failed: Vec<u64>,
    wanted: Wanted,
    keeps_going: bool,
}

impl Work {
    /// The next scenario's seed, and which try of its cell it is.
    fn next(&mut self) -> Option<(u64, u32)> {
        if !self.failed.is_empty() && !self.keeps_going {
            return None;
        }
        if self.queue.is_empty() && self.until.is_some_and(|until| Instant::now() < until) {
            self.fill();
        }
        if self.until.is_some_and(|until| Instant::now() >= until) {
            // What is left serves to fill the table.
            let (table, cells) = (&self.table, cells());
            self.queue
                .retain(|(index, _)| cells.get(*index).is_some_and(|cell| table.hits(*cell) == 0));
        }
        let (cell, attempt) = self.queue.pop_front()?;
        Some((self.seed_in(cell), attempt))
    }

    /// A seed of a cell, of a wanted scenario where there is one.
    fn seed_in(&mut self, cell: usize) -> u64 {
        let mut seed = Scenario::seed_in(cell, &mut self.random);
        for _ in 0..DRAWS {
            if self.wanted.includes(&Scenario::of(seed)) {
                break;
            }
            seed = Scenario::seed_in(cell, &mut self.random);
        }
        seed
    }

    /// Every cell, in another order each time.
    fn fill(&mut self) {
        let mut all: Vec<usize> = (0..cells().len()).collect();
        self.random.shuffle(&mut all);
        self.queue.extend(all.into_iter().map(|cell| (cell, 1)));
    }

    fn note(&mut self, scenario: &Scenario, attempt: u32, result: Result<Played, ()>) {
        self.played += 1;
        match result {
            Ok(Played::Hit) => {
                self.table.count(scenario);
            }
            Ok(Played::Missed) => {
                self.missed += 1;
                let cell = cells().iter().position(|cell| *cell == scenario.cell);
                if let Some(cell) = cell.filter(|_| attempt < TRIES) {
                    self.queue.push_back((cell, attempt + 1));
                }
            }
            Err(()) => self.failed.push(scenario.seed),
        }
    }
}

fn lock(work: &Mutex<Work>) -> MutexGuard<'_, Work> {
    work.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Plays what the options say.
pub(crate) fn run(options: &Options) -> ExitCode {
    if let What::Seed(seed) = options.what {
        return one(&Scenario::of(seed));
    }
    let begun = Instant::now();
    let mut work = Work {
        queue: VecDeque::new(),
        until: None,
        random: Random::new(seed_of_now()),
        table: Table::default(),
        played: 0,
        missed: 0,
        failed: vec![],
        wanted: options.wanted.clone(),
        keeps_going: options.keeps_going,
    };
    match &options.what {
        What::Long(time) => {
            work.until = Some(begun + *time);
            work.fill();
        }
        What::Short => {
            // The longest first.
            let short = SHORT.iter().filter_map(|name| {
                let mut all = cells().into_iter();
                all.position(|cell| cell.to_string() == *name)
            });
            work.queue.extend(short.map(|cell| (cell, 1)));
        }
        What::Cell(cell) => work.queue.push_back((*cell, 1)),
        What::Seed(_) => {}
    }
    let work = Mutex::new(work);
    std::thread::scope(|scope| {
        for _ in 0..options.workers {
            scope.spawn(|| work_through(&work));
        }
    });
    let work = work.into_inner().unwrap_or_else(PoisonError::into_inner);
    report(&work, &options.what, begun.elapsed())
}

fn seed_of_now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |now| u64::try_from(now.as_nanos()).unwrap_or(1))
}

fn one(scenario: &Scenario) -> ExitCode {
    match played_out(scenario, true) {
        Ok(played) => {
            say(&format!("{scenario}: {played:?}"));
            ExitCode::SUCCESS
        }
        Err(()) => ExitCode::FAILURE,
    }
}

fn work_through(work: &Mutex<Work>) {
    loop {
        let next = lock(work).next();
        let Some((seed, attempt)) = next else { return };
        let scenario = Scenario::of(seed);
        let begun = Instant::now();
        let result = played(&scenario);
        say(&format!(
            "{:>5.1} s  {scenario}: {}",
            begun.elapsed().as_secs_f32(),
            match result {
                Ok(Played::Hit) => "holds",
                Ok(Played::Missed) => "holds, but no host came to the gate",
                Err(()) => "VIOLATED",
            }
        ));
        lock(work).note(&scenario, attempt, result);
    }
}

/// Plays a scenario; a violation is printed with everything that is known.
fn played(scenario: &Scenario) -> Result<Played, ()> {
    played_out(scenario, false)
}

/// The same; `tells` prints everything also where nothing was violated.
fn played_out(scenario: &Scenario, tells: bool) -> Result<Played, ()> {
    let mut cluster = play::cluster(scenario);
    let result = catch_unwind(AssertUnwindSafe(|| play::play(scenario, &mut cluster)));
    let violation = match result {
        Ok(Ok(played)) => {
            if tells || played == Played::Missed {
                say(&all_about(&mut cluster));
            }
            return Ok(played);
        }
        Ok(Err(violation)) => violation,
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            Violation::new("everything happens in time", text.unwrap_or_default())
        }
    };
    tell(scenario, &violation, &mut cluster);
    Err(())
}

fn tell(scenario: &Scenario, violation: &Violation, cluster: &mut Cluster) {
    say(&format!(
        "\nVIOLATED: {violation}\n{scenario}\nagain: soak --seed {}\n{}",
        scenario.seed,
        all_about(cluster)
    ));
}

/// The journals, the effects, and the ends of the logs.
fn all_about(cluster: &mut Cluster) -> String {
    let mut text = String::new();
    for journal in cluster.history().journals() {
        text.push_str(&journal.text());
    }
    text.push_str("effects:\n");
    for hit in cluster.counter.in_order() {
        if !hit.starts_with("/open/") {
            text.push_str(&format!("  {hit}\n"));
        }
    }
    for line in lines(cluster) {
        text.push_str(&format!("  {line}\n"));
    }
    for member in &cluster.members {
        for (life, log) in member.host.logs().iter().enumerate() {
            text.push_str(&format!("--- host {}, life {}\n", member.name, life + 1));
            text.push_str(&tail(log));
        }
    }
    text.push_str("--- server\n");
    text.push_str(&tail(&cluster.server.log()));
    text
}

/// The log lines of the runs, where a host is left to ask.
fn lines(cluster: &mut Cluster) -> Vec<String> {
    let journals = cluster.history().journals();
    let Some(member) = cluster.members.iter().find(|m| m.host.is_up()) else {
        return vec![];
    };
    let mut lines = Vec::new();
    for journal in journals {
        let output = member.host.cli(&["logs", &journal.run.to_string()]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        lines.extend(text.lines().take(LOG_LINES).map(str::to_owned));
    }
    lines
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let first = lines.len().saturating_sub(LOG_LINES);
    let mut text = lines[first..].join("\n");
    text.push('\n');
    text
}

fn report(work: &Work, what: &What, took: Duration) -> ExitCode {
    say(&format!("\n{}", work.table.text()));
    say(&format!(
        "{} scenarios in {:.0} s, {} without their fault, {} violated",
        work.played,
        took.as_secs_f32(),
        work.missed,
        work.failed.len()
    ));
    for seed in &work.failed {
        say(&format!("violated: {}", Scenario::of(*seed)));
        say(&format!("  again: soak --seed {seed}"));
    }
    if !work.failed.is_empty() {
        return ExitCode::FAILURE;
    }
    let missing = missing(&work.table, what);
    for what in &missing {
        say(&format!("empty cell: {what}"));
    }
    match missing.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// What should have happened and did not.
fn missing(table: &Table, what: &What) -> Vec<String> {
    match what {
        What::Long(_) => table.empty().iter().map(ToString::to_string).collect(),
        What::Short => {
            let struck = |fault: Fault| {
                let mut all = cells().into_iter();
                all.any(|cell| cell.fault == fault && table.hits(cell) > 0)
            };
            let missing = Fault::ALL.into_iter().filter(|fault| !struck(*fault));
            missing
                .map(|fault| format!("{} anywhere", fault.name()))
                .collect()
        }
        What::Seed(_) | What::Cell(_) => vec![],
    }
}
