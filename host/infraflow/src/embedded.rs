//! The embedded server: a private `nats-server` in the data directory, started
//! and kept alive as a child of the watchdog.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use infraflow_bus::topology::SERVER_CONFIG;
use infraflow_bus::{Bus, BusConfig};
use infraflow_tools::programs::find_program;
use infraflow_tools::watchdog::{Service, ServiceSpec, Watchdog};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::Sync;
use crate::credentials::NatsAccess;
use crate::data_dir::{DataDir, DataDirError, random_hex};
use crate::exit::chain;
use crate::install;
use crate::task::{Task, spawn};

/// How long the server may take until it answers. A large store is read first.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// The pause between two tries to reach a starting server.
const PROBE_DELAY: Duration = Duration::from_millis(5);

/// How long the server may take to end before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// The pauses before a server that ended is started again.
const RESTART_DELAYS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The memory that the server's garbage collector aims at.
const MEMORY_AIM: &str = "192MiB";

/// Why there is no embedded server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EmbeddedError {
    /// The program is not there.
    #[error(
        "`nats-server` is not on PATH: run `deploy/setup.sh`, put nats-server 2.14 or newer on PATH, \
         or use a server of your own with `--nats <url>`"
    )]
    NoProgram,
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// No free port, or no random numbers.
    #[error("prepare the embedded NATS server: {0}")]
    System(#[from] std::io::Error),
    /// The port is taken.
    #[error(
        "port {0} is in use: stop what uses it, or choose another with `nats.port` in the \
         configuration (0: any that is free)"
    )]
    PortInUse(u16),
    /// The program does not start.
    #[error("start `{program}`: {reason}")]
    Spawn {
        /// The program.
        program: Utf8PathBuf,
        /// Why not.
        reason: String,
    },
    /// It started and ended again.
    #[error("nats-server ended right after its start; the end of its log `{log}`:\n{tail}")]
    Ended {
        /// Its log.
        log: Utf8PathBuf,
        /// The last lines.
        tail: String,
    },
    /// It does not answer.
    #[error("nats-server does not answer; see its log `{log}`: {reason}")]
    Silent {
        /// Its log.
        log: Utf8PathBuf,
        /// The last try.
        reason: String,
    },
}

/// A running embedded server. Dropping it kills the server.
pub(crate) struct EmbeddedNats {
    /// Where it is, and who the host is there.
    pub(crate) host: NatsAccess,
    stop: watch::Sender<bool>,
    stopped: watch::Receiver<bool>,
    _keeper: Task,
}

impl EmbeddedNats {
    /// Starts the server and returns when it answers.
    pub(crate) async fn start(
        watchdog: Watchdog,
        data: &DataDir,
        port: u16,
        sync: Sync,
        program: Option<&Utf8PathBuf>,
    ) -> Result<Self, EmbeddedError> {
        let program = match program {
            Some(program) => program.clone(),
            None => find_program("nats-server", &install::search_path())
                .ok_or(EmbeddedError::NoProgram)?,
        };
        let port = free_port(port)?;
        let host = write_files(data, port, sync)?;
        let spec = Arc::new(service_spec(data, program));
        let service = start_service(&watchdog, &spec).await?;
        let service = wait_until_it_answers(service, &host, &spec.log).await?;
        let (stop, stop_asked) = watch::channel(false);
        let (is_stopped, stopped) = watch::channel(false);
        let keeper = spawn(async move {
            keep_alive(watchdog, spec, service, stop_asked).await;
            is_stopped.send_replace(true);
        });
        Ok(Self {
            host,
            stop,
            stopped,
            _keeper: keeper,
        })
    }

    /// Ends the server in order, and returns when it is gone.
    pub(crate) async fn stop(&self) {
        self.stop.send_replace(true);
        // An error means that its keeper is gone, and the server with it.
        drop(self.stopped.clone().wait_for(|stopped| *stopped).await);
    }
}

/// A port that is free now.
fn free_port(wanted: u16) -> Result<u16, EmbeddedError> {
    match TcpListener::bind(("127.0.0.1", wanted)) {
        Ok(listener) => Ok(listener.local_addr()?.port()),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            Err(EmbeddedError::PortInUse(wanted))
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes the server's configuration and the credentials. Passwords are drawn
/// once and stay.
fn write_files(data: &DataDir, port: u16, sync: Sync) -> Result<NatsAccess, EmbeddedError> {
    let url = format!("nats://127.0.0.1:{port}");
    let access = |path: &camino::Utf8Path, user: &str| -> Result<NatsAccess, EmbeddedError> {
        let password = match NatsAccess::read(path) {
            Ok(known) => known.password,
            Err(_) => random_hex::<16>()?,
        };
        Ok(NatsAccess {
            url: url.clone(),
            user: user.to_owned(),
            password,
        })
    };
    let host = access(&data.host_credentials(), "host")?;
    let operator = access(&data.operator_credentials(), "operator")?;
    data.write_private("credentials/host.env", &host.to_text())?;
    data.write_private("credentials/operator.env", &operator.to_text())?;
    let config = SERVER_CONFIG
        .replace("@PORT@", &port.to_string())
        .replace("@DATA@", data.path().as_str())
        .replace(
            "@SYNC@",
            match sync {
                Sync::Always => "always",
                Sync::Relaxed => "\"2m\"",
            },
        )
        .replace("@HOST_PASSWORD@", &host.password)
        .replace("@OPERATOR_PASSWORD@", &operator.password);
    data.write_private("nats/server.conf", &config)?;
    Ok(host)
}

fn service_spec(data: &DataDir, program: Utf8PathBuf) -> ServiceSpec {
    ServiceSpec {
        program,
        arguments: vec![
            "--config".to_owned(),
            data.nats().join("server.conf").into_string(),
        ],
        environment: vec![("GOMEMLIMIT".to_owned(), MEMORY_AIM.to_owned())],
        directory: data.nats(),
        log: data.nats().join("server.log"),
        grace: STOP_GRACE,
    }
}

async fn start_service(watchdog: &Watchdog, spec: &ServiceSpec) -> Result<Service, EmbeddedError> {
    watchdog
        .spawn_service(spec.clone())
        .await
        .map_err(|error| EmbeddedError::Spawn {
            program: spec.program.clone(),
            reason: chain(&error),
        })
}

async fn wait_until_it_answers(
    service: Service,
    host: &NatsAccess,
    log: &Utf8PathBuf,
) -> Result<Service, EmbeddedError> {
    let deadline = Instant::now() + START_PATIENCE;
    loop {
        let config = BusConfig {
            url: host.url.clone(),
            credentials: host.credentials(),
            name: "infraflow start".to_owned(),
            connect_timeout: Duration::from_secs(1),
            inbox_prefix: None,
        };
        let reason = tokio::select! {
            connected = Bus::connect(config) => match connected {
                Ok(bus) if bus.has_jetstream().await => return Ok(service),
                Ok(_) => "JetStream is not ready".to_owned(),
                Err(error) => chain(&error),
            },
            _ = service.exited() => {
                return Err(EmbeddedError::Ended { log: log.clone(), tail: tail_of(log) });
            }
        };
        if Instant::now() >= deadline {
            return Err(EmbeddedError::Silent {
                log: log.clone(),
                reason,
            });
        }
        tokio::time::sleep(PROBE_DELAY).await;
    }
}

/// Starts the server again whenever it ends, until it is asked to stop it.
/// Dropping this kills the server.
async fn keep_alive(
    watchdog: Watchdog,
    spec: Arc<ServiceSpec>,
    first: Service,
    mut stop: watch::Receiver<bool>,
) {
    let (delay_min, delay_max) = RESTART_DELAYS;
    let mut service = Some(first);
    let mut delay = delay_min;
    loop {
        if let Some(running) = service.take() {
            let started = Instant::now();
            tokio::select! {
                end = running.exited() => {
                    tracing::error!(?end, "nats-server ended, starting it again");
                }
                () = asked(&mut stop) => {
                    if let Err(error) = running.stop().await {
                        tracing::warn!(error = chain(&error), "nats-server not stopped");
                    }
                    return;
                }
            }
            if started.elapsed() > delay_max * 2 {
                delay = delay_min;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = asked(&mut stop) => return,
        }
        delay = (delay * 2).min(delay_max);
        match start_service(&watchdog, &spec).await {
            Ok(again) => service = Some(again),
            Err(error) => tracing::error!(error = chain(&error), "nats-server not started"),
        }
    }
}

/// Returns when the server is to stop, or nobody is left who could ask for it.
async fn asked(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

/// The last lines of a log.
fn tail_of(log: &Utf8PathBuf) -> String {
    const TAIL_BYTES: u64 = 2_000;
    let read = || -> std::io::Result<String> {
        let mut file = fs::File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_else(|error| format!("(not readable: {error})"));
    let lines: Vec<&str> = text.lines().rev().take(8).collect();
    lines
        .into_iter()
        .rev()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}
