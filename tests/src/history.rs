//! The journals as they are on the server, read past every host: what really
//! happened to each run, as far as it was written down.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use infraflow_bus::{Bus, BusConfig, Credentials, Feed};
use infraflow_core::id::RunId;
use infraflow_core::outcome::{AttemptOutcome, RunOutcome};
use infraflow_core::ports::{FeedItem, RunFeed as _};
use infraflow_core::run::{Entry, RecordEnvelope};
use tokio::runtime::Runtime;

use crate::wait::wait_for;

/// The longest piece of an entry that is shown.
const SHOWN: usize = 160;

#[derive(Debug, Default)]
struct Read {
    journals: BTreeMap<RunId, Journal>,
    unreadable: Vec<String>,
    caught_up: bool,
}

/// All journals, up to date.
#[derive(Debug)]
pub struct History {
    read: Arc<Mutex<Read>>,
    runtime: Option<Runtime>,
}

impl History {
    /// Follows the journals of a server.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn follow(url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let bus = runtime.block_on(Bus::connect(BusConfig {
            url: url.to_owned(),
            credentials: Credentials::Anonymous,
            name: "history".to_owned(),
            connect_timeout: Duration::from_secs(30),
            inbox_prefix: None,
        }));
        let bus = bus.expect("NATS answers");
        let read: Arc<Mutex<Read>> = Arc::default();
        let reading = read.clone();
        runtime.spawn(async move {
            let feed = Feed::open(bus);
            loop {
                let item = feed.next().await;
                lock(&reading).note(item);
            }
        });
        Self {
            read,
            runtime: Some(runtime),
        }
    }

    /// Waits until everything that was there at the start has been read.
    pub fn caught_up(&self) {
        wait_for("all journals", || lock(&self.read).caught_up.then_some(()));
    }

    /// Every journal.
    pub fn journals(&self) -> Vec<Journal> {
        lock(&self.read).journals.values().cloned().collect()
    }

    /// Records that could not be understood.
    pub fn unreadable(&self) -> Vec<String> {
        lock(&self.read).unreadable.clone()
    }
}

impl Drop for History {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn lock(read: &Mutex<Read>) -> MutexGuard<'_, Read> {
    read.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Read {
    fn note(&mut self, item: FeedItem) {
        match item {
            FeedItem::Record(sequence, record) => {
                let journal = self.journals.entry(record.run).or_insert_with(|| Journal {
                    run: record.run,
                    records: vec![],
                });
                journal.records.push((sequence.0, *record));
            }
            FeedItem::Unreadable {
                run,
                sequence,
                reason,
            } => self
                .unreadable
                .push(format!("run {run}, record {}: {reason}", sequence.0)),
            FeedItem::CaughtUp => self.caught_up = true,
        }
    }
}

/// An attempt, as its run's journal has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The step.
    pub step: String,
    /// Which try.
    pub number: u32,
    /// How it ended, when it did.
    pub outcome: Option<AttemptOutcome>,
}

/// The journal of one run.
#[derive(Debug, Clone)]
pub struct Journal {
    /// The run.
    pub run: RunId,
    /// Its records, with their sequences in the stream.
    pub records: Vec<(u64, RecordEnvelope)>,
}

impl Journal {
    /// Its entries, in order.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.records.iter().flat_map(|(_, record)| &record.entries)
    }

    /// Whether it has an entry of that name.
    pub fn has(&self, name: &str) -> bool {
        self.entries().any(|entry| entry.name() == name)
    }

    /// The name of its last entry.
    pub fn last(&self) -> &'static str {
        self.entries().next_back().map_or("nothing", Entry::name)
    }

    /// The id of the event that made the run.
    pub fn event(&self) -> Option<&str> {
        self.entries().find_map(|entry| match entry {
            Entry::Created(birth) => Some(birth.event.id.as_str()),
            _ => None,
        })
    }

    /// How the run ended, and why.
    pub fn end(&self) -> Option<(RunOutcome, &str)> {
        self.entries().find_map(|entry| match entry {
            Entry::Ended { outcome, reason } => Some((*outcome, reason.as_str())),
            _ => None,
        })
    }

    /// The host that claimed it last.
    pub fn claimed_by(&self) -> Option<&str> {
        self.entries().rev().find_map(|entry| match entry {
            Entry::Claimed(claim) => Some(claim.host.as_str()),
            _ => None,
        })
    }

    /// Its attempts, in order.
    pub fn attempts(&self) -> Vec<Attempt> {
        let mut attempts: Vec<Attempt> = Vec::new();
        for entry in self.entries() {
            match entry {
                Entry::AttemptStarted { step, attempt } => attempts.push(Attempt {
                    step: step.to_string(),
                    number: *attempt,
                    outcome: None,
                }),
                Entry::AttemptEnded(end) => {
                    let ended = attempts.iter_mut().find(|attempt| {
                        attempt.step == end.step.as_str() && attempt.number == end.attempt
                    });
                    if let Some(attempt) = ended {
                        attempt.outcome = Some(end.outcome);
                    }
                }
                _ => {}
            }
        }
        attempts
    }

    /// The journal for people.
    pub fn text(&self) -> String {
        let mut text = format!("run {}\n", self.run);
        for (sequence, record) in &self.records {
            let writer = &record.writer;
            text.push_str(&format!(
                "  {sequence:>4} {} {} life {} epoch {}\n",
                record.at, writer.host, writer.incarnation, record.epoch
            ));
            for entry in &record.entries {
                text.push_str(&format!("         {}\n", shown(entry)));
            }
        }
        text
    }
}

fn shown(entry: &Entry) -> String {
    match entry {
        Entry::Created(birth) => format!("created by event {}", birth.event.id),
        Entry::AttemptEnded(end) => format!(
            "attempt_ended {} {}: {} {}",
            end.step, end.attempt, end.outcome, end.message
        ),
        other => format!("{other:?}").chars().take(SHOWN).collect(),
    }
}
