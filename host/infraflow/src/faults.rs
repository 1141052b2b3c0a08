//! Test only: stops this process just before or just after a journal record is
//! written, and moves its clock.
//!
//! A point is `before:<entry>:<n>` or `after:<entry>:<n>`: the n-th record of
//! this process that holds such an entry; `infraflow-core` lists the entries.
//! `INFRAFLOW_KILL` names the point at which the process kills itself.
//! `INFRAFLOW_FAULT` names a file that holds the point of a gate, or will: then
//! records count from that moment on. The append waits there until somebody makes
//! the file `<log>.go`, so that any fault can be brought about exactly between
//! two records, while everything else goes on. The point that was reached is
//! appended to the file that `INFRAFLOW_KILL_LOG` or `INFRAFLOW_FAULT_LOG` names,
//! so that a test knows that it was hit.
//!
//! `INFRAFLOW_CLOCK_FILE` names a file with seconds, positive or negative, by
//! which the clock is wrong.

use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use infraflow_bus::JournalStore;
use infraflow_core::Timestamp;
use infraflow_core::id::RunId;
use infraflow_core::ports::{
    AppendError, BoxFuture, Clock, Journals, ReadError, Sequence, StoredRecords,
};
use infraflow_core::run::RecordEnvelope;
use jiff::SignedDuration;

/// The longest wait at a gate: a test that died must not leave a host that waits
/// for ever.
const GATE_PATIENCE: Duration = Duration::from_secs(60);

/// The pause between two looks for the file that opens a gate.
const GATE_LOOK: Duration = Duration::from_millis(5);

/// What happens at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Kill,
    Wait,
}

/// A place in the order of records, and what happens there.
#[derive(Debug)]
struct Point {
    act: Act,
    side: String,
    entry: String,
    nth: usize,
    log: Option<PathBuf>,
    seen: AtomicUsize,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.side, self.entry, self.nth)
    }
}

impl Point {
    /// The point that a text names; the variable `log` names the file for notes.
    fn parse(act: Act, text: &str, log: &str) -> Option<Self> {
        let mut parts = text.trim().split(':').map(str::to_owned);
        Some(Self {
            act,
            side: parts.next()?,
            entry: parts.next()?,
            nth: parts.next()?.parse().ok()?,
            log: std::env::var_os(log).map(PathBuf::from),
            seen: AtomicUsize::new(0),
        })
    }

    /// Whether this record is the one.
    fn is_due(&self, record: &RecordEnvelope) -> bool {
        let holds = record
            .entries
            .iter()
            .any(|entry| entry.name() == self.entry);
        holds && self.seen.fetch_add(1, Ordering::Relaxed) + 1 == self.nth
    }

    async fn happen(&self) {
        self.note();
        match self.act {
            Act::Kill => die(),
            Act::Wait => self.wait().await,
        }
    }

    /// Notes that it was reached. Without the note the test waits in vain, and
    /// says so.
    fn note(&self) {
        let Some(path) = &self.log else { return };
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path);
        if let Ok(mut file) = file {
            drop(writeln!(file, "{self}"));
            drop(file.sync_all());
        }
    }

    async fn wait(&self) {
        let Some(log) = &self.log else { return };
        let mut go = log.clone().into_os_string();
        go.push(".go");
        let go = PathBuf::from(go);
        let begun = Instant::now();
        tracing::info!(point = %self, "waiting at a gate");
        while !go.exists() && begun.elapsed() < GATE_PATIENCE {
            tokio::time::sleep(GATE_LOOK).await;
        }
        tracing::info!(point = %self, "through the gate");
    }
}

fn die() -> ! {
    let me = rustix::process::getpid();
    if rustix::process::kill_process(me, rustix::process::Signal::KILL).is_ok() {
        // The signal is on its way.
        std::thread::park();
    }
    std::process::abort();
}

/// Journals with faults before and after appends.
pub(crate) struct FaultyJournals {
    inner: JournalStore,
    kill: Option<Point>,
    gate: OnceLock<Point>,
}

impl FaultyJournals {
    /// Journals with the faults that the environment asks for.
    pub(crate) fn new(inner: JournalStore) -> Self {
        let kill = std::env::var("INFRAFLOW_KILL").ok();
        Self {
            inner,
            kill: kill.and_then(|text| Point::parse(Act::Kill, &text, "INFRAFLOW_KILL_LOG")),
            gate: OnceLock::new(),
        }
    }

    /// The gate, once its file is there.
    fn gate(&self) -> Option<&Point> {
        if self.gate.get().is_none() {
            let file = std::env::var_os("INFRAFLOW_FAULT")?;
            let text = std::fs::read_to_string(file).ok()?;
            let gate = Point::parse(Act::Wait, &text, "INFRAFLOW_FAULT_LOG")?;
            // Somebody else was quicker, with the same.
            drop(self.gate.set(gate));
        }
        self.gate.get()
    }
}

impl Journals for FaultyJournals {
    fn append<'a>(
        &'a self,
        record: &'a RecordEnvelope,
        after: Sequence,
    ) -> BoxFuture<'a, Result<Sequence, AppendError>> {
        Box::pin(async move {
            let points = [self.kill.as_ref(), self.gate()].into_iter().flatten();
            let due: Vec<&Point> = points.filter(|point| point.is_due(record)).collect();
            for point in due.iter().filter(|point| point.side == "before") {
                point.happen().await;
            }
            let appended = self.inner.append(record, after).await;
            if appended.is_ok() {
                for point in due.iter().filter(|point| point.side == "after") {
                    point.happen().await;
                }
            }
            appended
        })
    }

    fn read_at<'a>(
        &'a self,
        run: RunId,
        positions: &'a [Sequence],
    ) -> BoxFuture<'a, Result<Option<StoredRecords>, ReadError>> {
        self.inner.read_at(run, positions)
    }

    fn read(
        &self,
        run: RunId,
        after: Sequence,
    ) -> BoxFuture<'_, Result<Vec<(Sequence, RecordEnvelope)>, ReadError>> {
        self.inner.read(run, after)
    }
}

/// The system's clock, wrong by as much as a file says.
pub(crate) struct FaultyClock {
    file: Option<PathBuf>,
}

impl FaultyClock {
    /// The clock that the environment asks for.
    pub(crate) fn new() -> Self {
        Self {
            file: std::env::var_os("INFRAFLOW_CLOCK_FILE").map(PathBuf::from),
        }
    }

    /// No file, or none that can be read: the clock is right.
    fn seconds(&self) -> i64 {
        let text = self
            .file
            .as_ref()
            .and_then(|file| std::fs::read_to_string(file).ok());
        text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }
}

impl Clock for FaultyClock {
    fn now(&self) -> Timestamp {
        let right = Timestamp::now();
        right
            .saturating_add(SignedDuration::from_secs(self.seconds()))
            .unwrap_or(right)
    }

    fn boot(&self) -> Duration {
        infraflow_tools::boottime()
    }
}
