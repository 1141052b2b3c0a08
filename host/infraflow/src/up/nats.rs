//! Connecting to NATS: the private server or one's own, its streams, and who
//! else is there.

use std::time::Duration;

use infraflow_bus::topology::{ARTIFACTS, DEAD, EVENTS, LOGS, RUNS, StreamLimit, TopologyConfig};
use infraflow_bus::{BlobKey, Bus, BusConfig};
use infraflow_core::id::HostName;
use infraflow_core::limits::ByteCount;
use infraflow_tools::watchdog::Watchdog;

use crate::api::client::external_credentials;
use crate::config::{Config, NatsConfig};
use crate::data_dir::DataDir;
use crate::embedded::EmbeddedNats;
use crate::exit::{Exit, Failure, chain};

/// How long to wait for a server that is not ours.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// The connections, and the server when it is ours.
pub(super) struct Connected {
    /// For everything but log lines.
    pub(super) bus: Bus,
    /// For log lines.
    pub(super) logs: Bus,
    /// The private server.
    pub(super) nats: Option<EmbeddedNats>,
}

/// Connects, and checks that this host may use what is there.
pub(super) async fn connect(
    config: &Config,
    data: &DataDir,
    watchdog: Watchdog,
    name: &HostName,
    key: &BlobKey,
) -> Result<Connected, Failure> {
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
    let entered = if config.sole_host {
        bus.own_alone(name).await
    } else {
        bus.share(name).await
    };
    entered.map_err(|error| Failure::new(Exit::Conflict, chain(&error)))?;
    bus.check_blob_key(key)
        .await
        .map_err(|error| Failure::new(Exit::Conflict, chain(&error)))?;
    Ok(Connected { bus, logs, nats })
}

fn topology(config: &Config) -> TopologyConfig {
    let replicas = match &config.nats {
        NatsConfig::Embedded { .. } => 1,
        NatsConfig::External(external) => external.replicas,
    };
    let retention = &config.retention;
    let limit = |stream, bytes: ByteCount, age_max| StreamLimit {
        stream,
        bytes_max: bytes.0,
        age_max,
    };
    let limits = vec![
        limit(EVENTS, retention.events, Some(retention.events_age)),
        limit(RUNS, retention.runs, None),
        limit(LOGS, retention.logs, Some(retention.logs_age)),
        limit(DEAD, retention.dead, Some(retention.dead_age)),
        // The oldest artifacts go above `retention.artifacts`; until they have
        // gone new ones still find room.
        limit(
            ARTIFACTS,
            ByteCount(retention.artifacts.0.saturating_mul(2)),
            None,
        ),
    ];
    TopologyConfig { replicas, limits }
}
