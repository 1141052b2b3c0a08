//! Test only: kills this process just before or just after a journal record is
//! written.
//!
//! `INFRAFLOW_KILL=before:<entry>:<n>` or `after:<entry>:<n>` kills it with
//! SIGKILL at the n-th record that holds such an entry; `infraflow-core` lists
//! the entries. Each point that was reached is appended to the file that
//! `INFRAFLOW_KILL_LOG` names, so that a test knows that it was hit.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use infraflow_bus::JournalStore;
use infraflow_core::id::RunId;
use infraflow_core::ports::{AppendError, BoxFuture, Journals, ReadError, Sequence};
use infraflow_core::run::RecordEnvelope;

/// Where to kill.
struct Point {
    side: String,
    entry: String,
    nth: usize,
}

/// Journals that kill the host.
pub(crate) struct FaultyJournals {
    inner: JournalStore,
    point: Option<Point>,
    seen: AtomicUsize,
}

impl FaultyJournals {
    /// Journals with the fault that the environment asks for.
    pub(crate) fn new(inner: JournalStore) -> Self {
        let point = std::env::var("INFRAFLOW_KILL").ok().and_then(|text| {
            let mut parts = text.split(':').map(str::to_owned);
            let (side, entry) = (parts.next()?, parts.next()?);
            Some(Point {
                side,
                entry,
                nth: parts.next()?.parse().ok()?,
            })
        });
        Self {
            inner,
            point,
            seen: AtomicUsize::new(0),
        }
    }

    /// Whether this record is the one to die at.
    fn is_due(&self, record: &RecordEnvelope) -> Option<&Point> {
        let point = self.point.as_ref()?;
        let holds = record
            .entries
            .iter()
            .any(|entry| entry.name() == point.entry);
        if !holds {
            return None;
        }
        let seen = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
        (seen == point.nth).then_some(point)
    }
}

fn die(point: &Point) -> ! {
    if let Ok(path) = std::env::var("INFRAFLOW_KILL_LOG") {
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path);
        if let Ok(mut file) = file {
            drop(writeln!(
                file,
                "{}:{}:{}",
                point.side, point.entry, point.nth
            ));
            drop(file.sync_all());
        }
    }
    let me = rustix::process::getpid();
    if rustix::process::kill_process(me, rustix::process::Signal::KILL).is_ok() {
        // The signal is on its way.
        std::thread::park();
    }
    std::process::abort();
}

impl Journals for FaultyJournals {
    fn append<'a>(
        &'a self,
        record: &'a RecordEnvelope,
        after: Sequence,
    ) -> BoxFuture<'a, Result<Sequence, AppendError>> {
        Box::pin(async move {
            let due = self.is_due(record);
            if let Some(point) = due.filter(|point| point.side == "before") {
                die(point);
            }
            let appended = self.inner.append(record, after).await;
            if let Some(point) = due.filter(|point| point.side == "after" && appended.is_ok()) {
                die(point);
            }
            appended
        })
    }

    fn read(
        &self,
        run: RunId,
        after: Sequence,
    ) -> BoxFuture<'_, Result<Vec<(Sequence, RecordEnvelope)>, ReadError>> {
        self.inner.read(run, after)
    }
}
