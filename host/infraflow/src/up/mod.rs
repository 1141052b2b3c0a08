//! `infraflow up`: the whole host in one process, from its watchdog to its
//! banner, and its orderly end.

mod assemble;
mod nats;
mod tools;

use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use infraflow_bus::topology::RUNS;
use infraflow_bus::{Bus, SealedBlobs};
use infraflow_core::plugin::PluginCatalog;
use infraflow_engine::Engine;
use infraflow_sandbox::{Sandbox, SandboxConfig};
use infraflow_tools::watchdog::{Watchdog, WatchdogConfig, WatchdogError};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use self::assemble::{Parts, Web, assemble};
use self::nats::{Connected, connect};
use self::tools::webhook_sources;
use crate::banner::Banner;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::embedded::EmbeddedNats;
use crate::exit::{Exit, Failure, Outcome, chain};
use crate::health::Health;
use crate::secrets::ConfiguredSecrets;
use crate::task::Task;
use crate::{http, install, plugins};

pub(crate) use self::tools::{jail_config, jail_item, tools_config};

/// How long the host may take until it is ready before it says so all the same.
const READY_PATIENCE: Duration = Duration::from_secs(30);

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
        () = host.engine.conflict() => {
            return Err(Failure::new(
                Exit::Conflict,
                "another process runs under this host's name: two hosts have the same data directory, \
                 or a copy of it. Remove `host-name` from the copy",
            ));
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
    let host = data
        .host_name()
        .map_err(|error| Failure::internal("start", &error))?;
    let key = data
        .blob_key()
        .map_err(|error| Failure::internal("start", &error))?;
    let (sandbox, server) = tokio::join!(
        load_plugins(&config, &data),
        connect(&config, &data, watchdog.clone(), &host, &key),
    );
    let (sandbox, catalog) = sandbox?;
    let Connected { bus, logs, nats } = server?;
    let blobs = SealedBlobs::new(bus.clone(), key);
    let parts = Parts {
        host,
        blobs,
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
    let web = Web {
        listener,
        address,
        sources: webhook_sources,
    };
    assemble(parts, web).await
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
        if self.engine.is_shared() {
            // Others take over as soon as the lease is given back: by then nothing
            // of this host runs.
            self.watchdog.shutdown().await;
            self.engine.leave().await;
        }
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
