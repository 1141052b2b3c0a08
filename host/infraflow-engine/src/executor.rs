//! The runs that this host has, how many it may have, and taking runs over.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use infraflow_core::id::{HostName, RunId};
use infraflow_core::lease::Standing;
use infraflow_core::ports::{AppendError, Inbox, ReadError, Receipt, Sequence, WorkItem};
use infraflow_core::run::{Claim, Entry, Input, Phase, RecordEnvelope, Run, Writer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::catalog::VersionError;
use crate::driver::{self, Driver};
use crate::engine::Shared;
use crate::requests::set_timer;
use crate::sabotage::{self, Break};
use crate::task::spawn_bounded;

/// Things to tell one run before it listens. More are refused.
const MAILBOX: usize = 16;

/// How long a new run waits while no place becomes free, before it is queued as a
/// work item instead. Runs of a few milliseconds make room at once; behind
/// playbooks it would wait in vain.
const ADMISSION_PATIENCE: Duration = Duration::from_millis(250);

/// How long it waits while places become free: a work item costs a record more,
/// which makes a flood of short runs longer.
const ADMISSION_PATIENCE_MAX: Duration = Duration::from_secs(5);

/// How long new runs do not wait after one has waited in vain.
const FULL_FOR: Duration = Duration::from_secs(1);

/// The first and the longest pause between two tries to append.
const APPEND_DELAYS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// How long a work item is put off that nobody can work on now.
const PUT_OFF: Duration = Duration::from_secs(10);

/// How often work that takes long shows that it is alive; well below the
/// server's ack wait of 30 s.
pub(crate) const ALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Something to tell a live run.
pub(crate) enum Nudge {
    /// Somebody else appended to its journal.
    Look,
    /// The host shuts down: go on until the attempt ends, then give it back.
    Drain,
    /// The host shuts down now.
    Interrupt,
    /// The host's lease has run out: its attempts end, and whoever has the run
    /// then says how it goes on.
    Fence,
    /// A work item of it came: settle it when the run has ended or waits.
    Settle(Arc<dyn Receipt>),
}

/// The runs that this host has.
#[derive(Default)]
pub(crate) struct LiveRuns {
    runs: Mutex<HashMap<RunId, mpsc::Sender<Nudge>>>,
}

/// The exclusive right to work on a run within this process.
pub(crate) struct Reservation {
    live: Arc<LiveRuns>,
    run: RunId,
    is_closed: bool,
    pub(crate) mailbox: mpsc::Receiver<Nudge>,
}

impl LiveRuns {
    /// Reserves a run; `None` when something in this process has it already.
    pub(crate) fn reserve(self: &Arc<Self>, run: RunId) -> Option<Reservation> {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        if runs.contains_key(&run) {
            return None;
        }
        let (sender, mailbox) = mpsc::channel(MAILBOX);
        runs.insert(run, sender);
        Some(Reservation {
            live: self.clone(),
            run,
            is_closed: false,
            mailbox,
        })
    }

    /// Tells a run something; gives it back when the run is not here or does
    /// not listen.
    pub(crate) fn nudge(&self, run: RunId, nudge: Nudge) -> Result<(), Nudge> {
        let sender = {
            let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
            runs.get(&run).cloned()
        };
        match sender {
            None => Err(nudge),
            Some(sender) => sender.try_send(nudge).map_err(|error| match error {
                mpsc::error::TrySendError::Full(nudge)
                | mpsc::error::TrySendError::Closed(nudge) => nudge,
            }),
        }
    }

    /// Whether something in this process has the run.
    pub(crate) fn has(&self, run: RunId) -> bool {
        self.runs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(&run)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.runs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// All of them.
    pub(crate) fn ids(&self) -> Vec<RunId> {
        self.runs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .copied()
            .collect()
    }
}

impl Reservation {
    /// Gives the run back to the process, and returns the receipts of work items
    /// that came too late to be heard.
    pub(crate) fn close(&mut self) -> Vec<Arc<dyn Receipt>> {
        if std::mem::replace(&mut self.is_closed, true) {
            return vec![];
        }
        self.live
            .runs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.run);
        self.mailbox.close();
        let mut late = Vec::new();
        while let Ok(nudge) = self.mailbox.try_recv() {
            if let Nudge::Settle(receipt) = nudge {
                late.push(receipt);
            }
        }
        late
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // What was not heard comes again when its ack wait is over.
        drop(self.close());
    }
}

/// How many runs this host may have.
pub(crate) struct Admission {
    places: Arc<Semaphore>,
    /// Places that were given so far.
    given: AtomicU64,
    /// New runs do not wait before this time: others have waited in vain.
    full_until: Mutex<Option<Instant>>,
}

impl Admission {
    pub(crate) fn new(runs_max: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(runs_max)),
            given: AtomicU64::new(0),
            full_until: Mutex::new(None),
        }
    }

    /// A place for a new run, or `None` when it should queue.
    pub(crate) async fn try_enter(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Some(self.give(place));
        }
        let begun = Instant::now();
        if self.full_until().is_some_and(|until| begun < until) {
            return None;
        }
        let mut wait = std::pin::pin!(self.places.clone().acquire_owned());
        loop {
            let given = self.given.load(Ordering::Relaxed);
            match tokio::time::timeout(ADMISSION_PATIENCE, &mut wait).await {
                Ok(place) => return Some(self.give(place.ok()?)),
                Err(_) => {
                    let is_moving = self.given.load(Ordering::Relaxed) != given;
                    if !is_moving || begun.elapsed() > ADMISSION_PATIENCE_MAX {
                        *self.full_until() = Some(Instant::now() + FULL_FOR);
                        return None;
                    }
                }
            }
        }
    }

    fn give(&self, place: OwnedSemaphorePermit) -> OwnedSemaphorePermit {
        self.given.fetch_add(1, Ordering::Relaxed);
        place
    }

    fn full_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.full_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, however long it takes. `None` when the host shuts down.
    pub(crate) async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        let place = self.places.clone().acquire_owned().await.ok()?;
        Some(self.give(place))
    }
}

/// Appends records for this host.
pub(crate) struct Appender {
    writer: Writer,
    nonces: AtomicU64,
    /// Set when the host gives up on what is not written yet.
    give_up: watch::Receiver<bool>,
}

/// Why a record was not appended.
#[derive(Debug)]
pub(crate) enum NotAppended {
    /// The journal has moved on.
    Conflict,
    /// The record is too large.
    TooLarge,
    /// The host shuts down and NATS does not answer.
    GivenUp,
}

impl Appender {
    pub(crate) fn new(writer: Writer, first_nonce: u64, give_up: watch::Receiver<bool>) -> Self {
        Self {
            writer,
            nonces: AtomicU64::new(first_nonce),
            give_up,
        }
    }

    /// A number that nothing else of this life has.
    pub(crate) fn nonce(&self) -> u64 {
        self.nonces.fetch_add(1, Ordering::Relaxed)
    }

    /// A record of this host.
    pub(crate) fn record(
        &self,
        run: &Run,
        entries: Vec<Entry>,
        wakes: Option<infraflow_core::id::PoolName>,
        at: infraflow_core::Timestamp,
    ) -> RecordEnvelope {
        RecordEnvelope {
            run: run.id(),
            writer: self.writer.clone(),
            epoch: run.epoch(),
            nonce: self.nonce(),
            at,
            wakes,
            entries,
        }
    }

    /// Appends, for as long as it takes: an append without an answer is the same
    /// append again.
    pub(crate) async fn append(
        &self,
        shared: &Shared,
        record: &RecordEnvelope,
        after: Sequence,
    ) -> Result<Sequence, NotAppended> {
        let (mut delay, delay_max) = APPEND_DELAYS;
        loop {
            match shared.ports.journals.append(record, after).await {
                Ok(sequence) => return Ok(sequence),
                Err(AppendError::Conflict) => return Err(NotAppended::Conflict),
                Err(AppendError::TooLarge(_)) => return Err(NotAppended::TooLarge),
                Err(error @ (AppendError::Full | AppendError::Unavailable(_))) => {
                    tracing::warn!(run = %record.run, %error, "record not appended, trying again");
                }
            }
            let mut give_up = self.give_up.clone();
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                // An error means that the engine is gone.
                _ = give_up.wait_for(|give_up| *give_up) => return Err(NotAppended::GivenUp),
            }
            delay = (delay * 2).min(delay_max);
        }
    }
}

/// Why a run could not be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// There is no such journal.
    #[error("the run has no journal")]
    Missing,
    /// The journal cannot be read.
    #[error(transparent)]
    Read(ReadError),
    /// Its workflow cannot be had.
    #[error(transparent)]
    Version(VersionError),
    /// The journal is damaged, or a newer infraflow wrote it.
    #[error("the journal does not fold: {0}")]
    Illegal(String),
}

impl LoadError {
    /// Whether it may work later.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Read(ReadError::Unavailable(_)) | Self::Version(VersionError::Store(_))
        )
    }
}

/// Reads a run from its journal.
pub(crate) async fn load(shared: &Shared, run: RunId) -> Result<(Run, Sequence), LoadError> {
    let records = shared.ports.journals.read(run, Sequence::NONE).await;
    fold_records(shared, records.map_err(LoadError::Read)?).await
}

/// Reads a run as far as this host has heard of it, which costs much less in a
/// large store. It may be behind: what is decided from it is either appended,
/// which shows that it is not, or decided again from [`load`].
pub(crate) async fn load_known(
    shared: &Shared,
    run: RunId,
) -> Option<Result<(Run, Sequence), LoadError>> {
    let positions = shared.index.positions(run)?;
    let records = shared.ports.journals.read_at(run, &positions).await;
    match records {
        Ok(records) => Some(fold_records(shared, records?).await),
        Err(error) => Some(Err(LoadError::Read(error))),
    }
}

async fn fold_records(
    shared: &Shared,
    records: Vec<(Sequence, RecordEnvelope)>,
) -> Result<(Run, Sequence), LoadError> {
    let mut loaded: Option<(Run, Sequence)> = None;
    for (sequence, record) in records {
        loaded = Some(match loaded {
            None => (begin(shared, &record).await?, sequence),
            Some((run, _)) if sabotage::is(Break::ForgetFinishedSteps) => (run, sequence),
            Some((mut run, _)) => {
                fold_all(&mut run, &record, 0)?;
                (run, sequence)
            }
        });
    }
    loaded.ok_or(LoadError::Missing)
}

async fn begin(shared: &Shared, record: &RecordEnvelope) -> Result<Run, LoadError> {
    let Some(Entry::Created(birth)) = record.entries.first() else {
        return Err(LoadError::Illegal(
            "it does not begin with the run's creation".to_owned(),
        ));
    };
    let workflow = shared
        .catalog
        .version(birth.workflow_digest)
        .await
        .map_err(LoadError::Version)?;
    let mut run = Run::new(record.run, birth.clone(), workflow, record.at);
    fold_all(&mut run, record, 1)?;
    Ok(run)
}

/// Folds the entries of a record in, from the given one on.
pub(crate) fn fold_all(
    run: &mut Run,
    record: &RecordEnvelope,
    from: usize,
) -> Result<(), LoadError> {
    for entry in record.entries.iter().skip(from) {
        run.fold(entry, record.at)
            .map_err(|error| LoadError::Illegal(error.to_string()))?;
    }
    Ok(())
}

/// Works through the work items of a pool. Never returns.
pub(crate) async fn work(shared: Arc<Shared>, inbox: Arc<dyn Inbox<WorkItem>>) {
    loop {
        shared.membership.until_may_act().await;
        let delivery = inbox.next().await;
        if shared.is_draining() {
            delivery.receipt.later(Duration::ZERO).await;
            continue;
        }
        let WorkItem { run } = delivery.item;
        let receipt = delivery.receipt;
        if sabotage::is(Break::AckWorkBeforeEnd) {
            drop(receipt.done().await);
        }
        if let Err(Nudge::Settle(receipt)) = shared.live.nudge(run, Nudge::Settle(receipt.clone()))
        {
            let Some(place) = wait_for_place(&shared, &receipt).await else {
                continue;
            };
            let shared = shared.clone();
            spawn_bounded(async move { take_over(shared, run, Some(receipt), place).await });
        }
    }
}

async fn wait_for_place(
    shared: &Shared,
    receipt: &Arc<dyn Receipt>,
) -> Option<OwnedSemaphorePermit> {
    loop {
        match tokio::time::timeout(ALIVE_INTERVAL, shared.admission.enter()).await {
            Ok(place) => return place,
            Err(_) => receipt.alive().await,
        }
    }
}

/// Whether a claim is a dead one's, or of this life.
pub(crate) fn may_take_claim(shared: &Shared, claim: &Claim) -> bool {
    claim.incarnation == shared.config.incarnation
        || sabotage::is(Break::NoLeases)
        || shared.membership.standing(claim).is_gone()
}

/// What a host may do with a run whose files another host has alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pinned {
    /// It is this host.
    Here,
    /// That host is gone for good.
    Lost,
}

impl Shared {
    /// What this host may do with a run whose files that host has alone;
    /// nothing, when that host is there or may come back.
    pub(crate) fn may_take_pinned(&self, host: &HostName) -> Option<Pinned> {
        if *host == self.config.host {
            return Some(Pinned::Here);
        }
        match self.membership.host_standing(host) {
            Standing::Gone { since } if since >= self.config.workspace_grace => Some(Pinned::Lost),
            Standing::Gone { .. } | Standing::Alive => None,
        }
    }

    /// How this host takes a run, when it may.
    fn taking(&self, run: &Run) -> Option<Input> {
        if !self.serves(&run.birth().pool) || !self.membership.may_act() {
            return None;
        }
        if let Phase::Claimed(claim) = run.phase()
            && !may_take_claim(self, claim)
        {
            return None;
        }
        let (host, incarnation) = (self.config.host.clone(), self.config.incarnation);
        match run
            .pinned_to()
            .map(|host| (host, self.may_take_pinned(host)))
        {
            None | Some((_, Some(Pinned::Here))) => Some(Input::Claim { host, incarnation }),
            Some((_, None)) => None,
            Some((lost, Some(Pinned::Lost))) => Some(Input::GiveUp {
                host,
                incarnation,
                reason: format!(
                    "its files were on host `{lost}` alone, which is gone for more than {}",
                    infraflow_core::duration::display(self.config.workspace_grace)
                ),
            }),
        }
    }
}

/// Takes a run and drives it to its end, or finds that there is nothing to do.
pub(crate) async fn take_over(
    shared: Arc<Shared>,
    run: RunId,
    receipt: Option<Arc<dyn Receipt>>,
    place: OwnedSemaphorePermit,
) {
    let Some(reservation) = shared.live.reserve(run) else {
        if let Some(receipt) = receipt {
            settle_later(&shared, run, receipt).await;
        }
        return;
    };
    let mut known = load_known(&shared, run).await;
    loop {
        let is_certain = known.is_none();
        let read = match known.take() {
            Some(known) => known,
            None => load(&shared, run).await,
        };
        let (loaded, last) = match read {
            Ok(loaded) => loaded,
            Err(error) => {
                not_loaded(run, &error, receipt).await;
                return;
            }
        };
        let takes = matches!(loaded.phase(), Phase::Runnable | Phase::Claimed(_));
        if !takes && !is_certain {
            continue;
        }
        if !takes {
            if let Some(receipt) = receipt {
                done(&receipt).await;
            }
            return;
        }
        let Some(taking) = shared.taking(&loaded) else {
            // Somebody lives who has it, or it waits for the host that has its
            // files: a work item comes again, and the sweep looks.
            if let Some(receipt) = receipt {
                receipt.later(PUT_OFF).await;
            }
            return;
        };
        let now = shared.ports.clock.now();
        let Ok(decision) = loaded.decide(taking, now) else {
            return;
        };
        set_timer(&shared, &decision.next).await;
        let record = shared
            .appender
            .record(&decision.next, decision.entries, decision.wakes, now);
        match shared.appender.append(&shared, &record, last).await {
            Ok(sequence) => {
                let driver =
                    Driver::new(shared.clone(), decision.next, sequence, reservation, place);
                driver
                    .drive(decision.effects, receipt.into_iter().collect())
                    .await;
                return;
            }
            Err(NotAppended::Conflict) => {}
            Err(NotAppended::TooLarge | NotAppended::GivenUp) => return,
        }
    }
}

async fn not_loaded(run: RunId, error: &LoadError, receipt: Option<Arc<dyn Receipt>>) {
    tracing::error!(%run, error = %error, "run not loaded");
    if let Some(receipt) = receipt {
        let delay = if error.is_transient() {
            PUT_OFF
        } else {
            PUT_OFF * 6
        };
        receipt.later(delay).await;
    }
}

/// A work item of a run that this process has already: the run settles it.
async fn settle_later(shared: &Shared, run: RunId, receipt: Arc<dyn Receipt>) {
    if shared
        .live
        .nudge(run, Nudge::Settle(receipt.clone()))
        .is_err()
    {
        receipt.later(PUT_OFF).await;
    }
}

/// Settles a delivery; when that is not confirmed it comes again.
pub(crate) async fn done(receipt: &Arc<dyn Receipt>) {
    if let Err(error) = receipt.done().await {
        tracing::debug!(%error, "delivery comes again");
    }
}

/// What a driver's end means for the work items of its run.
pub(crate) async fn settle(receipts: Vec<Arc<dyn Receipt>>, end: &driver::End) {
    for receipt in receipts {
        match end {
            driver::End::Settled => done(&receipt).await,
            // Somebody else has the run, or nobody knows: it comes again.
            driver::End::Lost | driver::End::Abandoned => receipt.later(PUT_OFF).await,
        }
    }
}
