//! Long-lived children of the host itself: nats-server.
//!
//! Not tools: no jail, no log lines, no deadline. A service ends with the
//! watchdog, whichever way that ends, and keeps the data directory locked while
//! it lives.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use camino::Utf8PathBuf;
use infraflow_core::tool::ProcessEnd;
use tokio::time::timeout;

use super::{Child, Spawn, SpawnError, StopKind, Tree, Watchdog, WatchdogError};
use crate::limits::KILL_WAIT;
use crate::shim;

/// A service to start.
#[derive(Debug, Clone)]
pub struct ServiceSpec {
    /// The program, absolute.
    pub program: Utf8PathBuf,
    /// Its arguments, without its name. No secrets: they show in `ps`.
    pub arguments: Vec<String>,
    /// Its whole environment; nothing is inherited.
    pub environment: Vec<(String, String)>,
    /// Its working directory, absolute.
    pub directory: Utf8PathBuf,
    /// The file (0600) that its standard output and error are appended to.
    pub log: Utf8PathBuf,
    /// How long it may take to end after TERM before it is killed.
    pub grace: Duration,
}

/// A running service. Dropping it kills it.
pub struct Service {
    child: Child,
    grace: Duration,
}

impl Watchdog {
    /// Starts a service as a child of the watchdog, without a jail. It is
    /// killed when the watchdog dies (`PDEATHSIG`).
    ///
    /// # Errors
    /// When its log cannot be opened or it cannot be started.
    pub async fn spawn_service(&self, spec: ServiceSpec) -> Result<Service, SpawnError> {
        let log = open_log(&spec).map_err(|source| SpawnError::System {
            program: spec.log.clone(),
            source,
        })?;
        let again = log.try_clone().map_err(|source| SpawnError::System {
            program: spec.log.clone(),
            source,
        })?;
        // The shim replaces itself by the program, so a missing one has to be
        // seen before.
        if !spec.program.is_file() {
            return Err(SpawnError::System {
                program: spec.program,
                source: io::ErrorKind::NotFound.into(),
            });
        }
        let child = self
            .spawn(Spawn {
                program: self.program().to_owned(),
                arguments: shim::exec_arguments(self.pid(), &spec.program, &spec.arguments),
                environment: spec.environment,
                directory: spec.directory,
                stdin: None,
                stdout: Some(log.into()),
                stderr: Some(again.into()),
                extra: Vec::new(),
                tree: Tree::Service,
            })
            .await?;
        let grace = spec.grace;
        Ok(Service { child, grace })
    }
}

fn open_log(spec: &ServiceSpec) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&spec.log)
}

impl Service {
    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.child.pid()
    }

    /// Waits until it has ended. Cancel-safe.
    ///
    /// # Errors
    /// When the watchdog is gone, and with it the service.
    pub async fn exited(&self) -> Result<ProcessEnd, WatchdogError> {
        self.child.wait().await
    }

    /// Ends it: TERM, its grace, KILL. Returns when it is gone.
    ///
    /// # Errors
    /// When the watchdog is gone, and with it the service.
    pub async fn stop(&self) -> Result<ProcessEnd, WatchdogError> {
        self.child.stop(StopKind::Term).await;
        if let Ok(end) = timeout(self.grace, self.child.wait()).await {
            return end;
        }
        self.child.stop(StopKind::Kill).await;
        timeout(KILL_WAIT, self.child.wait())
            .await
            .unwrap_or(Err(WatchdogError::Gone))
    }
}
