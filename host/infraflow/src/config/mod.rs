//! The configuration, `infraflow.yaml`: what it may say, and finding it.
//!
//! `docs/configuration.md` is its reference; a test holds the two together.

mod read;

use std::collections::BTreeMap;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use infraflow_core::event::Provider;
use infraflow_core::id::{CommandName, PoolName, SecretName, SourceName, UserName};
use infraflow_core::limits::{self, ByteCount};
use infraflow_workflow::diagnostic::Report;

pub(crate) use read::{parse, without_credentials};

/// The name of the file.
pub(crate) const FILE_NAME: &str = "infraflow.yaml";

/// The configuration.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    /// Everything that the host keeps on disk. Relative to the file.
    pub(crate) data_dir: Utf8PathBuf,
    /// Where HTTP listens.
    pub(crate) http_listen: String,
    /// NATS.
    pub(crate) nats: NatsConfig,
    /// Whether no other host uses the NATS account. True with the private
    /// server; with another one false unless the configuration says so.
    pub(crate) sole_host: bool,
    /// What the configuration says about `sole_host`; unset: nothing.
    sole_host_said: Option<bool>,
    /// How long a lease of this host lasts after each renewal. Of no account
    /// for a sole host.
    pub(crate) lease: Duration,
    /// The pools whose runs this host executes. At least one, each once.
    pub(crate) pools: Vec<PoolName>,
    /// How long a run whose files lie on a host that is gone waits for it.
    pub(crate) workspace_grace: Duration,
    /// The folder of workflows. Relative to the file.
    pub(crate) workflows: Utf8PathBuf,
    /// Where events come from and code is checked out from.
    pub(crate) sources: BTreeMap<SourceName, SourceConfig>,
    /// Where secrets are.
    pub(crate) secrets: BTreeMap<SecretName, SecretPlace>,
    /// The tools.
    pub(crate) tools: ToolsConfig,
    /// Executables that plugins may run, by name.
    pub(crate) commands: BTreeMap<CommandName, CommandConfig>,
    /// Plugins.
    pub(crate) plugins: PluginsConfig,
    /// Limits that an operator may change.
    pub(crate) limits: LimitsConfig,
    /// How long things are kept.
    pub(crate) retention: RetentionConfig,
    /// How long attempts may go on at a shutdown before they are interrupted.
    pub(crate) shutdown_grace: Duration,
}

/// NATS.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum NatsConfig {
    /// A private server in the data directory.
    Embedded {
        /// Its port; 0: any that is free.
        port: u16,
        /// When records reach the disk.
        sync: Sync,
        /// The program. Unset: found on `PATH`, or where set-up put it.
        program: Option<Utf8PathBuf>,
    },
    /// Somebody else's.
    External(ExternalNats),
}

/// A NATS server that is not ours.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ExternalNats {
    /// Its addresses.
    pub(crate) url: String,
    /// Who the host is there.
    pub(crate) user: UserName,
    /// The secret that holds the password.
    pub(crate) password: Option<SecretName>,
    /// A credentials file. Relative to the configuration.
    pub(crate) credentials: Option<Utf8PathBuf>,
    /// Copies of every stream.
    pub(crate) replicas: u8,
}

impl ExternalNats {
    /// A server at an address, without authorization.
    pub(crate) fn at(url: String) -> Self {
        Self {
            url,
            user: UserName::new("operator").expect("a plain word is a user name"),
            password: None,
            credentials: None,
            replicas: 1,
        }
    }
}

/// When the embedded server's records reach the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sync {
    /// Before they are confirmed: they survive a power loss.
    Always,
    /// Within two minutes: they survive a killed process, not a power loss.
    Relaxed,
}

/// A source.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SourceConfig {
    /// The provider.
    pub(crate) provider: Provider,
    /// The repository's address for checkouts.
    pub(crate) url: Option<String>,
    /// Secrets that webhooks are signed with; each valid.
    pub(crate) webhook_secrets: Vec<SecretName>,
    /// Takes webhooks that are not signed.
    pub(crate) is_insecure: bool,
    /// Whether its code may run without a jail.
    pub(crate) is_trusted: bool,
    /// The secret that holds the private key for ssh.
    pub(crate) private_key: Option<SecretName>,
    /// The secret that holds the known hosts for ssh.
    pub(crate) known_hosts: Option<SecretName>,
    /// The user for https.
    pub(crate) user: Option<String>,
    /// The secret that holds the password or token for https.
    pub(crate) password: Option<SecretName>,
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SecretPlace {
    /// In a file; the trailing newline does not belong to it.
    File(Utf8PathBuf),
    /// In an environment variable of the host.
    Environment(String),
}

/// The tools.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ToolsConfig {
    /// Whether tools run in a jail.
    pub(crate) jail: JailChoice,
    /// The uid and gid of tools when the host is root.
    pub(crate) uid: u32,
    /// Folders that tools may read beside the system's.
    pub(crate) read_only: Vec<Utf8PathBuf>,
    /// The git program.
    pub(crate) git: Option<Utf8PathBuf>,
    /// The folder that holds `ansible-playbook` and, maybe, `ansible-runner`.
    pub(crate) ansible: Option<Utf8PathBuf>,
    /// The OpenTofu program, or a compatible one.
    pub(crate) tofu: Option<Utf8PathBuf>,
}

/// Whether tools run in a jail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JailChoice {
    /// Always, but for trusted code where none can be made.
    Required,
    /// Never, by name.
    Off,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommandConfig {
    /// The program, absolute.
    pub(crate) program: Utf8PathBuf,
    /// Whether it has the network.
    pub(crate) has_network: bool,
}

/// Plugins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PluginsConfig {
    /// A folder of `.wasm` files and their `grants.yaml`, beside the one that
    /// ships with the program. Unset: only that one.
    pub(crate) dir: Option<Utf8PathBuf>,
}

/// Limits that an operator may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LimitsConfig {
    /// Runs at the same time.
    pub(crate) runs_active: usize,
    /// Tool processes at the same time.
    pub(crate) tools_active: usize,
}

/// How long things are kept, and how much of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RetentionConfig {
    /// How long workspaces stay after the end of their runs.
    pub(crate) workspaces: Duration,
    /// Most bytes of workspaces on this host.
    pub(crate) workspaces_size: ByteCount,
    /// Most bytes of events.
    pub(crate) events: ByteCount,
    /// How long events are kept.
    pub(crate) events_age: Duration,
    /// Most bytes of journals.
    pub(crate) runs: ByteCount,
    /// How long journals are kept after the end of their runs.
    pub(crate) runs_age: Duration,
    /// Most bytes of log lines.
    pub(crate) logs: ByteCount,
    /// How long log lines are kept.
    pub(crate) logs_age: Duration,
    /// Most bytes of artifacts.
    pub(crate) artifacts: ByteCount,
    /// How long artifacts are kept that nothing needs.
    pub(crate) artifacts_age: Duration,
    /// Most bytes of dead letters.
    pub(crate) dead: ByteCount,
    /// How long dead letters are kept.
    pub(crate) dead_age: Duration,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        const HOUR: Duration = Duration::from_secs(3_600);
        const DAY: Duration = Duration::from_secs(86_400);
        Self {
            workspaces: HOUR,
            workspaces_size: ByteCount::mib(20 * 1_024),
            events: ByteCount::mib(512),
            events_age: 14 * DAY,
            runs: ByteCount::mib(1_024),
            runs_age: 90 * DAY,
            logs: ByteCount::mib(1_024),
            logs_age: 30 * DAY,
            artifacts: ByteCount::mib(1_024),
            artifacts_age: 30 * DAY,
            dead: ByteCount::mib(128),
            dead_age: 90 * DAY,
        }
    }
}

impl Config {
    /// The configuration of a folder without a file.
    pub(crate) fn defaults(folder: &Utf8Path) -> Self {
        Self {
            data_dir: folder.join(".infraflow"),
            http_listen: "127.0.0.1:8080".to_owned(),
            nats: NatsConfig::Embedded {
                port: 4222,
                sync: Sync::Always,
                program: None,
            },
            sole_host: true,
            sole_host_said: None,
            lease: limits::LEASE,
            pools: vec![PoolName::default_pool()],
            workspace_grace: limits::WORKSPACE_GRACE,
            workflows: folder.join("workflows"),
            sources: BTreeMap::new(),
            secrets: BTreeMap::new(),
            tools: ToolsConfig {
                jail: JailChoice::Required,
                uid: infraflow_tools::jail::TOOL_UID,
                read_only: vec![],
                git: None,
                ansible: None,
                tofu: None,
            },
            commands: BTreeMap::new(),
            plugins: PluginsConfig::default(),
            limits: LimitsConfig {
                runs_active: limits::RUNS_ACTIVE,
                tools_active: limits::TOOLS_ACTIVE,
            },
            retention: RetentionConfig::default(),
            shutdown_grace: Duration::from_secs(20),
        }
    }

    /// Takes the NATS server at an address instead of the one that the
    /// configuration names: the command line says so.
    pub(crate) fn use_nats_at(&mut self, url: String) {
        if let NatsConfig::External(external) = &mut self.nats {
            external.url = url;
            return;
        }
        self.nats = NatsConfig::External(ExternalNats::at(url));
        self.sole_host = self.sole_host_said.unwrap_or(false);
    }
}

/// Why there is no configuration.
#[derive(Debug)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    Unreadable {
        /// The file.
        path: Utf8PathBuf,
        /// Why.
        reason: String,
    },
    /// It has problems.
    Invalid(Box<Report>),
}

/// Reads the configuration: the file that was named, else `infraflow.yaml` of
/// the folder, else the defaults.
pub(crate) fn load(named: Option<&Utf8Path>, folder: &Utf8Path) -> Result<Config, ConfigError> {
    let path = match named {
        Some(path) => folder.join(path),
        None => folder.join(FILE_NAME),
    };
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Config::defaults(folder));
        }
        Err(error) => {
            return Err(ConfigError::Unreadable {
                path,
                reason: error.to_string(),
            });
        }
    };
    let shown = named.map_or(FILE_NAME, Utf8Path::as_str);
    let text = infraflow_workflow::document::text_of_file(shown, &bytes)
        .map_err(|report| ConfigError::Invalid(Box::new(report)))?;
    let folder = path.parent().unwrap_or(folder);
    parse(shown, text, folder).map_err(|report| ConfigError::Invalid(Box::new(report)))
}
