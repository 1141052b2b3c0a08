//! `infraflow up`: the whole host in one process, from its watchdog to its
//! banner, and its orderly end.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use infraflow_bus::topology::{RUNS, TopologyConfig};
use infraflow_bus::{
    Bus, BusConfig, DeadLetters, EventInbox, Feed, JournalStore, LogStore, NoticeBoard, Publisher,
    RpcServer, SealedBlobs, WorkInbox, WorkflowBucket,
};
#[cfg(not(feature = "faults"))]
use infraflow_core::Timestamp;
use infraflow_core::id::{HostName, Incarnation, SourceName};
use infraflow_core::plugin::PluginCatalog;
use infraflow_core::ports::{Blobs, Clock, EventPublisher, Journals, Secrets};
use infraflow_engine::{Engine, EngineConfig, Ports};
use infraflow_sandbox::{Sandbox, SandboxConfig};
use infraflow_sources::http::{WebhookLimits, Webhooks, webhook_router};
use infraflow_sources::source::{WebhookSettings, WebhookSource};
use infraflow_tools::jail::{Jail, JailConfig, JailMode, JailStatus};
use infraflow_tools::watchdog::{Watchdog, WatchdogConfig, WatchdogError};
use infraflow_tools::{CommandSpec, SourceRepo, ToolDoor, ToolsConfig};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::api::client::external_credentials;
use crate::api::server::{Api, serve};
use crate::api::types::{JailItem, SourceItem};
use crate::banner::{Banner, Nats};
use crate::config::{Config, JailChoice, NatsConfig, Sync};
use crate::data_dir::DataDir;
use crate::embedded::EmbeddedNats;
use crate::exit::{Exit, Failure, Outcome, chain};
use crate::health::Health;
use crate::secrets::ConfiguredSecrets;
use crate::task::{Task, spawn};
use crate::uploads::Uploads;
use crate::workflow_dir::{self, WorkflowDir};
use crate::{http, install, plugins, upkeep};

/// How long to wait for a server that is not ours.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// How long the host may take until it is ready before it says so all the same.
const READY_PATIENCE: Duration = Duration::from_secs(30);

#[cfg(not(feature = "faults"))]
struct SystemClock;

#[cfg(not(feature = "faults"))]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
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

/// Everything that runs.
struct Host {
    watchdog: Watchdog,
    engine: Arc<Engine>,
    bus: Bus,
    logs: Bus,
    nats: Option<EmbeddedNats>,
    health: Arc<Health>,
    http_stop: watch::Sender<bool>,
    banner: Banner,
    grace: Duration,
    _tasks: Vec<Task>,
}

/// Runs a host until it is told to end.
pub(crate) async fn run(config: Config) -> Outcome {
    let mut signals = Signals::open()?;
    let host = tokio::select! {
        started = start(config) => started?,
        _ = signals.next() => return Ok(Exit::Success),
    };
    host.wait_until_ready().await;
    host.banner.print()?;
    tokio::select! {
        name = signals.next() => tracing::info!(signal = name, "shutting down"),
        () = host.watchdog.died() => {
            return Err(Failure::new(Exit::Failure, "the watchdog is gone: the host ends with it"));
        }
    }
    tokio::select! {
        () = host.stop() => {}
        _ = signals.next() => tracing::warn!("told to end again: ending at once"),
    }
    Ok(Exit::Success)
}

/// The signals that end a host.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn open() -> Result<Self, Failure> {
        let open =
            |kind| signal(kind).map_err(|error| Failure::internal("listen for signals", &error));
        Ok(Self {
            interrupt: open(SignalKind::interrupt())?,
            terminate: open(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

async fn start(config: Config) -> Result<Host, Failure> {
    let data = DataDir::at(absolute(&config.data_dir)?);
    data.prepare()
        .map_err(|error| Failure::internal("start", &error))?;
    let program = install::program().map_err(|error| Failure::new(Exit::Failure, error))?;
    let watchdog = start_watchdog(&data, &program).await?;
    let secrets = Arc::new(ConfiguredSecrets::new(config.secrets.clone()));
    let (listener, address) = http::bind(&config.http_listen)
        .await
        .map_err(|error| Failure::new(Exit::Conflict, error))?;
    let webhook_sources = webhook_sources(&config, &secrets)?;
    // Components compile while the server starts.
    let (sandbox, server) = tokio::join!(
        load_plugins(&config, &data),
        connect(&config, &data, watchdog.clone()),
    );
    let (sandbox, catalog) = sandbox?;
    let Connected { bus, logs, nats } = server?;
    let parts = Parts {
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
    };
    assemble(parts, listener, address, webhook_sources).await
}

fn absolute(path: &camino::Utf8Path) -> Result<Utf8PathBuf, Failure> {
    camino::absolute_utf8(path)
        .map_err(|error| Failure::internal("find the data directory", &error))
}

/// Starts a watchdog for a data directory.
pub(crate) async fn start_watchdog(
    data: &DataDir,
    program: &camino::Utf8Path,
) -> Result<Watchdog, Failure> {
    let config = WatchdogConfig {
        program: program.to_owned(),
        arguments: vec!["watchdog".to_owned()],
        data_dir: data.path().to_owned(),
    };
    Watchdog::start(config).await.map_err(|error| {
        let exit = match error {
            WatchdogError::InUse { .. } => Exit::Conflict,
            _ => Exit::Failure,
        };
        Failure::new(exit, chain(&error))
    })
}

// ---- plugins -----------------------------------------------------------------------

async fn load_plugins(
    config: &Config,
    data: &DataDir,
) -> Result<(Arc<Sandbox>, PluginCatalog), Failure> {
    let folders = plugins::folders(&config.plugins);
    let cache_dir = data.component_cache().into_std_path_buf();
    // Compiling blocks.
    let loaded = tokio::task::spawn_blocking(move || {
        let sandbox = Sandbox::new(SandboxConfig {
            cache_dir: Some(cache_dir),
            ..SandboxConfig::default()
        })
        .map_err(|error| Failure::internal("set up the sandbox", &error))?;
        let catalog = plugins::load(&folders, &sandbox)
            .map_err(|error| Failure::new(Exit::Invalid, error.to_string()))?;
        Ok((Arc::new(sandbox), catalog))
    });
    loaded
        .await
        .map_err(|error| Failure::internal("load plugins", &error))?
}

// ---- NATS --------------------------------------------------------------------------

struct Connected {
    bus: Bus,
    logs: Bus,
    nats: Option<EmbeddedNats>,
}

async fn connect(
    config: &Config,
    data: &DataDir,
    watchdog: Watchdog,
) -> Result<Connected, Failure> {
    let name = data
        .host_name()
        .map_err(|error| Failure::internal("start", &error))?;
    let (url, credentials, nats) = match &config.nats {
        NatsConfig::Embedded {
            port,
            sync,
            program,
        } => {
            let nats = EmbeddedNats::start(watchdog, data, *port, *sync, program.as_ref())
                .await
                .map_err(|error| Failure::new(Exit::Unreachable, chain(&error)))?;
            (nats.host.url.clone(), nats.host.credentials(), Some(nats))
        }
        NatsConfig::External(external) => (
            external.url.clone(),
            external_credentials(config, external)?,
            None,
        ),
    };
    let connect = |what: &str| {
        Bus::connect(BusConfig {
            url: url.clone(),
            credentials: credentials.clone(),
            name: format!("infraflow {name} {what}"),
            connect_timeout: CONNECT_TIME,
            inbox_prefix: None,
        })
    };
    let (bus, logs) = tokio::try_join!(connect("host"), connect("logs"))
        .map_err(|error| Failure::new(Exit::Unreachable, chain(&error)))?;
    bus.ensure_topology(&topology(config))
        .await
        .map_err(|error| Failure::new(Exit::Invalid, chain(&error)))?;
    if nats.is_none() {
        bus.own(&name)
            .await
            .map_err(|error| Failure::new(Exit::Conflict, chain(&error)))?;
    }
    Ok(Connected { bus, logs, nats })
}

fn topology(config: &Config) -> TopologyConfig {
    let replicas = match &config.nats {
        NatsConfig::Embedded { .. } => 1,
        NatsConfig::External(external) => external.replicas,
    };
    let retention = &config.retention;
    let bytes_max = [
        ("EVENTS", retention.events),
        ("RUNS", retention.runs),
        ("LOGS", retention.logs),
    ]
    .map(|(stream, bytes)| (stream.to_owned(), bytes.0))
    .to_vec();
    TopologyConfig {
        replicas,
        bytes_max,
    }
}

// ---- sources and tools -------------------------------------------------------------

fn webhook_sources(
    config: &Config,
    secrets: &ConfiguredSecrets,
) -> Result<Vec<WebhookSource>, Failure> {
    let invalid = |error: &dyn std::fmt::Display| Failure::new(Exit::Invalid, error.to_string());
    config
        .sources
        .iter()
        .map(|(name, source)| {
            let values = source
                .webhook_secrets
                .iter()
                .map(|secret| secrets.read(secret))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| invalid(&error))?;
            WebhookSource::new(WebhookSettings {
                name: name.clone(),
                provider: source.provider,
                secrets: values,
                insecure: source.is_insecure,
            })
            .map_err(|error| invalid(&error))
        })
        .collect()
}

/// How tools are jailed, as the configuration says.
pub(crate) fn jail_config(config: &Config, program: Utf8PathBuf) -> JailConfig {
    JailConfig {
        mode: match config.tools.jail {
            JailChoice::Required => JailMode::Required,
            JailChoice::Off => JailMode::Off,
        },
        uid: config.tools.uid,
        gid: config.tools.uid,
        read_only: config.tools.read_only.clone(),
        search_path: install::search_path(),
        ..JailConfig::new(program)
    }
}

/// The tools, as the configuration says.
pub(crate) fn tools_config(config: &Config, data: &DataDir, jail: JailConfig) -> ToolsConfig {
    let sources = config
        .sources
        .iter()
        .map(|(name, source)| {
            let repo = SourceRepo {
                url: source.url.clone(),
                private_key: source.private_key.clone(),
                known_hosts: source.known_hosts.clone(),
                user: source.user.clone(),
                password: source.password.clone(),
                trusted: source.is_trusted,
            };
            (name.clone(), repo)
        })
        .collect();
    let commands = config
        .commands
        .iter()
        .map(|(name, command)| {
            let spec = CommandSpec {
                network: command.has_network,
                ..CommandSpec::new(command.program.clone())
            };
            (name.clone(), spec)
        })
        .collect();
    ToolsConfig {
        search_path: install::search_path(),
        sources,
        commands,
        ansible: config.tools.ansible.clone(),
        tofu: config.tools.tofu.clone(),
        git: config.tools.git.clone(),
        active: config.limits.tools_active,
        ..ToolsConfig::new(data.path().to_owned(), jail)
    }
}

/// What a jail is, for people.
pub(crate) fn jail_item(status: &JailStatus) -> JailItem {
    match status {
        JailStatus::Holds(view) => JailItem {
            ok: true,
            summary: format!("bubblewrap; tools run as uid {}", view.uid),
        },
        JailStatus::Off => JailItem {
            ok: false,
            summary: "off: tools run as this host's own user and see what it sees".to_owned(),
        },
        JailStatus::Missing { reason, mend } => JailItem {
            ok: false,
            summary: format!("none: {reason}; only trusted code runs. {mend}"),
        },
    }
}

// ---- putting it together -----------------------------------------------------------

struct Parts {
    config: Config,
    data: DataDir,
    program: Utf8PathBuf,
    watchdog: Watchdog,
    secrets: Arc<ConfiguredSecrets>,
    sandbox: Arc<Sandbox>,
    catalog: PluginCatalog,
    bus: Bus,
    logs: Bus,
    nats: Option<EmbeddedNats>,
}

async fn assemble(
    parts: Parts,
    listener: TcpListener,
    address: SocketAddr,
    webhook_sources: Vec<WebhookSource>,
) -> Result<Host, Failure> {
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
    } = parts;
    let internal =
        |what: &'static str| move |error: &dyn std::error::Error| Failure::internal(what, error);
    let host_name = data
        .host_name()
        .map_err(|error| internal("start")(&error))?;
    let key = data.blob_key().map_err(|error| internal("start")(&error))?;
    let blobs: Arc<dyn Blobs> = Arc::new(SealedBlobs::new(bus.clone(), key));
    let jail_config = jail_config(&config, program);
    let jail = Jail::probe(&jail_config).await;
    let tools = tools_config(&config, &data, jail_config);
    let door = ToolDoor::new(tools, watchdog.clone(), secrets.clone(), blobs.clone());
    let workspaces = door.workspaces().clone();
    let events = EventInbox::open(bus.clone())
        .await
        .map_err(|error| Failure::new(Exit::Unreachable, chain(&error)))?;
    let events = Arc::new(events);
    let work = Arc::new(WorkInbox::open(bus.clone()));
    let publisher: Arc<dyn EventPublisher> = Arc::new(Publisher::new(bus.clone()));
    let log_store = LogStore::new(logs.clone());
    let clock = clock();
    let ports = Ports {
        events: events.clone(),
        work: work.clone(),
        journals: journals(&bus),
        feed: Arc::new(Feed::open(bus.clone())),
        workflows: Arc::new(WorkflowBucket::open(bus.clone())),
        logs: Arc::new(log_store.clone()),
        plugins: sandbox,
        tools: Arc::new(door),
        secrets: secrets.clone(),
        publisher: publisher.clone(),
        notices: Arc::new(NoticeBoard::new(bus.clone())),
        clock: clock.clone(),
        parse: Arc::new(|name: &str, text: &str| {
            infraflow_workflow::parse_workflow(name, text).map_err(|report| report.to_string())
        }),
    };
    let engine_config = engine_config(&config, &host_name, &secrets)?;
    let engine = Engine::new(ports, engine_config, catalog)
        .await
        .map_err(|error| Failure::new(Exit::Unreachable, error))?;
    let engine = Arc::new(engine);
    import_shipped(&engine).await?;
    let workflow_dir = Arc::new(WorkflowDir::new(absolute(&config.workflows)?));
    let workflow_count = workflow_dir.import(&engine).await;
    engine.start();
    let storage = storage(&config);
    let health = Arc::new(Health {
        bus: bus.clone(),
        logs: logs.clone(),
        events,
        work,
        engine: engine.clone(),
        storage,
    });
    let base = format!("http://{address}");
    let sources = source_items(&config, &base);
    let api = Arc::new(Api {
        engine: engine.clone(),
        bus: bus.clone(),
        logs: log_store,
        dead: DeadLetters::new(bus.clone()),
        blobs,
        workflow_dir: workflow_dir.clone(),
        health: health.clone(),
        uploads: Uploads::default(),
        sources,
        host: host_name.to_string(),
        http: base.clone(),
        data_dir: data.path().to_owned(),
        jail: jail_item(&jail),
    });
    let requests = RpcServer::open(bus.clone())
        .await
        .map_err(|error| Failure::new(Exit::Unreachable, error))?;
    let webhooks = Webhooks::new(webhook_sources, publisher, clock, WebhookLimits::default());
    let router = http::router(webhook_router(Arc::new(webhooks)), health.clone());
    let (http_stop, http_stopped) = watch::channel(false);
    let tasks = vec![
        spawn(serve_http(listener, router, http_stopped)),
        spawn(serve(api, requests)),
        spawn(workflow_dir::follow(workflow_dir.clone(), engine.clone())),
        spawn(upkeep::streams(bus.clone(), engine.clone())),
        spawn(upkeep::workspaces(
            workspaces,
            engine.clone(),
            config.retention.workspaces,
        )),
    ];
    let banner = Banner {
        http: base,
        nats: match (&nats, &config.nats) {
            (Some(nats), _) => Nats::Embedded {
                url: nats.host.url.clone(),
                storage,
                credentials: data.operator_credentials(),
            },
            (None, NatsConfig::External(external)) => Nats::External {
                url: external.url.clone(),
            },
            (None, NatsConfig::Embedded { .. }) => Nats::External { url: String::new() },
        },
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
        runs_active: config.limits.runs_active,
        trusted_sources: trusted,
        secrets: secrets.names(),
    })
}

/// Workflows that ship with the program.
const SHIPPED: [(&str, &str); 1] = [(
    "playbook.yaml",
    include_str!("../../../workflows/playbook.yaml"),
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

fn source_items(config: &Config, base: &str) -> Vec<SourceItem> {
    config
        .sources
        .iter()
        .map(|(name, source)| SourceItem {
            name: name.to_string(),
            provider: source.provider.to_string(),
            webhook: format!("{base}/webhooks/{name}"),
            url: source.url.clone(),
            trusted: source.is_trusted,
            insecure: source.is_insecure,
        })
        .collect()
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

impl Host {
    async fn wait_until_ready(&self) {
        let ready = async {
            while !self.health.look().is_ready() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        if tokio::time::timeout(READY_PATIENCE, ready).await.is_err() {
            let report = self.health.look();
            for check in report.checks.iter().filter(|check| check.problem.is_some()) {
                tracing::warn!(check = check.name, problem = check.problem, "not ready");
            }
        }
    }

    /// Takes nothing new, lets the runs end or gives them back, and ends the
    /// server.
    async fn stop(&self) {
        self.http_stop.send_replace(true);
        self.engine.shutdown(self.grace).await;
        self.logs.close().await;
        self.bus.close().await;
        if let Some(nats) = &self.nats {
            nats.stop().await;
        }
        self.watchdog.shutdown().await;
    }
}

/// How full `RUNS` may be before no new runs are created.
pub(crate) const JOURNALS_PERCENT_MAX: u64 = 80;

/// The stream of journals.
pub(crate) const JOURNALS: &str = RUNS;
