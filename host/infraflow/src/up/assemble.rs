//! Putting a host together: every port of the engine gets what implements it.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use camino::Utf8PathBuf;
use infraflow_bus::{
    AuditStore, Bus, DeadLetters, EventInbox, Feed, HostStore, JournalStore, LockStore, LogStore,
    NoticeBoard, Publisher, RpcServer, SealedBlobs, TimerInbox, TimerStore, WorkInbox,
    WorkflowBucket,
};
use infraflow_core::Timestamp;
use infraflow_core::id::{HostName, Incarnation, SourceName};
use infraflow_core::lease::BootTime;
use infraflow_core::plugin::PluginCatalog;
use infraflow_core::ports::{Blobs, Clock, EventPublisher, Fence, Inbox, Journals, WorkItem};
use infraflow_engine::{Engine, EngineConfig, LeasePorts, Ports, Tenancy};
use infraflow_sandbox::Sandbox;
use infraflow_sources::http::{WebhookLimits, Webhooks, webhook_router};
use infraflow_sources::source::WebhookSource;
use infraflow_tools::ToolDoor;
use infraflow_tools::jail::Jail;
use infraflow_tools::watchdog::Watchdog;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::tools::{jail_config, jail_item, source_items, tools_config};
use super::{Host, absolute};
use crate::api::server::{Api, serve};
use crate::banner::{Banner, Nats};
use crate::config::{Config, NatsConfig, Sync};
use crate::data_dir::DataDir;
use crate::embedded::EmbeddedNats;
use crate::exit::{Exit, Failure, chain};
use crate::health::Health;
use crate::secrets::ConfiguredSecrets;
use crate::task::{Task, spawn};
use crate::workflow_dir::{self, WorkflowDir};
use crate::{http, retention, upkeep};

/// What a host is put together from.
pub(super) struct Parts {
    pub(super) config: Config,
    pub(super) data: DataDir,
    pub(super) program: Utf8PathBuf,
    pub(super) watchdog: Watchdog,
    pub(super) secrets: Arc<ConfiguredSecrets>,
    pub(super) sandbox: Arc<Sandbox>,
    pub(super) catalog: PluginCatalog,
    pub(super) bus: Bus,
    pub(super) logs: Bus,
    pub(super) nats: Option<EmbeddedNats>,
    pub(super) host: HostName,
    pub(super) blobs: SealedBlobs,
}

/// Where HTTP comes in.
pub(super) struct Web {
    pub(super) listener: TcpListener,
    pub(super) address: SocketAddr,
    pub(super) sources: Vec<WebhookSource>,
}

#[cfg(not(feature = "faults"))]
struct SystemClock;

#[cfg(not(feature = "faults"))]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn boot(&self) -> BootTime {
        infraflow_tools::boottime()
    }
}

/// The clock; in test builds with faults one that can be wrong.
#[cfg(not(feature = "faults"))]
fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// The clock; in test builds with faults one that can be wrong.
#[cfg(feature = "faults")]
fn clock() -> Arc<dyn Clock> {
    Arc::new(crate::faults::FaultyClock::new())
}

/// Hands the lease on to the watchdog, which kills by it.
struct WatchdogFence(Watchdog);

impl Fence for WatchdogFence {
    fn extend(&self, starts_until: BootTime, lives_until: BootTime) {
        self.0.lease(starts_until, lives_until);
    }
}

/// The deliveries of a host, for the engine and for its health.
struct Inboxes {
    events: Arc<EventInbox>,
    work: Vec<Arc<WorkInbox>>,
    due: Arc<TimerInbox>,
    feed: Arc<Feed>,
}

impl Inboxes {
    async fn open(bus: &Bus, config: &Config) -> Result<Self, Failure> {
        let events = EventInbox::open(bus.clone())
            .await
            .map_err(|error| Failure::new(Exit::Unreachable, chain(&error)))?;
        let work = config
            .pools
            .iter()
            .map(|pool| Arc::new(WorkInbox::open(bus.clone(), pool)));
        Ok(Self {
            events: Arc::new(events),
            work: work.collect(),
            due: Arc::new(TimerInbox::open(bus.clone())),
            feed: Arc::new(Feed::open(bus.clone())),
        })
    }
}

impl Inboxes {
    fn work_ports(&self) -> Vec<Arc<dyn Inbox<WorkItem>>> {
        let mut ports: Vec<Arc<dyn Inbox<WorkItem>>> = Vec::new();
        for inbox in &self.work {
            ports.push(inbox.clone());
        }
        ports
    }
}

/// How this host shares its NATS account.
pub(super) fn tenancy(config: &Config) -> Tenancy {
    if config.sole_host {
        Tenancy::Sole
    } else {
        Tenancy::Leased(config.lease)
    }
}

/// Puts a host together and starts it.
pub(super) async fn assemble(parts: Parts, web: Web) -> Result<Host, Failure> {
    let Parts {
        config,
        data,
        program,
        watchdog,
        secrets,
        sandbox,
        catalog,
        bus,
        logs,
        nats,
        host,
        blobs,
    } = parts;
    let blob_store = blobs.clone();
    let blobs: Arc<dyn Blobs> = Arc::new(blobs);
    let jail_config = jail_config(&config, program);
    let jail = Jail::probe(&jail_config).await;
    let tools = tools_config(&config, &data, jail_config);
    let door = ToolDoor::new(tools, watchdog.clone(), secrets.clone(), blobs.clone());
    let door = Arc::new(door);
    let workspaces = door.workspaces().clone();
    let inboxes = Inboxes::open(&bus, &config).await?;
    let publisher: Arc<dyn EventPublisher> = Arc::new(Publisher::new(bus.clone()));
    let log_store = LogStore::new(logs.clone());
    let clock = clock();
    let ports = Ports {
        events: inboxes.events.clone(),
        work: inboxes.work_ports(),
        due: inboxes.due.clone(),
        timers: Arc::new(TimerStore::new(bus.clone())),
        locks: Arc::new(LockStore::new(&bus)),
        workspaces: door.clone(),
        audit: Arc::new(AuditStore::new(bus.clone())),
        leases: lease_ports(&config, &bus, &watchdog),
        journals: journals(&bus),
        feed: inboxes.feed.clone(),
        workflows: Arc::new(WorkflowBucket::open(bus.clone())),
        logs: Arc::new(log_store.clone()),
        plugins: sandbox,
        tools: door,
        secrets: secrets.clone(),
        publisher: publisher.clone(),
        notices: Arc::new(NoticeBoard::new(bus.clone())),
        clock: clock.clone(),
        parse: Arc::new(|name: &str, text: &str| {
            infraflow_workflow::parse_workflow(name, text).map_err(|report| report.to_string())
        }),
    };
    let engine_config = engine_config(&config, &host, &secrets)?;
    let engine = Engine::new(ports, engine_config, catalog)
        .await
        .map_err(|error| Failure::new(Exit::Unreachable, error))?;
    let engine = Arc::new(engine);
    import_shipped(&engine).await?;
    let workflow_dir = Arc::new(WorkflowDir::new(absolute(&config.workflows)?));
    let workflow_count = workflow_dir.import(&engine).await;
    engine.start();
    let health = Arc::new(Health {
        bus: bus.clone(),
        logs: logs.clone(),
        events: inboxes.events,
        work: inboxes.work,
        due: inboxes.due,
        feed: inboxes.feed,
        engine: engine.clone(),
        storage: storage(&config),
    });
    let Web {
        listener,
        address,
        sources,
    } = web;
    let base = format!("http://{address}");
    let api = Arc::new(Api {
        engine: engine.clone(),
        bus: bus.clone(),
        logs: log_store,
        dead: DeadLetters::new(bus.clone()),
        blobs,
        workflow_dir: workflow_dir.clone(),
        health: health.clone(),
        sources: source_items(&config, &base),
        host: host.to_string(),
        http: base.clone(),
        data_dir: data.path().to_owned(),
        jail: jail_item(&jail),
    });
    let requests = RpcServer::open(bus.clone())
        .await
        .map_err(|error| Failure::new(Exit::Unreachable, error))?;
    let webhooks = Webhooks::new(sources, publisher, clock, WebhookLimits::default());
    let router = http::router(webhook_router(Arc::new(webhooks)), health.clone());
    let (http_stop, http_stopped) = watch::channel(false);
    let keeper = retention::Keeper {
        bus: bus.clone(),
        blobs: blob_store,
        engine: engine.clone(),
        workspaces,
        config: config.retention.clone(),
    };
    let tasks: Vec<Task> = vec![
        spawn(serve_http(listener, router, http_stopped)),
        spawn(serve(api, requests)),
        spawn(workflow_dir::follow(workflow_dir.clone(), engine.clone())),
        spawn(upkeep::streams(bus.clone(), engine.clone())),
        spawn(retention::keep(keeper)),
    ];
    let banner = Banner {
        http: base,
        nats: match (&nats, &config.nats) {
            (Some(nats), _) => Nats::Embedded {
                url: nats.host.url.clone(),
                storage: storage(&config),
                credentials: data.operator_credentials(),
            },
            (None, NatsConfig::External(external)) => Nats::External {
                url: external.url.clone(),
            },
            (None, NatsConfig::Embedded { .. }) => Nats::External { url: String::new() },
        },
        host: (!config.sole_host).then(|| host.to_string()),
        data_dir: data.path().to_owned(),
        workflows: workflow_count,
        workflow_folder: workflow_dir.folder().to_owned(),
        workflow_problems: workflow_dir.problems().into_values().collect(),
        sources: config.sources.keys().map(ToString::to_string).collect(),
        jail: jail_item(&jail),
        example: example_workflow(&engine),
    };
    Ok(Host {
        watchdog,
        engine,
        bus,
        logs,
        nats,
        health,
        http_stop,
        banner,
        grace: config.shutdown_grace,
        _tasks: tasks,
    })
}

fn lease_ports(config: &Config, bus: &Bus, watchdog: &Watchdog) -> Option<LeasePorts> {
    (!config.sole_host).then(|| LeasePorts {
        hosts: Arc::new(HostStore::open(bus.clone())),
        fence: Arc::new(WatchdogFence(watchdog.clone())),
    })
}

/// The journals; in test builds with faults before and after each append.
#[cfg(not(feature = "faults"))]
fn journals(bus: &Bus) -> Arc<dyn Journals> {
    Arc::new(JournalStore::new(bus.clone()))
}

/// The journals; in test builds with faults before and after each append.
#[cfg(feature = "faults")]
fn journals(bus: &Bus) -> Arc<dyn Journals> {
    Arc::new(crate::faults::FaultyJournals::new(JournalStore::new(
        bus.clone(),
    )))
}

fn engine_config(
    config: &Config,
    host: &HostName,
    secrets: &ConfiguredSecrets,
) -> Result<EngineConfig, Failure> {
    let mut life = [0_u8; 8];
    getrandom::fill(&mut life)
        .map_err(|error| Failure::new(Exit::Failure, format!("draw a random number: {error}")))?;
    let trusted: HashSet<SourceName> = config
        .sources
        .iter()
        .filter(|(_, source)| source.is_trusted)
        .map(|(name, _)| name.clone())
        .collect();
    Ok(EngineConfig {
        host: host.clone(),
        incarnation: Incarnation(u64::from_be_bytes(life)),
        tenancy: tenancy(config),
        pools: config.pools.clone(),
        workspace_grace: config.workspace_grace,
        started_at: Timestamp::now(),
        runs_active: config.limits.runs_active,
        trusted_sources: trusted,
        secrets: secrets.names(),
    })
}

/// Workflows that ship with the program.
const SHIPPED: [(&str, &str); 1] = [(
    "playbook.yaml",
    include_str!("../../../../workflows/playbook.yaml"),
)];

async fn import_shipped(engine: &Engine) -> Result<(), Failure> {
    for (name, text) in SHIPPED {
        engine
            .catalog()
            .put(name, text, "shipped")
            .await
            .map_err(|error| Failure::internal("store the shipped workflows", &error))?;
    }
    Ok(())
}

fn storage(config: &Config) -> &'static str {
    match &config.nats {
        NatsConfig::Embedded {
            sync: Sync::Always, ..
        } => "always: confirmed records survive a power loss",
        NatsConfig::Embedded {
            sync: Sync::Relaxed,
            ..
        } => "relaxed: a power loss may lose the last two minutes",
        NatsConfig::External(_) => "as the external server is set up",
    }
}

/// A workflow that the banner can show how to start.
fn example_workflow(engine: &Engine) -> Option<String> {
    use infraflow_core::workflow::Filter;
    let current = engine.catalog().current();
    let startable = current.entries.iter().filter_map(|entry| {
        let workflow = current.table.workflow(&entry.stored.name)?;
        let is_manual = workflow
            .triggers
            .iter()
            .any(|t| matches!(t.filter, Filter::Manual));
        (is_manual && entry.stored.origin != "shipped").then(|| workflow.name.to_string())
    });
    startable.min_by_key(|name| (name != "hello", name.clone()))
}

async fn serve_http(listener: TcpListener, router: axum::Router, stop: watch::Receiver<bool>) {
    let stopped = async move {
        let mut stop = stop;
        // An error means that the host is gone.
        drop(stop.wait_for(|stop| *stop).await);
    };
    if let Err(error) = axum::serve(listener, router)
        .with_graceful_shutdown(stopped)
        .await
    {
        tracing::error!(%error, "HTTP ended");
    }
}
