//! The engine: what it needs, how it starts and how it ends.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use infraflow_core::Timestamp;
use infraflow_core::grant::Permissions;
use infraflow_core::id::{Digest, HostName, Incarnation, PoolName, SecretName, SourceName};
use infraflow_core::plugin::PluginCatalog;
use infraflow_core::ports::{
    ArrivedEvent, Audit, Clock, DueTimer, EventPublisher, FeedItem, HostCard, Inbox, Journals,
    Locks, LogBook, Notices, Plugins, RunFeed, Secrets, Timers, Tools, WorkItem, WorkflowStore,
    WorkspaceStore,
};
use infraflow_core::run::Writer;
use tokio::sync::{Notify, Semaphore, watch};

use crate::catalog::{Catalog, Parse};
use crate::executor::{Admission, Appender, LiveRuns, Nudge};
use crate::index::RunIndex;
use crate::membership::{self, HostView, LeasePorts, Membership, Tenancy};
use crate::sabotage::{self, Break};
use crate::task::{Task, spawn};
use crate::{executor, files, router, sweep, timers};

/// Events that are being turned into runs at the same time. More wait in
/// memory or on the server.
const INTAKE: usize = 1_024;

/// Due timers that are handled at the same time.
const WAKING: usize = 64;

/// How long the host waits after it has interrupted its attempts before it
/// leaves unrecorded what is not recorded.
const INTERRUPT_PATIENCE: Duration = Duration::from_secs(20);

/// How long storing files for other hosts may take at least.
const HAND_OVER: Duration = Duration::from_secs(10);

/// How long giving the lease back may take.
const LEAVE_PATIENCE: Duration = Duration::from_secs(2);

/// The outside.
pub struct Ports {
    /// Events.
    pub events: Arc<dyn Inbox<ArrivedEvent>>,
    /// Work items, of each pool of this host.
    pub work: Vec<Arc<dyn Inbox<WorkItem>>>,
    /// Timers that are due.
    pub due: Arc<dyn Inbox<DueTimer>>,
    /// Sets timers.
    pub timers: Arc<dyn Timers>,
    /// The locks of runs.
    pub locks: Arc<dyn Locks>,
    /// Files of runs.
    pub workspaces: Arc<dyn WorkspaceStore>,
    /// Where acts of people are written down.
    pub audit: Arc<dyn Audit>,
    /// Other hosts, where there may be some.
    pub leases: Option<LeasePorts>,
    /// Journals.
    pub journals: Arc<dyn Journals>,
    /// Every record of every run.
    pub feed: Arc<dyn RunFeed>,
    /// Workflows.
    pub workflows: Arc<dyn WorkflowStore>,
    /// Log lines.
    pub logs: Arc<dyn LogBook>,
    /// Plugins.
    pub plugins: Arc<dyn Plugins>,
    /// Tools.
    pub tools: Arc<dyn Tools>,
    /// Secrets.
    pub secrets: Arc<dyn Secrets>,
    /// Where events that people cause here are published.
    pub publisher: Arc<dyn EventPublisher>,
    /// Where notices go.
    pub notices: Arc<dyn Notices>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Reads a workflow's text.
    pub parse: Arc<Parse>,
}

/// What the engine must be told.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// This host.
    pub host: HostName,
    /// Its life: a random number drawn at its start.
    pub incarnation: Incarnation,
    /// Whether other hosts use the same NATS account.
    pub tenancy: Tenancy,
    /// The pools whose runs it executes. At least one.
    pub pools: Vec<PoolName>,
    /// How long a run whose files lie on a host that is gone waits for it.
    pub workspace_grace: Duration,
    /// When it started.
    pub started_at: Timestamp,
    /// Runs that it works on at the same time.
    pub runs_active: usize,
    /// Sources whose code is trusted.
    pub trusted_sources: HashSet<SourceName>,
    /// The secrets of the configuration.
    pub secrets: Vec<SecretName>,
}

/// What everything in the engine shares.
pub(crate) struct Shared {
    pub(crate) ports: Ports,
    pub(crate) config: EngineConfig,
    pub(crate) catalog: Catalog,
    pub(crate) index: RunIndex,
    pub(crate) live: Arc<LiveRuns>,
    pub(crate) admission: Admission,
    pub(crate) appender: Appender,
    pub(crate) intake: Arc<Semaphore>,
    /// Timers that are being handled.
    pub(crate) waking: Arc<Semaphore>,
    plugins: ArcSwap<PluginCatalog>,
    journals_full: AtomicBool,
    /// Bytes that new runs may take in the store of journals until it is looked
    /// at again.
    journals_room: AtomicU64,
    pub(crate) membership: Membership,
    pub(crate) renew_now: Notify,
    pub(crate) sweep_now: Notify,
    /// A host has gone: queued runs are taken without waiting for their work
    /// items.
    pub(crate) is_urgent: AtomicBool,
    /// It shuts down.
    draining: watch::Sender<bool>,
    /// An operator wants it to take nothing new.
    drained: watch::Sender<bool>,
    give_up: watch::Sender<bool>,
}

impl Shared {
    /// Whether it takes nothing new: it shuts down, or an operator says so.
    pub(crate) fn is_draining(&self) -> bool {
        *self.draining.borrow() || *self.drained.borrow()
    }

    /// Takes nothing new, or something again, as an operator says.
    pub(crate) fn set_drained(&self, drained: bool) {
        if self.drained.send_replace(drained) == drained {
            return;
        }
        tracing::info!(drained, "an operator changed whether this host takes runs");
        self.ports.events.pause(drained);
        self.ports.due.pause(drained);
        for work in &self.ports.work {
            work.pause(drained);
        }
        if drained {
            self.nudge_all(|| Nudge::Drain);
        } else {
            self.sweep_now.notify_one();
        }
        self.renew_now.notify_one();
    }

    pub(crate) fn nudge_all(&self, nudge: impl Fn() -> Nudge) {
        for run in self.live.ids() {
            // A run that does not listen is at its end.
            drop(self.live.nudge(run, nudge()));
        }
    }

    /// What this host says of itself.
    pub(crate) fn card(&self) -> HostCard {
        let lease = match self.config.tenancy {
            Tenancy::Sole => Duration::ZERO,
            Tenancy::Leased(lease) => lease,
        };
        HostCard {
            host: self.config.host.clone(),
            life: self.config.incarnation,
            pools: self.config.pools.clone(),
            lease,
            draining: self.is_draining(),
            started_at: self.config.started_at,
            runs_active: self.live.count(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    pub(crate) fn serves(&self, pool: &PoolName) -> bool {
        self.config.pools.contains(pool)
    }

    /// Takes room for a new run, if there is some. What is left over belongs to
    /// the runs under way: without it they could not end, and nothing that is
    /// over could make room.
    pub(crate) fn take_journal_room(&self) -> bool {
        let take = |room: u64| room.checked_sub(JOURNAL_ROOM);
        let taken = self
            .journals_room
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.is_ok()
    }

    pub(crate) fn has_full_journals(&self) -> bool {
        self.journals_full.load(Ordering::Relaxed)
    }

    pub(crate) fn has_given_up(&self) -> bool {
        *self.give_up.borrow()
    }

    pub(crate) fn plugins(&self) -> Arc<PluginCatalog> {
        self.plugins.load_full()
    }

    pub(crate) fn permissions_of(&self, component: Digest) -> Option<Permissions> {
        self.plugins.load().get(component).map(|plugin| {
            if sabotage::is(Break::GrantEverything) {
                let manifest = plugin.manifest.capability_list();
                return Permissions::new(manifest.clone(), manifest);
            }
            plugin.permissions()
        })
    }
}

/// What a new run is taken to need in the store of journals: twice what one of a
/// few steps takes.
const JOURNAL_ROOM: u64 = 4 * 1024;

/// Whether the engine can do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// It reads what happened before.
    CatchingUp,
    /// The store of journals is nearly full: it creates no new runs.
    JournalsFull,
    /// It shuts down.
    Draining,
    /// An operator wants it to take nothing new.
    Drained,
    /// NATS has not confirmed its lease for too long: it begins no effects.
    NoLease,
}

/// The engine. Dropping it ends its tasks at once; [`Engine::shutdown`] ends
/// them in order.
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
    tasks: Mutex<Vec<Task>>,
}

impl Engine {
    /// An engine that knows the workflows and does nothing yet.
    ///
    /// # Errors
    /// A text for people when the workflows cannot be read or the system has no
    /// random numbers.
    pub async fn new(
        ports: Ports,
        config: EngineConfig,
        plugins: PluginCatalog,
    ) -> Result<Self, String> {
        let mut nonce = [0_u8; 8];
        getrandom::fill(&mut nonce).map_err(|error| error.to_string())?;
        let give_up = watch::Sender::new(false);
        let writer = Writer {
            host: config.host.clone(),
            incarnation: config.incarnation,
        };
        let shared = Arc::new(Shared {
            catalog: Catalog::new(ports.workflows.clone(), ports.parse.clone()),
            index: RunIndex::default(),
            live: Arc::default(),
            admission: Admission::new(config.runs_active),
            appender: Appender::new(writer, u64::from_be_bytes(nonce), give_up.subscribe()),
            intake: Arc::new(Semaphore::new(INTAKE)),
            waking: Arc::new(Semaphore::new(WAKING)),
            plugins: ArcSwap::from_pointee(plugins),
            journals_full: AtomicBool::new(false),
            journals_room: AtomicU64::new(u64::MAX),
            membership: Membership::new(config.tenancy, config.host.clone(), ports.clock.clone()),
            renew_now: Notify::new(),
            sweep_now: Notify::new(),
            is_urgent: AtomicBool::new(false),
            draining: watch::Sender::new(false),
            drained: watch::Sender::new(false),
            give_up,
            ports,
            config,
        });
        shared
            .catalog
            .refresh()
            .await
            .map_err(|error| error.to_string())?;
        Ok(Self {
            shared,
            tasks: Mutex::default(),
        })
    }

    /// Begins: takes over what earlier lives left, and takes events and work.
    pub fn start(&self) {
        let shared = || self.shared.clone();
        let catalog = shared();
        let mut tasks = vec![
            spawn(index(shared())),
            spawn(async move { catalog.catalog.follow().await }),
            spawn(sweep::claims(shared())),
            spawn(sweep::waits(shared())),
            spawn(timers::wake(shared())),
            spawn(router::route(shared())),
        ];
        for inbox in &self.shared.ports.work {
            tasks.push(spawn(executor::work(shared(), inbox.clone())));
        }
        if let Some(leases) = &self.shared.ports.leases {
            tasks.push(spawn(membership::renew(shared(), leases.clone())));
            tasks.push(spawn(membership::watch_hosts(shared(), leases.clone())));
        }
        *self.tasks.lock().unwrap_or_else(PoisonError::into_inner) = tasks;
    }

    /// Says whether the store of journals is nearly full: then no new runs are
    /// created, and those that there are may finish.
    ///
    /// `room` is the number of bytes that new runs may take until the next call.
    pub fn note_journals(&self, full: bool, room: u64) {
        self.shared.journals_room.store(room, Ordering::Relaxed);
        let was_full = self.shared.journals_full.swap(full, Ordering::Relaxed);
        match (was_full, full) {
            (false, true) => tracing::error!("the store of journals is nearly full: no new runs"),
            (true, false) => tracing::info!("the store of journals has room again"),
            _ => {}
        }
    }

    /// Whether the engine can do its work.
    pub fn readiness(&self) -> Readiness {
        if *self.shared.draining.borrow() {
            Readiness::Draining
        } else if *self.shared.drained.borrow() {
            Readiness::Drained
        } else if !self.shared.membership.may_act() {
            Readiness::NoLease
        } else if self.shared.has_full_journals() {
            Readiness::JournalsFull
        } else if self.shared.index.is_caught_up() {
            Readiness::Ready
        } else {
            Readiness::CatchingUp
        }
    }

    /// The workflows.
    pub fn catalog(&self) -> &Catalog {
        &self.shared.catalog
    }

    /// The runs.
    pub fn index(&self) -> &RunIndex {
        &self.shared.index
    }

    /// The plugins.
    pub fn plugins(&self) -> Arc<PluginCatalog> {
        self.shared.plugins()
    }

    /// Runs that this host works on now.
    pub fn runs_active(&self) -> usize {
        self.shared.live.count()
    }

    /// Takes nothing new, lets attempts end for as long as `grace`, interrupts
    /// the rest, records it, and returns when nothing of this host is left to
    /// do. What it gives back another host, or the next life of this one, goes
    /// on with.
    pub async fn shutdown(&self, grace: Duration) {
        self.shared.draining.send_replace(true);
        self.shared.renew_now.notify_one();
        self.shared.nudge_all(|| Nudge::Drain);
        if !self.is_idle_within(grace).await {
            self.shared.nudge_all(|| Nudge::Interrupt);
            if !self.is_idle_within(INTERRUPT_PATIENCE).await {
                tracing::warn!(
                    runs = self.shared.live.count(),
                    "runs not recorded at shutdown; the next life of this host takes them over"
                );
            }
        }
        let handed_over = files::hand_over(&self.shared);
        if tokio::time::timeout(grace.max(HAND_OVER), handed_over)
            .await
            .is_err()
        {
            tracing::warn!("not all files of waiting runs stored: those runs wait for this host");
        }
        self.shared.give_up.send_replace(true);
    }

    /// Gives this host's lease back, once nothing of it runs any more: others
    /// take over at once what it left.
    pub async fn leave(&self) {
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        let Some(leases) = &self.shared.ports.leases else {
            return;
        };
        let card = self.shared.card();
        match tokio::time::timeout(LEAVE_PATIENCE, leases.hosts.leave(&card)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "lease not given back; it runs out"),
            Err(_) => tracing::warn!("lease not given back; it runs out"),
        }
    }

    /// Waits until another process is found to run under this host's name.
    pub async fn conflict(&self) {
        self.shared.membership.conflict().await;
    }

    /// Whether this host shares its NATS account with others.
    pub fn is_shared(&self) -> bool {
        self.shared.membership.is_shared()
    }

    /// The hosts, this one included.
    pub fn hosts(&self) -> Vec<HostView> {
        let mut hosts = self.shared.membership.hosts();
        hosts.retain(|host| host.card.host != self.shared.config.host);
        hosts.push(HostView {
            card: self.shared.card(),
            is_alive: true,
        });
        hosts.sort_by(|a, b| a.card.host.cmp(&b.card.host));
        hosts
    }

    async fn is_idle_within(&self, limit: Duration) -> bool {
        let idle = async {
            while self.shared.live.count() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(limit, idle).await.is_ok()
    }
}

/// Keeps the index, and tells live runs of records that others wrote.
async fn index(shared: Arc<Shared>) {
    loop {
        let item = shared.ports.feed.next().await;
        if let FeedItem::Record(_, record) = &item
            && record.writer.incarnation != shared.config.incarnation
        {
            // A run that is not here does not need to know.
            drop(shared.live.nudge(record.run, Nudge::Look));
        }
        shared.index.take(item);
    }
}
